// Package config reads what the operator has decided, from every place where it may be written, into one
// typed value, and remembers for each key where its value came from.
//
// The layers, each over the one before: built-in defaults, the reference agent's own file as it stands,
// slipway.yml, conf.d/*.yml, SLIPWAY_* variables, flags. One table (keys_*.go) drives parsing, validation,
// variable and flag names, explanation and documentation; a key that is not in the table does not exist.
//
// A mistake in our own files, variables or flags is an *InvalidError that names place, key and way out. The
// reference agent's file is read as that agent would read it, and what it would silently ignore is a warning.
package config

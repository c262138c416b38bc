// Package appspec reads appspec.yml: text in, values out. It performs no I/O and never panics, whatever the text.
//
// [Parse] gives either a [Spec], whose every value carries its line and column, or [Diagnostics] that say where the file is
// wrong and what to write instead. [Read] stops before the checks and gives the tree as written.
//
// What is accepted, and what it then means, follows the A- rules: YAML 1.1 as the reference agent's Ruby reads it, its order of
// checks, its notion of a mode, an ACL entry and an SELinux range. The YAML is read here, because the packages for it follow
// version 1.2 where the two differ. It differs on purpose in three places, always towards what the author of the file meant: a byte
// order mark is skipped, a mode with a leading zero is that octal mode, and a timeout is the same number quoted or not.
//
// A Spec is a value: it may be shared between goroutines once Parse has returned.
package appspec

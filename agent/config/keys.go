package config

import (
	"slices"
	"strings"
)

// Where a key comes from.
const (
	originReference  = "reference"   // first generation of the reference agent
	originReference2 = "reference 2" // its second generation
	originSlipway    = "slipway"
)

// key is one row of the table that says everything about a key.
type key struct {
	name     string             // dotted; the dots are the sections of the file
	kind     kind               // how its value is written
	def      string             // the default, written as in a file
	min, max int64              // bounds of numbers and durations in the unit of the field; max 0: none
	enum     []string           // for enumerations and for lists of such
	live     bool               // a reload is enough
	secret   bool               // may hold a password: masked, and never quoted in a message
	of       string             // instead of field: the key whose field this one sets too
	origin   string             // originReference, …
	ignored  string             // why it has no effect
	doc      string             // one line, a sentence
	field    func(*Config) any  // pointer into the Config; nil for ignored keys and for those with of
	check    func(string) error // of a text, after its kind was found right
}

// schema is the whole table in the order of the documentation.
var schema = slices.Concat(pathKeys, referenceKeys, serviceKeys, hardeningKeys, ignoredKeys, slipwayKeys, healthKeys)

// byName finds a row; sections are the first halves of dotted names, each with its keys.
var (
	byName   = indexKeys(schema)
	sections = indexSections(schema)
)

func indexKeys(keys []key) map[string]*key {
	m := make(map[string]*key, len(keys))
	for i := range keys {
		m[keys[i].name] = &keys[i]
	}
	return m
}

func indexSections(keys []key) map[string][]string {
	m := make(map[string][]string)
	for _, k := range keys {
		for at := strings.LastIndexByte(k.name, '.'); at >= 0; at = strings.LastIndexByte(k.name[:at], '.') {
			m[k.name[:at]] = append(m[k.name[:at]], k.name)
		}
	}
	return m
}

// env is the name of the variable that sets the key.
func (k *key) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

// flag is the name of the option that sets the key, without its dashes.
func (k *key) flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(k.name)
}

// target is the row whose field the key sets.
func (k *key) target() *key {
	if k.of != "" {
		return byName[k.of]
	}
	return k
}

const envPrefix = "SLIPWAY_"

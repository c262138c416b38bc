package config

import (
	"net/url"
	"slices"
	"strings"
)

// Setting is one key with its value and where that came from. Secrets are masked.
type Setting struct {
	Key, Value, Source string
	Doc                string // one line
	Note               string // why the value has no effect; "" when it has
}

// Explain lists every key in the order of the documentation, other names of a key excepted.
func (c *Config) Explain() []Setting {
	settings := make([]Setting, 0, len(schema))
	for i := range schema {
		k := &schema[i]
		if k.of != "" {
			continue
		}
		s := Setting{Key: k.name, Value: c.text(k), Source: "default", Doc: k.doc, Note: k.ignored}
		if o, said := c.origins[k.name]; said {
			s.Source = o.source
		}
		if k.kind == kindURL {
			s.Value = masked(s.Value)
		}
		settings = append(settings, s)
	}
	return settings
}

// text is the value of a key as Explain writes it, secrets and all.
func (c *Config) text(k *key) string {
	if o, said := c.origins[k.name]; said {
		return o.text
	}
	return k.defaultOutcome().text
}

// masked hides the password of a URL.
func masked(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text
	}
	return u.Redacted()
}

// RestartNeeded names the keys whose values differ from old's and that are only read at start, in the order of the
// documentation. An agent that was told to reload says them and goes on with the rest.
func (c *Config) RestartNeeded(old *Config) []string {
	return c.changed(old, func(k *key) bool { return !k.live })
}

func (c *Config) changed(old *Config, which func(*key) bool) []string {
	var names []string
	for i := range schema {
		if k := &schema[i]; k.of == "" && k.ignored == "" && which(k) && c.text(k) != old.text(k) {
			names = append(names, k.name)
		}
	}
	return names
}

// KeyDoc describes one key.
type KeyDoc struct {
	Name    string // dotted
	Type    string // in words: "a duration from 0s to 10m"
	Default string
	Env     string // SLIPWAY_…
	Flag    string // --…
	Live    bool   // takes effect on reload
	Origin  string // "reference", "reference 2" or "slipway"
	Ignored string // why it has no effect; "" when it has
	Doc     string // one line
}

// Reference describes every key, in the order of the documentation.
func Reference() []KeyDoc {
	docs := make([]KeyDoc, 0, len(schema))
	for _, k := range slices.All(schema) {
		docs = append(docs, KeyDoc{
			Name: k.name, Type: strings.TrimPrefix(k.typeName(), "one of "), Default: k.target().defaultOutcome().text,
			Env: k.env(), Flag: "--" + k.flag(), Live: k.live, Origin: k.origin, Ignored: k.ignored, Doc: k.doc,
		})
	}
	return docs
}

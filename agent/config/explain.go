package config

// Setting is one key with its value and where that came from. Secrets are masked.
type Setting struct {
	Key, Value, Source string
	Doc                string // one line
	Note               string // why the value has no effect; "" when it has
}

// Explain lists every key, in the order of the documentation.
func (c *Config) Explain() []Setting { return nil }

// RestartNeeded names the keys whose values differ from old's and that are only read at start.
func (c *Config) RestartNeeded(old *Config) []string { return nil }

// KeyDoc describes one key.
type KeyDoc struct {
	Name    string // dotted
	Type    string // "duration", "warn|fail", "integer ≥ 1", …
	Default string
	Env     string // SLIPWAY_…
	Flag    string // --…
	Live    bool   // takes effect on reload
	Origin  string // "reference", "reference 2" or "slipway"
	Ignored string // why it has no effect; "" when it has
	Doc     string // one line
}

// Reference describes every key, in the order of the documentation.
func Reference() []KeyDoc { return nil }

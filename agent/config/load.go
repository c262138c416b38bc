package config

// LoadOptions says where to look.
type LoadOptions struct {
	File    string              // --config: replaces the default files; "" for those
	Getenv  func(string) string // looks up SLIPWAY_* variables; nil: Environ alone is asked
	Environ []string            // "NAME=value" pairs, as os.Environ gives them; finds misspelt SLIPWAY_* names
	Flags   map[string]string   // by flag name without dashes ("root-dir") or key name ("root_dir")
	Root    string              // prefix of the default files' paths; "" outside tests
}

// Load reads all layers and checks the result. Its error is an *InvalidError with all that is wrong.
func Load(o LoadOptions) (*Config, error) { return nil, nil }

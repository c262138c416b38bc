package config

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The default files (C-2 and our own). Of those of the official agent the first that is there counts.
const (
	referenceFile         = "/etc/codedeploy-agent/conf/codedeployagent.yml"
	referenceFileFallback = "/opt/codedeploy-agent/conf/codedeployagent.yml"
	// KeptReferenceFile is what `slipway migrate` kept of it, for when the official agent's package has taken its own with it.
	KeptReferenceFile = "/etc/slipway/official/codedeployagent.yml"
	slipwayFile       = "/etc/slipway/slipway.yml"
	slipwayName       = "slipway.yml"
	dropInFolder      = "conf.d"
)

// LoadOptions says where to look.
type LoadOptions struct {
	File    string              // --config: replaces the default files; "" for those
	Getenv  func(string) string // looks up SLIPWAY_* variables; nil: Environ alone is asked
	Environ []string            // "NAME=value" pairs, as os.Environ gives them; finds misspelt SLIPWAY_* names
	Flags   map[string]string   // by flag name without dashes ("root-dir") or key name ("root_dir")
	// Under says that File is laid over the default files, not put in their place, as for the reference's local tool (L-12). Default
	// files with a mistake are left out.
	Under bool
	Root  string // prefix of the default files' paths; "" outside tests
}

// Load reads all layers, checks the result and returns it complete. Its error is an *InvalidError with all that is
// wrong at once. An empty environment variable counts as unset.
func Load(o LoadOptions) (*Config, error) {
	l := &loader{cfg: &Config{origins: map[string]origin{}}}
	l.defaults()
	l.files(o)
	l.environment(o)
	l.flags(o)
	if len(l.problems) == 0 {
		l.finish() // judges values together, which needs all of them
	}
	if len(l.problems) > 0 {
		return nil, &InvalidError{l.problems}
	}
	return l.cfg, nil
}

// origin is where a value came from and how it reads.
type origin struct{ source, text string }

// loader collects the layers.
type loader struct {
	cfg      *Config
	problems []Problem
}

func (l *loader) fail(p Problem) { l.problems = append(l.problems, p) }

func (l *loader) warn(p Problem) { l.cfg.Warnings = append(l.cfg.Warnings, p) }

func (l *loader) defaults() {
	for i := range schema {
		if schema[i].field != nil {
			l.reset(&schema[i])
		}
	}
}

// reset gives a key its default back.
func (l *loader) reset(k *key) {
	delete(l.cfg.origins, k.name)
	if k = k.target(); k.field == nil {
		return
	}
	// A default that cannot be read is a broken table; a test reads them all.
	delete(l.cfg.origins, k.name)
	set(k.field(l.cfg), k.defaultOutcome().value)
}

// defaultOutcome reads the default of a row. Numbers without one are 0.
func (k *key) defaultOutcome() outcome {
	if k.def == "" {
		switch k.kind {
		case kindBytes:
			return outcome{value: Bytes(0), text: "0"}
		case kindList:
			return outcome{value: []string{}}
		default:
			return outcome{value: ""}
		}
	}
	out, err := k.read(input{text: k.def})
	if err != nil {
		panic("config: default of " + k.name + ": " + err.Error())
	}
	return out
}

func set(field, value any) {
	switch p := field.(type) {
	case *string:
		*p = value.(string)
	case *bool:
		*p = value.(bool)
	case *int:
		*p = value.(int)
	case *[]string:
		*p = value.([]string)
	case *Bytes:
		*p = value.(Bytes)
	case *time.Duration:
		*p = value.(time.Duration)
	}
}

// apply gives a key the value of one layer. place is where a problem would be told, source what Explain shows.
func (l *loader) apply(k *key, in input, place Problem, source string) {
	if in.null || in.lenient && k.emptyIsNothing(in) {
		return // nothing is said: what the layers below said holds
	}
	out, err := k.read(in)
	if err != nil {
		place.Message = err.Error()
		if m, ok := errors.AsType[*mistake](err); ok {
			place.Suggestion = m.suggestion
		}
		l.fail(place)
		return
	}
	if out.note != "" {
		place.Message = out.note
		l.warn(place)
	}
	if k.ignored != "" && out.text != k.defaultOutcome().text {
		place.Message, place.Suggestion = k.name+" has no effect: "+k.ignored, ""
		l.warn(place)
	}
	l.cfg.origins[k.name] = origin{source, out.text}
	if t := k.target(); t.field != nil {
		set(t.field(l.cfg), out.value)
		l.cfg.origins[t.name] = origin{source, out.text}
	}
}

// emptyIsNothing tells an empty text where only the default makes sense.
func (k *key) emptyIsNothing(in input) bool {
	return k.kind <= kindEnum && k.def != "" && !in.isList && !in.isMap && strings.TrimSpace(in.text) == ""
}

// sources lists the files that Load reads: first those of which the first that exists is taken, then the rest.
type sources struct {
	alternatives []string // of the reference agent's file
	file         string   // ours, or that of --config
	must         bool     // file has to exist
	dropIns      string   // folder; "" for none
}

func (o LoadOptions) sources() sources {
	if o.File == "" {
		ours := o.Root + slipwayFile
		return sources{
			alternatives: []string{o.Root + referenceFile, o.Root + referenceFileFallback, o.Root + KeptReferenceFile},
			file:         ours,
			dropIns:      filepath.Join(filepath.Dir(ours), dropInFolder),
		}
	}
	s := sources{file: o.File, must: true}
	if filepath.Base(o.File) == slipwayName {
		s.dropIns = filepath.Join(filepath.Dir(o.File), dropInFolder)
	}
	return s
}

func (l *loader) files(o LoadOptions) {
	if o.Under && o.File != "" {
		below := o
		below.File, below.Under = "", false
		if _, err := Load(below); err == nil {
			l.files(below)
		}
	}
	s := o.sources()
	for _, path := range s.alternatives {
		if _, err := os.Lstat(path); err == nil {
			l.file(path, true, true)
			break
		}
	}
	l.file(s.file, isReferenceName(s.file), s.must)
	if s.dropIns == "" {
		return
	}
	entries, err := os.ReadDir(s.dropIns)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.fail(Problem{Source: s.dropIns, Message: "cannot be read: " + err.Error()})
	}
	for _, e := range entries { // sorted by name
		path := filepath.Join(s.dropIns, e.Name())
		switch {
		case isDropIn(e.Name()):
			l.file(path, false, false)
		case !strings.HasPrefix(e.Name(), ".") && strings.HasSuffix(e.Name(), ".yaml"):
			l.warn(Problem{Source: path, Message: "is not read", Suggestion: "its name must end in .yml"})
		}
	}
}

// isDropIn tells a file of conf.d from what editors and package managers leave beside it.
func isDropIn(name string) bool {
	return strings.HasSuffix(name, ".yml") && !strings.HasPrefix(name, ".")
}

func (l *loader) environment(o LoadOptions) {
	values := map[string]string{}
	for _, pair := range o.Environ {
		if name, value, ok := strings.Cut(pair, "="); ok && strings.HasPrefix(name, envPrefix) {
			values[name] = value
		}
	}
	for i := range schema {
		k := &schema[i]
		value := values[k.env()]
		if o.Getenv != nil {
			value = o.Getenv(k.env())
		}
		delete(values, k.env())
		if value != "" {
			source := "environment " + k.env()
			l.apply(k, input{text: value}, Problem{Source: source, Key: k.name}, source)
		}
	}
	var known []string
	for _, k := range schema {
		known = append(known, k.env())
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if best := nearest(name, known); best != "" && !slices.Contains(otherVariables, name) && !strings.HasPrefix(name, labPrefix) {
			l.warn(Problem{Source: "environment " + name, Message: "unknown variable is ignored", Suggestion: "did you mean " + best + "?"})
		}
	}
}

// labPrefix begins the variables by which the offline lab tells where it is.
const labPrefix = envPrefix + "LAB_"

// otherVariables look like a key's and are not: the agent gives them to its hooks, or its commands read them.
var otherVariables = []string{"SLIPWAY_CONFIG", "SLIPWAY_DEADLINE", "SLIPWAY_VERSION"}

func (l *loader) flags(o LoadOptions) {
	for _, name := range slices.Sorted(maps.Keys(o.Flags)) {
		bare := strings.TrimLeft(name, "-")
		i := slices.IndexFunc(schema, func(k key) bool { return k.name == bare || k.flag() == bare })
		if i < 0 {
			var known []string
			for _, k := range schema {
				known = append(known, k.flag())
			}
			l.fail(Problem{Source: "flag --" + bare, Message: "unknown key", Suggestion: suggest(bare, known)})
			continue
		}
		source := "flag --" + schema[i].flag()
		l.apply(&schema[i], input{text: o.Flags[name]}, Problem{Source: source, Key: schema[i].name}, source)
	}
}

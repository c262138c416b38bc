package appspec

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// schemaOf is the schema as a validator reads it.
func schemaOf(t testing.TB) map[string]any {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	return root
}

// checkSchema validates a value by the words of JSON Schema that the schema uses. An unknown word fails the test, so that none is passed over.
type checkSchema struct {
	t    testing.TB
	root map[string]any
}

func (c *checkSchema) valid(schema map[string]any, v any) bool {
	for word, arg := range schema {
		if !c.word(schema, word, arg, v) {
			return false
		}
	}
	return true
}

func (c *checkSchema) word(schema map[string]any, word string, arg, v any) bool {
	object, isObject := v.(map[string]any)
	number, isNumber := v.(float64)
	switch word {
	case "$schema", "$id", "$defs", "title", "description", "default":
		return true
	case "$ref":
		name := strings.TrimPrefix(arg.(string), "#/$defs/")
		return c.valid(c.root["$defs"].(map[string]any)[name].(map[string]any), v)
	case "type":
		return slices.ContainsFunc(texts(arg), func(name string) bool { return typeIs(name, v) })
	case "const":
		return gocmp.Equal(arg, v)
	case "enum":
		return slices.ContainsFunc(arg.([]any), func(one any) bool { return gocmp.Equal(one, v) })
	case "anyOf":
		return slices.ContainsFunc(arg.([]any), func(one any) bool { return c.valid(one.(map[string]any), v) })
	case "pattern":
		text, is := v.(string)
		return !is || regexp.MustCompile(arg.(string)).MatchString(text)
	case "minLength":
		text, is := v.(string)
		return !is || len(text) >= int(arg.(float64))
	case "minimum":
		return !isNumber || number >= arg.(float64)
	case "maximum":
		return !isNumber || number <= arg.(float64)
	case "items":
		list, _ := v.([]any)
		return !slices.ContainsFunc(list, func(one any) bool { return !c.valid(arg.(map[string]any), one) })
	case "required":
		return !isObject || !slices.ContainsFunc(texts(arg), func(name string) bool { _, has := object[name]; return !has })
	case "properties":
		for name, one := range arg.(map[string]any) {
			if member, has := object[name]; has && !c.valid(one.(map[string]any), member) {
				return false
			}
		}
		return true
	case "additionalProperties":
		known := schema["properties"].(map[string]any)
		for name := range object {
			if known[name] == nil && arg == false {
				return false
			}
		}
		return true
	}
	c.t.Fatalf("the schema uses %q, which this test does not know", word)
	return false
}

func texts(arg any) (all []string) {
	if one, is := arg.(string); is {
		return []string{one}
	}
	for _, one := range arg.([]any) {
		all = append(all, one.(string))
	}
	return all
}

func typeIs(name string, v any) bool {
	switch v := v.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && v == float64(int64(v))
	case []any:
		return name == "array"
	}
	return name == "object"
}

// plainValue is a value as an editor has it.
func plainValue(v *value) any {
	switch {
	case v.isNull():
		return nil
	case v.kind == boolean:
		return v.truth
	case v.kind == integer:
		n, _ := v.number.integer.Float64()
		return n
	case v.kind == float:
		return v.number.float
	case v.kind == list:
		all := []any{}
		for _, item := range v.items {
			all = append(all, plainValue(item))
		}
		return all
	case v.kind == mapping:
		all := map[string]any{}
		for _, p := range v.pairs() {
			all[p.key.String()] = plainValue(p.value)
		}
		return all
	}
	return v.String()
}

// The schema has the keys that the parser knows, section by section, and no others.
func TestSchemaKeys(t *testing.T) {
	root := schemaOf(t)
	defs := root["$defs"].(map[string]any)
	var scripted []string
	for name, runs := range defaultEvents {
		if runs {
			scripted = append(scripted, name)
		}
	}
	for name, known := range map[string][]string{
		"": topKeys, "file": fileKeys, "script": scriptKeys, "permission": permissionKeys, "context": contextKeys, "hooks": scripted,
	} {
		schema := root
		if name != "" {
			schema = defs[name].(map[string]any)
		}
		var got []string
		for key, one := range schema["properties"].(map[string]any) {
			got = append(got, key)
			if text, _ := one.(map[string]any)["description"].(string); text == "" {
				t.Errorf("%s.%s has no description", name, key)
			}
		}
		slices.Sort(got)
		want := slices.Sorted(slices.Values(known))
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("keys of %q (-parser +schema):\n%s", name, diff)
		}
	}
}

func TestSchema(t *testing.T) {
	const head = "version: 0.0\nos: linux\n"
	for name, tt := range map[string]struct {
		text  string
		valid bool
	}{
		"least":                 {head, true},
		"all":                   {head + "file_exists_behavior: RETAIN\nfiles:\n- source: /\n  destination: /srv\npermissions:\n- object: /srv\n  pattern: '*.sh'\n  except: [a]\n  type: [file]\n  owner: app\n  group: app\n  mode: '0644'\n  acls: ['u:bob:rw', 'm:7']\n  context:\n    name: u\n    type: t\n    range: s0-s3:c0.c3,c5\nhooks:\n  AfterInstall:\n  - location: a.sh\n    timeout: 300\n    runas: root\n    sudo: false\n", true},
		"empty sections":        {head + "files:\nhooks:\npermissions:\n", true},
		"no event's scripts":    {head + "hooks:\n  AfterInstall:\n", true},
		"timeout in quotes":     {head + "hooks:\n  AfterInstall:\n  - location: a.sh\n    timeout: '30'\n", true},
		"no version":            {"os: linux\n", false},
		"version as text":       {"version: '0.0'\nos: linux\n", false},
		"another version":       {"version: 1.0\nos: linux\n", false},
		"another system":        {"version: 0.0\nos: solaris\n", false},
		"key misspelt":          {head + "hooks:\n  AfterInstall:\n  - locaiton: a.sh\n", false},
		"event misspelt":        {head + "hooks:\n  BeoreInstall:\n  - location: a.sh\n", false},
		"overwrite in files":    {head + "files:\n- source: a\n  destination: /b\n  overwrite: true\n", false},
		"map for a list":        {head + "files:\n  source: a\n  destination: /b\n", false},
		"timeout of nothing":    {head + "hooks:\n  AfterInstall:\n  - location: a.sh\n    timeout: 0\n", false},
		"symbolic mode":         {head + "permissions:\n- object: /srv\n  mode: u+x\n", false},
		"list entry of nothing": {head + "permissions:\n- object: /srv\n  acls: [bob]\n", false},
		"behavior in lower":     {head + "file_exists_behavior: overwrite\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			doc, diags := Read("appspec.yml", []byte(tt.text))
			if doc == nil {
				t.Fatal(diags.Err())
			}
			c := &checkSchema{t: t, root: schemaOf(t)}
			if got := c.valid(c.root, plainValue(doc.root)); got != tt.valid {
				t.Errorf("valid is %v, want %v:\n%s", got, tt.valid, tt.text)
			}
		})
	}
}

// What the parser accepts and means something is valid, oddities apart; what it refuses is not, but for what a schema cannot say.
func TestSchemaOnCorpus(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(corpusDir(t), "*.yml"))
	probes, err2 := filepath.Glob(filepath.Join(corpusDir(t), "probes", "*.yml"))
	if names = append(names, probes...); err != nil || err2 != nil || len(probes) == 0 {
		t.Fatalf("no file in the corpus: %v, %v", err, err2)
	}
	c := &checkSchema{t: t, root: schemaOf(t)}
	beyond := []string{badOS, notOnWindows, badACL, badRange, badMode, badTimeout} // for other hosts, or more than a pattern says
	// Accepted by the accident of how the reference turns values into text, or takes an empty map for a list: nobody means it.
	stricter := map[string]string{
		"p090.yml": "a user that is a boolean", "p093.yml": "a user that is a number", "p106.yml": "a location that is a list", "p107.yml": "a location that is a map",
		"p109.yml": "a location that is a boolean", "p120.yml": "scripts that are a map", "p138.yml": "files that are a map", "p150.yml": "an empty destination, which Install refuses",
		"p157.yml": "permissions that are a map", "p167.yml": "an object that is a number", "p217.yml": "a context that is a text",
	}
	accepted, refused, passed := 0, 0, map[string]int{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		doc, _ := Read(filepath.Base(name), data)
		if doc == nil {
			continue // no editor can read it either
		}
		spec, diags := doc.Spec("linux")
		valid := c.valid(c.root, plainValue(doc.root))
		switch {
		case spec == nil && !valid:
			refused++
		case spec == nil:
			passed[diags[0].ID]++
			if !slices.Contains(beyond, diags[0].ID) {
				t.Errorf("%s: valid, and the parser refuses it: %v", filepath.Base(name), diags.Err())
			}
		case valid:
			accepted++
			if why := stricter[filepath.Base(name)]; why != "" {
				t.Errorf("%s: valid, though it has %s", filepath.Base(name), why)
			}
		case stricter[filepath.Base(name)] != "":
		case !slices.ContainsFunc(spec.Events(), func(ev string) bool { return !defaultEvents[ev] }) && len(spec.Unknown) == 0 && !defective(spec):
			t.Errorf("%s: not valid, and the parser accepts it", filepath.Base(name))
		}
	}
	t.Logf("%d valid and accepted, %d refused by both, refused by the parser alone: %v", accepted, refused, passed)
	if accepted == 0 || refused == 0 {
		t.Error("the corpus has to have both kinds")
	}
}

// defective reports whether a value is of a type that Install fails for.
func defective(s *Spec) bool {
	return slices.ContainsFunc(s.Files, func(f File) bool { return f.Defect != nil }) ||
		slices.ContainsFunc(s.Permissions, func(p Permission) bool { return p.Defect != nil }) ||
		slices.ContainsFunc(s.Hooks, func(h EventHooks) bool { return !h.Text })
}

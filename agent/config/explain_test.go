package config

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"
)

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s mismatch (-want +got); -update rewrites it:\n%s", path, diff)
	}
}

func TestExplainGolden(t *testing.T) {
	c, err := Load(LoadOptions{
		File: "testdata/everything.yml", Environ: []string{"SLIPWAY_HOOKS_RUNAS_MODE=su"}, Flags: map[string]string{"root-dir": "/srv/deploy"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, s := range c.Explain() {
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Key, s.Value, s.Source)
	}
	w.Flush()
	if strings.Contains(b.String(), "hunter2") {
		t.Error("Explain() shows a password")
	}
	golden(t, "testdata/explain.golden", strings.ReplaceAll(b.String(), "  \n", "\n"))
}

func TestReferenceGolden(t *testing.T) {
	var b bytes.Buffer
	for _, k := range Reference() {
		fmt.Fprintf(&b, "%s (%s, %s) = %s\n    %s\n", k.Name, k.Type, k.Origin, k.Default, k.Doc)
		if k.Ignored != "" {
			fmt.Fprintf(&b, "    no effect: %s\n", k.Ignored)
		}
		fmt.Fprintf(&b, "    %s %s live=%v\n", k.Env, k.Flag, k.Live)
	}
	golden(t, "testdata/reference.golden", b.String())
}

// Every row is complete, its default is readable, and every field of Config belongs to a row.
func TestSchema(t *testing.T) {
	c := &Config{}
	rows := map[any]string{}
	for i := range schema {
		k := &schema[i]
		if k.doc == "" || !strings.HasSuffix(k.doc, ".") || k.origin == "" || strings.Contains(k.doc, "\n") {
			t.Errorf("%s lacks a sentence or an origin", k.name)
		}
		if (k.field == nil) != (k.of != "" || k.ignored != "") && k.field == nil {
			t.Errorf("%s has neither field nor reason", k.name)
		}
		if k.of != "" && byName[k.of] == nil {
			t.Errorf("%s is another name of %s, which does not exist", k.name, k.of)
		}
		out := k.defaultOutcome()
		if k.field == nil {
			continue
		}
		p := k.field(c)
		if other, twice := rows[p]; twice {
			t.Errorf("%s and %s share a field", k.name, other)
		}
		rows[p] = k.name
		set(p, out.value)
	}
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		for i := range v.NumField() {
			f, name := v.Field(i), path+v.Type().Field(i).Name
			switch {
			case !v.Type().Field(i).IsExported() || name == "Warnings":
			case f.Kind() == reflect.Struct:
				walk(f, name+".")
			case rows[f.Addr().Interface()] == "":
				t.Errorf("field %s has no row", name)
			}
		}
	}
	walk(reflect.ValueOf(c).Elem(), "")
	if byName["root_dir"].env() != "SLIPWAY_ROOT_DIR" || byName["trust.ca_file"].flag() != "trust-ca-file" {
		t.Error("names of variable and flag are made otherwise than documented")
	}
}

func TestRestartNeeded(t *testing.T) {
	before, err := load(t, "slipway.yml", "root_dir: /a\nhooks: {grace: 1s}\nlog: {level: info}\nuser: x\n")
	if err != nil {
		t.Fatal(err)
	}
	after, err := load(t, "slipway.yml", "root_dir: /b\nhooks: {grace: 2s}\nverbose: true\nuser: y\nlisten: off\narchive_max_extraction_size: 1GB\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"root_dir", "listen"}, after.RestartNeeded(before)); diff != "" {
		t.Errorf("RestartNeeded() mismatch (-want +got):\n%s", diff)
	}
	all := after.changed(before, func(*key) bool { return true })
	if diff := cmp.Diff([]string{"root_dir", "verbose", "listen", "log.level", "hooks.grace", "limits.max_size"}, all); diff != "" {
		t.Errorf("changed() mismatch (-want +got):\n%s", diff)
	}
	if again := after.RestartNeeded(after); again != nil {
		t.Errorf("RestartNeeded() of itself = %v", again)
	}
}

func FuzzDocument(f *testing.F) {
	for _, name := range []string{"testdata/codedeployagent.yml", "testdata/everything.yml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, true)
		f.Add(data, false)
	}
	f.Add([]byte("trust: &t {signer: *t}\n"), false)
	f.Add([]byte(":a: [[[[\n"), true)
	f.Add([]byte("root_dir: {? [] : b}\n---\n- \x00"), false)
	f.Add([]byte("limits.max_size: 99999999999999999TiB\nhooks: {grace: 9999999h}"), false)
	f.Fuzz(func(t *testing.T, data []byte, lenient bool) {
		l := &loader{cfg: &Config{origins: map[string]origin{}}}
		l.defaults()
		l.document("f.yml", data, lenient)
		if len(l.problems) == 0 {
			l.finish()
		}
		for _, p := range append(l.problems, l.cfg.Warnings...) {
			if p.Message == "" || p.Line > bytes.Count(data, []byte("\n"))+bytes.Count(data, []byte("\r"))+2 {
				t.Errorf("problem without message or beyond the file: %+v", p)
			}
			_ = p.Error()
		}
		if len(l.problems) == 0 {
			if c := l.cfg; c.MaxRevisions < 1 || c.StopTimeout < 0 || c.RootDir == "" || c.Log.Level == "" {
				t.Errorf("accepted an invalid configuration: %+v", c)
			}
			l.cfg.Explain()
		}
	})
}

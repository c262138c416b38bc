package lint

import (
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func seeds(f *testing.F) {
	for _, r := range Rules() {
		if r.Bad != "" {
			f.Add([]byte(whole(r.Bad)))
			f.Add([]byte(whole(r.Good)))
		}
	}
	for _, s := range []string{
		"", bom, "\t", "a:\n\tb\n", head + "? BeoreInstall\n", head + "hooks: {BeoreInstall: [], ? timout: , locaiton: x}\n", head + "<<: {hook: a}\nfile: {}\n",
		head + "files:\n- overwrite: true\n  source: a\n  destination: b\n-\n  source: c\n  destination: d\n  overwrite: yes\n", head + "permissions:\n- {object: /, mode: 0644}\n- {object: /a, mode: &a 007}\n",
		"{version: 0.0, os: linux, hooks: {\"Befor\\u0065Instal\": [{location: 'a'}]}}", head + "hooks:\n  'BeoreInstall' : # x\n  - location: |\n     a\n", head + "x: 1\r\n\r\n---\r\n...\n--- {}\n",
		"version: 0.0\u2028os: linux\u2028hooks:\u2028 BeoreInstall:\u2028 - location: a\u2028",
	} {
		f.Add([]byte(s))
	}
}

// FuzzLint: whatever the text, the linter ends, every finding has a rule and a place in the text, and every format can be written.
func FuzzLint(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		report := Appspec("appspec.yml", data)
		if len(report.Findings) > maxFindings {
			t.Fatalf("%d findings", len(report.Findings))
		}
		for i := range report.Findings {
			x := &report.Findings[i]
			if x.Rule().ID != x.ID || x.Severity == "" || x.Message == "" || x.Suggestion == "" || x.Pos.Line > 0 && (x.Len < 1 || x.Pos.Col < 1) {
				t.Fatalf("finding %+v", x)
			}
			if x.Line != "" && utf8.Valid(data) && !strings.Contains(string(data), x.Line) {
				t.Fatalf("the line %q is not in the text", x.Line)
			}
		}
		report.Human(io.Discard, true)
		report.GitHub(io.Discard)
		if err := report.SARIF(io.Discard, ""); err != nil {
			t.Fatal(err)
		}
		if err := report.JSON(io.Discard); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzMend: whatever the text, what is mended is so for good, and nothing becomes worse.
func FuzzMend(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		after := checkMend(t, "appspec.yml", data)
		before, report := Appspec("appspec.yml", data), Appspec("appspec.yml", after)
		if left := report.Fixable(); left > 0 && before.Fixable() > 0 {
			t.Fatalf("%q became %q, and %d findings can still be mended", data, after, left)
		}
	})
}

// FuzzShellScript: whatever a script holds, looking at it ends.
func FuzzShellScript(f *testing.F) {
	for _, s := range []string{"", bom, "#!", "#! \n", "#!/usr/bin/env\n", "#!/bin/sh -e\r\n\r\n", "set -", "exit 0;", "\n\n\techo \xff\n: || true"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o := Options{Shell: shells("sh", "bash"), HasProgram: func(string) bool { return false }}
		b := &bundleLinter{linter: newLinter("appspec.yml"), ctx: t.Context(), opts: o}
		c := &script{bundleLinter: b, name: "a.sh", data: data}
		if err := c.look(); err != nil {
			t.Fatal(err)
		}
		for i := range b.report.Findings {
			if x := &b.report.Findings[i]; x.Pos.Line > 0 && x.Len < 1 || !utf8.ValidString(x.Line) {
				t.Fatalf("finding %+v", x)
			}
		}
		report := b.done()
		report.Human(io.Discard, false)
		if again := mendScript(mendScript(data)); string(again) != string(mendScript(data)) {
			t.Fatalf("mended twice: %q", again)
		}
	})
}

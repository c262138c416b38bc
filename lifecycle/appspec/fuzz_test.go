package appspec

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParse: whatever the text, Parse ends, gives either a Spec or an error, and keeps what it promises of both.
func FuzzParse(f *testing.F) {
	seeds := []string{
		"", "\ufeff---\n", usual, head + "hooks: {A: [{location: [a, {b: ~}], timeout: 1:30, runas: '', sudo: no}]}\n",
		head + "permissions:\n- object: /x\n  mode: 0644\n  acls: [d:u:bob:rwx, 'm:7']\n  context: {type: t, range: 's0-s3:c1,c0.c0'}\n",
		"%YAML 1.1\n%TAG !e! tag:e,2000:\n---\nversion: !!float '0'\nos: !e!x linux\n...\n@", head + "x: |2-\n    a\n\n   b\ny: >+\n  a\n\n  b\n\n",
		head + "x: \"a\\\n  b\\u00e9\\x41 \n\n c\"\ny: 'it''s\n\n\n ok'\n", "{\n\t\"version\": 0.0, os: linux, [a, b]: c, ? d, e: , f}\n",
		head + "? &a !!str k\n: *a\n<<: [{a: 1}, {b: 2}]\n", head + "x: 2024-01-01 00:00:00\n", "a:\n- b\n-\tc\n \t\n", "? ? ? a\n: - - b\n", "[[{[", "\x00",
		head + "x: !!omap [a: 1]\ny: !binary aGk=\nz: !<x> {a, b}\n", "a: b: c", "\xff\xfe", "- \"\n---\n", "version: 0.0\r\nos: linux\r\n\u2028\u0085",
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, diags := Parse("appspec.yml", data)
		err := diags.Err()
		if (spec == nil) == (err == nil) {
			t.Fatalf("spec %v and error %v", spec, err)
		}
		if err != nil {
			if text := err.Error(); !utf8.ValidString(text) || len(text) > 4096 {
				t.Fatalf("error of %d bytes, valid %v", len(text), utf8.ValidString(text))
			}
		}
		lines := newSource("", strings.ToValidUTF8(strings.TrimPrefix(string(data), "\ufeff"), "?"))
		for _, d := range diags {
			if classOf(d.ID) == "" || d.Message == "" || d.Suggestion == "" || d.Pos.Line > len(lines.lines) || d.Pos.Line > 0 && d.Len < 1 {
				t.Fatalf("diagnostic %+v", d)
			}
			_ = d.String()
		}
		if spec == nil {
			return
		}
		for _, h := range spec.Hooks {
			for _, s := range h.Scripts {
				if s.Location == "" || s.Timeout <= 0 || s.Pos.Line < 1 || s.LocationPos.Line < 1 {
					t.Fatalf("script %+v", s)
				}
			}
		}
		for _, p := range spec.Permissions {
			for _, a := range p.ACLs {
				if again, why := parseACL(a.String()); why != "" || again != a {
					t.Fatalf("ACL entry %q: %s", a, why)
				}
			}
			if p.Object == "" || p.ModeSet != (len(p.Mode) == 3 || len(p.Mode) == 4) {
				t.Fatalf("permission %+v", p)
			}
			if p.Context == nil {
				continue
			}
			if again, _ := normalRange(p.Context.Range); again != p.Context.Range && p.Context.Range != "s0:" {
				t.Fatalf("range %q becomes %q", p.Context.Range, again)
			}
		}
		_ = CheckEvents(spec, []string{"Install"}, nil)
	})
}

// FuzzMatchPattern: no pattern and name make it fail or take for ever.
func FuzzMatchPattern(f *testing.F) {
	f.Add("**", "a/b")
	f.Add("a*b", "axxb")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		got := MatchPattern(pattern, name)
		if !strings.Contains(pattern, "*") && got != (pattern == name && !strings.Contains(name, "/")) {
			t.Fatalf("MatchPattern(%q, %q) = %v", pattern, name, got)
		}
	})
}

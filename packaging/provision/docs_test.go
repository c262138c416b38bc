package provision

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// docs/provision.md holds the tables of keys, platforms and packages between marks; they are generated from those that the program reads.
func TestDocumented(t *testing.T) {
	const name = "../../docs/provision.md"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want := string(data)
	for mark, table := range map[string]string{"keys": keyTable(), "platforms": platformTable(), "packages": packageTable()} {
		before, rest, ok := strings.Cut(want, "<!-- "+mark+" -->\n")
		_, after, ok2 := strings.Cut(rest, "<!-- /"+mark+" -->\n")
		if !ok || !ok2 {
			t.Fatalf("%s has no marks for %s", name, mark)
		}
		want = before + "<!-- " + mark + " -->\n" + table + "<!-- /" + mark + " -->\n" + after
	}
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("%s is out of date (make golden):\n%s", name, diff)
	}
}

func keyTable() string {
	var b strings.Builder
	b.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
	for _, k := range Keys() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, k.Type, code(k.Default), k.Doc)
	}
	return b.String()
}

func platformTable() string {
	var b strings.Builder
	b.WriteString("| platform | by | PHP | run by | switched on first | virtual host | settings of PHP | units | web user |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, p := range Platforms() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | `%s` | `%s` | %s | %s |\n", p.Title, p.Manager, strings.Join(p.PHP, ", "),
			strings.Join(p.Handlers, ", "), code(p.Source), p.Site, p.Ini, code(strings.Join(p.Units, ", ")), p.User)
	}
	return b.String()
}

func packageTable() string {
	show := []string{"Amazon Linux 2023", "Amazon Linux 2", "Debian 12"}
	var b strings.Builder
	b.WriteString("| name | " + strings.Join(show, " | ") + " |\n|---|---|---|---|\n")
	for _, n := range PackageNames() {
		b.WriteString("| `" + n + "` |")
		for _, title := range show {
			for _, p := range Platforms() {
				if p.Title != title {
					continue
				}
				cell := code(strings.ReplaceAll(p.Packages[n], "|", "` or `"))
				if p.Packages[n] == "" {
					cell = "part of another"
				}
				b.WriteString(" " + cell + " |")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func code(s string) string {
	if s == "" {
		return "–"
	}
	return "`" + s + "`"
}

// The plan that docs/provision.md shows is one that the program makes.
func TestDocumentedPlan(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/provision.md")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := os.ReadFile("testdata/al2023_sqlite.golden")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(doc), "# slipway provision plan\nAmazon Linux 2023, profile tinitter\n")
	shown, _, ok := strings.Cut(after, "```")
	if !ok {
		t.Fatal("docs/provision.md shows no plan")
	}
	for part := range strings.SplitSeq(shown, "…\n") {
		if !strings.Contains(string(plan), strings.TrimSpace(part)) {
			t.Errorf("the plan of Amazon Linux 2023 has no such part (copy it from testdata/al2023_sqlite.golden):\n%s", part)
		}
	}
}

// The profiles that docs/provision.md shows are good ones; a part of one is put behind the least that a profile needs.
func TestDocumentedProfiles(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/provision.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(doc), "```yaml\n")[1:]
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		if !strings.HasPrefix(text, "name:") {
			text = small + text
		}
		if _, err := Parse("docs/provision.md", []byte(text)); err != nil {
			t.Errorf("%v", err)
		}
	}
	if len(blocks) < 2 {
		t.Errorf("docs/provision.md shows %d profiles", len(blocks))
	}
}

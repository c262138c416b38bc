package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"slipway/lifecycle"
)

// docs/events.md holds the kinds of deployments between two marks; it is generated from the table that slipway explain reads.
func TestEventsAreDocumented(t *testing.T) {
	const name, begin, end = "../../../docs/events.md", "<!-- kinds -->\n", "<!-- /kinds -->\n"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q … %q", name, begin, end)
	}
	want := before + begin + kindTables() + end + after
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := gocmp.Diff(want, string(data)); diff != "" {
		t.Errorf("%s is out of date (make golden):\n%s", name, diff)
	}
}

func kindTables() string {
	var b strings.Builder
	for _, k := range lifecycle.Kinds() {
		fmt.Fprintf(&b, "\n## %s: %s\n\n%s\n", k.Name, k.Title, k.About)
		for i, ph := range k.Phases {
			fmt.Fprintf(&b, "\n### %d. %s\n\n", i+1, ph.Title)
			if ph.Before != "" {
				fmt.Fprintf(&b, "First: %s.\n\n", ph.Before)
			}
			b.WriteString("| event | by | scripts of | what happens | the balancer sees | a failure leaves |\n|---|---|---|---|---|---|\n")
			for _, s := range ph.Steps {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", s.Event, performer(s), cmp.Or(s.Whose, "–"), cell(s.Does), cell(s.Traffic), cell(s.Failure))
			}
		}
		fmt.Fprintf(&b, "\n%s\n", k.Ends)
	}
	b.WriteString("\n")
	return b.String()
}

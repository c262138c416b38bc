package main

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	"slipway/lifecycle"
)

// docs/events.md holds the kinds of deployments; it is generated from the table that slipway explain reads.
func TestEventsAreDocumented(t *testing.T) {
	generated(t, "../../../docs/events.md", "kinds", kindTables())
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

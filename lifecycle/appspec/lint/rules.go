package lint

import (
	"slices"
	"strings"
	"sync"

	"slipway/lifecycle/appspec"
)

// Rule is one thing that the linter looks for. The table of them is the documentation, too: docs/lint.md and --explain print it.
type Rule struct {
	// ID is stable and never used for anything else. SW0xx is what the parser refuses, SW1xx what it accepts in the text, SW3xx what
	// only a look at the bundle can tell.
	ID string
	// Severity is the usual one; a finding may be milder where less is at stake.
	Severity appspec.Severity
	// Title is a few words, Why one sentence on what happens, Remedy one on what to write instead.
	Title, Why, Remedy string
	// Bad and Good are what the rule finds and what it does not: appspec text, without the lines version and os where they do not
	// matter. They are empty where the rule is about files of the bundle, or no few lines can show it.
	Bad, Good string
	// Fix says what --fix does about it, empty if nothing.
	Fix string
}

const (
	bad  = appspec.SeverityError
	warn = appspec.SeverityWarning
	note = appspec.SeverityInfo
)

// Rules are all rules in the order of their ids.
func Rules() []Rule {
	why := map[string]string{}
	for _, r := range appspec.Rules() {
		why[r.ID] = r.Why
	}
	all := slices.Clone(refusals)
	for i := range all {
		all[i].Severity, all[i].Why = bad, why[all[i].ID]
	}
	return slices.Concat(all, textRules, bundleRules)
}

// Find is the rule with an id, in any case of its letters; ok is false if there is none.
func Find(id string) (_ Rule, ok bool) {
	r, ok := byID()[strings.ToUpper(id)]
	return r, ok
}

var byID = sync.OnceValue(func() map[string]Rule {
	all := map[string]Rule{}
	for _, r := range Rules() {
		all[r.ID] = r
	}
	return all
})

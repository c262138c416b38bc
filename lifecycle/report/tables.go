package report

import (
	"strconv"
	"strings"

	"slipway/lifecycle"
)

// table is a part of a report that is but rows.
type table struct {
	id, title string
	head      []string // empty: a list
	rows      []row
	more      int // rows that are not shown
}

// row is one of a table. Its grade is said in its cells too.
type row struct {
	grade grade
	cells []string
}

// rest are the parts of an account that are but rows, as far as there are any: what nobody has watched is not there.
func rest(a *lifecycle.Account) []*table {
	t := &tables{}
	t.health("before", a.HealthBefore)
	t.health("after", a.HealthAfter)
	for i := range a.Processes {
		p := &a.Processes[i]
		listens := strings.Join(p.Listens[:min(len(p.Listens), maxRows)], ", ")
		t.add("processes", none, p.Command, p.User, strconv.Itoa(p.PID), string(p.By), listens)
	}
	for i := range a.Listeners {
		l := &a.Listeners[i]
		who := l.Command
		if l.PID != 0 {
			who = strings.TrimSpace(who + " (pid " + strconv.Itoa(l.PID) + ")")
		}
		t.add("listeners", none, l.Address, l.Network, who)
	}
	for i := range a.Services {
		s := &a.Services[i]
		g := none
		if s.Exit != 0 {
			g = mid
		}
		t.add("services", g, s.Call, s.Answer, strconv.Itoa(s.Exit), string(s.By))
	}
	for i := range a.Destinations {
		d := &a.Destinations[i]
		t.add("destinations", none, d.Address, d.Network, strconv.Itoa(d.Count), string(d.By))
	}
	t.list("users", none, a.Users)
	t.list("cron", none, a.Cron)
	t.list("packages", none, a.Packages)
	return t.all
}

// about are the facts around it, likewise.
func about(a *lifecycle.Account) []*table {
	t := &tables{}
	t.facts("host", a.Host)
	t.facts("walls", a.Walls)
	return t.all
}

// titles are those of the parts, with the heads of their columns; a list has none.
var titles = map[string][]string{
	"health":       {"Health", "when", "probe", "answer", "took", "of"},
	"processes":    {"Processes left running", "command", "user", "pid", "since", "listens on"},
	"listeners":    {"Listeners", "address", "network", "process"},
	"services":     {"Services asked for", "call", "answer", "exit", "in"},
	"destinations": {"Network destinations tried", "address", "network", "times", "in"},
	"users":        {"Users"},
	"cron":         {"Cron"},
	"packages":     {"Packages"},
	"host":         {"Host", "fact", "value"},
	"walls":        {"Walls of the rehearsal", "fact", "value"},
	"missed":       {"Not as the plan said"},
	"unplanned":    {"Done by Install, and not in the plan"},
	"overridden":   {"Planned, and changed again by a script"},
}

// tables are the parts that have rows.
type tables struct{ all []*table }

// add enters a row into a part, which is begun with its first one.
func (t *tables) add(id string, g grade, cells ...string) {
	if n := len(t.all); n == 0 || t.all[n-1].id != id {
		t.all = append(t.all, &table{id: id, title: titles[id][0], head: titles[id][1:]})
	}
	last := t.all[len(t.all)-1]
	if len(last.rows) == maxRows {
		last.more++
		return
	}
	last.rows = append(last.rows, row{g, cells})
}

func (t *tables) list(id string, g grade, lines []string) {
	for _, line := range lines {
		t.add(id, g, line)
	}
}

func (t *tables) facts(id string, list []lifecycle.Fact) {
	for _, f := range list {
		t.add(id, none, f.Name, f.Value)
	}
}

func (t *tables) health(when string, probes []lifecycle.ProbeAccount) {
	for i := range probes {
		p := &probes[i]
		g, text := good, "ok"
		if !p.OK {
			g, text = bad, "FAILED"
		}
		if p.Text != "" {
			text += ": " + p.Text
		}
		t.add("health", g, when, p.Name, text, took(p.TookMS), p.Target)
	}
}

// heading are the facts that stand below the verdict.
func heading(a *lifecycle.Account) (list []lifecycle.Fact) {
	group, kind := a.GroupName, a.Kind
	switch {
	case group == "":
		group = a.Group
	case a.Group != "" && a.Group != group:
		group += " (" + a.Group + ")"
	}
	if a.Local && !a.Rehearsal {
		kind = strings.TrimSuffix("local, "+kind, ", ")
	}
	for _, f := range []lifecycle.Fact{
		{Name: "deployment", Value: a.Deployment},
		{Name: "application", Value: a.Application},
		{Name: "group", Value: group},
		{Name: "revision", Value: a.Revision},
		{Name: "before it", Value: a.From},
		{Name: "kind", Value: kind},
	} {
		if f.Value != "" {
			list = append(list, f)
		}
	}
	return list
}

// predicted says how the plan has kept its word.
func predicted(p *lifecycle.Prediction) (g grade, text string) {
	text = "The plan named " + count(p.Planned, "path", "paths") + ": "
	switch {
	case p.Planned == 0: // nothing is installed, or a script has to clear the way first
		g, text = none, "The plan could name no path"
	case p.Met == p.Planned && len(p.Missed) == 0:
		g = good
		text += "each became what it said"
	default:
		g = bad
		text += number(p.Met) + " became what it said"
	}
	if n := len(p.Unplanned); n > 0 {
		g = bad
		text += "; Install did " + count(n, "thing", "things") + " that it had not named"
	}
	if p.Hooks > 0 {
		text += "; scripts made " + count(p.Hooks, "change", "changes") + " of their own, which no plan can name"
	}
	if p.Events != "" && g == good {
		g = mid
	}
	return g, text + "."
}

// predictedLists are the paths of a prediction that a person has to look at.
func predictedLists(p *lifecycle.Prediction) []*table {
	t := &tables{}
	t.list("missed", bad, p.Missed)
	t.list("unplanned", bad, p.Unplanned)
	t.list("overridden", none, p.Overridden)
	return t.all
}

// severities counts the findings of the linter.
func severities(a *lifecycle.Account) (g grade, text string) {
	var n [3]int
	for i := range a.Findings {
		switch a.Findings[i].Severity {
		case "error":
			n[0]++
		case "warning":
			n[1]++
		default:
			n[2]++
		}
	}
	var parts []string
	g = none
	for i, of := range []struct {
		grade     grade
		one, many string
	}{{bad, "error", "errors"}, {mid, "warning", "warnings"}, {none, "note", "notes"}} {
		if n[i] > 0 {
			parts = append(parts, count(n[i], of.one, of.many))
			if g == none {
				g = of.grade
			}
		}
	}
	return g, strings.Join(parts, ", ")
}

// severityText is a severity as slipway lint says it.
func severityText(severity string) string {
	if severity == "info" {
		return "note"
	}
	return severity
}

func severityGrade(severity string) grade {
	switch severity {
	case "error":
		return bad
	case "warning":
		return mid
	}
	return none
}

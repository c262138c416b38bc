package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"slipway/lifecycle"
	"slipway/lifecycle/appspec/lint"
	told "slipway/lifecycle/report"
)

// dryRunView shows a rehearsal to a person: what was found beforehand, each event while it goes on, and what came of it. With --json it
// is silent.
type dryRunView struct {
	r        *dryRun
	v        *scriptView
	findings lint.Report
}

func newDryRunView(r *dryRun) *dryRunView {
	to := r.p.stdout
	if r.o.asJSON {
		to = io.Discard
	}
	return &dryRunView{r: r, v: r.p.newScriptView(to)}
}

// preface tells what was found without running anything.
func (w *dryRunView) preface() {
	o := &w.r.plan
	w.v.say(sgrBold, "rehearsing "+printable(w.r.account.Revision))
	w.v.say("", fmt.Sprintf("  for group %s, %s", o.group, o.kind.Title))
	if from := w.r.account.From; from != "" {
		w.v.say("", "  over "+printable(from))
	}
	if len(w.findings.Findings) > 0 {
		w.v.say("", "\nlint")
		var text strings.Builder
		w.findings.Human(&text, w.v.colours)
		for line := range strings.Lines(strings.TrimRight(text.String(), "\n")) {
			w.raw("  " + strings.TrimRight(line, "\n"))
		}
	}
	w.v.say("", "")
	if w.r.planInside() {
		return
	}
	switch {
	case len(o.preview.Problems) == 0:
		w.v.say("", "plan: "+o.counts.String()+"; would succeed, unless a script fails")
	case o.preview.Plan != nil:
		w.v.say("", "plan: "+o.counts.String())
	default:
		w.v.say("", "plan:")
	}
	for i := range o.preview.Problems {
		q := &o.preview.Problems[i]
		w.v.say(sgrRed, "  "+verdict(q))
		w.v.indented("    ", o.plain(q.Err.Error()))
	}
}

// raw prints a line that has colours of its own, or none.
func (w *dryRunView) raw(text string) {
	_, err := w.v.out.WriteString(strings.TrimRight(text, " ") + "\n")
	w.v.note(err)
}

// planned tells the plan that was made in the sandbox.
func (w *dryRunView) planned(p *insidePlan) {
	w.v.say("", "\nplan: "+p.Counts.String())
	for _, text := range p.Problems {
		w.v.indented("  ", text)
	}
}

// before tells of an event of the deployment of --from.
func (w *dryRunView) before(m *insideEvent) {
	if m.Event == lifecycle.ApplicationStop {
		w.v.say("", "first "+printable(w.r.account.From))
	}
	if m.Script || !byHook(m.Event) || m.Outcome != outcomeSucceeded {
		w.v.say(sgrFaint, fmt.Sprintf("  %-18s  %-15s  %s", m.Event, m.Outcome, took(m.Took)))
	}
}

func (w *dryRunView) scriptBegins(s *insideStep) {
	w.v.begins(s.Event, s.Script, s.RunAs, s.Timeout)
}

func (w *dryRunView) said(l *lifecycle.OutputLine) {
	w.v.said(l.Stream, l.Text)
	w.v.note(w.v.out.Flush())
}

func (w *dryRunView) scriptEnded(m *insideScript) { w.v.ended(&m.jsonScript, m.Started) }

func (w *dryRunView) passedOver(e *lifecycle.EventAccount) {
	w.v.say(sgrFaint, fmt.Sprintf("%s: %s", e.Event, e.Nothing))
}

func (w *dryRunView) eventEnds(e *lifecycle.EventAccount, m *insideEvent) {
	switch {
	case e.Outcome != outcomeSucceeded:
		w.v.say(sgrRed, fmt.Sprintf("%s: %s, code %d, after %s", e.Event, e.Outcome, e.Code, took(m.Took)))
		w.v.indented("  ", strings.TrimSpace(e.Message))
		if log := strings.TrimSpace(strings.TrimPrefix(m.Log, m.Message)); log != "" && len(e.Scripts) == 0 {
			w.v.indented("  ", log)
		}
	case !byHook(e.Event):
		w.v.say(sgrBold, fmt.Sprintf("%s: %s", e.Event, took(m.Took)))
		w.v.indented("  ", e.Message)
	default:
		if e.Nothing != "" {
			w.v.say(sgrFaint, fmt.Sprintf("%s: %s", e.Event, e.Nothing))
		}
		w.v.indented("  ", e.Message)
	}
}

// conclude tells what the deployment makes of the host.
func (w *dryRunView) conclude() error {
	a := &w.r.account
	if len(a.Events) > 0 {
		options := w.r.p.textOptions()
		options.Rest, options.Short = true, !w.r.o.verbose
		if err := told.Text(w.v.out, a, options); err != nil {
			return err
		}
		style, word := sgrGreen, "succeeded"
		if a.Outcome != outcomeSucceeded {
			style, word = sgrRed, a.Outcome
		}
		w.v.say("", "")
		w.v.say(style, fmt.Sprintf("the rehearsal %s after %s, %s of it for the sandbox; nothing of this host was touched", word, took(time.Duration(a.TookMS)*time.Millisecond), took(time.Duration(a.OverheadMS)*time.Millisecond)))
	}
	return w.v.err
}

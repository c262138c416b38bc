package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"slipway/lifecycle"
	"slipway/lifecycle/rehearse"
)

// heard takes down what needs no answer.
func (r *dryRun) heard(m *insideMessage) {
	switch {
	case m.Plan != nil:
		r.plannedInside(m.Plan)
	case m.Began != nil:
		r.begins(m.Began)
	case m.Line != nil:
		r.said(m.Line)
	case m.Script != nil:
		r.scriptEnded(m.Script)
	}
}

// plannedInside takes over the plan that was made after the deployment of --from.
func (r *dryRun) plannedInside(p *insidePlan) {
	r.expect = p.Expected
	r.whose = p.Whose
	r.view.planned(p)
}

// begins is told that an event or a script begins.
func (r *dryRun) begins(s *insideStep) {
	if s.Before {
		r.inBefore = true
		return
	}
	r.inBefore = false
	if s.Script == "" {
		r.tellService(s.Event)
		r.account.Events = append(r.account.Events, lifecycle.EventAccount{Event: s.Event, Whose: r.whose[s.Event], Began: time.Now().UTC()})
		return
	}
	e := r.current()
	e.Scripts = append(e.Scripts, lifecycle.ScriptAccount{Script: s.Script, RunAs: s.RunAs, Began: time.Now().UTC(), TimeoutMS: s.Timeout.Milliseconds(), Exit: -1})
	r.view.scriptBegins(s)
}

// tellService takes down the events of the service that come before the given one, or with an empty one those that are left.
func (r *dryRun) tellService(before lifecycle.Event) {
	for len(r.steps) > 0 {
		step := r.steps[0]
		if step == before {
			r.steps = r.steps[1:]
			return
		}
		if !step.ByService() {
			if before != "" { // one that was not asked for, or not come to
				r.steps = r.steps[1:]
				continue
			}
			return
		}
		r.steps = r.steps[1:]
		r.account.Events = append(r.account.Events, lifecycle.EventAccount{
			Event: step, Began: time.Now().UTC(), Outcome: outcomeSkipped, Nothing: "the service does this, with its balancer: it is not rehearsed",
		})
		r.view.passedOver(&r.account.Events[len(r.account.Events)-1])
	}
}

// outcomeSkipped is that of an event that was not carried out.
const outcomeSkipped = "skipped"

// current is the event in hand.
func (r *dryRun) current() *lifecycle.EventAccount {
	if len(r.account.Events) == 0 {
		r.account.Events = append(r.account.Events, lifecycle.EventAccount{})
	}
	return &r.account.Events[len(r.account.Events)-1]
}

// script is the one in hand, or that ended last; nil before the first of an event.
func (r *dryRun) script() *lifecycle.ScriptAccount {
	e := r.current()
	if len(e.Scripts) == 0 {
		return nil
	}
	return &e.Scripts[len(e.Scripts)-1]
}

// said keeps a line of output: the first ones and the last ones.
func (r *dryRun) said(l *lifecycle.OutputLine) {
	if r.inBefore {
		return
	}
	r.view.said(l)
	s := r.script()
	if s == nil {
		return
	}
	kept := *l
	if len(kept.Text) > maxLineText {
		cut := maxLineText
		for cut > 0 && !utf8.RuneStart(kept.Text[cut]) {
			cut--
		}
		kept.Text = kept.Text[:cut] + "…"
	}
	s.Output = append(s.Output, kept)
	if len(s.Output) > keptFirst+keptLast {
		copy(s.Output[keptFirst:], s.Output[keptFirst+1:])
		s.Output = s.Output[:keptFirst+keptLast]
		s.Omitted++
	}
}

// scriptEnded takes down how a script did.
func (r *dryRun) scriptEnded(m *insideScript) {
	if r.inBefore {
		return
	}
	s := r.script()
	if s == nil || s.Script != m.Script { // it could not be started
		e := r.current()
		e.Scripts = append(e.Scripts, lifecycle.ScriptAccount{Script: m.Script, RunAs: m.RunAs, Began: time.Now().UTC()})
		s = r.script()
	}
	if m.Started {
		s.Began = m.Began
	}
	s.TookMS, s.Code, s.Exit, s.Signal, s.Message, s.Notes = m.TookMS, lifecycle.Code(m.Code), m.Exit, m.Signal, m.Message, m.Notes
	for _, left := range m.Left {
		s.Notes = append(s.Notes, fmt.Sprintf("left running: process %d (%s)", left.PID, left.Command))
	}
	r.view.scriptEnded(m)
}

// ended takes down how an event did. The error ends the rehearsal.
func (r *dryRun) ended(m *insideEvent) error {
	if m.Before {
		r.view.before(m)
		if m.Outcome != outcomeSucceeded {
			return fmt.Errorf("the deployment of %s, which --from says is to go before, failed at %s with code %d: %s", r.o.from, m.Event, m.Code, cmp.Or(m.Message, m.Log))
		}
		r.eventsTook += m.Took
		return nil
	}
	e := r.current()
	e.Began, e.TookMS, e.Outcome, e.Code, e.Message = m.Began, m.Took.Milliseconds(), m.Outcome, m.Code, strings.TrimSpace(m.Message)
	r.eventsTook += m.Took
	if m.Outcome == outcomeSucceeded {
		e.Message, e.Nothing = outcomeTexts(m)
	}
	r.view.eventEnds(e, m)
	return nil
}

// outcomeTexts are what is to be told of an event that succeeded: words of the agent, and why no script ran. What scripts did they have told
// themselves.
func outcomeTexts(m *insideEvent) (message, nothing string) {
	var words []string
	for line := range strings.Lines(m.Log) {
		line = strings.TrimSpace(line)
		own, of := strings.CutPrefix(line, string(m.Event)+": ")
		switch {
		case line == "":
		case of && byHook(m.Event) && !m.Script:
			nothing = own
		case !of || !byHook(m.Event):
			words = append(words, line)
		}
	}
	return strings.Join(words, "\n"), nothing
}

// end takes down what there was at the end.
func (r *dryRun) end(m *insideEnd) {
	a := &r.account
	a.Processes, a.Listeners, a.Services, a.Destinations = m.Processes, m.Listeners, m.Services, m.Destinations
	a.HealthBefore, a.HealthAfter = m.HealthBefore, m.HealthAfter
	a.Notes = append(a.Notes, m.Notes...)
	r.foreseen, r.asked = m.Foreseen, m.Asked
}

// conclude completes the account once the sandbox is gone.
func (r *dryRun) conclude() {
	a := &r.account
	a.Outcome = outcomeSucceeded
	last, touched, installed := r.lastEvent(), "", r.installedInside()
	for i := range a.Events {
		e := &a.Events[i]
		if e.Outcome != outcomeSucceeded && e.Outcome != outcomeSkipped {
			a.Outcome, last = e.Outcome, e.Event
		}
		if len(e.Scripts) > 0 {
			touched = string(e.Event)
		}
	}
	if a.Outcome == outcomeSucceeded {
		r.tellService("")
		a.State = "the deployment would succeed"
	} else {
		for _, ev := range r.steps {
			a.Events = append(a.Events, lifecycle.EventAccount{Event: ev, Outcome: outcomeSkipped, Nothing: "the deployment was over"})
		}
		a.State = foretold(last, a.Outcome, installed, touched, a.From)
	}
	if a.Prediction != nil {
		if a.Prediction.Events = r.foreseen; !r.planInside() {
			a.Prediction.Events = rehearse.Foreseen(r.plan.preview, a.Events)
		}
	}
	for i := range a.Processes {
		if by := &a.Processes[i].By; ofBefore(*by) {
			*by = "" // it was there before
		}
	}
	if a.Files == nil {
		a.Files = []lifecycle.FileChange{}
	}
	took := time.Since(r.began)
	a.TookMS = took.Milliseconds()
	a.OverheadMS = max(took-r.eventsTook-r.asked, 0).Milliseconds()
}

// foretold says what a deployment that does not come to its end would leave of this host.
func foretold(at lifecycle.Event, outcome string, installed bool, touched, from string) string {
	text := fmt.Sprintf("the deployment would fail at %s: ", at)
	if outcome == outcomeInterrupted {
		text = fmt.Sprintf("the deployment would be interrupted at %s: ", at)
	}
	switch {
	case installed:
		text += "the new files would be installed"
	case from != "":
		text += fmt.Sprintf("the files of %s would still be installed", from)
	default:
		text += "no files would be installed"
	}
	if touched != "" {
		text += fmt.Sprintf(", and scripts would have run, %s last", touched)
	}
	return text
}

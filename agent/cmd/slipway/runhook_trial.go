package main

import (
	"context"
	"fmt"
	"strings"

	"slipway/hooks"
	"slipway/lifecycle"
)

// trial is one event that run-hook carries out, and what is to be told of it.
type trial struct {
	p        *program
	d        *lifecycle.Deployment
	ev       lifecycle.Event
	at       lifecycle.Event // the one that goes on: to bring the bundle is one too
	o        runHookOptions
	follower *follower // of the log that the scripts write
	view     *scriptView
	result   jsonTrial
}

// jsonTrial is a run of an event as scripts read it.
type jsonTrial struct {
	Bundle     string       `json:"bundle"`
	Event      string       `json:"event"`
	Deployment string       `json:"deployment"`
	Group      string       `json:"group"`
	Outcome    string       `json:"outcome"` // succeeded, failed
	Code       int          `json:"code"`
	Message    string       `json:"message"`
	Log        string       `json:"log"`
	TookMS     int64        `json:"took_ms"`
	Folder     string       `json:"folder,omitempty"` // that was kept
	Scripts    []jsonScript `json:"scripts"`
}

// jsonScript is a script that ran, or could not.
type jsonScript struct {
	Script  string         `json:"script"`
	RunAs   string         `json:"run_as"` // empty: the user of the agent
	Code    int            `json:"code"`
	Exit    int            `json:"exit"` // -1: none
	Signal  string         `json:"signal,omitempty"`
	TookMS  int64          `json:"took_ms"`
	Lines   int64          `json:"lines"`
	Bytes   int64          `json:"bytes"`
	Message string         `json:"message,omitempty"`
	Left    []jsonLeftOver `json:"left"`
	Notes   []string       `json:"notes,omitempty"`
}

// jsonLeftOver is a process that a script left running.
type jsonLeftOver struct {
	PID     int      `json:"pid"`
	Command string   `json:"command"`
	Holds   []string `json:"holds,omitempty"` // "stdout as descriptor 1"
}

func (p *program) newTrial(d *lifecycle.Deployment, ev lifecycle.Event, name string, o runHookOptions) *trial {
	r := &trial{p: p, d: d, ev: ev, o: o, view: p.newScriptView(p.stdout)}
	r.result = jsonTrial{Bundle: name, Event: string(ev), Deployment: d.ID, Group: d.GroupName, Outcome: outcomeSucceeded, Scripts: []jsonScript{}}
	return r
}

// catchUp prints what the scripts have said by now.
func (r *trial) catchUp() {
	if !r.o.asJSON {
		r.view.note(r.follower.catchUp(context.Background()))
	}
}

// aloud prints something of ours, among the lines of the scripts.
func (r *trial) aloud(print func(*scriptView)) {
	if r.o.asJSON {
		return
	}
	r.follower.mu.Lock()
	defer r.follower.mu.Unlock()
	print(r.view)
}

func (r *trial) say(style, text string) { r.aloud(func(v *scriptView) { v.say(style, text) }) }

func (r *trial) indented(by, text string) { r.aloud(func(v *scriptView) { v.indented(by, text) }) }

// line prints what a script says.
func (r *trial) line(l logLine) error {
	e := l.entry()
	r.view.said(e.Kind, e.Text)
	return r.view.err
}

func (r *trial) flush() error { return r.view.out.Flush() }

// begin is told by the engine what is about to happen.
func (r *trial) begin(s lifecycle.Step) {
	if s.Script == "" {
		return
	}
	r.catchUp()
	r.aloud(func(v *scriptView) { v.begins(s.Event, s.Script, s.RunAs, s.Timeout) })
}

// observe is told by the engine what has happened.
func (r *trial) observe(o lifecycle.Observation) {
	if o.Script == "" {
		r.result.TookMS = o.Took.Milliseconds() // of the last event
		return
	}
	r.catchUp()
	s := scriptJSON(o)
	r.result.Scripts = append(r.result.Scripts, s)
	r.aloud(func(v *scriptView) { v.ended(&s, !o.Run.Started.IsZero()) })
}

func scriptJSON(o lifecycle.Observation) jsonScript {
	run := o.Run
	s := jsonScript{
		Script: o.Script, RunAs: run.RunAs, Code: int(o.Code), Exit: run.Exit, Signal: run.Signal, TookMS: o.Took.Milliseconds(),
		Lines: run.Excerpt.Lines, Bytes: run.Excerpt.Bytes, Left: []jsonLeftOver{}, Notes: run.Notes,
	}
	if run.Signal != "" {
		s.Exit = -1
	}
	if run.Err != nil {
		s.Message = run.Err.Error()
	}
	at := map[int]int{}
	add := func(p hooks.Process) int {
		i, ok := at[p.PID]
		if !ok {
			i = len(s.Left)
			at[p.PID] = i
			s.Left = append(s.Left, jsonLeftOver{PID: p.PID, Command: p.Command})
		}
		return i
	}
	for _, p := range run.Left {
		add(p)
	}
	for _, h := range run.Holders {
		left := &s.Left[add(h.Process)]
		left.Holds = append(left.Holds, fmt.Sprintf("%s as descriptor %d", h.Stream, h.FD))
	}
	return s
}

// tell says how the event ended and what the agent would report.
func (r *trial) tell(last lifecycle.Result) error {
	r.catchUp()
	res := &r.result
	res.Code, res.Message, res.Log = int(last.Code), last.Message, last.Log
	if last.Code != lifecycle.Succeeded {
		res.Outcome = outcomeFailed
	}
	if r.o.asJSON {
		return r.p.printJSON(res)
	}
	switch {
	case last.Code != lifecycle.Succeeded:
		r.say(sgrBold, fmt.Sprintf("the agent would report: %s failed, code %d", r.at, last.Code))
		r.indented("  ", last.Message)
	case len(res.Scripts) == 0: // the summary says why
		r.say("", last.Log)
	default:
		r.say(sgrBold, fmt.Sprintf("the agent would report: %s succeeded", r.ev))
	}
	if log := strings.TrimSpace(strings.TrimPrefix(last.Log, last.Message)); r.o.verbose && log != "" && len(res.Scripts) > 0 {
		r.say("", "  with the log")
		r.indented("    ", log)
	}
	if res.Folder != "" {
		r.say("", "kept: "+res.Folder)
	}
	return r.view.err
}

var _ logSink = (*trial)(nil)

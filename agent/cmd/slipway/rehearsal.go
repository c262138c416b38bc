package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"slipway/hooks"
	"slipway/lifecycle"
)

// rehearsal is one event that run-hook carries out, and what is to be told of it.
type rehearsal struct {
	p        *program
	d        *lifecycle.Deployment
	ev       lifecycle.Event
	at       lifecycle.Event // the one that goes on: to bring the bundle is one too
	o        runHookOptions
	follower *follower // of the log that the scripts write
	out      *bufio.Writer
	tty      bool
	colours  bool
	result   jsonRehearsal
	err      error // why something could not be printed
}

// jsonRehearsal is a run of an event as scripts read it.
type jsonRehearsal struct {
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

func (p *program) newRehearsal(d *lifecycle.Deployment, ev lifecycle.Event, name string, o runHookOptions) *rehearsal {
	r := &rehearsal{p: p, d: d, ev: ev, o: o, out: bufio.NewWriterSize(p.stdout, 64<<10)}
	r.tty, r.colours = p.terminal()
	r.result = jsonRehearsal{Bundle: name, Event: string(ev), Deployment: d.ID, Group: d.GroupName, Outcome: outcomeSucceeded, Scripts: []jsonScript{}}
	return r
}

// catchUp prints what the scripts have said by now.
func (r *rehearsal) catchUp() {
	if !r.o.asJSON {
		r.note(r.follower.catchUp(context.Background()))
	}
}

func (r *rehearsal) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

// say prints a line of ours, among those of the scripts.
func (r *rehearsal) say(style, text string) {
	if r.o.asJSON {
		return
	}
	r.follower.mu.Lock()
	defer r.follower.mu.Unlock()
	r.note(r.styled(style, text))
	r.note(r.flush())
}

func (r *rehearsal) indented(by, text string) {
	for line := range strings.Lines(text) {
		r.say("", by+strings.TrimRight(line, "\r\n"))
	}
}

func (r *rehearsal) styled(style, text string) error {
	if r.tty {
		text = printable(text)
	}
	if style != "" && r.colours {
		text = style + text + sgrReset
	}
	_, err := r.out.WriteString(text + "\n")
	return err
}

// Marks of what scripts say.
const (
	markStdout = "  | "
	markStderr = "  ! "
	markAgent  = "  * "
)

// line prints what a script says. The headers of the log are ours to print.
func (r *rehearsal) line(l logLine) error {
	e := l.entry()
	switch e.Kind {
	case hooks.EntryEvent, hooks.EntryScript:
		return nil
	case hooks.EntryStdout:
		return r.styled("", markStdout+e.Text)
	case hooks.EntryStderr:
		return r.styled(sgrRed, markStderr+e.Text)
	}
	return r.styled("", markAgent+e.Text)
}

func (r *rehearsal) flush() error { return r.out.Flush() }

// begin is told by the engine what is about to happen.
func (r *rehearsal) begin(s lifecycle.Step) {
	if s.Script == "" {
		return
	}
	r.catchUp()
	r.say(sgrBold, fmt.Sprintf("%s: %s, as %s, timeout %s", s.Event, s.Script, userName(s.RunAs), s.Timeout))
}

// userName is the user that a script runs as.
func userName(runAs string) string {
	switch {
	case runAs != "":
		return runAs
	case os.Geteuid() == 0:
		return "root"
	}
	return fmt.Sprintf("user %d", os.Geteuid())
}

// observe is told by the engine what has happened.
func (r *rehearsal) observe(o lifecycle.Observation) {
	if o.Script == "" {
		r.result.TookMS = o.Took.Milliseconds() // of the last event
		return
	}
	r.catchUp()
	s := scriptJSON(o)
	r.result.Scripts = append(r.result.Scripts, s)
	how, style := fmt.Sprintf("exit code %d", s.Exit), sgrGreen
	switch {
	case o.Run.Started.IsZero():
		how = "not started"
	case s.Signal != "":
		how = "killed by " + s.Signal
	case s.Exit < 0:
		how = "no exit code"
	}
	verdict := "succeeded"
	if s.Code != int(lifecycle.Succeeded) {
		verdict, style = fmt.Sprintf("failed (code %d)", s.Code), sgrRed
	}
	if !o.Run.Started.IsZero() {
		how += fmt.Sprintf(" after %s, %s", took(o.Took), counted(s.Lines, "line"))
	}
	r.say(style, fmt.Sprintf("  %s: %s", verdict, how))
	for _, n := range s.Notes {
		r.say("", "  note: "+n)
	}
	for _, left := range s.Left {
		text := fmt.Sprintf("  still running: process %d (%s)", left.PID, left.Command)
		if len(left.Holds) > 0 {
			text += " holds " + strings.Join(left.Holds, ", ")
		}
		r.say("", text)
	}
}

func counted(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
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
func (r *rehearsal) tell(last lifecycle.Result) error {
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
	return r.err
}

var _ logSink = (*rehearsal)(nil)

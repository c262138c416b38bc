package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"slipway/hooks"
	"slipway/lifecycle"
)

// scriptView prints what scripts do while they do it, for a person: run-hook and dry-run show a run in the same lines.
type scriptView struct {
	out     *bufio.Writer
	colours bool
	err     error // why something could not be printed
}

func (p *program) newScriptView(to io.Writer) *scriptView {
	v := &scriptView{out: bufio.NewWriterSize(to, 64<<10)}
	_, v.colours = p.terminal()
	return v
}

// line prints a line, or several of our own.
func (v *scriptView) line(style, text string) {
	text = printableText(text)
	if style != "" && v.colours {
		text = style + text + sgrReset
	}
	_, err := v.out.WriteString(text + "\n")
	v.note(err)
}

func (v *scriptView) note(err error) {
	if v.err == nil {
		v.err = err
	}
}

// say prints a line at once.
func (v *scriptView) say(style, text string) {
	v.line(style, text)
	v.note(v.out.Flush())
}

func (v *scriptView) indented(by, text string) {
	for line := range strings.Lines(text) {
		v.say("", by+strings.TrimRight(line, "\r\n"))
	}
}

// Marks of what scripts say.
const (
	markStdout = "  | "
	markStderr = "  ! "
	markAgent  = "  * "
)

// said prints what a script has said, or the agent about it. The headers of the log are ours to print.
func (v *scriptView) said(kind, text string) {
	text = saidLine(text)
	switch kind {
	case hooks.EntryEvent, hooks.EntryScript:
	case hooks.EntryStdout:
		v.line("", markStdout+text)
	case hooks.EntryStderr:
		v.line(sgrRed, markStderr+text)
	default:
		v.line("", markAgent+text)
	}
}

// begins says that a script is about to be started.
func (v *scriptView) begins(event lifecycle.Event, script, runAs string, timeout time.Duration) {
	v.say(sgrBold, fmt.Sprintf("%s: %s, as %s, timeout %s", event, script, userName(runAs), timeout))
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

// ended says how a script ended; started is false if it never began.
func (v *scriptView) ended(s *jsonScript, started bool) {
	how, style := fmt.Sprintf("exit code %d", s.Exit), sgrGreen
	switch {
	case !started && s.Code == int(lifecycle.FailedAfterReboot): // who watched over it is gone
		how = "how it ended is not known"
	case !started:
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
	if started {
		how += fmt.Sprintf(" after %s, %s", took(time.Duration(s.TookMS)*time.Millisecond), counted(s.Lines, "line"))
	}
	v.say(style, fmt.Sprintf("  %s: %s", verdict, how))
	for _, n := range s.Notes {
		v.say("", "  note: "+n)
	}
	for _, left := range s.Left {
		text := fmt.Sprintf("  still running: process %d (%s)", left.PID, left.Command)
		if len(left.Holds) > 0 {
			text += " holds " + strings.Join(left.Holds, ", ")
		}
		v.say("", text)
	}
}

func counted(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

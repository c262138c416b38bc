package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"slipway/hooks"
	"slipway/lifecycle"
)

// Control sequences of a terminal.
const (
	eraseLine = "\r\x1b[K"
	colorGood = "\x1b[32m"
	colorBad  = "\x1b[31m"
	colorDim  = "\x1b[2m"
	colorOff  = "\x1b[0m"
)

// viewTick is how often the view looks at what scripts say, and how long a script has been running.
const viewTick = 100 * time.Millisecond

// localView shows a local deployment while it goes on. On a terminal its last line tells what is in hand, for how long, and how long that may
// take; elsewhere there are plain lines alone.
type localView struct {
	out, stderr io.Writer
	width       func() int // of the terminal; nil: there is none
	color       bool

	mu      sync.Mutex // guards all below
	follow  *hooks.LogReader
	step    lifecycle.Step
	began   time.Time       // of step
	scripts map[string]bool // events of which a script was begun
	status  bool            // the last line on the terminal is to be rewritten
	done    chan struct{}
	over    sync.WaitGroup
}

// newLocalView makes the view of a person; quiet shows nothing but the notice of a stop.
func newLocalView(p *program, quiet bool) *localView {
	v := newLocalWitness(p.stderr)
	if quiet {
		return v
	}
	v.out = p.stdout
	f, ok := p.stdout.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || p.getenv("TERM") == "dumb" {
		return v
	}
	v.color = p.getenv("NO_COLOR") == ""
	v.width = p.columns
	return v
}

// newLocalWitness sees what begins and shows nothing but the notice of a stop.
func newLocalWitness(stderr io.Writer) *localView {
	return &localView{out: io.Discard, stderr: stderr, scripts: map[string]bool{}}
}

// ran reports whether a script of an event was begun.
func (v *localView) ran(event string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.scripts[event]
}

// start says what is going to be done and begins to watch.
func (v *localView) start(r *localRun) {
	v.done = make(chan struct{})
	if v.out == io.Discard {
		return
	}
	v.follow = hooks.NewLogReader(r.scriptsLog())
	fmt.Fprintf(v.out, "deploying %s to this host\n  as          %s\n  group       %s\n  folder      %s\n", printable(r.d.Revision.String()), printable(r.d.ID), printable(r.d.GroupID), printable(r.folder()))
	v.over.Go(func() {
		tick := time.NewTicker(viewTick)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				v.mu.Lock()
				v.catchUp()
				v.showStatus()
				v.mu.Unlock()
			case <-v.done:
				return
			}
		}
	})
}

// stop ends the watching.
func (v *localView) stop() {
	close(v.done)
	v.over.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.clearStatus()
	if v.follow != nil {
		_ = v.follow.Close()
	}
}

// stopping tells that a signal was heard.
func (v *localView) stopping() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.clearStatus()
	fmt.Fprintln(v.stderr, "slipway: stopping; a script or download in hand is ended, an installation is finished first, once more stops at once")
}

// begin is told by the engine.
func (v *localView) begin(s lifecycle.Step) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.catchUp() // the last words of the script before
	v.step, v.began = s, time.Now()
	switch {
	case s.Waiting:
		v.line("", fmt.Sprintf("  %-18s  waits for another deployment of the group", s.Event))
	case s.Script != "":
		v.scripts[string(s.Event)] = true
		as := ""
		if s.RunAs != "" {
			as = " as " + s.RunAs
		}
		v.line("", fmt.Sprintf("  %-18s  %s%s, up to %s", s.Event, s.Script, as, took(s.Timeout)))
	}
	v.showStatus()
}

// end shows what became of an event.
func (v *localView) end(e jsonEvent) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.catchUp()
	v.step = lifecycle.Step{}
	v.clearStatus()
	ran := v.scripts[e.Event]
	builtIn := e.Event == string(lifecycle.DownloadBundle) || e.Event == string(lifecycle.Install)
	color, text := colorGood, e.Outcome
	switch {
	case e.Outcome == outcomeFailed:
		color, text = colorBad, fmt.Sprintf("failed (code %d)", e.Code)
	case e.Outcome != outcomeSucceeded:
		color = colorBad
	case !ran && !builtIn:
		color, text = colorDim, "nothing to run"
	}
	fmt.Fprintf(v.out, "  %-18s  %s  %s\n", e.Event, v.painted(color, fmt.Sprintf("%-15s", text)), took(time.Duration(e.TookMS)*time.Millisecond))
	if e.Outcome != outcomeSucceeded {
		writeIndented(v.out, e.Message)
		writeIndented(v.out, strings.TrimPrefix(e.Log, e.Message))
		return
	}
	for line := range strings.Lines(e.Log) {
		if builtIn || strings.HasPrefix(line, "new revision: ") || strings.Contains(line, "skipped") {
			writeIndented(v.out, line)
		}
	}
}

// catchUp shows what scripts have said since. The caller holds mu.
func (v *localView) catchUp() {
	if v.follow == nil {
		return
	}
	for {
		line, err := v.follow.Next()
		if err != nil { // there is no more for now, or it cannot be read: it is in the file
			return
		}
		switch e := hooks.ParseEntry(line); e.Kind {
		case hooks.EntryStdout:
			v.line("", "    | "+saidLine(e.Text))
		case hooks.EntryStderr:
			v.line(colorBad, "    ! "+saidLine(e.Text))
		}
	}
}

// line puts a line above the status. The caller holds mu.
func (v *localView) line(color, text string) {
	v.clearStatus()
	fmt.Fprintln(v.out, v.painted(color, printable(text)))
}

func (v *localView) painted(color, text string) string {
	if !v.color || color == "" {
		return text
	}
	return color + text + colorOff
}

// showStatus rewrites the last line of a terminal. The caller holds mu.
func (v *localView) showStatus() {
	if v.width == nil || v.step.Event == "" {
		return
	}
	const second = time.Second
	elapsed := time.Since(v.began).Truncate(second)
	text := fmt.Sprintf("  %s  %s", v.step.Event, elapsed)
	w := v.width()
	switch {
	case v.step.Waiting:
		text = fmt.Sprintf("  %s  waiting  %s", v.step.Event, elapsed)
	case v.step.Script != "":
		text += " of " + took(v.step.Timeout)
		if long := text + "  " + printable(v.step.Script); utf8.RuneCountInString(long) < w {
			text = long
		}
	}
	if r := []rune(text); len(r) >= w {
		text = string(r[:max(w-1, 0)])
	}
	fmt.Fprint(v.out, eraseLine+v.painted(colorDim, text))
	v.status = true
}

// clearStatus takes the last line away. The caller holds mu.
func (v *localView) clearStatus() {
	if v.status {
		fmt.Fprint(v.out, eraseLine)
		v.status = false
	}
}

// summary closes the account.
func (v *localView) summary(r *localRun) {
	color := colorGood
	if r.outcome != outcomeSucceeded {
		color = colorBad
	}
	fmt.Fprintf(v.out, "%s %s after %s\n", r.d.ID, v.painted(color, r.outcome), took(time.Since(r.began)))
	for _, e := range r.events {
		if v.ran(e.Event) || e.Outcome != outcomeSucceeded {
			fmt.Fprintf(v.out, "  %-18s  %-15s  %s\n", e.Event, e.Outcome, took(time.Duration(e.TookMS)*time.Millisecond))
		}
	}
	if c := r.changes; c != nil {
		fmt.Fprintf(v.out, "  files       %d added, %d replaced, %d removed, %d unchanged", c.Added, c.Replaced, c.Removed, c.Unchanged)
		if c.Kept > 0 {
			fmt.Fprintf(v.out, ", %d kept as found", c.Kept)
		}
		fmt.Fprintln(v.out)
	}
	if _, err := os.Stat(r.scriptsLog()); err == nil {
		fmt.Fprintf(v.out, "  output      %s\n", r.scriptsLog())
	}
	if r.log != "" {
		fmt.Fprintf(v.out, "  log         %s\n", r.log)
	}
}

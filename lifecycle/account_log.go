package lifecycle

import (
	"errors"
	"io"
	"slices"
	"time"
	"unicode/utf8"

	"slipway/hooks"
)

// maxTold bounds what an account keeps of one line of a log, in bytes.
const maxLineTold = 8 << 10

// scriptSaid collects what a script has said: the first lines and the last.
type scriptSaid struct {
	script *ScriptAccount
	head   []OutputLine
	tail   []OutputLine // a ring
	next   int          // where in it the oldest line is
	most   int
	n      int64
}

func (s *scriptSaid) add(l OutputLine) {
	s.n++
	first := s.most / 4
	switch {
	case len(s.head) < first:
		s.head = append(s.head, l)
	case len(s.tail) < s.most-first:
		s.tail = append(s.tail, l)
	default:
		s.tail[s.next] = l
		s.next = (s.next + 1) % len(s.tail)
	}
}

func (s *scriptSaid) done() {
	if s == nil {
		return
	}
	s.script.Output = append(append(s.head, s.tail[s.next:]...), s.tail[:s.next]...)
	s.script.Omitted = s.n - int64(len(s.script.Output))
}

// log reads the log of the scripts (H-24): an event begins with its name, a script with its location, and what follows is the script's. A
// line before either is of the agent that wrote the log, and nothing is known of it.
func (t *telling) log() error {
	if t.p.ScriptsLog == "" {
		return nil
	}
	r := hooks.NewLogReader(t.p.ScriptsLog)
	defer func() { _ = r.Close() }()
	var event Event
	var said *scriptSaid
	last := time.Time{}
	over := func() { // the script before
		if said != nil && t.p.Foreign && !last.Before(said.script.Began) {
			said.script.TookMS = last.Sub(said.script.Began).Milliseconds() // nobody has told it
			t.saw(event, last)
		}
		said.done()
	}
	for {
		line, err := r.Next()
		if errors.Is(err, io.EOF) {
			if line = r.Rest(); len(line) == 0 {
				break
			}
			err = nil
		}
		if err != nil {
			return err
		}
		e := hooks.ParseEntry(line)
		at := e.At.UTC()
		switch e.Kind {
		case hooks.EntryEvent:
			over()
			event, said = Event(e.Text), nil
			t.again(t.find(event, at))
		case hooks.EntryScript:
			over()
			said = t.begun(event, e.Text, at)
		default:
			if said == nil {
				continue
			}
			if !e.At.IsZero() {
				last = at
			}
			said.add(OutputLine{At: at, Stream: stream(e.Kind), Text: t.o.Redact(shortened(e.Text))})
		}
	}
	over()
	return nil
}

// saw says of an event of another agent's deployment, and of that itself, how long they went on at the least.
func (t *telling) saw(ev Event, last time.Time) {
	e := t.find(ev, last)
	e.TookMS = max(e.TookMS, last.Sub(e.Began).Milliseconds())
	t.a.Began = t.a.Events[0].Began // better than the time of its folder
	t.a.TookMS = max(t.a.TookMS, last.Sub(t.a.Began).Milliseconds())
}

// again leaves out the scripts of an event that has run before: what the history has is its last run.
func (t *telling) again(e *EventAccount) {
	if len(e.Scripts) == 0 {
		return
	}
	e.Scripts = nil
	note := string(e.Event) + " has run more than once; this is its last run, and the log has the others"
	if !slices.Contains(t.a.Notes, note) {
		t.a.Notes = append(t.a.Notes, note)
	}
}

// begun is a script that begins.
func (t *telling) begun(ev Event, name string, at time.Time) *scriptSaid {
	e := t.find(ev, at)
	e.Scripts = append(e.Scripts, ScriptAccount{Script: name, Began: at, TookMS: UnknownMS, Exit: 0})
	// Events are not added before the next header, so that the place of the script stays.
	return &scriptSaid{script: &e.Scripts[len(e.Scripts)-1], most: t.o.Lines}
}

func stream(kind string) string {
	if kind == hooks.EntryOther {
		return "agent"
	}
	return kind
}

// shortened keeps a line of a log readable.
func shortened(line string) string {
	if len(line) <= maxLineTold {
		return line
	}
	at := maxLineTold
	for at > maxLineTold-utf8.UTFMax && !utf8.RuneStart(line[at]) {
		at--
	}
	return line[:at] + "…"
}

package report

import (
	"bufio"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"slipway/lifecycle"
)

// TextOptions say how an account is shown as text. The zero value is for a pipe.
type TextOptions struct {
	Width   int            // of the terminal in columns, from 40 on; 0: 100. It is the bars that are fitted to it
	Colour  bool           // colours of a terminal
	Unicode bool           // bars and signs that are not ASCII
	In      *time.Location // where the reader is; nil: UTC
	Rest    bool           // only what came of it: the reader has seen the events, and what was found beforehand
	Short   bool           // no differences of text files, and no long lists
}

// Text writes what the page says for a terminal or a pipe. The error is w's.
func Text(w io.Writer, a *lifecycle.Account, o TextOptions) error {
	const usual, narrow = 100, 40
	if o.Width == 0 {
		o.Width = usual
	}
	if o.In == nil {
		o.In = time.UTC
	}
	o.Width = max(o.Width, narrow)
	t := &text{Writer: bufio.NewWriterSize(w, 32<<10), a: a, o: o, glyphs: ascii, output: maxOutput, diffs: maxDiffs, paths: maxPaths}
	if o.Unicode {
		t.glyphs = fancy
	}
	if o.Short {
		t.diffs = 0
	}
	if !o.Rest {
		t.top()
		t.timeline()
		t.scripts()
	}
	t.files()
	t.prediction()
	if !o.Rest {
		t.findings()
	}
	for _, of := range rest(a) {
		t.table(of)
	}
	t.notes()
	if !o.Rest {
		for _, of := range about(a) {
			t.table(of)
		}
	}
	return t.Flush()
}

// glyphs are the signs of our own; what a bundle holds keeps its letters.
type glyphs struct{ full, half, more, arrow string }

var (
	ascii = glyphs{full: "#", half: "#", more: "...", arrow: "->"}
	fancy = glyphs{full: "█", half: "▌", more: "…", arrow: "→"}
)

// Control sequences of a terminal.
const (
	sgrBold   = "\x1b[1m"
	sgrFaint  = "\x1b[2m"
	sgrRed    = "\x1b[31m"
	sgrGreen  = "\x1b[32m"
	sgrYellow = "\x1b[33m"
	sgrBlue   = "\x1b[34m"
	sgrOff    = "\x1b[0m"
)

var gradeColours = map[grade]string{good: sgrGreen, bad: sgrRed, mid: sgrYellow, run: sgrBlue, none: sgrFaint}

// text writes plain text. Its writer keeps the first error.
type text struct {
	*bufio.Writer
	glyphs
	a *lifecycle.Account
	o TextOptions
	// What may still be written of each.
	output, diffs, paths int
}

// clean is text of one line as a terminal may have it: what is not printed is a code.
func clean(s string) string { return plain(clip(s, maxField), false) }

// long is the same of a line of output or of a message. A tab is four blanks.
func long(s string) string {
	return plain(strings.ReplaceAll(clip(s, maxLine), "\t", "    "), false)
}

func (t *text) paint(colour, s string) string {
	if !t.o.Colour || colour == "" || s == "" {
		return s
	}
	return colour + s + sgrOff
}

// line writes a line of parts. Whatever is not of our own in them has been cleaned.
func (t *text) line(parts ...string) {
	for _, part := range parts {
		t.WriteString(part) //nolint:errcheck // Flush tells
	}
	t.WriteByte('\n') //nolint:errcheck // Flush tells
}

// heading begins a part.
func (t *text) heading(title string) { t.line("\n", t.paint(sgrBold, title)) }

// beyond says how many were left out.
func (t *text) beyond(n int, one, many string) {
	if n > 0 {
		t.line("  ", t.more, " and ", count(n, "more "+one, "more "+many))
	}
}

// pad is text of at least that many columns, one for each character.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0))
}

func padLeft(s string, width int) string {
	return strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0)) + s
}

func (t *text) top() {
	t.line(t.paint(gradeColours[gradeOf(t.a.Outcome)], plain(verdict(t.a), false)))
	const width = 13
	fact := func(name, value string) { t.line("  ", t.paint(sgrFaint, pad(name, width)), clean(value)) }
	for _, f := range heading(t.a) {
		fact(f.Name, f.Value)
	}
	if !t.a.Began.IsZero() {
		text := stamp(t.a.Began, t.o.In)
		if t.o.In == time.UTC {
			text += " UTC"
		}
		fact("began", text)
	}
	if t.a.OverheadMS > 0 {
		fact("overhead", took(t.a.OverheadMS))
	}
}

// timeline is the events, each with a bar.
func (t *text) timeline() {
	if len(t.a.Events) == 0 {
		return
	}
	t.heading("events")
	const names, outcomes, times = 18, 15, 8
	s := scaleOf(t.a)
	room := t.o.Width - (2 + names + 2 + outcomes + 2 + times + 2) - 1
	for i := range t.a.Events[:min(len(t.a.Events), maxEvents)] {
		e := &t.a.Events[i]
		g := eventGrade(e)
		name := t.paint(gradeColour(g), pad(clean(string(e.Event)), names))
		outcome := t.paint(gradeColours[g], pad(clean(eventOutcome(e)), outcomes))
		line := "  " + name + "  " + outcome + "  " + padLeft(took(e.TookMS), times)
		if e.Nothing != "" && len(e.Scripts) == 0 {
			line += "  " + t.paint(sgrFaint, clean(e.Nothing))
		} else if bar := t.bar(s, e, room); bar != "" {
			line += "  " + t.paint(gradeColours[g], bar)
		}
		t.line(strings.TrimRight(line, " "))
		if len(e.Scripts) == 0 {
			t.says(e)
		}
	}
	t.beyond(len(t.a.Events)-maxEvents, "event", "events")
}

// gradeColour is that of a name, which stands out where something went wrong alone.
func gradeColour(g grade) string {
	if g == good {
		return ""
	}
	return gradeColours[g]
}

// bar is an event on the scale: at least half a column.
func (t *text) bar(s scale, e *lifecycle.EventAccount, room int) string {
	const least = 10
	if room < least || !drawn(e) {
		return ""
	}
	from, to := s.event(e)
	halves := func(ms int64) int { return int(float64(ms) / float64(s.whole) * float64(2*room)) }
	at := min(halves(from)/2, room-1)
	length := min(max(halves(to)-2*at, 1), 2*(room-at))
	bar := strings.Repeat(" ", at) + strings.Repeat(t.full, length/2)
	if length%2 == 1 {
		bar += t.half
	}
	return bar
}

// says is what an event has to say beside its scripts.
func (t *text) says(e *lifecycle.EventAccount) {
	list := lines(clip(e.Message, maxProse))
	colour := sgrFaint
	if eventGrade(e) == bad {
		colour = sgrRed
	}
	for _, l := range list {
		t.line("    ", t.paint(colour, long(l)))
	}
}

// scripts are those of all events and what they said.
func (t *text) scripts() {
	any := false
	for i := range t.a.Events[:min(len(t.a.Events), maxEvents)] {
		e := &t.a.Events[i]
		if len(e.Scripts) == 0 {
			continue
		}
		if !any {
			t.heading("scripts")
			any = true
		}
		whose := ""
		if e.Whose != "" {
			whose = ", of " + e.Whose
		}
		t.line("  ", t.paint(gradeColour(eventGrade(e)), clean(string(e.Event))), t.paint(sgrFaint, clean(whose)))
		for j := range e.Scripts[:min(len(e.Scripts), maxScripts)] {
			t.script(&e.Scripts[j])
		}
		t.beyond(len(e.Scripts)-maxScripts, "script", "scripts")
		t.says(e)
	}
}

func (t *text) script(s *lifecycle.ScriptAccount) {
	time, _ := against(s)
	ended := exit(s)
	if s.Code != lifecycle.Succeeded {
		ended = t.paint(sgrRed, clean(ended))
	} else {
		ended = clean(ended)
	}
	t.line("    ", clean(s.Script), "  as ", clean(runAs(s)), ", ", ended, ", ", time)
	for _, l := range lines(clip(s.Message, maxProse)) {
		t.line("      ", t.paint(sgrRed, long(l)))
	}
	for _, note := range s.Notes[:min(len(s.Notes), maxRows)] {
		t.line("      ", t.paint(sgrFaint, long(note)))
	}
	n := len(s.Output)
	head, tail := fold(n)
	t.stretch(s.Output[:head])
	hidden := n - head - tail + int(s.Omitted)
	if hidden > 0 {
		t.line("      ", t.paint(sgrFaint, t.more+" "+count(hidden, "more line", "more lines")))
	}
	t.stretch(s.Output[n-tail:])
}

// stretch writes lines of output, as slipway local shows them.
func (t *text) stretch(list []lifecycle.OutputLine) {
	for i := range list {
		if t.output <= 0 {
			t.line("      ", t.more, " ", count(len(list)-i, "line is", "lines are"), " not shown")
			return
		}
		l := &list[i]
		said := long(l.Text)
		t.output -= len(said) + around
		switch l.Stream {
		case "stderr":
			t.line(t.paint(sgrRed, "      ! "+said))
		case "stdout":
			t.line("      | ", said)
		default:
			t.line(t.paint(sgrFaint, "      # "+said))
		}
	}
}

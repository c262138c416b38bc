package hooks

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Excerpt is what a person needs of a script's output: valid UTF-8 without control sequences, secrets replaced.
type Excerpt struct {
	Stderr []string `json:"stderr,omitempty"` // its last lines
	Errors []string `json:"errors,omitempty"` // lines of either stream that look like errors, oldest first
	Tail   []string `json:"tail,omitempty"`   // the last lines of both streams
	Lines  int64    `json:"lines"`            // how many lines there were
	Bytes  int64    `json:"bytes"`            // and bytes
}

// Bounds of an excerpt. Head and last are what is searched for lines that look like errors: a script that prints gigabytes
// tells its trouble at one of the two ends.
const (
	tailLimit    = 2047 // H-30
	headBytes    = 64 << 10
	lastBytes    = 128 << 10
	stderrBytes  = 4 << 10
	excerptBytes = 6 << 10
	firstErrors  = 10
	lastErrors   = 20
	excerptLine  = 400
)

// ring keeps the newest limit bytes of what is added, and a little more.
type ring struct {
	limit int
	buf   []byte
	cut   bool // something older is gone
}

func (r *ring) add(p []byte) {
	if len(p) > r.limit {
		r.buf, r.cut = append(r.buf[:0], p[len(p)-r.limit:]...), true
		return
	}
	if len(r.buf)+len(p) > 4*r.limit {
		n := copy(r.buf, r.buf[len(r.buf)-r.limit:])
		r.buf, r.cut = r.buf[:n], true
	}
	r.buf = append(r.buf, p...)
}

// text is what the ring holds, from the first line on that is whole, or, if there is just one, from the first whole
// character.
func (r *ring) text() string {
	s := string(r.buf)
	if !r.cut {
		return s
	}
	if _, rest, ok := strings.Cut(s, "\n"); ok && rest != "" {
		return rest
	}
	return fromRune(s)
}

// memory collects what result and excerpt are made of.
type memory struct {
	tail   ring // entries as in the log, without time
	stderr ring
	head   []byte // the first output, both streams
	last   ring   // and the newest after it
	lines  int64
	bytes  int64
}

func newMemory() *memory {
	return &memory{tail: ring{limit: 4 * tailLimit}, stderr: ring{limit: 2 * stderrBytes}, last: ring{limit: lastBytes}}
}

// entry is a line of the log that is not output.
func (m *memory) entry(text []byte) {
	m.tail.add(text)
	m.tail.add(newline)
}

// line is one of output, without its newline.
func (m *memory) line(mark, text []byte, isStderr bool) {
	m.lines++
	m.tail.add(mark)
	m.tail.add(text)
	m.tail.add(newline)
	if isStderr {
		m.stderr.add(text)
		m.stderr.add(newline)
	}
	if len(m.last.buf) == 0 && len(m.head)+len(text) < headBytes {
		m.head = append(append(m.head, text...), '\n')
		return
	}
	m.last.add(text)
	m.last.add(newline)
}

var newline = []byte{'\n'}

func (m *memory) excerpt(red *redactor) Excerpt {
	e := Excerpt{Lines: m.lines, Bytes: m.bytes}
	e.Stderr = newest(lines(m.stderr.text(), red), stderrBytes)
	all := slices.Concat(lines(string(m.head), red), lines(m.last.text(), red))
	e.Tail = newest(all, excerptBytes)
	for _, l := range all {
		if looksLikeError(l) {
			e.Errors = append(e.Errors, l)
		}
	}
	if n := len(e.Errors); n > firstErrors+lastErrors {
		e.Errors = slices.Delete(e.Errors, firstErrors, n-lastErrors)
	}
	return e
}

// tailText is the tail of H-31: whole entries, except that the end of one that is too long by itself is kept.
func (m *memory) tailText() string { return JoinTails(m.tail.text()) }

// JoinTails makes one tail of those of an event's scripts, in order, within the same bound (H-30).
func JoinTails(tails ...string) string {
	all := strings.ToValidUTF8(strings.Join(tails, ""), "\uFFFD")
	if len(all) <= tailLimit {
		return all
	}
	cut := all[len(all)-tailLimit:]
	if all[len(all)-tailLimit-1] == '\n' {
		return cut
	}
	if _, rest, ok := strings.Cut(cut, "\n"); ok && rest != "" {
		return rest
	}
	return fromRune(cut)
}

// fromRune drops the rest of a character that was cut.
func fromRune(s string) string {
	for i := range min(len(s), utf8.UTFMax) {
		if utf8.RuneStart(s[i]) {
			return s[i:]
		}
	}
	if len(s) < utf8.UTFMax {
		return "" // nothing but the rest of one
	}
	return s
}

// lines splits text and makes each line fit to be shown. A secret that control sequences had kept apart (grep --color) is whole without them,
// so that it is looked for once more.
func lines(text string, red *redactor) []string {
	var all []string
	for l := range strings.Lines(text) {
		shown := plain([]byte(l))
		if shown != strings.TrimRight(l, "\r\n \t") {
			shown = string(red.clean([]byte(shown)))
		}
		all = append(all, clip(shown, excerptLine))
	}
	return all
}

// newest keeps the last of all that fit into limit bytes.
func newest(all []string, limit int) []string {
	i := len(all)
	for ; i > 0; i-- {
		if limit -= len(all[i-1]) + 1; limit < 0 {
			break
		}
	}
	return all[i:]
}

// troubles are how lines begin their words that are worth a look, in lower case.
var troubles = []string{
	"error", "fatal", "fail", "exception", "traceback", "panic", "denied", "cannot", "can't", "could not", "no such", "not found",
	"unable to", "segmentation", "killed", "timed out", "timeout", "refused", "undefined", "unbound", "missing", "no space",
}

func looksLikeError(line string) bool {
	lower := strings.ToLower(line)
	for _, t := range troubles {
		if strings.Contains(lower, t) {
			return true
		}
	}
	return false
}

// plain makes bytes fit for a terminal and for JSON: colour and cursor sequences and control characters go, what is not UTF-8
// is replaced.
func plain(b []byte) string {
	text := strings.TrimRight(strings.ToValidUTF8(string(b), "\uFFFD"), "\r\n \t")
	if strings.IndexFunc(text, isControl) < 0 {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); {
		if text[i] == 0x1b {
			i += escapeLen(text[i:])
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		if !isControl(r) {
			out.WriteRune(r)
		}
		i += n
	}
	return out.String()
}

func isControl(r rune) bool { return r != '\t' && (r < 0x20 || r >= 0x7f && r < 0xa0) }

// escapeLen is the length of the control sequence that s begins with: ESC [ parameters letter, ESC ] text BEL or ESC \ (links of a terminal), or
// ESC and one character.
func escapeLen(s string) int {
	if len(s) < 2 {
		return len(s)
	}
	switch s[1] {
	case '[':
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1
			}
		}
		return len(s)
	case ']':
		for i := 2; i < len(s); i++ {
			switch {
			case s[i] == 0x07:
				return i + 1
			case s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\':
				return i + 2
			}
		}
		return len(s)
	}
	_, n := utf8.DecodeRuneInString(s[1:])
	return 1 + n
}

// clip shortens a line to limit bytes, in the middle, whole characters kept.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const gap = " … "
	half := (limit - len(gap)) / 2
	if half <= 0 {
		return ""
	}
	head := s[:half]
	for len(head) > 0 && !utf8.RuneStart(s[len(head)]) {
		head = head[:len(head)-1]
	}
	return head + gap + fromRune(s[len(s)-half:])
}

// Report puts together, in at most limit bytes of valid UTF-8, what a person needs: how the script ended, what else is to be
// told, the last lines of stderr, lines that look like errors, then as much of the tail as fits.
func (r Result) Report(limit int) string {
	var b strings.Builder
	if r.Err != nil {
		fmt.Fprintln(&b, r.Err)
	} else {
		fmt.Fprintf(&b, "script %s succeeded (after %s)\n", r.Script, rounded(r.Ended.Sub(r.Started)))
	}
	for _, h := range r.Holders {
		fmt.Fprintln(&b, h)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(&b, n)
	}
	out := strings.ToValidUTF8(b.String(), "\uFFFD")
	if limit <= 0 {
		return ""
	}
	if len(out) > limit/2 {
		out = clip(strings.TrimSuffix(out, "\n"), limit/2-1) + "\n"
	}
	shown := map[string]bool{}
	for _, l := range r.Excerpt.Stderr {
		shown[l] = true
	}
	errs := slices.DeleteFunc(slices.Clone(r.Excerpt.Errors), func(l string) bool { return shown[l] })
	rest := max(limit-len(out), 0)
	out += section("last lines of stderr", r.Excerpt.Stderr, rest/2)
	out += section("lines that look like errors", errs, rest/4)
	if len(r.Excerpt.Stderr) == 0 || !slices.Equal(r.Excerpt.Stderr, r.Excerpt.Tail) {
		out += section("end of the output", r.Excerpt.Tail, limit-len(out))
	}
	return out
}

// section is a heading with the newest lines that fit, or nothing.
func section(title string, all []string, limit int) string {
	title = "-- " + title + " --\n"
	all = newest(all, limit-len(title))
	if len(all) == 0 {
		return ""
	}
	return title + strings.Join(all, "\n") + "\n"
}

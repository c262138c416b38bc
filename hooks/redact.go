package hooks

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// redactor takes secrets out of text: values it was told, and what looks like a key, a token or a password (see patterns). Lines stay
// lines, so that it may be used on many at once. Nil knows the patterns alone.
type redactor struct {
	values [][]byte // the longest first, without line ends
	scan   *scanner
}

const redacted = "[redacted]"

const (
	// minSecret keeps a value such as "1" from turning every log into a riddle.
	minSecret = needleLen
	// maxValue is how much of a value is looked for as one piece: less than what is held back of a line that is split.
	maxValue = 4 << 10
)

// Redact makes a function that returns text without secrets: values, of at least four bytes each, and what looks like one by itself.
func Redact(values []string) func(text string) string {
	r := newRedactor(values)
	return func(text string) string { return string(r.clean([]byte(text))) }
}

// newRedactor makes a redactor of values. One of several lines is looked for line by line, since it may come in pieces.
func newRedactor(values []string) *redactor {
	r := &redactor{scan: patternScanner()}
	for _, v := range values {
		for line := range strings.Lines(v) {
			line = strings.TrimSpace(line)
			for len(line) >= minSecret {
				piece := line[:min(len(line), maxValue)]
				line = line[len(piece):]
				r.values = append(r.values, []byte(piece))
			}
		}
	}
	if len(r.values) == 0 {
		return r
	}
	slices.SortFunc(r.values, func(a, b []byte) int { return cmp.Or(len(b)-len(a), bytes.Compare(a, b)) })
	r.values = slices.CompactFunc(r.values, bytes.Equal)
	r.scan = r.scan.clone()
	for _, v := range r.values {
		r.scan.add(rarest(v), suspectValue)
	}
	return r
}

// clean returns text without secrets: text itself if there are none.
func (r *redactor) clean(text []byte) []byte { return (&strand{red: r}).clean(text) }

// span is a secret in a line: what is to be hidden, and where that begins by which it is known as one.
type span struct{ from, start, end int }

// spans finds what is to be hidden of a line, in order, none touching another.
func (r *redactor) spans(line []byte) []span {
	var all []span
	suspicions := r.scan.suspicions(line)
	for _, v := range r.values {
		if suspicions&suspectValue == 0 {
			break
		}
		for at := 0; ; {
			i := bytes.Index(line[at:], v)
			if i < 0 {
				break
			}
			all = append(all, span{at + i, at + i, at + i + len(v)})
			at += i + 1
		}
	}
	for i, p := range patterns {
		if suspicions>>i&1 == 0 || p.also != "" && !bytes.Contains(line, []byte(p.also)) {
			continue
		}
		for _, m := range p.expression().FindAllSubmatchIndex(line, -1) {
			all = append(all, span{m[0], m[2], m[3]})
		}
	}
	if suspicions&suspectKey != 0 {
		if from, start, end := privateKey(line); from >= 0 && start < end {
			all = append(all, span{from, start, end})
		}
	}
	if len(all) < 2 {
		return all
	}
	slices.SortStableFunc(all, func(a, b span) int { return cmp.Or(a.start-b.start, a.end-b.end) })
	merged := all[:1]
	for _, s := range all[1:] {
		last := &merged[len(merged)-1]
		if s.start > last.end {
			merged = append(merged, s)
			continue
		}
		last.from, last.end = min(last.from, s.from), max(last.end, s.end)
	}
	return merged
}

// strand is one stream of text that comes in pieces of whole lines, or in parts of one that is too long to be had whole.
type strand struct {
	red     *redactor
	key     bool   // within a private key
	lines   int    // of it so far
	prefix  []byte // what each of its lines begins with
	endless bool   // the next piece has a secret that does not end in it
	swallow bool   // a secret goes on to the end of the line
}

// clean returns the next piece without secrets.
func (s *strand) clean(text []byte) []byte {
	r := s.red
	if r == nil {
		r = &redactor{scan: patternScanner()}
		s.red = r
	}
	if s.swallow {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			return nil
		}
		s.swallow, text = false, text[i+1:]
	}
	s.swallow, s.endless = s.endless, false
	var out []byte
	copied, at := 0, 0 // text[:copied] is in out already, text[:at] was looked at
	put := func(start int, with []byte, end int) {
		out = append(append(out, text[copied:start]...), with...)
		copied = end
	}
	for at < len(text) {
		start := at
		if !s.key {
			hit, _ := r.scan.next(text, at)
			if hit < 0 {
				break
			}
			start = at + bytes.LastIndexByte(text[at:hit], '\n') + 1
		}
		end := len(text)
		if i := bytes.IndexByte(text[start:], '\n'); i >= 0 {
			end = start + i
		}
		line := text[start:end]
		switch {
		case s.key && s.body(line):
			if len(bytes.TrimSpace(line)) > len(bytes.TrimSpace(s.prefix)) {
				put(start+len(s.prefix), []byte(redacted), end)
			}
		case s.key: // it has ended: the line is one like any other
			s.key = false
			continue
		default:
			for _, h := range r.spans(line) {
				put(start+h.start, []byte(redacted), start+h.end)
			}
			s.begin(line)
		}
		at = end + 1
	}
	if copied == 0 && out == nil {
		return text
	}
	return append(out, text[copied:]...)
}

// cut says where to divide a line that is too long, at most at limit, so that no secret is divided. If one is longer than all of it, the rest
// of the line is swallowed, from the next piece on.
func (s *strand) cut(line []byte, limit int) int {
	at := splitAt(line[:limit])
	if s.red == nil || s.swallow {
		return at
	}
	for _, h := range slices.Backward(s.red.spans(line)) {
		if h.from < at && at < h.end {
			at = h.from
		}
	}
	if at == 0 {
		s.endless = true
		return len(line)
	}
	return at
}

// The marks of a private key in PEM form.
var (
	keyBegin = []byte("-----BEGIN ")
	keyKind  = []byte("PRIVATE KEY")
	keyMark  = []byte("-----")
	keyEnd   = []byte("-----END ")
)

// maxKeyLines is more than any private key has.
const maxKeyLines = 400

// privateKey finds a private key that begins in a line, and what of it is to be hidden there. from is -1 where none does.
func privateKey(line []byte) (from, start, end int) {
	for at := 0; ; {
		i := bytes.Index(line[at:], keyBegin)
		if i < 0 {
			return -1, 0, 0
		}
		from = at + i
		at = from + len(keyBegin)
		kind, _, ok := bytes.Cut(line[at:], keyMark)
		if !ok || !bytes.Contains(kind, keyKind) || len(kind) > 40 {
			continue
		}
		start = at + len(kind) + len(keyMark)
		if j := bytes.Index(line[start:], keyEnd); j >= 0 {
			return from, start, start + j
		}
		return from, start, len(line)
	}
}

// begin notes that a private key begins in a line and goes on in the next.
func (s *strand) begin(line []byte) {
	from, start, end := privateKey(line)
	if from < 0 || end < len(line) && start <= end {
		return
	}
	s.key, s.lines, s.prefix = true, 0, bytes.Clone(line[:from])
}

// body reports whether a line belongs to the private key that goes on, other than as its end.
func (s *strand) body(line []byte) bool {
	s.lines++
	rest, ok := bytes.CutPrefix(line, s.prefix)
	if !ok {
		s.prefix, rest = nil, line
	}
	rest = bytes.TrimSpace(rest)
	if s.lines > maxKeyLines || bytes.HasPrefix(rest, keyMark) {
		return false
	}
	for _, header := range []string{"Proc-Type:", "DEK-Info:", "Comment:", "X-"} {
		if bytes.HasPrefix(rest, []byte(header)) {
			return true
		}
	}
	return !slices.ContainsFunc(rest, func(b byte) bool {
		return (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (b < '0' || b > '9') && b != '+' && b != '/' && b != '='
	})
}

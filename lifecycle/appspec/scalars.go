package appspec

import (
	"strings"
	"unicode/utf8"
)

// fold collects a text that runs over several lines: one line break becomes a space, of several the first is dropped.
type fold struct {
	text   strings.Builder
	blanks string // since the last character, on its line
	first  string // the first line break since then
	more   []byte // the further ones
	broken bool
}

// join adds what stood between two pieces of the text.
func (f *fold) join() {
	switch {
	case !f.broken:
		f.text.WriteString(f.blanks)
	case f.first != "\n":
		f.text.WriteString(f.first)
		f.text.Write(f.more)
	case len(f.more) == 0:
		f.text.WriteByte(' ')
	default:
		f.text.Write(f.more)
	}
	f.blanks, f.first, f.more, f.broken = "", "", f.more[:0], false
}

// skipGap passes blanks and line breaks, for join to add later. A tab to the left of indent is an error.
func (s *scanner) skipGap(f *fold, indent int) error {
	for {
		switch length, _ := s.lineEnd(0); {
		case s.blank(0) && !f.broken:
			from := s.at.offset
			for s.blank(0) {
				s.skip(1)
			}
			f.blanks = s.text[from:s.at.offset]
		case s.blank(0):
			if s.char(0) == '\t' && s.at.Col-1 < indent {
				return bad(s.at, "the line is indented by a tab; YAML allows spaces only", "indent by spaces, or empty the line")
			}
			s.skip(1)
		case length > 0 && !f.broken:
			f.blanks, f.first, f.broken = "", s.skipBreak(length), true
		case length > 0:
			f.more = append(f.more, s.skipBreak(length)...)
		default:
			return nil
		}
	}
}

// scanPlain passes a text without quotes. It ends before ": ", before " #", at a line that is not indented deeper than its block,
// and in brackets before any bracket or comma.
func (s *scanner) scanPlain(tokenKind) (token, error) {
	t := token{kind: scalarToken, style: Plain, start: s.at, end: s.at}
	var f fold
	indent := s.indent + 1
	for !s.atMarker("---") && !s.atMarker("...") && s.char(0) != '#' {
		from := s.at.offset
		for !s.gap(0) {
			if s.flow() && s.char(0) == ':' && s.char(1) != 0 && strings.IndexByte(",?[]{}", s.char(1)) >= 0 {
				return token{}, bad(s.at, "a colon cannot stand here", "put the value in quotes, or write a space after the colon")
			}
			if s.plainEnds() {
				break
			}
			s.skip(1)
		}
		if s.at.offset > from {
			f.join()
			f.text.WriteString(s.text[from:s.at.offset])
			t.end = s.at
		}
		if !s.gap(0) || s.at.offset >= len(s.text) {
			break
		}
		if err := s.skipGap(&f, indent); err != nil {
			return token{}, err
		}
		if !s.flow() && s.at.Col-1 < indent {
			break
		}
	}
	t.value = f.text.String()
	if f.broken {
		s.keyAllowed = true
	}
	return t, nil
}

func (s *scanner) plainEnds() bool {
	c := s.char(0)
	return c == ':' && s.gap(1) || s.flow() && strings.IndexByte(",[]{}", c) >= 0
}

// scanQuoted passes a text in quotes of either kind.
func (s *scanner) scanQuoted(tokenKind) (token, error) {
	quote := s.char(0)
	t := token{kind: scalarToken, style: SingleQuoted, start: s.at}
	if quote == '"' {
		t.style = DoubleQuoted
	}
	s.skip(1)
	var f fold
	for {
		if s.atMarker("---") || s.atMarker("...") || s.at.offset >= len(s.text) {
			return token{}, bad(t.start, "the quote is not closed", "close it with "+string(quote))
		}
		// A line break after a backslash is neither text nor folded.
		escaped, err := s.scanQuotedPiece(&f, quote)
		if err != nil {
			return token{}, err
		}
		if s.char(0) == quote {
			break
		}
		f.broken = escaped
		if err := s.skipGap(&f, 0); err != nil {
			return token{}, err
		}
		f.join()
	}
	s.skip(1)
	t.end, t.value = s.at, f.text.String()
	return t, nil
}

// scanQuotedPiece passes what has no blanks. escapedBreak is true if it ends with a backslash and a line break.
func (s *scanner) scanQuotedPiece(f *fold, quote byte) (escapedBreak bool, err error) {
	for !s.gap(0) {
		c := s.char(0)
		switch {
		case c == quote && quote == '\'' && s.char(1) == '\'':
			f.text.WriteByte('\'')
			s.skip(2)
		case c == quote:
			return false, nil
		case c == '\\' && quote == '"':
			if length, end := s.lineEnd(1); end && length > 0 {
				s.skip(1)
				s.skipBreak(length)
				return true, nil
			}
			if err := s.scanEscape(f); err != nil {
				return false, err
			}
		default:
			from := s.at.offset
			s.skip(1)
			f.text.WriteString(s.text[from:s.at.offset])
		}
	}
	return false, nil
}

// escaped are the characters that a backslash and one character stand for.
var escaped = map[byte]string{
	'0': "\x00", 'a': "\a", 'b': "\b", 't': "\t", '\t': "\t", 'n': "\n", 'v': "\v", 'f': "\f", 'r': "\r", 'e': "\x1b", ' ': " ",
	'"': "\"", '/': "/", '\\': "\\", 'N': "\u0085", '_': "\u00a0", 'L': "\u2028", 'P': "\u2029",
}

func (s *scanner) scanEscape(f *fold) error {
	c := s.char(1)
	if text, ok := escaped[c]; ok {
		f.text.WriteString(text)
		s.skip(2)
		return nil
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
	if digits == 0 {
		return bad(s.at, "the escape \\"+s.character(1)+" does not exist", `write \\ for a backslash, or use single quotes`)
	}
	var r uint32
	for i := range digits {
		if !isHex(s.char(2 + i)) {
			return bad(s.at, "the escape lacks hexadecimal digits", `write \\ for a backslash, or use single quotes`)
		}
		r = r<<4 | uint32(unhex(s.char(2+i)))
	}
	if r > utf8.MaxRune || !utf8.ValidRune(rune(r)) {
		return bad(s.at, "the escape is no character", "write the character itself")
	}
	f.text.WriteRune(rune(r))
	s.skip(2 + digits)
	return nil
}

// scanBlockScalar passes a text after | or >.
func (s *scanner) scanBlockScalar() (token, error) {
	t := token{kind: scalarToken, style: Literal, start: s.at}
	if s.char(0) == '>' {
		t.style = Folded
	}
	s.skip(1)
	var chomp byte
	increment := 0
	for range 2 {
		switch c := s.char(0); {
		case (c == '+' || c == '-') && chomp == 0:
			chomp = c
			s.skip(1)
		case c >= '0' && c <= '9' && increment == 0:
			if c == '0' {
				return token{}, bad(s.at, "a text block cannot be indented by 0", "remove the number")
			}
			increment = int(c - '0')
			s.skip(1)
		}
	}
	if !s.skipLineRest() {
		return token{}, bad(s.at, "a text block begins on the next line", "put the text there, or the value in quotes")
	}
	length, _ := s.lineEnd(0)
	s.skipBreak(length)
	t.end = s.at
	indent := 0
	if increment > 0 {
		indent = max(s.indent, 0) + increment
	}
	var err error
	t.value, err = s.blockText(indent, t.style, chomp, &t.end)
	return t, err
}

// blockText passes the lines of a text block. indent is 0 if the first line decides.
func (s *scanner) blockText(indent int, style Style, chomp byte, end *mark) (string, error) {
	var b strings.Builder
	var first string // the break of the line before
	blankBefore := false
	more, err := s.blockBreaks(&indent)
	if err != nil {
		return "", err
	}
	for s.at.Col-1 == indent && s.at.offset < len(s.text) {
		blankNow := s.blank(0)
		if style == Folded && first == "\n" && !blankBefore && !blankNow {
			if more == "" {
				b.WriteByte(' ')
			}
		} else {
			b.WriteString(first)
		}
		b.WriteString(more)
		blankBefore = blankNow
		from := s.at.offset
		for {
			length, ended := s.lineEnd(0)
			if ended {
				b.WriteString(s.text[from:s.at.offset])
				*end = s.at
				first = s.skipBreak(length)
				break
			}
			s.skip(1)
		}
		if more, err = s.blockBreaks(&indent); err != nil {
			return "", err
		}
	}
	if chomp != '-' {
		b.WriteString(first)
	}
	if chomp == '+' {
		b.WriteString(more)
	}
	return b.String(), nil
}

// blockBreaks passes indentation and empty lines, and gives the line breaks. It finds the indentation out if that is 0.
func (s *scanner) blockBreaks(indent *int) (string, error) {
	var breaks strings.Builder
	deepest := 0
	for {
		for (*indent == 0 || s.at.Col-1 < *indent) && s.char(0) == ' ' {
			s.skip(1)
		}
		deepest = max(deepest, s.at.Col-1)
		if (*indent == 0 || s.at.Col-1 < *indent) && s.char(0) == '\t' {
			return "", bad(s.at, "the text block is indented by a tab; YAML allows spaces only", "indent by spaces")
		}
		length, _ := s.lineEnd(0)
		if length == 0 {
			break
		}
		breaks.WriteString(s.skipBreak(length))
	}
	if *indent == 0 {
		*indent = max(deepest, s.indent+1, 1)
	}
	return breaks.String(), nil
}

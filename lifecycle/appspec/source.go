package appspec

import (
	"sort"
	"strings"
	"unicode/utf8"
)

// source is the text of a file, and where its lines begin.
type source struct {
	name  string
	text  string
	lines []int // offset of the first byte of each line
}

// newSource divides text as YAML 1.1 does: by LF, CR, CRLF, and the Unicode line ends.
func newSource(name, text string) *source {
	s := &source{name: name, text: text, lines: []int{0}}
	for i := 0; i < len(text); {
		n := lineBreak(text[i:])
		if n == 0 {
			i++
			continue
		}
		i += n
		s.lines = append(s.lines, i)
	}
	return s
}

// lineBreak is the length of the line break that s begins with, 0 if it does not.
func lineBreak(s string) int {
	switch {
	case s == "":
		return 0
	case s[0] == '\n':
		return 1
	case s[0] == '\r':
		if len(s) > 1 && s[1] == '\n' {
			return 2
		}
		return 1
	case s[0] == 0xc2 && strings.HasPrefix(s, "\u0085"):
		return 2
	case s[0] == 0xe2 && (strings.HasPrefix(s, "\u2028") || strings.HasPrefix(s, "\u2029")):
		return 3
	default:
		return 0
	}
}

// line is the text of line n, counted from 1, without its break; empty if there is no such line.
func (s *source) line(n int) string {
	if n < 1 || n > len(s.lines) {
		return ""
	}
	end := len(s.text)
	if n < len(s.lines) {
		end = s.lines[n]
	}
	line := s.text[s.lines[n-1]:end]
	for line != "" {
		_, size := utf8.DecodeLastRuneInString(line)
		if lineBreak(line[len(line)-size:]) == 0 {
			break
		}
		line = line[:len(line)-size]
	}
	return line
}

// pos is the place of a byte.
func (s *source) pos(offset int) Pos {
	offset = min(max(offset, 0), len(s.text))
	n := sort.SearchInts(s.lines, offset+1)
	return Pos{n, utf8.RuneCountInString(s.text[s.lines[n-1]:offset]) + 1}
}

// offset is the byte at a place, or the end of its line.
func (s *source) offset(p Pos) int {
	if p.Line < 1 || p.Line > len(s.lines) {
		return len(s.text)
	}
	start := s.lines[p.Line-1]
	line := s.line(p.Line)
	for i := range line {
		if p.Col--; p.Col <= 0 {
			return start + i
		}
	}
	return start + len(line)
}

// tokenLen is how many characters to underline for what begins at p: a word, or all of a quoted text that ends on its line.
func (s *source) tokenLen(p Pos) int {
	rest := s.text[s.offset(p):]
	rest = rest[:len(s.line(p.Line))-min(len(s.line(p.Line)), s.offset(p)-s.lineStart(p.Line))]
	if rest == "" {
		return 1
	}
	end := len(rest)
	switch rest[0] {
	case '"', '\'':
		end = quotedLen(rest)
	case '[', '{', '}', ']', ',':
		end = 1
	default:
		for _, stop := range []string{" #", ": ", ", ", "\t#"} {
			if i := strings.Index(rest, stop); i > 0 {
				end = min(end, i)
			}
		}
		rest = strings.TrimRight(rest[:end], " \t")
		end = len(rest)
		if end > 1 && rest[end-1] == ':' {
			end--
		}
	}
	return max(utf8.RuneCountInString(rest[:end]), 1)
}

func (s *source) lineStart(n int) int {
	if n < 1 || n > len(s.lines) {
		return len(s.text)
	}
	return s.lines[n-1]
}

func quotedLen(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && s[0] == '"':
			i++
		case s[i] != s[0]:
		case s[0] == '\'' && i+1 < len(s) && s[i+1] == '\'':
			i++
		default:
			return i + 1
		}
	}
	return len(s)
}

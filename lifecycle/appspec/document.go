package appspec

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxSize is the largest file that Parse reads, in bytes.
const MaxSize = 1 << 20

// maxDepth is how deep lists and maps may nest.
const maxDepth = 1000

// Document is an appspec file that can be read as YAML, before anything in it has been checked.
type Document struct {
	// Name is the name given to Read.
	Name string
	// BOM is true if the file began with a byte order mark, which is not part of Text.
	BOM  bool
	Text string
	// Root is the tree of the first document as written, duplicate keys included, nil for a file without content. It must not be
	// changed.
	Root *Node

	src  *source
	root *value
}

// Read reads the first YAML document of a file. The Document is nil if and only if Err of the Diagnostics is not.
func Read(name string, data []byte) (*Document, Diagnostics) {
	if len(data) > MaxSize {
		return nil, Diagnostics{{
			ID: tooLarge, Severity: SeverityError, File: name,
			Message:    fmt.Sprintf("the file has %d bytes; at most %d are read", len(data), MaxSize),
			Suggestion: "check that this is the appspec file",
		}}
	}
	data, bom := bytes.CutPrefix(data, []byte("\ufeff"))
	src := newSource(name, string(data))
	r := &reader{src: src}
	doc := &Document{Name: name, BOM: bom, Text: src.text, src: src}
	if !r.checkText() {
		return nil, r.diags
	}
	root, err := compose(src)
	if bad, ok := errors.AsType[*syntaxError](err); ok {
		at := src.pos(src.offset(bad.at))
		r.refuse(bad.id, at, src.tokenLen(at), bad.message, bad.suggestion)
		return nil, r.diags
	}
	doc.Root, doc.root = root, r.value(root)
	if r.diags != nil {
		return nil, r.diags
	}
	return doc, nil
}

// Offset is the byte of Text at a place, or the end of its line for a column beyond it. It reads the line up to the column.
func (d *Document) Offset(p Pos) int { return d.src.offset(p) }

// Line is the text of a line, counted from 1, without its break; empty if there is no such line.
func (d *Document) Line(n int) string { return d.src.line(n) }

// Place gives the place of a byte of any text, and the line that it stands on, dividing the text as YAML 1.1 does.
func Place(text string, offset int) (_ Pos, line string) {
	s := newSource("", text)
	p := s.pos(offset)
	return p, s.line(p.Line)
}

// reader turns text into values. It stops at the first thing that cannot be read, as the reference does.
type reader struct {
	src   *source
	diags Diagnostics
}

func (r *reader) refuse(id string, p Pos, length int, message, suggestion string) {
	if r.diags == nil {
		r.diags = Diagnostics{r.src.diagnostic(id, p, length, message, suggestion)}
	}
}

func (s *source) diagnostic(id string, p Pos, length int, message, suggestion string) Diagnostic {
	return Diagnostic{
		ID: id, Severity: SeverityError, File: s.name, Pos: p, Len: length,
		Message: message, Suggestion: suggestion, Line: s.line(p.Line),
	}
}

// checkText refuses what is no text for the reference's YAML parser.
func (r *reader) checkText() bool {
	text := r.src.text
	if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
		r.refuse(notUTF8, Pos{}, 0, "the file is UTF-16 text", "save it as UTF-8")
		return false
	}
	for i, c := range text {
		if c == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD") {
			r.refuse(notUTF8, r.src.pos(i), 1, fmt.Sprintf("the byte 0x%02X is not UTF-8", text[i]), "save the file as UTF-8")
			return false
		}
		if !isYAML(c) {
			r.refuse(notUTF8, r.src.pos(i), 1, fmt.Sprintf("the control character %U is not allowed", c),
				`remove it, or write it in double quotes as an escape such as "\x1b"`)
			return false
		}
	}
	return true
}

// isYAML reports whether YAML 1.1 allows a character in a file.
func isYAML(c rune) bool {
	switch {
	case c < 0x20:
		return c == '\t' || c == '\n' || c == '\r'
	case c >= 0x7f && c < 0xa0:
		return c == 0x85
	default:
		return c != 0xfffe && c != 0xffff
	}
}

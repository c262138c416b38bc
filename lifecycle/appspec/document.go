package appspec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
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
	Root *yaml.Node

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
	r := &reader{src: src, cursor: cursor{src: src}}
	doc := &Document{Name: name, BOM: bom, Text: src.text, src: src}
	if !r.checkText() {
		return nil, r.diags
	}
	doc.Root = r.load()
	if r.diags == nil {
		r.checkDialect(doc.Root)
	}
	if r.diags == nil {
		doc.root = r.value(doc.Root)
	}
	if r.diags != nil {
		return nil, r.diags
	}
	return doc, nil
}

// reader turns text into values. It stops at the first thing that cannot be read, as the reference does.
type reader struct {
	src    *source
	cursor cursor
	diags  Diagnostics
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

// load gives the root node, nil if there is none. What follows the first document is never looked at: the reference stops
// reading there, so that any text may follow.
func (r *reader) load() *yaml.Node {
	text := firstDocument(r.src.text)
	root, err := r.compose(text)
	if err == nil {
		return root
	}
	// A document also ends, without a marker, where a line stands to the left of its first one. The YAML package looks further
	// ahead than that, so what it found wrong may not belong to the document any more.
	if cut := implicitEnd(text); cut > 0 {
		if root, again := r.compose(text[:cut]); again == nil {
			return root
		}
	}
	if cut := r.src.lineStart(err.Mark.Line); err.Mark.Line > 1 && strings.Contains(err.Message, "<document ") && cut < len(text) {
		if root, again := r.compose(text[:cut]); again == nil {
			return root
		}
	}
	r.refuseSyntax(err)
	return nil
}

// compose has the YAML package make the tree.
func (r *reader) compose(text string) (root *yaml.Node, failure *yaml.LoadError) {
	defer func() {
		// The text comes from strangers. A defect of the YAML package on it must not end the agent.
		if p := recover(); p != nil {
			root, failure = nil, yaml.NewLoadError("", fmt.Sprint(p), yaml.Mark{Line: 1, Column: 1}, nil)
		}
	}()
	var depth depthLimit
	loader, err := yaml.NewLoader(strings.NewReader(text), yaml.WithPlugin(&depth))
	if err != nil {
		return nil, yaml.NewLoadError("", err.Error(), yaml.Mark{Line: 1, Column: 1}, nil)
	}
	var doc yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		if errors.As(err, &failure) {
			return nil, failure
		}
		return nil, yaml.NewLoadError("", err.Error(), yaml.Mark{Line: 1, Column: 1}, nil)
	}
	if doc.Kind == yaml.DocumentNode {
		if len(doc.Content) == 0 {
			return nil, nil
		}
		return doc.Content[0], nil
	}
	return &doc, nil
}

// errTooDeep is how depthLimit stops the YAML package.
var errTooDeep = errors.New("nested too deep")

type depthLimit struct{}

func (depthLimit) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxDepth {
		return errTooDeep
	}
	return nil
}

func (depthLimit) CheckAlias(int, int) error { return nil }

// firstDocument is the text up to the marker that ends the first document.
func firstDocument(text string) string {
	begun := false
	for start := 0; start < len(text); {
		end := start + strings.IndexAny(text[start:]+"\n", "\r\n")
		line := text[start:end]
		marker := isMarker(line, "---")
		switch {
		case begun && (marker || isMarker(line, "...")):
			return text[:start]
		case marker:
			begun = true
		case !begun && (strings.HasPrefix(line, "%") || isMarker(line, "...")):
		case !isBlankLine(line):
			begun = true
		}
		start = min(end+1, len(text))
	}
	return text
}

func isMarker(line, marker string) bool {
	rest, ok := strings.CutPrefix(line, marker)
	return ok && (rest == "" || rest[0] == ' ' || rest[0] == '\t')
}

// isBlankLine is true for a line that holds nothing or a comment.
func isBlankLine(line string) bool {
	line = strings.TrimLeft(line, " \t")
	return line == "" || line[0] == '#'
}

// implicitEnd is the offset of the first line that stands to the left of the first one or begins with a directive, 0 if there is
// none.
func implicitEnd(text string) int {
	root := -1
	for start := 0; start < len(text); {
		end := start + strings.IndexAny(text[start:]+"\n", "\r\n")
		line := text[start:end]
		indent := len(line) - len(strings.TrimLeft(line, " "))
		switch {
		case isBlankLine(line) || isMarker(line, "---"):
		case root < 0 && line[0] != '%':
			root = indent
		case root >= 0 && (indent < root || line[0] == '%'):
			return start
		}
		start = min(end+1, len(text))
	}
	return 0
}

package lint

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"slipway/lifecycle/appspec"
)

const bom = "\ufeff"

func quoted(s string) string { return strconv.Quote(s) }

// text looks at what is no matter of YAML: marks, line ends, tabs.
func (l *linter) text(data string) {
	start := 0
	if strings.HasPrefix(data, bom) {
		start = len(bom)
		f := l.place(hasBOM, appspec.Pos{Line: 1, Col: 1}, 1, "the file begins with a byte order mark", "save it as UTF-8 without a byte order mark")
		f.Line, _, _ = strings.Cut(data[start:], "\n")
		f.edits = []edit{{0, len(bom), ""}}
		l.add(f)
	}
	body := data[start:]
	if i := strings.Index(body, "\r\n"); i >= 0 {
		p, line := appspec.Place(body, i)
		n := strings.Count(body, "\r\n")
		f := l.place(hasCRLF, p, 1, fmt.Sprintf("the file has CRLF line ends (%s)", count(n, "line", "lines")), "save it with LF line ends")
		f.Line = line
		if l.doc != nil { // what is refused for another reason is mended first
			f.edits = crlfEdits(data)
		}
		l.add(f)
	}
	if l.doc != nil {
		l.tabs(body, start)
	}
}

// count is a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func crlfEdits(data string) (edits []edit) {
	for i := 0; ; {
		n := strings.Index(data[i:], "\r\n")
		if n < 0 {
			return edits
		}
		i += n
		start := len(strings.TrimRight(data[:i], "\r")) // all of them, so that none is left for another time
		edits = append(edits, edit{start, i + 1, ""})
		i += 2
	}
}

// tabs finds those in the indentation of a file that is accepted all the same.
func (l *linter) tabs(body string, start int) {
	var edits []edit
	first, lines := -1, 0
	for at := 0; at < len(body); {
		end := strings.IndexByte(body[at:], '\n')
		if end < 0 {
			end = len(body) - at
		}
		line := body[at : at+end]
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		if strings.ContainsRune(indent, '\t') {
			if lines++; first < 0 {
				first = at + strings.IndexByte(indent, '\t')
			}
			for i := range len(indent) {
				if indent[i] == '\t' {
					edits = append(edits, edit{start + at + i, start + at + i + 1, "  "})
				}
			}
		}
		at += end + 1
	}
	if first < 0 {
		return
	}
	p, line := appspec.Place(body, first)
	f := l.place(hasTabs, p, 1, "a tab is in the indentation of "+count(lines, "line", "lines"), "indent by spaces")
	f.Line, f.edits = line, edits
	l.add(f)
}

// untabbed replaces the tabs in the indentation of a file that is refused, if every width that makes it YAML gives the same values.
func untabbed(name, data string) (string, bool) {
	body := strings.TrimPrefix(data, bom)
	if !strings.Contains(body, "\t") || len(body) > appspec.MaxSize {
		return "", false
	}
	if doc, _ := appspec.Read(name, []byte(body)); doc != nil {
		return "", false
	}
	var mended string
	var tree []byte
	for _, width := range []int{2, 4, 8, 3, 1} {
		text := expand(body, width)
		if len(text) > appspec.MaxSize {
			continue
		}
		doc, _ := appspec.Read(name, []byte(text))
		if doc == nil {
			continue
		}
		this := shape(nil, doc.Root)
		switch {
		case mended == "":
			mended, tree = text, this
		case !bytes.Equal(tree, this):
			return "", false
		}
	}
	if mended == "" {
		return "", false
	}
	return data[:len(data)-len(body)] + mended, true
}

// expand replaces the tabs before the content of each line, up to the next stop of a width.
func expand(text string, width int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		rest := strings.TrimLeft(line, " \t")
		indent := line[:len(line)-len(rest)]
		if strings.TrimRight(rest, "\r\n") == "" { // a line without content
			b.WriteString(rest)
			continue
		}
		col := 0
		for _, c := range indent {
			n := 1
			if c == '\t' {
				n = width - col%width
			}
			col += n
			b.WriteString(strings.Repeat(" ", n))
		}
		b.WriteString(rest)
	}
	return b.String()
}

// shape writes a tree without places, so that two can be compared.
func shape(b []byte, n *appspec.Node) []byte {
	if n == nil {
		return append(b, '-')
	}
	b = append(b, byte('0'+n.Kind), byte('0'+n.Style))
	b = strconv.AppendQuote(b, n.Tag)
	b = strconv.AppendQuote(b, n.Anchor)
	b = strconv.AppendQuote(b, n.Value)
	b = append(b, '(')
	for _, c := range n.Content {
		b = shape(b, c)
	}
	return append(b, ')')
}

// after finds what stands behind the first document, which nobody reads.
func (l *linter) after() {
	root := l.doc.Root
	text := l.doc.Text
	at := l.doc.Offset(root.End)
	if root.End.Col > 1 && at < len(text) {
		// The line where the document ends is its own.
		if n := strings.IndexByte(text[at:], '\n'); n >= 0 {
			at += n + 1
		} else {
			at = len(text)
		}
	}
	for at < len(text) {
		line, _, _ := strings.Cut(text[at:], "\n")
		content := strings.TrimSpace(line)
		if content != "" && content[0] != '#' && content != "..." && content != "---" && !strings.HasPrefix(content, "--- #") {
			at += strings.Index(line, content)
			p, _ := appspec.Place(text, at)
			l.add(l.place(moreDocuments, p, len([]rune(content)), "what follows the first document is never read", "remove it, or make it a part of the first document"))
			return
		}
		at += len(line) + 1
	}
}

package lint

import (
	"slices"
	"sort"
	"strings"

	"slipway/lifecycle/appspec"
)

// edit replaces the bytes from start to end.
type edit struct {
	start, end int
	text       string
}

// maxRounds is how often a text is looked at again after it was mended: what one mistake hides comes to light when it is gone.
const maxRounds = 8

// Mend is the text of an appspec file without what has one right answer. Everything else stays as it is, byte for byte. A file that is
// accepted stays so. Where nothing is to be done it returns data itself.
func Mend(name string, data []byte) []byte {
	text := string(data)
	for range maxRounds {
		next := mendOnce(name, text)
		if next == text {
			break
		}
		text = next
	}
	if text == string(data) {
		return data
	}
	return []byte(text)
}

func mendOnce(name, text string) string {
	if mended, ok := untabbed(name, text); ok {
		return mended
	}
	report := Appspec(name, []byte(text))
	var edits []edit
	for _, f := range report.Findings {
		edits = append(edits, f.edits...)
	}
	if len(edits) == 0 {
		return text
	}
	if next := apply(text, edits); !worse(name, text, next) {
		return next
	}
	// Each is harmless by itself, and all of them together are not.
	for _, f := range report.Findings {
		if len(f.edits) > 0 {
			return apply(text, f.edits)
		}
	}
	return text
}

// maxTried is the size of a text of which mending is tried out one by one, in bytes.
const maxTried = 64 << 10

// harmless takes back what would make the file worse than it is: a key that is spelt right counts, and so does what is wrong below it.
func (l *linter) harmless(text string) {
	var edits []edit
	for i := range l.report.Findings {
		edits = append(edits, l.report.Findings[i].edits...)
	}
	if len(edits) == 0 || !worse(l.name, text, apply(text, edits)) {
		return
	}
	for i := range l.report.Findings {
		f := &l.report.Findings[i]
		if len(f.edits) > 0 && (len(text) > maxTried || worse(l.name, text, apply(text, f.edits))) {
			f.edits, f.Fixable = nil, false
		}
	}
}

// worse reports whether the parser refuses what it accepted before, can read no more what it could, or has more to say about it.
func worse(name, before, after string) bool {
	was, said := grade(name, before)
	is, says := grade(name, after)
	return is < was || is == was && says > said
}

// grade is 2 for a file that is accepted, 1 for one that is YAML, 0 for all others, and how many things the parser has to say.
func grade(name, text string) (grade, said int) {
	doc, diags := appspec.Read(name, []byte(text))
	if doc == nil {
		return 0, len(diags)
	}
	spec, diags := doc.Spec(osOf(doc))
	if spec == nil {
		return 1, len(diags)
	}
	return 2, 0
}

// apply makes the edits; of two that overlap the first is made.
func apply(text string, edits []edit) string {
	edits = slices.Clone(edits)
	sort.SliceStable(edits, func(i, j int) bool { return edits[i].start < edits[j].start })
	var b strings.Builder
	at := 0
	for _, e := range edits {
		if e.start < at || e.end > len(text) {
			continue
		}
		b.WriteString(text[at:e.start])
		b.WriteString(e.text)
		at = e.end
	}
	b.WriteString(text[at:])
	return b.String()
}

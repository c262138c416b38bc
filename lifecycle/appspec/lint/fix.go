package lint

import (
	"slices"
	"strings"

	"slipway/lifecycle/appspec"
)

// edit replaces the bytes from start to end.
type edit struct {
	start, end int
	text       string
}

// maxRounds is how often a text is looked at again after it was mended: what one mistake hides comes to light when it is gone.
const maxRounds = 6

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
	// One of them does harm: each is tried by itself.
	for _, f := range report.Findings {
		if len(f.edits) == 0 {
			continue
		}
		if next := apply(text, f.edits); !worse(name, text, next) {
			return next
		}
	}
	return text
}

// worse reports whether the parser refuses what it accepted before, or can read no more what it could.
func worse(name, before, after string) bool {
	grade := func(text string) int {
		doc, _ := appspec.Read(name, []byte(text))
		if doc == nil {
			return 0
		}
		for _, os := range []string{"linux", "windows"} {
			if spec, _ := doc.Spec(os); spec != nil {
				return 2
			}
		}
		return 1
	}
	return grade(after) < grade(before)
}

// apply makes the edits; of two that overlap the first is made.
func apply(text string, edits []edit) string {
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b edit) int { return a.start - b.start })
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

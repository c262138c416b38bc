// Package textdiff gives the difference of two texts in the unified form, as diff -u does: for people to read and for patch(1) to apply. It also says of
// which files none is to be shown.
package textdiff

import (
	"fmt"
	"strings"
)

// context is how many equal lines are shown around a change.
const context = 3

// Unified gives the difference of two texts under the names from and to; empty if the texts are equal. It takes memory in proportion to the
// texts, and is the shortest one unless they differ in more than about a thousand lines, where it is correct and maybe longer.
func Unified(from, to, a, b string) string {
	return Redacted(from, to, a, b, func(text string) string { return text })
}

// Redacted is Unified for texts that hold secrets: what hide makes of a text is shown, and the text itself compared, so that it still shows
// where a secret has changed. Where hide joins or drops lines, only what it leaves is compared.
func Redacted(from, to, a, b string, hide func(text string) string) string {
	if a == b {
		return ""
	}
	was, is := lines(a), lines(b)
	shownWas, shownIs := lines(hide(a)), lines(hide(b))
	if len(shownWas) != len(was) || len(shownIs) != len(is) {
		was, is = shownWas, shownIs
	}
	list := edits(was, is)
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", from, to)
	w := writer{out: &out, was: shownWas, is: shownIs}
	changed := false
	for at := 0; at < len(list); {
		if list[at].kind == ' ' {
			at++
			continue
		}
		changed = true
		first, last := max(at-context, 0), at
		for quiet := 0; at < len(list) && quiet <= 2*context; at++ {
			if quiet++; list[at].kind != ' ' {
				quiet, last = 0, at
			}
		}
		at = last + 1
		w.hunk(list[first:min(at+context, len(list))])
	}
	if !changed { // hide has made them equal
		return ""
	}
	return out.String()
}

func lines(text string) (list []string) {
	for line := range strings.Lines(text) {
		list = append(list, line)
	}
	return list
}

type writer struct {
	out     *strings.Builder
	was, is []string
}

// hunk writes edits that follow on one another.
func (w *writer) hunk(list []edit) {
	removed, added := 0, 0
	for _, e := range list {
		if e.kind != '+' {
			removed++
		}
		if e.kind != '-' {
			added++
		}
	}
	fmt.Fprintf(w.out, "@@ -%s +%s @@\n", span(list[0].a, removed), span(list[0].b, added))
	for _, e := range list {
		var line string
		if e.kind == '+' {
			line = w.is[e.b]
		} else {
			line = w.was[e.a]
		}
		w.out.WriteByte(e.kind)
		w.out.WriteString(line)
		if !strings.HasSuffix(line, "\n") {
			w.out.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

// span is a range in the head of a hunk: an empty one names the line before it.
func span(before, n int) string {
	switch n {
	case 0:
		return fmt.Sprintf("%d,0", before)
	case 1:
		return fmt.Sprint(before + 1)
	}
	return fmt.Sprintf("%d,%d", before+1, n)
}

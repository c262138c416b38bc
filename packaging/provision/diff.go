package provision

import (
	"fmt"
	"strings"
)

// context is how many equal lines a diff shows around a change.
const contextLines = 3

// unified gives the difference of two texts in the unified form, "" when they are equal.
func unified(from, to, a, b string) string {
	if a == b {
		return ""
	}
	ops := edits(lines(a), lines(b))
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", from, to)
	for start := 0; start < len(ops); {
		if ops[start].kind == ' ' {
			start++
			continue
		}
		first := max(start-contextLines, 0)
		end, quiet := start, 0
		for end < len(ops) && quiet <= 2*contextLines {
			if ops[end].kind == ' ' {
				quiet++
			} else {
				quiet = 0
			}
			end++
		}
		end -= max(quiet-contextLines, 0)
		hunk(&out, ops, first, end)
		start = end
	}
	return out.String()
}

func hunk(out *strings.Builder, ops []edit, first, end int) {
	a, b := 0, 0 // lines before the hunk
	for _, o := range ops[:first] {
		if o.kind != '+' {
			a++
		}
		if o.kind != '-' {
			b++
		}
	}
	na, nb := 0, 0
	for _, o := range ops[first:end] {
		if o.kind != '+' {
			na++
		}
		if o.kind != '-' {
			nb++
		}
	}
	fmt.Fprintf(out, "@@ -%s +%s @@\n", span(a, na), span(b, nb))
	for _, o := range ops[first:end] {
		out.WriteByte(o.kind)
		out.WriteString(o.line)
		if !strings.HasSuffix(o.line, "\n") {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

// span is a range of a hunk's head: an empty one names the line before it.
func span(before, n int) string {
	switch n {
	case 0:
		return fmt.Sprintf("%d,0", before)
	case 1:
		return fmt.Sprint(before + 1)
	}
	return fmt.Sprintf("%d,%d", before+1, n)
}

type edit struct {
	kind byte // ' ', '-', '+'
	line string
}

func lines(s string) []string {
	var out []string
	for l := range strings.Lines(s) {
		out = append(out, l)
	}
	return out
}

// edits finds a shortest way from a to b by the longest common subsequence. Configuration files are short; beyond a bound the middle is
// shown as replaced, which is correct and long.
func edits(a, b []string) []edit {
	var head, tail []edit
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head = append(head, edit{' ', a[0]})
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail = append(tail, edit{' ', a[len(a)-1]})
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	const bound = 4 << 20
	if len(a)*len(b) <= bound {
		head = append(head, shortest(a, b)...)
	} else {
		for _, l := range a {
			head = append(head, edit{'-', l})
		}
		for _, l := range b {
			head = append(head, edit{'+', l})
		}
	}
	for i := len(tail) - 1; i >= 0; i-- {
		head = append(head, tail[i])
	}
	return head
}

func shortest(a, b []string) []edit {
	common := make([][]int32, len(a)+1)
	for i := range common {
		common[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []edit
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, edit{' ', a[i]})
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || common[i+1][j] >= common[i][j+1]):
			out = append(out, edit{'-', a[i]})
			i++
		default:
			out = append(out, edit{'+', b[j]})
			j++
		}
	}
	return out
}

package provision

import (
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
)

// A Problem is one thing that is wrong with a profile.
type Problem struct {
	File       string // the profile as it was named
	Line, Col  int    // from 1; 0 when the problem has no place
	Message    string // what is wrong
	Suggestion string // what to write instead; "" when there is no telling
	Excerpt    string // the line as it stands
	length     int    // columns to underline
}

// Error gives the problem as place, message, and the line with a mark under what is meant.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		b.WriteString(":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Col))
	}
	b.WriteString(": " + p.Message)
	if p.Excerpt == "" {
		if p.Suggestion != "" {
			b.WriteString(" (" + p.Suggestion + ")")
		}
		return b.String()
	}
	number := strconv.Itoa(p.Line)
	margin := strings.Repeat(" ", max(5, len(number)))
	b.WriteString("\n" + margin[:len(margin)-len(number)] + number + " | " + p.Excerpt)
	b.WriteString("\n" + margin + " | " + under(p.Excerpt, p.Col) + strings.Repeat("^", max(p.length, 1)))
	if p.Suggestion != "" {
		b.WriteString(" " + p.Suggestion)
	}
	return b.String()
}

// under is the space before a column. Tabs stay tabs, so that the mark stands right whatever their width is.
func under(line string, col int) string {
	var b strings.Builder
	n := 1
	for _, r := range line {
		if n >= col {
			break
		}
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// InvalidError is what Parse returns: everything that is wrong with a profile, in the order of its lines.
type InvalidError struct {
	Problems []Problem
}

// Error gives all problems, separated by line ends.
func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a Problem.
func (e *InvalidError) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		errs[i] = p
	}
	return errs
}

// suggest names the candidate that was most likely meant, as "did you mean …?", or nothing.
func suggest(word string, candidates []string) string {
	const longest = 64
	word = strings.ToLower(word)
	if word == "" || len(word) > longest {
		return ""
	}
	best, bestDistance := "", 0
	for _, c := range candidates {
		limit := 1
		if len(c) > 3 {
			limit = len(c)/4 + 1 // two letters swapped count as two
		}
		if d := levenshtein.Distance(word, strings.ToLower(c), nil); d <= limit && (best == "" || d < bestDistance) {
			best, bestDistance = c, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

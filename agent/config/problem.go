package config

import (
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with the configuration, or a warning about it.
type Problem struct {
	Source     string // a file's path, "environment SLIPWAY_…", "flag --…"
	Line, Col  int    // from 1; 0 where the source has no lines
	Len        int    // columns to underline
	Key        string // dotted name; "" when the problem is not about a key
	Message    string // what is wrong
	Suggestion string // what to write instead; "" when there is no telling
	Excerpt    string // the line as it stands; "" for none, and always where it may hold a secret
}

// Error gives the problem as place, message, excerpt with caret and suggestion, on as many lines as that takes.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.place())
	b.WriteString(": ")
	b.WriteString(p.Message)
	if p.Excerpt == "" {
		if p.Suggestion != "" {
			b.WriteString(" (" + p.Suggestion + ")")
		}
		return b.String()
	}
	number := strconv.Itoa(p.Line)
	margin := strings.Repeat(" ", max(5-len(number), 0))
	b.WriteString("\n" + margin + number + " | " + p.Excerpt)
	b.WriteString("\n" + strings.Repeat(" ", max(5, len(number))) + " | " + indent(p.Excerpt, p.Col))
	b.WriteString(strings.Repeat("^", max(p.Len, 1)))
	if p.Suggestion != "" {
		b.WriteString(" " + p.Suggestion)
	}
	return b.String()
}

// String gives the problem on one line, for a log.
func (p Problem) String() string {
	s := p.place() + ": " + p.Message
	if p.Suggestion != "" {
		s += " (" + p.Suggestion + ")"
	}
	return s
}

func (p Problem) place() string {
	if p.Line == 0 {
		return p.Source
	}
	return p.Source + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Col)
}

// indent repeats the tabs of the excerpt, so that the caret stands under its text whatever a tab's width is.
func indent(excerpt string, col int) string {
	var b strings.Builder
	n := 1
	for _, r := range excerpt {
		if n >= col {
			break
		}
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
		n++
	}
	return b.String()
}

// InvalidError is what Load returns: everything that is wrong, in the order of the layers. A process that cannot
// go on without a configuration ends with status 78 on it.
type InvalidError struct {
	Problems []Problem
}

// Error gives all problems, each with its excerpt, separated by line ends.
func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.AsType find a Problem.
func (e *InvalidError) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		errs[i] = p
	}
	return errs
}

package appspec

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Severity says what a diagnostic means for a deployment.
type Severity string

// The severities, from worst to mildest. This package itself reports errors only.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityInfo    Severity = "info"
)

// Diagnostic is one thing to say about one place of an appspec file.
type Diagnostic struct {
	// ID is stable. Those of this package are SW0xx, each one row of Rules; it is empty where the file is valid and a deployment
	// fails all the same, as in CheckEvents.
	ID       string
	Severity Severity
	// File is the name given to Parse.
	File string
	Pos  Pos
	// Len is the number of characters to underline, at least 1 unless Pos is zero.
	Len int
	// Message says what is wrong, Suggestion what to write instead.
	Message    string
	Suggestion string
	// Line is the text of the line at Pos, without its line break.
	Line string
}

// Diagnostics are all that is wrong with a file, in the order in which the reference agent checks: the first is the one it
// would have failed with. There are at most a hundred.
type Diagnostics []Diagnostic

// maxDiagnostics bounds the work on a file that is wrong everywhere.
const maxDiagnostics = 100

// Err is nil if no diagnostic is of severity error; otherwise it is an *Error about the first one that is.
func (d Diagnostics) Err() error {
	var first *Error
	for i := range d {
		switch {
		case d[i].Severity != SeverityError:
		case first == nil:
			first = &Error{Diagnostic: d[i]}
		default:
			first.More++
		}
	}
	if first == nil {
		return nil
	}
	return first
}

// Error is a refusal of an appspec file. Its text has the place and the message, the line with the place underlined, and the
// suggestion.
type Error struct {
	// Diagnostic is what the refusal is about.
	Diagnostic
	// More is the number of further errors in the same file.
	More int
}

func (e *Error) Error() string {
	s := e.String()
	switch e.More {
	case 0:
		return s
	case 1:
		return s + "\nand 1 more error in this file"
	default:
		return fmt.Sprintf("%s\nand %d more errors in this file", s, e.More)
	}
}

// String is the diagnostic as a person reads it:
//
//	appspec.yml:8:7: timeout is 0 seconds; a script needs at least 1
//	    8 |       timeout: 0
//	      |                ^ write the seconds that the script may take, such as 300
//
// It ends without a line break.
func (d Diagnostic) String() string {
	var b strings.Builder
	b.WriteString(d.File)
	if d.Pos.Line == 0 {
		fmt.Fprintf(&b, ": %s", d.Message)
		if d.Suggestion != "" {
			fmt.Fprintf(&b, "; %s", d.Suggestion)
		}
		return b.String()
	}
	fmt.Fprintf(&b, ":%d:%d: %s\n", d.Pos.Line, d.Pos.Col, d.Message)
	before, under, after := d.Excerpt()
	fmt.Fprintf(&b, "%5d | %s%s%s\n      | ", d.Pos.Line, before, under, after)
	for _, r := range before {
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	b.WriteString(strings.Repeat("^", max(utf8.RuneCountInString(under), 1)))
	if d.Suggestion != "" {
		b.WriteString(" " + d.Suggestion)
	}
	return b.String()
}

// The widest excerpt, and how much of it may stand before the underlined part: one line may be the whole file.
const (
	excerptWidth  = 160
	excerptBefore = 80
)

// Excerpt cuts Line into what stands before the underlined part, that part, and what stands after it, as they may be shown on a
// terminal: not too long, and without control characters other than tabs.
func (d Diagnostic) Excerpt() (before, under, after string) {
	start := byteOf(d.Line, d.Pos.Col-1)
	end := start + byteOf(d.Line[start:], max(d.Len, 1))
	before, under, after = d.Line[:start], d.Line[start:end], d.Line[end:]
	if n := utf8.RuneCountInString(before) - excerptBefore; n > 0 {
		before = "…" + before[byteOf(before, n+1):]
	}
	under = clip(under, excerptWidth/2)
	after = clip(after, max(excerptWidth-utf8.RuneCountInString(before)-utf8.RuneCountInString(under), 0))
	return visible(before), visible(under), visible(after)
}

// byteOf is the offset of the character with that number, or the length of s.
func byteOf(s string, char int) int {
	for i := range s {
		if char <= 0 {
			return i
		}
		char--
	}
	return len(s)
}

func clip(s string, chars int) string {
	if n := byteOf(s, chars); n < len(s) {
		return s[:n] + "…"
	}
	return s
}

// visible replaces what would upset a terminal.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// shown is a text as it may stand in a message: quoted and not too long.
func shown(s string) string {
	return fmt.Sprintf("%q", clip(s, 60))
}

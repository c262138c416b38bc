package lint

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"slipway/lifecycle/appspec"
)

// Human writes the findings for a person: by file, each with its line, what is underlined in it, the way out and the reason, and at the end what
// there is in all. With colour it uses the codes of a terminal.
func (r *Report) Human(w io.Writer, colour bool) {
	p := printer{w, colour}
	file := ""
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.File != file || i == 0 {
			if i > 0 {
				fmt.Fprintln(w)
			}
			file = f.File
			fmt.Fprintln(w, p.paint(bold, oneLine(file)))
		}
		p.finding(f)
	}
	if len(r.Findings) > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, r.Summary())
}

// Summary is one line: what there is in all.
func (r *Report) Summary() string {
	errs, warnings, notes := r.Count(bad), r.Count(warn), r.Count(note)
	var parts []string
	if errs > 0 {
		parts = append(parts, count(errs, "error", "errors"))
	}
	if warnings > 0 {
		parts = append(parts, count(warnings, "warning", "warnings"))
	}
	if notes > 0 {
		parts = append(parts, count(notes, "note", "notes"))
	}
	if len(parts) == 0 {
		return "nothing to say: no errors, no warnings, no notes"
	}
	s := strings.Join(parts, ", ")
	if r.Omitted > 0 {
		s += fmt.Sprintf(", and %d more of the same", r.Omitted)
	}
	if n := r.Fixable(); n > 0 {
		s += fmt.Sprintf(" (--fix mends %d)", n)
	}
	return s
}

// The colours of a terminal.
const (
	bold   = "1"
	dim    = "2"
	red    = "1;31"
	yellow = "1;33"
	cyan   = "1;36"
)

type printer struct {
	w      io.Writer
	colour bool
}

func (p printer) paint(colour, s string) string {
	if !p.colour || s == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

func (p printer) severity(s appspec.Severity) (word, colour string) {
	switch s {
	case bad:
		return "error", red
	case warn:
		return "warning", yellow
	default:
		return "note", cyan
	}
}

func (p printer) finding(f *Finding) {
	word, colour := p.severity(f.Severity)
	place := ""
	if f.Pos.Line > 0 {
		place = fmt.Sprintf("%d:%d ", f.Pos.Line, f.Pos.Col)
	}
	fmt.Fprintf(p.w, "  %s%s %s: %s\n", place, p.paint(colour, word), p.paint(bold, f.ID), oneLine(f.Message))
	if f.Pos.Line > 0 {
		before, under, after := f.Excerpt()
		fmt.Fprintf(p.w, "  %5d | %s%s%s\n        | ", f.Pos.Line, before, p.paint(colour, under), after)
		blank := strings.Map(func(r rune) rune {
			if r == '\t' {
				return r
			}
			return ' '
		}, before)
		mark := "^" + strings.Repeat("~", max(utf8.RuneCountInString(under)-1, 0))
		fmt.Fprintf(p.w, "%s%s %s\n", blank, p.paint(colour, mark), oneLine(f.Suggestion))
	} else {
		fmt.Fprintf(p.w, "          %s\n", oneLine(f.Suggestion))
	}
	fmt.Fprintf(p.w, "          %s\n", p.paint(dim, f.Rule().Why))
}

// oneLine keeps what comes from a bundle from steering the terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == utf8.RuneError {
			return '\uFFFD'
		}
		return r
	}, s)
}

// GitHub writes the findings as commands to the runner of GitHub Actions, which shows them at their lines.
func (r *Report) GitHub(w io.Writer) {
	for i := range r.Findings {
		f := &r.Findings[i]
		command := map[appspec.Severity]string{bad: "error", warn: "warning", note: "notice"}[f.Severity]
		fmt.Fprintf(w, "::%s file=%s", command, gitHubProperty(oneLine(f.File)))
		if f.Pos.Line > 0 {
			fmt.Fprintf(w, ",line=%d,col=%d,endColumn=%d", f.Pos.Line, f.Pos.Col, f.Pos.Col+max(f.Len, 1))
		}
		fmt.Fprintf(w, ",title=%s::%s\n", gitHubProperty(f.ID+" "+f.Rule().Title), gitHubData(oneLine(f.Message)+"\n"+oneLine(f.Suggestion)+"\n"+f.Rule().Why))
	}
}

var (
	dataEscapes     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	propertyEscapes = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func gitHubData(s string) string     { return dataEscapes.Replace(s) }
func gitHubProperty(s string) string { return propertyEscapes.Replace(s) }

// Explain writes all that there is to say about a rule.
func (r Rule) Explain(w io.Writer) {
	word, _ := printer{}.severity(r.Severity)
	fmt.Fprintf(w, "%s (%s): %s\n\n%s\n%s\n", r.ID, word, r.Title, r.Why, r.Remedy)
	if r.Fix != "" {
		fmt.Fprintf(w, "\n--fix %s.\n", r.Fix)
	}
	for _, example := range []struct{ title, text string }{{"Wrong", r.Bad}, {"Right", r.Good}} {
		if example.text == "" {
			continue
		}
		fmt.Fprintf(w, "\n%s:\n\n", example.title)
		for line := range strings.Lines(example.text) {
			fmt.Fprintf(w, "    %s\n", visible(line))
		}
	}
}

// visible shows the characters of an example that nobody would see.
func visible(line string) string {
	line = strings.TrimSuffix(line, "\n")
	line = strings.ReplaceAll(line, bom, "<U+FEFF>")
	line = strings.ReplaceAll(line, "\r", "<CR>")
	return strings.ReplaceAll(line, "\t", "<TAB>")
}

// Markdown writes the table of rules as a page of documentation, without a title.
func Markdown(w io.Writer) {
	sections := []struct{ prefix, title, text string }{
		{"SW0", "What the parser refuses", "A deployment of such a file fails, with this agent and with the official ones alike."},
		{"SW1", "What it accepts", "The file is read, and does something else than it seems to say."},
		{"SW3", "What only the bundle shows", "For a directory, an archive or an object of S3."},
	}
	for _, s := range sections {
		fmt.Fprintf(w, "## %s\n\n%s\n", s.title, s.text)
		for _, r := range Rules() {
			if !strings.HasPrefix(r.ID, s.prefix) {
				continue
			}
			word, _ := printer{}.severity(r.Severity)
			fmt.Fprintf(w, "\n### %s %s\n\n*%s.* %s %s\n", r.ID, r.Title, strings.ToUpper(word[:1])+word[1:], r.Why, r.Remedy)
			if r.Fix != "" {
				fmt.Fprintf(w, "`--fix` %s.\n", r.Fix)
			}
			if r.Bad == "" {
				continue
			}
			fmt.Fprint(w, "\n```yaml\n# wrong\n")
			writeVisible(w, r.Bad)
			if r.Good != "" {
				fmt.Fprint(w, "# right\n")
				writeVisible(w, r.Good)
			}
			fmt.Fprint(w, "```\n")
		}
		fmt.Fprintln(w)
	}
}

func writeVisible(w io.Writer, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintln(w, visible(line))
	}
}

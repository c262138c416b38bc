// Package lint says what is wrong with an appspec file and the bundle around it, before anybody deploys it. It finds what the parser
// refuses and, above all, what it lets pass: scripts that never run, keys that nobody reads, sources that are not there.
//
// [Appspec] looks at the text alone, [Bundle] at a whole bundle. Every finding belongs to one [Rule], whose id is stable. [Mend] gives
// the text or the files as they should be where that can be told. Nothing here changes a file, and of other programs only
// shells are started, with -n, to judge the syntax of scripts.
package lint

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"unicode/utf8"

	"slipway/lifecycle/appspec"
)

// Finding is one thing to say about one place of a file. File is the name given to [Appspec], or a path in the bundle.
type Finding struct {
	appspec.Diagnostic
	// Fixable is true if Mend does away with the finding.
	Fixable bool

	edits []edit
}

// Rule is the rule that the finding belongs to.
func (f *Finding) Rule() Rule {
	r, _ := Find(f.ID)
	return r
}

// Report is all that was found, by file and then by place. A file that is wrong everywhere does not make it endless: of each rule at most
// 50 findings are kept, and 400 of all.
type Report struct {
	Findings []Finding
	// Omitted is the number of findings beyond that.
	Omitted int
}

const (
	maxPerRule  = 50
	maxFindings = 400
)

// Count is the number of findings of a severity.
func (r *Report) Count(s appspec.Severity) (n int) {
	for i := range r.Findings {
		if r.Findings[i].Severity == s {
			n++
		}
	}
	return n
}

// Fixable is the number of findings that Mend does away with.
func (r *Report) Fixable() (n int) {
	for i := range r.Findings {
		if r.Findings[i].Fixable {
			n++
		}
	}
	return n
}

// Rename gives every file of the report another name, as one that a person can open.
func (r *Report) Rename(name func(string) string) {
	for i := range r.Findings {
		r.Findings[i].File = name(r.Findings[i].File)
	}
}

// Unreadable is the report on a bundle that the agent would not unpack, for the reason that it would give.
func Unreadable(name, reason string) Report {
	l := newLinter(name)
	l.add(l.place(badArchive, appspec.Pos{}, 0, "the bundle cannot be unpacked: "+reason, ""))
	return l.done()
}

// Options says how to look. Zero values are the defaults.
type Options struct {
	// AppSpec is the name of the appspec in the bundle, as the deployment's AppSpecFilename; "" for appspec.yml, then appspec.yaml.
	AppSpec string
	// WorkTree is true for a directory that the bundle will be packed from, not the bundle itself: a .git is then only worth a note.
	WorkTree bool
	// Shell judges the syntax of a script for "sh" or "bash"; nil asks those of this host. [NoShell] asks none.
	Shell func(ctx context.Context, shell string, script []byte) (Verdict, error)
	// HasProgram reports whether this host has a program, by absolute path or by its name on the PATH; nil looks.
	HasProgram func(name string) bool
}

// Appspec looks at the text of an appspec file. name is used for the findings only. It never fails: what cannot be read is a finding.
func Appspec(name string, data []byte) Report {
	l := newLinter(name)
	l.appspec(data)
	l.harmless(string(data))
	return l.done()
}

// linter collects findings.
type linter struct {
	name string
	doc  *appspec.Document // nil if the text is no YAML
	spec *appspec.Spec     // nil if the parser refuses the file
	os   string
	odd  map[appspec.Pos]bool // where events stand whose names are no text

	report  Report
	perRule map[string]int
}

func newLinter(name string) *linter {
	return &linter{name: name, perRule: map[string]int{}}
}

// add keeps a finding, if there is room for it, and returns where it is kept. An empty severity is the rule's.
func (l *linter) add(f Finding) {
	l.perRule[f.ID]++
	if l.perRule[f.ID] > maxPerRule || len(l.report.Findings) >= maxFindings {
		l.report.Omitted++
		return
	}
	rule := f.Rule()
	f.Severity = cmp.Or(f.Severity, rule.Severity)
	f.Suggestion = cmp.Or(f.Suggestion, rule.Remedy)
	f.Fixable = f.Fixable || len(f.edits) > 0
	l.report.Findings = append(l.report.Findings, f)
}

// full reports whether a further finding of the rule would be dropped, so that none has to be worked out.
func (l *linter) full(id string) bool {
	if l.perRule[id] < maxPerRule && len(l.report.Findings) < maxFindings {
		return false
	}
	l.perRule[id]++
	l.report.Omitted++
	return true
}

// at is about a node of the appspec.
func (l *linter) at(id string, n *appspec.Node, message, suggestion string) Finding {
	return l.place(id, n.Start, l.width(n), message, suggestion)
}

// place is about a place of the appspec. The zero Pos is the file as a whole.
func (l *linter) place(id string, p appspec.Pos, length int, message, suggestion string) Finding {
	f := Finding{Diagnostic: appspec.Diagnostic{ID: id, File: l.name, Pos: p, Len: length, Message: message, Suggestion: suggestion}}
	if l.doc != nil && p.Line > 0 {
		f.Line = l.doc.Line(p.Line)
	}
	return f
}

// width is how many characters of a node to underline: to the end of its first line.
func (l *linter) width(n *appspec.Node) int {
	if n.Kind == appspec.ScalarNode && n.Style <= appspec.DoubleQuoted && n.Start.Line == n.End.Line {
		return max(n.End.Col-n.Start.Col, 1)
	}
	line := l.doc.Line(n.Start.Line)
	return max(utf8.RuneCountInString(line)-n.Start.Col+1, 1)
}

// done puts the findings in order.
func (l *linter) done() Report {
	all := l.report.Findings
	sort.SliceStable(all, func(i, j int) bool {
		a, b := &all[i], &all[j]
		return cmp.Or(
			cmp.Compare(l.rank(a.File), l.rank(b.File)), cmp.Compare(a.File, b.File),
			cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col), cmp.Compare(a.ID, b.ID),
		) < 0
	})
	return l.report
}

// rank puts the appspec before the other files.
func (l *linter) rank(file string) int {
	if file == l.name {
		return 0
	}
	return 1
}

// appspec looks at the text.
func (l *linter) appspec(data []byte) {
	doc, refused := appspec.Read(l.name, data)
	l.doc = doc
	l.text(string(data))
	if doc == nil {
		l.refused(refused, string(data))
		return
	}
	l.os = osOf(doc)
	root := doc.Root
	l.spec, refused = doc.Spec(l.os)
	if root == nil {
		l.refused(refused, string(data))
		return
	}
	l.keys(root)
	l.events(root)
	if l.spec != nil {
		l.platform(root)
		l.hooks(root)
		l.files(root)
		l.permissions(root)
	}
	l.refused(refused, string(data))
	l.after()
}

// refused passes on what the parser says. Where the reason is a key that is misspelt, one finding says both.
func (l *linter) refused(diags appspec.Diagnostics, data string) {
	for _, d := range diags {
		f := Finding{Diagnostic: d}
		for i := range l.report.Findings {
			if other := &l.report.Findings[i]; other.ID == misspeltKey && other.Pos == d.Pos {
				f.edits = other.edits
				l.report.Findings = slices.Delete(l.report.Findings, i, i+1)
				l.perRule[misspeltKey]--
				break
			}
		}
		if l.doc == nil && d.ID == "SW003" {
			_, f.Fixable = untabbed(l.name, data)
		}
		l.add(f)
	}
}

// osOf is the system that a file is for, as far as it says so.
func osOf(doc *appspec.Document) string {
	if scalar(child(doc.Root, "os")) == "windows" {
		return "windows"
	}
	return "linux"
}

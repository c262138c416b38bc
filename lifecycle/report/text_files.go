package report

import (
	"strings"
	"unicode/utf8"

	"slipway/lifecycle"
)

var kindColours = [kinds]string{sgrGreen, sgrYellow, sgrRed}

// files are the changed paths, folded as slipway plan folds them.
func (t *text) files() {
	if !hasFiles(t.a) {
		return
	}
	t.heading("files")
	if said := watched(t.a); said != "" {
		t.line("  ", t.paint(sgrFaint, lowered(said)))
	}
	if len(t.a.Files) == 0 {
		t.line("  ", lowered(unchanged(t.a)))
	} else {
		n := tally(t.a)
		t.line("  ", number(n[added]), " added, ", number(n[changed]), " changed, ", number(n[removed]), " removed")
		t.folder(grow(t.a.Files), "")
	}
	t.beyond(t.a.FilesOmitted, "path", "paths")
}

// row writes a path, or what stands for several.
func (t *text) row(kind int, path string, notes ...string) {
	line := "  " + t.paint(kindColours[kind], kindSigns[kind]) + " " + clean(path)
	for i, note := range notes {
		if note = clean(note); note != "" && i == 0 {
			line += "  " + note
		} else if note != "" {
			line += t.paint(sgrFaint, "  ("+note+")")
		}
	}
	t.line(line)
}

// folder writes a folder whose path is given, and what is below it.
func (t *text) folder(f *folder, path string) {
	const few = 8 // as slipway plan
	switch {
	case t.paths <= 0:
		t.line("  ", t.more, " ", clean(path+"/"), ": ", count(f.total(), "path,", "paths,"), " not listed")
		return
	case path != "" && !f.mixed && f.leaves > few:
		t.paths--
		t.row(f.who.kind, path+"/", count(f.total(), "path", "paths"), by(&lifecycle.FileChange{By: f.who.by, ByHook: f.who.byHook}))
		return
	case f.own != nil:
		t.paths--
		t.row(kindOf(f.own), path+"/", t.note(f.own), by(f.own))
	}
	for _, g := range f.groups {
		if len(g.paths) > few {
			t.paths--
			t.row(g.kind, path+"/*", count(len(g.paths), "path", "paths"), by(g.paths[0]))
			continue
		}
		for _, c := range g.paths {
			t.paths--
			t.row(g.kind, c.Path, t.note(c), by(c))
			t.difference(c.Diff)
		}
	}
	for _, k := range f.sorted() {
		t.folder(k, path+"/"+k.name)
	}
}

// note says what of a path is other.
func (t *text) note(c *lifecycle.FileChange) string {
	var parts []string
	if special(c) {
		parts = append(parts, c.Type)
	}
	if len(c.What) > 0 {
		parts = append(parts, strings.Join(c.What[:min(len(c.What), kinds*kinds)], " "))
	}
	if c.Aside {
		parts = append(parts, "changed by hand, kept aside")
	}
	if both := sides(c, t.arrow); both != "" {
		parts = append(parts, both)
	}
	if c.Fold > 0 {
		parts = append(parts, count(c.Fold, "path below it", "paths below it"))
	}
	return strings.Join(parts, ", ")
}

// difference writes the beginning of a unified difference.
func (t *text) difference(diff string) {
	const most = 30
	if diff == "" || t.diffs <= 0 {
		return
	}
	diff, left := cut(diff, min(maxDiff, t.diffs))
	t.diffs -= len(diff)
	list := lines(diff)
	for _, line := range list[:min(len(list), most)] {
		t.line("      ", t.paint(map[string]string{"h": sgrFaint, kindClasses[added]: sgrGreen, kindClasses[removed]: sgrRed}[diffClass(line)], long(line)))
	}
	switch hidden := len(list) - most; {
	case hidden > 0:
		t.line("      ", t.more, " ", count(hidden, "more line", "more lines"))
	case left > 0:
		t.line("      ", t.more, " ", count(left, "more byte", "more bytes"))
	}
}

func (t *text) prediction() {
	q := t.a.Prediction
	if q == nil {
		return
	}
	g, said := predicted(q)
	t.heading("what was planned, and what was done")
	t.line("  ", t.paint(gradeColours[g], said))
	for _, l := range lines(clip(q.Events, maxProse)) {
		t.line("  ", clean(l))
	}
	for _, list := range predictedLists(q) {
		t.line("  ", lowered(list.title))
		const few = 8
		rows, more := list.rows, list.more
		if t.o.Short && len(rows) > few {
			rows, more = rows[:few], more+len(rows)-few
		}
		for _, r := range rows {
			t.line("    ", clean(r.cells[0]))
		}
		t.beyond(more, "path", "paths")
	}
}

func (t *text) findings() {
	list := t.a.Findings
	if len(list) == 0 {
		return
	}
	t.heading("findings of the linter")
	for i := range list[:min(len(list), maxFindings)] {
		f := &list[i]
		severity := t.paint(gradeColours[severityGrade(f.Severity)], clean(severityText(f.Severity)))
		t.line("  ", severity, " ", clean(f.ID), "  ", clean(f.Place))
		for _, l := range append(lines(clip(f.Message, maxProse)), lines(clip(f.Advice, maxProse))...) {
			t.line("    ", clean(l))
		}
	}
	t.beyond(len(list)-maxFindings, "finding", "findings")
}

func (t *text) notes() {
	list := t.a.Notes
	if len(list) == 0 {
		return
	}
	t.heading("to know")
	for _, note := range list[:min(len(list), maxRows)] {
		for _, l := range lines(clip(note, maxProse)) {
			t.line("  ", clean(l))
		}
	}
	t.beyond(len(list)-maxRows, "note", "notes")
}

// table writes rows in columns, the last one as long as it is.
func (t *text) table(of *table) {
	const widest = 48
	t.heading(lowered(of.title))
	widths := make([]int, len(of.head))
	cells := make([][]string, len(of.rows))
	for i, r := range of.rows {
		for j, cell := range r.cells {
			cell = clean(cell)
			cells[i] = append(cells[i], cell)
			if j < len(widths) {
				widths[j] = max(widths[j], min(utf8.RuneCountInString(cell), widest))
			}
		}
	}
	isFacts := of.id == "host" || of.id == "walls"
	if len(of.head) > 0 && !isFacts {
		line := ""
		for j, name := range of.head {
			widths[j] = max(widths[j], len(name))
			line += "  " + pad(strings.ToUpper(name), widths[j])
		}
		t.line(t.paint(sgrFaint, strings.TrimRight(line, " ")))
	}
	for i, r := range of.rows {
		line := ""
		for j, cell := range cells[i] {
			if j < len(widths) && j < len(cells[i])-1 {
				cell = pad(cell, widths[j])
			}
			line += "  " + cell
		}
		colour := ""
		if r.grade == bad || r.grade == mid {
			colour = gradeColours[r.grade]
		}
		t.line(t.paint(colour, strings.TrimRight(line, " ")))
	}
	t.beyond(of.more, "line", "lines")
}

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"

	"slipway/lifecycle/install"
)

// mark is what becomes of a path, as a plan shows it.
type mark uint8

// The marks.
const (
	markAdd mark = iota
	markReplace
	markAdjust
	markRemove
	markKeep
	markSame
	marks // how many there are
)

// markSigns and markWords are the marks for a person and for a script.
var (
	markSigns = [marks]byte{'+', '~', 'm', '-', 'k', '='}
	markWords = [marks]string{"add", "replace", "adjust", "remove", "keep", "same"}
)

// foldAt is how many paths of one mark in one folder a person still reads one by one.
const foldAt = 8

// tally counts paths by mark, and what is written.
type tally struct {
	n     [marks]int
	bytes [marks]int64
}

func (t *tally) add(m mark, bytes int64) { t.n[m]++; t.bytes[m] += bytes }

// only is the mark that all have; false: they have several, or there are none.
func (t *tally) only() (mark, bool) {
	found := marks
	for m, n := range t.n {
		switch {
		case n == 0:
		case found != marks:
			return 0, false
		default:
			found = mark(m)
		}
	}
	return found, found != marks
}

// planDir is a folder of a plan. A plan of 50,000 files has some hundreds of them: of the files only those are kept that are shown.
type planDir struct {
	kids   map[string]*planDir
	own    *install.Change    // of the folder itself
	leaves [][]install.Change // by mark: files and links in it, as many as are shown
	files  tally              // those files and links
	all    tally              // of the folder and all below it
}

func (d *planDir) at(name string) *planDir {
	kid := d.kids[name]
	if kid == nil {
		kid = &planDir{}
		if d.kids == nil {
			d.kids = map[string]*planDir{}
		}
		d.kids[name] = kid
	}
	return kid
}

// planTree is what becomes of all paths of a plan, by folder.
type planTree struct {
	top     planDir
	verbose bool // keep every path
	last    string
	at      *planDir // the folder last
}

// isDir reports whether a change is about a folder.
func isDir(c *install.Change) bool {
	return c.After.IsDir() || c.Kind == install.Gone && c.Before.IsDir()
}

// add enters a change.
func (t *planTree) add(c *install.Change) {
	m := markOf(c)
	if isDir(c) {
		own := *c
		t.folder(c.Path).own = &own
		for d := range t.way(c.Path) {
			d.all.add(m, c.Bytes)
		}
		return
	}
	dir, _ := splitPath(c.Path)
	d := t.folder(dir)
	d.files.add(m, c.Bytes)
	if d.leaves == nil {
		d.leaves = make([][]install.Change, marks)
	}
	if t.verbose || m != markSame && len(d.leaves[m]) <= foldAt {
		d.leaves[m] = append(d.leaves[m], *c)
	}
	for d := range t.way(dir) {
		d.all.add(m, c.Bytes)
	}
}

func splitPath(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:i], path[i+1:]
}

// folder is the folder of a path; neighbours are asked for one after the other.
func (t *planTree) folder(path string) *planDir {
	if t.at == nil || t.last != path {
		for d := range t.way(path) {
			t.at = d
		}
		t.last = path
	}
	return t.at
}

// way yields the folders that lead to one, it included.
func (t *planTree) way(path string) func(func(*planDir) bool) {
	return func(yield func(*planDir) bool) {
		d := &t.top
		for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
			if !yield(d) {
				return
			}
			if part == "" {
				return
			}
			d = d.at(part)
		}
		yield(d)
	}
}

// write writes what becomes of the paths, and folds what is alike: a folder of which all has the same mark, and files of one folder with the
// same mark if they are many. What stays the same is counted alone. It reports whether there was anything to write.
func (t *planTree) write(out io.Writer) bool {
	w := &treeWriter{out: out, all: t.verbose}
	w.folder("", &t.top)
	if same := t.top.all.n[markSame]; w.any && same > 0 && !w.all {
		fmt.Fprintf(out, "  = %d more are the same\n", same)
	}
	return w.any
}

type treeWriter struct {
	out io.Writer
	all bool
	any bool // something was written
}

// folder writes a folder and what is below it: its files first.
func (w *treeWriter) folder(path string, d *planDir) {
	only, uniform := d.all.only()
	branches := d.own != nil || len(d.kids) > 1 || d.leaves != nil
	switch {
	case w.all:
	case uniform && only == markSame:
		return
	case uniform && branches && d.all.n[only] > foldAt:
		w.line(only, path+"/", paths(&d.all, only))
		return
	}
	if d.own != nil {
		w.change(d.own)
	}
	w.files(path, d)
	for _, name := range slices.Sorted(maps.Keys(d.kids)) {
		w.folder(path+"/"+name, d.kids[name])
	}
}

func (w *treeWriter) files(path string, d *planDir) {
	var shown []install.Change
	for m := range d.leaves {
		if d.files.n[m] > foldAt && !w.all && mark(m) != markSame {
			w.line(mark(m), path+"/*", paths(&d.files, mark(m)))
			continue
		}
		shown = append(shown, d.leaves[m]...)
	}
	sort.SliceStable(shown, func(i, j int) bool { return shown[i].Path < shown[j].Path })
	for i := range shown {
		w.change(&shown[i])
	}
}

func paths(t *tally, m mark) string {
	text := fmt.Sprintf("%d paths", t.n[m])
	if t.bytes[m] > 0 {
		text += ", " + sizeText(t.bytes[m])
	}
	return text
}

func (w *treeWriter) change(c *install.Change) {
	m := markOf(c)
	if m == markSame && !w.all {
		return
	}
	path := c.Path
	if isDir(c) {
		path += "/"
	}
	var notes []string
	switch {
	case c.After.IsLink() && m != markSame:
		notes = append(notes, "-> "+c.After.Link)
	case (m == markAdd || m == markReplace) && !c.After.IsDir():
		notes = append(notes, sizeText(c.Bytes))
	}
	if text := attributesText(c); text != "" && m != markRemove && m != markKeep {
		notes = append(notes, text)
	}
	if c.Aside {
		notes = append(notes, "changed on this host, kept aside")
	}
	if m == markReplace && !c.Ours {
		notes = append(notes, "not of this group")
	}
	w.line(m, path, strings.Join(notes, ", "))
}

func (w *treeWriter) line(m mark, path, note string) {
	w.any = w.any || m != markSame
	line := fmt.Sprintf("  %c %s", markSigns[m], printable(path))
	if note != "" {
		line += "  " + printable(note)
	}
	fmt.Fprintln(w.out, line)
}

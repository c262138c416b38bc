package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"slipway/lifecycle/install"
)

// foldAt is how many paths of one mark in one folder a person still reads one by one.
const foldAt = 8

// planNode is a path of a plan, with all that is below it.
type planNode struct {
	kids   map[string]*planNode
	change *install.Change
	marks  map[mark]int // of it and all below
	bytes  int64        // that are written
}

func (n *planNode) at(name string) *planNode {
	kid := n.kids[name]
	if kid == nil {
		kid = &planNode{}
		if n.kids == nil {
			n.kids = map[string]*planNode{}
		}
		n.kids[name] = kid
	}
	return kid
}

// only is the mark that all of a node have, 0 if they have several.
func (n *planNode) only() mark {
	if len(n.marks) != 1 {
		return 0
	}
	for m := range n.marks {
		return m
	}
	return 0
}

func (n *planNode) sum() {
	n.marks = map[mark]int{}
	if n.change != nil {
		n.marks[markOf(n.change)]++
		n.bytes += n.change.Bytes
	}
	for _, kid := range n.kids {
		kid.sum()
		for m, k := range kid.marks {
			n.marks[m] += k
		}
		n.bytes += kid.bytes
	}
}

// writeTree writes what becomes of paths, and folds what is alike: a folder of which all has the same mark, and files of one folder with the
// same mark if they are many. What stays the same is counted alone. It reports whether there was anything to write.
func writeTree(out io.Writer, changes []install.Change, all bool) bool {
	top := &planNode{}
	for i := range changes {
		n := top
		for part := range strings.SplitSeq(strings.TrimPrefix(changes[i].Path, "/"), "/") {
			n = n.at(part)
		}
		n.change = &changes[i]
	}
	top.sum()
	w := &treeWriter{out: out, all: all}
	w.below("", top)
	if same := top.marks[markSame]; w.any && same > 0 && !all {
		fmt.Fprintf(out, "  = %d more are the same\n", same)
	}
	return w.any
}

type treeWriter struct {
	out io.Writer
	all bool
	any bool // something was written
}

// node writes a path and what is below it.
func (w *treeWriter) node(path string, n *planNode) {
	only := n.only()
	total := 0
	for _, k := range n.marks {
		total += k
	}
	switch {
	case w.all:
	case only == markSame:
		return
	case only != 0 && len(n.kids) > 0 && total > foldAt:
		w.line(only, path+"/", fmt.Sprintf("%d paths%s", total, bytesNote(n.bytes)))
		return
	}
	if n.change != nil {
		w.change(path, n)
	}
	w.below(path, n)
}

// below writes what is in a folder: files first.
func (w *treeWriter) below(path string, n *planNode) {
	names := slices.Collect(maps.Keys(n.kids))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(min(len(n.kids[a].kids), 1), min(len(n.kids[b].kids), 1)), strings.Compare(a, b))
	})
	leaves, bytes := map[mark]int{}, map[mark]int64{}
	for _, name := range names {
		if kid := n.kids[name]; len(kid.kids) == 0 {
			leaves[kid.only()]++
			bytes[kid.only()] += kid.bytes
		}
	}
	folded := map[mark]bool{}
	for _, name := range names {
		kid := n.kids[name]
		m := kid.only()
		switch {
		case w.all || len(kid.kids) > 0 || leaves[m] <= foldAt || m == markSame:
			w.node(path+"/"+name, kid)
		case !folded[m]:
			folded[m] = true
			w.line(m, path+"/*", fmt.Sprintf("%d paths%s", leaves[m], bytesNote(bytes[m])))
		}
	}
}

func (w *treeWriter) change(path string, n *planNode) {
	c := n.change
	m := markOf(c)
	if m == markSame && !w.all {
		return
	}
	if c.After.IsDir() || c.Kind == install.Gone && c.Before.IsDir() {
		path += "/"
	}
	var notes []string
	switch {
	case c.After.IsLink() && m != markSame:
		notes = append(notes, "-> "+c.After.Link)
	case m == markAdd || m == markReplace:
		if !c.After.IsDir() {
			notes = append(notes, sizeText(c.Bytes))
		}
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
	line := fmt.Sprintf("  %c %s", m, printable(path))
	if note != "" {
		line += "  " + printable(note)
	}
	fmt.Fprintln(w.out, line)
}

func bytesNote(n int64) string {
	if n == 0 {
		return ""
	}
	return ", " + sizeText(n)
}

package report

import (
	"maps"
	"slices"
	"strings"

	"slipway/lifecycle"
)

// Kinds of change, as indices.
const (
	added = iota
	changed
	removed
	kinds
)

// The kinds for a person.
var (
	kindSigns = [kinds]string{"+", "~", "-"}
	kindWords = [kinds]string{lifecycle.FileAdded, lifecycle.FileChanged, lifecycle.FileRemoved}
)

func kindOf(c *lifecycle.FileChange) int {
	switch c.Kind {
	case lifecycle.FileAdded:
		return added
	case lifecycle.FileRemoved:
		return removed
	}
	return changed
}

// folder is a directory of the tree of changes.
type folder struct {
	name string // from the folder above: several elements if there is nothing to say of those between
	kids map[string]*folder
	own  *lifecycle.FileChange
	// groups are the other paths in it: those that are alike in kind, maker and type beside one another.
	groups []*group
	n      [kinds]int // paths of it and all below it
	leaves int        // rows that showing all of it takes
	// who made all that is in it, if there is but one.
	who   maker
	mixed bool
}

// maker is how and by whom paths were changed.
type maker struct {
	kind   int
	by     lifecycle.Event
	byHook bool
}

func makerOf(c *lifecycle.FileChange) maker { return maker{kindOf(c), c.By, c.ByHook} }

// group are paths of one folder that are alike.
type group struct {
	maker
	paths []*lifecycle.FileChange
}

// total is how many paths there are.
func (f *folder) total() int { return f.n[added] + f.n[changed] + f.n[removed] }

// maxDepth bounds the folders in one another: what is deeper stands in one row with its whole path.
const maxDepth = 64

// grow makes the tree of changes. Directories that stand for others count with them.
func grow(changes []lifecycle.FileChange) *folder {
	top := &folder{name: "/"}
	for i := range changes {
		c := &changes[i]
		path := strings.Trim(c.Path, "/")
		way := strings.SplitN(path, "/", maxDepth)
		dir := c.Type == "directory"
		if !dir {
			way = way[:len(way)-1]
		}
		f := top
		f.count(c)
		for _, name := range way {
			if name == "" {
				continue
			}
			f = f.kid(name)
			f.count(c)
		}
		if dir && f.own == nil {
			f.own = c
			continue
		}
		f.put(c)
	}
	top.squeeze()
	return top
}

func (f *folder) kid(name string) *folder {
	k := f.kids[name]
	if k == nil {
		k = &folder{name: name}
		if f.kids == nil {
			f.kids = map[string]*folder{}
		}
		f.kids[name] = k
	}
	return k
}

func (f *folder) count(c *lifecycle.FileChange) {
	m := makerOf(c)
	f.mixed = f.mixed || f.leaves > 0 && f.who != m || c.Diff != ""
	f.who = m
	f.n[m.kind] += 1 + max(c.Fold, 0)
	f.leaves++
}

// put enters a path of the folder itself. One that has a difference to show stands alone.
func (f *folder) put(c *lifecycle.FileChange) {
	m := makerOf(c)
	if c.Diff == "" && m.kind != changed {
		for _, g := range f.groups {
			if g.maker == m && g.paths[0].Diff == "" {
				g.paths = append(g.paths, c)
				return
			}
		}
	}
	f.groups = append(f.groups, &group{m, []*lifecycle.FileChange{c}})
}

// sorted are the folders in it, by name.
func (f *folder) sorted() []*folder {
	list := make([]*folder, 0, len(f.kids))
	for _, name := range slices.Sorted(maps.Keys(f.kids)) {
		list = append(list, f.kids[name])
	}
	return list
}

// squeeze puts a folder of which there is nothing to say but that another one is in it into one row with that.
func (f *folder) squeeze() {
	for name, k := range f.kids {
		for k.own == nil && len(k.groups) == 0 && len(k.kids) == 1 {
			for _, only := range k.kids {
				only.name = k.name + "/" + only.name
				k = only
			}
		}
		f.kids[name] = k
		k.squeeze()
	}
}

// base is the last element of a path.
func base(path string) string {
	path = strings.TrimRight(path, "/")
	return path[strings.LastIndexByte(path, '/')+1:]
}

// Bounds of the tree.
const (
	alikeAt  = 12  // so many alike in one folder are folded
	alikeMax = 120 // of which so many are listed
	wholeAt  = 60  // a folder that is alike in all its paths, more than these, is one row
)

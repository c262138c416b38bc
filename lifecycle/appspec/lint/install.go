package lint

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"

	"slipway/lifecycle/appspec"
)

// install works out what the Install step would write, and finds what it would fail over.
func (b *bundleLinter) install() {
	p := &plan{b: b, files: map[string]int{}, dirs: map[string]struct{}{}}
	for i := range b.spec.Files {
		f := &b.spec.Files[i]
		source := sourceOf(f)
		if f.Defect != nil || climbs(source) || !strings.HasPrefix(f.Destination, "/") {
			p.unsure = true
			continue
		}
		p.entry(i, f, source)
	}
	if !p.unsure {
		p.permissions()
	}
}

// plan is what would be installed.
type plan struct {
	b      *bundleLinter
	files  map[string]int      // targets, and the entry that each comes from
	dirs   map[string]struct{} // folders that may be made
	unsure bool                // some targets cannot be told
	told   map[[2]int]bool     // pairs of entries that collide
}

func (p *plan) entry(i int, f *appspec.File, source string) {
	b, destination := p.b, path.Clean(f.Destination)
	p.ancestors(destination)
	e, ok := entry{name: ".", typ: fs.ModeDir}, true
	if source != "." {
		e, ok = b.resolve(source)
	}
	linked := false
	if raw, there := b.entry(source); there && raw.typ&fs.ModeSymlink != 0 {
		linked = true
	}
	switch {
	case !ok && linked: // the link itself is installed
		p.file(i, f, path.Join(destination, path.Base(source)))
	case !ok:
		if b.full(sourceMissing) {
			return
		}
		suggestion := "write the path from the top of the bundle, in its exact case"
		if near := b.nearestSource(source); near != "" {
			suggestion = fmt.Sprintf("did you mean %s?", near)
		}
		b.add(b.place(sourceMissing, f.SourcePos, b.tokenWidth(f.SourcePos, f.Source), fmt.Sprintf("the source %s is not in the bundle: the Install step fails", shown(f.Source)), suggestion))
	case !e.typ.IsDir():
		p.file(i, f, path.Join(destination, path.Base(source)))
	default:
		p.dirs[destination] = struct{}{}
		p.tree(i, f, e.name, destination)
	}
}

// nearestSource is nearest for files and folders.
func (b *bundleLinter) nearestSource(name string) string {
	if file := b.nearest(name); file != "" {
		return file
	}
	for _, e := range b.entries {
		if e.typ.IsDir() && path.Dir(e.name) == path.Dir(name) && (strings.EqualFold(e.name, name) || near(path.Base(e.name), path.Base(name))) {
			return e.name
		}
	}
	return ""
}

func (p *plan) ancestors(name string) {
	for dir := path.Dir(name); dir != "/" && dir != "."; dir = path.Dir(dir) {
		if _, ok := p.dirs[dir]; ok {
			return
		}
		p.dirs[dir] = struct{}{}
	}
}

func (p *plan) file(i int, f *appspec.File, target string) {
	p.ancestors(target)
	first, ok := p.files[target]
	if !ok {
		p.files[target] = i
		return
	}
	// The same entry twice is told by the text alone; of two entries one path is enough.
	pair := [2]int{first, i}
	if p.told[pair] || p.same(first, i) {
		return
	}
	if p.told == nil {
		p.told = map[[2]int]bool{}
	}
	p.told[pair] = true
	p.b.add(p.b.place(sameTarget, f.SourcePos, p.b.tokenWidth(f.SourcePos, f.Source), fmt.Sprintf("the entry writes %s, as entry %d does: the Install step fails", shown(target), first+1), "let each file come from one entry"))
}

func (p *plan) same(i, j int) bool {
	a, b := &p.b.spec.Files[i], &p.b.spec.Files[j]
	return sourceOf(a) == sourceOf(b) && path.Clean(a.Destination) == path.Clean(b.Destination)
}

// tree adds what is below a folder of the bundle.
func (p *plan) tree(i int, f *appspec.File, source, destination string) {
	b := p.b
	start, prefix := 0, ""
	if source != "." {
		prefix = source + "/"
		start = b.index[source] + 1 // the walk goes into a folder right behind it
	}
	git := false
	for _, e := range b.entries[start:] {
		if !strings.HasPrefix(e.name, prefix) {
			break
		}
		rel := e.name[len(prefix):]
		target := path.Join(destination, rel)
		if e.typ.IsDir() {
			p.dirs[target] = struct{}{}
			git = git || rel == ".git"
			continue
		}
		p.file(i, f, target)
	}
	if git {
		found := b.place(installsGit, f.SourcePos, b.tokenWidth(f.SourcePos, f.Source), fmt.Sprintf(".git of the bundle is installed as %s", shown(path.Join(destination, ".git"))), "leave .git out of the bundle: pack it with git archive")
		if b.opts.WorkTree {
			found.Severity = note
		}
		b.add(found)
	}
}

// candidate is a path that permissions may be set on.
type candidate struct {
	name string
	dir  bool
}

// permissions finds entries that select nothing, and paths that two select.
func (p *plan) permissions() {
	spec := p.b.spec
	if len(spec.Permissions) == 0 {
		return
	}
	all := make([]candidate, 0, len(p.files)+len(p.dirs))
	for name := range p.files {
		all = append(all, candidate{name, false})
	}
	for name := range p.dirs {
		all = append(all, candidate{name, true})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].name < all[j].name })
	chosen := make([]int32, len(all)) // by entry, counted from 1
	const most = 500                  // entries that are compared with the bundle
	for i := range spec.Permissions[:min(len(spec.Permissions), most)] {
		p.permission(i, all, chosen)
	}
}

func (p *plan) permission(i int, all []candidate, chosen []int32) {
	b, e := p.b, &p.b.spec.Permissions[i]
	o := objectOf(e)
	if !strings.HasPrefix(o, "/") {
		return
	}
	if _, ok := p.files[o]; ok {
		if e.Applies("file") && (e.Pattern != "**" || len(e.Except) > 0 || slices.ContainsFunc(e.ACLs, func(a appspec.ACLEntry) bool { return a.IsDefault })) {
			b.add(b.object(patternOnFile, e, fmt.Sprintf("%s is a file, and takes no pattern, except or default ACL entry: the Install step fails", shown(e.Object)), ""))
		}
		at := sort.Search(len(all), func(n int) bool { return all[n].name >= o })
		if !e.Applies("file") {
			b.add(b.object(selectsNoPath, e, fmt.Sprintf("%s is a file, and the entry is for directories", shown(e.Object)), ""))
			return
		}
		p.choose(i, at, all, chosen)
		return
	}
	prefix := strings.TrimSuffix(o, "/") + "/"
	from := sort.Search(len(all), func(n int) bool { return all[n].name >= prefix })
	any, twice := false, false
	for n := from; n < len(all) && strings.HasPrefix(all[n].name, prefix); n++ {
		typ := "file"
		if all[n].dir {
			typ = "directory"
		}
		if !e.Applies(typ) || !e.Selects(all[n].name[len(prefix):]) {
			continue
		}
		any = true
		if !twice {
			twice = p.choose(i, n, all, chosen)
		}
	}
	if !any && !b.said(e) {
		b.add(b.object(selectsNoPath, e, "nothing that this bundle installs is selected by the entry", ""))
	}
}

// said reports whether the text alone has told why an entry selects nothing.
func (b *bundleLinter) said(e *appspec.Permission) bool {
	return slices.ContainsFunc(b.report.Findings, func(f Finding) bool {
		switch f.ID {
		case neverObject, selectsNone:
			return f.Pos == e.ObjectPos
		case neverPattern:
			return f.Pos == e.PatternPos
		}
		return false
	})
}

// choose notes that an entry selects a path, and tells if another did so before.
func (p *plan) choose(i, n int, all []candidate, chosen []int32) (twice bool) {
	if chosen[n] == 0 {
		chosen[n] = int32(i) + 1
		return false
	}
	b := p.b
	e, first := &b.spec.Permissions[i], &b.spec.Permissions[chosen[n]-1]
	if all[n].dir { // one that is there already is not made, and takes no permissions
		return false
	}
	for k := range b.report.Findings {
		if f := &b.report.Findings[k]; f.ID == twiceChosen && f.Pos == e.ObjectPos {
			f.Severity = bad
			return true
		}
	}
	b.add(b.object(selectedTwice, e, fmt.Sprintf("%s is selected by the entry of line %d as well: the Install step fails", shown(all[n].name), first.Pos.Line), "make one entry of the two, or let them select different types or names"))
	return true
}

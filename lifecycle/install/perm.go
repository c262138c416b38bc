package install

import (
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/lifecycle/appspec"
)

// permission is one entry of the permissions section, with its names looked up.
type permission struct {
	owner, group string // as the appspec has them, empty if it has none
	uid, gid     uint32 // noID if not given
	modeText     string
	mode         uint32
	modeSet      bool
	acls         []appspec.ACLEntry
	acl          []aclEntry
	aclSet       bool
	context      *appspec.Context
}

const noID = ^uint32(0)

// plain reports that the entry sets nothing but owner, group and mode.
func (m *permission) plain() bool { return !m.aclSet && m.context == nil }

// attrs are what the permissions section decides about a file or directory.
type attrs struct {
	mode     uint32 // permission and set-id bits
	uid, gid uint32
}

// on gives the attributes of a file or directory after the entry has been applied to it (I-49, X-49).
func (m *permission) on(a attrs, isDir bool) attrs {
	chowned := m.uid != noID || m.gid != noID
	if m.uid != noID {
		a.uid = m.uid
	}
	if m.gid != noID {
		a.gid = m.gid
	}
	switch {
	case m.modeSet:
		a.mode = m.mode
	case chowned && !isDir:
		// A change of owner takes the set-id bits off a program. Only an explicit mode puts them back.
		a.mode &^= unix.S_ISUID
		if a.mode&0o010 != 0 {
			a.mode &^= unix.S_ISGID
		}
	}
	return a
}

// want gives the attributes that a file op leaves (I-39, I-49). For links they are owner and group alone.
func (p *Plan) want(f *file) attrs {
	a := attrs{mode: f.mode & 0o7777, uid: f.uid, gid: f.gid}
	if f.perm != 0 {
		a = p.perms[f.perm-1].on(a, false)
	}
	return a
}

// ops yields what the entry does to one path, in the order in which it is done. A link's owner and group are those
// of the link itself; the rest would be those of what it leads to, and is not done.
func (m *permission) ops(path string, link bool) iter.Seq[Op] {
	return func(yield func(Op) bool) {
		if m.owner != "" || m.group != "" {
			if !yield(Op{Kind: Chown, Path: path, Detail: m.owner + ":" + m.group}) {
				return
			}
		}
		if link {
			return
		}
		if m.modeSet && !yield(Op{Kind: Chmod, Path: path, Detail: m.modeText}) {
			return
		}
		if m.aclSet {
			texts := make([]string, len(m.acls))
			for i, e := range m.acls {
				texts[i] = e.String()
			}
			if !yield(Op{Kind: SetACL, Path: path, Detail: strings.Join(texts, ",")}) {
				return
			}
		}
		if m.context != nil {
			yield(Op{Kind: SetContext, Path: path, Detail: labelText(m.context)})
		}
	}
}

// permissions plans the permissions section.
func (m *maker) permissions(ctx context.Context) error {
	s := newSelector(m)
	for i := range m.req.Spec.Permissions {
		e := &m.req.Spec.Permissions[i]
		at := m.place(e.Pos)
		selected := s.choose(e, at)
		if len(selected) == 0 {
			m.warn("%s: the permissions entry for %s selects nothing that this deployment installs", at, e.Object)
			continue
		}
		if e.Defect != nil {
			m.conflict(at, e.Defect.Error())
			continue
		}
		perm, err := m.resolve(ctx, e, at)
		if err != nil {
			return err
		}
		m.plan.perms = append(m.plan.perms, perm)
		m.plan.permsOf = append(m.plan.permsOf, selected)
		s.mark(selected, int32(len(m.plan.perms)), at)
	}
	m.checkContexts()
	return nil
}

// resolve looks up the names of an entry.
func (m *maker) resolve(ctx context.Context, e *appspec.Permission, at string) (permission, error) {
	perm := permission{
		owner: e.Owner, group: e.Group, uid: noID, gid: noID, modeText: e.Mode, modeSet: e.ModeSet,
		acls: e.ACLs, aclSet: e.ACLsSet, context: e.Context,
	}
	if e.ModeSet {
		mode, err := strconv.ParseUint(e.Mode, 8, 12)
		if err != nil {
			m.conflict(at, fmt.Sprintf("mode %q is not octal", e.Mode))
		}
		perm.mode = uint32(mode)
	}
	lookup := func(name string, isGroup bool) (uint32, error) {
		if name == "" {
			return noID, nil
		}
		id, ok, err := m.accounts.id(ctx, name, isGroup)
		if err == nil && !ok {
			kind := "user"
			if isGroup {
				kind = "group"
			}
			m.conflict(at, fmt.Sprintf("there is no %s %q on this host: create it before Install (a BeforeInstall script can), or mend the permissions section", kind, name))
		}
		return id, err
	}
	var err error
	if perm.uid, err = lookup(e.Owner, false); err != nil {
		return perm, err
	}
	if perm.gid, err = lookup(e.Group, true); err != nil {
		return perm, err
	}
	for _, a := range e.ACLs {
		c := aclEntry{dflt: a.IsDefault, tag: aclTag(a), id: noID, perm: aclPerm(a.Perm)}
		if a.Name != "" {
			if c.id, err = lookup(a.Name, a.Type == "group"); err != nil {
				return perm, err
			}
		}
		perm.acl = append(perm.acl, c)
	}
	return perm, nil
}

// selector finds what entries of the permissions section select. It looks at directories, not at every path.
type selector struct {
	m       *maker
	byShown map[string]dirID
	start   []int32 // of each directory's run in inDir
	inDir   []int32 // indexes of files, by directory
	dirs    []int32 // planned directories in execution order, coded as in Plan.order
}

func newSelector(m *maker) *selector {
	p := m.plan
	s := &selector{m: m, byShown: make(map[string]dirID, len(p.dirs))}
	if len(m.req.Spec.Permissions) == 0 {
		return s
	}
	s.start = make([]int32, len(p.dirs)+1)
	for i := range p.files {
		s.start[p.files[i].dir+1]++
	}
	for i := range p.dirs {
		s.start[i+1] += s.start[i]
		s.byShown[p.dirs[i].shown] = dirID(i)
	}
	next := append([]int32(nil), s.start...)
	s.inDir = make([]int32, len(p.files))
	for i := range p.files {
		d := p.files[i].dir
		s.inDir[next[d]] = int32(i)
		next[d]++
	}
	for _, i := range p.order {
		if i < 0 {
			s.dirs = append(s.dirs, i)
		}
	}
	return s
}

func (s *selector) files(d dirID) []int32 { return s.inDir[s.start[d]:s.start[d+1]] }

// choose gives what an entry selects (I-44..I-47).
func (s *selector) choose(e *appspec.Permission, at string) []int32 {
	m := s.m
	object, err := filepath.Abs(e.Object)
	if err != nil {
		m.conflict(at, fmt.Sprintf("object %q: the working directory is not known (%v): name an absolute path", e.Object, err))
		return nil
	}
	if object != "/" {
		folder, name := split(object)
		if d, ok := s.byShown[folder]; ok {
			if slot := m.tree.entries[key{d, name}]; slot.copy != 0 {
				return s.chooseFile(e, at, slot.copy-1)
			}
		}
	}
	var selected []int32
	if e.Applies("file") {
		selected = s.chooseFiles(e, object, at)
	}
	if e.Applies("directory") {
		for _, i := range s.dirs {
			if rel, ok := strings.CutPrefix(m.plan.dirs[^i].shown, below(object)); ok && rel != "" && e.Selects(rel) {
				selected = append(selected, i)
			}
		}
	}
	return selected
}

func below(dir string) string { return strings.TrimSuffix(dir, "/") + "/" }

// chooseFiles gives the files below a directory that an entry selects (I-45). Only ** reaches further than its direct children.
func (s *selector) chooseFiles(e *appspec.Permission, object, at string) (selected []int32) {
	p := s.m.plan
	hasDefault := slices.ContainsFunc(e.ACLs, func(a appspec.ACLEntry) bool { return a.IsDefault })
	take := func(d dirID, prefix string) {
		for _, i := range s.files(d) {
			if !e.Selects(prefix + p.files[i].name) {
				continue
			}
			if hasDefault { // I-48
				s.m.conflict(p.target(i), "is a file, and a default list entry is for directories: set type: [directory] at "+at)
			}
			selected = append(selected, i)
		}
	}
	if d, ok := s.byShown[object]; ok {
		take(d, "")
	}
	if e.Pattern != "**" {
		return selected
	}
	for i := range p.dirs {
		if shown := p.dirs[i].shown; shown != object && strings.HasPrefix(shown, below(object)) {
			take(dirID(i), shown[len(below(object)):]+"/")
		}
	}
	return selected
}

// chooseFile is the rule for an entry whose object is a file (I-44).
func (s *selector) chooseFile(e *appspec.Permission, at string, i int32) []int32 {
	if !e.Applies("file") {
		return nil
	}
	path := s.m.plan.target(i)
	if e.Pattern != "**" {
		s.m.conflict(at, fmt.Sprintf("%s is a file, and pattern %q is for what is in a directory: leave pattern out", path, e.Pattern))
	}
	if len(e.Except) > 0 {
		s.m.conflict(at, fmt.Sprintf("%s is a file, and except is for what is in a directory: leave except out", path))
	}
	for _, a := range e.ACLs {
		if a.IsDefault {
			s.m.conflict(at, fmt.Sprintf("%s is a file, and the default list entry %q is for directories: leave it out", path, a.String()))
		}
	}
	return []int32{i}
}

// mark gives an entry to what it selects. A path may have one only (I-48).
func (s *selector) mark(selected []int32, perm int32, at string) {
	p := s.m.plan
	for _, i := range selected {
		var at2 *int32
		if i < 0 {
			at2 = &p.dirs[^i].perm
		} else {
			at2 = &p.files[i].perm
		}
		if *at2 != 0 {
			s.m.conflict(p.path(i), "is selected by two permissions entries, the second at "+at+": let one of them except it")
			continue
		}
		*at2 = perm
	}
}

package install

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ChangeKind says what an installation makes of one path.
type ChangeKind uint8

// The kinds of a Change.
const (
	Added     ChangeKind = iota + 1 // nothing is there
	Replaced                        // something else is there: another content, link text or type
	Rewritten                       // what is there has the same content, and gets another time, mode or owner, or is only written anew
	Same                            // what is there is ours, equal in all respects, and not touched
	Kept                            // what is there stays and is not ours: RETAIN, or equal in type and content
	Gone                            // it goes
)

// Words are the names of the kinds, as String gives them.
var changeWords = [...]string{Added: "add", Replaced: "replace", Rewritten: "rewrite", Same: "same", Kept: "keep", Gone: "remove"}

func (k ChangeKind) String() string {
	if int(k) < len(changeWords) && changeWords[k] != "" {
		return changeWords[k]
	}
	return fmt.Sprintf("ChangeKind(%d)", uint8(k))
}

// State is what a path is, content and time apart. The zero State stands for nothing.
type State struct {
	Mode     uint32 // type and permission bits, as stat(2) gives them
	UID, GID uint32
	Link     string // of a symbolic link, what it leads to
	// List is the access control list that the appspec sets, in its canonical text; OtherList for what is there and is not that list.
	List    string
	Context string // the SELinux context, where the appspec sets one
}

// OtherList stands for an access control list that the appspec does not set.
const OtherList = "another list"

// Attributes reports whether two states differ in what a person sets with chmod, chown, setfacl or chcon. A link has no mode.
func (s State) Attributes(o State) bool {
	mode := (s.Mode ^ o.Mode) & 0o7777
	if s.Mode&unix.S_IFMT == unix.S_IFLNK {
		mode = 0
	}
	return mode != 0 || s.UID != o.UID || s.GID != o.GID || s.List != o.List || s.Context != o.Context
}

// IsDir reports whether it is a directory.
func (s State) IsDir() bool { return s.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsFile reports whether it is a regular file.
func (s State) IsFile() bool { return s.Mode&unix.S_IFMT == unix.S_IFREG }

// IsLink reports whether it is a symbolic link.
func (s State) IsLink() bool { return s.Mode&unix.S_IFMT == unix.S_IFLNK }

// Change is what an installation makes of one path: what is there before it, and what after it.
type Change struct {
	Kind          ChangeKind
	Path          string // absolute, as the appspec names it
	Source        string // in the unpacked bundle; empty for directories and for what goes or stays
	Before, After State
	Bytes         int64 // size of the file that is written
	Ours          bool  // what is there was installed by the group before
	Aside         bool  // what is there was changed on this host, and is kept aside
	// Passed is true where the directory passes on an access control list to what is made in it: After then says nothing of its mode.
	Passed bool
}

// Changes compares the plan with the host: one Change for each path that the plan has to do with, those that are made in execution order,
// then what stays, then what goes. Files that are written over others of the same size are compared with them, which reads both. The
// sequence changes nothing and may be walked more than once. The error is that of ctx, or of a bundle or host that cannot be read.
func (p *Plan) Changes(ctx context.Context) (iter.Seq[Change], error) {
	before := make([]State, len(p.files))
	equal := make([]bool, len(p.files))
	err := p.eachFile(ctx, nil, len(p.files), func(w *worker, i int) (err error) {
		if p.files[i].act == actReplace {
			var there occupant
			there, err = w.compare(i, math.MaxInt64)
			before[i], equal[i] = there.State, there.equal
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return func(yield func(Change) bool) {
		lists := map[dirID]bool{}
		for _, i := range p.order {
			var c Change
			if i < 0 {
				c = p.dirChange(dirID(^i), lists)
			} else {
				c = p.fileChange(i, before[i], equal[i], lists)
			}
			if !yield(c) {
				return
			}
		}
		for _, path := range p.kept {
			if !yield(Change{Kind: Kept, Path: path, Before: stateOf(path), After: stateOf(path)}) {
				return
			}
		}
		for i := range p.removals {
			r := &p.removals[i]
			c := p.removalChange(r)
			if !yield(c) {
				return
			}
		}
	}, nil
}

func (p *Plan) removalChange(r *removal) Change {
	d := &p.dirs[r.dir]
	return Change{Kind: Gone, Path: join(d.shown, r.name), Before: stateOf(join(d.path, r.name)), Ours: true, Aside: p.keeps(r.dir, r.name)}
}

func stateOf(path string) State {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return State{}
	}
	s := State{Mode: st.Mode, UID: st.Uid, GID: st.Gid}
	if s.IsLink() {
		s.Link, _ = os.Readlink(path)
	}
	return s
}

// occupant is what a file or link takes the place of.
type occupant struct {
	State
	size   int64
	equal  bool // in type and content to what is installed
	unread bool // it was too large to be compared
}

// compare looks at what a file or link takes the place of. Of a file of the same size it reads no more than most bytes.
func (w *worker) compare(i int, most int64) (occupant, error) {
	p, f := w.p, &w.p.files[i]
	wrong := func(err error) (occupant, error) {
		return occupant{}, fmt.Errorf("compare %s with the bundle: %w", p.target(int32(i)), err)
	}
	dst, err := w.dst.get(f.dir)
	if err != nil {
		return wrong(err)
	}
	var st unix.Stat_t
	if err := lstatAt(dst, f.name, &st); err != nil {
		return wrong(err)
	}
	there := occupant{State: State{Mode: st.Mode, UID: st.Uid, GID: st.Gid}, size: st.Size}
	if there.IsLink() {
		if there.Link, err = readlinkAt(dst, f.name); err != nil {
			return wrong(err)
		}
	}
	switch {
	case st.Mode&unix.S_IFMT != f.mode&unix.S_IFMT:
		return there, nil
	case f.link():
		there.equal = there.Link == p.links[int32(i)]
		return there, nil
	case st.Size != f.size:
		return there, nil
	case st.Size > most:
		there.unread = true
		return there, nil
	}
	src, err := w.src.get(dirID(f.src))
	if err != nil {
		return occupant{}, fmt.Errorf("plan installation: read the bundle: %w", err)
	}
	there.equal, err = equalFiles(src, dst, f.name, f.size, w.buffers)
	return there, err
}

func (p *Plan) fileChange(i int32, before State, equal bool, lists map[dirID]bool) Change {
	f := &p.files[i]
	want := p.want(f)
	c := Change{
		Kind: Added, Path: p.target(i), Source: p.source(i), Before: before, Ours: f.ours, Aside: p.keeps(f.dir, f.name),
		After: State{Mode: f.mode&unix.S_IFMT | want.mode, UID: want.uid, GID: want.gid, Link: p.links[i]},
	}
	if f.link() {
		c.After.Mode = f.mode
	} else {
		c.Bytes = f.size
		c.Passed = p.passesOn(f.dir, lists)
	}
	if f.perm != 0 && !f.link() && p.perms[f.perm-1].aclSet {
		access, _ := completeACL(p.perms[f.perm-1].acl, want.mode)
		c.After.Mode = f.mode&unix.S_IFMT | groupBits(access, want.mode)
	}
	if !f.link() && f.act != actSame {
		p.beside(&c, f.perm, join(p.dirs[f.dir].path, f.name), want.mode)
	}
	switch {
	case f.act == actSame:
		c.Kind, c.Before, c.Bytes = Same, c.After, 0
	case f.act == actReplace && equal:
		c.Kind = Rewritten
	case f.act == actReplace:
		c.Kind = Replaced
	}
	return c
}

// beside notes access control list and context, before and after. path is the place without links, mode what the list is completed with.
func (p *Plan) beside(c *Change, perm int32, path string, mode uint32) {
	var want [2][]byte // access and default list
	if perm != 0 {
		m := &p.perms[perm-1]
		for op := range m.ops("", false) {
			switch {
			case op.Kind == SetACL:
				c.After.List = op.Detail
			case op.Kind == SetContext && p.labelled():
				c.After.Context = op.Detail
				c.Before.Context = strings.TrimRight(string(attribute(path, labelAttr)), "\x00")
			}
		}
		if m.aclSet {
			access, dflt := completeACL(m.acl, mode)
			if len(access) > 3 { // else the mode says it all
				want[0] = encodeACL(access)
			}
			want[1] = encodeACL(dflt)
		}
	}
	if c.Before.Mode == 0 || c.Before.IsLink() {
		c.Before.Context = ""
		return
	}
	have := [2][]byte{attribute(path, aclAccess), nil}
	if c.Before.IsDir() {
		have[1] = attribute(path, aclDefault)
	}
	switch {
	case bytes.Equal(have[0], want[0]) && bytes.Equal(have[1], want[1]):
		c.Before.List = c.After.List
	case have[0] != nil || have[1] != nil:
		c.Before.List = OtherList
	}
}

// attribute is an extended attribute of a path, nil if it has none. Lists of a thousand entries are more than anybody has.
func attribute(path, name string) []byte {
	if n, err := unix.Lgetxattr(path, name, nil); err != nil || n <= 0 {
		return nil
	}
	buf := make([]byte, 8<<10)
	n, err := unix.Lgetxattr(path, name, buf)
	if err != nil || n <= 0 {
		return nil
	}
	return buf[:n]
}

// dirStates are a planned directory before and after, as far as the plan itself tells (I-39): a new one has mode 0755 and our owner, unless its
// parent passes on its group. mode is what an access control list is completed with.
func (p *Plan) dirStates(id dirID) (before, after State, mode uint32) {
	d := &p.dirs[id]
	under := d.parent
	if d.live() {
		before = State{Mode: d.mode, UID: d.uid, GID: d.gid}
	}
	for p.dirs[under].planned { // those become what new ones would be there
		under = p.dirs[under].parent
	}
	s := status{Mode: 0o755, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	if parent := &p.dirs[under]; parent.mode&unix.S_ISGID != 0 {
		s.Mode, s.GID = s.Mode|unix.S_ISGID, parent.gid
	}
	mode = s.Mode
	if d.perm != 0 {
		s = p.perms[d.perm-1].given(s)
		mode = p.perms[d.perm-1].on(attrs{mode, s.UID, s.GID}, true).mode
	}
	return before, State{Mode: unix.S_IFDIR | s.Mode, UID: s.UID, GID: s.GID}, mode
}

// dirChange is what becomes of a planned directory.
func (p *Plan) dirChange(id dirID, lists map[dirID]bool) Change {
	d := &p.dirs[id]
	c := Change{Kind: Added, Path: d.shown, Ours: d.goes, Aside: p.keeps(d.parent, d.name), Passed: p.passesOn(id, lists)}
	var mode uint32
	c.Before, c.After, mode = p.dirStates(id)
	p.beside(&c, d.perm, d.path, mode)
	if c.Passed && c.After.List == "" {
		c.Before.List = "" // it has what its parent passes on
	}
	switch {
	case d.live():
		c.Kind = Same
		if c.Before.Attributes(c.After) {
			c.Kind = Rewritten
		}
	case d.occupied:
		c.Kind, c.Before, c.Ours = Replaced, stateOf(d.path), true
	}
	return c
}

// passesOn reports whether what is made in a directory, or the directory itself, inherits an access control list. known remembers it.
func (p *Plan) passesOn(id dirID, known map[dirID]bool) bool {
	for !p.dirs[id].exists || p.dirs[id].planned { // one that is made again passes on what a new one would
		id = p.dirs[id].parent
	}
	passes, ok := known[id]
	if !ok {
		n, err := unix.Getxattr(p.dirs[id].path, aclDefault, nil)
		passes = err == nil && n > 0
		known[id] = passes
	}
	return passes
}

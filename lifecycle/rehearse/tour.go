package rehearse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// tour visits all changes of one layer, each folder before what is in it.
type tour struct {
	*Scanner
	ctx     context.Context
	index   int // of the layer
	layer   *Layer
	visit   func(found) error
	noUser  bool // the upper layer's file system keeps no user.* attributes
	device  uint64
	foreign bool // what is mounted below the lower layer shows through, and has to be told by its device
	buf     []byte
	a, b    []byte // for comparing contents
}

// eachChange calls visit with every change that the last Mark has seen.
func (s *Scanner) eachChange(ctx context.Context, visit func(found) error) error {
	for i := range s.layers {
		if s.tops[i].sub == nil {
			continue // not marked
		}
		t := &tour{Scanner: s, ctx: ctx, index: i, layer: &s.layers[i], buf: make([]byte, 32<<10)}
		t.visit = func(f found) error {
			if s.made[f.by].base {
				return nil
			}
			return visit(f)
		}
		if err := t.run(); err != nil {
			return fmt.Errorf("tell what has changed below %s: %w", t.layer.At, err)
		}
	}
	return nil
}

func (t *tour) run() error {
	up, err := openFolder(t.layer.Upper)
	if err != nil {
		return err
	}
	defer closeFolder(up)
	top := &t.tops[t.index]
	low, foreign, err := openLower(t.layer.Lower)
	if barred(err) || gone(err) { // gone: the host has unmounted it since, and removed the folder
		return t.folder(top, up, -1, strings.TrimSuffix(t.layer.At, "/"))
	}
	if err != nil {
		return err
	}
	defer closeFolder(low)
	_, err = unix.Fgetxattr(up, "user.slipway", nil)
	t.noUser = errors.Is(err, unix.EOPNOTSUPP)
	var st unix.Stat_t
	if err := unix.Fstat(low, &st); err != nil {
		return err
	}
	t.device, t.foreign = st.Dev, foreign
	what, err := t.folders(top, &st, up, low)
	if err == nil && what != 0 {
		err = t.tell(top, changed, t.layer.At, what)
	}
	if err != nil {
		return err
	}
	return t.folder(top, up, low, strings.TrimSuffix(t.layer.At, "/"))
}

func (t *tour) tell(e *entry, k kind, path string, what aspects) error {
	return t.visit(found{path: path, kind: k, mode: e.mode, what: what, by: e.by, layer: uint8(t.index), scripted: t.byScript(e)})
}

// folder visits what is in a directory. low is -1 if the lower layer has none that counts.
func (t *tour) folder(dir *entry, up, low int, path string) error {
	if t.ctx.Err() != nil {
		return context.Cause(t.ctx)
	}
	for i := range dir.sub.entries {
		e := &dir.sub.entries[i]
		at := path + "/" + e.name
		var err error
		switch {
		case !e.ghost:
			err = t.entry(dir, e, up, low, at)
		case low >= 0:
			err = t.removed(low, e.name, at, e.by)
		}
		if err != nil {
			return err
		}
	}
	if low < 0 || dir.marked&opaque == 0 {
		return nil
	}
	return t.eachLower(low, path, func(name, at string) error {
		if dir.sub.find(name) != nil {
			return nil
		}
		return t.removed(low, name, at, dir.cleared)
	})
}

// eachLower calls f with the name and the path of all that is in a directory of the lower layer and is not left out.
func (t *tour) eachLower(low int, path string, f func(name, at string) error) error {
	var names []string
	err := eachName(low, t.buf, func(name []byte, _ uint8) bool {
		names = append(names, string(name))
		return len(names) < maxEntries
	})
	if err != nil {
		return fmt.Errorf("list %s: %w", path, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if at := path + "/" + name; !t.leaveOut(at) {
			if err := f(name, at); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tour) entry(dir, e *entry, up, low int, path string) error {
	var st unix.Stat_t
	have := false
	if low >= 0 {
		err := lookAt(low, e.name, &st)
		if have = err == nil; !have && !gone(err) && !barred(err) {
			return fmt.Errorf("look at what %s was: %w", path, err)
		}
	}
	if e.marked&redirected != 0 {
		return &Mounted{Path: path, Option: "redirect_dir"}
	}
	white := e.white
	if dir.marked&whitesIn != 0 && e.size == 0 && e.mode&unix.S_IFMT == unix.S_IFREG {
		white = white || t.has(up, e.name, "whiteout")
	}
	switch {
	case white && have:
		return t.removed(low, e.name, path, e.by)
	case white:
		return nil
	case !have:
		if e.size > 0 && e.hollow && t.has(up, e.name, "metacopy") {
			return &Mounted{Path: path, Option: "metacopy"}
		}
		return t.added(e, up, path)
	case e.mode&unix.S_IFMT != st.Mode&unix.S_IFMT:
		return t.replaced(e, &st, up, low, path)
	case e.dir():
		return t.both(e, &st, up, low, path)
	}
	what, err := t.compare(e, &st, up, low, path)
	if err != nil || what == 0 {
		return err
	}
	return t.tell(e, changed, path, what)
}

// has reports whether the overlay has put a mark of its own on a file.
func (t *tour) has(up int, name, mark string) bool {
	fd, err := openAt(up, name, fileFlags)
	if err != nil {
		return false
	}
	defer closeFolder(fd)
	_, err = unix.Fgetxattr(fd, t.layer.marks()+mark, nil)
	return err == nil
}

// added tells of a path that the lower layer has not, and of all that is in it.
func (t *tour) added(e *entry, up int, path string) error {
	if err := t.tell(e, added, path, 0); err != nil || !e.dir() {
		return err
	}
	return t.within(e, up, -1, path)
}

// within visits what is in a directory of the upper layer.
func (t *tour) within(e *entry, up, low int, path string) error {
	if len(e.sub.entries) == 0 {
		return nil
	}
	sub, err := openSub(up, e.name)
	if err != nil {
		if gone(err) {
			return nil
		}
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer closeFolder(sub)
	return t.folder(e, sub, low, path)
}

// replaced tells of a path that is now of another type.
func (t *tour) replaced(e *entry, st *unix.Stat_t, up, low int, path string) error {
	if err := t.tell(e, changed, path, byType); err != nil {
		return err
	}
	if e.dir() {
		return t.within(e, up, -1, path)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || t.mountedOver(st) {
		return nil
	}
	sub, err := openSub(low, e.name)
	if barred(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open what %s was: %w", path, err)
	}
	defer closeFolder(sub)
	return t.eachLower(sub, path, func(name, at string) error { return t.removed(sub, name, at, e.by) })
}

// both visits a directory that both layers have.
func (t *tour) both(e *entry, st *unix.Stat_t, up, low int, path string) error {
	upSub, err := openSub(up, e.name)
	if err != nil {
		if gone(err) {
			return nil
		}
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer closeFolder(upSub)
	lowSub := -1
	if !t.mountedOver(st) {
		lowSub, err = openSub(low, e.name)
		if barred(err) {
			return t.folder(e, upSub, -1, path)
		}
		if err != nil {
			return fmt.Errorf("open what %s was: %w", path, err)
		}
		defer closeFolder(lowSub)
		what, err := t.folders(e, st, upSub, lowSub)
		if err != nil {
			return fmt.Errorf("compare %s with what it was: %w", path, err)
		}
		if what != 0 {
			if err := t.tell(e, changed, path, what); err != nil {
				return err
			}
		}
	}
	return t.folder(e, upSub, lowSub, path)
}

// mountedOver reports whether what a look at the lower layer shows is another file system, which is no part of the overlay.
func (t *tour) mountedOver(st *unix.Stat_t) bool { return t.foreign && st.Dev != t.device }

// folders compares two directories, without what is in them.
func (t *tour) folders(e *entry, st *unix.Stat_t, up, low int) (what aspects, err error) {
	what = statAspects(e, st)
	more, err := t.attributesDiffer(up, low)
	return what | more, err
}

func statAspects(e *entry, st *unix.Stat_t) (what aspects) {
	if (e.mode^st.Mode)&0o7777 != 0 && e.mode&unix.S_IFMT != unix.S_IFLNK {
		what |= byMode
	}
	if e.uid != st.Uid || e.gid != st.Gid {
		what |= byOwner
	}
	return what
}

func (t *tour) attributesDiffer(up, low int) (aspects, error) {
	is, err := attributes(up, t.layer.marks())
	if err != nil {
		return 0, err
	}
	was, err := attributes(low, t.layer.marks())
	if err != nil {
		return 0, err
	}
	return t.differ(was, is), nil
}

// differ compares extended attributes.
func (t *tour) differ(was, is []attribute) (what aspects) {
	for len(was) > 0 || len(is) > 0 {
		var name string
		var a, b []byte
		switch {
		case len(is) == 0, len(was) > 0 && was[0].name < is[0].name:
			name, a, was = was[0].name, was[0].value, was[1:]
			if t.noUser && strings.HasPrefix(name, "user.") {
				continue // the copy could not keep it
			}
		case len(was) == 0, is[0].name < was[0].name:
			name, b, is = is[0].name, is[0].value, is[1:]
		default:
			name, a, b, was, is = was[0].name, was[0].value, is[0].value, was[1:], is[1:]
			if bytes.Equal(a, b) {
				continue
			}
		}
		switch {
		case (name == "security.selinux" || name == "security.ima" || name == "security.evm") && (a == nil || b == nil):
		case strings.HasPrefix(name, "system.posix_acl_"):
			what |= byACL
		default:
			what |= byXattr
		}
	}
	return what
}

// removed tells of a path of the lower layer that is no longer there, and of what was in it.
func (t *tour) removed(low int, name, path string, by uint16) error {
	var st unix.Stat_t
	if err := lookAt(low, name, &st); err != nil {
		if gone(err) || barred(err) {
			return nil
		}
		return fmt.Errorf("look at what %s was: %w", path, err)
	}
	f := found{path: path, kind: removed, mode: st.Mode, by: by, layer: uint8(t.index), scripted: t.made[by].hook}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || t.mountedOver(&st) {
		return t.visit(f)
	}
	sub, err := openSub(low, name)
	if err != nil {
		if barred(err) || gone(err) {
			return t.visit(f)
		}
		return fmt.Errorf("open what %s was: %w", path, err)
	}
	defer closeFolder(sub)
	n, err := t.count(sub, CountMax+1, 0)
	if err != nil {
		return fmt.Errorf("count what was in %s: %w", path, err)
	}
	if n >= foldFrom {
		f.fold = n
		return t.visit(f)
	}
	if err := t.visit(f); err != nil {
		return err
	}
	return t.eachLower(sub, path, func(name, at string) error { return t.removed(sub, name, at, by) })
}

// count counts what is below a directory of the lower layer, up to limit.
func (t *tour) count(fd, limit, depth int) (n int, err error) {
	if t.ctx.Err() != nil {
		return 0, context.Cause(t.ctx)
	}
	var folders []string
	err = eachName(fd, t.buf, func(name []byte, typ uint8) bool {
		n++
		if typ == unix.DT_DIR || typ == unix.DT_UNKNOWN {
			folders = append(folders, string(name))
		}
		return n < limit
	})
	for _, name := range folders {
		if err != nil || n >= limit || depth >= maxDepth {
			break
		}
		var st unix.Stat_t
		if t.foreign && lookAt(fd, name, &st) == nil && t.mountedOver(&st) {
			continue
		}
		sub, openErr := openSub(fd, name)
		if openErr != nil { // it is no directory, or not ours to read
			continue
		}
		var more int
		more, err = t.count(sub, limit-n, depth+1)
		closeFolder(sub)
		n += more
	}
	return n, err
}

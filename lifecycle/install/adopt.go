package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An adoption (Request.Adopt) is a plan like any other, but writes only the group's own files: the cleanup file, the plan file
// and the manifest then say that the group has installed what was there already. The manifest describes the bundle's file
// where that on the host has another content, so that the next installation keeps the latter aside.

// leaveOut notes what the appspec names and the adoption cannot take.
func (m *maker) leaveOut(path, why string) {
	m.plan.leftOut = append(m.plan.leftOut, Conflict{Path: path, Why: why})
}

// adopt takes a file or link that is of the type that the bundle has for it; false: it is left out.
func (m *maker) adopt(f *file, shown string, st *unix.Stat_t) bool {
	if st.Mode&unix.S_IFMT != f.mode&unix.S_IFMT {
		m.leaveOut(shown, "is of another type than in the bundle")
		return false
	}
	f.act = actAdopt
	return true
}

// adoptDir takes a directory below a destination. The destination itself, what is above it, and a directory behind a link
// have most likely been there before.
func (m *maker) adoptDir(in, id dirID) {
	d := &m.tree.dirs[id]
	if !m.req.Adopt || d.planned || d.parent != in {
		return
	}
	d.planned = true
	m.plan.order = append(m.plan.order, ^int32(id))
}

// disown refuses files that another group's next installation removes. A directory of another group stays that group's.
func (m *maker) disown() error {
	p := m.plan
	byShown := make(map[string]dirID, len(p.dirs))
	for i := range p.dirs {
		byShown[p.dirs[i].shown] = dirID(i)
	}
	err := m.eachForeign(0, func(group, path string) {
		if id, ok := byShown[path]; ok {
			p.dirs[id].planned = false
		}
		folder, name := split(path)
		if id, ok := byShown[folder]; ok && m.tree.entries[key{id, name}].copy != 0 {
			m.conflicts = append(m.conflicts, Conflict{strings.Clone(path), "cannot be adopted: change the destination, or let the other group forget it", group})
		}
	})
	p.order = slices.DeleteFunc(p.order, func(i int32) bool { return i < 0 && !p.dirs[^i].planned })
	return err
}

// adopted compares what is adopted with what would have been installed, and notes what the manifest is to say.
func (m *maker) adopted(ctx context.Context) error {
	p := m.plan
	differ := make([]Aspects, len(p.files))
	if err := p.eachFile(ctx, nil, len(p.files), func(w *worker, i int) (err error) {
		differ[i], err = w.adopt(i)
		return err
	}); err != nil {
		return err
	}
	for _, i := range p.order {
		if i >= 0 && differ[i] != 0 {
			p.modified = append(p.modified, Modified{p.target(i), differ[i], differ[i]&touched != 0})
		}
	}
	if n, which := m.which(isAside); n > 0 {
		m.warn("%d adopted file%s not as the bundle has them: the next installation keeps them aside: %s", n, plural(n), which)
	}
	if n, which := m.which(func(c Modified) bool { return !c.Aside }); n > 0 {
		m.warn("%d adopted file%s another mode or owner than an installation would give: the next one does: %s", n, plural(n), which)
	}
	for i, c := range p.leftOut {
		if i == maxShown {
			m.warn("… and %d more are left out of the adoption", len(p.leftOut)-maxShown)
			break
		}
		m.warn("%s is left out of the adoption: it %s", c.Path, c.Why)
	}
	return nil
}

// adopt compares one file, and makes the file say what the manifest has to.
func (w *worker) adopt(i int) (what Aspects, err error) {
	p := w.p
	f := &p.files[i]
	want := p.want(f)
	if f.perm != 0 && p.perms[f.perm-1].aclSet && !f.link() {
		access, _ := completeACL(p.perms[f.perm-1].acl, want.mode)
		want.mode = groupBits(access, want.mode)
		if len(access) > 3 { // else the mode says it all
			p.lists.note(int32(i), encodeACL(access))
		}
	}
	f.mode, f.uid, f.gid = f.mode&unix.S_IFMT|want.mode, want.uid, want.gid
	dst, err := w.dst.get(f.dir)
	if err != nil {
		return 0, fmt.Errorf("plan adoption: %w", err)
	}
	var st unix.Stat_t
	if err := lstatAt(dst, f.name, &st); err != nil {
		return 0, fmt.Errorf("plan adoption: look at %s: %w", p.target(int32(i)), err)
	}
	h := have{mode: f.mode, uid: f.uid, gid: f.gid, size: f.size, mtime: f.mtime}
	what = h.differs(&st)
	if f.link() {
		if text, err := readlinkAt(dst, f.name); err == nil && text != p.links[int32(i)] {
			what |= LinkDiffers
		}
		return what, nil
	}
	if what&(TypeDiffers|SizeDiffers) != 0 {
		return what, nil
	}
	src, err := w.src.get(dirID(f.src))
	if err != nil {
		return 0, fmt.Errorf("plan adoption: read the bundle: %w", err)
	}
	equal, err := equalFiles(src, dst, f.name, f.size, w.buffers)
	if err != nil || !equal {
		if st.Mtim.Nano() == f.mtime {
			f.mtime-- // or the next installation would not look at it
		}
		return what | ContentDiffers, err
	}
	f.mtime = st.Mtim.Nano() // it has been touched at most
	return what &^ TimeDiffers, nil
}

// LeftOut says what an adoption leaves out, and why: what the appspec names and is not there, or is of another type.
func (p *Plan) LeftOut() []Conflict { return p.leftOut }

// Forget makes a deployment group give up what it has installed: the files stay and belong to nobody. Its manifest, cleanup
// file and plan file go, in this order; the cleanup file's end is what counts, and after a crash it can be called again. The
// pointers to the group's deployments are the caller's. A group that has nothing installed is fs.ErrNotExist.
func Forget(ctx context.Context, root, group string) error {
	if !validID(group) {
		return fmt.Errorf("forget what was installed: the deployment group's id %q cannot name a file: it has to be one path component", group)
	}
	l := newLocks(root, group, "", nil)
	if err := l.take(ctx, []string{groupLock + group}); err != nil {
		return err
	}
	defer l.release()
	if err := pending(root, group); err != nil {
		return fmt.Errorf("forget what deployment group %s has installed: %w", group, err)
	}
	instructions := filepath.Join(root, instructionsDir)
	removed := false
	for _, name := range []string{
		filepath.Join(stateDir(root), group+manifestSuffix), filepath.Join(instructions, group+cleanupSuffix), filepath.Join(instructions, group+installSuffix),
	} {
		switch err := os.Remove(name); {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return fmt.Errorf("forget what deployment group %s has installed: %w", group, err)
		}
		removed = true
		if err := syncOwn(filepath.Dir(name)); err != nil {
			return fmt.Errorf("forget what deployment group %s has installed: %w", group, err)
		}
	}
	if !removed {
		return fmt.Errorf("forget what deployment group %s has installed: there is nothing of it under %s: %w", group, root, fs.ErrNotExist)
	}
	return nil
}

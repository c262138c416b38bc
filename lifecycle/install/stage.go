package install

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// stage writes the new revision under hidden names.
type stage struct {
	p     *Plan
	t     *transaction
	live  map[dirID]int32   // indexes into t.dirs of the directories in which hidden names appear
	roots map[dirID]uint32  // the top directories of the new trees, with the number of their hidden name
	inos  map[dirID]uint64  // of the roots, once they are made
	fresh map[dirID]*status // by directory: what a new one in it is like
	mask  uint32
	euid  uint32
	egid  uint32
	n     uint32 // the next free number of a hidden name; files have their own index
}

func newStage(p *Plan, t *transaction) *stage {
	s := &stage{
		p: p, t: t, live: map[dirID]int32{}, roots: map[dirID]uint32{}, inos: map[dirID]uint64{}, fresh: map[dirID]*status{},
		mask: umask(), euid: uint32(os.Geteuid()), egid: uint32(os.Getegid()), n: uint32(len(p.files)),
	}
	if p.req.Adopt {
		return s
	}
	for _, i := range p.order {
		if i >= 0 {
			if f := &p.files[i]; f.act != actSame && p.dirs[f.dir].live() {
				s.use(f.dir)
			}
			continue
		}
		d := &p.dirs[^i]
		switch {
		case d.live():
			s.use(dirID(^i))
			s.use(s.anchor(dirID(^i)))
		case p.dirs[d.parent].live():
			s.use(d.parent)
			s.roots[dirID(^i)] = s.number()
		}
	}
	for i := range p.removals {
		s.use(p.removals[i].dir)
	}
	return s
}

func (s *stage) number() uint32 { s.n++; return s.n - 1 }

// use enters a directory of the host into the transaction.
func (s *stage) use(id dirID) int32 {
	i, ok := s.live[id]
	if !ok {
		i = int32(len(s.t.dirs))
		s.live[id] = i
		s.t.dirs = append(s.t.dirs, liveDir{path: s.p.dirs[id].path, ino: s.p.dirs[id].ino})
	}
	return i
}

// path is where a directory is while the plan is carried out.
func (s *stage) path(id dirID) string {
	d := &s.p.dirs[id]
	if d.live() {
		return d.path
	}
	if n, ok := s.roots[id]; ok {
		return join(s.p.dirs[d.parent].path, s.t.hidden(n))
	}
	return join(s.path(d.parent), d.name)
}

// run stages everything. Nothing of the old tree is touched.
func (s *stage) run(ctx context.Context) error {
	if err := s.makeDirs(ctx); err != nil {
		return err
	}
	for _, i := range s.p.order {
		if i < 0 && s.p.dirs[^i].live() {
			if _, err := s.freshIn(s.anchor(dirID(^i))); err != nil {
				return fmt.Errorf("reset directory %s: %w", s.p.dirs[^i].shown, err)
			}
		}
	}
	if err := s.p.eachFile(ctx, s, len(s.p.files), func(w *worker, i int) error {
		f := &s.p.files[i]
		if f.act == actSame {
			return nil
		}
		if err := s.t.at("stage"); err != nil {
			return err
		}
		if err := w.stage(ctx, i); err != nil {
			return fmt.Errorf("write %s: %w", s.p.target(int32(i)), spaceErr(err))
		}
		return nil
	}); err != nil {
		return err
	}
	return s.finishDirs()
}

// makeDirs makes the new trees (I-39): mode 0777 without the usual mask of 022, our owner.
func (s *stage) makeDirs(ctx context.Context) error {
	cache := fdCache{open: func(id dirID) (int, error) {
		if d := &s.p.dirs[id]; d.live() {
			return openLive(d.path, d.ino)
		}
		return openDir(s.path(id))
	}}
	defer cache.close()
	p := s.p
	for _, i := range p.order {
		if i >= 0 || p.dirs[^i].live() {
			continue
		}
		if err := s.t.at("stage"); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		d := &p.dirs[^i]
		fd, err := cache.get(d.parent)
		if err != nil {
			return fmt.Errorf("make directory %s: %w", d.shown, err)
		}
		name := d.name
		n, root := s.roots[dirID(^i)]
		if root {
			name = s.t.hidden(n)
		}
		ino, err := s.makeDir(fd, name, root)
		if err == nil && root && p.dirs[d.parent].planned {
			err = s.asFresh(fd, name, dirID(^i))
		}
		if err != nil {
			return fmt.Errorf("make directory %s: %w", d.shown, spaceErr(err))
		}
		if root {
			s.inos[dirID(^i)] = ino
		}
	}
	return nil
}

// makeDir makes one directory. Where the mask is not 022 the mode is set, unless a default list decides it. The inode number
// is looked up on request.
func (s *stage) makeDir(fd int, name string, wantIno bool) (uint64, error) {
	if err := unix.Mkdirat(fd, name, 0o777); err != nil {
		return 0, err
	}
	if s.mask == 0o022 && !wantIno {
		return 0, nil
	}
	sub, err := openat(fd, name, dirFlags, 0)
	if err != nil {
		return 0, err
	}
	defer closeFD(sub)
	var st unix.Stat_t
	if err := unix.Fstat(sub, &st); err != nil {
		return 0, err
	}
	if s.mask != 0o022 {
		list, err := getACL(sub, aclDefault)
		if err != nil {
			return 0, err
		}
		if list == nil {
			err = unix.Fchmod(sub, 0o755|st.Mode&0o7000)
		}
		return st.Ino, err
	}
	return st.Ino, nil
}

// asFresh gives the top of a new tree what it would have in a new directory. The one that it is made in is the previous revision's until the
// commit, and passes on the group and lists of that.
func (s *stage) asFresh(in int, name string, id dirID) error {
	want, err := s.freshIn(s.anchor(id))
	if err != nil {
		return err
	}
	fd, err := openat(in, name, dirFlags, 0)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	if now, err := readStatus(fd); err != nil || now.equal(want) {
		return err
	}
	return want.apply(fd)
}

// finishDirs applies the permissions section to the new directories, the inner ones first: they may take away our own way in.
func (s *stage) finishDirs() error {
	for k := len(s.p.order) - 1; k >= 0; k-- {
		i := s.p.order[k]
		if i >= 0 || s.p.dirs[^i].perm == 0 || s.p.dirs[^i].live() {
			continue
		}
		if err := s.t.at("stage"); err != nil {
			return err
		}
		if err := s.finishDir(dirID(^i)); err != nil {
			return fmt.Errorf("set permissions of %s: %w", s.p.dirs[^i].shown, err)
		}
	}
	return nil
}

func (s *stage) finishDir(id dirID) error {
	fd, err := openDir(s.path(id))
	if err != nil {
		return err
	}
	defer closeFD(fd)
	now, err := readStatus(fd)
	if err != nil {
		return err
	}
	want := s.p.perms[s.p.dirs[id].perm-1].given(now)
	if !s.p.labelled() {
		want.Label = nil
	}
	return want.apply(fd)
}

// anchor is the nearest directory above one that is neither made nor made again.
func (s *stage) anchor(id dirID) dirID {
	for id = s.p.dirs[id].parent; s.p.dirs[id].planned; {
		id = s.p.dirs[id].parent
	}
	return id
}

// resets finds the directories that are made again and what they have to become: what a new directory in their place would
// be, and then what the permissions section says.
func (s *stage) resets() error {
	for _, i := range s.p.order {
		if i >= 0 || !s.p.dirs[^i].live() {
			continue
		}
		id := dirID(^i)
		d := &s.p.dirs[id]
		fd, err := openLive(d.path, d.ino)
		if err != nil {
			return fmt.Errorf("reset directory %s: %w", d.shown, err)
		}
		old, err := readStatus(fd)
		want := s.afterReset(id)
		if err == nil && want.Label != nil {
			old.Label, err = getACL(fd, labelAttr)
		}
		closeFD(fd)
		if err != nil {
			return fmt.Errorf("reset directory %s: %w", d.shown, err)
		}
		if !want.equal(&old) {
			s.t.steps = append(s.t.steps, step{kind: stepReset, dir: s.live[id], n: uint32(len(s.t.resets))})
			s.t.resets = append(s.t.resets, reset{old, want})
		}
	}
	return nil
}

// afterReset is what a directory that is made again becomes.
func (s *stage) afterReset(id dirID) status {
	want := *s.fresh[s.anchor(id)]
	if perm := s.p.dirs[id].perm; perm != 0 {
		want = s.p.perms[perm-1].given(want)
	}
	if !s.p.labelled() {
		want.Label = nil
	}
	return want
}

// freshIn is what a new directory is like in one that stays. Set-group-id bits and default lists are passed on from one
// directory to the next, so it is also what one further down is like. The kernel knows best: one is made and looked at.
func (s *stage) freshIn(id dirID) (*status, error) {
	if st := s.fresh[id]; st != nil {
		return st, nil
	}
	fd, err := openLive(s.p.dirs[id].path, s.p.dirs[id].ino)
	if err != nil {
		return nil, err
	}
	defer closeFD(fd)
	name := s.t.hidden(s.number())
	if _, err := s.makeDir(fd, name, true); err != nil {
		return nil, spaceErr(err)
	}
	sub, err := openat(fd, name, dirFlags, 0)
	if err != nil {
		return nil, err
	}
	defer closeFD(sub)
	st, err := readStatus(sub)
	if err != nil {
		return nil, err
	}
	s.fresh[id] = &st
	return &st, unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
}

package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// smallFile is the size up to which a file is read and written in one piece: two calls, and fewer than the kernel needs to
// set up a copy of its own.
const smallFile = 128 << 10

// copyPiece is how much of a large file is copied between two looks at the context.
const copyPiece = 64 << 20

// stage writes one file or link, final in all respects, under its hidden name or in a new tree.
func (w *worker) stage(ctx context.Context, i int) error {
	p, f := w.p, &w.p.files[i]
	dst, err := w.dst.get(f.dir)
	if err != nil {
		return err
	}
	name := f.name
	live := p.dirs[f.dir].live()
	if live {
		name = w.s.t.hidden(uint32(i))
	}
	if f.link() {
		return w.stageLink(dst, name, i)
	}
	src, err := w.src.get(dirID(f.src))
	if err != nil {
		return err
	}
	facts, err := w.factsOf(f.dir, dst)
	if err != nil {
		return err
	}
	in, err := openat(src, f.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("read the bundle: %w", err)
	}
	defer closeFD(in)
	// A file that is not final when it is made is nobody's but ours until then.
	want := p.want(f)
	chown := facts.setgid || want.uid != w.s.euid || want.gid != w.s.egid
	final := !chown && !facts.list && !facts.other && want.mode&0o7000 == 0 && want.mode&w.s.mask == 0 && f.perm == 0
	mode := want.mode
	if !final {
		mode = 0o600
	}
	out, err := openat(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	defer closeFD(out)
	if err := w.copy(ctx, in, out, f.size); err != nil {
		return err
	}
	if chown {
		if err := w.chown(out, f, &want); err != nil {
			return err
		}
	}
	if !final {
		if err := w.permit(out, f, want.mode, facts); err != nil {
			return err
		}
	}
	if err := setTime(dst, name, f.mtime); err != nil {
		return err
	}
	return w.settle(i, out, facts)
}

// permit gives a staged file its mode, list and label.
func (w *worker) permit(fd int, f *file, mode uint32, facts dirFacts) error {
	if facts.other {
		if err := setACL(fd, aclAccess, facts.inherit); err != nil {
			return fmt.Errorf("set the access control list: %w", aclErr(err))
		}
	}
	ordered := f.perm != 0 && w.p.perms[f.perm-1].modeSet
	if err := unix.Fchmod(fd, mode); err != nil && (ordered || !notPermitted(err)) {
		return fmt.Errorf("change the mode: %w", err)
	}
	if f.perm == 0 {
		return nil
	}
	return w.p.perms[f.perm-1].applyTo(fd, mode, w.p.labelled())
}

// chown gives a staged file its owner. The bundle's owner is kept where the kernel allows it, and set-id bits only with it
// (I-39); the owner of the permissions section is an order.
func (w *worker) chown(fd int, f *file, want *attrs) error {
	err := unix.Fchown(fd, int(want.uid), int(want.gid))
	if err == nil {
		return nil
	}
	ordered := f.perm != 0 && (w.p.perms[f.perm-1].uid != noID || w.p.perms[f.perm-1].gid != noID)
	if ordered || !notPermitted(err) {
		return fmt.Errorf("change the owner: %w", err)
	}
	if f.perm == 0 || !w.p.perms[f.perm-1].modeSet {
		want.mode &^= unix.S_ISUID | unix.S_ISGID
	}
	return nil
}

func (w *worker) stageLink(dst int, name string, i int) error {
	p, f := w.p, &w.p.files[i]
	if err := unix.Symlinkat(p.links[int32(i)], dst, name); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := lstatAt(dst, name, &st); err != nil {
		return err
	}
	want := p.want(f)
	if want.uid != st.Uid || want.gid != st.Gid { // a directory of the previous revision may pass on another group
		if err := unix.Fchownat(dst, name, int(want.uid), int(want.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("change the owner: %w", err)
		}
	}
	f.uid, f.gid, f.ino = want.uid, want.gid, st.Ino
	return nil
}

func (w *worker) factsOf(id dirID, fd int) (dirFacts, error) {
	if facts, ok := w.facts[id]; ok {
		return facts, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return dirFacts{}, err
	}
	list, err := getACL(fd, aclDefault)
	if err != nil {
		return dirFacts{}, err
	}
	facts := dirFacts{setgid: st.Mode&unix.S_ISGID != 0, list: list != nil}
	if d := &w.p.dirs[id]; d.live() && d.planned {
		facts.inherit = w.s.fresh[w.s.anchor(id)].Dflt
		facts.other = !bytes.Equal(facts.inherit, list)
	}
	w.facts[id] = facts
	return facts, nil
}

// errChanged means that somebody writes to the unpacked bundle.
var errChanged = errors.New("the file in the bundle changed while it was copied: deploy anew")

func (w *worker) copy(ctx context.Context, in, out int, size int64) error {
	if size > smallFile {
		return w.copyLarge(ctx, in, out, size)
	}
	buf := w.buffers[0][:size]
	n, err := readFull(in, buf)
	if err != nil {
		return fmt.Errorf("read the bundle: %w", err)
	}
	if int64(n) != size {
		return errChanged
	}
	return writeAll(out, buf)
}

// copyLarge lets the kernel copy, and share blocks where the file system can.
func (w *worker) copyLarge(ctx context.Context, in, out int, size int64) error {
	for done := int64(0); done < size; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := ignoringEINTR(func() (int, error) {
			return unix.CopyFileRange(in, nil, out, nil, int(min(size-done, copyPiece)), 0)
		})
		switch {
		case err == nil && n == 0:
			if done > 0 {
				return errChanged
			}
			return w.copyPlain(ctx, in, out, size) // some file systems say 0 instead of an error
		case err == nil:
			done += int64(n)
		case done == 0 && (unsupported(err) || is(err, unix.EXDEV, unix.EPERM, unix.EBADF)):
			return w.copyPlain(ctx, in, out, size)
		default:
			return err
		}
	}
	return nil
}

func (w *worker) copyPlain(ctx context.Context, in, out int, size int64) error {
	buf := w.buffers[0]
	for done := int64(0); done < size; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := readFull(in, buf[:min(int64(len(buf)), size-done)])
		if err != nil {
			return fmt.Errorf("read the bundle: %w", err)
		}
		if n == 0 {
			return errChanged
		}
		if err := writeAll(out, buf[:n]); err != nil {
			return err
		}
		done += int64(n)
	}
	return nil
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := ignoringEINTR(func() (int, error) { return unix.Write(fd, b) })
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// setTime sets a staged file's times to that of its source.
func setTime(fd int, name string, mtime int64) error {
	ts := unix.NsecToTimespec(mtime)
	if err := unix.UtimesNanoAt(fd, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set the time: %w", err)
	}
	return nil
}

// spaceErr says what to do about a full disk.
func spaceErr(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: the disk filled up after the installation was planned, free some space", err)
	case errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: raise the quota or free some space", err)
	}
	return err
}

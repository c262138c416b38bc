package rehearse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Base takes the copy as it is now as what was there before: what the sandbox itself has put into it, or a deployment that came first, is no
// change, and what later events do is told against it. It copies what the upper layers have, beside them and within their bounds of size, and
// shows the copies over the lower layers in mounts of the calling process's mount namespace; Close takes them away. It needs the right to mount.
func (s *Scanner) Base(ctx context.Context) error {
	if err := s.mark(ctx, mark{base: true}); err != nil {
		return fmt.Errorf("look at the copy before its first event: %w", err)
	}
	for i := range s.layers {
		if len(s.tops[i].sub.entries) == 0 {
			continue
		}
		if err := s.view(ctx, i); err != nil {
			return fmt.Errorf("keep what %s was before the first event: %w", s.layers[i].At, err)
		}
	}
	return nil
}

// Close takes away what Base has mounted and copied. The scanner is of no use afterwards.
func (s *Scanner) Close() error {
	var all error
	for _, v := range s.views {
		all = errors.Join(all, v.remove())
	}
	s.views = nil
	return all
}

// view is a lower layer as Base has found the copy.
type view struct{ copy, mount string }

func (v view) remove() error {
	err := unix.Unmount(v.mount, unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // it was not mounted
		err = nil
	}
	if err == nil {
		err = unix.Rmdir(v.mount)
	}
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	dir, openErr := openFolder(v.copy)
	if openErr == nil {
		err = errors.Join(err, emptied(dir))
		closeFolder(dir)
		err = errors.Join(err, unix.Rmdir(v.copy))
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", v.copy, err)
	}
	return nil
}

// emptied removes all that is in a directory.
func emptied(dir int) error {
	var names []string
	if err := eachName(dir, make([]byte, 32<<10), func(name []byte, _ uint8) bool {
		names = append(names, string(name))
		return true
	}); err != nil {
		return err
	}
	for _, name := range names {
		err := unix.Unlinkat(dir, name, 0)
		if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
			var sub int
			if sub, err = openSub(dir, name); err == nil {
				err = emptied(sub)
				closeFolder(sub)
			}
			if err == nil {
				err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// view copies what a layer's upper side has, and lets the copy and the lower side be the lower side from now on.
func (s *Scanner) view(ctx context.Context, i int) error {
	l := &s.layers[i]
	beside := cmp.Or(l.Beside, l.Upper)
	v := view{copy: fmt.Sprintf("%s.base-%d", beside, len(s.views)), mount: fmt.Sprintf("%s.was-%d", beside, len(s.views))}
	for _, dir := range []string{v.copy, v.mount} {
		if err := unix.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
	}
	s.views = append(s.views, v)
	from, err := openFolder(l.Upper)
	if err != nil {
		return err
	}
	defer closeFolder(from)
	to, err := openFolder(v.copy)
	if err != nil {
		return err
	}
	defer closeFolder(to)
	c := &duplicator{Scanner: s, ctx: ctx, layer: l, buf: make([]byte, 128<<10)}
	if err := c.folder(from, to, &s.tops[i], strings.TrimSuffix(l.At, "/")); err != nil {
		return err
	}
	below := l.Lower
	if i < len(s.origins) && s.origins[i] != "" {
		below = s.origins[i]
	}
	options := "lowerdir=" + escaped(v.copy) + ":" + escaped(below)
	if l.UserXattr {
		options += ",userxattr"
	}
	if err := unix.Mount("overlay", v.mount, "overlay", unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, options); err != nil {
		return fmt.Errorf("mount the copy over %s: %w", below, err)
	}
	if s.origins == nil {
		s.origins = make([]string, len(s.layers))
	}
	s.origins[i], l.Lower = below, v.mount
	return nil
}

// escaped writes a path as an option of an overlay.
func escaped(path string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(path)
}

// duplicator copies trees. Nothing in them is followed, and what changes meanwhile is copied as it is found.
type duplicator struct {
	*Scanner
	ctx   context.Context
	layer *Layer
	buf   []byte
}

func (c *duplicator) folder(from, to int, dir *entry, path string) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	for i := range dir.sub.entries {
		e := &dir.sub.entries[i]
		if e.ghost {
			continue
		}
		if err := c.entry(from, to, e, path+"/"+e.name); err != nil && !gone(err) {
			return fmt.Errorf("copy %s: %w", path+"/"+e.name, err)
		}
	}
	return c.alike(from, to)
}

func (c *duplicator) entry(from, to int, e *entry, path string) error {
	switch e.mode & unix.S_IFMT {
	case unix.S_IFDIR:
		src, err := openSub(from, e.name)
		if err != nil {
			return err
		}
		defer closeFolder(src)
		if err := unix.Mkdirat(to, e.name, 0o700); err != nil {
			return err
		}
		dst, err := openSub(to, e.name)
		if err != nil {
			return err
		}
		defer closeFolder(dst)
		return c.folder(src, dst, e, path)
	case unix.S_IFREG:
		return c.file(from, to, e.name)
	case unix.S_IFLNK:
		target, err := linkAt(from, e.name)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(target, to, e.name); err != nil {
			return err
		}
	default:
		var st unix.Stat_t
		if err := lookAt(from, e.name, &st); err != nil {
			return err
		}
		if err := unix.Mknodat(to, e.name, st.Mode, int(st.Rdev)); err != nil {
			return err
		}
	}
	return unix.Fchownat(to, e.name, int(e.uid), int(e.gid), unix.AT_SYMLINK_NOFOLLOW)
}

// file copies a file, holes as holes.
func (c *duplicator) file(from, to int, name string) error {
	src, size, err := openFile(from, name)
	if err != nil {
		return err
	}
	defer closeFolder(src)
	dst, err := unix.Openat(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer closeFolder(dst)
	if err := unix.Ftruncate(dst, size); err != nil {
		return err
	}
	for at := int64(0); at < size; {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		if at = dataFrom(src, at, size); at >= size {
			break
		}
		n, err := readAt(src, c.buf[:min(size-at, int64(len(c.buf)))], at)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		for done := 0; done < n; {
			m, err := unix.Pwrite(dst, c.buf[done:n], at+int64(done))
			if err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			done += max(m, 0)
		}
		at += int64(n)
	}
	return c.alike(src, dst)
}

// alike gives a file or directory the owner, the attributes and the mode of another.
func (c *duplicator) alike(from, to int) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	set, err := attributes(from)
	if err != nil {
		return err
	}
	for _, a := range set {
		own, ok := strings.CutPrefix(a.name, c.layer.marks())
		if ok && own != "opaque" || a.name == "security.selinux" {
			continue
		}
		if err := unix.Fsetxattr(to, a.name, a.value, 0); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("set %s: %w", a.name, err)
		}
	}
	return unix.Fchmod(to, st.Mode&0o7777)
}

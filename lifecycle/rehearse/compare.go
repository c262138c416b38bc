package rehearse

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// fileFlags open a file to be read. A pipe that has meanwhile come in its place does not hold us up.
const fileFlags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY

// openFile opens a regular file.
func openFile(dir int, name string) (fd int, size int64, err error) {
	fd, err = openAt(dir, name, fileFlags)
	if err != nil {
		return -1, 0, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = unix.ESTALE // it was another when it was looked at
	}
	if err != nil {
		closeFolder(fd)
		return -1, 0, err
	}
	return fd, st.Size, nil
}

// compare says in what a path that is of the same type in both layers, and no directory, has changed.
func (t *tour) compare(e *entry, st *unix.Stat_t, up, low int, path string) (aspects, error) {
	what := statAspects(e, st)
	var more aspects
	var err error
	switch e.mode & unix.S_IFMT {
	case unix.S_IFREG:
		more, err = t.files(e, st, up, low, path)
	case unix.S_IFLNK:
		var was, is string
		if was, err = linkAt(low, e.name); err == nil {
			is, err = linkAt(up, e.name)
		}
		if was != is {
			more = byLink
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		var now unix.Stat_t
		if err = lookAt(up, e.name, &now); now.Rdev != st.Rdev {
			more = byContent
		}
	}
	if err == nil && e.mode&unix.S_IFMT != unix.S_IFREG {
		var was, is []attribute
		if was, err = attributesAt(low, e.name, t.layer.marks()); err == nil {
			is, err = attributesAt(up, e.name, t.layer.marks())
		}
		more |= t.differ(was, is)
	}
	if err != nil {
		if gone(err) { // a process has changed it again: as far as is known
			return what, nil
		}
		return 0, fmt.Errorf("compare %s with what it was: %w", path, err)
	}
	return what | more, nil
}

// files compares two regular files. Their contents are read only if their sizes are equal.
func (t *tour) files(e *entry, st *unix.Stat_t, up, low int, path string) (what aspects, err error) {
	is, size, err := openFile(up, e.name)
	if err != nil {
		return 0, err
	}
	defer closeFolder(is)
	if size > 0 && e.hollow {
		if _, err := unix.Fgetxattr(is, t.layer.marks()+"metacopy", nil); err == nil {
			return 0, &Mounted{Path: path, Option: "metacopy"}
		}
	}
	was, _, err := openFile(low, e.name)
	if barred(err) { // what may not be read cannot be equal for certain
		return byContent, nil
	}
	if err != nil {
		return 0, err
	}
	defer closeFolder(was)
	if what, err = t.attributesDiffer(is, was); err != nil {
		return 0, err
	}
	if size != st.Size {
		return what | byContent, nil
	}
	equal, err := t.equal(is, was, size)
	if !equal {
		what |= byContent
	}
	return what, err
}

// equal compares the contents of two files of one size. Where neither has data nothing is read: a file for the last logins is a few pages
// of data in hundreds of gigabytes.
func (t *tour) equal(a, b int, size int64) (bool, error) {
	if t.a == nil {
		t.a, t.b = make([]byte, 128<<10), make([]byte, 128<<10)
	}
	for at := int64(0); at < size; {
		if t.ctx.Err() != nil {
			return false, context.Cause(t.ctx)
		}
		if at > 0 || size > int64(len(t.a)) {
			if at = min(dataFrom(a, at, size), dataFrom(b, at, size)); at >= size {
				break
			}
		}
		piece := min(size-at, int64(len(t.a)))
		n, err := readAt(a, t.a[:piece], at)
		if err != nil {
			return false, err
		}
		m, err := readAt(b, t.b[:piece], at)
		if err != nil {
			return false, err
		}
		if n != m || !bytes.Equal(t.a[:n], t.b[:m]) {
			return false, nil
		}
		if n == 0 {
			break
		}
		at += int64(n)
	}
	return true, nil
}

// dataFrom is where a file's next data are, or size.
func dataFrom(fd int, at, size int64) int64 {
	next, err := unix.Seek(fd, at, unix.SEEK_DATA)
	switch {
	case err == nil:
		return next
	case errors.Is(err, unix.ENXIO):
		return size
	}
	return at // the file system does not tell
}

// readAt fills the buffer as far as there is something to be read.
func readAt(fd int, buf []byte, at int64) (int, error) {
	n := 0
	for n < len(buf) {
		m, err := unix.Pread(fd, buf[n:], at+int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return n, err
		}
		if m == 0 {
			break
		}
		n += m
	}
	return n, nil
}

// linkAt is what a symbolic link leads to.
func linkAt(fd int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// openLower opens the top of a lower layer as the overlay sees it: without what is mounted below it. Where the kernel does not give that,
// foreign is true, and what is on another device is none of it.
func openLower(path string) (fd int, foreign bool, err error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		fd, err = openFolder(path)
		return fd, true, err
	}
	defer closeFolder(tree)
	fd, err = openSub(tree, ".")
	if err != nil {
		return -1, false, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, false, nil
}

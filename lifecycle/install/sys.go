package install

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// errMoved means that a directory is no longer the one that the plan was made for.
var errMoved = errors.New("the directory is not the one it was when the installation was planned: something replaced it meanwhile, try again")

// openDir opens a directory by an absolute path that must not contain a link: whoever swaps a component for a link while
// we work gets an error instead of our files. The caller closes the descriptor.
func openDir(path string) (int, error) {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: dirFlags, Resolve: unix.RESOLVE_NO_SYMLINKS})
	})
	switch {
	case err == nil:
		return fd, nil
	case is(err, unix.ENOSYS, unix.EPERM, unix.ENAMETOOLONG): // before Linux 5.6, in a container that filters it, deeper than PATH_MAX
		return walkDir(path)
	}
	return -1, &fs.PathError{Op: "open directory", Path: path, Err: err}
}

// walkDir is openDir one component at a time.
func walkDir(path string) (int, error) {
	fd, err := unix.Open("/", dirFlags, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open directory", Path: "/", Err: err}
	}
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		next, err := openat(fd, name, dirFlags, 0)
		closeFD(fd)
		if err != nil {
			return -1, &fs.PathError{Op: "open directory", Path: path, Err: err}
		}
		fd = next
	}
	return fd, nil
}

// openLive opens a directory and makes sure that it is the one with the given inode number; 0 means any. The device number
// is no part of it: it may change when the host starts anew.
func openLive(path string, ino uint64) (int, error) {
	fd, err := openDir(path)
	if err != nil || ino == 0 {
		return fd, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Ino != ino {
		err = errMoved
	}
	if err != nil {
		closeFD(fd)
		return -1, &fs.PathError{Op: "open directory", Path: path, Err: err}
	}
	return fd, nil
}

// is reports whether an error is one of the kernel's given ones.
func is(err error, any ...unix.Errno) bool {
	e, ok := errors.AsType[unix.Errno](err)
	return ok && slices.Contains(any, e)
}

// closeFD closes a descriptor whose contents do not depend on it: a directory, or a file that is read or has been synced.
func closeFD(fd int) { _ = unix.Close(fd) }

func openat(fd int, name string, flags int, mode uint32) (int, error) {
	return ignoringEINTR(func() (int, error) { return unix.Openat(fd, name, flags|unix.O_CLOEXEC, mode) })
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func lstatAt(fd int, name string, st *unix.Stat_t) error {
	return unix.Fstatat(fd, name, st, unix.AT_SYMLINK_NOFOLLOW)
}

func readlinkAt(fd int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(fd, name, buf)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

// eachEntry calls f with every name in the directory but . and .. until f returns false. name is valid during the call only.
func eachEntry(fd int, f func(name []byte, typ uint8) bool) error {
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := ignoringEINTR(func() (int, error) { return unix.ReadDirent(fd, buf) })
		if err != nil || n == 0 {
			return err
		}
		// struct linux_dirent64: u64 inode, s64 offset, u16 length of the record, u8 type, name.
		for rest := buf[:n]; len(rest) >= 19; {
			size := int(binary.NativeEndian.Uint16(rest[16:]))
			if size < 19 || size > len(rest) {
				return errors.New("the file system returned a malformed directory entry")
			}
			name := rest[19:size]
			for i, c := range name {
				if c == 0 {
					name = name[:i]
					break
				}
			}
			typ := rest[18]
			rest = rest[size:]
			if string(name) == "." || string(name) == ".." {
				continue
			}
			if !f(name, typ) {
				return nil
			}
		}
	}
}

// moves are the renames of the commit. A file system that knows only the plain one (vfat, some of FUSE and NFS) gets the
// nearest thing.
type moves struct {
	plain bool // pretend that the file system knows only the plain rename, for tests
	apart bool // pretend that what is kept aside goes to another file system, for tests
}

func unsupported(err error) bool { return is(err, unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP) }

// add renames from to to within a directory if to does not exist, else EEXIST.
func (m moves) add(fd int, from, to string) error {
	if !m.plain {
		if err := unix.Renameat2(fd, from, fd, to, unix.RENAME_NOREPLACE); !unsupported(err) {
			return err
		}
	}
	// A hard link does not replace either. What cannot be linked (a directory; any file on vfat) is tested and renamed.
	err := unix.Linkat(fd, from, fd, to, 0)
	if err == nil {
		return unix.Unlinkat(fd, from, 0)
	}
	if !is(err, unix.EPERM, unix.EOPNOTSUPP, unix.ENOSYS, unix.EMLINK) {
		return err
	}
	var st unix.Stat_t
	err = lstatAt(fd, to, &st)
	switch {
	case err == nil:
		return unix.EEXIST
	case is(err, unix.ENOENT):
		return unix.Renameat(fd, from, fd, to)
	}
	return err
}

// swap exchanges staged and name within a directory. Where names cannot be exchanged the old object is left under aside
// instead of under staged; between the two renames of a directory the name is then missing for an instant.
func (m moves) swap(fd int, staged, name, aside string) error {
	if !m.plain {
		if err := unix.Renameat2(fd, staged, fd, name, unix.RENAME_EXCHANGE); !unsupported(err) {
			return err
		}
	}
	var st unix.Stat_t
	if err := lstatAt(fd, staged, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR && unix.Linkat(fd, name, fd, aside, 0) == nil {
		return unix.Renameat(fd, staged, fd, name)
	}
	if err := unix.Renameat(fd, name, fd, aside); err != nil {
		return err
	}
	return unix.Renameat(fd, staged, fd, name)
}

// removeTree removes name and, if it is a directory, all in it that mayGo allows; what it does not allow stays, with the
// directories above it, and is reported as ENOTEMPTY. A nil mayGo allows everything. No link is followed.
func removeTree(fd int, name string, mayGo func(name string, dir bool) bool) error {
	err := unix.Unlinkat(fd, name, 0)
	if err == nil || is(err, unix.ENOENT) {
		return nil
	}
	if !is(err, unix.EISDIR, unix.EPERM) { // Linux says EISDIR, POSIX EPERM
		return err
	}
	sub, openErr := openat(fd, name, dirFlags, 0)
	if openErr != nil {
		return err
	}
	defer closeFD(sub)
	type entry struct {
		name string
		dir  bool
	}
	for {
		// Names are collected in batches: removing entries while a directory is read skips others on some file systems.
		var batch []entry
		err := eachEntry(sub, func(n []byte, typ uint8) bool {
			if e := (entry{string(n), typ == unix.DT_DIR}); mayGo == nil || mayGo(e.name, e.dir) {
				batch = append(batch, e)
			}
			return len(batch) < 4096
		})
		if err != nil {
			return err
		}
		removed := 0
		for _, e := range batch {
			err := removeTree(sub, e.name, mayGo)
			if err == nil {
				removed++
			} else if !is(err, unix.ENOTEMPTY) {
				return err
			}
		}
		if removed == 0 || len(batch) < 4096 {
			break
		}
	}
	err = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
	switch {
	case is(err, unix.ENOENT):
		return nil
	case is(err, unix.EEXIST):
		return unix.ENOTEMPTY
	}
	return err
}

// umask is the process's file mode mask. Reading it from the kernel's own account avoids setting it, which every thread
// would see.
func umask() uint32 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o777 // then every mode is set explicitly
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Umask:"); ok {
			var m uint32
			for _, c := range strings.TrimSpace(rest) {
				m = m<<3 | uint32(c-'0')&7
			}
			return m & 0o777
		}
	}
	return 0o777
}

func join(dir, name string) string {
	switch {
	case name == "" || name == ".":
		return dir
	case dir == "/":
		return "/" + name
	case dir == "" || dir == ".":
		return name
	}
	return dir + "/" + name
}

// split cuts a clean absolute path into its folder and last part.
func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i == 0 {
		return "/", path[1:]
	}
	return path[:i], path[i+1:]
}

// bytesText is a size for people.
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

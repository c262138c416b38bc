package rehearse

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

const folderFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// openFolder opens the top of a layer, whose path is ours and may lead through links.
func openFolder(path string) (int, error) {
	fd, err := unix.Open(path, folderFlags&^unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// openSub opens a directory within one. Times of access of the host's own directories are spared where that may be asked for.
func openSub(fd int, name string) (int, error) { return openAt(fd, name, folderFlags) }

func openAt(fd int, name string, flags int) (int, error) {
	for noatime := unix.O_NOATIME; ; {
		got, err := unix.Openat(fd, name, flags|noatime|unix.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EPERM) && noatime != 0: // only the owner may ask for it
			noatime = 0
		default:
			return got, err
		}
	}
}

// closeFolder closes a descriptor that was only read from.
func closeFolder(fd int) { _ = unix.Close(fd) }

func lookAt(fd int, name string, st *unix.Stat_t) error {
	return unix.Fstatat(fd, name, st, unix.AT_SYMLINK_NOFOLLOW)
}

// attribute is an extended attribute.
type attribute struct {
	name  string
	value []byte
}

// attributes reads the extended attributes of what fd is open for, in the order of their names, without those that begin with one of the prefixes
// in but. A file system that knows none has none.
func attributes(fd int, but ...string) ([]attribute, error) {
	return attributesBy(
		func(buf []byte) (int, error) { return unix.Flistxattr(fd, buf) },
		func(name string, buf []byte) (int, error) { return unix.Fgetxattr(fd, name, buf) }, but)
}

// attributesAt is attributes for a path that is not to be opened: a link, pipe, socket or device.
func attributesAt(fd int, name string, but ...string) ([]attribute, error) {
	path := fmt.Sprintf("/proc/self/fd/%d/%s", fd, name)
	return attributesBy(
		func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) },
		func(name string, buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) }, but)
}

func attributesBy(list func([]byte) (int, error), value func(string, []byte) (int, error), but []string) ([]attribute, error) {
	names, err := grown(list)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	var set []attribute
	for _, name := range strings.Split(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if slices.ContainsFunc(but, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			continue
		}
		v, err := grown(func(buf []byte) (int, error) { return value(name, buf) })
		if err != nil {
			return nil, err
		}
		set = append(set, attribute{name, bytes.Clone(v)})
	}
	sort.Slice(set, func(i, j int) bool { return set[i].name < set[j].name })
	return set, nil
}

// grown calls read with a buffer that is large enough. What is not there, or not known, is empty.
func grown(read func([]byte) (int, error)) ([]byte, error) {
	for size := 1 << 10; ; size *= 8 {
		buf := make([]byte, size)
		n, err := read(buf)
		switch {
		case err == nil:
			return buf[:n], nil
		case errors.Is(err, unix.ERANGE) && size < 1<<20, errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), gone(err):
			return nil, nil
		default:
			return nil, err
		}
	}
}

package provision

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// tree is the file system that is provisioned: the host's, or that of an image below some folder. Names are absolute within it, and links
// lead to where they would lead if it were the host's.
type tree struct{ root string }

// maxLinks is what the kernel follows.
const maxLinks = 40

// largestFile is far above any configuration file.
const largestFile = 16 << 20

// resolve gives the real path of a name. The last part is followed only on request. What does not exist needs no following.
//
// A link is followed only if root made it in a folder of root's: below a folder of the web server's user, a link is that user's word.
func (t *tree) resolve(name string, last bool) (string, error) {
	at, rest, links := "", strings.Split(name, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = strings.TrimSuffix(path.Dir(at), "/")
			continue
		}
		next := at + "/" + part
		info, err := os.Lstat(t.root + next)
		if errors.Is(err, fs.ErrNotExist) {
			return filepath.Clean(t.root + "/" + path.Join(append([]string{next}, rest...)...)), nil
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 || len(rest) == 0 && !last {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "follow", Path: name, Err: syscall.ELOOP}
		}
		if err := t.trust(at, next, info); err != nil {
			return "", err
		}
		target, err := os.Readlink(t.root + next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			at = ""
		}
		rest = slices.Concat(strings.Split(target, "/"), rest)
	}
	return filepath.Clean(t.root + "/" + at), nil
}

func (t *tree) trust(dir, link string, info fs.FileInfo) error {
	parent, err := os.Lstat(t.root + "/" + dir)
	if err != nil {
		return err
	}
	const groupOrOthersWrite = 0o022
	if owned(info) && owned(parent) && (parent.Mode().Perm()&groupOrOthersWrite == 0 || parent.Mode()&fs.ModeSticky != 0) {
		return nil
	}
	return fmt.Errorf("%s is a link that others than root may have made: it is not followed (remove it, or make it as root in a folder of root's)", link)
}

// owned says whether root, or whoever runs this, owns a file.
func owned(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (st.Uid == 0 || int(st.Uid) == os.Geteuid())
}

// read gives the content of a regular file.
func (t *tree) read(name string) ([]byte, error) {
	real, err := t.resolve(name, true)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(real, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: real, Err: errors.New("not a regular file")}
	}
	data, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	if err == nil && len(data) > largestFile {
		err = &fs.PathError{Op: "read", Path: real, Err: errors.New("larger than 16 MiB")}
	}
	return data, err
}

// lstat looks at a name without following its last part; nil is absent.
func (t *tree) lstat(name string) (*node, error) {
	real, err := t.resolve(name, false)
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(real)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n := &node{mode: info.Mode()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		n.uid, n.gid = int(st.Uid), int(st.Gid)
	}
	if n.mode&fs.ModeSymlink != 0 {
		n.target, err = os.Readlink(real)
	}
	return n, err
}

func (t *tree) exists(name string) bool {
	real, err := t.resolve(name, true)
	if err == nil {
		_, err = os.Lstat(real)
	}
	return err == nil
}

// node is what lies under a name.
type node struct {
	mode     fs.FileMode
	uid, gid int
	target   string // of a link
}

func (n *node) is(kind fs.FileMode) bool { return n != nil && n.mode.Type() == kind }

// permissions gives the twelve bits as chmod writes them.
func permissions(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for _, b := range []struct {
		mode fs.FileMode
		bit  uint32
	}{{fs.ModeSetuid, unix.S_ISUID}, {fs.ModeSetgid, unix.S_ISGID}, {fs.ModeSticky, unix.S_ISVTX}} {
		if m&b.mode != 0 {
			bits |= b.bit
		}
	}
	return bits
}

// write replaces or makes a file: under a hidden name first, then synced, then renamed. A crash leaves the old or the new one, and perhaps
// the hidden one, which no include of the web server or of PHP reads.
func (t *tree) write(name string, content []byte, mode uint32, uid, gid int) error {
	real, err := t.resolve(name, false)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(real), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(real), ".slipway-provision-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && os.Geteuid() == 0 {
		err = f.Chown(uid, gid)
	}
	if err == nil {
		err = unix.Fchmod(int(f.Fd()), mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), real)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncFolder(filepath.Dir(real))
}

// link makes name a link to target, in place of a file or a link.
func (t *tree) link(name, target string) error {
	real, err := t.resolve(name, false)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(real), 0o755); err != nil {
		return err
	}
	hidden := filepath.Join(filepath.Dir(real), ".slipway-provision-"+strconv.Itoa(os.Getpid()))
	if err := os.Symlink(target, hidden); err != nil {
		return err
	}
	if err := os.Rename(hidden, real); err != nil {
		return errors.Join(err, os.Remove(hidden))
	}
	return syncFolder(filepath.Dir(real))
}

// remove takes a file or a link away; one that is gone already is well.
func (t *tree) remove(name string) error {
	real, err := t.resolve(name, false)
	if err != nil {
		return err
	}
	if err := unix.Unlink(real); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "remove", Path: real, Err: err}
	}
	return syncFolder(filepath.Dir(real))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// account finds a user or a group in the tree's own files; the number alone serves too.
func (t *tree) account(file, name string) (id, group int, ok bool) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, n, true
	}
	data, err := t.read(file)
	if err != nil {
		return 0, 0, false
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 || f[0] != name {
			continue
		}
		n, err := strconv.Atoi(f[2])
		if err != nil {
			continue
		}
		g, _ := strconv.Atoi(f[3]) // of a group's line these are its members
		return n, g, true
	}
	return 0, 0, false
}

const (
	usersFile  = "/etc/passwd"
	groupsFile = "/etc/group"
)

// nameOf is the name of a user or group, or its number.
func (t *tree) nameOf(file string, id int) string {
	data, err := t.read(file)
	if err == nil {
		for line := range strings.Lines(string(data)) {
			if f := strings.Split(line, ":"); len(f) > 2 && f[2] == strconv.Itoa(id) {
				return f[0]
			}
		}
	}
	return strconv.Itoa(id)
}

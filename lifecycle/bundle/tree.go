package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// attrs are what an entry says of the file beside its content.
type attrs struct {
	mode     uint32 // permission and set-id bits
	uid, gid int    // -1 keeps the process's own
	mtime    unix.Timespec
}

// apply gives an open file its attributes: owner first, because a change of owner clears the set-id bits.
func (a attrs) apply(f *os.File) error {
	fd := int(f.Fd())
	if a.uid >= 0 || a.gid >= 0 {
		if err := unix.Fchown(fd, a.uid, a.gid); err != nil {
			return fmt.Errorf("set the owner of %s to %d:%d: %w", f.Name(), a.uid, a.gid, err)
		}
	}
	if err := unix.Fchmod(fd, a.mode); err != nil {
		return fmt.Errorf("set the mode of %s to %04o: %w", f.Name(), a.mode, err)
	}
	if err := setTime(fd, a.mtime); err != nil {
		return fmt.Errorf("set the time of %s: %w", f.Name(), err)
	}
	return nil
}

// tree makes the names of an archive in a folder. It keeps the way to the folder of the last entry open, since the next one mostly
// lies there as well: one call to the kernel per file instead of one per part of its name. No part of the way is ever a link, which
// is what keeps an archive from writing through one that it brought itself.
type tree struct {
	quota
	stats Stats
	way   []level  // way[0] is the folder unpacked into
	dirs  []folder // folders with attributes of their own, given when all is in them
}

type level struct {
	name string
	root *os.Root
	self *os.File // the folder itself, opened when it is needed
}

type folder struct {
	name string
	attrs
}

func newTree(root *os.Root, q quota) *tree {
	return &tree{quota: q, way: []level{{name: ".", root: root}}}
}

// close gives back the descriptors. The folder unpacked into stays open: it is the caller's.
func (t *tree) close() {
	t.cut(1)
	t.way[0].shut()
}

func (t *tree) cut(depth int) {
	for _, l := range t.way[depth:] {
		l.root.Close()
		l.shut()
	}
	t.way = t.way[:depth]
}

func (t *tree) last() *level { return &t.way[len(t.way)-1] }

// enter goes to a folder, making what is missing on the way. The entry is for messages.
func (t *tree) enter(entry, dir string) error {
	depth := 1
	for dir != "." && dir != "" {
		part, rest, _ := strings.Cut(dir, "/")
		if depth < len(t.way) && t.way[depth].name == part {
			depth, dir = depth+1, rest
			continue
		}
		t.cut(depth)
		made, err := t.descend(entry, part, 0o777)
		if err != nil {
			return err
		}
		if made {
			if err := t.count(entry); err != nil { // no entry of its own counts it
				return err
			}
		}
		depth, dir = depth+1, rest
	}
	t.cut(depth)
	return nil
}

// descend goes one level down, making the folder with the mode if it is not there.
func (t *tree) descend(entry, part string, mode fs.FileMode) (made bool, err error) {
	at := t.last().root
	err = at.Mkdir(part, mode)
	made = err == nil
	switch {
	case made:
		t.stats.Dirs++
	case errors.Is(err, fs.ErrExist):
		info, err := at.Lstat(part)
		if err != nil {
			return made, fmt.Errorf("look at %s: %w", t.path(part), err)
		}
		if !info.IsDir() {
			if info.Mode()&fs.ModeSymlink != 0 {
				return made, &ArchiveError{Entry: entry, Problem: fmt.Sprintf("leads through %s, which is a symbolic link", quoted(t.path(part)))}
			}
			return made, &ArchiveError{Entry: entry, Problem: fmt.Sprintf("needs a folder at %s, which is %s", quoted(t.path(part)), kindOf(info.Mode()))}
		}
	default:
		return made, fmt.Errorf("make the folder %s: %w", t.path(part), cause(err))
	}
	root, err := at.OpenRoot(part)
	if err != nil {
		return made, fmt.Errorf("open the folder %s: %w", t.path(part), cause(err))
	}
	t.way = append(t.way, level{name: part, root: root})
	return made, nil
}

// path is the name of something in the last folder, for messages.
func (t *tree) path(base string) string {
	var parts []string
	for _, l := range t.way[1:] {
		parts = append(parts, l.name)
	}
	return strings.Join(append(parts, base), "/")
}

// dir makes a folder that the archive names; its attributes come in finish.
func (t *tree) dir(entry, name string, a attrs) error {
	if name == "." {
		return nil // it is the caller's
	}
	if err := t.enter(entry, path.Dir(name)); err != nil {
		return err
	}
	// Nobody else looks in before the mode is known to be the archive's.
	if _, err := t.descend(entry, path.Base(name), 0o700); err != nil {
		return err
	}
	t.dirs = append(t.dirs, folder{name, a})
	return nil
}

// create makes a new file and opens it. Its mode lets nobody else in until the attributes are applied. Content and attributes are
// the caller's business, and may come at any time later: a name that comes again is a new file, never the same one.
func (t *tree) create(entry, name string) (*os.File, error) {
	base, err := t.add(entry, name)
	if err != nil {
		return nil, err
	}
	at := t.last()
	f, err := at.create(base, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if err := t.replace(entry, base); err != nil {
			return nil, err
		}
		f, err = at.create(base, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("make the file %s: %w", t.path(base), cause(err))
	}
	t.stats.Files++
	return f, nil
}

// symlink makes a symbolic link, wherever it leads.
func (t *tree) symlink(entry, name, target string, a attrs) error {
	if err := checkTarget(entry, target); err != nil {
		return err
	}
	base, err := t.add(entry, name)
	if err != nil {
		return err
	}
	at := t.last().root
	err = at.Symlink(target, base)
	if errors.Is(err, fs.ErrExist) {
		if err := t.replace(entry, base); err != nil {
			return err
		}
		err = at.Symlink(target, base)
	}
	if err != nil {
		return fmt.Errorf("make the symbolic link %s: %w", t.path(base), cause(err))
	}
	t.stats.Links++
	self, err := t.last().open()
	if err != nil {
		return err
	}
	fd := int(self.Fd())
	if a.uid >= 0 || a.gid >= 0 {
		if err := unix.Fchownat(fd, base, a.uid, a.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("set the owner of the symbolic link %s: %w", t.path(base), err)
		}
	}
	return setLinkTime(self, base, t.path(base), a.mtime)
}

// link makes a hard link to a file that the archive brought before.
func (t *tree) link(entry, name, target string) error {
	to, err := clean(target)
	if err != nil {
		e := new(ArchiveError)
		errors.As(err, &e)
		return &ArchiveError{Entry: entry, Problem: fmt.Sprintf("is a hard link to %s, which %s", quoted(target), e.Problem)}
	}
	if to == name {
		return nil
	}
	if err := t.linkable(entry, to); err != nil {
		return err
	}
	base, err := t.add(entry, name)
	if err != nil {
		return err
	}
	// No part of either name is a link, so that following links, as Link does on the way, cannot come into it.
	top := t.way[0].root
	err = top.Link(to, name)
	if errors.Is(err, fs.ErrExist) {
		if err := t.replace(entry, base); err != nil {
			return err
		}
		err = top.Link(to, name)
	}
	if err != nil {
		return fmt.Errorf("make the hard link %s to %s: %w", t.path(base), to, cause(err))
	}
	t.stats.Files++
	return nil
}

// linkable says whether a hard link may lead to the name: each folder on the way is a folder, and the last is a file or a link.
func (t *tree) linkable(entry, name string) error {
	top := t.way[0].root
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		info, err := top.Lstat(name[:i])
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
			return &ArchiveError{Entry: entry, Problem: fmt.Sprintf("is a hard link to %s, which is not in the archive before it", quoted(name))}
		case err != nil:
			return fmt.Errorf("look at the target of the hard link %s: %w", entry, cause(err))
		case i < len(name) && !info.IsDir():
			return &ArchiveError{Entry: entry, Problem: fmt.Sprintf("is a hard link to %s, which leads through %s", quoted(name), kindOf(info.Mode()))}
		case i == len(name) && info.IsDir():
			return &ArchiveError{Entry: entry, Problem: fmt.Sprintf("is a hard link to %s, which is a folder", quoted(name))}
		}
	}
	return nil
}

// add goes to the folder that an entry lies in that is no folder itself.
func (t *tree) add(entry, name string) (base string, err error) {
	if name == "." {
		return "", &ArchiveError{Entry: entry, Problem: "has the name of the folder it would be unpacked into"}
	}
	dir, base := path.Split(name)
	return base, t.enter(entry, strings.TrimSuffix(dir, "/"))
}

// replace makes way for an entry whose name came before: the last wins, but never over a folder, where it would take away what
// other entries put there.
func (t *tree) replace(entry, base string) error {
	at := t.last().root
	info, err := at.Lstat(base)
	if err != nil {
		return fmt.Errorf("look at %s: %w", t.path(base), cause(err))
	}
	if info.IsDir() {
		return &ArchiveError{Entry: entry, Problem: "comes as a file or link where the archive already has a folder"}
	}
	if err := at.Remove(base); err != nil {
		return fmt.Errorf("replace %s: %w", t.path(base), cause(err))
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		t.stats.Links--
	} else {
		t.stats.Files--
	}
	return nil
}

// finish gives the folders their attributes, the deepest first: one that its mode closes must not be in the way of another.
func (t *tree) finish() error {
	// Of two entries for one folder the last wins, so the order among equals has to stay.
	slices.SortStableFunc(t.dirs, func(a, b folder) int { return strings.Compare(b.name, a.name) })
	for _, d := range t.dirs {
		if err := t.enter(d.name, d.name); err != nil {
			return err
		}
		self, err := t.last().open()
		if err != nil {
			return err
		}
		if err := d.attrs.apply(self); err != nil {
			return err
		}
	}
	return nil
}

// shut gives back what open opened.
func (l *level) shut() {
	if l.self != nil {
		l.self.Close()
		l.self = nil
	}
}

// open is the folder as a file, for the calls that need a descriptor.
func (l *level) open() (*os.File, error) {
	if l.self == nil {
		f, err := l.root.Open(".")
		if err != nil {
			return nil, fmt.Errorf("open the folder %s: %w", l.root.Name(), cause(err))
		}
		l.self = f
	}
	return l.self, nil
}

// create makes a new file in the folder, for writing. The name has no slash. It does what OpenFile of the root does, without six system calls
// that ask whether the file can be waited for, which no regular file can.
func (l *level) create(base string, mode fs.FileMode) (*os.File, error) {
	self, err := l.open()
	if err != nil {
		return nil, err
	}
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	name := filepath.Join(l.root.Name(), base)
	for {
		fd, err := unix.Openat(int(self.Fd()), base, flags, uint32(mode.Perm()))
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), name), nil
		case !errors.Is(err, unix.EINTR):
			return nil, &fs.PathError{Op: "openat", Path: name, Err: err}
		}
	}
}

// cause takes the kernel's reason out of an error that repeats the operation and the name.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	var linkErr *os.LinkError
	if errors.As(err, &linkErr) {
		return linkErr.Err
	}
	return err
}

package install

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// dir is a directory on the host that the plan has to do with. Its path holds no links: they have been followed.
type dir struct {
	name     string
	path     string // where it is, or will be
	shown    string // the same as the appspec or the cleanup file names it, through links
	ino      uint64
	dev      uint64
	was      int64 // if occupied: the time of what has its name
	parent   dirID
	perm     int32 // as in file
	mode     uint32
	uid, gid uint32
	removed  int32 // entries that the cleanup takes out of it
	exists   bool  // now, before anything is done
	goes     bool  // the cleanup removes it
	planned  bool  // the plan makes it (or, if it exists, makes it again)
	occupied bool  // it does not exist, but something else has its name, which goes
	chosen   bool  // shown is final
	sunk     bool  // a file takes the place of it or of one above it
}

// live reports whether the directory is there while the plan is carried out: new files are then staged beside their
// places. One that is not is built as part of a hidden tree.
func (d *dir) live() bool { return d.exists && (!d.goes || d.planned) }

// groupIn is the group of what is new in a directory: ours, unless one above it passes on its own. What is planned becomes what a new directory
// would be.
func (t *tree) groupIn(id dirID) uint32 {
	for t.dirs[id].planned {
		id = t.dirs[id].parent
	}
	if d := &t.dirs[id]; d.mode&unix.S_ISGID != 0 {
		return d.gid
	}
	return uint32(os.Getegid())
}

// after reports whether the directory exists once the previous revision is gone.
func (d *dir) after() bool { return d.exists && !d.goes }

// key names an entry of a directory.
type key struct {
	dir  dirID
	name string
}

// slot is what the cleanup and the plan have to do with one entry that is no planned directory.
type slot struct {
	goes bool  // the cleanup removes what is there
	used bool  // a copy or a planned directory takes its place
	copy int32 // index into files plus one
}

// tree is the host's directories as the plan sees them.
type tree struct {
	dirs    []dir
	kids    map[key]dirID
	entries map[key]slot
	// raw and view remember whole paths: as the host has them now, and as they will be after the cleanup.
	raw, view map[string]dirID
	euid      uint32
}

const rootDir dirID = 0

// maxLinks is the kernel's own limit of links in one path.
const maxLinks = 40

func newTree() (*tree, error) {
	t := &tree{kids: map[key]dirID{}, entries: map[key]slot{}, raw: map[string]dirID{}, view: map[string]dirID{}, euid: uint32(os.Geteuid())}
	var st unix.Stat_t
	if err := unix.Lstat("/", &st); err != nil {
		return nil, fmt.Errorf("plan installation: read /: %w", err)
	}
	t.dirs = []dir{{path: "/", shown: "/", exists: true, chosen: true, ino: st.Ino, dev: st.Dev, mode: st.Mode, uid: st.Uid, gid: st.Gid}}
	return t, nil
}

// found says what look has found.
type found uint8

const (
	foundNothing found = iota
	foundDir
	foundOther // a file, or a link that leads to no directory
)

// blocked says why a path cannot be used. Its text is the Why of a conflict.
type blocked struct{ path, why string }

func (b *blocked) Error() string { return b.path + ": " + b.why }

// look finds an entry of a directory: now (view false) or as the cleanup leaves it (view true). Links to directories are
// followed where that is safe.
func (t *tree) look(in dirID, name string, view bool, links int) (dirID, found, error) {
	k := key{in, name}
	if id, ok := t.kids[k]; ok {
		switch d := &t.dirs[id]; {
		case view && (d.planned || d.after()), !view && d.exists:
			return id, foundDir, nil
		case view:
			return id, foundNothing, nil
		}
	}
	if !t.dirs[in].exists {
		return 0, foundNothing, nil
	}
	path := join(t.dirs[in].path, name)
	var st unix.Stat_t
	switch err := unix.Lstat(path, &st); {
	case is(err, unix.ENOENT):
		return 0, foundNothing, nil
	case err != nil:
		return 0, foundNothing, fmt.Errorf("look at %s: %w", path, err)
	}
	goes := view && t.entries[k].goes
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		id := t.add(in, name, &st)
		if view && !t.dirs[id].after() {
			return id, foundNothing, nil
		}
		return id, foundDir, nil
	case unix.S_IFLNK:
		if goes {
			return 0, foundNothing, nil
		}
		return t.follow(in, name, path, &st, view, links)
	}
	if goes {
		return 0, foundNothing, nil
	}
	return 0, foundOther, nil
}

// add enters a directory that exists.
func (t *tree) add(in dirID, name string, st *unix.Stat_t) dirID {
	id := t.enter(in, name)
	d := &t.dirs[id]
	d.exists, d.ino, d.dev, d.mode, d.uid, d.gid = true, st.Ino, st.Dev, st.Mode, st.Uid, st.Gid
	return id
}

func (t *tree) enter(in dirID, name string) dirID {
	id := dirID(len(t.dirs))
	parent := &t.dirs[in]
	d := dir{parent: in, name: name, path: join(parent.path, name)}
	d.shown = d.path
	if parent.shown != parent.path {
		d.shown = join(parent.shown, name)
	}
	t.dirs = append(t.dirs, d)
	t.kids[key{in, name}] = id
	return id
}

// follow resolves a link. Somebody who may change the link could make us write anywhere, so only root (or whoever runs
// this) may be that somebody.
func (t *tree) follow(in dirID, name, path string, st *unix.Stat_t, view bool, links int) (dirID, found, error) {
	var target unix.Stat_t
	switch err := unix.Stat(path, &target); {
	case err == nil && target.Mode&unix.S_IFMT != unix.S_IFDIR, is(err, unix.ENOENT, unix.ELOOP, unix.ENOTDIR):
		return 0, foundOther, nil
	case err != nil:
		return 0, foundOther, fmt.Errorf("follow the link %s: %w", path, err)
	}
	parent := &t.dirs[in]
	if !t.trusted(st.Uid) || !t.trusted(parent.uid) || !t.closed(parent.mode, parent.gid) {
		return 0, foundOther, &blocked{path, fmt.Sprintf("is a link to a directory, and not followed: the link (owner %d) and the directory it is in "+
			"(owner %d, mode %04o) have to be owned by root and writable by nobody else; name the directory itself as destination, or mend the owner",
			st.Uid, parent.uid, parent.mode&0o7777)}
	}
	text, err := readlinkAt(unix.AT_FDCWD, path)
	if err != nil {
		return 0, foundOther, fmt.Errorf("read the link %s: %w", path, err)
	}
	from := in
	if strings.HasPrefix(text, "/") {
		from = rootDir
	}
	return t.walk(from, text, view, links+1)
}

func (t *tree) trusted(uid uint32) bool { return uid == 0 || uid == t.euid }

// closed reports whether nobody but the owner can replace what is in a directory that he does not own himself.
func (t *tree) closed(mode, gid uint32) bool {
	return mode&unix.S_ISVTX != 0 || mode&0o002 == 0 && (mode&0o020 == 0 || gid == 0)
}

// walk resolves a path of several parts, starting in a directory.
func (t *tree) walk(from dirID, path string, view bool, links int) (dirID, found, error) {
	if links > maxLinks {
		return 0, foundOther, nil
	}
	at := from
	for name := range strings.SplitSeq(path, "/") {
		switch name {
		case "", ".":
			continue
		case "..":
			at = t.dirs[at].parent // the root is its own parent
			continue
		}
		id, what, err := t.look(at, name, view, links)
		if err != nil || what != foundDir {
			return 0, what, err
		}
		at = id
	}
	return at, foundDir, nil
}

// now finds the directory that an absolute, clean path names at present.
func (t *tree) now(path string) (dirID, bool, error) {
	if id, ok := t.raw[path]; ok {
		return id, true, nil
	}
	id, what, err := t.walk(rootDir, path, false, 0)
	if err != nil || what != foundDir {
		return 0, false, err
	}
	t.raw[path] = id
	if d := &t.dirs[id]; !d.chosen && d.shown == d.path {
		d.shown = path
	}
	return id, true, nil
}

// show fixes the path under which a directory appears in the plan.
func (t *tree) show(id dirID, shown string) {
	if d := &t.dirs[id]; !d.chosen {
		d.chosen = true
		if d.path == shown {
			shown = d.path // one string in memory
		}
		d.shown = shown
	}
}

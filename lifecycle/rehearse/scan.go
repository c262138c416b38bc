package rehearse

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// folder is a directory of an upper layer as the last Mark has found it.
type folder struct {
	entries []entry // in the order of their names
}

// find gives the entry of a name, nil if the upper layer has none.
func (f *folder) find(name string) *entry {
	i, ok := slices.BinarySearchFunc(f.entries, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
	if !ok {
		return nil
	}
	return &f.entries[i]
}

// entry is one path of an upper layer: what it is known again by, and who has made it what it is.
type entry struct {
	name         string
	sub          *folder // of a directory
	ino          uint64
	ctime, mtime int64
	size         int64
	attrs        uint64 // of a directory: a hash of its extended attributes
	mode         uint32
	uid, gid     uint32
	nlink        uint32
	by           uint16 // last change: an index into Scanner.made
	cleared      uint16 // likewise, when what the lower layer has here, or in it, was removed
	white        bool   // what the lower layer has here is removed
	ghost        bool   // it is no longer there, and had been at Base, or the agent had made it
	based        bool   // it was there at Base
	hollow       bool   // no block of it is on disk
	scripted     bool   // a script had changed it before the last change
	marked       marked // of a directory
}

// marked is what the overlay has noted on a directory.
type marked uint8

const (
	opaque     marked = 1 << iota // what the lower layer has in it does not count
	whitesIn                      // whiteouts in it may be empty files with an attribute
	redirected                    // it was renamed, and the lower one of another name counts
)

func (e *entry) dir() bool { return e.mode&unix.S_IFMT == unix.S_IFDIR }

// same reports whether nothing was done to a path between two looks at it.
func (e *entry) same(o *entry) bool {
	switch {
	case e.ghost != o.ghost:
		return false
	case e.white || o.white: // they share one inode, whose link count and time change with every further one
		return e.white == o.white
	case e.ino != o.ino || e.mode != o.mode || e.uid != o.uid || e.gid != o.gid:
		return false
	case e.sub != nil: // its times and size change with what is in it
		return e.attrs == o.attrs
	case e.size != o.size || e.mtime != o.mtime:
		return false
	}
	return e.ctime == o.ctime || e.nlink != o.nlink // only another name was made, or went
}

// walker reads upper layers for one Mark.
type walker struct {
	*Scanner
	ctx   context.Context
	marks string
	buf   []byte  // of getdents
	names []byte  // of one directory
	ends  []int32 // of each name in names
	attrs []byte
}

var attrSeed = maphash.MakeSeed()

// read brings a folder up to date. path has no slash at its end.
func (w *walker) read(fd int, f *folder, path string, depth int) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	list, err := w.list(fd)
	if err != nil {
		return fmt.Errorf("list %s: %w", path+"/", err)
	}
	kept, before := list[:0], f.entries
	for _, e := range list {
		for len(before) > 0 && before[0].name < e.name {
			before = before[1:]
		}
		var old *entry
		if len(before) > 0 && before[0].name == e.name {
			old = &before[0]
		}
		ok, err := w.entry(fd, &e, old, path+"/"+e.name, depth)
		if err != nil {
			return err
		}
		if ok {
			kept = append(kept, e)
		}
	}
	f.entries = slices.Clip(w.withGhosts(kept, f.entries))
	return nil
}

// entry brings an entry up to date; false if it does not count.
func (w *walker) entry(fd int, e, old *entry, path string, depth int) (bool, error) {
	if w.leaveOut(path) {
		return false, nil
	}
	var st unix.Stat_t
	if err := lookAt(fd, e.name, &st); err != nil {
		if gone(err) {
			return false, nil
		}
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	e.take(&st)
	w.entries++
	if e.dir() {
		if err := w.enter(fd, e, old, path, depth); err != nil {
			return false, err
		}
	}
	w.attribute(e, old)
	return true, nil
}

// withGhosts adds to the entries of a folder those that have gone since: of what was there at Base and is removed, nothing else is left to tell
// of it, and of what was installed and removed by a script neither.
func (w *walker) withGhosts(list, before []entry) []entry {
	var ghosts []entry
	at := 0
	for i := range before {
		old := &before[i]
		for at < len(list) && list[at].name < old.name {
			at++
		}
		if at < len(list) && list[at].name == old.name {
			continue
		}
		ghosts = w.bury(ghosts, old)
	}
	if len(ghosts) == 0 {
		return list
	}
	list = append(list, ghosts...)
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	return list
}

// bury adds the ghost of an entry, if it is to have one.
func (w *walker) bury(ghosts []entry, old *entry) []entry {
	if !old.ghost && !old.based && w.made[old.by].hook || w.entries >= w.most {
		return ghosts
	}
	w.entries++
	if old.ghost {
		return append(ghosts, *old)
	}
	ghost := entry{
		name: old.name, ghost: true, based: old.based, by: w.now(), cleared: old.cleared,
		scripted: old.scripted || w.made[old.by].hook || w.made[w.now()].hook,
	}
	if old.sub != nil && old.based { // the folder may come again, without what was in it
		ghost.sub = &folder{}
		for i := range old.sub.entries {
			ghost.sub.entries = w.bury(ghost.sub.entries, &old.sub.entries[i])
		}
	}
	return append(ghosts, ghost)
}

// now is the index of the mark that is being made.
func (w *walker) now() uint16 { return uint16(len(w.made) - 1) }

// top reads a layer, whose topmost directory is open.
func (w *walker) top(fd int, top *entry, at string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	e := entry{sub: &folder{}}
	e.take(&st)
	if err := w.note(fd, &e); err != nil {
		return err
	}
	var old *entry
	if top.sub != nil {
		old, e.sub = top, top.sub
	}
	w.attribute(&e, old)
	*top = e
	return w.read(fd, top.sub, strings.TrimSuffix(at, "/"), 0)
}

// enter reads the directory of an entry.
func (w *walker) enter(fd int, e, old *entry, path string, depth int) error {
	e.sub = &folder{}
	if old != nil && old.sub != nil {
		e.sub, e.attrs, e.marked = old.sub, old.attrs, old.marked
	}
	if depth >= maxDepth {
		w.beyond++
		e.sub = &folder{}
		return nil
	}
	sub, err := openSub(fd, e.name)
	if err != nil {
		if gone(err) {
			return nil
		}
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer closeFolder(sub)
	if old == nil || old.ctime != e.ctime || old.ino != e.ino {
		if err := w.note(sub, e); err != nil {
			return fmt.Errorf("read the attributes of %s: %w", path, err)
		}
	}
	return w.read(sub, e.sub, path, depth+1)
}

// attribute says whose an entry is.
func (w *walker) attribute(e, old *entry) {
	e.by, e.cleared, e.based = w.now(), w.now(), w.made[w.now()].base
	if old == nil {
		return
	}
	e.based = e.based || old.based
	e.scripted = old.scripted || w.made[old.by].hook
	if old.white || old.marked&opaque != 0 || e.ino == old.ino && !e.white {
		e.cleared = old.cleared
	}
	if e.same(old) {
		e.by, e.scripted = old.by, old.scripted
	}
}

func (e *entry) take(st *unix.Stat_t) {
	e.ino, e.ctime, e.mtime, e.size = st.Ino, st.Ctim.Nano(), st.Mtim.Nano(), st.Size
	e.mode, e.uid, e.gid, e.nlink = st.Mode, st.Uid, st.Gid, uint32(st.Nlink)
	e.white, e.hollow = whiteout(st), st.Blocks == 0
}

// whiteout reports whether an entry of an upper layer says that the lower one's is removed.
func whiteout(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 }

// list gives the names in a directory, in order. Their bytes are those of one string.
func (w *walker) list(fd int) ([]entry, error) {
	w.names, w.ends = w.names[:0], w.ends[:0]
	if w.buf == nil {
		w.buf = make([]byte, 64<<10)
	}
	err := eachName(fd, w.buf, func(name []byte, _ uint8) bool {
		if w.entries+len(w.ends) >= w.most {
			w.beyond++
			return true
		}
		w.names = append(w.names, name...)
		w.ends = append(w.ends, int32(len(w.names)))
		return true
	})
	if err != nil && !gone(err) { // the folder was removed since it was opened
		return nil, err
	}
	all, list, from := string(w.names), make([]entry, len(w.ends)), int32(0)
	for i, end := range w.ends {
		list[i].name, from = all[from:end], end
	}
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	return list, nil
}

// note takes down the extended attributes of a directory: the overlay's own one by one, of the others a hash.
func (w *walker) note(fd int, e *entry) error {
	set, err := attributes(fd)
	if err != nil {
		return err
	}
	w.attrs, e.marked = w.attrs[:0], 0
	for _, a := range set {
		switch own, ok := strings.CutPrefix(a.name, w.marks); {
		case !ok:
			w.attrs = binary.LittleEndian.AppendUint32(append(append(w.attrs, a.name...), 0), uint32(len(a.value)))
			w.attrs = append(w.attrs, a.value...)
		case own == "opaque" && string(a.value) == "y":
			e.marked |= opaque
		case own == "opaque" && string(a.value) == "x":
			e.marked |= whitesIn
		case own == "redirect":
			e.marked |= redirected
		}
	}
	e.attrs = maphash.Bytes(attrSeed, w.attrs)
	return nil
}

// eachName calls f with every name in a directory but . and .. until f returns false. name is valid during the call only.
func eachName(fd int, buf []byte, f func(name []byte, typ uint8) bool) error {
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return err
	}
	for {
		n, err := unix.ReadDirent(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return err
		}
		// struct linux_dirent64: u64 inode, s64 offset, u16 length of the record, u8 type, name.
		for rest := buf[:n]; len(rest) >= 19; {
			size := int(binary.NativeEndian.Uint16(rest[16:]))
			if size < 19 || size > len(rest) {
				return errors.New("the file system returned a malformed directory entry")
			}
			name, typ := rest[19:size], rest[18]
			if i := slices.Index(name, 0); i >= 0 {
				name = name[:i]
			}
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

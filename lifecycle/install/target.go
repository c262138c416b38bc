package install

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxFiles bounds a plan: links that are expanded can make a small bundle a huge tree.
const maxFiles = 5_000_000

func identityOf(info fs.FileInfo) (identity, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}, false
	}
	return identity{st.Dev, st.Ino}, true
}

// copyFile plans to install one file or link of the bundle: name, in the source directory fd, into the directory to.
func (m *maker) copyFile(fd int, src int32, to dirID, name string, st *unix.Stat_t) error {
	t, p := m.tree, m.plan
	k := key{to, name}
	shown := join(t.dirs[to].shown, name)
	slot := t.entries[k]
	switch typ := st.Mode & unix.S_IFMT; {
	case typ != unix.S_IFREG && typ != unix.S_IFLNK:
		m.conflict(shown, "is neither file, directory nor link in the bundle: remove it there")
		return nil
	case strings.Contains(name, "\n"):
		m.conflict(shown, newlineWhy)
		return nil
	case tooLong(shown, t.dirs[to].path, name):
		m.conflict(shown, tooLongWhy)
		return nil
	case slot.copy != 0: // I-33
		m.conflict(shown, fmt.Sprintf("is installed twice, from %s and from %s: mend the files section", p.source(slot.copy-1), join(join(m.req.Archive, p.sources[src]), name)))
		return nil
	case len(p.files) >= maxFiles:
		return fmt.Errorf("plan installation: the bundle has more than %d files once its links to directories are replaced by what they lead to", maxFiles)
	}
	if id, ok := t.kids[k]; ok && t.dirs[id].planned { // I-34
		m.conflict(shown, "is to be both a file and a directory: mend the files section")
		return nil
	}
	f := file{name: name, src: src, dir: to, mode: st.Mode, uid: st.Uid, gid: st.Gid, mtime: st.Mtim.Nano()}
	text := ""
	if f.link() {
		var err error
		if text, err = readlinkAt(fd, name); err != nil {
			return fmt.Errorf("plan installation: read the bundle: link %s: %w", name, err)
		}
		f.uid, f.gid = uint32(os.Geteuid()), t.groupIn(to) // I-39: a new link
	} else {
		f.size = st.Size
	}
	install, err := m.existing(fd, k, &f, text, shown)
	if err != nil || !install {
		return err
	}
	i := int32(len(p.files))
	slot.copy, slot.used = i+1, slot.goes
	t.entries[k] = slot
	if text != "" {
		p.links[i] = text
	}
	p.files = append(p.files, f)
	p.order = append(p.order, i)
	return nil
}

// existing decides what the file that stands at a target means for a copy (I-36, I-37, X-52); false: nothing is installed.
func (m *maker) existing(src int, k key, f *file, text, shown string) (bool, error) {
	d := &m.tree.dirs[k.dir]
	if !d.exists {
		return true, nil
	}
	fd, err := m.open(k.dir)
	if err != nil {
		return false, err
	}
	var st unix.Stat_t
	switch err := lstatAt(fd, k.name, &st); {
	case is(err, unix.ENOENT) && m.req.Adopt:
		m.leaveOut(shown, "is not there")
		return false, nil
	case is(err, unix.ENOENT):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("plan installation: look at %s: %w", shown, err)
	}
	if m.req.Adopt {
		return m.adopt(f, shown, &st), nil
	}
	f.act = actReplace
	typ := st.Mode & unix.S_IFMT
	isDir := typ == unix.S_IFDIR
	f.other = typ != f.mode&unix.S_IFMT || typ == unix.S_IFREG && st.Size != f.size
	if m.tree.entries[k].goes {
		f.ours, f.overDir = true, isDir
		if !isDir {
			f.was = st.Mtim.Nano()
		}
		f.maybe = typ == unix.S_IFREG && !f.other && st.Mtim.Nano() == f.mtime
		return true, nil
	}
	if typ == unix.S_IFLNK {
		there, dir := m.linkLeadsTo(fd, k.name, join(d.path, k.name))
		if !there {
			return true, nil // I-37: it counts as absent, and is replaced, not written through
		}
		isDir = dir
	}
	switch {
	case m.plan.behavior == Retain:
		m.plan.kept = append(m.plan.kept, shown)
		return false, nil
	case isDir:
		m.conflict(shown, "is a directory, and a file cannot take its place: move it away, or change the destination")
		return false, nil
	case m.plan.behavior == Overwrite:
		return true, nil
	}
	equal, err := m.sameContent(src, fd, f, text, &st)
	if err != nil {
		return false, err
	}
	if equal {
		m.equal = append(m.equal, shown)
	} else {
		m.conflict(shown, "exists, and file_exists_behavior is DISALLOW: move it away, or deploy with OVERWRITE or RETAIN")
	}
	return false, nil
}

// linkLeadsTo says whether what a link on the host leads to will be there after the cleanup, and whether it is a directory.
func (m *maker) linkLeadsTo(fd int, name, path string) (there, dir bool) {
	var st unix.Stat_t
	if unix.Fstatat(fd, name, &st, 0) != nil {
		return false, false
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		folder, last := split(real)
		if id, ok, err := m.tree.now(folder); err == nil && ok && m.tree.entries[key{id, last}].goes {
			return false, false
		}
	}
	return true, st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// sameContent compares a file or link of the bundle with what stands at its target.
func (m *maker) sameContent(src, dst int, f *file, text string, st *unix.Stat_t) (bool, error) {
	if st.Mode&unix.S_IFMT != f.mode&unix.S_IFMT {
		return false, nil
	}
	if f.link() {
		there, err := readlinkAt(dst, f.name)
		return err == nil && there == text, nil
	}
	if st.Size != f.size {
		return false, nil
	}
	if m.buffers[0] == nil {
		m.buffers[0], m.buffers[1] = make([]byte, 64<<10), make([]byte, 64<<10)
	}
	return equalFiles(src, dst, f.name, f.size, m.buffers)
}

// equalFiles compares two files of one name in two directories, which are size bytes long as far as is known. One that cannot be read, or is
// of another size after all, counts as different.
func equalFiles(src, dst int, name string, size int64, buffers [2][]byte) (bool, error) {
	a, err := openat(src, name, unix.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, fmt.Errorf("plan installation: read the bundle: %s: %w", name, err)
	}
	defer closeFD(a)
	b, openErr := openat(dst, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if openErr != nil {
		return false, nil
	}
	defer closeFD(b)
	for left := size; ; {
		// One byte more than there should be: without another call it is known that this is the end.
		part := int(min(left+1, int64(len(buffers[0]))))
		enough := int(min(left, int64(part)))
		n, err := readAtLeast(a, buffers[0][:part], enough)
		if err != nil {
			return false, fmt.Errorf("plan installation: read the bundle: %s: %w", name, err)
		}
		k, err := readAtLeast(b, buffers[1][:part], enough)
		if err != nil || n < enough || int64(n) > left || !bytes.Equal(buffers[0][:n], buffers[1][:k]) {
			return false, nil //nolint:nilerr // it counts as different
		}
		if left -= int64(n); left == 0 && n < part {
			return true, nil
		}
	}
}

// readFull fills buf unless the file ends before.
func readFull(fd int, buf []byte) (int, error) { return readAtLeast(fd, buf, len(buf)) }

// readAtLeast reads until buf has enough bytes or the file ends.
func readAtLeast(fd int, buf []byte, enough int) (int, error) {
	for n := 0; ; {
		k, err := ignoringEINTR(func() (int, error) { return unix.Read(fd, buf[n:]) })
		if err != nil {
			return n, err
		}
		if n += k; k == 0 || n >= enough {
			return n, nil
		}
	}
}

// unchanged finds the files of ours that are there already, equal in every respect, and need not be written again. It is
// left to the kernel what is cheaper than a new inode; everything with a list or a label is written anew.
func (m *maker) unchanged(ctx context.Context) error {
	p := m.plan
	want := func(i int) bool {
		f := &p.files[i]
		return f.maybe && !f.link() && (f.perm == 0 || p.perms[f.perm-1].plain())
	}
	return p.eachFile(ctx, nil, len(p.files), func(w *worker, i int) error {
		if !want(i) {
			return nil
		}
		same, err := w.isSame(i)
		if same {
			p.files[i].act = actSame
		}
		return err
	})
}

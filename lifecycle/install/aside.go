package install

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What somebody has changed by hand is kept as <root>/.slipway/aside/<group>/<deployment that had installed it>/<path>. It is
// moved there once the installation is complete, from the hidden name under which the commit has left it. A complete
// installation does not fail for that, nor is it undone: what cannot be moved stays under its hidden name, and a warning
// gives it.

// asideKept is how many deployments' folders are kept for each group.
const asideKept = 5

func asideDir(root, group, deployment string) string {
	return filepath.Join(root, ".slipway", "aside", group, deployment)
}

// keptIn is the folder in which something is kept aside, empty if nothing is.
func (t *transaction) keptIn() string {
	if t.kept == 0 {
		return ""
	}
	return t.keepIn
}

// keeper moves things into the folder for what is kept aside.
type keeper struct {
	t    *transaction
	base int              // the folder
	at   string           // the last directory in it
	fd   int              // and its descriptor, -1: none
	tops map[string]*step // directories that a file has taken the place of
	left map[string]bool  // hidden names that have to stay
	errs []error
}

// keepAside moves what is to be kept. It gives the hidden names of what could not be moved. After a crash it may be called
// again.
func (t *transaction) keepAside() (left map[string]bool, errs []error) {
	// A crash may have come before it was noted that somebody had changed something.
	perhaps := func(s step) bool { return s.keep || t.resumed && s.was != 0 }
	if !slices.ContainsFunc(t.steps, perhaps) {
		return nil, nil
	}
	k := &keeper{t: t, base: -1, fd: -1, left: map[string]bool{}}
	defer k.close()
	fds := fdCache{open: t.open}
	defer fds.close()
	for i := range t.steps {
		s := &t.steps[i]
		if !perhaps(*s) {
			continue
		}
		err := t.at("aside")
		if err == nil {
			err = k.keep(&fds, s)
		}
		if err != nil {
			k.fail(s, err)
		}
	}
	if err := k.leave(); err != nil {
		k.errs = append(k.errs, fmt.Errorf("keep aside what was changed on this host: %w", err))
	}
	return k.left, k.errs
}

func (k *keeper) fail(s *step, err error) {
	hidden, _ := k.place(s)
	k.left[k.t.hidden(s.n)], k.left[k.t.aside(s.n)] = true, true
	k.errs = append(k.errs, fmt.Errorf("%s was changed on this host since it was installed, and could not be kept aside: it is still there as %s, move it away: %w",
		join(k.t.dirs[s.dir].path, s.name), hidden, err))
}

func (k *keeper) open() error {
	if k.t.keepIn == "" {
		return errors.New("the installation's journal does not say where to")
	}
	if err := os.MkdirAll(k.t.keepIn, 0o700); err != nil {
		return err
	}
	var err error
	if k.base, err = openat(unix.AT_FDCWD, k.t.keepIn, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return &os.PathError{Op: "open directory", Path: k.t.keepIn, Err: err}
	}
	now := time.Now()
	return os.Chtimes(k.t.keepIn, now, now) // the newest is told by its time
}

func (k *keeper) close() {
	if k.base >= 0 {
		closeFD(k.base)
	}
}

// place gives the path of an old object under its hidden name, and the folder that it is in: a directory that a file has
// taken the place of is hidden itself.
func (k *keeper) place(s *step) (hidden, folder string) {
	folder = k.t.dirs[s.dir].path
	if s.kind == stepHide && s.over {
		if k.tops == nil {
			k.tops = map[string]*step{}
			for i := range k.t.steps {
				if o := &k.t.steps[i]; o.kind == stepSwap && o.over {
					k.tops[join(k.t.dirs[o.dir].path, o.name)] = o
				}
			}
		}
		for top := folder; top != "/"; top, _ = split(top) {
			o := k.tops[top]
			if o == nil {
				continue
			}
			in := k.t.dirs[o.dir].path
			moved := join(in, k.t.hidden(o.n))
			var st unix.Stat_t
			if unix.Lstat(moved, &st) != nil {
				moved = join(in, k.t.aside(o.n))
			}
			folder = moved + strings.TrimPrefix(folder, top)
			break
		}
	}
	return join(folder, k.t.hidden(s.n)), folder
}

// keep moves one old object. One that is not there was moved before a crash, or was gone when it was to be replaced.
func (k *keeper) keep(fds *fdCache, s *step) error {
	fd, err := fds.get(dirID(s.dir))
	if s.kind == stepHide && s.over {
		_, folder := k.place(s)
		if fd, err = openLive(folder, k.t.dirs[s.dir].ino); err == nil {
			defer closeFD(fd)
		}
	}
	switch {
	case err != nil && vanished(err):
		return nil
	case err != nil:
		return err
	}
	for _, hidden := range []string{k.t.hidden(s.n), k.t.aside(s.n)} {
		var st unix.Stat_t
		switch err := lstatAt(fd, hidden, &st); {
		case is(err, unix.ENOENT):
			continue
		case err != nil:
			return err
		case s.kind != stepHide && st.Ino == s.ino:
			continue // the staged object, which is in place under its own name too
		}
		if s.notice(&st); !s.keep {
			return nil
		}
		if err := k.move(fd, hidden, k.t.dirs[s.dir].path, s.name, &st); err != nil {
			return err
		}
		k.t.kept++
		return nil
	}
	return nil
}

// move moves an object to the same path in the folder. What is there already stays, and the newcomer gets a number.
func (k *keeper) move(fd int, hidden, folder, name string, st *unix.Stat_t) error {
	if err := k.enter(folder); err != nil {
		return err
	}
	err := error(unix.EXDEV)
	if !k.t.moves.apart {
		err = renameNew(fd, hidden, k.fd, name)
	}
	if !is(err, unix.EXDEV) { // mounts of one file system count as two
		return err
	}
	part := hidden + "-copy"
	err = copyObject(fd, hidden, k.fd, part, st)
	if err == nil {
		err = renameNew(k.fd, part, k.fd, name)
	}
	if err != nil {
		_ = unix.Unlinkat(k.fd, part, 0)
		return err
	}
	if err := unix.Fsync(k.fd); err != nil {
		return err
	}
	if err := k.t.at("aside copied"); err != nil {
		return err
	}
	return unix.Unlinkat(fd, hidden, 0)
}

// enter opens the directory of a path in the folder, and makes what is missing of it. Links in it are not followed: they are
// what was kept aside before.
func (k *keeper) enter(path string) error {
	if k.fd >= 0 && k.at == path {
		return nil
	}
	if err := k.leave(); err != nil {
		return err
	}
	if k.base < 0 {
		if err := k.open(); err != nil {
			return err
		}
	}
	at, err := openat(k.base, ".", dirFlags, 0)
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		next, err := enterDir(at, name)
		closeFD(at)
		if err != nil {
			return fmt.Errorf("make directory %s: %w", join(k.t.keepIn, strings.Trim(path, "/")), spaceErr(err))
		}
		at = next
	}
	k.at, k.fd = path, at
	return nil
}

func enterDir(in int, name string) (int, error) {
	err := unix.Mkdirat(in, name, 0o700)
	if err == nil {
		err = unix.Fsync(in)
	}
	if err != nil && !is(err, unix.EEXIST) {
		return -1, err
	}
	return openat(in, name, dirFlags, 0)
}

// leave puts the names in the last directory on the disk.
func (k *keeper) leave() error {
	if k.fd < 0 {
		return nil
	}
	err := unix.Fsync(k.fd)
	closeFD(k.fd)
	k.fd = -1
	return err
}

// renameNew renames and replaces nothing: if there is something of the name already, a number is added.
func renameNew(fd int, from string, dir int, name string) error {
	for n := 1; ; n++ {
		to := name
		if n > 1 {
			to += "~" + strconv.Itoa(n)
		}
		err := unix.Renameat2(fd, from, dir, to, unix.RENAME_NOREPLACE)
		if unsupported(err) {
			var st unix.Stat_t
			if err = lstatAt(dir, to, &st); is(err, unix.ENOENT) {
				err = unix.Renameat(fd, from, dir, to)
			} else if err == nil {
				err = unix.EEXIST
			}
		}
		if !is(err, unix.EEXIST) || n == maxNumber {
			return err
		}
	}
}

// maxNumber bounds how often something of one deployment and path is kept aside.
const maxNumber = 100

// copyObject copies a file or link with mode, owner and time, down to the disk. What a crash has left of an earlier try goes.
func copyObject(fd int, name string, dir int, to string, st *unix.Stat_t) error {
	if err := unix.Unlinkat(dir, to, 0); err != nil && !is(err, unix.ENOENT) {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		text, err := readlinkAt(fd, name)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(text, dir, to); err != nil {
			return spaceErr(err)
		}
	case unix.S_IFREG:
		if err := copyContent(fd, name, dir, to, st); err != nil {
			return spaceErr(err)
		}
	default:
		return errors.New("it is neither file nor link, and cannot be copied to another file system")
	}
	if err := unix.Fchownat(dir, to, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil && !notPermitted(err) {
		return fmt.Errorf("change the owner: %w", err)
	}
	return setTime(dir, to, st.Mtim.Nano())
}

func copyContent(fd int, name string, dir int, to string, st *unix.Stat_t) error {
	src, err := openat(fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(src), name)
	defer in.Close()
	dst, err := openat(dir, to, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(dst), to)
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	// No set-id bits: what is kept aside is there to be read.
	if err := unix.Fchmod(dst, st.Mode&0o777); err != nil && !notPermitted(err) {
		return err
	}
	return out.Sync()
}

// pruneAside removes the group's oldest folders of what was kept aside. The one given is never removed.
func pruneAside(at func(string) error, root, group, newest string) error {
	folder := filepath.Dir(asideDir(root, group, "x"))
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what was kept aside long ago: %w", err)
	}
	if len(entries) <= asideKept {
		return nil
	}
	type kept struct {
		name string
		at   time.Time
	}
	var all []kept
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.Name() != newest {
			all = append(all, kept{e.Name(), info.ModTime()})
		}
	}
	sort.SliceStable(all, func(i, j int) bool {
		return cmp.Or(all[j].at.Compare(all[i].at), cmp.Compare(all[i].name, all[j].name)) < 0
	})
	room := asideKept
	if newest != "" {
		room--
	}
	var errs error
	for _, k := range all[min(room, len(all)):] {
		err := at("prune")
		if err == nil {
			err = os.RemoveAll(filepath.Join(folder, k.name))
		}
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("remove what was kept aside long ago: %w", err))
		}
	}
	return errs
}

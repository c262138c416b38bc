package install

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// While an installation goes on, and all the more between a crash and the recovery, others work on the same directories: an application
// writes its files anew, a person edits one or removes a directory. None of that may be lost, nor keep the tree from being whole.

// isDone reports whether a crash came after a step. What has the name by now does not matter then: somebody may have replaced or removed it.
func (t *transaction) isDone(fd int, s *step) bool {
	var st, now unix.Stat_t
	err := lstatAt(fd, t.hidden(s.n), &st)
	switch {
	case s.kind == stepReset || err != nil && !is(err, unix.ENOENT):
		return false
	case s.kind == stepHide:
		return err == nil && !t.is(fd, s.name, st.Ino) // else it has both names
	case err == nil:
		return s.kind == stepSwap && st.Ino != s.ino
	case s.kind == stepSwap:
		return lstatAt(fd, t.aside(s.n), &now) == nil
	}
	return lstatAt(fd, s.name, &now) == nil
}

// notice sees to it that an old object which somebody has changed since the installation was planned is kept aside.
func (s *step) notice(st *unix.Stat_t) {
	if s.was != 0 && !s.keep && st.Mtim.Nano() != s.was {
		s.keep, s.late = true, true
	}
}

// lately names what was kept aside though the plan did not say so.
func (t *transaction) lately() (paths []string) {
	for i := range t.steps {
		if s := &t.steps[i]; s.late {
			paths = append(paths, join(t.dirs[s.dir].path, s.name))
		}
	}
	return paths
}

// savedPrefix begins the hidden names of what was in the way of undoing. No sweep removes it: it is somebody else's.
const savedPrefix = hiddenPrefix + "saved-"

// giveWay moves what has a step's name, and is neither the old nor the new object, to a hidden name that says so: an old object is to get its
// name back.
func (t *transaction) giveWay(fd int, s *step) error {
	var st unix.Stat_t
	switch err := lstatAt(fd, s.name, &st); {
	case is(err, unix.ENOENT):
		return nil
	case err != nil:
		return err
	case s.kind != stepHide && st.Ino == s.ino:
		return nil
	}
	saved := savedPrefix + t.tx + "-" + strconv.FormatUint(uint64(s.n), 10)
	if err := renameNew(fd, s.name, fd, saved); err != nil {
		return err
	}
	folder := t.dirs[s.dir].path
	t.note("%s was put there while the installation went on: the old one is back in its place, and that one is kept as %s", join(folder, s.name), join(folder, saved))
	return nil
}

// note adds what a person should know, once.
func (t *transaction) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(t.notes, text) {
		t.notes = append(t.notes, text)
	}
}

// noted adds the notes to an error, which may be nil.
func (t *transaction) noted(err error) error {
	for _, text := range t.notes {
		err = errors.Join(err, errors.New(text))
	}
	return err
}

// gone reports whether a directory that could not be opened was removed or replaced by somebody, with all that was in it. Some file systems number
// their directories anew each time they are mounted: one with hidden names of ours in it is the one.
func (t *transaction) gone(i int32, err error) bool {
	d := &t.dirs[i]
	missing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, errMoved)
	if !missing || d.fs == "" || t.unmounted(i) {
		return false
	}
	if !errors.Is(err, errMoved) {
		return true
	}
	fd, err := openDir(d.path)
	if err != nil {
		return false
	}
	defer closeFD(fd)
	ours := false
	err = eachEntry(fd, func(name []byte, _ uint8) bool {
		ours = strings.HasPrefix(string(name), t.hiddenPrefix())
		return !ours
	})
	return err == nil && !ours
}

// unmounted reports whether a directory is missing because its file system is not mounted: that it was on another one than what is found at its
// path now, or above it, tells. What was in memory does not come back.
func (t *transaction) unmounted(i int32) bool {
	d := &t.dirs[i]
	if d.fs == "" || d.fs == memory {
		return false
	}
	for path := d.path; ; path, _ = split(path) {
		if now := fileSystem(path); now != "" || path == "/" {
			return now != d.fs
		}
	}
}

const memory = "memory"

// fileSystem tells file systems apart, as far as they say something of themselves that is the same after the next start of the host. It is empty
// for what is not there.
func fileSystem(path string) string {
	var st unix.Statfs_t
	switch {
	case unix.Statfs(path, &st) != nil:
		return ""
	case st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC:
		return memory
	}
	return fmt.Sprintf("%x-%x-%x", uint64(st.Type), uint32(st.Fsid.Val[0]), uint32(st.Fsid.Val[1]))
}

// mounted is an error if a directory is missing because its file system is not mounted. The transaction is put off then: what is on that file
// system is neither undone nor finished.
func (t *transaction) mounted() error {
	for i := range t.dirs {
		fd, err := t.open(dirID(i))
		if err == nil {
			closeFD(fd)
			continue
		}
		if vanished(err) && t.unmounted(int32(i)) {
			return fmt.Errorf("the file system of %s is not mounted: mount it, and the next start of the agent or installation settles this", t.dirs[i].path)
		}
	}
	return nil
}

package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// sweep removes what is left under hidden names: the old objects after done (then what is in an old directory goes only if it
// is of ours), the staged ones after an undo. It returns what it could not remove.
// Names in stays are left alone.
func (t *transaction) sweep(done bool, stays map[string]bool) []error {
	prefix := t.hiddenPrefix()
	var mayGo func(string, bool) bool
	if done {
		mayGo = func(name string, dir bool) bool { return dir || strings.HasPrefix(name, prefix) && !stays[name] }
	}
	left := make([]error, len(t.dirs))
	_ = parallel(context.Background(), len(t.dirs), 1, t.probe != nil, func(_ context.Context, next func() (int, int, bool)) error {
		for i, _, ok := next(); ok; i, _, ok = next() {
			left[i] = t.sweepDir(&t.dirs[i], prefix, stays, mayGo)
		}
		return nil
	})
	return slices.DeleteFunc(left, func(err error) bool { return err == nil })
}

// sweepBatch bounds how many names are held at a time.
const sweepBatch = 8192

func (t *transaction) sweepDir(d *liveDir, prefix string, stays map[string]bool, mayGo func(string, bool) bool) error {
	fd, err := openLive(d.path, d.ino)
	switch {
	case err != nil && vanished(err):
		return nil
	case err != nil:
		return fmt.Errorf("tidy up: %w", err)
	}
	defer closeFD(fd)
	for {
		var names []string
		all := eachEntry(fd, func(name []byte, _ uint8) bool {
			if len(name) > len(prefix) && string(name[:len(prefix)]) == prefix && !stays[string(name)] {
				names = append(names, string(name))
			}
			return len(names) < sweepBatch
		})
		removed := 0
		for _, name := range names {
			if err := t.at("sweep"); err != nil {
				return err
			}
			if err := removeTree(fd, name, mayGo); err != nil {
				all = errors.Join(all, fmt.Errorf("tidy up: %s: %w", join(d.path, name), err))
				continue
			}
			removed++
		}
		if all != nil || len(names) < sweepBatch || removed == 0 {
			return all
		}
	}
}

// vanished reports that a directory is no longer there, or no longer the one.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, errMoved)
}

// removeDirs removes the directories of the previous revision that are empty now (I-41), children first.
func (t *transaction) removeDirs() []error {
	fds := fdCache{open: t.open}
	defer fds.close()
	var all []error
	for _, r := range t.rmdirs {
		if err := t.at("rmdir"); err != nil {
			return append(all, err)
		}
		fd, err := fds.get(dirID(r.dir))
		if err != nil {
			if !vanished(err) {
				all = append(all, fmt.Errorf("tidy up: %w", err))
			}
			continue
		}
		var st unix.Stat_t
		if lstatAt(fd, r.name, &st) != nil || st.Ino != r.ino || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		if err := unix.Unlinkat(fd, r.name, unix.AT_REMOVEDIR); err != nil && !is(err, unix.ENOENT, unix.ENOTEMPTY, unix.EEXIST) {
			all = append(all, fmt.Errorf("tidy up: remove %s: %w", join(t.dirs[r.dir].path, r.name), err))
		}
	}
	return all
}

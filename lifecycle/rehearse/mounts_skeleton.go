package rehearse

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// bones makes the folders of the skeleton that overlays are mounted on, and the links and small files beside them.
func (c *copier) bones(dir string, mounts []hostMount) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil //nolint:nilerr // what cannot be read cannot be shown; the folder stays empty
	}
	for _, e := range entries {
		from := path.Join(dir, e.Name())
		to := skeleton + from
		switch {
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(from)
			if err != nil {
				continue // it has gone since
			}
			if err := os.Symlink(target, to); err != nil {
				return err
			}
		case e.IsDir():
			if err := likeFolder(to, from); errors.Is(err, os.ErrNotExist) {
				_ = os.Remove(to) // it has gone since
				continue
			} else if err != nil {
				return err
			}
			own := slices.Contains(ownFolders, from)
			if !own && mountedBelow(c.points, from) {
				if err := c.bones(from, mounts); err != nil {
					return err
				}
			}
		case e.Type().IsRegular():
			_ = copyFile(to, from) // what is too large, or may not be read, is not shown
		}
	}
	return nil
}

// limbs mounts the overlays of a user namespace.
func (c *copier) limbs(dir string, mounts []hostMount) error {
	entries, err := os.ReadDir(skeleton + dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		at := path.Join(dir, e.Name())
		if !e.IsDir() || slices.Contains(ownFolders, at) {
			continue
		}
		if mountedBelow(c.points, at) {
			if err := c.limbs(at, mounts); err != nil {
				return err
			}
			continue
		}
		m := hostMount{point: at, kind: "?"}
		if i := slices.IndexFunc(mounts, func(m hostMount) bool { return m.point == at }); i >= 0 {
			m = mounts[i]
		} else if slices.Contains(c.points, at) {
			continue // the kernel's own
		}
		if unix.Access(at, unix.R_OK|unix.X_OK) != nil {
			continue // it shows nothing, and stays an empty folder
		}
		c.show(m)
	}
	return nil
}

// own makes the folders that Writable names this user's in the upper layer, and those above them.
func (c *copier) own(upper, lower, at string) error {
	_ = os.Chown(upper, 0, 0)
	for _, name := range append([]string{"/tmp", "/var/tmp"}, c.Writable...) {
		if name = path.Clean(name); !within(name, at) {
			continue
		}
		made := ""
		for part := range strings.SplitSeq(strings.Trim(strings.TrimPrefix(name, at), "/"), "/") {
			if made += "/" + part; part == "" || !isFolder(lower+made) {
				break
			}
			if err := likeFolder(upper+made, lower+made); err != nil {
				return err
			}
			_ = os.Chown(upper+made, 0, 0)
		}
	}
	return nil
}

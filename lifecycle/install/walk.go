package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// openSource opens a directory of the bundle and gives its index. Links inside the bundle are followed.
func (m *maker) openSource(rel string) (int32, *os.File, error) {
	f, err := m.archive.Open(rel)
	if err != nil {
		return 0, nil, fmt.Errorf("plan installation: read the bundle: %w", err)
	}
	src, ok := m.sources[rel]
	if !ok {
		src = int32(len(m.plan.sources))
		m.sources[rel] = src
		m.plan.sources = append(m.plan.sources, rel)
	}
	return src, f, nil
}

// copyDir plans to copy the contents of a directory of the bundle (I-27): first its files, then its directories, each by
// name. The official agent takes them as the file system gives them.
func (m *maker) copyDir(ctx context.Context, rel string, to dirID) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	src, f, err := m.openSource(rel)
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	var self unix.Stat_t
	if err := unix.Fstat(fd, &self); err != nil {
		return fmt.Errorf("plan installation: read the bundle: %s: %w", rel, err)
	}
	m.within = append(m.within, identity{self.Dev, self.Ino})
	defer func() { m.within = m.within[:len(m.within)-1] }()

	var names []string
	if err := eachEntry(fd, func(name []byte, _ uint8) bool { names = append(names, string(name)); return true }); err != nil {
		return fmt.Errorf("plan installation: list %s of the bundle: %w", rel, err)
	}
	slices.Sort(names)
	dirs := names[:0] // filled behind what is read
	for _, name := range names {
		var st unix.Stat_t
		if err := lstatAt(fd, name, &st); err != nil {
			return fmt.Errorf("plan installation: read the bundle: %s: %w", join(rel, name), err)
		}
		isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			if isDir, err = m.expands(rel, name); err != nil {
				return err
			}
		}
		if isDir {
			dirs = append(dirs, name)
			continue
		}
		if err := m.copyFile(fd, src, to, name, &st); err != nil {
			return err
		}
	}
	return m.copySubs(ctx, rel, dirs, to)
}

// copySubs plans to copy the directories of a directory of the bundle.
func (m *maker) copySubs(ctx context.Context, rel string, names []string, to dirID) error {
	for _, name := range names {
		shown := join(m.tree.dirs[to].shown, name)
		if strings.Contains(name, "\n") {
			m.conflict(shown, newlineWhy)
			continue
		}
		id, err := m.subdirectory(to, name, shown)
		if err == nil {
			m.adoptDir(to, id)
			err = m.copyDir(ctx, join(rel, name), id)
		} else {
			err = m.refuse(err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxPath is the longest path that the kernel takes. Ours could be longer, being walked by descriptors; but then neither the application nor the next
// installation would find them.
const maxPath = unix.PathMax - 1

const tooLongWhy = "has a path of more than 4095 bytes, which no program can name: shorten it in the bundle, or choose another destination"

// tooLong reports whether a path is too long for the host, as it is shown or where it is.
func tooLong(shown, folder, name string) bool {
	return len(shown) > maxPath || len(folder)+1+len(name) > maxPath
}

const newlineWhy = "has a newline in its name, which the cleanup file cannot hold: rename it in the bundle"

// expands reports whether a link of the bundle is replaced by what it leads to: a directory inside the bundle (I-27). One
// that leads out of it, to a file or to nothing is installed as a link; so is one that leads to a directory around it,
// which would never end.
func (m *maker) expands(rel, name string) (bool, error) {
	p := join(rel, name)
	info, err := m.archive.Stat(p)
	switch {
	case err != nil && (errors.Is(err, fs.ErrNotExist) || escapes(err) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR)):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("plan installation: read the bundle: %w", err)
	case !info.IsDir():
		return false, nil
	}
	if id, ok := identityOf(info); ok && slices.Contains(m.within, id) {
		m.warn("the link %s in the bundle leads to a directory around itself: it is installed as a link", p)
		return false, nil
	}
	return true, nil
}

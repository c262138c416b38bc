package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// CopyTree copies the content of a folder of this host into another, which should be empty (I-17). Files keep their permission bits,
// subject to the umask, and links are copied as links; owners, times and the modes of folders are not kept. Files share blocks with
// the original where the file system can. Devices, pipes and sockets are refused by name. On an error the folder holds a part.
func CopyTree(ctx context.Context, from string, to *os.Root) error {
	_, err := copyTree(ctx, from, to, false, Limits{})
	return err
}

// Clone copies an unpacked archive into another folder, which is empty, as faithfully as an archive is unpacked (V-62): modes with
// their set-id bits, the times of files, links and folders, owners where that is permitted (else the set-id bits go as well), links as
// they are, and as one file what is one file under several names. Holes stay holes, and files share blocks with the original where the
// file system can. The two folders themselves stay as they are. No link is followed. On an error the folder holds a part; nothing is
// synced.
func Clone(ctx context.Context, from string, to *os.Root) error {
	_, err := copyTree(ctx, from, to, true, Limits{})
	return err
}

func copyTree(ctx context.Context, from string, to *os.Root, exact bool, limits Limits) (Stats, error) {
	src, err := os.OpenRoot(from)
	if err != nil {
		return Stats{}, fmt.Errorf("open the folder to copy: %w", err)
	}
	defer src.Close()
	self, err := to.Stat(".")
	if err != nil {
		return Stats{}, fmt.Errorf("look at %s: %w", to.Name(), err)
	}
	c := &copier{to: to, self: self, exact: exact, limits: limits, names: map[inode]*names{}}
	top := &pair{name: ".", src: src, to: level{name: ".", root: to}}
	defer top.to.shut()
	walk := func(ctx context.Context, out chan<- copyJob) error { return c.folder(ctx, top, out) }
	if err := eachJob(ctx, func() *filler { return &filler{ctx: ctx, copier: c} }, walk, (*filler).do, copyJob.drop); err != nil {
		return c.stats, fmt.Errorf("copy %s: %w", from, unpackTrouble(ctx, err, to))
	}
	return c.stats, nil
}

// copier copies a tree. As in unpacking, one goroutine walks and makes every name, and others fill the files.
type copier struct {
	to     *os.Root
	self   fs.FileInfo // the folder copied into
	exact  bool
	limits Limits // whose bounds on size and number do not count
	stats  Stats
	names  map[inode]*names // of what has several
	// noClone says that the file system cannot let two files share their blocks.
	noClone atomic.Bool
}

// inode is a file, whatever its names are.
type inode struct{ dev, ino uint64 }

// names is one name of a file, and how many more are expected.
type names struct {
	first string
	left  int
}

// pair is a folder and its copy.
type pair struct {
	name string
	src  *os.Root
	to   level
}

func (p *pair) close() {
	p.src.Close()
	p.to.root.Close()
	p.to.shut()
}

func (c *copier) folder(ctx context.Context, at *pair, out chan<- copyJob) error {
	dir, err := at.src.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	if os.SameFile(info, c.self) {
		return fmt.Errorf("%s is inside the folder that is copied", c.to.Name())
	}
	for {
		entries, err := dir.ReadDir(256)
		for _, e := range entries {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := c.entry(ctx, at, e, out); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return c.close(at, info)
		}
		if err != nil {
			return err
		}
	}
}

// close gives a folder its attributes, when all its names are made: what is filled meanwhile is open.
func (c *copier) close(at *pair, info fs.FileInfo) error {
	if !c.exact || at.name == "." {
		return nil
	}
	self, err := at.to.open()
	if err != nil {
		return err
	}
	return attrsOf(info).applyPermitted(self)
}

func (c *copier) entry(ctx context.Context, at *pair, e fs.DirEntry, out chan<- copyJob) error {
	base, name := e.Name(), path.Join(at.name, e.Name())
	switch e.Type() {
	case fs.ModeDir:
		return c.below(ctx, at, base, name, out)
	case fs.ModeSymlink:
		if err := c.limits.link(name, "a symbolic link"); err != nil {
			return err
		}
		return c.symlink(at, base, name)
	case 0:
		return c.file(ctx, at, base, name, out)
	default:
		return fmt.Errorf("%s is %s: a bundle may hold files, folders and links", quoted(name), kindOf(e.Type()))
	}
}

// below copies a folder in a folder.
func (c *copier) below(ctx context.Context, at *pair, base, name string, out chan<- copyJob) error {
	mode := fs.FileMode(0o777)
	if c.exact {
		mode = 0o700 // nobody else looks in before it has its own
	}
	if err := at.to.root.Mkdir(base, mode); err != nil && (c.exact || !errors.Is(err, fs.ErrExist)) {
		return err
	}
	c.stats.Dirs++
	src, err := at.src.OpenRoot(base)
	if err != nil {
		return err
	}
	to, err := at.to.root.OpenRoot(base)
	if err != nil {
		src.Close()
		return err
	}
	below := &pair{name: name, src: src, to: level{name: base, root: to}}
	defer below.close()
	return c.folder(ctx, below, out)
}

func (c *copier) symlink(at *pair, base, name string) error {
	target, err := at.src.Readlink(base)
	if err != nil {
		return err
	}
	if !c.exact {
		c.stats.Links++
		return at.to.root.Symlink(target, base)
	}
	info, err := at.src.Lstat(base)
	if err != nil {
		return err
	}
	c.stats.Links++
	if made, err := c.another(name, info); made || err != nil {
		return err
	}
	if err := at.to.root.Symlink(target, base); err != nil {
		return err
	}
	self, err := at.to.open()
	if err != nil {
		return err
	}
	a, fd := attrsOf(info), int(self.Fd())
	if err := unix.Fchownat(fd, base, a.uid, a.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("set the owner of the symbolic link %s: %w", name, err)
	}
	return setLinkTime(self, base, name, a.mtime)
}

func (c *copier) file(ctx context.Context, at *pair, base, name string, out chan<- copyJob) error {
	// What was a file when the folder was read may be a pipe by now, which must not hang.
	from, err := at.src.OpenFile(base, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	j := copyJob{from: from}
	info, err := from.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s became %s while it was copied", quoted(name), kindOf(info.Mode()))
	}
	if err == nil {
		err = c.limits.mode(name, attrsOf(info).mode)
	}
	if err != nil {
		j.drop()
		return err
	}
	c.stats.Files++
	c.stats.Bytes += info.Size()
	mode := info.Mode().Perm()
	if c.exact {
		mode, j.attrs = 0o600, attrsOf(info)
		if made, err := c.another(name, info); made || err != nil {
			j.drop()
			return err
		}
	}
	if j.to, err = at.to.create(base, mode); err != nil {
		j.drop()
		return err
	}
	j.size, j.sparse = info.Size(), isHoley(info)
	return send(ctx, out, j, copyJob.drop)
}

// another makes a name a hard link if what it names was copied under another one.
func (c *copier) another(name string, info fs.FileInfo) (made bool, err error) {
	st := info.Sys().(*syscall.Stat_t)
	if st.Nlink < 2 {
		return false, nil
	}
	id := inode{st.Dev, st.Ino}
	known := c.names[id]
	if known == nil {
		c.names[id] = &names{name, int(st.Nlink) - 1}
		return false, nil
	}
	if known.left--; known.left == 0 {
		delete(c.names, id)
	}
	return true, c.to.Link(known.first, name)
}

package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// CopyTree copies the content of a folder of this host into another, which should be empty (I-17). Files keep their permission bits,
// subject to the umask, and links are copied as links; owners, times and the modes of folders are not kept. Files share blocks with
// the original where the file system can. Devices, pipes and sockets are refused by name. On an error the folder holds a part.
func CopyTree(ctx context.Context, from string, to *os.Root) error {
	_, err := copyTree(ctx, from, to)
	return err
}

func copyTree(ctx context.Context, from string, to *os.Root) (Stats, error) {
	src, err := os.OpenRoot(from)
	if err != nil {
		return Stats{}, fmt.Errorf("open the folder to copy: %w", err)
	}
	defer src.Close()
	dst, err := to.Stat(".")
	if err != nil {
		return Stats{}, fmt.Errorf("look at %s: %w", to.Name(), err)
	}
	c := &copier{ctx: ctx, src: src, to: to, self: dst}
	if err := c.folder("."); err != nil {
		return c.stats, fmt.Errorf("copy %s: %w", from, outOfSpace(err, to.Name()))
	}
	return c.stats, nil
}

type copier struct {
	ctx     context.Context // of the one call that the copier lives for
	src, to *os.Root
	self    fs.FileInfo // the folder copied into
	stats   Stats
}

func (c *copier) folder(name string) error {
	dir, err := c.src.Open(name)
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
			if err := c.ctx.Err(); err != nil {
				return context.Cause(c.ctx)
			}
			if err := c.entry(path.Join(name, e.Name()), e.Type()); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *copier) entry(name string, kind fs.FileMode) error {
	switch kind {
	case fs.ModeDir:
		if err := c.to.Mkdir(name, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		c.stats.Dirs++
		return c.folder(name)
	case fs.ModeSymlink:
		target, err := c.src.Readlink(name)
		if err != nil {
			return err
		}
		c.stats.Links++
		return c.to.Symlink(target, name)
	case 0:
		c.stats.Files++
		return c.file(name)
	default:
		return fmt.Errorf("%s is %s: a bundle may hold files, folders and links", quoted(name), kindOf(kind))
	}
}

func (c *copier) file(name string) error {
	// What was a file when the folder was read may be a pipe by now, which must not hang.
	from, err := c.src.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s became %s while it was copied", quoted(name), kindOf(info.Mode()))
	}
	to, err := c.to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	err = copyFile(c.ctx, to, from, func(n int64) { c.stats.Bytes += n })
	return errors.Join(err, to.Close())
}

// copyPiece is how much is copied between two looks at the context.
const copyPiece = 64 << 20

// copyFile copies from one file to another inside the kernel where it can: only with the two files as they are does io.Copy know. It
// tells of each piece.
func copyFile(ctx context.Context, to, from *os.File, copied func(n int64)) error {
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n, err := io.CopyN(to, from, copyPiece)
		copied(n)
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

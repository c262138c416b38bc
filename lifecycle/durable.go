package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Up to syncOneByOne files and folders are put on the disk by themselves, syncers at a time; more of them with the whole file system.
const (
	syncOneByOne = 256
	syncers      = 16
)

// syncTree puts a tree on the disk: what is reported as downloaded must not be a tree of empty files after a loss of power, which an
// installation would copy and a script run as if they were right.
func syncTree(root string) error {
	var paths []string
	tooMany := errors.New("too many")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !d.IsDir() && !d.Type().IsRegular():
			return nil
		case len(paths) == syncOneByOne:
			return tooMany
		}
		paths = append(paths, path)
		return nil
	})
	switch {
	case errors.Is(err, tooMany):
		err = onOpen(root, unix.Syncfs)
	case err == nil:
		var g errgroup.Group
		g.SetLimit(syncers)
		for _, path := range paths {
			g.Go(func() error { return onOpen(path, unix.Fsync) })
		}
		err = g.Wait()
	}
	if err != nil {
		return fmt.Errorf("write %s to the disk: %w", root, err)
	}
	return nil
}

func syncFolder(name string) error { return onOpen(name, unix.Fsync) }

// onOpen calls a function that puts something on the disk. A file system that knows no such thing is no error, and neither is a file that
// not even its owner may read.
func onOpen(name string, sync func(fd int) error) error {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := sync(int(f.Fd())); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EROFS) {
		return &fs.PathError{Op: "sync", Path: name, Err: err}
	}
	return nil
}

package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Scratch is a folder for the time of one process. The process holds a lock on it, which goes with the process however that ends: what nobody
// holds is left behind, and SweepScratch removes it.
type Scratch struct {
	Dir  string
	held *os.File
}

// scratchAge is how old a folder has to be before it is taken for left behind where the file system has no locks.
const scratchAge = 24 * time.Hour

// NewScratch makes a folder in an existing one. Its name begins with the prefix, and only its owner may enter it.
func NewScratch(at, prefix string) (*Scratch, error) {
	const tries = 16
	var err error
	for range tries {
		var dir string
		if dir, err = os.MkdirTemp(at, prefix); err != nil {
			return nil, err
		}
		var held *os.File
		held, err = holdScratch(dir)
		if err == nil {
			return &Scratch{Dir: dir, held: held}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) { // else it was swept between its making and the lock
			_ = os.Remove(dir)
			return nil, err
		}
	}
	return nil, err
}

// holdScratch takes the lock of a folder that was just made. The error is fs.ErrNotExist if another process has found it without one and removed it.
func holdScratch(dir string) (*os.File, error) {
	held, err := openScratch(dir)
	if err != nil {
		return nil, err
	}
	_ = lockScratch(held, unix.LOCK_SH) // where the file system has no locks age tells
	ours, err := held.Stat()
	if err == nil {
		var there fs.FileInfo
		if there, err = os.Lstat(dir); err == nil && !os.SameFile(ours, there) {
			err = fmt.Errorf("lock %s: %w", dir, fs.ErrNotExist)
		}
	}
	if err != nil {
		held.Close()
		return nil, err
	}
	return held, nil
}

func openScratch(dir string) (*os.File, error) {
	return os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

func lockScratch(f *os.File, how int) (err error) {
	for {
		if err = unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Remove removes the folder with all in it. It may be called again, and for nil.
func (s *Scratch) Remove() error {
	if s == nil {
		return nil
	}
	err := os.RemoveAll(s.Dir)
	return errors.Join(err, s.Leave())
}

// Leave gives the folder up: whoever sweeps may remove it.
func (s *Scratch) Leave() error {
	if err := s.held.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// SweepScratch removes folders of the prefix whose processes have ended without it, as those that were killed. What cannot be removed stays. ready,
// which may be nil, is called for a folder before.
func SweepScratch(at, prefix string, ready func(dir string)) {
	entries, _ := os.ReadDir(at)
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), prefix) {
			sweepScratch(filepath.Join(at, e.Name()), ready)
		}
	}
}

func sweepScratch(dir string, ready func(dir string)) {
	f, err := openScratch(dir)
	if err != nil {
		return
	}
	defer f.Close() // and not before it is removed: whoever has just made it waits for the lock
	switch err := lockScratch(f, unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return
	case err != nil: // the file system has none
		if info, err := f.Stat(); err != nil || time.Since(info.ModTime()) < scratchAge {
			return
		}
	}
	if ready != nil {
		ready(dir)
	}
	_ = os.RemoveAll(dir)
}

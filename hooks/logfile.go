package hooks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	logSize  = 64 << 20 // H-26, V-80
	logFiles = 8        // the current one and seven older ones
	logMode  = 0o640
)

// logFile is a log that several processes append to and any of them rotates. Entries are appended in whole lines; a
// reader that follows the name sees each once.
type logFile struct {
	path  string
	size  int64
	first int  // number of the newest older file: path.<first>
	begin bool // a new file begins with a comment (H-26)
	f     *os.File
	info  os.FileInfo
	err   error // the first trouble; writing is tried again all the same
}

func (l *logFile) write(p []byte) {
	if l == nil || len(p) == 0 {
		return
	}
	if err := l.append(p); err != nil && l.err == nil {
		l.err = fmt.Errorf("write log %s: %w; lines are missing from it", l.path, err)
	}
}

func (l *logFile) append(p []byte) error {
	if err := l.current(); err != nil {
		return err
	}
	info, err := l.f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > 0 && info.Size()+int64(len(p)) > l.size {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	_, err = l.f.Write(p)
	return err
}

// current opens the log, again if another process rotated it or it was removed. A log whose folder is gone is written
// on to where it is: the folder's owner wanted it gone.
func (l *logFile) current() error {
	if l.f == nil {
		if err := os.MkdirAll(filepath.Dir(l.path), 0o750); err != nil {
			return err
		}
		return l.open()
	}
	now, err := os.Stat(l.path)
	if err == nil && os.SameFile(now, l.info) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !exists(filepath.Dir(l.path)) {
		return nil
	}
	return l.open()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, logMode)
	made := err == nil
	if errors.Is(err, fs.ErrExist) {
		f, err = os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0)
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	l.close()
	l.f, l.info = f, info
	if made && l.begin {
		_, err = fmt.Fprintf(f, "# Logfile created on %s by slipway\n", time.Now().Format("2006-01-02 15:04:05 -0700"))
	}
	return err
}

func (l *logFile) close() {
	if l != nil && l.f != nil {
		l.f.Close()
		l.f = nil
	}
}

// rotate renames the log and its older files by one. Whoever holds the lock of the current file does it; the others find
// another file under the name then.
func (l *logFile) rotate() error {
	held := l.f
	if err := flock(held, unix.LOCK_EX); err != nil {
		return err
	}
	unlock := func() error { return flock(held, unix.LOCK_UN) }
	now, err := os.Stat(l.path)
	if err != nil || !os.SameFile(now, l.info) {
		return errors.Join(unlock(), l.current())
	}
	older := func(n int) string { return l.path + "." + strconv.Itoa(n) }
	for n := l.first + logFiles - 2; n > l.first; n-- {
		if err := os.Rename(older(n-1), older(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, unlock())
		}
	}
	err = os.Rename(l.path, older(l.first))
	return errors.Join(err, unlock(), l.open())
}

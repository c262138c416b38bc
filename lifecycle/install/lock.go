package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// One place is installed into by one command at a time, whichever process it is in: a daemon and a local deployment may share
// a deployment root. A lock is a flock on a file that is named by the place, exclusive on the place itself and shared on every
// directory above it, so that an installation to /srv excludes one to /srv/app, while /srv/a and /srv/b go side by side. Locks
// are taken in the order of their names, so that nobody waits in a circle; the kernel releases them when the process dies.
// Files that nobody uses any more are removed.

// maxLocks bounds the files of one installation. One that has to do with more places locks directories further up instead.
const maxLocks = 64

// lockTick is how often a lock that is taken is tried again.
const lockTick = 50 * time.Millisecond

// groupLock begins the name of the lock that a deployment group's installations take: no path begins so.
const groupLock = "group:"

// locks are what one installation holds.
type locks struct {
	dir    string
	places []string // that are locked exclusively: real paths, and the group
	held   map[string]*os.File
	text   string // who holds it
	log    *zap.Logger
}

// Lock waits until no other installation of the deployment group, or to any place that the request has to do with, is under
// way, and keeps others away until unlock is called: the destinations of the appspec, and what the previous revision's cleanup
// file lists. Take it before Make and release it after Apply, which otherwise locks for itself, when its plan may be out of
// date. The end of ctx ends the wait; the error then names the place and who installs there.
func Lock(ctx context.Context, r *Request) (unlock func(), err error) {
	if _, err := r.check(); err != nil {
		return nil, err
	}
	for {
		places, err := r.places()
		if err != nil {
			return nil, err
		}
		l := newLocks(r.Root, r.Group, r.Deployment, r.Log)
		if err := l.take(ctx, places); err != nil {
			return nil, err
		}
		// While that was waited for, the host may have changed.
		if places, err = r.places(); err == nil && l.covers(places) {
			r.held = l
			return func() { r.held = nil; l.release() }, nil
		}
		l.release()
		if err != nil {
			return nil, err
		}
	}
}

func newLocks(root, group, deployment string, log *zap.Logger) *locks {
	if log == nil {
		log = zap.NewNop()
	}
	who := "deployment " + deployment + " of deployment group " + group
	if deployment == "" {
		who = "a command for deployment group " + group
	}
	return &locks{dir: filepath.Join(stateDir(root), "locks"), held: map[string]*os.File{}, text: fmt.Sprintf("%s, process %d\n", who, os.Getpid()), log: log}
}

// take locks places, and gives back what it has locked on an error.
func (l *locks) take(ctx context.Context, places []string) error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return fmt.Errorf("lock the places to install to: %w", err)
	}
	places = coarsen(places)
	for _, name := range lockNames(places) {
		if err := l.one(ctx, name, slices.Contains(places, name)); err != nil {
			l.release()
			return err
		}
	}
	l.places = places
	return nil
}

// one takes one lock, and waits for it.
func (l *locks) one(ctx context.Context, name string, exclusive bool) error {
	tick := time.NewTicker(lockTick)
	defer tick.Stop()
	for waited := false; ; waited = true {
		err := l.try(name, exclusive)
		busy, isBusy := errors.AsType[*busyError](err)
		switch {
		case !isBusy:
			return err
		case !waited:
			l.log.Info("installation waits for another one", zap.String("path", name), zap.String("other", busy.who))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of another installation: %w: %w", err, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// busyError means that a lock is taken.
type busyError struct{ name, who string }

func (e *busyError) Error() string {
	if group, ok := strings.CutPrefix(e.name, groupLock); ok {
		return fmt.Sprintf("deployment group %s is taken by %s", group, e.who)
	}
	return fmt.Sprintf("%s is taken by %s", e.name, e.who)
}

// try takes one lock if it is free, else the error is a *busyError. One that is held already is made exclusive if need be.
func (l *locks) try(name string, exclusive bool) error {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	sum := sha256.Sum256([]byte(name))
	path := filepath.Join(l.dir, hex.EncodeToString(sum[:16]))
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return fmt.Errorf("lock %s: %w", name, err)
		}
		if err := flock(f, how); err != nil {
			who := holder(f)
			f.Close()
			if is(err, unix.EWOULDBLOCK) {
				return &busyError{name, who}
			}
			return fmt.Errorf("lock %s: %s: %w", name, path, err)
		}
		if isStill(f, path) { // else whoever had it has removed it
			_, _ = f.WriteAt([]byte(l.text), 0) // for others to read, and no more than that
			_ = f.Truncate(int64(len(l.text)))
			l.held[name] = f
			return nil
		}
		f.Close()
	}
}

func flock(f *os.File, how int) error {
	_, err := ignoringEINTR(func() (int, error) { return 0, unix.Flock(int(f.Fd()), how|unix.LOCK_NB) })
	return err
}

// isStill reports whether a path is still that of an open file.
func isStill(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Lstat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

func holder(f *os.File) string {
	buf := make([]byte, 512)
	n, _ := f.ReadAt(buf, 0)
	line, _, _ := bytes.Cut(buf[:n], []byte("\n"))
	if len(line) == 0 {
		return "another installation"
	}
	return string(line)
}

// release gives up all. A file that nobody else has locked goes: whoever has opened it meanwhile finds that out.
func (l *locks) release() {
	for name, f := range l.held {
		if flock(f, unix.LOCK_EX) == nil && isStill(f, f.Name()) {
			_ = os.Remove(f.Name())
		}
		f.Close()
		delete(l.held, name)
	}
	l.places = nil
}

// covers reports whether places are locked.
func (l *locks) covers(places []string) bool {
	return !slices.ContainsFunc(places, func(p string) bool { return !l.covered(p) })
}

func (l *locks) covered(place string) bool {
	return slices.ContainsFunc(l.places, func(p string) bool { return isBelow(place, p) })
}

// isBelow reports whether a path is another one or below it.
func isBelow(path, top string) bool { return path == top || strings.HasPrefix(path, below(top)) }

// extend locks more places at once, or not at all: to wait for them out of order could be for ever. After an error nothing may be
// installed.
func (l *locks) extend(places []string) error {
	all := coarsen(append(slices.Clone(l.places), places...))
	for _, name := range lockNames(all) {
		exclusive := slices.Contains(all, name)
		var err error
		switch f := l.held[name]; {
		case f == nil:
			err = l.try(name, exclusive)
		case exclusive && !slices.Contains(l.places, name) && flock(f, unix.LOCK_EX) != nil:
			err = &busyError{name, holder(f)}
		}
		if err != nil {
			return fmt.Errorf("a link leads the installation to another place: %w: try again later", err)
		}
	}
	l.places = all
	return nil
}

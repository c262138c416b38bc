package hooks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Start writes the order into the run folder and starts the shim, which does the rest. It returns as soon as the shim has
// what it needs; only a folder that cannot be written or a shim that cannot be started is an error here, and then nothing has
// run. Everything about the script itself, such as its being missing, is told by the Result. ErrStarted: the folder has
// been used; Attach to it.
func (r *Runner) Start(ctx context.Context, s Script) (*Run, error) {
	s, err := s.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if len(r.Shim) == 0 {
		return nil, fmt.Errorf("start script %s: no command line for the shim", s.Name)
	}
	lock, err := s.occupy()
	if err != nil {
		return nil, fmt.Errorf("start script %s: %w", s.Name, err)
	}
	defer lock.Close() // the shim has its own by then
	run, err := r.follow(s.Dir)
	if err == nil {
		err = r.launch(ctx, s, lock)
	}
	if err != nil {
		return nil, fmt.Errorf("start script %s: %w", s.Name, err)
	}
	return run, nil
}

// occupy makes the run folder and takes its lock, which the shim inherits: there is no moment at which a run that may begin
// is not locked.
func (s Script) occupy() (*os.File, error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(s.Dir, lockFile), os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = s.claim(lock)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// claimTime is for a lock that is free but not seen so yet: a process that is being started elsewhere in this program has all
// descriptors for the moment until it executes its own program, and with them a lock that was left.
const claimTime = 500 * time.Millisecond

// claim takes the lock of a run that has not begun.
func (s Script) claim(lock *os.File) error {
	for tried := time.Now(); ; time.Sleep(claimTime / 100) {
		if err := s.unused(); err != nil {
			return err
		}
		err := flock(lock, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return s.unused() // again, now that nobody can change it
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		if time.Since(tried) > claimTime {
			return fmt.Errorf("%w: %s", ErrStarted, lock.Name())
		}
	}
}

func (s Script) unused() error {
	for _, name := range []string{startedFile, resultFile} {
		if path := filepath.Join(s.Dir, name); exists(path) {
			return fmt.Errorf("%w: %s", ErrStarted, path)
		}
	}
	return nil
}

// launch gives the order to the shim that waits, or to one that is started for it. If it returns an error nothing has begun.
func (r *Runner) launch(ctx context.Context, s Script, lock *os.File) error {
	if w := r.takeReady(); w != nil {
		err := r.entrust(ctx, w, s, lock)
		if !errors.Is(err, errDeaf) {
			return err
		}
		r.log().Debug("the shim that waited has ended", zap.String("script", s.Name), zap.Error(err))
	}
	w, err := r.newShim(lock)
	if err != nil {
		return err
	}
	return r.entrust(ctx, w, s, lock)
}

// entrust tells a shim all it needs. On an error the shim ends without having begun.
func (r *Runner) entrust(ctx context.Context, w *waiting, s Script, lock *os.File) error {
	b := brief{Dir: s.Dir, Redact: s.Redact, Place: w.place}
	defer func() {
		w.tell.Close() // which is the end of the order
		go r.bury(w, s.Name, b.Place)
		time.AfterFunc(renewPause, r.renew)
	}()
	// The order is written while a shim that is new comes up: it reads it once it has been told all the rest. The folder is synced
	// by the shim, before the script begins.
	if err := place(s.Dir, runFile, order{Version: recordVersion, Script: s}); err != nil {
		return err
	}
	b.Place, b.Notes = r.enter(ctx, w, Entrant{Name: s.runName(), Shim: w.process.Pid, Limits: s.Limits}, s.Name)
	message, err := encodeBrief(b, s.Env)
	if err != nil {
		return err
	}
	if err := w.order(message, lock); err != nil {
		return fmt.Errorf("%w: %w (%s)", errDeaf, err, lastWords(s.Dir))
	}
	return nil
}

// bury waits for the shim, which may outlast the run by as long as a left-over process writes.
func (r *Runner) bury(w *waiting, script string, p Place) {
	state, err := w.process.Wait()
	if err != nil || !state.Success() {
		r.log().Warn("shim ended badly", zap.String("script", script), zap.Stringer("state", state), zap.Error(err))
	}
	if r.Container == nil || p.Kind == PlaceNone {
		return
	}
	if err := r.Container.Leave(p); err != nil {
		r.log().Debug("container not tidied up", zap.String("script", script), zap.Error(err))
	}
}

// Attach takes over the run of a folder, whoever started it. ErrNotStarted: nothing ran and nothing will; Start may be
// called. A run whose shim was lost is no error here: its Result is ErrLost.
func (r *Runner) Attach(dir string) (*Run, error) {
	has := func(name string) bool { return exists(filepath.Join(dir, name)) }
	over := func() *Run { return &Run{dir: dir, log: r.log(), released: closed()} }
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err == nil {
		defer lock.Close()
		free, err := tryLock(lock)
		if err != nil {
			return nil, err
		}
		if !free && !has(resultFile) {
			r.log().Debug("run adopted", zap.String("path", dir))
			return r.follow(dir)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("attach to run: %w", err)
	}
	// Looked at after the lock: a shim that let go of it in between has written its result before.
	if has(resultFile) || has(startedFile) {
		return over(), nil
	}
	return nil, fmt.Errorf("%w: %s", ErrNotStarted, dir)
}

// Resume attaches to the run in s.Dir, or starts it if it never was.
func (r *Runner) Resume(ctx context.Context, s Script) (*Run, error) {
	run, err := r.Attach(s.Dir)
	if errors.Is(err, ErrNotStarted) {
		return r.Start(ctx, s)
	}
	return run, err
}

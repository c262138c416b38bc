package hooks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Run is a run under way or over.
type Run struct {
	dir      string
	log      *zap.Logger
	released <-chan struct{} // closed when no shim works on it any more
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// follow watches the lock of a run. The kernel lets go of it with the shim, however that ends.
func (r *Runner) follow(dir string) (*Run, error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("follow run: %w", err)
	}
	released := make(chan struct{})
	// It cannot be called back from there and ends with the run.
	go func() {
		defer close(released)
		defer lock.Close()
		if err := flock(lock, unix.LOCK_SH); err != nil {
			r.log().Error("run cannot be followed", zap.String("path", dir), zap.Error(err))
		}
	}()
	return &Run{dir: dir, log: r.log(), released: released}, nil
}

// Dir is the run folder.
func (r *Run) Dir() string { return r.dir }

// Wait returns the result as soon as there is one. When ctx ends first it returns the cause, and the script goes on under
// its shim. ErrNotStarted: the starter or the shim broke down before the script began; Start may be called. Wait may be called
// again, with the same answer.
func (r *Run) Wait(ctx context.Context) (Result, error) {
	var events chan fsnotify.Event
	var errs chan error
	watch, err := fsnotify.NewWatcher()
	if err == nil {
		// The kernel takes 15 ms to close a watch, more than all the rest of a run: nobody waits for that.
		defer func() { go func() { _ = watch.Close() }() }()
		err = watch.Add(r.dir)
		events, errs = watch.Events, watch.Errors
	}
	if err != nil {
		// The host may be out of watches. The lock goes free right after the result is there.
		r.log.Debug("run folder not watched", zap.String("path", r.dir), zap.Error(err))
	}
	for {
		if res, err := r.read(); err == nil {
			return res, nil
		}
		select {
		case <-ctx.Done():
			return Result{}, context.Cause(ctx)
		case <-r.released:
			return r.final()
		case e := <-events:
			for filepath.Base(e.Name) != resultFile && len(events) > 0 {
				e = <-events
			}
		case err := <-errs: // something may have been missed: look again
			r.log.Debug("events of run folder lost", zap.String("path", r.dir), zap.Error(err))
		}
	}
}

func (r *Run) read() (Result, error) {
	data, err := readRecord(r.dir, resultFile)
	if err != nil {
		return Result{}, err
	}
	return decodeResult(data)
}

// final is the answer when no shim is there any more.
func (r *Run) final() (Result, error) {
	res, readErr := r.read()
	if readErr == nil {
		return res, nil
	}
	data, err := readRecord(r.dir, startedFile)
	if errors.Is(err, fs.ErrNotExist) && errors.Is(readErr, fs.ErrNotExist) {
		return Result{}, fmt.Errorf("%w: %s (%s)", ErrNotStarted, r.dir, lastWords(r.dir))
	}
	f := &Failure{Kind: ErrLost, Script: r.dir}
	if order, err := readRecord(r.dir, runFile); err == nil {
		if s, err := decodeOrder(order); err == nil {
			f.Script, f.RunAs = s.Name, s.RunAs
		}
	}
	res = Result{Script: f.Script, RunAs: f.RunAs, Exit: -1, Err: f}
	switch b, decodeErr := decodeBegan(data); {
	case !errors.Is(readErr, fs.ErrNotExist):
		f.Detail = fmt.Sprintf("may have run, but its result cannot be read: %v", readErr)
	case err != nil || decodeErr != nil:
		f.Detail = "may have run, but what became of it is unknown: the record of its start is damaged"
	case b.BootID != bootID():
		f.Detail = fmt.Sprintf("was started at %s, but the host was restarted before it had ended", b.At.Format("2006-01-02 15:04:05"))
	default:
		f.Detail = fmt.Sprintf("was started at %s, but process %d, which watched over it, was killed (%s); what it had started may still run", b.At.Format("2006-01-02 15:04:05"), b.PID, lastWords(r.dir))
	}
	return res, nil
}

// lastWords is what the shim complained about last.
func lastWords(dir string) string {
	data, err := readRecord(dir, lockFile)
	text := strings.TrimSpace(string(data))
	if err != nil || text == "" {
		return "it left no message"
	}
	// Of a crash the first line says most.
	first, _, _ := strings.Cut(text, "\n")
	return "it said: " + clip(plain([]byte(first)), excerptLine)
}

// Stop asks the shim to end the script now: TERM, grace, KILL. The result is an ErrFailed that says so. Called once more it
// leaves out what is left of the grace. A run that is over is left as it is.
func (r *Run) Stop() error {
	select {
	case <-r.released:
		return nil
	default:
	}
	data, err := readRecord(r.dir, startedFile)
	if err != nil {
		return fmt.Errorf("stop run: %w", err)
	}
	b, err := decodeBegan(data)
	if err != nil {
		return fmt.Errorf("stop run: %w", err)
	}
	if p, _ := readProc(b.PID); p.pid == 0 || p.start != b.StartTime || b.BootID != bootID() {
		return nil // gone, and its number may be another's
	}
	// It may end between the look and the signal.
	if err := unix.Kill(b.PID, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop run: signal shim %d: %w", b.PID, err)
	}
	return nil
}

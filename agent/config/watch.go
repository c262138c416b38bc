package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

const (
	quiet    = 100 * time.Millisecond // an editor's save is several events
	patience = time.Second            // a file that is written to without end is read at least this often
)

// Watch yields a new Config whenever what Load would return changes, and the error (an *InvalidError, or of the
// watching itself) that a change brought: the caller then keeps the values that it has. After an error the next good
// state is yielded even if it equals the last good one.
//
// What is there when Watch is called is the base line, so a caller that calls Watch before Load misses nothing in
// between. Folders are watched, not files, so an atomic replace, a removal and a folder made later are all seen.
// The sequence ends with ctx and may be ranged over once.
func Watch(ctx context.Context, o LoadOptions, log *zap.Logger) (iter.Seq2[*Config, error], error) {
	if log == nil {
		log = zap.NewNop()
	}
	if o.File != "" {
		// Events carry the path that is watched; it has to compare with the file's.
		abs, err := filepath.Abs(o.File)
		if err != nil {
			return nil, fmt.Errorf("watch the configuration: %w", err)
		}
		o.File = abs
	}
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch the configuration: %w", err)
	}
	w := &watcher{options: o, notify: n, log: log}
	if err := w.arm(); err != nil {
		w.close()
		return nil, fmt.Errorf("watch the configuration: %w", err)
	}
	// Who never ranges over the sequence must not leak the watcher.
	context.AfterFunc(ctx, w.close)
	w.last, w.lastErr = Load(o)
	return func(yield func(*Config, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer w.close()
		for range debounce(ctx, w.events(ctx), quiet, patience) {
			if err := w.arm(); err != nil {
				log.Warn("configuration folder not watched", zap.Error(err))
			}
			if c, err, news := w.load(); news && !yield(c, err) {
				return
			}
		}
	}, nil
}

// watcher is the state of one Watch.
type watcher struct {
	options LoadOptions
	notify  *fsnotify.Watcher
	log     *zap.Logger
	last    *Config // the last good one
	lastErr error   // of the last attempt
}

// close may be called twice; what it could say nobody can act on.
func (w *watcher) close() { _ = w.notify.Close() }

// load reads the configuration again and says whether that is news.
func (w *watcher) load() (c *Config, err error, news bool) {
	c, err = Load(w.options)
	switch {
	case err != nil:
		news = w.lastErr == nil || w.lastErr.Error() != err.Error()
	case w.lastErr != nil || w.last == nil:
		news = true
	default:
		news = len(c.changed(w.last, func(*key) bool { return true })) > 0
	}
	w.lastErr = err
	if err == nil {
		w.last = c
	}
	return c, err, news
}

// files are the files that Load would read, whether they exist or not.
func (w *watcher) files() []string {
	s := w.options.sources()
	return append(slices.Clone(s.alternatives), s.file)
}

// folders are what has to be watched for them: the folder of each, and that of its target where it is a link.
func (w *watcher) folders() []string {
	var all []string
	for _, f := range w.files() {
		all = append(all, filepath.Dir(f))
		if real, err := filepath.EvalSymlinks(f); err == nil {
			all = append(all, filepath.Dir(real))
		}
	}
	if d := w.options.sources().dropIns; d != "" {
		all = append(all, d)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// arm watches every folder that exists, and for one that does not its nearest ancestor, to see it made. Watching
// a folder again does nothing; one that was removed and made anew is a new one.
func (w *watcher) arm() error {
	var errs []error
	for _, folder := range w.folders() {
		for {
			err := w.notify.Add(folder)
			if err == nil {
				break
			}
			parent := filepath.Dir(folder)
			if !errors.Is(err, fs.ErrNotExist) && !isNotFolder(folder) || parent == folder {
				errs = append(errs, fmt.Errorf("%s: %w", folder, err))
				break
			}
			folder = parent
		}
	}
	return errors.Join(errs...)
}

func isNotFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// events passes on those events that can change what Load returns.
func (w *watcher) events(ctx context.Context) <-chan struct{} {
	out := make(chan struct{})
	go func() {
		defer close(out)
		for {
			select {
			case e, open := <-w.notify.Events:
				if !open {
					return
				}
				if !w.concerns(e.Name) {
					continue
				}
			case err, open := <-w.notify.Errors:
				if !open {
					return
				}
				// An overflow lost events: read everything again.
				w.log.Warn("configuration events lost", zap.Error(err))
			case <-ctx.Done():
				return
			}
			select {
			case out <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// concerns tells whether an event on a path can matter: it is one of the files or a link's target, a drop-in, or a
// folder on the way to them.
func (w *watcher) concerns(path string) bool {
	s := w.options.sources()
	for _, f := range w.files() {
		if path == f || isBelow(f, path) {
			return true
		}
		if real, err := filepath.EvalSymlinks(f); err == nil && path == real {
			return true
		}
	}
	return s.dropIns != "" && (path == s.dropIns || isBelow(s.dropIns, path) || filepath.Dir(path) == s.dropIns && isDropIn(filepath.Base(path)))
}

// isBelow tells whether path lies in folder or deeper.
func isBelow(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !filepath.IsAbs(rel) && (len(rel) < 3 || rel[:3] != "../")
}

// debounce yields once the events have been quiet for a while, at the latest when patience is over.
func debounce(ctx context.Context, events <-chan struct{}, quiet, patience time.Duration) iter.Seq[struct{}] {
	return func(yield func(struct{}) bool) {
		var first time.Time
		timer := time.NewTimer(0)
		timer.Stop()
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case _, open := <-events:
				if !open {
					return
				}
				if first.IsZero() {
					first = time.Now()
				}
				timer.Reset(min(quiet, max(time.Until(first.Add(patience)), 0)))
			case <-timer.C:
				first = time.Time{}
				if !yield(struct{}{}) {
					return
				}
			}
		}
	}
}

package main

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"slipway/lifecycle"
)

const (
	// followTick is how often it is looked for what the kernel has not told, or could not tell of: the host may be out of watches.
	followTick = 500 * time.Millisecond
	// followLinger is how long a deployment that seems to be over is given for an event that may follow.
	followLinger = 2 * time.Second
)

// follower follows the logs of one deployment, or of all that come.
type follower struct {
	root  string
	only  *lifecycle.Past // nil: all
	logs  map[string]*scriptsLog
	watch *fsnotify.Watcher // nil where there can be none
	out   logSink
	mu    sync.Mutex // held while lines are printed
	seen  [2]stamp   // of what tells of the ends of events
	ended bool       // the deployment seemed to be over when they were looked at
}

// logSink takes the lines of logs.
type logSink interface {
	line(logLine) error
	flush() error
}

// stamp tells one state of a file from another.
type stamp struct {
	at   time.Time
	size int64
}

func stampOf(name string) stamp {
	info, err := os.Stat(name)
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}

// followLogs prints the log of a deployment and goes on until its end or, where none is named, that of ctx.
func (p *program) followLogs(ctx context.Context, root string, k *known, past *lifecycle.Past, named bool, last int, out *logPrinter) error {
	f := newFollower(root, out)
	defer f.close()
	if named {
		f.only = past
	} else if past != nil && k.inHand[past.Deployment] == "" {
		past = nil // what is over is nobody's question
	}
	if err := f.look(func(l *scriptsLog) error {
		if past != nil && l.group == past.Group && l.deployment == past.Deployment {
			return l.begin(last)
		}
		if err := l.begin(-1); err != nil {
			return err
		}
		return l.reader.SkipToEnd()
	}); err != nil {
		return failed(err)
	}
	if err := f.run(ctx); err != nil {
		return failed(err)
	}
	return out.flush()
}

func newFollower(root string, out logSink) *follower {
	f := &follower{root: root, logs: map[string]*scriptsLog{}, out: out}
	if watch, err := fsnotify.NewWatcher(); err == nil {
		f.watch = watch
	}
	return f
}

// catchUp prints what there is by now, of logs that are new too.
func (f *follower) catchUp(ctx context.Context) error {
	if err := f.look(fresh); err != nil {
		return err
	}
	return f.drain(ctx)
}

// run prints until the deployment is over or ctx ends.
func (f *follower) run(ctx context.Context) error {
	tick := time.NewTicker(followTick)
	defer tick.Stop()
	var events chan fsnotify.Event
	var troubles chan error
	if f.watch != nil {
		events, troubles = f.watch.Events, f.watch.Errors
	}
	for {
		over := f.over()
		if err := f.drain(ctx); err != nil {
			return err
		}
		if over || ctx.Err() != nil {
			return nil
		}
		changed := false
		select {
		case <-ctx.Done():
		case <-tick.C:
			changed = true
		case <-troubles: //nolint:errcheck // something may have been missed: it is looked for
			changed = true
		case e := <-events:
			changed = !e.Has(fsnotify.Write)
			for more := true; more; {
				select {
				case e := <-events:
					changed = changed || !e.Has(fsnotify.Write)
				default:
					more = false
				}
			}
		}
		if changed {
			if err := f.look(fresh); err != nil {
				return err
			}
		}
	}
}

// look finds the logs there are, begins with those that are new, and watches where others may turn up.
func (f *follower) look(begin func(*scriptsLog) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	found, err := lifecycle.ScriptsLogs(f.root)
	if err != nil {
		return err
	}
	f.observe(f.root)
	there := map[string]bool{}
	for _, s := range found {
		if f.only != nil && (s.Group != f.only.Group || s.Deployment != f.only.Deployment) {
			continue
		}
		there[s.Path] = true
		logs := filepath.Dir(s.Path)
		for _, dir := range []string{filepath.Dir(filepath.Dir(logs)), filepath.Dir(logs), logs} {
			f.observe(dir)
		}
		if f.logs[s.Path] == nil {
			l := &scriptsLog{group: s.Group, deployment: s.Deployment, path: s.Path}
			f.logs[s.Path] = l
			if err := begin(l); err != nil {
				return err
			}
		}
	}
	for path, l := range f.logs { // a deployment that retention has removed
		if !there[path] && f.only == nil {
			if _, err := l.drain(context.Background(), f.out.line, true); err != nil {
				return err
			}
			l.close()
			delete(f.logs, path)
		}
	}
	return nil
}

// fresh begins with the log of a deployment that has come.
func fresh(l *scriptsLog) error { return l.begin(-1) }

// observe watches a folder, if that is possible. One that is watched already is no trouble.
func (f *follower) observe(dir string) {
	if f.watch != nil {
		_ = f.watch.Add(dir)
	}
}

// drain prints what there is.
func (f *follower) drain(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for more := true; more && ctx.Err() == nil; {
		more = false
		for _, l := range f.logs {
			again, err := l.drain(ctx, f.out.line, false)
			if err != nil {
				return err
			}
			more = more || again
		}
		if err := f.out.flush(); err != nil {
			return err
		}
	}
	return nil
}

// over reports whether the deployment that is followed has ended. What it has said by then is in its log.
func (f *follower) over() bool {
	if f.only == nil {
		return false
	}
	now := [2]stamp{stampOf(filepath.Join(f.root, ".slipway", "history.jsonl")), stampOf(filepath.Join(f.root, statusFile))}
	if now == f.seen && !f.ended {
		return false
	}
	k, err := readKnown(f.root)
	if err != nil {
		return false // it is being written, or another time
	}
	f.seen, f.ended = now, false
	p, err := k.deployment(f.only.Deployment, f.only.Group)
	if err != nil {
		return true // nothing of it is left
	}
	switch word, _ := k.outcome(p); word {
	case outcomeInHand:
		return false
	case outcomeFailed:
		return true
	case outcomeSucceeded:
		f.ended = true
		return lastEvent(p) == lifecycle.AfterAllowTraffic || time.Since(p.Last) > followLinger && !balanced(p)
	}
	for _, o := range k.past {
		if o.Group == p.Group && o.First.After(p.Last) {
			return true // the group has gone on without it
		}
	}
	return false
}

func lastEvent(p *lifecycle.Past) lifecycle.Event { return p.Events[len(p.Events)-1].Event }

// balanced reports whether a deployment began with taking the host out of a balancer, so that it ends with putting it back.
func balanced(p *lifecycle.Past) bool {
	for i := range p.Events {
		if ev := p.Events[i].Event; ev == lifecycle.BeforeBlockTraffic || ev == lifecycle.AfterBlockTraffic {
			return !p.Local
		}
	}
	return false
}

func (f *follower) close() {
	for _, l := range f.logs {
		l.close()
	}
	if f.watch != nil {
		f.watch.Close() //nolint:errcheck // nothing is waited for any more
	}
}

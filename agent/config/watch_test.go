package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"
)

type news struct {
	config *Config
	err    error
}

// watch ranges over a Watch in the background until the test ends.
func watch(t *testing.T, o LoadOptions) func() news {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	seq, err := Watch(ctx, o, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	ch := make(chan news)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c, err := range seq {
			select {
			case ch <- news{c, err}:
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done }) // hangs if the sequence does not end with its context
	return func() news {
		t.Helper()
		select {
		case n := <-ch:
			return n
		case <-time.After(10 * time.Second):
			t.Fatal("no news")
			return news{}
		}
	}
}

func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".tmp", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

func wantRevisions(t *testing.T, n news, want int) {
	t.Helper()
	if n.err != nil || n.config.MaxRevisions != want {
		t.Fatalf("news = %+v, %v; want max_revisions %d", n.config, n.err, want)
	}
}

func TestWatch(t *testing.T) {
	root := t.TempDir()
	path := put(t, root, "etc/slipway/slipway.yml", "max_revisions: 1\n")
	next := watch(t, LoadOptions{Root: root})

	put(t, root, "etc/slipway/slipway.yml", "max_revisions: 2\n") // in place
	wantRevisions(t, next(), 2)
	replace(t, path, "max_revisions: 3\n") // and as editors do it, twice: a watched file would be lost by now
	wantRevisions(t, next(), 3)
	replace(t, path, "max_revisions: 4\n")
	wantRevisions(t, next(), 4)

	replace(t, path, "max_revisions: 5\n")
	wantRevisions(t, next(), 5)

	replace(t, path, "max_revisons: 5\n")
	if n := next(); n.err == nil || !strings.Contains(n.err.Error(), "did you mean max_revisions?") {
		t.Fatalf("news of a bad file = %+v", n)
	} else if _, ok := errors.AsType[*InvalidError](n.err); !ok {
		t.Errorf("error of type %T", n.err)
	}
	replace(t, path, "max_revisions: 5\n") // good again, although equal to the last good one
	wantRevisions(t, next(), 5)

	// A drop-in in a folder that did not exist, and the reference agent's file in one that did not either.
	put(t, root, "etc/slipway/conf.d/a.yml", "max_revisions: 6\n")
	wantRevisions(t, next(), 6)
	if err := os.RemoveAll(filepath.Join(root, "etc/slipway")); err != nil {
		t.Fatal(err)
	}
	wantRevisions(t, next(), 5)
	put(t, root, "etc/codedeploy-agent/conf/codedeployagent.yml", ":max_revisions: 7\n")
	wantRevisions(t, next(), 7)
	put(t, root, "etc/slipway/slipway.yml", "max_revisions: 8\n") // made anew
	wantRevisions(t, next(), 8)
}

// A relative --config, and a link whose target is replaced.
func TestWatchNamedFile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	target := put(t, dir, "real/agent.yml", "max_revisions: 1\n")
	if err := os.Symlink("real/agent.yml", "agent.yml"); err != nil {
		t.Fatal(err)
	}
	next := watch(t, LoadOptions{File: "agent.yml"})
	replace(t, target, "max_revisions: 2\n")
	wantRevisions(t, next(), 2)
	if err := os.Remove("agent.yml"); err != nil {
		t.Fatal(err)
	}
	if n := next(); n.err == nil || !strings.Contains(n.err.Error(), "no such file") {
		t.Fatalf("news of a removed file = %+v", n)
	}
	put(t, dir, "agent.yml", "max_revisions: 3\n")
	wantRevisions(t, next(), 3)
}

// A touch, an equal value, the same mistake again and a neighbour are no news.
func TestWatchNews(t *testing.T) {
	root := t.TempDir()
	path := put(t, root, "etc/slipway/slipway.yml", "max_revisions: 1\n")
	w := &watcher{options: LoadOptions{Root: root}}
	steps := []struct {
		text      string
		news, bad bool
	}{
		{"max_revisions: 1\n", true, false}, // the first is, without a base line
		{"max_revisions: 1\n", false, false},
		{"max_revisions: 1 # comment\nuser: no effect\n", false, false},
		{"max_revisions: 2\n", true, false},
		{"max_revisions: 0\n", true, true},
		{"max_revisions: 0\n", false, true},
		{"max_revisions: x\n", true, true},
		{"max_revisions: 2\n", true, false},
		{"max_revisions: 2\n", false, false},
	}
	for i, step := range steps {
		replace(t, path, step.text)
		if _, err, got := w.load(); got != step.news || (err != nil) != step.bad {
			t.Errorf("step %d: news %v, error %v; want %+v", i, got, err, step)
		}
	}
	for name, want := range map[string]bool{
		"etc/slipway/slipway.yml": true, "etc/slipway": true, "etc": true, "etc/slipway/conf.d": true, "etc/slipway/conf.d/a.yml": true,
		"etc/codedeploy-agent/conf/codedeployagent.yml": true, "opt/codedeploy-agent/conf": true,
		"etc/slipway/slipway.yml.tmp": false, "etc/slipway/conf.d/.a.yml": false, "etc/slipway/conf.d/a.yml~": false, "etc/slipway2": false, "opt/other": false,
	} {
		if got := w.concerns(filepath.Join(root, name)); got != want {
			t.Errorf("concerns(%s) = %v", name, got)
		}
	}
}

// What happens between Watch and the first step of the range is not lost.
func TestWatchBeforeRange(t *testing.T) {
	path := put(t, t.TempDir(), "slipway.yml", "max_revisions: 1\n")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	seq, err := Watch(ctx, LoadOptions{File: path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, path, "max_revisions: 2\n")
	for c, err := range seq {
		wantRevisions(t, news{c, err}, 2)
		return // and the watcher ends with the range
	}
	t.Error("no news")
}

func TestDebounce(t *testing.T) {
	tests := []struct {
		name   string
		events []time.Duration // when
		want   []time.Duration
	}{
		{"one", []time.Duration{0}, []time.Duration{100 * time.Millisecond}},
		{"burst", []time.Duration{0, 50 * time.Millisecond, 90 * time.Millisecond}, []time.Duration{190 * time.Millisecond}},
		{"two apart", []time.Duration{0, 500 * time.Millisecond}, []time.Duration{100 * time.Millisecond, 600 * time.Millisecond}},
		{"without end", every(60*time.Millisecond, 2*time.Second), []time.Duration{time.Second, 2020 * time.Millisecond}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				events := make(chan struct{})
				go func() {
					defer close(events)
					for _, at := range tt.events {
						time.Sleep(time.Until(began.Add(at)))
						events <- struct{}{}
					}
					time.Sleep(time.Hour)
				}()
				var got []time.Duration
				for range debounce(t.Context(), events, quiet, patience) {
					got = append(got, time.Since(began))
				}
				if len(got) != len(tt.want) {
					t.Fatalf("yielded at %v, want %v", got, tt.want)
				}
				for i := range got {
					if got[i] != tt.want[i] {
						t.Errorf("yielded at %v, want %v", got, tt.want)
					}
				}
			})
		})
	}
}

func every(step, until time.Duration) []time.Duration {
	var at []time.Duration
	for d := time.Duration(0); d <= until; d += step {
		at = append(at, d)
	}
	return at
}

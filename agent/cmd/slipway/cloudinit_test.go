package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"slipway/agent"
	"slipway/agent/config"
	"slipway/agent/doctor"
)

func touch(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCloudInitPending(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []string
		want  bool
	}{
		{"none on this host", nil, false},
		{"switched on by its generator, not begun", []string{"enabled"}, true},
		{"begun, on a release without a generator", []string{"status.json"}, true},
		{"switched off", []string{"disabled"}, false},
		{"switched off after it had begun", []string{"disabled", "status.json"}, false},
		{"finished", []string{"enabled", "status.json", "result.json"}, false},
		{"other files", []string{"instance-data.json", "cloud-id"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			touch(t, dir, tt.files...)
			if got := (&cloudInit{dir: dir}).pending(); got != tt.want {
				t.Errorf("pending() = %t, want %t", got, tt.want)
			}
		})
	}
	if (&cloudInit{dir: filepath.Join(t.TempDir(), "absent")}).pending() {
		t.Error("pending without its folder")
	}
	dir := t.TempDir() // the files are links into /var/lib/cloud, whatever has become of that
	touch(t, dir, "enabled")
	if err := os.Symlink("../../var/lib/cloud/data/result.json", filepath.Join(dir, "result.json")); err != nil {
		t.Fatal(err)
	}
	if (&cloudInit{dir: dir}).pending() {
		t.Error("pending though it has left its result")
	}
}

// The real notification: no look but the first would come in time.
func TestCloudInitNotices(t *testing.T) {
	for _, end := range []struct {
		name string
		do   func(dir string) error
	}{
		{"the result is linked", func(dir string) error { return os.Symlink("elsewhere", filepath.Join(dir, "result.json")) }},
		{"it is cleaned away", os.RemoveAll},
	} {
		t.Run(end.name, func(t *testing.T) {
			c := newCloudInit(zap.NewNop())
			c.dir, c.care = t.TempDir(), 24*time.Hour
			touch(t, c.dir, "enabled")
			watched := make(chan struct{})
			real := c.watch
			c.watch = func(dir string) (*fsnotify.Watcher, error) { defer close(watched); return real(dir) }
			done := make(chan error, 1)
			go func() { done <- c.wait(t.Context()) }()
			<-watched
			touch(t, c.dir, "status.json") // no end
			if err := end.do(c.dir); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("wait() = %v", err)
				}
			case <-time.After(time.Minute):
				t.Error("the end was not noticed")
			}
		})
	}
}

// A host without watches looks every second; the bound and the stop hold.
func TestCloudInitUnwatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		touch(t, dir, "enabled")
		c := &cloudInit{dir: dir, care: time.Hour, log: zap.NewNop(), watch: func(string) (*fsnotify.Watcher, error) { return nil, errors.New("too many watches") }}
		began := time.Now()
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Minute, errBootWait)
		defer cancel()
		if err := c.wait(ctx); !errors.Is(err, errBootWait) || time.Since(began) != 5*time.Minute {
			t.Errorf("wait() = %v after %s, want the bound of 5m", err, time.Since(began))
		}
		go func() {
			time.Sleep(89*time.Second + 500*time.Millisecond)
			touch(t, dir, "result.json")
		}()
		began = time.Now()
		if err := c.wait(t.Context()); err != nil || time.Since(began) != 90*time.Second {
			t.Errorf("wait() = %v after %s, want the next look, after 1m30s", err, time.Since(began))
		}
	})
}

func TestBootWait(t *testing.T) {
	dir := t.TempDir()
	touch(t, dir, "enabled")
	for _, tt := range []struct {
		start config.Start
		want  string
	}{
		{config.Start{WaitFor: "cloud-init", Wait: 5 * time.Minute}, "waiting for cloud-init to finish (at most 5m)"},
		{config.Start{WaitFor: "cloud-init", Wait: 90 * time.Second}, "waiting for cloud-init to finish (at most 1m30s)"},
		{config.Start{WaitFor: "cloud-init", Wait: 2 * time.Hour}, "waiting for cloud-init to finish (at most 2h)"},
		{config.Start{WaitFor: "cloud-init"}, ""},
		{config.Start{WaitFor: "off", Wait: 5 * time.Minute}, ""},
	} {
		d := &daemon{cfg: &config.Config{Start: tt.start}}
		if got := d.bootWait(&cloudInit{dir: dir}); got != tt.want {
			t.Errorf("bootWait(%+v) = %q, want %q", tt.start, got, tt.want)
		}
	}
}

// What ends the wait is told, and the stop of the program is no end of it.
func TestAwaitBoot(t *testing.T) {
	dir := t.TempDir()
	touch(t, dir, "status.json")
	boot := newCloudInit(zap.NewNop())
	boot.dir = dir
	log, told := observed()
	d := &daemon{cfg: &config.Config{Start: config.Start{WaitFor: "cloud-init", Wait: 20 * time.Millisecond}}, log: log}
	var states []agent.Status
	publish := func(s agent.Status) { states = append(states, s) }
	if text := d.expectBoot(boot); text != "waiting for cloud-init to finish (at most 20ms)" || *d.waiting.Load() != text {
		t.Errorf("expectBoot() = %q", text)
	}
	if err := d.awaitBoot(t.Context(), boot, publish); err != nil {
		t.Fatal(err)
	}
	if len(states) != 1 || states[0].LinkText != "" || states[0].Link != agent.Connecting || d.waiting.Load() != nil {
		t.Errorf("states: %+v", states)
	}
	if got := told.FilterMessage("cloud-init has not finished in time: commands are taken all the same").Len(); got != 1 {
		t.Errorf("the warning was told %d times", got)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	d.cfg.Start.Wait = time.Hour
	d.expectBoot(boot)
	if err := d.awaitBoot(stopped, boot, publish); !errors.Is(err, errStopped) {
		t.Errorf("awaitBoot() = %v, want errStopped", err)
	}
	touch(t, dir, "result.json")
	before := told.Len()
	if text, err := d.expectBoot(boot), d.awaitBoot(t.Context(), boot, publish); text != "" || err != nil || told.Len() != before {
		t.Errorf("with nothing to wait for: %q, %v, %d lines", text, err, told.Len()-before)
	}
}

// doctor takes an agent that waits for user-data for what it is.
func TestDoctorKnowsTheWait(t *testing.T) {
	root := t.TempDir()
	own := filepath.Join(root, ".slipway")
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(own, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]doctor.Status{"waiting for cloud-init to finish (at most 5m)": doctor.Warn, "no route to host": doctor.Fail} {
		if err := (report{PID: 1, Status: agent.Status{Link: agent.Connecting, LinkText: text}}).save(root); err != nil {
			t.Fatal(err)
		}
		if got := polled(&config.Config{RootDir: root}, true); got.Status != want || !strings.Contains(got.Text, text) || got.Remedy == "" {
			t.Errorf("%s: %+v, want %v", text, got, want)
		}
	}
}

package hooks

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tiny is a file system of a megabyte.
func tiny(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a small tmpfs")
	}
	dir, err := os.MkdirTemp("", "hooks")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A script that fills the disk of the deployment root ends like any other: the result has its room from the start.
func TestScriptFillsTheDisk(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"little output": "cat /dev/zero >$DISK/fill 2>/dev/null\nexit 3\n",
		"much output":   "cat /dev/zero >$DISK/fill 2>/dev/null\nseq -f 'error %f <&>' 20000\nseq -f 'fatal %f <&>' 20000 >&2\nexit 3\n",
		"over time":     "cat /dev/zero >$DISK/fill 2>/dev/null\nsleep 300\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := tiny(t)
			s := write(t, "#!/bin/sh\n"+body)
			s.Dir, s.ScriptsLog, s.Env = filepath.Join(disk, "run"), filepath.Join(disk, "scripts.log"), append(s.Env, "DISK="+disk)
			want := ErrFailed
			if name == "over time" {
				s.Timeout, s.Grace, want = time.Second, -1, ErrTimedOut
			}
			run, err := newRunner(t).Start(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			res, err := run.Wait(ctx)
			if err != nil || !errors.Is(res.Err, want) {
				t.Fatalf("Wait() = %v, %v; want %v", res.Err, err, want)
			}
			if name == "much output" && len(res.Excerpt.Stderr) == 0 {
				t.Error("nothing of the output is told")
			}
		})
	}
}

// One that cannot be begun because the disk is full was certainly not started, and says so.
func TestDiskFullAtTheStart(t *testing.T) {
	t.Parallel()
	disk := tiny(t)
	s := write(t, "#!/bin/sh\ntouch \"$D/ran\"\n")
	s.Dir, s.ScriptsLog = filepath.Join(disk, "run"), ""
	f, err := os.Create(filepath.Join(disk, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, os.Getpagesize())
	var size int64
	for err = nil; err == nil; size += int64(len(page)) {
		_, err = f.WriteAt(page, size)
	}
	// One page is left, for the order.
	if err := f.Truncate(size - 2*int64(len(page))); err != nil {
		t.Fatal(err)
	}
	r := newRunner(t)
	run, err := r.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if res, err := run.Wait(ctx); !errors.Is(err, ErrNotStarted) {
		t.Errorf("Wait() = %v, %v; want ErrNotStarted", res.Err, err)
	}
	if _, err := r.Resume(t.Context(), s); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("once more: %v", err)
	}
	if exists(filepath.Join(base(Script{Dir: s.Path}), "ran")) {
		t.Error("the script ran")
	}
}

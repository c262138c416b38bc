package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// What a process holds stays; what it left, or was killed over, goes at once.
func TestScratch(t *testing.T) {
	at := t.TempDir()
	s, err := NewScratch(at, ".scratch-")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(s.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("it is %v, %v", info, err)
	}
	for name, content := range map[string]string{".scratch-1/bundle/file": "x", ".other-1/file": "x", ".scratch-file": "x"} {
		file := filepath.Join(at, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(".other-1", filepath.Join(at, ".scratch-link")); err != nil {
		t.Fatal(err)
	}
	var told []string
	sweep := func() { SweepScratch(at, ".scratch-", func(dir string) { told = append(told, filepath.Base(dir)) }) }
	sweep()
	there := func(name string) bool {
		_, err := os.Lstat(filepath.Join(at, name))
		return err == nil
	}
	if there(".scratch-1") || fmt.Sprint(told) != "[.scratch-1]" {
		t.Errorf("the dead one is there: %v, told %q", there(".scratch-1"), told)
	}
	for _, name := range []string{filepath.Base(s.Dir), ".other-1/file", ".scratch-file", ".scratch-link"} {
		if !there(name) {
			t.Errorf("%s is gone", name)
		}
	}
	if err := s.Leave(); err != nil {
		t.Error(err)
	}
	sweep()
	if there(filepath.Base(s.Dir)) {
		t.Error("what was left is there")
	}
	if err := s.Remove(); err != nil {
		t.Errorf("Remove of what is gone: %v", err)
	}
	if err := (*Scratch)(nil).Remove(); err != nil {
		t.Errorf("Remove of nothing: %v", err)
	}
	if _, err := NewScratch(filepath.Join(at, "none"), "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("NewScratch in no folder: %v", err)
	}
}

// A process that this one starts does not keep the lock.
func TestScratchOfOneProcess(t *testing.T) {
	at := t.TempDir()
	s, err := NewScratch(at, "s-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if err := s.Leave(); err != nil {
		t.Fatal(err)
	}
	SweepScratch(at, "s-", nil)
	if _, err := os.Lstat(s.Dir); err == nil {
		t.Error("a child of its process keeps the folder")
	}
}

// Those who sweep at every moment never take one that is in use.
func TestScratchBesideSweeps(t *testing.T) {
	at := t.TempDir()
	var makers, sweepers sync.WaitGroup
	over := make(chan struct{})
	for range 2 {
		sweepers.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					SweepScratch(at, "s-", nil)
				}
			}
		})
	}
	began := time.Now()
	for range 4 {
		makers.Go(func() {
			for range 200 {
				s, err := NewScratch(at, "s-")
				if err != nil {
					t.Errorf("after %v: %v", time.Since(began), err)
					return
				}
				if err := os.WriteFile(filepath.Join(s.Dir, "bundle"), nil, 0o600); err != nil {
					t.Error(err)
				}
				if err := s.Remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	makers.Wait()
	close(over)
	sweepers.Wait()
	if left, _ := os.ReadDir(at); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

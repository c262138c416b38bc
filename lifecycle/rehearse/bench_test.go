package rehearse

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// benchHost makes a lower layer of that many files and an upper one in which changed of them have changed, in five ways. No overlay is mounted:
// the scanner reads the two folders alone.
func benchHost(b *testing.B, files, changed int) Layer {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "layers") // tmpfs, as the upper layer of a rehearsal is
	if err != nil {
		dir = b.TempDir()
	}
	b.Cleanup(func() { must(b, os.RemoveAll(dir)) })
	l := Layer{Upper: filepath.Join(dir, "upper"), Lower: filepath.Join(dir, "lower"), At: "/"}
	name := func(i int) string { return fmt.Sprintf("usr/d%03d/file-%06d", i/1000, i) }
	for _, layer := range []string{l.Upper, l.Lower} {
		for i := 0; i < files; i += 1000 {
			must(b, os.MkdirAll(filepath.Dir(filepath.Join(layer, name(i))), 0o755))
		}
	}
	for i := range files {
		must(b, os.WriteFile(filepath.Join(l.Lower, name(i)), []byte("what the host has\n"), 0o644))
	}
	step := files / changed
	for i := range changed {
		path := filepath.Join(l.Upper, name(i*step))
		switch i % 5 {
		case 0: // longer
			must(b, os.WriteFile(path, []byte("what a script has made of it\n"), 0o644))
		case 1: // of the same size
			must(b, os.WriteFile(path, []byte("what the copy has\n"), 0o644))
		case 2: // equal
			must(b, os.WriteFile(path, []byte("what the host has\n"), 0o644))
		case 3:
			must(b, os.WriteFile(path+".new", []byte("new\n"), 0o644))
		case 4:
			if err := unix.Mknod(path, unix.S_IFCHR, 0); err != nil {
				b.Skipf("whiteouts are for root: %v", err)
			}
		}
	}
	return l
}

// What a rehearsal costs at its end on a host of 500,000 files, 5,000 of which it has changed: one Mark, and all changes with their differences.
func BenchmarkScan(b *testing.B) {
	l := benchHost(b, 500_000, 5000)
	for b.Loop() {
		s := NewScanner([]Layer{l}, nil)
		must(b, s.Mark(b.Context(), lifecycle.Install, true))
		list, omitted, err := s.Changes(b.Context(), ChangesOptions{})
		must(b, err)
		if len(list) != 4000 || omitted != 0 {
			b.Fatalf("%d changes, %d omitted", len(list), omitted)
		}
	}
}

// What each event costs: nothing has changed since the last Mark.
func BenchmarkMark(b *testing.B) {
	l := benchHost(b, 5000, 5000)
	s := NewScanner([]Layer{l}, nil)
	must(b, s.Mark(b.Context(), lifecycle.Install, true))
	for b.Loop() {
		must(b, s.Mark(b.Context(), lifecycle.AfterInstall, true))
	}
}

// What is kept in memory of 50,000 changed files.
func BenchmarkMemory(b *testing.B) {
	l := benchHost(b, 50_000, 50_000)
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := NewScanner([]Layer{l}, nil)
		for _, ev := range []lifecycle.Event{lifecycle.BeforeInstall, lifecycle.Install, lifecycle.AfterInstall} {
			must(b, s.Mark(b.Context(), ev, false))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-kept")
		runtime.KeepAlive(s)
	}
}

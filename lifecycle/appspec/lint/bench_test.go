package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkLintBundle looks at a directory of 50,000 files, all of which are installed and selected by permissions. Memory is the most that the
// heap of the process held, beyond what it held before.
func BenchmarkLintBundle(b *testing.B) {
	dir := b.TempDir()
	for i := range 500 {
		sub := filepath.Join(dir, "web", fmt.Sprintf("d%03d", i))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range 100 {
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("file-%03d.html", j)), []byte("x"), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	text := head + "files:\n  - source: /\n    destination: /srv/app\npermissions:\n  - object: /srv/app\n    type: [file]\n    mode: 644\n  - object: /srv/app\n    type: [directory]\n    mode: 755\nhooks:\n  AfterInstall:\n    - location: web/start.sh\n"
	for name, content := range map[string]string{"appspec.yml": text, "web/start.sh": "#!/bin/sh\nset -e\ntrue\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				runtime.ReadMemStats(&now)
				peak.Store(max(peak.Load(), now.HeapInuse))
			}
		}
	}()
	for b.Loop() {
		report, err := Bundle(b.Context(), root.FS(), Options{})
		if err != nil || len(report.Findings) > 0 {
			b.Fatal(report.Findings, err)
		}
	}
	close(done)
	b.ReportMetric(float64(max(peak.Load(), before.HeapInuse)-before.HeapInuse)/(1<<20), "peak-MiB")
}

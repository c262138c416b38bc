package install

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"slipway/lifecycle/appspec"
)

// memoryDir is a new folder on a memory file system where there is one, so that figures compare.
func memoryDir(tb testing.TB) string {
	tb.Helper()
	if info, err := os.Stat("/dev/shm"); err != nil || !info.IsDir() {
		return tb.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "slipway-install-")
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// manyFiles writes a bundle of n small files, a hundred to a folder.
func manyFiles(tb testing.TB, dir string, n int) {
	tb.Helper()
	content := make([]byte, 8192)
	for i := range content {
		content[i] = byte('a' + i%23)
	}
	for i := range n {
		folder := filepath.Join(dir, fmt.Sprintf("part%02d", i/2500), fmt.Sprintf("dir%04d", i/100))
		if i%100 == 0 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				tb.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("file%06d.php", i)), content[:1+i*37%8192], 0o644); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkInstall compares Make and Apply with cp -a of the same bundle, in the same run: first into an empty place, then
// another revision over it, then the same revision again.
func BenchmarkInstall(b *testing.B) {
	for _, n := range []int{10, 5_000, 50_000, 200_000} {
		b.Run(fmt.Sprintf("files=%d", n), func(b *testing.B) {
			base := memoryDir(b)
			archive, root := filepath.Join(base, "archive"), filepath.Join(base, "root")
			manyFiles(b, archive, n)
			spec := &appspec.Spec{Name: "appspec.yml"}
			var first, again, same, cp time.Duration
			rounds := 0
			for b.Loop() {
				rounds++
				dst := filepath.Join(base, "dst")
				spec.Files = []appspec.File{{Source: "/", Destination: dst}}
				r := Request{Spec: spec, Archive: archive, Root: root, Group: "g", Deployment: "d-1"}
				first += timed(b, func() error { return makeAndApply(b.Context(), r) })
				same += timed(b, func() error { return makeAndApply(b.Context(), r) })
				b.StopTimer()
				touchAll(b, archive)
				b.StartTimer()
				again += timed(b, func() error { return makeAndApply(b.Context(), r) })
				b.StopTimer()
				os.RemoveAll(dst)
				os.RemoveAll(root)
				cp += timed(b, func() error { return exec.CommandContext(b.Context(), "cp", "-a", archive, dst).Run() })
				os.RemoveAll(dst)
				b.StartTimer()
			}
			per := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(rounds) }
			b.ReportMetric(per(first), "first-ms")
			b.ReportMetric(per(again), "again-ms")
			b.ReportMetric(per(same), "same-ms")
			b.ReportMetric(per(cp), "cp-ms")
			b.ReportMetric(first.Seconds()/cp.Seconds(), "first/cp")
			b.ReportMetric(again.Seconds()/cp.Seconds(), "again/cp")
			b.ReportMetric(same.Seconds()/cp.Seconds(), "same/cp")
		})
	}
}

func touchAll(tb testing.TB, dir string) {
	now := time.Now()
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chtimes(path, now, now)
	}); err != nil {
		tb.Fatal(err)
	}
}

func makeAndApply(ctx context.Context, r Request) error {
	p, err := Make(ctx, r)
	if err != nil {
		return err
	}
	_, err = p.Apply(ctx)
	return err
}

func timed(tb testing.TB, f func() error) time.Duration {
	tb.Helper()
	began := time.Now()
	if err := f(); err != nil {
		tb.Fatal(err)
	}
	return time.Since(began)
}

// BenchmarkMakeAgain plans the installation of a revision over itself: what a deployment costs that changes nothing.
func BenchmarkMakeAgain(b *testing.B) {
	base := memoryDir(b)
	archive := filepath.Join(base, "archive")
	manyFiles(b, archive, 50_000)
	spec := &appspec.Spec{Name: "appspec.yml", Files: []appspec.File{{Source: "/", Destination: filepath.Join(base, "dst")}}}
	r := Request{Spec: spec, Archive: archive, Root: filepath.Join(base, "root"), Group: "g", Deployment: "d-1"}
	if err := makeAndApply(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Make(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

package bundle

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/lifecycle/bundle/bundletest"
)

// memoryFS is where small-file times mean something; on disks they vary up to ten-fold.
func memoryFS(tb testing.TB) string {
	tb.Helper()
	parent := "/dev/shm"
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "slipway-bundle-*")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func writeArchive(tb testing.TB, name string, write func(io.Writer, iter.Seq[bundletest.Entry]) error, entries iter.Seq[bundletest.Entry]) *os.File {
	tb.Helper()
	f, err := os.Create(name)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w, entries); err != nil {
		tb.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	return f
}

// BenchmarkUnpack compares with the programs that the reference runs, turn by turn on a memory file system. The metric that counts is
// the ratio: ours divided by theirs.
func BenchmarkUnpack(b *testing.B) {
	for _, format := range []struct {
		is     Format
		write  func(io.Writer, iter.Seq[bundletest.Entry]) error
		theirs func(archive, to string) *exec.Cmd
	}{
		{Zip, bundletest.WriteZip, func(archive, to string) *exec.Cmd { return exec.Command("unzip", "-qo", archive, "-d", to) }},
		{Tgz, bundletest.WriteTgz, func(archive, to string) *exec.Cmd { return exec.Command("tar", "-xpszf", archive, "-C", to) }},
		{Tar, bundletest.WriteTar, func(archive, to string) *exec.Cmd { return exec.Command("tar", "-xpsf", archive, "-C", to) }},
	} {
		for _, files := range []int{5_000, 50_000} {
			b.Run(fmt.Sprintf("%s/%d", format.is, files), func(b *testing.B) {
				dir := memoryFS(b)
				archive := writeArchive(b, filepath.Join(dir, "bundle"), format.write, bundletest.Tree(files, "/srv"))
				to := filepath.Join(dir, "to")
				fresh := func() {
					if err := os.RemoveAll(to); err != nil {
						b.Fatal(err)
					}
					if err := os.Mkdir(to, 0o755); err != nil {
						b.Fatal(err)
					}
				}
				var ours, theirs time.Duration
				for b.Loop() {
					b.StopTimer()
					fresh()
					began := time.Now()
					if out, err := format.theirs(archive.Name(), to).CombinedOutput(); err != nil {
						b.Fatalf("%v: %s", err, out)
					}
					theirs += time.Since(began)
					fresh()
					root, err := os.OpenRoot(to)
					if err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					began = time.Now()
					if _, err := Unpack(b.Context(), archive, format.is, root, DefaultLimits); err != nil {
						b.Fatal(err)
					}
					ours += time.Since(began)
					root.Close()
				}
				b.ReportMetric(float64(theirs.Milliseconds())/float64(b.N), "theirs-ms/op")
				b.ReportMetric(float64(ours)/float64(theirs), "ratio")
			})
		}
	}
}

// childEnv tells the test binary to unpack or bring one archive, or to clone one folder, and to say what memory that took.
const childEnv = "SLIPWAY_BUNDLE_TEST_UNPACK"

func TestMain(m *testing.M) {
	if what := os.Getenv(childEnv); what != "" {
		if err := unpackInChild(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func unpackInChild(what string) error {
	format, paths, _ := strings.Cut(what, ":")
	name, to, _ := strings.Cut(paths, ":")
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	if format == "clone" {
		return errors.Join(Clone(context.Background(), name, root), printPeak())
	}
	if strings.HasPrefix(format, "bring-") {
		return bringInChild(format, name, root)
	}
	archive, err := os.Open(name)
	if err != nil {
		return err
	}
	if _, err := Unpack(context.Background(), archive, Format(format), root, DefaultLimits); err != nil {
		return err
	}
	return printPeak()
}

// printPeak prints the most memory that this process had, in KiB.
func printPeak() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		if peak, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			fmt.Println(strings.TrimSuffix(strings.TrimSpace(peak), " kB"))
		}
	}
	return nil
}

// BenchmarkUnpackMemory is the peak of a process that does nothing else: it must not grow with the entries. The test binary itself
// takes some 12 MiB of it.
func BenchmarkUnpackMemory(b *testing.B) {
	for _, c := range []struct {
		format Format
		write  func(io.Writer, iter.Seq[bundletest.Entry]) error
		files  int
	}{
		{Zip, bundletest.WriteZip, 10},
		{Zip, bundletest.WriteZip, 50_000},
		{Zip, bundletest.WriteZip, 200_000},
		{Zip, bundletest.WriteZipZstd, 200_000},
		{Tgz, bundletest.WriteTgz, 50_000},
		{Tgz, bundletest.WriteTgz, 200_000},
	} {
		b.Run(fmt.Sprintf("%s/%d", c.format, c.files), func(b *testing.B) {
			dir := memoryFS(b)
			archive := writeArchive(b, filepath.Join(dir, "bundle"), c.write, bundletest.Tree(c.files, "/srv"))
			to := filepath.Join(dir, "to")
			var peak float64
			for b.Loop() {
				if err := os.RemoveAll(to); err != nil {
					b.Fatal(err)
				}
				if err := os.Mkdir(to, 0o755); err != nil {
					b.Fatal(err)
				}
				peak = max(peak, childPeak(b, string(c.format), archive.Name(), to))
			}
			b.ReportMetric(peak, "peak-MiB")
		})
	}
}

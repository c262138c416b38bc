package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway/lifecycle/bundle/bundletest"
)

// line is a connection of so many bytes per second, which all who write to it share.
type line struct {
	rate float64

	mu   sync.Mutex // guards free
	free time.Time  // when what was written is through
}

// carry returns when so many bytes more are through.
func (l *line) carry(n int) {
	l.mu.Lock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	wait := l.free.Sub(now)
	l.mu.Unlock()
	time.Sleep(wait)
}

// throttled is an answer that goes through a line.
type throttled struct {
	http.ResponseWriter
	line *line
}

func (t throttled) Write(b []byte) (int, error) {
	for at := 0; at < len(b); at += 64 << 10 {
		piece := b[at:min(at+64<<10, len(b))]
		t.line.carry(len(piece))
		if _, err := t.ResponseWriter.Write(piece); err != nil {
			return at, err
		}
	}
	return len(b), nil
}

// serveObject is an S3 with one object, behind a line of so many MiB per second.
func serveObject(b *testing.B, archive *os.File, etag string, rate float64) *httptest.Server {
	l := &line{rate: rate * (1 << 20)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(archive.Name())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer f.Close()
		w.Header().Set("ETag", `"`+etag+`"`)
		http.ServeContent(throttled{w, l}, r, "", time.Time{}, f)
	}))
	b.Cleanup(server.Close)
	return server
}

func benchRevision(endpoint string, format Format) (*Fetcher, Revision) {
	return &Fetcher{S3: NewS3(S3Options{Region: "us-east-1", Endpoint: endpoint})}, Revision{Type: S3, S3: S3Location{Bucket: "b", Key: "k", Format: format}}
}

// md5Of is the ETag of a file.
func md5Of(b *testing.B, f *os.File) string {
	h := sumMD5.make()
	if _, err := io.Copy(h, &source{ctx: b.Context(), ReaderAt: f}); err != nil {
		b.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// cpuTime is what this process has used so far, which says more than the clock where others use the machine as well.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkBring compares bringing a bundle with fetching and unpacking it in turn: benchstat -col /way.
func BenchmarkBring(b *testing.B) {
	for _, c := range []struct {
		format Format
		write  func(io.Writer, iter.Seq[bundletest.Entry]) error
		files  int
		rate   float64
	}{
		{Tgz, bundletest.WriteTgz, 5_000, 100},
		{Tgz, bundletest.WriteTgz, 50_000, 50},
		{Tgz, bundletest.WriteTgz, 50_000, 400},
		{Tar, bundletest.WriteTar, 50_000, 200},
	} {
		dir := memoryFS(b)
		archive := writeArchive(b, filepath.Join(dir, "bundle"), c.write, bundletest.Tree(c.files, "/srv"))
		f, rev := benchRevision(serveObject(b, archive, md5Of(b, archive), c.rate).URL, c.format)
		ways := map[string]func(ctx context.Context, file *os.File, to *os.Root) error{
			"in-turn": func(ctx context.Context, file *os.File, to *os.Root) error {
				if _, err := f.Fetch(ctx, rev, file); err != nil {
					return err
				}
				_, err := Unpack(ctx, file, c.format, to, DefaultLimits)
				return errors.Join(err, Strip(to))
			},
			"at-once": func(ctx context.Context, file *os.File, to *os.Root) error {
				_, _, err := f.Bring(ctx, rev, file, to, DefaultLimits)
				return err
			},
		}
		for _, way := range []string{"in-turn", "at-once"} {
			b.Run(fmt.Sprintf("type=%s/files=%d/rate=%.0f/way=%s", c.format, c.files, c.rate, way), func(b *testing.B) {
				to := filepath.Join(dir, "to")
				var cpu time.Duration
				for b.Loop() {
					b.StopTimer()
					if err := errors.Join(os.RemoveAll(to), os.Mkdir(to, 0o755)); err != nil {
						b.Fatal(err)
					}
					root, err := os.OpenRoot(to)
					if err != nil {
						b.Fatal(err)
					}
					file := archiveFile(b, dir, nil)
					before := cpuTime(b)
					b.StartTimer()
					if err := ways[way](b.Context(), file, root); err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					cpu += cpuTime(b) - before
					root.Close()
					file.Close()
					os.Remove(file.Name())
					b.StartTimer()
				}
				b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-sec/op")
			})
		}
	}
}

// BenchmarkBringMemory is the peak of a process that does nothing but bring one bundle: it grows with neither its size nor its entries.
func BenchmarkBringMemory(b *testing.B) {
	large := func(yield func(bundletest.Entry) bool) {
		data := string(noise(64 << 20))
		for i := range 16 {
			if !yield(bundletest.Entry{Name: fmt.Sprintf("large%d", i), Data: data}) {
				return
			}
		}
	}
	for _, c := range []struct {
		name    string
		format  Format
		write   func(io.Writer, iter.Seq[bundletest.Entry]) error
		entries iter.Seq[bundletest.Entry]
	}{
		{"1GiB", Tar, bundletest.WriteTar, large},
		{"1GiB", Tgz, bundletest.WriteTgz, large},
		{"200000", Tar, bundletest.WriteTar, bundletest.Tree(200_000, "/srv")},
		{"200000", Tgz, bundletest.WriteTgz, bundletest.Tree(200_000, "/srv")},
	} {
		b.Run(fmt.Sprintf("%s/%s", c.format, c.name), func(b *testing.B) {
			dir := memoryFS(b)
			archive := writeArchive(b, filepath.Join(dir, "bundle"), c.write, c.entries)
			address, err := url.Parse(serveObject(b, archive, md5Of(b, archive), 300).URL)
			if err != nil {
				b.Fatal(err)
			}
			to := filepath.Join(dir, "to")
			peak := 0.0
			for b.Loop() {
				if err := errors.Join(os.RemoveAll(to), os.Mkdir(to, 0o755)); err != nil {
					b.Fatal(err)
				}
				peak = max(peak, childPeak(b, "bring-"+string(c.format), address.Port(), to))
			}
			b.ReportMetric(peak, "peak-MiB")
		})
	}
}

// bringInChild is what the test binary does for BenchmarkBringMemory.
func bringInChild(format, port string, to *os.Root) error {
	file, err := os.Create(to.Name() + ".bundle")
	if err != nil {
		return err
	}
	defer file.Close()
	f, rev := benchRevision("http://127.0.0.1:"+port, Format(strings.TrimPrefix(format, "bring-")))
	if _, _, err := f.Bring(context.Background(), rev, file, to, DefaultLimits); err != nil {
		return err
	}
	return printPeak()
}

package main

import (
	"archive/tar"
	"archive/zip"
	"compress/flate"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// BenchmarkBundles is DownloadBundle and Install of bundles of several sizes beside what unzip or tar, and cp, take for the same in the
// same run: the first time, the same again, and another revision over it.
func BenchmarkBundles(b *testing.B) {
	for _, format := range []string{"zip", "tgz"} {
		for _, files := range []int{10, 5_000, 50_000} {
			b.Run(fmt.Sprintf("%s/%d", format, files), func(b *testing.B) {
				h := memoryHost(b, 30*time.Second) // an agent that is idle asks once a second otherwise
				h.putTree("k", format, files, "")
				h.putTree("other", format, files, "another revision\n")
				h.beside(b, format)
			})
		}
		b.Run(format+"/1GB", func(b *testing.B) {
			h := memoryHost(b, 30*time.Second)
			var g errgroup.Group
			for i, key := range []string{"k", "other"} {
				g.Go(func() error { return writeBundle(filepath.Join(h.dir, key+"."+format), h.appspec(), uint64(i), 1<<30) })
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
			h.setGate(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodGet && r.Method != http.MethodHead {
					return false
				}
				w.Header().Set("ETag", strconv.Quote(filepath.Base(r.URL.Path)))
				http.ServeFile(w, r, filepath.Join(h.dir, filepath.Base(r.URL.Path)+"."+format))
				return true
			})
			h.beside(b, format)
		})
	}
}

// beside measures the bundles k and other, as they lie in the host's folder.
func (h *host) beside(b *testing.B, format string) {
	h.firstPoll()
	var tools []time.Duration
	var took [3][]time.Duration
	peak, n := 0.0, 0
	for b.Loop() {
		n++
		tools = append(tools, h.reference("k", format))
		h.clearPeak()
		for i, key := range []string{"k", "k", "other"} {
			took[i] = append(took[i], h.deploy(fmt.Sprintf("d-%d-%d", n, i), key, format))
		}
		peak = max(peak, h.memory("VmHWM"))
		for _, name := range []string{"site", "root/deployment-instructions"} {
			if err := os.RemoveAll(filepath.Join(h.dir, name)); err != nil {
				b.Fatal(err)
			}
		}
	}
	report1(b, "tools-ms", ms(median(tools)))
	for i, name := range []string{"first-ms", "again-ms", "other-ms"} {
		report1(b, name, ms(median(took[i])))
	}
	report1(b, "peak-rss-MiB", peak)
}

// writeBundle writes a bundle with one file of so many bytes that compresses to a half.
func writeBundle(name, appspec string, seed uint64, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if strings.HasSuffix(name, ".zip") {
		w := zip.NewWriter(f)
		w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) { return flate.NewWriter(out, flate.BestSpeed) })
		for _, e := range []struct {
			name    string
			content io.Reader
		}{{"appspec.yml", strings.NewReader(appspec)}, {"content/big", halfRandom(seed, size)}} {
			to, err := w.Create(e.name)
			if err != nil {
				return err
			}
			if _, err := io.Copy(to, e.content); err != nil {
				return err
			}
		}
		return w.Close()
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	for _, e := range []struct {
		name    string
		size    int64
		content io.Reader
	}{{"appspec.yml", int64(len(appspec)), strings.NewReader(appspec)}, {"content/big", size, halfRandom(seed, size)}} {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Mode: 0o644, Size: e.size}); err != nil {
			return err
		}
		if _, err := io.Copy(w, e.content); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return z.Close()
}

// halfRandom is so many bytes of which every second 32 KiB are random.
func halfRandom(seed uint64, size int64) io.Reader {
	block := make([]byte, 64<<10)
	copy(block, strings.Repeat("slipway\n", len(block)/8))
	rng := rand.NewChaCha8([32]byte{byte(seed)})
	rest := block[:0]
	return io.LimitReader(readerFunc(func(p []byte) (int, error) {
		if len(rest) == 0 {
			rng.Read(block[:len(block)/2])
			rest = block
		}
		n := copy(p, rest)
		rest = rest[n:]
		return n, nil
	}), size)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle/bundle/bundletest"
)

// bring brings a revision into a fresh folder.
func bring(t *testing.T, f *Fetcher, rev Revision, limits Limits) (dir string, object Object, stats Stats, err error) {
	t.Helper()
	b := newBench(t, memoryFS(t))
	file := archiveFile(t, t.TempDir(), []byte("what an earlier attempt left"))
	before := b.outside(t)
	object, stats, err = f.Bring(t.Context(), rev, file, b.root, limits)
	if diff := cmp.Diff(before, b.outside(t)); diff != "" {
		t.Errorf("something outside changed (-before +after):\n%s", diff)
	}
	return b.dir, object, stats, err
}

// origin is a place that a revision can come from.
type origin struct {
	name    string
	formats string
	serve   func(t *testing.T, data []byte, format Format) (*Fetcher, Revision)
}

func origins(t *testing.T) []origin {
	s3, n := newStore(t), 0
	return []origin{
		{"S3", "tar tgz zip", func(t *testing.T, data []byte, format Format) (*Fetcher, Revision) {
			n++
			key := fmt.Sprint(n)
			etag := s3.put(key, data)
			f := &Fetcher{S3: NewS3(S3Options{Region: "us-east-1", Endpoint: s3.url, PartSize: 40_000, Concurrency: 3})}
			return f, Revision{Type: S3, S3: S3Location{Bucket: "bundles", Key: key, ETag: etag, Format: format}}
		}},
		{"GitHub", "tar zip", func(t *testing.T, data []byte, format Format) (*Fetcher, Revision) {
			return serveGitHub(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(data) }), octo("", format)
		}},
		{"local", "tar tgz zip", func(t *testing.T, data []byte, format Format) (*Fetcher, Revision) {
			return new(Fetcher), Revision{Type: LocalFile, Local: LocalLocation{Path: archiveFile(t, t.TempDir(), data).Name(), Format: format}}
		}},
	}
}

func serveGitHub(t *testing.T, answer http.HandlerFunc) *Fetcher {
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return &Fetcher{GitHubAPI: server.URL}
}

// I-18 to I-20: what is brought is what fetching, unpacking and stripping one after the other makes, errors included.
func TestBringLikeUnpack(t *testing.T) {
	type archive struct {
		name, format string
		data         func() []byte
	}
	var archives []archive
	for _, row := range bundletest.HostileArchives() {
		archives = append(archives, archive{row.Name, row.Format, row.Data})
	}
	wrapped := bundletest.GitHub("octo", "app", "0123456789abcdef", sample())
	for _, entries := range [][]bundletest.Entry{sample(), wrapped, numberedFiles(500)} {
		for format, pack := range map[string]func(...bundletest.Entry) []byte{"tar": bundletest.Tar, "tgz": bundletest.Tgz, "zip": bundletest.Zip} {
			archives = append(archives, archive{fmt.Sprintf("%s: %d files", format, len(entries)), format, func() []byte { return pack(entries...) }})
		}
		archives = append(archives, archive{fmt.Sprintf("zip, zstd: %d files", len(entries)), "zip", func() []byte { return bundletest.ZipZstd(entries...) }})
	}
	from := origins(t)
	for _, row := range archives {
		t.Run(row.name, func(t *testing.T) {
			data, format := row.data(), Format(row.format)
			b := newBench(t, memoryFS(t))
			wantStats, wantErr := Unpack(t.Context(), archiveFile(t, t.TempDir(), data), format, b.root, hostileLimits)
			if wantErr == nil {
				if err := Strip(b.root); err != nil {
					t.Fatal(err)
				}
			}
			for _, o := range from {
				if !strings.Contains(o.formats, row.format) {
					continue
				}
				f, rev := o.serve(t, data, format)
				dir, object, stats, err := bring(t, f, rev, hostileLimits)
				if wantErr != nil {
					if refused := new(ArchiveError); !errors.As(err, &refused) || refused.Error() != wantErr.Error() {
						t.Errorf("%s: Bring() = %v, want %v", o.name, err, wantErr)
					}
					continue
				}
				if err != nil || stats != wantStats || object.Bytes != int64(len(data)) {
					t.Errorf("%s: Bring() = %+v, %+v, %v, want %+v", o.name, object, stats, err, wantStats)
					continue
				}
				if diff := cmp.Diff(treeOf(t, b.dir), treeOf(t, dir)); diff != "" {
					t.Errorf("%s: content (-unpacked +brought):\n%s", o.name, diff)
				}
				want, got := attributes(t, b.dir), attributes(t, dir)
				for name := range want { // a folder without an entry has the time of the unpacking
					if !strings.Contains(want[name], bundletest.Time.Format(" 2006-")) && !strings.Contains(want[name], " 2001-") {
						want[name], got[name] = "", ""
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: attributes (-unpacked +brought):\n%s", o.name, diff)
				}
			}
		})
	}
}

// I-17: a folder is copied; there is no file.
func TestBringLocalDirectory(t *testing.T) {
	from, _ := unpackInto(t, bundletest.Zip(bundletest.Files(map[string]string{"x/appspec.yml": "a", "x/l": "-> appspec.yml", "x/d/f": "123"})...), Zip)
	b := newBench(t, t.TempDir())
	object, stats, err := new(Fetcher).Bring(t.Context(), Revision{Type: LocalDirectory, Local: LocalLocation{Path: from}}, nil, b.root, DefaultLimits)
	if want := (Stats{Files: 2, Dirs: 2, Links: 1, Bytes: 4}); err != nil || stats != want || object != (Object{}) {
		t.Errorf("Bring() = %+v, %+v, %v, want %+v", object, stats, err, want)
	}
	if diff := cmp.Diff(treeOf(t, from), treeOf(t, b.dir)); diff != "" {
		t.Errorf("content (-from +to):\n%s", diff)
	}
}

// Nothing is begun for what cannot be brought.
func TestBringRefusesToStart(t *testing.T) {
	for says, rev := range map[string]Revision{
		`revision type "Floppy"`:  {Type: "Floppy"},
		`bundle type "rar"`:       {Type: LocalFile, Local: LocalLocation{Path: "/dev/null", Format: "rar"}},
		`bundle type ""`:          {Type: S3, S3: S3Location{Bucket: "b", Key: "k"}},
		"no access to S3":         {Type: S3, S3: S3Location{Bucket: "b", Key: "k", Format: Tar}},
		"no such file":            {Type: LocalFile, Local: LocalLocation{Path: "/nowhere", Format: Tgz}},
		"open the folder to copy": {Type: LocalDirectory, Local: LocalLocation{Path: "/nowhere"}},
	} {
		if _, _, _, err := bring(t, new(Fetcher), rev, DefaultLimits); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Bring() = %v, want it to say %q", err, says)
		}
	}
}

// made waits until a name is there.
func made(t *testing.T, dir, name string) {
	t.Helper()
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Error(err)
		return
	}
	defer w.Close()
	if err := w.Add(dir); err != nil {
		t.Error(err)
		return
	}
	for {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return
		}
		select {
		case <-w.Events:
		case err := <-w.Errors:
			t.Errorf("watch %s: %v", dir, err)
			return
		case <-time.After(20 * time.Second):
			t.Errorf("%s is not there", name)
			return
		}
	}
}

// A tar is unpacked while it arrives: its last part is sent when the first file is there.
func TestBringUnpacksWhileItArrives(t *testing.T) {
	entries := append(bundletest.Files(map[string]string{"first": "1"}), bundletest.Entry{Name: "noise", Data: string(noise(3 * testPart))})
	for format, data := range map[Format][]byte{Tar: bundletest.Tar(entries...), Tgz: bundletest.Tgz(entries...)} {
		t.Run("S3 "+string(format), func(t *testing.T) {
			s := newStore(t)
			s.put("k", data)
			b := newBench(t, memoryFS(t))
			s.meddle = func(_ http.ResponseWriter, r *http.Request, _ int) bool {
				if strings.HasPrefix(r.Header.Get("Range"), fmt.Sprintf("bytes=%d-", 3*testPart)) {
					made(t, b.dir, "first")
				}
				return false
			}
			rev := Revision{Type: S3, S3: S3Location{Bucket: "bundles", Key: "k", Format: format}}
			if _, stats, err := s.fetcher().Bring(t.Context(), rev, archiveFile(t, t.TempDir(), nil), b.root, DefaultLimits); err != nil || stats.Files != 2 {
				t.Errorf("Bring() = %+v, %v", stats, err)
			}
		})
		t.Run("GitHub "+string(format), func(t *testing.T) {
			b := newBench(t, memoryFS(t))
			f := serveGitHub(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Write(data[:testPart])
				w.(http.Flusher).Flush()
				made(t, b.dir, "first")
				w.Write(data[testPart:])
			})
			object, stats, err := f.Bring(t.Context(), octo("", Tar), archiveFile(t, t.TempDir(), nil), b.root, DefaultLimits)
			if err != nil || stats.Files != 2 || !strings.HasPrefix(object.Sum, "sha256:") {
				t.Errorf("Bring() = %+v, %+v, %v", object, stats, err)
			}
		})
	}
}

// script is GitHub inside a bubble, which ends only when no goroutine is left: it answers each request with the next body.
type script struct {
	bodies  []func(io.Writer) error
	n       int
	senders sync.WaitGroup
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	body := s.bodies[min(s.n, len(s.bodies)-1)]
	s.n++
	if body == nil {
		return respond(r, 404, ""), nil
	}
	res := respond(r, 200, "")
	from, to := io.Pipe()
	context.AfterFunc(r.Context(), func() { to.CloseWithError(context.Cause(r.Context())) })
	s.senders.Go(func() { to.CloseWithError(body(to)) })
	res.Body = from
	return res, nil
}

// sends is a body: all of it, and then the error. In the middle and before the end it waits until all that can be unpacked is.
func sends(data []byte, then error) func(io.Writer) error {
	return func(w io.Writer) error {
		for _, half := range [][]byte{data[:len(data)/2], data[len(data)/2:]} {
			if _, err := w.Write(half); err != nil {
				return err
			}
			synctest.Wait()
		}
		return then
	}
}

// Each way in which a download can go wrong half-way, and in which its content can.
func TestBringHalfWay(t *testing.T) {
	good := bundletest.Tgz(append(numberedFiles(300), bundletest.Entry{Name: "noise", Data: string(noise(400_000))})...)
	other := bundletest.Tar(append(bundletest.Files(map[string]string{"other/closed/f": "x", "f1/f": "a folder", "l": "-> f2"}), bundletest.Entry{Name: "noise", Data: string(noise(300_000))})...)
	hostile := bundletest.Tar(append(bundletest.Files(map[string]string{"a": "x", "b/../../evil": "x"}), bundletest.Entry{Name: "noise", Data: string(noise(300_000))})...)
	reset, because := errors.New("connection reset by peer"), errors.New("the agent is stopping")
	bomb := bundletest.Tar(bundletest.Entry{Name: "big", Data: strings.Repeat("x", 300_000)})
	for _, c := range []struct {
		name   string
		bodies []func(io.Writer) error
		limits Limits
		stop   bool
		says   string // empty: it succeeds
		is     error
		refuse bool // an ArchiveError
		n      int  // requests
	}{
		{name: "nothing", bodies: []func(io.Writer) error{sends(good, nil)}, n: 1},
		{name: "breaks off, then the same", bodies: []func(io.Writer) error{sends(good[:len(good)/2], reset), sends(good, nil)}, n: 2},
		{name: "breaks off, then another", bodies: []func(io.Writer) error{sends(other[:len(other)-1000], reset), sends(good, nil)}, n: 2},
		{name: "breaks off behind the last entry", bodies: []func(io.Writer) error{sends(other, reset), sends(good, nil)}, n: 2},
		{name: "breaks off three times", bodies: []func(io.Writer) error{sends(good[:10], reset), sends(other[:9000], reset), sends(hostile, reset), sends(good, nil)}, n: 4},
		{name: "always breaks off", bodies: []func(io.Writer) error{sends(good[:len(good)/2], reset)}, says: "connection reset by peer", is: reset, n: 4},
		{name: "breaks off, then is gone", bodies: []func(io.Writer) error{sends(good[:len(good)/2], reset), nil}, says: "404", n: 2},
		{name: "hostile", bodies: []func(io.Writer) error{sends(hostile, nil)}, says: "climbs", refuse: true, n: 1},
		{name: "hostile, and breaks off for good", bodies: []func(io.Writer) error{sends(hostile, reset)}, says: "connection reset", is: reset, n: 4},
		{name: "hostile, breaks off, then good", bodies: []func(io.Writer) error{sends(hostile, reset), sends(good, nil)}, n: 2},
		{name: "cut off and complete", bodies: []func(io.Writer) error{sends(good[:len(good)/2], nil)}, says: "is cut off", refuse: true, n: 1},
		{name: "over the limits", bodies: []func(io.Writer) error{sends(bomb, reset)}, limits: Limits{MaxSize: 1000}, says: "limits.max_size", refuse: true, n: 1},
		{name: "the agent stops", bodies: []func(io.Writer) error{sends(good, nil)}, stop: true, says: "stopping", is: because, n: 1},
		{name: "the agent stops in a pause", bodies: []func(io.Writer) error{sends(good[:100], reset)}, stop: true, says: "stopping", is: because, n: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, memoryFS(t))
			file := archiveFile(t, t.TempDir(), nil)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if c.stop {
					time.AfterFunc(5*time.Second, func() { cancel(because) })
				}
				s := &script{bodies: c.bodies}
				if c.name == "the agent stops" {
					s.bodies = []func(io.Writer) error{func(w io.Writer) error {
						w.Write(good[:len(good)/2])
						<-ctx.Done()
						return io.ErrUnexpectedEOF
					}}
				}
				object, _, err := (&Fetcher{HTTP: &http.Client{Transport: s}}).Bring(ctx, octo("", Tar), file, b.root, c.limits)
				s.senders.Wait()
				if s.n != c.n {
					t.Errorf("%d requests, want %d", s.n, c.n)
				}
				if c.says != "" {
					if err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) || c.refuse != errors.As(err, new(*ArchiveError)) {
						t.Errorf("Bring() = %v, want it to say %q", err, c.says)
					}
					return
				}
				if err != nil || object.Bytes != int64(len(good)) {
					t.Errorf("Bring() = %+v, %v", object, err)
				}
				if err := Check(ctx, file, object.Sum); err != nil {
					t.Error(err)
				}
			})
			if c.says != "" {
				return
			}
			want, _ := unpackInto(t, good, Tgz)
			if diff := cmp.Diff(treeOf(t, want), treeOf(t, b.dir)); diff != "" {
				t.Errorf("content (-unpacked +brought):\n%s", diff)
			}
		})
	}
}

// of content that is not the registered one nothing else is said, whatever unpacking it finds first; a bomb alone ends the
// download before that is known.
func TestBringVerifies(t *testing.T) {
	noisy := bundletest.Entry{Name: "noise", Data: string(noise(3 * testPart))}
	good := bundletest.Tgz(append(numberedFiles(10), noisy)...)
	hostile := bundletest.Tar(bundletest.Entry{Name: "../evil", Data: "x"}, noisy)
	flip := func(r *http.Request, _ int, _ http.Header, b *[]byte) {
		if strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") {
			(*b)[len(*b)/2] ^= 1
		}
	}
	for _, c := range []struct {
		name    string
		format  Format
		data    []byte
		asked   string // ETag; empty: the right one
		change  func(r *http.Request, n int, h http.Header, body *[]byte)
		limits  Limits
		says    string
		differs bool
	}{
		{"tampered with, and so corrupt", Tgz, good, "", flip, DefaultLimits, "does not have the checksum", true},
		{"tampered with, and still an archive", Tar, bundletest.Tar(noisy), "", flip, DefaultLimits, "does not have the checksum", true},
		{"tampered with, and hostile", Tar, hostile, "", flip, DefaultLimits, "does not have the checksum", true},
		{"another object, hostile", Tar, hostile, "00112233445566778899aabbccddeeff", nil, DefaultLimits, "has been replaced since", true},
		{"the right one, hostile", Tar, hostile, "", nil, DefaultLimits, "climbs", false},
		{"the right one, of another type", Zip, hostile, "", nil, DefaultLimits, "bundle type tar", false},
		{"over the limits", Tgz, good, "", nil, Limits{MaxFiles: 5}, "limits.max_files", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			etag := s.put("k", c.data)
			if c.asked != "" {
				etag = c.asked
			}
			s.change = c.change
			_, _, _, err := bring(t, s.fetcher(), Revision{Type: S3, S3: S3Location{Bucket: "bundles", Key: "k", ETag: etag, Format: c.format}}, c.limits)
			if err == nil || !strings.Contains(err.Error(), c.says) || errors.Is(err, ErrDiffers) != c.differs || errors.As(err, new(*ArchiveError)) == c.differs {
				t.Errorf("Bring() = %v, want it to say %q and to be ErrDiffers: %v", err, c.says, c.differs)
			}
		})
	}
}

// a bomb that is still arriving is stopped, and its download with it.
func TestBringEndsTheDownloadOfABomb(t *testing.T) {
	gone := make(chan struct{})
	f := serveGitHub(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		w.Write(bundletest.Tar(bundletest.Entry{Name: "big", Data: strings.Repeat("x", 5000)}))
		for r.Context().Err() == nil { // without an end
			w.Write(make([]byte, 64<<10))
			w.(http.Flusher).Flush()
		}
	})
	_, _, _, err := bring(t, f, octo("", Tar), Limits{MaxSize: 4000})
	if !errors.As(err, new(*ArchiveError)) || !strings.Contains(err.Error(), "limits.max_size") {
		t.Errorf("Bring() = %v", err)
	}
	<-gone
}

// The ratio is that of the whole bundle, also where its beginning alone looks like a bomb and its length is not known; and a bomb is
// one, however slowly it comes.
func TestBringRatio(t *testing.T) {
	zeros := bundletest.Entry{Name: "zeros", Data: string(make([]byte, 80<<20))} // some 80 KiB packed
	for _, c := range []struct {
		name  string
		noise int
		says  string
	}{
		{"begins like a bomb", 2 << 20, ""},
		{"is a bomb", 1000, "decompression bomb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := bundletest.Tgz(zeros, bundletest.Entry{Name: "noise", Data: string(noise(c.noise))})
			b := newBench(t, memoryFS(t))
			file := archiveFile(t, t.TempDir(), nil)
			synctest.Test(t, func(t *testing.T) {
				s := &script{bodies: []func(io.Writer) error{func(w io.Writer) error {
					for len(data) > 0 {
						n := min(len(data), 50_000)
						if _, err := w.Write(data[:n]); err != nil {
							return err
						}
						data = data[n:]
						synctest.Wait()
						if info, err := os.Stat(filepath.Join(b.dir, "zeros")); err == nil && info.Size() > 100*(2<<20) {
							t.Errorf("%d bytes were unpacked", info.Size())
						}
					}
					return nil
				}}}
				defer s.senders.Wait()
				_, _, err := (&Fetcher{HTTP: &http.Client{Transport: s}}).Bring(t.Context(), octo("", Tar), file, b.root, Limits{MaxRatio: 100})
				if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
					t.Errorf("Bring() = %v, want it to say %q", err, c.says)
				}
			})
		})
	}
}

// A part of an object that breaks off is read again, and what was unpacked of it stays.
func TestBringPartThatBreaksOff(t *testing.T) {
	data := bundletest.Tgz(append(numberedFiles(50), bundletest.Entry{Name: "noise", Data: string(noise(3 * testPart))})...)
	s := newStore(t)
	etag := s.put("k", data)
	broken := false
	s.meddle = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if broken || !strings.HasPrefix(r.Header.Get("Range"), fmt.Sprintf("bytes=%d-", testPart)) {
			return false
		}
		broken = true
		w.Header().Set("Content-Length", fmt.Sprint(testPart))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", testPart, 2*testPart-1, len(data)))
		w.Header().Set("ETag", `"`+etag+`"`)
		w.WriteHeader(http.StatusPartialContent)
		w.Write(data[testPart : testPart+300_000])
		panic(http.ErrAbortHandler)
	}
	dir, object, _, err := bring(t, s.fetcher(), Revision{Type: S3, S3: S3Location{Bucket: "bundles", Key: "k", ETag: etag, Format: Tgz}}, DefaultLimits)
	if err != nil || object.Sum != "md5:"+etag || !broken {
		t.Fatalf("Bring() = %+v, %v", object, err)
	}
	want, _ := unpackInto(t, data, Tgz)
	if !bytes.Equal([]byte(treeOf(t, want)["noise"]), []byte(treeOf(t, dir)["noise"])) || len(treeOf(t, dir)) != 51 {
		t.Errorf("what was brought differs")
	}
}

package lifecycle

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"slipway/hooks"
	"slipway/lifecycle/bundle"
)

// shimArg makes the test binary a shim.
const shimArg = "hook-shim"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == shimArg {
		os.Exit(hooks.ShimMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// store is a fetcher whose revisions are zips in memory, by key.
type store struct {
	mu      sync.Mutex
	zips    map[string][]byte
	fetched int
	hold    chan struct{} // if not nil, a download waits for it
	fails   error
}

func (s *store) Bring(ctx context.Context, rev bundle.Revision, file *os.File, to *os.Root, limits bundle.Limits) (bundle.Object, bundle.Stats, error) {
	s.mu.Lock()
	s.fetched++
	data, ok := s.zips[rev.S3.Key]
	hold, fails := s.hold, s.fails
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return bundle.Object{}, bundle.Stats{}, context.Cause(ctx)
		}
	}
	if fails != nil || !ok {
		return bundle.Object{}, bundle.Stats{}, fmt.Errorf("no object %s: %w", rev.S3.Key, fails)
	}
	if _, err := file.Write(data); err != nil {
		return bundle.Object{}, bundle.Stats{}, err
	}
	stats, err := bundle.Unpack(ctx, file, bundle.Zip, to, limits)
	sum := sha256.Sum256(data)
	return bundle.Object{ETag: rev.S3.ETag, VersionID: rev.S3.Version, Bytes: int64(len(data)), Sum: "sha256:" + hex.EncodeToString(sum[:])}, stats, err
}

// count is how often something was downloaded.
func (s *store) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetched
}

// bench is one host with an engine.
type bench struct {
	*Engine
	t     *testing.T
	dir   string // the deployment root, and where scripts leave word
	site  string // where revisions are installed
	store *store
	logs  *observer.ObservedLogs
	n     int
}

func newBench(t *testing.T, change func(*Options)) *bench {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	b := &bench{t: t, dir: t.TempDir(), store: &store{zips: map[string][]byte{}}, logs: logs}
	b.site = filepath.Join(b.dir, "site")
	b.open(zap.New(core), change)
	t.Cleanup(func() { b.Close() })
	return b
}

func (b *bench) open(log *zap.Logger, change func(*Options)) {
	b.t.Helper()
	o := Options{
		Root: filepath.Join(b.dir, "root"), Fetcher: b.store, Runner: &hooks.Runner{Shim: []string{"/proc/self/exe", shimArg}}, Log: log,
		Settings: Settings{PreflightWait: waitLong, Environ: append(os.Environ(), "OUT="+b.dir), ReuseArchives: true},
	}
	if change != nil {
		change(&o)
	}
	e, err := Open(b.t.Context(), o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Engine = e
}

// appspecOf installs content to the site and runs each script, named as "Event=script", which leaves its event in the file proof.
func (b *bench) appspecOf(scripts ...string) string {
	text := "version: 0.0\nos: linux\nfiles:\n  - source: content\n    destination: " + b.site + "\n"
	if len(scripts) > 0 {
		text += "hooks:\n"
	}
	for _, s := range scripts {
		event, name, _ := strings.Cut(s, "=")
		text += fmt.Sprintf("  %s:\n    - location: %s\n", event, name)
	}
	return text
}

const proofScript = "#!/bin/sh\necho \"$LIFECYCLE_EVENT $DEPLOYMENT_ID\" >>\"$OUT/proof\"\n"

// put stores a revision: files by name.
func (b *bench) put(key string, files map[string]string) {
	b.t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o755)
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = f.Write([]byte(files[name]))
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.store.mu.Lock()
	b.store.zips[key] = buf.Bytes()
	b.store.mu.Unlock()
}

// spec is the specification of a deployment of a stored revision.
func (b *bench) spec(id, key string, change ...func(map[string]any)) []byte {
	m := minimal()
	m["DeploymentId"] = id
	m["Revision"] = map[string]any{"RevisionType": "S3", "S3Revision": map[string]any{"Bucket": "b", "Key": key, "BundleType": "zip", "ETag": key + "-etag"}}
	for _, f := range change {
		f(m)
	}
	return specification(b.t, m)
}

// do carries out one event of a deployment.
func (b *bench) do(ev Event, spec []byte) Result {
	b.t.Helper()
	b.n++
	ticket, err := b.Accept(fmt.Sprintf("command-%d", b.n), "x", ev, spec)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := ticket.Begin(); err != nil {
		b.t.Fatal(err)
	}
	r := b.Run(b.t.Context(), ticket)
	if !r.Suspended() {
		if err := ticket.Finish(r); err != nil {
			b.t.Fatal(err)
		}
		if err := ticket.Close(); err != nil {
			b.t.Fatal(err)
		}
	}
	return r
}

// deploy carries out events that must succeed.
func (b *bench) deploy(spec []byte, list ...Event) {
	b.t.Helper()
	for _, ev := range list {
		if r := b.do(ev, spec); r.Code != Succeeded || r.Err != nil {
			b.t.Fatalf("%s = %+v", ev, r)
		}
	}
}

func (b *bench) read(name string) string {
	data, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		return ""
	}
	return string(data)
}

package agent

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
	"slipway/hooks"
	"slipway/lifecycle"
	"slipway/lifecycle/bundle"
)

// The test binary is its own shim.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "hook-shim" {
		os.Exit(hooks.ShimMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}

const hostID = "arn:aws:ec2:us-east-1:111122223333:instance/i-0123456789abcdef0"

// shelf serves bundles by S3 key.
type shelf struct {
	mu      sync.Mutex
	bundles map[string][]byte
	fetched int
	gate    func() // is called before a bundle is handed out; nil: nothing
}

func (s *shelf) put(key string, files map[string]string) {
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o755)
		w, err := z.CreateHeader(h)
		if err == nil {
			_, err = w.Write([]byte(files[name]))
		}
		if err != nil {
			panic(err)
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bundles[key] = buf.Bytes()
}

func (s *shelf) Bring(ctx context.Context, rev bundle.Revision, file *os.File, to *os.Root, limits bundle.Limits) (bundle.Object, bundle.Stats, error) {
	if s.gate != nil {
		s.gate()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetched++
	data, ok := s.bundles[rev.S3.Key]
	if !ok {
		return bundle.Object{}, bundle.Stats{}, fmt.Errorf("no such key %s", rev.S3.Key)
	}
	if _, err := file.Write(data); err != nil {
		return bundle.Object{}, bundle.Stats{}, err
	}
	stats, err := bundle.Unpack(ctx, file, rev.Format(), to, limits)
	return bundle.Object{ETag: "etag", Bytes: int64(len(data))}, stats, err
}

// rig is one host with its command service.
type rig struct {
	t       *testing.T
	dir     string // scratch: root, where files are installed, what scripts write
	service *controltest.Server
	url     string
	shelf   *shelf
	trust   *control.Trust
	logs    *observer.ObservedLogs
	log     *zap.Logger
	stop    func() // ends the running agent and waits for it
}

func newRig(t *testing.T) *rig {
	t.Helper()
	service, err := controltest.New(controltest.Options{Region: "us-east-1", Keys: map[string]string{"AKIDEXAMPLE": "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	url, err := service.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { service.Close() })
	trust, err := control.NewTrust(control.TrustOptions{Signer: "integrity"})
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.DebugLevel)
	r := &rig{t: t, dir: t.TempDir(), service: service, url: url, shelf: &shelf{bundles: map[string][]byte{}}, trust: trust, logs: logs, log: zap.New(core)}
	t.Cleanup(func() {
		r.halt()
		if t.Failed() {
			for _, e := range logs.All() {
				t.Logf("%s %s %s %v", e.Level, e.LoggerName, e.Message, e.ContextMap())
			}
		}
	})
	return r
}

func (r *rig) root() string { return filepath.Join(r.dir, "root") }

// start starts an agent as a process would: open the root, recover, poll.
func (r *rig) start() *Agent {
	r.t.Helper()
	client, err := control.NewHTTPClient(control.HTTPOptions{ReadTimeout: 5 * time.Second, Getenv: func(string) string { return "" }})
	if err != nil {
		r.t.Fatal(err)
	}
	commands, err := control.New(control.Options{
		Endpoint: r.url, Region: "us-east-1", HostID: hostID, Version: "TEST_1", HTTP: client, Log: r.log,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	engine, err := lifecycle.Open(r.t.Context(), lifecycle.Options{
		Root: r.root(), Fetcher: r.shelf, Log: r.log,
		Runner: &hooks.Runner{Shim: []string{"/proc/self/exe", "hook-shim"}, Log: r.log},
		Settings: lifecycle.Settings{
			Limits: bundle.DefaultLimits, Environ: []string{"PATH=" + os.Getenv("PATH"), "OUT=" + r.dir}, Grace: 200 * time.Millisecond,
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	a := New(Options{Commands: commands, Engine: engine, Trust: r.trust, HostID: hostID, Pace: Pace{Wait: 20 * time.Millisecond}, Log: r.log})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.Run(ctx)
		engine.Close()
	}()
	r.stop = func() { cancel(); <-ended }
	return a
}

func (r *rig) halt() {
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

// spec is a specification of a deployment of an S3 key.
func (r *rig) spec(id, key string, more ...map[string]any) []byte {
	m := map[string]any{
		"DeploymentId": id, "DeploymentGroupId": "group-1", "DeploymentGroupName": "fleet", "ApplicationName": "app",
		"Revision": map[string]any{"RevisionType": "S3", "S3Revision": map[string]any{"Bucket": "b", "Key": key, "BundleType": "zip"}},
	}
	for _, extra := range more {
		maps.Copy(m, extra)
	}
	data, err := json.Marshal(m)
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

// send enqueues a command with a signed specification.
func (r *rig) send(event string, spec []byte) string {
	return r.service.Enqueue(controltest.Command{HostID: hostID, Name: event, Spec: r.service.Sign(spec)})
}

// tampered is a signed specification with one byte of its content changed.
func (r *rig) tampered(spec []byte) control.Envelope {
	r.t.Helper()
	env, err := controltest.TamperContent(r.service.Sign(spec), spec)
	if err != nil {
		r.t.Fatal(err)
	}
	return env
}

// signedBy is a specification signed by another signer.
func (r *rig) signedBy(signer func() (controltest.Signer, error), spec []byte) control.Envelope {
	r.t.Helper()
	s, err := signer()
	if err != nil {
		r.t.Fatal(err)
	}
	env, err := s.Sign(spec)
	if err != nil {
		r.t.Fatal(err)
	}
	return env
}

// await waits for the completion of a command.
func (r *rig) await(id string) controltest.Completion {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	c, err := r.service.Await(ctx, id)
	if err != nil {
		r.t.Fatalf("no completion: %v", err)
	}
	return c
}

// do sends a command and waits for its completion.
func (r *rig) do(event string, spec []byte) controltest.Completion {
	r.t.Helper()
	return r.await(r.send(event, spec))
}

// out is what scripts of this rig left in a file of the scratch folder.
func (r *rig) out(name string) string {
	data, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		return ""
	}
	return string(data)
}

// appspec is one whose files go to dir/site and whose hooks run a script each, as event=script.
func (r *rig) appspec(hooks ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 0.0\nos: linux\nfiles:\n  - source: content\n    destination: %s\nhooks:\n", filepath.Join(r.dir, "site"))
	for _, h := range hooks {
		event, script, _ := strings.Cut(h, "=")
		fmt.Fprintf(&b, "  %s:\n    - location: %s\n      timeout: 10\n", event, script)
	}
	if len(hooks) == 0 {
		b.WriteString("  {}\n")
	}
	return b.String()
}

var sequence = []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService"}

// proof is a script that notes its event.
const proof = "#!/bin/sh\necho \"$LIFECYCLE_EVENT\" >>\"$OUT/proof\"\n"

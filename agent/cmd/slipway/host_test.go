package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"slipway/agent/control/controltest"
	"slipway/lifecycle/rehearse"
)

// The test binary is slipway when this is in its environment, and the shim when it is called as one.
const asSlipway = "SLIPWAY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if rehearse.IsRecorded(os.Args[0]) || len(os.Args) > 1 && slices.Contains([]string{shimVerb, stageVerb, insideVerb}, os.Args[1]) {
		os.Exit(run(os.Args, os.Stdout, os.Stderr))
	}
	if os.Getenv(asSlipway) != "" {
		os.Unsetenv(asSlipway)
		os.Exit(run(os.Args, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

const hostID = "arn:aws:iam::111122223333:user/CodeDeploy/web1"

// host is a machine with the official agent's files on it, the command service and S3 on loopback, and slipway as a process.
type host struct {
	t       testing.TB
	dir     string
	service *controltest.Server
	storage *gofakes3.GoFakeS3
	backend *s3mem.Backend
	s3      *httptest.Server
	gate    func(http.ResponseWriter, *http.Request) bool // sees S3 requests first; true: it has answered
	mu      sync.Mutex                                    // guards gate
	config  string
	binary  string   // slipway itself; the test binary, or SLIPWAY_BINARY, if it is empty
	extra   []string // environment
	cmd     *exec.Cmd
	output  syncBuffer
	exited  chan error
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newHost makes a host whose command service answers polls at once.
func newHost(t testing.TB) *host {
	t.Helper()
	return newHostWith(t, 0)
}

// newHostWith makes a host whose command service holds polls for so long.
func newHostWith(t testing.TB, pollWait time.Duration) *host {
	t.Helper()
	h := &host{t: t, dir: t.TempDir()}
	service, err := controltest.New(controltest.Options{Region: "us-east-1", Keys: map[string]string{"AKIDEXAMPLE": "secret"}, PollWait: pollWait})
	if err != nil {
		t.Fatal(err)
	}
	h.service = service
	url, err := service.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { service.Close() })
	h.backend = s3mem.New()
	h.storage = gofakes3.New(h.backend)
	server := h.storage.Server()
	h.s3 = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		gate := h.gate
		h.mu.Unlock()
		if gate == nil || !gate(w, r) {
			server.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.s3.Close)
	if err := h.backend.CreateBucket("b"); err != nil {
		t.Fatal(err)
	}
	h.file("onprem.yml", "---\nregion: us-east-1\niam_user_arn: "+hostID+"\naws_access_key_id: AKIDEXAMPLE\naws_secret_access_key: secret\n")
	h.config = h.file("codedeployagent.yml", fmt.Sprintf(
		"---\n:log_dir: %[1]s/log\n:pid_dir: %[1]s/pid\n:program_name: codedeploy-agent\n:root_dir: %[1]s/root\n:wait_between_runs: 1\n:on_premises_config_file: %[1]s/onprem.yml\n:deploy_control_endpoint: %[2]s\n:s3_endpoint_override: %[3]s\n",
		h.dir, url, h.s3.URL))
	t.Cleanup(func() {
		h.kill()
		if t.Failed() {
			t.Logf("output of slipway:\n%s", h.output.String())
		}
	})
	return h
}

func (h *host) file(name, content string) string {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return path
}

func (h *host) root() string { return filepath.Join(h.dir, "root") }

// put stores a bundle.
func (h *host) put(key string, data []byte) {
	h.t.Helper()
	if _, err := h.backend.PutObject("b", key, map[string]string{}, bytes.NewReader(data), int64(len(data)), nil); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) setGate(g func(http.ResponseWriter, *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gate = g
}

// program is slipway with arguments, in this host's environment.
func (h *host) program(args ...string) *exec.Cmd {
	binary := "/proc/self/exe"
	if b := os.Getenv("SLIPWAY_BINARY"); b != "" {
		binary = b
	}
	if h.binary != "" {
		binary = h.binary
	}
	cmd := exec.Command(binary, args...)
	cmd.Args[0] = "slipway"
	cmd.Env = append([]string{asSlipway + "=1", "PATH=" + os.Getenv("PATH"), "OUT=" + h.dir, "SLIPWAY_LISTEN=127.0.0.1:0", "GORACE=atexit_sleep_ms=0", "SLIPWAY_HOOKS_GRACE=200ms"}, h.extra...)
	return cmd
}

func (h *host) start() {
	h.t.Helper()
	h.startWith(&h.output)
}

// startWith starts slipway with its output somewhere else.
func (h *host) startWith(output io.Writer) {
	h.t.Helper()
	h.cmd = h.program("run", "--config", h.config)
	h.cmd.Stdout, h.cmd.Stderr = output, output
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan error) { exited <- cmd.Wait() }(h.cmd, h.exited)
}

// kill is kill -9 of the agent alone: its scripts go on.
func (h *host) kill() {
	if h.cmd == nil {
		return
	}
	h.cmd.Process.Kill()
	<-h.exited
	h.cmd = nil
}

// stop is SIGTERM; it returns how long the agent took to leave.
func (h *host) stop() time.Duration {
	h.t.Helper()
	began := time.Now()
	h.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-h.exited:
		if err != nil {
			h.t.Errorf("slipway ended with %v after SIGTERM", err)
		}
	case <-time.After(30 * time.Second):
		h.t.Fatal("slipway does not stop")
	}
	h.cmd = nil
	return time.Since(began)
}

func (h *host) spec(id, key, format string) []byte {
	data, err := json.Marshal(map[string]any{
		"DeploymentId": id, "DeploymentGroupId": "group-1", "DeploymentGroupName": "fleet", "ApplicationName": "app",
		"Revision": map[string]any{"RevisionType": "S3", "S3Revision": map[string]any{"Bucket": "b", "Key": key, "BundleType": format}},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return data
}

func (h *host) send(event string, spec []byte) string {
	return h.service.Enqueue(controltest.Command{HostID: hostID, Name: event, Spec: h.service.Sign(spec)})
}

func (h *host) await(id string) controltest.Completion {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, err := h.service.Await(ctx, id)
	if err != nil {
		h.t.Fatalf("no completion: %v", err)
	}
	return c
}

func (h *host) do(event string, spec []byte) controltest.Completion {
	h.t.Helper()
	return h.await(h.send(event, spec))
}

// acknowledged waits until a command was acknowledged.
func (h *host) acknowledged(id string) {
	h.t.Helper()
	h.eventually("the command is acknowledged", func() bool { s, _ := h.service.State(id); return s.Acks > 0 })
}

func (h *host) eventually(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			h.t.Fatalf("not seen: %s", what)
		}
	}
}

func (h *host) read(name string) string {
	data, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		return ""
	}
	return string(data)
}

func (h *host) appspec(hooks ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 0.0\nos: linux\nfiles:\n  - source: content\n    destination: %s/site\nhooks:\n", h.dir)
	for _, hook := range hooks {
		event, script, _ := strings.Cut(hook, "=")
		fmt.Fprintf(&b, "  %s:\n    - location: %s\n      timeout: 60\n", event, script)
	}
	if len(hooks) == 0 {
		b.WriteString("  {}\n")
	}
	return b.String()
}

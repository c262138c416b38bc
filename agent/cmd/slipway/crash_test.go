package main

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

// kill -9 of the real program at each kind of work, and a new start: what happened is reported, once.

func TestKillDuringHook(t *testing.T) {
	t.Parallel()
	for _, ends := range []string{"after the restart", "before the restart"} {
		t.Run(ends, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.put("k", zipped(map[string]string{
				"appspec.yml": h.appspec("AfterInstall=slow.sh"), "content/f": "",
				"slow.sh": "#!/bin/sh\necho begun >>\"$OUT/proof\"\nmkfifo \"$OUT/gate\"\nread line <\"$OUT/gate\"\necho \"$line\" >>\"$OUT/proof\"\nexit 3\n",
			}))
			h.start()
			spec := h.spec("d-1", "k", "zip")
			h.do("DownloadBundle", spec)
			id := h.send("AfterInstall", spec)
			gate := filepath.Join(h.dir, "gate")
			h.eventually("the script runs", func() bool { _, err := os.Stat(gate); return err == nil })
			h.kill()
			open := func() {
				if err := os.WriteFile(gate, []byte("ended\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if ends == "before the restart" {
				open()
				h.eventually("the script ends", func() bool { return h.read("proof") == "begun\nended\n" })
				h.start()
			} else {
				h.start()
				open()
			}
			c := h.once(id, control.Failed)
			if c.Diagnostics.ErrorCode != 4 || c.Diagnostics.ScriptName != "slow.sh" {
				t.Errorf("completion %+v", c)
			}
			if got := h.read("proof"); got != "begun\nended\n" {
				t.Errorf("the script ran twice or not to its end: %q", got)
			}
		})
	}
}

func TestKillDuringInstall(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const files = 1500
	for _, v := range []string{"v1", "v2"} {
		tree := map[string]string{"appspec.yml": h.appspec()}
		for i := range files {
			tree[fmt.Sprintf("content/d%d/f%d", i%30, i)] = fmt.Sprintf("%s %d\n", v, i)
		}
		tree["content/only-"+v] = v
		h.put(v, zipped(tree))
	}
	h.start()
	old := "v1"
	h.do("DownloadBundle", h.spec("d-first", old, "zip"))
	h.do("Install", h.spec("d-first", old, "zip"))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range 12 {
		v := map[string]string{"v1": "v2", "v2": "v1"}[old]
		spec := h.spec(fmt.Sprintf("d-%d", i), v, "zip")
		if c := h.do("DownloadBundle", spec); c.Status != control.Succeeded {
			t.Fatalf("DownloadBundle = %+v", c)
		}
		id := h.send("Install", spec)
		h.acknowledged(id)
		<-time.After(time.Duration(rng.Int64N(int64(150 * time.Millisecond))))
		h.kill()
		h.start()
		h.once(id, control.Succeeded)
		h.whole(v, files)
		old = v
	}
}

// whole checks that the tree is that of one revision and nothing else, and says so.
func (h *host) whole(v string, files int) bool {
	h.t.Helper()
	want := map[string]string{"only-" + v: v}
	for i := range files {
		want[fmt.Sprintf("d%d/f%d", i%30, i)] = fmt.Sprintf("%s %d\n", v, i)
	}
	got := map[string]string{}
	site := filepath.Join(h.dir, "site")
	err := filepath.WalkDir(site, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(site, path)
		got[name] = string(data)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		h.t.Errorf("the tree is not that of %s: %d files, want %d", v, len(got), len(want))
		return false
	}
	return true
}

// The result was known and not yet sent: it is sent by the next process, and the work is not done again.
func TestKillBeforeCompletion(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.put("k", zipped(map[string]string{
		"appspec.yml": h.appspec("AfterInstall=p.sh"), "content/f": "", "p.sh": "#!/bin/sh\necho ran >>\"$OUT/proof\"\n",
	}))
	h.start()
	spec := h.spec("d-1", "k", "zip")
	h.do("DownloadBundle", spec)
	remove := h.service.Inject(controltest.Fault{Operation: "PutHostCommandComplete", Status: http.StatusInternalServerError})
	id := h.send("AfterInstall", spec)
	h.eventually("the completion is tried", func() bool {
		for _, c := range h.service.Calls() {
			if c.Operation == "PutHostCommandComplete" && c.Status == http.StatusInternalServerError {
				return true
			}
		}
		return false
	})
	h.kill()
	remove()
	h.start()
	h.once(id, control.Succeeded)
	if got := h.read("proof"); got != "ran\n" {
		t.Errorf("the script ran again: %q", got)
	}
}

// A completion refused twelve times in a row is still delivered, as Succeeded.
func TestCompletionRefusedTwelveTimes(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.start()
	h.service.Inject(controltest.Fault{Operation: "PutHostCommandComplete", Times: 12, Status: http.StatusServiceUnavailable})
	id := h.send("ApplicationStop", h.spec("d-1", "k", "zip"))
	c := h.once(id, control.Succeeded)
	tries := 0
	for _, call := range h.service.Calls() {
		if call.Operation == "PutHostCommandComplete" && call.Body["HostCommandIdentifier"] == id {
			tries++
		}
	}
	if tries != 13 {
		t.Errorf("%d tries, want 13; completion %+v", tries, c)
	}
}

// once waits for the completion of a command and checks that it was reported once.
func (h *host) once(id string, want control.Status) controltest.Completion {
	h.t.Helper()
	c := h.await(id)
	if c.Status != want {
		h.t.Errorf("completion %+v, want %s", c, want)
	}
	// A later command of the same group is behind anything that could still be sent for this one.
	h.do("ApplicationStop", h.spec("d-later", "k", "zip"))
	if s, _ := h.service.State(id); len(s.Completions) != 1 {
		h.t.Errorf("reported %d times", len(s.Completions))
	}
	return c
}

// SIGTERM when idle, and during a hook that goes on by itself.
func TestStop(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.put("k", zipped(map[string]string{
		"appspec.yml": h.appspec("AfterInstall=slow.sh"), "content/f": "",
		"slow.sh": "#!/bin/sh\nmkfifo \"$OUT/gate\"\nread line <\"$OUT/gate\"\necho \"$line\" >>\"$OUT/proof\"\n",
	}))
	h.start()
	spec := h.spec("d-1", "k", "zip")
	h.do("DownloadBundle", spec)
	if took := h.stop(); took > time.Second {
		t.Errorf("an idle agent took %v to stop", took)
	}
	h.start()
	id := h.send("AfterInstall", spec)
	gate := filepath.Join(h.dir, "gate")
	h.eventually("the script runs", func() bool { _, err := os.Stat(gate); return err == nil })
	if took := h.stop(); took > 2*time.Second {
		t.Errorf("it took %v to stop during a hook", took)
	}
	if err := os.WriteFile(gate, []byte("ended\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.eventually("the script ends", func() bool { return h.read("proof") == "ended\n" })
	h.start()
	h.once(id, control.Succeeded)
}

// What an operator asks while the agent runs and after it stopped.
func TestStatus(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.start()
	h.do("ApplicationStop", h.spec("d-1", "k", "zip"))
	out, err := h.program("status", "--config", h.config).CombinedOutput()
	if err != nil {
		t.Errorf("status = %v", err)
	}
	for _, want := range []string{"is running, PID ", hostID, "online", "ApplicationStop of d-1"} {
		if !contains(string(out), want) {
			t.Errorf("status says %q, want %q in it", out, want)
		}
	}
	if err := h.program("run", "--config", h.config).Run(); err == nil {
		t.Error("a second agent starts beside the first")
	}
	h.stop()
	cmd := h.program("status", "--config", h.config)
	out, _ = cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != exitNotRunning || !contains(string(out), "not running") {
		t.Errorf("status of a stopped agent: exit %d, %q", code, out)
	}
}

// The listener: liveness, readiness, the balancer's path, metrics.
func TestListener(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	app := newApplication(t)
	h.extra = []string{"SLIPWAY_HEALTH_PROBE_URL=" + app.URL, "SLIPWAY_HEALTH_PROBE_INTERVAL=1s"}
	h.start()
	h.do("ApplicationStop", h.spec("d-1", "k", "zip"))
	addr := h.listener()
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/health": 200, "/metrics": 200, "/nowhere": 404} {
		h.eventually(path, func() bool { return get(t, addr+path) == want })
	}
}

// A port that is taken is told, and keeps no deployment from this host.
func TestTakenPort(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	other := newApplication(t)
	h.extra = []string{"SLIPWAY_LISTEN=" + other.Listener.Addr().String()}
	h.start()
	if c := h.do("ApplicationStop", h.spec("d-1", "k", "zip")); c.Status != control.Succeeded {
		t.Errorf("completion %+v", c)
	}
	if !contains(h.output.String(), "port of the health listener is taken") {
		t.Error("it is not told that the port is taken")
	}
}

func get(t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

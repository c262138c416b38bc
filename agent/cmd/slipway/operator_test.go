package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/agent/control"
)

// What an operator does beside the agent, or without it, with the real program.

// events of a deployment as the service asks for them.
var inPlace = []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService"}

func (h *host) rollOut(id, key string) {
	h.t.Helper()
	for _, event := range inPlace {
		if c := h.do(event, h.spec(id, key, "zip")); c.Status != control.Succeeded {
			h.t.Fatalf("%s of %s = %+v", event, id, c)
		}
	}
}

// putVersions stores v1 and v2, whose hooks leave word.
func (h *host) putVersions() {
	h.t.Helper()
	for _, v := range []string{"v1", "v2"} {
		h.put(v, zipped(map[string]string{
			"appspec.yml": h.appspec("ApplicationStop=stop.sh", "AfterInstall=after.sh"), "content/f": v,
			"stop.sh": "#!/bin/sh\necho stop " + v + " >>\"$OUT/proof\"\n", "after.sh": "#!/bin/sh\necho after " + v + " >>\"$OUT/proof\"\n",
		}))
	}
}

// says runs the program and returns what it prints on both outputs; it has to end with the code.
func (h *host) says(code int, args ...string) string {
	h.t.Helper()
	cmd := h.program(append(args, "--config", h.config)...)
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		h.t.Fatalf("slipway %s: exit %d, want %d (%v)\n%s", strings.Join(args, " "), got, code, err, out)
	}
	return string(out)
}

func TestRollbackBesideTheAgent(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.putVersions()
	h.start()
	h.rollOut("d-1", "v1")
	h.rollOut("d-2", "v2")
	out := h.says(0, "rollback", "fleet")
	for _, want := range []string{"from  d-2, s3://b/v2\n", "to    d-1, s3://b/v1\n", "AfterInstall        succeeded", "diverged from the record of the service, whose last deployment here is d-2"} {
		if !strings.Contains(out, want) {
			t.Errorf("rollback says %q, want %q in it", out, want)
		}
	}
	if got := h.read("site/f"); got != "v1" {
		t.Errorf("the site is %q", got)
	}
	if got, want := h.read("proof"), "after v1\nstop v1\nafter v2\nstop v2\nafter v1\n"; got != want {
		t.Errorf("hooks ran %q, want %q", got, want)
	}
	var status struct {
		Running  bool
		Diverged []jsonDivergence
	}
	if err := json.Unmarshal([]byte(h.says(0, "status", "--json")), &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Diverged) != 1 || !status.Running || status.Diverged[0].GroupName != "fleet" || status.Diverged[0].BroughtBack != "d-1" || status.Diverged[0].Service != "d-2" {
		t.Errorf("status is %+v", status)
	}

	// The next deployment of the service goes on from there, and mends it.
	h.rollOut("d-3", "v2")
	if got := h.read("site/f"); got != "v2" {
		t.Errorf("the site is %q", got)
	}
	if out := h.says(0, "status"); strings.Contains(out, "diverged") {
		t.Errorf("status still says %q", out)
	}
	if out := h.says(0, "verify", "fleet"); out != "" {
		t.Errorf("verify says %q", out)
	}
	if out := h.says(0, "history"); strings.Count(out, "succeeded") != 4 || strings.Count(out, "\n* ") != 1 || !strings.Contains(out, "undo of d-2, back to d-1") {
		t.Errorf("history says\n%s", out)
	}
}

// A group in hand is left alone, by whoever wants to change what it has installed.
func TestGroupInHand(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.putVersions()
	h.put("slow", zipped(map[string]string{
		"appspec.yml": h.appspec("AfterInstall=slow.sh"), "content/f": "slow", "slow.sh": "#!/bin/sh\nmkfifo \"$OUT/gate\"\nread line <\"$OUT/gate\"\n",
	}))
	h.start()
	h.rollOut("d-1", "v1")
	spec := h.spec("d-2", "slow", "zip")
	for _, event := range inPlace[:4] {
		h.do(event, spec)
	}
	id := h.send("AfterInstall", spec)
	h.gateMade()
	h.eventually("status tells of it", func() bool { return strings.Contains(h.read("root/"+statusFile), `"AfterInstall"`) })
	if out := h.says(0, "history"); !strings.Contains(out, "in hand: AfterInstall") {
		t.Errorf("history says\n%s", out)
	}
	for _, args := range [][]string{{"rollback", "fleet"}, {"forget", "fleet"}, {"adopt", "fleet", "d-1"}} {
		if out := h.says(1, args...); !strings.Contains(out, "a command of the deployment group is in hand") {
			t.Errorf("slipway %s says %q", args[0], out)
		}
	}
	h.openGate()
	if c := h.await(id); c.Status != control.Succeeded {
		t.Errorf("AfterInstall = %+v", c)
	}
}

// SIGINT ends a rollback between two steps: the script goes on by itself, and the same rollback can be finished.
func TestRollbackInterrupted(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.putVersions()
	h.put("v1", zipped(map[string]string{
		"appspec.yml": h.appspec("AfterInstall=after.sh"), "content/f": "v1",
		"after.sh": "#!/bin/sh\n[ -e \"$OUT/deployed\" ] || { >\"$OUT/deployed\"; exit 0; }\n[ -e \"$OUT/gate\" ] && { echo again >>\"$OUT/proof\"; exit 0; }\n" +
			"mkfifo \"$OUT/gate\"\nread line <\"$OUT/gate\"\necho \"$line\" >>\"$OUT/proof\"\n",
	}))
	h.start()
	h.rollOut("d-1", "v1")
	h.rollOut("d-2", "v2")
	h.stop()
	os.Remove(filepath.Join(h.dir, "proof"))
	cmd := h.program("rollback", "fleet", "--json", "--config", h.config)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.gateMade()
	cmd.Process.Signal(syscall.SIGINT)
	cmd.Wait()
	var r jsonRollback
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s%s", err, &out, &said)
	}
	if code := cmd.ProcessState.ExitCode(); code != exitFailure || r.Outcome != outcomeInterrupted || !r.Installed || r.Events[len(r.Events)-1].Outcome != outcomeInterrupted {
		t.Errorf("exit %d, %+v", code, r)
	}
	for _, want := range []string{"stopping; ", "the rollback was interrupted at AfterInstall: the files of d-1 are installed; finish with slipway rollback group-1 --to d-1, or deploy"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it says %q, want %q in it", &said, want)
		}
	}
	h.openGate()
	h.eventually("the script ends", func() bool { return strings.Contains(h.read("proof"), "ended\n") })
	h.says(0, "rollback", "fleet", "--to", "d-1")
	if got := h.read("proof"); got != "stop v2\nended\nagain\n" {
		t.Errorf("proof is %q", got)
	}
}

func (h *host) gateMade() {
	h.t.Helper()
	h.eventually("the script runs", func() bool { _, err := os.Stat(filepath.Join(h.dir, "gate")); return err == nil })
}

func (h *host) openGate() {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, "gate"), []byte("ended\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func TestParseAge(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{"30d": 30 * day, "1d12h": 36 * time.Hour, "90m": 90 * time.Minute, "0d": 0, "0s": 0} {
		if got, err := parseAge(text); err != nil || got != want {
			t.Errorf("parseAge(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "30", "-1d", "-1h", "1h2d", "1.5d", "99999999d", "2147483647d", "d1h", "30days"} {
		if got, err := parseAge(text); err == nil {
			t.Errorf("parseAge(%q) = %v, want an error", text, got)
		}
	}
}

func TestSizeText(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 1 << 62: "4194304.0 TiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("sizeText(%d) = %q, want %q", n, got, want)
		}
	}
}

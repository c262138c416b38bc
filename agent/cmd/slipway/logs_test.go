package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/agent/control"
)

// watching is a command that goes on beside the test.
type watching struct {
	h      *host
	cmd    *exec.Cmd
	output syncBuffer
	exited chan error
}

func (h *host) watch(args ...string) *watching {
	h.t.Helper()
	w := &watching{h: h, cmd: h.program(append(args, "--config", h.config)...), exited: make(chan error, 1)}
	w.cmd.Stdout, w.cmd.Stderr = &w.output, &w.output
	if err := w.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() { w.exited <- w.cmd.Wait() }()
	h.t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	return w
}

// says waits until the command has said something.
func (w *watching) says(pattern string) {
	w.h.t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for tick := time.NewTicker(2 * time.Millisecond); ; {
		select {
		case <-tick.C:
			if re.MatchString(w.output.String()) {
				tick.Stop()
				return
			}
		case <-deadline.C:
			w.h.t.Fatalf("slipway %s does not say %s:\n%s", strings.Join(w.cmd.Args[1:], " "), pattern, w.output.String())
		}
	}
}

// ends waits for the end of the command, which is to be that code.
func (w *watching) ends(code int) string {
	w.h.t.Helper()
	select {
	case <-w.exited:
	case <-time.After(20 * time.Second):
		w.h.t.Fatalf("slipway %s does not end:\n%s", strings.Join(w.cmd.Args[1:], " "), w.output.String())
	}
	if got := w.cmd.ProcessState.ExitCode(); got != code {
		w.h.t.Errorf("slipway %s: exit %d, want %d\n%s", strings.Join(w.cmd.Args[1:], " "), got, code, w.output.String())
	}
	return w.output.String()
}

// What the scripts of a deployment say is seen as they say it, beside the agent: of a deployment that is named until its end, else of
// whatever comes.
func TestLogsFollow(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.put("v1", zipped(map[string]string{
		"appspec.yml": h.appspec("AfterInstall=slow.sh", "ValidateService=check.sh"), "content/f": "",
		"slow.sh":  "#!/bin/sh\necho one\nmkfifo \"$OUT/gate\"\nread line <\"$OUT/gate\"\necho \"$line\" >&2\n",
		"check.sh": "#!/bin/sh\nprintf 'bell \\007 and no end'\n",
	}))
	all := h.watch("logs", "-f") // nothing of the deployment root is there yet
	h.start()
	spec := h.spec("d-1", "v1", "zip")
	for _, event := range inPlace[:4] {
		h.do(event, spec)
	}
	id := h.send("AfterInstall", spec)
	all.says(`^==> fleet d-1 AfterInstall <==\n.* LifecycleEvent - AfterInstall\n.* Script - slow.sh\n.* \[stdout\]one\n`)
	one := h.watch("logs", "d-1", "-f", "--json")
	one.says(`"stream":"stdout","text":"one"`)
	h.gateMade()
	if err := os.WriteFile(filepath.Join(h.dir, "gate"), []byte("two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	one.says(`"event":"AfterInstall","script":"slow.sh","stream":"stderr","text":"two"`)
	all.says(`\[stderr\]two$`)
	h.await(id)
	h.do("ApplicationStart", spec)
	h.do("ValidateService", spec)
	var lines []string
	for line := range strings.Lines(one.ends(0)) {
		var l jsonLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		lines = append(lines, fmt.Sprintf("%s %s %s %s %s", l.Deployment, l.Event, l.Script, l.Stream, l.Text))
	}
	want := []string{
		"d-1 AfterInstall   LifecycleEvent - AfterInstall", "d-1 AfterInstall slow.sh  Script - slow.sh", "d-1 AfterInstall slow.sh stdout one",
		"d-1 AfterInstall slow.sh stderr two", "d-1 ValidateService   LifecycleEvent - ValidateService",
		"d-1 ValidateService check.sh  Script - check.sh", "d-1 ValidateService check.sh stdout bell \a and no end",
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("lines:\n%s", got)
	}

	// Of another deployment of the same group too; its script fails, which ends who follows that deployment.
	h.put("v2", zipped(map[string]string{"appspec.yml": h.appspec("BeforeInstall=no.sh"), "content/f": "", "no.sh": "#!/bin/sh\necho no\nexit 1\n"}))
	spec = h.spec("d-2", "v2", "zip")
	h.do("DownloadBundle", spec)
	if c := h.do("BeforeInstall", spec); c.Status != control.Failed {
		t.Errorf("completion %+v", c)
	}
	all.says(`^\n==> fleet d-2 BeforeInstall <==\n.*\n.*\n.* \[stdout\]no$`)
	h.watch("logs", "d-2", "-f").ends(0)
	if err := all.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	all.ends(0)
}

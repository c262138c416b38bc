package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"slipway/agent/control"
)

// A reboot ends the agent, the shims and the scripts at once. What was in hand is reported by the next process as what became of it.

// TestRebootDuringHook: nobody can say what became of the script, and it is not run again (code 7).
func TestRebootDuringHook(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.put("k", zipped(map[string]string{
		"appspec.yml": h.appspec("AfterInstall=slow.sh"), "content/f": "",
		"slow.sh": "#!/bin/sh\necho begun >>\"$OUT/proof\"\nmkfifo \"$OUT/gate\"\necho $$ >\"$OUT/script.pid\"\nread line <\"$OUT/gate\"\necho ended >>\"$OUT/proof\"\n",
	}))
	h.start()
	spec := h.spec("d-1", "k", "zip")
	h.do("DownloadBundle", spec)
	id := h.send("AfterInstall", spec)
	h.eventually("the script runs", func() bool { return strings.HasSuffix(h.read("script.pid"), "\n") })
	h.kill()
	for _, pid := range append(h.shims(), h.pid("script.pid")) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("kill process %d: %v", pid, err)
		}
		h.eventually("it is gone", func() bool { return syscall.Kill(pid, 0) != nil || zombie(pid) })
	}
	h.start()
	c := h.once(id, control.Failed)
	proof := h.read("proof")
	exceptions := 0
	if c.Status != control.Failed || c.Diagnostics.ErrorCode != 7 || proof != "begun\n" {
		exceptions++
		t.Errorf("completion %+v, the script wrote %q", c, proof)
	}
	tell(t, "reboot", "a hook, its shim killed too", fmt.Sprintf("%s, code %d: %s", c.Status, c.Diagnostics.ErrorCode, c.Diagnostics.Message), "the script ran once and is not run again", exceptions)
}

// shims are the processes that have a run in hand.
func (h *host) shims() (pids []int) {
	h.t.Helper()
	err := filepath.WalkDir(filepath.Join(h.root(), ".slipway/runs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "started" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var began struct{ PID int }
		if err := json.Unmarshal(data, &began); err != nil {
			return err
		}
		pids = append(pids, began.PID)
		return nil
	})
	if err != nil || len(pids) == 0 {
		h.t.Fatalf("no shim is found: %v", err)
	}
	return pids
}

func (h *host) pid(name string) int {
	h.t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(h.read(name)))
	if err != nil {
		h.t.Fatal(err)
	}
	return pid
}

// zombie reports that a process has ended and its parent, the init of a container perhaps, has not noticed.
func zombie(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(data), ") ")
	return strings.HasPrefix(after, "Z")
}

// TestRebootDuringDownload: it is fetched again, and reported as what it became.
func TestRebootDuringDownload(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.put("k", zipped(map[string]string{"appspec.yml": h.appspec(), "content/f": "new\n"}))
	began, hold := make(chan struct{}, 8), make(chan struct{})
	h.setGate(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet {
			began <- struct{}{}
			<-hold
		}
		return false
	})
	h.start()
	spec := h.spec("d-1", "k", "zip")
	id := h.send("DownloadBundle", spec)
	<-began
	h.kill()
	h.setGate(nil)
	close(hold)
	if left, _ := filepath.Glob(filepath.Join(h.root(), "group-1/d-1/*")); len(left) != 0 {
		t.Errorf("something partial is visible: %v", left)
	}
	h.start()
	c := h.once(id, control.Succeeded)
	installed := h.do("Install", spec)
	exceptions := 0
	if c.Status != control.Succeeded || installed.Status != control.Succeeded || h.read("site/f") != "new\n" {
		exceptions++
		t.Errorf("DownloadBundle = %+v, Install = %+v, the file holds %q", c, installed, h.read("site/f"))
	}
	tell(t, "reboot", "DownloadBundle, its download held", c.Status, "the bundle is whole, and Install of it "+installed.Status, exceptions)
}

// TestRebootDuringInstall: it is finished or done again, and reported as what it became.
func TestRebootDuringInstall(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const files = 1500
	for _, v := range []string{"v1", "v2"} {
		tree := map[string]string{"appspec.yml": h.appspec(), "content/only-" + v: v}
		for i := range files {
			tree[fmt.Sprintf("content/d%d/f%d", i%30, i)] = fmt.Sprintf("%s %d\n", v, i)
		}
		h.put(v, zipped(tree))
	}
	h.start()
	for _, event := range []string{"DownloadBundle", "Install"} {
		h.do(event, h.spec("d-1", "v1", "zip"))
	}
	spec := h.spec("d-2", "v2", "zip")
	h.do("DownloadBundle", spec)
	id := h.send("Install", spec)
	h.eventually("there is a journal", func() bool {
		journals, _ := filepath.Glob(filepath.Join(h.root(), ".slipway/install/*.journal"))
		return len(journals) > 0
	})
	h.kill()
	h.start()
	c := h.once(id, control.Succeeded)
	exceptions := 0
	if c.Status != control.Succeeded || !h.whole("v2", files) {
		exceptions++
	}
	tell(t, "reboot", "Install, its journal begun", c.Status, "the tree is the new one", exceptions)
}

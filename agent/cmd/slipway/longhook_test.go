package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
)

// install puts this program under a name, by a rename, as a package manager does.
func (h *host) install(name string) {
	h.t.Helper()
	source := "/proc/self/exe"
	if b := os.Getenv("SLIPWAY_BINARY"); b != "" {
		source = b
	}
	from, err := os.Open(source)
	if err != nil {
		h.t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		h.t.Fatal(err)
	}
	_, err = io.Copy(to, from)
	if closeErr := to.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// TestLongHookOutlivesTheAgent: in a deployment through the service a hook goes on while the agent is killed, stopped or replaced by
// another version. It has run once, its result arrives, and the deployment goes on to its end.
func TestLongHookOutlivesTheAgent(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]func(h *labHost){
		"killed":  func(h *labHost) { h.kill() },
		"stopped": (*labHost).stopsAtOnce,
		"upgraded": func(h *labHost) {
			h.stopsAtOnce()
			h.install(h.binary)
		},
		"replaced, then killed": func(h *labHost) {
			h.install(h.binary)
			h.kill()
		},
	} {
		for _, ends := range []string{"before the start", "after the start"} {
			t.Run(name+", the hook ends "+ends, func(t *testing.T) {
				t.Parallel()
				h := newLabHost(t, t.TempDir())
				h.binary = filepath.Join(h.dir, "slipway")
				h.install(h.binary)
				h.put("v1", zipped(map[string]string{
					"appspec.yml": h.appspec("AfterInstall=slow.sh", "ApplicationStart=start.sh"), "content/f": "v1",
					"slow.sh":  "#!/bin/sh\necho begun >>\"$OUT/proof\"\nmkfifo \"$OUT/gate\"\nread line <\"$OUT/gate\"\necho \"$line\" >>\"$OUT/proof\"\n",
					"start.sh": "#!/bin/sh\necho started >>\"$OUT/proof\"\n",
				}))
				h.start()
				d := h.create("v1")
				h.gateMade()
				open := func() {
					t.Helper()
					if err := os.WriteFile(filepath.Join(h.dir, "gate"), []byte("ended\n"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				between(h)
				if ends == "before the start" {
					open()
					h.eventually("the hook ends", func() bool { return h.read("proof") == "begun\nended\n" })
					h.start()
				} else {
					h.start()
					h.eventually("the agent has started", func() bool { return strings.Count(h.output.String(), `"started"`) == 2 })
					open()
				}
				if status, problem := h.end(d); status != types.DeploymentStatusSucceeded {
					t.Errorf("deployment = %s, %s", status, problem)
				}
				if got := h.read("proof"); got != "begun\nended\nstarted\n" {
					t.Errorf("the hooks wrote %q", got)
				}
			})
		}
	}
}

// stopsAtOnce is SIGTERM: a hook that runs holds nothing up.
func (h *labHost) stopsAtOnce() {
	h.t.Helper()
	if took := h.stop(); took > time.Second {
		h.t.Errorf("it took %v to stop during a hook", took)
	}
}

// TestReplacedUnderTheAgent: a program that was replaced and not started anew still runs hooks, by itself.
func TestReplacedUnderTheAgent(t *testing.T) {
	t.Parallel()
	h := newLabHost(t, t.TempDir())
	h.binary = filepath.Join(h.dir, "slipway")
	h.install(h.binary)
	h.put("v1", zipped(map[string]string{"appspec.yml": h.appspec("AfterInstall=a.sh"), "content/f": "v1", "a.sh": "#!/bin/sh\necho ran >>\"$OUT/proof\"\n"}))
	h.start()
	h.eventually("the agent has started", func() bool { return strings.Contains(h.output.String(), `"started"`) })
	if err := os.WriteFile(h.binary+".new", []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil { // no shim at all
		t.Fatal(err)
	}
	if err := os.Rename(h.binary+".new", h.binary); err != nil {
		t.Fatal(err)
	}
	h.bring("v1")
	if got := h.read("proof"); got != "ran\n" {
		t.Errorf("the hook wrote %q", got)
	}
}

// TestIdleAgentHasNoProcess: an agent that waits for commands has started nothing, and what it keeps ready for the next hook of a
// deployment goes away after a minute.
func TestIdleAgentHasNoProcess(t *testing.T) {
	t.Parallel()
	h := newHostWith(t, time.Minute)
	h.put("k", zipped(map[string]string{"appspec.yml": h.appspec("AfterInstall=a.sh"), "content/f": "", "a.sh": "#!/bin/sh\n"}))
	h.start()
	h.eventually("the agent knows who it is, and polls", func() bool { return strings.Contains(h.output.String(), `"this host"`) })
	if found := h.children(); len(found) > 0 {
		t.Errorf("an agent that has just started has the processes %v", found)
	}
	spec := h.spec("d-1", "k", "zip")
	for _, event := range []string{"DownloadBundle", "AfterInstall"} {
		h.do(event, spec)
	}
	var all []int
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(75 * time.Second); ; <-tick.C {
		found := h.children()
		for _, pid := range found {
			if !slices.Contains(all, pid) {
				all = append(all, pid)
			}
		}
		if len(found) == 0 && len(all) > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("processes %v after more than a minute of rest; there were %v", found, all)
		}
	}
	if len(all) > 2 { // the one that is ending with its script, and the one in its place
		t.Errorf("an idle agent has had the processes %v", all)
	}
}

// children are the live child processes of the agent.
func (h *host) children() (pids []int) {
	h.t.Helper()
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", h.cmd.Process.Pid))
	if len(tasks) == 0 {
		h.t.Fatal("the children of the agent cannot be listed")
	}
	for _, name := range tasks {
		data, _ := os.ReadFile(name) // the thread may have ended
		for _, field := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && !zombie(pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// TestOutputWithoutReader: whoever read the agent's log may go, and the agent goes on.
func TestOutputWithoutReader(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.put("k", zipped(map[string]string{"appspec.yml": h.appspec("AfterInstall=a.sh"), "content/f": "", "a.sh": "#!/bin/sh\necho ran >>\"$OUT/proof\"\n"}))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	h.startWith(w)
	w.Close()
	r.Close() // before its first word
	spec := h.spec("d-1", "k", "zip")
	h.do("DownloadBundle", spec)
	h.do("AfterInstall", spec)
	if got := h.read("proof"); got != "ran\n" {
		t.Errorf("the hook wrote %q", got)
	}
	h.stop()
}

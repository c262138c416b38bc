package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"slipway/systemd"
	"slipway/systemd/systemdtest"
)

// serviceHost is a host with systemd on which slipway is installed as its package does it, in the offline lab.
type serviceHost struct {
	*labHost
	machine *systemdtest.Host
}

// buildSlipway builds the program as it is shipped, with a version.
func buildSlipway(t *testing.T, version string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "slipway")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+version, "-o", out, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build slipway: %v\n%s", err, text)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// newServiceHost boots one. What the agent keeps, and the site of labHost, are in a folder that the machine and the host both have.
func newServiceHost(t *testing.T, dir string, o systemdtest.Options, program []byte) *serviceHost {
	t.Helper()
	if reason := systemdtest.Missing(); reason != "" {
		t.Skip(reason)
	}
	h := &serviceHost{labHost: newLabHost(t, dir)}
	o.ShareNet = true
	config, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	o.Prepare = func(root string) error {
		if err := os.MkdirAll(filepath.Join(root, "etc/slipway"), 0o755); err != nil {
			return err
		}
		for name, file := range map[string]struct {
			text string
			mode os.FileMode
		}{
			"usr/bin/slipway": {string(program), 0o755},
			"usr/lib/systemd/system/" + systemd.UnitName:  {systemd.Unit, 0o644},
			"usr/lib/systemd/system/" + systemd.SliceName: {systemd.Slice, 0o644},
			"usr/lib/tmpfiles.d/" + systemd.TmpfilesName:  {systemd.Tmpfiles, 0o644},
			"etc/default/slipway":                         {"SLIPWAY_LISTEN=127.0.0.1:0\n", 0o644},
			"etc/slipway/slipway.yml":                     {string(config), 0o644},
		} {
			if err := os.WriteFile(filepath.Join(root, name), []byte(file.text), file.mode); err != nil {
				return err
			}
		}
		return nil
	}
	h.machine = systemdtest.Boot(t, o)
	t.Cleanup(func() {
		if t.Failed() {
			journal, _ := h.machine.Enter(context.Background(), "journalctl", "-u", systemd.UnitName, "--no-pager", "-n", "60", "-o", "cat").CombinedOutput()
			t.Logf("journal of the host:\n%s", journal)
		}
	})
	// The lab's files are where they are in the lab's own name space: the host has a copy at the same place.
	if err := os.CopyFS(h.inside(dir), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	h.machine.Must("systemctl", "enable", "--now", "--quiet", systemd.UnitName)
	h.running(0)
	return h
}

// inside is a path of the host as the test sees it, in its /tmp and /run too.
func (h *serviceHost) inside(path string) string {
	return filepath.Join("/proc", strconv.Itoa(h.machine.Leader()), "root", path)
}

// onDisk is a path of the host's disk as the test sees it, whether the host is on or not.
func (h *serviceHost) onDisk(path string) string { return filepath.Join(h.machine.Root(), path) }

func (h *serviceHost) content(path string) string {
	data, err := os.ReadFile(h.inside(path))
	if err != nil {
		return ""
	}
	return string(data)
}

// running waits until the agent runs, as another process than before, and returns its pid in the host.
func (h *serviceHost) running(before int) int {
	h.t.Helper()
	var pid int
	h.eventually("slipway.service is active", func() bool {
		out, _ := h.machine.Enter(h.t.Context(), "systemctl", "show", "--value", "-p", "ActiveState,SubState,MainPID", systemd.UnitName).Output()
		f := strings.Fields(string(out))
		if len(f) != 3 {
			return false
		}
		for _, s := range f {
			if n, err := strconv.Atoi(s); err == nil {
				pid = n
			}
		}
		return strings.Contains(string(out), "running") && pid > 0 && pid != before
	})
	return pid
}

// status is what `slipway status --json` says.
func (h *serviceHost) status() (r struct {
	Running bool   `json:"running"`
	PID     int    `json:"pid"`
	Version string `json:"version"`
	Hooks   struct {
		Mode, Reason string
	} `json:"hooks"`
},
) {
	h.t.Helper()
	out, err := h.machine.Enter(h.t.Context(), "/usr/bin/slipway", "status", "--json").Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		h.t.Fatalf("slipway status: %v: %s", err, out)
	}
	return r
}

// alive reports whether a process of the host lives.
func (h *serviceHost) alive(pid string) bool {
	out, err := h.machine.Enter(h.t.Context(), "cat", "/proc/"+strings.TrimSpace(pid)+"/stat").Output()
	return err == nil && !strings.Contains(string(out), ") Z ")
}

// slow is a revision whose AfterInstall waits for up to twenty seconds to be told to go on, and counts its starts. ApplicationStart leaves a
// daemon if there is none.
func slow(number int) []byte {
	appspec := "version: 0.0\nos: linux\nfiles:\n  - source: content\n    destination: /srv/site\nhooks:\n" +
		"  AfterInstall:\n    - location: slow.sh\n      timeout: 60\n  ApplicationStart:\n    - location: daemon.sh\n      timeout: 60\n"
	return zipped(map[string]string{
		"appspec.yml": appspec, "content": fmt.Sprintf("revision %d\n", number),
		"slow.sh": fmt.Sprintf("#!/bin/sh\necho $$ >>/srv/starts%[1]d\ni=0\nwhile [ ! -e /srv/go%[1]d ] && [ $i -lt 400 ]; do sleep 0.05; i=$((i+1)); done\n"+
			"echo slow hook %[1]d has ended\necho x >>/srv/ends%[1]d\n", number),
		"daemon.sh": "#!/bin/sh\n[ -e /srv/daemon ] && exit 0\n(setsid sh -c 'echo $$ >/srv/daemon; exec sleep 1000000' >/dev/null 2>&1 </dev/null &)\n" +
			"while [ ! -s /srv/daemon ]; do sleep 0.01; done\n",
	})
}

// Whatever happens to the agent while a hook runs: the hook ran once, its result arrived, the deployment went on, and a daemon that an
// earlier hook left lives.
func TestService(t *testing.T) {
	if reason := systemdtest.Missing(); reason != "" {
		t.Skip(reason)
	}
	old, upgraded := buildSlipway(t, "1.0.0-old"), buildSlipway(t, "2.0.0-new")
	for _, mode := range []struct {
		name   string
		legacy bool
	}{{"unified", false}, {"legacy", true}} {
		t.Run(mode.name, func(t *testing.T) {
			h := newServiceHost(t, t.TempDir(), systemdtest.Options{Legacy: mode.legacy}, old)
			ctl := func(args ...string) { t.Helper(); h.machine.Must(append([]string{"systemctl"}, args...)...) }
			tests := []struct {
				name string
				do   func(pid int)
			}{
				{"undisturbed", func(int) {}},
				{"kill -9", func(pid int) { h.machine.Must("/bin/sh", "-c", fmt.Sprintf("kill -9 %d", pid)) }},
				{"restart", func(int) { ctl("restart", systemd.UnitName) }},
				{"stop, and the hook ends meanwhile", func(int) {
					ctl("stop", systemd.UnitName)
					h.proceed(3)
					h.eventually("the hook has ended", func() bool { return h.content("/srv/ends3") != "" })
					ctl("start", systemd.UnitName)
				}},
				{"upgrade", func(int) {
					ctl("stop", systemd.UnitName)
					next := h.inside("/usr/bin/slipway.new")
					h.must(os.WriteFile(next, upgraded, 0o755))
					h.must(os.Rename(next, h.inside("/usr/bin/slipway")))
					ctl("start", systemd.UnitName)
				}},
			}
			var daemon string
			for i, tt := range tests {
				t.Log("the agent while a hook runs: " + tt.name)
				h.disturb(i, tt.do, &daemon)
			}
			if got := h.status(); got.Version != "2.0.0-new" || got.Hooks.Mode != containSystemd {
				t.Errorf("status after the upgrade: %+v", got)
			}
			h.hungManager(len(tests))
			h.limited(len(tests) + 1)
			ctl("stop", systemd.UnitName)
			if !h.alive(daemon) {
				t.Error("the daemon did not survive the stop of the agent")
			}
		})
	}
}

// disturb makes a deployment and does something to the agent while its slow hook runs.
func (h *serviceHost) disturb(number int, do func(pid int), daemon *string) {
	t := h.t
	before := h.running(0)
	key := fmt.Sprintf("slow%d.zip", number)
	h.put(key, slow(number))
	d := h.create(key)
	starts, ends := fmt.Sprintf("/srv/starts%d", number), fmt.Sprintf("/srv/ends%d", number)
	h.eventually("the slow hook has begun", func() bool { return h.content(starts) != "" })
	hook := strings.TrimSpace(h.content(starts))
	tree, err := h.machine.Run(t.Context(), "systemctl", "status", "--no-pager", "-l", systemd.SliceName)
	if err != nil || !strings.Contains(tree, ".scope") || !strings.Contains(tree, "slow.sh") {
		t.Errorf("the hook is not in a scope: %v\n%s", err, tree)
	}
	t.Logf("during the hook:\n%s", tree)
	if do(before); number > 0 {
		h.running(before)
	}
	if h.content(ends) == "" && !h.alive(hook) {
		t.Error("the hook has ended with the agent")
	}
	h.proceed(number)
	if status, problem := h.end(d); status != types.DeploymentStatusSucceeded {
		t.Fatalf("deployment = %s, %s", status, problem)
	}
	if started, ended := h.content(starts), h.content(ends); strings.Count(started, "\n") != 1 || ended != "x\n" {
		t.Errorf("the hook was started %q, ended %q times", started, ended)
	}
	if got, want := h.content("/srv/site/content"), fmt.Sprintf("revision %d\n", number); got != want {
		t.Errorf("site = %q, want %q", got, want)
	}
	if *daemon == "" {
		*daemon = h.content("/srv/daemon")
	}
	if !h.alive(*daemon) {
		t.Error("the daemon of the first deployment is gone")
	}
}

// hungManager makes a deployment while systemd answers nobody: it succeeds without scopes, and that is told once.
func (h *serviceHost) hungManager(number int) {
	h.t.Helper()
	h.proceed(number)
	key := fmt.Sprintf("slow%d.zip", number)
	h.put(key, slow(number))
	h.must(syscall.Kill(h.machine.Leader(), syscall.SIGSTOP))
	status, problem := h.end(h.create(key))
	h.must(syscall.Kill(h.machine.Leader(), syscall.SIGCONT))
	if status != types.DeploymentStatusSucceeded {
		h.t.Errorf("deployment while systemd hangs = %s, %s", status, problem)
	}
	log := h.journal()
	if n := strings.Count(log, "hooks do not get their usual container"); n != 1 {
		h.t.Errorf("told %d times that there is no scope", n)
	}
	if !strings.Contains(log, "script: the script ran without a container: start slipway-hook-") || !strings.Contains(log, "systemd does not answer") {
		h.t.Error("the runs do not say that they had no scope")
	}
}

// limited makes a deployment with limits that systemd takes and nobody enforces here: the run says so.
func (h *serviceHost) limited(number int) {
	h.t.Helper()
	h.must(os.MkdirAll(h.inside("/etc/slipway/conf.d"), 0o755))
	h.must(os.WriteFile(h.inside("/etc/slipway/conf.d/limits.yml"), []byte("hooks: {limits: {memory: 512MiB}}\n"), 0o644))
	h.machine.Must("systemctl", "restart", systemd.UnitName)
	h.proceed(number)
	key := fmt.Sprintf("slow%d.zip", number)
	h.put(key, slow(number))
	if status, problem := h.end(h.create(key)); status != types.DeploymentStatusSucceeded {
		h.t.Errorf("deployment with limits = %s, %s", status, problem)
	}
	if log := h.journal(); !strings.Contains(log, "the script ran without these limits, which cannot be enforced here: memory") {
		h.t.Error("the run does not say that its limit is not enforced")
	}
}

func (h *serviceHost) journal() string {
	h.t.Helper()
	h.machine.Must("journalctl", "--sync")
	out, err := h.machine.Enter(h.t.Context(), "journalctl", "-u", systemd.UnitName, "--no-pager", "-o", "cat").Output()
	h.must(err)
	return string(out)
}

// proceed lets the slow hook end.
func (h *serviceHost) proceed(number int) {
	h.t.Helper()
	h.must(os.WriteFile(h.inside(fmt.Sprintf("/srv/go%d", number)), nil, 0o644))
}

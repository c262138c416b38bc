package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"slipway/agent/lab"
	"slipway/systemd/systemdtest"
)

// hostRounds are deployments to a real host that loses its power in the middle of them.
type hostRounds struct {
	*rounds
	service *serviceHost
	judged  time.Time // reports until then have been looked at
}

// hostPaths are so many that a commit is met in the middle, though the whole host is in the way of whoever looks for it.
const hostPaths = 6000

// TestPowerLossOfHost lets a host with systemd lose its power in the middle of a deployment, and boots it again from its disk: process 1 is killed,
// and with it, at the same instant, everything that runs in the host: agent, shims, scripts. Nobody gets a signal to clean up by, a unit's
// stop is never run, the id of the boot is another one afterwards, /run is empty, and the agent is started by systemd alone.
//
// What it does not show is the loss of writes that were not on the disk yet: the kernel is this machine's and goes on, so all that was written is there
// after the boot. That is TestPowerLoss, which mounts the image of a disk as it was at one instant.
func TestPowerLossOfHost(t *testing.T) {
	if reason := systemdtest.Missing(); reason != "" {
		t.Skip(reason)
	}
	dir, err := os.MkdirTemp("/var/tmp", "slipway-test-") // the host's /tmp does not outlast a boot
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	service := newServiceHost(t, dir, systemdtest.Options{}, shipped(t))
	h := &hostRounds{rounds: roundsOf(t, service.labHost, hostPaths), service: service}
	for _, v := range []string{"v1", "v2"} {
		h.put("hook-"+v, zipped(map[string]string{
			"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - source: content\n    destination: /srv/hooked\nhooks:\n  AfterInstall:\n    - location: slow.sh\n      timeout: 60\n",
			"content/f":   v,
			"slow.sh":     "#!/bin/sh\necho $$ >>/srv/starts-" + v + "\ni=0\nwhile [ ! -e /srv/go-" + v + " ] && [ $i -lt 600 ]; do sleep 0.05; i=$((i+1)); done\necho x >>/srv/ends-" + v + "\n",
		}))
	}
	for i, v := range []string{"v1", "v2"} { // which are not on the host yet
		h.put("fresh-"+v, mixed(h.labHost, i+1, hostPaths))
	}
	// From here on they are looked at, from outside the host, through one boot after the other.
	h.site, h.under = service.onDisk(h.site), service.onDisk(h.under)
	h.settle()
	if _, err := h.reportedOnce(false); err != nil {
		t.Error(err)
	}
	met := map[string]int{}
	for _, aim := range []string{phaseStaging, phaseStaging, phaseCommitted, phaseCommitted, phaseTidying} {
		met[h.inInstall(aim, met[aim] > 0)]++
	}
	for range 3 { // the commit is short, and the machine may let the instant pass
		if met[phaseCommitted] == 0 {
			met[h.inInstall(phaseCommitted, true)]++
		}
	}
	t.Logf("losses of power by phase: %v", met)
	if met[phaseStaging]+met[phaseUndoing]+met[phaseCommitted]+met[phaseTidying] == 0 {
		t.Errorf("no loss of power in the middle of an installation: %v", met)
	}
	h.inDownload()
	h.inHook()
	h.beforeCompletion()
}

// shipped is the program to install on a host: SLIPWAY_BINARY, or one that is built now.
func shipped(t *testing.T) []byte {
	t.Helper()
	name := os.Getenv("SLIPWAY_BINARY")
	if name == "" {
		return buildSlipway(t, "1.0.0-old")
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// other is the revision that is not installed.
func (h *hostRounds) other() string { return map[string]string{"v1": "v2", "v2": "v1"}[h.now] }

// row tells what became of one loss of power.
func (h *hostRounds) row(what, tree string, status types.DeploymentStatus, reported string, errs ...error) {
	h.t.Helper()
	n := 0
	for _, err := range errs {
		if err != nil {
			n++
			h.t.Errorf("power loss: %s: %v", what, err)
		}
	}
	tell(h.t, "host", what, tree, status, reported, n)
}

// inInstall is a loss of power in an installation. After the boot the agent is told nothing of who it is for a while, so that the tree after recovery
// alone can be looked at; then it goes on. It returns the phase that was met: the beginning of the one that was aimed at or, if later, some instant of it.
func (h *hostRounds) inInstall(aim string, later bool) string {
	h.t.Helper()
	next, before := h.other(), treeOf(h.t, h.site)
	d := h.create(next)
	if later {
		h.within(d, aim)
	} else {
		<-d.installing
		h.watch(d, func(now string) bool { return slices.Index(order, now) >= slices.Index(order, aim) })
	}
	h.service.machine.Kill()
	phase := h.phase(d.id)
	nobody := h.fault(lab.Fault{Service: "imds", Status: http.StatusServiceUnavailable})
	h.service.machine.Start()
	h.service.running(0)
	recovered, err := oldOrNew(before, h.trees[next], treeOf(h.t, h.site))
	if err == nil && impossible(phase, recovered) {
		err = fmt.Errorf("recovery alone makes the %s tree", recovered)
	}
	errs := []error{err, h.clean()}
	nobody()
	status, problem := h.end(d)
	which, err := oldOrNew(before, h.trees[next], treeOf(h.t, h.site))
	errs = append(errs, err, h.clean())
	if status != types.DeploymentStatusSucceeded || which != "new" {
		errs = append(errs, fmt.Errorf("the lab's record is %s (%s), and the tree is the %s one", status, problem, which))
	}
	reported, err := h.reportedOnce(phase == phaseDone)
	h.row("Install of "+fmt.Sprint(len(h.trees[next]))+" paths, "+phase, recovered+", then "+which, status, reported, append(errs, err)...)
	h.now = next
	return phase
}

// inHook is a loss of power while a script runs: nobody can say what it had done, so it is not run again, and the deployment fails with code 7.
func (h *hostRounds) inHook() {
	h.t.Helper()
	d := h.create("hook-v1")
	h.eventually("the hook runs", func() bool { return h.service.content("/srv/starts-v1") != "" })
	h.service.machine.Kill()
	h.service.machine.Start()
	status, problem := h.end(d)
	var errs []error
	if status != types.DeploymentStatusFailed || !strings.Contains(problem, "AfterInstall") || !strings.Contains(problem, "the host was restarted before it had ended") {
		errs = append(errs, fmt.Errorf("the lab's record is %s (%s)", status, problem))
	}
	if starts, ends := h.service.content("/srv/starts-v1"), h.service.content("/srv/ends-v1"); strings.Count(starts, "\n") != 1 || ends != "" {
		errs = append(errs, fmt.Errorf("the script was started %q, ended %q", starts, ends))
	}
	if left, err := os.ReadDir(filepath.Join(h.under, ".slipway/runs")); err != nil || len(left) != 0 {
		errs = append(errs, fmt.Errorf("runs are left: %v, %w", left, err))
	}
	if h.service.content("/srv/hooked/f") != "v1" {
		errs = append(errs, fmt.Errorf("the file holds %q", h.service.content("/srv/hooked/f")))
	}
	reported, err := h.reportedOnce(false)
	if !strings.Contains(reported, "code 7") {
		errs = append(errs, fmt.Errorf("reported as %s, want code 7", reported))
	}
	h.row("AfterInstall, its script running", "new", status, reported, append(errs, err, h.clean())...)
	h.t.Log(problem)
}

// inDownload is a loss of power while the storage has not answered yet: it is fetched again.
func (h *hostRounds) inDownload() {
	h.t.Helper()
	// Without this the revision comes during ApplicationStop.
	h.must(os.WriteFile(h.service.inside("/etc/default/slipway"), []byte("SLIPWAY_LISTEN=127.0.0.1:0\nSLIPWAY_PREFLIGHT_MODE=off\n"), 0o644))
	h.service.machine.Must("systemctl", "restart", "slipway")
	next := h.other()
	h.fault(lab.Fault{Service: "s3", Operation: http.MethodGet, Times: 1, TruncateAfter: 20000})
	h.fault(lab.Fault{Service: "s3", Operation: http.MethodGet, Times: 1, Delay: lab.Duration(time.Minute)})
	d := h.create("fresh-" + next)
	h.eventually("the second part is asked for", func() bool {
		var in []lab.Fault
		h.admin("/lab/faults", &in)
		return len(in) == 0
	})
	h.service.machine.Kill()
	var errs []error
	if names, _ := filepath.Glob(filepath.Join(h.under, "*", d.id, "deployment-archive")); len(names) > 0 {
		errs = append(errs, fmt.Errorf("an archive is there in the middle of the download: %v", names))
	}
	h.service.machine.Start()
	status, problem := h.end(d)
	if status != types.DeploymentStatusSucceeded {
		errs = append(errs, fmt.Errorf("the lab's record is %s (%s)", status, problem))
	}
	which, err := oldOrNew(nil, h.trees[next], treeOf(h.t, h.site))
	reported, onceErr := h.reportedOnce(false)
	h.row("DownloadBundle, 20 kB of the bundle there", which, status, reported, append(errs, err, onceErr, h.clean())...)
	h.now = next
}

// beforeCompletion is a loss of power when the result of a script is known and the service has not taken it: it is sent, and the script not run again.
func (h *hostRounds) beforeCompletion() {
	h.t.Helper()
	h.must(os.WriteFile(h.service.inside("/srv/go-v2"), nil, 0o644))
	d := h.create("hook-v2")
	<-d.installed
	heal := h.fault(lab.Fault{Service: "control", Operation: "PutHostCommandComplete", Status: http.StatusInternalServerError})
	h.eventually("the completion is refused", func() bool {
		for _, c := range h.completions() {
			if c.Status != http.StatusOK && strings.Contains(string(c.Request), "slow.sh") {
				return true
			}
		}
		return false
	})
	h.service.machine.Kill()
	heal()
	h.service.machine.Start()
	status, problem := h.end(d)
	var errs []error
	if status != types.DeploymentStatusSucceeded {
		errs = append(errs, fmt.Errorf("the lab's record is %s (%s)", status, problem))
	}
	if starts, ends := h.service.content("/srv/starts-v2"), h.service.content("/srv/ends-v2"); strings.Count(starts, "\n") != 1 || ends != "x\n" {
		errs = append(errs, fmt.Errorf("the script was started %q, ended %q", starts, ends))
	}
	reported, err := h.reportedOnce(false)
	h.row("AfterInstall, its result not sent yet", "new", status, reported, append(errs, err, h.clean())...)
}

// fault puts a fault into the lab; what it returns takes it out.
func (h *hostRounds) fault(f lab.Fault) (remove func()) {
	h.t.Helper()
	id, err := h.lab.AddFault(f)
	h.must(err)
	return func() {
		h.t.Helper()
		req, err := http.NewRequestWithContext(h.t.Context(), http.MethodDelete, h.lab.Endpoints().Admin+"/lab/faults/"+id, nil)
		h.must(err)
		resp, err := http.DefaultClient.Do(req)
		h.must(err)
		h.must(resp.Body.Close())
	}
}

// admin asks the lab's own API.
func (h *hostRounds) admin(path string, into any) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.lab.Endpoints().Admin+path, nil)
	h.must(err)
	resp, err := http.DefaultClient.Do(req)
	h.must(err)
	defer resp.Body.Close()
	h.must(json.NewDecoder(resp.Body).Decode(into))
}

// completions are the calls that reported the end of a command, since the reports were looked at last.
func (h *hostRounds) completions() (found []lab.Call) {
	h.t.Helper()
	var all []lab.Call
	h.admin("/lab/calls?service=control", &all)
	for _, c := range all {
		if c.Operation == "PutHostCommandComplete" && c.Time.After(h.judged) {
			found = append(found, c)
		}
	}
	return found
}

// reportedOnce looks at the reports of this deployment, and at any late one for those before: the service has taken one for each command. One that it
// had taken when the power went may have come again, the same, where the agent had not got the answer yet.
func (h *hostRounds) reportedOnce(maybeBefore bool) (text string, err error) {
	h.t.Helper()
	calls, commands := h.completions(), map[string]bool{}
	h.judged = time.Now()
	for _, c := range calls {
		var in struct{ HostCommandIdentifier string }
		h.must(json.Unmarshal(c.Request, &in))
		if id := in.HostCommandIdentifier; c.Status == http.StatusOK && !commands[id] {
			commands[id] = true
			var v lab.CommandView
			h.admin("/lab/commands/"+id, &v)
			switch n := len(v.Completions); {
			case n == 2 && maybeBefore && v.Completions[0] == v.Completions[1]:
				text += ", one of them again"
			case n != 1:
				err = errors.Join(err, fmt.Errorf("command %s was reported %d times: %+v", id, n, v.Completions))
			case v.Completions[0].Code != 0:
				text += fmt.Sprintf(", one with code %d", v.Completions[0].Code)
			}
		}
	}
	if len(commands) == 0 {
		err = errors.New("nothing was reported")
	}
	return fmt.Sprintf("%d commands, each once", len(commands)) + text, err
}

// clean says what a deployment has left that it should not have.
func (h *hostRounds) clean() error {
	if left := h.leftovers(); len(left) > 0 {
		return fmt.Errorf("left after recovery: %v", left)
	}
	return nil
}

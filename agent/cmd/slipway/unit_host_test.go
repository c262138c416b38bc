package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/google/go-cmp/cmp"

	"slipway/agent"
	"slipway/agent/lab"
	"slipway/systemd"
	"slipway/systemd/systemdtest"
)

// The unit on one real host: what systemd is told, does and records. The parts share the host and follow on each other.
func TestUnitOnHost(t *testing.T) {
	if reason := systemdtest.Missing(); reason != "" {
		t.Skip(reason)
	}
	h := newServiceHost(t, t.TempDir(), systemdtest.Options{}, buildSlipway(t, "1.0.0-old"))
	h.put("plain.zip", plain(""))
	for _, part := range []struct {
		name string
		do   func(*serviceHost)
	}{
		{"stop when idle", (*serviceHost).stopsIdle},
		{"journal", (*serviceHost).writesJournal},
		{"modes", (*serviceHost).keepsModes},
		{"hardening", (*serviceHost).isRecorded},
		{"stop during a download", (*serviceHost).stopsInDownload},
		{"watchdog", (*serviceHost).isWatched},
		{"cloud-init", (*serviceHost).waitsForCloudInit},
		{"service", (*serviceHost).isInstalled},
	} {
		t.Run(part.name, func(t *testing.T) {
			h.t = t
			part.do(h)
		})
		h.t = t
		if t.Failed() {
			return // what follows builds on it
		}
	}
}

// plain is a revision of one file, with an AfterInstall of one line if there is one.
func plain(hook string) []byte {
	files := map[string]string{"content": "content\n"}
	spec := "version: 0.0\nos: linux\nfiles:\n  - source: content\n    destination: /srv/site\n"
	if hook != "" {
		spec += "hooks:\n  AfterInstall:\n    - location: hook.sh\n      timeout: 60\n"
		files["hook.sh"] = "#!/bin/sh\n" + hook + "\n"
	}
	files["appspec.yml"] = spec
	return zipped(files)
}

func (h *serviceHost) write(path, text string) {
	h.t.Helper()
	h.must(os.MkdirAll(filepath.Dir(h.inside(path)), 0o755))
	h.must(os.WriteFile(h.inside(path), []byte(text), 0o644))
}

// sh runs a line of shell in the host; it has to succeed.
func (h *serviceHost) sh(line string) string {
	h.t.Helper()
	out, err := h.machine.Enter(h.t.Context(), "/bin/sh", "-ec", line).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return strings.TrimSpace(string(out))
}

// code runs a line of shell in the host and returns how it ends.
func (h *serviceHost) code(line string) (int, string) {
	h.t.Helper()
	cmd := h.machine.Enter(h.t.Context(), "/bin/sh", "-c", line)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func (h *serviceHost) property(name string) string {
	h.t.Helper()
	return h.sh("systemctl show --value -p " + name + " " + systemd.UnitName)
}

// settings restarts the agent with settings beside those of the host.
func (h *serviceHost) settings(text string) {
	h.t.Helper()
	h.write("/etc/slipway/conf.d/unit.yml", text)
	h.sh("systemctl restart " + systemd.UnitName)
}

// report is what the agent has left word of.
func (h *serviceHost) report() (r report) {
	_ = json.Unmarshal([]byte(h.content(filepath.Join(h.under, statusFile))), &r)
	return r
}

// lines are what this run of the agent has logged.
func (h *serviceHost) lines() string {
	h.t.Helper()
	return h.sh("journalctl --sync; journalctl --no-pager -q -o cat _SYSTEMD_INVOCATION_ID=" + h.property("InvocationID"))
}

// polls waits until the agent knows who it is, which is when it begins to poll.
func (h *serviceHost) polls() {
	h.t.Helper()
	h.eventually("the agent polls", func() bool { return strings.Contains(h.lines(), "this host") })
}

func (h *serviceHost) succeeds(key string) string {
	h.t.Helper()
	d := h.create(key)
	if status, problem := h.end(d); status != types.DeploymentStatusSucceeded {
		h.t.Fatalf("deployment of %s = %s, %s", key, status, problem)
	}
	return d.id
}

// stopTime is how long systemd waited for the last stop.
func (h *serviceHost) stopTime() time.Duration {
	h.t.Helper()
	stamp := func(name string) int {
		n, err := strconv.Atoi(h.property(name))
		h.must(err)
		return n
	}
	return time.Duration(stamp("InactiveEnterTimestampMonotonic")-stamp("ActiveExitTimestampMonotonic")) * time.Microsecond
}

// A poll is held for five seconds here, and no stop waits for it.
func (h *serviceHost) stopsIdle() {
	best := time.Hour
	for range 3 {
		h.polls()
		h.sh("systemctl stop " + systemd.UnitName)
		best = min(best, h.stopTime())
		if state, result := h.property("ActiveState"), h.property("Result"); state != "inactive" || result != "success" {
			h.t.Errorf("after the stop it is %s, %s", state, result)
		}
		h.sh("systemctl start " + systemd.UnitName)
	}
	h.t.Logf("the quickest of three stops took %s", best)
	if best > 500*time.Millisecond {
		h.t.Errorf("the quickest of three stops took %s", best)
	}
}

// Each line has its severity and its keys as fields of the entry.
func (h *serviceHost) writesJournal() {
	id := h.succeeds("plain.zip")
	h.sh("journalctl --sync")
	var events []string
	for line := range strings.Lines(h.sh("journalctl --no-pager -q -o json SLIPWAY_DEPLOYMENT=" + id)) {
		var e map[string]any
		h.must(json.Unmarshal([]byte(line), &e))
		if e["_SYSTEMD_UNIT"] != systemd.UnitName || e["SYSLOG_IDENTIFIER"] != "slipway" || e["PRIORITY"] != "6" || e["_TRANSPORT"] != "journal" {
			h.t.Errorf("entry: %s", line)
		}
		if strings.HasPrefix(fmt.Sprint(e["MESSAGE"]), "event succeeded") && e["SLIPWAY_GROUP"] == labGroup {
			events = append(events, fmt.Sprint(e["SLIPWAY_EVENT"]))
		}
	}
	if diff := cmp.Diff([]string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService"}, events); diff != "" {
		h.t.Errorf("events of the deployment in the journal (-want +got):\n%s", diff)
	}
	h.put("fails.zip", plain("exit 3"))
	d := h.create("fails.zip")
	if status, _ := h.end(d); status != types.DeploymentStatusFailed {
		h.t.Fatalf("deployment with a script that fails = %s", status)
	}
	h.sh("journalctl --sync")
	h.t.Logf("journalctl -p warning:\n%s", h.sh("journalctl --no-pager -q -o short -p warning -u "+systemd.UnitName))
	if got := h.sh("journalctl --no-pager -q -o cat -p err -u slipway SLIPWAY_DEPLOYMENT=" + d.id); !strings.HasPrefix(got, "event failed  {") || strings.Contains(got, "event succeeded") {
		h.t.Errorf("errors of the deployment: %s", got)
	}
}

// stopsInDownload stops the agent while a download is in hand: it is finished within stop_timeout, and taken up later where that is too short.
func (h *serviceHost) stopsInDownload() {
	slow := func(key string) *labDeployment {
		h.put(key, plain("echo "+key))
		fault, err := h.lab.AddFault(lab.Fault{Service: "s3", Operation: http.MethodGet, Path: key, Times: 1, Delay: lab.Duration(3 * time.Second)})
		h.must(err)
		d := h.create(key)
		h.eventually("the download has begun", func() bool {
			_, faults := h.fetch(h.lab.Endpoints().Admin + "/lab/faults") // it is gone from there once it holds an answer back
			return !strings.Contains(faults, `"`+fault+`"`)
		})
		return d
	}
	h.settings("preflight: {mode: 'off'}\n")
	d := slow("finished.zip")
	h.sh("systemctl stop " + systemd.UnitName)
	h.t.Logf("the stop took %s: the download was finished", h.stopTime())
	said := h.lines()
	done, stopped := strings.Index(said, `event succeeded  {"event": "DownloadBundle"`), strings.LastIndex(said, "stopped")
	if done < 0 || stopped < done || strings.Contains(said, `{"event": "Install"`) || h.property("Result") != "success" {
		h.t.Errorf("a stop during a download, %s:\n%s", h.property("Result"), said)
	}
	h.sh("systemctl start " + systemd.UnitName)
	if status, problem := h.end(d); status != types.DeploymentStatusSucceeded {
		h.t.Errorf("deployment = %s, %s", status, problem)
	}
	h.settings("preflight: {mode: 'off'}\nstop_timeout: 100ms\n")
	d = slow("suspended.zip")
	h.sh("systemctl stop " + systemd.UnitName)
	h.t.Logf("the stop took %s: the download was suspended", h.stopTime())
	if said := h.lines(); !strings.Contains(said, "command suspended: it goes on when the agent is started again") || h.stopTime() > 2500*time.Millisecond {
		h.t.Errorf("a stop with a short stop_timeout, after %s:\n%s", h.stopTime(), said)
	}
	h.sh("systemctl start " + systemd.UnitName)
	if status, problem := h.end(d); status != types.DeploymentStatusSucceeded {
		h.t.Errorf("deployment = %s, %s", status, problem)
	}
}

// get asks the health listener of the agent.
func (h *serviceHost) get(path string) (int, string) {
	h.t.Helper()
	return h.fetch("http://" + h.report().Listen + path)
}

func (h *serviceHost) fetch(url string) (int, string) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, url, nil)
	h.must(err)
	resp, err := http.DefaultClient.Do(req)
	h.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	h.must(err)
	return resp.StatusCode, string(text)
}

// isWatched wedges the agent in two ways: its poll loop in a write that never ends, as on a dead disk, while all the rest of it lives; and the whole
// process. systemd starts it again, and what was in hand goes on.
func (h *serviceHost) isWatched() {
	pipe := filepath.Join(h.under, statusFile) + ".new"
	h.write("/etc/systemd/system/slipway.service.d/watchdog.conf", "[Service]\nWatchdogSec=3\nRestartSec=200ms\nExecStartPre=-/bin/rm -f "+pipe+"\n")
	h.sh("systemctl daemon-reload")
	h.settings("")
	pid := h.running(0)
	h.polls()
	if code, text := h.get("/livez"); code != http.StatusOK {
		h.t.Fatalf("/livez = %d, %s", code, text)
	}
	h.must(os.RemoveAll(h.inside(pipe)))
	h.must(syscall.Mkfifo(h.inside(pipe), 0o644)) // nobody reads it
	d := h.create("plain.zip")
	h.eventually("/livez says that the loop is stuck", func() bool { code, _ := h.get("/livez"); return code == http.StatusServiceUnavailable })
	if !h.alive(strconv.Itoa(pid)) {
		h.t.Error("the process ended before the watchdog did it")
	}
	h.running(pid)
	if n := h.property("NRestarts"); n != "1" {
		h.t.Errorf("NRestarts = %s", n)
	}
	if status, problem := h.end(d); status != types.DeploymentStatusSucceeded {
		h.t.Errorf("the deployment that hung = %s, %s", status, problem)
	}
	said := h.journal()
	for _, want := range []string{"Watchdog timeout", "SIGABRT: abort", "main.report.save"} {
		if !strings.Contains(said, want) {
			h.t.Errorf("the journal does not have %q", want)
		}
	}
	pid = h.running(0)
	h.sh(fmt.Sprintf("kill -STOP %d", pid))
	h.running(pid)
	if n := h.property("NRestarts"); n != "2" {
		h.t.Errorf("NRestarts = %s after the process was halted", n)
	}
	h.succeeds("plain.zip")
	h.must(os.RemoveAll(h.inside("/etc/systemd/system/slipway.service.d")))
	h.sh("systemctl daemon-reload")
}

// userData stands in for the last stage of cloud-init. It is ordered as that is, starts the agent, as some user-data does, and tells what it saw.
const userData = `#!/bin/sh
systemctl start slipway.service
systemctl is-active slipway.service >/srv/seen
systemctl show --value -p StatusText slipway.service >>/srv/seen
slipway status >>/srv/seen
sleep 0.3
mkdir -p /var/lib/cloud/data && echo '{}' >/var/lib/cloud/data/result.json
ln -s ../../var/lib/cloud/data/result.json /run/cloud-init/result.json
`

// waitsForCloudInit boots the host with an agent that is enabled and user-data that takes its time, and tries the ends of the wait.
func (h *serviceHost) waitsForCloudInit() {
	h.settings("")
	h.write("/etc/tmpfiles.d/cloud-init-test.conf", "d /run/cloud-init 0755 root root -\nf /run/cloud-init/enabled 0644 root root -\n")
	h.write("/etc/systemd/system/cloud-init.target", "[Unit]\nAfter=multi-user.target\n[Install]\nWantedBy=multi-user.target\n")
	h.write("/etc/systemd/system/cloud-final.service", "[Unit]\nAfter=network-online.target\nAfter=multi-user.target\n[Service]\nType=oneshot\nRemainAfterExit=yes\nTimeoutSec=0\nExecStart=/bin/sh /srv/user-data\n[Install]\nWantedBy=cloud-init.target\n")
	h.write("/srv/user-data", userData)
	h.sh("systemctl enable --quiet cloud-init.target cloud-final.service")
	h.machine.Reboot() // ends when all jobs of the boot have ended
	const waiting = "waiting for cloud-init to finish (at most 5m)"
	seen := h.content("/srv/seen")
	if !strings.HasPrefix(seen, "active\n"+waiting+"\nslipway 1.0.0-old is running") || strings.Count(seen, waiting) != 2 {
		h.t.Errorf("user-data saw:\n%s", seen)
	}
	h.polls()
	h.inOrder(h.lines(), waiting, "cloud-init has finished: commands are taken from now on", "this host")

	// Not at boot: nothing but commands waits, and whoever starts the agent does not.
	h.must(os.Remove(h.inside("/var/lib/cloud/data/result.json")))
	h.sh("rm /run/cloud-init/result.json; systemctl restart slipway")
	if code, text := h.get("/livez"); code != http.StatusOK {
		h.t.Errorf("/livez while it waits = %d, %s", code, text)
	}
	if code, text := h.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, waiting) {
		h.t.Errorf("/readyz while it waits = %d, %s", code, text)
	}
	h.put("starts.zip", plain("systemctl start slipway.service"))
	d := h.create("starts.zip")
	if r := h.report(); r.Link != agent.Connecting || r.LinkText != waiting || len(r.InHand) > 0 {
		h.t.Errorf("status while it waits: %+v", r)
	}
	h.sh("ln -s nowhere /run/cloud-init/result.json")
	if status, problem := h.end(d); status != types.DeploymentStatusSucceeded {
		h.t.Errorf("a deployment whose hook starts the agent = %s, %s", status, problem)
	}

	// An end that never comes.
	h.sh("rm /run/cloud-init/result.json")
	h.settings("start: {wait: 1s}\n")
	h.polls()
	h.inOrder(h.lines(), "waiting for cloud-init to finish (at most 1s)", "cloud-init has not finished in time", "this host")
	if said := h.sh("journalctl --no-pager -q -o cat -b -p warning -u slipway"); !strings.Contains(said, "cloud-init has not finished in time: commands are taken all the same") {
		h.t.Errorf("warnings: %s", said)
	}

	// No cloud-init, or one that is switched off, or a host that does not want it.
	for _, none := range []struct{ do, settings string }{{"touch /run/cloud-init/disabled", ""}, {"rm /run/cloud-init/disabled", "start: {wait_for: 'off'}\n"}, {"rm -r /run/cloud-init", ""}} {
		h.sh(none.do)
		h.settings(none.settings)
		h.polls()
		if said := h.lines(); strings.Contains(said, "cloud-init") {
			h.t.Errorf("after %s:\n%s", none.do, said)
		}
	}
}

func (h *serviceHost) inOrder(text string, parts ...string) {
	h.t.Helper()
	at := 0
	for _, part := range parts {
		i := strings.Index(text[at:], part)
		if i < 0 {
			h.t.Fatalf("not seen in its turn: %q\n%s", part, text)
		}
		at += i
	}
}

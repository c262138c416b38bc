package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	h := newServiceHost(t, systemdtest.Options{}, buildSlipway(t, "1.0.0-old"))
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

// openModes are what others than root may look at of what the agent makes: a path below the folder of its state, the mode, and the rule. All else is
// root's alone. A folder ends in a slash.
var openModes = []struct {
	path string
	mode fs.FileMode
	rule string
}{
	{"deployment-root/", 0o755, "C-29, V-56: folders of the layout"},
	{"deployment-root/*/", 0o755, "C-29, V-56: deployment groups, instructions, tracking"},
	{"deployment-root/*/d-*/", 0o755, "C-29, V-56"},
	{"deployment-root/*/d-*/bundle.tar", 0o644, "V-56"},
	{"deployment-root/*/d-*/.bundle-*", 0o644, "V-93"},
	{"deployment-root/*/d-*/deployment-archive/", 0o755, "I-16: as unpacked"},
	{"deployment-root/*/d-*/deployment-archive/?*", 0o644, "I-16: modes of the bundle"},
	{"deployment-root/*/d-*/deployment-archive/?*.sh", 0o755, "I-16: modes of the bundle; H-11"},
	{"deployment-root/*/d-*/logs/", 0o750, "X-11"},
	{"deployment-root/*/d-*/logs/scripts.log", 0o640, "X-11"},
	{"deployment-root/deployment-instructions/?*", 0o644, "V-56, V-94: the official agents read them"},
	{"deployment-root/deployment-logs/", 0o750, "X-11"},
	{"deployment-root/deployment-logs/*.log", 0o640, "X-11"},
	{"deployment-root/ongoing-deployment/d-*", 0o644, "V-41"},
	{"log/", 0o755, "C-29"},
	{"log/*.log", 0o640, "X-11"},
	{"state/", 0o755, "C-29"},
	{"state/*.pid", 0o644, "L-32, V-89"},
	{"state/*.pid.lock", 0o644, "L-33"},
	{"/run/slipway/", 0o755, "tmpfiles: where scripts touch the drain marker"},
	{"/run/slipway/drain", 0o644, "what takes the host out of the pool may be read by who watches it"},
}

// keepsModes looks at everything that the agent has made, while a hook runs and while it is drained.
func (h *serviceHost) keepsModes() {
	const number = 90
	h.put("slow.zip", slow(number))
	d := h.create("slow.zip")
	h.eventually("the hook runs", func() bool { return h.content(fmt.Sprintf("/srv/starts%d", number)) != "" })
	h.sh("slipway drain --reason test")
	home, used, closed := filepath.Dir(h.under), map[string]bool{}, 0
	for _, top := range []string{h.under, filepath.Join(home, "log"), filepath.Join(home, "state"), "/run/slipway"} {
		h.must(filepath.WalkDir(h.inside(top), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(strings.TrimPrefix(path, h.inside("/")), home+"/")
			if e.IsDir() {
				name += "/"
			}
			if info.Mode()&(fs.ModeSocket|fs.ModeNamedPipe|fs.ModeDevice) != 0 {
				h.t.Errorf("%s is a %s", name, info.Mode())
			}
			if info.Mode()&0o077 == 0 {
				closed++
				return nil
			}
			for _, open := range slices.Backward(openModes) {
				if ok, _ := filepath.Match(open.path, name); ok && !strings.HasPrefix(name, "deployment-root/.slipway/") {
					if used[open.path] = true; open.mode != info.Mode().Perm() {
						break
					}
					return nil
				}
			}
			h.t.Errorf("%s has the mode %s and no rule for it", name, info.Mode())
			return nil
		}))
	}
	for _, open := range openModes {
		if !used[open.path] {
			h.t.Errorf("the exception %s (%s) is not needed", open.path, open.rule)
		}
	}
	if closed < 20 {
		h.t.Errorf("only %d files of the agent were seen that are root's alone", closed)
	}
	h.sh("slipway undrain")
	h.proceed(number)
	if status, problem := h.end(d); status != types.DeploymentStatusSucceeded {
		h.t.Errorf("deployment = %s, %s", status, problem)
	}
}

// hardened is one line of `systemd-analyze security`.
type hardened struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Exposure    string `json:"exposure"`
}

// isRecorded holds docs/hardening.md to what systemd says of the unit, and the unit to what the page says of it.
func (h *serviceHost) isRecorded() {
	var want []hardened
	h.must(json.Unmarshal([]byte(h.sh("systemd-analyze security --no-pager --json=short "+systemd.UnitName)), &want))
	page, err := os.ReadFile("../../../docs/hardening.md")
	h.must(err)
	_, table, _ := strings.Cut(string(page), "<!-- systemd-analyze -->\n")
	table, _, _ = strings.Cut(table, "<!-- end -->")
	var got []hardened
	setting := regexp.MustCompile(`[A-Za-z]+=`)
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.ReplaceAll(strings.TrimSpace(line), `\|`, "\x00"), " | ")
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		if len(cells) != 5 || strings.TrimSuffix(cells[4], " |") == "" {
			h.t.Errorf("a line without its choice or reason: %s", line)
			continue
		}
		v := hardened{Name: strings.Trim(cells[0], "| `"), Description: cells[1], Exposure: strings.TrimPrefix(cells[2], "–")}
		v.Name = strings.ReplaceAll(v.Name, "\x00", "|")
		got = append(got, v)
		for _, key := range setting.FindAllString(v.Name, -1) {
			if on, set := strings.HasPrefix(cells[3], "on"), strings.Contains(systemd.Unit, "\n"+key); on != set {
				h.t.Errorf("the page says %q of %s; set in the unit: %t", cells[3], key, set)
			}
		}
	}
	byName := func(a, b hardened) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(want, byName)
	slices.SortFunc(got, byName)
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("docs/hardening.md (-systemd +page):\n%s", diff)
	}
	if said := h.sh("systemd-analyze security --no-pager " + systemd.UnitName + " | tail -1"); !strings.Contains(string(page), strings.TrimRight(said, ":-{ ")) {
		h.t.Errorf("the page does not have the score: %s", said)
	}

	// The ground for it all: what the unit sets holds for a hook, although that is in a scope.
	h.put("seccomp.zip", plain("sed -n s/Seccomp_filters://p /proc/self/status >>/srv/seccomp"))
	h.succeeds("seccomp.zip")
	h.write("/etc/systemd/system/slipway.service.d/hard.conf", "[Service]\nProtectClock=yes\nLockPersonality=yes\nRestrictRealtime=yes\n")
	h.sh("systemctl daemon-reload; systemctl restart slipway")
	h.succeeds("seccomp.zip")
	var without, with int // the container has filters of its own
	if n, err := fmt.Sscan(h.content("/srv/seccomp"), &without, &with); n != 2 || with < without+3 {
		h.t.Errorf("a hook has %d system call filters, with three more of the unit %d (%v)", without, with, err)
	}
	h.sh("rm -r /etc/systemd/system/slipway.service.d; systemctl daemon-reload; systemctl restart slipway")
}

// stopsInDownload stops the agent while a download is in hand: it is finished within stop_timeout, and taken up later where that is too short.
func (h *serviceHost) stopsInDownload() {
	slow := func(key string) (*labDeployment, string) {
		h.put(key, plain("echo "+key))
		fault, err := h.lab.AddFault(lab.Fault{Service: "s3", Operation: http.MethodGet, Path: key, Delay: lab.Duration(3 * time.Second)})
		h.must(err)
		d := h.create(key)
		h.eventually("the download is in hand", func() bool {
			in := h.report().InHand
			return len(in) == 1 && in[0].Event == "DownloadBundle"
		})
		return d, fault
	}
	h.settings("preflight: {mode: 'off'}\n")
	d, _ := slow("finished.zip")
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
	d, _ = slow("suspended.zip")
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
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, "http://"+h.report().Listen+path, nil)
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
	h.write("/etc/systemd/system/slipway.service.d/watchdog.conf", "[Service]\nWatchdogSec=2\nRestartSec=200ms\nExecStartPre=-/bin/rm -f "+pipe+"\n")
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

// isInstalled takes the package's files away and lets the program install itself, as on a host without the package.
func (h *serviceHost) isInstalled() {
	h.sh("systemctl disable --quiet --now slipway; rm -r /usr/lib/systemd/system/slipway* /usr/lib/tmpfiles.d/slipway.conf /etc/slipway/conf.d; mv /usr/bin/slipway /usr/local/bin/; systemctl daemon-reload")
	files := func() string {
		return h.sh("find /etc/systemd /etc/tmpfiles.d /usr/lib/systemd/system /etc/slipway /etc/init.d -name '*' -printf '%M %p %l\n' | sort")
	}
	slipway := func(want int, args string) string {
		h.t.Helper()
		code, out := h.code("slipway " + args)
		if code != want {
			h.t.Errorf("slipway %s = %d, want %d: %s", args, code, want, out)
		}
		return out
	}
	before := files()
	slipway(3, "service status")
	slipway(1, "service start")
	if out := slipway(0, "service install"); out != "installed and enabled /etc/systemd/system/slipway.service\nstart it with: slipway service start\n" {
		h.t.Errorf("install says %q", out)
	}
	same := func(execStart string) {
		h.t.Helper()
		want := strings.Replace(systemd.Unit, "ExecStart=/usr/bin/slipway run\n", "ExecStart="+execStart+"\n", 1)
		if diff := cmp.Diff(want, h.content("/etc/systemd/system/"+systemd.UnitName)); diff != "" {
			h.t.Errorf("the unit (-want +got):\n%s", diff)
		}
	}
	same("/usr/local/bin/slipway run")
	if got := h.sh("systemctl is-enabled slipway; systemctl is-active slipway || :"); got != "enabled\ninactive" {
		h.t.Errorf("installed, it is %q", got)
	}
	slipway(1, "service install") // there is one
	slipway(3, "service status")
	slipway(0, "service start")
	pid := h.running(0)
	if out := slipway(0, "service status"); !strings.Contains(out, fmt.Sprintf("is running, PID %d", pid)) {
		h.t.Errorf("status says %s", out)
	}
	h.succeeds("plain.zip")
	slipway(0, "service restart")
	h.running(pid)
	slipway(0, "service stop")
	slipway(3, "service status")
	h.write(filepath.Join(h.under, statusFile), "{")
	slipway(4, "service status")
	h.must(os.Remove(h.inside(filepath.Join(h.under, statusFile))))
	slipway(0, "service start")
	slipway(0, "service uninstall") // while it runs
	gone := func() {
		h.t.Helper()
		if diff := cmp.Diff(before, files()); diff != "" {
			h.t.Errorf("after uninstall (-before +after):\n%s", diff)
		}
		if got := h.sh("systemctl show --value -p LoadState,ActiveState slipway.service | sort | tr '\n' ' '"); !slices.Equal(strings.Fields(got), []string{"inactive", "not-found"}) {
			h.t.Errorf("after uninstall the unit is %q", got)
		}
	}
	gone()
	slipway(3, "service status")
	// The program and its configuration in places that systemd would read otherwise.
	const home, odd = "/srv/100% of $HOME{{Path}}", `/srv/the "$HOME" \n of 5%{{Path}}.yml`
	h.must(os.Mkdir(h.inside(home), 0o755))
	h.sh(`cp /usr/local/bin/slipway '` + home + `'; cp /etc/slipway/slipway.yml '` + odd + `'`)
	if code, out := h.code(`'` + home + `/slipway' service install --now --config '` + odd + `'`); code != 0 {
		h.t.Errorf("install: %s", out)
	}
	same(`"/srv/100%% of $HOME\x7b\x7bPath\x7d\x7d/slipway" run --config "/srv/the \x22$$HOME\x22 \x5cn of 5%%\x7b\x7bPath\x7d\x7d.yml"`)
	pid = h.running(0)
	if got := h.sh(fmt.Sprintf(`tr '\0' '\n' </proc/%d/cmdline`, pid)); got != home+"/slipway\nrun\n--config\n"+odd {
		h.t.Errorf("it runs as %s", got)
	}
	slipway(0, "service uninstall")
	gone()
	if code, out := h.code(`mkdir /srv/\' && cp /usr/local/bin/slipway /srv/\' && /srv/\'/slipway service install`); code != 1 || !strings.Contains(out, "systemd starts no program whose path has quotes or backslashes: move /srv/'/slipway") {
		h.t.Errorf("install from a place that systemd does not take = %d, %s", code, out)
	}
	gone()
}

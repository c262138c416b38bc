package packaging

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"slipway/systemd/systemdtest"
)

// manager is how one kind of package is handled: lines of shell, and what comes of them.
type manager struct {
	install, upgrade string // of the current version; to the next one
	again            string // installs the next one after a removal
	remove           string // leaves what dpkg calls configuration
	purge            string // the rest; "" where there is no such thing
	verify           string // prints what differs from the package
	list             string // prints the files of the package
	changelog        string // prints the changelog of the package
	kept             string // a changed configuration after a removal
	offered          string // the new sample beside a changed configuration
	official         string // installs the official agent beside ours; has to fail
	instead          string // asks what would come of a manager that finds a way; "" if it finds none
	files            []string
	ours             []string // what the manager itself leaves, as patterns of paths
}

// A deb, by apt and dpkg, from its installation into an image to its purge.
func TestDeb(t *testing.T) {
	version := current(t)
	from, to := built(t, version), built(t, next)
	agent := t.TempDir()
	stub(t, agent, "deb", "codedeploy-agent", "1.8.1")
	m := newMachine(t, systemdtest.Options{}, from, to, agent)
	apt := "DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Options::=--force-confold install "
	m.life(version, manager{
		install: apt + "/pkg/slipway_" + version + "-1_amd64.deb",
		upgrade: apt + "/pkg/slipway_" + next + "-1_amd64.deb", again: apt + "/pkg/slipway_" + next + "-1_amd64.deb",
		remove: "dpkg -r slipway", purge: "dpkg -P slipway",
		verify: "dpkg -V slipway", list: "dpkg -L slipway", changelog: "zcat /usr/share/doc/slipway/changelog.Debian.gz",
		kept: "/etc/slipway/slipway.yml", offered: "/etc/slipway/slipway.yml.dpkg-dist",
		official: "dpkg -i /pkg/codedeploy-agent_1.8.1_amd64.deb", instead: "apt-get -s install /pkg/codedeploy-agent_1.8.1_amd64.deb",
		files: []string{"/etc/default/slipway", "/usr/share/doc/slipway/copyright", "/usr/share/doc/slipway/changelog.Debian.gz", "/usr/share/zsh/vendor-completions/_slipway"},
		ours:  []string{`/var/(lib|cache)/(dpkg|apt)/.*`, `/var/log/(dpkg\.log|apt/.*)`, `/etc/(ld\.so\.cache|mailcap)`},
	})
}

// The rpm, by dnf that asks for signatures, as on Amazon Linux; a package of the test's own stands for the system's, which Debian has not as rpms.
func TestRPM(t *testing.T) {
	version := current(t)
	from, to := built(t, version), built(t, next)
	others := t.TempDir()
	stub(t, others, "rpm", "base", "1.0.0", "/bin/sh")
	stub(t, others, "rpm", "codedeploy-agent", "1.8.1")
	m := newMachine(t, systemdtest.Options{Packages: []string{"rpm", "dnf", "createrepo-c"}}, from, to, others)
	m.sh("cd /pkg && createrepo_c -q . && mkdir -p /etc/yum.repos.d && printf '[local]\\nname=local\\nbaseurl=file:///pkg\\ngpgcheck=1\\ngpgkey=file:///pkg/key.asc\\n' >/etc/yum.repos.d/local.repo")
	dnf := "dnf -y -q --setopt=module_platform_id=platform:al2023 "
	m.sh("mkdir -p /etc/sysconfig /usr/share/licenses /usr/share/zsh/site-functions; " + dnf + "install base") // the folders are those of the system's packages too
	m.life(version, manager{
		install: dnf + "install slipway-" + version + "-1", upgrade: dnf + "upgrade slipway", again: dnf + "install slipway", remove: dnf + "remove slipway",
		verify: "rpm -V slipway", list: "rpm -ql slipway", changelog: "rpm -q --changelog slipway",
		kept: "/etc/slipway/slipway.yml.rpmsave", offered: "/etc/slipway/slipway.yml.rpmnew",
		official: dnf + "install codedeploy-agent",
		files:    []string{"/etc/sysconfig/slipway", "/usr/share/licenses/slipway/LICENSE", "/usr/share/doc/slipway/CHANGELOG.md", "/usr/share/zsh/site-functions/_slipway"},
		ours:     []string{`/var/(lib|cache)/(dnf|rpm)(/.*)?`, `/root/\.(rpmdb|gnupg).*`, `/var/log/(dnf|hawkey).*`},
	})
}

// packaged are the files of every package, beside those that are at home elsewhere in a deb than in an rpm.
var packaged = []string{
	"/usr/bin/slipway", "/usr/bin/codedeploy-local", "/etc/slipway/conf.d", "/etc/slipway/slipway.yml",
	"/usr/lib/systemd/system/slipway.service", "/usr/lib/systemd/system/slipway-hooks.slice", "/usr/lib/systemd/system-preset/90-slipway.preset", "/usr/lib/tmpfiles.d/slipway.conf",
	"/usr/share/man/man8/slipway.8.gz", "/usr/share/man/man8/slipway-rollback.8.gz", "/usr/share/man/man8/codedeploy-local.8.gz", "/usr/share/man/man5/slipway.yml.5.gz",
	"/usr/share/bash-completion/completions/slipway", "/usr/share/fish/vendor_completions.d/slipway.fish",
}

// life is that of a package: into an image, first boot, upgrade in the middle of a hook, removal.
func (m *machine) life(version string, p manager) {
	m.t.Helper()
	before := m.tree()
	m.bake(version, p)
	m.firstBoot()
	m.upgraded(p)
	m.stopsAtOnce()
	m.conflicts(p)

	m.sh("cp /etc/slipway/slipway.yml /pkg/mine; " + p.remove)
	if got := m.says("systemctl is-active slipway; pgrep -x slipway; ls /usr/bin/slipway"); !strings.HasPrefix(got, "inactive\n") || !strings.HasSuffix(got, "No such file or directory") || strings.Count(got, "\n") != 1 {
		m.t.Errorf("after its removal: %q", got)
	}
	m.sh("cmp /pkg/mine " + p.kept)
	m.sh(p.again)
	if got := m.says("systemctl is-enabled slipway; systemctl is-active slipway"); got != "enabled\ninactive" {
		m.t.Errorf("installed again after its removal: %q", got)
	}
	m.sh(p.remove)
	if p.purge != "" {
		m.sh(p.purge)
	} else { // what was changed is the operator's
		m.sh("rm " + p.kept + " " + p.offered + "; rmdir /etc/slipway")
	}
	// The deployment root is the lab's folder here; what was installed and made for this test is not the package's either.
	expected := append(p.ours, `/pkg/.*`, `/srv.*`, `/bundles.*`, `/var/lib/lab.*`, `/etc/codedeploy-agent.*`,
		`/var/lib/systemd/.*`, `/var/log/journal.*`, `/var/tmp/systemd-private.*`, `/etc/machine-id .*`, `/etc/yum.repos.d.*`)
	only := regexp.MustCompile(`^(` + strings.Join(expected, "|") + `) `)
	after := m.tree()
	for line := range after {
		if !before[line] && !only.MatchString(line+" ") {
			m.t.Errorf("left or changed after the removal: %s", line)
		}
	}
	for line := range before {
		if !after[line] && !only.MatchString(line+" ") {
			m.t.Errorf("gone or changed after the removal: %s", line)
		}
	}
}

// tree is every path of the host's disk with its type, mode, owner and target.
func (m *machine) tree() map[string]bool {
	m.t.Helper()
	all := map[string]bool{}
	for line := range strings.Lines(m.sh(`find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp \) -prune -o -printf '%p %y %m %u:%g %l\n'`)) {
		all[strings.TrimSpace(line)] = true
	}
	if len(all) < 1000 {
		m.t.Fatalf("the host has only %d files", len(all))
	}
	return all
}

// bake installs the package into what shall become an image: it is complete, enabled, and asks nobody anything.
func (m *machine) bake(version string, p manager) {
	m.t.Helper()
	m.sh(p.install)
	if got := m.says("systemctl is-enabled slipway; systemctl is-active slipway; readlink /usr/bin/codedeploy-local; slipway version"); !strings.HasPrefix(got, "enabled\ninactive\nslipway\n") || !strings.Contains(got, version) {
		m.t.Errorf("after its installation: %q", got)
	}
	if got := m.says(p.verify); got != "" {
		m.t.Errorf("it differs from its package: %s", got)
	}
	files := strings.Fields(m.sh(p.list))
	for _, name := range slices.Concat(packaged, p.files) {
		if !slices.Contains(files, name) {
			m.t.Errorf("the package has no %s", name)
		}
	}
	if got := m.sh(p.changelog); !strings.Contains(got, version) || !strings.Contains(got, "[FEATURE]") {
		m.t.Errorf("the changelog does not tell of version %s: %s", version, trim(got))
	}
	if got := m.says("codedeploy-local --help | head -3; bash -n /usr/share/bash-completion/completions/slipway && echo completes"); !strings.Contains(got, "local") || !strings.HasSuffix(got, "completes") {
		m.t.Errorf("codedeploy-local and the completion: %q", got)
	}
	m.PowerOff()
	if err := os.WriteFile(filepath.Join(m.Root(), "etc/machine-id"), nil, 0o444); err != nil { // as images have it: the host is a new one
		m.t.Fatal(err)
	}
	if calls := m.content("/var/lib/lab/calls.json"); strings.Contains(calls, "PollHostCommand") {
		m.t.Errorf("it has polled during the bake: %s", trim(calls))
	}
}

// firstBoot boots the image: the agent starts by itself and polls within a second of the network. Both moments are those of the clock of
// the host: when systemd reached network-online.target, and when the first poll arrived at the lab. A machine that is busy with other
// things may take longer, so one good boot of three is enough.
func (m *machine) firstBoot() {
	m.t.Helper()
	var late time.Duration
	for try := range 3 {
		if try > 0 {
			m.PowerOff()
		}
		m.Start()
		m.eventually("the boot starts it, and it polls", online)
		if late = m.firstPoll(); late < 0 {
			m.t.Errorf("it polled %v before the network was there", -late)
		}
		m.t.Logf("the first poll arrived %v after network-online.target", late.Round(time.Millisecond))
		if late < time.Second {
			return
		}
	}
	m.t.Errorf("the first poll arrives %v after network-online.target in the third boot too", late)
}

// firstPoll is how long after network-online.target the first poll of this boot arrived at the lab.
func (m *machine) firstPoll() time.Duration {
	m.t.Helper()
	moment := func(object, property string) time.Time {
		m.t.Helper()
		text, isTime := strings.CutPrefix(m.sh("busctl get-property org.freedesktop.systemd1 /org/freedesktop/systemd1"+object+" "+property), "t ")
		us, err := strconv.ParseInt(text, 10, 64)
		if !isTime || err != nil || us == 0 {
			m.t.Fatalf("%s of systemd is %q, %v", property, text, err)
		}
		return time.UnixMicro(us)
	}
	booted := moment("", "org.freedesktop.systemd1.Manager UserspaceTimestamp")
	network := moment("/unit/network_2donline_2etarget", "org.freedesktop.systemd1.Unit ActiveEnterTimestamp")
	var first time.Time
	for line := range strings.Lines(m.content("/var/lib/lab/calls.json")) {
		var call struct {
			Time      time.Time
			Operation string
		}
		if json.Unmarshal([]byte(line), &call) == nil && call.Operation == "PollHostCommand" && call.Time.After(booted) && (first.IsZero() || call.Time.Before(first)) {
			first = call.Time
		}
	}
	if first.IsZero() {
		m.t.Fatal("the lab has seen no poll in this boot")
	}
	return first.Sub(network)
}

// upgraded upgrades the package in the middle of a hook. The hook could run for 30 s; it is let go when the new agent is there. It has run
// once, the new program reports it, and the configuration that was changed is still that.
func (m *machine) upgraded(p manager) {
	m.t.Helper()
	m.sh("echo '# mine' >>/etc/slipway/slipway.yml")
	// systemd-run makes one dollar of two.
	m.bundle("v1", "echo ran $$$$ >>/srv/ran; i=0; while [ ! -e /srv/go ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i+1)); done; echo ended >>/srv/ran")
	m.sh("systemd-run --quiet --unit=deploying /bin/sh -c '. /var/lib/lab/env; slipway-lab deploy /bundles/v1 >/srv/deployed 2>&1'")
	m.eventually("the hook runs", "test -s /srv/ran")
	began := m.content("/srv/ran")
	m.sh(p.upgrade)
	hook := strings.TrimSpace(strings.TrimPrefix(began, "ran "))
	if got := m.says("slipway status | head -1; kill -0 " + hook + " && echo lives"); !strings.HasPrefix(got, "slipway "+next+" is running") || !strings.HasSuffix(got, "\nlives") || m.content("/srv/ran") != began {
		m.t.Errorf("after the upgrade, in the middle of the hook: %q, the hook wrote %q", got, m.content("/srv/ran"))
	}
	m.sh("touch /srv/go")
	m.eventually("the deployment ends", "! systemctl is-active --quiet deploying")
	if got := m.says("cat /srv/app/f; slipway history | tail -1"); m.content("/srv/ran") != began+"ended\n" || !strings.HasPrefix(got, "v1\n") || !strings.HasSuffix(got, "succeeded") {
		m.t.Errorf("after the deployment: %q, the hook wrote %q\n%s", got, m.content("/srv/ran"), m.content("/srv/deployed"))
	}
	m.reportedBy(next)
	if got := m.says("tail -1 /etc/slipway/slipway.yml; tail -1 " + p.offered); got != "# mine\n# a newer sample" {
		m.t.Errorf("the configuration that was changed, and the new sample: %q", got)
	}
}

// reportedBy checks that the result of the script arrived once, from a program of that version.
func (m *machine) reportedBy(version string) {
	m.t.Helper()
	by := map[string]int{}
	for line := range strings.Lines(m.content("/var/lib/lab/calls.json")) {
		var call struct {
			Operation, Agent string
			Request          json.RawMessage
		}
		if json.Unmarshal([]byte(line), &call) == nil && call.Operation == "PutHostCommandComplete" && strings.Contains(string(call.Request), "h.sh") {
			by[call.Agent]++
		}
	}
	m.t.Logf("the result of the script was reported by %v", by)
	if by["SLIPWAY_"+version] != 1 || len(by) != 1 {
		m.t.Errorf("the result of the script was reported by %v, want once by SLIPWAY_%s", by, version)
	}
}

// stopsAtOnce stops the agent at rest: less than half a second, in one of three tries, the way into the host included.
func (m *machine) stopsAtOnce() {
	m.t.Helper()
	var took time.Duration
	for range 3 {
		m.sh("systemctl start slipway")
		began := time.Now()
		out, err := m.Enter(m.t.Context(), "systemctl", "stop", "slipway").CombinedOutput()
		if took = time.Since(began); err != nil {
			m.t.Fatalf("systemctl stop: %v: %s", err, out)
		}
		m.t.Logf("systemctl stop of an agent at rest: %v", took.Round(time.Millisecond))
		if took < 500*time.Millisecond {
			m.sh("systemctl start slipway")
			return
		}
	}
	m.t.Errorf("systemctl stop of an agent at rest takes %v", took)
}

// conflicts lets the official agent be installed beside: the package manager names both and does not.
func (m *machine) conflicts(p manager) {
	m.t.Helper()
	if got := m.refused(p.official); !regexp.MustCompile(`slipway.* conflicts with codedeploy-agent`).MatchString(got) {
		m.t.Errorf("%s says: %s", p.official, trim(got))
	} else {
		m.t.Log(regexp.MustCompile(`.*conflicts with codedeploy-agent.*`).FindString(got))
	}
	if p.instead != "" { // apt takes the other one away, and says so first
		if got := m.sh(p.instead); !strings.Contains(got, "REMOVED:\n  slipway\n") {
			m.t.Errorf("%s says: %s", p.instead, trim(got))
		}
		m.refused(strings.Replace(p.instead, "-s", "-y --no-remove", 1))
	}
	if got := m.says("systemctl is-active slipway"); got != "active" {
		m.t.Errorf("after the official agent was refused slipway is %s", got)
	}
}

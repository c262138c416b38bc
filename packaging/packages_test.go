// Package packaging holds the tests of what operators get: the packages, in real hosts with systemd.
package packaging

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway/systemd/systemdtest"
)

// built makes the packages of one version into a folder, once for all tests.
func built(t *testing.T, version string) string {
	t.Helper()
	if reason := systemdtest.Missing(); reason != "" {
		t.Skip(reason)
	}
	once, _ := builds.LoadOrStore(version, &build{})
	b := once.(*build)
	b.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "slipway-packages-"); b.err != nil {
			return
		}
		cmd := exec.Command("package/run", "all")
		cmd.Env = append(os.Environ(), "DIST="+b.dir, "ARCHES=amd64", "VERSION="+version)
		var out []byte
		if out, b.err = cmd.CombinedOutput(); b.err != nil {
			t.Logf("package/run: %s", out)
		}
	})
	if b.err != nil {
		t.Fatalf("make the packages: %v", b.err)
	}
	return b.dir
}

type build struct {
	sync.Once
	dir string
	err error
}

var builds sync.Map

func TestMain(m *testing.M) {
	code := m.Run()
	builds.Range(func(_, b any) bool {
		os.RemoveAll(b.(*build).dir)
		return true
	})
	os.Exit(code)
}

// labUnit is the offline lab as a service of the host, up before the agent asks it anything.
const labUnit = `[Unit]
Before=slipway.service
[Service]
ExecStart=/usr/local/bin/slipway-lab serve --listen 127.0.0.1:8400 --dir /var/lib/lab --env /var/lib/lab/env --log /var/lib/lab/calls.json --poll-wait 500ms
StateDirectory=lab
ExecStartPost=/bin/sh -c 'until [ -s /var/lib/lab/env ]; do sleep 0.05; done; install -D -m 644 /var/lib/lab/agent.yml /etc/codedeploy-agent/conf/codedeployagent.yml'
[Install]
WantedBy=multi-user.target
`

// machine is a host with the lab, and the packages in /pkg.
type machine struct {
	*systemdtest.Host
	t *testing.T
}

func newMachine(t *testing.T, o systemdtest.Options, folders ...string) *machine {
	t.Helper()
	lab, err := filepath.Abs("../bin/slipway-lab")
	if err != nil {
		t.Fatal(err)
	}
	o.Packages = append(o.Packages, "procps", "curl")
	o.Prepare = func(root string) error {
		put := func(from, to string, mode os.FileMode) error {
			data, err := os.ReadFile(from)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, to)), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(root, to), data, mode)
		}
		if err := put(lab, "usr/local/bin/slipway-lab", 0o755); err != nil {
			return err
		}
		for _, dir := range folders {
			entries, err := os.ReadDir(dir)
			if err != nil {
				return err
			}
			for _, e := range entries {
				if ext := filepath.Ext(e.Name()); ext == ".deb" || ext == ".rpm" {
					if err := put(filepath.Join(dir, e.Name()), "pkg/"+e.Name(), 0o644); err != nil {
						return err
					}
				}
			}
		}
		if err := os.MkdirAll(filepath.Join(root, "etc/systemd/system/multi-user.target.wants"), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("/etc/systemd/system/lab.service", filepath.Join(root, "etc/systemd/system/multi-user.target.wants/lab.service")); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(root, "etc/systemd/system/lab.service"), []byte(labUnit), 0o644)
	}
	return &machine{systemdtest.Boot(t, o), t}
}

// sh runs a line of shell in the host; it has to succeed.
func (m *machine) sh(line string) string {
	m.t.Helper()
	return strings.TrimSpace(m.Must("/bin/sh", "-ec", line))
}

// says runs a line of shell that may fail.
func (m *machine) says(line string) string {
	m.t.Helper()
	out, _ := m.Run(m.t.Context(), "/bin/sh", "-c", line+"; :")
	return strings.TrimSpace(out)
}

func (m *machine) eventually(what, line string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	out, err := m.Run(ctx, "/bin/sh", "-c", "until { "+line+"; } >/tmp/seen 2>&1; do sleep 0.1; done")
	if err != nil {
		m.t.Fatalf("not seen: %s: %v\n%s\n%s", what, err, out, m.says("cat /tmp/seen; journalctl --no-pager -n 40 -u slipway -u lab"))
	}
}

// bundle makes a revision whose AfterInstall runs a script.
func (m *machine) bundle(name, script string) {
	m.t.Helper()
	m.sh("mkdir -p /bundles/" + name + " && cd /bundles/" + name + ` && printf '%s\n' 'version: 0.0' 'os: linux' 'files:' '  - {source: f, destination: /srv/app}' 'hooks:' '  AfterInstall:' '    - {location: h.sh, timeout: 120}' >appspec.yml && echo ` + name + " >f && cat >h.sh <<'EOF'\n#!/bin/sh\n" + script + "\nEOF\nchmod +x h.sh")
}

const online = `slipway status --json | grep -q '"link": "online"'`

// A deb, from its installation into an image to its removal.
func TestDeb(t *testing.T) {
	m := newMachine(t, systemdtest.Options{}, built(t, "0.9.0"), built(t, "0.9.1"))
	m.sh("find / -xdev ! -path '/proc/*' ! -path '/var/lib/dpkg/*' ! -path '/var/log/*' ! -path '/pkg/*' ! -path '/tmp/*' ! -path '/var/tmp/*' ! -path '/var/lib/lab*' ! -path '/var/lib/systemd/*' | sort >/pkg/before")

	m.sh("dpkg -i /pkg/slipway_0.9.0-1_amd64.deb")
	if got := m.says("systemctl is-enabled slipway; systemctl is-active slipway; readlink /usr/bin/codedeploy-local; slipway version"); !strings.HasPrefix(got, "enabled\ninactive\nslipway\n") || !strings.Contains(got, "0.9.0") {
		t.Errorf("after its installation: %q", got)
	}
	m.Reboot()
	m.eventually("the first boot starts it, and it polls", online)
	t.Log(m.sh(`up=$(systemctl show -p ActiveEnterTimestampMonotonic --value network-online.target)
first=$(journalctl -u slipway -o json --no-pager | grep 'the command service answers' | head -1 | sed 's/.*"__MONOTONIC_TIMESTAMP":"\([0-9]*\)".*/\1/')
echo "first answered poll $(( (first - up) / 1000 )) ms after network-online"`))

	m.bundle("v1", "echo ran >>/srv/ran; sleep 4; echo ended >>/srv/ran")
	m.sh("systemd-run --quiet --unit=deploying /bin/sh -c '. /var/lib/lab/env; slipway-lab deploy /bundles/v1 >/tmp/deployed 2>&1'")
	m.eventually("the hook runs", "test -s /srv/ran")
	m.sh("dpkg -i /pkg/slipway_0.9.1-1_amd64.deb")
	if got := m.says("slipway status | head -1; cat /srv/ran"); !strings.HasPrefix(got, "slipway 0.9.1 is running") || !strings.HasSuffix(got, "\nran") {
		t.Errorf("after the upgrade, in the middle of the hook: %q", got)
	}
	m.eventually("the deployment ends", "! systemctl is-active --quiet deploying")
	if got := m.says("cat /srv/ran; cat /srv/app/f; slipway history | tail -1"); !strings.HasPrefix(got, "ran\nended\nv1\n") || !strings.HasSuffix(got, "succeeded") {
		t.Errorf("after the deployment: %q\n%s", got, m.says("cat /tmp/deployed"))
	}
	if calls := m.says("grep PutHostCommandComplete /var/lib/lab/calls.json | tail -1"); !strings.Contains(calls, "SLIPWAY_0.9.1") {
		t.Errorf("the result was not reported by the new program: %s", calls)
	}

	// A configuration that was changed is nobody's to overwrite.
	m.sh("echo 'log: {level: debug}' >>/etc/slipway/slipway.yml; dpkg -i /pkg/slipway_0.9.1-1_amd64.deb; grep -q 'level: debug}' /etc/slipway/slipway.yml")
	began := time.Now()
	m.sh("systemctl stop slipway")
	t.Logf("stop of an agent at rest: %s, the way into the host included", time.Since(began).Round(time.Millisecond))

	m.sh("systemctl start slipway; dpkg -r slipway")
	if got := m.says("systemctl is-active slipway; pgrep -x slipway; ls /etc/slipway/slipway.yml"); !strings.HasPrefix(got, "inactive\n/etc/slipway/slipway.yml") {
		t.Errorf("after its removal: %q", got)
	}
	m.sh("dpkg -P slipway")
	left := m.says("find / -xdev ! -path '/proc/*' ! -path '/var/lib/dpkg/*' ! -path '/var/log/*' ! -path '/pkg/*' ! -path '/tmp/*' ! -path '/var/tmp/*' ! -path '/var/lib/lab*' ! -path '/var/lib/systemd/*' | sort | comm -13 /pkg/before - | grep -v -e ^/opt/codedeploy-agent -e ^/srv -e ^/bundles -e ^/etc/codedeploy-agent -e ^/var/cache -e ^/root")
	if left != "" {
		t.Errorf("left after the purge:\n%s", left)
	}
}

// The rpm, by dnf, as on Amazon Linux; a package of the test's own stands for the system's, which Debian has not as rpms.
func TestRPM(t *testing.T) {
	dir := built(t, "0.9.0")
	stub := t.TempDir()
	config := filepath.Join(stub, "stub.yaml")
	if err := os.WriteFile(config, []byte("name: base\narch: amd64\nversion: 1.0.0\nmaintainer: t <t@example.org>\ndescription: what the system provides\nprovides: [/bin/sh, systemd]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "tool", "-modfile=tools/go.mod", "nfpm", "package", "--config", config, "--packager", "rpm", "--target", stub)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nfpm: %v\n%s", err, out)
	}
	m := newMachine(t, systemdtest.Options{Packages: []string{"rpm", "dnf", "createrepo-c"}}, dir, built(t, "0.9.1"), stub)
	m.sh("cd /pkg && createrepo_c -q . && mkdir -p /etc/yum.repos.d && printf '[local]\\nname=local\\nbaseurl=file:///pkg\\ngpgcheck=0\\n' >/etc/yum.repos.d/local.repo")
	dnf := "dnf -y -q --setopt=module_platform_id=platform:al2023 "
	m.sh(dnf + "install slipway-0.9.0-1")
	if got := m.says("systemctl is-enabled slipway; systemctl is-active slipway; rpm -V slipway"); got != "enabled\ninactive" {
		t.Errorf("after its installation: %q", got)
	}
	m.sh("systemctl start slipway")
	m.eventually("it polls", online)
	m.sh(dnf + "upgrade slipway")
	m.eventually("the new one polls", online+" && slipway status | grep -q 'slipway 0.9.1 is running'")
	m.sh("echo '# mine' >>/etc/slipway/slipway.yml; " + dnf + "remove slipway")
	if got := m.says("systemctl is-active slipway; pgrep -x slipway; ls /usr/bin/slipway /etc/slipway"); !strings.HasPrefix(got, "inactive\n") || !strings.Contains(got, "slipway.yml.rpmsave") || !strings.Contains(got, "cannot access '/usr/bin/slipway'") {
		t.Errorf("after its removal: %q", got)
	}
}

// Package packaging holds the tests of what operators get: the packages, in real hosts with systemd.
package packaging

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway/systemd/systemdtest"
)

// next is the version of the packages that are upgraded to. Their slipway.yml differs from that of the current ones.
const next = "99.0.0"

// current is the version in hand: its changelog is in the packages.
func current(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../VERSION")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// built makes the signed packages of one version into a folder, once for all tests.
func built(t *testing.T, version string) string {
	t.Helper()
	if reason := systemdtest.Missing(); reason != "" {
		t.Skip(reason)
	}
	key := signingKey(t)
	once, _ := builds.LoadOrStore(version, &build{})
	b := once.(*build)
	b.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "slipway-packages-"); b.err != nil {
			return
		}
		env := append(os.Environ(), "DIST="+b.dir, "ARCHES=amd64", "VERSION="+version, "SIGNING_KEY="+key.secret, "NFPM_PASSPHRASE="+key.passphrase)
		if version == next {
			sample, err := os.ReadFile("nfpm/slipway.yml")
			if err == nil {
				err = os.WriteFile(filepath.Join(b.dir, "sample.yml"), append(sample, "# a newer sample\n"...), 0o600)
			}
			if b.err = err; err != nil {
				return
			}
			env = append(env, "CONFIG_SAMPLE="+filepath.Join(b.dir, "sample.yml"))
		}
		b.err = run(env, "package/run", "all")
	})
	if b.err != nil {
		t.Fatalf("make the packages: %v", b.err)
	}
	return b.dir
}

// run runs a command of this machine; the error has what it said.
func run(env []string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
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
	throwKeyAway()
	os.Exit(code)
}

// labUnit is the offline lab as a service of the host, up before the network is, as the real service would be.
const labUnit = `[Unit]
Before=network-online.target slipway.service
[Service]
ExecStartPre=/bin/rm -f /var/lib/lab/env
ExecStart=/usr/local/bin/slipway-lab serve --listen 127.0.0.1:8400 --dir /var/lib/lab --env /var/lib/lab/env --log /var/lib/lab/calls.json --poll-wait 500ms
StateDirectory=lab
ExecStartPost=/bin/sh -c 'until [ -s /var/lib/lab/env ]; do sleep 0.05; done; install -D -m 644 /var/lib/lab/agent.yml /etc/codedeploy-agent/conf/codedeployagent.yml'
[Install]
WantedBy=multi-user.target
`

// stub makes a package of a name that has nothing in it but what it provides.
func stub(t *testing.T, dir, format, name, version string, provides ...string) {
	t.Helper()
	key := signingKey(t)
	config := filepath.Join(t.TempDir(), "stub.yaml")
	text := fmt.Sprintf("name: %s\narch: amd64\nversion: %s\nmaintainer: t <t@example.org>\ndescription: stands for another package\nprovides: [%s]\nrpm: {signature: {key_file: %s}}\n",
		name, version, strings.Join(provides, ", "), key.secret)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "NFPM_PASSPHRASE="+key.passphrase)
	if err := run(env, "go", "tool", "-modfile=tools/go.mod", "nfpm", "package", "--config", config, "--packager", format, "--target", dir); err != nil {
		t.Fatal(err)
	}
}

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
		if err := put(signingKey(t).public, "pkg/key.asc", 0o644); err != nil {
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

// refused runs a line of shell that has to fail and returns what it says.
func (m *machine) refused(line string) string {
	m.t.Helper()
	out, err := m.Run(m.t.Context(), "/bin/sh", "-c", line)
	if err == nil {
		m.t.Errorf("%s succeeds: %s", line, out)
	}
	return strings.TrimSpace(out)
}

// content is a file of the host, "" if there is none.
func (m *machine) content(path string) string {
	data, err := os.ReadFile(filepath.Join(m.Root(), path))
	if err != nil {
		return ""
	}
	return string(data)
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

// trim cuts a text that a test shows.
func trim(text string) string {
	b := []byte(text)
	if len(b) > 2000 {
		b = bytes.Join([][]byte{b[:1000], b[len(b)-1000:]}, []byte("\n…\n"))
	}
	return string(b)
}

package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle"
)

// manager is a service manager that does as it is told.
type manager struct {
	running map[string]bool
	broken  error
}

func (m *manager) Running(_ context.Context, name string) (bool, error) { return m.running[name], nil }

func (m *manager) Start(_ context.Context, name string) error {
	m.running[name] = m.broken == nil
	return m.broken
}

func (m *manager) Stop(_ context.Context, name string) error {
	delete(m.running, name)
	return m.broken
}

const officialText = "---\n:log_dir: '/var/log/aws/codedeploy-agent/'\n:root_dir: '/srv/deployments'\n:wait_between_runs: 1\n:proxy_uri:\n:max_revisions: 3\n"

// official is a host with the official agent as spec C-30, C-31 and I-1 lay it out, running.
func official(t *testing.T) (*Migration, *manager, string) {
	t.Helper()
	top := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(top, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	put(officialConfig, officialText)
	put("usr/lib/systemd/system/codedeploy-agent.service", "[Service]\n")
	put("usr/lib/systemd/system/slipway.service", "[Service]\n")
	put("etc/sysconfig/slipway", "HTTPS_PROXY=http://proxy:3128\n")
	put("root/deployment-instructions/g-1-cleanup", "/srv/f\n")
	link := filepath.Join(top, "etc/systemd/system/multi-user.target.wants/codedeploy-agent.service")
	if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink("/usr/lib/systemd/system/codedeploy-agent.service", link)); err != nil {
		t.Fatal(err)
	}
	services := &manager{running: map[string]bool{officialService: true}}
	return &Migration{
		Top: top, RootDir: filepath.Join(top, "root"), Tracking: "ongoing-deployment", Services: services,
		Profile: func(context.Context) ([]string, error) { return []string{`NAME=a "b" $c`, "LANG=ja_JP.UTF-8"}, nil },
		Waiting: func() (string, error) { return "", nil },
	}, services, top
}

// tree is every file below a folder with its content, and every link with its target.
func tree(t *testing.T, top string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(top, path)
		if e.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			all[rel] = "→ " + target
			return err
		}
		data, err := os.ReadFile(path)
		all[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func carryOut(t *testing.T, plan func(context.Context) ([]Step, error)) []string {
	t.Helper()
	steps, err := plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var what []string
	for _, s := range steps {
		what = append(what, s.What)
		if err := s.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return what
}

// There and back again: what the host was is what it is, and the deployment root is never touched.
func TestMigration(t *testing.T) {
	m, services, top := official(t)
	before := tree(t, top)
	if _, err := m.Forth(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, tree(t, top)); diff != "" {
		t.Fatalf("the plan alone changed something:\n%s", diff)
	}
	want := []string{
		"stop codedeploy-agent", "disable codedeploy-agent", "keep a copy of /etc/codedeploy-agent/conf/codedeployagent.yml, for when its package is removed",
		"write 2 variables that /etc/profile exports to /etc/sysconfig/slipway", "enable slipway", "start slipway",
	}
	if diff := cmp.Diff(want, carryOut(t, m.Forth)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]bool{ourService: true}, services.running); diff != "" {
		t.Error(diff)
	}
	after := tree(t, top)
	if got := after["etc/sysconfig/slipway"]; !strings.HasPrefix(got, "HTTPS_PROXY=http://proxy:3128\n") || !strings.Contains(got, "LANG=\"ja_JP.UTF-8\"\nNAME=\"a \\\"b\\\" \\$c\"\n") {
		t.Errorf("environment: %q", got)
	}
	if after[keptConfig] != officialText || after["etc/systemd/system/multi-user.target.wants/slipway.service"] != "→ /usr/lib/systemd/system/slipway.service" {
		t.Errorf("after: %q", after)
	}
	if again := carryOut(t, m.Forth); len(again) > 0 {
		t.Errorf("a second time: %q", again)
	}
	// The official package goes, and takes its configuration with it (C-30).
	if err := os.RemoveAll(filepath.Join(top, "etc/codedeploy-agent")); err != nil {
		t.Fatal(err)
	}
	want = []string{
		"stop slipway", "disable slipway", "restore /etc/codedeploy-agent/conf/codedeployagent.yml as it was",
		"remove the variables of /etc/profile from /etc/sysconfig/slipway", "enable codedeploy-agent", "start codedeploy-agent",
	}
	if diff := cmp.Diff(want, carryOut(t, m.Back)); diff != "" {
		t.Error(diff)
	}
	before["etc/systemd/system/multi-user.target.wants/codedeploy-agent.service"] = "→ /usr/lib/systemd/system/codedeploy-agent.service"
	before[keptConfig] = officialText
	if diff := cmp.Diff(before, tree(t, top)); diff != "" {
		t.Errorf("there and back again:\n%s", diff)
	}
}

// Neither agent is stopped in the middle of a deployment, and what cannot be read is not guessed.
func TestMigrationRefuses(t *testing.T) {
	m, _, top := official(t)
	m.Waiting = func() (string, error) { return "Install of d-1", nil }
	if _, err := m.Back(t.Context()); !errors.Is(err, lifecycle.ErrInHand) || !strings.Contains(err.Error(), "Install of d-1") {
		t.Errorf("Back() with a command in hand = %v", err)
	}
	tracked := filepath.Join(m.RootDir, m.Tracking, "d-2")
	if err := errors.Join(os.MkdirAll(filepath.Dir(tracked), 0o755), os.WriteFile(tracked, []byte("c"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Forth(t.Context()); !errors.Is(err, lifecycle.ErrInHand) || !strings.Contains(err.Error(), "d-2") {
		t.Errorf("Forth() with a command in hand = %v", err)
	}
	if err := errors.Join(os.Remove(tracked), os.WriteFile(filepath.Join(top, officialConfig), []byte(":root_dir: [\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Forth(t.Context()); err == nil || !strings.Contains(err.Error(), "codedeployagent.yml") {
		t.Errorf("Forth() with a broken configuration = %v", err)
	}
}

// A step that fails says which it was.
func TestMigrationFails(t *testing.T) {
	m, services, _ := official(t)
	services.broken = errors.New("job failed")
	steps, err := m.Forth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := steps[0].Do(t.Context()); !errors.Is(err, services.broken) || !strings.Contains(err.Error(), "stop codedeploy-agent") {
		t.Errorf("Do() = %v", err)
	}
}

// Where the official agent never was, that is what is said, and nothing of it is looked for in /etc/profile.
func TestMigrationOfNothing(t *testing.T) {
	m, services, top := official(t)
	clear(services.running)
	for _, name := range []string{"etc/codedeploy-agent", "usr/lib/systemd/system/codedeploy-agent.service", "etc/systemd/system/multi-user.target.wants"} {
		if err := os.RemoveAll(filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	before := tree(t, top)
	steps, err := m.Forth(t.Context())
	if err != nil || len(steps) != 3 || !steps[0].Note() || !strings.HasPrefix(steps[0].What, "nothing to take over: the official agent is not on this host (no codedeploy-agent.service, ") {
		t.Fatalf("Forth() = %+v, %v", steps, err)
	}
	if diff := cmp.Diff([]string{steps[0].What, "enable slipway", "start slipway"}, carryOut(t, m.Forth)); diff != "" {
		t.Error(diff)
	}
	before["etc/systemd/system/multi-user.target.wants/slipway.service"] = "→ /usr/lib/systemd/system/slipway.service"
	if diff := cmp.Diff(before, tree(t, top)); diff != "" {
		t.Errorf("after it (-want +got):\n%s", diff)
	}
	// Each trace of it alone is enough.
	for _, name := range append(m.traces(), "etc/systemd/system/multi-user.target.wants/codedeploy-agent.service") {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(top, name)), 0o755), os.WriteFile(filepath.Join(top, name), []byte(officialText), 0o644)); err != nil {
			t.Fatal(err)
		}
		if steps, err := m.Forth(t.Context()); err != nil || len(steps) == 0 || strings.HasPrefix(steps[0].What, "nothing") {
			t.Errorf("with /%s: %+v, %v", name, steps, err)
		}
		os.Remove(filepath.Join(top, name))
	}
}

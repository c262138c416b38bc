package hooks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway/systemd"
	"slipway/systemd/systemdtest"
)

func newScopes(t testing.TB) *Scopes {
	m := &systemd.Manager{}
	t.Cleanup(m.Close)
	return &Scopes{Start: func(ctx context.Context, unit string, pid int, limits map[string]uint64) error {
		return m.StartScope(ctx, systemd.Scope{Name: unit, Description: "test", Slice: systemd.SliceName, PID: pid, Limits: limits})
	}, Stop: m.StopUnit}
}

// The tests that need systemd as process 1 run in a host of their own, on cgroup v2 and on v1.
func TestInSystemd(t *testing.T) {
	if systemd.Running() && os.Getenv("HOOKS_TEST_INSIDE") != "" {
		t.Skip("this is that host")
	}
	if reason := systemdtest.Missing(); reason != "" {
		t.Skip(reason)
	}
	binary := filepath.Join(t.TempDir(), "hooks.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	for name, legacy := range map[string]bool{"unified": false, "legacy": true} {
		t.Run(name, func(t *testing.T) {
			h := systemdtest.Boot(t, systemdtest.Options{Legacy: legacy, Prepare: func(root string) error {
				return os.WriteFile(filepath.Join(root, "usr/local/bin/hooks.test"), program, 0o755)
			}})
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			out, err := h.Run(ctx, "env", "HOOKS_TEST_INSIDE="+name, "HOOKS_BENCH_SCOPES="+os.Getenv("HOOKS_BENCH_SCOPES"), "/usr/local/bin/hooks.test", "-test.v", "-test.run", "^(TestHostile|TestLeftRunning|TestScope.*)$", "-test.bench", os.Getenv("HOOKS_TEST_BENCH"), "-test.benchtime", "200x")
			passed := regexp.MustCompile(`(?m)^ *--- PASS: (\S+)`).FindAllStringSubmatch(out, -1)
			if err != nil {
				t.Errorf("%v", err)
			}
			var names []string
			for _, m := range passed {
				names = append(names, m[1])
			}
			for _, want := range []string{
				"TestHostile/systemd/double_fork_and_setsid", "TestHostile/systemd/fork_bomb", "TestHostile/systemd/ignores_TERM", "TestLeftRunning/systemd", "TestScope",
				"TestScopeOfDaemon",
			} {
				if !slices.Contains(names, want) {
					t.Errorf("%s did not pass there", want)
				}
			}
			t.Logf("%d tests passed there", len(names))
			if os.Getenv("HOOKS_TEST_BENCH") != "" || t.Failed() {
				t.Log(out)
			}
		})
	}
}

func needsSystemd(t *testing.T) {
	t.Helper()
	if !systemd.Running() || os.Getenv("HOOKS_TEST_INSIDE") == "" {
		t.Skip("needs systemd as process 1: TestInSystemd runs it in a host of its own")
	}
}

// cgroupOf is the cgroup of a process in the tree of systemd.
func cgroupOf(t *testing.T, pid int) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		mark := map[string]string{"unified": "0::", "legacy": ":name=systemd:"}[os.Getenv("HOOKS_TEST_INSIDE")]
		if _, path, ok := strings.Cut(line, mark); ok {
			return strings.TrimSpace(path)
		}
	}
	return ""
}

// scopes are the units of hooks that systemd knows.
func scopes(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("systemctl", "list-units", "--all", "--plain", "--no-legend", "slipway-hook-*.scope").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func noScopes(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); scopes(t) != ""; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("scopes are left:\n%s", scopes(t))
		}
	}
}

// endScopes ends the scopes of tests before, and what may still run in them.
func endScopes(t *testing.T) {
	t.Helper()
	_ = exec.Command("systemctl", "stop", "slipway-hook-*.scope").Run() // one may go away by itself meanwhile
	noScopes(t)
}

// A run is in a scope of its own while it lasts, and the scope goes with it.
func TestScope(t *testing.T) {
	needsSystemd(t)
	endScopes(t)
	s, begun, proceed := paused(t)
	r := newRunner(t)
	r.Container = newScopes(t)
	run, err := r.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	begun()
	shim := starter(t, s)
	script := marked(base(s))
	if len(script) == 0 {
		t.Fatal("no process of the script")
	}
	want := regexp.MustCompile(`^/slipway\.slice/slipway-hooks\.slice/slipway-hook-hooks[0-9]+-run-[0-9]+-[0-9a-f]+-1\.scope(/hook|/shim)?$`)
	of, at := cgroupOf(t, shim), cgroupOf(t, script[0])
	if !want.MatchString(of) || !want.MatchString(at) {
		t.Errorf("shim in %s, script in %s", of, at)
	}
	if os.Getenv("HOOKS_TEST_INSIDE") == "unified" && (!strings.HasSuffix(of, "/shim") || !strings.HasSuffix(at, "/hook")) {
		t.Errorf("shim in %s, script in %s: want leaves of their own", of, at)
	}
	if known := scopes(t); !strings.Contains(known, "active running") {
		t.Errorf("systemd knows %q", known)
	}
	proceed()
	res := await(t, run)
	checkPaused(t, s, res)
	if len(res.Notes) > 0 {
		t.Errorf("notes: %q", res.Notes)
	}
	noScopes(t)
}

// A daemon that a hook leaves keeps the scope.
func TestScopeOfDaemon(t *testing.T) {
	needsSystemd(t)
	s := write(t, daemon)
	r := newRunner(t)
	r.Container = newScopes(t)
	if res := perform(t, r, s); res.Err != nil {
		t.Fatal(res.Err)
	}
	left := marked(base(s))
	if len(left) != 1 || !strings.Contains(cgroupOf(t, left[0]), "/slipway-hooks.slice/") {
		t.Fatalf("left %v", left)
	}
	time.Sleep(100 * time.Millisecond) // the shim has gone
	if known := scopes(t); !strings.Contains(known, "active running") {
		t.Errorf("systemd knows %q", known)
	}
	if err := unix.Kill(left[0], unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if os.Getenv("HOOKS_TEST_INSIDE") == "legacy" { // in a container nobody tells systemd that a cgroup of v1 has become empty
		endScopes(t)
	}
	noScopes(t)
}

// Names of runs may be anything.
func TestScopeNames(t *testing.T) {
	needsSystemd(t)
	r := newRunner(t)
	r.Container = newScopes(t)
	for _, name := range []string{"a b", "ü%i", strings.Repeat("x", 200), "-", "a.scope", `back\slash`} {
		s := write(t, "#!/bin/sh\n")
		s.Dir = filepath.Join(base(s), name)
		if res := perform(t, r, s); res.Err != nil || len(res.Notes) > 0 {
			t.Errorf("%q: %v, notes %q", name, res.Err, res.Notes)
		}
	}
	noScopes(t)
}

// Without the message bus the hook runs in the next best place, and it is told; when the bus is back so are the scopes.
func TestScopeWithoutBus(t *testing.T) {
	needsSystemd(t)
	r := newRunner(t)
	scoped := newScopes(t)
	r.Container = &Chain{Containers: []Container{scoped}}
	if res := perform(t, r, write(t, "#!/bin/sh\n")); len(res.Notes) > 0 {
		t.Fatalf("notes: %q", res.Notes)
	}
	systemctl(t, "stop", "dbus.socket", "dbus.service")
	res := perform(t, r, write(t, "#!/bin/sh\n"))
	if res.Err != nil || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "message bus") && !strings.Contains(res.Notes[0], "EOF") {
		t.Errorf("without a bus: %v, %q", res.Err, res.Notes)
	}
	systemctl(t, "start", "dbus.socket", "dbus.service")
	if res := perform(t, r, write(t, "#!/bin/sh\n")); res.Err != nil || len(res.Notes) > 0 {
		t.Errorf("with the bus again: %v, notes %q", res.Err, res.Notes)
	}
}

func systemctl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
		t.Fatalf("systemctl %v: %v: %s", args, err, out)
	}
}

// A scope that cannot be had is an error, and nothing else is lost.
func TestScopeRefused(t *testing.T) {
	needsSystemd(t)
	m := &systemd.Manager{}
	defer m.Close()
	err := m.StartScope(t.Context(), systemd.Scope{Name: "slipway-hook-x.scope", Slice: systemd.SliceName, PID: 1 << 30})
	var answer *systemd.BusError
	if !errors.As(err, &answer) {
		t.Errorf("a process that does not exist: %v", err)
	}
	err = m.StartScope(t.Context(), systemd.Scope{Name: "no unit", Slice: systemd.SliceName, PID: os.Getpid()})
	if !errors.As(err, &answer) {
		t.Errorf("a bad name: %v", err)
	}
}

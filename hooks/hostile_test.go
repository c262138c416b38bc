package hooks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway/systemd"
)

// cgroup1 is a Container of the kind that cgroup v1 allows: shim and script share a cgroup.
type cgroup1 struct{ dir string }

func (c cgroup1) Enter(_ context.Context, e Entrant) (Place, error) {
	p := Place{Kind: PlaceCgroup1, Hook: filepath.Join(c.dir, fmt.Sprintf("slipway-test-%d-%s-%d", os.Getpid(), e.Name, e.Shim))}
	if err := os.Mkdir(p.Hook, 0o755); err != nil {
		return Place{}, err
	}
	return p, os.WriteFile(filepath.Join(p.Hook, "cgroup.procs"), []byte(strconv.Itoa(e.Shim)), 0)
}

func (c cgroup1) Leave(p Place) error { return os.Remove(p.Hook) }

// containers are the modes that this host offers.
func containers(t *testing.T) map[string]Container {
	t.Helper()
	modes := map[string]Container{"none": nil}
	if systemd.Running() && os.Getuid() == 0 {
		modes["systemd"] = newScopes(t)
	}
	for _, dir := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC && os.Getuid() == 0 {
			base := filepath.Join(dir, fmt.Sprintf("slipway-hooks-test-%d", os.Getpid()))
			if err := os.Mkdir(base, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				t.Logf("no cgroup v2 mode: %v", err)
				continue
			}
			t.Cleanup(func() { vacate(t, base) })
			modes["cgroup2"] = &Cgroup2{Dir: base}
		}
	}
	if dir := "/sys/fs/cgroup/systemd"; unix.Access(dir, unix.W_OK) == nil && os.Getuid() == 0 {
		modes["cgroup1"] = cgroup1{dir}
		t.Cleanup(func() { vacate(t, filepath.Join(dir, fmt.Sprintf("slipway-test-%d-*", os.Getpid()))) })
	}
	return modes
}

// vacate removes cgroups whose last processes are just ending.
func vacate(t *testing.T, pattern string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; {
		var errs error
		dirs, _ := filepath.Glob(pattern)
		for _, dir := range dirs {
			errs = errors.Join(errs, removeCgroup(dir))
		}
		if errs == nil {
			return
		}
		if time.Now().After(end) {
			t.Errorf("cgroups left: %v", errs)
			return
		}
	}
}

// Whatever a script does: the condition is right, it is over in timeout, grace and a second, and nothing of it is left.
func TestHostile(t *testing.T) {
	const timeout, grace = 500 * time.Millisecond, 250 * time.Millisecond
	tests := []struct {
		name  string
		body  string
		runAs string
		early bool // heeds TERM, so that no grace is spent
	}{
		{name: "heeds TERM", body: "sleep 300\n", early: true},
		{name: "ends with 0 at TERM", body: "trap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n", early: true},
		{name: "ignores TERM", body: "trap '' TERM\nwhile :; do sleep 300; done\n"},
		{name: "stops itself", body: "kill -STOP $$\n", early: true},
		{name: "stops itself and ignores TERM", body: "trap '' TERM\nkill -STOP $$\nwhile :; do sleep 300; done\n"},
		{name: "double fork and setsid", body: "trap '' TERM\n(setsid sh -c 'sleep 300 & sleep 300' &)\nsleep 300\n"},
		{name: "daemon without descriptors", body: "trap '' TERM\n(setsid sleep 300 >/dev/null 2>&1 </dev/null &)\nsleep 300\n"},
		{name: "chain of sessions", body: "trap '' TERM\nsetsid sh -c 'setsid sh -c \"setsid sleep 300; :\"; :'\n"},
		{name: "closes its descriptors", body: "exec <&- >&- 2>&-\ntrap '' TERM\nwhile :; do sleep 300; done\n"},
		{name: "parent ends at TERM, child does not", body: "sh -c 'trap \"\" TERM; while :; do sleep 300; done' &\nexec sleep 300\n"},
		{name: "deletes its directory", body: "rm -rf \"$D\"\nsleep 300\n", early: true},
		{name: "fork bomb", body: "ulimit -u 200 2>/dev/null || ulimit -p 200 || exit\ntrap '' TERM\nb() { b | b & b; }\n(b) 2>/dev/null &\nwhile :; do :; done\n", runAs: "nobody"},
		{name: "writes without end", body: "trap '' TERM\nwhile :; do echo y; done\n"},
	}
	for mode, container := range containers(t) {
		for _, tt := range tests {
			t.Run(mode+"/"+tt.name, func(t *testing.T) {
				if tt.runAs != "" && os.Getuid() != 0 {
					t.Skip("needs root: switches users")
				}
				if tt.runAs == "" { // a fork bomb leaves no time to others
					t.Parallel()
				}
				r := newRunner(t)
				r.Container = container
				// On a host that is busy with other things the kernel itself may be late: then once more.
				for attempt := range 3 {
					s := write(t, "#!/bin/sh\n"+tt.body)
					s.Timeout, s.Grace, s.RunAs, s.RunAsSet = timeout, grace, tt.runAs, tt.runAs != ""
					wrong, late := hostile(t, r, s, tt.early)
					for _, w := range wrong {
						t.Error(w)
					}
					if late == "" {
						return
					}
					if attempt == 2 {
						t.Error(late)
					}
				}
			})
		}
	}
}

// hostile runs a script into its timeout. It tells what is wrong, and, apart from that, what took too long.
func hostile(t *testing.T, r *Runner, s Script, early bool) (wrong []string, late string) {
	t.Helper()
	res := perform(t, r, s)
	left := marked(base(s))
	if got := kindOf(res.Err); got != "timed-out" {
		wrong = append(wrong, fmt.Sprintf("Err = %v, want ErrTimedOut", res.Err))
	}
	if len(res.Notes) > 0 {
		wrong = append(wrong, fmt.Sprintf("notes: %q", res.Notes))
	}
	took, most := res.Ended.Sub(res.Started), s.Timeout+s.Grace+time.Second
	if took < s.Timeout || !early && took < s.Timeout+s.Grace {
		wrong = append(wrong, fmt.Sprintf("took only %v", took))
	}
	t.Logf("%v: %v", took.Round(time.Millisecond), res.Err)
	switch {
	case took > most:
		late = fmt.Sprintf("took %v, want at most %v", took, most)
	case early && took >= s.Timeout+s.Grace:
		late = fmt.Sprintf("took %v though it heeds TERM", took)
	case len(left) > 0 || len(res.Left) > 0:
		late = fmt.Sprintf("left: %v, said to be left: %v", left, res.Left)
	}
	return wrong, late
}

// H-37: what a successful script leaves running with its output redirected goes on, costs no waiting, and is named.
func TestLeftRunning(t *testing.T) {
	for mode, container := range containers(t) {
		t.Run(mode, func(t *testing.T) {
			s := write(t, daemon)
			s.OpenOutput, s.OpenOutputWait = OpenOutputFail, time.Minute
			r := newRunner(t)
			r.Container = container
			res := perform(t, r, s)
			if res.Err != nil || len(res.Holders) > 0 {
				t.Fatalf("Err, Holders = %v, %v", res.Err, res.Holders)
			}
			left := marked(base(s))
			if len(left) != 1 || len(res.Left) != 1 || res.Left[0].PID != left[0] || !strings.HasPrefix(res.Left[0].Command, "sh -c echo >") {
				t.Errorf("left %v, result says %v", left, res.Left)
			}
		})
	}
}

// A container that cannot be entered is no reason not to run the script.
func TestContainerRefuses(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	r.Container = &Cgroup2{Dir: t.TempDir()}
	res := perform(t, r, write(t, "#!/bin/sh\necho ran\n"))
	if res.Err != nil || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "not on a cgroup v2 file system") {
		t.Errorf("Err, Notes = %v, %q", res.Err, res.Notes)
	}
}

// lostPlace names a cgroup that does not exist.
type lostPlace struct{}

func (lostPlace) Enter(context.Context, Entrant) (Place, error) {
	return Place{Kind: PlaceCgroup2, Hook: "/no/such/hook", Shim: "/no/such/shim"}, nil
}
func (lostPlace) Leave(Place) error { return nil }

func TestContainerVanishes(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	r.Container = lostPlace{}
	res := perform(t, r, write(t, "#!/bin/sh\necho ran\n"))
	if res.Err != nil || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "no cgroup of its own") {
		t.Errorf("Err, Notes = %v, %q", res.Err, res.Notes)
	}
}

// Cgroups of runs do not pile up.
func TestCgroupsAreRemoved(t *testing.T) {
	c, ok := containers(t)["cgroup2"].(*Cgroup2)
	if !ok {
		t.Skip("needs a writable cgroup v2")
	}
	r := newRunner(t)
	r.Container = c
	perform(t, r, write(t, "#!/bin/sh\n"))
	perform(t, r, write(t, "#!/bin/sh\n"))
	// Both shims end on their own right after the result.
	for end := time.Now().Add(10 * time.Second); ; {
		c.mu.Lock()
		c.sweep()
		entries, err := filepath.Glob(filepath.Join(c.Dir, cgroupPrefix+"*"))
		c.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("left: %v", entries)
		}
	}
}

// A process group that nobody of the script is in any more may be another's by now: a script that multiplies itself goes through all numbers.
func TestGroupOfAnother(t *testing.T) {
	t.Parallel()
	other := exec.Command("sleep", "300")
	other.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	mine := exec.Command("sleep", "300")
	mine.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := mine.Start(); err != nil {
		t.Fatal(err)
	}
	c := &cage{self: os.Getpid(), group: other.Process.Pid}
	ours, err := readProc(mine.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	c.signalGroup([]proc{ours}, unix.SIGKILL)
	c.group = mine.Process.Pid
	c.signalGroup([]proc{ours}, unix.SIGKILL)
	if err := mine.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("the own group: %v", err)
	}
	if err := other.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := other.Wait(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("another's group: %v", err)
	}
}

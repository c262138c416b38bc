package hooks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// limited1Test is a Container with limits as systemd makes them on cgroup v1: shim and script share a cgroup in each hierarchy.
type limited1Test struct{ t *testing.T }

func (c limited1Test) Enter(_ context.Context, e Entrant) (Place, error) {
	name := fmt.Sprintf("slipway-test-%d-%d", os.Getpid(), e.Shim)
	dir := func(hierarchy string) string { return filepath.Join("/sys/fs/cgroup", hierarchy, name) }
	limits := e.Limits.properties()
	c.t.Cleanup(func() {
		for _, h := range []string{"memory", "pids"} {
			vacate(c.t, dir(h))
		}
	})
	p := Place{Kind: PlaceCgroup1, Hook: dir("memory")}
	for h, files := range map[string][2]string{
		"memory": {"memory.limit_in_bytes", strconv.FormatUint(limits["MemoryLimit"], 10)},
		"pids":   {"pids.max", strconv.FormatUint(limits["TasksMax"], 10)},
	} {
		if err := os.Mkdir(dir(h), 0o755); err != nil {
			return p, err
		}
		if files[1] != "0" {
			if err := setFile(dir(h), files[0], files[1]); err != nil {
				return p, err
			}
		}
		if err := setFile(dir(h), "cgroup.procs", strconv.Itoa(e.Shim)); err != nil {
			return p, err
		}
	}
	limited1(&p, func(h string) (string, bool) { return dir(h), h != "cpu" }, e.Limits)
	return p, nil
}

func (limited1Test) Leave(Place) error { return nil }

// What the kernel really does at a limit, and what a person is told of it.
func TestLimitsMet(t *testing.T) {
	if os.Getuid() != 0 || unix.Access("/sys/fs/cgroup/memory/memory.limit_in_bytes", unix.F_OK) != nil || unix.Access("/sys/fs/cgroup/pids", unix.W_OK) != nil {
		t.Skip("needs root and the memory and pids controllers of cgroup v1")
	}
	tests := []struct {
		name, body string
		limits     Limits
		err, note  string
	}{
		{name: "the script itself", body: "exec tail /dev/zero\n", limits: Limits{Memory: 32 << 20}, err: "was killed because it went over its memory limit of 32 MiB"},
		{name: "a child, and the script fails", body: "tail /dev/zero || exit 3\n", limits: Limits{Memory: 32 << 20}, err: "failed with exit code 3; a process of it was killed because it went over its memory limit of 32 MiB"},
		{name: "a child, and the script goes on", body: "tail /dev/zero\necho well\n", limits: Limits{Memory: 32 << 20}, note: "a process of it was killed because it went over its memory limit of 32 MiB"},
		{name: "within", body: "head -c 1000000 /dev/zero | tail >/dev/null\n", limits: Limits{Memory: 256 << 20, PIDs: 100}},
		{name: "processes", body: "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40; do sleep 60 & done\n", limits: Limits{PIDs: 1}, err: "failed with exit code 2", note: "because it was at its limit of 1 processes and threads"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRunner(t)
			r.Container = limited1Test{t}
			s := write(t, "#!/bin/sh\n"+tt.body)
			s.Limits = tt.limits
			res := perform(t, r, s)
			if got := fmt.Sprint(res.Err); tt.err != "" && !strings.Contains(got, tt.err) || tt.err == "" && res.Err != nil {
				t.Errorf("Err = %v, want %q", res.Err, tt.err)
			}
			if got := strings.Join(res.Notes, "\n"); tt.note == "" && got != "" || !strings.Contains(got, tt.note) {
				t.Errorf("Notes = %q, want %q", got, tt.note)
			}
			for _, pid := range marked(base(s)) {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		})
	}
}

// Limits without a container that can enforce them are told of, never pretended.
func TestLimitsNotEnforced(t *testing.T) {
	for mode, container := range containers(t) {
		if mode == "cgroup2" && controllersOf(t, container.(*Cgroup2)) != "" {
			continue
		}
		t.Run(mode, func(t *testing.T) {
			r := newRunner(t)
			r.Container = container
			s := write(t, "#!/bin/sh\necho ran\n")
			s.Limits = Limits{Memory: 1 << 30, CPU: 50, PIDs: 10}
			res := perform(t, r, s)
			if notes := strings.Join(res.Notes, "\n"); res.Err != nil || !strings.Contains(notes, "the script ran without these limits, which cannot be enforced here: memory, cpu, pids") {
				t.Errorf("Err, Notes = %v, %q", res.Err, notes)
			}
		})
	}
}

func controllersOf(t *testing.T, c *Cgroup2) string {
	t.Helper()
	have := read(t, filepath.Join(c.Dir, "cgroup.controllers"))
	if !strings.Contains(have, "memory") && !strings.Contains(have, "cpu") && !strings.Contains(have, "pids") {
		return ""
	}
	return have
}

// fakeCgroup2 is a folder that looks like the cgroup of a run.
func fakeCgroup2(t *testing.T, controllers string) (run string, p Place) {
	t.Helper()
	run = t.TempDir()
	p = Place{Kind: PlaceCgroup2, Hook: filepath.Join(run, "hook"), Shim: filepath.Join(run, "shim")}
	if err := os.Mkdir(p.Hook, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"cgroup.controllers": controllers, "cgroup.subtree_control": "", "hook/memory.max": "max", "hook/memory.oom.group": "0",
		"hook/cpu.max": "max 100000", "hook/pids.max": "max", "hook/memory.events": "low 0\noom 1\noom_kill 0\n", "hook/pids.events": "max 0\n",
	} {
		put(t, filepath.Join(run, name), content, 0o600)
	}
	return run, p
}

func TestLimitCgroup2(t *testing.T) {
	run, p := fakeCgroup2(t, "cpuset cpu memory pids\n")
	want := Limits{Memory: 256 << 20, CPU: 150, PIDs: 64}
	if err := limitCgroup2(run, &p, want); err != nil || p.Limits != want {
		t.Fatalf("limitCgroup2() = %v, in force %+v", err, p.Limits)
	}
	// A file of a cgroup takes one write at a time; here they are laid over each other from the start.
	for name, content := range map[string]string{"memory.max": "268435456", "memory.oom.group": "1", "cpu.max": "150000 100000", "pids.max": "64x"} {
		if got := read(t, filepath.Join(p.Hook, name)); got != content {
			t.Errorf("%s = %q, want %q", name, got, content)
		}
	}
	if p.overMemory() || p.overPIDs() != 0 {
		t.Error("limits are met already")
	}
	put(t, p.MemoryEvents, "low 0\noom 1\noom_kill 2\noom_group_kill 1\n", 0o600)
	put(t, p.PIDsEvents, "max 7\n", 0o600)
	if !p.overMemory() || p.overPIDs() != 7 {
		t.Errorf("overMemory, overPIDs = %v, %d", p.overMemory(), p.overPIDs())
	}
}

func TestLimitCgroup2Without(t *testing.T) {
	run, p := fakeCgroup2(t, "hugetlb pids\n")
	err := limitCgroup2(run, &p, Limits{Memory: 1, CPU: 1, PIDs: 1})
	if err == nil || !strings.Contains(err.Error(), "the memory controller is not available") || !strings.Contains(err.Error(), "the cpu controller is not available") {
		t.Errorf("limitCgroup2() = %v", err)
	}
	if diff := cmp.Diff(Limits{PIDs: 1}, p.Limits); diff != "" {
		t.Errorf("in force (-want +got):\n%s", diff)
	}
	if err := os.Remove(filepath.Join(p.Hook, "pids.max")); err != nil {
		t.Fatal(err)
	}
	p.Limits = Limits{}
	if err := limitCgroup2(run, &p, Limits{PIDs: 1}); !errors.Is(err, os.ErrNotExist) || p.Limits != (Limits{}) {
		t.Errorf("limitCgroup2() = %v, in force %+v", err, p.Limits)
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1000: "1000 bytes", 1024: "1 KiB", 256 << 20: "256 MiB", 3 << 30: "3 GiB", 1 << 40: "1024 GiB", 1536 << 20: "1536 MiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestLocate(t *testing.T) {
	const hybrid = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n" +
		"41 31 0:38 / /sys/fs/cgroup/unified rw shared:3 - cgroup2 cgroup2 rw\n"
	const cgroups = "9:name=systemd:/a.slice/x.scope\n8:cpu,cpuacct:/y\n0::/a.slice/x.scope\n"
	tests := []struct{ mounts, cgroups, name, want string }{
		{hybrid, cgroups, "", "/sys/fs/cgroup/unified/a.slice/x.scope"},
		{hybrid, cgroups, "name=systemd", "/sys/fs/cgroup/systemd/a.slice/x.scope"},
		{hybrid, cgroups, "cpu", "/sys/fs/cgroup/cpu,cpuacct/y"},
		{hybrid, cgroups, "memory", ""},
		{"1 2 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/\n", "", "/sys/fs/cgroup"},
		{"1 2 0:1 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/docker/1/a\n", "", "/sys/fs/cgroup/a"},
		{"1 2 0:1 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/docker/12\n", "", ""},
		{`1 2 0:1 / /a\040b rw - cgroup2 cgroup2 rw` + "\n", "0::/c\n", "", "/a b/c"},
		{"nonsense\n1 2 - \n", "0:\n::\n", "", ""},
	}
	for _, tt := range tests {
		if got, ok := locate(hierarchies(tt.mounts), tt.cgroups, tt.name); got != tt.want || ok != (tt.want != "") {
			t.Errorf("locate(%q, %q) = %q, %v, want %q", tt.cgroups, tt.name, got, ok, tt.want)
		}
	}
}

func FuzzLocate(f *testing.F) {
	f.Add("41 31 0:38 /x /sys/fs/cgroup/uni\\040fied rw shared:3 - cgroup2 cgroup2 rw\n", "9:name=systemd:/a\n0::/x/b\n")
	f.Fuzz(func(t *testing.T, mounts, cgroups string) {
		for _, name := range []string{"", "memory", "name=systemd"} {
			if dir, ok := locate(hierarchies(mounts), cgroups, name); ok && dir == "" {
				t.Error("nowhere")
			}
		}
	})
}

// refusing is a container that cannot be entered for as long as it says.
type refusing struct{ err error }

func (c *refusing) Enter(context.Context, Entrant) (Place, error) { return Place{}, c.err }
func (c *refusing) Leave(Place) error                             { return nil }

// The next best container takes what the best one does not.
func TestChain(t *testing.T) {
	first, second := &refusing{errors.New("no answer")}, &refusing{}
	r := newRunner(t)
	r.Container = &Chain{Containers: []Container{first, second}}
	res := perform(t, r, write(t, "#!/bin/sh\n"))
	if diff := cmp.Diff([]string{"the script ran in another container than usual: no answer"}, res.Notes); diff != "" || res.Err != nil {
		t.Errorf("%v, notes (-want +got):\n%s", res.Err, diff)
	}
	second.err = errors.New("nor here")
	if res = perform(t, r, write(t, "#!/bin/sh\n")); res.Err != nil || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "without a container: no answer\nnor here") {
		t.Errorf("none: %v, %q", res.Err, res.Notes)
	}
	first.err = nil
	if res = perform(t, r, write(t, "#!/bin/sh\n")); res.Err != nil || len(res.Notes) > 0 {
		t.Errorf("well again: %v, %q", res.Err, res.Notes)
	}
}

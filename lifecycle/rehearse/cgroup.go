package rehearse

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// cgroupName begins the names of cgroups of sandboxes; the pid of the stage follows.
const cgroupName = "slipway-rehearsal-"

// bounds hold the processes of a sandbox down.
type bounds struct {
	dirs         []string // of cgroups
	pids, memory string   // the files that bound; "": none does
}

// tree is a hierarchy of cgroups that one can be made in.
type tree struct {
	dir     string // where ours goes
	version int
	knows   []string // controllers
}

// cgroupTrees finds them: below this process's own cgroup in version 1, at the top in version 2, where this process's own cannot have children
// with limits.
func cgroupTrees(mountinfo, own string) (list []tree) {
	for text := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(text, " - ")
		f, super := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(super) < 3 {
			continue
		}
		root, at := unescapeMount(f[3]), unescapeMount(f[4])
		switch super[0] {
		case "cgroup2":
			list = append(list, tree{dir: at, version: 2, knows: strings.Fields(readText(at + "/cgroup.subtree_control"))})
		case "cgroup":
			names := strings.Split(super[2], ",")
			for _, name := range []string{"pids", "memory"} {
				if !slices.Contains(names, name) {
					continue
				}
				if below, ok := strings.CutPrefix(cgroupOf(own, name), strings.TrimSuffix(root, "/")); ok {
					list = append(list, tree{dir: filepath.Join(at, below), version: 1, knows: []string{name}})
				}
			}
		}
	}
	return list
}

// cgroupOf is the path of a controller's cgroup in a /proc/PID/cgroup.
func cgroupOf(text, controller string) string {
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) == 3 && slices.Contains(strings.Split(f[1], ","), controller) {
			return f[2]
		}
	}
	return "\x00"
}

// makeBounds makes cgroups for a sandbox where it may.
func makeBounds(pids, memory int64) *bounds {
	b := &bounds{}
	for _, t := range cgroupTrees(readText("/proc/self/mountinfo"), readText("/proc/self/cgroup")) {
		sweepCgroups(t.dir)
		dir := filepath.Join(t.dir, cgroupName+strconv.Itoa(os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			continue
		}
		used := false
		if slices.Contains(t.knows, "pids") && b.pids == "" {
			if file := dir + "/pids.max"; writeText(file, strconv.FormatInt(pids, 10)) == nil {
				b.pids, used = file, true
			}
		}
		if slices.Contains(t.knows, "memory") && b.memory == "" {
			file := dir + "/memory.max"
			if t.version == 1 {
				file = dir + "/memory.limit_in_bytes"
			}
			if writeText(file, strconv.FormatInt(memory, 10)) == nil {
				b.memory, used = file, true
				_ = writeText(dir+"/memory.swap.max", "0") // the host is not to be swapped out by a rehearsal
			}
		}
		if used {
			b.dirs = append(b.dirs, dir)
		} else {
			_ = unix.Rmdir(dir)
		}
	}
	return b
}

// enter puts a process into the cgroups.
func (b *bounds) enter(pid int) error {
	for _, dir := range b.dirs {
		if err := writeText(dir+"/cgroup.procs", strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("put the sandbox into %s: %w", dir, err)
		}
	}
	return nil
}

// facts tell what is bounded, and how.
func (b *bounds) facts(pids, memory int64) []lifecycle.Fact {
	p, m := fmt.Sprintf("at most %d, by a cgroup", pids), fmt.Sprintf("at most %s for all processes and what they write into memory, by a cgroup", bytesText(memory))
	if b.pids == "" {
		p = fmt.Sprintf("at most %d: they are counted, for there is no cgroup to be had that bounds them", pids)
	}
	if b.memory == "" {
		m = "what processes use is not bounded: there is no cgroup to be had that does"
	}
	return []lifecycle.Fact{{Name: "processes", Value: p}, {Name: "memory", Value: m}}
}

// outOfMemory reports whether the kernel has killed a process for the bound of memory.
func (b *bounds) outOfMemory() bool {
	if b.memory == "" {
		return false
	}
	dir := filepath.Dir(b.memory)
	for line := range strings.Lines(readText(dir+"/memory.events") + "\n" + readText(dir+"/memory.oom_control") + "\n") { // versions 2 and 1
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok && strings.TrimSpace(n) != "0" {
			return true
		}
	}
	return false
}

func (b *bounds) remove() (err error) {
	for _, dir := range b.dirs {
		err = errors.Join(err, removeCgroup(dir))
	}
	return err
}

// removeCgroup removes one whose last processes may just be ending.
func removeCgroup(dir string) error {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("remove the cgroup %s: %w", dir, err)
		}
	}
}

// sweepCgroups removes empty ones whose stages were killed together with who would have removed them.
func sweepCgroups(in string) {
	old, _ := filepath.Glob(filepath.Join(in, cgroupName+"*"))
	for _, dir := range old {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), cgroupName))
		if err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			_ = unix.Rmdir(dir)
		}
	}
}

func writeText(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// availableMemory is what may be used without swapping, in bytes.
func availableMemory() int64 {
	data, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemAvailable:" {
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				return n << 10
			}
		}
	}
	return 1 << 30
}

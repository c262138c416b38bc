package hooks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Limits bound what a script and all it starts may take together. Zero is no limit.
type Limits struct {
	Memory int64 `json:"memory,omitempty"` // bytes
	CPU    int   `json:"cpu,omitempty"`    // percent of one processor: 200 is two of them
	PIDs   int   `json:"pids,omitempty"`   // processes and threads
}

// valid refuses what no kernel takes.
func (l Limits) valid() error {
	if l.Memory < 0 || l.CPU < 0 || l.PIDs < 0 {
		return fmt.Errorf("a limit is negative: %+v", l)
	}
	return nil
}

// missing names the limits that are wanted and not in force.
func (l Limits) missing(inForce Limits) string {
	var all []string
	if l.Memory > 0 && inForce.Memory == 0 {
		all = append(all, "memory")
	}
	if l.CPU > 0 && inForce.CPU == 0 {
		all = append(all, "cpu")
	}
	if l.PIDs > 0 && inForce.PIDs == 0 {
		all = append(all, "pids")
	}
	return strings.Join(all, ", ")
}

// bytesText is a number of bytes as a person writes it.
func bytesText(n int64) string {
	for _, unit := range []string{"bytes", "KiB", "MiB", "GiB"} {
		if n%1024 != 0 || unit == "GiB" || n == 0 {
			return fmt.Sprintf("%d %s", n, unit)
		}
		n /= 1024
	}
	return "" // not reached
}

// cpuPeriod is the kernel's default, in microseconds.
const cpuPeriod = 100000

// limitCgroup2 puts the limits on the leaf of the script in the cgroup of its run. The cgroup of the run has no process in it by then. What
// cannot be enforced is not in the returned Place, and the error says why.
func limitCgroup2(run string, p *Place, l Limits) error {
	if l == (Limits{}) {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(run, "cgroup.controllers"))
	if err != nil {
		return err
	}
	have := strings.Fields(string(data))
	enable := func(controller string) error {
		if !slices.Contains(have, controller) {
			return fmt.Errorf("the %s controller is not available in %s", controller, run)
		}
		return setFile(run, "cgroup.subtree_control", "+"+controller)
	}
	var errs []error
	if l.Memory > 0 {
		err := enable("memory")
		if err == nil {
			err = setFile(p.Hook, "memory.max", strconv.FormatInt(l.Memory, 10))
		}
		if err == nil {
			// Linux before 4.19 does not have it: then the kernel kills one process at a time.
			_ = setFile(p.Hook, "memory.oom.group", "1")
			p.Limits.Memory, p.MemoryEvents = l.Memory, filepath.Join(p.Hook, "memory.events")
		}
		errs = append(errs, err)
	}
	if l.CPU > 0 {
		err := enable("cpu")
		if err == nil {
			err = setFile(p.Hook, "cpu.max", fmt.Sprintf("%d %d", l.CPU*cpuPeriod/100, cpuPeriod))
		}
		if err == nil {
			p.Limits.CPU = l.CPU
		}
		errs = append(errs, err)
	}
	if l.PIDs > 0 {
		err := enable("pids")
		if err == nil {
			err = setFile(p.Hook, "pids.max", strconv.Itoa(l.PIDs))
		}
		if err == nil {
			p.Limits.PIDs, p.PIDsEvents = l.PIDs, filepath.Join(p.Hook, "pids.events")
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// setFile writes to a file of a cgroup, which has to be there.
func setFile(dir, file, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// What shim and script share a cgroup for (v1) the shim has to have room in.
const (
	shimMemory = 32 << 20
	shimTasks  = 32
)

// properties are the limits as systemd takes them for a scope that shim and script share.
func (l Limits) properties() map[string]uint64 {
	all := map[string]uint64{}
	if l.Memory > 0 {
		all["MemoryLimit"] = uint64(l.Memory) + shimMemory
	}
	if l.CPU > 0 {
		all["CPUQuotaPerSecUSec"] = uint64(l.CPU) * 10000
	}
	if l.PIDs > 0 {
		all["TasksMax"] = uint64(l.PIDs) + shimTasks
	}
	return all
}

// counter reads a number out of a file of "name number" lines; 0 if it is not there.
func counter(path, name string) int {
	if path == "" {
		return 0
	}
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	return 0
}

// overMemory reports whether the kernel killed a process of the script for the limit. It is read while the shim keeps the cgroup in being.
func (p *Place) overMemory() bool { return counter(p.MemoryEvents, "oom_kill") > 0 }

// overPIDs is how often the script could not start a process for the limit.
func (p *Place) overPIDs() int { return counter(p.PIDsEvents, "max") }

func (s *shim) overMemory() string {
	return "a process of it was killed because it went over its memory limit of " + bytesText(s.script.Limits.Memory)
}

// metLimits notes the limits that were met and are not told of in the failure.
func (s *shim) metLimits() {
	p := &s.brief.Place
	if !s.memoryTold && p.overMemory() {
		s.note(s.overMemory())
	}
	if n := p.overPIDs(); n > 0 {
		s.note(fmt.Sprintf("it could not start a process %d times because it was at its limit of %d processes and threads", n, s.script.Limits.PIDs))
	}
}

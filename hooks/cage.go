package hooks

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cage holds the processes of a script together, seen from the shim. Whatever else it has, the shim is a child subreaper:
// a process whose parent ended becomes the shim's child, so descendants are never out of sight.
type cage struct {
	place Place
	self  int // pid of the shim
	group int // process group of the script, once started
}

func newCage(p Place) *cage { return &cage{place: p, self: os.Getpid()} }

// start lets fork start the script where it belongs. A cgroup that does not take it is no reason not to run it: the note
// says so.
func (c *cage) start(fork func(*syscall.SysProcAttr) (int, error)) (pid int, note string, err error) {
	attr := &syscall.SysProcAttr{Setsid: true}
	if c.place.Kind != PlaceCgroup2 {
		pid, err = fork(attr)
		c.group = pid
		return pid, "", err
	}
	dir, err := os.Open(c.place.Hook)
	if err == nil {
		defer dir.Close()
		attr.UseCgroupFD, attr.CgroupFD = true, int(dir.Fd())
		if pid, err = fork(attr); err == nil {
			c.group = pid
			return pid, "", nil
		}
	}
	// Linux before 5.7 cannot start a process in a cgroup: go there, start it, come back.
	if c.move(c.place.Hook) == nil {
		err = nil
	}
	pid, forkErr := fork(&syscall.SysProcAttr{Setsid: true})
	c.group = pid
	if err == nil {
		err = c.move(c.place.Shim)
	}
	if err != nil {
		note = "the script has no cgroup of its own: " + err.Error()
		c.place = Place{} // above all not one that the shim would be killed with
	}
	return pid, note, forkErr
}

func (c *cage) move(to string) error {
	return os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte("0"), 0)
}

// members are the live processes of the script.
func (c *cage) members() []proc {
	found := descendants(c.self)
	if c.place.Kind == PlaceNone {
		return found
	}
	seen := map[int]bool{c.self: true}
	for _, p := range found {
		seen[p.pid] = true
	}
	for _, pid := range cgroupPIDs(c.place.Hook) {
		if seen[pid] {
			continue
		}
		if p, err := readProc(pid); err == nil && !p.dead() {
			found = append(found, p)
		}
	}
	return found
}

// cgroupPIDs lists the processes of a cgroup and of those below it.
func cgroupPIDs(dir string) []int {
	var all []int
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	for _, field := range strings.Fields(string(data)) {
		if pid, err := strconv.Atoi(field); err == nil {
			all = append(all, pid)
		}
	}
	below, _ := os.ReadDir(dir)
	for _, e := range below {
		if e.IsDir() {
			all = append(all, cgroupPIDs(filepath.Join(dir, e.Name()))...)
		}
	}
	return all
}

// signal sends sig once to the script's process group and once to each member outside of it.
func (c *cage) signal(sig syscall.Signal) {
	members := c.members()
	c.signalGroup(members, sig)
	for _, p := range members {
		if p.pgrp != c.group {
			_ = unix.Kill(p.pid, sig)
		}
	}
}

// signalGroup sends sig to the process group, which also reaches those that members has not seen. Once nobody of the script is in it the
// kernel may give its number to another.
func (c *cage) signalGroup(members []proc, sig syscall.Signal) {
	if slices.ContainsFunc(members, func(p proc) bool { return p.pgrp == c.group }) {
		_ = unix.Kill(-c.group, sig)
	}
}

// terminate asks all to end. Those that are stopped have to go on to hear it.
func (c *cage) terminate() {
	c.signal(unix.SIGTERM)
	c.signal(unix.SIGCONT)
}

const killRound = 5 * time.Millisecond

// kill ends all at once, and again until none is left or the time is up; what is left then is returned, such as processes in
// an uninterruptible wait or, without root, those of others.
func (c *cage) kill(until time.Time) []proc {
	for {
		if c.place.Kind == PlaceCgroup2 { // Linux 5.14: all of them at one instant
			_ = os.WriteFile(filepath.Join(c.place.Hook, "cgroup.kill"), []byte("1"), 0)
		}
		left := c.freeze(until)
		if len(left) == 0 {
			return nil
		}
		c.signalGroup(left, unix.SIGKILL)
		for _, p := range left {
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
		if time.Now().After(until) {
			return c.members()
		}
		time.Sleep(killRound)
	}
}

// freeze stops all members until no new one turns up, so that none can fork while the others are being killed.
func (c *cage) freeze(until time.Time) []proc {
	stopped := map[int]bool{}
	for {
		members, fresh := c.members(), false
		for _, p := range members {
			if !stopped[p.pid] {
				stopped[p.pid], fresh = true, true
				_ = unix.Kill(p.pid, unix.SIGSTOP)
			}
		}
		if !fresh || time.Now().After(until) {
			return members
		}
	}
}

// ending is how the script itself ended.
type ending struct {
	status syscall.WaitStatus
	at     time.Time
	alone  bool // no process of it was left
}

// reap waits for every child of the shim, the orphans that it inherits included, and tells of the script's own end. It closes
// childless when there is none left.
func reap(script int, ended chan<- ending, childless chan<- struct{}) {
	defer close(childless)
	for {
		pid, status, err := wait(0)
		if err != nil {
			return
		}
		if pid != script || !status.Exited() && !status.Signaled() {
			continue
		}
		e := ending{status: status, at: time.Now()}
		for { // whoever ended before belongs to the past: only the living count
			next, _, err := wait(unix.WNOHANG)
			if e.alone = errors.Is(err, unix.ECHILD); next <= 0 {
				break
			}
		}
		ended <- e
	}
}

func wait(how int) (int, syscall.WaitStatus, error) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, how, nil)
		if !errors.Is(err, unix.EINTR) {
			return pid, status, err
		}
	}
}

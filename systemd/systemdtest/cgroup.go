package systemdtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroupParent holds the cgroups of all test hosts, in every hierarchy.
const cgroupParent = "slipway-test-hosts"

// hierarchies are the mount points of the cgroup hierarchies that a host gets a cgroup of its own in. cpuset is not one of them: a new
// cgroup of it cannot take a process.
func hierarchies() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		before, after, _ := strings.Cut(line, " - ")
		mount, super := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(super) < 3 {
			continue
		}
		options := "," + super[2] + ","
		switch {
		case super[0] == "cgroup2":
		case super[0] == "cgroup" && !strings.Contains(options, ",cpuset,"):
		default:
			continue
		}
		found = append(found, mount[4])
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no cgroup hierarchy is mounted")
	}
	return found, nil
}

// makeCgroups makes a cgroup in each hierarchy.
func makeCgroups(name string) ([]string, error) {
	mounts, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, m := range mounts {
		dir := filepath.Join(m, cgroupParent, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return dirs, err
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// endCgroups kills what is left in cgroups and removes them.
func endCgroups(dirs []string) error {
	var left error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		left = nil
		for _, dir := range dirs {
			for _, pid := range members(dir) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			if err := removeAll(dir); err != nil {
				left = err
			}
		}
		if left == nil {
			for _, dir := range dirs {
				os.Remove(filepath.Dir(dir)) // if no other host has one in it
			}
			return nil
		}
	}
	return left
}

// members are the processes of a cgroup and of those below it.
func members(dir string) []int {
	var all []int
	_ = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil //nolint:nilerr // it has gone meanwhile
		}
		data, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for _, field := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				all = append(all, pid)
			}
		}
		return nil
	})
	return all
}

func removeAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err == nil {
		err = syscall.Rmdir(dir)
	}
	return err
}

// sweepCgroups ends what tests left that were killed themselves: the name of a host starts with the pid of its test.
func sweepCgroups() {
	mounts, _ := hierarchies()
	for _, m := range mounts {
		entries, _ := os.ReadDir(filepath.Join(m, cgroupParent))
		for _, e := range entries {
			owner, _, _ := strings.Cut(e.Name(), "-")
			pid, err := strconv.Atoi(owner)
			if e.IsDir() && err == nil && syscall.Kill(pid, 0) == syscall.ESRCH { //nolint:errorlint // a bare errno
				_ = endCgroups([]string{filepath.Join(m, cgroupParent, e.Name())})
			}
		}
	}
}

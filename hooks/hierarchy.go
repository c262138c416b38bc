package hooks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hierarchy is a tree of cgroups as it is mounted here.
type hierarchy struct {
	mount string // where
	root  string // which cgroup of it
	names string // its controllers between commas, or ",name=systemd,"; "" for cgroup v2
}

// hierarchies reads the cgroup mounts of mountinfo(5).
func hierarchies(mountinfo string) []hierarchy {
	var all []hierarchy
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		mount, super := strings.Fields(before), strings.Fields(after)
		if !ok || len(mount) < 5 || len(super) < 3 {
			continue
		}
		h := hierarchy{mount: unescapeMount(mount[4]), root: unescapeMount(mount[3])}
		switch super[0] {
		case "cgroup2":
		case "cgroup":
			h.names = "," + super[2] + ","
		default:
			continue
		}
		all = append(all, h)
	}
	return all
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// locate is the folder of the cgroup that a process is in, by the content of its /proc/PID/cgroup: for a controller of cgroup v1, for
// "name=systemd", or for cgroup v2 with "". ok is false where that is not mounted or shows another part of the tree.
func locate(all []hierarchy, cgroups, name string) (dir string, ok bool) {
	for line := range strings.Lines(cgroups) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 || name == "" && (parts[0] != "0" || parts[1] != "") || name != "" && !strings.Contains(","+parts[1]+",", ","+name+",") {
			continue
		}
		for _, h := range all {
			if (h.names == "") != (name == "") || name != "" && !strings.Contains(h.names, ","+name+",") {
				continue
			}
			if below, inside := strings.CutPrefix(parts[2], strings.TrimSuffix(h.root, "/")); inside && (below == "" || below[0] == '/') {
				return filepath.Join(h.mount, below), true
			}
		}
	}
	return "", false
}

// mounted reads the hierarchies of this process and the cgroups of another.
func mounted(pid int) (all []hierarchy, cgroups string, err error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, "", err
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	return hierarchies(string(mountinfo)), string(data), err
}

// ownCgroup holds the runs of [Cgroup2] where no service manager keeps the tree.
const ownCgroup = "slipway-hooks"

// DelegatedCgroup makes a cgroup for [Cgroup2] at the root of the first cgroup v2 tree that this process may write to, beside the cgroup that it
// is in itself and never below it. An error says why there is none.
func DelegatedCgroup() (string, error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("look for a cgroup v2: %w", err)
	}
	return makeOwn(hierarchies(string(mountinfo)))
}

func makeOwn(all []hierarchy) (string, error) {
	var errs []error
	for _, h := range all {
		if h.names != "" {
			continue
		}
		dir := filepath.Join(h.mount, ownCgroup)
		err := os.Mkdir(dir, 0o755)
		if err == nil || errors.Is(err, os.ErrExist) {
			err = unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK)
		}
		if err == nil {
			return dir, nil
		}
		errs = append(errs, fmt.Errorf("use %s: %w", dir, err))
	}
	if errs == nil {
		return "", errors.New("no cgroup v2 file system is mounted")
	}
	return "", errors.Join(errs...)
}

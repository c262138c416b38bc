package provision

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// hidden is the pid of a process that cannot be told.
const hidden = -1

// lockHolder is the process that holds an fcntl lock on a file, 0 for none.
func lockHolder(name string) (int, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	// A wish to read conflicts with a lock for writing, which is what the package managers take.
	l := unix.Flock_t{Type: unix.F_RDLCK, Whence: 0}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &l); err != nil {
		return 0, err
	}
	if l.Type == unix.F_UNLCK {
		return 0, nil
	}
	if l.Pid <= 0 {
		return hidden, nil // of another pid namespace, or a lock of an open file
	}
	return int(l.Pid), nil
}

// process names a process as "pid 12 (apt-get -y upgrade)".
func process(pid int) string {
	if pid == hidden {
		return "a process that cannot be seen from here"
	}
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	line := strings.TrimSpace(strings.ReplaceAll(string(data), "\x00", " "))
	if err != nil || line == "" {
		return fmt.Sprintf("pid %d", pid)
	}
	const widest = 100
	if len(line) > widest {
		line = strings.ToValidUTF8(line[:widest], "") + "…"
	}
	return fmt.Sprintf("pid %d (%s)", pid, line)
}

// listeners finds the sockets that listen on a TCP port, by the inode that names them.
func listeners(table string, port int) []string {
	var inodes []string
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		const local, state, inode, listening = 1, 3, 9, "0A"
		if len(f) <= inode || f[state] != listening {
			continue
		}
		_, at, ok := strings.Cut(f[local], ":")
		raw, err := hex.DecodeString(at)
		if ok && err == nil && len(raw) == 2 && int(raw[0])<<8|int(raw[1]) == port {
			inodes = append(inodes, f[inode])
		}
	}
	return inodes
}

// owner is a process that listens on a port.
type owner struct {
	pid    int
	cgroup string
}

// portOwners finds who listens on a TCP port of this host.
func portOwners(port int) ([]owner, error) {
	var inodes []string
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		table, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		inodes = append(inodes, listeners(string(table), port)...)
	}
	if len(inodes) == 0 {
		return nil, nil
	}
	var owners []owner
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return nil, err
	}
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		inode, isSocket := strings.CutPrefix(strings.TrimSuffix(target, "]"), "socket:[")
		if err != nil || !isSocket || !slices.Contains(inodes, inode) {
			continue
		}
		pid := atoi(strings.Split(fd, "/")[2])
		if !slices.ContainsFunc(owners, func(o owner) bool { return o.pid == pid }) {
			cgroup, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
			owners = append(owners, owner{pid, string(cgroup)})
		}
	}
	if len(owners) == 0 {
		owners = append(owners, owner{pid: hidden})
	}
	return owners, nil
}

// portFree says who keeps a unit from listening on its port, if anybody does.
func portFree(port int, unit string) error {
	owners, err := portOwners(port)
	if err != nil {
		return fmt.Errorf("find out who listens on port %d: %w", port, err)
	}
	for _, o := range owners {
		if strings.Contains(o.cgroup, "/"+unit) {
			return nil
		}
	}
	if len(owners) == 0 {
		return nil
	}
	who := process(slices.MinFunc(owners, func(a, b owner) int { return a.pid - b.pid }).pid)
	return fmt.Errorf("port %d is taken by %s, so %s could not listen on it: stop that process, or choose another web.port", port, who, unit)
}

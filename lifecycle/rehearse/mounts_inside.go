package rehearse

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// maskedFiles tell of the kernel, or reach it: the copy has an empty file in their place.
var maskedFiles = []string{"kcore", "kmsg", "keys", "key-users", "latency_stats", "timer_list", "timer_stats", "sched_debug", "kallsyms", "kpagecgroup", "kpagecount", "kpageflags", "vmallocinfo"}

// furnisher mounts what a copy needs beside its files, in the mount and pid namespace of the inside.
type furnisher struct {
	insideOrder
}

const guarded = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

func (m *furnisher) furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return noRights("/proc", "make the mounts private", err)
	}
	for _, step := range []func() error{m.run, m.proc, m.sys, m.dev} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// run is mounted over the stage's own root as the copy sees it; it also holds the empty file that hides others.
func (m *furnisher) run() error {
	at := mergedRoot + "/run"
	if err := unix.Mount("run", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=0755,size=%d", max(m.Size/8, minSize))); err != nil {
		return noRights("/proc", "mount /run of the copy", err)
	}
	if err := m.Run.apply(at); err != nil {
		return fmt.Errorf("make the folders of /run: %w", err)
	}
	return nil
}

func (m *furnisher) proc() error {
	at := mergedRoot + "/proc"
	if err := unix.Mount("proc", at, "proc", guarded, ""); err != nil {
		r := noRights("/proc", "mount /proc of the copy", err)
		if r.Why == err.Error() && m.UserNS && errors.Is(err, unix.EPERM) {
			r.Why += " (parts of the host's /proc are covered, as container engines do)"
		}
		return r
	}
	entries, err := os.ReadDir(at)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(at, e.Name())
		if _, err := strconv.Atoi(e.Name()); err == nil || e.Type()&os.ModeSymlink != 0 {
			continue
		}
		info, err := e.Info()
		if err != nil || !e.IsDir() && (!info.Mode().IsRegular() || info.Mode().Perm()&0o222 == 0) {
			continue
		}
		if err := readOnly(name, guarded); err != nil {
			return err
		}
	}
	empty := mergedRoot + "/run/.empty"
	if err := os.WriteFile(empty, nil, 0o444); err != nil {
		return err
	}
	for _, name := range maskedFiles {
		over := path.Join(at, name)
		if _, err := os.Lstat(over); err != nil {
			continue
		}
		if err := unix.Mount(empty, over, "", unix.MS_BIND, ""); err != nil {
			return noRights("/proc", "cover /proc/"+name, err)
		}
		if err := unix.Mount("", over, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|guarded, ""); err != nil {
			return noRights("/proc", "cover /proc/"+name, err)
		}
	}
	if m.HostNet {
		// Every process and thread has files of the network in its folder, of which some can be written to, such as the lists of a firewall.
		if err := unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|guarded, ""); err != nil {
			return noRights("/proc", "make /proc of the copy for reading", err)
		}
	}
	return os.Remove(empty)
}

// readOnly makes a path unchangeable by mounting it over itself.
func readOnly(name string, flags uintptr) error {
	if err := unix.Mount(name, name, "", unix.MS_BIND, ""); err != nil {
		return noRights("/proc", "mount "+name+" for reading", err)
	}
	if err := unix.Mount("", name, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|flags, ""); err != nil {
		return noRights("/proc", "mount "+name+" for reading", err)
	}
	return nil
}

// sys shows the devices for reading. A user namespace that shares the host's network may not, and has an empty folder.
func (m *furnisher) sys() error {
	at := mergedRoot + "/sys"
	err := unix.Mount("sysfs", at, "sysfs", guarded, "")
	if err != nil && m.UserNS {
		err = unix.Mount("none", at, "tmpfs", guarded, "mode=0755,size=4k")
	}
	if err == nil {
		err = unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|guarded, "")
	}
	if err != nil {
		return noRights("/proc", "mount /sys of the copy", err)
	}
	pressure(at + "/fs/cgroup")
	return nil
}

// pressure puts empty files where programs look for the pressure on their cgroup, as this one does: without them they say so in what a script says.
// The tree of cgroups itself is not shown. Where that cannot be done it is no harm.
func pressure(at string) {
	if unix.Mount("cgroup", at, "tmpfs", guarded, "mode=0755,size=16k") != nil {
		return
	}
	for _, name := range []string{"cpu", "io", "memory"} {
		_ = os.WriteFile(at+"/"+name+".pressure", nil, 0o444)
	}
	_ = unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|guarded, "")
}

// devices are those that every program may need, by major and minor number.
var devices = []struct {
	name         string
	major, minor uint32
}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}}

func (m *furnisher) dev() error {
	at := mergedRoot + "/dev"
	if err := unix.Mount("dev", at, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=16m"); err != nil {
		return noRights("/proc", "mount /dev of the copy", err)
	}
	for _, d := range devices {
		if err := m.device(at+"/"+d.name, "/dev/"+d.name, unix.Mkdev(d.major, d.minor)); err != nil {
			return err
		}
	}
	for _, dir := range []string{"pts", "shm", "mqueue"} {
		if err := os.Mkdir(at+"/"+dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("shm", at+"/shm", "tmpfs", guarded, fmt.Sprintf("mode=1777,size=%d", max(m.Size/2, minSize))); err != nil {
		return noRights("/proc", "mount /dev/shm of the copy", err)
	}
	_ = unix.Mount("mqueue", at+"/mqueue", "mqueue", guarded, "") // not every kernel has it
	const pts = "newinstance,ptmxmode=0666,mode=0620"
	err := unix.Mount("devpts", at+"/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, pts+",gid=5")
	if err != nil { // the group is none of this user namespace
		err = unix.Mount("devpts", at+"/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, pts)
	}
	if err != nil {
		return noRights("/proc", "mount /dev/pts of the copy", err)
	}
	links := [][2]string{{"pts/ptmx", "ptmx"}, {"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}}
	for l := range slices.Values(links) {
		if err := os.Symlink(l[0], at+"/"+l[1]); err != nil {
			return err
		}
	}
	return nil
}

// device makes a node of the copy's own. Where this may not be, in a user namespace, that of the host is mounted for reading, which is
// about the node and not what it leads to: its mode and owner cannot be changed there.
func (m *furnisher) device(to, from string, number uint64) error {
	err := unix.Mknod(to, unix.S_IFCHR|0o666, int(number))
	if err == nil && !m.UserNS {
		return unix.Chmod(to, 0o666)
	}
	if !m.UserNS {
		return noRights("/proc", "make "+from+" of the copy", err)
	}
	_ = os.Remove(to)
	if err := os.WriteFile(to, nil, 0o644); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return noRights("/proc", "mount "+from+" of the copy", err)
	}
	if err := unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
		return noRights("/proc", "mount "+from+" of the copy for reading", err)
	}
	return nil
}

package doctor

import (
	"bytes"
	"context"
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

// Writable looks whether files can be made in a folder, or, while it is missing, in the one that it would be made in. Nothing is left there.
func Writable(name, dir, key string) Check {
	return Check{name, func(context.Context) Result {
		at, err := existing(dir)
		if err != nil {
			return Result{Fail, err.Error(), fmt.Sprintf("make %s, or set %s to a folder that can be made", dir, key)}
		}
		f, err := os.CreateTemp(at, ".slipway-doctor-*")
		if err == nil {
			_, err = f.WriteString("x")
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
		switch {
		case err == nil && at != dir:
			return ok("%s will be made in %s, which can be written to", dir, at)
		case err == nil:
			return ok("%s can be written to", dir)
		case errors.Is(err, unix.EROFS):
			return Result{Fail, fmt.Sprintf("%s is on a file system that is mounted read-only", at), "mount -o remount,rw " + mountPoint(at) + "; if it comes back, look for errors of the disk in dmesg"}
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
			return Result{Fail, fmt.Sprintf("no file can be made in %s: %v", at, reason(err)), "make room: slipway prune, or a larger volume"}
		case errors.Is(err, fs.ErrPermission):
			return Result{Fail, fmt.Sprintf("%s cannot be written to by uid %d: %v", at, os.Geteuid(), reason(err)), "run it as root; if it is root, look at lsattr -d and the labels of " + at}
		}
		return Result{Fail, fmt.Sprintf("no file can be made in %s: %v", at, reason(err)), "mend the file system, or set " + key + " to another folder"}
	}}
}

// reason is an error without the names that the text around it says already.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// existing is dir or the nearest folder above it that is there.
func existing(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case err == nil && !info.IsDir():
			return "", fmt.Errorf("%s is not a folder", at)
		case err == nil:
			return at, nil
		case !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at):
			return "", fmt.Errorf("%s cannot be reached: %w", dir, err)
		}
	}
}

// mountPoint is the mount that a path is on.
func mountPoint(path string) string {
	var here unix.Stat_t
	if unix.Stat(path, &here) != nil {
		return path
	}
	for {
		above := filepath.Dir(path)
		var st unix.Stat_t
		if above == path || unix.Stat(above, &st) != nil || st.Dev != here.Dev {
			return path
		}
		path = above
	}
}

// Room looks whether the file system of a folder has at least so many bytes and inodes free. Less than that is a warning, and a failure below a tenth
// of it.
func Room(name, dir string, bytes, inodes uint64) Check {
	return Check{name, func(context.Context) Result {
		at, err := existing(dir)
		var st unix.Statfs_t
		if err == nil {
			err = unix.Statfs(at, &st)
		}
		if err != nil {
			return Result{Fail, fmt.Sprintf("the space of %s cannot be told: %v", dir, err), "mend or mount the file system"}
		}
		free, unit := st.Bavail*uint64(st.Bsize), uint64(1<<20)
		const few = 10
		noInodes := st.Files > 0 && st.Ffree < inodes // some file systems do not count them
		text := fmt.Sprintf("%d MiB free on %s", free/unit, mountPoint(at))
		if st.Files > 0 {
			text += fmt.Sprintf(", %d of %d inodes", st.Ffree, st.Files)
		}
		status := Warn
		if free < bytes/few || noInodes && st.Ffree < inodes/few {
			status = Fail
		}
		switch {
		case free < bytes:
			return Result{status, text, fmt.Sprintf("free some space (slipway prune) or enlarge the volume: %d MiB are the least to work with", bytes/unit)}
		case noInodes:
			return Result{status, text, fmt.Sprintf("remove many small files (caches, sessions, mail queues; df -i) or make a file system with more inodes: %d are the least to work with", inodes)}
		}
		return ok("%s", text)
	}}
}

// Executable looks whether scripts can be executed where a folder lies.
func Executable(name, dir string) Check {
	return Check{name, func(context.Context) Result {
		at, err := existing(dir)
		var st unix.Statfs_t
		if err == nil {
			err = unix.Statfs(at, &st)
		}
		switch {
		case err != nil:
			return skip("the mount of %s cannot be looked at: %v", dir, err)
		case st.Flags&unix.ST_NOEXEC != 0:
			m := mountPoint(at)
			return Result{Fail, m + " is mounted noexec: no hook can be executed there", "mount -o remount,exec " + m + ", or set root_dir to another file system"}
		}
		return ok("scripts can be executed below %s", dir)
	}}
}

// OtherAgent looks for the official agent: in the process table of proc, such as "/proc", and among the units that are enabled below root, such as
// "/". Two agents on a host each get some of the commands.
func OtherAgent(name, proc, root string) Check {
	return Check{name, func(context.Context) Result {
		entries, err := os.ReadDir(proc)
		if err != nil {
			return skip("the process table cannot be read: %v", err)
		}
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			line, err := os.ReadFile(filepath.Join(proc, e.Name(), "cmdline"))
			if err != nil {
				continue
			}
			text := string(bytes.TrimSpace(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
			program, _, _ := strings.Cut(text, " ")
			if strings.HasPrefix(text, "codedeploy-agent: master") || strings.HasPrefix(text, "codedeploy-agent: InstanceAgent") || filepath.Base(program) == "codedeploy-agent" {
				return Result{Fail, fmt.Sprintf("the official agent runs as process %d (%s)", pid, text), "systemctl disable --now codedeploy-agent, and remove its package"}
			}
		}
		if unit := enabled(root, "codedeploy-agent.service"); unit != "" {
			return Result{Warn, "the official agent does not run and is enabled: the next boot starts it", "systemctl disable codedeploy-agent"}
		}
		return ok("no other agent runs here")
	}}
}

// enabled finds the link that makes systemd start a unit at boot.
func enabled(root, unit string) string {
	found, err := filepath.Glob(filepath.Join(root, "etc/systemd/system/*.wants", unit))
	if err != nil || len(found) == 0 {
		return ""
	}
	return found[0]
}

// Unit looks whether the service starts at boot and nothing holds it back: root is "/" outside tests.
func Unit(name, root, unit, hold string) Check {
	return Check{name, func(context.Context) Result {
		if _, err := os.Stat(filepath.Join(root, "run/systemd/system")); err != nil {
			return skip("systemd does not run here")
		}
		if _, err := os.Lstat(filepath.Join(root, hold)); err == nil {
			return Result{Fail, hold + " is there: the service does not start while it is", "rm " + hold + ", then systemctl start slipway"}
		}
		if !slices.ContainsFunc([]string{"etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}, func(dir string) bool {
			_, err := os.Stat(filepath.Join(root, dir, unit))
			return err == nil
		}) {
			return Result{Warn, unit + " is not installed", "install the package, or slipway service install"}
		}
		if enabled(root, unit) == "" {
			return Result{Fail, unit + " is not enabled: the next boot does not start it", "systemctl enable --now " + strings.TrimSuffix(unit, ".service")}
		}
		return ok("%s is enabled", unit)
	}}
}

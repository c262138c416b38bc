package rehearse

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// likeFolder makes a folder that looks like another: mode, owner, times, extended attributes as far as they may be set.
func likeFolder(dir, model string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return alike(dir, model)
}

// alike gives a path the looks of another. In a user namespace most owners are nobody's, who cannot own anything; the user owns it then.
func alike(name, model string) error {
	var st unix.Stat_t
	if err := unix.Lstat(model, &st); err != nil {
		return &os.PathError{Op: "look at", Path: model, Err: err}
	}
	if nobody := uint32(65534); st.Uid != nobody && st.Gid != nobody || wholeNamespace() {
		_ = unix.Lchown(name, int(st.Uid), int(st.Gid))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(name, st.Mode&0o7777); err != nil {
			return &os.PathError{Op: "chmod", Path: name, Err: err}
		}
	}
	names := make([]byte, 4<<10)
	n, err := unix.Llistxattr(model, names)
	if err == nil {
		value := make([]byte, 64<<10)
		for attr := range strings.SplitSeq(string(names[:n]), "\x00") {
			if attr == "" || strings.HasPrefix(attr, "trusted.overlay.") || strings.HasPrefix(attr, "user.overlay.") {
				continue
			}
			if size, err := unix.Lgetxattr(model, attr, value); err == nil {
				_ = unix.Lsetxattr(name, attr, value[:size], 0)
			}
		}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// maxCopied bounds a single file of the host that is copied, such as one that a container's engine has mounted over another.
const maxCopied = 4 << 20

// copyFile copies a small regular file over another, or to a new place.
func copyFile(to, from string) error {
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxCopied {
		return fmt.Errorf("%s is no small file", from)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		return err
	}
	return alike(to, from)
}

// runFolder is a folder below /run of the host, which the copy gets empty.
type runFolder struct {
	Name     string
	Mode     uint32
	UID, GID int
}

// runShape is what of /run the copy gets.
type runShape struct {
	Folders    []runFolder
	ResolvConf string // the file below /run that /etc/resolv.conf is a link to
	Resolver   []byte // its content
}

// maxRun bounds the folders of /run that are made.
const maxRun = 256

// shapeOfRun reads the folders that services have in /run. Those of service managers, container engines and sessions are left out: what looks
// for them must find nothing.
func shapeOfRun() (shape runShape) {
	entries, _ := os.ReadDir("/run")
	for _, e := range entries {
		switch name := e.Name(); name {
		case "systemd", "docker", "containerd", "dbus", "user", "netns", "udev", "credentials", "initctl", "lock", "shm", "crio", "podman", "containers":
		default:
			var st unix.Stat_t
			if e.IsDir() && len(shape.Folders) < maxRun && unix.Lstat("/run/"+name, &st) == nil {
				shape.Folders = append(shape.Folders, runFolder{name, st.Mode & 0o7777, int(st.Uid), int(st.Gid)})
			}
		}
	}
	if target, err := os.Readlink("/etc/resolv.conf"); err == nil {
		if !path.IsAbs(target) {
			target = path.Join("/etc", target)
		}
		if target = path.Clean(target); strings.HasPrefix(target, "/run/") {
			shape.ResolvConf = target
			shape.Resolver, _ = os.ReadFile(target)
		}
	}
	return shape
}

// apply makes the folders below root, the copy's /run.
func (s *runShape) apply(root string) error {
	if err := os.Mkdir(root+"/lock", 0o755); err != nil {
		return err
	}
	if err := os.Chmod(root+"/lock", 0o777|os.ModeSticky); err != nil {
		return err
	}
	for _, f := range s.Folders {
		dir := root + "/" + f.Name
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		_ = os.Chown(dir, f.UID, f.GID) // nobody of this user namespace, maybe
		if err := unix.Chmod(dir, f.Mode); err != nil {
			return err
		}
	}
	if s.ResolvConf != "" {
		to := root + strings.TrimPrefix(s.ResolvConf, "/run")
		if err := os.MkdirAll(path.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, s.Resolver, 0o644)
	}
	return nil
}

// socketPaths are the paths that sockets of this host are bound to, in whatever network namespace: every process tells of its own.
func socketPaths() []string {
	seen, known := map[string]bool{}, map[string]bool{}
	var list []string
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		ns, err := os.Readlink("/proc/" + e.Name() + "/ns/net")
		if err != nil || seen[ns] {
			continue
		}
		seen[ns] = true
		data, _ := os.ReadFile("/proc/" + e.Name() + "/net/unix")
		for _, name := range boundPaths(string(data)) {
			if !known[name] {
				known[name] = true
				list = append(list, name)
			}
		}
	}
	return list
}

// boundPaths are the paths in a /proc/net/unix: what follows the seventh field.
func boundPaths(table string) (list []string) {
	for line := range strings.Lines(table) {
		rest := strings.TrimRight(line, "\n")
		for range 7 {
			_, rest, _ = strings.Cut(strings.TrimLeft(rest, " "), " ")
		}
		if name := strings.TrimLeft(rest, " "); strings.HasPrefix(name, "/") {
			list = append(list, path.Clean(name))
		}
	}
	return list
}

// abstractListeners are the abstract names that are listened on in a /proc/net/unix.
func abstractListeners(table string) (list []string) {
	const accepts = "00010000" // the flag of a listening socket
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) >= 8 && f[3] == accepts && strings.HasPrefix(f[7], "@") {
			list = append(list, f[7])
		}
	}
	return list
}

package rehearse

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// recorded are the names of the programs that are answered. update-rc.d and invoke-rc.d of Debian are not among them: they are scripts that change
// files, which are told of as files, and call systemctl. Scripts in /etc/init.d run as they are.
var recorded = []string{
	"systemctl", "service", "chkconfig", "initctl", "rc-service", "journalctl", "loginctl", "hostnamectl", "timedatectl",
	"shutdown", "reboot", "poweroff", "halt", "init", "telinit", "runlevel",
}

// realSystemctl is the host's, for what it does to files alone.
const realSystemctl = watchDir + "/systemctl"

// coverPrograms puts exe in the place of the programs, where the host has them. A program that is one with others, as in BusyBox, stays what it is.
func coverPrograms(exe string) error {
	systemd := false
	for _, name := range recorded {
		for _, file := range places(name) {
			if !answers(filepath.Base(file)) {
				continue
			}
			if name == "systemctl" {
				systemd = true
				if err := os.WriteFile(realSystemctl, nil, 0o755); err != nil {
					return fmt.Errorf("keep the host's systemctl: %w", err)
				}
				if err := bindReadOnly(file, realSystemctl); err != nil {
					return err
				}
			}
			if isSame(exe, file) {
				continue // another name has led here
			}
			if err := bindReadOnly(exe, file); err != nil {
				return err
			}
		}
	}
	if !systemd {
		return nil
	}
	// So scripts know that systemd is there (sd_booted(3)).
	if err := os.MkdirAll("/run/systemd/system", 0o755); err != nil {
		return fmt.Errorf("make /run as systemd has it: %w", err)
	}
	return nil
}

func isSame(a, b string) bool {
	var x, y unix.Stat_t
	return unix.Stat(a, &x) == nil && unix.Stat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

// makeVolatile makes the folders of /run that the host has made at boot (tmpfiles.d(5)). The copy's /run has none of them.
func makeVolatile() error {
	files := map[string]string{} // by name: a folder that comes first overrides
	for _, dir := range []string{"/etc/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d"} {
		found, _ := filepath.Glob(dir + "/*.conf")
		for _, f := range found {
			if _, ok := files[filepath.Base(f)]; !ok {
				files[filepath.Base(f)] = f
			}
		}
	}
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		for line := range strings.Lines(readText(files[n])) {
			if v, ok := parseVolatile(line); ok {
				if err := v.make(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// volatileFolder is a folder of /run.
type volatileFolder struct {
	path, user, group string
	mode              uint32
}

// parseVolatile reads a line of tmpfiles.d(5); ok is false if it makes no folder below /run. Specifiers are not understood: such a line is passed over.
func parseVolatile(line string) (v volatileFolder, ok bool) {
	f := strings.Fields(line)
	if len(f) < 2 || strings.TrimRight(f[0], "!+-=~^$") != "d" && strings.TrimRight(f[0], "!+-=~^$") != "D" {
		return v, false
	}
	v.path = strings.Trim(f[1], `"`)
	if rest, found := strings.CutPrefix(v.path, "/var/run/"); found {
		v.path = "/run/" + rest
	}
	if !strings.HasPrefix(v.path, "/run/") || strings.Contains(v.path, "%") || filepath.Clean(v.path) != strings.TrimSuffix(v.path, "/") {
		return v, false
	}
	for len(f) < 5 {
		f = append(f, "-")
	}
	v.mode = 0o755
	if m, err := strconv.ParseUint(strings.TrimLeft(f[2], "~:"), 8, 12); err == nil {
		v.mode = uint32(m)
	}
	v.user, v.group = strings.TrimLeft(f[3], ":"), strings.TrimLeft(f[4], ":")
	return v, true
}

func (v *volatileFolder) make() error {
	if _, err := os.Lstat(v.path); err == nil {
		return nil
	}
	if err := os.MkdirAll(v.path, 0o755); err != nil {
		return fmt.Errorf("make a folder of /run: %w", err)
	}
	if uid, gid, err := ownerIDs(v.user, v.group); err == nil {
		_ = os.Chown(v.path, uid, gid) // nobody of this user namespace, maybe
	}
	if err := unix.Chmod(v.path, v.mode); err != nil {
		return fmt.Errorf("make a folder of /run: %w", err)
	}
	return nil
}

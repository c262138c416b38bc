package rehearse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// wholeMap is how the map of users of the first user namespace reads.
const wholeMap = "0 0 4294967295"

// needsUserNamespace reports whether this process lacks what it takes to mount. Within a user namespace of someone else the kernel gives
// overlays no other attributes than those of one made for the sandbox either.
func needsUserNamespace() (bool, error) {
	caps, err := effective()
	if err != nil {
		return false, fmt.Errorf("look at the capabilities of this process: %w", err)
	}
	return caps&(1<<unix.CAP_SYS_ADMIN) == 0 || !wholeNamespace(), nil
}

func wholeNamespace() bool {
	return strings.Join(strings.Fields(readText("/proc/self/uid_map")), " ") == wholeMap
}

// effective are the effective capabilities of this process.
func effective() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, err
	}
	return uint64(data[0].Effective) | uint64(data[1].Effective)<<32, nil
}

// mapUsers gives the stage's user namespace its users: this one as root, and those that /etc/subuid grants. Where this process may map
// any user, all that there are here.
func mapUsers(ctx context.Context, pid int) error {
	caps, err := effective()
	if err != nil {
		return err
	}
	dir := "/proc/" + strconv.Itoa(pid)
	if both := uint64(1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID); caps&both == both && os.Geteuid() == 0 {
		for _, name := range []string{"uid_map", "gid_map"} {
			if err = os.WriteFile(dir+"/"+name, identity(readText("/proc/self/"+name)), 0); err != nil {
				return refuse("map the users of this namespace into that of the sandbox", err)
			}
		}
		return nil
	}
	if granted(ctx, pid) {
		return nil
	}
	// The kernel lets go of the last hindrance a moment after the process has become its program.
	err = os.WriteFile(dir+"/setgroups", []byte("deny"), 0)
	for deadline := time.Now().Add(mapTime); errors.Is(err, fs.ErrPermission) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
		err = os.WriteFile(dir+"/setgroups", []byte("deny"), 0)
	}
	if err != nil {
		return refuse("map this user into the namespace of the sandbox", err)
	}
	for name, id := range map[string]int{"uid_map": os.Geteuid(), "gid_map": os.Getegid()} {
		if err := os.WriteFile(dir+"/"+name, fmt.Appendf(nil, "0 %d 1\n", id), 0); err != nil {
			return refuse("map this user into the namespace of the sandbox", err)
		}
	}
	return nil
}

// mapTime bounds how long the stage's namespace may not be ready.
const mapTime = time.Second

// identity maps every range of a map onto itself.
func identity(text string) []byte {
	var out []byte
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 {
			out = fmt.Appendf(out, "%s %s %s\n", f[0], f[0], f[2])
		}
	}
	return out
}

// granted maps the ranges of /etc/subuid and /etc/subgid by the set-id programs that may, and reports whether it did both.
func granted(ctx context.Context, pid int) bool {
	name := ""
	if u, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil {
		name = u.Username
	}
	users, groups := subIDs("/etc/subuid", name, os.Geteuid()), subIDs("/etc/subgid", name, os.Geteuid())
	if users == nil || groups == nil {
		return false
	}
	for _, m := range []struct {
		program string
		own     int
		ids     []string
	}{{"newuidmap", os.Geteuid(), users}, {"newgidmap", os.Getegid(), groups}} {
		args := append([]string{strconv.Itoa(pid), "0", strconv.Itoa(m.own), "1", "1"}, m.ids...)
		if exec.CommandContext(ctx, m.program, args...).Run() != nil {
			return false
		}
	}
	return true
}

// subIDs are first and number of the first range that a file such as /etc/subuid grants a user.
func subIDs(file, name string, uid int) []string {
	for line := range strings.Lines(readText(file)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) == 3 && f[0] != "" && (f[0] == name || f[0] == strconv.Itoa(uid)) {
			return f[1:]
		}
	}
	return nil
}

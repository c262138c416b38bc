package rehearse

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Refusal says why this host cannot give a sandbox, and what to do about it. Nothing is rehearsed then: the real host is never used instead.
type Refusal struct {
	What   string `json:"what"`   // was to be done
	Why    string `json:"why"`    // it cannot be
	Remedy string `json:"remedy"` // a way out; may be empty
}

func (r *Refusal) Error() string {
	text := "no sandbox on this host: " + r.What + ": " + r.Why
	if r.Remedy != "" {
		text += "; " + r.Remedy
	}
	return text
}

// refuse makes a Refusal of an error that no more is known of.
func refuse(what string, err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return &Refusal{What: what, Why: err.Error()}
}

// noNamespaces explains why a process with namespaces of its own could not be started. proc is where proc is mounted.
func noNamespaces(proc string, userns bool, err error) *Refusal {
	r := &Refusal{What: "start a process with namespaces of its own", Why: err.Error()}
	if userns {
		r.What = "start a process with a user namespace of its own"
	}
	filtered := strings.Contains(readText(proc+"/self/status"), "\nSeccomp:\t2")
	switch asRoot := "run it as root"; {
	case !userns && errors.Is(err, unix.EPERM):
		r.Remedy = "the container that this runs in forbids it: give it CAP_SYS_ADMIN and a seccomp profile that allows clone and mount"
	case !userns:
	case readText(proc+"/sys/kernel/unprivileged_userns_clone") == "0":
		r.Why += " (kernel.unprivileged_userns_clone is 0)"
		r.Remedy = asRoot + ", or have root set it: sysctl -w kernel.unprivileged_userns_clone=1"
	case readText(proc+"/sys/user/max_user_namespaces") == "0":
		r.Why += " (user.max_user_namespaces is 0)"
		r.Remedy = asRoot + ", or have root set it: sysctl -w user.max_user_namespaces=15000"
	case errors.Is(err, unix.ENOSPC):
		r.Why += " (a limit of namespaces is met: user.max_user_namespaces is " + readText(proc+"/sys/user/max_user_namespaces") +
			", user.max_mnt_namespaces is " + readText(proc+"/sys/user/max_mnt_namespaces") + "; or 32 user namespaces lie in one another)"
		r.Remedy = asRoot + ", or have root raise the limit"
	case readText(proc+"/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		r.Why += " (kernel.apparmor_restrict_unprivileged_userns is 1)"
		r.Remedy = asRoot + ", or have root set it: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
	case errors.Is(err, unix.EINVAL):
		r.Why += " (the kernel has no user namespaces)"
		r.Remedy = asRoot
	case filtered:
		r.Why += " (a seccomp filter forbids it, as that of a container does)"
		r.Remedy = "run it outside of the container, or as root in one whose profile allows clone and mount"
	default:
		r.Remedy = asRoot
	}
	return r
}

// noRights explains why a mount failed in a user namespace that could be made.
func noRights(proc, what string, err error) *Refusal {
	r := &Refusal{What: what, Why: err.Error()}
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
		return r
	}
	switch {
	case readText(proc+"/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		r.Why += " (kernel.apparmor_restrict_unprivileged_userns is 1: a user namespace has no rights)"
		r.Remedy = "run it as root, or have root set it: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
	case strings.Contains(readText(proc+"/self/status"), "\nSeccomp:\t2"):
		r.Why += " (a seccomp filter is in force, as that of a container is)"
		r.Remedy = "run it outside of the container, or in one whose profile allows mount"
	default:
		r.Remedy = "run it as root; in a container, give that CAP_SYS_ADMIN, an unmasked /proc and a profile that allows mount"
	}
	return r
}

// noQuietCores refuses where the host takes core dumps by a socket of its own, as Linux can since 6.16: the kernel connects to it for every crash, in
// whatever namespaces and with whatever limit, and nothing that a process can be given keeps it from that.
func noQuietCores(proc string) error {
	pattern := readText(proc + "/sys/kernel/core_pattern")
	if !strings.HasPrefix(pattern, "@") {
		return nil
	}
	return &Refusal{
		What: "keep crashes in the sandbox", Why: "the host takes core dumps over a socket (kernel.core_pattern is " + pattern + "), which the kernel reaches for scripts too",
		Remedy: "have root set another pattern for the time of the rehearsal: sysctl -w kernel.core_pattern=core",
	}
}

func readText(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func readInt(path string) (int64, bool) {
	n, err := strconv.ParseInt(readText(path), 10, 64)
	return n, err == nil
}

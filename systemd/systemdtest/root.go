package systemdtest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// release is the Debian release of the hosts.
const release = "bookworm"

// always are the packages that every host has beside those of the variant minbase.
var always = []string{"systemd", "systemd-sysv", "dbus"}

// recipe goes up when the same list of packages gives another root.
const recipe = "1"

// Missing says why no host can be booted here, "" if one can: not root, or a tool that is not installed.
func Missing() string {
	if os.Geteuid() != 0 {
		return "needs root: boots a host with systemd"
	}
	for _, need := range [][2]string{{"systemd-nspawn", "systemd-container"}, {"mmdebstrap", "mmdebstrap"}, {"nsenter", "util-linux"}} {
		if _, err := exec.LookPath(need[0]); err != nil {
			return fmt.Sprintf("needs %s: install the package %s", need[0], need[1])
		}
	}
	return ""
}

// lowerRoot is the folder of a Debian system with the packages, made when it is wanted for the first time. It is shared by all tests of
// the machine and may not be changed.
func lowerRoot(t testing.TB, packages []string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("no place for the root of a test host: %v", err)
	}
	dir := filepath.Join(cache, "slipway", "systemd-hosts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatalf("make root of a test host: %v", err)
	}
	packages = slices.Compact(slices.Sorted(slices.Values(slices.Concat(always, packages))))
	list := strings.Join(packages, ",")
	root := filepath.Join(dir, fmt.Sprintf("%x", sha256.Sum256([]byte(recipe+" "+release+" "+list)))[:16])
	// Tests of several packages run side by side, and one of them makes it.
	lock, err := os.OpenFile(root+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatalf("make root of a test host: %v", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatalf("make root of a test host: lock %s: %v", lock.Name(), err)
	}
	if _, err := os.Stat(root); err == nil {
		return root
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("look for root of a test host: %v", err)
	}
	began, part := time.Now(), root+".part"
	if err := os.RemoveAll(part); err != nil { // of one that was cut short
		t.Fatalf("make root of a test host: %v", err)
	}
	t.Logf("making the root of a test host with %s, which takes a minute", list)
	out, err := exec.CommandContext(t.Context(), "mmdebstrap", "--quiet", "--variant=minbase", "--format=directory", "--include="+list, release, part).CombinedOutput()
	if err == nil {
		err = os.Rename(part, root)
	}
	if err != nil {
		t.Fatalf("make root of a test host with mmdebstrap: %v\n%s", err, out)
	}
	t.Logf("made in %s: %s", time.Since(began).Round(time.Second), root)
	return root
}

package systemdtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestHost(t *testing.T) {
	machine := func() string { // what a host must not change
		var st []string
		for _, f := range []string{"/proc/sys/fs/protected_regular", "/proc/sys/fs/protected_fifos", "/proc/sys/fs/file-max", "/proc/sys/kernel/core_pattern"} {
			data, _ := os.ReadFile(f)
			st = append(st, f+"="+strings.TrimSpace(string(data)))
		}
		info, err := os.Stat(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(append(st, info.Mode().String()), "\n")
	}
	before := machine()
	var h *Host
	t.Run("unified", func(t *testing.T) {
		began := time.Now()
		h = Boot(t, Options{Prepare: func(root string) error {
			return os.WriteFile(filepath.Join(root, "etc/prepared"), []byte("yes"), 0o600)
		}})
		t.Logf("booted in %s", time.Since(began).Round(time.Millisecond))
		if got := h.Must("cat", "/proc/1/comm", "/etc/prepared"); got != "systemd\nyes" {
			t.Errorf("process 1, prepared = %q", got)
		}
		if got := h.Must("stat", "-fc", "%T", "/sys/fs/cgroup"); got != "cgroup2fs\n" {
			t.Errorf("/sys/fs/cgroup is %q", got)
		}
		if got := h.Must("cat", "/proc/self/cgroup"); !strings.Contains(got, "/system.slice/run-") {
			t.Errorf("a command's cgroup = %q", got)
		}
		if _, err := h.Run(t.Context(), "sh", "-c", "echo why >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "why") {
			t.Errorf("a failing command: %v", err)
		}
		h.Must("sh", "-c", "echo here >/root/note; sync")
		h.Kill()
		if data, err := os.ReadFile(filepath.Join(h.Root(), "root/note")); string(data) != "here\n" {
			t.Errorf("after a loss of power the disk has %q, %v", data, err)
		}
		h.Start()
		h.Reboot()
		h.Must("test", "-e", "/root/note")
		id := h.Must("cat", "/etc/machine-id")
		h.PowerOff()

		// Its disk as an image: what is made of it has what was written, and writes for itself.
		made := Boot(t, Options{From: h, Prepare: func(root string) error { return os.Remove(filepath.Join(root, "root/note")) }})
		if got := made.Must("sh", "-c", "cat /etc/machine-id /etc/prepared; test ! -e /root/note"); got != id+"yes" {
			t.Errorf("what is made of the image has the id and the file %q, want %q", got, id+"yes")
		}
		if data, err := os.ReadFile(filepath.Join(h.Root(), "root/note")); string(data) != "here\n" {
			t.Errorf("the image has %q, %v", data, err)
		}
		if err := os.WriteFile(filepath.Join(h.Root(), "root/late"), nil, 0o600); err == nil {
			t.Error("the image can be written")
		}
	})
	if h == nil {
		t.SkipNow()
	}
	t.Run("legacy", func(t *testing.T) {
		h := Boot(t, Options{Legacy: true})
		if got := h.Must("stat", "-fc", "%T", "/sys/fs/cgroup/systemd"); got != "cgroupfs\n" {
			t.Errorf("/sys/fs/cgroup/systemd is %q", got)
		}
	})
	if after := machine(); after != before {
		t.Errorf("the machine was changed: %s\nafter: %s", before, after)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), " slipway-test ") {
		t.Errorf("mounts are left (%v): %s", err, mounts)
	}
	for _, dir := range h.groups {
		if exists(dir) {
			t.Errorf("%s is left", dir)
		}
	}
	if exists("/run/systemd/nspawn/propagate/slipway-" + h.name) {
		t.Error("systemd-nspawn left a folder in /run")
	}
}

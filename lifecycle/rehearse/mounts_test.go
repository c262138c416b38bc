package rehearse

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// TestOtherFileSystems has file systems of the host beside its root, as /home or /var often are one: the copy shows them, and what is written
// into them stays in the copy. They are mounted in a namespace of the test's own.
func TestOtherFileSystems(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	const marker = "SLIPWAY_TEST_OWN_MOUNTS"
	if os.Getenv(marker) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestOtherFileSystems$", "-test.v")
		cmd.Env = append(os.Environ(), marker+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("in a namespace of its own: %v\n%s", err, out)
		}
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Cleanup(func() {
		for _, at := range []string{"fs/within", "fs", "ro", "single"} {
			_ = unix.Unmount(filepath.Join(dir, at), 0)
		}
	})
	for _, name := range []string{"fs", "ro", "deep"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mount := func(source, at, kind string, flags uintptr) {
		t.Helper()
		if err := unix.Mount(source, filepath.Join(dir, at), kind, flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	write("fs/beneath", "hidden")
	mount("fs", "fs", "tmpfs", unix.MS_NOEXEC)
	write("fs/file", "of the other file system")
	write("fs/gone", "x")
	if err := os.Mkdir(filepath.Join(dir, "fs/within"), 0o755); err != nil {
		t.Fatal(err)
	}
	mount("within", "fs/within", "tmpfs", 0)
	write("fs/within/inner", "1")
	mount("ro", "ro", "tmpfs", 0)
	write("ro/file", "r")
	mount("", "ro", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY)
	write("single", "beneath")
	write("over", "mounted over it")
	mount(filepath.Join(dir, "over"), "single", "", unix.MS_BIND)
	h := newHost(t)
	tree := func() map[string]string { s := map[string]string{}; h.tree(s, dir, true); return s }
	before := tree()

	b := openBox(t, Options{})
	if err := b.Base(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, step := range [][2]string{
		{"cat fs/file", "of the other file system"},
		{"ls fs", "file\ngone\nwithin"},
		{"cat fs/within/inner", "1"},
		{"cat single", "mounted over it"},
		{"echo x > ro/file", "Read-only file system"},
		{"cp /bin/true fs/program; fs/program", "Permission denied"},
		{"echo changed > fs/within/inner; cat fs/within/inner", "changed"},
		{"rm fs/gone; echo y >> fs/file; ls fs/gone", "No such file"},
	} {
		if said, _, _ := b.run("cd " + dir + "; " + step[0]); !strings.Contains(said, step[1]) {
			t.Errorf("%s: %q, want %q", step[0], said, step[1])
		}
	}
	if err := b.Scan(t.Context(), lifecycle.Install, true); err != nil {
		t.Fatal(err)
	}
	changes, _, err := b.Changes(t.Context(), ChangesOptions{})
	kinds := map[string]string{}
	for _, c := range changes {
		kinds[strings.TrimPrefix(c.Path, dir)] = c.Kind
	}
	for name, kind := range map[string]string{"/fs/gone": "removed", "/fs/file": "changed", "/fs/within/inner": "changed", "/fs/program": "added"} {
		if kinds[name] != kind {
			t.Errorf("%s is told as %q, want %s (%v, %v)", name, kinds[name], kind, kinds, err)
		}
	}
	b.close()
	after := tree()
	for name, was := range before {
		if after[name] != was {
			t.Errorf("%s has changed from %q to %q", name, was, after[name])
		}
	}
	if len(after) != len(before) {
		t.Errorf("there are %d paths, there were %d", len(after), len(before))
	}
}

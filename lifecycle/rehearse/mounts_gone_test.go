package rehearse

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// mounted mounts a file system at a new folder, until the end of the test.
func mounted(t *testing.T, dir, kind, data string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	if err := unix.Mount("slipway-test", dir, kind, 0, data); err != nil {
		t.Fatalf("mount a %s: %v", kind, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// A file system that the host unmounts during a rehearsal, and whose mount point it removes, stays in the copy, and what was changed in it is told:
// the kernel takes the mount of a removed folder from all who have it there.
func TestMountThatGoes(t *testing.T) {
	needSandbox(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a file system")
	}
	dir := filepath.Join(t.TempDir(), "gone")
	mounted(t, dir, "tmpfs", "")
	must(t, os.WriteFile(filepath.Join(dir, "f"), []byte("one\n"), 0o644))
	b := openBox(t, Options{})
	must(t, unix.Unmount(dir, 0))
	must(t, os.Remove(dir))
	ctx := t.Context()
	must(t, b.Base(ctx))
	if said, exit, _ := b.run("cat " + dir + "/f && echo two >" + dir + "/f && echo >" + dir + "/g"); exit != 0 || said != "one" {
		t.Errorf("exit %d, it said %q", exit, said)
	}
	must(t, b.Scan(ctx, lifecycle.AfterInstall, true))
	changes, _, err := b.Changes(ctx, ChangesOptions{DiffMax: 1 << 10})
	must(t, err)
	if len(changes) != 2 || changes[0].Path != dir+"/f" || changes[0].Kind != lifecycle.FileChanged || !strings.Contains(changes[0].Diff, "-one\n+two\n") ||
		changes[1].Path != dir+"/g" || changes[1].Kind != lifecycle.FileAdded {
		t.Errorf("changes %+v", changes)
	}
	if _, err := os.Lstat(dir); err == nil {
		t.Error("the mount point is there again")
	}
}

// A file system that takes no overlay is told and not shown, and those after it are.
func TestMountWithoutOverlay(t *testing.T) {
	needSandbox(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts file systems")
	}
	base := filepath.Join(t.TempDir(), "m")
	mounted(t, base, "tmpfs", "")
	at := func(name string) string { return filepath.Join(base, name) }
	for _, name := range []string{"low", "up", "work", "low2", "up2", "work2"} {
		must(t, os.Mkdir(at(name), 0o755))
	}
	// An overlay of an overlay: the kernel allows no third.
	mounted(t, at("once"), "overlay", "lowerdir="+at("low")+",upperdir="+at("up")+",workdir="+at("work"))
	mounted(t, at("twice"), "overlay", "lowerdir="+at("once")+":"+at("low2"))
	for _, name := range []string{"x", "y"} {
		mounted(t, at(name), "tmpfs", "")
		must(t, os.WriteFile(at(name+"/f"), []byte(name), 0o644))
	}
	b := openBox(t, Options{})
	if said, exit, _ := b.run("cat " + at("x/f") + " " + at("y/f")); exit != 0 || said != "xy" {
		t.Errorf("exit %d, it said %q", exit, said)
	}
	hidden := ""
	for _, wall := range b.Walls() {
		if wall.Name == "not in the copy" {
			hidden = wall.Value
		}
	}
	if !strings.Contains(hidden, at("twice")+" (overlay: ") || strings.Contains(hidden, at("x")+" ") || strings.Contains(hidden, at("y")+" ") {
		t.Errorf("not in the copy: %q", hidden)
	}
}

package install

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/lifecycle/appspec"
)

// mounted mounts a small tmpfs at a new folder.
func mounted(t *testing.T, options string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a file system")
	}
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestSpaceIsCheckedFirst(t *testing.T) {
	for _, c := range []struct{ name, options, want string }{
		{"bytes", "size=1m", "needed, "},
		{"inodes", "size=8m,nr_inodes=12", "inodes needed, "},
	} {
		t.Run(c.name, func(t *testing.T) {
			mnt := mounted(t, c.options)
			h := newHost(t)
			h.dst = filepath.Join(mnt, "srv")
			h.must(os.Mkdir(h.dst, 0o755))
			h.write(h.dst, entries{"app/old": "old"})
			big := entries{}
			for i := range 20 {
				big[string(rune('a'+i))] = strings.Repeat("x", 100_000)
			}
			h.bundle(big)
			before := snapshot(t, h.dst)
			_, err := h.make(h.spec("/", "app"), "")
			short, ok := errors.AsType[*SpaceError](err)
			if !ok || len(short.Short) != 1 {
				t.Fatalf("Make() = %v, want a *SpaceError with the numbers", err)
			}
			h.failed("no room for the "+c.name+" when planning", before, err, err, c.want, mnt)
		})
	}
}

func TestDiskFullWhileStaging(t *testing.T) {
	mnt := mounted(t, "size=2m")
	h := newHost(t)
	h.dst = filepath.Join(mnt, "srv")
	h.must(os.Mkdir(h.dst, 0o755))
	h.bundle(entries{"a": "old", "b": "old"})
	s := h.spec("/", "app")
	h.install(s, "")
	h.bundle(entries{"a": "new", "b": strings.Repeat("x", 900_000), "c/d": strings.Repeat("y", 600_000)})
	before := snapshot(t, h.dst)
	p, err := h.make(s, "")
	h.must(err)
	h.must(os.WriteFile(filepath.Join(mnt, "filler"), make([]byte, 1_000_000), 0o644))
	_, err = p.Apply(t.Context())
	h.failed("ENOSPC while staging: something else filled the disk", before, err, unix.ENOSPC, "free some space", filepath.Join(h.dst, "app"))
	if left := len(collect(h.root)); left != 0 {
		t.Errorf("%d journals left", left)
	}
}

func TestImmutableFile(t *testing.T) {
	needsRoot(t)
	h := newHost(t)
	h.bundle(entries{"a": "old", "b": "old", "gone": "old"})
	s := h.spec("/", "app")
	h.install(s, "")
	immutable := filepath.Join(h.dst, "app/b")
	if out, err := exec.Command("chattr", "+i", immutable).CombinedOutput(); err != nil {
		t.Skipf("needs chattr and a file system that knows immutable files: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("chattr", "-i", immutable).Run() })
	before := snapshot(t, h.dst)
	for what, next := range map[string]entries{"replaced": {"a": "new", "b": "new", "c": "new"}, "removed": {"a": "new"}} {
		h.bundle(next)
		p, err := h.make(s, "")
		h.must(err)
		_, err = p.Apply(t.Context())
		h.failed("immutable file, to be "+what, before, err, unix.EPERM, immutable, "lsattr")
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	mnt := mounted(t, "size=2m")
	h := newHost(t)
	h.dst = filepath.Join(mnt, "srv")
	h.must(os.Mkdir(h.dst, 0o755))
	h.bundle(entries{"a": "old"})
	s := h.spec("/", "app")
	h.install(s, "")
	h.bundle(entries{"a": "new", "b": "new"})
	p, err := h.make(s, "")
	h.must(err)
	h.must(unix.Mount("", mnt, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	before := snapshot(t, h.dst)
	_, err = p.Apply(t.Context())
	h.failed("EROFS", before, err, unix.EROFS, h.dst)
	h.must(unix.Mount("", mnt, "", unix.MS_REMOUNT, "size=2m"))
}

// TestMountPoints puts a mount where the new revision has a directory, and one over a file of it.
func TestMountPoints(t *testing.T) {
	mnt := mounted(t, "size=2m")
	h := newHost(t)
	h.dst = filepath.Join(mnt, "srv")
	h.must(os.Mkdir(h.dst, 0o755))
	h.bundle(entries{"data/a": "old", "conf": "old", "plain": "old"})
	s := h.spec("/", "app")
	h.install(s, "")
	conf, data := filepath.Join(h.dst, "app/conf"), filepath.Join(h.dst, "app/data")
	h.must(os.WriteFile(filepath.Join(mnt, "host-conf"), []byte("host"), 0o644))
	h.must(os.Mkdir(filepath.Join(mnt, "host-data"), 0o755))
	h.must(unix.Mount(filepath.Join(mnt, "host-data"), data, "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(data, unix.MNT_DETACH) })
	h.bundle(entries{"data/a": "new", "conf": "new", "plain": "new"})
	h.install(s, "") // the mounted directory is the place to install to
	if got := shape(t, filepath.Join(mnt, "host-data")); got["a"] != "new" {
		t.Errorf("mounted directory holds %v, want the new file", got)
	}
	h.must(unix.Mount(filepath.Join(mnt, "host-conf"), conf, "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(conf, unix.MNT_DETACH) })
	h.bundle(entries{"data/a": "newer", "conf": "newer", "plain": "newer"})
	before := snapshot(t, h.dst)
	p, err := h.make(s, "")
	h.must(err)
	if _, err = p.Apply(t.Context()); err == nil || !strings.Contains(err.Error(), conf) {
		t.Errorf("Apply() over a file that is a mount point = %v, want an error that names it", err)
	}
	diff(t, "tree", before, snapshot(t, h.dst))
	h.clean()
}

func TestTwoFileSystems(t *testing.T) { // bundle, deployment root and destinations may each be on another one
	mnt := mounted(t, "size=4m")
	h := newHost(t)
	h.bundle(entries{"a": "1", "big": strings.Repeat("x", 300_000)})
	s := h.spec("/", "app", "/", filepath.Join(mnt, "app"))
	p := h.install(s, "")
	if n := len(p.Spaces()); n != 2 {
		t.Errorf("%d file systems in the plan, want 2: %+v", n, p.Spaces())
	}
	for _, dir := range []string{filepath.Join(h.dst, "app"), filepath.Join(mnt, "app")} {
		if got := shape(t, dir); len(got) != 2 || len(got["big"]) != 300_000 {
			t.Errorf("%s holds %d entries", dir, len(got))
		}
	}
	h.install(s, "")
	h.bundle(nil)
	h.install(&appspec.Spec{}, "")
}

func TestUmaskDoesNotCount(t *testing.T) { // I-39: modes are those of the bundle, directories have 0755
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	if got := umask(); got != 0o077 {
		t.Fatalf("umask() = %o, want 077", got)
	}
	h := &host{t: t, base: t.TempDir()}
	h.archive, h.root, h.dst = filepath.Join(h.base, "archive"), filepath.Join(h.base, "root"), filepath.Join(h.base, "srv")
	h.bundle(entries{"x|664": "1", "d/y|644": "2"})
	h.install(h.spec("/", "app", "/", "."), "")
	got := snapshot(t, h.dst)
	for name, want := range map[string]string{"app": "drwxr-xr-x", "app/d": "drwxr-xr-x", "app/x": "-rw-rw-r--", "app/d/y": "-rw-r--r--", "x": "-rw-rw-r--"} {
		if !strings.HasPrefix(got[name], want) {
			t.Errorf("%s is %q, want %s", name, got[name], want)
		}
	}
	info, err := os.Stat(filepath.Join(h.root, instructionsDir, "group"+cleanupSuffix))
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("cleanup file is %v, %v, want mode 0644", info.Mode(), err)
	}
}

func TestManyFiles(t *testing.T) { // several workers, syncfs, batches
	h := newHostIn(t, memoryDir(t))
	manyFiles(t, h.archive, 3_000)
	s := h.spec("/", "app")
	h.install(s, "")
	want := snapshot(t, h.archive)
	delete(want, ".")
	got := snapshot(t, filepath.Join(h.dst, "app"))
	delete(got, ".")
	diff(t, "tree", want, got)
	p := h.install(s, "")
	if c := p.Counts(); c.Unchanged != 3_000 || c.Files != 0 {
		t.Errorf("second installation: %+v, want all unchanged", c)
	}
	touchAll(t, h.archive)
	p = h.install(s, "")
	if c := p.Counts(); c.Replaced != 3_000 {
		t.Errorf("third installation: %+v, want all replaced", c)
	}
	want = snapshot(t, h.archive)
	delete(want, ".")
	got = snapshot(t, filepath.Join(h.dst, "app"))
	delete(got, ".")
	diff(t, "tree after the third", want, got)
}

func TestLocksOut(t *testing.T) {
	h := newHost(t)
	h.bundle(entries{"x": "1"})
	p, err := h.make(h.spec("/", "app"), "")
	h.must(err)
	r := h.request(h.spec("/", "app"))
	unlock, err := Lock(t.Context(), &r)
	h.must(err)
	ctx, cancel := contextWithCause(t)
	cancel(errStop)
	if _, err := p.Apply(ctx); !errors.Is(err, errStop) {
		t.Errorf("Apply() while another installation goes on = %v, want the context's cause", err)
	}
	unlock()
	_, err = p.Apply(t.Context())
	h.must(err)
}

func TestRootBehindALink(t *testing.T) {
	h := newHost(t)
	h.must(os.Symlink("root", filepath.Join(h.base, "link")))
	h.root = filepath.Join(h.base, "link")
	h.bundle(entries{"x": "1"})
	s := h.spec("/", "app")
	h.install(s, "")
	h.bundle(entries{"y": "1"})
	h.install(s, "")
	diff(t, "tree", entries{"app/": "", "app/y": "1"}, shape(t, h.dst))
	if d, ok := Committed(h.root, "group"); d != "d-1" || !ok {
		t.Errorf("Committed() = %q, %v", d, ok)
	}
}

// TestOverlay installs into an overlay, as containers and rehearsals have it: what is replaced and removed lies in the lower
// layer.
func TestOverlay(t *testing.T) {
	mnt := mounted(t, "size=8m")
	h := newHostIn(t, filepath.Join(t.TempDir(), "h"))
	for _, dir := range []string{"lower", "upper", "work", "merged"} {
		h.must(os.Mkdir(filepath.Join(mnt, dir), 0o755))
	}
	h.dst = filepath.Join(mnt, "merged")
	h.write(filepath.Join(mnt, "lower"), entries{"app/changed": "old", "app/gone/x": "old", "app/mine": "user", "app/to-dir": "old"})
	text := ""
	for _, name := range []string{"app", "app/changed", "app/gone", "app/gone/x", "app/to-dir"} {
		text += filepath.Join(h.dst, name) + "\n"
	}
	h.writeCleanup(text, 0o644)
	if err := unix.Mount("overlay", h.dst, "overlay", 0, "lowerdir="+mnt+"/lower,upperdir="+mnt+"/upper,workdir="+mnt+"/work"); err != nil {
		t.Skipf("needs a kernel with overlayfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(h.dst, unix.MNT_DETACH) })
	h.bundle(entries{"changed": "new", "to-dir/in": "new", "added/y": "new"})
	h.install(h.spec("/", "app"), "")
	diff(t, "tree", entries{
		"app/": "", "app/changed": "new", "app/mine": "user", "app/to-dir/": "", "app/to-dir/in": "new", "app/added/": "", "app/added/y": "new",
	}, shape(t, h.dst))
	h.bundle(nil)
	h.install(&appspec.Spec{}, "")
	diff(t, "tree", entries{"app/": "", "app/mine": "user"}, shape(t, h.dst))
}

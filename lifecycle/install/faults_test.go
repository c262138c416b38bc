package install

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// failed checks that an installation failed as it must, and tells it as a row of `make crash`: the error has its cause, the words that
// name the path and say what to do, and the tree is the old one.
func (h *host) failed(fault string, before map[string]string, err, cause error, words ...string) {
	h.t.Helper()
	exceptions := 0
	if !errors.Is(err, cause) {
		exceptions++
		h.t.Errorf("%s: the error is %v, want %v", fault, err, cause)
	}
	for _, word := range words {
		if !strings.Contains(fmt.Sprint(err), word) {
			exceptions++
			h.t.Errorf("%s: the error is %v, want %q in it", fault, err, word)
		}
	}
	if d := cmp.Diff(before, snapshot(h.t, h.dst)); d != "" {
		exceptions++
		h.t.Errorf("%s: tree mismatch (-want +got):\n%s", fault, d)
	}
	if err := h.left(); err != nil {
		exceptions++
		h.t.Errorf("%s: %v", fault, err)
	}
	text := strings.NewReplacer(h.dst, "/srv", h.base, "", filepath.Dir(h.dst), "/mnt", "\n", "; ").Replace(fmt.Sprint(err))
	tell(h.t, "faults", fault, text[:min(len(text), 240)], "old", exceptions)
}

// childErr is what a child process says on its standard error, with the cause that its text tells.
type childErr struct{ text string }

func (e *childErr) Error() string { return e.text }

func (e *childErr) Is(target error) bool {
	errno, ok := target.(syscall.Errno)
	return ok && strings.Contains(e.text, errno.Error())
}

// child installs h's bundle in a process of its own, which a wrapper may start, and returns the error it ends with.
func (h *host) child(setUp func(*exec.Cmd), wrapper ...string) error {
	h.t.Helper()
	args := append(wrapper, "/proc/self/exe")
	if len(wrapper) > 0 {
		self, err := os.Executable()
		h.must(err)
		args[len(args)-1] = self
	}
	cmd := exec.Command(args[0], args[1:]...)
	var out bytes.Buffer
	cmd.Env, cmd.Stderr = append(os.Environ(), childEnv+"="+h.base), &out
	if setUp != nil {
		setUp(cmd)
	}
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		h.must(err)
		return nil
	}
	return &childErr{strings.TrimSpace(out.String())}
}

// tool skips a test where a program is missing; `make test` and `make crash` install it.
func tool(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s", name)
		}
	}
}

func TestDiskFullAtCommit(t *testing.T) { // when the journal is to say so
	mnt := mounted(t, "size=2m")
	h := newHostIn(t, mnt)
	h.bundle(entries{"a": "old"})
	s := h.spec("/", "app")
	h.install(s, "")
	next := entries{}
	for i := range 150 { // so that the journal needs more than the page that it has
		next[fmt.Sprintf("f%03d", i)] = "new"
	}
	h.bundle(next)
	before := snapshot(t, h.dst)
	p, err := h.make(s, "")
	h.must(err)
	filler := filepath.Join(mnt, "filler")
	p.probe = func(point string) error {
		if point == "staged" {
			fill(t, filler)
		}
		return nil
	}
	_, err = p.Apply(t.Context())
	h.must(os.Remove(filler))
	h.failed("ENOSPC between stage and commit", before, err, unix.ENOSPC, "journal")
}

// fill writes a file until the disk is full.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 4096); ; {
		if _, err := f.Write(chunk); err != nil {
			return
		}
	}
}

func TestInodesUsedUpWhileStaging(t *testing.T) {
	mnt := mounted(t, "size=8m,nr_inodes=40")
	h := newHost(t)
	h.dst = filepath.Join(mnt, "srv")
	h.must(os.Mkdir(h.dst, 0o755))
	h.bundle(entries{"a": "old"})
	s := h.spec("/", "app")
	h.install(s, "")
	next := entries{"a": "new"}
	for i := range 20 {
		next[fmt.Sprintf("d/f%02d", i)] = "new"
	}
	h.bundle(next)
	p, err := h.make(s, "")
	h.must(err)
	for i := range 25 {
		h.must(os.WriteFile(filepath.Join(mnt, fmt.Sprint(i)), nil, 0o644))
	}
	before := snapshot(t, h.dst)
	_, err = p.Apply(t.Context())
	h.failed("inodes used up by somebody else while staging", before, err, unix.ENOSPC, filepath.Join(h.dst, "app/d"))
}

// TestQuota installs into a directory that may hold no more than a megabyte. What else there is of quotas behaves the same: the write
// is refused with EDQUOT.
func TestQuota(t *testing.T) {
	needsRoot(t)
	tool(t, "mkfs.btrfs", "btrfs")
	base := t.TempDir()
	h := newHostIn(t, filepath.Join(base, "h"))
	h.dst = filepath.Join(base, "mnt")
	image := filepath.Join(base, "image")
	quota := filepath.Join(h.dst, "app/quota")
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("truncate", "-s", "160M", image)
	run("mkfs.btrfs", "-q", image)
	h.must(os.Mkdir(h.dst, 0o755))
	if out, err := exec.Command("mount", "-o", "loop", image, h.dst).CombinedOutput(); err != nil {
		t.Skipf("needs the right to mount a btrfs: %v: %s", err, out)
	}
	t.Cleanup(func() { run("umount", h.dst) })
	h.must(os.Mkdir(filepath.Join(h.dst, "app"), 0o755))
	run("btrfs", "-q", "subvolume", "create", quota)
	run("btrfs", "-q", "quota", "enable", h.dst)
	run("btrfs", "-q", "qgroup", "limit", "1M", quota)
	h.bundle(entries{"a": "old", "quota/big": "old"})
	s := h.spec("/", "app")
	h.install(s, "")
	h.bundle(entries{"a": "new", "quota/big": strings.Repeat("x", 3<<20), "new/b": "new"})
	before := snapshot(t, h.dst)
	p, err := h.make(s, "")
	h.must(err)
	_, err = p.Apply(t.Context())
	h.failed("EDQUOT on one file", before, err, unix.EDQUOT, filepath.Join(quota, "big"))
}

func TestNotPermitted(t *testing.T) { // as a user who may not do it all
	needsRoot(t)
	for _, c := range []struct {
		fault string
		spoil func(h *host) (path string)
	}{
		{"EACCES on one file of the bundle, as an ordinary user", func(h *host) string {
			path := filepath.Join(h.archive, "sub/b")
			h.must(os.Chown(path, 0, 0))
			h.must(os.Chmod(path, 0o600))
			return filepath.Join(h.dst, "app/sub/b")
		}},
		{"EACCES on one directory of the host, as an ordinary user", func(h *host) string {
			path := filepath.Join(h.dst, "app/sub")
			h.must(os.Chown(path, 0, 0))
			return path
		}},
	} {
		t.Run(c.fault, func(t *testing.T) {
			h := newHostIn(t, memoryDir(t))
			h.bundle(entries{"a": "old", "sub/b": "old"})
			everything := func() {
				h.must(filepath.WalkDir(h.base, func(path string, _ os.DirEntry, err error) error {
					return errors.Join(err, os.Lchown(path, 65534, 65534))
				}))
			}
			everything()
			nobody := func(cmd *exec.Cmd) {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}
			h.must(h.child(nobody))
			h.bundle(entries{"a": "new", "sub/b": "new", "c": "new"})
			everything()
			path := c.spoil(h)
			before := snapshot(t, h.dst)
			h.failed(c.fault, before, h.child(nobody), unix.EACCES, path)
		})
	}
}

func TestImmutableDirectory(t *testing.T) {
	needsRoot(t)
	h := newHost(t)
	h.bundle(entries{"a": "old", "sub/b": "old"})
	s := h.spec("/", "app")
	h.install(s, "")
	immutable := filepath.Join(h.dst, "app/sub")
	if out, err := exec.Command("chattr", "+i", immutable).CombinedOutput(); err != nil {
		t.Skipf("needs chattr and a file system that knows immutable directories: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("chattr", "-i", immutable).Run() })
	before := snapshot(t, h.dst)
	for what, next := range map[string]entries{
		"a file in it replaced": {"a": "new", "sub/b": "new"}, "a file in it removed": {"a": "new"}, "one added": {"a": "new", "sub/b": "old", "sub/c": "new"},
	} {
		h.bundle(next)
		p, err := h.make(s, "")
		h.must(err)
		_, err = p.Apply(t.Context())
		h.failed("immutable directory: "+what, before, err, unix.EPERM, immutable)
	}
}

// TestDirectorySwappedAtCommit moves a directory away when all is staged, and puts a link in its place.
func TestDirectorySwappedAtCommit(t *testing.T) {
	h := newHost(t)
	h.bundle(entries{"a": "old", "sub/b": "old"})
	s := h.spec("/", "app")
	h.install(s, "")
	h.write(h.dst, entries{"elsewhere/b": "user"})
	h.bundle(entries{"a": "new", "sub/b": "new", "sub/c": "new", "d": "new"})
	p, err := h.make(s, "")
	h.must(err)
	sub := filepath.Join(h.dst, "app/sub")
	var before map[string]string
	p.probe = func(point string) error {
		if point == "staged" {
			h.must(os.Rename(sub, filepath.Join(h.dst, "app/moved")))
			h.must(os.Symlink("../elsewhere", sub))
			before = snapshot(t, h.dst)
		}
		return nil
	}
	_, err = p.Apply(t.Context())
	// What was staged in the directory went with it: it cannot be found there, and is the only thing left.
	moved := func(name string) bool { return strings.HasPrefix(name, "app/moved/"+hiddenPrefix) }
	hidden := 0
	for name := range before {
		switch {
		case moved(name):
			hidden++
			h.must(os.Remove(filepath.Join(h.dst, name)))
			delete(before, name)
		case strings.Contains(name, hiddenPrefix):
			delete(before, name)
		}
	}
	if hidden != 2 {
		t.Errorf("%d staged objects went with the directory, want 2", hidden)
	}
	h.failed("directory replaced by a link between stage and commit", before, err, err, sub)
}

// TestDiskErrors has the kernel answer EIO to one call of the installation.
func TestDiskErrors(t *testing.T) {
	needsRoot(t)
	tool(t, "strace")
	for _, c := range []struct {
		fault, inject string
		memory        bool
	}{
		{"EIO on the first rename", "renameat2:error=EIO:when=1", true},
		{"EIO on a rename in the middle of the commit", "renameat2:error=EIO:when=30", true},
		{"EIO on every rename", "renameat2:error=EIO", true},
		{"EIO on writing a file to the disk", "fsync:error=EIO:when=8", false},
	} {
		t.Run(c.fault, func(t *testing.T) {
			base := t.TempDir()
			if c.memory {
				base = memoryDir(t)
			}
			h := newHostIn(t, base)
			old, next := entries{}, entries{}
			for i := range 60 {
				name := fmt.Sprintf("d%d/f%02d", i%3, i)
				old[name], next[name] = "old", "new"
			}
			h.bundle(old)
			h.must(h.child(nil))
			h.bundle(next)
			before := snapshot(t, h.dst)
			err := h.child(nil, "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2,fsync", "-e", "inject="+c.inject)
			if strings.Contains(fmt.Sprint(err), "ptrace") {
				t.Skipf("needs the right to trace a process: %v", err)
			}
			fault := c.fault
			if len(collect(h.root)) > 0 { // the undoing met the error too
				found, err := Recover(t.Context(), h.root)
				if err != nil || len(found) != 1 || found[0].Outcome != RolledBack {
					t.Fatalf("Recover() = %+v, %v, want it rolled back", found, err)
				}
				fault += ", and again while undoing"
			}
			h.failed(fault, before, err, unix.EIO, h.dst)
		})
	}
}

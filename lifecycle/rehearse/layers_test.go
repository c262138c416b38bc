package rehearse

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

	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// inside runs a test again in a mount namespace of its own, or in a user namespace as well, and reports whether this is that run. With an id
// the user namespace is that of an ordinary user, who is root in it and whose is all that is nobody else's.
func inside(t *testing.T, user bool, id ...int) bool {
	t.Helper()
	const mark = "SLIPWAY_TEST_LAYERS"
	if os.Getenv(mark) == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatalf("make the mounts private: %v", err)
		}
		unix.Umask(0o022) // the modes that are expected
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: overlays have to be mounted")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if len(id) > 0 {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: id[0], Size: 1}}
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
		cmd.SysProcAttr.Credential, cmd.Dir = &syscall.Credential{NoSetGroups: true}, "/"
	} else if user {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
	}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("%s", out)
	case !bytes.Contains(out, []byte("--- PASS: "+t.Name())):
		t.Fatalf("it did not run:\n%s", out)
	}
	t.Logf("%s", out)
	return false
}

// copy is an overlay for a test.
type overlay struct {
	t     testing.TB
	dir   string // of the tmpfs
	Layer        // what the scanner gets
	root  string // where it is mounted
	s     *Scanner
}

// newOverlay mounts an overlay whose lower layer is filled by fill.
func newOverlay(t testing.TB, user bool, fill func(lower string), leaveOut func(string) bool) *overlay {
	t.Helper()
	dir, err := os.MkdirTemp("", "layers") // without the name of the test: a comma would end the mount option
	must(t, err)
	t.Cleanup(func() { must(t, os.Remove(dir)) })
	must(t, unix.Mount("layers", dir, "tmpfs", 0, "size=1g"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	o := &overlay{t: t, dir: dir, root: filepath.Join(dir, "root")}
	o.Layer = Layer{Upper: filepath.Join(dir, "upper"), Lower: filepath.Join(dir, "lower"), At: "/", UserXattr: user}
	for _, sub := range []string{"upper", "lower", "work", "root"} {
		must(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
	}
	fill(o.Lower)
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s/work", o.Lower, o.Upper, dir)
	if user {
		options += ",userxattr"
	} else {
		options += ",redirect_dir=off,metacopy=off"
	}
	must(t, unix.Mount("overlay", o.root, "overlay", 0, options))
	t.Cleanup(func() { must(t, unix.Unmount(o.root, unix.MNT_DETACH)) })
	o.s = NewScanner([]Layer{o.Layer}, leaveOut)
	o.mark(lifecycle.ApplicationStop, false)
	return o
}

func (o *overlay) mark(ev lifecycle.Event, hook bool) {
	o.t.Helper()
	must(o.t, o.s.Mark(o.t.Context(), ev, hook))
}

// changes are the changes as one line each.
func (o *overlay) changes(options ChangesOptions) (lines []string) {
	o.t.Helper()
	list, omitted, err := o.s.Changes(o.t.Context(), options)
	must(o.t, err)
	for _, c := range list {
		lines = append(lines, oneLine(c))
	}
	if omitted > 0 {
		lines = append(lines, fmt.Sprintf("%d omitted", omitted))
	}
	return lines
}

func oneLine(c lifecycle.FileChange) string {
	s := strings.Join(append([]string{c.Kind, c.Type, c.Path}, c.What...), " ")
	if c.Fold > 0 {
		s += fmt.Sprintf(" +%d", c.Fold)
	}
	by := string(c.By)
	if c.ByHook {
		by += "'s script"
	}
	return s + " by " + by
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, name, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644))
}

// fixture is a small host.
func fixture(t testing.TB) func(lower string) {
	return func(lower string) {
		at := func(name string) string { return filepath.Join(lower, name) }
		write(t, at("etc/passwd"), "root:x:0:0:root:/root:/bin/bash\nweb:x:33:33::/srv:/usr/sbin/nologin\n")
		write(t, at("etc/group"), "root:x:0:\nweb:x:33:\n")
		write(t, at("app/index.php"), "<?php\necho 1;\n")
		write(t, at("app/twin1"), "twins\n")
		write(t, at("app/data.bin"), "a\x00b")
		for i := range 30 {
			write(t, at(fmt.Sprintf("app/img/%02d.png", i)), "img")
		}
		write(t, at("app/few/a"), "a")
		write(t, at("app/few/b"), "b")
		must(t, os.Link(at("app/twin1"), at("app/twin2")), os.Symlink("index.php", at("app/link")), os.Mkdir(at("app/empty"), 0o755))
		must(t, unix.Mkfifo(at("app/fifo"), 0o644))
		f, err := os.Create(at("app/sparse"))
		must(t, err, f.Truncate(1<<40))
		_, err = f.WriteAt([]byte("end"), 1<<39)
		must(t, err, f.Close())
	}
}

package rehearse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// A path belongs to the last event that did something to it, and looking on does nothing to it.
func TestAttribution(t *testing.T) {
	if !inside(t, false) {
		return
	}
	o := newOverlay(t, false, fixture(t), nil)
	at := func(name string) string { return filepath.Join(o.root, name) }

	write(t, at("app/first"), "1")
	write(t, at("app/both"), "1")
	write(t, at("app/dir/one"), "1")
	must(t, os.Remove(at("app/data.bin")), os.RemoveAll(at("app/few")))
	write(t, at("app/few/b"), "B")
	must(t, os.Chmod(at("app/img"), 0o700))
	o.mark(lifecycle.BeforeInstall, true)

	write(t, at("app/both"), "2")
	write(t, at("app/dir/two"), "2")
	write(t, at("app/linked"), "2")
	write(t, at("app/img/00.png"), "x")
	must(t, os.Remove(at("app/twin1")), os.Remove(at("app/empty"))) // one more name of the inode of all whiteouts
	o.mark(lifecycle.Install, false)

	must(t, os.Link(at("app/linked"), at("app/linked2"))) // changes the time of the inode, and nothing of the file
	must(t, unix.Setxattr(at("app/dir"), "user.x", []byte("y"), 0))
	o.mark(lifecycle.AfterInstall, true)
	o.mark(lifecycle.ValidateService, true)

	want := []string{
		"added file /app/both by Install",
		"removed file /app/data.bin by BeforeInstall's script",
		"added directory /app/dir by AfterInstall's script",
		"added file /app/dir/one by BeforeInstall's script",
		"added file /app/dir/two by Install",
		"removed directory /app/empty by Install",
		"removed file /app/few/a by BeforeInstall's script",
		"changed file /app/few/b content by BeforeInstall's script",
		"added file /app/first by BeforeInstall's script",
		"changed directory /app/img mode by BeforeInstall's script",
		"changed file /app/img/00.png content by Install",
		"added file /app/linked by Install",
		"added file /app/linked2 by AfterInstall's script",
		"removed file /app/twin1 by Install",
	}
	if diff := cmp.Diff(want, o.changes(ChangesOptions{})); diff != "" {
		t.Errorf("Changes() (-want +got):\n%s", diff)
	}
	for name, want := range map[string]struct {
		seen     seen
		scripted bool
	}{
		"/app/both":      {written, true},   // by a script, before
		"/app/dir/two":   {written, false},  // by the agent alone
		"/app/few/a":     {vanished, true},  // with the folder
		"/app/few/none":  {vanished, true},  // what is not there cannot be told from it
		"/app/index.php": {asBefore, false}, // by nobody
		"/app/twin1":     {vanished, false},
		"/app/twin1/x":   {vanished, false},
		"/app/first/x":   {vanished, false},
	} {
		if p := o.s.find(name); p.seen != want.seen || p.scripted != want.scripted {
			t.Errorf("find(%s) = %d, %t, want %d, %t", name, p.seen, p.scripted, want.seen, want.scripted)
		}
	}
}

// Both sides in words, with the names of accounts that the rehearsal has made, and what a text file has become without its secrets.
func TestDescription(t *testing.T) {
	if !inside(t, false) {
		return
	}
	o := newOverlay(t, false, func(lower string) {
		fixture(t)(lower)
		write(t, filepath.Join(lower, "app/conf.ini"), "a=1\npassword=hunter2\n")
	}, nil)
	at := func(name string) string { return filepath.Join(o.root, name) }
	write(t, at("etc/passwd"), "root:x:0:0:root:/root:/bin/bash\ndeploy:x:1001:33::/home/deploy:/bin/sh\n")
	write(t, at("app/conf.ini"), "a=1\npassword=hunter3\n")
	must(t, os.Chown(at("app/conf.ini"), 1001, 33), os.Chmod(at("app/conf.ini"), 0o640))
	must(t, os.Remove(at("app/link")), os.Symlink("two\x1b[31m", at("app/link")))
	write(t, at("app/data.bin"), "a\x00c")
	write(t, at("app/big"), strings.Repeat("line\n", 20))
	must(t, os.RemoveAll(at("app/few")), os.Symlink("x", at("app/few")))
	write(t, at("etc/shadow-"), "root:$6$hash:1::::::\n")
	write(t, at("etc/tls.key"), "-----BEGIN PRIVATE KEY-----\nsecret\n")
	write(t, at("etc/token"), "secret\n")
	write(t, at("etc/token2"), "none\n")
	must(t, os.Chmod(at("etc/token"), 0o600))
	o.mark(lifecycle.AfterInstall, true)
	got, omitted, err := o.s.Changes(t.Context(), ChangesOptions{DiffMax: 90, Redact: func(s string) string {
		return strings.NewReplacer("hunter2", "***", "hunter3", "***").Replace(s)
	}})
	must(t, err)
	by := lifecycle.FileChange{By: lifecycle.AfterInstall, ByHook: true}
	with := func(path, kind, typ, was, is, diff string, what ...string) lifecycle.FileChange {
		c := by
		c.Path, c.Kind, c.Type, c.Was, c.Is, c.Diff, c.What = path, kind, typ, was, is, diff, what
		return c
	}
	const passwd = "--- /etc/passwd\n+++ /etc/passwd\n@@ -1,2 +1,2 @@\n root:x:0:0:root:/root:/bin/bash\n-web:x:33:33::/srv:/usr/sbin/nologin\n+deploy:x:1001:33::/home/deploy:/bin/sh\n"
	want := []lifecycle.FileChange{
		with("/app/big", "added", "file", "", "0644 root:root 100 bytes", ""),
		with("/app/conf.ini", "changed", "file", "0644 root:root 21 bytes", "0640 deploy:web 21 bytes",
			"--- /app/conf.ini\n+++ /app/conf.ini\n@@ -1,2 +1,2 @@\n a=1\n-password=***\n+password=***\n", "content", "mode", "owner"),
		with("/app/data.bin", "changed", "file", "0644 root:root 3 bytes", "0644 root:root 3 bytes", "", "content"),
		with("/app/few", "changed", "link", "directory 0755 root:root", "link root:root -> x", "", "type"),
		with("/app/few/a", "removed", "file", "0644 root:root 1 bytes", "", ""),
		with("/app/few/b", "removed", "file", "0644 root:root 1 bytes", "", ""),
		with("/app/link", "changed", "link", "root:root -> index.php", `root:root -> two\x1b[31m`, "", "link"),
		with("/etc/passwd", "changed", "file", "0644 root:root 68 bytes", "0644 root:root 71 bytes", passwd, "content"),
		with("/etc/shadow-", "added", "file", "", "0644 root:root 21 bytes", ""),
		with("/etc/tls.key", "added", "file", "", "0644 root:root 35 bytes", ""),
		with("/etc/token", "added", "file", "", "0600 root:root 7 bytes", ""),
		with("/etc/token2", "added", "file", "", "0644 root:root 5 bytes", "--- /dev/null\n+++ /etc/token2\n@@ -0,0 +1 @@\n+none\n"),
	}
	if diff := cmp.Diff(want, got); diff != "" || omitted != 0 {
		t.Errorf("Changes() = %d omitted (-want +got):\n%s", omitted, diff)
	}
	got, omitted, err = o.s.Changes(t.Context(), ChangesOptions{Max: 3, DiffMax: -1})
	must(t, err)
	if len(got) != 3 || omitted != len(want)-3 || got[1].Diff != "" {
		t.Errorf("Changes() = %d changes, %d omitted, want 3 and %d, and no differences", len(got), omitted, len(want)-3)
	}
}

// An overlay that keeps the truth elsewhere is refused, and not misread.
func TestUnreadableOverlays(t *testing.T) {
	if !inside(t, false) {
		return
	}
	for option, does := range map[string]func(at func(string) string) error{
		"redirect_dir": func(at func(string) string) error { return os.Rename(at("app/few"), at("app/more")) },
		"metacopy":     func(at func(string) string) error { return os.Chmod(at("app/index.php"), 0o600) },
	} {
		o := newOverlay(t, false, fixture(t), nil)
		must(t, unix.Unmount(o.root, 0))
		other := map[string]string{"redirect_dir": ",metacopy=off", "metacopy": ",redirect_dir=on"}[option]
		err := unix.Mount("overlay", o.root, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s/work,%s=on%s", o.Lower, o.Upper, o.dir, option, other))
		must(t, err, does(func(name string) string { return filepath.Join(o.root, name) }))
		o.mark(lifecycle.AfterInstall, true)
		_, _, err = o.s.Changes(t.Context(), ChangesOptions{})
		if refused, ok := errors.AsType[*Mounted](err); !ok || refused.Option != option || !strings.Contains(err.Error(), option+"=off") {
			t.Errorf("Changes() with %s = %v", option, err)
		}
	}
}

// What is mounted on the host below the lower layer is none of it: the overlay does not show it either.
func TestMountsBelow(t *testing.T) {
	if !inside(t, false) {
		return
	}
	o := newOverlay(t, false, func(lower string) {
		fixture(t)(lower)
		must(t, unix.Mount("over", filepath.Join(lower, "app"), "tmpfs", 0, "mode=700"))
		write(t, filepath.Join(lower, "app/other"), "x")
		t.Cleanup(func() { must(t, unix.Unmount(filepath.Join(lower, "app"), unix.MNT_DETACH)) })
	}, nil)
	must(t, os.Chmod(filepath.Join(o.root, "app/index.php"), 0o600))
	write(t, filepath.Join(o.root, "app/other"), "x")
	o.mark(lifecycle.AfterInstall, true)
	want := []string{"changed file /app/index.php mode by AfterInstall's script", "added file /app/other by AfterInstall's script"}
	if diff := cmp.Diff(want, o.changes(ChangesOptions{})); diff != "" {
		t.Errorf("Changes() (-want +got):\n%s", diff)
	}
	// Where the kernel gives no view without them, what is on another device does not count.
	var list []string
	layer := &tour{Scanner: o.s, ctx: t.Context(), layer: &o.s.layers[0], buf: make([]byte, 4096), foreign: true, visit: func(c found) error {
		list = append(list, c.kind.String()+" "+c.path)
		return nil
	}}
	up, err := openFolder(o.Upper)
	must(t, err)
	defer closeFolder(up)
	low, err := openFolder(o.Lower)
	must(t, err)
	defer closeFolder(low)
	var st unix.Stat_t
	must(t, unix.Fstat(low, &st))
	layer.device = st.Dev
	must(t, layer.folder(&o.s.tops[0], up, low, ""))
	if want := []string{"added /app/index.php", "added /app/other"}; !slices.Equal(list, want) {
		t.Errorf("without open_tree: %q, want %q", list, want)
	}
}

// Whiteouts may also be empty files with an attribute, in a folder that says so.
func TestWhiteoutsByAttribute(t *testing.T) {
	if !inside(t, false) {
		return
	}
	o := newOverlay(t, false, fixture(t), nil)
	must(t, unix.Unmount(o.root, 0))
	at := func(name string) string { return filepath.Join(o.Upper, name) }
	write(t, at("app/few/a"), "")
	write(t, at("app/few/c"), "")
	must(t, unix.Setxattr(at("app/few"), "trusted.overlay.opaque", []byte("x"), 0))
	must(t, unix.Setxattr(at("app/few/a"), "trusted.overlay.whiteout", []byte("y"), 0))
	o.mark(lifecycle.AfterInstall, true)
	want := []string{"removed file /app/few/a by AfterInstall's script", "added file /app/few/c by AfterInstall's script"}
	if diff := cmp.Diff(want, o.changes(ChangesOptions{})); diff != "" {
		t.Errorf("Changes() (-want +got):\n%s", diff)
	}
	must(t, unix.Mount("none", o.root, "tmpfs", 0, "")) // so that there is something to be unmounted
}

// An upper layer that cannot keep attributes of users has lost them in copying, and nobody has taken them away.
func TestUpperWithoutUserAttributes(t *testing.T) {
	if !inside(t, false) {
		return
	}
	o := newOverlay(t, false, func(lower string) {
		fixture(t)(lower)
		must(t, unix.Setxattr(filepath.Join(lower, "app/index.php"), "user.x", []byte("y"), 0))
	}, nil)
	must(t, unix.Mount("upper", o.Upper, "ramfs", 0, ""), os.Chmod(o.Upper, 0o755))
	defer func() { must(t, unix.Unmount(o.Upper, unix.MNT_DETACH)) }()
	if _, err := unix.Getxattr(o.Upper, "user.x", nil); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Skipf("ramfs of this kernel knows attributes of users: %v", err)
	}
	write(t, filepath.Join(o.Upper, "app/index.php"), "<?php\necho 1;\n")
	o.mark(lifecycle.AfterInstall, true)
	if got := o.changes(ChangesOptions{}); len(got) != 0 {
		t.Errorf("Changes() = %q, want none", got)
	}
}

// Folders deeper than we go, and what is in them, count as omitted.
func TestDepth(t *testing.T) {
	if !inside(t, false) {
		return
	}
	o := newOverlay(t, false, fixture(t), nil)
	fd, err := openFolder(filepath.Join(o.root, "app/few"))
	must(t, err)
	for range maxDepth + 50 {
		must(t, unix.Mkdirat(fd, "d", 0o755))
		next, err := openSub(fd, "d")
		must(t, err)
		closeFolder(fd)
		fd = next
	}
	closeFolder(fd)
	o.mark(lifecycle.AfterInstall, true)
	got := o.changes(ChangesOptions{})
	if want := []string{fmt.Sprintf("added directory /app/few/d +%d by AfterInstall's script", maxDepth-2), "1 omitted"}; !slices.Equal(got, want) {
		t.Errorf("Changes() = %q, want %q", got, want)
	}
}

// A removed folder is counted up to a bound.
func TestRemovedFolderIsCountedInBounds(t *testing.T) {
	if !inside(t, false) {
		return
	}
	o := newOverlay(t, false, func(lower string) {
		for i := range CountMax + 10 {
			if i%1000 == 0 {
				must(t, os.MkdirAll(filepath.Join(lower, fmt.Sprintf("big/%d", i/1000)), 0o755))
			}
			must(t, os.Symlink("x", filepath.Join(lower, fmt.Sprintf("big/%d/%d", i/1000, i))))
		}
	}, nil)
	must(t, os.RemoveAll(filepath.Join(o.root, "big")))
	o.mark(lifecycle.AfterInstall, true)
	if got, want := o.changes(ChangesOptions{}), []string{fmt.Sprintf("removed directory /big +%d by AfterInstall's script", CountMax+1)}; !slices.Equal(got, want) {
		t.Errorf("Changes() = %q, want %q", got, want)
	}
}

// Processes that still work do not disturb.
func TestScanWhileOthersWork(t *testing.T) {
	if !inside(t, false) {
		return
	}
	o := newOverlay(t, false, fixture(t), nil)
	at := func(name string) string { return filepath.Join(o.root, name) }
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for n := range 2 {
		work.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				dir := at(fmt.Sprintf("app/w%d/%d", n, i%5))
				os.MkdirAll(dir, 0o755)
				os.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o644)
				os.WriteFile(at("app/index.php"), []byte(fmt.Sprint(i)), 0o644)
				os.RemoveAll(dir)
				os.Remove(dir)
				unix.Mkfifo(dir, 0o600) // what was a folder is a pipe
				os.Remove(dir)
			}
		})
	}
	for range 200 {
		o.mark(lifecycle.AfterInstall, true)
		o.changes(ChangesOptions{})
		_, err := o.s.People(t.Context())
		must(t, err)
	}
	stop()
	work.Wait()
	if _, _, err := o.s.Changes(ctx, ChangesOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Changes() after the end of its context = %v", err)
	}
	if err := o.s.Mark(ctx, lifecycle.AfterInstall, true); !errors.Is(err, context.Canceled) {
		t.Errorf("Mark() after the end of its context = %v", err)
	}
}

// An ordinary user sees a host whose files are mostly nobody's, and some of which may not be read.
func TestOrdinaryUser(t *testing.T) {
	const host = "/etc"
	if !inside(t, true, 54321) {
		return
	}
	dir, err := os.MkdirTemp("", "layers")
	must(t, err)
	defer os.Remove(dir)
	must(t, unix.Mount("layers", dir, "tmpfs", 0, ""))
	defer func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.Mkdir(at("upper"), 0o755), os.Mkdir(at("work"), 0o755), os.Mkdir(at("root"), 0o755))
	if err := unix.Setxattr(at("upper"), "user.x", nil, 0); err != nil {
		t.Skipf("memory of this kernel keeps no attributes of users: %v", err)
	}
	must(t, unix.Mount("overlay", at("root"), "overlay", 0, "lowerdir="+host+",upperdir="+at("upper")+",workdir="+at("work")+",userxattr"))
	defer func() { must(t, unix.Unmount(at("root"), unix.MNT_DETACH)) }()
	layers := []Layer{{Upper: at("upper"), Lower: host, At: "/etc", UserXattr: true}}
	_, err = os.ReadDir("/root")
	barred := errors.Is(err, os.ErrPermission) // as it is nearly everywhere
	if barred {
		must(t, os.MkdirAll(at("other/.ssh"), 0o700))
		layers = append(layers, Layer{Upper: at("other"), Lower: "/root", At: "/root", UserXattr: true})
	}
	s := NewScanner(layers, nil)
	write(t, at("root/recorder"), "x") // the sandbox's
	must(t, s.Base(t.Context()))
	must(t, os.Remove(at("root/passwd")), os.Remove(at("root/shadow")), os.Rename(at("root/recorder"), at("root/shadow")))
	write(t, at("root/passwd"), "root:x:0:0::/root:/bin/sh\n")
	write(t, at("root/new/file"), "x")
	if barred {
		write(t, at("other/.profile"), "x")
	}
	must(t, s.Mark(t.Context(), lifecycle.AfterInstall, true))
	list, _, err := s.Changes(t.Context(), ChangesOptions{})
	must(t, err)
	var got []string
	for _, c := range list {
		got = append(got, oneLine(c))
	}
	want := []string{
		"added directory /etc/new by AfterInstall's script", "added file /etc/new/file by AfterInstall's script",
		"changed file /etc/passwd content owner by AfterInstall's script", "removed file /etc/recorder by AfterInstall's script",
		"changed file /etc/shadow content mode owner by AfterInstall's script",
	}
	if barred {
		want = append(want, "added file /root/.profile by AfterInstall's script")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Changes() (-want +got):\n%s", diff)
	}
	if _, err := s.People(t.Context()); err != nil {
		t.Error(err)
	}
	// The plan and people know the user by the id outside.
	if got, want := list[1].Is, "0644 54321:54321 1 bytes"; got != want {
		t.Errorf("/etc/new/file is %q, want %q", got, want)
	}
	p, err := s.Compare(t.Context(), []Expected{
		{Path: "/etc/new/file", Mode: unix.S_IFREG | 0o644, UID: 54321, GID: 54321}, {Path: "/etc/hostname", Mode: unix.S_IFREG, AnyMode: true}, {Path: "/etc/passwd", Mode: unix.S_IFREG | 0o644},
	})
	must(t, err)
	if want := "/etc/passwd: its owner is 54321:54321, planned was 0:0"; p.Met != 2 || len(p.Overridden) != 1 || p.Overridden[0] != want {
		t.Errorf("Compare() = %+v, want 2 that are met, and %q", p, want)
	}
	must(t, s.Close())
}

func TestLayerThatIsNotThere(t *testing.T) {
	s := NewScanner([]Layer{{Upper: "/nonexistent/upper", Lower: "/", At: "/"}}, nil)
	if err := s.Mark(t.Context(), lifecycle.Install, false); err == nil || !strings.Contains(err.Error(), "/nonexistent/upper") {
		t.Errorf("Mark() = %v", err)
	}
}

// A file system that the host has taken away in the meantime is nothing that a script has changed.
func TestLowerThatWentAway(t *testing.T) {
	root, other, upper := t.TempDir(), t.TempDir(), t.TempDir()
	s := NewScanner([]Layer{{Upper: root, Lower: t.TempDir(), At: "/"}, {Upper: upper, Lower: filepath.Join(other, "gone"), At: "/mnt/gone"}}, nil)
	must(t, os.Mkdir(filepath.Join(other, "gone"), 0o755), s.Mark(t.Context(), lifecycle.Install, false))
	must(t, os.Remove(filepath.Join(other, "gone")), s.Mark(t.Context(), lifecycle.AfterInstall, true))
	if list, omitted, err := s.Changes(t.Context(), ChangesOptions{}); len(list) > 0 || omitted > 0 || err != nil {
		t.Errorf("Changes() = %v, %d, %v", list, omitted, err)
	}
	write(t, filepath.Join(upper, "kept"), "x")
	must(t, s.Mark(t.Context(), lifecycle.ValidateService, true))
	if list, _, err := s.Changes(t.Context(), ChangesOptions{}); len(list) != 1 || list[0].Path != "/mnt/gone/kept" || err != nil {
		t.Errorf("Changes() = %v, %v; a script has made /mnt/gone/kept", list, err)
	}
	must(t, s.Close())
}

// What there is no room for in memory counts as omitted.
func TestTooMany(t *testing.T) {
	if !inside(t, false) {
		return
	}
	o := newOverlay(t, false, fixture(t), nil)
	o.s.most = 12 // /app and /app/few are two of them
	for i := range 50 {
		write(t, filepath.Join(o.root, fmt.Sprintf("app/few/%02d", i)), "x")
	}
	o.mark(lifecycle.AfterInstall, true)
	got := o.changes(ChangesOptions{})
	if len(got) != 11 || got[10] != "40 omitted" {
		t.Errorf("Changes() = %q, want 10 changes and 40 omitted", got)
	}
}

// Two overlays, one of them within the tree of the other.
func TestTwoLayers(t *testing.T) {
	if !inside(t, false) {
		return
	}
	root, etc := newOverlay(t, false, fixture(t), nil), newOverlay(t, false, func(lower string) { write(t, filepath.Join(lower, "passwd"), "root:x:0:0::/:\n") }, nil)
	etc.At = "/etc"
	s := NewScanner([]Layer{root.Layer, etc.Layer}, func(path string) bool { return path == "/etc/left" })
	must(t, s.Mark(t.Context(), lifecycle.ApplicationStop, false))
	write(t, filepath.Join(root.root, "app/new"), "x")
	write(t, filepath.Join(root.root, "zz"), "x")
	write(t, filepath.Join(etc.root, "passwd"), "root:x:0:0::/:\ndeploy:x:1:1::/:\n")
	write(t, filepath.Join(etc.root, "left"), "x")
	must(t, os.Chmod(etc.root, 0o700), s.Mark(t.Context(), lifecycle.AfterInstall, true))
	list, _, err := s.Changes(t.Context(), ChangesOptions{})
	must(t, err)
	var got []string
	for _, c := range list {
		got = append(got, c.Path+" "+c.Was+", "+c.Is)
	}
	want := []string{"/app/new , 0644 root:0 1 bytes", "/etc 0755 root:0, 0700 root:0", "/etc/passwd 0644 root:0 15 bytes, 0644 root:0 32 bytes", "/zz , 0644 root:0 1 bytes"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Changes() (-want +got):\n%s", diff)
	}
	people, err := s.People(t.Context())
	must(t, err)
	if want := []string{"user deploy added (uid 1, home /)"}; !slices.Equal(people, want) {
		t.Errorf("People() = %q, want %q", people, want)
	}
}

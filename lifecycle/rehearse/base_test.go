package rehearse

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// What came before Base, the sandbox's own or a deployment, is what was there before; a second Base counts from there.
func TestBase(t *testing.T) {
	if !inside(t, false) {
		return
	}
	o := newOverlay(t, false, fixture(t), nil)
	at := func(name string) string { return filepath.Join(o.root, name) }
	must(t, os.Remove(at("app/index.php")), os.Symlink("/recorder", at("app/index.php")), os.RemoveAll(at("app/few")))
	for _, name := range []string{"app/few/recorder/x", "app/few/recorder/y", "app/v1/a", "app/v1/b", "app/v1/sub/c", "app/kept"} {
		write(t, at(name), "first\n")
	}
	for i := range 25 {
		write(t, at(fmt.Sprintf("app/v1/many/%02d", i)), "first\n")
	}
	must(t, o.s.Base(t.Context()))

	write(t, at("app/few/recorder/y"), "second\n")
	must(t, os.RemoveAll(at("app/v1")), os.Remove(at("app/kept")))
	o.mark(lifecycle.BeforeInstall, true)
	write(t, at("app/v1/b"), "first\n") // as it was
	write(t, at("app/v1/d"), "second\n")
	write(t, at("app/kept"), "first\n")
	must(t, os.Chmod(at("app/kept"), 0o600))
	o.mark(lifecycle.Install, false)
	want := []string{
		"changed file /app/few/recorder/y content by BeforeInstall's script",
		"changed file /app/kept mode by Install",
		"removed file /app/v1/a by BeforeInstall's script",
		"added file /app/v1/d by Install",
		"removed directory /app/v1/many +25 by BeforeInstall's script",
		"removed directory /app/v1/sub by BeforeInstall's script",
		"removed file /app/v1/sub/c by BeforeInstall's script",
	}
	if diff := cmp.Diff(want, o.changes(ChangesOptions{})); diff != "" {
		t.Errorf("Changes() (-want +got):\n%s", diff)
	}
	list, _, err := o.s.Changes(t.Context(), ChangesOptions{})
	must(t, err)
	if got, want := list[0].Diff, "--- /app/few/recorder/y\n+++ /app/few/recorder/y\n@@ -1 +1 @@\n-first\n+second\n"; got != want {
		t.Errorf("the difference is %q, want %q", got, want)
	}

	must(t, o.s.Base(t.Context()))
	if got := o.changes(ChangesOptions{}); len(got) > 0 {
		t.Errorf("after a second Base, Changes() = %q", got)
	}
	must(t, os.Remove(at("app/v1/d")), os.Remove(at("app/data.bin")))
	o.mark(lifecycle.AfterInstall, true)
	want = []string{"removed file /app/data.bin by AfterInstall's script", "removed file /app/v1/d by AfterInstall's script"}
	if diff := cmp.Diff(want, o.changes(ChangesOptions{})); diff != "" {
		t.Errorf("after a second Base, Changes() (-want +got):\n%s", diff)
	}
	must(t, o.s.Close())
	if left, err := filepath.Glob(o.Upper + ".*"); len(left) > 0 || err != nil {
		t.Errorf("Close() leaves %q, %v", left, err)
	}
}

// There has to be room for what was there before, and who may not mount is told so.
func TestBaseFails(t *testing.T) {
	if !inside(t, false) {
		return
	}
	o := newOverlay(t, false, fixture(t), nil)
	write(t, filepath.Join(o.root, "app/big"), strings.Repeat("x", 1<<20))
	must(t, unix.Mount("", o.dir, "", unix.MS_REMOUNT, "size=1600k"))
	if err := o.s.Base(t.Context()); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "/app/big") {
		t.Errorf("Base() without room = %v", err)
	}
	must(t, o.s.Close())
	if left, err := filepath.Glob(o.Upper + ".*"); len(left) > 0 || err != nil {
		t.Errorf("Close() leaves %q, %v", left, err)
	}
}

package agent

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/agent/control"
	"slipway/lifecycle"
)

// A script that fills the disk of the deployment root is reported for what it was, once: neither the restart that follows nor a delivery of the
// command once more makes another outcome of it.
func TestScriptFillsTheDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a small tmpfs")
	}
	for name, exit := range map[string]string{"succeeds": "exit 0", "fails": "exit 3"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if err := os.MkdirAll(r.root(), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("tmpfs", r.root(), "tmpfs", 0, "size=1m"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(r.root(), unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			t.Cleanup(func() { os.WriteFile(filepath.Join(r.dir, "enough"), nil, 0o600) })
			fill := filepath.Join(r.root(), "fill")
			r.shelf.put("k", map[string]string{
				"appspec.yml": r.appspec("AfterInstall=p.sh"), "content/f": "",
				"p.sh": proof + "cat /dev/zero >" + fill + " 2>/dev/null\n" +
					"(while [ ! -e $OUT/enough ]; do cat /dev/zero; done >>" + fill + " 2>/dev/null </dev/null &)\n" + exit + "\n",
			})
			a := r.start()
			spec := r.spec("d-1", "k")
			r.do("DownloadBundle", spec)
			id := r.send("AfterInstall", spec)
			want, code := control.Succeeded, lifecycle.Succeeded
			if name == "fails" {
				want, code = control.Failed, lifecycle.ScriptFailed
			}
			first := r.await(id)
			if first.Status != want || first.Diagnostics.ErrorCode != int(code) {
				t.Fatalf("completion %s %+v", first.Status, first.Diagnostics)
			}
			eventually(t, "the command is settled", func() bool { return len(a.Status().InHand) == 0 })
			r.halt()
			if err := os.WriteFile(filepath.Join(r.dir, "enough"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(fill); err != nil {
				t.Fatal(err)
			}
			a = r.start()
			polls := len(r.service.Calls())
			eventually(t, "two polls", func() bool { return len(r.service.Calls()) >= polls+2 && len(a.Status().InHand) == 0 })
			if s, _ := r.service.State(id); len(s.Completions) != 1 {
				t.Errorf("%d completions: %+v", len(s.Completions), s.Completions)
			}
			if got := r.out("proof"); got != "AfterInstall\n" {
				t.Errorf("the script ran as %q", got)
			}
		})
	}
}

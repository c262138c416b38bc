package lifecycle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The deployment root has lost what is installed: the next deployment is in conflict with it until the group has adopted it.
func TestAdopt(t *testing.T) {
	b := newBench(t, nil)
	b.put("v1", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "1"})
	b.put("v2", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "2"})
	b.deploy(b.spec("d-1", "v1"), DownloadBundle, Install)
	id := minimal()["DeploymentGroupId"].(string)
	if err := errors.Join(os.RemoveAll(b.root.instructions("")), os.Remove(b.root.own("install", id+".manifest"))); err != nil {
		t.Fatal(err)
	}
	b.deploy(b.spec("d-2", "v2"), DownloadBundle)
	if r := b.do(Install, b.spec("d-2", "v2")); r.Code == Succeeded {
		t.Fatal("a file that nobody knows is replaced")
	}
	if _, err := b.Adopt(t.Context(), id, "d-none", false); err == nil {
		t.Error("Adopt() of a deployment without an archive succeeds")
	}
	for _, dry := range []bool{true, false} {
		plan, err := b.Adopt(t.Context(), id, "d-1", dry)
		if err != nil || plan.Counts().Adopted != 1 {
			t.Fatalf("Adopt(dry %v) = %+v, %v", dry, plan, err)
		}
		if installed, err := b.root.readPointer(id, lastSuccessful); err != nil || (installed == "") != dry {
			t.Errorf("after Adopt(dry %v) %q is installed, %v", dry, installed, err)
		}
	}
	b.deploy(b.spec("d-2", "v2"), Install)
	if got := b.read("site/f"); got != "2" {
		t.Errorf("the file is %q", got)
	}
}

func TestForget(t *testing.T) {
	b := newBench(t, nil)
	b.put("v1", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "1"})
	id := minimal()["DeploymentGroupId"].(string)
	if _, err := b.Forget(t.Context(), id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Forget() of nothing = %v, want fs.ErrNotExist", err)
	}
	b.deploy(b.spec("d-1", "v1"), DownloadBundle, Install)
	gone, err := b.Forget(t.Context(), id)
	if err != nil || len(gone) != 6 {
		t.Errorf("Forget() = %v, %v", gone, err)
	}
	if left, _ := filepath.Glob(b.root.instructions("*")); len(left) != 0 || b.read("site/f") != "1" {
		t.Errorf("left of the group: %v; the file is %q", left, b.read("site/f"))
	}
}

// Neither touches a group that is in hand: in another process, or in a ticket that waits for the next start.
func TestOwnershipInHand(t *testing.T) {
	b := newBench(t, nil)
	b.put("v1", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "1"})
	b.deploy(b.spec("d-1", "v1"), DownloadBundle, Install)
	id := minimal()["DeploymentGroupId"].(string)
	refused := func(why string) {
		t.Helper()
		if _, err := b.Forget(t.Context(), id); !errors.Is(err, ErrInHand) || !strings.Contains(err.Error(), why) {
			t.Errorf("Forget() = %v, want ErrInHand that says %q", err, why)
		}
		if _, err := b.Adopt(t.Context(), id, "d-1", false); !errors.Is(err, ErrInHand) {
			t.Errorf("Adopt() = %v, want ErrInHand", err)
		}
	}
	other, err := (&group{name: b.root.own("groups", id+".lock")}).lock(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	refused("when it has ended")
	other()
	if _, err := b.Accept("waits", "x", AfterInstall, b.spec("d-1", "v1")); err != nil {
		t.Fatal(err)
	}
	refused("AfterInstall of d-1")
}

// The retention of an undo does not take what the undo brings back.
func TestUndoSparesWhatItBringsBack(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Settings.MaxRevisions = 1 })
	for _, v := range []string{"1", "2"} {
		b.put("v"+v, map[string]string{"appspec.yml": b.appspecOf(), "content/f": v})
	}
	b.deploy(b.spec("d-1", "v1"), DownloadBundle, Install)
	b.Set(Settings{MaxRevisions: 5})
	b.deploy(b.spec("d-2", "v2"), DownloadBundle, Install)
	b.Set(Settings{MaxRevisions: 1})
	d, err := b.Undo(minimal()["DeploymentGroupId"].(string), "")
	if err != nil {
		t.Fatal(err)
	}
	for ev, r := range b.Deploy(t.Context(), d, []Event{DownloadBundle, Install}) {
		if r.Code != Succeeded || r.Err != nil {
			t.Errorf("%s = %+v", ev, r)
		}
	}
	if got := b.read("site/f"); got != "1" {
		t.Errorf("the file is %q", got)
	}
	group := d.GroupID
	for _, installed := range []string{d.ID, "d-other"} { // the official agent's pointer names another deployment, and the note stays
		if err := b.root.writePointer(group, lastSuccessful, installed); err != nil {
			t.Fatal(err)
		}
		all, err := Diverged(b.root.path)
		if _, told := all[group]; err != nil || told != (installed == d.ID) {
			t.Errorf("with %s installed Diverged() = %v, %v", installed, all, err)
		}
	}
}

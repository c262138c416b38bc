package lifecycle

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files lists what lies below a folder, without the folders.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// guest is an engine of a command beside the daemon, which is closed meanwhile.
func (b *bench) guest() *Engine {
	b.t.Helper()
	if err := b.Close(); err != nil {
		b.t.Fatal(err)
	}
	g, err := Open(b.t.Context(), Options{Root: b.root.path, Guest: true, Log: b.log})
	if err != nil {
		b.t.Fatal(err)
	}
	return g
}

// An image keeps what is installed and the bundle that the pointers name, and nothing of the host that it was made from.
func TestSeal(t *testing.T) {
	b := newBench(t, nil)
	for _, v := range []string{"1", "2", "3"} {
		b.put(v, map[string]string{"appspec.yml": b.appspecOf("AfterInstall=p.sh"), "p.sh": "#!/bin/sh\necho hello\n", "content/f": v})
		b.deploy(b.spec("d-"+v, v), DownloadBundle, Install, AfterInstall)
	}
	if _, err := b.Own("host-of-the-build"); err != nil {
		t.Fatal(err)
	}
	tracked := filepath.Join(b.root.path, trackingFolder, "d-left")
	if err := os.MkdirAll(filepath.Dir(tracked), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tracked, []byte("command"), 0o644); err != nil {
		t.Fatal(err)
	}
	g := b.guest()
	defer g.Close()

	before := files(t, b.root.path)
	would, err := g.Seal(t.Context(), Sealing{Dry: true})
	if err != nil || len(would) == 0 {
		t.Fatalf("Seal(dry) = %v, %v", would, err)
	}
	if diff := cmp.Diff(before, files(t, b.root.path)); diff != "" {
		t.Fatalf("Seal(dry) changed something:\n%s", diff)
	}
	did, err := g.Seal(t.Context(), Sealing{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(would, did); diff != "" {
		t.Errorf("Seal did something else than it said:\n%s", diff)
	}
	const group = "g-1"
	want := []string{
		".slipway/bundles/" + group + "/d-3.json", ".slipway/install/" + group + ".manifest", ".slipway/lock",
		"deployment-instructions/" + group + "-cleanup", "deployment-instructions/" + group + "-install.json",
		"deployment-instructions/" + group + "_last_successful_install", "deployment-instructions/" + group + "_most_recent_install",
	}
	for _, path := range files(t, b.root.path) {
		if !slices.Contains(want, path) && !strings.HasPrefix(path, group+"/d-3/") || strings.Contains(path, "/logs/") {
			t.Errorf("%s was kept", path)
		}
		want = slices.DeleteFunc(want, func(w string) bool { return w == path })
	}
	if len(want) > 0 {
		t.Errorf("gone: %q", want)
	}
	if again, err := g.Seal(t.Context(), Sealing{}); err != nil || len(again) != 0 {
		t.Errorf("a second Seal() = %v, %v, want nothing to do", again, err)
	}

	// The first deployment of what is made of the image: no false conflict, and the same bundle is not fetched again.
	fetched := b.store.count()
	b.open(b.log, nil)
	if aside, err := b.Own("host-of-the-image"); aside != "" || err != nil {
		t.Errorf("Own() = %q, %v", aside, err)
	}
	b.deploy(b.spec("d-4", "3"), DownloadBundle, Install, AfterInstall)
	if n := b.store.count() - fetched; n != 0 {
		t.Errorf("the revision of the image was fetched %d times", n)
	}
}

// With All nothing of the deployments is known any more.
func TestSealAll(t *testing.T) {
	b := newBench(t, nil)
	b.put("1", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "1"})
	b.deploy(b.spec("d-1", "1"), DownloadBundle, Install)
	g := b.guest()
	defer g.Close()
	if _, err := g.Seal(t.Context(), Sealing{All: true}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".slipway/lock"}, files(t, b.root.path)); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(filepath.Join(b.site, "f")); err != nil {
		t.Errorf("what is installed is the image's: %v", err)
	}
}

// What works in the root, or waits there, is not sealed away.
func TestSealRefuses(t *testing.T) {
	b := newBench(t, nil)
	b.put("1", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "1"})
	g, err := Open(t.Context(), Options{Root: b.root.path, Guest: true, Log: b.log})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Seal(t.Context(), Sealing{}); !errors.Is(err, ErrLocked) {
		t.Errorf("beside an agent Seal() = %v, want ErrLocked", err)
	}
	if _, err := b.Accept("c-1", "x", DownloadBundle, b.spec("d-1", "1")); err != nil {
		t.Fatal(err)
	}
	before := files(t, b.root.path)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Seal(t.Context(), Sealing{}); !errors.Is(err, ErrInHand) {
		t.Errorf("with a command in hand Seal() = %v, want ErrInHand", err)
	}
	if diff := cmp.Diff(before, files(t, b.root.path)); diff != "" {
		t.Errorf("it removed something all the same:\n%s", diff)
	}
}

// A disk that was another host's: what that one had in hand is neither gone on with nor reported here.
func TestOwn(t *testing.T) {
	b := newBench(t, nil)
	b.put("1", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "1"})
	if aside, err := b.Own("host-a"); aside != "" || err != nil {
		t.Fatalf("Own() of a new root = %q, %v", aside, err)
	}
	if _, err := b.Accept("c-1", "x", DownloadBundle, b.spec("d-1", "1")); err != nil {
		t.Fatal(err)
	}
	if aside, err := b.Own("host-a"); aside != "" || err != nil {
		t.Fatalf("Own() of the same host = %q, %v", aside, err)
	}
	aside, err := b.Own("host-b")
	if err != nil || aside == "" {
		t.Fatalf("Own() of another host = %q, %v", aside, err)
	}
	for ticket, err := range b.Engine.Open() {
		t.Errorf("another host's command is still there: %+v, %v", ticket, err)
	}
	left, err := b.Foreign()
	if len(left) > 0 || err != nil {
		t.Errorf("Foreign() = %v, %v", left, err)
	}
	kept := files(t, aside)
	if len(kept) != 2 || !strings.HasPrefix(kept[0], trackingFolder) || !strings.HasPrefix(kept[1], "tickets/") {
		t.Errorf("put aside: %q", kept)
	}
	if aside, err := b.Own("host-b"); aside != "" || err != nil {
		t.Errorf("Own() again = %q, %v", aside, err)
	}
}

// A context that is over stops the sealing, and says so.
func TestSealIsStopped(t *testing.T) {
	b := newBench(t, nil)
	g := b.guest()
	defer g.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Seal(ctx, Sealing{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Seal() = %v", err)
	}
}

// An installation that a crash has cut short and that cannot be settled must not become part of an image: what could settle it would be gone.
func TestSealWithAnUnsettledInstallation(t *testing.T) {
	b := newBench(t, nil)
	b.put("1", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "1"})
	b.deploy(b.spec("d-1", "1"), DownloadBundle, Install)
	journal := b.root.own("install", "0123456789ab.journal")
	text := `{"slipway":"install","v":99,"tx":"0123456789ab","group":"g-1","deployment":"d-2"}` + "\n" // of a later version
	if err := os.WriteFile(journal, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g := b.guest()
	defer g.Close()
	before := files(t, b.root.path)
	for _, how := range []Sealing{{Dry: true}, {}, {All: true}} {
		if _, err := g.Seal(t.Context(), how); !errors.Is(err, ErrInHand) || !strings.Contains(err.Error(), journal) {
			t.Errorf("Seal(%+v) = %v, want ErrInHand with the journal's name", how, err)
		}
	}
	if diff := cmp.Diff(before, files(t, b.root.path)); diff != "" {
		t.Errorf("Seal changed something:\n%s", diff)
	}
}

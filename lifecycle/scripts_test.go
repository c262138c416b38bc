package lifecycle

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/hooks"
	"slipway/lifecycle/bundle"
)

// A shim that breaks down before the script begins, every time, fails the event: it is not started for ever.
func TestShimThatBreaksDown(t *testing.T) {
	dir := t.TempDir()
	e, err := Open(t.Context(), Options{Root: dir, Runner: &hooks.Runner{Shim: []string{"/bin/sh", "-c", "echo x >>" + filepath.Join(dir, "starts") + "; sleep 0.05"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	archive := filepath.Join(dir, minimal()["DeploymentGroupId"].(string), "d-1", "deployment-archive")
	if err := os.MkdirAll(archive, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"s.sh": "#!/bin/sh\n", "appspec.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: s.sh\n"} {
		if err := os.WriteFile(filepath.Join(archive, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ticket, err := e.Accept("c", "x", AfterInstall, specification(t, minimal()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if r := e.Run(ctx, ticket); r.Code != UnknownError || !strings.Contains(r.Message, "s.sh") {
		t.Errorf("result %+v", r)
	}
	starts, err := os.ReadFile(filepath.Join(dir, "starts"))
	if err != nil || len(starts) != 2*maxStarts {
		t.Errorf("%q starts, %v; want %d", starts, err, maxStarts)
	}
}

// faulty is a fetcher with a fault in it.
type faulty struct{}

func (faulty) Bring(context.Context, bundle.Revision, *os.File, *os.Root, bundle.Limits) (bundle.Object, bundle.Stats, error) {
	panic("index out of range")
}

// A fault of this program fails the one command that meets it, and the engine goes on.
func TestFaultOfTheProgram(t *testing.T) {
	e, err := Open(t.Context(), Options{Root: t.TempDir(), Fetcher: faulty{}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, command := range []string{"one", "another"} { // no lock is left behind
		ticket, err := e.Accept(command, "x", DownloadBundle, specification(t, minimal()))
		if err != nil {
			t.Fatal(err)
		}
		if r := e.Run(t.Context(), ticket); r.Code != UnknownError || !strings.Contains(r.Message, "index out of range") {
			t.Errorf("result %+v", r)
		}
	}
}

func TestSyncTree(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o200); err != nil {
		t.Fatal(err)
	}
	if err := syncTree(dir); err != nil {
		t.Error(err)
	}
	for i := range syncOneByOne {
		if err := os.Mkdir(filepath.Join(dir, strings.Repeat("d", 1+i%200)+string(rune('a'+i/200))), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := syncTree(dir); err != nil {
		t.Error(err)
	}
	if err := syncTree(filepath.Join(dir, "missing")); err == nil {
		t.Error("a tree that is not there was put on the disk")
	}
}

// Prepare starts a shim ahead of the script that it is for.
func TestPrepare(t *testing.T) {
	dir := t.TempDir()
	started := filepath.Join(dir, "started")
	e, err := Open(t.Context(), Options{Root: dir, Runner: &hooks.Runner{Shim: []string{"/bin/mkdir", started}}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	e.Prepare()
	for end := time.Now().Add(10 * time.Second); ; {
		if _, err := os.Stat(started); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no shim was started")
		}
	}
	without, err := Open(t.Context(), Options{Root: t.TempDir()}) // nothing runs scripts here
	if err != nil {
		t.Fatal(err)
	}
	defer without.Close()
	without.Prepare()
}

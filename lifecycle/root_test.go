package lifecycle

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// I-22, I-23: the table of the rules, and what they leave open.
func TestPrune(t *testing.T) {
	tests := []struct {
		keep        int
		existing    string // oldest first
		lastSuccess string
		mostRecent  string
		left        string
	}{
		{5, "a b c d e", "a", "", "a c d e"},
		{5, "a b c d e f g", "a", "", "a e f g"},
		{5, "a b c d", "d", "", "a b c d"},
		{1, "a b", "a", "", "a"},
		{1, "a b", "a", "b", "a b"}, // the most recent one stays too: a rollback may run its hooks
		{2, "", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d of %s", tt.keep, tt.existing), func(t *testing.T) {
			r := root{path: t.TempDir()}
			for i, name := range strings.Fields(tt.existing + " now") {
				dir := filepath.Join(r.path, "g", name)
				if err := os.MkdirAll(filepath.Join(dir, "deployment-archive"), 0o755); err != nil {
					t.Fatal(err)
				}
				at := time.Unix(1_700_000_000+int64(i), 0)
				if err := os.Chtimes(dir, at, at); err != nil {
					t.Fatal(err)
				}
			}
			for w, id := range map[whose]string{lastSuccessful: tt.lastSuccess, mostRecent: tt.mostRecent} {
				if id == "" {
					continue
				}
				if err := r.writePointer("g", w, id); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := r.prune("g", "now", Retention{Revisions: tt.keep}, pruning{}); err != nil {
				t.Fatal(err)
			}
			entries, err := os.ReadDir(filepath.Join(r.path, "g"))
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, e := range entries {
				if e.Name() != "now" {
					left = append(left, e.Name())
				}
			}
			if diff := cmp.Diff(tt.left, strings.Join(left, " ")); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
}

// V-63: an old deployment that cannot be removed is told and keeps nothing else from being removed.
func TestPruneGoesOn(t *testing.T) {
	r := root{path: t.TempDir()}
	if err := r.writePointer("g", mostRecent, "d"); err != nil {
		t.Fatal(err)
	}
	for i, name := range strings.Fields("a b c d now") {
		dir := filepath.Join(r.path, "g", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1_700_000_000+int64(i), 0)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
	}
	// A mount cannot be removed, whoever asks.
	busy := filepath.Join(r.path, "g", "a", "busy")
	if err := os.Mkdir(busy, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", busy, "tmpfs", 0, ""); err != nil {
		t.Skipf("needs a mount, which this host does not grant: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(busy, 0) })
	at := time.Unix(1_700_000_000, 0)
	if err := os.Chtimes(filepath.Join(r.path, "g", "a"), at, at); err != nil {
		t.Fatal(err)
	}
	gone, err := r.prune("g", "now", Retention{Revisions: 2}, pruning{})
	if err != nil || len(gone) != 3 || gone[0].Deployment != "a" || gone[0].Err == nil || gone[1].Err != nil || gone[2].Err != nil {
		t.Errorf("prune() = %+v, %v; want b and c removed, and a told", gone, err)
	}
}

func TestPointers(t *testing.T) {
	r := root{path: t.TempDir()}
	if got, err := r.readPointer("g", mostRecent); got != "" || err != nil {
		t.Errorf("no pointer: %q, %v", got, err)
	}
	if err := r.writePointer("g", lastSuccessful, "d-1"); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(r.path, "deployment-instructions", "g_last_successful_install") // I-8
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(r.path, "g", "d-1"); string(data) != want { // no newline
		t.Errorf("pointer holds %q, want %q", data, want)
	}
	if err := os.WriteFile(name, append(data, '\n'), 0o644); err != nil { // a trailing newline is tolerated on reading
		t.Fatal(err)
	}
	if got, err := r.readPointer("g", lastSuccessful); err != nil || got != string(data) {
		t.Errorf("readPointer() = %q, %v", got, err)
	}
	if err := os.WriteFile(name, []byte("relative"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.readPointer("g", lastSuccessful); err == nil {
		t.Error("a relative path was taken")
	}
}

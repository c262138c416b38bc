package lifecycle

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What happened on a host can be told afterwards: outcomes, the last word on an event that was repeated, what is installed, what another
// agent did.
func TestHistory(t *testing.T) {
	b := newBench(t, nil)
	b.put("1", map[string]string{"appspec.yml": b.appspecOf("AfterInstall=p.sh"), "p.sh": "#!/bin/sh\necho broken >&2\nexit 3\n", "content/f": "1"})
	spec := b.spec("d-1", "1")
	b.deploy(spec, DownloadBundle, Install)
	if r := b.do(AfterInstall, spec); r.Code != ScriptFailed {
		t.Fatalf("AfterInstall = %+v", r)
	}
	b.do(AfterInstall, spec) // repeated
	if err := os.MkdirAll(filepath.Join(b.root.path, "g-2", "d-foreign", archiveFolder), 0o755); err != nil {
		t.Fatal(err)
	}
	past, err := History(b.root.path)
	if err != nil {
		t.Fatal(err)
	}
	if len(past) != 2 || past[0].Deployment != "d-foreign" || !past[0].Foreign || past[0].Archive == "" {
		t.Fatalf("History() = %+v, want another agent's first", past)
	}
	p := past[1]
	var ran []Event
	for _, r := range p.Events {
		ran = append(ran, r.Event)
	}
	if diff := cmp.Diff([]Event{DownloadBundle, Install, AfterInstall}, ran); diff != "" {
		t.Error(diff)
	}
	failed := p.Failed()
	if failed == nil || failed.Event != AfterInstall || failed.Code != ScriptFailed || failed.Script != "p.sh" || !strings.Contains(failed.Log, "broken") || failed.Command == "" {
		t.Errorf("Failed() = %+v", failed)
	}
	if !p.Installed || p.Foreign || p.Local || p.GroupName != "fleet" || p.Application != "tinitter" || p.ScriptsLog == "" || p.Took() <= 0 {
		t.Errorf("deployment %+v", p)
	}
}

// A crash in the middle of a line costs that line, and no other.
func TestHistoryIsTorn(t *testing.T) {
	r := root{path: t.TempDir()}
	if err := os.MkdirAll(r.own(), 0o700); err != nil {
		t.Fatal(err)
	}
	add := func(id string) {
		t.Helper()
		if err := r.appendHistory(Record{At: time.Unix(1_700_000_000, 0), Group: "g", Deployment: id, Event: Install}); err != nil {
			t.Fatal(err)
		}
	}
	add("d-1")
	name := r.own(historyFile)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(data, data[:20]...), 0o600); err != nil {
		t.Fatal(err)
	}
	add("d-2")
	records, err := r.records()
	if err != nil || len(records) != 2 || records[1].Deployment != "d-2" {
		t.Errorf("records() = %+v, %v", records, err)
	}
	if err := os.Truncate(name, historyMax+1); err != nil { // it grows no further
		t.Fatal(err)
	}
	add("d-3")
	if info, err := os.Stat(name); err != nil || info.Size() > 1000 {
		t.Errorf("the history has %v bytes, %v", info.Size(), err)
	}
	records, err = r.records()
	if err != nil || records[len(records)-1].Deployment != "d-3" || records[0].Deployment != "d-1" {
		t.Errorf("records() = %+v, %v", records, err)
	}
}

// What the pointers name stays also where they name it by another way to the deployment root: one from before it was moved, say, with a link left in
// its place.
func TestRetentionOfAMovedRoot(t *testing.T) {
	before := root{path: filepath.Join(t.TempDir(), "before")}
	now := root{path: filepath.Join(t.TempDir(), "now")}
	for i, name := range []string{"a", "b", "c", "d"} {
		dir := filepath.Join(before.path, "g", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-9) * time.Hour)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for w, name := range map[whose]string{lastSuccessful: "a", mostRecent: "b"} {
		if err := before.writePointer("g", w, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(before.path, now.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(now.path, before.path); err != nil {
		t.Fatal(err)
	}
	gone, err := now.prune("g", "", Retention{Revisions: 1}, pruning{})
	if err != nil || len(gone) != 2 || gone[0].Deployment != "c" || gone[1].Deployment != "d" {
		t.Errorf("prune() = %+v, %v, want c and d removed: a and b are what the pointers name", gone, err)
	}
}

// Age and a full disk make deployments go that max_revisions would keep; what is installed never goes.
func TestRetention(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name string
		keep Retention
		left string
	}{
		{"nothing", Retention{Revisions: 9}, "a b c d"},
		{"age", Retention{Revisions: 9, MaxAge: 36 * time.Hour}, "a c d"},
		{"age and number", Retention{Revisions: 2, MaxAge: 36 * time.Hour}, "a d"},
		{"space that there is", Retention{Revisions: 9, MinFree: 1}, "a b c d"},
		{"space that there never is", Retention{Revisions: 9, MinFree: 1 << 62}, "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := root{path: t.TempDir()}
			for i, name := range []string{"a", "b", "c", "d"} { // a is three days old
				dir := filepath.Join(r.path, "g", name)
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				at := now.Add(time.Duration(i-3) * 24 * time.Hour)
				if err := os.Chtimes(dir, at, at); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.writePointer("g", lastSuccessful, "a"); err != nil {
				t.Fatal(err)
			}
			told, err := r.prune("g", "", tt.keep, pruning{dry: true})
			if err != nil {
				t.Fatal(err)
			}
			gone, err := r.prune("g", "", tt.keep, pruning{})
			if err != nil {
				t.Fatal(err)
			}
			if tt.keep.MinFree == 0 && len(told) != len(gone) {
				t.Errorf("told of %d, removed %d", len(told), len(gone))
			}
			entries, err := os.ReadDir(filepath.Join(r.path, "g"))
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, e := range entries {
				left = append(left, e.Name())
			}
			if got := strings.Join(left, " "); got != tt.left {
				t.Errorf("left %q, want %q (removed %+v)", got, tt.left, gone)
			}
		})
	}
}

func FuzzHistory(f *testing.F) {
	line, err := json.Marshal(Record{Group: "g", Deployment: "d", Event: Install})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(line, '\n'))
	f.Add([]byte("{}\n\x00\n{\"group\":1}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := root{path: t.TempDir()}
		if err := os.MkdirAll(r.own(), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.own(historyFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.appendHistory(Record{Group: "g", Deployment: "last", Event: Install}); err != nil {
			t.Fatal(err)
		}
		records, err := r.records()
		if err != nil || len(records) == 0 || records[len(records)-1].Deployment != "last" {
			t.Errorf("records() = %+v, %v: what is written behind anything is read", records, err)
		}
	})
}

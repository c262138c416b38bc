package lifecycle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The same revision is not downloaded again, in whatever group, as long as its bundle on disk is what it was.
func TestBundleIsReused(t *testing.T) {
	etag := func(text string) func(map[string]any) {
		return func(m map[string]any) {
			m["Revision"].(map[string]any)["S3Revision"].(map[string]any)["ETag"] = text
			m["DeploymentGroupId"] = "g-2"
		}
	}
	for _, tt := range []struct {
		name  string
		etag  string
		spoil func(bundle string) error
		want  int // downloads
	}{
		{name: "same", etag: "k-etag"},
		{name: "another ETag", etag: "other", want: 1},
		{name: "no ETag", want: 1},
		{name: "bundle changed on disk", etag: "k-etag", want: 1, spoil: func(name string) error {
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte("X"), 40)
			return err
		}},
		{name: "bundle gone", etag: "k-etag", want: 1, spoil: os.Remove},
		{name: "bundle is a link", etag: "k-etag", want: 1, spoil: func(name string) error {
			if err := os.Rename(name, name+".away"); err != nil {
				return err
			}
			return os.Symlink(name+".away", name)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			b.put("k", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "text"})
			b.deploy(b.spec("d-1", "k"), DownloadBundle)
			if tt.spoil != nil {
				if err := tt.spoil(filepath.Join(b.root.path, "g-1", "d-1", bundleFile)); err != nil {
					t.Fatal(err)
				}
			}
			before := b.store.count()
			r := b.do(DownloadBundle, b.spec("d-2", "k", etag(tt.etag)))
			if r.Code != Succeeded || r.Message != "Succeeded: BundleSource=downloaded" || b.store.count()-before != tt.want {
				t.Errorf("DownloadBundle = %+v after %d downloads, want %d", r, b.store.count()-before, tt.want)
			}
			if got := b.read("root/g-2/d-2/deployment-archive/content/f"); got != "text" {
				t.Errorf("the unpacked file is %q", got)
			}
		})
	}
}

// V-32, V-62: the archive of the deployment that the service names is taken over if it can be; otherwise the revision is downloaded.
func TestArchiveIsReused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		from   string
		change func(*Options)
		spoil  func(deployment string) error
		want   string // BundleSource
	}{
		{name: "as named", from: "d-OLD", want: "archive-reuse"},
		{name: "unknown", from: "d-GONE", want: "downloaded"},
		{name: "itself", from: "d-NEW", want: "downloaded"},
		{name: "no id", from: "../d-OLD", want: "downloaded"},
		{name: "no appspec", from: "d-OLD", want: "downloaded", spoil: func(d string) error { return os.Remove(filepath.Join(d, archiveFolder, "appspec.yml")) }},
		{name: "archive is a link", from: "d-OLD", want: "downloaded", spoil: func(d string) error {
			name := filepath.Join(d, archiveFolder)
			if err := os.Rename(name, name+".away"); err != nil {
				return err
			}
			return os.Symlink(name+".away", name)
		}},
		{name: "switched off", from: "d-OLD", want: "downloaded", change: func(o *Options) { o.Settings.ReuseArchives = false }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.change)
			b.put("old", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "as unpacked"})
			b.put("new", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "as downloaded"})
			b.deploy(b.spec("d-OLD", "old"), DownloadBundle)
			old := filepath.Join(b.root.path, "g-1", "d-OLD")
			if tt.spoil != nil {
				if err := tt.spoil(old); err != nil {
					t.Fatal(err)
				}
			}
			r := b.do(DownloadBundle, b.spec("d-NEW", "new", func(m map[string]any) { m["ReuseArchiveFromDeploymentId"] = tt.from }))
			if r.Code != Succeeded || r.Message != "Succeeded: BundleSource="+tt.want {
				t.Errorf("DownloadBundle = %+v, want source %s", r, tt.want)
			}
			if got := b.read("root/g-1/d-NEW/.bundle-source"); got != tt.want {
				t.Errorf(".bundle-source holds %q, want %q", got, tt.want)
			}
			if got, want := b.read("root/g-1/d-NEW/deployment-archive/content/f"), strings.Replace(tt.want, "archive-reuse", "unpacked", 1); got != "as "+want {
				t.Errorf("the file is %q, want it as %s", got, want)
			}
		})
	}
}

// A revision that did not work is taken back by what is on this disk, and what the service is told stays true.
func TestUndo(t *testing.T) {
	b := newBench(t, nil)
	hooks := []string{"ApplicationStop=p.sh", "AfterInstall=p.sh"}
	for _, v := range []string{"1", "2", "3"} {
		b.put(v, map[string]string{"appspec.yml": b.appspecOf(hooks...), "p.sh": proofScript, "content/f": v, "content/only-" + v: v})
		b.deploy(b.spec("d-"+v, v), DownloadBundle, Install)
	}
	undo := func(to, wantFile, wantUndoes string) *Deployment {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(b.dir, "proof")); err != nil {
			t.Fatal(err)
		}
		d, err := b.Undo("g-1", to)
		if err != nil {
			t.Fatal(err)
		}
		var ran []Event
		for ev, r := range b.Deploy(t.Context(), d, UndoEvents()) {
			if r.Code != Succeeded || r.Err != nil {
				t.Fatalf("%s = %+v", ev, r)
			}
			ran = append(ran, ev)
		}
		if diff := cmp.Diff(UndoEvents(), ran); diff != "" {
			t.Error(diff)
		}
		if got := b.read("site/f"); got != wantFile || !exists(filepath.Join(b.site, "only-"+wantFile)) {
			t.Errorf("the installed file is %q, want %q", got, wantFile)
		}
		if got, want := b.read("proof"), "ApplicationStop "+d.ID+"\nAfterInstall "+d.ID+"\n"; got != want {
			t.Errorf("scripts have run: %q, want %q", got, want)
		}
		diverged, err := Diverged(b.root.path)
		if err != nil || diverged["g-1"].Deployment != d.ID || wantUndoes != "" && diverged["g-1"].Undoes != wantUndoes {
			t.Errorf("Diverged() = %+v, %v", diverged, err)
		}
		return d
	}
	first := undo("", "2", "d-3")
	undo("", "1", first.ID) // once more goes further back
	if _, err := b.Undo("g-1", ""); err == nil {
		t.Error("there is something before the first revision")
	}
	undo("d-3", "3", "")
	b.deploy(b.spec("d-4", "1"), DownloadBundle, Install)
	if diverged, err := Diverged(b.root.path); err != nil || len(diverged) != 0 {
		t.Errorf("Diverged() after a deployment by the service = %v, %v", diverged, err)
	}
	for _, wrong := range []struct{ group, to string }{{"g-1", "d-none"}, {"none", ""}, {"../g-1", ""}, {"g-1", "../x"}} {
		if _, err := b.Undo(wrong.group, wrong.to); err == nil {
			t.Errorf("Undo(%q, %q) was planned", wrong.group, wrong.to)
		}
	}
}

// A deployment that left a person's file in place (RETAIN), or replaced it, is gone back to as it was deployed: the file is no conflict then.
func TestUndoKeepsTheBehavior(t *testing.T) {
	for behavior, want := range map[string]string{"RETAIN": "a person's", "OVERWRITE": "1"} {
		b := newBench(t, nil)
		if err := os.MkdirAll(b.site, 0o755); err != nil {
			t.Fatal(err)
		}
		config := filepath.Join(b.site, "config")
		put := func(text string) {
			t.Helper()
			if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		put("a person's")
		override := func(m map[string]any) {
			m["AgentActionOverrides"] = map[string]any{"AgentOverrides": map[string]any{"FileExistsBehavior": behavior}}
		}
		b.put("1", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "1", "content/config": "1"})
		b.deploy(b.spec("d-1", "1", override), DownloadBundle, Install)
		b.put("2", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "2"})
		b.deploy(b.spec("d-2", "2", override), DownloadBundle, Install)
		if behavior == "OVERWRITE" {
			put("a person's again") // the second revision has none
		}
		for range 2 { // and back to what was gone back to
			d, err := b.Undo("g-1", "d-1")
			if err != nil {
				t.Fatal(err)
			}
			for ev, r := range b.Deploy(t.Context(), d, []Event{DownloadBundle, Install}) {
				if r.Code != Succeeded || r.Err != nil {
					t.Fatalf("%s: %s = %+v", behavior, ev, r)
				}
			}
			if got := b.read("site/f") + " " + b.read("site/config"); got != "1 "+want {
				t.Errorf("%s: the files are %q, want 1 %s", behavior, got, want)
			}
		}
	}
}

// A command beside the daemon works in its root, and waits for what is in hand of the group.
func TestGuest(t *testing.T) {
	b := newBench(t, nil)
	b.put("1", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "1"})
	b.put("2", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "2"})
	b.deploy(b.spec("d-1", "1"), DownloadBundle, Install)
	b.deploy(b.spec("d-2", "2"), DownloadBundle, Install)
	guest, err := Open(t.Context(), Options{Root: b.root.path, Guest: true, Settings: Settings{Environ: os.Environ()}})
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	d, err := guest.Undo("g-1", "")
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := b.group("g-1").lock(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev, r := range guest.Deploy(t.Context(), d, []Event{DownloadBundle, Install}) {
			if r.Code != Succeeded {
				t.Errorf("%s = %+v", ev, r)
			}
		}
	}()
	if got := b.read("site/f"); got != "2" {
		t.Errorf("the file is %q while the group is in hand", got)
	}
	unlock()
	<-done
	if got := b.read("site/f"); got != "1" {
		t.Errorf("the file is %q", got)
	}
}

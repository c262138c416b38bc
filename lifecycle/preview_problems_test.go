package lifecycle

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What would fail, at which event, with which code, and what may still put it right.
func TestPreviewProblems(t *testing.T) {
	inPlace := UndoEvents()
	type problem struct {
		Event  Event
		Script string
		Code   Code
		Unless string
		Early  bool
	}
	tests := []struct {
		name    string
		old     []string // hooks of the revision that is installed, "" for none
		hooks   []string
		files   map[string]string
		list    []Event
		change  func(*Options)
		want    []problem
		message string
	}{
		{name: "good", old: []string{"ApplicationStop=p.sh"}, hooks: []string{"AfterInstall=p.sh"}, list: inPlace},
		{
			name: "conflict that nothing can mend", list: inPlace, files: map[string]string{"content/theirs": "x"},
			want: []problem{{Event: ApplicationStop, Code: UnknownError, Early: true}}, message: "site/theirs: exists",
		},
		{
			name: "conflict, and nobody looks early", list: inPlace, files: map[string]string{"content/theirs": "x"},
			change: func(o *Options) { o.Settings.NoPreflight = true },
			want:   []problem{{Event: Install, Code: UnknownError}}, message: "site/theirs: exists",
		},
		{
			name: "conflict that a script before may mend", list: inPlace, hooks: []string{"BeforeInstall=p.sh"}, files: map[string]string{"content/theirs": "x"},
			want: []problem{{Event: Install, Code: UnknownError, Unless: "p.sh"}},
		},
		{
			name: "script missing, found early", list: inPlace, hooks: []string{"AfterInstall=no.sh"},
			want: []problem{{Event: ApplicationStop, Code: UnknownError, Early: true}}, message: "no.sh, which is not in the bundle",
		},
		{
			name: "script missing, and one before", list: inPlace, hooks: []string{"AfterInstall=p.sh", "ValidateService=no.sh"},
			want: []problem{{Event: ValidateService, Script: "no.sh", Code: ScriptMissing, Unless: "p.sh"}},
		},
		{
			name: "user unknown, found early", list: inPlace, hooks: []string{"AfterInstall=p.sh"}, files: map[string]string{"appspec.yml": "RUNAS"},
			want: []problem{{Event: ApplicationStop, Code: UnknownError, Early: true}}, message: "no-such-user",
		},
		{
			name: "user unknown, and nobody looks early", list: []Event{DownloadBundle, Install, AfterInstall}, files: map[string]string{"appspec.yml": "RUNAS"},
			want: []problem{{Event: AfterInstall, Script: "p.sh", Code: ScriptFailed}}, message: "no-such-user",
		},
		{
			name: "line end of Windows, found early", list: inPlace, hooks: []string{"AfterInstall=odd.sh"}, files: map[string]string{"odd.sh": "#!/bin/sh\r\nexit 0\r\n"},
			want: []problem{{Event: ApplicationStop, Code: UnknownError, Early: true}}, message: "carriage return",
		},
		{
			name: "a script that cannot be started puts nothing right", list: inPlace, hooks: []string{"BeforeInstall=odd.sh", "AfterInstall=odd.sh"}, files: map[string]string{"odd.sh": "#!/no/such/interpreter\n"},
			want: []problem{{Event: BeforeInstall, Script: "odd.sh", Code: ScriptFailed}, {Event: AfterInstall, Script: "odd.sh", Code: ScriptFailed}},
		},
		{
			name: "interpreter missing", list: inPlace, hooks: []string{"AfterInstall=odd.sh"}, files: map[string]string{"odd.sh": "#!/no/such/interpreter\n"},
			want: []problem{{Event: AfterInstall, Script: "odd.sh", Code: ScriptFailed}}, message: "/no/such/interpreter",
		},
		{
			name: "the old revision's script is gone, and that fails", old: []string{"ApplicationStop=gone.sh"}, list: inPlace,
			change: func(o *Options) { o.Settings.OldRevision = "run" },
			want:   []problem{{Event: ApplicationStop, Script: "gone.sh", Code: ScriptMissing}},
		},
		{name: "the old revision's script is gone, and is passed over", old: []string{"ApplicationStop=gone.sh"}, list: inPlace},
		{
			name: "appspec", list: inPlace, files: map[string]string{"appspec.yml": "version: 0.0\nos: linux\nhooks: [\n"},
			want: []problem{{Event: ApplicationStop, Code: UnknownError, Early: true}}, message: "appspec.yml:",
		},
		{
			name: "appspec, and no event that looks early", list: []Event{DownloadBundle, Install}, files: map[string]string{"appspec.yml": "version: 0.0\nos: linux\nhooks: [\n"},
			want: []problem{{Event: DownloadBundle, Code: UnknownError}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.change)
			b.put("old", map[string]string{"appspec.yml": b.appspecOf(tt.old...), "p.sh": proofScript, "content/f": "old"})
			b.deploy(b.spec("d-1", "old"), DownloadBundle, Install)
			if err := os.WriteFile(filepath.Join(b.site, "theirs"), []byte("theirs"), 0o644); err != nil {
				t.Fatal(err)
			}
			files := map[string]string{"appspec.yml": b.appspecOf(tt.hooks...), "p.sh": proofScript, "content/f": "new"}
			maps.Copy(files, tt.files)
			if files["appspec.yml"] == "RUNAS" {
				files["appspec.yml"] = b.appspecOf("AfterInstall=p.sh") + "      runas: no-such-user\n"
			}
			b.put("new", files)
			p := b.previewed(b.spec("d-2", "new"), tt.list...)
			var got []problem
			text := ""
			for _, q := range p.Problems {
				got = append(got, problem{q.Event, q.Script, q.Code, q.Unless, q.Early})
				text += q.Err.Error()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || !strings.Contains(text, tt.message) {
				t.Errorf("%s (-want +got):\n%s", text, diff)
			}
			if b.read("proof") != "" {
				t.Error("a script has run")
			}
			// And so it is.
			spec := b.spec("d-2", "new")
			for _, ev := range tt.list {
				r := b.do(ev, spec)
				if r.Code == Succeeded {
					continue
				}
				if len(got) == 0 || got[0].Event != ev || got[0].Code != r.Code {
					t.Errorf("%s = %+v, and the preview said %+v", ev, r, got)
				}
				return
			}
			if len(got) > 0 {
				t.Errorf("all succeeded, and the preview said %+v", got)
			}
		})
	}
}

// A revision that was never downloaded here has no old one, and an event tells why it runs nothing.
func TestPreviewTellsWhoseScriptsRun(t *testing.T) {
	b := newBench(t, nil)
	b.put("new", map[string]string{"appspec.yml": b.appspecOf("ApplicationStop=p.sh", "AfterInstall=p.sh"), "p.sh": proofScript, "content/f": "new"})
	whose := func() map[Event]string {
		all := map[Event]string{}
		for _, f := range b.previewed(b.spec("d-2", "new"), UndoEvents()...).Events {
			all[f.Event] = fmt.Sprintf("%s|%s|%s|%d|%s", f.Whose, f.Of, f.Nothing, len(f.Scripts), f.Timeouts)
		}
		return all
	}
	first := whose()
	if got, want := first[ApplicationStop], "the last successful revision||nothing to run, there is no archive of the last successful revision|0|0s"; got != want {
		t.Errorf("ApplicationStop: %s, want %s", got, want)
	}
	b.deploy(b.spec("d-1", "new"), DownloadBundle, Install)
	again := whose()
	if got, want := again[ApplicationStop], "the last successful revision|d-1||1|1h0m0s"; got != want {
		t.Errorf("ApplicationStop: %s, want %s", got, want)
	}
	if got, want := again[AfterInstall], "this revision|||1|1h0m0s"; got != want {
		t.Errorf("AfterInstall: %s, want %s", got, want)
	}
}

// Too little space is told with the numbers, and fails for certain unless old deployments go before.
func TestPreviewOfWhatDoesNotFit(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Settings.MaxRevisions = 2 })
	archive := filepath.Join(b.dir, "archive")
	if err := os.MkdirAll(filepath.Join(archive, "content"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(archive, "appspec.yml"), []byte(b.appspecOf()), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(archive, "content", "huge"))
	if err == nil {
		err = f.Truncate(8 << 40)
	}
	if err != nil {
		t.Skip("needs a file system that takes a file of 8 TiB, all of it a hole:", err)
	}
	f.Close()
	problem := func() Problem {
		p, err := b.Preview(t.Context(), &Deployment{ID: "d-9", GroupID: "g-1", AppSpecFilename: defaultAppSpec, Type: defaultType}, nil, archive)
		if err != nil || len(p.Problems) != 1 || len(p.Short) == 0 || !strings.Contains(p.Problems[0].Err.Error(), "8.0 TiB needed") {
			t.Fatalf("Preview() = %+v, %v", p, err)
		}
		return p.Problems[0]
	}
	if q := problem(); q.Event != ApplicationStop || !q.Early || q.Unless != "" {
		t.Errorf("the problem is %+v", q)
	}
	b.put("k", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "1"})
	for _, id := range []string{"d-1", "d-2", "d-3"} {
		b.deploy(b.spec(id, "k"), DownloadBundle, Install)
	}
	if err := b.root.writePointer("g-1", mostRecent, "d-1"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"d-2", "d-4"} {
		if err := os.MkdirAll(filepath.Join(b.dir, "root", "g-1", id), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if q := problem(); q.Event != Install || q.Early || q.Unless != "the removal of old deployments" {
		t.Errorf("the problem is %+v", q)
	}
}

// An engine that only looks refuses what would change something, and makes nothing.
func TestReadOnlyEngine(t *testing.T) {
	b := newBench(t, nil)
	o := b.opts
	o.Root, o.ReadOnly = filepath.Join(b.dir, "no", "root"), true
	e, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	d := LocalDeployment("g-1", "")
	for _, r := range e.Deploy(t.Context(), d, UndoEvents()) {
		if r.Code != UnknownError || !strings.Contains(r.Message, "only looks") {
			t.Errorf("Deploy() = %+v", r)
		}
	}
	if _, err := e.Accept("c", "x", Install, b.spec("d-1", "k")); err == nil {
		t.Error("a command was accepted")
	}
	if _, err := e.Adopt(t.Context(), "g-1", "d-1", true); err == nil {
		t.Error("files were adopted")
	}
	if _, err := e.Prune(t.Context(), "g-1", Retention{Revisions: 1}, false); err == nil {
		t.Error("deployments were removed")
	}
	if _, err := e.Forget(t.Context(), "g-1"); err == nil {
		t.Error("files were given up")
	}
	if _, err := e.Preview(t.Context(), &Deployment{ID: "../d", GroupID: "g"}, nil, b.dir); err == nil {
		t.Error("an id that leads elsewhere was taken")
	}
	if err := e.Close(); err != nil || exists(o.Root) {
		t.Errorf("Close() = %v, the root exists: %v", err, exists(o.Root))
	}
}

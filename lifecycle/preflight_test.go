package lifecycle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/lifecycle/bundle"
)

const waitLong = time.Minute

// What is wrong with a new revision is found before the old one is stopped, as far as it is certain; the rest is told.
func TestPreflight(t *testing.T) {
	stopped := "ApplicationStop d-2\n"
	tests := []struct {
		name  string
		old   []string // hooks of the revision that is installed
		files func(b *bench) map[string]string
		spec  func(map[string]any)
		fails string // what the failure of ApplicationStop says; empty: it succeeds
		tells string // what its report says
		ran   string // what scripts have run
	}{
		{
			name: "good", old: []string{"ApplicationStop=p.sh"},
			files: func(b *bench) map[string]string { return map[string]string{"appspec.yml": b.appspecOf()} },
			ran:   stopped,
		},
		{
			name: "appspec that cannot be parsed", old: []string{"ApplicationStop=p.sh"},
			files: func(*bench) map[string]string {
				return map[string]string{"appspec.yml": "version: 0.0\nos: linux\nhooks: [\n"}
			},
			fails: "appspec.yml:",
		},
		{
			name: "no appspec", old: []string{"ApplicationStop=p.sh"},
			files: func(*bench) map[string]string { return map[string]string{"readme": ""} },
			fails: "has no appspec",
		},
		{
			name: "unknown event, and the deployment says which there are", old: []string{"ApplicationStop=p.sh"},
			files: func(b *bench) map[string]string {
				return map[string]string{"appspec.yml": b.appspecOf("BeoreInstall=p.sh"), "p.sh": proofScript}
			},
			spec: func(m map[string]any) {
				m["AllPossibleLifecycleEvents"] = []string{
					"BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop", "DownloadBundle", "BeforeInstall", "Install",
					"AfterInstall", "ApplicationStart", "ValidateService", "BeforeAllowTraffic", "AfterAllowTraffic",
				}
			},
			fails: "did you mean BeforeInstall?",
		},
		{
			name: "unknown event", old: []string{"ApplicationStop=p.sh"},
			files: func(b *bench) map[string]string {
				return map[string]string{"appspec.yml": b.appspecOf("BeoreInstall=p.sh"), "p.sh": proofScript}
			},
			tells: `"BeoreInstall": its scripts never run (did you mean BeforeInstall?)`, ran: stopped,
		},
		{
			name: "conflict, and nothing runs before Install",
			files: func(b *bench) map[string]string {
				return map[string]string{"appspec.yml": b.appspecOf(), "content/theirs": "x"}
			},
			fails: "site/theirs: exists",
		},
		{
			name: "conflict, and the old ApplicationStop may see to it", old: []string{"ApplicationStop=p.sh"},
			files: func(b *bench) map[string]string {
				return map[string]string{"appspec.yml": b.appspecOf(), "content/theirs": "x"}
			},
			tells: "unless p.sh, which runs before, sees to it", ran: stopped,
		},
		{
			name: "conflict, and BeforeInstall may see to it",
			files: func(b *bench) map[string]string {
				return map[string]string{"appspec.yml": b.appspecOf("BeforeInstall=p.sh"), "p.sh": proofScript, "content/theirs": "x"}
			},
			tells: "site/theirs: exists",
		},
		{
			name: "script missing, and none before it",
			files: func(b *bench) map[string]string {
				return map[string]string{"appspec.yml": b.appspecOf("AfterInstall=no.sh")}
			},
			fails: "AfterInstall runs no.sh, which is not in the bundle",
		},
		{
			name: "script missing, and another before it may make it",
			files: func(b *bench) map[string]string {
				return map[string]string{"appspec.yml": b.appspecOf("BeforeInstall=p.sh", "AfterInstall=no.sh"), "p.sh": proofScript}
			},
			tells: "no.sh, which is not in the bundle (unless p.sh",
		},
		{
			name: "H-39 runas user unknown, and no script before it",
			files: func(b *bench) map[string]string {
				return map[string]string{"appspec.yml": b.appspecOf("AfterInstall=p.sh") + "      runas: nobody-of-this-name\n", "p.sh": proofScript}
			},
			fails: "appspec.yml:8:17: AfterInstall: script p.sh run as nobody-of-this-name cannot be run: no such user",
		},
		{
			name: "H-39 runas user unknown, and a script before it may make one",
			files: func(b *bench) map[string]string {
				return map[string]string{"appspec.yml": b.appspecOf("BeforeInstall=p.sh", "AfterInstall=p.sh") + "      runas: nobody-of-this-name\n", "p.sh": proofScript}
			},
			tells: "create the user or correct runas in the appspec (unless p.sh",
		},
		{
			name: "interpreter missing, which may be installed", old: []string{"ApplicationStop=p.sh"},
			files: func(b *bench) map[string]string {
				return map[string]string{"appspec.yml": b.appspecOf("AfterInstall=s.sh"), "s.sh": "#!/opt/no/perl\n"}
			},
			tells: "script s.sh cannot be run: its interpreter /opt/no/perl does not exist", ran: stopped,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			b.put("old", map[string]string{"appspec.yml": b.appspecOf(tt.old...), "p.sh": proofScript, "content/f": "old"})
			b.deploy(b.spec("d-1", "old"), DownloadBundle, Install)
			if err := os.WriteFile(filepath.Join(b.site, "theirs"), []byte("theirs"), 0o644); err != nil {
				t.Fatal(err)
			}
			files := tt.files(b)
			files["content/f"] = "new"
			b.put("new", files)
			change := tt.spec
			if change == nil {
				change = func(map[string]any) {}
			}
			spec := b.spec("d-2", "new", change)
			r := b.do(ApplicationStop, spec)
			if tt.fails == "" && r.Code != Succeeded || tt.fails != "" && (r.Code != UnknownError || !strings.Contains(r.Message, tt.fails)) {
				t.Errorf("ApplicationStop = %+v, want a failure with %q", r, tt.fails)
			}
			if !strings.Contains(r.Log, tt.tells) {
				t.Errorf("the report says %q, want %q in it", r.Log, tt.tells)
			}
			if got := b.read("proof"); got != tt.ran {
				t.Errorf("scripts have run: %q, want %q", got, tt.ran)
			}
			if got := b.read("site/f"); got != "old" {
				t.Errorf("the installed file is %q", got)
			}
			if id, err := b.root.readPointer("g-1", mostRecent); err != nil || filepath.Base(id) != "d-1" {
				t.Errorf("the pointer names %q, %v: looking at a revision writes none", id, err)
			}
			if tt.fails != "" {
				return
			}
			before := b.store.count()
			if r := b.do(DownloadBundle, spec); r.Code != Succeeded || b.store.count() != before {
				t.Errorf("DownloadBundle = %+v after %d downloads, want the one that was made early", r, b.store.count()-before)
			}
			if _, err := os.Stat(b.Engine.root.own("prefetch", "d-2")); err == nil {
				t.Error("the prefetch folder is left")
			}
		})
	}
}

// Where nothing is looked at early: events that come later, hosts that are taken out of service, a switched-off preflight.
func TestNoPreflight(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Options)
		event  Event
		spec   func(map[string]any)
		want   int
	}{
		"ApplicationStop":                  {event: ApplicationStop, want: 1},
		"BeforeBlockTraffic in place":      {event: BeforeBlockTraffic, want: 1},
		"BeforeBlockTraffic of blue":       {event: BeforeBlockTraffic, spec: func(m map[string]any) { m["DeploymentType"] = "BLUE_GREEN" }},
		"AfterBlockTraffic":                {event: AfterBlockTraffic},
		"BeforeAllowTraffic":               {event: BeforeAllowTraffic},
		"switched off":                     {event: ApplicationStop, change: func(o *Options) { o.Settings.NoPreflight = true }},
		"host is taken out of service":     {event: ApplicationStop, change: func(o *Options) { o.Terminating = func(context.Context) bool { return true } }},
		"host is not taken out of service": {event: ApplicationStop, change: func(o *Options) { o.Terminating = func(context.Context) bool { return false } }, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, tt.change)
			b.put("new", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "new"})
			change := tt.spec
			if change == nil {
				change = func(map[string]any) {}
			}
			if r := b.do(tt.event, b.spec("d-1", "new", change)); r.Code != Succeeded {
				t.Errorf("%s = %+v", tt.event, r)
			}
			b.Close()
			if b.store.count() != tt.want {
				t.Errorf("%d downloads, want %d", b.store.count(), tt.want)
			}
		})
	}
}

// An event does not wait longer than it is told for a revision that is slow to arrive, and DownloadBundle takes up what is under way.
func TestSlowPrefetch(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Settings.PreflightWait = time.Millisecond })
	b.put("new", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "new"})
	b.store.hold = make(chan struct{})
	spec := b.spec("d-1", "new")
	if r := b.do(ApplicationStop, spec); r.Code != Succeeded || !strings.Contains(r.Log, "still on its way") {
		t.Errorf("ApplicationStop = %+v", r)
	}
	close(b.store.hold)
	b.deploy(spec, DownloadBundle, Install)
	if b.store.count() != 1 || b.read("site/f") != "new" {
		t.Errorf("%d downloads, file %q", b.store.count(), b.read("site/f"))
	}
}

// What was seen of a revision is told by the first event that knows it, and by none after that.
func TestRemarksAreToldOnce(t *testing.T) {
	const remark = "its scripts never run"
	b := newBench(t, func(o *Options) { o.Settings.PreflightWait = waitLong })
	b.put("new", map[string]string{"appspec.yml": b.appspecOf("BeoreInstall=p.sh"), "p.sh": proofScript, "content/f": "new"})
	spec := b.spec("d-1", "new")
	if r := b.do(BeforeBlockTraffic, spec); r.Code != Succeeded || !strings.Contains(r.Log, remark) {
		t.Errorf("BeforeBlockTraffic = %+v, want %q in it", r, remark)
	}
	for _, event := range []Event{AfterBlockTraffic, ApplicationStop} {
		if r := b.do(event, spec); r.Code != Succeeded || strings.Contains(r.Log, remark) {
			t.Errorf("%s = %+v, want nothing of %q", event, r, remark)
		}
	}
}

// A revision that cannot be fetched early is told, and fetched when its turn comes; one that is wrong in itself is not fetched twice.
func TestFailedPrefetch(t *testing.T) {
	b := newBench(t, nil)
	b.put("new", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "new"})
	b.store.fails = errors.New("connection refused")
	spec := b.spec("d-1", "new")
	if r := b.do(ApplicationStop, spec); r.Code != Succeeded || !strings.Contains(r.Log, "connection refused") {
		t.Errorf("ApplicationStop = %+v", r)
	}
	b.store.mu.Lock()
	b.store.fails = nil
	b.store.mu.Unlock()
	b.deploy(spec, DownloadBundle)

	b.store.fails = &bundle.ArchiveError{Entry: "../x", Problem: "climbs"}
	if r := b.do(ApplicationStop, b.spec("d-2", "hostile")); r.Code != UnknownError || !strings.Contains(r.Message, "nothing of the old one was touched") {
		t.Errorf("ApplicationStop with a hostile bundle = %+v", r)
	}
}

// The next process finds a revision that has arrived, and one that was cut off is fetched anew.
func TestPrefetchAfterRestart(t *testing.T) {
	b := newBench(t, nil)
	b.put("new", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "new"})
	b.put("another", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "another"})
	whole, cut := b.spec("d-1", "new"), b.spec("d-2", "another", func(m map[string]any) { m["DeploymentGroupId"] = "g-2" })
	b.deploy(whole, ApplicationStop)
	b.store.hold = make(chan struct{})
	b.Engine.Set(Settings{PreflightWait: time.Millisecond})
	b.deploy(cut, ApplicationStop)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b.store.hold = nil
	b.open(b.log, nil)
	before := b.store.count()
	b.deploy(whole, DownloadBundle, Install)
	if got := b.store.count() - before; got != 0 {
		t.Errorf("%d downloads of what had arrived", got)
	}
	b.deploy(cut, DownloadBundle)
	if got := b.store.count() - before; got != 1 {
		t.Errorf("%d downloads of what was cut off", got)
	}
}

// A deployment that never came to its DownloadBundle leaves nothing when the next one of its group begins.
func TestSupersededPrefetch(t *testing.T) {
	b := newBench(t, nil)
	b.put("new", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "new"})
	b.deploy(b.spec("d-1", "new"), ApplicationStop)
	b.deploy(b.spec("d-2", "new"), ApplicationStop)
	b.Close()
	if exists(b.root.own("prefetch", "d-1")) || !exists(b.root.own("prefetch", "d-2")) {
		t.Error("the folder of the deployment that is over is left, or that of the next one gone")
	}
}

// A broken or vanished old revision does not keep the next one from the host, and what fails names it and the way out.
func TestOldRevision(t *testing.T) {
	for _, tt := range []struct {
		name, policy string
		spoil        func(archive string) error
		code         Code
		says         string // in message or log
	}{
		{name: "archive gone", spoil: os.RemoveAll},
		{name: "archive gone, run", policy: "run", spoil: os.RemoveAll, code: UnknownError, says: "skip-if-missing"},
		{name: "appspec gone", spoil: func(a string) error { return os.Remove(filepath.Join(a, "appspec.yml")) }},
		{name: "appspec gone, run", policy: "run", spoil: func(a string) error { return os.Remove(filepath.Join(a, "appspec.yml")) }, code: UnknownError, says: "old_revision_hooks: skip"},
		{name: "appspec broken", spoil: func(a string) error {
			return os.WriteFile(filepath.Join(a, "appspec.yml"), []byte("version: 1\n"), 0o644)
		}, code: UnknownError, says: "d-1, not of the one being deployed; old_revision_hooks: skip"},
		{name: "appspec broken, skip", policy: "skip", spoil: func(a string) error {
			return os.WriteFile(filepath.Join(a, "appspec.yml"), []byte("version: 1\n"), 0o644)
		}},
		{name: "script gone", spoil: func(a string) error { return os.Remove(filepath.Join(a, "p.sh")) }, says: "p.sh is gone and was skipped"},
		{name: "script gone, run", policy: "run", spoil: func(a string) error { return os.Remove(filepath.Join(a, "p.sh")) }, code: ScriptMissing, says: "old_revision_hooks: skip"},
		{name: "script fails", spoil: func(a string) error {
			return os.WriteFile(filepath.Join(a, "p.sh"), []byte("#!/bin/sh\nexit 3\n"), 0o755)
		}, code: ScriptFailed, says: "d-1, not of the one being deployed; old_revision_hooks: skip"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, func(o *Options) { o.Settings.OldRevision = tt.policy })
			b.put("old", map[string]string{"appspec.yml": b.appspecOf("ApplicationStop=p.sh"), "p.sh": proofScript, "content/f": "old"})
			b.deploy(b.spec("d-1", "old"), DownloadBundle, Install)
			if err := tt.spoil(filepath.Join(b.dir, "root", "g-1", "d-1", "deployment-archive")); err != nil {
				t.Fatal(err)
			}
			b.put("new", map[string]string{"appspec.yml": b.appspecOf(), "content/f": "new"})
			r := b.do(ApplicationStop, b.spec("d-2", "new"))
			if r.Code != tt.code || !strings.Contains(r.Message+r.Log, tt.says) {
				t.Errorf("ApplicationStop = %+v, want code %d and %q", r, tt.code, tt.says)
			}
		})
	}
}

// A runas user who may not get to the deployment root is told before the old version is stopped, with the folder that is in the way; the folders
// of the root itself let everybody through.
func TestRunAsMustReachItsScript(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: switches users")
	}
	for _, mode := range []os.FileMode{0o755, 0o711, 0o700} {
		b := newBench(t, nil)
		b.put("old", map[string]string{"appspec.yml": b.appspecOf("ApplicationStop=p.sh"), "p.sh": proofScript, "content/f": "old"})
		b.put("new", map[string]string{
			"appspec.yml": b.appspecOf("AfterInstall=scripts/who.sh") + "      runas: nobody\n", "content/f": "new",
			"scripts/who.sh": "#!/bin/sh\n[ \"$(id -un)\" = nobody ] && [ \"$(pwd)\" = / ] && cd \"${0%/*}\" && echo \"$HOME $USER\"\n",
		})
		b.deploy(b.spec("d-1", "old"), DownloadBundle, Install)
		for dir, m := range map[string]os.FileMode{filepath.Dir(b.dir): 0o755, b.dir: 0o755, filepath.Join(b.dir, "root"): mode} {
			if err := os.Chmod(dir, m); err != nil {
				t.Fatal(err)
			}
		}
		spec := b.spec("d-2", "new")
		r := b.do(ApplicationStop, spec)
		if mode&0o1 == 0 {
			// The old ApplicationStop could mend it, so it is told; without one it would fail.
			want := "AfterInstall: script scripts/who.sh run as nobody cannot be run: nobody may not enter directory " + filepath.Join(b.dir, "root") + " (mode 0700, owner 0:0); give it the x permission there (unless p.sh"
			if r.Code != Succeeded || !strings.Contains(r.Log, want) {
				t.Errorf("mode %o: %+v, want one that tells %q", mode, r, want)
			}
			b.deploy(spec, DownloadBundle, Install)
			if r := b.do(AfterInstall, spec); r.Code != ScriptFailed || !strings.Contains(r.Message, "nobody may not enter directory") {
				t.Errorf("mode %o: %+v", mode, r)
			}
			continue
		}
		if r.Code != Succeeded || strings.Contains(r.Log, "nobody") {
			t.Errorf("mode %o: %+v", mode, r)
		}
		b.deploy(spec, DownloadBundle, Install, AfterInstall)
	}
}

// A file with variables that is missing fails the deployment before anything is touched.
func TestPreflightEnvFile(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Settings.EnvFile = "/no/such/{group}.env" })
	b.put("new", map[string]string{"appspec.yml": b.appspecOf("AfterInstall=p.sh"), "p.sh": proofScript, "content/f": "new"})
	r := b.do(ApplicationStop, b.spec("d-1", "new"))
	if r.Code != UnknownError || !strings.Contains(r.Message, "nothing of the old one was touched: AfterInstall cannot run p.sh: /no/such/fleet.env with the variables") {
		t.Errorf("%+v", r)
	}
}

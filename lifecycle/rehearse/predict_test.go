package rehearse

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"slipway/lifecycle"
	"slipway/lifecycle/appspec"
	"slipway/lifecycle/install"
)

// rehearsal is a host, its copy, which is mounted over it, and an installation that is planned on the one and done in the other.
type rehearsal struct {
	*overlay
	host, archive string
	expected      []Expected
	request       install.Request
}

// newRehearsal installs the bundle v1 on a host, plans v2, and puts the copy over the host.
func newRehearsal(t *testing.T, behavior string, v1, v2 map[string]string, permissions ...appspec.Permission) *rehearsal {
	t.Helper()
	dir, err := os.MkdirTemp("", "layers")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, unix.Mount("layers", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	at := func(name string) string { return filepath.Join(dir, name) }
	r := &rehearsal{host: at("host"), archive: at("archive")}
	for _, sub := range []string{"host/data", "archive", "upper", "work", "lower", "root"} {
		must(t, os.MkdirAll(at(sub), 0o755))
	}
	must(t, os.Symlink("data", at("host/srv"))) // the appspec names a way that leads over a link
	r.request = install.Request{
		Archive: r.archive, Root: at("root"), Group: "group", Deployment: "d-1", Behavior: behavior,
		Spec: &appspec.Spec{Name: "appspec.yml", Files: []appspec.File{{Source: "app", Destination: at("host/srv/app")}}, Permissions: permissions},
	}
	for i := range r.request.Spec.Permissions {
		r.request.Spec.Permissions[i].Object = at("host/srv/app")
	}
	r.bundle(t, v1)
	r.install(t)
	write(t, at("host/data/app/foreign"), "not ours\n")
	r.bundle(t, v2)
	r.request.Deployment = "d-2"
	plan, err := install.Make(t.Context(), r.request)
	must(t, err)
	expected, err := Expect(t.Context(), &lifecycle.Preview{Plan: plan})
	must(t, err)
	sent, err := json.Marshal(expected) // as from one process to another
	must(t, err, json.Unmarshal(sent, &r.expected))

	must(t, unix.Mount(r.host, at("lower"), "", unix.MS_BIND, ""))
	must(t, unix.Mount("overlay", r.host, "overlay", 0, "lowerdir="+r.host+",upperdir="+at("upper")+",workdir="+at("work")+",redirect_dir=off,metacopy=off"))
	t.Cleanup(func() { must(t, unix.Unmount(r.host, unix.MNT_DETACH), unix.Unmount(at("lower"), unix.MNT_DETACH)) })
	r.overlay = &overlay{t: t, dir: dir, Layer: Layer{Upper: at("upper"), Lower: at("lower"), At: r.host}, root: r.host}
	r.s = NewScanner([]Layer{r.Layer}, nil)
	r.mark(lifecycle.ApplicationStop, false)
	return r
}

// bundle replaces the unpacked bundle.
func (r *rehearsal) bundle(t *testing.T, files map[string]string) {
	t.Helper()
	must(t, os.RemoveAll(r.archive))
	for name, content := range files {
		name = filepath.Join(r.archive, "app", name)
		if link, ok := strings.CutPrefix(content, "-> "); ok {
			must(t, os.MkdirAll(filepath.Dir(name), 0o755), os.Symlink(link, name))
			continue
		}
		write(t, name, content)
	}
}

// install installs as the engine does: by a plan of its own.
func (r *rehearsal) install(t *testing.T) {
	t.Helper()
	plan, err := install.Make(t.Context(), r.request)
	must(t, err)
	_, err = plan.Apply(t.Context())
	must(t, err)
}

var (
	oldBundle = map[string]string{"index.php": "one\n", "same": "same\n", "old/gone": "x\n", "link": "-> index.php", "turned": "file\n"}
	newBundle = map[string]string{"index.php": "two\n", "same": "same\n", "new/file": "y\n", "link": "-> same", "turned/into": "folder\n"}
)

// Install does what the plan has said, and what scripts do before and after is theirs.
func TestCompare(t *testing.T) {
	if !inside(t, false) {
		return
	}
	for name, test := range map[string]struct {
		before, after func(app func(string) string) error // of BeforeInstall and AfterInstall
		asked         bool                                // after Install already
		want          lifecycle.Prediction
	}{
		"nothing": {want: lifecycle.Prediction{Planned: 9, Met: 9}},
		"a script writes beside": {
			after: func(app func(string) string) error {
				return errors.Join(os.WriteFile(app("cache"), nil, 0o600), os.MkdirAll(app("log/x"), 0o700))
			},
			want: lifecycle.Prediction{Planned: 9, Met: 9, Hooks: 3},
		},
		"a script changes what was installed": {
			after: func(app func(string) string) error {
				return errors.Join(os.WriteFile(app("index.php"), []byte("TWO\n"), 0o644), os.Chmod(app("same"), 0o600), os.Remove(app("new/file")), os.Chown(app("link"), 0, 0))
			},
			want: lifecycle.Prediction{Planned: 9, Met: 6, Hooks: 2, Overridden: []string{
				"app/index.php: its content is not that of the bundle", "app/new/file: it is not there, and was planned as a file", "app/same: its mode is 0600, planned was 0644",
			}},
		},
		"a script removes all beforehand": { // and Install puts it back
			before: func(app func(string) string) error { return os.RemoveAll(app("")) },
			want:   lifecycle.Prediction{Planned: 9, Met: 9, Hooks: 3}, // what nobody puts back
		},
		"a script makes the folder another": {
			before: func(app func(string) string) error {
				return errors.Join(os.RemoveAll(app("")), os.Mkdir(app(""), 0o755), os.Chown(app(""), 0, 33), os.Chmod(app(""), 0o755|os.ModeSetgid),
					os.WriteFile(app("theirs"), nil, 0o644)) // or the folder would be made again
			},
			want: lifecycle.Prediction{Planned: 9, Met: 6, Hooks: 5, Overridden: []string{
				"app/link: its owner is 0:33, planned was 0:0",
				"app/new: its mode is 2755, planned was 0755; its owner is 0:33, planned was 0:0",
				"app/turned: its mode is 2755, planned was 0755; its owner is 0:33, planned was 0:0",
			}},
		},
		"a script changes what Install had done": {
			asked: true,
			after: func(app func(string) string) error { return os.Chown(app("new"), 33, 33) },
			want:  lifecycle.Prediction{Planned: 9, Met: 9, Hooks: 1, Overridden: []string{"app/new: its owner is 33:33, planned was 0:0"}},
		},
		"a script removes what was installed as a folder": {
			after: func(app func(string) string) error { return os.RemoveAll(app("new")) },
			want:  lifecycle.Prediction{Planned: 9, Met: 7, Overridden: []string{"app/new/file: it is not there, and was planned as a file", "app/new: it is not there, and was planned as a directory"}},
		},
		"a script puts a link in place of a folder": {
			asked: true,
			after: func(app func(string) string) error {
				return errors.Join(os.Rename(app("new"), app("moved")), os.Symlink("moved", app("new")))
			},
			want: lifecycle.Prediction{Planned: 9, Met: 9, Hooks: 3, Overridden: []string{"app/new/file: it is not there, and was planned as a file", "app/new: it is a link, and was planned as a directory"}},
		},
		"a script puts a file in place of a folder": {
			asked: true,
			after: func(app func(string) string) error {
				return errors.Join(os.RemoveAll(app("new")), os.WriteFile(app("new"), nil, 0o644))
			},
			want: lifecycle.Prediction{Planned: 9, Met: 9, Hooks: 1, Overridden: []string{"app/new/file: it is not there, and was planned as a file", "app/new: it is a file, and was planned as a directory"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRehearsal(t, "", oldBundle, newBundle)
			app := func(name string) string { return filepath.Join(r.host, "data/app", name) }
			if test.before != nil {
				must(t, test.before(app))
			}
			r.mark(lifecycle.BeforeInstall, true)
			r.install(t)
			r.mark(lifecycle.Install, false)
			if test.asked {
				_, err := r.s.Compare(t.Context(), r.expected)
				must(t, err)
			}
			if test.after != nil {
				must(t, test.after(app))
			}
			r.mark(lifecycle.AfterInstall, true)
			got, err := r.s.Compare(t.Context(), r.expected)
			must(t, err)
			for i := range got.Overridden {
				got.Overridden[i] = strings.TrimPrefix(got.Overridden[i], r.host+"/data/")
			}
			if diff := cmp.Diff(test.want, *got, cmp.Transformer("sorted", sorted)); diff != "" {
				t.Errorf("Compare() (-want +got):\n%s\n%s", diff, strings.Join(r.changes(ChangesOptions{}), "\n"))
			}
		})
	}
}

// A mistake of ours is told: what Install has not done, has done otherwise, or beyond what was said.
func TestCompareFindsMistakes(t *testing.T) {
	if !inside(t, false) {
		return
	}
	r := newRehearsal(t, "", oldBundle, newBundle)
	app := func(name string) string { return filepath.Join(r.host, "data/app", name) }
	write(t, filepath.Join(r.host, "data/app/foreign2"), "by a script, in the folder of the rest")
	r.mark(lifecycle.BeforeInstall, true)
	r.install(t)
	write(t, app("index.php"), "TWO\n")
	write(t, app("extra"), "x")
	must(t, os.Chmod(app("new"), 0o700), os.Remove(app("link")), os.Symlink("elsewhere", app("link")))
	must(t, os.RemoveAll(app("turned")), os.WriteFile(app("turned"), nil, 0o644), os.MkdirAll(app("old"), 0o755), os.Lchown(app("same"), 33, 33), os.Chmod(app("foreign"), 0o600))
	r.mark(lifecycle.Install, false)
	got, err := r.s.Compare(t.Context(), r.expected)
	must(t, err)
	for _, list := range [][]string{got.Missed, got.Unplanned} {
		for i := range list {
			list[i] = strings.TrimPrefix(list[i], r.host+"/data/app/")
		}
	}
	want := &lifecycle.Prediction{
		Planned: 9, Met: 2, Hooks: 1,
		Missed: []string{
			"index.php: its content is not that of the bundle",
			"link: it leads to elsewhere, planned was same",
			"new: its mode is 0700, planned was 0755",
			"same: its owner is 33:33, planned was 0:0",
			"turned: it is a file, and was planned as a directory",
			"turned/into: it is not there, and was planned as a file",
			"old: it is still there, and was to go",
		},
		Unplanned: []string{"extra: added (file)", "foreign: changed (mode)"},
	}
	if diff := cmp.Diff(want, got, cmp.Transformer("sorted", sorted)); diff != "" {
		t.Errorf("Compare() (-want +got):\n%s", diff)
	}
}

func sorted(list []string) map[string]bool {
	set := map[string]bool{}
	for _, line := range list {
		set[line] = true
	}
	return set
}

func TestForeseen(t *testing.T) {
	t.Parallel()
	problem := func(ev lifecycle.Event, code lifecycle.Code, unless string) lifecycle.Problem {
		return lifecycle.Problem{Event: ev, Code: code, Unless: unless, Err: errors.New("because")}
	}
	done := lifecycle.EventAccount{Event: lifecycle.BeforeInstall, Outcome: "succeeded"}
	failed := func(ev lifecycle.Event, code lifecycle.Code) []lifecycle.EventAccount {
		return []lifecycle.EventAccount{done, {Event: ev, Outcome: "failed", Code: code, Message: "it broke"}}
	}
	for name, test := range map[string]struct {
		problems []lifecycle.Problem
		events   []lifecycle.EventAccount
		want     string
	}{
		"all well":              {nil, []lifecycle.EventAccount{done}, ""},
		"as foreseen":           {[]lifecycle.Problem{problem(lifecycle.Install, 5, "")}, failed(lifecycle.Install, 5), ""},
		"another code":          {[]lifecycle.Problem{problem(lifecycle.Install, 5, "")}, failed(lifecycle.Install, 7), "Install was foreseen to fail with code 5 (because), and failed with code 7: it broke"},
		"not as foreseen":       {[]lifecycle.Problem{problem(lifecycle.Install, 5, "")}, []lifecycle.EventAccount{done}, "Install was foreseen to fail (because), and nothing did"},
		"earlier":               {[]lifecycle.Problem{problem(lifecycle.Install, 5, "")}, failed(lifecycle.BeforeInstall, 4), "Install was foreseen to fail (because), and BeforeInstall did: it broke"},
		"put right":             {[]lifecycle.Problem{problem(lifecycle.Install, 5, "a.sh")}, []lifecycle.EventAccount{done}, ""},
		"not put right":         {[]lifecycle.Problem{problem(lifecycle.Install, 5, "a.sh")}, failed(lifecycle.Install, 5), ""},
		"a script fails":        {nil, failed(lifecycle.AfterInstall, lifecycle.ScriptFailed), "no failure was foreseen, and AfterInstall failed: it broke; what a script does in its run no plan can foresee"},
		"a mistake of ours":     {nil, failed(lifecycle.Install, 5), "no failure was foreseen, and Install failed: it broke"},
		"early, in its place":   {[]lifecycle.Problem{problem(lifecycle.ApplicationStop, 5, "")}, failed(lifecycle.ApplicationStop, 5), ""},
		"only the first counts": {[]lifecycle.Problem{problem(lifecycle.Install, 5, ""), problem(lifecycle.AfterInstall, 1, "")}, failed(lifecycle.Install, 5), ""},
	} {
		if diff := cmp.Diff(test.want, Foreseen(&lifecycle.Preview{Problems: test.problems}, test.events)); diff != "" {
			t.Errorf("%s: Foreseen() (-want +got):\n%s", name, diff)
		}
	}
}

// Many paths are named in part.
func TestShortened(t *testing.T) {
	t.Parallel()
	list := make([]string, maxNamed+7)
	if got := shortened(list); len(got) != maxNamed+1 || got[maxNamed] != "and 7 more" {
		t.Errorf("%d lines, the last is %q", len(got), got[len(got)-1])
	}
	if got := shortened(list[:maxNamed]); len(got) != maxNamed {
		t.Errorf("%d lines, want %d", len(got), maxNamed)
	}
}

func TestExpectWithoutPlan(t *testing.T) {
	t.Parallel()
	if got, err := Expect(t.Context(), &lifecycle.Preview{}); got != nil || err != nil {
		t.Errorf("Expect() = %v, %v", got, err)
	}
}

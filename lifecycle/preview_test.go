package lifecycle

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"slipway/lifecycle/bundle"
	"slipway/lifecycle/install"
)

// path is what a path of the host is, times apart.
type path struct {
	Mode     fs.FileMode
	UID, GID uint32
	Text     string // content, or what a link leads to
	ino      uint64
}

// pathsBelow describes a tree; nothing, if there is none.
func pathsBelow(t testing.TB, dir string) map[string]path {
	t.Helper()
	all := map[string]path{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		p := path{Mode: info.Mode(), UID: st.Uid, GID: st.Gid, ino: st.Ino}
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			p.Text, err = os.Readlink(name)
		case d.Type().IsRegular():
			var data []byte
			data, err = os.ReadFile(name)
			p.Text = string(data)
		}
		all[name] = p
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return all
}

// samePaths compares two descriptions.
func samePaths(want, got map[string]path) string {
	return cmp.Diff(want, got, cmp.Comparer(func(a, b path) bool {
		return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Text == b.Text
	}))
}

// member is one file or link of a drawn bundle: its text begins with "-> " for a link.
type member struct {
	text string
	mode fs.FileMode
}

// zippedMembers is a bundle whose times never change.
func zippedMembers(t testing.TB, members map[string]member) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		m := members[name]
		h := &zip.FileHeader{Name: name, Method: zip.Store, Modified: time.Date(2025, 1, 2, 3, 4, 6, 0, time.UTC)}
		text, link := strings.CutPrefix(m.text, "-> ")
		h.SetMode(m.mode)
		if link {
			h.SetMode(fs.ModeSymlink | 0o777)
		}
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = f.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// drawMembers draws a tree from few names, so that two of them collide in every way.
func drawMembers(rt *rapid.T, label string) map[string]member {
	tree, isDir := map[string]member{}, map[string]bool{}
	names := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "a/a", "a/b", "b/a", "b/b/c", "a/b/c", "c", "c/a"}), 0, 7).Draw(rt, label)
	for i, name := range names {
		clash := isDir[name]
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			_, file := tree[dir]
			clash = clash || file
		}
		if clash {
			continue
		}
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			isDir[dir] = true
		}
		tree[name] = member{
			rapid.SampledFrom([]string{label, "same", "-> nowhere"}).Draw(rt, fmt.Sprint(label, i)),
			rapid.SampledFrom([]fs.FileMode{0o644, 0o755, 0o600}).Draw(rt, fmt.Sprint(label, "mode", i)),
		}
	}
	return tree
}

// drawAppSpec draws what goes where, and who may what there.
func drawAppSpec(rt *rapid.T, site string, lists bool) string {
	text := "version: 0.0\nos: linux\nfiles:\n"
	for i, dst := range rapid.SampledFrom([][]string{{"app"}, {"app"}, {"app"}, {"app", "other"}, {"."}, {"app/in"}, {"app", "app"}}).Draw(rt, "destinations") {
		src := rapid.SampledFrom([]string{"content", "content", "content", "content", "content", "content/a"}).Draw(rt, fmt.Sprint("source", i))
		text += fmt.Sprintf("  - source: %s\n    destination: %s\n", src, filepath.Join(site, dst))
	}
	if b := rapid.SampledFrom([]string{"", "OVERWRITE", "OVERWRITE", "RETAIN"}).Draw(rt, "behavior"); b != "" {
		text += "file_exists_behavior: " + b + "\n"
	}
	if rapid.Bool().Draw(rt, "permissions") {
		text += fmt.Sprintf("permissions:\n  - object: %s\n    pattern: %q\n    mode: '%s'\n", filepath.Join(site, "app"),
			rapid.SampledFrom([]string{"**", "a", "*"}).Draw(rt, "pattern"), rapid.SampledFrom([]string{"640", "755", "2750"}).Draw(rt, "mode"))
		if os.Geteuid() == 0 && rapid.Bool().Draw(rt, "owned") {
			text += "    owner: nobody\n"
		}
		if rapid.Bool().Draw(rt, "files only") {
			text += "    type: [file]\n"
		}
		if lists && rapid.Bool().Draw(rt, "list") {
			text += "    acls: ['u:nobody:rwx', 'm:5']\n"
		}
	}
	return text
}

// previewed looks at a stored revision.
func (b *bench) previewed(spec []byte, list ...Event) *Preview {
	b.t.Helper()
	d, err := ParseDeployment(spec)
	if err != nil {
		b.t.Fatal(err)
	}
	dir := b.t.TempDir()
	file, err := os.Create(filepath.Join(dir, "bundle"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer file.Close()
	archive := filepath.Join(dir, "archive")
	if err := os.Mkdir(archive, 0o755); err != nil {
		b.t.Fatal(err)
	}
	to, err := os.OpenRoot(archive)
	if err != nil {
		b.t.Fatal(err)
	}
	defer to.Close()
	if _, _, err := b.store.Bring(b.t.Context(), d.Revision, file, to, bundle.Limits{}); err != nil {
		b.t.Fatal(err)
	}
	o := b.opts
	o.ReadOnly = true
	e, err := Open(b.t.Context(), o)
	if err != nil {
		b.t.Fatal(err)
	}
	p, err := e.Preview(b.t.Context(), d, list, archive)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// What a preview says is what the deployment then does: every path, its content, mode and owner, and no other path; or the same refusal,
// and nothing at all.
func TestPreviewIsWhatHappens(t *testing.T) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // what is synced there costs nothing
	}
	// Where the file system has access control lists, they change the mode.
	probe := filepath.Join(t.TempDir(), "probe")
	lists := os.WriteFile(probe, nil, 0o644) == nil && syscall.Setxattr(probe, "system.posix_acl_access", []byte("\x02\x00\x00\x00"), 0) != syscall.ENOTSUP
	t.Logf("with access control lists: %v", lists)
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, nil)
		defer b.Close()
		store := func(key string) {
			members := map[string]member{"appspec.yml": {drawAppSpec(rt, b.site, lists), 0o644}, "content/": {"", 0o755}}
			for name, m := range drawMembers(rt, key) {
				members["content/"+name] = m
			}
			b.store.zips[key] = zippedMembers(t, members)
		}
		store("old")
		if rapid.SampledFrom([]bool{true, true, false}).Draw(rt, "has been deployed") {
			b.do(DownloadBundle, b.spec("d-1", "old"))
			b.do(Install, b.spec("d-1", "old"))
		}
		if err := os.MkdirAll(b.site, 0o755); err != nil {
			t.Fatal(err)
		}
		for i, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"app/a", "app/b", "a", "other/a", "app/own", "app/a/a"}), 0, 3).Draw(rt, "by hand") {
			file := filepath.Join(b.site, name)
			if os.MkdirAll(filepath.Dir(file), 0o755) == nil { // else a file is in the way, and nothing is changed
				os.WriteFile(file, []byte(rapid.SampledFrom([]string{"hand", "same", "new"}).Draw(rt, fmt.Sprint("hand", i))), 0o644) //nolint:errcheck // it may be a folder
			}
		}
		key := rapid.SampledFrom([]string{"new", "old"}).Draw(rt, "revision")
		if key == "new" {
			store("new")
		}
		before, whole := pathsBelow(t, b.site), pathsBelow(t, b.dir)
		p := b.previewed(b.spec("d-2", key), DownloadBundle, Install)
		if diff := samePaths(whole, pathsBelow(t, b.dir)); diff != "" {
			rt.Fatalf("the preview has changed the host (-before +after):\n%s", diff)
		}
		want := maps.Clone(before)
		if len(p.Problems) == 0 {
			carryOut(rt, want, p)
		}
		r := b.do(DownloadBundle, b.spec("d-2", key))
		if r.Code == Succeeded {
			r = b.do(Install, b.spec("d-2", key))
		}
		after := pathsBelow(t, b.site)
		if diff := samePaths(want, after); diff != "" {
			rt.Fatalf("%+v, %+v: the tree is another than was foreseen (-foreseen +is):\n%s", p.Problems, r, diff)
		}
		if (r.Code == Succeeded) != (len(p.Problems) == 0) {
			rt.Fatalf("the preview foresaw %+v, the result is %+v", p.Problems, r)
		}
		if r.Code != Succeeded {
			foreseen := strings.ReplaceAll(p.Problems[0].Err.Error(), p.Archive, filepath.Join(b.dir, "root", "g-1", "d-2", archiveFolder))
			if len(p.Problems) != 1 || foreseen != r.Message || p.Problems[0].Event != Install || p.Problems[0].Code != r.Code {
				rt.Fatalf("the preview foresaw %+v, the result is %+v", p.Problems, r)
			}
			return
		}
		changes, _ := changesOf(rt, p)
		for _, c := range changes {
			if c.Kind == install.Same && !c.After.IsDir() && before[c.Path].ino != after[c.Path].ino {
				rt.Fatalf("%s was foreseen to stay as it is, and was written anew", c.Path)
			}
		}
		settled(rt, b.previewed(b.spec("d-3", key), DownloadBundle, Install))
	})
}

// settled says that once more of the same would change nothing, lists included.
func settled(rt *rapid.T, p *Preview) {
	if len(p.Problems) > 0 {
		rt.Fatalf("the same once more: %+v", p.Problems)
	}
	changes, _ := changesOf(rt, p)
	for _, c := range changes {
		if c.After.IsDir() {
			// A folder that was made in one that passed its group on until then has that from it, and loses it now.
			c.Before.Mode, c.Before.GID = c.Before.Mode&^syscall.S_ISGID|c.After.Mode&syscall.S_ISGID, c.After.GID
		}
		if c.Kind != install.Same && c.Kind != install.Rewritten && c.Kind != install.Kept || c.Kind != install.Kept && c.Before.Attributes(c.After) {
			rt.Fatalf("the same once more: %+v", c)
		}
	}
}

func changesOf(rt *rapid.T, p *Preview) ([]install.Change, error) {
	all, err := p.Plan.Changes(rt.Context())
	if err != nil {
		rt.Fatal(err)
	}
	return slices.Collect(all), nil
}

// carryOut does to the description of a tree what a preview says.
func carryOut(rt *rapid.T, tree map[string]path, p *Preview) {
	changes, _ := changesOf(rt, p)
	was := maps.Clone(tree)
	for _, c := range changes { // what goes makes room
		if c.Kind == install.Gone || c.Kind == install.Replaced {
			delete(tree, c.Path)
		}
	}
	for _, c := range changes {
		now, there := was[c.Path]
		switch c.Kind {
		case install.Added:
			if there {
				rt.Fatalf("%s is to be added, and is there", c.Path)
			}
		case install.Gone:
			if !there {
				rt.Fatalf("%s is to go, and is not there", c.Path)
			}
			continue
		case install.Kept:
			if !there {
				rt.Fatalf("%s is to be kept, and is not there", c.Path)
			}
			continue
		default:
			if !there {
				rt.Fatalf("%s is to be changed (%s), and is not there", c.Path, c.Kind)
			}
		}
		if c.Kind == install.Same || c.Kind == install.Rewritten {
			got := stateOf(now)
			if got.List = c.Before.List; c.Before.Attributes(got) {
				rt.Fatalf("%s is %+v, and was said to be %+v", c.Path, got, c.Before)
			}
		}
		tree[c.Path] = pathOf(rt, c, now)
	}
}

func stateOf(p path) install.State {
	mode := uint32(p.Mode.Perm())
	for bit, flag := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if p.Mode&bit != 0 {
			mode |= flag
		}
	}
	switch {
	case p.Mode.IsDir():
		mode |= syscall.S_IFDIR
	case p.Mode&fs.ModeSymlink != 0:
		mode |= syscall.S_IFLNK
	default:
		mode |= syscall.S_IFREG
	}
	return install.State{Mode: mode, UID: p.UID, GID: p.GID}
}

// pathOf is what a path is after a change, its content taken from the bundle.
func pathOf(rt *rapid.T, c install.Change, now path) path {
	p := path{Mode: fs.FileMode(c.After.Mode & 0o777), UID: c.After.UID, GID: c.After.GID, Text: c.After.Link}
	if c.After.Mode&syscall.S_ISGID != 0 {
		p.Mode |= fs.ModeSetgid
	}
	switch {
	case c.After.IsDir():
		p.Mode |= fs.ModeDir
	case c.After.IsLink():
		p.Mode |= fs.ModeSymlink
	case c.Kind == install.Same || c.Kind == install.Rewritten:
		p.Text = now.Text
	default:
		data, err := os.ReadFile(c.Source)
		if err != nil || int64(len(data)) != c.Bytes {
			rt.Fatalf("%s: %d bytes were foreseen, the bundle has %d: %v", c.Path, c.Bytes, len(data), err)
		}
		p.Text = string(data)
	}
	return p
}

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

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

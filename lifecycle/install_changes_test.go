package lifecycle

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle/install"
)

// putTree stores a revision whose files keep their time; text that begins with "-> " makes a link, and a name may end in its mode: "f 0600".
func (b *bench) putTree(key string, files map[string]string) {
	b.t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text, mode := files[name], fs.FileMode(0o644)
		name, perm, _ := strings.Cut(name, " ")
		if perm != "" {
			if _, err := fmt.Sscanf(perm, "%o", &mode); err != nil {
				b.t.Fatal(err)
			}
		}
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			text, mode = to, fs.ModeSymlink|0o777
		}
		h := &zip.FileHeader{Name: name, Modified: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = f.Write([]byte(text))
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.store.mu.Lock()
	b.store.zips[key] = buf.Bytes()
	b.store.mu.Unlock()
}

// content puts the appspec beside files of the folder content.
func (b *bench) content(files map[string]string) map[string]string {
	all := map[string]string{"appspec.yml": b.appspecOf()}
	for name, text := range files {
		all["content/"+name] = text
	}
	return all
}

// installRevision downloads and installs a revision.
func (b *bench) installRevision(id string, files map[string]string) *Account {
	b.t.Helper()
	b.putTree(id, b.content(files))
	b.deploy(b.spec(id, id), DownloadBundle, Install)
	return b.accountOf(id, AccountOptions{})
}

// told are the changed paths, below the site, without owners.
func (b *bench) told(a *Account) (list []string) {
	me := fmt.Sprint(noterOf().owner(uint32(os.Geteuid()), uint32(os.Getegid())))
	for _, f := range a.Files {
		line := fmt.Sprintf("%s %s %s %v: %s => %s", f.Kind, f.Type, strings.TrimPrefix(f.Path, b.site), f.What, f.Was, f.Is)
		if f.Aside {
			line += " aside"
		}
		if f.By != Install || f.ByHook {
			line += " by another"
		}
		if _, hunk, ok := strings.Cut(f.Diff, "@@\n"); ok {
			line += " " + strings.ReplaceAll(strings.TrimSpace(hunk), "\n", "|")
		}
		list = append(list, strings.ReplaceAll(line, " "+me, ""))
	}
	return list
}

func noterOf() *noter {
	return &noter{redact: func(text string) string { return text }, owners: map[[2]uint32]string{}}
}

// records are the files below .slipway/changes.
func (b *bench) records() (list []string) {
	b.t.Helper()
	names, err := filepath.Glob(b.root.own("changes", "*", "*"))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, name := range names {
		list = append(list, filepath.Base(name))
	}
	return list
}

// What Install makes of paths of every kind is told with the deployment, and nothing of those that stay as they are.
func TestInstallChanges(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *Options) { o.Secrets = func() []string { return []string{"opensesame"} } })
	a := b.installRevision("d-1", map[string]string{
		"same.txt": "same\n", "text.conf": "a\npassword=hunter2hunter2\nb\n", "bin": "a\x00b", "mode": "m", "modeled.txt 0644": "x\n", "owner": "o", "gone/file": "g",
		"link": "-> text.conf", "becomes": "-> bin", "hand.txt": "one\n", ".env": "A=1\n", "own.txt 0600": "secret\n", "key.txt": "-----BEGIN PRIVATE KEY-----\n",
		"code.txt": "x opensesame\n", "touched.txt": "t\n",
	})
	if !a.FilesRecorded || a.FilesOmitted != 0 || len(a.Files) != 17 || slices.ContainsFunc(a.Files, func(f FileChange) bool { return f.Kind != FileAdded || f.Diff != "" }) {
		t.Errorf("the first deployment: %+v", a.Files)
	}
	if info, err := os.Stat(b.root.changesFile(a.Group, "d-1")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the record: %v, %v", info, err)
	}
	for name, text := range map[string]string{"hand.txt": "by hand\n", "touched.txt": "t\n"} {
		if err := os.WriteFile(filepath.Join(b.site, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	err := os.Chmod(filepath.Join(b.site, "mode"), 0o600)
	want := []string{
		"added directory /new []:  => 0755", "added file /new/file []:  => 0644 1 bytes",
		"changed file /.env [content]: 0644 4 bytes => 0644 5 bytes",
		"changed file /becomes [type]: link -> bin => file 0644 5 bytes",
		"changed file /bin [content]: 0644 3 bytes => 0644 3 bytes",
		"changed file /code.txt [content]: 0644 13 bytes => 0644 15 bytes -x [redacted]|+xyz [redacted]",
		"changed file /hand.txt [content]: 0644 8 bytes => 0644 4 bytes aside -by hand|+two",
		"changed file /key.txt [content]: 0644 28 bytes => 0644 28 bytes",
		"changed file /mode [mode]: 0600 1 bytes => 0644 1 bytes",
		"changed file /modeled.txt [mode]: 0644 2 bytes => 0755 2 bytes",
		"changed file /own.txt [content mode]: 0600 7 bytes => 0644 6 bytes",
		"changed file /text.conf [content]: 0644 28 bytes => 0644 28 bytes a| password=[redacted]|-b|+c",
		"changed link /link [link]: -> text.conf => -> new/file",
		"removed directory /gone []: 0755 =>", "removed file /gone/file []: 0644 1 bytes =>",
	}
	if os.Geteuid() == 0 { // nobody else can give a file away
		err = errors.Join(err, os.Chown(filepath.Join(b.site, "owner"), 54321, 54321))
		want = append(want, "changed file /owner [owner]: 0644 54321:54321 1 bytes => 0644 1 bytes")
	}
	if err != nil {
		t.Fatal(err)
	}
	a = b.installRevision("d-2", map[string]string{
		"same.txt": "same\n", "text.conf": "a\npassword=hunter2hunter2\nc\n", "bin": "a\x00c", "mode": "m", "modeled.txt 0755": "x\n", "owner": "o", "new/file": "n",
		"link": "-> new/file", "becomes": "file\n", "hand.txt": "two\n", ".env": "A=12\n", "own.txt 0644": "other\n", "key.txt": "-----BEGIN PRIVATE KEY-----!",
		"code.txt": "xyz opensesame\n", "touched.txt": "t\n",
	})
	got := b.told(a)
	for i := range got {
		got[i] = strings.TrimRight(got[i], " ")
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the second deployment (-want +got):\n%s", diff)
	}
	if !slices.IsSortedFunc(a.Files, func(a, b FileChange) int { return strings.Compare(a.Path, b.Path) }) {
		t.Error("the paths are in no order")
	}
	a = b.installRevision("d-3", map[string]string{"same.txt": "same\n"})
	if got := b.told(b.installRevision("d-4", map[string]string{"same.txt": "same\n"})); len(got) != 0 || len(a.Files) == 0 {
		t.Errorf("the same again: %q", got)
	}
	if a := b.accountOf("d-4", AccountOptions{}); !a.FilesRecorded || len(a.Notes) != 0 {
		t.Errorf("the same again is told as %+v", a)
	}
}

// A directory of the previous revision in which somebody else has something stays, and is not told as removed.
func TestInstallChangesStay(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.installRevision("d-1", map[string]string{"d/f": "1", "e": "1"})
	if err := os.WriteFile(filepath.Join(b.site, "d", "else"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	want := []string{"removed file /d/f []: 0644 1 bytes => "}
	if diff := cmp.Diff(want, b.told(b.installRevision("d-2", map[string]string{"e": "1"}))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// However much is installed, so many paths are listed, and what is beyond is counted; what has certainly changed comes before what is only added or
// written anew. Differences have a bound, each and together.
func TestInstallChangesBounds(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	files := map[string]string{}
	for i := range changesPaths + 200 {
		files[fmt.Sprintf("f%04d", i)] = "1"
	}
	words := func(n int) string {
		var text strings.Builder
		for text.Len() < n {
			fmt.Fprintf(&text, "%d\n", rand.Uint64())
		}
		return text.String()[:n]
	}
	for i := range 8 {
		files[fmt.Sprintf("z%d.txt", i)] = words(40 << 10)
	}
	files["zz-large.txt"] = words(changesDiff + 1)
	a := b.installRevision("d-1", files)
	if len(a.Files) != changesPaths || a.FilesOmitted != 200+9+1 { // and the site itself
		t.Errorf("%d paths listed, %d omitted", len(a.Files), a.FilesOmitted)
	}
	for i := range 8 {
		files[fmt.Sprintf("z%d.txt", i)] = words(41 << 10)
	}
	files["zz-large.txt"] = words(changesDiff + 2)
	files["zz-new"] = "n"
	a = b.installRevision("d-2", files)
	total, with := 0, 0
	for _, f := range a.Files {
		if total += len(f.Diff); f.Diff != "" {
			with++
		}
		if filepath.Base(f.Path) == "zz-large.txt" && (f.Diff != "" || !slices.Contains(f.What, "content")) {
			t.Errorf("a large file: %v, a difference of %d bytes", f.What, len(f.Diff))
		}
	}
	if total > changesDiffs || with != 3 || len(a.Files) != 10 || a.FilesOmitted != 0 {
		t.Errorf("%d paths, %d of them with differences of %d bytes, %d omitted", len(a.Files), with, total, a.FilesOmitted)
	}
}

// Of a large file of equal size that is written anew it is said that nobody has compared it.
func TestInstallChangesUnread(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	big := strings.Repeat("x", changesCompare+1)
	b.installRevision("d-1", map[string]string{"big": big})
	when := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(b.site, "big"), when, when); err != nil {
		t.Fatal(err)
	}
	a := b.installRevision("d-2", map[string]string{"big": big})
	if len(a.Files) != 1 || !slices.Equal(a.Files[0].What, []string{"rewritten"}) {
		t.Errorf("%q", b.told(a))
	}
}

// A record goes with its deployment and when the group is forgotten; one of a deployment that the official agent has removed goes with the next Install.
func TestInstallChangesGo(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	for _, id := range []string{"d-1", "d-2", "d-3"} {
		b.installRevision(id, map[string]string{"f": id})
	}
	group := b.accountOf("d-3", AccountOptions{}).Group
	if _, err := b.Prune(t.Context(), group, Retention{Revisions: 2}, true); err != nil || len(b.records()) != 3 {
		t.Errorf("after a dry run: %q, %v", b.records(), err)
	}
	if _, err := b.Prune(t.Context(), group, Retention{Revisions: 2}, false); err != nil || !slices.Equal(b.records(), []string{"d-2.json", "d-3.json"}) {
		t.Errorf("after prune: %q, %v", b.records(), err)
	}
	if a := b.accountOf("d-1", AccountOptions{}); a.FilesRecorded || len(a.Files) != 0 || len(a.Notes) != 1 {
		t.Errorf("without its record: %+v", a)
	}
	if err := os.RemoveAll(filepath.Join(b.root.path, group, "d-2")); err != nil {
		t.Fatal(err)
	}
	b.installRevision("d-4", map[string]string{"f": "d-4"})
	if !slices.Equal(b.records(), []string{"d-3.json", "d-4.json"}) {
		t.Errorf("d-2 is gone: %q", b.records())
	}
	if gone, err := b.Forget(t.Context(), group); err != nil || !slices.Contains(gone, b.root.own("changes", group)) || len(b.records()) != 0 {
		t.Errorf("Forget() = %q, %v, which leaves %q", gone, err, b.records())
	}
}

// An installation that fails leaves no record, and one that cannot be recorded does not fail.
func TestInstallChangesFail(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.installRevision("d-1", map[string]string{"f": "1"})
	b.putTree("d-2", b.content(map[string]string{"f": "2"}))
	spec := b.spec("d-2", "d-2")
	b.deploy(spec, DownloadBundle)
	group := b.accountOf("d-1", AccountOptions{}).Group
	in := b.root.own("install")
	if err := errors.Join(os.Rename(in, in+".away"), os.WriteFile(in, nil, 0o600)); err != nil { // there is no room for a journal
		t.Fatal(err)
	}
	if r := b.do(Install, spec); r.Code == Succeeded {
		t.Errorf("Install = %+v without a journal", r)
	}
	if !slices.Equal(b.records(), []string{"d-1.json"}) {
		t.Errorf("after an Install that failed: %q", b.records())
	}
	if err := errors.Join(os.Remove(in), os.Rename(in+".away", in)); err != nil {
		t.Fatal(err)
	}
	own := b.root.own("changes")
	if err := errors.Join(os.RemoveAll(own), os.WriteFile(own, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if r := b.do(Install, spec); r.Code != Succeeded || !strings.Contains(r.Log, "what was changed could not be recorded") {
		t.Errorf("Install = %+v without a place for its record", r)
	}
	if a := b.accountOf("d-2", AccountOptions{}); a.FilesRecorded || len(a.Notes) != 1 {
		t.Errorf("without a record: %+v", a.Notes)
	}
	if err := errors.Join(os.Remove(own), os.MkdirAll(filepath.Join(own, group), 0o700), os.WriteFile(b.root.changesFile(group, "d-2"), []byte(`{"version":1,`), 0o600)); err != nil {
		t.Fatal(err)
	}
	if a := b.accountOf("d-2", AccountOptions{}); a.FilesRecorded || len(a.Notes) != 1 || !strings.Contains(a.Notes[0], "is not whole") {
		t.Errorf("with half a record: %+v", a.Notes)
	}
}

// What a crash has left of a record becomes one only if it is that of the installation which was completed.
func TestInstallChangesCrash(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.installRevision("d-1", map[string]string{"f": "1"})
	a := b.installRevision("d-2", map[string]string{"f": "2"})
	last, open := install.Transactions(b.root.path, a.Group)
	if last == "" || len(open) != 0 {
		t.Fatalf("Transactions() = %q, %q", last, open)
	}
	own := b.root.changesFile(a.Group, "d-2")
	whole, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	again := b.spec("d-2", "d-2") // as after a crash: it is found installed
	for name, c := range map[string]struct {
		tx   string
		text []byte
		want []string
	}{
		"completed":               {last, whole, []string{"d-1.json", "d-2.json"}},
		"completed, and torn":     {last, whole[:len(whole)/2], []string{"d-1.json"}},
		"completed, and empty":    {last, nil, []string{"d-1.json"}},
		"of another, undone":      {"0123456789ab", whole, []string{"d-1.json"}},
		"of one that is in hand":  {"ba9876543210", whole, []string{"d-1.json", "d-2.json.ba9876543210"}},
		"of one that never began": {"", whole, []string{"d-1.json"}},
	} {
		for _, old := range b.records() {
			if strings.HasPrefix(old, "d-2") {
				os.Remove(b.root.own("changes", a.Group, old))
			}
		}
		if err := os.WriteFile(own+"."+c.tx, c.text, 0o600); err != nil {
			t.Fatal(err)
		}
		journal := b.root.own("install", "ba9876543210.journal")
		if strings.Contains(name, "in hand") {
			manifest, err := os.ReadFile(b.root.own("install", a.Group+".manifest"))
			if err == nil {
				manifest, _, _ = bytes.Cut(manifest, []byte("\n"))
				err = os.WriteFile(journal, append(bytes.Replace(manifest, []byte(last), []byte("ba9876543210"), 1), '\n'), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			b.settleChanges(a.Group)
		} else {
			b.deploy(again, Install)
		}
		if got := b.records(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		os.Remove(journal)
	}
}

// One that was cut short after it had removed the previous revision cannot tell what that was, and says so.
func TestInstallChangesCut(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	a := b.installRevision("d-1", map[string]string{"f": "1"})
	b.cutShort(install.Recovered{Group: a.Group, Deployment: "d-2", Outcome: install.Completed})
	if got := b.installRevision("d-2", map[string]string{"f": "2"}); len(got.Notes) != 0 {
		t.Errorf("after a completed one: %q", got.Notes)
	}
	b.cutShort(install.Recovered{Group: a.Group, Deployment: "d-3", Outcome: install.Removed})
	b.putTree("d-3", b.content(map[string]string{"f": "3"}))
	b.deploy(b.spec("d-3", "d-3"), DownloadBundle, Install)
	if got := b.accountOf("d-3", AccountOptions{}); !slices.Equal(got.Notes, []string{cutNote}) || !slices.Equal(b.records(), []string{"d-1.json", "d-2.json", "d-3.json"}) {
		t.Errorf("%q, and there are %q", got.Notes, b.records())
	}
}

// A deployment that goes back is one like any other.
func TestInstallChangesOfUndo(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.installRevision("d-1", map[string]string{"f": "1\n"})
	group := b.installRevision("d-2", map[string]string{"f": "22\n"}).Group
	d, err := b.Undo(group, "")
	if err != nil {
		t.Fatal(err)
	}
	for ev, r := range b.Deploy(t.Context(), d, UndoEvents()) {
		if r.Code != Succeeded {
			t.Fatalf("%s = %+v", ev, r)
		}
	}
	want := []string{"changed file /f [content]: 0644 3 bytes => 0644 2 bytes -22|+1"}
	if diff := cmp.Diff(want, b.told(b.accountOf(d.ID, AccountOptions{}))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

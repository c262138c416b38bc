package install

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// busy is somebody who works in the destination while it is installed to.
type busy struct {
	rt      *rapid.T
	dst     string
	n       int
	work    map[string]string // what he has left at which path
	oldDirs map[string]bool
}

// act does one thing: writes a file anew, adds one, edits one in place, or deletes one.
func (b *busy) act(beforeCommit bool) {
	b.n++
	names := append(randomNames, "mine", "a/mine", "b/mine", "c/mine")
	name := rapid.SampledFrom(names).Draw(b.rt, fmt.Sprint("path", b.n))
	path := filepath.Join(b.dst, name)
	text := fmt.Sprint("work ", b.n)
	// What is put into a directory that the installation has added goes with it, if that is undone.
	if !beforeCommit && strings.Contains(name, "/") && !b.oldDirs[filepath.Dir(name)] {
		return
	}
	info, err := os.Lstat(path)
	switch what := rapid.IntRange(0, 3).Draw(b.rt, fmt.Sprint("act", b.n)); {
	case err == nil && info.IsDir():
		return
	case what == 0 && err == nil:
		if os.Remove(path) == nil {
			b.work[name] = ""
		}
	case what == 1 && err == nil && beforeCommit && info.Mode().IsRegular():
		if os.WriteFile(path, []byte(text), 0o644) == nil {
			b.work[name] = text
		}
	default:
		if os.WriteFile(path+".tmp", []byte(text), 0o644) != nil {
			return
		}
		if os.Rename(path+".tmp", path) != nil {
			os.Remove(path + ".tmp")
			return
		}
		b.work[name] = text
	}
}

// TestAnyInterference installs one random revision over another while somebody works in the destination, with an error or a crash anywhere. What
// he has left is there afterwards, if only aside, and all that he has not touched is of the old revision or the new one.
func TestAnyInterference(t *testing.T) {
	base := memoryDir(t)
	i := 0
	rapid.Check(t, func(rt *rapid.T) {
		i++
		dir := filepath.Join(base, fmt.Sprint(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		h := newHostIn(t, dir)
		s := h.spec("/", "app")
		old, next := randomTree(rt, "old"), randomTree(rt, "new")
		h.bundle(old)
		h.install(s, "")
		h.revision(next)
		r := h.request(s)
		r.Deployment = "d-2"
		p, err := Make(t.Context(), r)
		if err != nil {
			rt.Fatal(err)
		}
		p.moves.plain = rapid.Bool().Draw(rt, "plain")
		who := &busy{rt: rt, dst: filepath.Join(h.dst, "app"), work: map[string]string{}, oldDirs: map[string]bool{}}
		for name := range old {
			for d := filepath.Dir(name); d != "."; d = filepath.Dir(d) {
				who.oldDirs[d] = true
			}
		}
		acts := map[int]bool{}
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 60), 0, 4).Draw(rt, "when") {
			acts[n] = true
		}
		end, byCrash := rapid.IntRange(0, 90).Draw(rt, "end"), rapid.Bool().Draw(rt, "crash")
		trace, calls, committed := "", 0, false
		p.probe = func(point string) error {
			calls++
			committed = committed || strings.HasSuffix(point, "step")
			if acts[calls-1] {
				who.act(!committed)
				trace += fmt.Sprintf("%s: %v; ", point, who.work)
			}
			untidy := strings.HasPrefix(point, "aside") || point == "sweep" || point == "rmdir"
			if calls-1 != end || untidy && !byCrash { // what cannot be tidied up is told, and left
				return nil
			}
			trace += point + ": end; "
			if byCrash {
				panic(crash{})
			}
			return errStop
		}
		var applied error
		whole := surviving(func() { _, applied = p.Apply(t.Context()) })
		if !whole {
			for range rapid.IntRange(0, 3).Draw(rt, "meanwhile") {
				who.act(false)
			}
			trace += fmt.Sprintf("then %v; ", who.work)
		}
		found, err := Recover(t.Context(), h.root)
		if err != nil {
			rt.Fatalf("%sApply() = %v, Recover() = %v", trace, applied, err)
		}
		want := old
		if whole && applied == nil || len(found) == 1 && found[0].Outcome == Completed {
			want = next
		}
		checkInterference(rt, fmt.Sprintf("%sApply() = %v (whole %v), Recover() = %+v: ", trace, applied, whole, found), h, who, want, old, next)
	})
}

func checkInterference(rt *rapid.T, trace string, h *host, who *busy, want, old, next entries) {
	there := map[string]bool{}
	for _, top := range []string{h.dst, h.root} {
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				text, _ := os.ReadFile(path)
				there[string(text)] = true
			}
			return err
		})
	}
	for name, text := range who.work {
		if text != "" && !there[text] {
			rt.Fatalf("%s%q at %s is lost", trace, text, name)
		}
	}
	got := shape(h.t, who.dst)
	touched := func(name string) bool {
		for path := range who.work {
			if path == name || strings.HasPrefix(path, name+"/") || strings.HasPrefix(name, path+"/") {
				return true
			}
		}
		return false
	}
	for _, tree := range []entries{old, next} {
		for name := range tree {
			if text, is := got[name]; !touched(name) && text != want[name] && (is || want[name] != "") {
				rt.Fatalf("%s%s is %q, want %q", trace, name, text, want[name])
			}
		}
	}
	for _, name := range collect(h.root) {
		rt.Fatalf("%sthe journal %s is left", trace, name)
	}
	for name, text := range got {
		if base := filepath.Base(name); strings.HasPrefix(base, hiddenPrefix) && !strings.HasPrefix(base, savedPrefix) && !strings.HasPrefix(text, "work") && !strings.HasSuffix(name, "/") {
			rt.Fatalf("%s%s is left", trace, name)
		}
	}
}

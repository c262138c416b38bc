package install

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestAnyTreesSurviveAnyCrash installs one random revision over another one and crashes anywhere.
func TestAnyTreesSurviveAnyCrash(t *testing.T) {
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
		s := h.spec("/", "app", "/", ".")
		old, next := randomTree(rt, "old"), randomTree(rt, "new")
		h.bundle(old)
		h.install(s, "")
		h.write(h.dst, entries{"app/user-file": "user"})
		h.bundle(next)
		before := snapshot(t, h.dst)
		r := h.request(s)
		r.Deployment = "d-2"
		p, err := Make(t.Context(), r)
		if err != nil {
			rt.Fatal(err)
		}
		p.moves.plain = rapid.Bool().Draw(rt, "plain")
		n := rapid.IntRange(0, 80).Draw(rt, "point")
		probe, _, last := stopAt(n, true)
		p.probe = probe
		whole := surviving(func() { _, err = p.Apply(t.Context()) })
		if whole && err != nil {
			rt.Fatal(err)
		}
		found, err := Recover(t.Context(), h.root)
		if err != nil {
			rt.Fatalf("crashed at point %d (%s): Recover() = %v", n, *last, err)
		}
		done := whole || len(found) == 1 && found[0].Outcome == Completed
		if !done {
			if d := cmp.Diff(before, snapshot(t, h.dst)); d != "" {
				rt.Fatalf("crashed at point %d (%s), rolled back: tree mismatch (-want +got):\n%s", n, *last, d)
			}
			return
		}
		want := entries{"app/": "", "app/user-file": "user"}
		for _, prefix := range []string{"", "app/"} {
			for name, text := range next {
				want[prefix+name] = text
				for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
					want[prefix+dir+"/"] = ""
				}
			}
		}
		if d := cmp.Diff(want, shape(t, h.dst)); d != "" {
			rt.Fatalf("crashed at point %d (%s), completed: tree mismatch (-want +got):\n%s", n, *last, d)
		}
	})
}

var randomNames = []string{"a", "b", "a/a", "a/b", "b/a", "b/b/c", "a/b/c", "c", "a/a/a", "c/a"}

// randomTree draws a tree from few names, so that two of them collide in every way.
func randomTree(rt *rapid.T, label string) entries {
	tree := entries{}
	isDir := map[string]bool{}
	names := rapid.SliceOfN(rapid.SampledFrom(randomNames), 0, 8).Draw(rt, label)
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
		tree[name] = []string{label, "same", "-> nowhere"}[rapid.IntRange(0, 2).Draw(rt, fmt.Sprint(label, i))]
	}
	return tree
}

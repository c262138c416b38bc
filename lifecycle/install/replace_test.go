package install

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/lifecycle/appspec"
)

// crowded is a host whose destination has room for one revision, which is there, and not for two.
type crowded struct {
	*host
	app *appspec.Spec
}

func newCrowded(t *testing.T, options string) *crowded {
	mnt := mounted(t, options)
	c := &crowded{host: newHostIn(t, memoryDir(t))}
	c.dst = filepath.Join(mnt, "srv")
	c.app = c.spec("/", "app")
	return c
}

func (c *crowded) prepare() {
	c.t.Helper()
	c.must(os.RemoveAll(c.dst))
	c.must(os.MkdirAll(c.dst, 0o755))
	c.lose()
	c.bundle(entries{"old/a": strings.Repeat("o", 700_000), "same": strings.Repeat("s", 100_000), "hand": "old", "to-dir": "x"})
	c.install(c.app, "")
	c.write(c.dst, entries{"app/theirs": "user"})
	c.rewrite("app/hand", "by hand", later)
	c.bundle(entries{"new/a": strings.Repeat("n", 800_000), "same": strings.Repeat("s", 100_000), "hand": "new", "to-dir/x": "x"})
}

func (c *crowded) plan() (*Plan, error) {
	r := c.request(c.app)
	r.Deployment, r.Replace = "d-2", true
	return Make(c.t.Context(), r)
}

// which tells the old, the new and the empty tree apart.
func (c *crowded) which() string {
	c.t.Helper()
	got := shape(c.t, c.dst)
	if got["app/theirs"] != "user" {
		c.t.Fatal("a stranger's file is gone")
	}
	_, old := got["app/old/a"]
	_, next := got["app/new/a"]
	switch {
	case old && !next && len(got) == 7 && len(got["app/same"]) == 100_000 && got["app/hand"] == "by hand":
		return "old"
	case next && !old && len(got) == 8 && len(got["app/same"]) == 100_000 && got["app/hand"] == "new" && len(got["app/new/a"]) == 800_000:
		return "new"
	case len(got) == 2:
		return "none"
	}
	c.t.Fatalf("the tree is none of the three: %q", slices.Sorted(maps.Keys(got)))
	return ""
}

func TestReplace(t *testing.T) {
	c := newCrowded(t, "size=1200k")
	c.prepare()
	r := c.request(c.app)
	if _, err := Make(t.Context(), r); err == nil {
		t.Fatal("Make() without Replace succeeds, want a *SpaceError")
	} else if short, ok := errors.AsType[*SpaceError](err); !ok || short.Replace {
		t.Fatalf("Make() without Replace = %v, want a *SpaceError", err)
	}
	p, err := c.plan()
	c.must(err)
	if all := strings.Join(p.Warnings(), "\n"); !p.Replaces() || !strings.Contains(all, "cannot be undone") || !strings.Contains(all, "1 file changed on this host since d-1") {
		t.Errorf("Replaces() = %v, Warnings() = %s", p.Replaces(), all)
	}
	m, err := p.Apply(t.Context())
	c.must(err)
	c.clean()
	if got := c.which(); got != "new" {
		t.Errorf("the tree is the %s one", got)
	}
	diff(t, "kept aside", entries{"hand": "by hand"}, shape(t, filepath.Join(m.Aside, c.dst, "app")))
	if len(m.Warnings) != len(p.Warnings()) || m.Counts.Files != 4 || m.Counts.Removed != 5 {
		t.Errorf("Manifest = %+v", m)
	}
	if d, ok := Committed(c.root, "group"); !ok || d != "d-2" {
		t.Errorf("Committed() = %q, %v", d, ok)
	}
	if got := c.verified(); len(got) > 0 {
		t.Errorf("Verify() yields %q", got)
	}
}

func TestReplaceIsNotNeeded(t *testing.T) {
	c := newCrowded(t, "size=8m")
	c.prepare()
	p, err := c.plan()
	c.must(err)
	if p.Replaces() || strings.Contains(strings.Join(p.Warnings(), "\n"), "undone") {
		t.Errorf("Replaces() = %v, Warnings() = %q, want the usual way", p.Replaces(), p.Warnings())
	}
}

func TestReplaceDoesNotFit(t *testing.T) {
	for _, c := range []struct{ options, want string }{
		{"size=1200k", "more once the old revision is removed ("}, {"size=8m,nr_inodes=12", "5 more once the old revision is removed"},
	} {
		h := newCrowded(t, c.options)
		h.prepare()
		big := entries{}
		for i := range 20 {
			big[fmt.Sprint(i)] = strings.Repeat("x", 100_000)
		}
		h.bundle(big)
		_, err := h.plan()
		short, ok := errors.AsType[*SpaceError](err)
		if !ok || !short.Replace || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%s: Make() = %v, want a *SpaceError with %q", c.options, err, c.want)
		}
		if got := h.which(); got != "old" {
			t.Errorf("the tree is the %s one", got)
		}
	}
}

// TestReplaceWithoutRoomForWhatWasChanged: the deployment root is on the same small file system.
func TestReplaceWithoutRoomForWhatWasChanged(t *testing.T) {
	for _, c := range []struct {
		byHand, size int
		kept         bool
	}{{1_000, 1_430_000, true}, {500_000, 1_200_000, false}} {
		h := newCrowded(t, "size=1600k")
		h.root = filepath.Join(filepath.Dir(h.dst), "root")
		h.must(os.MkdirAll(h.dst, 0o755))
		h.lose()
		h.bundle(entries{"a": strings.Repeat("o", 500_000), "b": strings.Repeat("o", 200_000)})
		h.install(h.app, "")
		h.rewrite("app/a", strings.Repeat("h", c.byHand), later)
		h.bundle(entries{"a": strings.Repeat("n", c.size)})
		r := h.request(h.app)
		r.Deployment, r.Replace = "d-2", true
		p, err := Make(t.Context(), r)
		h.must(err)
		all := strings.Join(p.Warnings(), "\n")
		if !p.Replaces() || strings.Contains(all, "there is no room to keep what was changed, it is lost") == c.kept || strings.Contains(all, ": Install keeps what it replaces in ") != c.kept {
			t.Errorf("%d bytes: Replaces() = %v, Warnings() = %s", c.byHand, p.Replaces(), all)
		}
		m, err := p.Apply(t.Context())
		h.must(err)
		if (m.Aside != "") != c.kept {
			t.Errorf("%d bytes: Aside = %q", c.byHand, m.Aside)
		}
	}
}

// TestReplaceAtEveryPoint stops a replacement by an error and by a crash. The tree is the old one, the new one, or none, as it
// says, and doing it again always ends with the new one.
func TestReplaceAtEveryPoint(t *testing.T) {
	c := newCrowded(t, "size=1200k")
	for _, byCrash := range []bool{false, true} {
		count := map[string]int{}
		for n, stopped := 0, true; stopped; n++ {
			c.prepare()
			p, err := c.plan()
			c.must(err)
			probe, _, last := stopAt(n, byCrash)
			p.probe = probe
			whole := surviving(func() { _, err = p.Apply(t.Context()) })
			stopped = *last != ""
			if !byCrash && (*last == "sweep" || *last == "rmdir" || strings.HasPrefix(*last, "aside")) { // what is left behind takes up its room
				continue
			}
			at := fmt.Sprintf("stopped at point %d (%s, crash %v)", n, *last, byCrash)
			found, recErr := Recover(t.Context(), c.root)
			if recErr != nil {
				t.Fatalf("%s: Recover() = %v", at, recErr)
			}
			got := c.which()
			count[got]++
			d, committed := Committed(c.root, "group")
			if (got == "none") == committed || got == "new" && d != "d-2" || got == "old" && d != "d-1" {
				t.Fatalf("%s: Committed() = %q, %v, and the tree is the %s one", at, d, committed, got)
			}
			_, gone := errors.AsType[*GoneError](err)
			if whole && gone != (got == "none") || whole && (err == nil) != (got == "new") {
				t.Fatalf("%s: Apply() = %v, and the tree is the %s one", at, err, got)
			}
			for _, r := range found {
				if want := map[string][]Outcome{"old": {RolledBack}, "new": {Completed}, "none": {Removed, RolledBack}}[got]; r.Outcome != want[0] && r.Outcome != want[len(want)-1] {
					t.Fatalf("%s: Recover() = %+v, and the tree is the %s one", at, found, got)
				}
			}
			if got != "new" {
				p, err := c.plan()
				if err != nil {
					t.Fatalf("%s: Make() again = %v", at, err)
				}
				if p.Replaces() != (got == "old") {
					t.Fatalf("%s: Replaces() = %v, and the tree is the %s one", at, p.Replaces(), got)
				}
				_, err = p.Apply(t.Context())
				c.must(err)
				if got := c.which(); got != "new" {
					t.Fatalf("%s, then done again: the tree is the %s one", at, got)
				}
			}
			if text, err := os.ReadFile(filepath.Join(asideDir(c.root, "group", "d-1"), c.dst, "app/hand")); (err != nil || string(text) != "by hand") && !strings.HasPrefix(*last, "aside") {
				t.Fatalf("%s: what was changed by hand: %q, %v", at, text, err)
			}
		}
		t.Logf("crash %v: %v", byCrash, count)
		if count["old"] < 3 || count["new"] < 2 || count["none"] < 10 {
			t.Errorf("crash %v: %v, want plenty of each", byCrash, count)
		}
	}
}

func TestReplaceWhenTheDiskFillsUp(t *testing.T) { // somebody else takes what the removal has freed
	c := newCrowded(t, "size=1200k")
	c.prepare()
	p, err := c.plan()
	c.must(err)
	filled := false
	p.probe = func(point string) error {
		if point != "tidied" || filled {
			return nil
		}
		filled = true
		return os.WriteFile(filepath.Join(filepath.Dir(c.dst), "filler"), make([]byte, 900_000), 0o644)
	}
	_, err = p.Apply(t.Context())
	if _, ok := errors.AsType[*GoneError](err); !ok || !strings.Contains(err.Error(), "deploy again") {
		t.Fatalf("Apply() = %v, want a *GoneError that says what to do", err)
	}
	if _, ok := errors.AsType[*SpaceError](err); !ok && !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Apply() = %v, want the reason in it", err)
	}
	if got := c.which(); got != "none" {
		t.Errorf("the tree is the %s one", got)
	}
	c.clean()
}

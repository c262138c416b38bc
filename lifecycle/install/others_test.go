package install

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/lifecycle/appspec"
)

// twoGroups lets two groups install into one directory, the second over a file of the first.
func twoGroups(t *testing.T, second entries) *host {
	h := newHost(t)
	h.bundle(entries{"a": "1", "sub/both": "of the first"})
	h.install(h.spec("/", "shared"), "")
	h.tick()
	h.revision(second)
	r := h.request(h.spec("/", "shared"))
	r.Group, r.Deployment, r.Behavior = "other", "d-other", "OVERWRITE"
	h.must(makeAndApply(t.Context(), r))
	h.tick()
	return h
}

// tick waits until the clock of the file system shows another time than the last cleanup files have: which of two groups has installed last is
// told by that.
func (h *host) tick() {
	h.t.Helper()
	name := filepath.Join(h.base, "tick")
	var last time.Time
	for _, group := range []string{"group", "other"} {
		if info, err := os.Stat(cleanupName(h.root, group)); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		h.must(os.WriteFile(name, nil, 0o644))
		info, err := os.Stat(name)
		h.must(err)
		if info.ModTime().After(last) {
			return
		}
	}
	h.t.Fatal("the clock of the file system stands still")
}

// TestGroupsShareAFile lets the first group's next revision do without a file that the second has installed over it: the second would be
// without a file of its own.
func TestGroupsShareAFile(t *testing.T) {
	for _, c := range []struct {
		name string
		next entries // nil: the first group is withdrawn
		want entries
		kept bool
	}{
		{
			name: "left out of the next revision", next: entries{"a": "2"}, kept: true,
			want: entries{"shared/": "", "shared/a": "2", "shared/b": "2", "shared/sub/": "", "shared/sub/both": "of the second"},
		},
		{
			name: "the first group is withdrawn", kept: true,
			want: entries{"shared/": "", "shared/b": "2", "shared/sub/": "", "shared/sub/both": "of the second"},
		},
		{ // as the official agent does: both want it, and the last one has it
			name: "installed again", next: entries{"sub/both": "of the first again"},
			want: entries{"shared/": "", "shared/b": "2", "shared/sub/": "", "shared/sub/both": "of the first again"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := twoGroups(t, entries{"b": "2", "sub/both": "of the second"})
			s := h.spec("/", "shared")
			if c.next == nil {
				s = &appspec.Spec{}
			}
			h.revision(c.next)
			p := h.install(s, "")
			diff(t, "tree", c.want, shape(t, h.dst))
			path := filepath.Join(h.dst, "shared/sub/both")
			kinds := map[Kind]int{}
			for op := range p.Ops() {
				if op.Path == path || op.Path == filepath.Dir(path) {
					kinds[op.Kind]++
				}
			}
			if told := strings.Contains(strings.Join(p.Warnings(), "\n"), path+" (deployment group other)"); told != c.kept || kinds[Keep] == 1 != c.kept || kinds[RemoveFile]+kinds[RemoveDir] > 0 {
				t.Errorf("Warnings() = %q and Ops() has %v, want it told that the file stays: %v", p.Warnings(), kinds, c.kept)
			}
			if c.kept && len(p.Modified()) > 0 {
				t.Errorf("Modified() = %v, want nothing: it is the other group's", p.Modified())
			}
			h.tick()
			// And the second group goes on with what is its own: the first has done without it, or has installed it since.
			h.revision(nil)
			r := h.request(&appspec.Spec{})
			r.Group, r.Deployment = "other", "d-other-2"
			h.must(makeAndApply(t.Context(), r))
			rest := maps.Clone(c.want)
			delete(rest, "shared/b")
			delete(rest, "shared/sub/both")
			if !c.kept {
				rest["shared/sub/both"] = c.want["shared/sub/both"]
			}
			diff(t, "tree without the second group", rest, shape(t, h.dst)) // a directory that was kept once is nobody's any more (I-42)
		})
	}
}

func TestFileInPlaceOfASharedDirectory(t *testing.T) {
	h := twoGroups(t, entries{"b": "2", "sub/both": "of the second"})
	before := snapshot(t, h.dst)
	h.revision(entries{"sub": "now a file"})
	_, err := h.make(h.spec("/", "shared"), "")
	h.failed("a file in place of a directory with another group's file", before, err, err, "shared/sub: is a directory with ", "deployment group other")
}

// TestListOfAGroupOfThePast lets a group take over all that another one had installed, which is then never deployed again: its list keeps nothing.
func TestListOfAGroupOfThePast(t *testing.T) {
	h := twoGroups(t, entries{"a": "2", "sub/both": "of the second"})
	for _, next := range []entries{{"a": "3", "sub/both": "3"}, {"a": "4"}} {
		h.revision(next)
		r := h.request(h.spec("/", "shared"))
		r.Group, r.Deployment = "other", "d-next"
		h.must(makeAndApply(t.Context(), r))
		h.tick()
	}
	diff(t, "tree", entries{"shared/": "", "shared/a": "4", "shared/sub/": ""}, shape(t, h.dst))
}

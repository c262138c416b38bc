package install

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"slipway/lifecycle/appspec"
)

// twoGroups lets two groups install into one directory, the second over a file of the first.
func twoGroups(t *testing.T, second entries) *host {
	h := newHost(t)
	h.bundle(entries{"a": "1", "sub/both": "of the first"})
	h.install(h.spec("/", "shared"), "")
	h.revision(second)
	r := h.request(h.spec("/", "shared"))
	r.Group, r.Deployment, r.Behavior = "other", "d-other", "OVERWRITE"
	h.must(makeAndApply(t.Context(), r))
	return h
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
			// And the second group goes on with what is its own.
			h.revision(nil)
			r := h.request(&appspec.Spec{})
			r.Group, r.Deployment = "other", "d-other-2"
			h.must(makeAndApply(t.Context(), r))
			rest := maps.Clone(c.want)
			delete(rest, "shared/b")
			delete(rest, "shared/sub/both")
			if c.kept { // the directory is nobody's any more (I-42)
				diff(t, "tree without the second group", rest, shape(t, h.dst))
			}
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

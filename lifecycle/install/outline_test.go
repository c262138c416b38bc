package install

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// An outline of a whole plan says what Changes says, without what stays; one of a part says how much it has left out, and looks at what has certainly
// changed first.
func TestOutline(t *testing.T) {
	t.Parallel()
	c, _, _, _ := newChange(t, false)
	p := c.prepare()
	seq, err := p.Changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byPath := func(a, b Change) int { return strings.Compare(a.Path, b.Path) }
	var want []Change
	for ch := range seq {
		if ch.Kind != Same && ch.Kind != Kept && (ch.Kind != Rewritten || ch.Before.Attributes(ch.After)) {
			want = append(want, ch)
		}
	}
	slices.SortFunc(want, byPath)
	look := func(o OutlineOptions) (got []Change, unlooked, read int) {
		unlooked = p.Outline(t.Context(), o, func(o *Outlined) {
			got = append(got, o.Change)
			if was, is, ok := o.Contents(1 << 20); ok {
				read++
				if int64(len(was)) != o.Size || int64(len(is)) != o.Bytes || string(was) == string(is) {
					t.Errorf("%s: %q, %q, of %d and %d bytes", o.Path, was, is, o.Size, o.Bytes)
				}
			}
		})
		slices.SortFunc(got, byPath)
		return got, unlooked, read
	}
	all := OutlineOptions{Paths: 1 << 20, Compare: 1 << 30, Read: 1 << 30}
	got, unlooked, read := look(all)
	if diff := cmp.Diff(want, got); diff != "" || unlooked != 0 || read == 0 {
		t.Errorf("%d unlooked, %d read (-want +got):\n%s", unlooked, read, diff)
	}
	kinds := map[ChangeKind]int{}
	for _, ch := range want {
		kinds[ch.Kind]++
	}
	if len(kinds) < 4 || len(want) < 10 {
		t.Errorf("the change is too small to show anything: %v", kinds)
	}
	all.Paths = 2
	some, unlooked, _ := look(all)
	if len(some) > 2 || unlooked < len(want)-2 {
		t.Errorf("of 2 paths: %d, %d unlooked, want at least %d", len(some), unlooked, len(want)-2)
	}
	for _, ch := range some {
		if ch.Kind == Added {
			t.Errorf("%s is only added, and comes before what has certainly changed", ch.Path)
		}
	}
	if _, _, read := look(OutlineOptions{Paths: 1 << 20}); read != 0 {
		t.Errorf("%d files were read of a budget of nothing", read)
	}
	if last, open := Transactions(c.root, "group"); last == "" || len(open) != 0 || last == p.Transaction() {
		t.Errorf("Transactions() = %q, %q before %s is applied", last, open, p.Transaction())
	}
	if _, err := p.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if last, open := Transactions(c.root, "group"); last != p.Transaction() || len(open) != 0 {
		t.Errorf("Transactions() = %q, %q after %s was applied", last, open, p.Transaction())
	}
}

package install

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tally counts what became of the tree, by kind of point.
type tally struct {
	kinds  []string // in the order in which they were met
	counts map[string]*[3]int
	ended  [2]int // old, new
	failed int
}

const maxFailures = 5 // that a test tells before it gives up

// count enters one point. An exception is told as the test's error.
func (y *tally) count(t *testing.T, kind, which string, err error) {
	t.Helper()
	c := y.counts[kind]
	if c == nil {
		if y.counts == nil {
			y.counts = map[string]*[3]int{}
		}
		c = new([3]int)
		y.counts[kind] = c
		y.kinds = append(y.kinds, kind)
	}
	switch {
	case err != nil:
		c[2]++
		t.Error(err)
		if y.failed++; y.failed == maxFailures {
			t.Fatal("and so on")
		}
	case which == "old":
		c[0]++
		y.ended[0]++
	default:
		c[1]++
		y.ended[1]++
	}
}

func (y *tally) tell(t *testing.T, by, form string) {
	for _, kind := range y.kinds {
		c := y.counts[kind]
		tell(t, "points", kind, by, form, c[0]+c[1]+c[2], c[0], c[1], c[2])
	}
}

// fault is what befalls a transaction at a point, counted from its first one.
type fault struct {
	n     int
	crash bool
}

// befall makes a probe that brings faults about, and says at which kind of point the last of them was.
func befall(faults ...fault) (probe func(string) error, last *string) {
	calls := 0
	last = new(string)
	return func(point string) error {
		calls++
		for i, f := range faults {
			if f.n != calls-1 {
				continue
			}
			*last = point
			if i > 0 && point == "sweep" { // it is what was staged that is swept
				*last = "undo sweep"
			}
			if f.crash {
				panic(crash{})
			}
			return errStop
		}
		return nil
	}, last
}

// trees are what a change starts from and leads to.
type trees struct{ before, after map[string]string }

// errorAt lets the last of some errors befall an installation, and says where that was, which tree there is, and what is wrong with it.
func (c *change) errorAt(want trees, faults ...fault) (kind, which string, err error) {
	p := c.prepare()
	probe, last := befall(faults...)
	p.probe = probe
	m, applied := p.Apply(c.t.Context())
	wrong := func(format string, args ...any) (string, string, error) {
		return *last, "", fmt.Errorf("stopped at point %d (%s): Apply() = %v, "+format, append([]any{faults[len(faults)-1].n, *last, applied}, args...)...)
	}
	aside := strings.HasPrefix(*last, "aside")
	switch {
	case aside, *last == "sweep", *last == "rmdir": // the new tree is there, and something of the old one beside it
		if applied != nil || len(m.Warnings) <= len(p.Warnings()) {
			return wrong("want warnings only")
		}
		c.kept(aside)
		if diff, ok := c.newWithRemains(want); !ok {
			return wrong("and the tree is not the new one:\n%s", diff)
		}
		return *last, "new", nil
	case slices.Contains([]string{"undo", "undo step", "undo sweep", "undone", "tidied"}, *last): // what is left is made good by the next start
		if _, err := Recover(c.t.Context(), c.root); err != nil {
			return wrong("then Recover() = %v", err)
		}
	}
	which, err = oldOrNew(want.before, want.after, c.state())
	// Nothing can fail at the point "undo" itself. Before it the journal says committed, so that the next start rolls forward.
	switch d, _ := Committed(c.root, "group"); {
	case err != nil:
		return wrong("%w", err)
	case applied != nil && which != "old" && *last != "undo", applied == nil && which != "new":
		return wrong("and the tree is the %s one", which)
	case applied != nil && !errors.Is(applied, errStop):
		return wrong("which does not wrap its cause")
	case (d == "d-2") != (which == "new"):
		return wrong("and Committed() = %q, which is not the %s one", d, which)
	}
	if err := c.left(); err != nil && which == "old" {
		return wrong("%w", err)
	}
	return *last, which, nil
}

// newWithRemains reports whether the tree is the new one but for hidden names and directories of the old one.
func (c *change) newWithRemains(want trees) (string, bool) {
	got := c.state()
	maps.DeleteFunc(got, func(name, text string) bool {
		_, wanted := want.after[name]
		return !wanted && (strings.Contains(name, hiddenPrefix) || strings.HasPrefix(text, "d") && want.before[name] != "")
	})
	which, err := oldOrNew(want.before, want.after, got)
	return fmt.Sprint(err), which == "new"
}

// crashAt lets a crash befall an installation, and recovers.
func (c *change) crashAt(want trees, faults ...fault) (kind, which string, err error) {
	p := c.prepare()
	probe, last := befall(faults...)
	p.probe = probe
	wrong := func(format string, args ...any) (string, string, error) {
		return *last, "", fmt.Errorf("crashed at point %d (%s): "+format, append([]any{faults[len(faults)-1].n, *last}, args...)...)
	}
	if surviving(func() { p.Apply(c.t.Context()) }) {
		return wrong("the installation went on")
	}
	if _, err := c.make(c.spec, "OVERWRITE"); len(collect(c.root)) > 0 && err == nil {
		return wrong("Make() before Recover() did not complain")
	}
	found, err := Recover(c.t.Context(), c.root)
	if err != nil {
		return wrong("Recover() = %v", err)
	}
	which, err = c.settled(want)
	if err != nil {
		return wrong("%w", err)
	}
	if len(found) != 1 || found[0].Group != "group" || found[0].Deployment != "d-2" || (found[0].Outcome == Completed) != (which == "new") || found[0].Err != nil {
		return wrong("Recover() = %+v, and the tree is the %s one", found, which)
	}
	return *last, which, nil
}

// settled says which tree there is after recovery, and checks that nothing is left to do and that the next deployment goes on from there.
func (c *change) settled(want trees) (string, error) {
	which, err := oldOrNew(want.before, want.after, c.state())
	if err != nil {
		return "", err
	}
	if err := c.left(); err != nil {
		return "", err
	}
	if which == "new" {
		c.kept(false)
	}
	if d, ok := Committed(c.root, "group"); !ok || (d == "d-2") != (which == "new") {
		return "", fmt.Errorf("Committed() = %q, and the tree is the %s one", d, which)
	}
	if again, err := Recover(c.t.Context(), c.root); err != nil || again != nil {
		return "", fmt.Errorf("second Recover() = %+v, want nothing: %w", again, err)
	}
	c.install(c.spec, "OVERWRITE")
	if next, err := oldOrNew(want.before, want.after, c.state()); err != nil || next != "new" {
		return "", fmt.Errorf("then installed anew: the tree is %s, %w", next, err)
	}
	return which, nil
}

// length is the number of points of an installation that these faults befall, and the number of the last one of a kind.
func (c *change) length(kind string, faults ...fault) (points, at int) {
	p := c.prepare()
	probe, _ := befall(faults...)
	p.probe = func(point string) error {
		points++
		if point == kind {
			at = points - 1
		}
		return probe(point)
	}
	p.Apply(c.t.Context())
	return points, at
}

func TestErrorAtEveryPoint(t *testing.T) {
	forms(t, func(t *testing.T, plain bool) {
		c, before, after, points := newChange(t, plain)
		want, y := trees{before, after}, new(tally)
		defer func() { y.tell(t, "error", filepath.Base(t.Name())) }()
		for n := range points {
			kind, which, err := c.errorAt(want, fault{n: n})
			y.count(t, kind, which, err)
		}
		undone := y.ended[0]
		for _, first := range []string{"staged", "steps done"} { // undone before and after the commit
			_, at := c.length(first)
			points, _ := c.length("", fault{n: at})
			for n := at + 1; n < points; n++ {
				kind, which, err := c.errorAt(want, fault{n: at}, fault{n: n})
				y.count(t, kind, which, err)
			}
		}
		if undone < 30 || undone == points {
			t.Errorf("%d of %d points undone, want most and not all", undone, points)
		}
	})
}

func TestCrashAtEveryPoint(t *testing.T) {
	forms(t, func(t *testing.T, plain bool) {
		c, before, after, points := newChange(t, plain)
		want, y := trees{before, after}, new(tally)
		defer func() { y.tell(t, "crash", filepath.Base(t.Name())) }()
		for n := range points {
			kind, which, err := c.crashAt(want, fault{n, true})
			y.count(t, kind, which, err)
		}
		if y.ended[0] < 20 || y.ended[1] < 20 {
			t.Errorf("%d ended old and %d new, want plenty of both", y.ended[0], y.ended[1])
		}
		for _, first := range []string{"staged", "steps done"} {
			_, at := c.length(first)
			points, _ := c.length("", fault{n: at})
			for n := at + 1; n < points; n++ {
				kind, which, err := c.crashAt(want, fault{n: at}, fault{n, true})
				y.count(t, kind, which, err)
			}
		}
	})
}

// TestEveryPointOfRecovery crashes, and lets an error or another crash befall what makes good the first, at each of its points.
func TestEveryPointOfRecovery(t *testing.T) {
	forms(t, func(t *testing.T, plain bool) {
		c, before, after, _ := newChange(t, plain)
		want := trees{before, after}
		for _, by := range []string{"error", "crash"} {
			y := new(tally)
			for _, first := range []string{"staged", "step", "tidied"} {
				_, at := c.length(first)
				for n := 0; ; n++ {
					kind, which, err := c.recoveryAt(want, at, fault{n, by == "crash"})
					if kind == "" {
						break
					}
					y.count(t, "recovery: "+kind, which, err)
				}
			}
			y.tell(t, by, filepath.Base(t.Name()))
		}
	})
}

// recoveryAt crashes at a point and lets a fault befall the recovery; no kind if the recovery has fewer points.
func (c *change) recoveryAt(want trees, at int, f fault) (kind, which string, err error) {
	p := c.prepare()
	p.probe, _ = befall(fault{at, true})
	surviving(func() { p.Apply(c.t.Context()) })
	probe, last := befall(f)
	surviving(func() { c.recovered(probe) })
	if _, err := c.recovered(nil); err != nil {
		return *last, "", fmt.Errorf("crashed at point %d, then point %d (%s) of recovery: Recover() = %w", at, f.n, *last, err)
	}
	if f.crash { // an error may leave what could not be tidied up
		which, err = c.settled(want)
	} else {
		got := c.state()
		if which, err = oldOrNew(want.before, want.after, got); err != nil {
			if _, ok := c.newWithRemains(want); ok {
				which, err = "new", nil
			}
		}
	}
	if err != nil {
		err = fmt.Errorf("crashed at point %d, then point %d (%s) of recovery: %w", at, f.n, *last, err)
	}
	return *last, which, err
}

package install

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// errStop is what a fail point stops with.
var errStop = errors.New("stopped by the test")

// crash is the panic that stands for the end of the process: nothing of what it would have done afterwards is done.
type crash struct{}

// stopAt makes a fail point stop at its n-th call, by an error or by a crash; n < 0 only counts.
func stopAt(n int, byCrash bool) (probe func(string) error, calls *int, last *string) {
	calls, last = new(int), new(string)
	return func(point string) error {
		*calls++
		if *calls-1 != n {
			return nil
		}
		*last = point
		if byCrash {
			panic(crash{})
		}
		return errStop
	}, calls, last
}

// surviving calls f and turns a crash into false.
func surviving(f func()) (whole bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
		}
	}()
	f()
	return true
}

func collect(root string) (names []string) {
	for name := range journals(root) {
		names = append(names, name)
	}
	return names
}

// TestCrashTwice lets several things befall one installation: an error somewhere, a crash in the undo; or a crash, and another one or two in
// what makes good the first.
func TestCrashTwice(t *testing.T) {
	forms(t, func(t *testing.T, plain bool) {
		c, before, after, points := newChange(t, plain)
		rnd, y := rand.New(rand.NewPCG(1, 2)), new(tally)
		defer func() { y.tell(t, "two to four faults", filepath.Base(t.Name())) }()
		for n := range points {
			for range 3 {
				p := c.prepare()
				first := rnd.IntN(2) == 0
				second := n + 1 + rnd.IntN(points)
				calls, trace := 0, ""
				p.probe = func(point string) error {
					calls++
					switch {
					case calls-1 == n && first && point != "sweep" && point != "rmdir" && !strings.HasPrefix(point, "aside"):
						trace += point + " (error), "
						return errStop
					case calls-1 == n, calls-1 == second:
						trace += point + " (crash), "
						panic(crash{})
					}
					return nil
				}
				surviving(func() { p.Apply(t.Context()) })
				for range 2 {
					probe, _, last := stopAt(rnd.IntN(points), true)
					surviving(func() { c.recovered(probe) })
					trace += *last + " (crash in recovery), "
				}
				if _, err := c.recovered(nil); err != nil {
					t.Fatalf("%sRecover() = %v", trace, err)
				}
				which, err := oldOrNew(before, after, c.state())
				if err == nil {
					err = c.left()
				}
				if err != nil {
					err = fmt.Errorf("%s%w", trace, err)
				}
				if which == "new" {
					c.kept(false)
				}
				y.count(t, "anywhere", which, err)
			}
		}
	})
}

func TestErrorInRecovery(t *testing.T) { // what was committed and cannot be finished is undone
	c, before, _, points := newChange(t, false)
	undone := 0
	for n := range points {
		p := c.prepare()
		probe, _, last := stopAt(n, true)
		p.probe = probe
		surviving(func() { p.Apply(t.Context()) })
		if !strings.HasPrefix(*last, "step") {
			continue
		}
		fail, _, _ := stopAt(3, false)
		found, err := c.recovered(fail)
		if err != nil {
			t.Fatalf("crashed at point %d: recovery = %v", n, err)
		}
		if len(found) != 1 || found[0].Outcome != RolledBack || !errors.Is(found[0].Err, errStop) {
			continue // the fail point was of the tidying up
		}
		undone++
		diff(t, fmt.Sprintf("crashed at point %d: tree", n), before, c.state())
		c.clean()
	}
	if undone < 10 {
		t.Errorf("only %d of %d crashes were undone by recovery", undone, points)
	}
}

func TestTornJournal(t *testing.T) {
	c, before, after, _ := newChange(t, false)
	p := c.prepare()
	p.probe = func(point string) error {
		if point == "steps done" {
			panic(crash{})
		}
		return nil
	}
	surviving(func() { p.Apply(t.Context()) })
	names := collect(c.root)
	if len(names) != 1 {
		t.Fatalf("journals %q, want one", names)
	}
	whole, err := os.ReadFile(names[0])
	c.must(err)
	// A commit line over damaged lines: its sync had not returned, and so nothing was done. Here all steps were done, so only
	// the reader is looked at.
	for _, text := range []string{
		strings.Replace(string(whole), `"op":"swap"`, `"op":"hide"`, 1),
		strings.Replace(string(whole), `"op":"commit"`, `"op":"Commit"`, 1),
		string(whole[:len(whole)-2]),
	} {
		if _, _, state, err := readJournal(strings.NewReader(text)); err != nil || state != stateStaging {
			t.Errorf("readJournal() of a damaged journal: state %d, %v, want it not committed", state, err)
		}
	}
	c.must(os.WriteFile(filepath.Join(stateDir(c.root), "aaaa"+journalSuffix), []byte(`{"slipway":"inst`), 0o600))
	found, err := Recover(t.Context(), c.root)
	if err != nil || len(found) != 1 {
		t.Fatalf("Recover() = %v, %v, want one", found, err)
	}
	if which, err := oldOrNew(before, after, c.state()); which != "new" {
		t.Fatal(which, err)
	}
	c.clean()
}

func TestCancelledInTheMiddle(t *testing.T) {
	c, before, _, points := newChange(t, false)
	cause := errors.New("the agent is to stop")
	for n := 0; n < points; n += 3 {
		p := c.prepare()
		ctx, cancel := context.WithCancelCause(t.Context())
		calls := 0
		p.probe = func(string) error {
			if calls++; calls-1 == n {
				cancel(cause)
			}
			return nil
		}
		_, err := p.Apply(ctx)
		if err == nil {
			continue // complete before the next look at the context
		}
		if !errors.Is(err, cause) {
			t.Errorf("cancelled at point %d: Apply() = %v, want the cause", n, err)
		}
		diff(t, "tree", before, c.state())
		c.clean()
		cancel(nil)
	}
}

func TestRecoveryIsCancelled(t *testing.T) { // it is put off, and does not undo what was committed
	c, before, after, _ := newChange(t, false)
	p := c.prepare()
	steps := 0
	p.probe = func(point string) error {
		if point == "step" {
			if steps++; steps == 5 {
				panic(crash{})
			}
		}
		return nil
	}
	surviving(func() { p.Apply(t.Context()) })
	name := collect(c.root)[0]
	ctx, cancel := contextWithCause(t)
	cancel(errStop)
	if r, err := recoverOne(ctx, c.root, name, nil); !errors.Is(err, errStop) {
		t.Fatalf("recoverOne() = %+v, %v, want the context's cause", r, err)
	}
	found, err := Recover(t.Context(), c.root)
	if which, stateErr := oldOrNew(before, after, c.state()); err != nil || len(found) != 1 || found[0].Outcome != Completed || which != "new" {
		t.Fatalf("Recover() = %+v, %v, and the tree is %s, %v", found, err, which, stateErr)
	}
	c.clean()
}

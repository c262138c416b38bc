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

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle/appspec"
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

// change is an installation over another one, with everything in it that a transaction knows.
type change struct {
	*host
	spec  *appspec.Spec
	plain bool
}

// prepare brings the host to the old revision and the bundle to the new one. It may be called again.
func (c *change) prepare() *Plan {
	c.t.Helper()
	for _, dir := range []string{c.dst, c.root} {
		c.must(os.RemoveAll(dir))
		c.must(os.MkdirAll(dir, 0o755))
	}
	c.write(c.dst, entries{"theirs/f": "user", "over/x": "user", "over/link": "-> x"})
	c.bundle(entries{
		"app/same": "s", "app/changed": "old", "app/gone": "g", "app/link": "-> same", "app/sub/deep/gone2": "g", "app/sub/stays": "old",
		"app/to-file/a/b": "x", "app/to-file/c": "y", "app/to-dir": "f", "app/link-to-dir": "-> ../nowhere", "app/kept/ours": "o",
	})
	c.install(c.host.spec("app", "app"), "")
	c.write(c.dst, entries{"app/kept/mine": "user"})
	c.must(os.Chmod(filepath.Join(c.dst, "app/sub"), 0o700))
	if os.Getuid() == 0 {
		c.must(os.Chown(filepath.Join(c.dst, "app/sub"), 3, 4))
	}
	c.bundle(entries{
		"app/same": "s", "app/changed": "new", "app/new": "n", "app/link": "-> new", "app/sub/stays": "new", "app/sub/newdir/x/y": "1",
		"app/to-file": "now a file", "app/to-dir/in": "d", "app/link-to-dir/in": "d", "over/x": "ours", "over/link": "ours", "fresh/a/b": "1", "fresh/c": "2",
	})
	c.spec = c.host.spec("app", "app", "over", "over", "fresh", "fresh")
	c.spec.Permissions = []appspec.Permission{
		{Object: filepath.Join(c.dst, "app/sub"), Pattern: "**", Types: both, Mode: "711", ModeSet: true},
		{Object: filepath.Join(c.dst, "app"), Pattern: "sub", Types: []string{"directory"}, Mode: "0751", ModeSet: true},
	}
	r := c.request(c.spec)
	r.Behavior, r.Deployment = "OVERWRITE", "d-2"
	p, err := Make(c.t.Context(), r)
	c.must(err)
	p.moves.plain = c.plain
	return p
}

// state is what counts: the destination, and the files that the next agent goes by.
func (c *change) state() map[string]string {
	all := snapshot(c.t, c.dst)
	for name, text := range snapshot(c.t, filepath.Join(c.root, instructionsDir)) {
		if i := strings.Index(text, "\""); i >= 0 {
			text = text[i:] // the times of these are ours
		}
		all["instructions/"+name] = text
	}
	return all
}

func newChange(t testing.TB, plain bool) (c *change, before, after map[string]string, points int) {
	c = &change{host: newHostIn(t, memoryDir(t)), plain: plain}
	p := c.prepare()
	before = c.state()
	probe, calls, _ := stopAt(-1, false)
	p.probe = probe
	if _, err := p.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.clean()
	after = c.state()
	if cmp.Equal(before, after) {
		t.Fatal("the change changes nothing")
	}
	return c, before, after, *calls
}

func oldOrNew(before, after, got map[string]string) (string, error) {
	switch {
	case cmp.Equal(before, got):
		return "old", nil
	case cmp.Equal(after, got):
		return "new", nil
	}
	return "", fmt.Errorf("the tree is neither the old nor the new one\nagainst the old (-old +got):\n%s\nagainst the new (-new +got):\n%s", cmp.Diff(before, got), cmp.Diff(after, got))
}

// recovered calls Recover's part for one journal, so that it can be stopped too.
func (c *change) recovered(probe func(string) error) (found []Recovered, errs error) {
	for name := range journals(c.root) {
		r, err := recoverOne(context.Background(), c.root, name, func(t *transaction) { t.probe, t.moves.plain = probe, c.plain })
		errs = errors.Join(errs, err)
		if r != nil {
			found = append(found, *r)
		}
	}
	return found, errs
}

func forms(t *testing.T, f func(t *testing.T, plain bool)) {
	for _, plain := range []bool{false, true} {
		name := "exchange"
		if plain {
			name = "plain renames"
		}
		t.Run(name, func(t *testing.T) { f(t, plain) })
	}
}

func TestErrorAtEveryPoint(t *testing.T) {
	forms(t, func(t *testing.T, plain bool) {
		c, before, after, points := newChange(t, plain)
		undone := 0
		for n := range points {
			p := c.prepare()
			probe, _, last := stopAt(n, false)
			p.probe = probe
			m, err := p.Apply(t.Context())
			if *last == "sweep" || *last == "rmdir" { // the new tree is there, and something of the old one left
				if err != nil || len(m.Warnings) == 0 {
					t.Errorf("stopped at point %d (%s): Apply() = %v, %v, want warnings only", n, *last, m, err)
				}
				continue
			}
			which, stateErr := oldOrNew(before, after, c.state())
			if stateErr != nil {
				t.Fatalf("stopped at point %d (%s): %v", n, *last, stateErr)
			}
			switch {
			case err != nil && which != "old", err == nil && which != "new":
				t.Fatalf("stopped at point %d (%s): Apply() = %v, and the tree is the %s one", n, *last, err, which)
			case err != nil:
				undone++
				c.clean()
				if !errors.Is(err, errStop) {
					t.Errorf("stopped at point %d (%s): Apply() = %v, which does not wrap its cause", n, *last, err)
				}
				if d, _ := Committed(c.root, "group"); d != "d-1" {
					t.Errorf("stopped at point %d (%s): Committed() = %q, want the old one", n, *last, d)
				}
			}
		}
		t.Logf("%d points, %d undone", points, undone)
		if undone < 30 || undone == points {
			t.Errorf("%d of %d points undone, want most and not all", undone, points)
		}
	})
}

func TestCrashAtEveryPoint(t *testing.T) {
	forms(t, func(t *testing.T, plain bool) {
		c, before, after, points := newChange(t, plain)
		count := map[Outcome]int{}
		for n := range points {
			p := c.prepare()
			probe, _, last := stopAt(n, true)
			p.probe = probe
			if surviving(func() { p.Apply(t.Context()) }) {
				t.Fatalf("point %d did not stop", n)
			}
			if _, err := c.make(c.spec, "OVERWRITE"); len(collect(c.root)) > 0 && err == nil {
				t.Fatalf("crashed at point %d (%s): Make() before Recover() did not complain", n, *last)
			}
			found, err := Recover(t.Context(), c.root)
			if err != nil {
				t.Fatalf("crashed at point %d (%s): Recover() = %v", n, *last, err)
			}
			which, err := oldOrNew(before, after, c.state())
			if err != nil {
				t.Fatalf("crashed at point %d (%s): %v", n, *last, err)
			}
			c.clean()
			if len(found) != 1 || found[0].Group != "group" || found[0].Deployment != "d-2" || (found[0].Outcome == Completed) != (which == "new") || found[0].Err != nil {
				t.Fatalf("crashed at point %d (%s): Recover() = %+v, and the tree is the %s one", n, *last, found, which)
			}
			count[found[0].Outcome]++
			if d, ok := Committed(c.root, "group"); !ok || (d == "d-2") != (which == "new") {
				t.Fatalf("crashed at point %d (%s): Committed() = %q, and the tree is the %s one", n, *last, d, which)
			}
			if again, err := Recover(t.Context(), c.root); err != nil || again != nil {
				t.Fatalf("second Recover() = %v, %v, want nothing", again, err)
			}
			c.install(c.spec, "OVERWRITE") // and the next deployment goes on from there
			if which, err := oldOrNew(before, after, c.state()); err != nil || which != "new" {
				t.Fatalf("crashed at point %d (%s), then installed anew: the tree is %s, %v", n, *last, which, err)
			}
		}
		t.Logf("%d points: %v", points, count)
		if count[Completed] < 20 || count[RolledBack] < 20 {
			t.Errorf("outcomes %v, want plenty of both", count)
		}
	})
}

func collect(root string) (names []string) {
	for name := range journals(root) {
		names = append(names, name)
	}
	return names
}

// TestCrashWhileUndoing and while recovering: an error somewhere, a crash in the undo; or a crash, and another one or two in
// what makes good the first.
func TestCrashTwice(t *testing.T) {
	forms(t, func(t *testing.T, plain bool) {
		c, before, after, points := newChange(t, plain)
		rnd := rand.New(rand.NewPCG(1, 2))
		for n := range points {
			for range 3 {
				p := c.prepare()
				first := rnd.IntN(2) == 0
				second := n + 1 + rnd.IntN(points)
				calls, trace := 0, ""
				p.probe = func(point string) error {
					calls++
					switch {
					case calls-1 == n && first && point != "sweep" && point != "rmdir":
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
				if _, err := oldOrNew(before, after, c.state()); err != nil {
					t.Fatalf("%s%v", trace, err)
				}
				c.clean()
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

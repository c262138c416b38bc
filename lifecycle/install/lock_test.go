package install

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"slipway/lifecycle/appspec"
)

// ended is a context that is over: what would wait fails.
func ended(t *testing.T) context.Context {
	ctx, cancel := contextWithCause(t)
	cancel(errStop)
	return ctx
}

func (h *host) requestOf(group string, destinations ...string) Request {
	s := &appspec.Spec{Name: "appspec.yml"}
	for _, d := range destinations {
		s.Files = append(s.Files, appspec.File{Source: "/", Destination: filepath.Join(h.dst, d)})
	}
	r := h.request(s)
	r.Group, r.Deployment = group, "d-"+group
	return r
}

func TestLockExcludes(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b []string
		want bool // one at a time
	}{
		{"the same", []string{"x"}, []string{"x"}, true},
		{"one below the other", []string{"x"}, []string{"x/y/z"}, true},
		{"one above the other", []string{"x/y/z"}, []string{"x"}, true},
		{"side by side", []string{"x/a"}, []string{"x/b"}, false},
		{"a name that begins like another", []string{"x/a"}, []string{"x/ab"}, false},
		{"one of several", []string{"x/a", "x/b"}, []string{"x/c", "x/b"}, true},
		{"none of several", []string{"x/a", "x/b"}, []string{"x/c", "x/d"}, false},
		{"through a link", []string{"link/q"}, []string{"x/a"}, true},
		{"through a link, side by side", []string{"link/q"}, []string{"x/b"}, false},
		{"both would make the same directory", []string{"new/a"}, []string{"new/b"}, true},
		{"nothing at all", nil, []string{"x"}, false},
	} {
		h := newHost(t)
		h.write(h.dst, entries{"x/a/q/": "", "x/ab/": "", "x/b/": "", "x/c/": "", "x/d/": "", "x/y/z/": "", "link": "-> x/a"})
		a, b := h.requestOf("a", c.a...), h.requestOf("b", c.b...)
		unlock, err := Lock(t.Context(), &a)
		h.must(err)
		again, err := Lock(ended(t), &b)
		if got := err != nil; got != c.want {
			t.Errorf("%s: Lock() of the second = %v, want it to wait: %v", c.name, err, c.want)
		}
		if err == nil {
			again()
		} else if !errors.Is(err, errStop) || !strings.Contains(err.Error(), "deployment d-a of deployment group a, process ") || !strings.Contains(err.Error(), h.dst) {
			t.Errorf("%s: Lock() = %v, want the cause, the place and who has it", c.name, err)
		}
		unlock()
		again, err = Lock(ended(t), &b)
		h.must(err)
		again()
		if left, err := os.ReadDir(filepath.Join(stateDir(h.root), "locks")); err != nil || len(left) != 0 {
			t.Errorf("%s: %d lock files left, %v", c.name, len(left), err)
		}
	}
}

func TestLockCoversWhatGoes(t *testing.T) { // the places of the cleanup file, with nothing to do there any more
	h := newHost(t)
	h.write(h.dst, entries{"etc/theirs": "t", "lib/theirs": "t"})
	h.bundle(entries{"f": "1", "d/g": "1"})
	h.install(h.spec("f", "etc", "d", "app/sub"), "")
	r := h.requestOf("group", "elsewhere")
	places, err := r.places()
	h.must(err)
	diff(t, "places", []string{h.dst + "/app", h.dst + "/elsewhere", h.dst + "/etc", "group:group"}, places)
	unlock, err := Lock(t.Context(), &r)
	h.must(err)
	defer unlock()
	for dir, want := range map[string]bool{"etc": true, "app/sub": true, "lib": false} {
		other := h.requestOf("other", dir)
		unlock, err := Lock(ended(t), &other)
		if (err != nil) != want {
			t.Errorf("Lock() of %s = %v, want it to wait: %v", dir, err, want)
		}
		if err == nil {
			unlock()
		}
	}
	if err := Forget(ended(t), h.root, "group"); err == nil || !strings.Contains(err.Error(), "deployment group group is taken by deployment d-group") {
		t.Errorf("Forget() of the same group = %v, want it to wait", err)
	}
}

func TestLockIsBounded(t *testing.T) {
	for _, c := range []struct{ places, want []string }{
		{[]string{"/"}, []string{"/"}},
		{[]string{"/a/b", "/a", "/ab", "/a/c"}, []string{"/a", "/ab"}},
		{[]string{"/a-b", "/a/b", "/a"}, []string{"/a-b", "/a"}},
		{[]string{"/srv" + strings.Repeat("/x", 200), groupLock + "g"}, nil},
	} {
		got := coarsen(c.places)
		if n := len(lockNames(got)); n > maxLocks {
			t.Errorf("coarsen(%.60q) needs %d locks", c.places, n)
		}
		if c.want != nil {
			diff(t, fmt.Sprint(c.places), c.want, got)
		}
	}
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("/srv/sites/%d/app", i))
	}
	diff(t, "many", []string{"/srv/sites", groupLock + "g"}, coarsen(append(many, groupLock+"g")))
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		var places []string
		for range 1 + rnd.IntN(100) {
			p := ""
			for range 1 + rnd.IntN(6) {
				p += fmt.Sprintf("/%d", rnd.IntN(9))
			}
			places = append(places, p)
		}
		tops := coarsen(places)
		l := &locks{places: tops}
		if !l.covers(places) || len(lockNames(tops)) > maxLocks {
			t.Fatalf("coarsen(%q) = %q", places, tops)
		}
	}
}

// TestLockUnderStress takes locks in many goroutines at once. Nobody may ever be where another one is, above or below.
func TestLockUnderStress(t *testing.T) {
	h := newHostIn(t, memoryDir(t))
	places := []string{"a", "a/b", "a/b/c", "a/d", "e", "e/f", "g/h", "."}
	for _, p := range places {
		h.must(os.MkdirAll(filepath.Join(h.dst, p), 0o755))
	}
	var mu sync.Mutex // guards in and rounds
	in := map[int][]string{}
	rounds := 0
	enter := func(who int, mine []string) {
		mu.Lock()
		defer mu.Unlock()
		for other, theirs := range in {
			for _, a := range mine {
				for _, b := range theirs {
					if a, b := filepath.Join("/", a), filepath.Join("/", b); isBelow(a, b) || isBelow(b, a) {
						t.Errorf("%d is in %s while %d is in %s", who, a, other, b)
					}
				}
			}
		}
		in[who] = mine
		rounds++
	}
	var all sync.WaitGroup
	for who := range 6 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(who), 7))
			for range 15 {
				mine := []string{places[rnd.IntN(len(places))], places[rnd.IntN(len(places))]}
				r := h.requestOf(fmt.Sprint("g", who), mine...)
				unlock, err := Lock(context.Background(), &r)
				if err != nil {
					t.Error(err)
					return
				}
				enter(who, mine)
				mu.Lock()
				delete(in, who)
				mu.Unlock()
				unlock()
			}
		})
	}
	all.Wait()
	if left, _ := os.ReadDir(filepath.Join(stateDir(h.root), "locks")); len(left) != 0 || rounds != 90 {
		t.Errorf("%d rounds, %d lock files left", rounds, len(left))
	}
}

func TestLockEndsWithItsProcess(t *testing.T) {
	h := newHost(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), lockerEnv+"="+h.base)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	h.must(err)
	h.must(cmd.Start())
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	r := h.requestOf("other", "app")
	if _, err := Lock(ended(t), &r); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", cmd.Process.Pid)) {
		t.Errorf("Lock() beside another process = %v, want it to wait for that", err)
	}
	h.must(cmd.Process.Kill())
	cmd.Wait()
	unlock, err := Lock(ended(t), &r)
	h.must(err)
	unlock()
}

// TestLockAroundMakeAndApply installs two groups side by side, the second within the first's transaction.
func TestLockAroundMakeAndApply(t *testing.T) {
	h := newHost(t)
	h.bundle(entries{"x": "1"})
	h.write(h.dst, entries{"a/": "", "b/": ""})
	a, b := h.requestOf("a", "a"), h.requestOf("b", "b")
	unlockA, err := Lock(t.Context(), &a)
	h.must(err)
	defer unlockA()
	p, err := Make(t.Context(), a)
	h.must(err)
	p.probe = func(point string) error {
		if point != "steps done" {
			return nil
		}
		unlockB, err := Lock(ended(t), &b)
		if err != nil {
			return err
		}
		defer unlockB()
		if found, err := Recover(t.Context(), h.root); err != nil || found != nil { // it is alive
			t.Errorf("Recover() beside a living installation = %+v, %v", found, err)
		}
		return makeAndApply(t.Context(), b)
	}
	_, err = p.Apply(t.Context())
	h.must(err)
	h.clean()
	diff(t, "tree", entries{"a/": "", "a/x": "1", "b/": "", "b/x": "1"}, shape(t, h.dst))
}

// TestLockFollowsLinksWithin: a link inside the destination leads to a place that the appspec does not name.
func TestLockFollowsLinksWithin(t *testing.T) {
	h := newHost(t)
	h.bundle(entries{"data/x": "1"})
	h.write(h.dst, entries{"real/": "", "app/data": "-> ../real"})
	r, other := h.requestOf("group", "app"), h.requestOf("other", "real")
	unlock, err := Lock(t.Context(), &r)
	h.must(err)
	unlockOther, err := Lock(t.Context(), &other) // nobody knows yet
	h.must(err)
	if _, err := Make(t.Context(), r); err == nil || !strings.Contains(err.Error(), "real is taken by deployment d-other") {
		t.Errorf("Make() = %v, want it refused", err)
	}
	unlockOther()
	p, err := Make(t.Context(), r)
	h.must(err)
	if _, err := Lock(ended(t), &other); err == nil {
		t.Error("Lock() of where a link within a plan leads to does not wait")
	}
	_, err = p.Apply(t.Context())
	h.must(err)
	unlock()
	// And without Lock: Apply locks for itself.
	h.bundle(entries{"data/y": "1"})
	p, err = Make(t.Context(), h.requestOf("group", "app"))
	h.must(err)
	unlockOther, err = Lock(ended(t), &other)
	h.must(err)
	if _, err := p.Apply(ended(t)); err == nil || !strings.Contains(err.Error(), "real is taken by deployment d-other") {
		t.Errorf("Apply() = %v, want it refused", err)
	}
	unlockOther()
	_, err = p.Apply(t.Context())
	h.must(err)
	diff(t, "tree", entries{"app/": "", "app/data": "-> ../real", "real/": "", "real/y": "1"}, shape(t, h.dst))
}

func TestOutdatedPlan(t *testing.T) { // another process has installed the group since
	h := newHost(t)
	s := h.spec("/", "app")
	h.bundle(entries{"a": "1"})
	h.install(s, "")
	h.bundle(entries{"b": "1"})
	p, err := h.make(s, "")
	h.must(err)
	h.install(s, "")
	before := snapshot(t, h.dst)
	if _, err := p.Apply(t.Context()); err == nil || !strings.Contains(err.Error(), "plan anew") {
		t.Errorf("Apply() of an outdated plan = %v, want it refused", err)
	}
	diff(t, "tree", before, snapshot(t, h.dst))
}

func TestRecoverWaits(t *testing.T) { // for who installs to the same place; and it removes what came to no journal
	c, before, _, _ := newChange(t, false)
	p := c.prepare()
	p.probe, _, _ = stopAt(10, true)
	if surviving(func() { p.Apply(t.Context()) }) {
		t.Fatal("point 10 did not stop")
	}
	c.must(os.WriteFile(filepath.Join(stateDir(c.root), "abc"+journalSuffix+unborn), nil, 0o600))
	other := c.requestOf("other", "app")
	unlock, err := Lock(t.Context(), &other)
	c.must(err)
	if _, err := Recover(ended(t), c.root); !errors.Is(err, errStop) || !strings.Contains(err.Error(), "deployment d-other") {
		t.Errorf("Recover() while somebody installs there = %v, want it to wait", err)
	}
	unlock()
	found, err := Recover(t.Context(), c.root)
	if err != nil || len(found) != 1 {
		t.Errorf("Recover() = %+v, %v, want one", found, err)
	}
	diff(t, "tree", before, c.state())
	c.clean()
	if left, _ := filepath.Glob(filepath.Join(stateDir(c.root), "*"+unborn)); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

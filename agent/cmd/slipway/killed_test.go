package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
)

// mixedPaths is how many paths the revisions of most of these tests have.
const mixedPaths = 2000

// memoryDir is a new folder in memory, where the machine has a memory file system.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "slipway-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// rounds are installations of two revisions over each other.
type rounds struct {
	*labHost
	trees map[string]map[string]node // by revision
	took  map[string]time.Duration   // by phase
	now   string                     // the revision that is installed
	rng   *rand.Rand
	table map[string]*counts
}

// counts are what came of kills in one phase: the tree after recovery, and the deployment in the lab's record.
type counts struct{ kills, old, new, succeeded, failed, exceptions int }

func newRounds(t *testing.T, dir string) *rounds {
	r := roundsOf(t, newLabHost(t, dir), mixedPaths)
	r.start()
	r.settle()
	return r
}

// roundsOf are those of a host that has nothing yet; its agent need not run.
func roundsOf(t *testing.T, h *labHost, paths int) *rounds {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := &rounds{labHost: h, trees: map[string]map[string]node{}, took: map[string]time.Duration{}, table: map[string]*counts{}, rng: rand.New(rand.NewPCG(seed, 0))}
	r.put("v1", mixed(r.labHost, 1, paths))
	r.put("v2", mixed(r.labHost, 2, paths))
	return r
}

// settle brings both revisions until an installation changes only what differs between them.
func (r *rounds) settle() {
	r.bring("v1")
	for _, name := range []string{"uploads/mine", "d01/mine", "d02/mine"} {
		path := filepath.Join(r.site, name)
		r.must(os.MkdirAll(filepath.Dir(path), 0o755))
		r.must(os.WriteFile(path, []byte("user"), 0o644))
	}
	for range 2 { // what is the same from the second time on
		for _, v := range []string{"v2", "v1"} {
			r.measured(v)
			r.trees[v] = treeOf(r.t, r.site)
		}
	}
	r.now = "v1"
	if _, err := oldOrNew(nil, r.trees["v2"], r.trees["v1"]); err == nil {
		r.t.Fatal("the revisions are the same")
	}
	r.t.Logf("%d and %d paths, phases of an installation: %v", len(r.trees["v1"]), len(r.trees["v2"]), r.took)
}

// measured brings a revision and notes how long the parts of its installation take.
func (r *rounds) measured(v string) {
	r.t.Helper()
	d := r.create(v)
	<-d.installing
	began, last := time.Now(), phaseBefore
	ended := func(next string) {
		took := time.Since(began)
		if known := r.took[last]; known == 0 || took < known { // others of this machine may have been in the way
			r.took[last] = took
		}
		began, last = time.Now(), next
	}
	r.watch(d, func(phase string) bool {
		if phase != last {
			ended(phase)
		}
		return phase == phaseDone
	})
	<-d.over
	ended("")
	r.took[phaseUndoing] = r.took[phaseCommitted]
	if status, problem := r.end(d); status != types.DeploymentStatusSucceeded {
		r.t.Fatalf("deployment of %s = %s, %s", v, status, problem)
	}
}

// watch looks at the journal until a phase will do, or the deployment has ended.
func (r *rounds) watch(d *labDeployment, enough func(phase string) bool) {
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	for !enough(r.phase(d.id)) {
		select {
		case <-d.over:
			return
		case <-tick.C:
		}
	}
}

// order of the phases.
var order = []string{phaseBefore, phaseStaging, phaseCommitted, phaseUndoing, phaseTidying, phaseDone}

// within waits for a phase of an installation and then for a random part of the time that it takes.
func (r *rounds) within(d *labDeployment, phase string) {
	<-d.installing
	r.watch(d, func(now string) bool { return slices.Index(order, now) >= slices.Index(order, phase) })
	timer := time.NewTimer(time.Duration(r.rng.Float64() * float64(r.took[phase])))
	defer timer.Stop()
	<-timer.C
}

// aims are the phases to kill in: most where most is to be made good.
var aims = []string{phaseStaging, phaseCommitted, phaseTidying, phaseStaging, phaseCommitted, phaseBefore, phaseTidying, phaseCommitted, phaseStaging, phaseDone}

// TestKillAtRandomInstants kills the agent with SIGKILL in the middle of installations, and looks at the tree and at the lab's record of
// the deployment: the tree after recovery alone, and again after the agent has gone on.
func TestKillAtRandomInstants(t *testing.T) {
	aside(t)
	r := newRounds(t, memoryDir(t))
	spoilt := r.canSpoil()
	for n := range times(t, "CRASH_KILLS", 20) {
		r.killed(n, spoilt && n%5 == 4)
		if failures := r.exceptions(); failures > 5 {
			t.Fatal("and so on")
		}
	}
	for _, fails := range []string{"", failing} {
		for _, phase := range order {
			if c := r.table[phase+fails]; c != nil {
				tell(t, "kills", phase+fails, c.kills, c.old, c.new, c.succeeded, c.failed, c.exceptions)
			}
		}
	}
}

func (r *rounds) exceptions() (n int) {
	for _, c := range r.table {
		n += c.exceptions
	}
	return n
}

// failing marks installations that fail by themselves.
const failing = ", of an installation that fails"

// spoil makes a file of the site immutable, which lets an installation fail in the middle of its commit.
func (r *rounds) spoil(flag string) error {
	return exec.Command("chattr", flag, filepath.Join(r.site, "d20/f1500")).Run()
}

func (r *rounds) canSpoil() bool {
	err := r.spoil("+i")
	if err == nil {
		err = r.spoil("-i")
	}
	if err != nil {
		r.t.Logf("no installations that fail: there are no immutable files here: %v", err)
	}
	return err == nil
}

// impossible reports whether recovery alone cannot make such a tree of what the journal of that phase says.
func impossible(phase, which string) bool {
	switch phase {
	case phaseTidying, phaseDone:
		return which == "old"
	case phaseBefore, phaseStaging, phaseUndoing:
		return which == "new"
	}
	return false
}

// killed is one deployment that is killed, recovered and gone on with.
func (r *rounds) killed(n int, spoilt bool) {
	r.t.Helper()
	next := map[string]string{"v1": "v2", "v2": "v1"}[r.now]
	before, aim := treeOf(r.t, r.site), aims[n%len(aims)]
	if spoilt {
		r.must(r.spoil("+i"))
		aim = []string{phaseCommitted, phaseUndoing, phaseUndoing}[n/5%3]
	}
	d := r.create(next)
	r.within(d, aim)
	r.kill()
	phase := r.phase(d.id)
	key := phase
	if spoilt {
		key += failing
	}
	if r.table[key] == nil {
		r.table[key] = new(counts)
	}
	c := r.table[key]
	c.kills++
	exception := func(err error) {
		if err != nil {
			c.exceptions++
			r.t.Errorf("kill %d of a deployment of %s over %s, %s: %v", n, next, r.now, key, err)
		}
	}
	r.offline()
	which, err := oldOrNew(before, r.trees[next], treeOf(r.t, r.site))
	switch which {
	case "old":
		c.old++
	case "new":
		c.new++
	}
	exception(err)
	if left := r.leftovers(); len(left) > 0 {
		exception(fmt.Errorf("left after recovery: %v", left))
	}
	if impossible(phase, which) {
		exception(fmt.Errorf("the %s tree", which))
	}

	r.start()
	status, problem := r.end(d)
	which, err = oldOrNew(before, r.trees[next], treeOf(r.t, r.site))
	exception(err)
	switch {
	case status == types.DeploymentStatusSucceeded && which == "new":
		c.succeeded++
		r.now = next
	case status == types.DeploymentStatusFailed && which == "old" && spoilt:
		c.failed++
	default:
		exception(fmt.Errorf("the lab's record is %s (%s), and the tree is the %s one", status, problem, which))
	}
	if spoilt {
		r.must(r.spoil("-i"))
	}
}

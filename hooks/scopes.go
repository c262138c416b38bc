package hooks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Scopes is a Container that gives each run a transient scope unit of systemd, with the cgroup delegated. On cgroup v2 the shim and the script
// have leaves of their own in it; on cgroup v1 they share it. A scope lives until its last process ends, whatever becomes of the agent
// and its unit.
type Scopes struct {
	// Start has the service manager start a scope of that name with a process in it, and returns when it is there. limits are properties of
	// the scope.
	Start func(ctx context.Context, unit string, pid int, limits map[string]uint64) error
	// Stop has it stop the unit.
	Stop func(ctx context.Context, unit string) error

	count atomic.Uint64 // makes names differ
}

var _ Reserver = (*Scopes)(nil)

// maxUnitText bounds the part of a unit's name that comes from the run; a name has at most 255 bytes.
const maxUnitText = 100

// unitName is a name that no other unit of this boot has: runs may be called anything, and a process number comes again.
func (c *Scopes) unitName(e Entrant) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, e.Name)
	start := uint64(0)
	if p, err := readProc(e.Shim); err == nil {
		start = p.start
	}
	if safe != "" {
		safe = safe[:min(len(safe), maxUnitText)] + "-"
	}
	return fmt.Sprintf("slipway-hook-%s%d-%x-%d.scope", safe, e.Shim, start, c.count.Add(1))
}

// Enter starts a scope with the shim in it.
func (c *Scopes) Enter(ctx context.Context, e Entrant) (Place, error) {
	all, before, err := mounted(e.Shim)
	if err != nil {
		return Place{}, fmt.Errorf("look at the cgroups of the shim: %w", err)
	}
	unit := c.unitName(e)
	// Where shim and script do not share their cgroup the limits are put on the script's alone.
	var limits map[string]uint64
	if _, v2 := locate(all, before, ""); !v2 || !inForce2(all, e.Limits) {
		limits = e.Limits.properties()
	}
	var notes []string
	err = c.Start(ctx, unit, e.Shim, limits)
	if err != nil && len(limits) > 0 && ctx.Err() == nil {
		// An old systemd does not know every limit.
		if again := c.Start(ctx, unit, e.Shim, nil); again == nil {
			notes, err = append(notes, "systemd does not take the limits: "+err.Error()), nil
		}
	}
	if err != nil {
		return Place{}, err
	}
	cgroups, err := os.ReadFile("/proc/" + strconv.Itoa(e.Shim) + "/cgroup")
	if err != nil {
		return Place{}, fmt.Errorf("look at the cgroups of the shim: %w", err)
	}
	p, err := c.furnish(all, string(cgroups), unit, e)
	p.Notes = append(notes, p.Notes...)
	return p, err
}

// Reserve starts a scope for a shim that waits. Its name does not say what for.
func (c *Scopes) Reserve(ctx context.Context, shim int) (Place, error) {
	return c.Enter(ctx, Entrant{Shim: shim})
}

// Confirm puts the limits into force, which on cgroup v1 takes another scope.
func (c *Scopes) Confirm(ctx context.Context, p Place, e Entrant) (Place, error) {
	if e.Limits == (Limits{}) {
		return p, nil
	}
	all, _, err := mounted(e.Shim)
	if err != nil || p.Kind != PlaceCgroup2 || !inForce2(all, e.Limits) {
		other, err := c.Enter(ctx, e)
		if err == nil {
			go c.Leave(p) //nolint:errcheck // it is empty and does no harm
		}
		return other, err
	}
	limitIn2(&p, e.Limits)
	return p, nil
}

// limitIn2 puts the limits into force in a scope on cgroup v2 and notes why one is not.
func limitIn2(p *Place, l Limits) {
	if err := limitCgroup2(filepath.Dir(p.Hook), p, l); err != nil {
		p.Notes = append(p.Notes, "limits: "+err.Error())
	}
}

// inForce2 reports whether a limit could be one of cgroup v2: the controllers are there and not with cgroup v1.
func inForce2(all []hierarchy, l Limits) bool {
	for _, h := range all {
		if h.names == "" {
			continue
		}
		if l.Memory > 0 && strings.Contains(h.names, ",memory,") || l.CPU > 0 && strings.Contains(h.names, ",cpu,") || l.PIDs > 0 && strings.Contains(h.names, ",pids,") {
			return false
		}
	}
	return true
}

// furnish makes the leaves in a scope that has just been started.
func (c *Scopes) furnish(all []hierarchy, cgroups, unit string, e Entrant) (Place, error) {
	ours := func(name string) (string, bool) {
		dir, ok := locate(all, cgroups, name)
		return dir, ok && filepath.Base(dir) == unit
	}
	if scope, ok := ours(""); ok {
		p := Place{Kind: PlaceCgroup2, Hook: filepath.Join(scope, "hook"), Shim: filepath.Join(scope, "shim")}
		for _, dir := range []string{p.Shim, p.Hook} {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return Place{}, fmt.Errorf("make cgroup in %s: %w", unit, err)
			}
		}
		if err := setFile(p.Shim, "cgroup.procs", strconv.Itoa(e.Shim)); err != nil {
			return Place{}, fmt.Errorf("move shim into its cgroup in %s: %w", unit, err)
		}
		if limited1(&p, ours, e.Limits) {
			return p, nil
		}
		limitIn2(&p, e.Limits)
		return p, nil
	}
	if scope, ok := ours("name=systemd"); ok {
		p := Place{Kind: PlaceCgroup1, Hook: scope}
		limited1(&p, ours, e.Limits)
		return p, nil
	}
	return Place{}, fmt.Errorf("%s was started, but the shim is not in it", unit)
}

// oomControl counts the kills of cgroup v1.
const oomControl = "memory.oom_control"

// limited1 looks which limits systemd has put into force with controllers of cgroup v1: it takes them also where it has none.
func limited1(p *Place, ours func(string) (string, bool), l Limits) (any bool) {
	if dir, ok := ours("memory"); ok && l.Memory > 0 {
		p.Limits.Memory, p.MemoryEvents, any = l.Memory, filepath.Join(dir, oomControl), true
	}
	if _, ok := ours("cpu"); ok && l.CPU > 0 {
		p.Limits.CPU, any = l.CPU, true
	}
	if dir, ok := ours("pids"); ok && l.PIDs > 0 {
		p.Limits.PIDs, p.PIDsEvents, any = l.PIDs, filepath.Join(dir, "pids.events"), true
	}
	return any
}

// Leave has nothing to do on cgroup v2: systemd removes a scope and all below it with the last process. On v1 the kernel does not tell
// systemd in a container that a cgroup is empty.
func (c *Scopes) Leave(p Place) error {
	if p.Kind != PlaceCgroup1 {
		return nil
	}
	for tried := time.Now(); len(cgroupPIDs(p.Hook)) > 0; time.Sleep(leavePause) { // what was killed last is on its way out
		if time.Since(tried) > leaveTime {
			return nil // a daemon that was left
		}
	}
	if !exists(p.Hook) {
		return nil
	}
	return c.Stop(context.Background(), filepath.Base(p.Hook))
}

// Times of Leave.
const (
	leaveTime  = time.Second
	leavePause = 20 * time.Millisecond
)

// shield keeps the shim from being the one that the kernel kills when it shares a memory limit with its script. Scripts get back to the neutral
// standing when they are started.
func shield(p Place) {
	if filepath.Base(p.MemoryEvents) != oomControl {
		return
	}
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0) // needs root, as such limits do
}

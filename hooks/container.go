package hooks

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"
)

// Container is where runs live and what makes it possible to end one whole. Without one a run is held together by its
// process group and by the shim being a child subreaper, which a script can leave only by handing work to another service.
type Container interface {
	// Enter puts the shim, which has not started anything yet, into its place, and says where the script goes. On an error the
	// run goes on without a container, and says so. Limits that cannot be enforced are no error: they are missing in the Place.
	Enter(context.Context, Entrant) (Place, error)
	// Leave tidies up after the shim has ended. What the script left running there goes on.
	Leave(Place) error
}

// Reserver is a Container that a shim can enter before it is known what for, which takes time that a script then need not wait for.
type Reserver interface {
	Container
	// Reserve is Enter without name and limits.
	Reserve(ctx context.Context, shim int) (Place, error)
	// Confirm makes a reserved place that of a run.
	Confirm(context.Context, Place, Entrant) (Place, error)
}

// Entrant is who enters a Container.
type Entrant struct {
	Name   string // of the run; any text
	Shim   int    // pid
	Limits Limits // of the script
}

// Kinds of Place.
const (
	PlaceNone    = ""        // process group and subreaper
	PlaceCgroup2 = "cgroup2" // Hook is a cgroup of the script's own
	PlaceCgroup1 = "cgroup1" // Hook is a cgroup that shim and script share; all in it but the shim is the script's
)

// Place tells the shim where the script lives.
type Place struct {
	Kind string `json:"kind,omitempty"`
	Hook string `json:"hook,omitempty"` // absolute path of the cgroup's folder
	Shim string `json:"shim,omitempty"` // that of the shim's own, for PlaceCgroup2

	// Limits are those in force. The files tell how often they were met.
	Limits       Limits `json:"limits,omitzero"`
	MemoryEvents string `json:"memory_events,omitempty"` // counts oom_kill
	PIDsEvents   string `json:"pids_events,omitempty"`   // counts max

	// Notes are for the result of the run.
	Notes []string `json:"-"`

	of Container // which Chain member it is in
}

var _ Reserver = (*Chain)(nil)

// errNoReserve says that places cannot be had in advance.
var errNoReserve = errors.New("container has no places in advance")

// Chain is a Container that tries several, the best one first.
type Chain struct {
	Containers []Container
	// Log is told when the first of them fails and when it works again.
	Log *zap.Logger

	mu     sync.Mutex // guards failed
	failed bool
}

// Enter enters the first container that takes the run. Those that did not are in the notes of the Place.
func (c *Chain) Enter(ctx context.Context, e Entrant) (Place, error) {
	var errs []error
	for i, member := range c.Containers {
		p, err := member.Enter(ctx, e)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.tell(i == 0, errors.Join(errs...))
		for _, err := range errs {
			p.Notes = append(p.Notes, "the script ran in another container than usual: "+err.Error())
		}
		p.of = member
		return p, nil
	}
	err := errors.Join(errs...)
	c.tell(false, err)
	return Place{}, err
}

// Reserve reserves a place in the first container, if that can do so.
func (c *Chain) Reserve(ctx context.Context, shim int) (Place, error) {
	if len(c.Containers) > 0 {
		if first, ok := c.Containers[0].(Reserver); ok {
			p, err := first.Reserve(ctx, shim)
			p.of = first
			return p, err
		}
	}
	return Place{}, errNoReserve
}

// Confirm confirms a place of the first container, or enters one anew where that cannot be.
func (c *Chain) Confirm(ctx context.Context, p Place, e Entrant) (Place, error) {
	if first, ok := p.of.(Reserver); ok {
		if confirmed, err := first.Confirm(ctx, p, e); err == nil {
			c.tell(true, nil)
			confirmed.of = first
			return confirmed, nil
		}
	}
	return c.Enter(ctx, e)
}

// Leave tidies up in the container that was entered.
func (c *Chain) Leave(p Place) error {
	if p.of == nil {
		return nil
	}
	return p.of.Leave(p)
}

// tell logs a change.
func (c *Chain) tell(well bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if well != c.failed || c.Log == nil {
		return
	}
	if c.failed = !well; well {
		c.Log.Info("hooks have their usual container again")
	} else {
		c.Log.Warn("hooks do not get their usual container: told again when they do", zap.Error(err))
	}
}

// reserve gives a shim that waits a place in advance, where there are such.
func (r *Runner) reserve(w *waiting) {
	c, ok := r.Container.(Reserver)
	if !ok {
		return
	}
	p, err := c.Reserve(context.Background(), w.process.Pid)
	if err != nil { // entering it later fails too, and tells
		r.log().Debug("no place reserved", zap.Error(err))
		return
	}
	w.place = p
}

// enter puts the shim into the container and notes what came of it.
func (r *Runner) enter(ctx context.Context, w *waiting, e Entrant, script string) (Place, []string) {
	var p Place
	var notes []string
	if r.Container != nil {
		var err error
		if reserver, ok := r.Container.(Reserver); ok && w.place.Kind != PlaceNone {
			p, err = reserver.Confirm(ctx, w.place, e)
		} else {
			p, err = r.Container.Enter(ctx, e)
		}
		if err != nil {
			r.log().Debug("script runs without a container", zap.String("script", script), zap.Error(err))
			p, notes = Place{}, []string{"the script ran without a container: " + err.Error()}
		}
	}
	notes = append(notes, p.Notes...)
	if missing := e.Limits.missing(p.Limits); missing != "" {
		notes = append(notes, fmt.Sprintf("the script ran without these limits, which cannot be enforced here: %s", missing))
	}
	return p, notes
}

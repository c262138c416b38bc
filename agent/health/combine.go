package health

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A NamedProbe is one of several probes of an application. The name is what operators read: "http", "tcp db:3306".
type NamedProbe struct {
	Name string
	Prober
}

// All is one probe of several: every one of them must find the application fit. They run side by side, so that the slowest one decides
// how long it takes. The error names each that failed, in the order given. One probe alone keeps its own words.
//
// All does not wait beyond the end of its context for a probe that does not heed it; that probe is reported as bad until it returns, and is
// not started a second time meanwhile.
func All(probes ...NamedProbe) Prober {
	a := &allProbes{busy: make([]atomic.Bool, len(probes)), found: make([]error, len(probes)), probes: slices.Clone(probes)}
	return a
}

type allProbes struct {
	probes []NamedProbe
	busy   []atomic.Bool // a probe that was not waited for goes on

	mu     sync.Mutex
	probed bool
	found  []error // of the last round, guarded by mu
}

// errStillBusy says that a probe of an earlier round has not returned.
var errStillBusy = errors.New("the probe before has not ended yet")

// Probe runs all of them once.
func (a *allProbes) Probe(ctx context.Context) error {
	type outcome struct {
		i   int
		err error
	}
	found := make([]error, len(a.probes))
	ended := make(chan outcome, len(a.probes))
	running := 0
	for i := range a.probes {
		if !a.busy[i].CompareAndSwap(false, true) {
			found[i] = errStillBusy
			continue
		}
		found[i] = errProbeTimeout // until it has ended
		running++
		go func() {
			err := a.probes[i].Probe(ctx)
			a.busy[i].Store(false)
			ended <- outcome{i, err}
		}()
	}
	for ; running > 0; running-- {
		select {
		case o := <-ended:
			found[o.i] = o.err
			continue
		case <-ctx.Done():
		}
		// What heeds its context is back in a moment, with words of its own.
		timer := time.NewTimer(leave)
		select {
		case o := <-ended:
			found[o.i] = o.err
		case <-timer.C:
			running = 1
		}
		timer.Stop()
	}
	for i, err := range found {
		if err != nil && ctx.Err() != nil && !errors.Is(err, errStillBusy) && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, errProbeTimeout)) {
			found[i] = context.Cause(ctx)
		}
	}
	a.mu.Lock()
	a.found, a.probed = found, true
	a.mu.Unlock()
	return a.join(found)
}

// leave is how long a probe whose time is over is waited for.
const leave = 50 * time.Millisecond

func (a *allProbes) join(found []error) error {
	var bad []error
	for i, err := range found {
		if err != nil && len(a.probes) > 1 {
			err = fmt.Errorf("%s: %w", a.probes[i].Name, err)
		}
		if err != nil {
			bad = append(bad, err)
		}
	}
	if len(bad) < 2 {
		return errors.Join(bad...)
	}
	return joined(bad)
}

// joined is several errors on one line.
type joined []error

func (j joined) Error() string {
	parts := make([]string, len(j))
	for i, err := range j {
		parts[i] = err.Error()
	}
	return strings.Join(parts, "; ")
}

func (j joined) Unwrap() []error { return j }

// ProbeResult is what one of several probes found last.
type ProbeResult struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text,omitempty"`
}

// results are what each probe found last; nil before the first round.
func (a *allProbes) results() []ProbeResult {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.probed {
		return nil
	}
	out := make([]ProbeResult, len(a.probes))
	for i, err := range a.found {
		out[i] = ProbeResult{Name: a.probes[i].Name, OK: err == nil}
		if err != nil {
			out[i].Text = err.Error()
		}
	}
	return out
}

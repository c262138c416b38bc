package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Defaults of [Application], for fields that are zero.
const (
	DefaultInterval = 5 * time.Second
	DefaultTimeout  = 3 * time.Second
	DefaultMaxAge   = 30 * time.Second
	DefaultRise     = 2
	DefaultFall     = 3
)

// Prober asks the application once. A nil error means fit for traffic; else the error says what was wrong, in words
// for an operator. It must return soon after its context ends.
type Prober interface {
	Probe(ctx context.Context) error
}

// Application says how the application is watched.
type Application struct {
	// Probe asks the application. Nil: none is configured, and the balancer's path answers 404 saying so; 200 would
	// claim what nobody checked, and 503 would look like a sick application rather than a missing setting.
	Probe Prober
	// Interval is the time from the start of one probe to the start of the next.
	Interval time.Duration
	// Timeout bounds one probe.
	Timeout time.Duration
	// MaxAge is how old the last finished probe may be; an older one counts as unhealthy, with that as the reason.
	MaxAge time.Duration
	// Rise good probes in a row make it healthy again, Fall bad ones unhealthy. The very first good probe makes it
	// healthy at once, as a balancer does with a new target.
	Rise, Fall int
	// Grace is how long after the start bad probes count as starting up: the answer is 503 all the same, but the
	// reason says so, nothing is logged as lost, and a good probe turns it healthy at once.
	Grace time.Duration
}

// State is the application's state as the balancer's path sees it.
type State string

// The states. Only Healthy is answered with 200.
const (
	Unconfigured State = "unconfigured"
	Starting     State = "starting"
	Healthy      State = "healthy"
	Unhealthy    State = "unhealthy"
	Stale        State = "stale"
	Draining     State = "draining"
)

// Report is the application's health at one moment.
type Report struct {
	State   State
	Reason  string
	Since   time.Time     // when this state began
	Checked time.Time     // when the last probe ended; zero before the first
	Took    time.Duration // how long the last probe took
	Good    int           // good probes in a row
	Bad     int           // bad probes in a row
	Rise    int
	Fall    int
	Drains  []Drain // oldest first
	// Probes is what each of several probes found last; nil for a single one that is not made by [All], and before the first round.
	Probes []ProbeResult
}

// application is the watched application: its settings, what the probes found, and the drains.
type application struct {
	mu       sync.Mutex // guards everything below but answer
	settings Application
	began    time.Time // when these settings took effect
	found    finding
	drains   []*Drain
	changed  chan struct{} // closed and replaced when the settings change

	news    chan struct{} // holds a token when there is a new answer
	probing chan struct{} // holds a token while a probe runs: probes are not made for two callers at once

	answer atomic.Pointer[answer]
}

// finding is what the probes have shown so far.
type finding struct {
	state     State // Starting, Healthy or Unhealthy
	reason    string
	since     time.Time
	checked   time.Time
	took      time.Duration
	good, bad int
}

func (a *application) init() {
	now := time.Now()
	a.changed, a.news, a.probing = make(chan struct{}), make(chan struct{}, 1), make(chan struct{}, 1)
	a.began = now
	a.found = finding{state: Starting, reason: "not probed yet", since: now}
}

// next is the state after one more probe. It is a pure function of what was known and what came.
func (f finding) next(set Application, inGrace bool, err error, now time.Time) finding {
	n := f
	n.checked = now
	if err == nil {
		n.good, n.bad = f.good+1, 0
	} else {
		n.good, n.bad = 0, f.bad+1
	}
	switch {
	case err == nil && (f.state == Healthy || n.good >= set.Rise || f.state == Starting):
		n.state, n.reason = Healthy, ""
	case err == nil:
		n.reason = fmt.Sprintf("recovering: %d of %d good probes", n.good, set.Rise)
	case f.state == Healthy && n.bad < set.Fall:
		n.reason = fmt.Sprintf("%d of %d bad probes: %v", n.bad, set.Fall, err)
	case f.state == Starting && inGrace:
		n.reason = fmt.Sprintf("starting up: %v", err)
	default:
		n.state, n.reason = Unhealthy, err.Error()
	}
	if n.state != f.state {
		n.since = now
	}
	return n
}

// Watch sets how the application is watched, from now on. It may be called at any time, also while [Registry.Run]
// runs: what was found so far stays until the next probe, which begins at once.
func (r *Registry) Watch(set Application) {
	set.Interval = cmp.Or(set.Interval, DefaultInterval)
	set.Timeout = cmp.Or(set.Timeout, DefaultTimeout)
	set.MaxAge = cmp.Or(set.MaxAge, DefaultMaxAge)
	set.Rise = cmp.Or(set.Rise, DefaultRise)
	set.Fall = cmp.Or(set.Fall, DefaultFall)
	a := &r.app
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.settings.Probe == nil {
		a.began = time.Now()
	}
	a.settings = set
	close(a.changed)
	a.changed = make(chan struct{})
	a.publish()
}

// Run probes the application until ctx ends, and returns its cause. Without a configured probe it waits for one.
func (r *Registry) Run(ctx context.Context) error {
	for {
		r.app.mu.Lock()
		set, changed := r.app.settings, r.app.changed
		r.app.mu.Unlock()

		var due <-chan time.Time
		if set.Probe != nil {
			due = time.After(set.Interval)
			r.probe(ctx, set)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		case <-due:
		}
	}
}

// errProbeTimeout is the cause a probe sees when it has used its time.
var errProbeTimeout = errors.New("no answer in time")

// once probes once, within the time that a probe has.
func (a *application) once(ctx context.Context, set Application) error {
	select {
	case a.probing <- struct{}{}:
		defer func() { <-a.probing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, set.Timeout, fmt.Errorf("%w (%s)", errProbeTimeout, set.Timeout))
	defer cancel()
	err := set.Probe.Probe(bounded)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil && !errors.Is(err, errProbeTimeout) {
		err = context.Cause(bounded)
	}
	return err
}

// A NotFitError says that the application was not found fit for traffic in the time that it had. It wraps what the last probe found.
type NotFitError struct {
	Waited time.Duration
	Good   int // good probes in a row at the end
	Rise   int // that were needed
	Err    error
}

func (e *NotFitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("the application is not fit for traffic after %s: %d good probes of %d in a row", e.Waited.Round(time.Millisecond), e.Good, e.Rise)
	}
	return fmt.Sprintf("the application is not fit for traffic after %s: %v", e.Waited.Round(time.Millisecond), e.Err)
}

func (e *NotFitError) Unwrap() error { return e.Err }

// fitPause is the longest pause between two probes of Fit.
const fitPause = time.Second

// Fit probes the application until as many probes in a row as [Application].Rise were good, or ctx ends: then it returns a *NotFitError with
// what was found last. These probes are beside those of [Registry.Run] and change nothing of what the balancer is told; drains do not matter.
func (r *Registry) Fit(ctx context.Context) error {
	r.app.mu.Lock()
	set := r.app.settings
	r.app.mu.Unlock()
	if set.Probe == nil {
		return errors.New("no application probe is configured: set health.probe.url to what tells whether the application is fit for traffic")
	}
	began, good := time.Now(), 0
	var last error
	for {
		switch err := r.app.once(ctx, set); {
		case err == nil:
			good++
		case ctx.Err() == nil || last == nil:
			good, last = 0, err
		}
		if good >= set.Rise {
			return nil
		}
		select {
		case <-ctx.Done():
			if good > 0 {
				last = nil
			}
			return &NotFitError{Waited: time.Since(began), Good: good, Rise: set.Rise, Err: last}
		case <-time.After(min(set.Interval, fitPause)):
		}
	}
}

func (r *Registry) probe(ctx context.Context, set Application) {
	began := time.Now()
	err := r.app.once(ctx, set)
	if ctx.Err() != nil {
		return // stopping: says nothing about the application
	}
	now := time.Now()

	a := &r.app
	a.mu.Lock()
	before := a.found
	a.found = before.next(set, now.Sub(a.began) < set.Grace, err, now)
	a.found.took = now.Sub(began)
	after := a.found
	a.publish()
	a.mu.Unlock()

	r.metrics.probed(err, after.took)
	if before.state != after.state {
		r.log.Info("application health changed", zap.String("from", string(before.state)), zap.String("to", string(after.state)),
			zap.String("reason", after.reason), zap.Duration("took", after.took))
	} else if err != nil {
		r.log.Debug("application probe failed", zap.String("state", string(after.state)), zap.Error(err))
	}
}

// Application reports the application's health now.
func (r *Registry) Application() Report {
	r.app.mu.Lock()
	defer r.app.mu.Unlock()
	return r.app.report(time.Now())
}

// report weighs what was found against its age and the drains. Callers hold mu.
func (a *application) report(now time.Time) Report {
	f := a.found
	rep := Report{
		State: f.state, Reason: f.reason, Since: f.since, Checked: f.checked, Took: f.took,
		Good: f.good, Bad: f.bad, Rise: a.settings.Rise, Fall: a.settings.Fall,
	}
	if all, ok := a.settings.Probe.(*allProbes); ok {
		rep.Probes = all.results()
	}
	a.drains = slices.DeleteFunc(a.drains, func(d *Drain) bool { return d.over(now) })
	for _, d := range a.drains {
		rep.Drains = append(rep.Drains, *d)
	}
	switch last := a.lastKnown(); {
	case a.settings.Probe == nil:
		rep.State, rep.Since = Unconfigured, a.began
		rep.Reason = "no application probe is configured: set health.probe.url to what tells whether the application is fit for traffic"
	case len(rep.Drains) > 0:
		rep.State, rep.Reason, rep.Since = Draining, rep.Drains[0].Reason, rep.Drains[0].Began
	case now.Sub(last) > a.settings.MaxAge:
		rep.State, rep.Since = Stale, last.Add(a.settings.MaxAge)
		rep.Reason = fmt.Sprintf("no probe has ended since %s, longer ago than %s", last.UTC().Format(time.RFC3339), a.settings.MaxAge)
	}
	return rep
}

func (a *application) lastKnown() time.Time {
	if a.found.checked.IsZero() {
		return a.began
	}
	return a.found.checked
}

// publish makes the answer that the handler gives from now on. Callers hold mu.
func (a *application) publish() {
	now := time.Now()
	rep := a.report(now)
	// The moment at which this answer may be wrong by itself, without anything having happened.
	until := a.lastKnown().Add(a.settings.MaxAge)
	if a.settings.Probe == nil || rep.State == Stale {
		until = now.Add(time.Hour)
	}
	for _, d := range rep.Drains {
		if !d.Until.IsZero() && d.Until.Before(until) {
			until = d.Until
		}
	}
	a.answer.Store(newAnswer(rep, until))
	select {
	case a.news <- struct{}{}:
	default: // nobody has taken the last one yet
	}
}

// current is the answer for this moment; it makes a new one when the last has run out.
func (a *application) current(now time.Time) *answer {
	if ans := a.answer.Load(); ans != nil && !now.After(ans.until) {
		return ans
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if ans := a.answer.Load(); ans == nil || now.After(ans.until) {
		a.publish()
	}
	return a.answer.Load()
}

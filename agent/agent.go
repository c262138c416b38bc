// Package agent is the daemon: it asks the command service what to do, has the lifecycle engine do it, and answers what became
// of it, exactly once as far as a network allows.
//
// Every command goes through a ticket on disk (lifecycle.Ticket). After a crash the agent acknowledges again what it had not
// begun, finds what had run, and reports what it had not reported. Polling goes on while commands are carried out, and begins again
// at once when one ends.
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"slipway/agent/control"
	"slipway/lifecycle"
)

// Commands is the command service as the agent uses it; control.Client is one.
type Commands interface {
	Poll(ctx context.Context) (*control.HostCommand, error)
	Spec(ctx context.Context, executionID string) (control.Envelope, error)
	Acknowledge(ctx context.Context, id string, diagnostics control.Envelope) (control.Status, error)
	Complete(ctx context.Context, id string, status control.Status, diagnostics control.Envelope) error
}

// Options are what an Agent is made of.
type Options struct {
	Commands      Commands
	Engine        *lifecycle.Engine
	Trust         *control.Trust // whose signature a specification needs
	HostID        string         // the agent's own host identifier (P-70)
	MaxConcurrent int            // commands carried out side by side; 4 when zero
	PollBound     time.Duration  // the longest that one poll may take, with the client's own retries; 8 min when zero
	Busy          time.Duration  // the longest that the poll loop may be busy with this host alone, after a poll and before the next; 1 min when zero
	Pace          Pace
	Changed       func(Status) // is told of every change of state, and now and then that polls go on; nil: nobody
	Polled        func(error)  // is told of every poll; nil: nobody
	Log           *zap.Logger
}

// Pace is how often the agent polls. Zero fields have the defaults beside them.
type Pace struct {
	// Wait is the pause after a poll that brought nothing and that the service did not hold (P-36); 1 s.
	Wait time.Duration
	// Pauses between polls that fail double from Min (1 s) to Max (1 min); Denied (10 min) is the longest while the service does not
	// let this host in.
	Min, Max, Denied time.Duration
}

// Agent is the daemon. Make one with New, call Run once.
type Agent struct {
	opts Options
	log  *zap.Logger
	wake chan struct{} // a command ended: poll now
	free chan struct{} // a command ended that is no reason to poll now
	wg   sync.WaitGroup

	mu       sync.Mutex
	inHand   map[string]InHand    // by command identifier
	settled  map[string]time.Time // when the service took the completion of a command
	seen     map[string]bool      // commands that a poll brought: one that comes again is no news
	link     Link
	linkText string
	since    time.Time // of link
	lastPoll time.Time // last answer of the service to a poll
	told     time.Time // last call of Changed
	last     *Done
	telling  sync.Mutex // keeps the states that Changed is told in order

	// expect is when, at the latest, the poll loop shows itself again: the measure of Alive. It counts from started, by the clock
	// that nobody sets.
	expect  atomic.Int64
	pace    atomic.Pointer[Pace]
	started time.Time
}

// New makes an agent. It does nothing until Run.
func New(o Options) *Agent {
	if o.MaxConcurrent <= 0 {
		o.MaxConcurrent = 4
	}
	o.PollBound = cmp.Or(o.PollBound, pollBound)
	o.Busy = cmp.Or(o.Busy, time.Minute)
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Changed == nil {
		o.Changed = func(Status) {}
	}
	if o.Polled == nil {
		o.Polled = func(error) {}
	}
	a := &Agent{
		opts: o, log: o.Log, wake: make(chan struct{}, 1), free: make(chan struct{}, 1),
		inHand: map[string]InHand{}, settled: map[string]time.Time{}, seen: map[string]bool{}, link: Connecting, since: time.Now(), started: time.Now(),
	}
	a.SetPace(o.Pace)
	return a
}

// SetPace changes how often the agent polls, from the next pause on.
func (a *Agent) SetPace(p Pace) {
	a.pace.Store(&Pace{
		Wait: cmp.Or(p.Wait, time.Second), Min: cmp.Or(p.Min, time.Second), Max: cmp.Or(p.Max, time.Minute), Denied: cmp.Or(p.Denied, 10*time.Minute),
	})
}

// Run recovers what an earlier process left and then polls until ctx ends, which is its only way to end. When it does, no new
// command is taken, a running script stays with its shim, and a download or installation is given the engine's StopTimeout; Run
// returns when all that is done.
func (a *Agent) Run(ctx context.Context) {
	a.beat(max(a.opts.Busy, time.Minute)) // there may be many tickets
	a.recover(ctx)
	a.poll(ctx)
	a.beat(forever)
	a.wg.Wait()
	a.setLink(Stopped, "")
}

// recover takes up the tickets of an earlier process, and reports once what the official agent had in hand when it was replaced.
func (a *Agent) recover(ctx context.Context) {
	for t, err := range a.opts.Engine.Open() {
		if err != nil {
			a.log.Error("ticket set aside: what it was for is not reported", zap.Error(err))
			continue
		}
		a.log.Info("command taken up again", zap.String("command", t.Command), zap.String("event", string(t.Event)),
			zap.String("deployment", t.Deployment().ID), zap.String("state", string(t.State)))
		a.spawn(t.Command, t.Event, t.Deployment().ID, a.ended, func() { a.carry(ctx, t) })
	}
	left, err := a.opts.Engine.Foreign()
	if err != nil {
		a.log.Warn("tracking files", zap.Error(err))
	}
	for _, l := range left {
		a.spawn(l.Command, "", l.Deployment, a.ended, func() {
			a.log.Warn("the official agent was replaced while it carried out a command: it is reported as failed", zap.String("deployment", l.Deployment), zap.String("command", l.Command))
			if a.report(ctx, l.Command, time.Now(), lifecycle.Lost()) {
				if err := l.Forget(); err != nil {
					a.log.Warn("remove a tracking file", zap.Error(err))
				}
			}
		})
	}
}

// spawn runs f for a command unless the command is in hand already, and says whether it does; then is called when f has ended. spawn
// does not wait: the poll loop asks for no new command while MaxConcurrent are being carried out.
func (a *Agent) spawn(command string, ev lifecycle.Event, deployment string, then, f func()) bool {
	a.mu.Lock()
	_, busy := a.inHand[command]
	if !busy {
		a.inHand[command] = InHand{Event: ev, Deployment: deployment, Since: time.Now()}
	}
	a.mu.Unlock()
	if busy {
		return false
	}
	a.wg.Go(func() {
		defer func() {
			a.mu.Lock()
			delete(a.inHand, command)
			a.mu.Unlock()
			then()
		}()
		f()
	})
	a.changed()
	return true
}

// ended tells the poll loop that there may be something new, and everybody that the state changed.
func (a *Agent) ended() {
	a.changed()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// endedAgain is ended for a command that was brought before: there is a place for another one, and nothing new.
func (a *Agent) endedAgain() {
	a.changed()
	select {
	case a.free <- struct{}{}:
	default:
	}
}

// note changes what is known of a command in hand.
func (a *Agent) note(command string, f func(*InHand)) {
	a.mu.Lock()
	if h, ok := a.inHand[command]; ok {
		f(&h)
		a.inHand[command] = h
	}
	a.mu.Unlock()
}

// maxSeen bounds how many commands are remembered as brought before.
const maxSeen = 1000

// news reports whether a poll brings a command for the first time.
func (a *Agent) news(command string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen[command] {
		return false
	}
	if len(a.seen) >= maxSeen {
		clear(a.seen)
	}
	a.seen[command] = true
	return true
}

// take begins to carry out a command that a poll brought. It says whether the command is news. One that was settled after the poll had
// been asked is none: the service answered before it had the completion. One that the service brings again and again, whatever it is
// answered, is done again, and does not keep the poll loop from its pauses.
func (a *Agent) take(ctx context.Context, cmd *control.HostCommand, asked time.Time) bool {
	a.mu.Lock()
	settled, ok := a.settled[cmd.ID]
	a.mu.Unlock()
	if ok && !settled.Before(asked) {
		return false
	}
	then, fresh := a.ended, a.news(cmd.ID)
	if !fresh {
		then = a.endedAgain
	}
	ev := lifecycle.Event(cmd.Name)
	return a.spawn(cmd.ID, ev, "", then, func() {
		a.opts.Engine.Prepare()
		t, err := a.opts.Engine.Ticket(cmd.ID)
		switch {
		case err != nil:
			a.refuse(ctx, cmd, fmt.Errorf("the ticket of the command cannot be read: %w", err))
		case t == nil:
			a.begin(ctx, cmd)
		case t.State == lifecycle.Closed:
			a.log.Info("command delivered again: the same answer is given", zap.String("command", cmd.ID), zap.String("event", cmd.Name))
			if t.Result != nil {
				a.report(ctx, t.Command, t.Ended, *t.Result)
			}
		default:
			a.carry(ctx, t)
		}
	}) && fresh
}

// begin fetches and checks the specification of a new command and makes its ticket.
func (a *Agent) begin(ctx context.Context, cmd *control.HostCommand) {
	if err := cmd.Check(a.opts.HostID); err != nil {
		a.refuse(ctx, cmd, err)
		return
	}
	content, err := a.specification(ctx, cmd.ID, cmd.ExecutionID)
	if ctx.Err() != nil {
		return // not acknowledged: the service delivers it again
	}
	if err != nil {
		a.refuse(ctx, cmd, err)
		return
	}
	t, err := a.opts.Engine.Accept(cmd.ID, cmd.ExecutionID, lifecycle.Event(cmd.Name), content)
	if err != nil {
		a.refuse(ctx, cmd, err)
		return
	}
	a.log.Info("command accepted", zap.String("event", cmd.Name), zap.String("deployment", t.Deployment().ID),
		zap.String("group", t.Deployment().GroupName), zap.String("revision", t.Deployment().Revision.String()), zap.String("command", cmd.ID))
	a.carry(ctx, t)
}

// refuse reports a command that cannot be carried out at all: one Failed completion with the reason, and nothing has run (P-52).
func (a *Agent) refuse(ctx context.Context, cmd *control.HostCommand, err error) {
	if ctx.Err() != nil {
		return
	}
	a.log.Error("command refused", zap.String("event", cmd.Name), zap.String("command", cmd.ID), zap.Error(err))
	if cmd.ID != "" {
		a.report(ctx, cmd.ID, time.Now(), lifecycle.FailedBeforeRun(err))
	}
}

// specification fetches, verifies and opens the envelope of an execution. A service that cannot be reached is waited for.
func (a *Agent) specification(ctx context.Context, command, execution string) ([]byte, error) {
	var env control.Envelope
	err := a.persist(ctx, command, "fetch the deployment specification", func() (err error) {
		env, err = a.opts.Commands.Spec(ctx, execution)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("fetch the deployment specification: %w", err)
	}
	return env.Open(a.opts.Trust)
}

// carry brings a ticket from its state to its end.
func (a *Agent) carry(ctx context.Context, t *lifecycle.Ticket) {
	a.note(t.Command, func(h *InHand) { h.Deployment = t.Deployment().ID })
	a.changed()
	log := a.log.With(zap.String("event", string(t.Event)), zap.String("deployment", t.Deployment().ID), zap.String("group", t.Deployment().GroupName))
	if t.State == lifecycle.Accepted && !a.acknowledge(ctx, t, log) {
		return
	}
	if t.State == lifecycle.Running && !a.execute(ctx, t, log) {
		return
	}
	if a.report(ctx, t.Command, t.Ended, *t.Result) {
		a.recorded(t.Close(), log)
		a.mu.Lock()
		a.last = &Done{Event: t.Event, Deployment: t.Deployment().ID, Code: t.Result.Code, Message: t.Result.Message, At: t.Ended}
		a.mu.Unlock()
	}
}

// acknowledge tells the service that the command is taken, and does what the answer says (P-45, P-46). It reports whether there is
// something left to do.
func (a *Agent) acknowledge(ctx context.Context, t *lifecycle.Ticket, log *zap.Logger) bool {
	noop, err := a.opts.Engine.Noop(t.Deployment(), t.Event)
	if err != nil {
		log.Debug("it cannot be told whether there is something to do; carrying out the command will say why", zap.Error(err))
	}
	t.Noop = noop
	var status control.Status
	err = a.persist(ctx, t.Command, "acknowledge the command", func() (err error) {
		status, err = a.opts.Commands.Acknowledge(ctx, t.Command, control.NoopDiagnostics(noop))
		return err
	})
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		err = fmt.Errorf("acknowledge the command: %w", err)
		log.Error("command not acknowledged", zap.Error(err))
		a.recorded(t.Finish(lifecycle.FailedBeforeRun(err)), log)
	case status == control.Succeeded:
		log.Info("the service needs the command no more")
		a.recorded(t.Drop(), log)
		return false
	case status == control.Failed && noop:
		a.recorded(t.Finish(lifecycle.CompletedNoop()), log)
	case status == control.Failed:
		log.Warn("the service gave the command up before it began: it is not carried out")
		a.recorded(t.Drop(), log)
		return false
	default:
		a.recorded(t.Begin(), log)
	}
	return true
}

// execute carries out the command, and reports whether there is a result.
func (a *Agent) execute(ctx context.Context, t *lifecycle.Ticket, log *zap.Logger) bool {
	if t.Stripped && t.Event == lifecycle.DownloadBundle && t.Deployment().Revision.GitHub.Token == "" {
		content, err := a.specification(ctx, t.Command, t.Execution)
		if err == nil {
			err = a.opts.Engine.Respecify(t, content)
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("the token of the revision cannot be had again: the download is tried without", zap.Error(err))
		}
	}
	began := time.Now()
	r := a.opts.Engine.Run(ctx, t)
	took := zap.Duration("took", time.Since(began))
	switch {
	case r.Suspended():
		log.Info("command suspended: it goes on when the agent is started again", took)
		return false
	case r.Code != lifecycle.Succeeded:
		log.Error("event failed", took, zap.Int("code", int(r.Code)), zap.String("script", r.Script), zap.String("error", r.Message))
	default:
		log.Info("event succeeded", took, zap.String("summary", r.Log))
	}
	a.recorded(t.Finish(r), log)
	return true
}

// recorded logs that a ticket could not be written. The command goes on: the service still gets its answer, only a crash in this very
// moment would be answered twice or as a failure.
func (a *Agent) recorded(err error, log *zap.Logger) {
	if err != nil {
		log.Error("the state of the command could not be recorded", zap.Error(err))
	}
}

// terminal reports whether an error of the service cannot change by asking again.
func terminal(err error) bool {
	var api *control.APIError
	if errors.As(err, &api) {
		return api.Terminal()
	}
	var answer *control.ResponseError
	if errors.As(err, &answer) {
		return !answer.Page
	}
	var spec *control.SpecError
	return errors.As(err, &spec)
}

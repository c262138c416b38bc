package agent

import (
	"context"
	"maps"
	"time"

	"go.uber.org/zap"

	"slipway/agent/control"
	"slipway/lifecycle"
)

// The schedule of a completion that is not accepted: doubling from completeFirst to completeMost for completeHurry, then every
// completeLater until the command is completeLife old, which is as long as the service may care (P-86).
const (
	completeFirst = 200 * time.Millisecond
	completeMost  = 5 * time.Second
	completeHurry = 10 * time.Minute
	completeLater = time.Minute
	completeLife  = 24 * time.Hour
	// lastWord is how long a completion that is on its way when the program stops may still take.
	lastWord = 700 * time.Millisecond
)

// report brings a result to the service, however long that takes, and says whether that is settled: accepted, or refused in a way
// that asking again cannot change. A success is never turned into a failure by a lost answer. It is not settled when the program
// stops meanwhile; the ticket then stands, and the next process reports.
func (a *Agent) report(ctx context.Context, command string, ended time.Time, r lifecycle.Result) bool {
	status := control.Succeeded
	if r.Code != lifecycle.Succeeded {
		status = control.Failed
	}
	diagnostics := control.Diagnostics{ErrorCode: int(r.Code), ScriptName: r.Script, Message: r.Message, Log: r.Log}.Envelope()
	began := time.Now()
	a.note(command, func(h *InHand) { h.Reporting = true })
	a.changed()
	for delay, tries := completeFirst, 1; ; tries++ {
		err := a.complete(ctx, command, status, diagnostics)
		log := a.log.With(zap.String("command", command), zap.String("status", string(status)), zap.Int("tries", tries))
		switch {
		case err == nil:
			a.settle(command)
			if tries > 1 {
				log.Info("completion accepted at last", zap.Duration("took", time.Since(began)))
			}
			return true
		case ctx.Err() != nil:
			log.Info("completion not delivered before the stop: the next start delivers it", zap.Error(err))
			return false
		case terminal(err):
			log.Error("the service refuses the completion for good", zap.Error(err))
			return true
		case time.Since(ended) > completeLife:
			log.Error("the service did not take the completion for a day: given up", zap.Error(err))
			return true
		case tries == 1:
			a.ended() // it waits for the service, not for a place among the commands
			log.Warn("completion not accepted: tried again until it is", zap.Error(err))
		}
		if time.Since(began) > completeHurry {
			delay = completeLater
		}
		if !sleep(ctx, jitter(delay)) {
			return false
		}
		delay = min(delay*2, max(completeMost, delay))
	}
}

// settle notes that the service has the completion of a command, and forgets those that no poll on its way can bring any more.
func (a *Agent) settle(command string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(a.settled, func(_ string, at time.Time) bool { return now.Sub(at) > a.opts.PollBound })
	a.settled[command] = now
}

// complete is one attempt. It may outlive ctx by lastWord, so that an orderly stop does not cut off an answer on its way.
func (a *Agent) complete(ctx context.Context, command string, status control.Status, diagnostics control.Envelope) error {
	word, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(lastWord, cancel)
		context.AfterFunc(word, func() { timer.Stop() })
	})
	defer stop()
	return a.opts.Commands.Complete(word, command, status, diagnostics)
}

// patience is how long the service is waited for before a command is carried out. It gives up an event within this time itself.
const patience = time.Hour

// persist repeats a call until it succeeds, its error is terminal, ctx ends, or patience is at its end. A command that waits holds up no
// other one.
func (a *Agent) persist(ctx context.Context, command, what string, call func() error) error {
	began := time.Now()
	for delay, tries := completeFirst, 1; ; delay, tries = min(2*delay, 30*time.Second), tries+1 {
		err := call()
		if err == nil || terminal(err) || ctx.Err() != nil || time.Since(began) > patience {
			a.note(command, func(h *InHand) { h.waiting = false })
			if err == nil && tries > 1 {
				a.log.Info(what+": done at last", zap.Int("tries", tries))
			}
			return err
		}
		if tries == 1 {
			a.log.Warn(what+": tried again until it is done", zap.Error(err))
			a.note(command, func(h *InHand) { h.waiting = true })
			a.ended()
		} else {
			a.log.Debug(what+": tried again", zap.Error(err), zap.Duration("in", delay))
		}
		if !sleep(ctx, jitter(delay)) {
			return ctx.Err()
		}
	}
}

// sleep waits, and reports whether it was to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"slipway/agent/control"
)

// Link is how the agent stands with the command service.
type Link string

// The states of the link. One line is logged when it changes, none while it stays.
const (
	Connecting  Link = "connecting"  // no answer yet
	Online      Link = "online"      // the last poll was answered
	Unreachable Link = "unreachable" // no connection, no name, or a fault of the service
	Untrusted   Link = "untrusted"   // the certificate of the service, or of what is in between, is not accepted
	Unsigned    Link = "unsigned"    // there are no credentials to sign calls with
	Denied      Link = "denied"      // the service does not let this host in: polls become rare (hibernation)
	Throttled   Link = "throttled"   // the service asks for fewer calls
	Skewed      Link = "skewed"      // the clock of this host is wrong
	Stopped     Link = "stopped"
)

// pollBound is the longest that one poll may take by default: connect and read time-out of the client with its retries, and some air.
const pollBound = 8 * time.Minute

// forever is for waits that end by themselves: commands in hand have limits of their own.
const forever = 365 * 24 * time.Hour

// eager is the first pause after a command ended: the service needs a moment to make the next one ready. It doubles up to Wait.
const eager = 5 * time.Millisecond

// poll asks for commands until ctx ends: at once after one that brought a command, at once and then in quick succession after every
// command that ended, after Wait otherwise, and ever more seldom while the service does not answer.
func (a *Agent) poll(ctx context.Context) {
	var failures int
	var quick time.Duration // the next pause while another command is likely; 0: it is not
	for ctx.Err() == nil {
		if !a.freeSlot(ctx) {
			return
		}
		a.beat(a.opts.PollBound)
		began := time.Now()
		cmd, err := a.opts.Commands.Poll(ctx)
		if ctx.Err() != nil {
			return
		}
		a.beat(a.opts.Busy) // what follows asks nobody: a loop that hangs in it, on a dead disk say, is stuck
		a.opts.Polled(err)
		var pause time.Duration
		switch {
		case err != nil:
			link := classify(err)
			if a.setLink(link, err.Error()) {
				failures = 0
			}
			pause = a.pace.Load().pause(link, failures)
			failures++
		default:
			failures = 0
			a.polled()
			if cmd != nil && a.take(ctx, cmd, began) {
				continue
			}
			// A service that held the poll has made the pause already.
			pause = jitter(max(0, a.pace.Load().Wait-time.Since(began)))
			if quick > 0 && quick < pause {
				pause, quick = quick, 2*quick
			} else {
				quick = 0
			}
		}
		if a.pause(ctx, pause, err != nil) {
			quick = eager
		}
	}
}

// freeSlot waits until a command could be carried out.
func (a *Agent) freeSlot(ctx context.Context) bool {
	for {
		if a.busy() < a.opts.MaxConcurrent {
			return true
		}
		a.beat(forever)
		select {
		case <-a.wake:
		case <-a.free:
		case <-ctx.Done():
			return false
		}
	}
}

// busy is how many commands are being carried out; those that wait for the service do not count.
func (a *Agent) busy() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range a.inHand {
		if !h.Reporting && !h.waiting {
			n++
		}
	}
	return n
}

// pause waits before the next poll. A command that ended cuts it short, unless the service is not to be reached anyway; pause reports
// whether one did.
func (a *Agent) pause(ctx context.Context, d time.Duration, failing bool) (ended bool) {
	if d <= 0 {
		return false
	}
	a.beat(d + a.opts.Busy)
	wake := a.wake
	if failing {
		wake = nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case <-wake:
		return true
	case <-ctx.Done():
		return false
	}
}

// classify says what an error of a poll means for the link.
func classify(err error) Link {
	var api *control.APIError
	if errors.As(err, &api) {
		switch {
		case api.Throttled():
			return Throttled
		case api.ClockSkewed():
			return Skewed
		case api.Denied(), api.Expired():
			return Denied
		}
	}
	var transport *control.TransportError
	switch {
	case errors.As(err, &transport) && transport.Certificate:
		return Untrusted
	case errors.Is(err, control.ErrCredentials):
		return Unsigned
	}
	return Unreachable
}

// advice is what a person can do about a link that is down.
func advice(link Link) string {
	switch link {
	case Denied:
		return "check the instance profile (or the on-premises identity) and that the host is registered; polls become rare until it is let in"
	case Untrusted:
		return "if a proxy or an endpoint of your own is in between, name its authority in AWS_CA_BUNDLE; otherwise check the clock and the route"
	case Unsigned:
		return "attach an instance profile, or mend the on-premises file; polls go on meanwhile"
	case Throttled:
		return "the service asks for fewer calls; nothing to do unless it lasts"
	case Skewed:
		return "set the clock of this host (chronyc tracking, timedatectl)"
	default:
		return "check the network, the proxy and the endpoint; deployments wait meanwhile"
	}
}

// pause is how long to wait after so many failures of one kind: doubling, with jitter, so that a fleet does not come back as one.
func (p *Pace) pause(link Link, failures int) time.Duration {
	first, most := p.Min, p.Max
	switch link {
	case Throttled:
		first, most = 2*p.Min, p.Max*3/2
	case Skewed:
		first, most = 5*p.Min, 5*p.Max
	case Denied:
		first, most = p.Denied/40, p.Denied
	}
	return jitter(min(first<<min(failures, 16), most))
}

// jitter spreads a duration over ±20 %.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d*8/10 + rand.N(d*4/10+1)
}

// beat says by when the loop will show itself again.
func (a *Agent) beat(within time.Duration) {
	a.expect.Store(int64(time.Since(a.started) + within))
}

// Alive reports whether the poll loop makes progress. It is what the watchdog and /livez ask.
func (a *Agent) Alive() bool {
	e := a.expect.Load()
	return e == 0 || int64(time.Since(a.started)) < e
}

func (a *Agent) polled() {
	now := time.Now()
	a.mu.Lock()
	a.lastPoll = now
	due := now.Sub(a.told) > heartbeat
	a.mu.Unlock()
	if !a.setLink(Online, "") && due {
		a.changed()
	}
}

// heartbeat is how often Changed is called while nothing changes but the time of the last poll.
const heartbeat = 30 * time.Second

// setLink records the state of the link and logs a change, once. It reports whether it changed.
func (a *Agent) setLink(link Link, text string) bool {
	a.mu.Lock()
	was := a.link
	changed := was != link
	if changed {
		a.link, a.since = link, time.Now()
	}
	a.linkText = text
	a.mu.Unlock()
	switch {
	case !changed:
		if link != Online {
			a.log.Debug("poll failed", zap.String("link", string(link)), zap.String("error", text))
		}
		return false
	case link == Online:
		a.log.Info("the command service answers", zap.String("was", string(was)))
	case link == Stopped:
	default:
		a.log.Warn("the command service cannot be used", zap.String("link", string(link)), zap.String("error", text), zap.String("do", advice(link)))
	}
	a.changed()
	return true
}

package lifecycle

import (
	"context"
	"fmt"
)

// gate lets ValidateService succeed only if Settings.Gate finds the application fit, after the scripts of the event have. A gate that the
// stop of the program ends is asked again by the next start: the scripts are not run a second time.
func (e *Engine) gate(ctx context.Context, t *Ticket, r Result) Result {
	check := e.settings.Load().Gate
	if check == nil || t.Event != ValidateService || r.Code != Succeeded || r.Suspended() {
		return r
	}
	err := check(ctx)
	switch {
	case ctx.Err() != nil:
		return Result{Err: fmt.Errorf("%w: whether the application is fit for traffic is asked again", ErrSuspended)}
	case err != nil:
		return Result{
			Code: UnknownError, Err: err,
			Message: fmt.Sprintf("the scripts of %s succeeded, but %v (health.gate)", t.Event, err), Log: r.Log,
		}
	}
	r.Log += "; the application is fit for traffic"
	return r
}

// gated reports whether an event without scripts has something to do all the same.
func (e *Engine) gated(ev Event) bool { return ev == ValidateService && e.settings.Load().Gate != nil }

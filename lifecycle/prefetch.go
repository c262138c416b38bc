package lifecycle

import (
	"context"
	"errors"
	"os"
	"time"

	"go.uber.org/zap"
)

// A prefetch is a revision that is on its way before its DownloadBundle. It begins at the first event of its deployment and goes on beside
// what that event runs; what becomes of it is taken up at DownloadBundle, or ends with the engine.
type prefetch struct {
	group  string
	began  Event // where its deployment was when it began
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when all below is final
	got    arrived
	err    error
	look   preflight // what was seen of the revision that arrived
	told   bool      // an event has told it; of the deployment's command in hand alone
}

// errSuperseded ends a prefetch whose deployment is over.
var errSuperseded = errors.New("another deployment of the group has begun")

// prefetching returns the prefetch of a deployment, nil if there is none.
func (e *Engine) prefetching(id string) *prefetch {
	e.arriving.Lock()
	defer e.arriving.Unlock()
	return e.prefetches[id]
}

// begin starts the prefetch of a deployment at an event, or returns the one that is under way. Those of earlier deployments of the group,
// which did not get as far as DownloadBundle, end.
func (e *Engine) begin(d *Deployment, at Event) *prefetch {
	e.arriving.Lock()
	defer e.arriving.Unlock()
	if p := e.prefetches[d.ID]; p != nil || e.closed {
		return p
	}
	for id, p := range e.prefetches {
		if p.group == d.GroupID {
			delete(e.prefetches, id)
			p.cancel(errSuperseded)
			e.background.Go(func() { <-p.done; os.RemoveAll(e.root.own("prefetch", id)) })
		}
	}
	// It outlives the event, and a stop need not wait for it: what is not complete is fetched anew.
	ctx, cancel := context.WithCancelCause(context.Background())
	p := &prefetch{group: d.GroupID, began: at, cancel: cancel, done: make(chan struct{})}
	e.prefetches[d.ID] = p
	e.background.Go(func() {
		defer close(p.done)
		defer cancel(nil)
		began := time.Now()
		p.err = guard(func() (err error) {
			if p.got, err = e.bring(ctx, d); err != nil {
				return err
			}
			p.look = e.preflight(ctx, d, e.root.own("prefetch", d.ID, archiveFolder))
			return nil
		})
		e.log.Info("new revision looked at before its turn", zap.String("deployment", d.ID), zap.Duration("took", time.Since(began)), zap.String("plan", p.look.summary), zap.Error(p.err))
	})
	return p
}

// arrival is the revision at DownloadBundle: the one that has been on its way, or a new attempt.
func (e *Engine) arrival(ctx context.Context, d *Deployment) (arrived, error) {
	p := e.prefetching(d.ID)
	if p == nil {
		return e.bring(ctx, d)
	}
	stop := context.AfterFunc(ctx, func() { p.cancel(context.Cause(ctx)) })
	<-p.done
	stop()
	e.arriving.Lock()
	delete(e.prefetches, d.ID)
	e.arriving.Unlock()
	if certain(p.err) || ctx.Err() != nil {
		return p.got, p.err
	}
	if p.err != nil {
		e.log.Info("the revision did not arrive early: it is fetched now", zap.String("deployment", d.ID), zap.NamedError("because", p.err))
	}
	return e.bring(ctx, d) // which finds what arrived, unless somebody has tidied it away
}

// settle ends all that goes on in the background.
func (e *Engine) settle() {
	e.arriving.Lock()
	e.closed = true
	for _, p := range e.prefetches {
		p.cancel(ErrSuspended)
	}
	e.arriving.Unlock()
	e.background.Wait()
}

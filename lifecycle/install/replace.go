package install

import (
	"context"
	"time"

	"go.uber.org/zap"

	"slipway/lifecycle/appspec"
)

// A replacement (Request.Replace) is what the official agent does always: first the previous revision goes, then the new one
// comes. It is two transactions. Each is whole or not at all; between the two the group has nothing installed, no manifest and
// an empty cleanup file, so that the next installation begins in an empty place, as after the official agent (I-42).

// occupied is what the removal of paths frees on one file system.
type occupied struct{ bytes, inodes int64 }

// removalBytes is an estimate of what the journal of the removal takes up for each path: it is written while all is still there.
const removalBytes = 256

// replace decides that the previous revision goes first, if the new one fits then. What was changed on this host is kept
// aside if there is room for that too.
func (m *maker) replace() error {
	var spaces, short []Space
	for _, keep := range []bool{true, false} {
		n, err := m.needed(true)
		if err != nil {
			return err
		}
		for dev, o := range m.frees {
			s := n.on(dev, "")
			s.FreedBytes, s.FreedInodes = o.bytes, o.inodes
		}
		if keep {
			m.addAside(n)
		}
		if spaces, short, err = n.compare(m.req.Archive); err != nil {
			return err
		}
		own := Space{Path: m.req.Root, NeedBytes: int64(len(m.gone))*removalBytes + smallFile, NeedInodes: 4}
		if err := own.measure(false); err == nil && !own.fits() {
			short = append(short, own)
		}
		if short == nil {
			m.plan.spaces, m.plan.replaces, m.plan.forgoes = spaces, true, !keep
			m.warn("there is too little space for the old and the new revision side by side: the old one is removed first, so that this installation cannot be undone")
			return nil
		}
	}
	return &SpaceError{Short: short, Replace: true}
}

// addAside counts what is kept aside: it goes on to take up its room, or takes up as much under the deployment root.
func (m *maker) addAside(n *needs) {
	for i := range m.suspects {
		s := &m.suspects[i]
		if !s.keep {
			continue
		}
		if s.dev == n.root {
			n.byDev[s.dev].FreedBytes -= s.bytes
			n.byDev[s.dev].FreedInodes--
			continue
		}
		n.byDev[n.root].NeedBytes += roundUp(s.bytes)
		n.byDev[n.root].NeedInodes++
	}
}

// Replaces reports whether the previous revision is removed before the new one is written (Request.Replace): such an
// installation cannot be undone.
func (p *Plan) Replaces() bool { return p.replaces }

// GoneError means that the previous revision was removed to make room, and that the new one is not there either. Planning and
// applying again installs it.
type GoneError struct{ Err error }

func (e *GoneError) Error() string {
	return "the previous revision was removed to make room, and the new one could not be installed: nothing of this deployment group is on the host now, mend what is wrong and deploy again: " + e.Err.Error()
}

// Unwrap gives the reason.
func (e *GoneError) Unwrap() error { return e.Err }

// replace removes the previous revision and then installs the new one.
func (p *Plan) replace(ctx context.Context) (*Manifest, error) {
	began := time.Now()
	old, err := p.again(ctx, &appspec.Spec{})
	if err != nil {
		return nil, err
	}
	old.removes = true
	removed, err := old.apply(ctx)
	if err != nil {
		return nil, err
	}
	p.req.Log.Warn("the previous revision is removed to make room for the new one", zap.String("group", p.req.Group), zap.String("deployment", p.req.Deployment))
	next, err := p.again(ctx, p.req.Spec)
	if err != nil {
		return nil, &GoneError{err}
	}
	m, err := next.apply(ctx)
	if err != nil {
		return nil, &GoneError{err}
	}
	m.Aside, m.Took = removed.Aside, time.Since(began)
	m.Counts.Removed = removed.Counts.Removed
	left := append(removed.Warnings[len(old.warnings):], m.Warnings[len(next.warnings):]...)
	m.Warnings = append(append([]string(nil), p.warnings...), left...)
	return m, nil
}

// again plans anew, as things are now.
func (p *Plan) again(ctx context.Context, spec *appspec.Spec) (*Plan, error) {
	r := p.req
	r.Spec, r.Replace = spec, false
	m := newMaker(r, p.behavior)
	m.plan.forgoes = p.forgoes
	q, err := m.run(ctx)
	if err == nil {
		q.probe, q.moves = p.probe, p.moves
	}
	return q, err
}

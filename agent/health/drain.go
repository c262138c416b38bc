package health

import (
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Drain is one reason to take the instance out of the pool although the application is well.
type Drain struct {
	Reason string    `json:"reason"`
	Began  time.Time `json:"began"`
	Until  time.Time `json:"until,omitzero"` // zero: until it is undone
}

func (d *Drain) over(now time.Time) bool {
	return !d.Until.IsZero() && !now.Before(d.Until)
}

// Drain turns the balancer's path red with reason, until the given time (zero: without end) or until undrain is
// called, whichever comes first. Drains add up: the path is green again when the last has ended. undrain may be
// called more than once.
func (r *Registry) Drain(reason string, until time.Time) (undrain func()) {
	return r.drainSince(reason, time.Now(), until)
}

func (r *Registry) drainSince(reason string, began, until time.Time) (undrain func()) {
	d := &Drain{Reason: reason, Began: began, Until: until}
	a := &r.app
	a.mu.Lock()
	a.drains = append(a.drains, d)
	a.publish()
	a.mu.Unlock()
	r.log.Info("drain began", zap.String("reason", reason), zap.Time("until", until))
	return sync.OnceFunc(func() {
		a.mu.Lock()
		a.drains = slices.DeleteFunc(a.drains, func(other *Drain) bool { return other == d })
		left := len(a.drains)
		a.publish()
		a.mu.Unlock()
		r.log.Info("drain ended", zap.String("reason", reason), zap.Int("left", left))
	})
}

package hooks

import (
	"time"

	"go.uber.org/zap"
)

const (
	// readyTime is how long a shim is kept waiting. The next event of a deployment comes sooner, unless a script or a person takes
	// its time; a host at rest has none.
	readyTime = time.Minute
	// renewPause leaves the processors to a script that is over at once, and to its result.
	renewPause = 5 * time.Millisecond
)

// Prepare says that a script is likely to be started soon. It returns at once, and a shim is started meanwhile, unless one is waiting
// already: the next Start then only has to give it its order. From the first call on, every shim that got an order is replaced by one
// that waits. A shim that is not needed for a minute goes away, and so does one whose starter has ended, however that ended.
func (r *Runner) Prepare() {
	if len(r.Shim) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replace = true
	if r.ready != nil {
		r.leave.Reset(readyTime)
		return
	}
	ready := make(chan *waiting, 1)
	r.ready = ready
	r.leave = time.AfterFunc(readyTime, func() { r.dismiss(ready) })
	// Whoever wants it waits for it.
	go func() {
		w, err := r.newShim(nil)
		if err != nil { // Start cannot do it either then, and tells
			r.log().Debug("no shim made ready", zap.Error(err))
		} else {
			r.reserve(w)
		}
		ready <- w
	}()
}

// renew replaces a shim that got an order.
func (r *Runner) renew() {
	r.mu.Lock()
	replace := r.replace
	r.mu.Unlock()
	if replace {
		r.Prepare()
	}
}

// takeReady is the shim that waits, or nil.
func (r *Runner) takeReady() *waiting {
	r.mu.Lock()
	ready := r.ready
	if ready != nil {
		r.ready = nil
		r.leave.Stop()
	}
	r.mu.Unlock()
	if ready == nil {
		return nil
	}
	return <-ready
}

// dismiss sends a shim away that nobody wanted.
func (r *Runner) dismiss(ready chan *waiting) {
	r.mu.Lock()
	unwanted := r.ready == ready
	if unwanted {
		r.ready = nil
	}
	r.mu.Unlock()
	if !unwanted {
		return
	}
	if w := <-ready; w != nil {
		w.tell.Close()
		r.bury(w, "", w.place)
	}
}

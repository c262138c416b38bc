package lab

import (
	"context"
	"iter"
	"sync"
	"time"
)

// An Event is one change that the lab saw. The stream /lab/events carries them as JSON lines.
type Event struct {
	Seq  int       `json:"seq"`
	Time time.Time `json:"time"`
	// Kind is deployment (its status), target (an instance's status in it), event (a lifecycle event's status),
	// host (a new one), or fault (one put in or used up).
	Kind       string `json:"kind"`
	Deployment string `json:"deployment,omitempty"`
	Target     string `json:"target,omitempty"`
	Event      string `json:"event,omitempty"`
	Status     string `json:"status,omitempty"`
	// Took is how long a lifecycle event or deployment lasted, once it ended.
	Took        time.Duration `json:"took,omitempty"`
	Diagnostics *Diagnostics  `json:"diagnostics,omitempty"`
	Message     string        `json:"message,omitempty"`
}

// Diagnostics is what the public API says of a lifecycle event's end.
type Diagnostics struct {
	ErrorCode  string `json:"errorCode"`
	ScriptName string `json:"scriptName"`
	Message    string `json:"message"`
	LogTail    string `json:"logTail"`
}

// maxKept bounds what the hub and the call log remember; the oldest go first.
const maxKept = 20000

// hub keeps the events and tells whoever follows.
type hub struct {
	mu     sync.Mutex // guards all below
	events []Event
	seq    int
	more   chan struct{} // closed and replaced at each event
}

func newHub() *hub { return &hub{more: make(chan struct{})} }

// publish numbers, dates and keeps e.
func (h *hub) publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	e.Seq = h.seq
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if len(h.events) >= maxKept {
		h.events = append(h.events[:0:0], h.events[maxKept/2:]...)
	}
	h.events = append(h.events, e)
	close(h.more)
	h.more = make(chan struct{})
}

// since returns the events after seq, and a channel that closes when there are more.
func (h *hub) since(seq int) ([]Event, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := len(h.events)
	for i > 0 && h.events[i-1].Seq > seq {
		i--
	}
	return append([]Event(nil), h.events[i:]...), h.more
}

// all yields the kept events from the one after seq, and with follow goes on until ctx ends.
func (h *hub) all(ctx context.Context, seq int, follow bool) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for {
			events, more := h.since(seq)
			for _, e := range events {
				if !yield(e) {
					return
				}
				seq = e.Seq
			}
			if !follow {
				return
			}
			select {
			case <-more:
			case <-ctx.Done():
				return
			}
		}
	}
}

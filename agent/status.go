package agent

import (
	"maps"
	"slices"
	"strings"
	"time"

	"slipway/lifecycle"
)

// Status is what the agent does and how it stands, for people and machines.
type Status struct {
	HostID   string    `json:"host_id"`
	Started  time.Time `json:"started"`
	Link     Link      `json:"link"`
	LinkText string    `json:"link_error,omitempty"`
	Since    time.Time `json:"link_since"`
	LastPoll time.Time `json:"last_poll,omitzero"` // the last answer of the service to a poll
	InHand   []InHand  `json:"in_hand"`
	Last     *Done     `json:"last,omitempty"`
}

// InHand is a command that is being carried out.
type InHand struct {
	Event      lifecycle.Event `json:"event"`
	Deployment string          `json:"deployment,omitempty"`
	Since      time.Time       `json:"since"`
	Reporting  bool            `json:"reporting,omitempty"` // carried out; the service has to take the result yet

	waiting bool // for an answer of the service, before it is carried out
}

// Done is a command that was carried out and reported.
type Done struct {
	Event      lifecycle.Event `json:"event"`
	Deployment string          `json:"deployment"`
	Code       lifecycle.Code  `json:"code"`
	Message    string          `json:"message"`
	At         time.Time       `json:"at"`
}

// Status returns how the agent stands now.
func (a *Agent) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := Status{
		HostID: a.opts.HostID, Started: a.started, Link: a.link, LinkText: a.linkText, Since: a.since, LastPoll: a.lastPoll,
		InHand: slices.Collect(maps.Values(a.inHand)), Last: a.last,
	}
	slices.SortStableFunc(s.InHand, func(x, y InHand) int { return x.Since.Compare(y.Since) })
	if s.InHand == nil {
		s.InHand = []InHand{}
	}
	return s
}

// Ready says whether the agent can take commands, and why not.
func (a *Agent) Ready() (bool, string) {
	s := a.Status()
	if s.Link == Online {
		return true, "the command service answers"
	}
	return false, strings.TrimSuffix("the link is "+string(s.Link)+": "+s.LinkText, ": ")
}

func (a *Agent) changed() {
	a.telling.Lock()
	defer a.telling.Unlock()
	a.mu.Lock()
	a.told = time.Now()
	a.mu.Unlock()
	a.opts.Changed(a.Status())
}

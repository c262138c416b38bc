package controltest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"slipway/agent/control"
)

// Command is work for a host.
type Command struct {
	HostID      string
	ID          string // HostCommandIdentifier; made up if empty
	ExecutionID string // DeploymentExecutionId; made up if empty
	Name        string // the lifecycle event; may be any text, even none
	Spec        control.Envelope
	System      string // DeploymentSystem; CodeDeploy if empty

	// AckStatus is what the acknowledgement is answered with; InProgress if empty, nothing if NoStatus. See also SetAckStatus.
	AckStatus control.Status

	// What a service that errs might send.
	NoSpec     bool   // the specification is null
	NoEnvelope bool   // its envelope is null
	EchoHost   string // HostIdentifier in the answer to the poll; HostID if empty
}

// NoStatus as Command.AckStatus has the acknowledgement answered without a status (P-26).
const NoStatus control.Status = "-"

// CommandState is what became of a command.
type CommandState struct {
	Command    Command // with the identifiers that were made up
	Status     control.Status
	Enqueued   time.Time
	Deliveries int
	Delivered  time.Time // last
	SpecReads  int
	Acks       int
	Acked      time.Time // first
	Noop       bool      // what the last acknowledgement told
	Updates    int
	ETA        time.Time // that the last update told
	Cancelled  bool

	// Completions are all that arrived, in order; the first one counts.
	Completions []Completion
}

// Completion is a result that was reported.
type Completion struct {
	Status         control.Status
	Diagnostics    control.Diagnostics
	RawDiagnostics control.Envelope
	Count          int // how many had arrived with this one
	At             time.Time
}

// command is a CommandState as the server keeps it.
type command struct {
	CommandState
	resend bool // deliver by the next poll, whatever the state
}

// open reports whether polls may be answered with the command.
func (c *command) open() bool {
	return c.resend || c.Status == control.Pending && c.Acks == 0 && !c.Cancelled && len(c.Completions) == 0
}

// Enqueue adds a command for a host. It is delivered by polls of that host until it is acknowledged.
func (s *Server) Enqueue(c Command) (id string) {
	s.mu.Lock()
	s.seq++
	if c.ID == "" {
		c.ID = fmt.Sprintf("%s-%d", rand.Text(), s.seq)
	}
	if c.ExecutionID == "" {
		c.ExecutionID = fmt.Sprintf("%s/controltest/d-%09d/%s", s.opts.Region, s.seq, rand.Text())
	}
	if c.System == "" {
		c.System = "CodeDeploy"
	}
	n := &command{CommandState: CommandState{Command: c, Status: control.Pending, Enqueued: time.Now()}}
	s.commands = append(s.commands, n)
	s.byID[c.ID] = n
	s.wakeLocked()
	e := n.event(Enqueued, "")
	s.mu.Unlock()
	s.tell(e)
	return c.ID
}

// event makes an event of the command's state. The lock must be held.
func (c *command) event(kind EventKind, version string) Event {
	return Event{Kind: kind, ID: c.Command.ID, Host: c.Command.HostID, At: time.Now(), Version: version, State: c.copy()}
}

func (c *command) copy() CommandState {
	state := c.CommandState
	state.Completions = slices.Clone(c.Completions)
	return state
}

// State returns what became of a command so far.
func (s *Server) State(id string) (CommandState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.byID[id]
	if !ok {
		return CommandState{}, false
	}
	return c.copy(), true
}

// Await waits for the completion that counts.
func (s *Server) Await(ctx context.Context, id string) (Completion, error) {
	for {
		s.mu.Lock()
		c, ok := s.byID[id]
		changed, closed := s.changed, s.closed
		var done *Completion
		if ok && len(c.Completions) > 0 {
			first := c.Completions[0]
			done = &first
		}
		s.mu.Unlock()
		switch {
		case !ok:
			return Completion{}, fmt.Errorf("await %s: there is no such command", id)
		case done != nil:
			return *done, nil
		case closed:
			return Completion{}, fmt.Errorf("await %s: the service was closed", id)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			state, _ := s.State(id)
			return Completion{}, fmt.Errorf("await %s (%s, %s, %d times delivered, %d times acknowledged): %w",
				id, state.Command.Name, state.Status, state.Deliveries, state.Acks, context.Cause(ctx))
		}
	}
}

// Redeliver has the next poll of its host answered with a command once more, whatever became of it.
func (s *Server) Redeliver(id string) bool {
	return s.change(id, func(c *command) { c.resend = true })
}

// SetAckStatus says what later acknowledgements of a command are answered with, as Command.AckStatus does.
func (s *Server) SetAckStatus(id string, status control.Status) bool {
	return s.change(id, func(c *command) { c.Command.AckStatus = status })
}

// Cancel takes back a command: polls do not bring it any more, and an acknowledgement is answered with Failed.
func (s *Server) Cancel(id string) bool {
	var e Event
	ok := s.change(id, func(c *command) {
		c.Cancelled, c.resend = true, false
		if !c.Status.Terminal() {
			c.Status = control.Failed
		}
		e = c.event(Cancelled, "")
	})
	if ok {
		s.tell(e)
	}
	return ok
}

func (s *Server) change(id string, f func(*command)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.byID[id]
	if ok {
		f(c)
		s.wakeLocked()
	}
	return ok
}

// next is the command that a poll of a host is answered with: the one delivered least, oldest first. If there is none, later says when
// there may be one again; zero: when something changes.
func (s *Server) next(host string, now time.Time) (found *command, later time.Time) {
	for _, c := range s.commands {
		if c.Command.HostID != host || !c.open() {
			continue
		}
		if again := c.Delivered.Add(s.opts.Redeliver); !c.resend && c.Deliveries > 0 && now.Before(again) {
			if later.IsZero() || again.Before(later) {
				later = again
			}
			continue
		}
		if found == nil || c.resend && !found.resend || c.resend == found.resend && c.Deliveries < found.Deliveries {
			found = c
		}
	}
	return found, later
}

// execution is the command of a host whose specification is asked for: commands of one deployment share its identifier.
func (s *Server) execution(id, host string) *command {
	var found *command
	for _, c := range s.commands {
		if c.Command.ExecutionID == id && c.Command.HostID == host && (found == nil || !c.Delivered.Before(found.Delivered)) {
			found = c
		}
	}
	return found
}

// decodeDiagnostics reads the payload of a completion. One that is not as P-53 says stays raw.
func decodeDiagnostics(e control.Envelope) control.Diagnostics {
	var d struct {
		ErrorCode  int    `json:"error_code"`
		ScriptName string `json:"script_name"`
		Message    string `json:"message"`
		Log        string `json:"log"`
	}
	if err := json.Unmarshal([]byte(e.Payload), &d); err != nil {
		return control.Diagnostics{ErrorCode: -1, Message: err.Error()}
	}
	return control.Diagnostics(d)
}

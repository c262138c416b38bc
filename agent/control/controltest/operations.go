package controltest

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"slipway/agent/control"
)

// operation carries out a call whose signature holds. The answer is nil for an empty body.
type operation func(s *Server, ctx context.Context, r request) (any, *failure)

// operations are the table of P-19..P-23.
var operations = map[string]operation{
	"PollHostCommand":               (*Server).poll,
	"GetDeploymentSpecification":    (*Server).spec,
	"PutHostCommandAcknowledgement": (*Server).acknowledge,
	"PutHostCommandComplete":        (*Server).complete,
	"PostHostCommandUpdate":         (*Server).update,
}

// request is the body of a call.
type request struct {
	fields  map[string]any
	version string
}

// failure is an error answer.
type failure struct {
	status        int
	code, message string
}

func clientFailure(format string, args ...any) *failure {
	return &failure{400, "ClientException", fmt.Sprintf(format, args...)}
}

// text reads a required member.
func (r request) text(name string) (string, *failure) {
	v, ok := r.fields[name]
	if !ok || v == nil {
		return "", &failure{400, "ValidationException", "1 validation error detected: Value null at '" + name + "' failed to satisfy constraint: Member must not be null"}
	}
	s, ok := v.(string)
	if !ok {
		return "", &failure{400, "SerializationException", name + " is not a string"}
	}
	return s, nil
}

// executionForm is P-25.
var executionForm = regexp.MustCompile(`^[^/]+/[^/]+/[^/]+/.+$`)

// diagnostics reads and checks the member of that name (P-24); it may be missing.
func (r request) diagnostics() (control.Envelope, *failure) {
	v, ok := r.fields["Diagnostics"]
	if !ok || v == nil {
		return control.Envelope{}, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return control.Envelope{}, &failure{400, "SerializationException", "Diagnostics is not a structure"}
	}
	in := request{fields: m}
	format, f := in.text("Format")
	if f != nil {
		return control.Envelope{}, f
	}
	payload, f := in.text("Payload")
	if f != nil {
		return control.Envelope{}, f
	}
	if n := utf8.RuneCountInString(format); n < 1 || n > 64 {
		return control.Envelope{}, &failure{400, "ValidationException", "Diagnostics.Format has not 1 to 64 characters"}
	}
	if n := utf8.RuneCountInString(payload); n > 8192 {
		return control.Envelope{}, &failure{400, "ValidationException", fmt.Sprintf("Diagnostics.Payload has %d characters, more than 8192", n)}
	}
	return control.Envelope{Format: format, Payload: payload}, nil
}

// poll is PollHostCommand (P-19).
func (s *Server) poll(ctx context.Context, r request) (any, *failure) {
	host, f := r.text("HostIdentifier")
	if f != nil {
		return nil, f
	}
	deadline := time.Now().Add(s.opts.PollWait)
	for {
		s.mu.Lock()
		now := time.Now()
		c, later := s.next(host, now)
		if c != nil {
			answer, e := s.deliver(c, now, r.version)
			s.mu.Unlock()
			s.tell(e)
			return answer, nil
		}
		changed, closed := s.changed, s.closed
		s.mu.Unlock()
		until := deadline
		if !later.IsZero() && later.Before(until) {
			until = later
		}
		if closed || !now.Before(deadline) {
			return struct{}{}, nil
		}
		t := time.NewTimer(until.Sub(now))
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, &failure{0, "", ctx.Err().Error()}
		}
		t.Stop()
	}
}

// deliver answers a poll with a command. The lock must be held.
func (s *Server) deliver(c *command, now time.Time, version string) (any, Event) {
	c.Deliveries++
	c.Delivered, c.resend = now, false
	echo := c.Command.HostID
	if c.Command.EchoHost != "" {
		echo = c.Command.EchoHost
	}
	return map[string]any{"HostCommand": map[string]any{
		"HostCommandIdentifier": c.Command.ID, "HostIdentifier": echo, "DeploymentExecutionId": c.Command.ExecutionID,
		"CommandName": c.Command.Name, "Nonce": c.Deliveries,
	}}, c.event(Delivered, version)
}

// spec is GetDeploymentSpecification (P-20).
func (s *Server) spec(_ context.Context, r request) (any, *failure) {
	id, f := r.text("DeploymentExecutionId")
	if f != nil {
		return nil, f
	}
	host, f := r.text("HostIdentifier")
	if f != nil {
		return nil, f
	}
	if n := utf8.RuneCountInString(id); n < 1 || n > 129 || !executionForm.MatchString(id) {
		return nil, &failure{400, "ValidationException", "DeploymentExecutionId is not of the form that it must have"}
	}
	s.mu.Lock()
	c := s.execution(id, host)
	if c == nil {
		s.mu.Unlock()
		return nil, clientFailure("DEPLOYMENT_NOT_FOUND: %s has no execution %s", host, id)
	}
	c.SpecReads++
	e, cmd := c.event(SpecRead, r.version), c.Command
	s.mu.Unlock()
	s.tell(e)
	answer := map[string]any{"DeploymentSystem": cmd.System, "DeploymentSpecification": nil}
	if cmd.NoSpec {
		return answer, nil
	}
	spec := map[string]any{"GenericEnvelope": nil, "VariantId": "default"}
	if !cmd.NoEnvelope {
		spec["GenericEnvelope"] = map[string]any{"Format": cmd.Spec.Format, "Payload": rawJSON(cmd.Spec.Payload)}
	}
	answer["DeploymentSpecification"] = spec
	return answer, nil
}

// rawJSON is a payload as JSON. Bytes that are not UTF-8 go out as they are, as from a service that is careless about them.
type rawJSON string

// MarshalJSON writes a string.
func (t rawJSON) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	out := []byte{'"'}
	for _, b := range []byte(t) {
		switch {
		case b == '"', b == '\\':
			out = append(out, '\\', b)
		case b < ' ':
			out = fmt.Appendf(out, "\\u%04x", b)
		default:
			out = append(out, b)
		}
	}
	return append(out, '"'), nil
}

// acknowledge is PutHostCommandAcknowledgement (P-21).
func (s *Server) acknowledge(_ context.Context, r request) (any, *failure) {
	diag, f := r.diagnostics()
	if f != nil {
		return nil, f
	}
	status := control.InProgress
	f = s.about(r, Acknowledged, func(c *command) *failure {
		c.Acks++
		if c.Acks == 1 {
			c.Acked = time.Now()
		}
		var d struct{ IsCommandNoop bool }
		if json.Unmarshal([]byte(diag.Payload), &d) == nil {
			c.Noop = d.IsCommandNoop
		}
		switch {
		case c.Status.Terminal():
			status = c.Status
		case c.Command.AckStatus != "":
			status = c.Command.AckStatus
		}
		if status.Terminal() {
			c.Status = status
		} else {
			c.Status = control.InProgress
		}
		return nil
	})
	switch {
	case f != nil:
		return nil, f
	case status == NoStatus:
		return struct{}{}, nil
	}
	return map[string]any{"CommandStatus": status}, nil
}

// complete is PutHostCommandComplete (P-22).
func (s *Server) complete(_ context.Context, r request) (any, *failure) {
	text, f := r.text("CommandStatus")
	if f != nil {
		return nil, f
	}
	status := control.Status(text)
	if !slices.Contains([]control.Status{control.Pending, control.InProgress, control.Succeeded, control.Failed}, status) {
		return nil, &failure{400, "ValidationException", "CommandStatus is none of Pending, InProgress, Succeeded, Failed"}
	}
	if !status.Terminal() {
		return nil, clientFailure("a command cannot be completed as %s", status)
	}
	diag, f := r.diagnostics()
	if f != nil {
		return nil, f
	}
	return nil, s.about(r, Completed, func(c *command) *failure {
		if len(c.Completions) == 0 {
			c.Status = status
		}
		c.Completions = append(c.Completions, Completion{
			Status: status, Diagnostics: decodeDiagnostics(diag), RawDiagnostics: diag, Count: len(c.Completions) + 1, At: time.Now(),
		})
		return nil
	})
}

// update is PostHostCommandUpdate (P-23).
func (s *Server) update(_ context.Context, r request) (any, *failure) {
	if _, f := r.diagnostics(); f != nil {
		return nil, f
	}
	var eta time.Time
	if v, ok := r.fields["EstimatedCompletionTime"]; ok && v != nil {
		seconds, ok := v.(float64)
		if !ok {
			return nil, &failure{400, "SerializationException", "EstimatedCompletionTime is not a number of seconds"}
		}
		whole, part := math.Modf(seconds)
		eta = time.Unix(int64(whole), int64(part*1e9)).Round(time.Millisecond)
	}
	status := control.Status("")
	f := s.about(r, Updated, func(c *command) *failure {
		c.Updates++
		c.ETA = eta
		status = c.Status
		return nil
	})
	if f != nil {
		return nil, f
	}
	return map[string]any{"CommandStatus": status}, nil
}

// about changes the command that a call names.
func (s *Server) about(r request, kind EventKind, f func(*command) *failure) *failure {
	id, bad := r.text("HostCommandIdentifier")
	if bad != nil {
		return bad
	}
	s.mu.Lock()
	c, ok := s.byID[id]
	if !ok {
		s.mu.Unlock()
		return clientFailure("there is no command %s", id)
	}
	bad = f(c)
	e := c.event(kind, r.version)
	s.wakeLocked()
	s.mu.Unlock()
	if bad == nil {
		s.tell(e)
	}
	return bad
}

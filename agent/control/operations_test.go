package control_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

// operationRules are sections 3 and 6: what is asked and answered.
var operationRules = []rule{
	{"P-19_PollHostCommand", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		id := s.Enqueue(controltest.Command{HostID: hostID, ExecutionID: "a/b/c/d", Name: "AfterInstall"})
		s.Enqueue(controltest.Command{HostID: "arn:aws:ec2:eu-west-1:123456789012:instance/i-another", Name: "Install"})
		got, err := c.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&control.HostCommand{ID: id, HostID: hostID, ExecutionID: "a/b/c/d", Name: "AfterInstall"}, got); diff != "" {
			t.Errorf("command (-want +got):\n%s", diff)
		}
		wantBody(t, s, "PollHostCommand", map[string]any{"HostIdentifier": hostID})
	}},
	{"P-19_nonce_and_unknown_members_are_ignored", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		body := `{"HostCommand":{"HostCommandIdentifier":"1","HostIdentifier":"h","DeploymentExecutionId":"e","CommandName":"n","Nonce":18446744073709551616,"New":[{}]},"More":null}`
		s.Inject(controltest.Fault{Status: 200, Body: []byte(body)})
		got, err := c.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&control.HostCommand{ID: "1", HostID: "h", ExecutionID: "e", Name: "n"}, got); diff != "" {
			t.Errorf("command (-want +got):\n%s", diff)
		}
	}},
	{"P-20_GetDeploymentSpecification", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		spec := s.Sign([]byte(`{"DeploymentId":"d-1"}`))
		s.Enqueue(controltest.Command{HostID: hostID, ExecutionID: "a/b/c/d/e", Name: "Install", Spec: spec})
		got, err := c.Spec(t.Context(), "a/b/c/d/e")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(spec, got); diff != "" {
			t.Errorf("envelope (-want +got):\n%s", diff)
		}
		wantBody(t, s, "GetDeploymentSpecification", map[string]any{"DeploymentExecutionId": "a/b/c/d/e", "HostIdentifier": hostID})
	}},
	{"P-20_variant_envelope_is_ignored", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		s.Inject(controltest.Fault{Status: 200, Body: []byte(`{"DeploymentSystem":"CodeDeploy","DeploymentSpecification":{
			"GenericEnvelope":{"Format":"f","Payload":"p"},"VariantId":"v","VariantEnvelope":{"Format":"g","Payload":"q"}}}`)})
		got, err := c.Spec(t.Context(), "a/b/c/d")
		if want := (control.Envelope{Format: "f", Payload: "p"}); got != want || err != nil {
			t.Errorf("Spec() = %v, %v; want %v", got, err, want)
		}
	}},
	{"P-21_PutHostCommandAcknowledgement", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		id := s.Enqueue(controltest.Command{HostID: hostID, Name: "Install"})
		status, err := c.Acknowledge(t.Context(), id, control.Envelope{Format: "JSON", Payload: "{}"})
		if status != control.InProgress || err != nil {
			t.Errorf("Acknowledge() = %q, %v", status, err)
		}
		wantBody(t, s, "PutHostCommandAcknowledgement", map[string]any{
			"HostCommandIdentifier": id, "Diagnostics": map[string]any{"Format": "JSON", "Payload": "{}"},
		})
	}},
	{"P-22_PutHostCommandComplete", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		id := s.Enqueue(controltest.Command{HostID: hostID, Name: "Install"})
		if err := c.Complete(t.Context(), id, control.Succeeded, control.Envelope{Format: "JSON", Payload: `{"error_code":0}`}); err != nil {
			t.Error(err)
		}
		wantBody(t, s, "PutHostCommandComplete", map[string]any{
			"HostCommandIdentifier": id, "CommandStatus": "Succeeded", "Diagnostics": map[string]any{"Format": "JSON", "Payload": `{"error_code":0}`},
		})
	}},
	// The answer is empty by the model; whatever is in it, the report has been accepted, unless it is somebody else's.
	{"P-22_answer_does_not_matter", func(t *testing.T) {
		for body, accepted := range map[string]bool{``: true, `{`: true, `null`: true, `text`: true, `<html>`: false, "\n<!DOCTYPE html>": false} {
			s, c := peers(t, controltest.Options{}, nil)
			s.Inject(controltest.Fault{Status: 200, Body: []byte(body)})
			err := c.Complete(t.Context(), "id", control.Succeeded, control.Envelope{})
			page, ok := errors.AsType[*control.ResponseError](err)
			if accepted != (err == nil) || !accepted && (!ok || !page.Page) {
				t.Errorf("%q: %v", body, err)
			}
		}
	}},
	{"P-23_PostHostCommandUpdate", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		id := s.Enqueue(controltest.Command{HostID: hostID, Name: "Install"})
		eta := time.Unix(1764000000, 250e6)
		if status, err := c.Update(t.Context(), id, eta, control.NoopDiagnostics(false)); status != control.Pending || err != nil {
			t.Errorf("Update() = %q, %v", status, err)
		}
		if state, _ := s.State(id); state.Updates != 1 || !state.ETA.Equal(eta) {
			t.Errorf("the service understood %d updates, %v", state.Updates, state.ETA)
		}
		wantBody(t, s, "PostHostCommandUpdate", map[string]any{
			"HostCommandIdentifier": id, "EstimatedCompletionTime": 1764000000.25,
			"Diagnostics": map[string]any{"Format": "JSON", "Payload": `{"IsCommandNoop":false}`},
		})
	}},
	{"P-23_members_are_optional", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		id := s.Enqueue(controltest.Command{HostID: hostID, Name: "Install"})
		if _, err := c.Update(t.Context(), id, time.Time{}, control.Envelope{}); err != nil {
			t.Error(err)
		}
		wantBody(t, s, "PostHostCommandUpdate", map[string]any{"HostCommandIdentifier": id})
	}},
	{"P-24_envelope_limits", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		id := s.Enqueue(controltest.Command{HostID: hostID, Name: "Install"})
		for _, tc := range []struct {
			format, payload int
			ok              bool
		}{{1, 0, true}, {64, 8192, true}, {65, 1, false}, {0, 1, false}, {4, 8193, false}} {
			e := control.Envelope{Format: strings.Repeat("F", tc.format), Payload: strings.Repeat("ü", tc.payload)}
			err := c.Complete(t.Context(), id, control.Failed, e)
			if (err == nil) != tc.ok {
				t.Errorf("format of %d, payload of %d characters: %v", tc.format, tc.payload, err)
			}
			if err != nil && !apiError(t, err).Terminal() {
				t.Errorf("%v may be repeated", err)
			}
		}
		// What the client makes always fits: see P-59.
		long := control.Diagnostics{Message: strings.Repeat("ü\"", 9000), Log: strings.Repeat("\x00\n", 9000)}
		if err := c.Complete(t.Context(), id, control.Failed, long.Envelope()); err != nil {
			t.Error(err)
		}
	}},
	{"P-25_execution_identifier", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		long := "a/b/c/" + strings.Repeat("d", 123)
		for _, id := range []string{"a/b/c/d", "a/b/c/d/e", long} {
			s.Enqueue(controltest.Command{HostID: hostID, ExecutionID: id, Name: "Install", Spec: s.Sign([]byte("{}"))})
			if _, err := c.Spec(t.Context(), id); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
		for _, id := range []string{"", "a", "a/b/c", "a/b/c/", "/b/c/d", long + "d"} {
			if _, err := c.Spec(t.Context(), id); !apiError(t, err).Terminal() {
				t.Errorf("%q: %v", id, err)
			}
		}
	}},
	{"P-26_statuses", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		for answer, want := range map[control.Status]control.Status{
			"": control.InProgress, control.Pending: control.Pending, control.Succeeded: control.Succeeded, control.Failed: control.Failed,
			controltest.NoStatus: "", "Skipped": "Skipped",
		} {
			id := s.Enqueue(controltest.Command{HostID: hostID, Name: "Install", AckStatus: answer})
			got, err := c.Acknowledge(t.Context(), id, control.NoopDiagnostics(false))
			if got != want || err != nil {
				t.Errorf("Acknowledge() = %q, %v; want %q", got, err, want)
			}
			if terminal := want == control.Succeeded || want == control.Failed; got.Terminal() != terminal {
				t.Errorf("%q.Terminal() = %v", got, got.Terminal())
			}
		}
	}},
	{"P-27_own_identifier_is_sent_not_the_echo", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		s.Enqueue(controltest.Command{HostID: hostID, EchoHost: "i-0123456789abcdef0", Name: "Install", Spec: s.Sign([]byte("{}"))})
		cmd, err := c.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if cmd.HostID != "i-0123456789abcdef0" {
			t.Fatalf("echo %q", cmd.HostID)
		}
		if _, err := c.Spec(t.Context(), cmd.ExecutionID); err != nil {
			t.Fatal(err)
		}
		if got := only(t, s, "GetDeploymentSpecification").Body["HostIdentifier"]; got != hostID {
			t.Errorf("HostIdentifier %q, want %q", got, hostID)
		}
	}},
	{"P-28_no_maximum_duration_is_sent", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		id := s.Enqueue(controltest.Command{HostID: hostID, Name: "Install"})
		if _, err := c.Acknowledge(t.Context(), id, control.Envelope{}); err != nil {
			t.Fatal(err)
		}
		wantBody(t, s, "PutHostCommandAcknowledgement", map[string]any{"HostCommandIdentifier": id})
	}},
	{"P-40_no_command_is_nothing_to_do", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		for _, body := range []string{`{}`, `{"HostCommand":null}`, ` `, "\n{ }\n"} {
			remove := s.Inject(controltest.Fault{Status: 200, Body: []byte(body)})
			if cmd, err := c.Poll(t.Context()); cmd != nil || err != nil {
				t.Errorf("%q: Poll() = %+v, %v", body, cmd, err)
			}
			remove()
		}
	}},
	// X-12 replaces it: no substring but the whole identifier, or its last part.
	{"P-41_command_is_for_this_host", func(t *testing.T) {
		const user, session = "arn:aws:iam::123456789012:user/fleet/web-1", "arn:aws:sts::123456789012:assumed-role/Fleet/web-2"
		for _, tc := range []struct {
			own, theirs string
			ok          bool
		}{
			{hostID, hostID, true},
			{hostID, "i-0123456789abcdef0", true},
			{hostID, "instance/i-0123456789abcdef0", true},
			{hostID, "i-0123456789abcdef", false}, // a substring, and so accepted by the reference
			{hostID, "arn:aws:ec2", false},
			{hostID, "123456789012", false},
			{hostID, "", false},
			{hostID, hostID + "0", false},
			{hostID, strings.ToUpper(hostID), false},
			{hostID, "i-fedcba9876543210f", false},
			{user, user, true},
			{user, "web-1", true},
			{user, "user/fleet/web-1", true},
			{user, "fleet", false},
			{session, "web-2", true},
			{session, "Fleet", false},
			{"i-0123456789abcdef0", "i-0123456789abcdef0", true},
			{"i-0123456789abcdef0", hostID, false},
			{"a/b", "b", false}, // not an ARN
		} {
			cmd := control.HostCommand{ID: "1", HostID: tc.theirs, ExecutionID: "a/b/c/d", Name: "Install"}
			if err := cmd.Check(tc.own); (err == nil) != tc.ok {
				t.Errorf("command for %q on %q: %v", tc.theirs, tc.own, err)
			}
		}
	}},
	{"P-41_command_is_complete", func(t *testing.T) {
		good := control.HostCommand{ID: "1", HostID: hostID, ExecutionID: "a/b/c/d", Name: "Install"}
		if err := good.Check(hostID); err != nil {
			t.Error(err)
		}
		for name, edit := range map[string]func(*control.HostCommand){
			"no identifier": func(c *control.HostCommand) { c.ID = "" },
			"no name":       func(c *control.HostCommand) { c.Name = "" },
			"no execution":  func(c *control.HostCommand) { c.ExecutionID = "" },
		} {
			bad := good
			edit(&bad)
			if err := bad.Check(hostID); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
	}},
	{"P-43_specification_of_no_use", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		spec := s.Sign([]byte("{}"))
		for name, cmd := range map[string]controltest.Command{
			"other system":            {System: "codedeploy", Spec: spec},
			"specification null":      {NoSpec: true},
			"envelope null":           {NoEnvelope: true},
			"specification elsewhere": {System: "ECS", NoSpec: true},
		} {
			cmd.HostID, cmd.Name, cmd.ExecutionID = hostID, "Install", "a/b/c/"+name
			s.Enqueue(cmd)
			_, err := c.Spec(t.Context(), cmd.ExecutionID)
			e, ok := errors.AsType[*control.SpecError](err)
			if !ok || e.ExecutionID != cmd.ExecutionID || !strings.Contains(e.Error(), cmd.ExecutionID) {
				t.Errorf("%s: Spec() = %v", name, err)
			}
		}
		for _, body := range []string{
			``, `{}`, `[]`, `null`, `{"DeploymentSystem":1}`, `{"DeploymentSystem":"CodeDeploy","DeploymentSpecification":[]}`, `{"DeploymentSystem":"CodeDeploy",}`, `<html>`,
			`{"DeploymentSystem":"CodeDeploy","DeploymentSpecification":{"GenericEnvelope":"x"}}`,
			`{"DeploymentSystem":"CodeDeploy","DeploymentSpecification":{"GenericEnvelope":{"Format":1}}}`,
		} {
			remove := s.Inject(controltest.Fault{Status: 200, Body: []byte(body)})
			_, err := c.Spec(t.Context(), "a/b/c/d")
			if _, ok := errors.AsType[*control.SpecError](err); !ok {
				t.Errorf("%s: Spec() = %v (%T)", body, err, err)
			}
			remove()
		}
	}},
	{"P-45_noop_diagnostics", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		for noop, payload := range map[bool]string{true: `{"IsCommandNoop":true}`, false: `{"IsCommandNoop":false}`} {
			id := s.Enqueue(controltest.Command{HostID: hostID, Name: "Install"})
			if _, err := c.Acknowledge(t.Context(), id, control.NoopDiagnostics(noop)); err != nil {
				t.Fatal(err)
			}
			of := calls(s, "PutHostCommandAcknowledgement")
			want := map[string]any{"Format": "JSON", "Payload": payload}
			if diff := cmp.Diff(want, of[len(of)-1].Body["Diagnostics"]); diff != "" {
				t.Errorf("diagnostics (-want +got):\n%s", diff)
			}
			if state, _ := s.State(id); state.Noop != noop {
				t.Errorf("the service understood %v, want %v", state.Noop, noop)
			}
		}
	}},
}

// wantBody compares the members of the single call of an operation: these and no others.
func wantBody(t *testing.T, s *controltest.Server, operation string, want map[string]any) {
	t.Helper()
	if diff := cmp.Diff(want, only(t, s, operation).Body); diff != "" {
		t.Errorf("%s (-want +got):\n%s", operation, diff)
	}
}

package control_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

const (
	hostID = "arn:aws:ec2:eu-west-1:123456789012:instance/i-0123456789abcdef0"
	region = "eu-west-1"
	access = "AKIDEXAMPLE"
	secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

// peers are a service and a client of it.
func peers(t *testing.T, so controltest.Options, edit func(*control.Options)) (*controltest.Server, *control.Client) {
	t.Helper()
	if so.Region == "" {
		so.Region = region
	}
	if so.Keys == nil {
		so.Keys = map[string]string{access: secret}
	}
	s, err := controltest.New(so)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	url, err := s.Start()
	if err != nil {
		t.Fatal(err)
	}
	o := control.Options{
		Endpoint: url, Region: region, HostID: hostID, Version: "OFFICIAL_1.8.1-12_rpm", Secure: so.Secure, Mock: so.Mock,
		Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
	}
	if edit != nil {
		edit(&o)
	}
	c, err := control.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func TestCommandFromPollToCompletion(t *testing.T) {
	s, c := peers(t, controltest.Options{}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if cmd, err := c.Poll(ctx); cmd != nil || err != nil {
		t.Fatalf("Poll() = %+v, %v; want nothing (P-40)", cmd, err)
	}
	content := []byte(`{"DeploymentId":"d-1"}`)
	id := s.Enqueue(controltest.Command{HostID: hostID, Name: "BeforeInstall", Spec: s.Sign(content)})
	cmd, err := c.Poll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Check(hostID); err != nil {
		t.Error(err)
	}
	env, err := c.Spec(ctx, cmd.ExecutionID)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := control.NewTrust(control.TrustOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := env.Open(trust)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(content), string(got)); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	if status, err := c.Acknowledge(ctx, cmd.ID, control.NoopDiagnostics(false)); status != control.InProgress || err != nil {
		t.Errorf("Acknowledge() = %q, %v", status, err)
	}
	diag := control.Diagnostics{ErrorCode: 4, ScriptName: "a.sh", Message: "broken", Log: "line\n"}
	if err := c.Complete(ctx, cmd.ID, control.Failed, diag.Envelope()); err != nil {
		t.Fatal(err)
	}
	done, err := s.Await(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if done.Status != control.Failed || done.Diagnostics != diag || done.Count != 1 {
		t.Errorf("completion = %+v", done)
	}
	var none *control.APIError
	if _, err := c.Spec(ctx, "a/b/c/other"); !errors.As(err, &none) || !none.Terminal() {
		t.Errorf("Spec() of an unknown execution = %v", err)
	}
}

package control_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

const (
	hostID  = "arn:aws:ec2:eu-west-1:123456789012:instance/i-0123456789abcdef0"
	region  = "eu-west-1"
	access  = "AKIDEXAMPLE"
	secret  = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	version = "OFFICIAL_1.8.1-12_rpm"
)

// rule is a test that holds one rule of the protocol, or what replaces it on purpose.
type rule struct {
	name string // rule number, then what is held, with underscores
	test func(t *testing.T)
}

// TestWire holds the rules of the wire, by number.
func TestWire(t *testing.T) {
	held := map[string]bool{}
	for _, r := range slices.Concat(requestRules, operationRules, errorRules, retryRules, transportRules, envelopeRules, diagnosticsRules) {
		number, _, _ := strings.Cut(r.name, "_")
		held[number] = true
		t.Run(r.name, r.test)
	}
	want := []string{
		"P-9", "P-10", "P-11", "P-12", "P-13", "P-15", "P-16", "P-17", "P-19", "P-20", "P-21", "P-22", "P-23", "P-24", "P-25", "P-26", "P-27", "P-28",
		"P-29", "P-30", "P-31", "P-32", "P-40", "P-41", "P-43", "P-45", "P-53", "P-54", "P-55", "P-56", "P-57", "P-58", "P-59", "P-60", "P-61", "P-62",
	}
	for _, number := range want {
		if !held[number] {
			t.Errorf("no test holds %s", number)
		}
	}
	for number := range maps.Keys(held) {
		if !slices.Contains(want, number) {
			t.Errorf("%s is not in the list of rules", number)
		}
	}
}

// newServer is a service that knows the test's key.
func newServer(t *testing.T, o controltest.Options) *controltest.Server {
	t.Helper()
	if o.Region == "" {
		o.Region = region
	}
	if o.Keys == nil {
		o.Keys = map[string]string{access: secret}
	}
	s, err := controltest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// newClient is a client of the service at a URL.
func newClient(t *testing.T, url string, edit func(*control.Options)) *control.Client {
	t.Helper()
	o := control.Options{
		Endpoint: url, Region: region, HostID: hostID, Version: version, Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
	}
	if edit != nil {
		edit(&o)
	}
	c, err := control.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// peers are a service over real HTTP and a client of it.
func peers(t *testing.T, so controltest.Options, edit func(*control.Options)) (*controltest.Server, *control.Client) {
	t.Helper()
	s := newServer(t, so)
	url, err := s.Start()
	if err != nil {
		t.Fatal(err)
	}
	return s, newClient(t, url, func(o *control.Options) {
		o.Secure, o.Mock = so.Secure, so.Mock
		if edit != nil {
			edit(o)
		}
	})
}

// bubble are a service and a client that meet in memory, for synctest: hours may pass in no time.
func bubble(t *testing.T, so controltest.Options, edit func(*control.Options)) (*controltest.Server, *control.Client) {
	t.Helper()
	s := newServer(t, so)
	return s, newClient(t, "https://codedeploy-commands.eu-west-1.amazonaws.com", func(o *control.Options) {
		o.HTTP = &http.Client{Transport: inMemory{s}}
		if edit != nil {
			edit(o)
		}
	})
}

// inMemory hands requests to a handler. A handler that ends the connection looks like one.
type inMemory struct{ h http.Handler }

func (m inMemory) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	w := httptest.NewRecorder()
	defer func() {
		switch x := recover(); {
		case x == nil:
		case x != http.ErrAbortHandler: //nolint:errorlint // it is a panic value
			panic(x)
		case w.Body.Len() == 0:
			resp, err = nil, syscall.ECONNRESET
		default:
			resp = w.Result()
			resp.Body = io.NopCloser(io.MultiReader(resp.Body, brokenOff{}))
		}
	}()
	in := r.Clone(r.Context())
	in.Host = r.URL.Host
	in.RequestURI = r.URL.RequestURI()
	m.h.ServeHTTP(w, in)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

type brokenOff struct{}

func (brokenOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// calls are the calls of an operation.
func calls(s *controltest.Server, operation string) (of []controltest.Call) {
	for _, c := range s.Calls() {
		if c.Operation == operation {
			of = append(of, c)
		}
	}
	return of
}

// only is the single call of an operation.
func only(t *testing.T, s *controltest.Server, operation string) controltest.Call {
	t.Helper()
	of := calls(s, operation)
	if len(of) != 1 {
		t.Fatalf("%d calls of %s, want 1", len(of), operation)
	}
	return of[0]
}

func apiError(t *testing.T, err error) *control.APIError {
	t.Helper()
	e, ok := errors.AsType[*control.APIError](err)
	if !ok {
		t.Fatalf("error %v (%T) is not an *APIError", err, err)
	}
	return e
}

// TestCommandFromPollToCompletion is the way of a command over real HTTP.
func TestCommandFromPollToCompletion(t *testing.T) {
	s, c := peers(t, controltest.Options{}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
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
	got, err := env.Open(nil)
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
}

// TestNewRefuses: a client that could never make a call is not made.
func TestNewRefuses(t *testing.T) {
	good := control.Options{
		Endpoint: "https://example.com", Region: region, HostID: hostID, Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
	}
	for _, tc := range []struct {
		name string
		edit func(*control.Options)
		want string
	}{
		{"no endpoint", func(o *control.Options) { o.Endpoint = "" }, "not an https:// or http:// URL"},
		{"no scheme", func(o *control.Options) { o.Endpoint = "example.com" }, "not an https:// or http:// URL"},
		{"other scheme", func(o *control.Options) { o.Endpoint = "ftp://example.com" }, "not an https:// or http:// URL"},
		{"broken endpoint", func(o *control.Options) { o.Endpoint = "https://exa mple" }, "endpoint of the command service"},
		{"no region", func(o *control.Options) { o.Region = "" }, "AWS_REGION"},
		{"no host", func(o *control.Options) { o.HostID = "" }, "host identifier"},
		{"no credentials", func(o *control.Options) { o.Credentials = nil }, "credentials"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := good
			tc.edit(&o)
			if _, err := control.New(o); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("New() = %v, want an error with %q", err, tc.want)
			}
		})
	}
	if _, err := control.New(good); err != nil {
		t.Errorf("New() = %v", err)
	}
}

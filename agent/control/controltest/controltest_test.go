package controltest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

const (
	host   = "arn:aws:ec2:us-east-1:123456789012:instance/i-1"
	access = "AKIDEXAMPLE"
	secret = "secret"
)

func newServer(t *testing.T, o controltest.Options) *controltest.Server {
	t.Helper()
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

// inMemory hands requests to the service without a network, for synctest.
type inMemory struct{ h http.Handler }

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	in := r.Clone(r.Context())
	in.Host, in.RequestURI = r.URL.Host, r.URL.RequestURI()
	m.h.ServeHTTP(w, in)
	return w.Result(), r.Context().Err()
}

func newClient(t *testing.T, s *controltest.Server, id string) *control.Client {
	t.Helper()
	c, err := control.New(control.Options{
		Endpoint: "https://service.example", Region: "us-east-1", HostID: id, Version: "1", HTTP: &http.Client{Transport: inMemory{s}},
		Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// poll is the identifier of the command that a poll brings, or "".
func poll(t *testing.T, c *control.Client) string {
	t.Helper()
	cmd, err := c.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if cmd == nil {
		return ""
	}
	return cmd.ID
}

// TestDelivery: commands come in their order, again until they are acknowledged, and to their own host.
func TestDelivery(t *testing.T) {
	s := newServer(t, controltest.Options{})
	c, other := newClient(t, s, host), newClient(t, s, "other")
	first := s.Enqueue(controltest.Command{HostID: host, Name: "ApplicationStop"})
	second := s.Enqueue(controltest.Command{HostID: host, Name: "DownloadBundle"})
	for i, want := range []string{first, second, first, second} {
		if got := poll(t, c); got != want {
			t.Errorf("poll %d brought %q, want %q", i, got, want)
		}
	}
	if got := poll(t, other); got != "" {
		t.Errorf("another host got %q", got)
	}
	if _, err := c.Acknowledge(t.Context(), first, control.NoopDiagnostics(false)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := poll(t, c); got != second {
			t.Errorf("after the acknowledgement of the first: %q", got)
		}
	}
	// On demand, whatever its state, and once.
	for range 2 {
		s.Redeliver(first)
		if got, then := poll(t, c), poll(t, c); got != first || then != second {
			t.Errorf("redelivery brought %q, then %q", got, then)
		}
		if err := c.Complete(t.Context(), first, control.Succeeded, control.Envelope{}); err != nil {
			t.Fatal(err)
		}
	}
	s.Cancel(second)
	if got := poll(t, c); got != "" {
		t.Errorf("cancelled, and delivered: %q", got)
	}
	if status, err := c.Acknowledge(t.Context(), second, control.NoopDiagnostics(false)); status != control.Failed || err != nil {
		t.Errorf("acknowledgement of a cancelled command: %q, %v", status, err)
	}
	if s.Redeliver("unknown") || s.Cancel("unknown") || s.SetAckStatus("unknown", "") {
		t.Error("a command that does not exist was changed")
	}
	third := s.Enqueue(controltest.Command{HostID: host, Name: "Install"})
	s.SetAckStatus(third, control.Succeeded)
	if status, err := c.Acknowledge(t.Context(), third, control.NoopDiagnostics(false)); status != control.Succeeded || err != nil {
		t.Errorf("Acknowledge() = %q, %v", status, err)
	}
	if state, ok := s.State(third); !ok || state.Status != control.Succeeded || poll(t, c) != "" {
		t.Errorf("state %+v", state)
	}
}

// TestFirstCompletionCounts: and all are on record.
func TestFirstCompletionCounts(t *testing.T) {
	s := newServer(t, controltest.Options{})
	c := newClient(t, s, host)
	id := s.Enqueue(controltest.Command{HostID: host, Name: "Install"})
	poll(t, c)
	for _, d := range []control.Diagnostics{{ErrorCode: 4, ScriptName: "a.sh", Message: "m", Log: "l"}, {ErrorCode: 5}} {
		if err := c.Complete(t.Context(), id, control.Failed, d.Envelope()); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Complete(t.Context(), id, control.Succeeded, control.Envelope{}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []control.Status{control.InProgress, "Done"} {
		if err := c.Complete(t.Context(), id, bad, control.Envelope{}); err == nil {
			t.Errorf("completed as %s", bad)
		}
	}
	done, err := s.Await(t.Context(), id)
	want := control.Diagnostics{ErrorCode: 4, ScriptName: "a.sh", Message: "m", Log: "l"}
	if err != nil || done.Status != control.Failed || done.Diagnostics != want || done.RawDiagnostics != want.Envelope() || done.Count != 1 {
		t.Errorf("Await() = %+v, %v", done, err)
	}
	state, _ := s.State(id)
	if len(state.Completions) != 3 || state.Status != control.Failed || state.Completions[2].Status != control.Succeeded || state.Completions[2].Count != 3 {
		t.Errorf("state %+v", state)
	}
	if poll(t, c) != "" {
		t.Error("delivered after its completion")
	}
}

// TestPollWaits: a poll is held until there is something, and no longer than it says.
func TestPollWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, controltest.Options{PollWait: time.Minute, Redeliver: 10 * time.Second})
		c := newClient(t, s, host)
		began := time.Now()
		if got := poll(t, c); got != "" || time.Since(began) != time.Minute {
			t.Errorf("%q after %v", got, time.Since(began))
		}
		began = time.Now()
		const id = "the-command"
		time.AfterFunc(20*time.Second, func() { s.Enqueue(controltest.Command{ID: id, HostID: host, Name: "Install"}) })
		time.AfterFunc(10*time.Second, func() { s.Enqueue(controltest.Command{HostID: "other", Name: "Install"}) })
		if got := poll(t, c); got != id || time.Since(began) != 20*time.Second {
			t.Errorf("%q after %v", got, time.Since(began))
		}
		// Again when it is due.
		began = time.Now()
		if got := poll(t, c); got != id || time.Since(began) != 10*time.Second {
			t.Errorf("%q after %v", got, time.Since(began))
		}
		// Close ends it.
		began = time.Now()
		time.AfterFunc(time.Second, func() { s.Close() })
		if got := poll(t, c); got != "" || time.Since(began) != time.Second {
			t.Errorf("%q after %v", got, time.Since(began))
		}
	})
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, controltest.Options{})
		c := newClient(t, s, host)
		if _, err := s.Await(t.Context(), "unknown"); err == nil {
			t.Error("awaited what does not exist")
		}
		id := s.Enqueue(controltest.Command{HostID: host, Name: "Install"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := s.Await(ctx, id); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "Install, Pending") {
			t.Errorf("Await() = %v", err)
		}
		time.AfterFunc(time.Hour, func() { c.Complete(context.Background(), id, control.Succeeded, control.Envelope{}) })
		if done, err := s.Await(t.Context(), id); err != nil || done.Status != control.Succeeded {
			t.Errorf("Await() = %+v, %v", done, err)
		}
		open := s.Enqueue(controltest.Command{HostID: host, Name: "Install"})
		time.AfterFunc(time.Minute, func() { s.Close() })
		if _, err := s.Await(t.Context(), open); err == nil {
			t.Error("a closed service completes nothing")
		}
	})
}

// TestEvents: everything that happens to a command is told, and who is told may use the service.
func TestEvents(t *testing.T) {
	var s *controltest.Server
	var told []string
	s = newServer(t, controltest.Options{OnEvent: func(e controltest.Event) {
		if state, ok := s.State(e.ID); !ok || state.Command.Name != "Install" || e.Host != host {
			t.Errorf("event %+v, state %+v", e, state)
		}
		told = append(told, fmt.Sprintf("%s %s %s", e.Kind, e.State.Status, e.Version))
	}})
	c := newClient(t, s, host)
	id := s.Enqueue(controltest.Command{HostID: host, ExecutionID: "a/b/c/d", Name: "Install", Spec: s.Sign([]byte("{}"))})
	poll(t, c)
	c.Spec(t.Context(), "a/b/c/d")
	c.Acknowledge(t.Context(), id, control.NoopDiagnostics(true))
	c.Update(t.Context(), id, time.Time{}, control.Envelope{})
	c.Complete(t.Context(), id, control.Succeeded, control.Envelope{})
	s.Cancel(id)
	want := []string{"enqueued Pending ", "delivered Pending 1", "spec-read Pending 1", "acknowledged InProgress 1", "updated InProgress 1", "completed Succeeded 1", "cancelled Succeeded "}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestSharedExecution: commands of one deployment have one execution identifier; the specification is that of the one delivered last.
func TestSharedExecution(t *testing.T) {
	s := newServer(t, controltest.Options{})
	c := newClient(t, s, host)
	for _, name := range []string{"DownloadBundle", "Install"} {
		id := s.Enqueue(controltest.Command{HostID: host, ExecutionID: "a/b/c/d", Name: name, Spec: control.Envelope{Format: "TEXT/JSON", Payload: name}})
		poll(t, c)
		if e, err := c.Spec(t.Context(), "a/b/c/d"); err != nil || e.Payload != name {
			t.Errorf("%s: Spec() = %v, %v", name, e, err)
		}
		c.Acknowledge(t.Context(), id, control.Envelope{})
	}
	if _, err := newClient(t, s, "other").Spec(t.Context(), "a/b/c/d"); err == nil {
		t.Error("another host may read it")
	}
}

// TestManyHosts: hosts do not get in each other's way. The race detector looks on.
func TestManyHosts(t *testing.T) {
	const hosts, commands = 12, 10
	var mu sync.Mutex
	events := 0
	s := newServer(t, controltest.Options{PollWait: 5 * time.Second, OnEvent: func(controltest.Event) { mu.Lock(); events++; mu.Unlock() }})
	url, err := s.Start()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var group sync.WaitGroup
	for n := range hosts {
		id := fmt.Sprintf("arn:aws:ec2:us-east-1:123456789012:instance/i-%d", n)
		c, err := control.New(control.Options{
			Endpoint: url, Region: "us-east-1", HostID: id, Version: "1", Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
		})
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			for done := 0; done < commands; {
				cmd, err := c.Poll(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				if cmd == nil {
					continue
				}
				if err := cmd.Check(id); err != nil {
					t.Error(err)
				}
				if _, err := c.Spec(ctx, cmd.ExecutionID); err != nil {
					t.Error(err)
				}
				if _, err := c.Acknowledge(ctx, cmd.ID, control.NoopDiagnostics(false)); err != nil {
					t.Error(err)
				}
				if err := c.Complete(ctx, cmd.ID, control.Succeeded, control.Diagnostics{Message: id}.Envelope()); err != nil {
					t.Error(err)
				}
				done++
			}
		})
		group.Go(func() {
			for range commands {
				done, err := s.Await(ctx, s.Enqueue(controltest.Command{HostID: id, Name: "Install", Spec: s.Sign([]byte("{}"))}))
				if err != nil || done.Diagnostics.Message != id {
					t.Errorf("Await() = %+v, %v", done, err)
				}
			}
		})
	}
	group.Wait()
	if want := hosts * commands * 5; events != want {
		t.Errorf("%d events, want %d", events, want)
	}
}

// TestCallsAreBounded: a lab that runs for days does not grow.
func TestCallsAreBounded(t *testing.T) {
	told := 0
	s := newServer(t, controltest.Options{MaxCall: 3, OnCall: func(controltest.Call) { told++ }})
	for n := range 5 {
		poll(t, newClient(t, s, fmt.Sprint("host-", n)))
	}
	var hosts []string
	for _, c := range s.Calls() {
		hosts = append(hosts, c.Host)
	}
	if want := []string{"host-2", "host-3", "host-4"}; !slices.Equal(hosts, want) || told != 5 {
		t.Errorf("calls of %v, told %d", hosts, told)
	}
}

func TestStartAndClose(t *testing.T) {
	s := newServer(t, controltest.Options{})
	if _, err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start(); err == nil {
		t.Error("started twice")
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Start(); err == nil {
		t.Error("started after its end")
	}
	if _, err := controltest.New(controltest.Options{Secure: true, Mock: true}); err == nil {
		t.Error("the mock service has an auth policy")
	}
}

// TestSignersDiffer: each helper makes what it is named for.
func TestSignersDiffer(t *testing.T) {
	s := newServer(t, controltest.Options{Region: "eu-west-1"})
	expired, err1 := s.ExpiredSigner()
	forged, err2 := s.ForgedSigner()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if g := s.Signer(); g.Certificate.Subject.CommonName != "codedeploy-signer-eu-west-1.amazonaws.com" || g.Fingerprint() != s.SignerFingerprint() || time.Now().After(g.Certificate.NotAfter) {
		t.Errorf("signer %v", g.Certificate.Subject)
	}
	if !time.Now().After(expired.Certificate.NotAfter) {
		t.Errorf("expires %v", expired.Certificate.NotAfter)
	}
	if forged.Certificate.Subject.String() != s.Signer().Certificate.Subject.String() || bytes.Equal(forged.Certificate.RawIssuer, s.Signer().Certificate.RawIssuer) {
		t.Errorf("forged: %v by %v", forged.Certificate.Subject, forged.Certificate.Issuer)
	}
	if _, err := controltest.TamperContent(s.Sign([]byte("a")), []byte("not in it")); err == nil {
		t.Error("changed what is not there")
	}
}

package controltest_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// hand is a request signed by hand: SigV4 as its specification words it, to check the verifier against something else than the library
// that it is made of.
type hand struct {
	body, target, region, service, secret, token string
	at                                           time.Time
	unsigned                                     []string // headers that the signature leaves out
	more                                         map[string]string
	without                                      []string
	spoil                                        func(*http.Request)
}

func (h hand) request() *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://service.example/", strings.NewReader(h.body))
	stamp := h.at.UTC().Format("20060102T150405Z")
	headers := map[string]string{
		"host": "service.example", "content-type": "application/x-amz-json-1.1", "x-amz-target": h.target, "x-amz-date": stamp, "x-amz-codedeploy-agent-version": "2.1.0",
	}
	if h.token != "" {
		headers["x-amz-security-token"] = h.token
	}
	for k, v := range h.more {
		headers[k] = v
	}
	for _, k := range h.without {
		delete(headers, k)
	}
	var names []string
	for k, v := range headers {
		r.Header.Set(k, v)
		if !slices.Contains(h.unsigned, k) {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	canonical := "POST\n/\n\n"
	for _, k := range names {
		canonical += k + ":" + headers[k] + "\n"
	}
	hash := sha256.Sum256([]byte(h.body))
	canonical += "\n" + strings.Join(names, ";") + "\n" + hex.EncodeToString(hash[:])
	day := stamp[:8]
	scope := day + "/" + h.region + "/" + h.service + "/aws4_request"
	sum := sha256.Sum256([]byte(canonical))
	toSign := "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	key := []byte("AWS4" + h.secret)
	for _, part := range []string{day, h.region, h.service, "aws4_request", toSign} {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(part))
		key = m.Sum(nil)
	}
	r.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%x", access, scope, strings.Join(names, ";"), key))
	if h.spoil != nil {
		h.spoil(r)
	}
	return r
}

// TestSignatures: what a service accepts and what it answers otherwise (P-11, P-12, P-13).
func TestSignatures(t *testing.T) {
	good := hand{
		body: `{"HostIdentifier":"` + host + `"}`, target: "CodeDeployCommandService_v20141006.PollHostCommand", region: "us-east-1",
		service: "codedeploy-commands", secret: secret, at: time.Now(),
	}
	for _, tc := range []struct {
		name string
		edit func(*hand)
		want string // error code; "" for success
		text string // in its message
	}{
		{"V-2: without x-amz-content-sha256", func(*hand) {}, "", ""},
		{"with content-length", func(h *hand) { h.more = map[string]string{"content-length": fmt.Sprint(len(h.body))} }, "", ""},
		{"a header more", func(h *hand) { h.more = map[string]string{"x-amz-more": "a"} }, "", ""},
		{"wrong secret", func(h *hand) { h.secret = "guess" }, "InvalidSignatureException", "does not match"},
		{"wrong region", func(h *hand) { h.region = "eu-west-1" }, "InvalidSignatureException", "valid region"},
		{"wrong service", func(h *hand) { h.service = "codedeploy" }, "InvalidSignatureException", "correct service"},
		{"fips in the signing name", func(h *hand) { h.service = "codedeploy-commands-fips" }, "InvalidSignatureException", "correct service"},
		{"version not signed", func(h *hand) { h.unsigned = []string{"x-amz-codedeploy-agent-version"} }, "InvalidSignatureException", "x-amz-codedeploy-agent-version"},
		{"version missing", func(h *hand) { h.without = []string{"x-amz-codedeploy-agent-version"} }, "ClientException", "Version"},
		{"target not signed", func(h *hand) { h.unsigned = []string{"x-amz-target"} }, "InvalidSignatureException", "x-amz-target"},
		{"body changed", func(h *hand) {
			h.spoil = func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(`{"HostIdentifier":"x"}`)) }
		}, "InvalidSignatureException", ""},
		{"header changed", func(h *hand) { h.spoil = func(r *http.Request) { r.Header.Set("X-Amz-Codedeploy-Agent-Version", "3") } }, "InvalidSignatureException", "does not match"},
		{"sum of another body", func(h *hand) { h.more = map[string]string{"x-amz-content-sha256": strings.Repeat("0", 64)} }, "InvalidSignatureException", "sum of the body"},
		{"no signature", func(h *hand) { h.spoil = func(r *http.Request) { r.Header.Del("Authorization") } }, "MissingAuthenticationTokenException", ""},
		{"other kind of signature", func(h *hand) { h.spoil = func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") } }, "IncompleteSignatureException", ""},
		{"unknown key", func(h *hand) {
			h.spoil = func(r *http.Request) {
				r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), access, "AKIAOTHER", 1))
			}
		}, "UnrecognizedClientException", ""},
		{"token that is not known", func(h *hand) { h.token = "t" }, "UnrecognizedClientException", ""},
		{"four minutes slow", func(h *hand) { h.at = h.at.Add(-4 * time.Minute) }, "", ""},
		{"six minutes slow", func(h *hand) { h.at = h.at.Add(-6 * time.Minute) }, "InvalidSignatureException", "Signature expired: "},
		{"six minutes fast", func(h *hand) { h.at = h.at.Add(6 * time.Minute) }, "InvalidSignatureException", "Signature not yet current: "},
		{"other model", func(h *hand) { h.target = "CodeDeployCommandService.PollHostCommand" }, "UnknownOperationException", ""},
		{"other operation", func(h *hand) { h.target = "CodeDeployCommandService_v20141006.CreateDeployment" }, "UnknownOperationException", ""},
		{"other content type", func(h *hand) { h.more = map[string]string{"content-type": "application/json"} }, "SerializationException", ""},
		{"other method", func(h *hand) { h.spoil = func(r *http.Request) { r.Method = http.MethodPut } }, "UnknownOperationException", ""},
		{"body is no JSON", func(h *hand) { h.body = "x" }, "SerializationException", ""},
		{"member missing", func(h *hand) { h.body = "{}" }, "ValidationException", "HostIdentifier"},
		{"member of another type", func(h *hand) { h.body = `{"HostIdentifier":1}` }, "SerializationException", "HostIdentifier"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, controltest.Options{})
			h := good
			tc.edit(&h)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, h.request())
			var body struct {
				Type    string `json:"__type"`
				Message string `json:"message"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatalf("%d %s: %v", w.Code, w.Body, err)
			}
			code := body.Type[strings.LastIndex(body.Type, "#")+1:]
			if code != tc.want || !strings.Contains(body.Message, tc.text) || (w.Code == http.StatusOK) != (tc.want == "") {
				t.Errorf("%d %s, want %s %q", w.Code, w.Body, tc.want, tc.text)
			}
			if calls := s.Calls(); len(calls) != 1 || calls[0].Code != tc.want || calls[0].Status != w.Code {
				t.Errorf("calls: %+v", calls)
			}
		})
	}
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

// TestFaults: each does over real HTTP what it says, as often as it says.
func TestFaults(t *testing.T) {
	s := newServer(t, controltest.Options{})
	url, err := s.Start()
	if err != nil {
		t.Fatal(err)
	}
	signed := func() *http.Response {
		h := hand{
			body: `{"HostIdentifier":"` + host + `"}`, target: "CodeDeployCommandService_v20141006.PollHostCommand", region: "us-east-1",
			service: "codedeploy-commands", secret: secret, at: time.Now(), more: map[string]string{"host": strings.TrimPrefix(url, "http://")},
		}
		in := h.request()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(h.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = in.Header
		r.Header.Del("Host")
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err != nil {
			return nil
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	read := func(resp *http.Response) (string, error) {
		data, err := io.ReadAll(resp.Body)
		return string(data), err
	}
	if resp := signed(); resp == nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("without a fault: %+v", resp)
	}
	remove := s.Inject(controltest.Fault{Operation: "GetDeploymentSpecification", Status: 500})
	if resp := signed(); resp.StatusCode != http.StatusOK {
		t.Error("a fault of another operation")
	}
	remove()
	remove = s.Inject(controltest.Fault{Host: "other", Status: 500})
	if resp := signed(); resp.StatusCode != http.StatusOK {
		t.Error("a fault of another host")
	}
	remove()
	remove = s.Inject(controltest.Fault{Skip: 1, Times: 2, Status: 503})
	var statuses []int
	for range 4 {
		statuses = append(statuses, signed().StatusCode)
	}
	if want := []int{200, 503, 503, 200}; !slices.Equal(statuses, want) {
		t.Errorf("skip 1, times 2: %v", statuses)
	}
	remove()
	remove = s.Inject(controltest.Throttled("", 0))
	resp := signed()
	if body, _ := read(resp); resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, `#ThrottlingException"`) {
		t.Errorf("throttled: %d %s", resp.StatusCode, body)
	}
	remove()
	remove = s.Inject(controltest.Fault{Reset: true})
	if resp := signed(); resp != nil {
		t.Errorf("reset, and an answer: %+v", resp)
	}
	remove()
	id := s.Enqueue(controltest.Command{HostID: host, Name: "Install"})
	remove = s.Inject(controltest.Fault{TruncateAfter: 7})
	if body, err := read(signed()); len(body) != 7 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("truncated: %q, %v", body, err)
	}
	remove()
	if state, _ := s.State(id); state.Deliveries != 1 {
		t.Errorf("an answer that is truncated was given: %d deliveries", state.Deliveries)
	}
	remove = s.Inject(controltest.Fault{Reset: true, After: true})
	signed()
	remove()
	if state, _ := s.State(id); state.Deliveries != 2 {
		t.Errorf("a call whose answer is lost was carried out: %d deliveries", state.Deliveries)
	}
	remove = s.Inject(controltest.Fault{SkewClock: time.Hour})
	resp = signed()
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if body, _ := read(resp); err != nil || !strings.Contains(body, "Signature expired") || time.Until(date) < 59*time.Minute {
		t.Errorf("skewed: %v %s", date, body)
	}
	remove()
	remove = s.Inject(controltest.Fault{Delay: 50 * time.Millisecond})
	began := time.Now()
	if resp := signed(); resp.StatusCode != http.StatusOK || time.Since(began) < 50*time.Millisecond {
		t.Errorf("delayed: %d after %v", resp.StatusCode, time.Since(began))
	}
	remove()
	remove = s.Inject(controltest.Fault{Status: 429, RetryAfter: 3 * time.Second, Body: []byte("<html>")})
	resp = signed()
	if body, _ := read(resp); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "3" || body != "<html>" {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
	remove()
	if resp := signed(); resp.StatusCode != http.StatusOK {
		t.Errorf("all removed: %d", resp.StatusCode)
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

package controltest_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway/agent/control/controltest"
)

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

package health

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func get(r *Registry, target string, headers ...string) *httptest.ResponseRecorder {
	return do(r, http.MethodGet, target, headers...)
}

func do(r *Registry, method, target string, headers ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, req)
	return w
}

// healthy is a registry whose application has just been found fit.
func healthy(tb testing.TB) *Registry {
	r, err := New(Options{})
	if err != nil {
		tb.Fatal(err)
	}
	set := Application{Probe: &scripted{}, MaxAge: time.Hour}
	r.Watch(set)
	r.probe(tb.Context(), r.app.settings)
	return r
}

func TestUnconfigured(t *testing.T) {
	got := get(newRegistry(t), "/health")
	want := "unconfigured: no application probe is configured: set health.probe.url to what tells whether the application is fit for traffic\n"
	if got.Code != 404 || got.Body.String() != want {
		t.Errorf("%d %q, want 404 %q", got.Code, got.Body, want)
	}
}

func TestMethods(t *testing.T) {
	r := healthy(t)
	for _, path := range []string{"/health", "/livez", "/", "/metrics", "/nothing"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"} {
			got := do(r, method, path)
			if got.Code != 405 || got.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, Allow %q", method, path, got.Code, got.Header().Get("Allow"))
			}
		}
	}
	for _, path := range []string{"/health", "/livez", "/", "/metrics", "/readyz", "/health?verbose", "/health?format=json"} {
		full, head := get(r, path), do(r, "HEAD", path)
		if head.Code != full.Code || head.Body.Len() != 0 {
			t.Errorf("HEAD %s: %d with %d bytes, GET answers %d", path, head.Code, head.Body.Len(), full.Code)
		}
		for _, name := range []string{"Content-Type", "Cache-Control"} {
			if head.Header().Get(name) != full.Header().Get(name) {
				t.Errorf("HEAD %s: %s %q, GET has %q", path, name, head.Header().Get(name), full.Header().Get(name))
			}
		}
	}
}

func TestHeadersAndPaths(t *testing.T) {
	r := healthy(t)
	tests := []struct {
		target string
		code   int
		kind   string
		body   string
	}{
		{"/health", 200, "text/plain; charset=utf-8", "ok\n"},
		{"/health?cachebuster=1", 200, "text/plain; charset=utf-8", "ok\n"},
		{"/livez", 200, "text/plain; charset=utf-8", "ok\n"},
		{"/readyz", 503, "text/plain; charset=utf-8", "not ready: no readiness check has been registered yet\n"},
		{"/health/", 404, "text/plain; charset=utf-8", "nothing here; / lists the paths\n"},
		{"//health", 404, "text/plain; charset=utf-8", "nothing here; / lists the paths\n"},
		{"/x/../health", 404, "text/plain; charset=utf-8", "nothing here; / lists the paths\n"},
	}
	for _, tt := range tests {
		got := get(r, tt.target)
		if got.Code != tt.code || got.Body.String() != tt.body || got.Header().Get("Content-Type") != tt.kind || got.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("GET %s: %d %v %q, want %d %s %q", tt.target, got.Code, got.Header(), got.Body, tt.code, tt.kind, tt.body)
		}
		if got.Header().Get("Location") != "" {
			t.Errorf("GET %s redirects", tt.target)
		}
	}
	for _, part := range []string{"/health", "/livez", "/readyz", "/metrics"} {
		if !strings.Contains(get(r, "/").Body.String(), part) {
			t.Errorf("the index lacks %s", part)
		}
	}
}

// The one thing that the balancer's path must never do: speak for the agent.
func TestAgentTroubleStaysOffTheBalancersPath(t *testing.T) {
	r := healthy(t)
	r.Register(Liveness, "poll loop", func() Result { return Result{Severity: Fail, Text: "no poll for 5m"} })
	r.Register(Readiness, "command service", func() Result { return Result{Severity: Fail, Text: "denied"} })
	for path, want := range map[string]int{"/livez": 503, "/readyz": 503, "/health": 200} {
		if got := get(r, path).Code; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}

func TestVerboseAndJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		p := &scripted{err: errors.New("GET http://127.0.0.1/health: answered 500,\nexpected 200")}
		r.Watch(Application{Probe: p, Interval: time.Minute, MaxAge: time.Hour, Fall: 1})
		running(t, r)
		synctest.Wait()
		r.Drain("kernel", time.Now().Add(time.Hour))
		time.Sleep(2 * time.Second)
		want := `draining
reason:  kernel
since:   2000-01-01T00:00:00Z, 2s ago
checked: 2000-01-01T00:00:00Z, 2s ago, took 0s
in a row: 0 good (rise 2), 1 bad (fall 1)
drain:   kernel, until 2000-01-01T01:00:00Z
`
		got := get(r, "/health?verbose")
		if diff := cmp.Diff(want, got.Body.String()); got.Code != 503 || diff != "" {
			t.Errorf("verbose: %d, mismatch (-want +got):\n%s", got.Code, diff)
		}
		for _, answer := range []*httptest.ResponseRecorder{get(r, "/health?format=json"), get(r, "/health", "Accept", "text/html, application/json;q=0.9")} {
			wantJSON := `{"status":"draining","reason":"kernel","since":"2000-01-01T00:00:00Z","checked":"2000-01-01T00:00:00Z","age_ms":2000,"good":0,"bad":1,"rise":2,"fall":1,"drains":[{"reason":"kernel","began":"2000-01-01T00:00:00Z","until":"2000-01-01T01:00:00Z"}]}` + "\n"
			if diff := cmp.Diff(wantJSON, answer.Body.String()); answer.Code != 503 || answer.Header().Get("Content-Type") != "application/json" || diff != "" {
				t.Errorf("json: %d, mismatch (-want +got):\n%s", answer.Code, diff)
			}
		}
		if text := get(r, "/health", "Accept", "*/*").Body.String(); text != "draining: kernel\n" {
			t.Errorf("text: %q", text)
		}
	})
}

func TestReasonStaysOneLine(t *testing.T) {
	r := newRegistry(t)
	r.Watch(Application{Probe: &scripted{err: errors.New("two\nlines")}})
	r.probe(t.Context(), r.app.settings)
	if got := get(r, "/health").Body.String(); got != "unhealthy: two lines\n" {
		t.Errorf("%q", got)
	}
}

func TestCheckAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.Register(Readiness, "credentials", func() Result { return Result{Severity: Warn, Text: "expire in 5m"} })
		r.Register(Readiness, "command service", func() Result { return Result{Text: "polled"} })
		if got := get(r, "/readyz"); got.Code != 200 || got.Body.String() != "ok\n" {
			t.Errorf("%d %q", got.Code, got.Body)
		}
		want := "ok\nwarn credentials: expire in 5m (since 2000-01-01T00:00:00Z, 0s ago)\npass command service: polled (since 2000-01-01T00:00:00Z, 0s ago)\n"
		if diff := cmp.Diff(want, get(r, "/readyz?verbose").Body.String()); diff != "" {
			t.Errorf("verbose mismatch (-want +got):\n%s", diff)
		}
		r.Register(Readiness, "command service", func() Result { return Result{Severity: Fail, Text: "denied"} })
		if got := get(r, "/readyz"); got.Code != 503 || got.Body.String() != "failed\nfail command service: denied (since 2000-01-01T00:00:00Z, 0s ago)\n" {
			t.Errorf("%d %q", got.Code, got.Body)
		}
		var answer struct {
			OK     bool
			Checks []struct{ Name, Severity, Text string }
		}
		if err := json.Unmarshal(get(r, "/readyz?format=json").Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		if answer.OK || len(answer.Checks) != 2 || answer.Checks[1].Severity != "fail" || answer.Checks[1].Text != "denied" {
			t.Errorf("json: %+v", answer)
		}
	})
}

// discard is a ResponseWriter that costs nothing itself.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

func TestBalancersPathAllocatesNothing(t *testing.T) {
	r := healthy(t)
	h := r.Handler()
	req := httptest.NewRequest(http.MethodGet, "/health", nil)
	w := &discard{header: http.Header{}}
	if n := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, req) }); n != 0 {
		t.Errorf("%v allocations a request, want 0", n)
	}
	if w.status != 200 {
		t.Errorf("status %d, want 200", w.status)
	}
}

func BenchmarkBalancersPath(b *testing.B) {
	h := healthy(b).Handler()
	req := httptest.NewRequest(http.MethodGet, "/health", nil)
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, req)
	}
}

package health

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestHTTPProbe(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello %s\n", r.Host) })
	mux.HandleFunc("/sick", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "database is gone\nmore", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, "<html>")
	})
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.Repeat("x", probeBodyLimit)+"needle")
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "short")
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	secure := httptest.NewTLSServer(mux)
	defer secure.Close()
	closed := httptest.NewServer(mux)
	closed.Close()

	tests := []struct {
		name  string
		probe HTTPProbe
		want  string // part of the error; empty: good
	}{
		{"200", HTTPProbe{URL: s.URL + "/ok"}, ""},
		{"host header", HTTPProbe{URL: s.URL + "/ok", Host: "tinitter.example", Body: "hello tinitter.example"}, ""},
		{"503 with its first line", HTTPProbe{URL: s.URL + "/sick"}, "answered 503, expected 200: database is gone"},
		{"an error page is not quoted", HTTPProbe{URL: s.URL + "/page"}, "answered 500, expected 200"},
		{"503 can be good", HTTPProbe{URL: s.URL + "/sick", Status: "200-299,503"}, ""},
		{"404", HTTPProbe{URL: s.URL + "/none"}, "answered 404"},
		{"redirect is an answer", HTTPProbe{URL: s.URL + "/login"}, "answered 302 (redirect to /ok, not followed), expected 200"},
		{"redirect can be good", HTTPProbe{URL: s.URL + "/login", Status: "200-399"}, ""},
		{"body", HTTPProbe{URL: s.URL + "/ok", Body: "bye"}, `does not contain "bye"`},
		{"body pattern", HTTPProbe{URL: s.URL + "/ok", BodyPattern: regexp.MustCompile(`^hello 127`)}, ""},
		{"body pattern missed", HTTPProbe{URL: s.URL + "/ok", BodyPattern: regexp.MustCompile(`^bye`)}, "does not match ^bye"},
		{"beyond the limit", HTTPProbe{URL: s.URL + "/big", Body: "needle"}, "does not contain"},
		{"a body that breaks off", HTTPProbe{URL: s.URL + "/cut"}, "read the answer: unexpected EOF"},
		{"nobody listens", HTTPProbe{URL: closed.URL + "/ok"}, "connection refused"},
		{"a certificate of another name", HTTPProbe{URL: secure.URL + "/ok"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := NewHTTPProbe(tt.probe)
			if err != nil {
				t.Fatal(err)
			}
			err = p.Probe(t.Context())
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Probe() = %v, want %q", err, tt.want)
			}
			if err != nil && strings.Count(err.Error(), tt.probe.URL) != 1 {
				t.Errorf("%v: the URL should be named once", err)
			}
		})
	}
}

func TestHTTPProbeLatency(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select { // answers late, whatever the machine's load
		case <-time.After(20 * time.Millisecond):
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	p, err := NewHTTPProbe(HTTPProbe{URL: s.URL, MaxLatency: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "allowed are 10ms") {
		t.Errorf("Probe() = %v, want too slow", err)
	}
}

func TestHTTPProbeEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := NewHTTPProbe(HTTPProbe{URL: "http://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	r := newRegistry(t)
	r.Watch(Application{Probe: p, Timeout: 30 * time.Millisecond})
	r.probe(t.Context(), r.app.settings)
	wantState(t, r, Unhealthy, "no answer in time (30ms)")
}

// A balancer opens a connection for each check; a kept one would hide a listener that takes no new ones.
func TestHTTPProbeOpensAConnectionEachTime(t *testing.T) {
	var opened atomic.Int32
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // must not matter
	p, err := NewHTTPProbe(HTTPProbe{URL: s.URL, Status: "404"})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := p.Probe(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if n := opened.Load(); n != 3 {
		t.Errorf("%d connections for 3 probes", n)
	}
}

func TestNewHTTPProbeRefuses(t *testing.T) {
	for _, p := range []HTTPProbe{{}, {URL: "/health"}, {URL: "127.0.0.1:80"}, {URL: "ftp://x/"}, {URL: "http://"}, {URL: "http://x", Status: "2xx"}, {URL: "http://[::1"}} {
		if _, err := NewHTTPProbe(p); err == nil {
			t.Errorf("NewHTTPProbe(%+v) is accepted", p)
		}
	}
}

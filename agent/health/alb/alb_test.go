package alb_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"slipway/agent/health/alb"
)

func TestSettingsThatNoTargetGroupHas(t *testing.T) {
	const a = "127.0.0.1:80"
	for want, target := range map[string]alb.Target{
		"address":             {Address: "web"},
		"protocol":            {Address: a, Protocol: "TCP"},
		"protocol version":    {Address: a, Version: "GRPC"},
		"path":                {Address: a, Path: "health"},
		"matcher":             {Address: a, Matcher: "200-"},
		"interval":            {Address: a, Interval: time.Second},
		"timeout":             {Address: a, Timeout: 30 * time.Second},
		"healthy threshold":   {Address: a, Healthy: 1},
		"unhealthy threshold": {Address: a, Unhealthy: 11},
	} {
		_, err := alb.Check(t.Context(), target, alb.Options{})
		var setting *alb.SettingError
		if !errors.As(err, &setting) || setting.Setting != want {
			t.Errorf("Check(%+v) = %v, want a SettingError of %s", target, err, want)
		}
	}
	for _, m := range []string{"500", "199", "20", "abc", "300-200", "200,", "200-500"} {
		if _, err := (alb.Target{Address: a, Matcher: m}).Complete(); err == nil {
			t.Errorf("matcher %q is taken", m)
		}
	}
}

func TestRequestIsTheBalancers(t *testing.T) {
	got := make(chan *http.Request, 100)
	address := answering(func(_ http.ResponseWriter, r *http.Request) { got <- r })(t)
	if _, err := alb.Check(t.Context(), alb.Target{Address: address, Path: "/health?deep=1", Healthy: 2}, alb.Options{Pace: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	first, second := <-got, <-got
	if first.Method != http.MethodGet || first.Host != address || first.URL.String() != "/health?deep=1" || first.UserAgent() != alb.UserAgent || first.Proto != "HTTP/1.1" || !first.Close {
		t.Errorf("%s %s of %s by %s over %s, close %v", first.Method, first.URL, first.Host, first.UserAgent(), first.Proto, first.Close)
	}
	if first.RemoteAddr == second.RemoteAddr {
		t.Error("two checks came over one connection")
	}
}

// A new target needs one good check, one that was unhealthy as many as the threshold says.
func TestTimes(t *testing.T) {
	address := counted(func(n int64, w http.ResponseWriter) {
		if n == 0 {
			w.WriteHeader(http.StatusBadGateway)
		}
	})(t)
	r, err := alb.Check(t.Context(), alb.Target{Address: address, Interval: 10 * time.Second, Healthy: 3}, alb.Options{Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Healthy || r.First.Truncate(time.Second) != 10*time.Second || r.Again.Truncate(time.Second) != 20*time.Second {
		t.Errorf("healthy %v after %s and again after %s, want after 10s and 20s: %+v", r.Healthy, r.First, r.Again, r)
	}
}

func TestListensOnLoopbackOnly(t *testing.T) {
	other := ""
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			other = n.IP.String()
		}
	}
	if other == "" {
		t.Skip("this host has no address but loopback's")
	}
	_, port, _ := net.SplitHostPort(answering(func(http.ResponseWriter, *http.Request) {})(t))
	r, err := alb.Check(t.Context(), alb.Target{Address: net.JoinHostPort(other, port)}, alb.Options{Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.Healthy || len(r.Findings) != 1 || r.Findings[0].Code != "loopback-only" {
		t.Errorf("%+v", r)
	}
}

// A name that leads nowhere says nothing of the application.
func TestNameWithoutAddress(t *testing.T) {
	t.Parallel()
	r, err := alb.Check(t.Context(), alb.Target{Address: "no-such-host.invalid:80"}, alb.Options{Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.Healthy || len(r.Findings) == 0 || r.Findings[0].Code != "unresolved" {
		t.Errorf("%+v", r)
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	address := raw(func(string) string { time.Sleep(20 * time.Second); return "" })(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := alb.Check(ctx, alb.Target{Address: address}, alb.Options{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Errorf("Check() = %v after %s", err, time.Since(began))
	}
}

func FuzzMatcher(f *testing.F) {
	for _, s := range []string{"200", "200,302", "200-399", "", "-", "200-", "9999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := alb.Target{Address: "a:1", Matcher: s}.Complete()
		if err == nil && s != "" && !strings.ContainsAny(s, "234") {
			t.Errorf("%q is taken", s)
		}
	})
}

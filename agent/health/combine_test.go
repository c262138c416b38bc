package health

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAll(t *testing.T) {
	good, bad, worse := &scripted{}, &scripted{err: errors.New("answered 500")}, &scripted{err: errors.New("connection refused")}
	tests := []struct {
		name   string
		probes []NamedProbe
		want   string
	}{
		{"one that is good", []NamedProbe{{"http", good}}, ""},
		{"one that is bad keeps its words", []NamedProbe{{"http", bad}}, "answered 500"},
		{"all good", []NamedProbe{{"http", good}, {"tcp db:3306", good}}, ""},
		{"one of two", []NamedProbe{{"http", good}, {"tcp db:3306", worse}}, "tcp db:3306: connection refused"},
		{"both, in their order", []NamedProbe{{"http", bad}, {"tcp db:3306", worse}}, "http: answered 500; tcp db:3306: connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := All(tt.probes...).Probe(t.Context())
			if got := text(err); got != tt.want {
				t.Errorf("Probe() = %q, want %q", got, tt.want)
			}
		})
	}
	err := All(NamedProbe{"http", bad}, NamedProbe{"tcp", worse}).Probe(t.Context())
	if !errors.Is(err, bad.err) || !errors.Is(err, worse.err) {
		t.Errorf("%v does not wrap what the probes found", err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// One that hangs is named; the others' findings are kept, and the answer to the balancer never waits.
func TestOneOfSeveralHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		hangs := &scripted{delay: time.Hour}
		r.Watch(Application{Probe: All(NamedProbe{"http", &scripted{}}, NamedProbe{"command", hangs}), Interval: 10 * time.Second, Timeout: 4 * time.Second})
		running(t, r)
		time.Sleep(time.Second)
		before := time.Now()
		if got := get(r, "/health"); got.Code != 503 || time.Since(before) != 0 {
			t.Errorf("while the first round goes on: %d after %s, want 503 at once", got.Code, time.Since(before))
		}
		time.Sleep(3*time.Second + time.Millisecond)
		synctest.Wait()
		wantState(t, r, Unhealthy, "command: no answer in time (4s)")
		want := []ProbeResult{{Name: "http", OK: true}, {Name: "command", Text: "no answer in time (4s)"}}
		if diff := cmp.Diff(want, r.Application().Probes); diff != "" {
			t.Errorf("Probes (-want +got):\n%s", diff)
		}
		for _, part := range []string{"probe:   http: ok\n", "probe:   command: no answer in time (4s)\n"} {
			if got := get(r, "/health?verbose").Body.String(); !strings.Contains(got, part) {
				t.Errorf("?verbose lacks %q:\n%s", part, got)
			}
		}
		for _, line := range []string{`slipway_probe_up{probe="http"} 1`, `slipway_probe_up{probe="command"} 0`} {
			if got := get(r, "/metrics").Body.String(); !strings.Contains(got, line) {
				t.Errorf("/metrics lacks %s", line)
			}
		}
	})
}

// One that does not heed its context is not waited for and not started again.
func TestOneOfSeveralIsDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaf := &scripted{deaf: true, delay: time.Hour}
		all := All(NamedProbe{"http", &scripted{}}, NamedProbe{"file", deaf})
		for i, want := range []string{"file: over", "file: the probe before has not ended yet"} {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("over"))
			began := time.Now()
			if got := text(all.Probe(ctx)); got != want {
				t.Errorf("round %d: %q, want %q", i+1, got, want)
			}
			if took := time.Since(began); took > time.Second+leave {
				t.Errorf("round %d took %s", i+1, took)
			}
			cancel()
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		deaf.mu.Lock()
		deaf.deaf, deaf.delay = false, 0
		deaf.mu.Unlock()
		if err := all.Probe(t.Context()); err != nil || deaf.calls != 2 {
			t.Errorf("after it came back: %v, %d calls, want nil and 2", err, deaf.calls)
		}
	})
}

func TestTCPProbe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewTCPProbe(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Probe(t.Context()); err != nil {
		t.Errorf("Probe() = %v with a listener", err)
	}
	l.Close()
	if got, want := text(p.Probe(t.Context())), "connect to "+l.Addr().String()+": connect: connection refused"; got != want {
		t.Errorf("Probe() = %q without one, want %q", got, want)
	}
	for _, address := range []string{"", "db", ":3306", "db:"} {
		if _, err := NewTCPProbe(address); err == nil {
			t.Errorf("NewTCPProbe(%q) = nil error", address)
		}
	}
}

func TestFileProbe(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "alive")
	want := func(p Prober, want string) {
		t.Helper()
		if got := text(p.Probe(t.Context())); got != want {
			t.Errorf("Probe() = %q, want %q", got, want)
		}
	}
	fresh := NewFileProbe(name, time.Minute)
	want(fresh, name+" is not there")
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	want(fresh, "")
	old := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	want(fresh, name+" was last written 2h0m0s ago, allowed are 1m0s")
	want(NewFileProbe(name, 0), "")
	want(NewFileProbe(dir, 0), dir+" is not a regular file")
}

func TestFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := newRegistry(t), &scripted{}
		if err := r.Fit(t.Context()); err == nil || !strings.Contains(err.Error(), "health.probe.url") {
			t.Errorf("Fit() = %v without a probe", err)
		}
		r.Watch(Application{Probe: p, Interval: 10 * time.Second, Rise: 3})
		r.Drain("being deployed to", time.Time{}) // of no matter
		began := time.Now()
		if err := r.Fit(t.Context()); err != nil || time.Since(began) != 2*time.Second {
			t.Errorf("Fit() = %v after %s, want nil after 2s: three probes in a row", err, time.Since(began))
		}
		if s := r.app.found; s.state != Starting {
			t.Errorf("state %s: what Fit finds must not reach the balancer", s.state)
		}
		p.set(errors.New("answered 500"))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		err := r.Fit(ctx)
		var unfit *NotFitError
		if !errors.As(err, &unfit) || !errors.Is(err, p.err) || unfit.Waited != 30*time.Second {
			t.Errorf("Fit() = %v, want a NotFitError after 30s", err)
		}
		if got, want := text(err), "the application is not fit for traffic after 30s: answered 500"; got != want {
			t.Errorf("Fit() = %q, want %q", got, want)
		}
		// One that comes up meanwhile is fit.
		time.AfterFunc(5*time.Second, func() { p.set(nil) })
		ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := r.Fit(ctx); err != nil {
			t.Errorf("Fit() = %v, want nil", err)
		}
		// A probe that hangs does not hold Fit beyond its time.
		p.mu.Lock()
		p.delay = time.Hour
		p.mu.Unlock()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Fit(ctx); !errors.As(err, &unfit) {
			t.Errorf("Fit() = %v, want a NotFitError", err)
		}
	})
}

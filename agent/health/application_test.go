package health

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// scripted answers each probe with what the test wants at that moment.
type scripted struct {
	mu    sync.Mutex
	err   error
	delay time.Duration
	deaf  bool // does not heed its context
	calls int
}

func (s *scripted) set(err error) { s.mu.Lock(); s.err = err; s.mu.Unlock() }

func (s *scripted) Probe(ctx context.Context) error {
	s.mu.Lock()
	err, delay, deaf := s.err, s.delay, s.deaf
	s.calls++
	s.mu.Unlock()
	if deaf {
		time.Sleep(delay)
		return err
	}
	select {
	case <-time.After(delay):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

var _ Prober = (*scripted)(nil)

func newRegistry(t *testing.T) *Registry {
	t.Helper()
	r, err := New(Options{Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// running starts Run and stops it at the end of the bubble.
func running(t *testing.T, r *Registry) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, want context.Canceled", err)
		}
	})
}

func wantState(t *testing.T, r *Registry, want State, reason string) {
	t.Helper()
	got := r.Application()
	if got.State != want || !strings.Contains(got.Reason, reason) {
		t.Errorf("after %s: state %s %q, want %s with %q", time.Since(got.Since), got.State, got.Reason, want, reason)
	}
}

func TestNext(t *testing.T) {
	set := Application{Rise: 2, Fall: 3}
	tests := []struct {
		name    string
		grace   bool
		outcome string // one letter a probe: g good, b bad
		want    string // the state after each: s starting, h healthy, u unhealthy
	}{
		{"the first good one counts at once", false, "g", "h"},
		{"a bad start is unhealthy at once", false, "b", "u"},
		{"within the grace it is starting", true, "bbbbb", "sssss"},
		{"within the grace one good one is enough", true, "bbg", "ssh"},
		{"fall bad ones in a row", false, "gbbb", "hhhu"},
		{"a good one between starts the count again", false, "gbbgbbb", "hhhhhhu"},
		{"rise good ones in a row", false, "bgg", "uuh"},
		{"a bad one between starts the count again", false, "bgbgg", "uuuuh"},
		{"losing health within the grace is no start", true, "gbbb", "hhhu"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := finding{state: Starting}
			var got strings.Builder
			for _, c := range tt.outcome {
				var err error
				if c == 'b' {
					err = errors.New("answered 500")
				}
				f = f.next(set, tt.grace, err, time.Time{})
				got.WriteByte(f.state[0])
			}
			if got.String() != tt.want {
				t.Errorf("states %s, want %s", got.String(), tt.want)
			}
		})
	}
}

func TestRunRiseAndFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := newRegistry(t), &scripted{}
		wantState(t, r, Unconfigured, "health.probe.url")
		r.Watch(Application{Probe: p, Interval: 10 * time.Second, Rise: 2, Fall: 3, MaxAge: time.Minute})
		wantState(t, r, Starting, "not probed yet")
		running(t, r)
		synctest.Wait()
		wantState(t, r, Healthy, "")

		p.set(errors.New("answered 500"))
		time.Sleep(20*time.Second + time.Millisecond)
		synctest.Wait()
		wantState(t, r, Healthy, "2 of 3 bad probes: answered 500")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		wantState(t, r, Unhealthy, "answered 500")
		if got := time.Since(r.Application().Since); got != time.Millisecond {
			t.Errorf("unhealthy since %s, want 1ms: the state began with the third bad probe", got)
		}

		p.set(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		wantState(t, r, Unhealthy, "recovering: 1 of 2 good probes")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		wantState(t, r, Healthy, "")
		if p.calls != 6 {
			t.Errorf("%d probes in 50 s, want 6", p.calls)
		}
	})
}

func TestRunGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := newRegistry(t), &scripted{err: errors.New("connection refused")}
		r.Watch(Application{Probe: p, Interval: time.Second, Rise: 5, Grace: 30 * time.Second})
		running(t, r)
		time.Sleep(29*time.Second + time.Millisecond)
		synctest.Wait()
		wantState(t, r, Starting, "starting up: connection refused")
		if code := get(r, "/health").Code; code != 503 {
			t.Errorf("within the grace: %d, want 503: no traffic before the application is up", code)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		wantState(t, r, Unhealthy, "connection refused")
	})
}

func TestRunTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := newRegistry(t), &scripted{delay: time.Hour}
		r.Watch(Application{Probe: p, Interval: 10 * time.Second, Timeout: 4 * time.Second})
		running(t, r)
		time.Sleep(4*time.Second + time.Millisecond)
		synctest.Wait()
		wantState(t, r, Unhealthy, "no answer in time (4s)")
		if took := r.Application().Took; took != 4*time.Second {
			t.Errorf("took %s, want 4s", took)
		}
	})
}

// A probe that hangs whatever it is told never delays an answer; the last result is passed on until it is too old.
func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := newRegistry(t), &scripted{}
		r.Watch(Application{Probe: p, Interval: 5 * time.Second, MaxAge: 30 * time.Second})
		running(t, r)
		synctest.Wait()
		p.mu.Lock()
		p.deaf, p.delay = true, 10*time.Minute
		p.mu.Unlock()
		time.Sleep(30 * time.Second)
		if got := get(r, "/health"); got.Code != 200 {
			t.Errorf("at the limit: %d %s, want 200", got.Code, got.Body)
		}
		time.Sleep(time.Millisecond)
		got := get(r, "/health")
		if got.Code != 503 || !strings.HasPrefix(got.Body.String(), "stale: no probe has ended since ") {
			t.Errorf("beyond it: %d %s, want 503 stale", got.Code, got.Body)
		}
		time.Sleep(10 * time.Minute) // the hanging probe returns
		synctest.Wait()
		if got := get(r, "/health"); got.Code != 200 {
			t.Errorf("after it returned: %d %s, want 200", got.Code, got.Body)
		}
	})
}

func TestWatchAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		running(t, r)
		time.Sleep(time.Hour)
		good := &scripted{}
		r.Watch(Application{Probe: good, Interval: time.Hour, MaxAge: 2 * time.Hour})
		synctest.Wait()
		wantState(t, r, Healthy, "")
		bad := &scripted{err: errors.New("answered 404")}
		r.Watch(Application{Probe: bad, Interval: time.Hour, Fall: 1, MaxAge: 2 * time.Hour})
		synctest.Wait()
		wantState(t, r, Unhealthy, "answered 404")
		r.Watch(Application{})
		synctest.Wait()
		wantState(t, r, Unconfigured, "no application probe")
		time.Sleep(3 * time.Hour)
		if good.calls != 1 || bad.calls != 1 {
			t.Errorf("probes %d and %d, want one each", good.calls, bad.calls)
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.Watch(Application{Probe: &scripted{}, Interval: time.Second})
		running(t, r)
		synctest.Wait()
		undrain := r.Drain("replacing the kernel", time.Time{})
		r.Drain("the fleet scales in", time.Now().Add(10*time.Minute))
		got := get(r, "/health")
		if got.Code != 503 || got.Body.String() != "draining: replacing the kernel\n" {
			t.Errorf("drained: %d %q", got.Code, got.Body)
		}
		if n := len(r.Application().Drains); n != 2 {
			t.Errorf("%d drains, want 2", n)
		}
		undrain()
		undrain()
		if got := get(r, "/health"); got.Body.String() != "draining: the fleet scales in\n" {
			t.Errorf("one undone: %q", got.Body)
		}
		time.Sleep(10*time.Minute - time.Millisecond)
		if got := get(r, "/health"); got.Code != 503 {
			t.Errorf("before the expiry: %d, want 503", got.Code)
		}
		time.Sleep(2 * time.Millisecond)
		if got := get(r, "/health"); got.Code != 200 {
			t.Errorf("after the expiry: %d %s, want 200", got.Code, got.Body)
		}
	})
}

// An expired drain must end without a probe having happened in between.
func TestDrainEndsBetweenProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.Watch(Application{Probe: &scripted{}, Interval: time.Hour, MaxAge: 2 * time.Hour})
		running(t, r)
		synctest.Wait()
		r.Drain("short", time.Now().Add(time.Second))
		time.Sleep(time.Second + time.Millisecond)
		if got := get(r, "/health"); got.Code != 200 {
			t.Errorf("%d %s, want 200", got.Code, got.Body)
		}
	})
}

func TestStatuses(t *testing.T) {
	tests := []struct {
		text      string
		has, lack []int
		err       string
	}{
		{text: "200", has: []int{200}, lack: []int{199, 201, 302, 0}},
		{text: "200-399", has: []int{200, 302, 399}, lack: []int{199, 400}},
		{text: "200,302", has: []int{200, 302}, lack: []int{201, 301}},
		{text: " 200 , 300-302", has: []int{200, 300, 302}, lack: []int{299, 303}},
		{text: "", err: "is not a status code"},
		{text: "20", err: "is not a status code"},
		{text: "600", err: "from 100 to 599"},
		{text: "0200", err: "is not a status code"},
		{text: "+200", err: "is not a status code"},
		{text: "200-", err: "is not a status code"},
		{text: "200,,302", err: "is not a status code"},
		{text: "399-200", err: "runs backwards"},
	}
	for _, tt := range tests {
		set, err := parseStatuses(tt.text)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("parseStatuses(%q) = %v, want an error with %q", tt.text, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("parseStatuses(%q): %v", tt.text, err)
		}
		for _, code := range tt.has {
			if !set.has(code) {
				t.Errorf("%q lacks %d", tt.text, code)
			}
		}
		for _, code := range tt.lack {
			if set.has(code) {
				t.Errorf("%q has %d", tt.text, code)
			}
		}
	}
}

func FuzzParseStatuses(f *testing.F) {
	for _, seed := range []string{"200", "200-399", "200,302", "399-200", "", ",", "-", "200-299,301 , 302"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := parseStatuses(text)
		if err != nil {
			return
		}
		for _, r := range set {
			if r.low < 100 || r.high > 599 || r.low > r.high {
				t.Errorf("parseStatuses(%q) accepts %v", text, r)
			}
		}
	})
}

func TestNewRefusesPaths(t *testing.T) {
	for _, path := range []string{"health", "/", "/livez", "/readyz", "/metrics", "/health?x", "/he alth"} {
		if _, err := New(Options{Path: path}); err == nil {
			t.Errorf("New(Path: %q) is accepted", path)
		}
	}
}

func TestChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		if !r.Alive() {
			t.Error("a registry without checks is not alive")
		}
		loop := Result{Text: "polled"}
		r.Register(Liveness, "poll loop", func() Result { return loop })
		began := time.Now()
		r.results(Liveness)
		time.Sleep(time.Minute)
		if got := r.results(Liveness)[0].Since; !got.Equal(began) {
			t.Errorf("since %s, want %s", got, began)
		}
		loop = Result{Severity: Fail, Text: "no poll for 5m"}
		if r.Alive() {
			t.Error("alive with a failing check")
		}
		if got, want := r.results(Liveness)[0].Since, time.Now(); !got.Equal(want) {
			t.Errorf("failing since %s, want %s", got, want)
		}
		own := began.Add(-time.Hour)
		r.Register(Liveness, "poll loop", func() Result { return Result{Severity: Warn, Since: own} })
		want := []namedResult{{"poll loop", Result{Severity: Warn, Since: own}}}
		if diff := cmp.Diff(want, r.results(Liveness)); diff != "" {
			t.Errorf("replaced check mismatch (-want +got):\n%s", diff)
		}
		if !r.Alive() {
			t.Error("a warning is no death")
		}
	})
}

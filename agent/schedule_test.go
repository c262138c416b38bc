package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"slipway/agent/control"
	"slipway/lifecycle"
)

// fakeCommands is a service that exists in virtual time.
type fakeCommands struct {
	Commands
	poll     func(n int) (*control.HostCommand, error)
	polls    []time.Time
	spec     func() error
	mu       sync.Mutex // guards tries
	complete func(n int) error
	tries    []time.Time
}

func (f *fakeCommands) Poll(ctx context.Context) (*control.HostCommand, error) {
	f.polls = append(f.polls, time.Now())
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return f.poll(len(f.polls))
}

func (f *fakeCommands) Complete(context.Context, string, control.Status, control.Envelope) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tries = append(f.tries, time.Now())
	return f.complete(len(f.tries))
}

func (f *fakeCommands) Spec(context.Context, string) (control.Envelope, error) {
	return control.Envelope{}, f.spec()
}

func watched(f *fakeCommands) (*Agent, *observer.ObservedLogs) {
	core, logs := observer.New(zap.InfoLevel)
	return New(Options{Commands: f, HostID: hostID, Log: zap.New(core)}), logs
}

func apiError(code string, status int) error {
	return &control.APIError{Operation: "PollHostCommand", Code: code, HTTPStatus: status}
}

// What replaces P-33: each kind of failure has its own doubling pauses, and one line is logged at the change of state.
func TestPollBackoff(t *testing.T) {
	tests := []struct {
		name        string
		err         error
		link        Link
		first, most time.Duration
	}{
		{"network", errors.New("dial tcp: connection refused"), Unreachable, time.Second, time.Minute},
		{"service fault", apiError("ServerException", http.StatusInternalServerError), Unreachable, time.Second, time.Minute},
		{"throttled", apiError("ThrottlingException", http.StatusBadRequest), Throttled, 2 * time.Second, 90 * time.Second},
		{"denied", apiError("AccessDeniedException", http.StatusBadRequest), Denied, 15 * time.Second, 10 * time.Minute},
		{"no credentials", fmt.Errorf("sign: %w", control.ErrCredentials), Unsigned, time.Second, time.Minute},
		{"certificate", &control.TransportError{Certificate: true, Err: errors.New("x509")}, Untrusted, time.Second, time.Minute},
		{"clock", apiError("RequestTimeTooSkewed", http.StatusForbidden), Skewed, 5 * time.Second, 5 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeCommands{poll: func(int) (*control.HostCommand, error) { return nil, tt.err }}
				a, logs := watched(f)
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
				defer cancel()
				a.poll(ctx)
				first := f.polls[1].Sub(f.polls[0])
				last := f.polls[len(f.polls)-1].Sub(f.polls[len(f.polls)-2])
				if !around(first, tt.first) || !around(last, tt.most) {
					t.Errorf("pauses begin with %v and end with %v, want about %v and %v", first, last, tt.first, tt.most)
				}
				if got := a.Status().Link; got != tt.link {
					t.Errorf("link %s, want %s", got, tt.link)
				}
				if n := logs.Len(); n != 1 {
					t.Errorf("%d lines logged in three hours, want 1: %v", n, logs.All())
				}
			})
		})
	}
}

func around(got, want time.Duration) bool {
	return got >= want*8/10 && got <= want*12/10+time.Millisecond
}

// P-36 as replaced: an empty poll is followed by the pause, less what the service itself waited; a success ends the back-off.
func TestPollPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := time.Duration(0)
		f := &fakeCommands{}
		f.poll = func(n int) (*control.HostCommand, error) {
			time.Sleep(held)
			if n == 3 {
				return nil, errors.New("reset")
			}
			return nil, nil
		}
		a, logs := watched(f)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		a.poll(ctx)
		cancel()
		if !around(f.polls[1].Sub(f.polls[0]), time.Second) || !around(f.polls[5].Sub(f.polls[4]), time.Second) {
			t.Errorf("pauses %v, %v; want about 1s", f.polls[1].Sub(f.polls[0]), f.polls[5].Sub(f.polls[4]))
		}
		if n := logs.Len(); n != 3 { // answers, cannot be used, answers
			t.Errorf("%d lines, want 3: %v", n, logs.All())
		}
		f.polls, held = nil, 20*time.Second
		ctx, cancel = context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		a.poll(ctx)
		if got := f.polls[1].Sub(f.polls[0]); got != held {
			t.Errorf("after a poll of %v the next came after %v", held, got)
		}
	})
}

// After a command ended the next polls follow quickly, and then as ever: the service may need a moment for the next command.
func TestPollIsEagerAfterACommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCommands{poll: func(int) (*control.HostCommand, error) { return nil, nil }}
		a, _ := watched(f)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		time.AfterFunc(10*time.Second+500*time.Millisecond, a.ended)
		began := time.Now()
		a.poll(ctx)
		var within int
		for _, at := range f.polls {
			if d := at.Sub(began) - 10*time.Second - 500*time.Millisecond; d >= 0 && d < time.Second {
				within++
			}
		}
		if within < 7 || within > 12 {
			t.Errorf("%d polls in the second after a command ended, want about 8", within)
		}
		if n := len(f.polls); n > 45 {
			t.Errorf("%d polls in 20 seconds", n)
		}
	})
}

// A poll loop that is stuck is not alive; one that waits long on purpose is.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		f := &fakeCommands{}
		f.poll = func(n int) (*control.HostCommand, error) {
			if n == 40 {
				<-stuck
			}
			return nil, apiError("AccessDeniedException", http.StatusBadRequest)
		}
		a, _ := watched(f)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); a.poll(ctx) }()
		for range 60 {
			time.Sleep(time.Minute)
			if !a.Alive() {
				t.Fatal("not alive while it hibernates")
			}
		}
		time.Sleep(24 * time.Hour)
		if a.Alive() {
			t.Error("alive though a poll has not returned for hours")
		}
		cancel()
		close(stuck)
		<-ended
	})
}

// A loop that hangs in what it does itself, between two polls, is stuck within moments: a poll may take many minutes, that may not.
func TestAliveBetweenPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		f := &fakeCommands{poll: func(int) (*control.HostCommand, error) {
			time.Sleep(7 * time.Minute)
			return nil, nil
		}}
		a := New(Options{Commands: f, HostID: hostID, Busy: 20 * time.Second, Changed: func(s Status) {
			if s.Link == Online {
				<-hung // as a write to a dead disk does
			}
		}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); a.poll(ctx) }()
		for _, step := range []struct {
			after time.Duration
			alive bool
		}{{6 * time.Minute, true}, {time.Minute + 19*time.Second, true}, {2 * time.Second, false}, {time.Hour, false}} {
			time.Sleep(step.after)
			if got := a.Alive(); got != step.alive {
				t.Errorf("%s later alive = %t", step.after, got)
			}
		}
		cancel()
		close(hung)
		<-ended
	})
}

// The schedule of a completion that is not accepted, and its ends.
func TestReportSchedule(t *testing.T) {
	result := lifecycle.Result{Message: "Succeeded: "}
	t.Run("accepted after an hour", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			f := &fakeCommands{complete: func(int) error {
				if time.Since(began) < time.Hour {
					return errors.New("connection refused")
				}
				return nil
			}}
			a, logs := watched(f)
			if !a.report(t.Context(), "c", began, result) {
				t.Error("not settled")
			}
			for i, want := range []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond, 3200 * time.Millisecond, 5 * time.Second, 5 * time.Second} {
				if got := f.tries[i+1].Sub(f.tries[i]); !around(got, want) {
					t.Errorf("pause %d is %v, want about %v", i, got, want)
				}
			}
			n := len(f.tries)
			if got := f.tries[n-1].Sub(f.tries[n-2]); !around(got, time.Minute) {
				t.Errorf("after ten minutes the pause is %v, want about 1m", got)
			}
			if logs.Len() != 2 {
				t.Errorf("%d lines logged, want 2", logs.Len())
			}
		})
	})
	t.Run("refused for good", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeCommands{complete: func(int) error { return apiError("ClientException", http.StatusBadRequest) }}
			a, _ := watched(f)
			if !a.report(t.Context(), "c", time.Now(), result) || len(f.tries) != 1 {
				t.Errorf("%d tries", len(f.tries))
			}
		})
	})
	t.Run("a day old", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			f := &fakeCommands{complete: func(int) error { return errors.New("down") }}
			a, _ := watched(f)
			if !a.report(t.Context(), "c", began, result) || !around(time.Since(began), 24*time.Hour) {
				t.Errorf("given up after %v", time.Since(began))
			}
		})
	})
	t.Run("the program stops", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			f := &fakeCommands{complete: func(n int) error {
				if n == 3 {
					cancel()
				}
				return errors.New("down")
			}}
			a, _ := watched(f)
			began := time.Now()
			if a.report(ctx, "c", began, result) {
				t.Error("settled though nobody took it")
			}
			if time.Since(began) > 2*time.Second {
				t.Errorf("left after %v", time.Since(began))
			}
		})
	})
}

// A command that the service brings again and again, whatever it is answered, is polled for at the usual pace, with and without an
// identifier, and takes no place from others.
func TestRedeliveryKeepsThePace(t *testing.T) {
	for _, id := range []string{"c", ""} {
		for _, concurrent := range []int{1, 4} {
			t.Run(fmt.Sprintf("id %q, %d at a time", id, concurrent), func(t *testing.T) {
				engine := openEngine(t)
				synctest.Test(t, func(t *testing.T) {
					f := &fakeCommands{
						poll: func(int) (*control.HostCommand, error) {
							time.Sleep(time.Millisecond)
							return &control.HostCommand{ID: id, HostID: "another", ExecutionID: "x", Name: "Install"}, nil
						},
						complete: func(int) error { return apiError("ClientException", http.StatusBadRequest) },
					}
					a := New(Options{Commands: f, Engine: engine, HostID: hostID, MaxConcurrent: concurrent})
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					a.poll(ctx)
					a.wg.Wait()
					if n := len(f.polls); n < 45 || n > 90 {
						t.Errorf("%d polls in a minute, want about 60", n)
					}
				})
			})
		}
	}
}

func openEngine(t *testing.T) *lifecycle.Engine {
	t.Helper()
	engine, err := lifecycle.Open(t.Context(), lifecycle.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	return engine
}

// Commands whose specification cannot be had keep no place from others, are not told about at every try, and are failed in the end.
func TestSpecificationOutOfReach(t *testing.T) {
	engine := openEngine(t)
	synctest.Test(t, func(t *testing.T) {
		const commands = 3
		began := time.Now()
		var refused time.Duration
		f := &fakeCommands{
			poll: func(n int) (*control.HostCommand, error) {
				if n > commands {
					return nil, nil
				}
				return &control.HostCommand{ID: fmt.Sprint(n), HostID: hostID, ExecutionID: "x", Name: "Install"}, nil
			},
			spec: func() error { return apiError("AccessDeniedException", http.StatusBadRequest) },
			complete: func(int) error {
				refused = time.Since(began)
				return nil
			},
		}
		a, logs := watched(f)
		a.opts.Engine, a.opts.MaxConcurrent = engine, 1
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		a.poll(ctx)
		a.wg.Wait()
		if n := len(f.tries); n != commands || refused < patience || refused > patience+time.Minute {
			t.Errorf("%d commands failed, the last one after %v", n, refused)
		}
		if n := len(f.polls); n < 3600 {
			t.Errorf("%d polls in two hours", n)
		}
		if n := logs.Len(); n != 1+2*commands { // the link; for each: tried again, refused
			t.Errorf("%d lines, want %d: %v", n, 1+2*commands, logs.All())
		}
	})
}

// A poll that takes as long as it may is no reason to end the program, and neither is a clock that is set.
func TestAliveThroughALongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCommands{poll: func(int) (*control.HostCommand, error) {
			time.Sleep(40 * time.Minute)
			return nil, errors.New("time-out")
		}}
		a := New(Options{Commands: f, HostID: hostID, PollBound: 45 * time.Minute})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
		defer cancel()
		go func() {
			for range 170 {
				time.Sleep(time.Minute)
				if !a.Alive() {
					t.Error("not alive")
					return
				}
			}
		}()
		a.poll(ctx)
	})
}

package control_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

// retryRules are P-32: in-call retries.
var retryRules = []rule{
	{"P-32_what_is_retried", func(t *testing.T) {
		const attempts = 4
		for _, tc := range []struct {
			name  string
			fault controltest.Fault
			want  int
		}{
			{"500", controltest.Broken("", 0), attempts},
			{"502 with HTML", controltest.Fault{Status: 502, Body: []byte("<html>")}, attempts},
			{"503", controltest.Fault{Status: 503}, attempts},
			{"504", controltest.Fault{Status: 504}, attempts},
			{"507", controltest.Fault{Status: 507}, attempts},
			{"408", controltest.Fault{Status: 408}, attempts},
			{"429", controltest.Fault{Status: 429}, attempts},
			{"throttling", controltest.Throttled("", 0), attempts},
			{"throttling by another name", controltest.Fault{Code: "ProvisionedThroughputExceededException"}, attempts},
			{"throttling in the header", controltest.Fault{Code: "SomethingThrottled", CodeInHeader: true}, attempts},
			{"connection reset", controltest.Fault{Reset: true}, attempts},
			{"answer broken off", controltest.Fault{Status: 200, Body: []byte(`{"HostCommand":{}}`), TruncateAfter: 5}, attempts},
			{"answer cut short by a proxy", controltest.Fault{Status: 200, Body: []byte(`{"HostCommand":`)}, attempts},
			{"client's fault", controltest.Fault{Code: "ClientException"}, 1},
			{"validation", controltest.Fault{Code: "ValidationException"}, 1},
			{"denied", controltest.Denied("", 0), 1},
			{"404", controltest.Fault{Status: 404}, 1},
			{"redirect", controltest.Fault{Status: 301}, 1},
			{"malformed answer", controltest.Fault{Status: 200, Body: []byte(`{"HostCommand":]}`)}, 1},
			{"signature without skew", controltest.Fault{Code: "InvalidSignatureException", Message: "does not match"}, 1},
			{"expired static keys", controltest.Fault{Code: "ExpiredTokenException"}, 1},
		} {
			t.Run(tc.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, c := bubble(t, controltest.Options{}, nil)
					s.Inject(tc.fault)
					for op, call := range map[string]func() error{
						"PollHostCommand":               func() error { _, err := c.Poll(t.Context()); return err },
						"GetDeploymentSpecification":    func() error { _, err := c.Spec(t.Context(), "a/b/c/d"); return err },
						"PutHostCommandAcknowledgement": func() error { _, err := c.Acknowledge(t.Context(), "i", control.NoopDiagnostics(true)); return err },
						"PostHostCommandUpdate":         func() error { _, err := c.Update(t.Context(), "i", time.Now(), control.Envelope{}); return err },
					} {
						began := time.Now()
						err := call()
						took := time.Since(began)
						if got := len(calls(s, op)); got != tc.want {
							t.Errorf("%s: %d attempts, want %d", op, got, tc.want)
						}
						// 0.3, 0.6 and 1.2 s, each give or take a quarter.
						if tc.want == attempts && (took < 2100*time.Millisecond*3/4 || took > 2100*time.Millisecond*5/4) || tc.want == 1 && took != 0 {
							t.Errorf("%s: %d attempts in %v", op, tc.want, took)
						}
						// That body is well-formed where a command status is wanted, but the rest is an error.
						if err == nil {
							t.Errorf("%s: no error", op)
						}
					}
				})
			})
		}
	}},
	{"P-32_delays_vary", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, c := bubble(t, controltest.Options{}, nil)
			s.Inject(controltest.Broken("", 0))
			seen := map[time.Duration]bool{}
			for range 5 {
				began := time.Now()
				c.Poll(t.Context())
				seen[time.Since(began)] = true
			}
			if len(seen) < 2 {
				t.Error("a fleet would come back as one")
			}
		})
	}},
	{"P-32_recovers_within_the_call", func(t *testing.T) {
		for name, fault := range map[string]controltest.Fault{
			"error": controltest.Broken("", 3), "throttling": controltest.Throttled("", 3), "reset": {Reset: true, Times: 3},
			"broken off": {TruncateAfter: 4, Times: 3},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, c := bubble(t, controltest.Options{}, nil)
					id := s.Enqueue(controltest.Command{HostID: hostID, Name: "Install"})
					s.Inject(fault)
					cmd, err := c.Poll(t.Context())
					if err != nil || cmd == nil || cmd.ID != id {
						t.Errorf("Poll() = %+v, %v", cmd, err)
					}
				})
			})
		}
	}},
	// The agent repeats reports for a day by a schedule of its own.
	{"P-32_complete_is_one_attempt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, c := bubble(t, controltest.Options{}, nil)
			id := s.Enqueue(controltest.Command{HostID: hostID, Name: "Install"})
			for _, fault := range []controltest.Fault{controltest.Broken("", 1), controltest.Throttled("", 1), {Reset: true, Times: 1}} {
				remove := s.Inject(fault)
				began := time.Now()
				if err := c.Complete(t.Context(), id, control.Succeeded, control.Envelope{}); err == nil {
					t.Errorf("%+v: no error", fault)
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("took %v", took)
				}
				remove()
			}
			if err := c.Complete(t.Context(), id, control.Succeeded, control.Envelope{}); err != nil {
				t.Error(err)
			}
			if n := len(calls(s, "PutHostCommandComplete")); n != 4 {
				t.Errorf("%d calls, want 4", n)
			}
		})
	}},
	{"P-32_clock_is_corrected", func(t *testing.T) {
		for _, skew := range []time.Duration{time.Hour, -time.Hour, 6 * time.Minute, -400 * 24 * time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				s, c := bubble(t, controltest.Options{}, nil)
				s.SkewClock(skew)
				if _, err := c.Poll(t.Context()); err != nil {
					t.Errorf("service %v ahead: %v", skew, err)
				}
				if n := len(s.Calls()); n != 2 {
					t.Errorf("service %v ahead: %d calls, want 2", skew, n)
				}
				// It is remembered.
				if _, err := c.Poll(t.Context()); err != nil || len(s.Calls()) != 3 {
					t.Errorf("service %v ahead: second poll: %v, %d calls in all, want 3", skew, err, len(s.Calls()))
				}
				// And forgotten when somebody sets the clock.
				s.SkewClock(0)
				if _, err := c.Poll(t.Context()); err != nil || len(s.Calls()) != 5 {
					t.Errorf("clock set: %v, %d calls in all, want 5", err, len(s.Calls()))
				}
			})
		}
	}},
	{"P-32_clock_is_learnt_by_a_completion", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, c := bubble(t, controltest.Options{}, nil)
			s.SkewClock(time.Hour)
			id := s.Enqueue(controltest.Command{HostID: hostID, Name: "Install"})
			e := apiError(t, c.Complete(t.Context(), id, control.Succeeded, control.Envelope{}))
			if !e.ClockSkewed() || e.Terminal() || e.Skew < time.Hour-time.Second || e.Skew > time.Hour+time.Second {
				t.Errorf("%+v", e)
			}
			if err := c.Complete(t.Context(), id, control.Succeeded, control.Envelope{}); err != nil {
				t.Error(err)
			}
		})
	}},
	{"P-32_wrong_secret_is_no_clock", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, c := bubble(t, controltest.Options{Keys: map[string]string{access: "another"}}, nil)
			_, err := c.Poll(t.Context())
			if e := apiError(t, err); e.ClockSkewed() || !e.Denied() || e.Terminal() || len(s.Calls()) != 1 {
				t.Errorf("%v after %d calls", err, len(s.Calls()))
			}
		})
	}},
	{"P-32_expired_credentials_are_renewed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var generation atomic.Int32
			s, c := bubble(t, controltest.Options{}, func(o *control.Options) {
				o.Credentials = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
					if generation.Add(1) == 1 {
						return aws.Credentials{AccessKeyID: "ASIAOLD", SecretAccessKey: "old", SessionToken: "old"}, nil
					}
					return aws.Credentials{AccessKeyID: "ASIANEW", SecretAccessKey: "new", SessionToken: "new"}, nil
				}))
			})
			s.AddKey("ASIAOLD", "old", "old")
			s.AddKey("ASIANEW", "new", "new")
			if _, err := c.Poll(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.ExpireKey("ASIAOLD")
			if _, err := c.Poll(t.Context()); err != nil || generation.Load() != 2 || len(s.Calls()) != 3 {
				t.Errorf("Poll() = %v, %d generations, %d calls", err, generation.Load(), len(s.Calls()))
			}
			// New ones that have expired too: renewed once in a call, and no more.
			s.ExpireKey("ASIANEW")
			_, err := c.Poll(t.Context())
			if e := apiError(t, err); !e.Expired() || e.Terminal() || generation.Load() != 3 {
				t.Errorf("Poll() = %v, %d generations", err, generation.Load())
			}
		})
	}},
	{"P-32_rotated_keys_are_read_again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			keys := aws.Credentials{AccessKeyID: "AKIAGONE", SecretAccessKey: "gone"}
			s, c := bubble(t, controltest.Options{}, func(o *control.Options) {
				o.Credentials = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return keys, nil }))
			})
			if _, err := c.Poll(t.Context()); !apiError(t, err).Denied() {
				t.Errorf("Poll() = %v", err)
			}
			keys = aws.Credentials{AccessKeyID: access, SecretAccessKey: secret}
			// A completion gives stale keys up as well, for the next attempt.
			id := s.Enqueue(controltest.Command{HostID: hostID, Name: "Install"})
			if err := c.Complete(t.Context(), id, control.Succeeded, control.Envelope{}); err != nil {
				if err = c.Complete(t.Context(), id, control.Succeeded, control.Envelope{}); err != nil {
					t.Error(err)
				}
			}
		})
	}},
	{"P-32_retry_after_is_heeded_within_bounds", func(t *testing.T) {
		for after, want := range map[time.Duration]time.Duration{2 * time.Second: 2 * time.Second, time.Hour: 5 * time.Second} {
			synctest.Test(t, func(t *testing.T) {
				s, c := bubble(t, controltest.Options{}, nil)
				fault := controltest.Throttled("", 1)
				fault.RetryAfter = after
				s.Inject(fault)
				began := time.Now()
				if _, err := c.Poll(t.Context()); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took != want {
					t.Errorf("Retry-After %v: waited %v, want %v", after, took, want)
				}
				fault.Times = 0
				s.Inject(fault)
				if e := apiError(t, c.Complete(t.Context(), "i", control.Failed, control.Envelope{})); e.RetryAfter != after {
					t.Errorf("RetryAfter = %v, want %v", e.RetryAfter, after)
				}
			})
		}
	}},
	{"P-32_stop_ends_a_call_at_once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, c := bubble(t, controltest.Options{PollWait: time.Minute}, nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			if _, err := c.Poll(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
				t.Errorf("held poll: %v after %v", err, time.Since(began))
			}
			s.Inject(controltest.Broken("", 0))
			ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began = time.Now()
			if _, err := c.Poll(ctx); err == nil || time.Since(began) != 100*time.Millisecond {
				t.Errorf("waiting between attempts: %v after %v", err, time.Since(began))
			}
		})
	}},
	{"P-32_no_credentials", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cause := errors.New("the metadata service is silent")
			s, c := bubble(t, controltest.Options{}, func(o *control.Options) {
				o.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) { return aws.Credentials{}, cause })
			})
			_, err := c.Poll(t.Context())
			if !errors.Is(err, control.ErrCredentials) || !errors.Is(err, cause) || !strings.Contains(err.Error(), "PollHostCommand") || len(s.Calls()) != 0 {
				t.Errorf("Poll() = %v", err)
			}
		})
	}},
	{"P-32_network_failures", func(t *testing.T) {
		for _, cause := range []error{syscall.ECONNREFUSED, syscall.EPIPE, io.EOF, errors.New("no such host"), context.DeadlineExceeded} {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				_, c := bubble(t, controltest.Options{}, func(o *control.Options) {
					o.HTTP = &http.Client{Transport: transportFunc(func(*http.Request) (*http.Response, error) { n++; return nil, cause })}
				})
				_, err := c.Poll(t.Context())
				e, ok := errors.AsType[*control.TransportError](err)
				if !ok || !errors.Is(err, cause) || n != 4 || e.Operation != "PollHostCommand" || strings.Contains(err.Error(), "Post") {
					t.Errorf("%v: Poll() = %v after %d attempts", cause, err, n)
				}
			})
		}
	}},
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Package alb asks a target the way an Application Load Balancer does and says whether, and when, the balancer would send it traffic, and
// why not. It also reads a real target group and what the balancer found, with two read-only calls.
//
// A check is one GET on a connection of its own: the Host header is the target's address with its port, no redirect is followed, no
// certificate is verified, and the status alone decides. Everything beyond that is advice: it never changes the verdict.
package alb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// UserAgent is what the balancer's health checker calls itself.
const UserAgent = "ELB-HealthChecker/2.0"

// Protocols and protocol versions of a [Target], as the balancer's API spells them.
const (
	HTTP  = "HTTP"
	HTTPS = "HTTPS"
	HTTP1 = "HTTP1"
	HTTP2 = "HTTP2"
)

// Target is what is checked and by which settings. Zero fields have the defaults of a target group that are said beside them.
type Target struct {
	Address   string        `json:"address"`  // host:port
	Protocol  string        `json:"protocol"` // HTTP or HTTPS; HTTP
	Version   string        `json:"version"`  // HTTP1 or HTTP2 (by prior knowledge where there is no TLS); HTTP1
	Path      string        `json:"path"`     // with its query; /
	Matcher   string        `json:"matcher"`  // codes that are good, from 200 to 499: 200, 200,302 or 200-399; 200
	Interval  time.Duration `json:"-"`        // from check to check, 5 s to 300 s; 30 s
	Timeout   time.Duration `json:"-"`        // of one check, 2 s to 120 s and less than Interval; 5 s
	Healthy   int           `json:"healthy_threshold"`
	Unhealthy int           `json:"unhealthy_threshold"` // good (5) and bad (2) checks in a row that change the state, 2 to 10
}

// A SettingError says which setting no target group could have.
type SettingError struct{ Setting, Problem string }

func (e *SettingError) Error() string { return e.Setting + ": " + e.Problem }

// Complete fills in the defaults and refuses what the balancer's API would refuse. The error is a *SettingError.
func (t Target) Complete() (Target, error) {
	t.Protocol, t.Version = cmp.Or(strings.ToUpper(t.Protocol), HTTP), cmp.Or(strings.ToUpper(t.Version), HTTP1)
	t.Path, t.Matcher = cmp.Or(t.Path, "/"), cmp.Or(t.Matcher, "200")
	t.Interval, t.Timeout = cmp.Or(t.Interval, 30*time.Second), cmp.Or(t.Timeout, 5*time.Second)
	t.Healthy, t.Unhealthy = cmp.Or(t.Healthy, 5), cmp.Or(t.Unhealthy, 2)
	host, port, err := net.SplitHostPort(t.Address)
	number, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" || portErr != nil || number == 0 {
		return t, &SettingError{"address", fmt.Sprintf("%q is not host:port", t.Address)}
	}
	if _, err := parseMatcher(t.Matcher); err != nil {
		return t, err
	}
	between := func(setting string, d, low, high time.Duration) error {
		if d < low || d > high || d%time.Second != 0 {
			return &SettingError{setting, fmt.Sprintf("%s: a target group has whole seconds from %s to %s", d, low, high)}
		}
		return nil
	}
	count := func(setting string, n int) error {
		if n < 2 || n > 10 {
			return &SettingError{setting, fmt.Sprintf("%d: a target group has 2 to 10", n)}
		}
		return nil
	}
	switch {
	case t.Protocol != HTTP && t.Protocol != HTTPS:
		return t, &SettingError{"protocol", fmt.Sprintf("%q is neither HTTP nor HTTPS", t.Protocol)}
	case t.Version != HTTP1 && t.Version != HTTP2:
		return t, &SettingError{"protocol version", fmt.Sprintf("%q is neither HTTP1 nor HTTP2; gRPC is not checked", t.Version)}
	case !strings.HasPrefix(t.Path, "/") || strings.ContainsAny(t.Path, " #\r\n\t") || len(t.Path) > 1024:
		return t, &SettingError{"path", fmt.Sprintf("%q must begin with /, hold neither space nor #, and have at most 1024 bytes", t.Path)}
	}
	for _, err := range []error{
		between("interval", t.Interval, 5*time.Second, 300*time.Second), between("timeout", t.Timeout, 2*time.Second, 120*time.Second),
		count("healthy threshold", t.Healthy), count("unhealthy threshold", t.Unhealthy),
	} {
		if err != nil {
			return t, err
		}
	}
	if t.Timeout >= t.Interval {
		return t, &SettingError{"timeout", fmt.Sprintf("%s is not less than the interval, %s", t.Timeout, t.Interval)}
	}
	return t, nil
}

// URL is the target as a URL.
func (t Target) URL() string { return strings.ToLower(t.Protocol) + "://" + t.Address + t.Path }

// matcher is a set of ranges of status codes.
type matcher [][2]int

func parseMatcher(s string) (matcher, error) {
	var m matcher
	for part := range strings.SplitSeq(s, ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		low, err := strconv.Atoi(from)
		high := low
		if err == nil && ranged {
			high, err = strconv.Atoi(to)
		}
		if err != nil || low < 200 || high > 499 || high < low || len(from) != 3 {
			return nil, &SettingError{"matcher", fmt.Sprintf("%q: write codes from 200 to 499 as 200, 200,302 or 200-399", s)}
		}
		m = append(m, [2]int{low, high})
	}
	return m, nil
}

func (m matcher) has(code int) bool {
	for _, r := range m {
		if r[0] <= code && code <= r[1] {
			return true
		}
	}
	return false
}

// The reason codes of the balancer.
const (
	ReasonMismatch = "Target.ResponseCodeMismatch"
	ReasonTimeout  = "Target.Timeout"
	ReasonFailed   = "Target.FailedHealthChecks"
)

// Report is what was found of a target.
type Report struct {
	Target Target `json:"target"`
	// Healthy is the verdict: the balancer would come to send traffic here and go on doing so.
	Healthy bool `json:"healthy"`
	// Reason is the balancer's code for why not, Text what its console says, with what the last bad check met.
	Reason string `json:"reason,omitempty"`
	Text   string `json:"text,omitempty"`
	// First is how long after its registration the target gets traffic: one good check is enough then. Again is how long it takes after it
	// was unhealthy. Both are zero where it never does.
	First    time.Duration `json:"-"`
	Again    time.Duration `json:"-"`
	Checks   []Answer      `json:"checks"`
	Findings []Finding     `json:"findings"`
}

// Kind says what a finding means for the verdict.
type Kind string

// A Cause is why the target is not healthy; a Risk does not keep it from being healthy and will hurt all the same.
const (
	Cause Kind = "cause"
	Risk  Kind = "risk"
)

// Finding is one thing that was found out about a target.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Code   string `json:"code"`
	Text   string `json:"text"`
	Remedy string `json:"remedy"`
}

// Options say how a target is looked at beyond its settings.
type Options struct {
	// Pace is the time between two checks; the interval of the balancer only decides what is computed. 200 ms.
	Pace time.Duration
	// Names are host names that the site may answer to: they are tried where the address alone is answered badly.
	Names []string
	// Idle is the balancer's idle timeout, which the target's keep-alive has to exceed; 60 s.
	Idle time.Duration
}

// Check asks the target as often as it takes to know what the balancer would make of it. It takes at most some twenty checks, each bounded by
// the target's timeout. An error is a *SettingError, or the end of ctx.
func Check(ctx context.Context, t Target, o Options) (*Report, error) {
	t, err := t.Complete()
	if err != nil {
		return nil, err
	}
	o.Pace, o.Idle = cmp.Or(o.Pace, 200*time.Millisecond), cmp.Or(o.Idle, time.Minute)
	good, err := parseMatcher(t.Matcher)
	if err != nil {
		return nil, err
	}
	r := &Report{Target: t, Findings: []Finding{}}
	inRow := 0 // good ones; bad ones below zero
	for most := t.Healthy + 2*t.Unhealthy + 2; len(r.Checks) < most && inRow < t.Healthy; {
		if len(r.Checks) > 0 {
			select {
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-time.After(o.Pace):
			}
		}
		a := ask(ctx, t, question{timeout: t.Timeout})
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		a.judge(good)
		r.Checks = append(r.Checks, a)
		switch {
		case a.Good:
			inRow = max(inRow, 0) + 1
		default:
			inRow = min(inRow, 0) - 1
		}
		// Enough bad ones, and one more: the first of all may have been the slow one that warms the application up.
		if inRow <= -max(t.Unhealthy, 3) {
			break
		}
	}
	r.Healthy = r.settle()
	r.conclude()
	(&inspection{ctx: ctx, o: o, good: good, Report: r}).run()
	return r, context.Cause(ctx)
}

// settle is the state that the balancer would have come to: one good check makes a new target healthy, and after that only whole rows count.
func (r *Report) settle() bool {
	healthy, fresh, row := false, true, 0
	for n, a := range r.Checks {
		if n > 0 && a.Good == r.Checks[n-1].Good {
			row++
		} else {
			row = 1
		}
		switch {
		case a.Good && (fresh || row >= r.Target.Healthy):
			healthy, fresh = true, false
		case !a.Good && row >= r.Target.Unhealthy:
			healthy, fresh = false, false
		}
	}
	return healthy
}

// conclude computes the times and words the reason.
func (r *Report) conclude() {
	if r.Healthy {
		for i, a := range r.Checks {
			if a.Good {
				r.First = time.Duration(i)*r.Target.Interval + a.Took
				break
			}
		}
		r.Again = time.Duration(r.Target.Healthy-1)*r.Target.Interval + r.Checks[len(r.Checks)-1].Took
		return
	}
	for i := len(r.Checks) - 1; i >= 0; i-- {
		a := r.Checks[i]
		switch {
		case a.Good:
			continue
		case a.Status != 0:
			r.Reason, r.Text = ReasonMismatch, fmt.Sprintf("Health checks failed with these codes: [%d]", a.Status)
		case errors.Is(a.err, errNoAnswer):
			r.Reason, r.Text = ReasonTimeout, "Request timed out"
		default:
			r.Reason, r.Text = ReasonFailed, "Health checks failed: "+a.Error
		}
		return
	}
}

// bad is the last bad answer; nil if there was none.
func (r *Report) bad() *Answer {
	for i := len(r.Checks) - 1; i >= 0; i-- {
		if !r.Checks[i].Good {
			return &r.Checks[i]
		}
	}
	return nil
}

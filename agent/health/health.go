// Package health answers three questions on three paths and never mixes them: /livez, is the agent's loop alive;
// /readyz, can the agent take commands; and the balancer's path, is the application fit for traffic.
//
// The balancer's answer comes from a background probe of the application, smoothed by rise and fall counts, and from
// drain markers. The handler does no I/O: it serves what is known. Nothing that goes wrong with the agent itself
// (service, S3 or metadata out of reach) reaches that path; the one exception is honest: a probe result that has
// grown too old is not passed on as good.
package health

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// DefaultPath is the balancer's path when none is configured.
const DefaultPath = "/health"

// Severity says how bad a check's result is.
type Severity uint8

// A warning is shown and changes no status code.
const (
	Pass Severity = iota
	Warn
	Fail
)

func (s Severity) String() string {
	switch s {
	case Pass:
		return "pass"
	case Warn:
		return "warn"
	case Fail:
		return "fail"
	}
	return fmt.Sprintf("Severity(%d)", uint8(s))
}

// Result is what a check found.
type Result struct {
	Severity Severity
	Text     string
	// Since is when it became so. Zero: the registry notes when it first saw this severity.
	Since time.Time
}

// Check reports a state that is known already. It is called by the handlers, so it must neither block nor do I/O,
// and it must be safe to call from several goroutines.
type Check func() Result

// Kind says which question a check helps to answer.
type Kind uint8

const (
	// Liveness checks make /livez and [Registry.Alive]: a failing one means that a restart is called for.
	Liveness Kind = iota
	// Readiness checks make /readyz: a failing one means that no command can be taken at the moment.
	Readiness
)

// Options configure a [Registry].
type Options struct {
	// Path is the balancer's path; empty means [DefaultPath].
	Path string
	// Version goes into the build_info metric.
	Version string
	// Page makes what the status page at / tells; it may read files. Nil: / lists the paths alone.
	Page func() Page
	Log  *zap.Logger
}

// Registry holds the checks, the application's state, the drains and the metrics. All methods are safe for
// concurrent use.
type Registry struct {
	path    string
	page    func() Page
	log     *zap.Logger
	metrics *Metrics
	app     application

	mu     sync.Mutex // guards checks and seen
	checks [2][]namedCheck
}

type namedCheck struct {
	name  string
	check Check
	seen  *seen
}

// seen remembers since when a check has had its present severity.
type seen struct {
	severity Severity
	since    time.Time
}

// New returns a registry without checks and without a probe. It fails when the path is not absolute or is one of
// the fixed paths.
func New(o Options) (*Registry, error) {
	path := o.Path
	if path == "" {
		path = DefaultPath
	}
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?# ") {
		return nil, fmt.Errorf("health path %q: it must begin with / and hold no query", path)
	}
	if slices.Contains([]string{pathIndex, pathLive, pathReady, pathMetrics}, path) {
		return nil, fmt.Errorf("health path %q is taken by the agent's own answer: choose another, for example %s", path, DefaultPath)
	}
	log := o.Log
	if log == nil {
		log = zap.NewNop()
	}
	r := &Registry{path: path, page: o.Page, log: log.Named("health")}
	r.app.init()
	r.metrics = newMetrics(o.Version, &r.app)
	return r, nil
}

// Register adds a check under a name that is shown to operators. Registering a name again replaces it.
func (r *Registry) Register(kind Kind, name string, check Check) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := namedCheck{name: name, check: check, seen: &seen{}}
	list := r.checks[kind]
	if i := slices.IndexFunc(list, func(old namedCheck) bool { return old.name == name }); i >= 0 {
		list[i] = c
		return
	}
	r.checks[kind] = append(list, c)
}

// Alive reports whether no liveness check fails: what a service manager's watchdog should be told.
func (r *Registry) Alive() bool {
	return worst(r.results(Liveness)) < Fail
}

// Metrics returns the metrics to count into.
func (r *Registry) Metrics() *Metrics { return r.metrics }

// Handler serves /livez, /readyz, the balancer's path, /metrics and the status page, or a list of these paths, at /. It never redirects and answers
// nothing but GET and HEAD.
func (r *Registry) Handler() http.Handler {
	return http.HandlerFunc(r.serve)
}

// namedResult is a result with the name of its check.
type namedResult struct {
	Name string
	Result
}

func (r *Registry) results(kind Kind) []namedResult {
	r.mu.Lock()
	checks := slices.Clone(r.checks[kind])
	r.mu.Unlock()
	out := make([]namedResult, 0, len(checks))
	for _, c := range checks {
		// The check runs without the lock: it may take one of its own that is held while registering.
		found := c.check()
		if found.Since.IsZero() {
			found.Since = r.noted(c.seen, found.Severity)
		}
		out = append(out, namedResult{Name: c.name, Result: found})
	}
	return out
}

func (r *Registry) noted(s *seen, severity Severity) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.since.IsZero() || s.severity != severity {
		s.severity, s.since = severity, time.Now()
	}
	return s.since
}

func worst(results []namedResult) Severity {
	w := Pass
	for _, found := range results {
		w = max(w, found.Severity)
	}
	return w
}

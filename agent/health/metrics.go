package health

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Metrics are the agent's counters, in a set of its own. A nil *Metrics counts nothing.
type Metrics struct {
	set      *metrics.Set
	app      *application
	tickets  atomic.Int64
	oldest   atomic.Int64 // when the oldest of them was taken, in Unix nanoseconds; 0: there is none
	online   atomic.Bool
	lastPoll atomic.Int64 // in Unix milliseconds

	mu     sync.Mutex // guards series
	series map[string]bool
}

// seriesLimit bounds the values that come from outside (event names of an appspec): what comes later counts as
// "other", so that nobody can grow the page without end.
const seriesLimit = 64

// eventSeconds are the bounds of the duration histograms: from an empty event to the longest usual time-out.
var eventSeconds = []float64{0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600}

func newMetrics(version string, app *application) *Metrics {
	m := &Metrics{set: metrics.NewSet(), app: app, series: map[string]bool{}}
	for _, name := range []string{
		"slipway_polls_total", "slipway_poll_errors_total", "slipway_bundle_bytes_total", "slipway_probes_total", "slipway_probe_errors_total",
	} {
		m.set.NewCounter(name)
	}
	m.set.NewGauge("slipway_tickets_open", func() float64 { return float64(m.tickets.Load()) })
	m.set.NewGauge("slipway_ticket_oldest_seconds", func() float64 {
		if at := m.oldest.Load(); at != 0 {
			return max(time.Since(time.Unix(0, at)).Seconds(), 0)
		}
		return 0
	})
	m.set.NewGauge("slipway_command_service_up", func() float64 { return oneIf(m.online.Load()) })
	m.set.NewGauge("slipway_last_poll_timestamp_seconds", func() float64 { return float64(m.lastPoll.Load()) / 1000 })
	m.set.NewGauge("slipway_drains_active", func() float64 { return float64(len(app.current(time.Now()).report.Drains)) })
	for _, state := range []State{Unconfigured, Starting, Healthy, Unhealthy, Stale, Draining} {
		m.set.NewGauge(fmt.Sprintf("slipway_application_state{state=%q}", string(state)), func() float64 {
			return oneIf(app.current(time.Now()).report.State == state)
		})
	}
	build := fmt.Sprintf("slipway_build_info{version=%q,goversion=%q,goarch=%q}", label(version), label(runtime.Version()), runtime.GOARCH)
	m.set.NewGauge(build, func() float64 { return 1 })
	return m
}

// Poll counts one poll of the command service and whether it failed.
func (m *Metrics) Poll(err error) {
	if m == nil {
		return
	}
	m.set.GetOrCreateCounter("slipway_polls_total").Inc()
	if err != nil {
		m.set.GetOrCreateCounter("slipway_poll_errors_total").Inc()
	}
}

// Command counts one host command by lifecycle event and outcome ("Succeeded", "Failed", …), with what it took.
func (m *Metrics) Command(event, outcome string, took time.Duration) {
	if m == nil {
		return
	}
	event = m.bounded("event", event)
	m.set.GetOrCreateCounter(fmt.Sprintf("slipway_commands_total{event=%q,outcome=%q}", event, m.bounded("outcome", outcome))).Inc()
	m.set.GetOrCreatePrometheusHistogramExt(fmt.Sprintf("slipway_command_duration_seconds{event=%q}", event), eventSeconds).Update(took.Seconds())
}

// Hook counts one ended script by event and exit status, with what it took; -1 stands for one that was ended by a signal.
func (m *Metrics) Hook(event string, exit int, took time.Duration) {
	if m == nil {
		return
	}
	event = m.bounded("event", event)
	m.set.GetOrCreateCounter(fmt.Sprintf("slipway_hook_exits_total{event=%q,exit=\"%d\"}", event, exit)).Inc()
	m.set.GetOrCreatePrometheusHistogramExt(fmt.Sprintf("slipway_hook_duration_seconds{event=%q}", event), eventSeconds).Update(took.Seconds())
}

// BundleBytes adds downloaded bytes.
func (m *Metrics) BundleBytes(n int64) {
	if m == nil || n <= 0 {
		return
	}
	m.set.GetOrCreateCounter("slipway_bundle_bytes_total").AddInt64(n)
}

// Tickets sets how many commands are accepted and not yet reported, and when the oldest of them came; zero where there is none.
func (m *Metrics) Tickets(n int, oldest time.Time) {
	if m == nil {
		return
	}
	m.tickets.Store(int64(n))
	if oldest.IsZero() {
		m.oldest.Store(0)
	} else {
		m.oldest.Store(oldest.UnixNano())
	}
}

// Service sets whether the command service answers, and when it did last; a zero time leaves that as it is.
func (m *Metrics) Service(online bool, last time.Time) {
	if m == nil {
		return
	}
	m.online.Store(online)
	if !last.IsZero() {
		m.lastPoll.Store(last.UnixMilli())
	}
}

func (m *Metrics) probed(err error, took time.Duration) {
	m.set.GetOrCreateCounter("slipway_probes_total").Inc()
	if err != nil {
		m.set.GetOrCreateCounter("slipway_probe_errors_total").Inc()
	}
	m.set.GetOrCreatePrometheusHistogramExt("slipway_probe_duration_seconds", []float64{0.001, 0.005, 0.02, 0.1, 0.5, 1, 3, 10}).Update(took.Seconds())
}

func (m *Metrics) write(w io.Writer) {
	m.set.WritePrometheus(w)
	for _, p := range m.app.current(time.Now()).report.Probes {
		fmt.Fprintf(w, "slipway_probe_up{probe=%q} %g\n", label(p.Name), oneIf(p.OK))
	}
	metrics.WriteProcessMetrics(w)
}

// bounded makes text fit for a label and keeps the number of different ones per label finite.
func (m *Metrics) bounded(name, value string) string {
	value = label(value)
	m.mu.Lock()
	defer m.mu.Unlock()
	key := name + "=" + value
	if !m.series[key] {
		if len(m.series) >= seriesLimit {
			return "other"
		}
		m.series[key] = true
	}
	return value
}

// label keeps letters, digits and ._:- so that no quoting is needed anywhere.
func label(s string) string {
	const most = 64
	out := make([]byte, 0, min(len(s), most))
	for i := 0; i < len(s) && len(out) < most; i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == ':' || c == '-' {
			out = append(out, c)
		} else {
			out = append(out, '_')
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return string(out)
}

func oneIf(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

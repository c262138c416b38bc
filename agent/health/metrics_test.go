package health

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestMetrics(t *testing.T) {
	r := healthy(t)
	m := r.Metrics()
	m.Poll(nil)
	m.Poll(errors.New("throttled"))
	m.Command("AfterInstall", "Failed", 700*time.Millisecond)
	m.Command("AfterInstall", "Succeeded", 2*time.Second)
	m.Hook("AfterInstall", 3, 2*time.Second)
	m.Hook("AfterInstall", -1, time.Second)
	m.BundleBytes(1 << 20)
	m.BundleBytes(-5)
	m.Tickets(2, time.Now().Add(-time.Hour))
	m.Service(true, time.Unix(1700000000, 0))
	got := get(r, "/metrics")
	for _, line := range []string{
		"slipway_polls_total 2",
		"slipway_poll_errors_total 1",
		`slipway_commands_total{event="AfterInstall",outcome="Failed"} 1`,
		`slipway_command_duration_seconds_bucket{event="AfterInstall",le="1"} 1`,
		`slipway_command_duration_seconds_count{event="AfterInstall"} 2`,
		`slipway_hook_exits_total{event="AfterInstall",exit="3"} 1`,
		`slipway_hook_exits_total{event="AfterInstall",exit="-1"} 1`,
		"slipway_bundle_bytes_total 1048576",
		"slipway_tickets_open 2",
		"slipway_ticket_oldest_seconds 3600.",
		`slipway_hook_duration_seconds_sum{event="AfterInstall"} 3`,
		"slipway_command_service_up 1",
		"slipway_last_poll_timestamp_seconds 1700000000",
		"slipway_drains_active 0",
		"slipway_probes_total 1",
		`slipway_application_state{state="healthy"} 1`,
		`slipway_application_state{state="draining"} 0`,
		`slipway_build_info{version="none",goversion="go`,
		"process_resident_memory_bytes ",
	} {
		if !strings.Contains(got.Body.String(), line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}
	if ct := got.Header().Get("Content-Type"); ct != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("Content-Type %q", ct)
	}
}

// Event names come from appspec files: they must neither break the format nor grow the page without end.
func TestMetricsHoldForeignNames(t *testing.T) {
	r := newRegistry(t)
	for _, name := range []string{"a\"b", "a\nb", `a\`, "", strings.Repeat("x", 1000), "日本"} {
		r.Metrics().Command(name, name, time.Second)
		r.Metrics().Hook(name, 0, 0)
	}
	for i := range 1000 {
		r.Metrics().Hook(fmt.Sprint("event", i), 1, 0)
	}
	page := get(r, "/metrics").Body.String()
	if !strings.Contains(page, `slipway_hook_exits_total{event="other",exit="1"} 9`) {
		t.Error("names beyond the limit are not counted together")
	}
	if n := strings.Count(page, "slipway_hook_exits_total{"); n > seriesLimit+1 {
		t.Errorf("%d series of hook exits", n)
	}
	if strings.ContainsAny(page, `\`) {
		t.Error("a label needs quoting")
	}
}

func TestNilMetricsCountNothing(*testing.T) {
	var m *Metrics
	m.Poll(nil)
	m.Command("Install", "Succeeded", 0)
	m.Hook("Install", 0, 0)
	m.BundleBytes(1)
	m.Tickets(1, time.Time{})
	m.Service(true, time.Time{})
}

package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"slipway/agent/identity"
)

// balancerHears reports what the balancer's path says at the moment.
func (h *host) balancerHears(want string) func() bool {
	return func() bool { return strings.HasPrefix(fetch(h.t, h.listener()+"/health"), want) }
}

// withApplication makes the host probe an application that is well.
func (h *host) withApplication(url string, more ...string) {
	h.extra = append([]string{"SLIPWAY_HEALTH_PROBE_URL=" + url, "SLIPWAY_HEALTH_PROBE_INTERVAL=100ms", "SLIPWAY_HEALTH_DRAIN_FILE=" + filepath.Join(h.dir, "drain")}, more...)
}

func (h *host) answering() {
	h.t.Helper()
	h.eventually("the health listener answers", func() bool { return strings.Contains(h.read("root/"+statusFile), `"listen"`) })
}

// slipway drain and undrain work on a daemon that runs, and what was drained stays so when the daemon is started again.
func TestDrainOfARunningAgent(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.withApplication(newApplication(t).URL)
	h.start()
	h.answering()
	h.eventually("the application is well", h.balancerHears("ok"))
	out, err := h.program("drain", "--reason", "kernel update", "--config", h.config).CombinedOutput()
	if want := "drained: kernel update, until slipway undrain\n/health says: draining\n"; err != nil || string(out) != want {
		t.Errorf("slipway drain: %v\n%s, want\n%s", err, out, want)
	}
	if !h.balancerHears("draining: kernel update")() {
		t.Error("drain returned before the path was red")
	}
	h.stop()
	h.start()
	h.eventually("the next agent drains too", func() bool {
		return h.output.String() != "" && h.reached() && h.balancerHears("draining: kernel update")()
	})
	out, err = h.program("undrain", "--config", h.config).CombinedOutput()
	if want := "undrained: the marker is removed\n/health says: healthy\n"; err != nil || string(out) != want {
		t.Errorf("slipway undrain: %v\n%s, want\n%s", err, out, want)
	}
	out, err = h.program("drain", "--for", "700ms", "--config", h.config).CombinedOutput()
	if err != nil {
		t.Errorf("slipway drain --for: %v\n%s", err, out)
	}
	h.eventually("the drain ends by itself", h.balancerHears("ok"))

	// A marker that the agent does not look for is no success.
	h.extra = append(h.extra, "SLIPWAY_HEALTH_DRAIN_FILE="+filepath.Join(h.dir, "elsewhere"))
	out, err = h.program("drain", "--config", h.config).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the agent does not heed the marker "+h.dir+"/elsewhere: /health says healthy") {
		t.Errorf("slipway drain with another marker: %v\n%s", err, out)
	}
}

// reached reports whether the listener that the status names answers.
func (h *host) reached() bool {
	resp, err := http.Get(h.listener() + "/livez")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return true
}

// With health.drain_on_block an instance is red from BeforeBlockTraffic on, also where the event has nothing to do, and green again before
// BeforeAllowTraffic is reported; a deployment that fails gives it back at once. Without it, nothing of the kind.
func TestDrainsOfDeployments(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{true, false} {
		h := newHost(t)
		h.withApplication(newApplication(t).URL)
		if on {
			h.extra = append(h.extra, "SLIPWAY_HEALTH_DRAIN_ON_BLOCK=true")
		}
		ask := "#!/bin/sh\ncurl -s \"$(sed -n 's/.*\"listen\": \"\\(.*\\)\".*/\\1/p' $OUT/root/.slipway/status.json)/health\" > $OUT/$LIFECYCLE_EVENT.says\n"
		h.put("k", zipped(map[string]string{
			"appspec.yml": h.appspec("AfterInstall=ask.sh", "BeforeAllowTraffic=ask.sh", "AfterAllowTraffic=ask.sh"), "content/f": "", "ask.sh": ask,
		}))
		h.put("bad", zipped(map[string]string{"appspec.yml": h.appspec("AfterInstall=bad.sh"), "content/f": "", "bad.sh": "#!/bin/sh\nexit 1\n"}))
		h.start()
		h.answering()
		h.eventually("the application is well", h.balancerHears("ok"))
		red, text := "ok\n", "ok"
		if on {
			red, text = "draining: deployment d-1 takes the instance out of traffic\n", "draining: deployment d-2"
		}
		for _, event := range []string{"BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop", "DownloadBundle", "Install", "AfterInstall"} {
			h.do(event, h.spec("d-1", "k", "zip"))
		}
		if got := h.read("AfterInstall.says"); got != red {
			t.Errorf("option %v, during the deployment: %q, want %q", on, got, red)
		}
		h.do("BeforeAllowTraffic", h.spec("d-1", "k", "zip"))
		if got := fetch(t, h.listener()+"/health"); got != "ok\n" {
			t.Errorf("option %v, BeforeAllowTraffic was reported: %q, want ok", on, got)
		}
		for _, event := range []string{"BeforeBlockTraffic", "DownloadBundle", "Install"} {
			h.do(event, h.spec("d-2", "bad", "zip"))
		}
		if !h.balancerHears(text)() {
			t.Errorf("option %v, the second deployment: %q, want %q", on, fetch(t, h.listener()+"/health"), text)
		}
		if c := h.do("AfterInstall", h.spec("d-2", "bad", "zip")); c.Diagnostics.ErrorCode != 4 {
			t.Fatalf("the bad deployment: %+v", c)
		}
		if got := fetch(t, h.listener()+"/health"); got != "ok\n" {
			t.Errorf("option %v, after the failure: %q, want ok", on, got)
		}
		h.stop()
	}
}

func TestDrainOnInstall(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.withApplication(newApplication(t).URL, "SLIPWAY_HEALTH_DRAIN_ON_INSTALL=true")
	h.put("k", zipped(map[string]string{"appspec.yml": h.appspec(), "content/f": ""}))
	h.start()
	h.answering()
	h.eventually("the application is well", h.balancerHears("ok"))
	for _, event := range []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart"} {
		h.do(event, h.spec("d-1", "k", "zip"))
		if !h.balancerHears("draining: deployment d-1 replaces the application")() {
			t.Errorf("after %s: %q", event, fetch(t, h.listener()+"/health"))
		}
	}
	h.kill()
	h.start()
	h.eventually("the next agent answers", h.reached)
	if got := fetch(t, h.listener()+"/health"); got != "draining: deployment d-1 replaces the application\n" {
		t.Errorf("the first answer of the next agent: %q", got)
	}
	h.do("ValidateService", h.spec("d-1", "k", "zip"))
	if !h.balancerHears("ok")() {
		t.Errorf("ValidateService was reported: %q", fetch(t, h.listener()+"/health"))
	}
}

func TestLeaving(t *testing.T) {
	down := errors.New("connection refused")
	tests := []struct {
		name              string
		state, kind, spot any // text, or an error
		want              string
		err               error
	}{
		{"neither a group nor spot", identity.ErrNoMetadata, "on-demand", identity.ErrNoMetadata, "", errStays},
		{"a metadata service that tells no kind", identity.ErrNoMetadata, identity.ErrNoMetadata, identity.ErrNoMetadata, "", errStays},
		{"in service", "InService", "on-demand", nil, "", nil},
		{"terminating", "Terminated", nil, nil, "the Auto Scaling group terminates the instance", nil},
		{"warmed", "Warmed:Stopped", "on-demand", nil, "", nil},
		{"spot, left alone", identity.ErrNoMetadata, "spot", identity.ErrNoMetadata, "", nil},
		{"spot", identity.ErrNoMetadata, "spot", `{"action": "terminate", "time": "2030-01-02T03:04:05Z"}`, "spot instance: terminate at 2030-01-02T03:04:05Z", nil},
		{"spot in a group, without a time", "InService", "spot", `{"action": "hibernate"}`, "spot instance: hibernate at a time that was not told", nil},
		{"spot notice that is none", "InService", "spot", "<html>", "", errAny},
		{"out of reach", down, "", "", "", down},
		{"kind out of reach", "InService", down, nil, "", down},
		{"spot out of reach", "InService", "spot", down, "", down},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := leaving(t.Context(), func(_ context.Context, path string) (string, error) {
				v := map[string]any{"autoscaling/target-lifecycle-state": tt.state, "instance-life-cycle": tt.kind, "spot/instance-action": tt.spot}[path]
				if v == nil {
					t.Errorf("%s is asked for", path)
					return "", identity.ErrNoMetadata
				}
				if err, ok := v.(error); ok {
					return "", err
				}
				return v.(string), nil
			})
			if got != tt.want || (err != nil) != (tt.err != nil) || tt.err != nil && !errors.Is(tt.err, errAny) && !errors.Is(err, tt.err) {
				t.Errorf("leaving() = %q, %v, want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

var errAny = errors.New("any error")

// An instance that its Auto Scaling group terminates leaves the pool by itself; metadata that is out of reach brings it neither out nor back.
func TestDrainOnTermination(t *testing.T) {
	t.Parallel()
	h := newLabHost(t, t.TempDir())
	i := h.lab.Hosts()[0]
	i.LifecycleState = "InService"
	_, err := h.lab.DeclareHost(i)
	h.must(err)
	h.withApplication(newApplication(t).URL)
	h.start()
	status := filepath.Join("lab", h.lab.Hosts()[0].Name, "deployment-root", statusFile)
	h.eventually("the agent is online", func() bool { return strings.Contains(h.read(status), `"link": "online"`) })
	listener := h.listenerOf(status)
	h.eventually("the application is well", func() bool { return strings.HasPrefix(fetch(t, listener+"/health"), "ok") })
	i.LifecycleState = "Terminated"
	_, err = h.lab.DeclareHost(i)
	h.must(err)
	h.eventually("the drain", func() bool {
		return fetch(t, listener+"/health") == "draining: the Auto Scaling group terminates the instance\n"
	})
	i.LifecycleState = "InService"
	_, err = h.lab.DeclareHost(i)
	h.must(err)
	h.eventually("the end of it", func() bool { return fetch(t, listener+"/health") == "ok\n" })
}

// A probe of several kinds, a command among them, decides together; each is named.
func TestProbesOfSeveralKinds(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	var sick atomic.Bool
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(app.Close)
	db := httptest.NewServer(http.NotFoundHandler())
	check := filepath.Join(h.dir, "check.sh")
	h.file("check.sh", "test ! -e "+h.dir+"/broken || { echo queue is full; exit 3; }\n")
	h.file("alive", "")
	h.withApplication(app.URL, "SLIPWAY_HEALTH_FALL=1", "SLIPWAY_HEALTH_RISE=1", "SLIPWAY_HEALTH_PROBE_TCP="+db.Listener.Addr().String(),
		"SLIPWAY_HEALTH_PROBE_FILE="+h.dir+"/alive", "SLIPWAY_HEALTH_PROBE_FILE_MAX_AGE=1h", "SLIPWAY_HEALTH_PROBE_COMMAND=/bin/sh, "+check,
		"SLIPWAY_HEALTH_STATUS_FILE="+h.dir+"/ok")
	h.start()
	h.answering()
	h.eventually("all are well", func() bool { return h.balancerHears("ok")() && h.read("ok") == "ok\n" })
	sick.Store(true)
	h.eventually("the application is sick", h.balancerHears("unhealthy: http: GET "+app.URL+": answered 500, expected 200"))
	h.eventually("the status file is gone", func() bool { return h.read("ok") == "" })
	sick.Store(false)
	h.file("broken", "")
	h.eventually("the command says so", h.balancerHears("unhealthy: command: /bin/sh: exit status 3: queue is full"))
	db.Close()
	h.eventually("two at once", h.balancerHears("unhealthy: tcp "+db.Listener.Addr().String()+": connect to "+db.Listener.Addr().String()+": connect: connection refused; command: "))
	if got := fetch(t, h.listener()+"/health?format=json"); !strings.Contains(got, `{"name":"file","ok":true}`) {
		t.Errorf("?format=json: %s", got)
	}
}

// health.gate: a deployment whose application is not fit fails at ValidateService, after its scripts, with what the probe found. An
// appspec without such scripts makes no difference.
func TestGate(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	var sick atomic.Bool
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			http.Error(w, "no such table: posts", http.StatusInternalServerError)
		}
	}))
	t.Cleanup(app.Close)
	h.withApplication(app.URL, "SLIPWAY_HEALTH_GATE=true", "SLIPWAY_HEALTH_GATE_TIMEOUT=1s")
	h.put("k", zipped(map[string]string{"appspec.yml": h.appspec("ValidateService=s.sh"), "content/f": "", "s.sh": "#!/bin/sh\necho validated >> $OUT/ran\n"}))
	h.put("plain", zipped(map[string]string{"appspec.yml": h.appspec(), "content/f": ""}))
	h.start()
	for i, key := range []string{"k", "plain"} {
		id := "d-" + key
		h.do("DownloadBundle", h.spec(id, key, "zip"))
		h.do("Install", h.spec(id, key, "zip"))
		c := h.do("ValidateService", h.spec(id, key, "zip"))
		if c.Status != "Succeeded" || !strings.Contains(c.Diagnostics.Log, "the application is fit for traffic") {
			t.Errorf("%s, the application is well: %+v", key, c)
		}
		sick.Store(true)
		c = h.do("ValidateService", h.spec(id, key, "zip"))
		if want := app.URL + ": answered 500, expected 200: no such table: posts (health.gate)"; c.Diagnostics.ErrorCode != 5 ||
			!strings.HasPrefix(c.Diagnostics.Message, "the scripts of ValidateService succeeded, but the application is not fit for traffic after 1") ||
			!strings.HasSuffix(c.Diagnostics.Message, want) {
			t.Errorf("%s, the application is sick: %+v, want %q", key, c, want)
		}
		sick.Store(false)
		if got := strings.Count(h.read("ran"), "validated"); got != 2 {
			t.Errorf("revision %d: the script ran %d times, want 2", i+1, got)
		}
	}

	// A stop while the gate waits reports nothing; the next agent asks again, and the script does not run again.
	sick.Store(true)
	h.extra = append(h.extra, "SLIPWAY_HEALTH_GATE_TIMEOUT=1h")
	h.stop()
	h.start()
	h.do("DownloadBundle", h.spec("d-3", "k", "zip"))
	id := h.send("ValidateService", h.spec("d-3", "k", "zip"))
	h.eventually("the script ran", func() bool { return strings.Count(h.read("ran"), "validated") == 3 })
	h.stop()
	sick.Store(false)
	h.start()
	if c := h.await(id); c.Status != "Succeeded" || c.Count != 1 {
		t.Errorf("after the restart: %+v", c)
	}
	if got := strings.Count(h.read("ran"), "validated"); got != 3 {
		t.Errorf("the script ran %d times in all, want 3", got)
	}
}

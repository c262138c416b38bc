package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"slipway/agent/lab"
)

var tokenPattern = regexp.MustCompile(`name="token" value="([^"]+)"`)

// The whole of M8, M10 and M11 on real parts: no request is lost while both hosts are deployed to in turn; a form that one host has made is
// taken by the other; the database, a drain and the agent itself come and go, and the balancer sees what it should.
func TestFleetBehindABalancer(t *testing.T) {
	f := newFleet(t)
	f.bringFleet("v1")
	for _, w := range f.web {
		f.eventually(w.name+" is in the pool", func() bool { return f.status(w) == "UP" && f.server("agents", w.name, "status") == "UP" })
	}

	// Deploying in place under load.
	visitors := f.visitors(4)
	began := time.Now()
	f.bringFleet("v2")
	took := time.Since(began)
	served, lost := visitors.end()
	t.Logf("v1 → v2 on two hosts in %s: served %v, lost %d", took.Round(time.Millisecond), served, len(lost))
	if len(lost) > 0 {
		t.Errorf("%d requests were lost, the first: %s", len(lost), lost[0])
	}
	if served["v1"] == 0 || served["v2"] == 0 || served["v1"]+served["v2"] < 100 {
		t.Errorf("served %v: the load did not see both revisions", served)
	}

	t.Run("forms across hosts", f.forms)
	t.Run("the balancer's own check", func(t *testing.T) {
		for _, w := range f.web {
			out, err := w.program("alb-check", "http://"+w.site+"/balancer", "--pace", "10ms").CombinedOutput()
			if err != nil || strings.Contains(string(out), "cause") || strings.Contains(string(out), "risk ") {
				t.Errorf("alb-check: %v\n%s", err, out)
			}
		}
	})
	t.Run("drain", f.drains)
	t.Run("database", f.database)
	t.Run("service out of reach, agent away", f.away)
}

// forms loads the form from one host and posts it to the other, both ways and through the balancer, which keeps nobody on a host.
func (f *fleet) forms(t *testing.T) {
	post := func(from, to, name string) {
		t.Helper()
		jar, _ := cookiejar.New(nil)
		client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := client.Get("http://" + from + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		m := tokenPattern.FindSubmatch(body)
		if m == nil {
			t.Fatalf("no form at %s: %.500s", from, body)
		}
		resp, err = client.PostForm("http://"+to+"/posts", url.Values{"token": {string(m[1])}, "name": {name}, "body": {"from " + from + " to " + to}})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusSeeOther {
			t.Errorf("a form of %s posted to %s: %d, want 303", from, to, resp.StatusCode)
		}
		// The other host knows it at once, and knows the visitor's name again.
		resp, err = client.Get("http://" + from + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ = io.ReadAll(resp.Body)
		resp.Body.Close()
		if !bytes.Contains(body, []byte("from "+from+" to "+to)) || !bytes.Contains(body, []byte(`value="`+name+`"`)) {
			t.Errorf("%s does not show the post that %s took, or has forgotten %s", from, to, name)
		}
	}
	post(f.web[0].site, f.web[1].site, "ann")
	post(f.web[1].site, f.web[0].site, "bob")
	for i := range 6 {
		post(f.front, f.front, fmt.Sprint("visitor", i))
	}
}

// drains takes a host out while a request is in hand: the request ends well, nothing new comes, and nothing is lost.
func (f *fleet) drains(t *testing.T) {
	w := f.web[0]
	visitors := f.visitors(2)
	type answer struct {
		status int
		body   string
	}
	slow := make(chan answer, 2)
	var began atomic.Int32
	for range 2 { // round robin: one on each host
		go func() {
			began.Add(1)
			resp, err := http.Get("http://" + f.front + "/slow.php?ms=3000")
			if err != nil {
				slow <- answer{0, err.Error()}
				return
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			slow <- answer{resp.StatusCode, string(body)}
		}()
	}
	f.eventually("requests are in hand on the host", func() bool { return began.Load() == 2 && f.server("site", w.name, "scur") != "0" })
	out, err := w.program("drain", "--reason", "kernel update", "--config", w.config).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "/health says: draining\n") {
		t.Fatalf("slipway drain: %v\n%s", err, out)
	}
	f.within(fleetFall*fleetProbe+2*time.Second, "the drained host leaves the pool", func() bool { return strings.HasPrefix(f.status(w), "DOWN") })
	before := f.server("site", w.name, "stot")
	for range 2 {
		if a := <-slow; a.status != http.StatusOK || a.body != "slow" {
			t.Errorf("a request in hand: %d %q, want 200", a.status, a.body)
		}
	}
	if after := f.server("site", w.name, "stot"); after != before {
		t.Errorf("the drained host was sent %s requests, before it was %s", after, before)
	}
	out, err = w.program("undrain", "--config", w.config).CombinedOutput()
	if err != nil {
		t.Fatalf("slipway undrain: %v\n%s", err, out)
	}
	f.within(fleetRise*fleetProbe+2*time.Second, "the host is back", func() bool { return f.status(w) == "UP" })
	if served, lost := visitors.end(); len(lost) > 0 || served["v2"] == 0 {
		t.Errorf("during the drain %v were served and these lost: %q", served, lost)
	}
}

// database stops the database under both hosts and starts it again.
func (f *fleet) database(t *testing.T) {
	f.db.stop()
	for _, w := range f.web {
		f.within(fleetFall*fleetProbe+2*time.Second, "no database, the agent of "+w.name+" is red", func() bool { return statusOf("http://"+w.health+"/health") == 503 })
	}
	if got := fetch(t, "http://"+f.web[0].health+"/health"); !strings.Contains(got, "answered 503, expected 200: unhealthy: the database does not answer") {
		t.Errorf("/health says %q", got)
	}
	for _, w := range f.web {
		f.within(fleetFall*fleetProbe+2*time.Second, w.name+" is out of the pool", func() bool { return strings.HasPrefix(f.status(w), "DOWN") })
	}
	f.db.start()
	for _, w := range f.web {
		f.within(fleetRise*fleetProbe+2*time.Second, "with the database, the agent of "+w.name+" is green", func() bool { return statusOf("http://"+w.health+"/health") == 200 })
		f.within(fleetRise*fleetProbe+2*time.Second, w.name+" is in the pool", func() bool { return f.status(w) == "UP" })
	}
}

// away takes the service away from the agents, and then an agent away: what the web server answers itself stays green.
func (f *fleet) away(t *testing.T) {
	w := f.web[0]
	_, err := f.lab.AddFault(lab.Fault{Service: "control", Reset: true})
	f.must(err)
	_, err = f.lab.AddFault(lab.Fault{Service: "imds", Reset: true})
	f.must(err)
	f.eventually("the agent cannot take commands", func() bool { return statusOf("http://"+w.health+"/readyz") == 503 })
	watch := time.Now().Add(4 * fleetFall * fleetProbe)
	for time.Now().Before(watch) {
		if got := statusOf("http://" + w.health + "/health"); got != 200 {
			t.Fatalf("the service is out of reach and /health answers %d", got)
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.kill()
	for range 20 {
		if got := statusOf("http://" + w.site + "/balancer"); got != 200 {
			t.Fatalf("the agent is away: the status file's path answers %d, want 200", got)
		}
		time.Sleep(fleetFall * fleetProbe / 10)
	}
	if got := f.status(w); got != "UP" {
		t.Errorf("the agent is away: haproxy has the host as %s, want UP", got)
	}
	// What needs the agent to answer goes with it: that is what the status file is for.
	f.eventually("the agent's own listener is down for haproxy", func() bool { return strings.HasPrefix(f.server("agents", w.name, "status"), "DOWN") })
	if got := statusOf("http://" + w.site + "/proxied"); got != 503 {
		t.Errorf("the agent is away: the proxied path answers %d, want 503", got)
	}
	if got := statusOf("http://" + f.web[1].site + "/proxied"); got != 200 {
		t.Errorf("the agent is there: the proxied path answers %d, want 200", got)
	}
}

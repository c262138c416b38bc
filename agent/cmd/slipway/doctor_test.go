package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/agent"
	"slipway/agent/config"
	"slipway/agent/control/controltest"
	"slipway/agent/doctor"
	"slipway/agent/lab"
)

// examined is what slipway doctor finds on a host, by the name of the line.
func (h *host) examined(args ...string) map[string]jsonFinding {
	h.t.Helper()
	out, err := h.program(append([]string{"doctor", "--json", "--config", h.config}, args...)...).Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != exitFailure) {
		h.t.Fatalf("slipway doctor: %v", err)
	}
	var report struct {
		Worst    doctor.Status
		Findings []jsonFinding
	}
	if err := json.Unmarshal(out, &report); err != nil {
		h.t.Fatalf("slipway doctor: %v in %q", err, out)
	}
	if (report.Worst == doctor.Fail) != (err != nil) {
		h.t.Errorf("the worst is %s, and it ended with %v", report.Worst, err)
	}
	found := map[string]jsonFinding{}
	for _, f := range report.Findings {
		found[f.Name] = f
		if problem := f.Status == doctor.Fail || f.Status == doctor.Warn; problem != (f.Remedy != "") {
			h.t.Errorf("%+v: a problem needs a remedy, and nothing else has one", f)
		}
	}
	return found
}

// troubles are the names of the lines that say fail.
func troubles(found map[string]jsonFinding) []string {
	var names []string
	for name, f := range found {
		if f.Status == doctor.Fail {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Every fault of a host is named on a line of its own, and on no other but those that follow from it.
func TestDoctor(t *testing.T) {
	h := newHost(t)
	h.put("app.zip", zipped(map[string]string{"appspec.yml": h.appspec("AfterInstall=p.sh"), "p.sh": "#!/bin/sh\ntest ! -e $OUT/break\n", "content/f": "1"}))
	h.start()
	spec := h.spec("d-1", "app.zip", "zip")
	for _, event := range []string{"DownloadBundle", "Install", "AfterInstall"} {
		if c := h.do(event, spec); c.Status != "Succeeded" {
			t.Fatalf("%s = %+v", event, c)
		}
	}
	healthy := h.examined()
	if got := troubles(healthy); len(got) > 0 {
		t.Fatalf("on a host that is well: %q, %+v", got, healthy)
	}
	restore := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	onPremises := h.read("onprem.yml")

	tests := []struct {
		name   string
		spoil  func(t *testing.T) (mend func())
		line   string
		status doctor.Status
		text   string
		remedy string
		also   []string // lines that fail with it
	}{
		{"refused by the service", func(*testing.T) func() {
			return h.service.Inject(controltest.Fault{Operation: "GetDeploymentSpecification", Code: "AccessDeniedException"})
		}, "permission to ask", doctor.Fail, "refuses this host", "instance-profile", nil},
		{"clock 10 minutes off", func(*testing.T) func() {
			return h.service.Inject(controltest.Fault{SkewClock: 10 * time.Minute})
		}, "clock", doctor.Fail, "the clock is off by -", "chronyd", nil},
		{"not registered", func(*testing.T) func() {
			os.Remove(filepath.Join(h.dir, "onprem.yml"))
			return func() { restore(filepath.Join(h.dir, "onprem.yml"), onPremises) }
		}, "host identity", doctor.Fail, "nothing says who this host is", "register", nil},
		{"registration with a mistake", func(*testing.T) func() {
			restore(filepath.Join(h.dir, "onprem.yml"), "region: us-east-1\niam_user_arn: "+hostID+"\n")
			return func() { restore(filepath.Join(h.dir, "onprem.yml"), onPremises) }
		}, "host identity", doctor.Fail, "onprem.yml", "correct", nil},
		{"bundle gone", func(*testing.T) func() {
			h.setGate(func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(http.StatusNotFound); return true })
			return func() { h.setGate(nil) }
		}, "last bundle", doctor.Fail, "app.zip", "restore the object", nil},
		{"bundle not to be read", func(*testing.T) func() {
			h.setGate(func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true })
			return func() { h.setGate(nil) }
		}, "last bundle", doctor.Fail, "app.zip", "s3:GetObject", nil},
		{"last deployment failed", func(t *testing.T) func() {
			restore(filepath.Join(h.dir, "break"), "")
			if c := h.do("AfterInstall", spec); c.Status != "Failed" {
				t.Fatalf("AfterInstall = %+v", c)
			}
			os.Remove(filepath.Join(h.dir, "break"))
			return func() { h.do("AfterInstall", spec) }
		}, "last deployment", doctor.Warn, "failed at AfterInstall (code 4)", "slipway show d-1", nil},
		{"agent does not run", func(*testing.T) func() {
			h.stop()
			return func() {
				h.start()
				h.eventually("the agent is well again", func() bool { return len(troubles(h.examined())) == 0 })
			}
		}, "agent", doctor.Fail, "not running", "slipway", nil},
		{"proxy down", func(*testing.T) func() {
			h.extra = []string{"SLIPWAY_PROXY_URI=http://user:hidden@127.0.0.1:1"}
			return func() { h.extra = nil }
		}, "command service", doctor.Fail, "proxy http://user:xxxxx@127.0.0.1:1", "proxy_uri", []string{"last bundle"}},
		{"endpoint that does not exist", func(*testing.T) func() {
			h.extra = []string{"SLIPWAY_DEPLOY_CONTROL_ENDPOINT=http://127.0.0.1:1"}
			return func() { h.extra = nil }
		}, "command service", doctor.Fail, "127.0.0.1:1", "security group", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mend := tt.spoil(t)
			found := h.examined()
			mend()
			f := found[tt.line]
			t.Logf("%s %s: %s → %s", f.Status, f.Name, f.Text, f.Remedy)
			if f.Status != tt.status || !strings.Contains(f.Text, tt.text) || !strings.Contains(f.Remedy, tt.remedy) {
				t.Errorf("%s: %+v, want %s, %q, %q", tt.line, f, tt.status, tt.text, tt.remedy)
			}
			for _, name := range troubles(found) {
				if name != tt.line && !slices.Contains(tt.also, name) {
					t.Errorf("%s fails too: %+v", name, found[name])
				}
			}
			if strings.Contains(f.Text, "hidden") {
				t.Error("the password of the proxy is told")
			}
		})
	}
	if got := h.examined(); len(troubles(got)) > 0 {
		t.Errorf("in the end: %+v", got)
	}
}

// The metadata service and what it may lack.
func TestDoctorOnEC2(t *testing.T) {
	h := newLabHost(t, t.TempDir())
	h.start()
	h.eventually("the agent polls", func() bool { return len(troubles(h.examined())) == 0 })
	// With a hop limit of 1 a container's connection is taken, and the answer with the token never comes.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	tests := []struct {
		name, path, line, text, remedy string
		extra                          []string
	}{
		{name: "no instance profile", path: "iam/security-credentials", line: "credentials", text: "no credentials of an instance profile", remedy: "attach an instance profile"},
		{name: "no metadata service", line: "host identity", text: "connection refused", remedy: "HttpEndpoint enabled", extra: []string{"SLIPWAY_IMDS_ENDPOINT=http://127.0.0.1:1"}},
		{name: "hop limit 1", line: "host identity", text: "not known in time", remedy: "hop limit", extra: []string{"SLIPWAY_IMDS_ENDPOINT=http://" + silent.Addr().String()}},
		{name: "wrong region", line: "region", text: "AWS_REGION says eu-west-3", remedy: "unset AWS_REGION", extra: []string{"AWS_REGION=eu-west-3"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.path != "" {
				_, err := h.lab.AddFault(lab.Fault{Service: "imds", Path: tt.path, Status: http.StatusNotFound, Times: 3})
				h.must(err)
			}
			h.extra = tt.extra
			found := h.examined()
			h.extra = nil
			f := found[tt.line]
			t.Logf("%s %s: %s → %s", f.Status, f.Name, f.Text, f.Remedy)
			if f.Status != doctor.Fail || !strings.Contains(f.Text, tt.text) || !strings.Contains(f.Remedy, tt.remedy) {
				t.Errorf("%s: %+v, want fail, %q, %q", tt.line, f, tt.text, tt.remedy)
			}
		})
	}
}

// What the agent has left of itself: it runs and has not polled for long, its link is down, hooks are held by nothing but their group.
func TestDoctorReadsTheAgentsWord(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, ".slipway"), 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(root, ".slipway", "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{RootDir: root}
	for _, tt := range []struct {
		name         string
		word         report
		look         func() doctor.Result
		status       doctor.Status
		text, remedy string
	}{
		{"polls", report{Status: agent.Status{Link: agent.Online, LastPoll: time.Now()}}, func() doctor.Result { return polled(cfg, true) }, doctor.OK, "running", ""},
		{"stale poll", report{Status: agent.Status{Link: agent.Online, LastPoll: time.Now().Add(-time.Hour)}}, func() doctor.Result { return polled(cfg, true) }, doctor.Fail, "1h0m0s old", "systemctl restart slipway"},
		{"stale poll without systemd", report{PID: 77, Status: agent.Status{Link: agent.Online, LastPoll: time.Now().Add(-time.Hour)}}, func() doctor.Result { return polled(cfg, false) }, doctor.Fail, "1h0m0s old", "kill -TERM 77"},
		{"denied", report{Status: agent.Status{Link: agent.Denied, LinkText: "no rights"}}, func() doctor.Result { return polled(cfg, true) }, doctor.Fail, "no rights", "credentials"},
		{"cgroup missing", report{Hooks: &containment{Mode: containNone, Reason: "no cgroup file system is mounted"}}, func() doctor.Result { return contained(root) }, doctor.Warn, "no cgroup file system is mounted", "mount cgroup v2"},
	} {
		if err := tt.word.save(root); err != nil {
			t.Fatal(err)
		}
		got := tt.look()
		if got.Status != tt.status || !strings.Contains(got.Text, tt.text) || !strings.Contains(got.Remedy, tt.remedy) {
			t.Errorf("%s: %+v, want %s, %q, %q", tt.name, got, tt.status, tt.text, tt.remedy)
		}
	}
}

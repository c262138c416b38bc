package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"slipway/agent/control"
	"slipway/agent/lab"
)

// exec runs one command line.
func exec(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(append([]string{"slipway-lab"}, args...), &out, &errs)
	return status, out.String(), errs.String()
}

// start runs a lab whose only host succeeds in every event but those in codes. Without codes nobody answers.
func start(t *testing.T, codes map[string]int) *lab.Lab {
	t.Helper()
	l, err := lab.Start(lab.Options{PollWait: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-ended
		l.Close(context.Background())
	})
	t.Setenv("SLIPWAY_LAB_ENDPOINT", l.Endpoints().Admin)
	if codes == nil {
		close(ended)
		return l
	}
	info := l.Info()
	c, err := control.New(control.Options{
		Endpoint: info.Endpoints.Control, Region: info.Region, HostID: l.Hosts()[0].ID, Version: "stub",
		Credentials: credentials.NewStaticCredentialsProvider(info.AccessKey, info.SecretKey, ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			cmd, err := c.Poll(ctx)
			if err != nil || cmd == nil {
				continue
			}
			status, d := control.Succeeded, control.Diagnostics{Message: "Succeeded: "}
			if code := codes[cmd.Name]; code != 0 {
				status, d = control.Failed, control.Diagnostics{ErrorCode: code, ScriptName: "scripts/a.sh", Message: "exit code 3", Log: "one\ntwo\n"}
			}
			if _, err := c.Acknowledge(ctx, cmd.ID, control.NoopDiagnostics(false)); err == nil {
				c.Complete(ctx, cmd.ID, status, d.Envelope()) //nolint:errcheck // the watcher would not see the end
			}
		}
	}()
	return l
}

// bundle is a folder that may be deployed.
func bundle(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"appspec.yml": "version: 0.0\nos: linux\n", "scripts/a.sh": "#!/bin/sh\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("scripts/a.sh", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

var changing = regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}|d-[A-Z0-9]{9}|i-[0-9a-f]{17}|  [0-9.]+(ms|µs|s)\n`)

// steady takes times and ids out of what was printed.
func steady(text string) string {
	return changing.ReplaceAllStringFunc(text, func(s string) string {
		switch {
		case strings.HasPrefix(s, "d-"):
			return "DEPLOYMENT"
		case strings.HasPrefix(s, "i-"):
			return "INSTANCE"
		case strings.HasSuffix(s, "\n"):
			return "  TOOK\n"
		}
		return "TIME"
	})
}

func TestDeployAndWatch(t *testing.T) {
	start(t, map[string]int{})
	status, out, errs := exec(t, "deploy", bundle(t), "--timeout", "30s")
	if status != 0 || errs != "" {
		t.Fatalf("status %d, %s", status, errs)
	}
	want := []string{"TIME  DEPLOYMENT  Created", "TIME  DEPLOYMENT  InProgress"}
	for _, e := range []string{"ApplicationStop   ", "DownloadBundle    ", "BeforeInstall     ", "Install           ", "AfterInstall      ", "ApplicationStart  ", "ValidateService   "} {
		want = append(want, "TIME  INSTANCE  "+e+" InProgress", "TIME  INSTANCE  "+e+" Succeeded  TOOK")
	}
	want = append(want, "TIME  DEPLOYMENT  Succeeded  TOOK", "")
	if diff := cmp.Diff(want, strings.Split(steady(out), "\n")); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestWatchFailure(t *testing.T) {
	start(t, map[string]int{"AfterInstall": 4})
	status, id, errs := exec(t, "deploy", bundle(t), "--detach")
	if status != 0 {
		t.Fatalf("status %d, %s", status, errs)
	}
	status, out, _ := exec(t, "watch", strings.TrimSpace(id), "--timeout", "30s")
	if status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	_, explanation, _ := strings.Cut(steady(out), "\n\n")
	want := `DEPLOYMENT Failed: HEALTH_CONSTRAINTS: The overall deployment failed because too many individual instances failed deployment, too few healthy instances are available for deployment, or some instances in your deployment group are experiencing problems.

AfterInstall failed on INSTANCE
  code     ScriptFailed
  script   scripts/a.sh
  message  exit code 3
  log tail
    | one
    | two
`
	if diff := cmp.Diff(want, explanation); diff != "" {
		t.Errorf("explanation (-want +got):\n%s", diff)
	}
}

func TestWatchStatuses(t *testing.T) {
	l := start(t, nil)
	_, id, _ := exec(t, "deploy", bundle(t), "--detach")
	for name, tc := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"out of time":       {[]string{"watch", strings.TrimSpace(id), "--timeout", "50ms"}, 124, "did not end within 50ms"},
		"gateway will do":   {[]string{"watch", strings.TrimSpace(id), "--timeout", "50ms", "--endpoint", l.Endpoints().Gateway}, 124, "did not end"},
		"no deployment":     {[]string{"watch", "d-NOTTHERE1"}, 2, "the lab has no deployment d-NOTTHERE1"},
		"no lab":            {[]string{"watch", "d-NOTTHERE1", "--endpoint", "http://127.0.0.1:1"}, 2, "no lab at http://127.0.0.1:1"},
		"no URL":            {[]string{"watch", "d-NOTTHERE1", "--endpoint", "lab"}, 2, "is not a URL"},
		"not a lab":         {[]string{"watch", "d-NOTTHERE1", "--endpoint", l.Endpoints().Metadata[0]}, 2, "does not answer as a lab does"},
		"unknown flag":      {[]string{"watch", "--tiemout", "1s"}, 2, "unknown flag"},
		"unknown command":   {[]string{"wach"}, 2, `unknown command "wach"`},
		"no such bundle":    {[]string{"deploy", "/nonexistent"}, 1, "no such file"},
		"what bundle?":      {[]string{"deploy", "/etc/passwd"}, 1, "not a folder"},
		"odd fault":         {[]string{"fault", "add", "sqs", "--reset"}, 2, "give control, codedeploy, s3 or imds"},
		"fault of nothing":  {[]string{"fault", "add", "s3"}, 2, "spoils nothing"},
		"fault that is not": {[]string{"fault", "clear", "f77"}, 1, "fault f77"},
		"tag":               {[]string{"host", "i-1", "--tag", "web"}, 2, "give KEY=VALUE"},
		"not loopback":      {[]string{"serve", "--listen", "0.0.0.0:0"}, 1, "is not loopback"},
	} {
		status, _, errs := exec(t, tc.args...)
		if status != tc.status || !strings.Contains(errs, tc.says) {
			t.Errorf("%s: status %d, %q; want %d, %q", name, status, errs, tc.status, tc.says)
		}
	}
}

func TestFaultAndHost(t *testing.T) {
	l := start(t, nil)
	status, id, errs := exec(t, "fault", "add", "s3", "GET", "--code", "SlowDown", "--times", "2", "--delay", "10ms")
	if status != 0 || id != "f1\n" {
		t.Fatalf("fault add: %d, %q, %s", status, id, errs)
	}
	if _, out, _ := exec(t, "fault", "list"); !strings.Contains(out, "f1") || !strings.Contains(out, "SlowDown") {
		t.Errorf("fault list: %q", out)
	}
	if _, out, _ := exec(t, "fault", "clear"); out != "1 taken out\n" {
		t.Errorf("fault clear: %q", out)
	}
	name := l.Hosts()[0].Name
	if status, out, errs := exec(t, "host", name, "--tag", "Name=web", "--state", "Terminated"); status != 0 || !strings.Contains(out, name) {
		t.Errorf("host: %d, %q, %s", status, out, errs)
	}
	if h := l.Hosts(); len(h) != 1 || h[0].Tags["Name"] != "web" || h[0].LifecycleState != "Terminated" {
		t.Errorf("hosts %+v", h)
	}
}

// serve writes what agents and clients need, and ends when it is told.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	in, out := io.Pipe()
	ended := make(chan int, 1)
	var errs bytes.Buffer
	go func() {
		ended <- run([]string{"slipway-lab", "serve", "--dir", dir, "--instances", "2", "--host", "arn:aws:iam::123456789012:user/kiosk,Name=kiosk", "--json", "--tls"}, out, &errs)
		out.Close()
	}()
	var told struct {
		lab.Info
		Files map[string]string `json:"files"`
	}
	line, err := bufio.NewReader(in).ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &told) != nil {
		t.Fatalf("serve said %q, %v, %s", line, err, errs.String())
	}
	var purposes []string
	for purpose, path := range told.Files {
		purposes = append(purposes, purpose)
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	slices.Sort(purposes)
	if diff := cmp.Diff([]string{"agent", "agent-2", "agent-onpremises", "ca", "env", "onpremises", "signer"}, purposes); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	config, err := os.ReadFile(told.Files["agent"])
	if err != nil || !strings.Contains(string(config), ":deploy_control_endpoint: "+told.Endpoints.Control+"\n") || !strings.Contains(string(config), "  endpoint: "+told.Endpoints.Metadata[0]+"\n") {
		t.Errorf("agent.yml:\n%s%v", config, err)
	}
	env, err := os.ReadFile(told.Files["env"])
	if err != nil || !strings.Contains(string(env), "export AWS_ENDPOINT_URL='"+told.Endpoints.Gateway+"'\n") || !strings.Contains(string(env), "export AWS_CA_BUNDLE=") {
		t.Errorf("env:\n%s%v", env, err)
	}
	if !strings.HasPrefix(told.Endpoints.Gateway, "https://") || !strings.HasPrefix(told.Endpoints.Metadata[0], "http://") {
		t.Errorf("endpoints %+v", told.Endpoints)
	}
	t.Setenv("AWS_CA_BUNDLE", told.Files["ca"])
	if status, _, errs := exec(t, "stop", "--endpoint", told.Endpoints.Admin); status != 0 {
		t.Fatalf("stop: %d, %s", status, errs)
	}
	select {
	case status := <-ended:
		if status != 0 {
			t.Errorf("serve ended with %d, %s", status, errs.String())
		}
	case <-time.After(10 * time.Second):
		t.Error("serve did not end")
	}
}

// A packed folder keeps modes and links.
func TestPack(t *testing.T) {
	data, err := pack(bundle(t))
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range z.File {
		got[f.Name] = f.Mode().String()
	}
	want := map[string]string{"appspec.yml": "-rwxr-xr-x", "scripts/": "drwxr-xr-x", "scripts/a.sh": "-rwxr-xr-x", "link": "Lrwxrwxrwx"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// The table shows what is; colours only where they are wanted; and it shrinks to fit.
func TestTable(t *testing.T) {
	l := start(t, map[string]int{})
	_, id, _ := exec(t, "deploy", bundle(t), "--detach")
	exec(t, "watch", strings.TrimSpace(id))
	w := &watcher{client: &client{base: l.Endpoints().Admin, http: http.DefaultClient}, id: strings.TrimSpace(id)}
	v, err := w.view(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	plain := w.rows(v)
	if n := strings.Count(plain, "\n"); n != 9 || strings.Contains(plain, "\x1b") || !strings.Contains(plain, "    ValidateService     Succeeded ") {
		t.Errorf("table of %d lines:\n%s", n, plain)
	}
	w.height = 9
	if n := strings.Count(w.rows(v), "\n"); n != 2 {
		t.Errorf("%d lines on a terminal of 9", n)
	}
	w.height, w.color = 10, true
	if !strings.Contains(w.rows(v), "\x1b[32mSucceeded") {
		t.Errorf("no colour:\n%q", w.rows(v))
	}
}

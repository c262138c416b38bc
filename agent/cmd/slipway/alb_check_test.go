package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/agent/health/alb/albtest"
)

const groupARN = "arn:aws:elasticloadbalancing:us-east-1:111122223333:targetgroup/web/0123456789abcdef"

// The settings come from the target group, with this host's credentials; what the balancer itself found is shown beside.
func TestAlbCheckOfATargetGroup(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() != "/deep?x=1" {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(app.Close)
	_, text, err := net.SplitHostPort(app.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	api := albtest.Start("us-east-1", "AKIDEXAMPLE", "secret", albtest.Group{
		ARN: groupARN, Name: "web", Type: "ip", Protocol: "HTTP", Version: "HTTP1", Path: "/deep?x=1", Port: "traffic-port", Matcher: "200,204", TrafficPort: 1,
		Interval: 10, Timeout: 4, Healthy: 2, Unhealthy: 3, Targets: []albtest.Target{
			{ID: "10.9.9.9", Port: 80, State: "unhealthy", Reason: "Target.Timeout", Description: "Request timed out"}, {ID: "127.0.0.1", Port: port, State: "healthy"},
		},
	})
	t.Cleanup(api.Close)
	check := func(env []string, args ...string) (string, int) {
		t.Helper()
		h.extra = append([]string{"AWS_EC2_METADATA_DISABLED=true"}, env...)
		cmd := h.program(append([]string{"alb-check", "--config", h.config, "--pace", "10ms"}, args...)...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			return string(out), exit.ExitCode()
		case err != nil:
			t.Fatal(err)
		}
		return string(out), 0
	}
	out, code := check(nil, "--target-group-arn", groupARN, "--endpoint", api.URL, "--target", "127.0.0.1")
	for _, part := range []string{
		"http://127.0.0.1:" + text + "/deep?x=1 (HTTP1, success codes 200,204, every 10s, timeout 4s, healthy 2, unhealthy 3)\n", "  healthy      after ",
		"the balancer's own view of web:\n", "  10.9.9.9:80  unhealthy  Target.Timeout  Request timed out\n", "* 127.0.0.1:" + text + "  healthy\n",
	} {
		if code != 0 || !strings.Contains(out, part) {
			t.Errorf("code %d, output lacks %q:\n%s", code, part, out)
		}
	}
	if diff := cmp.Diff([]string{"DescribeTargetGroups", "DescribeTargetHealth"}, api.Calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	// A flag beside wins; credentials of the environment are used before the host's.
	out, code = check([]string{"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_ENDPOINT_URL=" + api.URL}, "--target-group-arn", groupARN, "--target", "127.0.0.1", "--matcher", "200", "--json")
	var answer struct {
		Healthy bool   `json:"healthy"`
		Reason  string `json:"reason"`
		Self    string `json:"self"`
		Target  struct {
			Matcher string `json:"matcher"`
		} `json:"target"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || code != 1 || answer.Healthy || answer.Reason != "Target.ResponseCodeMismatch" || answer.Self != "127.0.0.1" || answer.Target.Matcher != "200" {
		t.Errorf("code %d, %v: %+v\n%s", code, err, answer, out)
	}
	for name, tt := range map[string]struct {
		env  []string
		args []string
		code int
		want string
	}{
		"wrong key":      {[]string{"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=wrong"}, []string{"--target-group-arn", groupARN, "--endpoint", api.URL}, 4, "SignatureDoesNotMatch"},
		"unknown group":  {nil, []string{"--target-group-arn", groupARN + "0", "--endpoint", api.URL}, 4, "TargetGroupNotFound"},
		"unknown target": {nil, []string{"--target-group-arn", groupARN, "--endpoint", api.URL, "--target", "i-1"}, 4, "target i-1 is not registered with web"},
		"no ARN":         {nil, []string{"--target-group-arn", "web"}, 2, "is no ARN of a target group"},
		"api down":       {nil, []string{"--target-group-arn", groupARN, "--endpoint", "http://127.0.0.1:1"}, 4, "connection refused"},
	} {
		if out, code := check(tt.env, tt.args...); code != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("%s: code %d, want %d with %q:\n%s", name, code, tt.code, tt.want, out)
		}
	}
}

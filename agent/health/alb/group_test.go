package alb_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"slipway/agent/health/alb"
	"slipway/agent/health/alb/albtest"
)

const arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef"

var group = albtest.Group{
	ARN: arn, Name: "web & more", Type: "instance", Protocol: "HTTP", Version: "HTTP1", Path: "/health?a=1&b=2", Port: alb.TrafficPort, Matcher: "200,204", TrafficPort: 8080,
	Interval: 10, Timeout: 4, Healthy: 3, Unhealthy: 2, Targets: []albtest.Target{
		{ID: "i-1", Port: 8080, State: "healthy"},
		{ID: "i-2", Port: 8081, State: "unhealthy", Reason: "Target.ResponseCodeMismatch", Description: "Health checks failed with these codes: [404]"},
	},
}

func client(s *albtest.Server, secret string) *alb.Client {
	return &alb.Client{Endpoint: s.URL, Region: s.Region, Credentials: credentials.NewStaticCredentialsProvider("AKID", secret, "")}
}

func TestGroup(t *testing.T) {
	s := albtest.Start("eu-west-1", "AKID", "secret", group)
	defer s.Close()
	c := client(s, "secret")
	got, err := c.Group(t.Context(), arn)
	if err != nil {
		t.Fatal(err)
	}
	want := &alb.Group{ARN: arn, Name: "web & more", Type: "instance", Port: 8080, CheckPort: alb.TrafficPort, Checked: true, Settings: alb.Target{
		Protocol: "HTTP", Version: "HTTP1", Path: "/health?a=1&b=2", Matcher: "200,204", Interval: 10 * time.Second, Timeout: 4 * time.Second, Healthy: 3, Unhealthy: 2,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Group() mismatch (-want +got):\n%s", diff)
	}
	states, err := c.States(t.Context(), arn)
	if err != nil {
		t.Fatal(err)
	}
	wantStates := []alb.State{
		{ID: "i-1", Port: 8080, CheckPort: "8080", State: "healthy"},
		{ID: "i-2", Port: 8081, CheckPort: "8081", State: "unhealthy", Reason: "Target.ResponseCodeMismatch", Description: "Health checks failed with these codes: [404]"},
	}
	if diff := cmp.Diff(wantStates, states); diff != "" {
		t.Errorf("States() mismatch (-want +got):\n%s", diff)
	}
}

func TestGroupErrors(t *testing.T) {
	s := albtest.Start("eu-west-1", "AKID", "secret", group)
	defer s.Close()
	code := func(err error) string {
		var api *alb.APIError
		if !errors.As(err, &api) {
			t.Fatalf("%v is no APIError", err)
		}
		return api.Code
	}
	_, err := client(s, "wrong").Group(t.Context(), arn)
	if code(err) != "SignatureDoesNotMatch" {
		t.Errorf("a wrong key: %v", err)
	}
	_, err = client(s, "secret").Group(t.Context(), arn+"0")
	if code(err) != "TargetGroupNotFound" || !strings.Contains(err.Error(), "region and account") {
		t.Errorf("an unknown group: %v", err)
	}
	s.Deny()
	_, err = client(s, "secret").States(t.Context(), arn)
	if code(err) != "AccessDenied" || !strings.Contains(err.Error(), "elasticloadbalancing:DescribeTargetHealth") {
		t.Errorf("not allowed: %v", err)
	}
	for answer, status := range map[string]int{"<html>": 502, "": 200, "<DescribeTargetGroupsResponse>": 200, "<a/>": 200, "plain": 200, strings.Repeat("<a>", 100): 200} {
		odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); io.WriteString(w, answer) }))
		if g, err := (&alb.Client{Endpoint: odd.URL, Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("A", "s", "")}).Group(t.Context(), arn); err == nil {
			t.Errorf("Group() = %+v, nil for the answer %q", g, answer)
		}
		odd.Close()
	}
}

func TestParseARN(t *testing.T) {
	region, partition, err := alb.ParseARN("arn:aws-cn:elasticloadbalancing:cn-north-1:1:targetgroup/a/b")
	if err != nil || alb.Endpoint(region, partition) != "https://elasticloadbalancing.cn-north-1.amazonaws.com.cn" {
		t.Errorf("ParseARN() = %s, %s, %v", region, partition, err)
	}
	for _, wrong := range []string{"", "web", "arn:aws:elasticloadbalancing:eu-west-1:1:loadbalancer/app/a/b", "arn:aws:ec2:eu-west-1:1:targetgroup/a/b", "arn:aws:elasticloadbalancing::1:targetgroup/a/b"} {
		if _, _, err := alb.ParseARN(wrong); err == nil {
			t.Errorf("ParseARN(%q) = nil error", wrong)
		}
	}
}

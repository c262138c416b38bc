package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"slipway/agent/control"
	"slipway/agent/lab"
)

const bucket = "slipway-lab"

// admin makes one call of the lab's own API; out may be nil.
func admin(t *testing.T, l *lab.Lab, method, path string, in, out any) int {
	t.Helper()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, l.Endpoints().Admin+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if out != nil {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
	return resp.StatusCode
}

// P-70..P-76 as the SDK's client asks, with role credentials that the command service and S3 take.
func TestMetadata(t *testing.T) {
	l := start(t, lab.Options{Region: "eu-west-1", Instances: 2})
	host := l.Hosts()[1]
	c := imds.New(imds.Options{Endpoint: l.Endpoints().Metadata[1]})
	ctx := t.Context()
	doc, err := c.GetInstanceIdentityDocument(ctx, nil)
	if err != nil || doc.InstanceID != host.Name || doc.Region != "eu-west-1" || doc.AccountID != "123456789012" {
		t.Errorf("identity document %+v, %v", doc, err)
	}
	read := func(path string) string {
		t.Helper()
		out, err := c.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
		if err != nil {
			return "error: " + err.Error()
		}
		body, err := io.ReadAll(out.Content)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	if got := read("autoscaling/target-lifecycle-state"); !strings.Contains(got, "404") {
		t.Errorf("an instance outside Auto Scaling has the state %q", got)
	}
	if code := admin(t, l, http.MethodPost, "/lab/hosts", lab.Host{ID: host.Name, Tags: map[string]string{"Name": "web"}, LifecycleState: "Terminated"}, nil); code != http.StatusOK {
		t.Fatalf("POST /lab/hosts: %d", code)
	}
	for path, want := range map[string]string{
		"instance-id": host.Name, "services/partition": "aws", "services/domain": "amazonaws.com", "iam/security-credentials/": "slipway-lab-instance",
		"tags/instance/Name": "web", "tags/instance": "Name", "autoscaling/target-lifecycle-state": "Terminated", "placement/region": "eu-west-1",
	} {
		if got := read(path); got != want {
			t.Errorf("%s = %q, want %q", path, got, want)
		}
	}
	role := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = c })
	o := s3Client(l).Options()
	o.Credentials = role
	if _, err := s3.New(o).ListBuckets(ctx, &s3.ListBucketsInput{}); err != nil {
		t.Errorf("S3 with role credentials: %v", err)
	}
	agent, err := control.New(control.Options{Endpoint: l.Endpoints().Control, Region: "eu-west-1", HostID: host.ID, Version: "v", Credentials: role})
	if err != nil {
		t.Fatal(err)
	}
	if cmd, err := agent.Poll(ctx); cmd != nil || err != nil {
		t.Errorf("poll with role credentials = %+v, %v", cmd, err)
	}
}

// Version 1 of the metadata service is refused (C-11), and so is a token that was not handed out.
func TestMetadataNeedsToken(t *testing.T) {
	l := start(t, lab.Options{})
	base := l.Endpoints().Metadata[0]
	for name, tc := range map[string]struct {
		method, path string
		header       http.Header
		status       int
	}{
		"no token":      {"GET", "/latest/meta-data/instance-id", nil, 401},
		"wrong token":   {"GET", "/latest/meta-data/instance-id", http.Header{"X-Aws-Ec2-Metadata-Token": {"x"}}, 401},
		"token by GET":  {"GET", "/latest/api/token", nil, 405},
		"token, no ttl": {"PUT", "/latest/api/token", nil, 400},
		"token, relay":  {"PUT", "/latest/api/token", http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"60"}, "X-Forwarded-For": {"1.2.3.4"}}, 403},
		"token":         {"PUT", "/latest/api/token", http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"60"}}, 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, base+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range tc.header {
			req.Header[k] = v
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tc.status {
			t.Errorf("%s: %d, want %d", name, resp.StatusCode, tc.status)
		}
	}
}

// A completion that is refused twelve times, and a clock that is wrong: faults of the command service.
func TestControlFaults(t *testing.T) {
	l := start(t, lab.Options{})
	host := l.Hosts()[0]
	c, err := control.New(control.Options{Endpoint: l.Endpoints().Control, Region: "us-east-1", HostID: host.ID, Version: "v", Credentials: keys(l)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.AddFault(lab.Fault{Service: "control", Operation: "PutHostCommandComplete", Code: "ThrottlingException", Times: 12}); err != nil {
		t.Fatal(err)
	}
	var made struct{ ID string }
	admin(t, l, http.MethodPost, "/lab/commands", lab.CommandRequest{Host: host.Name, Name: "Install", Specification: "{}"}, &made)
	cmd, err := c.Poll(t.Context())
	if err != nil || cmd == nil || cmd.ID != made.ID {
		t.Fatalf("Poll() = %+v, %v, want %s", cmd, err, made.ID)
	}
	for range 12 {
		err := c.Complete(t.Context(), cmd.ID, control.Succeeded, control.Diagnostics{}.Envelope())
		if api, ok := errors.AsType[*control.APIError](err); !ok || !api.Throttled() {
			t.Fatalf("Complete() = %v, want throttling", err)
		}
	}
	if err := c.Complete(t.Context(), cmd.ID, control.Succeeded, control.Diagnostics{Message: "late"}.Envelope()); err != nil {
		t.Fatal(err)
	}
	var view lab.CommandView
	admin(t, l, http.MethodGet, "/lab/commands/"+made.ID, nil, &view)
	if view.Status != "Succeeded" || len(view.Completions) != 1 || view.Completions[0].Message != "late" {
		t.Errorf("command %+v", view)
	}
	if _, err := l.AddFault(lab.Fault{ID: "clock", Service: "control", Skew: lab.Duration(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Poll(t.Context()); err != nil {
		t.Errorf("a client that corrects its clock: %v", err)
	}
	var faults []lab.Fault
	if admin(t, l, http.MethodGet, "/lab/faults", nil, &faults); len(faults) != 1 || faults[0].ID != "clock" {
		t.Errorf("faults %+v", faults)
	}
	if code := admin(t, l, http.MethodDelete, "/lab/faults/clock", nil, nil); code != http.StatusOK {
		t.Errorf("removal: %d", code)
	}
}

// Every kind of envelope that an agent must tell apart (P-60..P-62).
func TestEnvelopes(t *testing.T) {
	l := start(t, lab.Options{})
	host := l.Hosts()[0]
	trust, err := control.NewTrust(control.TrustOptions{Signer: "pin", Pins: []string{l.Info().SignerFingerprint}})
	if err != nil {
		t.Fatal(err)
	}
	for kind, good := range map[string]bool{
		"": true, "signed": true, "der": true, "unsigned": false, "tampered": false, "forged": false, "expired": false, "detached": false, "garbage": false, "none": false,
	} {
		c, err := control.New(control.Options{Endpoint: l.Endpoints().Control, Region: "us-east-1", HostID: host.ID, Version: "v", Credentials: keys(l)})
		if err != nil {
			t.Fatal(err)
		}
		var made struct{ ID string }
		if code := admin(t, l, http.MethodPost, "/lab/commands", lab.CommandRequest{Host: host.Name, Name: "Install", Specification: `{"DeploymentId":"d-1"}`, Envelope: kind}, &made); code != http.StatusOK {
			t.Fatalf("%s: %d", kind, code)
		}
		cmd, err := c.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var content []byte
		e, err := c.Spec(t.Context(), cmd.ExecutionID)
		if err == nil {
			content, err = e.Open(trust)
		}
		if (err == nil) != good || good && string(content) != `{"DeploymentId":"d-1"}` {
			t.Errorf("%q: %s, %v", kind, content, err)
		}
		if err := c.Complete(t.Context(), cmd.ID, control.Failed, control.Diagnostics{}.Envelope()); err != nil {
			t.Fatal(err)
		}
	}
	if code := admin(t, l, http.MethodPost, "/lab/commands", lab.CommandRequest{Host: host.Name, Envelope: "odd"}, nil); code != http.StatusBadRequest {
		t.Errorf("an unknown kind of envelope: %d", code)
	}
}

// Every call is on record: in the log as JSON lines, and through the API.
func TestCallLog(t *testing.T) {
	var log bytes.Buffer
	l := start(t, lab.Options{Calls: &log})
	host := l.Hosts()[0]
	c, err := control.New(control.Options{Endpoint: l.Endpoints().Control, Region: "us-east-1", HostID: host.ID, Version: "v7", Credentials: keys(l)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, s3Client(l), "k", []byte("x"))
	var calls []lab.Call
	admin(t, l, http.MethodGet, "/lab/calls", nil, &calls)
	if len(calls) != 2 {
		t.Fatalf("calls %+v", calls)
	}
	if p := calls[0]; p.Service != "control" || p.Operation != "PollHostCommand" || p.Host != host.ID || p.Agent != "v7" || p.Status != 200 || p.AccessKey == "" {
		t.Errorf("poll on record as %+v", p)
	}
	if p := calls[1]; p.Service != "s3" || p.Operation != "PUT" || !strings.HasPrefix(p.Path, "/slipway-lab/k") || p.Status != 200 {
		t.Errorf("put on record as %+v", p)
	}
	var first lab.Call
	if err := json.Unmarshal(bytes.SplitN(log.Bytes(), []byte("\n"), 2)[0], &first); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(calls[0].Operation, first.Operation); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if h := l.Hosts()[0]; h.FirstSeen.IsZero() || h.Version != "v7" {
		t.Errorf("host after its poll: %+v", h)
	}
}

// The lab's keys are public, so it is never reachable from elsewhere.
func TestLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":8080", "192.0.2.1:80", "example.com:80", "127.0.0.1", "127.0.0.1:http2"} {
		if l, err := lab.Start(lab.Options{Listen: address}); err == nil {
			l.Close(context.Background())
			t.Errorf("%s was taken", address)
		}
	}
	l := start(t, lab.Options{})
	for _, url := range append([]string{l.Endpoints().Gateway, l.Endpoints().Control, l.Endpoints().S3, l.Endpoints().Admin}, l.Endpoints().Metadata...) {
		host, _, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
		if err != nil || !net.ParseIP(host).IsLoopback() {
			t.Errorf("listens on %s", url)
		}
	}
}

// With a port given, the others follow it, as the help says.
func TestPorts(t *testing.T) {
	for try := range 20 {
		port := 21000 + try*37
		l, err := lab.Start(lab.Options{Listen: net.JoinHostPort("127.0.0.1", itoa(port)), Instances: 2})
		if err != nil {
			continue // taken by somebody else
		}
		defer l.Close(context.Background())
		e := l.Endpoints()
		got := []string{e.Gateway, e.Control, e.S3, e.Admin, e.Metadata[0], e.Metadata[1]}
		for i, url := range got {
			if want := "http://127.0.0.1:" + itoa(port+i); url != want {
				t.Errorf("listener %d at %s, want %s", i, url, want)
			}
		}
		return
	}
	t.Error("no free row of ports in twenty tries")
}

func itoa(n int) string { data, _ := json.Marshal(n); return string(data) }

package lab_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	tmtypes "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"slipway/agent/control"
	"slipway/agent/lab"
)

const bucket = "slipway-lab"

func put(t *testing.T, c *s3.Client, key string, body []byte) *s3.PutObjectOutput {
	t.Helper()
	out, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(key), Body: bytes.NewReader(body), ChecksumAlgorithm: s3types.ChecksumAlgorithmCrc32})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func get(t *testing.T, c *s3.Client, in *s3.GetObjectInput) (*s3.GetObjectOutput, []byte, error) {
	t.Helper()
	in.Bucket = aws.String(bucket)
	out, err := c.GetObject(t.Context(), in)
	if err != nil {
		return nil, nil, err
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	return out, body, err
}

func TestS3(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			l := start(t, lab.Options{TLS: secure})
			c := s3Client(l)
			if secure {
				client, err := control.NewHTTPClient(control.HTTPOptions{CAFile: caFile(t, l), Getenv: func(string) string { return "" }})
				if err != nil {
					t.Fatal(err)
				}
				o := c.Options()
				o.HTTPClient = client
				c = s3.New(o)
			}
			testObjects(t, c)
		})
	}
}

func caFile(t *testing.T, l *lab.Lab) string {
	t.Helper()
	files, err := l.WriteFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return files["ca"]
}

func testObjects(t *testing.T, c *s3.Client) {
	ctx := t.Context()
	first := put(t, c, "dir/a b+c.txt", []byte("hello"))
	out, body, err := get(t, c, &s3.GetObjectInput{Key: aws.String("dir/a b+c.txt"), ChecksumMode: s3types.ChecksumModeEnabled})
	if err != nil || string(body) != "hello" || aws.ToString(out.ETag) != aws.ToString(first.ETag) || out.ChecksumCRC32 == nil || out.VersionId != nil {
		t.Errorf("get: %q, %+v, %v", body, out, err)
	}
	for name := range out.Metadata {
		t.Errorf("metadata that nobody gave: %s", name)
	}
	if out, body, err = get(t, c, &s3.GetObjectInput{Key: aws.String("dir/a b+c.txt"), Range: aws.String("bytes=1-3")}); err != nil || string(body) != "ell" || aws.ToString(out.ContentRange) != "bytes 1-3/5" {
		t.Errorf("range: %q, %+v, %v", body, out, err)
	}
	_, _, err = get(t, c, &s3.GetObjectInput{Key: aws.String("dir/a b+c.txt"), IfMatch: aws.String(`"0123"`)})
	wantCode(t, err, "PreconditionFailed")
	if _, _, err = get(t, c, &s3.GetObjectInput{Key: aws.String("dir/a b+c.txt"), IfMatch: first.ETag}); err != nil {
		t.Errorf("If-Match of the right entity tag: %v", err)
	}
	_, _, err = get(t, c, &s3.GetObjectInput{Key: aws.String("nope")})
	wantCode(t, err, "NoSuchKey")
	if _, err := c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: aws.String(bucket), VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled}}); err != nil {
		t.Fatal(err)
	}
	one, two := put(t, c, "v", []byte("one")), put(t, c, "v", []byte("second"))
	if out, body, err = get(t, c, &s3.GetObjectInput{Key: aws.String("v"), VersionId: one.VersionId}); err != nil || string(body) != "one" || aws.ToString(out.VersionId) != aws.ToString(one.VersionId) {
		t.Errorf("version: %q, %+v, %v", body, out, err)
	}
	head, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String("v"), VersionId: one.VersionId})
	if err != nil || aws.ToInt64(head.ContentLength) != 3 || aws.ToString(head.ETag) != aws.ToString(one.ETag) || aws.ToString(one.VersionId) == aws.ToString(two.VersionId) {
		t.Errorf("head of a version: %+v, %v", head, err)
	}
}

// A multipart upload keeps the entity tag that its completion told, and comes down whole by parallel ranges.
func TestS3Multipart(t *testing.T) {
	l := start(t, lab.Options{})
	c := s3Client(l)
	big := make([]byte, 20<<20)
	_, _ = rand.Read(big)
	m := tmtypes.New(c, func(o *tmtypes.Options) { o.PartSizeBytes = 8 << 20 })
	up, err := m.UploadObject(t.Context(), &tmtypes.UploadObjectInput{Bucket: aws.String(bucket), Key: aws.String("big"), Body: bytes.NewReader(big)})
	if err != nil {
		t.Fatal(err)
	}
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String("big")})
	if err != nil || aws.ToString(head.ETag) != aws.ToString(up.ETag) || !strings.HasSuffix(aws.ToString(head.ETag), `-3"`) {
		t.Errorf("upload told %s, head %s, %v", aws.ToString(up.ETag), aws.ToString(head.ETag), err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := m.DownloadObject(t.Context(), &tmtypes.DownloadObjectInput{Bucket: aws.String(bucket), Key: aws.String("big"), WriterAt: file}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file.Name()); err != nil || !bytes.Equal(got, big) {
		t.Errorf("%d bytes came down, not the %d that went up: %v", len(got), len(big), err)
	}
}

func TestS3Denied(t *testing.T) {
	l := start(t, lab.Options{})
	o := s3Client(l).Options()
	o.Credentials = credentials.NewStaticCredentialsProvider("AKIAUNKNOWN", "x", "")
	_, _, err := get(t, s3.New(o), &s3.GetObjectInput{Key: aws.String("k")})
	wantCode(t, err, "InvalidAccessKeyId")
}

// Faults of S3: what a client on a bad day meets, and a good day afterwards.
func TestS3Faults(t *testing.T) {
	l := start(t, lab.Options{})
	c := s3Client(l)
	content := []byte(strings.Repeat("0123456789", 1000))
	put(t, c, "k", content)
	for name, tc := range map[string]struct {
		fault lab.Fault
		check func(body []byte, err error) bool
	}{
		"slow down": {lab.Fault{Code: "SlowDown"}, func(_ []byte, err error) bool { return codeOf(err) == "SlowDown" }},
		"denied":    {lab.Fault{Status: 403}, func(_ []byte, err error) bool { return codeOf(err) == "AccessDenied" }},
		"reset":     {lab.Fault{Reset: true}, func(_ []byte, err error) bool { return err != nil && codeOf(err) == "" }},
		"truncated": {lab.Fault{TruncateAfter: 1234}, func(body []byte, err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) && len(body) == 1234 }},
		"tampered":  {lab.Fault{Tamper: true}, func(body []byte, err error) bool { return err == nil && differs(body, content) == 1 }},
		"replaced":  {lab.Fault{Body: "not a bundle"}, func(body []byte, err error) bool { return err == nil && string(body) == "not a bundle" }},
		"other key": {lab.Fault{Reset: true, Path: "other"}, func(body []byte, err error) bool { return err == nil && bytes.Equal(body, content) }},
		"skipped":   {lab.Fault{Reset: true, Skip: 1}, func(body []byte, err error) bool { return err == nil && bytes.Equal(body, content) }},
		"late":      {lab.Fault{Delay: lab.Duration(50 * time.Millisecond)}, func(body []byte, err error) bool { return err == nil && bytes.Equal(body, content) }},
	} {
		tc.fault.Service, tc.fault.Operation = "s3", "GET" // stays in: net/http repeats by itself what a reset spoilt
		id, err := l.AddFault(tc.fault)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		began := time.Now()
		_, body, err := get(t, c, &s3.GetObjectInput{Key: aws.String("k"), ChecksumMode: ""})
		if !tc.check(body, err) {
			t.Errorf("%s: %d bytes, %v", name, len(body), err)
		}
		if name == "late" && time.Since(began) < 50*time.Millisecond {
			t.Errorf("the late answer came after %s", time.Since(began))
		}
		admin(t, l, http.MethodDelete, "/lab/faults/"+id, nil, nil)
		if _, body, err := get(t, c, &s3.GetObjectInput{Key: aws.String("k")}); err != nil || !bytes.Equal(body, content) {
			t.Errorf("after %s: %d bytes, %v", name, len(body), err)
		}
	}
	if _, err := l.AddFault(lab.Fault{Service: "s3"}); err == nil {
		t.Error("a fault that spoils nothing was taken")
	}
	if _, err := l.AddFault(lab.Fault{Service: "sqs", Reset: true}); err == nil {
		t.Error("a fault of a service that does not exist was taken")
	}
}

func codeOf(err error) string {
	var api interface{ ErrorCode() string }
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func differs(a, b []byte) (n int) {
	if len(a) != len(b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

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

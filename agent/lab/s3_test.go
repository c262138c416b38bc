package lab_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"slipway/agent/control"
	"slipway/agent/lab"
)

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
	m := transfermanager.New(c, func(o *transfermanager.Options) { o.PartSizeBytes = 8 << 20 })
	up, err := m.UploadObject(t.Context(), &transfermanager.UploadObjectInput{Bucket: aws.String(bucket), Key: aws.String("big"), Body: bytes.NewReader(big)})
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
	if _, err := m.DownloadObject(t.Context(), &transfermanager.DownloadObjectInput{Bucket: aws.String(bucket), Key: aws.String("big"), WriterAt: file}); err != nil {
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

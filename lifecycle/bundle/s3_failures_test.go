package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Each answer of S3 is explained with the bucket, the key and what to do.
func TestS3Errors(t *testing.T) {
	answer := func(status int, code, message string, headers ...string) func(w http.ResponseWriter, r *http.Request, n int) bool {
		return func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.Header().Set("x-amz-request-id", "REQ1")
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
			return true
		}
	}
	for _, c := range []struct {
		name   string
		from   S3Location
		meddle func(w http.ResponseWriter, r *http.Request, n int) bool
		says   []string
		differ bool
	}{
		{"no key", S3Location{Key: "no/such.zip"}, nil, []string{`no object "no/such.zip" in the bucket bundles`, "NoSuchKey"}, false},
		{"no bucket", S3Location{Bucket: "elsewhere", Key: "k"}, nil, []string{"no bucket elsewhere", "us-east-1"}, false},
		{
			"no permission",
			S3Location{Key: "k"},
			answer(403, "AccessDenied", "User: arn:aws:sts::1:assumed-role/web is not authorized"),
			[]string{"s3:GetObject on arn:aws:s3:::bundles/k", "kms:Decrypt", "s3:ListBucket", "assumed-role/web", "request REQ1"},
			false,
		},
		{"no permission for versions", S3Location{Key: "k", Version: "v1"}, answer(403, "AccessDenied", ""), []string{"s3:GetObjectVersion on"}, false},
		{"another region", S3Location{Key: "k"}, answer(301, "PermanentRedirect", "must be addressed", "x-amz-bucket-region", "eu-west-1"), []string{"is in region eu-west-1", "asked for in us-east-1"}, false},
		{"another region by its message", S3Location{Key: "k"}, answer(400, "AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong; expecting 'ap-northeast-1'"), []string{"is in region ap-northeast-1"}, false},
		{"replaced", S3Location{Key: "k", ETag: "e1"}, answer(412, "PreconditionFailed", "At least one"), []string{"no longer \"e1\"", "register it again"}, true},
		{"no such version", S3Location{Key: "k", Version: "v9"}, answer(404, "NoSuchVersion", ""), []string{`no version "v9"`}, false},
		{"archived", S3Location{Key: "k"}, answer(403, "InvalidObjectState", "not valid for the object's storage class"), []string{"is archived"}, false},
		{"wrong key", S3Location{Key: "k"}, answer(403, "InvalidAccessKeyId", "does not exist"), []string{"credentials of this host are not accepted"}, false},
		{"wrong clock", S3Location{Key: "k"}, answer(403, "RequestTimeTooSkewed", ""), []string{"clock of this host is wrong"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			s.meddle = c.meddle
			_, _, err := s.fetch(c.from)
			if err == nil {
				t.Fatal("Fetch() succeeded")
			}
			for _, says := range append(c.says, "download s3://", c.from.Key) {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("Fetch() = %q, want it to say %q", err, says)
				}
			}
			if errors.Is(err, ErrDiffers) != c.differ {
				t.Errorf("errors.Is(ErrDiffers) = %v, want %v", !c.differ, c.differ)
			}
			if strings.Contains(err.Error(), "not-a-secret") || strings.Contains(err.Error(), "\n") {
				t.Errorf("Fetch() = %q", err)
			}
		})
	}
}

// rewrite sends requests for AWS to the test's server.
type rewrite struct {
	to    *url.URL
	hosts []string
}

func (r *rewrite) RoundTrip(req *http.Request) (*http.Response, error) {
	r.hosts = append(r.hosts, req.URL.Host)
	req = req.Clone(req.Context())
	if bucket, _, ok := strings.Cut(req.URL.Host, ".s3."); ok {
		req.URL.Path = "/" + bucket + req.URL.Path
	}
	req.URL.Scheme, req.URL.Host = "http", r.to.Host
	return http.DefaultTransport.RoundTrip(req)
}

// I-12: virtual-hosted addresses, and a bucket in another region is followed there once, as the reference's SDK does.
func TestS3FollowsTheRegion(t *testing.T) {
	s := newStore(t)
	s.put("k", []byte("x"))
	to, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	s.meddle = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/s3/") {
			return false
		}
		w.Header().Set("x-amz-bucket-region", "eu-west-1")
		w.WriteHeader(http.StatusMovedPermanently)
		io.WriteString(w, `<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>`)
		return true
	}
	route := &rewrite{to: to}
	f := &Fetcher{S3: NewS3(S3Options{Region: "us-east-1", Credentials: &staticKeys{}, HTTP: &http.Client{Transport: route}})}
	object, err := f.Fetch(t.Context(), Revision{Type: S3, S3: S3Location{Bucket: "bundles", Key: "k"}}, archiveFile(t, t.TempDir(), nil))
	if err != nil || object.Bytes != 1 {
		t.Fatalf("Fetch() = %+v, %v", object, err)
	}
	if want := []string{"bundles.s3.us-east-1.amazonaws.com", "bundles.s3.eu-west-1.amazonaws.com"}; !slices.Equal(route.hosts, want) {
		t.Errorf("hosts %q, want %q", route.hosts, want)
	}
}

// P-32: expired credentials are asked for anew, once.
func TestS3ExpiredCredentials(t *testing.T) {
	for _, always := range []bool{false, true} {
		s := newStore(t)
		s.put("k", []byte("x"))
		s.meddle = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if !always && strings.Contains(r.Header.Get("Authorization"), "AKIDTEST2/") {
				return false
			}
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>`)
			return true
		}
		_, _, err := s.fetch(S3Location{Key: "k"})
		if always != (err != nil) || len(s.requests) != 2 {
			t.Errorf("always expired %v: %d requests, %v", always, len(s.requests), err)
		}
	}
}

// An empty object is no bundle, and a full disk is found before the content is fetched.
func TestS3RefusesEarly(t *testing.T) {
	s := newStore(t)
	s.put("empty", nil)
	if _, _, err := s.fetch(S3Location{Key: "empty"}); err == nil || !strings.Contains(err.Error(), "0 bytes") {
		t.Errorf("Fetch() of an empty object = %v", err)
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a small tmpfs")
	}
	s.put("big", noise(3*testPart))
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(small, unix.MNT_DETACH)
	s.requests = nil
	big := Revision{Type: S3, S3: S3Location{Bucket: "bundles", Key: "big"}}
	_, err := s.fetcher().Fetch(t.Context(), big, archiveFile(t, small, nil))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "3.0 MiB are needed") || len(s.requests) != 1 {
		t.Errorf("Fetch() = %v after %d requests, want ENOSPC after one", err, len(s.requests))
	}
}

// A disk that fills up meanwhile is named as well.
func TestS3DiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a small tmpfs")
	}
	s := newStore(t)
	s.put("big", noise(3*testPart))
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(small, unix.MNT_DETACH)
	var once sync.Once
	s.meddle = func(_ http.ResponseWriter, r *http.Request, n int) bool {
		if n > 1 {
			once.Do(func() {
				if err := os.WriteFile(small+"/other", make([]byte, 3*testPart), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
					t.Error(err)
				}
			})
		}
		return false
	}
	_, err := s.fetcher().Fetch(t.Context(), Revision{Type: S3, S3: S3Location{Bucket: "bundles", Key: "big"}}, archiveFile(t, small, nil))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "is full") {
		t.Errorf("Fetch() = %v, want ENOSPC", err)
	}
}

// A download ends with its context, and says why that ended.
func TestS3EndsWithTheContext(t *testing.T) {
	s := newStore(t)
	s.put("k", []byte("x"))
	because := errors.New("the agent is stopping")
	ctx, cancel := context.WithCancelCause(t.Context())
	s.meddle = func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		cancel(because)
		<-r.Context().Done()
		return true
	}
	if _, err := s.fetcher().Fetch(ctx, Revision{Type: S3, S3: S3Location{Bucket: "bundles", Key: "k"}}, archiveFile(t, t.TempDir(), nil)); !errors.Is(err, because) {
		t.Errorf("Fetch() = %v, want %v", err, because)
	}
}

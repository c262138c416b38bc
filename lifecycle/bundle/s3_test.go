package bundle

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// store is an S3 with a proxy in front that a test can let misbehave.
type store struct {
	t       *testing.T
	backend *s3mem.Backend
	url     string

	mu       sync.Mutex
	requests []string                                                  // method and range
	meddle   func(w http.ResponseWriter, r *http.Request, n int) bool  // true: it has answered; n counts requests from 1
	change   func(r *http.Request, n int, h http.Header, body *[]byte) // what the backend answered
}

func newStore(t *testing.T) *store {
	s := &store{t: t, backend: s3mem.New()}
	if err := s.backend.CreateBucket("bundles"); err != nil {
		t.Fatal(err)
	}
	inner := gofakes3.New(s.backend).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+r.Header.Get("Range")))
		n, meddle, change := len(s.requests), s.meddle, s.change
		s.mu.Unlock()
		if meddle != nil && meddle(w, r, n) {
			return
		}
		if change == nil {
			inner.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		change(r, n, rec.Header(), &body)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		if r.Method != http.MethodHead {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		}
		w.WriteHeader(rec.Code)
		w.Write(body)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *store) put(key string, data []byte) (etag string) {
	s.t.Helper()
	if _, err := s.backend.PutObject("bundles", key, map[string]string{}, bytes.NewReader(data), int64(len(data)), nil); err != nil {
		s.t.Fatal(err)
	}
	sum := md5.Sum(data)
	return hex.EncodeToString(sum[:])
}

type staticKeys struct{ calls int }

func (k *staticKeys) Retrieve(context.Context) (aws.Credentials, error) {
	k.calls++
	return aws.Credentials{AccessKeyID: fmt.Sprintf("AKIDTEST%d", k.calls), SecretAccessKey: "not-a-secret"}, nil
}

const testPart = 1 << 20

func (s *store) fetcher() *Fetcher {
	return &Fetcher{S3: NewS3(S3Options{Region: "us-east-1", Endpoint: s.url, Credentials: aws.NewCredentialsCache(&staticKeys{}), PartSize: testPart})}
}

func (s *store) fetch(from S3Location) (Object, []byte, error) {
	s.t.Helper()
	if from.Bucket == "" {
		from.Bucket = "bundles"
	}
	f := archiveFile(s.t, s.t.TempDir(), []byte("what an earlier attempt left"))
	object, err := s.fetcher().Fetch(s.t.Context(), Revision{Type: S3, S3: from}, f)
	if err != nil {
		return object, nil, err
	}
	data, readErr := io.ReadAll(f) // the offset is at the start
	if readErr != nil {
		s.t.Fatal(readErr)
	}
	return object, data, nil
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// I-11, X-33, X-59: one request for what fits into a part, ranges for more, and the same bytes.
func TestS3Download(t *testing.T) {
	for _, c := range []struct {
		size     int
		requests []string
	}{
		{1, []string{"GET bytes=0-1048575"}},
		{testPart, []string{"GET bytes=0-1048575"}},
		{testPart + 1, []string{"GET bytes=0-1048575", "GET bytes=1048576-1048576"}},
		{3*testPart - 7, []string{"GET bytes=0-1048575", "GET bytes=1048576-2097151", "GET bytes=2097152-3145720"}},
	} {
		t.Run(fmt.Sprint(c.size), func(t *testing.T) {
			s := newStore(t)
			data := noise(c.size)
			etag := s.put("app/bundle one.zip", data)
			for _, asked := range []string{"", etag, `"` + etag + `"`, `""` + etag} { // I-11: without its quotes
				s.requests = nil
				object, got, err := s.fetch(S3Location{Key: "app/bundle one.zip", ETag: asked})
				if err != nil {
					t.Fatalf("ETag %q: %v", asked, err)
				}
				if !bytes.Equal(got, data) {
					t.Errorf("ETag %q: %d bytes that differ", asked, len(got))
				}
				if want := (Object{ETag: etag, Bytes: int64(c.size), Sum: "md5:" + etag}); object != want {
					t.Errorf("Object = %+v, want %+v", object, want)
				}
				slices.Sort(s.requests)
				if !slices.Equal(s.requests, c.requests) {
					t.Errorf("requests %q, want %q", s.requests, c.requests)
				}
			}
		})
	}
}

// I-11: a version is asked for and told.
func TestS3Version(t *testing.T) {
	s := newStore(t)
	if err := s.backend.SetVersioningConfiguration("bundles", gofakes3.VersioningConfiguration{Status: gofakes3.VersioningEnabled}); err != nil {
		t.Fatal(err)
	}
	first, err := s.backend.PutObject("bundles", "k", map[string]string{}, strings.NewReader("first"), 5, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.put("k", []byte("second"))
	object, data, err := s.fetch(S3Location{Key: "k", Version: string(first.VersionID)})
	if err != nil || string(data) != "first" || object.VersionID != string(first.VersionID) {
		t.Errorf("Fetch() = %+v, %q, %v", object, data, err)
	}
	if _, data, err := s.fetch(S3Location{Key: "k"}); err != nil || string(data) != "second" {
		t.Errorf("Fetch() without a version = %q, %v", data, err)
	}
}

// a body that is not what the revision or the service says is never taken. The server here, like many, ignores If-Match.
func TestS3Differs(t *testing.T) {
	whole := noise(2*testPart + 100)
	sum := md5.Sum(whole)
	etag := hex.EncodeToString(sum[:])
	for _, c := range []struct {
		name   string
		asked  string
		change func(r *http.Request, n int, h http.Header, body *[]byte)
		says   string
	}{
		{"another ETag", strings.Repeat("0", 32), nil, "it has been replaced since"},
		{"ETag in another case", strings.ToUpper(etag), nil, "it has been replaced since"}, // I-11
		{"no ETag in the answer", etag, func(_ *http.Request, _ int, h http.Header, _ *[]byte) { h.Del("ETag") }, "it has been replaced since"},
		{"one bit", etag, func(_ *http.Request, n int, _ http.Header, b *[]byte) { (*b)[len(*b)/2] ^= byte(n & 1) }, "does not have the checksum"},
		{"one bit and no ETag in the revision", "", func(_ *http.Request, n int, _ http.Header, b *[]byte) { (*b)[0] ^= byte(n & 1) }, "does not have the checksum"},
		{"shorter, with a length that agrees", etag, func(_ *http.Request, n int, h http.Header, b *[]byte) {
			h.Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", testPart-101, testPart-100))
			*b = (*b)[:min(len(*b), testPart-100)]
		}, "does not have the checksum"},
		{"replaced between two parts", "", func(r *http.Request, _ int, h http.Header, _ *[]byte) {
			if !strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") {
				h.Set("ETag", `"`+strings.Repeat("1", 32)+`"`)
			}
		}, "it was replaced while it was downloaded"},
		{"another length between two parts", "", func(r *http.Request, _ int, h http.Header, _ *[]byte) {
			if !strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") {
				h.Set("Content-Range", strings.Replace(h.Get("Content-Range"), fmt.Sprint(len(whole)), fmt.Sprint(len(whole)+10), 1))
			}
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			s.put("k", whole)
			s.change = c.change
			_, _, err := s.fetch(S3Location{Key: "k", ETag: c.asked})
			if err == nil || c.says != "" && !errors.Is(err, ErrDiffers) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "s3://bundles/k") {
				t.Errorf("Fetch() = %v, want ErrDiffers with %q", err, c.says)
			}
		})
	}
}

// Parts that break off are fetched again, alone; a server that does not know ranges is put up with when it sends all at once.
func TestS3PutsUpWith(t *testing.T) {
	data := noise(4*testPart + 5)
	breakOff := func(w http.ResponseWriter, etag string) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(buf, "HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\nContent-Range: bytes 2097152-3145727/%d\r\nETag: \"%s\"\r\n\r\nonly this", testPart, len(data), etag)
		buf.Flush()
		conn.Close()
	}
	t.Run("a part that breaks off", func(t *testing.T) {
		s := newStore(t)
		etag := s.put("k", data)
		broken := 0
		s.meddle = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !strings.HasPrefix(r.Header.Get("Range"), "bytes=2097152-") || broken == 2 {
				return false
			}
			broken++
			breakOff(w, etag)
			return true
		}
		_, got, err := s.fetch(S3Location{Key: "k", ETag: etag})
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("Fetch() = %d bytes, %v", len(got), err)
		}
		if len(s.requests) != 7 {
			t.Errorf("%d requests, want 5 parts and 2 again: %q", len(s.requests), s.requests)
		}
	})
	t.Run("a part that always breaks off", func(t *testing.T) {
		s := newStore(t)
		etag := s.put("k", data)
		s.meddle = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if strings.HasPrefix(r.Header.Get("Range"), "bytes=2097152-") {
				breakOff(w, etag)
				return true
			}
			return false
		}
		_, _, err := s.fetch(S3Location{Key: "k"})
		tries := 0 // of that part: how far the others have come by then is a matter of chance
		for _, r := range s.requests {
			if strings.Contains(r, "bytes=2097152-") {
				tries++
			}
		}
		if err == nil || !strings.Contains(err.Error(), "unexpected EOF") || tries != partAttempts {
			t.Errorf("Fetch() = %v after %q", err, s.requests)
		}
	})
	t.Run("a server without ranges", func(t *testing.T) {
		s := newStore(t)
		etag := s.put("k", data)
		s.meddle = func(_ http.ResponseWriter, r *http.Request, _ int) bool {
			r.Header.Del("Range")
			return false
		}
		_, got, err := s.fetch(S3Location{Key: "k", ETag: etag})
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("Fetch() = %d bytes, %v", len(got), err)
		}
	})
	t.Run("a server that loses the range once", func(t *testing.T) {
		s := newStore(t)
		s.put("k", data)
		s.meddle = func(_ http.ResponseWriter, r *http.Request, n int) bool {
			if n == 3 {
				r.Header.Del("Range")
			}
			return false
		}
		if _, _, err := s.fetch(S3Location{Key: "k"}); !errors.Is(err, errRange) {
			t.Errorf("Fetch() = %v, want %v", err, errRange)
		}
	})
	t.Run("an answer that asks to slow down", func(t *testing.T) { // P-32
		s := newStore(t)
		s.put("k", []byte("x"))
		s.meddle = func(w http.ResponseWriter, _ *http.Request, n int) bool {
			if n > 1 {
				return false
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, `<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
			return true
		}
		if _, got, err := s.fetch(S3Location{Key: "k"}); err != nil || string(got) != "x" {
			t.Errorf("Fetch() = %q, %v", got, err)
		}
	})
}

// Where the ETag is no MD5, a checksum that is stored with the object decides; one of checksums of parts says nothing.
func TestS3Checksums(t *testing.T) {
	data := noise(testPart + 5)
	nvme := crc64.Checksum(data, crc64.MakeTable(0x9a6c9329ac4bc9b5))
	var sum [8]byte
	for i := range sum {
		sum[i] = byte(nvme >> (56 - 8*i))
	}
	good := base64Of(sum[:])
	sha, plain := fmt.Sprintf("sha256:%x", sha256.Sum256(data)), fmt.Sprintf("md5:%x", md5.Sum(data))
	for _, c := range []struct {
		name    string
		headers map[string]string
		sum     string // empty: the content differs
		heads   int
	}{
		{"KMS and a checksum", map[string]string{"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Checksum-Crc64nvme": good, "X-Amz-Checksum-Type": "FULL_OBJECT"}, fmt.Sprintf("crc64nvme:%x", sum), 1},
		{"KMS and a wrong checksum", map[string]string{"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Checksum-Crc64nvme": base64Of(make([]byte, 8))}, "", 1},
		{"key of the customer", map[string]string{"X-Amz-Server-Side-Encryption-Customer-Algorithm": "AES256"}, sha, 1},
		{"KMS, wrong sum of the strongest", map[string]string{"X-Amz-Server-Side-Encryption": "aws:kms:dsse", "X-Amz-Checksum-Crc64nvme": good, "X-Amz-Checksum-Sha256": base64Of(make([]byte, 32))}, "", 1},
		{"ETag of parts", map[string]string{"Etag": `"0123456789abcdef0123456789abcdef-3"`, "X-Amz-Checksum-Sha256": base64Of(make([]byte, 32)) + "-3"}, sha, 1},
		{"ETag of parts and a composite checksum", map[string]string{"Etag": `"0123456789abcdef0123456789abcdef-3"`, "X-Amz-Checksum-Sha256": base64Of(make([]byte, 32)), "X-Amz-Checksum-Type": "COMPOSITE"}, sha, 1},
		{"encrypted by S3 itself", map[string]string{"X-Amz-Server-Side-Encryption": "AES256"}, plain, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			s.put("k", data)
			s.change = func(r *http.Request, _ int, h http.Header, _ *[]byte) {
				for k, v := range c.headers {
					if r.Method == http.MethodHead || !strings.HasPrefix(k, "X-Amz-Checksum") { // ranges have none
						h.Set(k, v)
					}
				}
			}
			object, got, err := s.fetch(S3Location{Key: "k"})
			if differs := c.sum == ""; differs != errors.Is(err, ErrDiffers) || !differs && (err != nil || !bytes.Equal(got, data)) || object.Sum != c.sum {
				t.Errorf("Fetch() = %+v, %v, want the sum %q", object, err, c.sum)
			}
			heads := 0
			for _, r := range s.requests {
				if strings.HasPrefix(r, "HEAD") {
					heads++
				}
			}
			if heads != c.heads {
				t.Errorf("%d questions for the checksum, want %d", heads, c.heads)
			}
		})
	}
}

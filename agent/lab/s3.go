package lab

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"go.uber.org/zap"
)

// objects is S3: gofakes3 with its memory backend, and around it what S3 does and that library does not: If-Match on
// reads, HEAD of a version, streamed uploads with trailers, entity tags of multipart uploads that stay, checksums
// only where they were asked for and hold.
type objects struct {
	backend *s3mem.Backend
	inner   http.Handler

	mu    sync.Mutex            // guards notes
	notes map[string]objectNote // by bucket/key@md5
}

// objectNote is what S3 would know of an object beside its content.
type objectNote struct {
	etag      string // of a multipart upload
	checksums http.Header
}

// quietLog drops gofakes3's chatter but for its errors.
type quietLog struct{ log *zap.Logger }

func (q quietLog) Print(level gofakes3.LogLevel, v ...any) {
	if level == gofakes3.LogErr {
		q.log.Warn(fmt.Sprint(v...))
	}
}

func newObjects(buckets []string, log *zap.Logger) (*objects, error) {
	o := &objects{backend: s3mem.New(), notes: map[string]objectNote{}}
	o.inner = gofakes3.New(o.backend, gofakes3.WithLogger(quietLog{log.Named("s3")}), gofakes3.WithTimeSkewLimit(0), gofakes3.WithMetadataSizeLimit(0)).Server()
	for _, b := range buckets {
		if err := gofakes3.ValidateBucketName(b); err != nil {
			return nil, fmt.Errorf("bucket %q: %w", b, err)
		}
		if err := o.backend.CreateBucket(b); err != nil {
			return nil, fmt.Errorf("bucket %q: %w", b, err)
		}
	}
	return o, nil
}

// put stores one object without the wire, in a bucket that is made if there is none.
func (o *objects) put(bucket, key string, body []byte) (etag, version string, err error) {
	if ok, _ := o.backend.BucketExists(bucket); !ok {
		if err := o.backend.CreateBucket(bucket); err != nil {
			return "", "", err
		}
	}
	r, err := o.backend.PutObject(bucket, key, map[string]string{}, bytes.NewReader(body), int64(len(body)), nil)
	if err != nil {
		return "", "", err
	}
	h, err := o.backend.HeadObject(bucket, key)
	if err != nil {
		return "", "", err
	}
	return hex.EncodeToString(h.Hash), string(r.VersionID), nil
}

// ServeHTTP answers S3 by path or, below localhost, by host name. Signatures are checked before it.
func (o *objects) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if bucket, isHost := virtualBucket(r.Host); isHost {
		r.URL.Path, r.URL.RawPath = "/"+bucket+r.URL.Path, ""
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	multipart := q.Has("uploads") || q.Has("uploadId")
	given := takeChecksums(r)
	if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		if err := unchunk(r, given); err != nil {
			writeS3Error(w, r, http.StatusBadRequest, "InvalidRequest", err.Error())
			return
		}
	}
	withHashedBody(r)
	for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Security-Token", "X-Amz-User-Agent"} {
		r.Header.Del(name) // else they would be kept as the object's metadata
	}
	switch {
	case key == "" || multipart && !(r.Method == http.MethodPost && q.Has("uploadId")):
		o.inner.ServeHTTP(w, r)
	case multipart:
		o.complete(w, r, bucket, key)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		o.read(w, r, bucket, key, gofakes3.VersionID(q.Get("versionId")))
	default:
		n := &noting{ResponseWriter: w, note: func(status int) {
			if r.Method == http.MethodPut && status == http.StatusOK {
				o.remember(bucket, key, strings.Trim(w.Header().Get("ETag"), `"`), objectNote{checksums: given})
			}
		}}
		o.inner.ServeHTTP(n, r)
		n.finish()
	}
}

// virtualBucket reads bucket.localhost.
func virtualBucket(host string) (string, bool) {
	name, _, _ := strings.Cut(host, ":")
	bucket, ok := strings.CutSuffix(name, ".localhost")
	return bucket, ok && bucket != ""
}

// takeChecksums takes the object checksums off a request, so that the library does not keep them beyond the content.
func takeChecksums(r *http.Request) http.Header {
	given := http.Header{}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-Checksum-") && name != "X-Amz-Checksum-Mode" && name != "X-Amz-Checksum-Algorithm" {
			given[name] = r.Header[name]
			delete(r.Header, name)
		}
	}
	return given
}

func (o *objects) remember(bucket, key, md5 string, n objectNote) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.notes[bucket+"/"+key+"@"+md5] = n
}

func (o *objects) note(bucket, key, md5 string) objectNote {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.notes[bucket+"/"+key+"@"+md5]
}

// head is the object's metadata, of one version if given.
func (o *objects) head(bucket, key string, version gofakes3.VersionID) (*gofakes3.Object, error) {
	if version != "" && version != "null" {
		return o.backend.HeadObjectVersion(bucket, key, version)
	}
	return o.backend.HeadObject(bucket, key)
}

// read answers GET and HEAD of an object.
func (o *objects) read(w http.ResponseWriter, r *http.Request, bucket, key string, version gofakes3.VersionID) {
	h, err := o.head(bucket, key, version)
	noted := &noting{ResponseWriter: w, note: func(int) {}}
	if err == nil && !h.IsDeleteMarker {
		n := o.note(bucket, key, hex.EncodeToString(h.Hash))
		etag := cmp.Or(n.etag, hex.EncodeToString(h.Hash))
		if want := r.Header.Get("If-Match"); want != "" && want != "*" && strings.Trim(want, `"`) != etag {
			writeS3Error(w, r, http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
			return
		}
		mode := r.Header.Get("X-Amz-Checksum-Mode")
		noted.note = func(status int) {
			if w.Header().Get("ETag") != "" {
				w.Header().Set("ETag", `"`+etag+`"`)
			}
			if status == http.StatusOK && strings.EqualFold(mode, "ENABLED") {
				for name, values := range n.checksums {
					w.Header()[name] = values
				}
			}
		}
	}
	if r.Method == http.MethodHead && version != "" && version != "null" && err == nil && !h.IsDeleteMarker {
		for name, value := range h.Metadata { // the library would answer for the latest version
			w.Header().Set(name, value)
		}
		w.Header().Set("X-Amz-Version-Id", string(version))
		w.Header().Set("ETag", hex.EncodeToString(h.Hash))
		w.Header().Set("Accept-Ranges", "bytes")
		w.Header().Set("Content-Length", strconv.FormatInt(h.Size, 10))
		noted.WriteHeader(http.StatusOK)
		return
	}
	o.inner.ServeHTTP(noted, r)
	noted.finish()
}

// complete ends a multipart upload and remembers its entity tag, which is not the content's MD5.
func (o *objects) complete(w http.ResponseWriter, r *http.Request, bucket, key string) {
	var answer bytes.Buffer
	status := http.StatusOK
	tee := &noting{ResponseWriter: w, note: func(s int) { status = s }, tee: &answer}
	o.inner.ServeHTTP(tee, r)
	var done struct{ ETag string }
	if status != http.StatusOK || xml.Unmarshal(answer.Bytes(), &done) != nil {
		return
	}
	if h, err := o.backend.HeadObject(bucket, key); err == nil {
		o.remember(bucket, key, hex.EncodeToString(h.Hash), objectNote{etag: strings.Trim(done.ETag, `"`)})
	}
}

// noting calls note when the header of an answer is about to go out.
type noting struct {
	http.ResponseWriter
	note   func(status int)
	tee    io.Writer
	headed bool
}

func (n *noting) Unwrap() http.ResponseWriter { return n.ResponseWriter }

func (n *noting) WriteHeader(status int) {
	if !n.headed {
		n.headed = true
		n.note(status)
	}
	n.ResponseWriter.WriteHeader(status)
}

func (n *noting) Write(p []byte) (int, error) {
	if !n.headed {
		n.WriteHeader(http.StatusOK)
	}
	if n.tee != nil {
		n.tee.Write(p) //nolint:errcheck // a buffer
	}
	return n.ResponseWriter.Write(p)
}

// finish is for a handler that wrote nothing, which is an answer too.
func (n *noting) finish() {
	if !n.headed {
		n.headed = true
		n.note(http.StatusOK)
	}
}

// writeS3Error answers in S3's shape.
func writeS3Error(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	id := requestID()
	w.Header().Set("X-Amz-Request-Id", id)
	w.Header().Set("Content-Type", "application/xml")
	body, err := xml.Marshal(struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		Resource  string
		RequestID string `xml:"RequestId"`
	}{Code: code, Message: message, Resource: r.URL.Path, RequestID: id})
	if err != nil || r.Method == http.MethodHead {
		body = nil
	}
	w.WriteHeader(status)
	w.Write(body)
}

var errChunk = errors.New("the aws-chunked body is malformed")

// unchunk replaces an aws-chunked body (chunk signatures are not checked) by what it carries, and puts trailing
// checksums to the given ones.
func unchunk(r *http.Request, given http.Header) error {
	size, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
	if err != nil || size < 0 {
		return fmt.Errorf("x-amz-decoded-content-length: %w", errChunk)
	}
	r.Body = newChunkReader(r.Body, given)
	r.ContentLength = size
	r.Header.Set("Content-Length", strconv.FormatInt(size, 10))
	for _, name := range []string{"X-Amz-Decoded-Content-Length", "X-Amz-Content-Sha256", "X-Amz-Trailer", "X-Amz-Sdk-Checksum-Algorithm"} {
		r.Header.Del(name)
	}
	if rest := strings.Trim(strings.ReplaceAll(r.Header.Get("Content-Encoding"), "aws-chunked", ""), ", "); rest != "" {
		r.Header.Set("Content-Encoding", rest)
	} else {
		r.Header.Del("Content-Encoding")
	}
	return nil
}

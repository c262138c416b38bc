package lab

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// A Call is one request that a service of the lab received, and what it was told.
type Call struct {
	Time      time.Time `json:"time"`
	Service   string    `json:"service"`
	Operation string    `json:"operation"`
	Path      string    `json:"path,omitempty"`
	Host      string    `json:"host,omitempty"`
	AccessKey string    `json:"accessKey,omitempty"`
	Agent     string    `json:"agent,omitempty"`
	Status    int       `json:"status"` // 0: the connection was broken
	Fault     string    `json:"fault,omitempty"`
	Took      float64   `json:"ms"`
	Bytes     int64     `json:"bytes"`
	// Request is the body of a call of a JSON service.
	Request json.RawMessage `json:"request,omitempty"`
}

// callLog keeps the calls and writes them as they end.
type callLog struct {
	mu    sync.Mutex // guards all below
	out   io.Writer
	calls []Call
	log   *zap.Logger
}

func (c *callLog) add(call Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.calls) >= maxKept {
		c.calls = append(c.calls[:0:0], c.calls[maxKept/2:]...)
	}
	c.calls = append(c.calls, call)
	if c.out == nil {
		return
	}
	line, err := json.Marshal(call)
	if err == nil {
		_, err = c.out.Write(append(line, '\n'))
	}
	if err != nil {
		c.log.Error("call log stopped", zap.Error(err))
		c.out = nil
	}
}

// list copies the calls of a service, of all for the empty one.
func (c *callLog) list(service string) []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []Call{}
	for _, call := range c.calls {
		if service == "" || call.Service == service {
			all = append(all, call)
		}
	}
	return all
}

// front is what stands before a service: the record of its calls, faults, and the check of signatures.
type front struct {
	service string
	handler http.Handler
	keys    *keyring // nil: the service checks for itself
	faults  *faults
	calls   *callLog
	refuse  func(w http.ResponseWriter, r *http.Request, status int, code, message string)
	seen    func(call *Call)
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	call := Call{Time: began, Service: f.service, Path: r.URL.RequestURI(), Operation: r.Method, Agent: r.Header.Get("X-Amz-Codedeploy-Agent-Version")}
	if s, err := parseSignature(r); err == nil {
		call.AccessKey = s.access
	}
	if target := r.Header.Get("X-Amz-Target"); target != "" && f.service != serviceS3 {
		call.Operation, call.Path = target[strings.LastIndexByte(target, '.')+1:], ""
		f.peek(r, &call)
	}
	if f.seen != nil {
		f.seen(&call)
	}
	rec, answered := &recorder{ResponseWriter: w}, false
	defer func() {
		if answered && rec.status == 0 && !rec.broken {
			rec.status = http.StatusOK
		}
		call.Status, call.Bytes, call.Took = rec.status, rec.bytes, float64(time.Since(began).Microseconds())/1000
		f.calls.add(call)
	}()
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.guard(w, r) })
	if fault := f.faults.take(f.service, call.Operation, r.URL.RequestURI()); fault != nil {
		call.Fault = fault.ID
		fault.serve(rec, r, guarded, f.refuse)
	} else {
		guarded(rec, r)
	}
	answered = true
}

// peek reads the body of a call of a JSON service for the record, and puts it back.
func (f *front) peek(r *http.Request, call *Call) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
	if err != nil || !json.Valid(body) {
		return
	}
	var compact bytes.Buffer
	if json.Compact(&compact, body) == nil {
		call.Request = compact.Bytes()
	}
	var who struct{ HostIdentifier string }
	if json.Unmarshal(body, &who) == nil {
		call.Host = who.HostIdentifier
	}
}

// guard checks the signature where that is the lab's part.
func (f *front) guard(w http.ResponseWriter, r *http.Request) {
	if f.keys != nil {
		var body func() ([]byte, error)
		if f.service != serviceS3 {
			body = func() ([]byte, error) {
				data, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
				r.Body = io.NopCloser(bytes.NewReader(data))
				return data, err
			}
		}
		if _, err := f.keys.check(r, body); err != nil {
			status, code := http.StatusBadRequest, err.code
			if f.service == serviceS3 {
				status, code = http.StatusForbidden, err.s3Code
			}
			f.refuse(w, r, status, code, err.message)
			return
		}
	}
	f.handler.ServeHTTP(w, r)
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	broken bool
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Hijack is how a fault takes the connection from under the answer.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.broken = true
	return http.NewResponseController(r.ResponseWriter).Hijack()
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// refuseJSON is an error of a JSON service.
func refuseJSON(w http.ResponseWriter, _ *http.Request, status int, code, message string) {
	writeAPIError(w, &apiError{code: code, message: message, status: status})
}

// refusePlain is an error of the metadata service.
func refusePlain(w http.ResponseWriter, _ *http.Request, status int, code, message string) {
	http.Error(w, code+": "+message, status)
}

package lab

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Services of the lab, as faults and the call log name them.
const (
	serviceControl  = "control"
	serviceDeploy   = "codedeploy"
	serviceS3       = "s3"
	serviceMetadata = "imds"
)

// A Fault spoils answers of one service while it is in. Its parts may be combined: a delay, then one of status,
// reset, truncation, tampering.
type Fault struct {
	// ID names it for removal; the lab gives one if it is empty.
	ID string `json:"id"`
	// Service is control, codedeploy, s3 or imds.
	Service string `json:"service"`
	// Operation restricts it: the name of a JSON operation, or the HTTP method for s3 and imds. Empty is any.
	Operation string `json:"operation,omitempty"`
	// Path restricts it to paths that contain this.
	Path string `json:"path,omitempty"`
	// Times is how many answers it spoils before it goes; 0 for all until it is removed.
	Times int `json:"times,omitempty"`
	// Skip lets so many matching calls pass first.
	Skip int `json:"skip,omitempty"`
	// Delay is how long the answer is held back: a duration as in 1.5s.
	Delay Duration `json:"delay,omitempty"`
	// Status, Code and Message make the answer an error of the service's shape. Code alone implies a status.
	Status  int    `json:"status,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// Reset breaks the connection without an answer.
	Reset bool `json:"reset,omitempty"`
	// TruncateAfter breaks the connection after so many bytes of the body.
	TruncateAfter int64 `json:"truncateAfter,omitempty"`
	// Tamper changes one byte in the middle of the body.
	Tamper bool `json:"tamper,omitempty"`
	// Body replaces the body of an answer that is otherwise good.
	Body string `json:"body,omitempty"`
	// Skew moves the clock of the control service: signatures are judged, and answers dated, by it.
	Skew Duration `json:"skew,omitempty"`
}

// Duration is a time.Duration that JSON writes as text.
type Duration time.Duration

// MarshalJSON writes "1.5s".
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads "1.5s", or a number of seconds.
func (d *Duration) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		text += "s"
	}
	v, err := time.ParseDuration(text)
	*d = Duration(v)
	return err
}

// statuses are the HTTP statuses that go with common codes.
var statuses = map[string]int{
	"ThrottlingException": 400, "SlowDown": 503, "AccessDenied": 403, "AccessDeniedException": 400, "InvalidAccessKeyId": 403,
	"SignatureDoesNotMatch": 403, "ExpiredToken": 400, "ExpiredTokenException": 400, "InternalError": 500, "InternalFailure": 500,
	"ServiceUnavailable": 503, "PreconditionFailed": 412, "NoSuchKey": 404, "NoSuchVersion": 404, "ServerException": 500,
}

// check completes a fault, or says what is wrong with it.
func (f *Fault) check() error {
	if !slices.Contains([]string{serviceControl, serviceDeploy, serviceS3, serviceMetadata}, f.Service) {
		return fmt.Errorf("service %q: give control, codedeploy, s3 or imds", f.Service)
	}
	if f.Code != "" && f.Status == 0 {
		f.Status = cmp.Or(statuses[f.Code], http.StatusBadRequest)
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("status %d: give 200 to 599", f.Status)
	}
	if f.Times < 0 || f.Skip < 0 || f.Delay < 0 || f.TruncateAfter < 0 {
		return fmt.Errorf("fault %s: negative numbers mean nothing", f.ID)
	}
	if f.Skew != 0 && f.Service != serviceControl {
		return fmt.Errorf("skew: only the control service has a clock of its own")
	}
	if f.Delay == 0 && f.Status == 0 && !f.Reset && f.TruncateAfter == 0 && !f.Tamper && f.Body == "" && f.Skew == 0 {
		return fmt.Errorf("the fault spoils nothing: give delay, status, code, reset, truncateAfter, tamper, body or skew")
	}
	return nil
}

// faults are those that are in.
type faults struct {
	mu   sync.Mutex // guards all below
	in   []*Fault
	last int
	hub  *hub
}

// add puts a fault in and returns its id.
func (s *faults) add(f Fault) (string, error) {
	if err := f.check(); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	f.ID = cmp.Or(f.ID, "f"+strconv.Itoa(s.last))
	s.in = slices.DeleteFunc(s.in, func(have *Fault) bool { return have.ID == f.ID })
	s.in = append(s.in, &f)
	s.hub.publish(Event{Kind: "fault", Target: f.ID, Status: "in", Message: f.Service + " " + f.Operation})
	return f.ID, nil
}

// remove takes out the fault with that id, all for the empty one, and tells how many went.
func (s *faults) remove(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.in)
	s.in = slices.DeleteFunc(s.in, func(f *Fault) bool { return id == "" || f.ID == id })
	return before - len(s.in)
}

// list copies what is in.
func (s *faults) list() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []Fault{}
	for _, f := range s.in {
		all = append(all, *f)
	}
	return all
}

// take returns the fault that spoils a call, if any, and counts it down.
func (s *faults) take(service, operation, path string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.in {
		if f.Service != service || f.Operation != "" && !strings.EqualFold(f.Operation, operation) || !strings.Contains(path, f.Path) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		spoil := *f
		if f.Times == 1 {
			s.in = slices.Delete(s.in, i, i+1)
			s.hub.publish(Event{Kind: "fault", Target: f.ID, Status: "used up"})
		} else if f.Times > 1 {
			f.Times--
		}
		return &spoil
	}
	return nil
}

// serve lets h answer as the fault has it. It may panic with http.ErrAbortHandler, which breaks the connection.
func (f *Fault) serve(w http.ResponseWriter, r *http.Request, h http.Handler, refuse func(http.ResponseWriter, *http.Request, int, string, string)) {
	if f.Delay > 0 {
		t := time.NewTimer(time.Duration(f.Delay))
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case f.Reset:
		reset(w)
	case f.Status >= 300:
		io.Copy(io.Discard, io.LimitReader(r.Body, maxBody)) //nolint:errcheck // so that the client gets to read the answer
		refuse(w, r, f.Status, cmp.Or(f.Code, defaultCode(f.Status)), cmp.Or(f.Message, "a fault of the lab"))
	case f.Body != "":
		w.Header().Set("Content-Length", strconv.Itoa(len(f.Body)))
		w.WriteHeader(cmp.Or(f.Status, http.StatusOK))
		io.WriteString(w, f.Body)
	case f.TruncateAfter > 0:
		h.ServeHTTP(&truncating{ResponseWriter: w, left: f.TruncateAfter}, r)
		http.NewResponseController(w).Flush() //nolint:errcheck // the connection is lost either way
		panic(http.ErrAbortHandler)           // closed, not reset: what was sent is to arrive
	case f.Tamper:
		h.ServeHTTP(&tampering{ResponseWriter: w}, r)
	default:
		h.ServeHTTP(w, r)
	}
}

// defaultCode is an error code for a bare status.
func defaultCode(status int) string {
	switch {
	case status == http.StatusTooManyRequests:
		return "ThrottlingException"
	case status == http.StatusServiceUnavailable:
		return "SlowDown"
	case status == http.StatusForbidden:
		return "AccessDenied"
	case status == http.StatusPreconditionFailed:
		return "PreconditionFailed"
	case status >= http.StatusInternalServerError:
		return "InternalFailure"
	}
	return "ClientException"
}

// reset breaks the connection as a lost peer would.
func reset(w http.ResponseWriter) {
	type lingerer interface{ SetLinger(int) error }
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2 has no connection to hand out
	}
	if c, ok := conn.(lingerer); ok {
		c.SetLinger(0) //nolint:errcheck // else it is closed in the polite way
	}
	conn.Close()
}

// truncating swallows the body from some byte on; the length that was announced stays.
type truncating struct {
	http.ResponseWriter
	left int64
}

func (t *truncating) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *truncating) Write(p []byte) (int, error) {
	n := int64(len(p))
	if n > t.left {
		n = t.left
	}
	t.left -= n
	if _, err := t.ResponseWriter.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// tampering changes the middle byte of the first piece of the body.
type tampering struct {
	http.ResponseWriter
	done bool
}

func (t *tampering) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *tampering) Write(p []byte) (int, error) {
	if t.done || len(p) == 0 {
		return t.ResponseWriter.Write(p)
	}
	t.done = true
	changed := bytes.Clone(p)
	changed[len(p)/2] ^= 0x01
	return t.ResponseWriter.Write(changed)
}

package controltest

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Fault is something that goes wrong on request. Delay and SkewClock alone leave the call to be answered as ever.
type Fault struct {
	Operation string // that it befalls; any if empty
	Host      string // that it befalls; any if empty
	Skip      int    // so many calls are spared first
	Times     int    // so many calls are befallen; all until the fault is removed if zero

	Delay     time.Duration // before the call is looked at
	SkewClock time.Duration // what the clock of the service is ahead for this call

	// After has the call carried out first, so that only its answer is lost or spoilt. Otherwise the fault comes instead.
	After bool

	Status        int           // HTTP status; 400 if Code is given
	Code          string        // error code, in the body
	CodeInHeader  bool          // in the header X-Amzn-Errortype rather than the body
	Message       string        // of the error
	RetryAfter    time.Duration // in whole seconds
	Body          []byte        // is sent as it is
	Reset         bool          // the connection is reset, without an answer
	TruncateAfter int           // the connection ends after so many bytes of the answer's body, which is that of the call unless Body is given
}

// fault is a Fault under way.
type fault struct {
	Fault
	seen int
}

// instead reports whether the call is not carried out.
func (f *Fault) instead() bool { return f.spoils() && !f.After }

// spoils reports whether the answer is not the right one.
func (f *Fault) spoils() bool {
	return f.Reset || f.Status != 0 || f.Code != "" || f.Body != nil
}

// Inject begins a fault. Faults apply in the order in which they were injected, one to a call. remove ends it.
func (s *Server) Inject(f Fault) (remove func()) {
	if f.TruncateAfter > 0 && !f.spoils() {
		f.After = true
	}
	n := &fault{Fault: f}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, n)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = slices.DeleteFunc(s.faults, func(x *fault) bool { return x == n })
	}
}

// Throttled is the fault of a service that wants fewer calls, Denied of one that does not let the host in, Broken of one out of order.
func Throttled(operation string, times int) Fault {
	return Fault{Operation: operation, Times: times, Status: 400, Code: "ThrottlingException", Message: "Rate exceeded"}
}

// Denied is what a host without permission meets.
func Denied(operation string, times int) Fault {
	return Fault{Operation: operation, Times: times, Status: 400, Code: "AccessDeniedException", Message: "User is not authorized to perform: codedeploy-commands-secure:" + operation}
}

// Broken is a service that is out of order.
func Broken(operation string, times int) Fault {
	return Fault{Operation: operation, Times: times, Status: 500, Code: "ServerException"}
}

// takeFault is the fault that befalls a call, if any.
func (s *Server) takeFault(operation, host string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.Operation != "" && f.Operation != operation || f.Host != "" && f.Host != host {
			continue
		}
		f.seen++
		if f.seen <= f.Skip || f.Times > 0 && f.seen > f.Skip+f.Times {
			continue
		}
		taken := f.Fault
		return &taken
	}
	return nil
}

// spoil answers a call as a fault wants it.
func (s *Server) spoil(w http.ResponseWriter, r *http.Request, f *Fault, call *Call, answer any, bad *failure, clock time.Time) {
	if f.Reset {
		s.record(*call)
		reset(w)
		return
	}
	status, body := encodeAnswer(answer, bad)
	if bad != nil {
		call.Code = bad.code
	}
	extra := http.Header{}
	if f.Status != 0 {
		status, body = f.Status, nil
	}
	if f.Code != "" {
		call.Code = f.Code
		if f.Status == 0 {
			status = http.StatusBadRequest
		}
		body = errorBody(f.Code, f.Message)
		if f.CodeInHeader {
			extra.Set("X-Amzn-Errortype", f.Code+":http://internal.amazon.com/coral/")
			body = nil
		}
	}
	if f.Body != nil {
		body = f.Body
		if status == 0 {
			status = http.StatusOK
		}
	}
	if f.RetryAfter > 0 {
		extra.Set("Retry-After", strconv.Itoa(int(f.RetryAfter/time.Second)))
	}
	call.Status = status
	s.record(*call)
	if status == 0 {
		return
	}
	if f.TruncateAfter > 0 && f.TruncateAfter < len(body) {
		extra.Set("Content-Length", strconv.Itoa(len(body)))
		write(w, status, body[:f.TruncateAfter], clock, extra)
		if flusher, ok := w.(http.Flusher); ok {
			flusher.Flush()
		}
		panic(http.ErrAbortHandler) // ends the connection short of what was promised
	}
	write(w, status, body, clock, extra)
}

// reset ends the connection so that the peer is told (RST), where there is one to end.
func reset(w http.ResponseWriter) {
	if h, ok := w.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			conn.Close()
			return
		}
	}
	panic(http.ErrAbortHandler)
}

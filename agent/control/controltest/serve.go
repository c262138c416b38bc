package controltest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// maxBody is the longest request that is read.
const maxBody = 1 << 20

// prefixes of X-Amz-Target and signing names (P-11).
const (
	plainPrefix, plainName   = "CodeDeployCommandService_v20141006", "codedeploy-commands"
	securePrefix, secureName = "CodeDeployCommandService", "codedeploy-commands-secure"
	mockPrefix               = "ApolloDeployControlService_mock"
)

func (s *Server) prefix() (prefix, signingName string) {
	switch {
	case s.opts.Secure:
		return securePrefix, secureName
	case s.opts.Mock:
		return mockPrefix, plainName
	}
	return plainPrefix, plainName
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "request too large or cut off", http.StatusRequestEntityTooLarge)
		return
	}
	call := Call{At: time.Now(), Header: r.Header.Clone()}
	_, call.Operation, _ = strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	fields, jsonErr := decodeFields(body)
	call.Body = fields
	call.Host = s.hostOf(fields)

	fault := s.takeFault(call.Operation, call.Host)
	clock := s.clock()
	if fault != nil {
		clock = clock.Add(fault.SkewClock)
		if !pause(r.Context(), fault.Delay) {
			s.record(call)
			return
		}
	}
	var answer any
	var bad *failure
	if fault == nil || !fault.instead() {
		answer, bad = s.answer(r, body, fields, jsonErr, clock)
	}
	if fault != nil && (fault.instead() || fault.After) {
		s.spoil(w, r, fault, &call, answer, bad, clock)
		return
	}
	status, out := encodeAnswer(answer, bad)
	if bad != nil {
		call.Code = bad.code
	}
	call.Status = status
	s.record(call)
	if status != 0 {
		write(w, status, out, clock, nil)
	}
}

// decodeFields reads the JSON object of a request.
func decodeFields(body []byte) (map[string]any, error) {
	fields := map[string]any{}
	if err := json.Unmarshal(body, &fields); err != nil {
		return map[string]any{}, err
	}
	return fields, nil
}

// hostOf says which host a call is from.
func (s *Server) hostOf(fields map[string]any) string {
	if host, ok := fields["HostIdentifier"].(string); ok {
		return host
	}
	id, _ := fields["HostCommandIdentifier"].(string)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.byID[id]; ok {
		return c.Command.HostID
	}
	return ""
}

// clock is the time as the service has it.
func (s *Server) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.skew)
}

// answer checks a call and carries it out.
func (s *Server) answer(r *http.Request, body []byte, fields map[string]any, jsonErr error, clock time.Time) (any, *failure) {
	prefix, name := s.prefix()
	got, op, ok := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	run := operations[op]
	switch {
	case r.Method != http.MethodPost:
		return nil, &failure{http.StatusMethodNotAllowed, "UnknownOperationException", "only POST is answered"}
	case !ok || got != prefix || run == nil:
		return nil, &failure{http.StatusBadRequest, "UnknownOperationException", "there is no operation " + r.Header.Get("X-Amz-Target")}
	case r.Header.Get("Content-Type") != "application/x-amz-json-1.1":
		return nil, &failure{http.StatusBadRequest, "SerializationException", "the content type is not application/x-amz-json-1.1"}
	}
	if bad := s.authenticate(r, body, name, clock); bad != nil {
		return nil, bad
	}
	if jsonErr != nil {
		return nil, &failure{http.StatusBadRequest, "SerializationException", "the body is not a JSON object"}
	}
	return run(s, r.Context(), request{fields: fields, version: r.Header.Get(versionHeader)})
}

// encodeAnswer makes the HTTP answer; status 0 means that nobody waits for it any more.
func encodeAnswer(answer any, bad *failure) (int, []byte) {
	if bad != nil {
		if bad.status == 0 {
			return 0, nil
		}
		return bad.status, errorBody(bad.code, bad.message)
	}
	if answer == nil {
		return http.StatusOK, nil // the empty body of P-22
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(answer); err != nil {
		return http.StatusInternalServerError, errorBody("ServerException", err.Error())
	}
	return http.StatusOK, bytes.TrimSpace(b.Bytes())
}

// errorBody is how the service words an error (P-29).
func errorBody(code, message string) []byte {
	data, err := json.Marshal(map[string]string{"__type": "com.amazonaws.codedeploy.commandservice#" + code, "message": message})
	if err != nil {
		return nil
	}
	return data
}

// write sends an answer.
func write(w http.ResponseWriter, status int, body []byte, clock time.Time, extra http.Header) {
	h := w.Header()
	h.Set("Content-Type", "application/x-amz-json-1.1")
	h.Set("X-Amzn-Requestid", requestID())
	h.Set("Date", clock.UTC().Format(http.TimeFormat))
	h.Set("Content-Length", strconv.Itoa(len(body)))
	for k, v := range extra {
		h[k] = v
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// record remembers a call.
func (s *Server) record(c Call) {
	s.mu.Lock()
	if len(s.calls) >= s.opts.MaxCall {
		s.calls = append(s.calls[:0:0], s.calls[len(s.calls)-s.opts.MaxCall+1:]...)
	}
	s.calls = append(s.calls, c)
	s.mu.Unlock()
	s.log.Debug("call", zap.String("operation", c.Operation), zap.String("host", c.Host), zap.Int("status", c.Status), zap.String("code", c.Code))
	if s.opts.OnCall != nil {
		s.opts.OnCall(c)
	}
}

// pause waits unless the caller goes away first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func requestID() string {
	return fmt.Sprintf("%016x", time.Now().UnixNano())
}

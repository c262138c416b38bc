package controltest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway/agent/control/controltest"
)

// hand is a request signed by hand: SigV4 as its specification words it, to check the verifier against something else than the library
// that it is made of.
type hand struct {
	body, target, region, service, secret, token string
	at                                           time.Time
	unsigned                                     []string // headers that the signature leaves out
	more                                         map[string]string
	without                                      []string
	spoil                                        func(*http.Request)
}

func (h hand) request() *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://service.example/", strings.NewReader(h.body))
	stamp := h.at.UTC().Format("20060102T150405Z")
	headers := map[string]string{
		"host": "service.example", "content-type": "application/x-amz-json-1.1", "x-amz-target": h.target, "x-amz-date": stamp, "x-amz-codedeploy-agent-version": "2.1.0",
	}
	if h.token != "" {
		headers["x-amz-security-token"] = h.token
	}
	for k, v := range h.more {
		headers[k] = v
	}
	for _, k := range h.without {
		delete(headers, k)
	}
	var names []string
	for k, v := range headers {
		r.Header.Set(k, v)
		if !slices.Contains(h.unsigned, k) {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	canonical := "POST\n/\n\n"
	for _, k := range names {
		canonical += k + ":" + headers[k] + "\n"
	}
	hash := sha256.Sum256([]byte(h.body))
	canonical += "\n" + strings.Join(names, ";") + "\n" + hex.EncodeToString(hash[:])
	day := stamp[:8]
	scope := day + "/" + h.region + "/" + h.service + "/aws4_request"
	sum := sha256.Sum256([]byte(canonical))
	toSign := "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	key := []byte("AWS4" + h.secret)
	for _, part := range []string{day, h.region, h.service, "aws4_request", toSign} {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(part))
		key = m.Sum(nil)
	}
	r.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%x", access, scope, strings.Join(names, ";"), key))
	if h.spoil != nil {
		h.spoil(r)
	}
	return r
}

// TestSignatures: what a service accepts and what it answers otherwise (P-11, P-12, P-13).
func TestSignatures(t *testing.T) {
	good := hand{
		body: `{"HostIdentifier":"` + host + `"}`, target: "CodeDeployCommandService_v20141006.PollHostCommand", region: "us-east-1",
		service: "codedeploy-commands", secret: secret, at: time.Now(),
	}
	for _, tc := range []struct {
		name string
		edit func(*hand)
		want string // error code; "" for success
		text string // in its message
	}{
		{"V-2: without x-amz-content-sha256", func(*hand) {}, "", ""},
		{"with content-length", func(h *hand) { h.more = map[string]string{"content-length": fmt.Sprint(len(h.body))} }, "", ""},
		{"a header more", func(h *hand) { h.more = map[string]string{"x-amz-more": "a"} }, "", ""},
		{"wrong secret", func(h *hand) { h.secret = "guess" }, "InvalidSignatureException", "does not match"},
		{"wrong region", func(h *hand) { h.region = "eu-west-1" }, "InvalidSignatureException", "valid region"},
		{"wrong service", func(h *hand) { h.service = "codedeploy" }, "InvalidSignatureException", "correct service"},
		{"fips in the signing name", func(h *hand) { h.service = "codedeploy-commands-fips" }, "InvalidSignatureException", "correct service"},
		{"version not signed", func(h *hand) { h.unsigned = []string{"x-amz-codedeploy-agent-version"} }, "InvalidSignatureException", "x-amz-codedeploy-agent-version"},
		{"version missing", func(h *hand) { h.without = []string{"x-amz-codedeploy-agent-version"} }, "ClientException", "Version"},
		{"target not signed", func(h *hand) { h.unsigned = []string{"x-amz-target"} }, "InvalidSignatureException", "x-amz-target"},
		{"body changed", func(h *hand) {
			h.spoil = func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(`{"HostIdentifier":"x"}`)) }
		}, "InvalidSignatureException", ""},
		{"header changed", func(h *hand) { h.spoil = func(r *http.Request) { r.Header.Set("X-Amz-Codedeploy-Agent-Version", "3") } }, "InvalidSignatureException", "does not match"},
		{"sum of another body", func(h *hand) { h.more = map[string]string{"x-amz-content-sha256": strings.Repeat("0", 64)} }, "InvalidSignatureException", "sum of the body"},
		{"no signature", func(h *hand) { h.spoil = func(r *http.Request) { r.Header.Del("Authorization") } }, "MissingAuthenticationTokenException", ""},
		{"other kind of signature", func(h *hand) { h.spoil = func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") } }, "IncompleteSignatureException", ""},
		{"unknown key", func(h *hand) {
			h.spoil = func(r *http.Request) {
				r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), access, "AKIAOTHER", 1))
			}
		}, "UnrecognizedClientException", ""},
		{"token that is not known", func(h *hand) { h.token = "t" }, "UnrecognizedClientException", ""},
		{"four minutes slow", func(h *hand) { h.at = h.at.Add(-4 * time.Minute) }, "", ""},
		{"six minutes slow", func(h *hand) { h.at = h.at.Add(-6 * time.Minute) }, "InvalidSignatureException", "Signature expired: "},
		{"six minutes fast", func(h *hand) { h.at = h.at.Add(6 * time.Minute) }, "InvalidSignatureException", "Signature not yet current: "},
		{"other model", func(h *hand) { h.target = "CodeDeployCommandService.PollHostCommand" }, "UnknownOperationException", ""},
		{"other operation", func(h *hand) { h.target = "CodeDeployCommandService_v20141006.CreateDeployment" }, "UnknownOperationException", ""},
		{"other content type", func(h *hand) { h.more = map[string]string{"content-type": "application/json"} }, "SerializationException", ""},
		{"other method", func(h *hand) { h.spoil = func(r *http.Request) { r.Method = http.MethodPut } }, "UnknownOperationException", ""},
		{"body is no JSON", func(h *hand) { h.body = "x" }, "SerializationException", ""},
		{"member missing", func(h *hand) { h.body = "{}" }, "ValidationException", "HostIdentifier"},
		{"member of another type", func(h *hand) { h.body = `{"HostIdentifier":1}` }, "SerializationException", "HostIdentifier"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, controltest.Options{})
			h := good
			tc.edit(&h)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, h.request())
			var body struct {
				Type    string `json:"__type"`
				Message string `json:"message"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatalf("%d %s: %v", w.Code, w.Body, err)
			}
			code := body.Type[strings.LastIndex(body.Type, "#")+1:]
			if code != tc.want || !strings.Contains(body.Message, tc.text) || (w.Code == http.StatusOK) != (tc.want == "") {
				t.Errorf("%d %s, want %s %q", w.Code, w.Body, tc.want, tc.text)
			}
			if calls := s.Calls(); len(calls) != 1 || calls[0].Code != tc.want || calls[0].Status != w.Code {
				t.Errorf("calls: %+v", calls)
			}
		})
	}
}

package control_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

// errorRules are P-29 and P-30.
var errorRules = []rule{
	{"P-29_error_code_and_message", func(t *testing.T) {
		const h = "X-Amzn-Errortype"
		for _, tc := range []struct {
			name          string
			status        int
			header, body  string
			code, message string
		}{
			{"body __type after #", 400, "Wrong", `{"__type":"com.amazonaws.x#Right","code":"Wrong","message":"m"}`, "Right", "m"},
			{"body __type bare", 400, "", `{"__type":"Right","Message":"M"}`, "Right", "M"},
			{"body __type after the last #", 400, "", `{"__type":"a#b#Right"}`, "Right", ""},
			{"body code", 400, "Wrong", `{"code":"Right","message":"m"}`, "Right", "m"},
			{"body __type empty", 400, "", `{"__type":"","code":"Right"}`, "Right", ""},
			{"body __type ends with #", 400, "", `{"__type":"a#","code":"Right"}`, "Right", ""},
			{"header", 400, "Right", `{"message":"m"}`, "Right", "m"},
			{"header with URL", 400, "Right:http://internal.amazon.com/coral/x/", ``, "Right", ""},
			{"header with namespace", 400, "ns#Right:http://x/", ``, "Right", ""},
			{"message before Message", 400, "", `{"__type":"Right","message":"m","Message":"M"}`, "Right", "m"},
			{"status alone", 418, "", ``, "Http418Error", ""},
			{"status with HTML", 502, "", `<html><body>Bad Gateway</body></html>`, "Http502Error", ""},
			{"status with an array", 500, "", `["__type"]`, "Http500Error", ""},
			{"members of other types", 500, "", `{"__type":7,"code":{"a":1},"message":["x"]}`, "Http500Error", ""},
			{"redirect is an error", 302, "", ``, "Http302Error", ""},
			{"text on one line", 400, "", `{"__type":"Right","message":"a\nb\u0007c"}`, "Right", "a b c"},
			{"long text is cut", 400, "", `{"__type":"Right","message":"` + strings.Repeat("x", 5000) + `"}`, "Right", strings.Repeat("x", 1024) + "…"},
		} {
			t.Run(tc.name, func(t *testing.T) {
				c := newClient(t, "https://service.example", func(o *control.Options) {
					o.HTTP = &http.Client{Transport: inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if tc.header != "" {
							w.Header().Set(h, tc.header)
						}
						w.Header().Set("Location", "https://elsewhere.example/")
						w.Header().Set("X-Amzn-Requestid", "req-1")
						w.WriteHeader(tc.status)
						w.Write([]byte(tc.body))
					})}}
				})
				// One attempt, so that 5xx need no time.
				err := c.Complete(t.Context(), "id", control.Failed, control.Envelope{})
				want := &control.APIError{Operation: "PutHostCommandComplete", Code: tc.code, Message: tc.message, RequestID: "req-1", HTTPStatus: tc.status}
				if diff := cmp.Diff(want, apiError(t, err)); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
			})
		}
	}},
	{"P-29_service_errors_over_http", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		remove := s.Inject(controltest.Fault{Code: "ClientException", Message: "no", CodeInHeader: true})
		if e := apiError(t, c.Complete(t.Context(), "id", control.Failed, control.Envelope{})); e.Code != "ClientException" || e.HTTPStatus != 400 || e.RequestID == "" {
			t.Errorf("%+v", e)
		}
		remove()
		_, err := c.Acknowledge(t.Context(), "unknown", control.Envelope{})
		if e := apiError(t, err); e.Code != "ClientException" || e.Message == "" || !e.Terminal() {
			t.Errorf("%+v", e)
		}
	}},
	{"P-30_what_an_error_means", func(t *testing.T) {
		for _, tc := range []struct {
			e    control.APIError
			want string // throttled, skewed, expired, denied, terminal, or "" for passing faults
		}{
			{control.APIError{HTTPStatus: 400, Code: "ClientException"}, "terminal"},
			{control.APIError{HTTPStatus: 500, Code: "ServerException"}, ""},
			{control.APIError{HTTPStatus: 503, Code: "Http503Error"}, ""},
			{control.APIError{HTTPStatus: 400, Code: "ValidationException"}, "terminal"},
			{control.APIError{HTTPStatus: 404, Code: "ResourceNotFoundException"}, "terminal"},
			{control.APIError{HTTPStatus: 404, Code: "Http404Error"}, ""},
			{control.APIError{HTTPStatus: 302, Code: "Http302Error"}, ""},
			{control.APIError{HTTPStatus: 407, Code: "Http407Error"}, ""},
			{control.APIError{HTTPStatus: 408, Code: "Http408Error"}, ""},
			{control.APIError{HTTPStatus: 400, Code: "ThrottlingException"}, "throttled"},
			{control.APIError{HTTPStatus: 400, Code: "RequestThrottledException"}, "throttled"},
			{control.APIError{HTTPStatus: 400, Code: "LimitExceededException"}, "throttled"},
			{control.APIError{HTTPStatus: 503, Code: "SlowDown"}, "throttled"},
			{control.APIError{HTTPStatus: 429, Code: "Http429Error"}, "throttled"},
			{control.APIError{HTTPStatus: 400, Code: "ClientException", Message: "Rate exceeded"}, "throttled"},
			{control.APIError{HTTPStatus: 400, Code: "RequestTimeTooSkewed"}, "skewed"},
			{control.APIError{HTTPStatus: 400, Code: "InvalidSignatureException", Message: "Signature expired: a is now earlier than b"}, "skewed"},
			{control.APIError{HTTPStatus: 400, Code: "InvalidSignatureException", Message: "Signature not yet current: a is still later than b"}, "skewed"},
			{control.APIError{HTTPStatus: 403, Code: "SignatureDoesNotMatch", Skew: time.Hour}, "skewed"},
			{control.APIError{HTTPStatus: 400, Code: "InvalidSignatureException", Message: "The request signature we calculated does not match"}, "denied"},
			{control.APIError{HTTPStatus: 400, Code: "ExpiredTokenException"}, "expired"},
			{control.APIError{HTTPStatus: 403, Code: "ExpiredToken"}, "expired"},
			{control.APIError{HTTPStatus: 400, Code: "UnrecognizedClientException"}, "denied"},
			{control.APIError{HTTPStatus: 400, Code: "AccessDeniedException"}, "denied"},
			{control.APIError{HTTPStatus: 400, Code: "MissingAuthenticationTokenException"}, "denied"},
			{control.APIError{HTTPStatus: 403, Code: "Http403Error"}, "denied"},
			{control.APIError{HTTPStatus: 401, Code: "Http401Error"}, "denied"},
		} {
			got := map[string]bool{
				"throttled": tc.e.Throttled(), "skewed": tc.e.ClockSkewed(), "expired": tc.e.Expired(), "denied": tc.e.Denied(), "terminal": tc.e.Terminal(),
			}
			want := map[string]bool{"throttled": false, "skewed": false, "expired": false, "denied": false, "terminal": false}
			if tc.want != "" {
				want[tc.want] = true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%d %s %q (-want +got):\n%s", tc.e.HTTPStatus, tc.e.Code, tc.e.Message, diff)
			}
		}
	}},
}

// TestLongAnswer: an answer without end is not read to its end.
func TestLongAnswer(t *testing.T) {
	s, c := peers(t, controltest.Options{}, nil)
	long := []byte(`{"DeploymentSystem":"` + strings.Repeat("x", 4<<20) + `"}`)
	for _, status := range []int{200, 400} {
		remove := s.Inject(controltest.Fault{Status: status, Body: long})
		_, err := c.Poll(t.Context())
		malformed, ok := errors.AsType[*control.ResponseError](err)
		if status == 200 && (!ok || !strings.Contains(malformed.Error(), "longer than 4194304 bytes")) {
			t.Errorf("Poll() = %v", err)
		}
		if status == 400 && apiError(t, err).Code != "Http400Error" {
			t.Errorf("Poll() = %v", err)
		}
		remove()
	}
}

// TestErrorTexts: an error says what was done, to whom, and what came of it.
func TestErrorTexts(t *testing.T) {
	base := errors.New("cause")
	for _, tc := range []struct {
		err  error
		want string
	}{
		{
			&control.APIError{Operation: "PollHostCommand", Code: "AccessDeniedException", HTTPStatus: 400, Message: "not you", RequestID: "r"},
			"PollHostCommand: AccessDeniedException (HTTP 400): not you [request r]",
		},
		{
			&control.APIError{Operation: "PollHostCommand", Code: "RequestTimeTooSkewed", HTTPStatus: 400, Skew: 10 * time.Minute},
			"PollHostCommand: RequestTimeTooSkewed (HTTP 400); it was signed 10m0s behind the service's clock",
		},
		{
			&control.APIError{Operation: "PollHostCommand", Code: "RequestTimeTooSkewed", HTTPStatus: 400, Skew: -time.Hour},
			"PollHostCommand: RequestTimeTooSkewed (HTTP 400); it was signed 1h0m0s ahead of the service's clock",
		},
		{&control.TransportError{Operation: "PollHostCommand", Endpoint: "https://x", Err: base}, "PollHostCommand at https://x: cause"},
		{
			&control.TransportError{Operation: "PollHostCommand", Endpoint: "https://x", Err: base, Certificate: true},
			"PollHostCommand at https://x: cause; if a proxy or an endpoint of your own stands in between, name its CA in AWS_SSL_CA_BUNDLE",
		},
		{&control.SpecError{ExecutionID: "a/b/c/d", Reason: "no"}, "specification of a/b/c/d: no"},
		{&control.ResponseError{Operation: "PollHostCommand", RequestID: "r", Err: base}, "PollHostCommand: malformed answer: cause [request r]"},
	} {
		if diff := cmp.Diff(tc.want, tc.err.Error()); diff != "" {
			t.Errorf("text (-want +got):\n%s", diff)
		}
	}
}

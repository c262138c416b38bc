package control_test

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

// requestRules are section 2 of the protocol: the form of a request.
var requestRules = []rule{
	{"P-9_post_json_1.1_to_the_root", func(t *testing.T) {
		s := newServer(t, controltest.Options{})
		var method, target, contentType string
		var length int64
		c := newClient(t, "https://service.example", func(o *control.Options) {
			o.HTTP = &http.Client{Transport: inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				method, target, contentType, length = r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), r.ContentLength
				s.ServeHTTP(w, r)
			})}}
		})
		if _, err := c.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := []any{method, target, contentType, length}
		want := []any{"POST", "/", "application/x-amz-json-1.1", int64(len(`{"HostIdentifier":""}`) + len(hostID))}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("request (-want +got):\n%s", diff)
		}
	}},
	{"P-9_empty_body_is_an_empty_object", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		defer s.Inject(controltest.Fault{Status: 200, Body: []byte{}})()
		if cmd, err := c.Poll(t.Context()); cmd != nil || err != nil {
			t.Errorf("Poll() = %v, %v", cmd, err)
		}
		if status, err := c.Acknowledge(t.Context(), "id", control.NoopDiagnostics(true)); status != "" || err != nil {
			t.Errorf("Acknowledge() = %q, %v", status, err)
		}
		if err := c.Complete(t.Context(), "id", control.Succeeded, control.Diagnostics{}.Envelope()); err != nil {
			t.Errorf("Complete() = %v", err)
		}
		if _, err := c.Spec(t.Context(), "a/b/c/d"); err == nil {
			t.Error("Spec() is content with nothing")
		}
	}},
	{"P-10_target_names_the_operation", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		id := s.Enqueue(controltest.Command{HostID: hostID, Name: "Install", Spec: s.Sign([]byte("{}"))})
		cmd, err := c.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err1 := c.Spec(t.Context(), cmd.ExecutionID)
		_, err2 := c.Acknowledge(t.Context(), id, control.NoopDiagnostics(false))
		_, err3 := c.Update(t.Context(), id, time.Now(), control.Envelope{})
		err4 := c.Complete(t.Context(), id, control.Succeeded, control.Diagnostics{}.Envelope())
		for _, err := range []error{err1, err2, err3, err4} {
			if err != nil {
				t.Error(err)
			}
		}
		var got []string
		for _, call := range s.Calls() {
			got = append(got, call.Header.Get("X-Amz-Target"))
		}
		want := []string{"PollHostCommand", "GetDeploymentSpecification", "PutHostCommandAcknowledgement", "PostHostCommandUpdate", "PutHostCommandComplete"}
		for i := range want {
			want[i] = "CodeDeployCommandService_v20141006." + want[i]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("targets (-want +got):\n%s", diff)
		}
	}},
	{"P-11_models", func(t *testing.T) {
		for _, tc := range []struct {
			name         string
			secure, mock bool
			target       string
			signingName  string
		}{
			{"default", false, false, "CodeDeployCommandService_v20141006", "codedeploy-commands"},
			{"auth policy", true, false, "CodeDeployCommandService", "codedeploy-commands-secure"},
			{"mock", false, true, "ApolloDeployControlService_mock", "codedeploy-commands"},
		} {
			t.Run(tc.name, func(t *testing.T) {
				s, c := peers(t, controltest.Options{Secure: tc.secure, Mock: tc.mock}, nil)
				if _, err := c.Poll(t.Context()); err != nil {
					t.Fatal(err)
				}
				h := only(t, s, "PollHostCommand").Header
				if got, want := h.Get("X-Amz-Target"), tc.target+".PollHostCommand"; got != want {
					t.Errorf("target %q, want %q", got, want)
				}
				if got := scope(t, h); got[3] != tc.signingName {
					t.Errorf("signed for %q, want %q", got[3], tc.signingName)
				}
			})
		}
		t.Run("auth policy beats mock", func(t *testing.T) {
			s := newServer(t, controltest.Options{Secure: true})
			url, err := s.Start()
			if err != nil {
				t.Fatal(err)
			}
			c := newClient(t, url, func(o *control.Options) { o.Secure, o.Mock = true, true })
			if _, err := c.Poll(t.Context()); err != nil {
				t.Error(err)
			}
		})
		t.Run("the wrong model is refused", func(t *testing.T) {
			_, c := peers(t, controltest.Options{}, func(o *control.Options) { o.Secure = true })
			if _, err := c.Poll(t.Context()); apiError(t, err).Code != "UnknownOperationException" {
				t.Errorf("Poll() = %v", err)
			}
		})
	}},
	{"P-12_sigv4_for_the_region_and_never_with_fips", func(t *testing.T) {
		s := newServer(t, controltest.Options{Region: "us-gov-west-1"})
		c := newClient(t, "https://codedeploy-commands-fips.us-gov-west-1.amazonaws.com", func(o *control.Options) {
			o.Region, o.HTTP = "us-gov-west-1", &http.Client{Transport: inMemory{s}}
		})
		if _, err := c.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := scope(t, only(t, s, "PollHostCommand").Header)
		want := []string{access, time.Now().UTC().Format("20060102"), "us-gov-west-1", "codedeploy-commands", "aws4_request"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("scope (-want +got):\n%s", diff)
		}
	}},
	{"P-13_version_header_is_signed", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		if _, err := c.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		h := only(t, s, "PollHostCommand").Header
		if got := h.Get("X-Amz-Codedeploy-Agent-Version"); got != version {
			t.Errorf("version %q, want %q", got, version)
		}
		want := "content-type;host;x-amz-codedeploy-agent-version;x-amz-content-sha256;x-amz-date;x-amz-target"
		if got := signedHeaders(t, h); got != want {
			t.Errorf("signed headers\n%s, want\n%s", got, want)
		}
	}},
	{"P-13_session_token_is_signed", func(t *testing.T) {
		s, c := peers(t, controltest.Options{Tokens: map[string]string{access: "the/session+token=="}}, func(o *control.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider(access, secret, "the/session+token==")
		})
		if _, err := c.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := "content-type;host;x-amz-codedeploy-agent-version;x-amz-content-sha256;x-amz-date;x-amz-security-token;x-amz-target"
		if got := signedHeaders(t, only(t, s, "PollHostCommand").Header); got != want {
			t.Errorf("signed headers\n%s, want\n%s", got, want)
		}
	}},
	{"P-13_any_version_text_can_be_sent", func(t *testing.T) {
		for text, want := range map[string]string{"": "UNKNOWN_VERSION", "a\r\nb": "a  b", "  2.1.0\n": "2.1.0", "ünï": "ünï"} {
			s, c := peers(t, controltest.Options{}, func(o *control.Options) { o.Version = text })
			if _, err := c.Poll(t.Context()); err != nil {
				t.Errorf("version %q: %v", text, err)
				continue
			}
			if got := only(t, s, "PollHostCommand").Header.Get("X-Amz-Codedeploy-Agent-Version"); got != want {
				t.Errorf("version %q is sent as %q, want %q", text, got, want)
			}
		}
	}},
	{"P-15_user_agent_is_our_own", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		if _, err := c.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := only(t, s, "PollHostCommand").Header.Get("User-Agent")
		if !regexp.MustCompile(`^slipway/OFFICIAL_1\.8\.1-12_rpm \(linux; \w+\) go/1\.\d+`).MatchString(got) {
			t.Errorf("User-Agent: %s", got)
		}
	}},
	// X-11 and V-15 replace it: calls are logged for debugging only, and never what they carry.
	{"P-17_calls_are_logged_without_payload", func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		s, c := peers(t, controltest.Options{}, func(o *control.Options) { o.Log = zap.New(core) })
		id := s.Enqueue(controltest.Command{HostID: hostID, Name: "Install", Spec: s.Sign([]byte(`{"GitHubAccessToken":"hunter2"}`))})
		cmd, err := c.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Spec(t.Context(), cmd.ExecutionID); err != nil {
			t.Fatal(err)
		}
		if err := c.Complete(t.Context(), id, control.Failed, control.Diagnostics{Log: "hunter3"}.Envelope()); err != nil {
			t.Fatal(err)
		}
		var operations []string
		for _, e := range logs.All() {
			if e.Level != zapcore.DebugLevel {
				t.Errorf("%s: %s", e.Level, e.Message)
			}
			fields := e.ContextMap()
			operations = append(operations, fields["operation"].(string))
			for k, v := range fields {
				if text, ok := v.(string); ok && strings.Contains(text, "hunter") {
					t.Errorf("%s = %s", k, text)
				}
			}
		}
		if want := []string{"PollHostCommand", "GetDeploymentSpecification", "PutHostCommandComplete"}; !slices.Equal(operations, want) {
			t.Errorf("logged %v, want %v", operations, want)
		}
	}},
}

// scope is the credential scope of a signed request: key, date, region, service, aws4_request.
func scope(t *testing.T, h http.Header) []string {
	t.Helper()
	m := regexp.MustCompile(`Credential=([^,]+),`).FindStringSubmatch(h.Get("Authorization"))
	if m == nil {
		t.Fatalf("Authorization: %q", h.Get("Authorization"))
	}
	parts := strings.Split(m[1], "/")
	if len(parts) != 5 {
		t.Fatalf("credential scope %q", m[1])
	}
	return parts
}

func signedHeaders(t *testing.T, h http.Header) string {
	t.Helper()
	m := regexp.MustCompile(`SignedHeaders=([^,]+),`).FindStringSubmatch(h.Get("Authorization"))
	if m == nil {
		t.Fatalf("Authorization: %q", h.Get("Authorization"))
	}
	return m[1]
}

// TestEndpointPath: an endpoint of one's own is used as it is (P-3), path and query included.
func TestEndpointPath(t *testing.T) {
	s := newServer(t, controltest.Options{})
	var target string
	c := newClient(t, "https://gateway.example/control/?stage=1", func(o *control.Options) {
		o.HTTP = &http.Client{Transport: inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			target = r.URL.RequestURI()
			s.ServeHTTP(w, r)
		})}}
	})
	if _, err := c.Poll(context.Background()); err != nil {
		t.Fatal(err)
	}
	if target != "/control/?stage=1" {
		t.Errorf("request target %q", target)
	}
}

package control_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

// transportRules are P-16 and P-31.
var transportRules = []rule{
	{"P-16_tls_is_verified_and_roots_can_be_named", func(t *testing.T) {
		s := newServer(t, controltest.Options{})
		https := httptest.NewUnstartedServer(s)
		https.Config.ErrorLog = discardLog()
		var connections atomic.Int32
		https.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				connections.Add(1)
			}
		}
		https.StartTLS()
		defer https.Close()
		dir := t.TempDir()
		right, wrong, rightDir, emptyDir := filepath.Join(dir, "right.pem"), filepath.Join(dir, "wrong.pem"), filepath.Join(dir, "right.d"), filepath.Join(dir, "empty.d")
		certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: https.Certificate().Raw})
		write(t, right, certificate)
		write(t, wrong, s.CAPEM())
		write(t, filepath.Join(rightDir, "0a1b2c3d.0"), certificate)
		write(t, filepath.Join(rightDir, "README"), []byte("not a certificate"))
		if err := os.MkdirAll(filepath.Join(emptyDir, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			name string
			o    control.HTTPOptions
			env  map[string]string
			want string // ok, refused, or text of NewHTTPClient's error
		}{
			{"system roots", control.HTTPOptions{}, nil, "refused"},
			{"AWS_SSL_CA_BUNDLE", control.HTTPOptions{}, map[string]string{"AWS_SSL_CA_BUNDLE": right}, "ok"},
			{"AWS_SSL_CA_DIRECTORY", control.HTTPOptions{}, map[string]string{"AWS_SSL_CA_DIRECTORY": rightDir}, "ok"},
			{"AWS_CA_BUNDLE", control.HTTPOptions{}, map[string]string{"AWS_CA_BUNDLE": right}, "ok"},
			{"AWS_SSL_CA_BUNDLE is before AWS_CA_BUNDLE", control.HTTPOptions{}, map[string]string{"AWS_SSL_CA_BUNDLE": wrong, "AWS_CA_BUNDLE": right}, "refused"},
			{"file and directory add up", control.HTTPOptions{}, map[string]string{"AWS_SSL_CA_BUNDLE": wrong, "AWS_SSL_CA_DIRECTORY": rightDir}, "ok"},
			{"SSL_CERT_FILE", control.HTTPOptions{}, map[string]string{"SSL_CERT_FILE": right}, "ok"},
			{"a named bundle replaces SSL_CERT_FILE", control.HTTPOptions{}, map[string]string{"AWS_CA_BUNDLE": wrong, "SSL_CERT_FILE": right}, "refused"},
			{"option", control.HTTPOptions{CAFile: right}, map[string]string{"AWS_SSL_CA_BUNDLE": wrong}, "ok"},
			{"option for a directory", control.HTTPOptions{CADir: rightDir}, nil, "ok"},
			{"missing file", control.HTTPOptions{}, map[string]string{"AWS_SSL_CA_BUNDLE": right + "x"}, "AWS_SSL_CA_BUNDLE: open"},
			{"file without certificate", control.HTTPOptions{}, map[string]string{"AWS_CA_BUNDLE": filepath.Join(rightDir, "README")}, "AWS_CA_BUNDLE: "},
			{"missing directory", control.HTTPOptions{}, map[string]string{"AWS_SSL_CA_DIRECTORY": right + ".d"}, "AWS_SSL_CA_DIRECTORY: open"},
			{"directory without certificate", control.HTTPOptions{}, map[string]string{"AWS_SSL_CA_DIRECTORY": emptyDir}, "no PEM certificate"},
			{"missing SSL_CERT_FILE", control.HTTPOptions{}, map[string]string{"SSL_CERT_FILE": right + "x"}, "SSL_CERT_FILE: open"},
		} {
			t.Run(tc.name, func(t *testing.T) {
				tc.o.Getenv = func(k string) string { return tc.env[k] }
				h, err := control.NewHTTPClient(tc.o)
				if err != nil {
					if !strings.Contains(err.Error(), tc.want) {
						t.Errorf("NewHTTPClient() = %v, want %q", err, tc.want)
					}
					return
				}
				defer h.CloseIdleConnections()
				connections.Store(0)
				_, err = newClient(t, https.URL, func(o *control.Options) { o.HTTP = h }).Poll(t.Context())
				if tc.want == "ok" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				e, ok := errors.AsType[*control.TransportError](err)
				if !ok || tc.want != "refused" || !e.Certificate || !strings.Contains(err.Error(), "AWS_SSL_CA_BUNDLE") {
					t.Errorf("Poll() = %v, want %s", err, tc.want)
				}
				if n := connections.Load(); n != 1 {
					t.Errorf("%d connections: a certificate that is not accepted will not be the next moment", n)
				}
			})
		}
		t.Run("wrong name", func(t *testing.T) {
			h, err := control.NewHTTPClient(control.HTTPOptions{CAFile: right})
			if err != nil {
				t.Fatal(err)
			}
			_, port, _ := net.SplitHostPort(strings.TrimPrefix(https.URL, "https://"))
			_, err = newClient(t, "https://localhost:"+port, func(o *control.Options) { o.HTTP = h }).Poll(t.Context())
			if e, ok := errors.AsType[*control.TransportError](err); !ok || !e.Certificate {
				t.Errorf("Poll() = %v", err)
			}
		})
		t.Run("TLS 1.2 at least", func(t *testing.T) {
			h, err := control.NewHTTPClient(control.HTTPOptions{CAFile: right})
			if err != nil {
				t.Fatal(err)
			}
			cfg := h.Transport.(*http.Transport).TLSClientConfig
			if cfg.MinVersion != tls.VersionTLS12 || cfg.InsecureSkipVerify {
				t.Errorf("%+v", cfg)
			}
		})
	}},
	{"P-31_silence_ends_a_call", func(t *testing.T) {
		for name, behave := range map[string]http.HandlerFunc{
			"no headers": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			"no body": func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "100")
				w.WriteHeader(http.StatusOK)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			},
		} {
			t.Run(name, func(t *testing.T) {
				peer := httptest.NewServer(drained(behave))
				defer peer.Close()
				h, err := control.NewHTTPClient(control.HTTPOptions{ReadTimeout: 50 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				c := newClient(t, peer.URL, func(o *control.Options) { o.HTTP = h })
				// The answer to a completion is read as well, although it says nothing.
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				err = c.Complete(ctx, "id", control.Failed, control.Envelope{})
				var timeout net.Error
				if _, ok := errors.AsType[*control.TransportError](err); !ok || !errors.As(err, &timeout) || !timeout.Timeout() {
					t.Errorf("Complete() = %v (%T)", err, err)
				}
			})
		}
	}},
	{"P-31_a_slow_answer_is_no_silence", func(t *testing.T) {
		const pieces = 8
		peer := httptest.NewServer(drained(func(w http.ResponseWriter, r *http.Request) {
			for range pieces {
				w.Write([]byte(" "))
				w.(http.Flusher).Flush()
				// Pacing what the peer sends is what is tested.
				<-time.After(30 * time.Millisecond)
			}
			w.Write([]byte("{}"))
		}))
		defer peer.Close()
		h, err := control.NewHTTPClient(control.HTTPOptions{ReadTimeout: 180 * time.Millisecond}) // less than all the pieces take
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newClient(t, peer.URL, func(o *control.Options) { o.HTTP = h }).Poll(t.Context()); err != nil {
			t.Error(err)
		}
	}},
	// One that never ends is given up: no poll and no report may hang on a peer that sends a byte now and then.
	{"P-31_an_answer_in_drops_ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, c := bubble(t, controltest.Options{}, func(o *control.Options) { o.HTTP = &http.Client{Transport: drops{}} })
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			for op, call := range map[string]func() error{
				"Poll":     func() error { _, err := c.Poll(ctx); return err },
				"Complete": func() error { return c.Complete(ctx, "id", control.Failed, control.Envelope{}) },
			} {
				err := call()
				if e, ok := errors.AsType[*control.TransportError](err); !ok || !strings.Contains(e.Error(), "was not there whole within 1m20s") {
					t.Errorf("%s = %v (%T)", op, err, err)
				}
			}
			if took := time.Since(began); took > 11*time.Minute {
				t.Errorf("took %v", took)
			}
		})
	}},
	// The read that waits for an answer began when the connection became idle.
	{"P-31_silence_counts_from_the_request", func(t *testing.T) {
		wait := make(chan time.Duration, 2)
		peer := httptest.NewServer(drained(func(w http.ResponseWriter, r *http.Request) { <-time.After(<-wait) }))
		defer peer.Close()
		h, err := control.NewHTTPClient(control.HTTPOptions{ReadTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, peer.URL, func(o *control.Options) { o.HTTP = h })
		wait <- 0
		wait <- 500 * time.Millisecond
		for range 2 {
			if err := c.Complete(t.Context(), "id", control.Failed, control.Envelope{}); err != nil {
				t.Error(err)
			}
			<-time.After(700 * time.Millisecond)
		}
	}},
	{"P-31_time_limits", func(t *testing.T) {
		h, err := control.NewHTTPClient(control.HTTPOptions{})
		if err != nil {
			t.Fatal(err)
		}
		tr := h.Transport.(*http.Transport)
		if tr.ResponseHeaderTimeout != 80*time.Second || tr.IdleConnTimeout != 5*time.Second || tr.TLSHandshakeTimeout != 15*time.Second || h.Timeout != 0 {
			t.Errorf("header %v, idle %v, handshake %v, whole %v", tr.ResponseHeaderTimeout, tr.IdleConnTimeout, tr.TLSHandshakeTimeout, h.Timeout)
		}
		if _, err := control.NewHTTPClient(control.HTTPOptions{ReadTimeout: -1}); err == nil {
			t.Error("a negative time-out is accepted")
		}
	}},
	{"P-31_idle_connections_are_used_again", func(t *testing.T) {
		_, c := peers(t, controltest.Options{}, nil)
		for i, want := range []bool{false, true, true} {
			reused := false
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }})
			if _, err := c.Poll(ctx); err != nil {
				t.Fatal(err)
			}
			if reused != want {
				t.Errorf("call %d: connection reused: %v, want %v", i, reused, want)
			}
		}
	}},
}

// drained reads the request first, so that the handler learns when the client goes.
func drained(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		h(w, r)
	}
}

// discardLog keeps the server quiet about handshakes that are meant to fail.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestProxyChoice holds C-22 with NO_PROXY, and X-63.
func TestProxyChoice(t *testing.T) {
	const configured, plain, secure = "http://user:pass@proxy.example:3128", "http://plain.example:8080", "http://secure.example:8443"
	both := map[string]string{"http_proxy": plain, "https_proxy": secure}
	for _, tc := range []struct {
		name, uri string
		env       map[string]string
		target    string
		want      string // "" for none
	}{
		{"nothing set", "", nil, "https://codedeploy.example/", ""},
		{"proxy_uri", configured, nil, "https://codedeploy.example/", configured},
		{"proxy_uri for http", configured, nil, "http://codedeploy.example/", configured},
		{"proxy_uri before the environment", configured, both, "https://codedeploy.example/", configured},
		{"proxy_uri is meant for this machine too", configured, nil, "http://127.0.0.1:9000/", configured},
		{"proxy_uri without a scheme", "proxy.example:3128", nil, "https://codedeploy.example/", "http://proxy.example:3128"},
		{"https_proxy", "", both, "https://codedeploy.example/", secure},
		{"http_proxy", "", both, "http://codedeploy.example/", plain},
		{"HTTPS_PROXY", "", map[string]string{"HTTPS_PROXY": secure}, "https://codedeploy.example/", secure},
		{"http_proxy is not for https", "", map[string]string{"http_proxy": plain}, "https://codedeploy.example/", ""},
		{"the environment is not for this machine", "", both, "http://127.0.0.1:9000/", ""},
		{"nor by name", "", both, "http://localhost:9000/", ""},
		{"nor over IPv6", "", both, "http://[::1]:9000/", ""},

		{"X-63 metadata", configured, nil, "http://169.254.169.254/latest/", ""},
		{"X-63 metadata and environment", "", both, "http://169.254.169.254/latest/", ""},
		{"X-63 container credentials", configured, nil, "http://169.254.170.2/v2", ""},
		{"X-63 metadata over IPv6", configured, nil, "http://[fd00:ec2::254]/latest/", ""},
		{"X-63 link-local IPv6", configured, nil, "http://[fe80::1%25eth0]/", ""},
		{"X-63 mapped", configured, nil, "http://[::ffff:169.254.169.254]/", ""},

		{"NO_PROXY star", configured, map[string]string{"no_proxy": "*"}, "https://codedeploy.example/", ""},
		{"NO_PROXY name", configured, map[string]string{"no_proxy": "a.example, codedeploy.example"}, "https://codedeploy.example/", ""},
		{"NO_PROXY in capitals", configured, map[string]string{"NO_PROXY": "CodeDeploy.Example"}, "https://codedeploy.EXAMPLE/", ""},
		{"NO_PROXY and the environment", "", map[string]string{"https_proxy": secure, "NO_PROXY": "example"}, "https://codedeploy.example/", ""},
		{"NO_PROXY domain and below", configured, map[string]string{"no_proxy": "example.com"}, "https://a.b.example.com/", ""},
		{"NO_PROXY domain, not a lookalike", configured, map[string]string{"no_proxy": "example.com"}, "https://badexample.com/", configured},
		{"NO_PROXY only below", configured, map[string]string{"no_proxy": ".example.com"}, "https://a.example.com/", ""},
		{"NO_PROXY only below, not itself", configured, map[string]string{"no_proxy": ".example.com"}, "https://example.com/", configured},
		{"NO_PROXY star and dot", configured, map[string]string{"no_proxy": "*.example.com"}, "https://a.example.com/", ""},
		{"NO_PROXY trailing dot", configured, map[string]string{"no_proxy": "example.com."}, "https://example.com./", ""},
		{"NO_PROXY port", configured, map[string]string{"no_proxy": "example.com:8443"}, "https://example.com:8443/", ""},
		{"NO_PROXY default port", configured, map[string]string{"no_proxy": "example.com:443"}, "https://example.com/", ""},
		{"NO_PROXY other port", configured, map[string]string{"no_proxy": "example.com:8443"}, "https://example.com/", configured},
		{"NO_PROXY address", configured, map[string]string{"no_proxy": "10.0.0.7"}, "http://10.0.0.7/", ""},
		{"NO_PROXY address, another", configured, map[string]string{"no_proxy": "10.0.0.7"}, "http://10.0.0.70/", configured},
		{"NO_PROXY address and port", configured, map[string]string{"no_proxy": "10.0.0.7:81"}, "http://10.0.0.7/", configured},
		{"NO_PROXY network", configured, map[string]string{"no_proxy": "10.0.0.0/8 192.168.0.0/16"}, "http://192.168.7.7/", ""},
		{"NO_PROXY network, outside", configured, map[string]string{"no_proxy": "10.0.0.0/8"}, "http://11.0.0.1/", configured},
		{"NO_PROXY network, mapped", configured, map[string]string{"no_proxy": "10.0.0.0/8"}, "http://[::ffff:10.1.2.3]/", ""},
		{"NO_PROXY IPv6", configured, map[string]string{"no_proxy": "[2001:db8::1]"}, "http://[2001:db8::1]/", ""},
		{"NO_PROXY nonsense", configured, map[string]string{"no_proxy": ",, . :"}, "https://codedeploy.example/", configured},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, err := control.NewHTTPClient(control.HTTPOptions{ProxyURI: tc.uri, Getenv: func(k string) string { return tc.env[k] }})
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tc.target, nil)
			if err != nil {
				t.Fatal(err)
			}
			u, err := h.Transport.(*http.Transport).Proxy(r)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if u != nil {
				got = u.String()
			}
			if got != tc.want {
				t.Errorf("%s goes through %q, want %q", tc.target, got, tc.want)
			}
		})
	}
}

// TestProxyRefused: an address that is none is told at the start, without its password.
func TestProxyRefused(t *testing.T) {
	for _, s := range []string{"http://user:hunter2@", "ftp://user:hunter2@proxy", "http://user:hun%ter2@proxy:1", "http://user:hunter2#@proxy", "http://user:hunter2@proxy:port"} {
		for _, o := range []control.HTTPOptions{
			{ProxyURI: s},
			{Getenv: func(k string) string { return map[string]string{"https_proxy": s}[k] }},
			{Getenv: func(k string) string { return map[string]string{"HTTP_PROXY": s}[k] }},
		} {
			_, err := control.NewHTTPClient(o)
			if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "ter2") {
				t.Errorf("%s: %v", s, err)
			}
		}
	}
}

// TestThroughProxy: calls really go through a proxy, with its password, and TLS is still with the service.
func TestThroughProxy(t *testing.T) {
	s := newServer(t, controltest.Options{})
	https := httptest.NewTLSServer(s)
	defer https.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	write(t, bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: https.Certificate().Raw}))
	plainURL, err := s.Start()
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.Header.Get("Proxy-Authorization"))
		if r.Method != http.MethodConnect {
			r.RequestURI = ""
			r.Header.Del("Proxy-Authorization")
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			defer resp.Body.Close()
			w.WriteHeader(resp.StatusCode)
			io.Copy(w, resp.Body)
			return
		}
		up, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		down, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { io.Copy(up, down); up.Close() }()
		io.Copy(down, up)
		down.Close()
	}))
	defer proxy.Close()
	via, _ := url.Parse(proxy.URL)
	via.User = url.UserPassword("user", "pass")
	for _, endpoint := range []string{https.URL, plainURL} {
		h, err := control.NewHTTPClient(control.HTTPOptions{ProxyURI: via.String(), CAFile: bundle})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if _, err := newClient(t, endpoint, func(o *control.Options) { o.HTTP = h }).Poll(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		h.CloseIdleConnections()
	}
	const basic = "Basic dXNlcjpwYXNz"
	if want := []string{"CONNECT " + basic, "POST " + basic}; strings.Join(seen, ",") != strings.Join(want, ",") {
		t.Errorf("the proxy saw %v, want %v", seen, want)
	}
}

// drops answers with a byte every second, without end.
type drops struct{}

func (drops) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: dropping{r.Context()}, Request: r}, nil
}

type dropping struct{ ctx context.Context }

func (d dropping) Read(b []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		b[0] = ' '
		return 1, nil
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
}

func (dropping) Close() error { return nil }

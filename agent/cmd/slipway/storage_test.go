package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"slipway/agent/config"
	"slipway/agent/control"
	"slipway/agent/identity"
	"slipway/lifecycle/bundle"
)

// C-9, C-22, X-34, X-63: bundles of S3 and of GitHub come the same way: through proxy_uri, else through the proxy of the environment, past
// it for what NO_PROXY names, and never through one from a link-local address.
func TestStorageProxies(t *testing.T) {
	const configured, plain, secure = "proxy.example:3128", "plain.example:8080", "secure.example:8443"
	environment := map[string]string{"HTTP_PROXY": "http://" + plain, "https_proxy": "http://" + secure}
	with := func(key, value string) map[string]string {
		return map[string]string{"HTTP_PROXY": "http://" + plain, "https_proxy": "http://" + secure, key: value}
	}
	for _, c := range []struct {
		name, uri string
		env       map[string]string
		endpoint  string // of S3 and of GitHub; empty: their own
		s3        string // which address is connected to
		gitHub    string
	}{
		{"none", "", nil, "", "bundles.s3.eu-west-1.amazonaws.com:443", "api.github.com:443"},
		{"proxy_uri", "http://user:pass@" + configured, nil, "", configured, configured},
		{"proxy_uri before the environment", "http://" + configured, environment, "", configured, configured},
		{"environment", "", environment, "", secure, secure},
		{"environment for plain HTTP", "", environment, "http://store.example", plain, plain},
		{"NO_PROXY for S3", "http://" + configured, map[string]string{"NO_PROXY": ".amazonaws.com"}, "", "bundles.s3.eu-west-1.amazonaws.com:443", configured},
		{"NO_PROXY for GitHub", "", with("no_proxy", "github.com"), "", secure, "api.github.com:443"},
		{"NO_PROXY for all", "http://" + configured, map[string]string{"NO_PROXY": "*"}, "", "bundles.s3.eu-west-1.amazonaws.com:443", "api.github.com:443"},
		{"link-local", "http://" + configured, environment, "http://169.254.170.23:8080", "169.254.170.23:8080", "169.254.170.23:8080"},
		{"link-local and the environment", "", environment, "https://[fe80::1]", "[fe80::1]:443", "[fe80::1]:443"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, err := control.NewHTTPClient(control.HTTPOptions{ProxyURI: c.uri, Getenv: func(name string) string { return c.env[name] }})
			if err != nil {
				t.Fatal(err)
			}
			var dialled []string
			stop := func() {}
			client.Transport.(*http.Transport).DialContext = func(_ context.Context, _, address string) (net.Conn, error) {
				dialled = append(dialled, address)
				stop() // once is enough
				return nil, errors.New("nobody is connected to in this test")
			}
			d := &daemon{cfg: &config.Config{ProxyURI: c.uri, S3EndpointOverride: c.endpoint}, log: zap.NewNop()}
			if err := d.connectStorage(&identity.Identity{Region: "eu-west-1", Domain: "amazonaws.com"}, client); err != nil {
				t.Fatal(err)
			}
			fetcher := d.fetcher.ready.Load()
			fetcher.GitHubAPI = c.endpoint
			file, err := os.Create(filepath.Join(t.TempDir(), "bundle"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			for _, way := range []struct {
				rev  bundle.Revision
				want string
			}{
				{bundle.Revision{Type: bundle.S3, S3: bundle.S3Location{Bucket: "bundles", Key: "k", Format: bundle.Zip}}, c.s3},
				{bundle.Revision{Type: bundle.GitHub, GitHub: bundle.GitHubLocation{Account: "octo", Repository: "app", CommitID: "1"}}, c.gitHub},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				dialled, stop = nil, cancel
				if _, err := fetcher.Fetch(ctx, way.rev, file); err == nil {
					t.Errorf("%s: fetched from nowhere", way.rev)
				}
				cancel()
				if len(dialled) == 0 {
					t.Errorf("%s: nobody was connected to, want %s", way.rev, way.want)
				}
				for _, address := range dialled {
					if address != way.want {
						t.Errorf("%s: connected to %s, want %s", way.rev, address, way.want)
					}
				}
			}
		})
	}
}

package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// client talks to a running lab.
type client struct {
	base string
	http *http.Client
}

// client finds the lab that the flags or the environment name.
func (p *program) client() (*client, error) {
	base := cmp.Or(p.endpoint, p.getenv("SLIPWAY_LAB_ENDPOINT"))
	if base == "" {
		return nil, errors.New("which lab? give --endpoint URL, or set SLIPWAY_LAB_ENDPOINT from the file that `slipway-lab serve --env FILE` wrote")
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("endpoint %q is not a URL such as http://127.0.0.1:8400", base)
	}
	h, err := newHTTPClient(cmp.Or(p.getenv("AWS_CA_BUNDLE"), p.getenv("SSL_CERT_FILE")))
	if err != nil {
		return nil, err
	}
	return &client{base: strings.TrimSuffix(base, "/"), http: h}, nil
}

// newHTTPClient never uses a proxy: a lab is on this machine. The file holds the authorities of its listeners.
func newHTTPClient(caFile string) (*http.Client, error) {
	transport := &http.Transport{}
	if caFile != "" {
		data, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("authorities: %w", err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(data)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport}, nil
}

// errNotFound is the lab's word for what it does not have.
var errNotFound = errors.New("not found")

// do makes one call and decodes its answer into out, unless that is nil.
func (c *client) do(ctx context.Context, method, path string, body, out any) error {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		in = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return err
		}
		in = bytes.NewReader(data)
	}
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("answer of %s%s: %w", c.base, path, err)
	}
	return nil
}

// send makes one call; an answer that is an error is returned as one.
func (c *client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("no lab at %s: %w", c.base, errors.Unwrap(err))
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var told struct{ Error string }
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil || json.Unmarshal(data, &told) != nil || told.Error == "" {
		return nil, fmt.Errorf("%s does not answer as a lab does (HTTP %d)", c.base, resp.StatusCode)
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%s (%w)", told.Error, errNotFound)
	}
	return nil, errors.New(told.Error)
}

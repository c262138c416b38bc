package health

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// probeBodyLimit is how much of an answer a probe reads: a match must lie within it.
const probeBodyLimit = 64 << 10

// HTTPProbe asks the application by HTTP the way a balancer does: one GET on a connection of its own, no redirect
// followed, no proxy, and a certificate of any name accepted (the probe goes to an address, not to a name).
type HTTPProbe struct {
	URL string
	// Host is the Host header; empty means the URL's.
	Host string
	// Status says which codes are good: "200", "200,302" or "200-399". Empty means "200".
	Status string
	// Body, when not empty, must occur in the first 64 KiB of the answer; BodyPattern must match there.
	Body        string
	BodyPattern *regexp.Regexp
	// MaxLatency, when not zero, is how long the whole answer may take; it is judged beside the watch's timeout, which
	// ends the attempt.
	MaxLatency time.Duration
}

type httpProber struct {
	HTTPProbe
	statuses statusSet
	client   *http.Client
}

// NewHTTPProbe checks the settings and returns the prober.
func NewHTTPProbe(p HTTPProbe) (Prober, error) {
	u, err := url.Parse(p.URL)
	if err != nil {
		return nil, fmt.Errorf("health probe: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("health probe %q: it needs a whole URL, for example http://127.0.0.1/health", p.URL)
	}
	statuses, err := parseStatuses(cmp.Or(p.Status, "200"))
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DisableKeepAlives:      true,
		DisableCompression:     true,
		DialContext:            (&net.Dialer{}).DialContext,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}, // as the balancer does: see HTTPProbe
		MaxResponseHeaderBytes: 64 << 10,
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &httpProber{HTTPProbe: p, statuses: statuses, client: client}, nil
}

// Probe asks once. Its errors name what was expected and what came.
func (p *httpProber) Probe(ctx context.Context) error {
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
	if err != nil {
		return fmt.Errorf("GET %s: %w", p.URL, err)
	}
	req.Host = p.Host
	req.Header.Set("User-Agent", "slipway-health")
	resp, err := p.client.Do(req)
	if err != nil {
		if inner := (*url.Error)(nil); errors.As(err, &inner) {
			err = inner.Err // without it the text would name the URL twice
		}
		return fmt.Errorf("GET %s: %w", p.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, probeBodyLimit))
	if err != nil {
		return fmt.Errorf("GET %s: read the answer: %w", p.URL, err)
	}
	took := time.Since(began)
	switch {
	case !p.statuses.has(resp.StatusCode):
		return fmt.Errorf("GET %s: answered %d%s, expected %s%s", p.URL, resp.StatusCode, location(resp), cmp.Or(p.Status, "200"), firstLine(body))
	case p.Body != "" && !bytes.Contains(body, []byte(p.Body)):
		return fmt.Errorf("GET %s: the answer does not contain %q", p.URL, p.Body)
	case p.BodyPattern != nil && !p.BodyPattern.Match(body):
		return fmt.Errorf("GET %s: the answer does not match %s", p.URL, p.BodyPattern)
	case p.MaxLatency > 0 && took > p.MaxLatency:
		return fmt.Errorf("GET %s: answered after %s, allowed are %s", p.URL, took.Round(time.Millisecond), p.MaxLatency)
	}
	return nil
}

func location(resp *http.Response) string {
	if to := resp.Header.Get("Location"); to != "" {
		return " (redirect to " + to + ", not followed)"
	}
	return ""
}

// firstLine is the beginning of a plain text answer, which often says what is wrong.
func firstLine(body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if line == "" || strings.HasPrefix(line, "<") {
		return ""
	}
	const most = 120
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "…"
	}
	return ": " + strings.ToValidUTF8(line, "?")
}

package alb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// bodyLimit is how much of an answer is looked at.
const bodyLimit = 64 << 10

// errNoAnswer is the cause of a check that has used its time.
var errNoAnswer = errors.New("no answer in time")

// Answer is what one check met.
type Answer struct {
	Good     bool          `json:"good"`
	Status   int           `json:"status,omitempty"` // 0: there was no HTTP answer
	Location string        `json:"location,omitempty"`
	Took     time.Duration `json:"-"` // until the header was there
	Error    string        `json:"error,omitempty"`

	err    error
	header http.Header
	body   []byte
	cut    bool // the body did not end in time
}

func (a *Answer) judge(good matcher) { a.Good = a.err == nil && good.has(a.Status) }

// question is what differs between a check and the questions that are asked to find out more.
type question struct {
	timeout   time.Duration
	host      string // instead of the address
	version   string // instead of the target's
	protocol  string // likewise
	path      string // likewise
	keepAlive bool   // ask for the connection to be kept
}

// ask makes one request on a connection of its own.
func ask(ctx context.Context, t Target, q question) (a Answer) {
	if q.version != "" {
		t.Version = q.version
	}
	if q.protocol != "" {
		t.Protocol = q.protocol
	}
	if q.path != "" {
		t.Path = q.path
	}
	bounded, cancel := context.WithTimeoutCause(ctx, q.timeout, fmt.Errorf("%w (%s)", errNoAnswer, q.timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(bounded, http.MethodGet, t.URL(), nil)
	if err != nil {
		return Answer{err: err, Error: err.Error()}
	}
	req.Host = t.Address // with its port, also where that is the usual one
	if q.host != "" {
		req.Host = q.host
	}
	req.Header.Set("User-Agent", UserAgent)
	req.Header.Set("Accept-Encoding", "gzip, compressed")
	if q.keepAlive {
		req.Header.Set("Connection", "keep-alive") // Apache tells its time only then
	}
	transport, release := way(t, q)
	defer release()
	began := time.Now()
	resp, err := transport.RoundTrip(req)
	a.Took = time.Since(began)
	if err != nil {
		if bounded.Err() != nil {
			err = context.Cause(bounded)
		}
		a.err, a.Error = err, plain(err)
		return a
	}
	defer resp.Body.Close()
	a.Status, a.Location, a.header = resp.StatusCode, resp.Header.Get("Location"), resp.Header
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	a.cut = err != nil
	return a
}

// way is how the balancer speaks to the target: in one version, and no negotiation down from it. release is for the end.
func way(t Target, q question) (_ http.RoundTripper, release func()) {
	unverified := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10} // the balancer verifies no certificate of a target
	if t.Version == HTTP2 {
		if t.Protocol != HTTPS {
			unverified = nil
		}
		return &overHTTP2{unverified}, func() {}
	}
	one := new(http.Protocols)
	one.SetHTTP1(true)
	transport := &http.Transport{
		DisableKeepAlives: !q.keepAlive, DisableCompression: true, DialContext: (&net.Dialer{}).DialContext, TLSClientConfig: unverified,
		Protocols: one, MaxResponseHeaderBytes: headerLimit,
	}
	return transport, transport.CloseIdleConnections
}

// plain is an error in one line without what only repeats the URL.
func plain(err error) string {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
		return "connect to the target: " + op.Err.Error()
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

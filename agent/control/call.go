package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.uber.org/zap"
)

const (
	// maxResponse bounds what is read of an answer. A specification is some kilobytes.
	maxResponse = 4 << 20
	// skewThreshold is the difference of clocks from which a refused signature is put down to it: the service grants five minutes.
	skewThreshold = 4 * time.Minute
	// answerTime bounds the arrival of an answer's body, from its head on. The time-out of the connection ends a silence alone: an answer that
	// trickles would be listened to for years.
	answerTime = defaultReadTimeout
	// maxRetryAfter bounds the wait that an answer can ask for within a call. Longer ones are for the caller.
	maxRetryAfter = 5 * time.Second
)

// retryDelays are the waits before the second and later attempts of a call (P-32).
var retryDelays = []time.Duration{300 * time.Millisecond, 600 * time.Millisecond, 1200 * time.Millisecond}

// persistence is how many attempts a call has.
type persistence bool

const (
	once    persistence = false
	retried persistence = true
)

// call makes one call of the service, with its retries, and decodes the answer into out. With out nil, the answer's body does not
// matter as long as it is not the page of a proxy, which the call may not have passed. The error is the last attempt's.
func (c *Client) call(ctx context.Context, op string, p persistence, in, out any) error {
	body, err := encode(in)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	began := time.Now()
	refreshed := false
	for attempt := 0; ; attempt++ {
		err = c.attempt(ctx, op, body, out)
		c.log.Debug("call", zap.String("operation", op), zap.Int("attempt", attempt+1), zap.Duration("took", time.Since(began)), zap.Error(err))
		if err == nil {
			return nil
		}
		again, stale := c.mend(err, refreshed)
		refreshed = refreshed || stale
		if p == once || !again || attempt >= len(retryDelays) || ctx.Err() != nil {
			return err
		}
		if !pause(ctx, delay(attempt, err)) {
			return err
		}
	}
}

// mend does what can be done about an error before the next attempt, and reports whether that is worth making, and whether
// the credentials were given up.
func (c *Client) mend(err error, refreshed bool) (again, stale bool) {
	var api *APIError
	if !errors.As(err, &api) {
		return transient(err), false
	}
	if api.ClockSkewed() && api.Skew != 0 {
		return true, false // the offset is corrected already
	}
	if api.stale() && !refreshed {
		// Only a cache has anything to renew; static keys stay what they are.
		if cache, ok := c.credentials.(interface{ Invalidate() }); ok {
			cache.Invalidate()
			return true, true
		}
		return false, false
	}
	return api.HTTPStatus >= 500 || api.HTTPStatus == http.StatusRequestTimeout || api.Throttled(), false
}

// transient reports whether an attempt without an answer of the service's is worth repeating.
func transient(err error) bool {
	var transport *TransportError
	if errors.As(err, &transport) {
		return !transport.Certificate && !errors.Is(err, context.Canceled)
	}
	return errors.Is(err, io.ErrUnexpectedEOF)
}

// delay is the wait before the next attempt: that of P-32 give or take a quarter, so that a fleet does not come back as one.
func delay(attempt int, err error) time.Duration {
	d := retryDelays[attempt]
	d = d*3/4 + rand.N(d/2+1)
	var api *APIError
	if errors.As(err, &api) {
		d = max(d, min(api.RetryAfter, maxRetryAfter))
	}
	return d
}

// pause waits, and reports whether it was to the end.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attempt makes one request and reads its answer.
func (c *Client) attempt(ctx context.Context, op string, body []byte, out any) error {
	req, signed, err := c.request(ctx, op, body)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := c.http.Do(req.WithContext(bounded))
	if err != nil {
		return c.transportError(ctx, op, err)
	}
	defer resp.Body.Close()
	late := time.AfterFunc(answerTime, cancel)
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	switch onTime := late.Stop(); {
	case err != nil && !onTime:
		return c.transportError(ctx, op, fmt.Errorf("the answer was not there whole within %s", answerTime))
	case err != nil:
		return c.transportError(ctx, op, fmt.Errorf("the answer broke off: %w", err))
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		e := decodeError(op, resp.StatusCode, resp.Header, data)
		c.learnClock(e, signed, resp.Header.Get("Date"))
		return e
	}
	page := bytes.HasPrefix(bytes.TrimSpace(data), []byte("<"))
	switch {
	case out == nil && !page:
		return nil
	case out == nil:
		err = notObject(data)
	case len(data) > maxResponse:
		err = fmt.Errorf("it is longer than %d bytes", maxResponse)
	default:
		err = decodeBody(data, out)
	}
	if err != nil {
		return &ResponseError{Operation: op, RequestID: requestID(resp.Header), Page: page, Err: err}
	}
	return nil
}

// request makes a signed request, and returns the time that was signed.
func (c *Client) request(ctx context.Context, op string, body []byte) (*http.Request, time.Time, error) {
	keys, err := c.credentials.Retrieve(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, time.Time{}, context.Cause(ctx)
		}
		return nil, time.Time{}, fmt.Errorf("%s: %w: %w", op, ErrCredentials, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%s: %w", op, err)
	}
	now := time.Now().Add(time.Duration(c.offset.Load()))
	return req, now, c.sign(ctx, req, keys, op, body, now)
}

// sign puts on the headers of P-9..P-13 and signs exactly those.
func (c *Client) sign(ctx context.Context, req *http.Request, keys aws.Credentials, op string, body []byte, now time.Time) error {
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", c.variant.prefix+"."+op)
	req.Header.Set("X-Amz-Codedeploy-Agent-Version", c.version)
	req.Header.Set("X-Amz-Content-Sha256", hash)
	// The signer would sign the length too, which the reference does not: a proxy may turn it into chunks.
	length := req.ContentLength
	req.ContentLength = 0
	err := c.signer.SignHTTP(ctx, keys, req, hash, c.variant.signingName, c.region, now)
	req.ContentLength = length
	if err != nil {
		return fmt.Errorf("%s: sign: %w", op, err)
	}
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set("Accept-Encoding", "identity")
	return nil
}

// transportError says what kept an answer from arriving. A cancelled call comes back as its context's cause.
func (c *Client) transportError(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", op, context.Cause(ctx))
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // it repeats method and URL
	}
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	certificate := errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &invalid)
	return &TransportError{Operation: op, Endpoint: c.endpoint.Redacted(), Certificate: certificate, Err: err}
}

// learnClock compares the clocks when a signature was refused, and signs by the service's from then on. A host whose clock was set
// meanwhile finds its way back in the same manner.
func (c *Client) learnClock(e *APIError, signed time.Time, date string) {
	now, err := http.ParseTime(date)
	if err != nil || !e.aboutSignature() {
		return
	}
	skew := now.Sub(signed)
	if skew.Abs() <= skewThreshold && !e.ClockSkewed() || skew.Abs() < 2*time.Second {
		return
	}
	e.Skew = skew
	offset := time.Until(now)
	c.offset.Store(int64(offset))
	if offset.Abs() < 2*time.Second {
		c.log.Info("the clock of this host agrees with the service's again")
		return
	}
	c.log.Warn("calls are signed by the clock of the service, because this host's differs", zap.Duration("by", offset.Round(time.Second)))
}

// aboutSignature reports whether a wrong clock may be behind an error.
func (e *APIError) aboutSignature() bool {
	for _, codes := range [][]string{skewCodes, signingCodes} {
		for _, code := range codes {
			if e.Code == code {
				return true
			}
		}
	}
	return false
}

// retryAfter reads the header of that name, in seconds.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.ParseFloat(strings.TrimSpace(h.Get("Retry-After")), 64)
	if err != nil || n < 0 || n > 86400 {
		return 0
	}
	return time.Duration(n * float64(time.Second))
}

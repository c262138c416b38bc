package controltest

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	versionHeader = "X-Amz-Codedeploy-Agent-Version"
	amzTime       = "20060102T150405Z"
	// maxSkew is how far the clock of a caller may be off.
	maxSkew = 5 * time.Minute
)

// authorization is the header of that name, taken apart.
type authorization struct {
	access, date, region, service, signature string
	signed                                   []string
}

// parseAuthorization reads "AWS4-HMAC-SHA256 Credential=…/date/region/service/aws4_request, SignedHeaders=a;b, Signature=hex".
func parseAuthorization(header string) (a authorization, ok bool) {
	rest, ok := strings.CutPrefix(header, "AWS4-HMAC-SHA256 ")
	if !ok {
		return a, false
	}
	parts := map[string]string{}
	for _, p := range strings.Split(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		parts[k] = v
	}
	scope := strings.Split(parts["Credential"], "/")
	if len(scope) < 5 || scope[len(scope)-1] != "aws4_request" || parts["Signature"] == "" || parts["SignedHeaders"] == "" {
		return a, false
	}
	n := len(scope)
	a = authorization{access: strings.Join(scope[:n-4], "/"), date: scope[n-4], region: scope[n-3], service: scope[n-2], signature: parts["Signature"]}
	a.signed = strings.Split(parts["SignedHeaders"], ";")
	return a, true
}

// mustSign are the headers that a signature has to cover (P-13).
var mustSign = []string{"content-type", "host", "x-amz-codedeploy-agent-version", "x-amz-date", "x-amz-target"}

// authenticate verifies the signature of a call, by signing the same again (P-12, P-13).
func (s *Server) authenticate(r *http.Request, body []byte, service string, clock time.Time) *failure {
	bad := func(code, message string) *failure { return &failure{http.StatusBadRequest, code, message} }
	header := r.Header.Get("Authorization")
	if header == "" {
		return bad("MissingAuthenticationTokenException", "Request is missing Authentication Token")
	}
	a, ok := parseAuthorization(header)
	if !ok {
		return bad("IncompleteSignatureException", "the Authorization header is not of SigV4")
	}
	if r.Header.Get(versionHeader) == "" {
		return bad("ClientException", "the header "+versionHeader+" is missing")
	}
	for _, h := range mustSign {
		if !slices.Contains(a.signed, h) {
			return bad("InvalidSignatureException", "the signature does not cover the header "+h)
		}
	}
	at, err := time.Parse(amzTime, r.Header.Get("X-Amz-Date"))
	switch {
	case err != nil:
		return bad("IncompleteSignatureException", "X-Amz-Date is missing or not a time")
	case a.date != at.Format("20060102"):
		return bad("InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP")
	case a.service != service:
		return bad("InvalidSignatureException", "Credential should be scoped to correct service: '"+service+"'.")
	case a.region != s.opts.Region:
		return bad("InvalidSignatureException", "Credential should be scoped to a valid region, not '"+a.region+"'.")
	}
	if f := checkTime(at, clock); f != nil {
		return f
	}
	return s.compare(r, body, a, at)
}

// checkTime words a wrong clock as AWS does.
func checkTime(at, clock time.Time) *failure {
	now := clock.UTC()
	switch {
	case at.Before(now.Add(-maxSkew)):
		return &failure{http.StatusBadRequest, "InvalidSignatureException", "Signature expired: " + at.Format(amzTime) + " is now earlier than " +
			now.Add(-maxSkew).Format(amzTime) + " (" + now.Format(amzTime) + " - 5 min.)"}
	case at.After(now.Add(maxSkew)):
		return &failure{http.StatusBadRequest, "InvalidSignatureException", "Signature not yet current: " + at.Format(amzTime) + " is still later than " +
			now.Add(maxSkew).Format(amzTime) + " (" + now.Format(amzTime) + " + 5 min.)"}
	}
	return nil
}

// compare signs the covered headers with the secret of the key and compares the results. A server without keys lets every key pass.
func (s *Server) compare(r *http.Request, body []byte, a authorization, at time.Time) *failure {
	bad := func(code, message string) *failure { return &failure{http.StatusBadRequest, code, message} }
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if told := r.Header.Get("X-Amz-Content-Sha256"); told != "" && told != hash {
		return bad("InvalidSignatureException", "X-Amz-Content-Sha256 is not the sum of the body")
	}
	s.mu.Lock()
	k, known := s.keys[a.access]
	open := len(s.keys) == 0
	s.mu.Unlock()
	switch {
	case open:
		return nil
	case !known:
		return bad("UnrecognizedClientException", "The security token included in the request is invalid.")
	case subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Amz-Security-Token")), []byte(k.token)) != 1:
		return bad("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	again, err := http.NewRequestWithContext(context.Background(), r.Method, "http://"+r.Host+r.URL.RequestURI(), nil)
	if err != nil {
		return bad("InvalidSignatureException", "the request line cannot be read")
	}
	again.Host = r.Host
	for _, h := range a.signed {
		switch h {
		case "host":
		case "content-length":
			again.ContentLength, _ = strconv.ParseInt(r.Header.Get("Content-Length"), 10, 64)
			if r.ContentLength > 0 {
				again.ContentLength = r.ContentLength
			}
		default:
			again.Header[http.CanonicalHeaderKey(h)] = slices.Clone(r.Header.Values(h))
		}
	}
	keys := aws.Credentials{AccessKeyID: a.access, SecretAccessKey: k.secret}
	if slices.Contains(a.signed, "x-amz-security-token") {
		keys.SessionToken = k.token
	}
	if err := v4.NewSigner().SignHTTP(r.Context(), keys, again, hash, a.service, a.region, at); err != nil {
		return bad("InvalidSignatureException", err.Error())
	}
	// Only the signature itself counts: clients may order and space the rest of the header as they like.
	own, ok := parseAuthorization(again.Header.Get("Authorization"))
	if !ok || subtle.ConstantTimeCompare([]byte(own.signature), []byte(a.signature)) != 1 {
		return bad("InvalidSignatureException", "The request signature we calculated does not match the signature you provided. "+
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	if k.expired {
		return bad("ExpiredTokenException", "The security token included in the request is expired")
	}
	return nil
}

package control

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// APIError is an answer of the service other than success (P-29, P-30). What a caller decides by are its methods; at most
// one of Throttled, ClockSkewed, Expired and Denied holds.
type APIError struct {
	Operation  string
	Code       string // without namespace; Http503Error and the like where the answer named none
	Message    string // may be empty
	RequestID  string // may be empty
	HTTPStatus int

	Skew       time.Duration // what the service's clock is ahead of the time that was signed; zero if that is in order or unknown
	RetryAfter time.Duration // what the service asked to wait; zero if it did not
}

func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s (HTTP %d)", e.Operation, e.Code, e.HTTPStatus)
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	switch {
	case e.Skew > 0:
		fmt.Fprintf(&b, "; it was signed %v behind the service's clock", e.Skew.Round(time.Second))
	case e.Skew < 0:
		fmt.Fprintf(&b, "; it was signed %v ahead of the service's clock", -e.Skew.Round(time.Second))
	}
	if e.RequestID != "" {
		b.WriteString(" [request " + e.RequestID + "]")
	}
	return b.String()
}

// The error codes of AWS services by what can be done about them.
var (
	throttlingCodes = []string{
		"BandwidthLimitExceeded", "EC2ThrottledException", "LimitExceededException", "PriorRequestNotComplete", "ProvisionedThroughputExceededException",
		"RequestLimitExceeded", "SlowDown", "TooManyRequestsException", "TransactionInProgressException",
	}
	skewCodes    = []string{"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
	signingCodes = []string{"InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure"} // a wrong clock or a wrong key
	expiredCodes = []string{"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
	// staleCodes are given for keys that the service does not know, which rotated ones are.
	staleCodes  = []string{"UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "InvalidIdentityToken", "AuthFailure"}
	deniedCodes = []string{
		"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized", "NotAuthorizedException", "MissingAuthenticationToken",
		"MissingAuthenticationTokenException", "IncompleteSignature", "IncompleteSignatureException", "OptInRequired",
	}
)

// Throttled reports whether the service asks for fewer calls (P-32).
func (e *APIError) Throttled() bool {
	return e.HTTPStatus == http.StatusTooManyRequests || slices.Contains(throttlingCodes, e.Code) ||
		strings.Contains(strings.ToLower(e.Code), "throttl") || strings.Contains(strings.ToLower(e.Message), "rate exceeded")
}

// ClockSkewed reports whether the clock of this host is the reason.
func (e *APIError) ClockSkewed() bool {
	if e.Throttled() {
		return false
	}
	if slices.Contains(skewCodes, e.Code) {
		return true
	}
	return slices.Contains(signingCodes, e.Code) && (e.Skew != 0 || signatureOutOfTime(e.Message))
}

// signatureOutOfTime recognises how the service words a signature whose time is not now.
func signatureOutOfTime(message string) bool {
	return strings.Contains(message, "Signature expired") || strings.Contains(message, "Signature not yet current")
}

// Expired reports whether the credentials have run out.
func (e *APIError) Expired() bool {
	return slices.Contains(expiredCodes, e.Code) && !e.Throttled()
}

// Denied reports whether the service knows the caller for one that may not do this, or does not know it at all.
func (e *APIError) Denied() bool {
	if e.Throttled() || e.ClockSkewed() || e.Expired() {
		return false
	}
	return slices.Contains(deniedCodes, e.Code) || slices.Contains(staleCodes, e.Code) || slices.Contains(signingCodes, e.Code) ||
		e.HTTPStatus == http.StatusUnauthorized || e.HTTPStatus == http.StatusForbidden
}

// Terminal reports whether asking again brings the same answer: a 4xx that is not about throttling, time, the clock, the
// credentials or the proxy. The service names its errors: an answer that names none is of something in between, such as the page of a proxy
// or of a balancer, and says nothing of what the service will answer.
func (e *APIError) Terminal() bool {
	if e.Code == unnamed(e.HTTPStatus) {
		return false
	}
	switch e.HTTPStatus {
	case http.StatusRequestTimeout, http.StatusProxyAuthRequired, http.StatusTooEarly:
		return false
	}
	return e.HTTPStatus >= 400 && e.HTTPStatus < 500 && !e.Throttled() && !e.ClockSkewed() && !e.Expired() && !e.Denied()
}

// unnamed is the code of an answer that names none (P-29).
func unnamed(status int) string { return "Http" + strconv.Itoa(status) + "Error" }

// stale reports whether fresh credentials may be what is missing.
func (e *APIError) stale() bool {
	return e.Expired() || !e.ClockSkewed() && !e.Throttled() && slices.Contains(staleCodes, e.Code)
}

// SpecError says that the service has no specification of use for an execution. Asking again brings the same.
type SpecError struct {
	ExecutionID string
	Reason      string
	Err         error // may be nil
}

func (e *SpecError) Error() string {
	return fmt.Sprintf("specification of %s: %s", e.ExecutionID, e.Reason)
}

func (e *SpecError) Unwrap() error { return e.Err }

// ResponseError is an answer of success whose body is not what the service promises.
type ResponseError struct {
	Operation, RequestID string
	Page                 bool // it is a page for a browser, of a proxy say: nothing of what the service answered
	Err                  error
}

func (e *ResponseError) Error() string {
	text := fmt.Sprintf("%s: malformed answer: %v", e.Operation, e.Err)
	if e.RequestID != "" {
		text += " [request " + e.RequestID + "]"
	}
	return text
}

func (e *ResponseError) Unwrap() error { return e.Err }

// TransportError says that no answer arrived: name, connection, TLS, time-out, or an answer that broke off.
type TransportError struct {
	Operation, Endpoint string
	Certificate         bool // the service's certificate was not accepted: repeating the call does not help
	Err                 error
}

func (e *TransportError) Error() string {
	text := fmt.Sprintf("%s at %s: %v", e.Operation, e.Endpoint, e.Err)
	if e.Certificate {
		text += "; if a proxy or an endpoint of your own stands in between, name its CA in AWS_SSL_CA_BUNDLE"
	}
	return text
}

func (e *TransportError) Unwrap() error { return e.Err }

// ErrCredentials is wrapped by the errors of calls that were not made because there were no credentials to sign them.
var ErrCredentials = errors.New("no credentials")

package lab

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// keyring knows whose signature counts. It is written before the listeners open.
type keyring struct {
	secrets map[string]string // by access key
	tokens  map[string]string // session tokens by access key, where the key is a temporary one
	lenient bool
}

// A signatureError is why a request is refused, in terms of both JSON services and S3.
type signatureError struct {
	code, s3Code, message string
}

func (e *signatureError) Error() string { return e.message }

const (
	sigAlgorithm = "AWS4-HMAC-SHA256"
	sigTime      = "20060102T150405Z"
	maxSkew      = 5 * time.Minute
)

// signature is what a request brings, in its Authorization header or in its query.
type signature struct {
	access, scope, date, region, service string
	signed                               []string
	value                                string
	presigned                            bool
	expires                              time.Duration
	at                                   time.Time
}

// check verifies a request's signature (SigV4); body is hashed if the client signed its hash. It returns the access key.
func (k *keyring) check(r *http.Request, body func() ([]byte, error)) (string, *signatureError) {
	s, err := parseSignature(r)
	if k.lenient {
		return s.access, nil
	}
	if err != nil {
		return "", &signatureError{"MissingAuthenticationTokenException", "AccessDenied", err.Error()}
	}
	secret, known := k.secrets[s.access]
	if !known {
		return s.access, &signatureError{"UnrecognizedClientException", "InvalidAccessKeyId", "The security token included in the request is invalid: the lab does not know the access key " + s.access}
	}
	if token := cmp.Or(r.Header.Get("X-Amz-Security-Token"), r.URL.Query().Get("X-Amz-Security-Token")); token != k.tokens[s.access] {
		return s.access, &signatureError{"UnrecognizedClientException", "InvalidToken", "The security token included in the request is invalid."}
	}
	skew := time.Since(s.at)
	if s.presigned && skew > s.expires {
		return s.access, &signatureError{"ExpiredTokenException", "AccessDenied", "Request has expired"}
	}
	if !s.presigned && skew.Abs() > maxSkew {
		return s.access, &signatureError{"InvalidSignatureException", "RequestTimeTooSkewed", fmt.Sprintf("Signature expired: %s is now earlier or later than the time of the lab (%s) by more than 5 min.", s.at.UTC().Format(sigTime), time.Now().UTC().Format(sigTime))}
	}
	hash, err := payloadHash(r, s, body)
	if err == nil && !hmac.Equal([]byte(s.sign(secret, canonical(r, s, hash))), []byte(s.value)) {
		err = errors.New("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.") //nolint:staticcheck // the service's words
	}
	if err != nil {
		return s.access, &signatureError{"InvalidSignatureException", "SignatureDoesNotMatch", err.Error()}
	}
	return s.access, nil
}

// parseSignature reads header or query form.
func parseSignature(r *http.Request) (signature, error) {
	var s signature
	credential, stampText, signedHeaders := "", r.Header.Get("X-Amz-Date"), ""
	auth, q := r.Header.Get("Authorization"), r.URL.Query()
	switch {
	case strings.HasPrefix(auth, sigAlgorithm+" "):
		for field := range strings.SplitSeq(strings.TrimPrefix(auth, sigAlgorithm), ",") {
			switch name, value, _ := strings.Cut(strings.TrimSpace(field), "="); name {
			case "Credential":
				credential = value
			case "SignedHeaders":
				signedHeaders = value
			case "Signature":
				s.value = value
			}
		}
	case q.Get("X-Amz-Algorithm") == sigAlgorithm:
		credential, stampText, signedHeaders, s.value = q.Get("X-Amz-Credential"), q.Get("X-Amz-Date"), q.Get("X-Amz-SignedHeaders"), q.Get("X-Amz-Signature")
		s.presigned = true
		s.expires, _ = time.ParseDuration(q.Get("X-Amz-Expires") + "s")
	default:
		return s, errors.New("Missing Authentication Token") //nolint:staticcheck // the service's words
	}
	s.access, s.scope, _ = strings.Cut(credential, "/")
	parts := strings.Split(s.scope, "/")
	if len(parts) != 4 || s.value == "" || signedHeaders == "" {
		return s, errors.New("Authorization header requires Credential, SignedHeaders and Signature") //nolint:staticcheck // the service's words
	}
	s.date, s.region, s.service = parts[0], parts[1], parts[2]
	s.signed = strings.Split(signedHeaders, ";")
	var err error
	if s.at, err = time.Parse(sigTime, stampText); err != nil {
		return s, fmt.Errorf("the date of the signature, %q, is not of the form %s", stampText, sigTime)
	}
	return s, nil
}

// payloadHash is the hash that was signed; one that is a hash must be the body's.
func payloadHash(r *http.Request, s signature, body func() ([]byte, error)) (string, error) {
	claimed := r.Header.Get("X-Amz-Content-Sha256")
	switch {
	case s.presigned && claimed == "":
		return "UNSIGNED-PAYLOAD", nil
	case claimed == "UNSIGNED-PAYLOAD" || strings.HasPrefix(claimed, "STREAMING-"):
		return claimed, nil
	case body == nil && claimed != "":
		return claimed, nil // checked while it is read
	}
	var data []byte
	if body != nil {
		var err error
		if data, err = body(); err != nil {
			return "", err
		}
	}
	sum := sha256.Sum256(data)
	hash := hex.EncodeToString(sum[:])
	if claimed != "" && claimed != hash {
		return "", errors.New("The provided 'x-amz-content-sha256' header does not match what was computed.") //nolint:staticcheck // the service's words
	}
	return hash, nil
}

// canonical is the request as it is signed.
func canonical(r *http.Request, s signature, hash string) string {
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	if s.service == "s3" {
		path = escape(r.URL.Path, true)
	}
	var b strings.Builder
	b.WriteString(r.Method + "\n" + path + "\n" + canonicalQuery(r.URL.Query()) + "\n")
	for _, name := range s.signed {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = cmp.Or(value, fmt.Sprint(r.ContentLength))
		case "transfer-encoding":
			value = cmp.Or(value, strings.Join(r.TransferEncoding, ","))
		}
		b.WriteString(name + ":" + strings.Join(strings.Fields(value), " ") + "\n")
	}
	b.WriteString("\n" + strings.Join(s.signed, ";") + "\n" + hash)
	return b.String()
}

func canonicalQuery(q url.Values) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if name == "X-Amz-Signature" {
			continue
		}
		values := slices.Sorted(slices.Values(q[name]))
		for _, v := range values {
			pairs = append(pairs, escape(name, false)+"="+escape(v, false))
		}
	}
	return strings.Join(pairs, "&")
}

// escape percent-encodes all but the unreserved characters, and the slash where asked.
func escape(text string, keepSlash bool) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', strings.IndexByte("-_.~", c) >= 0, c == '/' && keepSlash:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

// sign computes the signature of a canonical request.
func (s signature) sign(secret, request string) string {
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	sum := sha256.Sum256([]byte(request))
	key := mac(mac(mac(mac([]byte("AWS4"+secret), s.date), s.region), s.service), "aws4_request")
	return hex.EncodeToString(mac(key, sigAlgorithm+"\n"+s.at.UTC().Format(sigTime)+"\n"+s.scope+"\n"+hex.EncodeToString(sum[:])))
}

// A hashedBody fails at its end if it was not what its signed hash says.
type hashedBody struct {
	io.ReadCloser
	hash interface {
		io.Writer
		Sum([]byte) []byte
	}
	want string
}

// withHashedBody checks the body of a request against its signed hash while it is read.
func withHashedBody(r *http.Request) {
	want := r.Header.Get("X-Amz-Content-Sha256")
	if len(want) == 64 && r.Body != nil {
		r.Body = &hashedBody{ReadCloser: r.Body, hash: sha256.New(), want: want}
	}
}

func (b *hashedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.hash.Write(p[:n]) //nolint:errcheck // a hash never fails
	if errors.Is(err, io.EOF) && hex.EncodeToString(b.hash.Sum(nil)) != b.want {
		return n, errors.New("the body is not what its x-amz-content-sha256 says")
	}
	return n, err
}

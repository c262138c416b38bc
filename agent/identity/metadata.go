package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	imdsEndpoint = "http://169.254.169.254"
	imdsConnect  = 2 * time.Second  // where there is no metadata service the address often swallows packets
	imdsAnswer   = 5 * time.Second  // one request
	imdsPatience = 15 * time.Second // all requests of one Resolve
	imdsAttempts = 3
	maxMetadata  = 64 << 10

	roleWindow = 5 * time.Minute // role credentials are renewed this long before their end (V-38)
)

// ErrNoMetadata says that the metadata service has no such value: 404, or there is no such service on premises.
var ErrNoMetadata = errors.New("no such instance metadata")

// metadata is a client of the metadata service that can say why it got no session token.
type metadata struct {
	client *imds.Client
	tokens *tokenWitness
}

// newMetadata makes a client that uses no proxy, follows no redirect and reads nothing from the environment.
func newMetadata(endpoint string, allowV1 bool) *metadata {
	fallback := aws.FalseTernary
	if allowV1 {
		fallback = aws.TrueTernary
	}
	m := &metadata{tokens: &tokenWitness{inner: &http.Transport{
		Proxy:               nil,
		DialContext:         (&net.Dialer{Timeout: imdsConnect}).DialContext,
		MaxIdleConnsPerHost: 1,
		IdleConnTimeout:     imdsAnswer,
	}}}
	m.client = imds.New(imds.Options{
		Endpoint:          cmp.Or(endpoint, imdsEndpoint),
		EnableFallback:    fallback,
		ClientEnableState: imds.ClientEnabled, // who disabled it was heard in Resolve
		Retryer:           retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = imdsAttempts }),
		HTTPClient: &http.Client{
			Transport:     m.tokens,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       imdsAnswer,
		},
	})
	return m
}

// tokenWitness remembers how the last request for a session token ended.
type tokenWitness struct {
	inner http.RoundTripper
	mu    sync.Mutex
	last  error // guarded by mu
}

// RoundTrip passes everything on as it is.
func (w *tokenWitness) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.inner.RoundTrip(r)
	if r.Method != http.MethodPut {
		return resp, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		w.last = plain(err)
	case resp.StatusCode/100 != 2:
		w.last = fmt.Errorf("no session token: HTTP %d; imds.allow_v1 would do without one", resp.StatusCode)
	default:
		w.last = nil
	}
	return resp, err
}

func (w *tokenWitness) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// plain takes the layers off a network error that only repeat the URL.
func plain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		return fmt.Errorf("no answer in time: %w", err)
	}
	return err
}

// instance is what the metadata service says about this host.
type instance struct {
	region, account, id string
	partition, domain   string // "" where it does not say
}

// askInstance reads who the instance is. The identity document is needed, the rest is not (P-75).
func askInstance(ctx context.Context, m *metadata) (instance, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, imdsPatience, fmt.Errorf("no answer in %s", imdsPatience))
	defer cancel()
	doc, err := m.client.GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return instance{}, cause
		}
		return instance{}, m.explain(err)
	}
	i := instance{region: doc.Region, account: doc.AccountID, id: doc.InstanceID}
	if i.region == "" || i.account == "" || i.id == "" {
		return instance{}, errors.New("the instance identity document lacks region, accountId or instanceId")
	}
	i.partition, _ = m.read(ctx, "services/partition")
	i.domain, _ = m.read(ctx, "services/domain")
	return i, nil
}

// metadataError says in a few words what the SDK says in many; it wraps the SDK's error.
type metadataError struct {
	text     string
	answered bool // something did answer, if not with the value
	err      error
}

func (e *metadataError) Error() string { return e.text }

func (e *metadataError) Unwrap() error { return e.err }

// explain finds in the SDK's error what a person needs.
func (m *metadata) explain(err error) error {
	if e, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return &metadataError{fmt.Sprintf("HTTP %d", e.HTTPStatusCode()), true, err}
	}
	if e, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		return &metadataError{plain(e.Err).Error(), false, err}
	}
	// Of a refused token only the words tell: the SDK's error for it wraps nothing.
	if cause := m.tokens.failure(); cause != nil && strings.Contains(err.Error(), "API token") {
		return &metadataError{cause.Error(), false, cause}
	}
	return err
}

// read reads one value below /latest/meta-data, trimmed.
func (m *metadata) read(ctx context.Context, path string) (string, error) {
	out, err := m.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	if e, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && e.HTTPStatusCode() == http.StatusNotFound {
		return "", ErrNoMetadata
	}
	if err != nil {
		return "", fmt.Errorf("read instance metadata %s: %w", path, m.explain(err))
	}
	defer out.Content.Close()
	data, err := io.ReadAll(io.LimitReader(out.Content, maxMetadata))
	if err != nil {
		return "", fmt.Errorf("read instance metadata %s: %w", path, err)
	}
	return strings.TrimSpace(string(data)), nil
}

// Metadata reads one path below /latest/meta-data, such as autoscaling/target-lifecycle-state. It asks anew each
// time, for at most a few seconds. Where the value does not exist, on premises always, the error is ErrNoMetadata;
// a nil Identity has none.
func (i *Identity) Metadata(ctx context.Context, path string) (string, error) {
	if i == nil || i.metadata == nil {
		return "", ErrNoMetadata
	}
	ctx, cancel := context.WithTimeoutCause(ctx, imdsPatience, fmt.Errorf("no answer in %s", imdsPatience))
	defer cancel()
	return i.metadata.read(ctx, path)
}

// roleCredentials are the instance profile's, cached and renewed ahead of their end. When the metadata service
// cannot renew them they go on being used: the service that is asked decides.
func roleCredentials(m *metadata) *aws.CredentialsCache {
	provider := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = m.client })
	return aws.NewCredentialsCache(provider, func(o *aws.CredentialsCacheOptions) {
		o.ExpiryWindow = roleWindow
		o.ExpiryWindowJitterFrac = 0.2
	})
}

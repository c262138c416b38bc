package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	tmtypes "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.uber.org/zap"
)

// S3Options says how S3 is reached. Zero fields have the defaults named with them.
type S3Options struct {
	Region string
	// Endpoint replaces the region's own (I-12); empty for the SDK's.
	Endpoint string
	// PathStyle puts the bucket into the path, not the host name. It is the rule anyway for endpoints that are an address or
	// localhost.
	PathStyle   bool
	Credentials aws.CredentialsProvider // nil for anonymous requests
	HTTP        *http.Client            // nil for a plain client that knows of no proxy
	PartSize    int64                   // bytes; default 8 MiB, which is also what one request brings at most
	Concurrency int                     // parts on the way at once; default 5
	Log         *zap.Logger             // nil for none
}

const (
	defaultPartSize    = 8 << 20
	defaultConcurrency = 5
	s3Attempts         = 4 // of one request (P-32)
	partAttempts       = 4 // at one part whose body breaks off
)

// Objects downloads objects of S3. [NewS3] makes it.
type Objects struct {
	opts S3Options
}

// NewS3 makes the client. It sends nothing.
func NewS3(opts S3Options) *Objects {
	opts.PartSize = cmp.Or(opts.PartSize, defaultPartSize)
	opts.Concurrency = cmp.Or(opts.Concurrency, defaultConcurrency)
	if opts.HTTP == nil {
		opts.HTTP = &http.Client{}
	}
	if opts.Credentials == nil {
		opts.Credentials = aws.AnonymousCredentials{}
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	return &Objects{opts}
}

// fetch downloads the object in parts that are bound to one version and one ETag: one request for a small object, several at
// once for a large one. A part that breaks off is fetched again, not the whole. A bucket in another region is followed there, as the
// reference's SDK does, and expired credentials are asked for anew, once each. On success the content has been checked against the ETag
// as far as the ETag tells it, or against a checksum that is stored with the object.
func (o *Objects) fetch(ctx context.Context, from S3Location, a *arrival) (Object, error) {
	region, refreshed := o.opts.Region, false
	for {
		object, err := o.download(ctx, region, from, a)
		if err == nil {
			return object, nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return Object{}, fmt.Errorf("download %s: %w", from, cause)
		}
		if other := bucketRegion(err); other != "" && other != region && region == o.opts.Region && o.opts.Endpoint == "" {
			o.opts.Log.Info("the bucket is in another region", zap.String("bucket", from.Bucket), zap.String("region", other))
			region = other
		} else if cache, ok := o.opts.Credentials.(*aws.CredentialsCache); ok && !refreshed && isExpired(err) {
			o.opts.Log.Info("the credentials have expired: asked for anew")
			cache.Invalidate()
			refreshed = true
		} else {
			return Object{}, o.explain(err, region, from)
		}
		if err := a.anew(); err != nil {
			return Object{}, err
		}
	}
}

func (o *Objects) client(region string) *s3.Client {
	return s3.New(s3.Options{
		Region:       region,
		Credentials:  o.opts.Credentials,
		HTTPClient:   o.opts.HTTP,
		UsePathStyle: o.opts.PathStyle || isAddress(o.opts.Endpoint),
		Retryer:      retry.NewStandard(func(r *retry.StandardOptions) { r.MaxAttempts = s3Attempts }),
		BaseEndpoint: pointer(o.opts.Endpoint),
		// A range has no checksum of its own; the SDK's word about that each time helps nobody.
		DisableLogOutputChecksumValidationSkipped: true,
	})
}

func (o *Objects) download(ctx context.Context, region string, from S3Location, a *arrival) (Object, error) {
	api := &pinned{Client: o.client(region), want: unquote(from.ETag), to: a, answered: make(chan struct{})}
	choose := func(ctx context.Context) (checksum, error) { return o.expected(ctx, api, from) }
	return summed(ctx, a, choose, func() (Object, error) { return o.parts(ctx, api, from) })
}

// parts brings all parts of an object.
func (o *Objects) parts(ctx context.Context, api *pinned, from S3Location) (Object, error) {
	manager := transfermanager.New(api, func(t *transfermanager.Options) {
		t.GetObjectType = tmtypes.GetObjectRanges
		t.PartSizeBytes = o.opts.PartSize
		t.Concurrency = o.opts.Concurrency
		t.PartBodyMaxRetries = partAttempts
	})
	in := &transfermanager.DownloadObjectInput{Bucket: &from.Bucket, Key: &from.Key, WriterAt: api, VersionID: pointer(from.Version)}
	if api.want != "" {
		in.IfMatch = pointer(`"` + api.want + `"`)
	}
	if _, err := manager.DownloadObject(ctx, in); err != nil {
		return Object{}, cmp.Or(api.refused(), err)
	}
	first := api.first
	if n := api.to.bytes(); n != first.total {
		return Object{}, fmt.Errorf("%d bytes arrived of %d: %w", n, first.total, ErrDiffers)
	}
	return Object{ETag: first.etag, VersionID: first.version, Bytes: first.total}, nil
}

// isAddress says whether the bucket cannot go into the endpoint's host name.
func isAddress(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && (net.ParseIP(u.Hostname()) != nil || u.Hostname() == "localhost")
}

func pointer(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

var errRange = errors.New("the server sent another part of the object than it was asked for")

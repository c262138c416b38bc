package bundle

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// pinned holds every reply of a download to the ETag of the revision, and to the ETag, version and length of the first reply. The
// request asks for that (If-Match), but not every server that speaks S3 listens, and a download that mixes two objects must not be.
type pinned struct {
	*s3.Client
	want string // ETag of the revision, without quotes; empty for any
	to   *arrival
	// answered is closed when first is there, which then stays as it is.
	answered chan struct{}

	mu     sync.Mutex // guards what follows
	seen   bool
	first  reply
	refuse error // the first objection, or the first failure to write
}

// reply is what an answer says of the whole object.
type reply struct {
	etag, version string
	total         int64
	opaque        bool // the ETag is not the content's MD5 whatever it looks like
}

// GetObject asks for a part and looks at the answer before any of it is written.
func (p *pinned) GetObject(ctx context.Context, in *s3.GetObjectInput, opts ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	out, err := p.Client.GetObject(ctx, in, opts...)
	if err != nil {
		return nil, err
	}
	part, err := p.check(in, out)
	if err != nil {
		out.Body.Close()
		return nil, err
	}
	if part >= 0 {
		out.Body = &exactly{body: out.Body, left: part}
	}
	return out, nil
}

// WriteAt writes a part where it belongs. The transfer's own error hides why that fails.
func (p *pinned) WriteAt(b []byte, at int64) (int, error) {
	n, err := p.to.WriteAt(b, at)
	if err != nil {
		p.object(fmt.Errorf("write the bundle: %w", outOfSpace(err, p.to.file.Name())))
	}
	return n, err
}

func (p *pinned) object(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse == nil {
		p.refuse = err
	}
}

// refused is the objection that ended the download, if one did. The transfer's own error may be that of another part.
func (p *pinned) refused() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refuse
}

func (p *pinned) check(in *s3.GetObjectInput, out *s3.GetObjectOutput) (part int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := reply{etag: unquote(aws.ToString(out.ETag)), version: aws.ToString(out.VersionId)}
	r.opaque = out.ServerSideEncryption == types.ServerSideEncryptionAwsKms || out.ServerSideEncryption == types.ServerSideEncryptionAwsKmsDsse ||
		aws.ToString(out.SSECustomerAlgorithm) != ""
	part, r.total, err = extent(in, out)
	switch {
	case err != nil:
	case p.want != "" && r.etag != p.want: // I-11: as text, case-sensitive
		err = fmt.Errorf("its ETag is %q and the revision was registered with %q: it has been replaced since: %w", r.etag, p.want, ErrDiffers)
	case !p.seen:
		p.seen, p.first = true, r
		close(p.answered)
		err = room(p.to.file, r.total)
	case r != p.first:
		err = fmt.Errorf("it was replaced while it was downloaded (ETag %q, then %q): %w", p.first.etag, r.etag, ErrDiffers)
	}
	if err != nil && p.refuse == nil {
		p.refuse = err
	}
	return part, err
}

// extent is how many bytes the answer brings and how many the object has; part is negative when the answer does not say.
func extent(in *s3.GetObjectInput, out *s3.GetObjectOutput) (part, total int64, err error) {
	var start, end int64
	if out.ContentRange == nil {
		// A server that knows no ranges sends the whole object, which is all right for the first part.
		if r := aws.ToString(in.Range); r != "" && !strings.HasPrefix(r, "bytes=0-") || out.ContentLength == nil {
			return -1, 0, errRange
		}
		return *out.ContentLength, *out.ContentLength, nil
	}
	text := strings.TrimPrefix(*out.ContentRange, "bytes ")
	span, all, _ := strings.Cut(text, "/")
	from, last, _ := strings.Cut(span, "-")
	for _, n := range []struct {
		text string
		to   *int64
	}{{from, &start}, {last, &end}, {all, &total}} {
		if *n.to, err = strconv.ParseInt(n.text, 10, 64); err != nil {
			return -1, 0, fmt.Errorf("the server's Content-Range %q: %w", *out.ContentRange, err)
		}
	}
	if start < 0 || end < start || end >= total || !asked(aws.ToString(in.Range), start, end, total) {
		return -1, 0, fmt.Errorf("%w: asked for %s, got %s", errRange, aws.ToString(in.Range), *out.ContentRange)
	}
	return end - start + 1, total, nil
}

// asked says whether a span of an object is what the Range header asked for.
func asked(header string, start, end, total int64) bool {
	from, to, _ := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	return err1 == nil && err2 == nil && start == first && end == min(last, total-1)
}

// exactly is a body that must have as many bytes as the headers promised. HTTP sees to that mostly, but not for every way a body
// can be framed. What is missing is an error that has the part fetched again.
type exactly struct {
	body io.ReadCloser
	left int64
}

func (e *exactly) Read(p []byte) (int, error) {
	n, err := e.body.Read(p)
	if e.left -= int64(n); e.left < 0 {
		return 0, fmt.Errorf("more bytes arrived than announced: %w", io.ErrUnexpectedEOF)
	}
	if err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (e *exactly) Close() error { return e.body.Close() }

// unquote takes away the double quotes of an ETag, all of them (I-11).
func unquote(etag string) string { return strings.ReplaceAll(etag, `"`, "") }

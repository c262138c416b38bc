package bundle

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"go.uber.org/zap"
)

// expected is what the service knows of the content: the ETag where that is its MD5, else a checksum that was stored with the object.
// The ETag of an object that was uploaded in parts says nothing that can be computed.
func (o *Objects) expected(ctx context.Context, api *pinned, from S3Location) (checksum, error) {
	select {
	case <-api.answered:
	case <-ctx.Done():
		return checksum{}, context.Cause(ctx)
	}
	first := api.first
	if sum, ok := isMD5(first, from.Bucket); ok {
		return checksum{sumMD5, sum}, nil
	}
	in := &s3.HeadObjectInput{Bucket: &from.Bucket, Key: &from.Key, VersionId: pointer(from.Version), ChecksumMode: types.ChecksumModeEnabled}
	if in.VersionId == nil {
		in.IfMatch = pointer(`"` + first.etag + `"`)
	}
	head, err := api.HeadObject(ctx, in)
	if err != nil {
		// The permission to read is there, so that this is the server's limit. Parts are bound to one ETag and one length anyway.
		o.opts.Log.Debug("the object's checksums cannot be asked for", zap.Stringer("object", from), zap.Error(err))
		return sha256Only(ctx)
	}
	if unquote(aws.ToString(head.ETag)) != first.etag {
		return checksum{}, fmt.Errorf("it was replaced while it was downloaded: %w", ErrDiffers)
	}
	if sums := stored(head); len(sums) > 0 {
		return sums[0], nil
	}
	o.opts.Log.Debug("the object has neither an MD5 nor a checksum of the whole: its length and ETag are compared", zap.Stringer("object", from))
	return sha256Only(ctx)
}

// isMD5 says whether an ETag is the MD5 of the content, and which: it looks like one, the object is not encrypted with a key of KMS or
// the customer's, and the bucket is no directory bucket, whose ETags are random.
func isMD5(r reply, bucket string) (sum []byte, is bool) {
	if r.opaque || len(r.etag) != 2*md5.Size || strings.HasSuffix(bucket, "--x-s3") {
		return nil, false
	}
	sum, err := hex.DecodeString(r.etag)
	return sum, err == nil
}

// stored lists the checksums over the whole object that the service keeps, the strongest first.
func stored(head *s3.HeadObjectOutput) []checksum {
	if head.ChecksumType == types.ChecksumTypeComposite {
		return nil
	}
	var out []checksum
	for _, c := range []struct {
		algorithm
		want *string
	}{
		{sumSHA256, head.ChecksumSHA256},
		{sumSHA1, head.ChecksumSHA1},
		{sumCRC64NVME, head.ChecksumCRC64NVME},
		{sumCRC32C, head.ChecksumCRC32C},
		{sumCRC32, head.ChecksumCRC32},
	} {
		// A dash is followed by a number of parts: a checksum of checksums, and no base64.
		if want, err := base64.StdEncoding.DecodeString(aws.ToString(c.want)); err == nil && len(want) > 0 {
			out = append(out, checksum{c.algorithm, want})
		}
	}
	return out
}

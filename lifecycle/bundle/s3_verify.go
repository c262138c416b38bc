package bundle

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"go.uber.org/zap"
)

// verify compares what was written with what the service knows of the content: with the ETag where that is its MD5, else with a
// checksum that was stored with the object. The ETag of an object that was uploaded in parts says nothing that can be computed.
func (s *s3Objects) verify(ctx context.Context, api *pinned, from S3Location, to *os.File) error {
	if isMD5(api.first, from.Bucket) {
		return compare(ctx, to, md5.New(), "MD5", hex.EncodeToString, strings.ToLower(api.first.etag))
	}
	in := &s3.HeadObjectInput{Bucket: &from.Bucket, Key: &from.Key, VersionId: pointer(from.Version), ChecksumMode: types.ChecksumModeEnabled}
	if in.VersionId == nil {
		in.IfMatch = pointer(`"` + api.first.etag + `"`)
	}
	head, err := api.HeadObject(ctx, in)
	if err != nil {
		// The permission to read is there, so that this is the server's limit. Parts were bound to one ETag and one length anyway.
		s.opts.Log.Debug("the object's checksums cannot be asked for", zap.Stringer("object", from), zap.Error(err))
		return nil
	}
	if unquote(aws.ToString(head.ETag)) != api.first.etag {
		return fmt.Errorf("it was replaced while it was downloaded: %w", ErrDiffers)
	}
	if sums := stored(head); len(sums) > 0 {
		sum := sums[0]
		return compare(ctx, to, sum.hash(), sum.name, base64.StdEncoding.EncodeToString, sum.want)
	}
	s.opts.Log.Debug("the object has neither an MD5 nor a checksum of the whole: its length and ETag were compared", zap.Stringer("object", from))
	return nil
}

// isMD5 says whether an ETag is the MD5 of the content: it looks like one, the object is not encrypted with a key of KMS or the
// customer's, and the bucket is no directory bucket, whose ETags are random.
func isMD5(r reply, bucket string) bool {
	if r.opaque || len(r.etag) != 2*md5.Size || strings.HasSuffix(bucket, "--x-s3") {
		return false
	}
	_, err := hex.DecodeString(r.etag)
	return err == nil
}

type checksum struct {
	name, want string
	hash       func() hash.Hash
}

// stored lists the checksums over the whole object that the service keeps, the strongest first.
func stored(head *s3.HeadObjectOutput) []checksum {
	if head.ChecksumType == types.ChecksumTypeComposite {
		return nil
	}
	nvme := func() hash.Hash { return crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)) }
	var out []checksum
	for _, c := range []struct {
		name string
		want *string
		hash func() hash.Hash
	}{
		{"SHA-256", head.ChecksumSHA256, sha256.New},
		{"SHA-1", head.ChecksumSHA1, sha1.New},
		{"CRC-64/NVME", head.ChecksumCRC64NVME, nvme},
		{"CRC-32C", head.ChecksumCRC32C, func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }},
		{"CRC-32", head.ChecksumCRC32, func() hash.Hash { return crc32.NewIEEE() }},
	} {
		// A dash is followed by a number of parts: a checksum of checksums.
		if want := aws.ToString(c.want); want != "" && !strings.Contains(want, "-") {
			out = append(out, checksum{c.name, want, c.hash})
		}
	}
	return out
}

// compare reads the file and compares its sum.
func compare(ctx context.Context, f *os.File, h hash.Hash, name string, encode func([]byte) string, want string) error {
	if _, err := io.CopyBuffer(h, &source{ctx: ctx, ReaderAt: f}, make([]byte, 256<<10)); err != nil {
		return fmt.Errorf("verify the bundle: %w", err)
	}
	if got := encode(h.Sum(nil)); got != want {
		return fmt.Errorf("its content does not have the checksum that S3 keeps for it: %s %s, not %s: %w", name, got, want, ErrDiffers)
	}
	return nil
}

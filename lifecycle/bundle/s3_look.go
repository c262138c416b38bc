package bundle

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Look asks for an object without downloading it, and says as the download would why it may not be had: it is gone, the credentials may not read
// it, the bucket is elsewhere.
func (o *Objects) Look(ctx context.Context, at S3Location) error {
	region := o.opts.Region
	for {
		_, err := o.client(region).HeadObject(ctx, &s3.HeadObjectInput{Bucket: &at.Bucket, Key: &at.Key, VersionId: pointer(at.Version)})
		if err == nil {
			return nil
		}
		if other := bucketRegion(err); other != "" && other != region && region == o.opts.Region && o.opts.Endpoint == "" {
			region = other
			continue
		}
		return o.explain(err, region, at)
	}
}

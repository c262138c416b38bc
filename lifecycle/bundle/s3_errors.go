package bundle

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// explained puts a sentence for a person before what the SDK says, which stays there for errors.As.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

// explain says what S3's answer means for this bucket and this key, and what to do.
func (o *Objects) explain(err error, region string, from S3Location) error {
	failure, status := answer(err)
	if failure == nil {
		return fmt.Errorf("download %s: %w", from, err)
	}
	code := failure.ErrorCode()
	action := "s3:GetObject"
	if from.Version != "" {
		action = "s3:GetObjectVersion"
	}
	var text string
	switch {
	case code == "NoSuchKey" || code == "NotFound":
		text = fmt.Sprintf("there is no object %q in the bucket %s: check the key of the revision, and whether a lifecycle rule removed it", from.Key, from.Bucket)
	case code == "NoSuchVersion" || code == "MethodNotAllowed" || code == "InvalidArgument" && from.Version != "":
		text = fmt.Sprintf("the object %q in the bucket %s has no version %q that can be read: check the version of the revision", from.Key, from.Bucket, from.Version)
	case code == "NoSuchBucket":
		text = fmt.Sprintf("there is no bucket %s (asked for in region %s)", from.Bucket, region)
	case code == "PreconditionFailed" || status == http.StatusPreconditionFailed:
		text = fmt.Sprintf("the ETag is no longer %q: the object has been replaced since the revision was registered: register it again", unquote(from.ETag))
		err = errors.Join(ErrDiffers, err)
	case bucketRegion(err) != "":
		text = fmt.Sprintf("the bucket %s is in region %s, and it was asked for in %s: configure the endpoint of its region", from.Bucket, bucketRegion(err), region)
	case code == "PermanentRedirect" || code == "AuthorizationHeaderMalformed" || code == "IllegalLocationConstraintException":
		text = fmt.Sprintf("the bucket %s is in another region than %s", from.Bucket, region)
	case code == "InvalidObjectState":
		text = fmt.Sprintf("the object %q in the bucket %s is archived: restore it or register a bundle that is not", from.Key, from.Bucket)
	case isExpired(err) || slices.Contains([]string{"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"}, code):
		text = "the credentials of this host are not accepted: check the instance profile or the keys"
	case code == "RequestTimeTooSkewed":
		text = "the clock of this host is wrong: synchronise it"
	case code == "AccessDenied" || status == http.StatusForbidden:
		text = fmt.Sprintf("access to the object %q in the bucket %s is denied: allow %s on arn:%s:s3:::%s/%s to the role of this host, and kms:Decrypt if the object is encrypted with a key of KMS; "+
			"without s3:ListBucket on the bucket a missing object gives the same answer", from.Key, from.Bucket, action, partition(region), from.Bucket, from.Key)
	default:
		return fmt.Errorf("download %s: %w", from, err)
	}
	text = fmt.Sprintf("download %s: %s (S3 answers %s", from, text, code)
	if said := failure.ErrorMessage(); said != "" {
		text += ": " + strings.TrimSuffix(said, ".")
	}
	if response := new(awshttp.ResponseError); errors.As(err, &response) && response.RequestID != "" {
		text += ", request " + response.RequestID
	}
	return &explained{text + ")", err}
}

// answer is what the service said, if the error is an answer of it.
func answer(err error) (smithy.APIError, int) {
	var failure smithy.APIError
	if !errors.As(err, &failure) {
		return nil, 0
	}
	if response := new(awshttp.ResponseError); errors.As(err, &response) {
		return failure, response.HTTPStatusCode()
	}
	return failure, 0
}

// bucketRegion is the region that S3 names when a bucket was asked for in a wrong one; empty for every other answer.
func bucketRegion(err error) string {
	failure, status := answer(err)
	if failure == nil {
		return ""
	}
	switch code := failure.ErrorCode(); {
	case status == http.StatusMovedPermanently || status == http.StatusTemporaryRedirect:
	case slices.Contains([]string{"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "IncorrectEndpoint"}, code):
	default:
		return ""
	}
	if response := new(awshttp.ResponseError); errors.As(err, &response) {
		if region := response.Response.Header.Get("x-amz-bucket-region"); region != "" {
			return region
		}
	}
	// The region 'us-east-1' is wrong; expecting 'eu-west-1'
	_, after, _ := strings.Cut(failure.ErrorMessage(), "expecting '")
	region, _, _ := strings.Cut(after, "'")
	return region
}

func isExpired(err error) bool {
	failure, _ := answer(err)
	return failure != nil && slices.Contains([]string{"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}, failure.ErrorCode())
}

func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	case strings.HasPrefix(region, "eusc-"):
		return "aws-eusc"
	default:
		return "aws"
	}
}

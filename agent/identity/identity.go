// Package identity finds out who this host is for the command service: an EC2 instance, by its metadata service,
// or a registered on-premises instance, by its file. It yields host identifier, region, partition, endpoints and
// credentials, from one source each and in a fixed order; what it finds in the environment counts only where the
// service's contract says so (P-70, P-76), never as a way around the host's own identity.
package identity

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.uber.org/zap"
)

// Options says where to look. Zero values are the defaults.
type Options struct {
	OnPremisesFile      string              // on_premises_config_file; "" for DefaultOnPremisesFile
	HostID, Region      string              // override AWS_HOST_IDENTIFIER and AWS_REGION of the environment
	AllowIMDSv1         bool                // fall back to metadata without a session token
	IMDSEndpoint        string              // "" for AWS_EC2_METADATA_SERVICE_ENDPOINT, else the link-local address
	AllowEnvCredentials bool                // AWS_ACCESS_KEY_ID and its kin may be used (P-77)
	Getenv              func(string) string // nil: an empty environment
	Log                 *zap.Logger         // nil: silent
}

// DefaultOnPremisesFile is where the registration of an on-premises instance is kept (C-12).
const DefaultOnPremisesFile = "/etc/codedeploy-agent/conf/codedeploy.onpremises.yml"

// Identity is who this host is. It is immutable and safe for concurrent use.
type Identity struct {
	HostID         string // what the command service knows this host by (P-70)
	Region         string // the one region of endpoint, signatures and S3
	Domain         string // DNS suffix of the partition
	Partition      string // aws, aws-cn, …
	AccountID      string
	InstanceID     string // "" on premises
	OnPremises     bool
	CheckPartition bool // P-6 applies: pass it on in EndpointOptions
	Credentials    aws.CredentialsProvider
}

// Resolve finds out who this host is. An *UnknownError means that no source knew; the caller tries again later.
func Resolve(ctx context.Context, o Options) (*Identity, error) { return nil, nil }

// Metadata reads one path below /latest/meta-data.
func (i *Identity) Metadata(ctx context.Context, path string) (string, error) { return "", nil }

// EndpointOptions says which door of a service is wanted.
type EndpointOptions struct {
	Override       string // deploy_control_endpoint or s3_endpoint_override; used as it stands
	Region         string
	Domain         string // "" for the partition table's
	CheckPartition bool   // hold Region and Domain to P-6
	FIPS           bool
	AuthPolicy     bool
}

// CommandEndpoint gives the URL of the command service (P-1 to P-8).
func CommandEndpoint(o EndpointOptions) (string, error) { return "", nil }

// S3Endpoint gives the URL for S3, "" for the SDK's own (I-12).
func S3Endpoint(o EndpointOptions) (string, error) { return "", nil }

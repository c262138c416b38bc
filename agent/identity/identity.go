// Package identity finds out who this host is for the command service: an EC2 instance, by its metadata service,
// or a registered on-premises instance, by its file. It yields host identifier, region, partition, endpoints and
// credentials, from one source each and in a fixed order; what it finds in the environment counts only where the
// service's contract says so (P-70, P-76), never as a way around the host's own identity.
package identity

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/zap"
)

// DefaultOnPremisesFile is where the registration of an on-premises instance is kept (C-12).
const DefaultOnPremisesFile = "/etc/codedeploy-agent/conf/codedeploy.onpremises.yml"

// Options says where to look. Zero values are the defaults.
type Options struct {
	OnPremisesFile      string              // on_premises_config_file; "" for DefaultOnPremisesFile
	HostID, Region      string              // stand in for AWS_HOST_IDENTIFIER and AWS_REGION
	FallbackRegion      string              // of [ResolveLocal], where there are credentials and nothing says which region; "" for none
	AllowIMDSv1         bool                // read metadata without a session token where none can be had
	IMDSEndpoint        string              // "" for AWS_EC2_METADATA_SERVICE_ENDPOINT, else the link-local address
	AllowEnvCredentials bool                // AWS_ACCESS_KEY_ID and its kin may be used (P-77)
	Getenv              func(string) string // nil: an empty environment
	Log                 *zap.Logger         // nil: silent
}

// Identity is who this host is. It does not change and is safe for concurrent use.
type Identity struct {
	HostID         string // what the command service knows this host by (P-70)
	Region         string // the one region of endpoint, signatures and S3
	Domain         string // DNS suffix of the region's services
	Partition      string // aws, aws-cn, …
	AccountID      string // "" where nothing told it
	InstanceID     string // "" on premises
	OnPremises     bool
	CheckPartition bool // P-6 is due: pass it on in EndpointOptions
	Credentials    aws.CredentialsProvider

	metadata *metadata // nil on premises
}

// Resolve finds out who this host is: from the on-premises file if that registers it, else from the metadata
// service; AWS_HOST_IDENTIFIER and AWS_REGION come before the latter. It takes at most some seconds and asks the
// metadata service nothing where the file or the environment has told everything.
//
// An *UnknownError means that no source knew: the caller tries again later. A *FileError means that the
// on-premises file is wrong.
func Resolve(ctx context.Context, o Options) (*Identity, error) {
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	r := &resolver{Options: o, tried: &UnknownError{Remedy: remedy}}
	r.OnPremisesFile = cmp.Or(o.OnPremisesFile, DefaultOnPremisesFile)
	r.HostID = cmp.Or(o.HostID, o.Getenv("AWS_HOST_IDENTIFIER"))
	r.Region = cmp.Or(o.Region, o.Getenv("AWS_REGION"))
	return r.resolve(ctx)
}

// resolver is one Resolve under way.
type resolver struct {
	Options
	tried *UnknownError
}

func (r *resolver) resolve(ctx context.Context) (*Identity, error) {
	reg, absent, err := readRegistration(r.OnPremisesFile)
	switch {
	case err != nil:
		return nil, err
	case absent != nil:
		r.failed("on-premises file "+r.OnPremisesFile, absent)
	case reg.arn() == "":
		r.failed("on-premises file "+r.OnPremisesFile, errors.New("names neither iam_user_arn nor iam_session_arn"))
	default:
		r.strayKeys()
		return r.onPremises(reg), nil
	}
	keys := r.environmentKeys()
	if keys == nil {
		r.strayKeys()
	}
	client, err := r.client()
	if err == nil && keys != nil && r.HostID != "" && r.Region != "" {
		// Everything is said; a metadata service that is not there would only cost its time-out.
		return r.assemble(instance{}, keys, client), nil
	}
	var told instance
	if err == nil {
		told, err = askInstance(ctx, client)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if e, ok := errors.AsType[*metadataError](err); ok && e.answered && r.HostID != "" && r.Region != "" {
		// Nothing of the identity document is needed then (P-70, P-76), and the role's credentials may be there.
		err = nil
	}
	if err != nil {
		r.failed("instance metadata "+r.imdsEndpoint(), err)
		return nil, r.unknown()
	}
	if keys == nil {
		keys = roleCredentials(client)
	}
	i := r.assemble(told, keys, client)
	i.CheckPartition = absent == nil
	return i, nil
}

// onPremises trusts the file alone (P-79, P-80): it comes before the environment, as it does when the reference
// agent writes it into its own.
func (r *resolver) onPremises(reg *registration) *Identity {
	if reg.worldReadable && reg.secret != "" {
		r.Log.Warn("on-premises file is readable by all users; chmod 600", zap.String("path", r.OnPremisesFile))
	}
	p := partitionOf(reg.region)
	i := &Identity{HostID: reg.arn(), Region: reg.region, Domain: p.domain, Partition: p.id, OnPremises: true}
	if parts := strings.SplitN(reg.arn(), ":", 6); len(parts) == 6 && parts[0] == "arn" {
		i.AccountID = parts[4]
	}
	if reg.userARN != "" {
		i.Credentials = credentials.NewStaticCredentialsProvider(reg.accessKey, reg.secret, "")
	} else {
		i.Credentials = newSessionFile(reg.credentialsFile, r.Getenv("AWS_PROFILE"), r.Log)
	}
	return i
}

// assemble puts what the environment says over what the instance told.
func (r *resolver) assemble(told instance, keys aws.CredentialsProvider, client *metadata) *Identity {
	region := cmp.Or(r.Region, told.region)
	p := partitionOf(region)
	i := &Identity{
		Region: region, Domain: p.domain, Partition: p.id, AccountID: told.account, InstanceID: told.id,
		Credentials: keys, metadata: client,
	}
	home := partitionOf(told.region)
	if told.region != "" && home == p {
		// A region of another partition than the instance's own keeps the table's domain.
		i.Domain, i.Partition = cmp.Or(told.domain, p.domain), cmp.Or(told.partition, p.id)
	}
	i.HostID = r.HostID
	if i.HostID == "" {
		i.HostID = "arn:" + cmp.Or(told.partition, home.id) + ":ec2:" + told.region + ":" + told.account + ":instance/" + told.id
	}
	if told.region != "" && region != told.region {
		r.Log.Warn("AWS_REGION differs from the instance's region and is used for everything",
			zap.String("region", region), zap.String("instance_region", told.region))
	}
	return i
}

func (r *resolver) imdsEndpoint() string {
	return cmp.Or(r.IMDSEndpoint, r.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"), imdsEndpoint)
}

func (r *resolver) client() (*metadata, error) {
	if strings.EqualFold(r.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		return nil, errors.New("disabled by AWS_EC2_METADATA_DISABLED")
	}
	return newMetadata(r.imdsEndpoint(), r.AllowIMDSv1), nil
}

// environmentNames are the names that the official agent knows for credentials of the environment, in its order (P-83): key, secret,
// session token.
var environmentNames = [][3]string{
	{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"},
	{"AMAZON_ACCESS_KEY_ID", "AMAZON_SECRET_ACCESS_KEY", "AMAZON_SESSION_TOKEN"},
	{"AWS_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN"},
}

// environmentKeys are the environment's credentials where they are allowed.
func (r *resolver) environmentKeys() aws.CredentialsProvider {
	if !r.AllowEnvCredentials {
		return nil
	}
	for _, n := range environmentNames {
		if id, secret := r.Getenv(n[0]), r.Getenv(n[1]); id != "" && secret != "" {
			return credentials.NewStaticCredentialsProvider(id, secret, r.Getenv(n[2]))
		}
	}
	return nil
}

// strayKeys tells that keys of the environment are not used: whoever set them expects otherwise.
func (r *resolver) strayKeys() {
	if r.Getenv("AWS_ACCESS_KEY_ID") != "" {
		r.Log.Warn("AWS_ACCESS_KEY_ID of the environment is ignored; credentials.allow_environment can allow it")
	}
}

func (r *resolver) failed(source string, err error) {
	r.tried.Tried = append(r.tried.Tried, Attempt{Source: source, Err: err})
}

func (r *resolver) unknown() error {
	if r.HostID != "" || r.Region != "" {
		r.failed("environment", errors.New("AWS_HOST_IDENTIFIER and AWS_REGION name a host, but not its credentials"))
	}
	return r.tried
}

package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/zap"
)

// Desk is who a person is at a desk, for a command that fetches a bundle to look at it: not a host of the command service, but whoever the AWS
// command line would be.
type Desk struct {
	Region      string // "us-east-1" where nothing says another; S3 then tells the bucket's own
	Endpoint    string // of S3, where one is set that is not the region's own
	Credentials aws.CredentialsProvider
}

// fallbackRegion knows the region of every bucket of the standard partition.
const fallbackRegion = "us-east-1"

// ResolveDesk looks for credentials in the environment, then for the profile (AWS_PROFILE, else default) in the shared credentials file, then for
// the role of the instance. The region is AWS_REGION, AWS_DEFAULT_REGION, or the profile's in the shared config file. home is the person's home
// folder. Profiles that have to be signed in for (SSO, assumed roles, processes) are not understood: the AWS command line can export theirs
// into the environment.
func ResolveDesk(ctx context.Context, getenv func(string) string, home string) (*Desk, error) {
	d := &Desk{Endpoint: cmp.Or(getenv("AWS_ENDPOINT_URL_S3"), getenv("AWS_ENDPOINT_URL"))}
	profile := cmp.Or(getenv("AWS_PROFILE"), "default")
	var err error
	if d.Region, err = deskRegion(getenv, home, profile); err != nil {
		return nil, err
	}
	r := &resolver{Options: Options{AllowEnvCredentials: true, Getenv: getenv, Log: zap.NewNop()}}
	if d.Credentials = r.environmentKeys(); d.Credentials != nil {
		return d, nil
	}
	file := &sessionFile{path: cmp.Or(getenv("AWS_SHARED_CREDENTIALS_FILE"), filepath.Join(home, ".aws", "credentials")), profile: profile, log: zap.NewNop()}
	found, err := file.Retrieve(ctx)
	switch {
	case err == nil:
		d.Credentials = credentials.NewStaticCredentialsProvider(found.AccessKeyID, found.SecretAccessKey, found.SessionToken)
		return d, nil
	case getenv("AWS_PROFILE") != "" || !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w (for a profile that has to be signed in for: eval \"$(aws configure export-credentials --profile %s --format env)\")", err, profile)
	}
	client, err := r.client()
	if err != nil {
		return nil, fmt.Errorf("there are no AWS credentials: AWS_ACCESS_KEY_ID is not set, there is no %s, and the instance's role is %w", file.path, err)
	}
	d.Credentials = roleCredentials(client)
	if _, err := d.Credentials.Retrieve(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, fmt.Errorf("there are no AWS credentials: AWS_ACCESS_KEY_ID is not set, there is no %s, and no instance role: %w", file.path, client.explain(err))
	}
	return d, nil
}

func deskRegion(getenv func(string) string, home, profile string) (string, error) {
	if region := cmp.Or(getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION")); region != "" {
		return region, nil
	}
	path := cmp.Or(getenv("AWS_CONFIG_FILE"), filepath.Join(home, ".aws", "config"))
	data, _, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fallbackRegion, nil
	}
	if err != nil {
		return "", fmt.Errorf("read the shared config file of AWS: %w", err)
	}
	profiles, err := parseINI(path, data)
	if err != nil {
		return "", err
	}
	return cmp.Or(profiles[profile]["region"], fallbackRegion), nil
}

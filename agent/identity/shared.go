package identity

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/zap"
)

// ResolveLocal finds region and credentials for a download that a person asks for on this host (L-25): from the on-premises file if that
// registers the host, else the credentials of the environment, of the person's shared files (AWS_PROFILE), or of the instance's role, in
// this order (P-83). Nobody is reported to, so that HostID may be empty. Single sign-on, roles to assume and credential processes are
// not followed; a profile that has nothing else is an error that says what to do.
//
// An *UnknownError means that no source had credentials or a region, a *FileError that a file is wrong.
func ResolveLocal(ctx context.Context, o Options) (*Identity, error) {
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	o.AllowEnvCredentials = true
	r := &resolver{Options: o, tried: &UnknownError{Problem: "there are no credentials for S3", Remedy: remedyLocal}}
	r.OnPremisesFile = cmp.Or(o.OnPremisesFile, DefaultOnPremisesFile)
	r.Region = cmp.Or(o.Region, o.Getenv("AWS_REGION"), o.Getenv("AWS_DEFAULT_REGION"))
	return r.resolveLocal(ctx)
}

const remedyLocal = "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or AWS_PROFILE to a profile of ~/.aws/credentials that has keys"

func (r *resolver) resolveLocal(ctx context.Context) (*Identity, error) {
	reg, absent, err := readRegistration(r.OnPremisesFile)
	switch {
	case err != nil:
		return nil, err
	case absent != nil:
		r.failed("on-premises file "+r.OnPremisesFile, absent)
	case reg.arn() != "":
		return r.onPremises(reg), nil
	default:
		r.failed("on-premises file "+r.OnPremisesFile, errors.New("names neither iam_user_arn nor iam_session_arn"))
	}
	keys := r.environmentKeys()
	if keys == nil {
		r.failed("environment", errors.New("has no AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY"))
	}
	shared, err := readShared(r.Getenv)
	if err != nil && keys == nil {
		return nil, err
	}
	if err == nil {
		r.Region = cmp.Or(r.Region, shared.values["region"])
		if keys == nil {
			if keys, err = shared.keys(); err != nil {
				return nil, err
			}
		}
		if keys == nil && len(shared.files) > 0 {
			r.failed(shared.source(), errors.New("has no keys"))
		}
	}
	if keys != nil {
		r.Region = cmp.Or(r.Region, r.FallbackRegion)
	}
	if keys != nil && r.Region != "" {
		return r.assemble(instance{}, keys, nil), nil
	}
	return r.askRole(ctx, keys)
}

// askRole asks the metadata service for what is still missing.
func (r *resolver) askRole(ctx context.Context, keys aws.CredentialsProvider) (*Identity, error) {
	client, err := r.client()
	var told instance
	if err == nil {
		told, err = askInstance(ctx, client)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if e, ok := errors.AsType[*metadataError](err); ok && e.answered && r.Region != "" {
		err = nil // the role's credentials may be there all the same
	}
	if err != nil {
		r.failed("instance metadata "+r.imdsEndpoint(), err)
		if keys != nil {
			r.tried.Problem = "there are credentials, but nothing says which region"
		}
		return nil, r.tried
	}
	if keys == nil {
		keys = roleCredentials(client)
	}
	return r.assemble(told, keys, client), nil
}

// shared is the profile of a person's shared files.
type shared struct {
	profile string
	files   []string // that were read
	values  map[string]string
}

// readShared reads the profile that AWS_PROFILE names, or default, of ~/.aws/credentials and ~/.aws/config. Files that are not there hold
// nothing; a profile that is named and is in none of them is an error.
func readShared(getenv func(string) string) (shared, error) {
	s := shared{profile: cmp.Or(getenv("AWS_PROFILE"), "default"), values: map[string]string{}}
	home := getenv("HOME")
	var known []string
	found := false
	for _, file := range []struct{ variable, name string }{{"AWS_CONFIG_FILE", "config"}, {"AWS_SHARED_CREDENTIALS_FILE", "credentials"}} {
		path := getenv(file.variable)
		if path == "" && home != "" {
			path = filepath.Join(home, ".aws", file.name)
		}
		if path == "" {
			continue
		}
		s.files = append(s.files, path)
		data, _, err := readSmall(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			if e, ok := errors.AsType[*os.PathError](err); ok {
				err = e.Err
			}
			return s, &FileError{Path: path, Message: "cannot be read", Err: err}
		}
		profiles, err := parseINI(path, data)
		if err != nil {
			return s, err
		}
		known = append(known, slices.Collect(maps.Keys(profiles))...)
		if values, ok := profiles[s.profile]; ok { // the credentials file counts for more
			found = true
			maps.Copy(s.values, values)
		}
	}
	if !found && getenv("AWS_PROFILE") != "" {
		slices.Sort(known)
		return s, &FileError{Path: s.source(), Message: "no such profile (AWS_PROFILE); there are: " + cmp.Or(strings.Join(slices.Compact(known), ", "), "none")}
	}
	return s, nil
}

func (s shared) source() string {
	return "profile [" + s.profile + "] of " + strings.Join(s.files, " and ")
}

// indirect are settings of a profile that lead to credentials and are not followed here.
var indirect = []string{"sso_session", "sso_start_url", "role_arn", "credential_process", "web_identity_token_file", "login_session"}

// keys are the credentials of the profile; nil if it has none.
func (s shared) keys() (aws.CredentialsProvider, error) {
	id, secret := s.values["aws_access_key_id"], s.values["aws_secret_access_key"]
	if id != "" && secret != "" {
		return credentials.NewStaticCredentialsProvider(id, secret, s.values["aws_session_token"]), nil
	}
	if id != "" || secret != "" {
		return nil, &FileError{Path: s.source(), Message: "has one of aws_access_key_id and aws_secret_access_key without the other"}
	}
	for _, name := range indirect {
		if s.values[name] != "" {
			return nil, &FileError{
				Path:    s.source(),
				Message: `gets its credentials by ` + name + `, which is not supported here: run eval "$(aws configure export-credentials --profile ` + s.profile + ` --format env)" first`,
			}
		}
	}
	return nil, nil
}

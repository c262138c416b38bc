package identity

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.uber.org/zap"
)

// P-82: what a session file holds counts for half an hour from its reading and is read anew in the last minutes.
const (
	sessionLife   = 1800 * time.Second
	sessionWindow = 300 * time.Second
)

// sessionFile reads temporary credentials from a shared-credentials file that something else renews.
type sessionFile struct {
	path, profile string
	log           *zap.Logger
	told          string // the failure that was told last; the cache asks one at a time
}

var (
	_ aws.CredentialsProvider                       = (*sessionFile)(nil)
	_ aws.HandleFailRefreshCredentialsCacheStrategy = (*sessionFile)(nil)
)

// newSessionFile puts the file behind a cache, which the client of the service may invalidate when it is told that
// a token has expired.
func newSessionFile(path, profile string, log *zap.Logger) *aws.CredentialsCache {
	s := &sessionFile{path: path, profile: cmp.Or(profile, "default"), log: log}
	return aws.NewCredentialsCache(s, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = sessionWindow })
}

// Retrieve reads the file. Its error is a *FileError.
func (s *sessionFile) Retrieve(context.Context) (aws.Credentials, error) {
	data, _, err := readSmall(s.path)
	if err != nil {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err
		}
		return aws.Credentials{}, &FileError{Path: s.path, Message: "credentials cannot be read", Err: err}
	}
	profiles, err := parseINI(s.path, data)
	if err != nil {
		return aws.Credentials{}, err
	}
	values, ok := profiles[s.profile]
	if !ok {
		return aws.Credentials{}, &FileError{Path: s.path, Message: "has no profile [" + s.profile + "], only " + strings.Join(slices.Sorted(maps.Keys(profiles)), ", ")}
	}
	for _, name := range []string{"aws_access_key_id", "aws_secret_access_key"} {
		if values[name] == "" {
			return aws.Credentials{}, &FileError{Path: s.path, Message: "profile [" + s.profile + "] has no " + name}
		}
	}
	s.told = ""
	return aws.Credentials{
		AccessKeyID: values["aws_access_key_id"], SecretAccessKey: values["aws_secret_access_key"], SessionToken: values["aws_session_token"],
		Source: "on-premises session file", CanExpire: true, Expires: time.Now().Add(sessionLife),
	}, nil
}

// HandleFailToRefresh keeps the credentials of the last good reading until their time is really over (V-38). The
// cache has taken its window off their expiry before, and takes it off what is returned here again.
func (s *sessionFile) HandleFailToRefresh(_ context.Context, previous aws.Credentials, err error) (aws.Credentials, error) {
	expires := previous.Expires.Add(sessionWindow)
	if !previous.HasKeys() || !time.Now().Before(expires) {
		return aws.Credentials{}, err
	}
	if text := err.Error(); text != s.told { // every call asks anew
		s.told = text
		s.log.Warn("credentials not refreshed", zap.Error(err), zap.Duration("valid_for", time.Until(expires)))
	}
	previous.Expires = expires
	return previous, nil
}

// parseINI reads the profiles of a shared-credentials file. Sections of one name are one, the last of several
// values wins, and what is indented belongs to the value above, which no key of ours is. No message quotes a
// line: it may be a secret.
func parseINI(path string, data []byte) (map[string]map[string]string, error) {
	profiles := map[string]map[string]string{}
	var current map[string]string
	number := 0
	for line := range bytes.Lines(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))) {
		number++
		text := strings.TrimRight(string(line), "\r\n\t ")
		switch {
		case strings.TrimSpace(text) == "" || text[0] == '#' || text[0] == ';':
		case text[0] == ' ' || text[0] == '\t':
		case text[0] == '[':
			name, rest, closed := strings.Cut(text[1:], "]")
			if rest = strings.TrimSpace(rest); !closed || rest != "" && rest[0] != '#' && rest[0] != ';' {
				return nil, &FileError{Path: path, Line: number, Message: "is not a profile's name in brackets"}
			}
			name = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), "profile "))
			if profiles[name] == nil {
				profiles[name] = map[string]string{}
			}
			current = profiles[name]
		default:
			name, value, ok := strings.Cut(text, "=")
			switch {
			case !ok:
				return nil, &FileError{Path: path, Line: number, Message: "is neither a profile nor a key with its value"}
			case current == nil:
				return nil, &FileError{Path: path, Line: number, Message: "stands before the first profile"}
			}
			current[strings.ToLower(strings.TrimSpace(name))] = withoutComment(strings.TrimSpace(value))
		}
	}
	return profiles, nil
}

// withoutComment cuts a comment that white space sets off from the value.
func withoutComment(value string) string {
	for i := 1; i < len(value); i++ {
		if (value[i] == '#' || value[i] == ';') && (value[i-1] == ' ' || value[i-1] == '\t') {
			return strings.TrimSpace(value[:i])
		}
	}
	return value
}

package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ParseS3URL reads s3://bucket/key?versionId=…&etag=…, as a person names an object (L-20). Both values of the query may be missing. The key
// is taken as it stands: %20 is three characters of it. What else the query has counts for nothing, as for the official tool.
func ParseS3URL(text string, format Format) (Revision, error) {
	rest, ok := cutScheme(text, "s3")
	if !ok {
		return Revision{}, fmt.Errorf("%q is no address of S3: it begins with s3://", text)
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	bucket, key, _ := strings.Cut(rest, "/")
	if bucket == "" || key == "" {
		return Revision{}, fmt.Errorf("%s names no object: write s3://BUCKET/KEY", text)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return Revision{}, fmt.Errorf("%s has a query that cannot be read: %w", text, err)
	}
	return Revision{Type: S3, S3: S3Location{Bucket: bucket, Key: key, Version: values.Get("versionId"), ETag: values.Get("etag"), Format: format}}, nil
}

// gitHubHead is the commit that an address stands for which names none (L-21).
const gitHubHead = "HEAD"

// ParseGitHubURL reads the address of a repository or of a commit, as the browser shows it or the API takes it (L-21, L-22):
//
//	https://github.com/OWNER/REPOSITORY, with or without /tree/REF or /commit/SHA (V-91)
//	https://api.github.com/repos/OWNER/REPOSITORY/…/COMMIT
//
// The bundle is a zip unless the format is tar.
func ParseGitHubURL(text string, format Format) (Revision, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || !strings.HasSuffix(u.Hostname(), "github.com") {
		return Revision{}, fmt.Errorf("%s is no address of GitHub: of https, github.com and api.github.com are known", text)
	}
	if format != Tar {
		format = Zip
	}
	from := GitHubLocation{CommitID: gitHubHead, Format: format}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	const api, form = 4, "https://github.com/OWNER/REPOSITORY or https://api.github.com/repos/OWNER/REPOSITORY/zipball/COMMIT"
	switch {
	case u.Hostname() != "github.com" || parts[0] == "repos" && len(parts) >= api:
		if parts[0] != "repos" || len(parts) < api {
			return Revision{}, fmt.Errorf("%s names no commit: write %s", text, form)
		}
		from.Account, from.Repository, from.CommitID = parts[1], parts[2], parts[len(parts)-1]
	case len(parts) < 2:
		return Revision{}, fmt.Errorf("%s names no repository: write %s", text, form)
	default:
		from.Account, from.Repository = parts[0], parts[1]
		switch rest := parts[2:]; {
		case len(rest) >= 2 && (rest[0] == "tree" || rest[0] == "commit"):
			from.CommitID = strings.Join(rest[1:], "/") // a branch may have a slash in its name
		case len(rest) > 0:
			return Revision{}, fmt.Errorf("%s is neither a repository nor a commit: write %s", text, form)
		}
	}
	from.Repository = strings.TrimSuffix(from.Repository, ".git")
	if from.Account == "" || from.Repository == "" || from.CommitID == "" {
		return Revision{}, fmt.Errorf("%s names no commit of a repository: write %s", text, form)
	}
	return Revision{Type: GitHub, GitHub: from}, nil
}

func cutScheme(text, scheme string) (rest string, ok bool) {
	before, rest, ok := strings.Cut(text, "://")
	return rest, ok && strings.EqualFold(before, scheme)
}

// FormatOf looks at a file of this host and says which bundle type it is; the text says the same for a person, also where it is none and
// the format is empty.
func FormatOf(name string) (Format, string, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a fifo would hang
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", "", err
	}
	if n == 0 {
		return "", "an empty file", nil
	}
	switch is := sniff(head[:n]); is {
	case isZip:
		return Zip, string(is), nil
	case isGzip:
		return Tgz, "a tar archive compressed with gzip", nil
	case isTar:
		return Tar, string(is), nil
	case isBzip2:
		return Tar, "a tar archive compressed with bzip2", nil
	case isUnknown:
		if bytes.IndexByte(head[:n], 0) < 0 {
			return "", "a text", nil
		}
		return "", string(is), nil
	default:
		return "", string(is), nil
	}
}

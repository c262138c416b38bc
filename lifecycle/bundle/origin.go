package bundle

import (
	"encoding/hex"
	"strings"
)

// Origin is a record of where a bundle came from and what arrived, for a file beside it. It holds no secrets.
type Origin struct {
	Type   RevisionType `json:"type"`
	Format Format       `json:"format"`
	// Of an object of S3: the version and the ETag are those of what arrived, without quotes.
	Bucket  string `json:"bucket,omitempty"`
	Key     string `json:"key,omitempty"`
	Version string `json:"version,omitempty"`
	ETag    string `json:"etag,omitempty"`
	// Of a commit on GitHub.
	Account    string `json:"account,omitempty"`
	Repository string `json:"repository,omitempty"`
	CommitID   string `json:"commit,omitempty"`
	// Of a file or folder of this host.
	Path string `json:"path,omitempty"`

	Bytes int64  `json:"bytes,omitempty"`
	Sum   string `json:"sum,omitempty"` // see [Object.Sum]
}

// Origin is the record of a revision that was brought as an object.
func (r Revision) Origin(o Object) Origin {
	out := Origin{Type: r.Type, Format: r.Format(), Bytes: o.Bytes, Sum: o.Sum}
	switch r.Type {
	case S3:
		out.Bucket, out.Key, out.Version, out.ETag = r.S3.Bucket, r.S3.Key, o.VersionID, o.ETag
	case GitHub:
		out.Account, out.Repository, out.CommitID = r.GitHub.Account, r.GitHub.Repository, r.GitHub.CommitID
	case LocalFile, LocalDirectory:
		out.Path = r.Local.Path
	}
	return out
}

// Names says whether a revision certainly names the content that a record tells of, so that it need not be fetched again. It does not
// where the same name can come to mean something else: an object without a version and an ETag, a branch or a short commit, anything
// on this host.
func (r Revision) Names(o Origin) bool {
	if r.Type != o.Type || r.Format() != o.Format {
		return false
	}
	switch r.Type {
	case S3:
		return r.S3.names(o)
	case GitHub:
		l := r.GitHub
		return strings.EqualFold(l.Account, o.Account) && strings.EqualFold(l.Repository, o.Repository) && strings.EqualFold(l.CommitID, o.CommitID) && isCommit(l.CommitID)
	default:
		return false
	}
}

func (l S3Location) names(o Origin) bool {
	// The version of what was written without versioning is "null", and it is replaced by what is written next.
	etag, certain := unquote(l.ETag), l.Version != "" && l.Version != "null" || unquote(l.ETag) != ""
	return certain && l.Bucket == o.Bucket && l.Key == o.Key && (l.Version == "" || l.Version == o.Version) && (etag == "" || etag == o.ETag)
}

// isCommit says whether a name of a commit is its whole hash, which no branch or tag on GitHub can be called.
func isCommit(id string) bool {
	_, err := hex.DecodeString(id)
	return err == nil && len(id) == 40
}

// Package bundle turns a revision into a folder: it fetches the bundle from S3, GitHub or this host, makes sure that what arrived
// is what the revision names, and unpacks it.
//
// Nothing of a bundle is trusted. Entries are made beneath an [os.Root], one name at a time; those that climb, are absolute, lead
// through a link, or are neither file, folder nor link are refused by name, and so is whatever goes over the [Limits]. Links are
// created as they are and never followed. Memory does not grow with the bundle, neither with its bytes nor with its entries.
//
// What cannot be unpacked because of what it is comes back as an [*ArchiveError]: trying again does not help. Every other error is
// the host's or the network's. No file is synced here: whoever needs durability syncs the file system once, when all is done.
package bundle

import "fmt"

// RevisionType says where a revision comes from. The values are those of the deployment specification (P-67).
type RevisionType string

// The sources of a revision.
const (
	S3             RevisionType = "S3"
	GitHub         RevisionType = "GitHub"
	LocalFile      RevisionType = "Local File"
	LocalDirectory RevisionType = "Local Directory"
)

// Format is how a bundle is packed. The values are the service's bundle types (P-68a, P-69).
type Format string

// The bundle types.
const (
	Tar Format = "tar" // plain or compressed with gzip or bzip2 (I-18a)
	Tgz Format = "tgz" // compressed with gzip, never plain (I-18b)
	Zip Format = "zip"
	// Directory is a folder on this host: copied by [CopyTree], never unpacked (I-17).
	Directory Format = "directory"
)

// Revision names a bundle. Of the three locations the one that Type says is filled in.
type Revision struct {
	Type   RevisionType
	S3     S3Location
	GitHub GitHubLocation
	Local  LocalLocation
}

// S3Location names an object. Version and ETag may be empty; an ETag may stand in double quotes or not (I-11).
type S3Location struct {
	Bucket, Key, Version, ETag string
	Format                     Format
}

// GitHubLocation names a commit of a repository. An empty Token means an anonymous download; an empty Format is tar (I-13, I-14).
// The token is a secret: no error and no String shows it.
type GitHubLocation struct {
	Account, Repository, CommitID string
	Token                         string
	Format                        Format
}

// LocalLocation names a file or a folder of this host.
type LocalLocation struct {
	Path   string
	Format Format
}

// Object says what was fetched. ETag is without quotes, empty where the source has none.
type Object struct {
	ETag, VersionID string
	Bytes           int64
	// Sum is a checksum of the content with its name before it, as "md5:<hex>": the one that it was verified with, or where the source
	// keeps none (GitHub, files of this host, objects uploaded in parts) a SHA-256 of what arrived. [Check] compares a file with it.
	Sum string
}

// Format is how the revision's bundle is packed.
func (r Revision) Format() Format {
	switch r.Type {
	case S3:
		return r.S3.Format
	case GitHub:
		if r.GitHub.Format == "" {
			return Tar
		}
		return r.GitHub.Format
	case LocalDirectory:
		return Directory
	default:
		return r.Local.Format
	}
}

// String names the revision for messages, without secrets.
func (r Revision) String() string {
	switch r.Type {
	case S3:
		return r.S3.String()
	case GitHub:
		return fmt.Sprintf("github.com/%s/%s at %s", r.GitHub.Account, r.GitHub.Repository, r.GitHub.CommitID)
	case LocalFile, LocalDirectory:
		return r.Local.Path
	default:
		return fmt.Sprintf("a revision of unknown type %q", string(r.Type))
	}
}

// String is the object's URL, with the version if one is asked for.
func (l S3Location) String() string {
	s := "s3://" + l.Bucket + "/" + l.Key
	if l.Version != "" {
		s += " (version " + l.Version + ")"
	}
	return s
}

// String keeps the token out of every %v.
func (l GitHubLocation) String() string { return Revision{Type: GitHub, GitHub: l}.String() }

// GoString keeps the token out of every %#v.
func (l GitHubLocation) GoString() string { return l.String() }

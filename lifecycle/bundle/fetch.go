package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// ErrDiffers is wrapped when what arrived is not what the revision names: another ETag, another length, another checksum.
var ErrDiffers = errors.New("the bundle is not the one that was registered")

// Fetcher brings bundles to this host. S3 may be nil where no revision comes from there.
type Fetcher struct {
	S3   *Objects
	HTTP *http.Client // for GitHub; nil for a plain client that knows of no proxy
	// GitHubAPI is the base URL of the API; empty for https://api.github.com.
	GitHubAPI string
	Log       *zap.Logger // nil for none
}

// Fetch writes the bundle of a revision to the file, which is open for reading and writing; what it holds is lost. It returns when
// the bundle is complete and verified, with the file's offset at the start. On an error the file holds anything. Waits between
// attempts end with the context. [Fetcher.Bring] fetches and unpacks at once.
func (f *Fetcher) Fetch(ctx context.Context, rev Revision, to *os.File) (Object, error) {
	if err := empty(to); err != nil {
		return Object{}, err
	}
	return f.fetch(ctx, rev, newArrival(to))
}

// fetch lets the bundle arrive. Those who follow learn the end, good or bad.
func (f *Fetcher) fetch(ctx context.Context, rev Revision, a *arrival) (Object, error) {
	object, err := f.from(ctx, rev, a)
	if err == nil && object.Bytes == 0 {
		err = &ArchiveError{Problem: "the bundle is empty: it has 0 bytes"}
	}
	if err == nil {
		err = rewind(a.file)
	}
	a.end(err)
	if err != nil {
		return Object{}, err
	}
	return object, nil
}

func (f *Fetcher) from(ctx context.Context, rev Revision, a *arrival) (Object, error) {
	switch rev.Type {
	case S3:
		if f.S3 == nil {
			return Object{}, errors.New("this command has no access to S3")
		}
		return f.S3.fetch(ctx, rev.S3, a)
	case GitHub:
		return summed(ctx, a, sha256Only, func() (Object, error) { return f.gitHub(ctx, rev.GitHub, a) })
	case LocalFile:
		return summed(ctx, a, sha256Only, func() (Object, error) { return copyLocal(ctx, rev.Local.Path, a) })
	case LocalDirectory:
		return Object{}, fmt.Errorf("%s is a directory: it is copied as it is, there is no bundle to fetch", rev.Local.Path)
	default:
		return Object{}, unknownType(rev.Type)
	}
}

func unknownType(t RevisionType) error {
	return fmt.Errorf("revision type %q is not one of S3, GitHub, Local File, Local Directory", string(t))
}

func empty(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("empty the file for the bundle: %w", err)
	}
	return rewind(f)
}

func rewind(f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("go to the start of the bundle: %w", err)
	}
	return nil
}

// copyLocal copies a bundle that is a file of this host. A copy rather than the reference's link (I-16): what is deployed must
// not change under a deployment. Blocks are shared where the file system can.
func copyLocal(ctx context.Context, name string, to *arrival) (Object, error) {
	// Without O_NONBLOCK the opening of a fifo would hang.
	from, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return Object{}, fmt.Errorf("open the bundle: %w", err)
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return Object{}, fmt.Errorf("look at the bundle: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Object{}, fmt.Errorf("%s is %s: a bundle of type Local File is a regular file", name, kindOf(info.Mode()))
	}
	if err := room(to.file, info.Size()); err != nil {
		return Object{}, err
	}
	arrived := int64(0)
	copied := func(n int64) {
		to.add(span{arrived, arrived + n})
		arrived += n
	}
	if err := copyFile(ctx, to.file, from, copied); err != nil {
		return Object{}, fmt.Errorf("copy %s: %w", name, outOfSpace(err, to.file.Name()))
	}
	return Object{Bytes: arrived}, nil
}

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"slipway/agent/identity"
	"slipway/lifecycle/bundle"
)

// archiveFormat says how a file is packed: by its name, else by how it begins; ok is false for what is no archive.
func archiveFormat(name string, f io.ReaderAt) (_ bundle.Format, ok bool) {
	lower := strings.ToLower(name)
	for _, known := range []struct {
		suffix string
		format bundle.Format
	}{{".zip", bundle.Zip}, {".tgz", bundle.Tgz}, {".tar.gz", bundle.Tgz}, {".tar", bundle.Tar}, {".tar.bz2", bundle.Tar}} {
		if strings.HasSuffix(lower, known.suffix) {
			return known.format, true
		}
	}
	const ustar = 257
	head := make([]byte, 512)
	n, _ := f.ReadAt(head, 0)
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return bundle.Zip, true
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return bundle.Tgz, true
	case len(head) > ustar && bytes.HasPrefix(head[ustar:], []byte("ustar")):
		return bundle.Tar, true
	default:
		return "", false
	}
}

// unpackForLint unpacks a bundle as the agent would, into a folder that close removes. What is wrong with the archive itself is no error: it
// is what is to be told.
func unpackForLint(ctx context.Context, path string, archive *os.File, format bundle.Format) (_ *lintSubject, err error) {
	s := &lintSubject{path: path}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.temporary, err = os.MkdirTemp("", "slipway-lint-"); err != nil {
		return nil, fmt.Errorf("make a folder to unpack into: %w", err)
	}
	if s.root, err = os.OpenRoot(s.temporary); err != nil {
		return nil, fmt.Errorf("open the folder to unpack into: %w", err)
	}
	limits := bundle.DefaultLimits
	limits.IgnoreOwners = true
	if _, err = bundle.Unpack(ctx, archive, format, s.root, limits); err == nil {
		err = bundle.Strip(s.root)
	}
	if bad, ok := errors.AsType[*bundle.ArchiveError](err); ok {
		s.broken = bad.Error()
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", path, err)
	}
	return s, nil
}

// lintS3 fetches a bundle with the credentials of whoever is at the desk.
func (p *program) lintS3(ctx context.Context, url string) (*lintSubject, error) {
	name, key, ok := strings.Cut(strings.TrimPrefix(url, "s3://"), "/")
	if !ok || name == "" || key == "" {
		return nil, fmt.Errorf("%s names no object: write s3://BUCKET/KEY", url)
	}
	// us-east-1 knows the region of every bucket of the standard partition.
	who, err := identity.ResolveLocal(ctx, identity.Options{Getenv: p.getenv, FallbackRegion: "us-east-1"})
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", url, err)
	}
	file, err := os.CreateTemp("", "slipway-lint-*"+filepath.Ext(key))
	if err != nil {
		return nil, fmt.Errorf("make a file for the bundle: %w", err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	fetcher := bundle.Fetcher{S3: bundle.NewS3(bundle.S3Options{
		Region: who.Region, Endpoint: cmp.Or(p.getenv("AWS_ENDPOINT_URL_S3"), p.getenv("AWS_ENDPOINT_URL")), Credentials: who.Credentials,
		HTTP: &http.Client{Transport: http.DefaultTransport},
	})}
	if _, err := fetcher.Fetch(ctx, bundle.Revision{Type: bundle.S3, S3: bundle.S3Location{Bucket: name, Key: key}}, file); err != nil {
		if bad, ok := errors.AsType[*bundle.ArchiveError](err); ok {
			return &lintSubject{path: url, broken: bad.Error()}, nil
		}
		return nil, err
	}
	format, ok := archiveFormat(key, file)
	if !ok {
		format = bundle.Zip // says what it is instead
	}
	return unpackForLint(ctx, url, file, format)
}

// readLimited reads at most that many bytes.
func readLimited(r io.Reader, most int64) ([]byte, error) { return io.ReadAll(io.LimitReader(r, most)) }

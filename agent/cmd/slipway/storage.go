package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"

	"slipway/agent/identity"
	"slipway/lifecycle/bundle"
)

// lateFetcher is the engine's fetcher before and after it is known who this host is: the engine opens first, because an interrupted
// installation must not wait for a network.
type lateFetcher struct {
	ready atomic.Pointer[bundle.Fetcher]
	// tokenFile holds a token for GitHub revisions that come without one; "" for none. It is read anew for each.
	tokenFile atomic.Pointer[string]
}

func (f *lateFetcher) Bring(ctx context.Context, rev bundle.Revision, file *os.File, to *os.Root, limits bundle.Limits) (bundle.Object, bundle.Stats, error) {
	fetcher := f.ready.Load()
	if fetcher == nil {
		return bundle.Object{}, bundle.Stats{}, errors.New("the identity of this host is not known yet")
	}
	if rev.Type == bundle.GitHub && rev.GitHub.Token == "" && *f.tokenFile.Load() != "" {
		token, err := os.ReadFile(*f.tokenFile.Load())
		if err != nil {
			return bundle.Object{}, bundle.Stats{}, fmt.Errorf("read the token for GitHub: %w (github_token_file says where it is)", err)
		}
		rev.GitHub.Token = strings.TrimSpace(string(token))
	}
	return fetcher.Bring(ctx, rev, file, to, limits)
}

// connectStorage makes the clients for S3 and GitHub.
func (d *daemon) connectStorage(who *identity.Identity, client *http.Client) error {
	endpoint, err := identity.S3Endpoint(identity.EndpointOptions{Override: d.cfg.S3EndpointOverride, Region: who.Region, Domain: who.Domain, FIPS: d.cfg.UseFIPSMode})
	if err != nil {
		return err
	}
	objects := bundle.NewS3(bundle.S3Options{
		Region: who.Region, Endpoint: endpoint, PathStyle: d.cfg.S3.PathStyle, Credentials: who.Credentials, HTTP: client,
		PartSize: int64(d.cfg.S3.PartSize), Concurrency: d.cfg.S3.Concurrency, Log: d.log.Named("s3"),
	})
	d.fetcher.ready.Store(&bundle.Fetcher{S3: objects, HTTP: client, Log: d.log.Named("bundle")})
	return nil
}

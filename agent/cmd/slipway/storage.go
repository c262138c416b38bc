package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"

	"slipway/agent/config"
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
	storage, err := newStorage(d.cfg, d.cfg.S3EndpointOverride, who, client, d.log)
	if err != nil {
		return err
	}
	d.fetcher.ready.Store(storage)
	return nil
}

// newStorage makes the clients for S3, at an endpoint or, if that is empty, the region's, and for GitHub.
func newStorage(cfg *config.Config, endpoint string, who *identity.Identity, client *http.Client, log *zap.Logger) (*bundle.Fetcher, error) {
	objects, err := newObjects(cfg, endpoint, who, client, log.Named("s3"))
	if err != nil {
		return nil, err
	}
	return &bundle.Fetcher{S3: objects, HTTP: client, Log: log.Named("bundle")}, nil
}

func newObjects(cfg *config.Config, endpoint string, who *identity.Identity, client *http.Client, log *zap.Logger) (*bundle.Objects, error) {
	endpoint, err := identity.S3Endpoint(identity.EndpointOptions{Override: endpoint, Region: who.Region, Domain: who.Domain, FIPS: cfg.UseFIPSMode})
	if err != nil {
		return nil, err
	}
	return bundle.NewS3(bundle.S3Options{
		Region: who.Region, Endpoint: endpoint, PathStyle: cfg.S3.PathStyle, Credentials: who.Credentials, HTTP: client,
		PartSize: int64(cfg.S3.PartSize), Concurrency: cfg.S3.Concurrency, Log: log,
	}), nil
}

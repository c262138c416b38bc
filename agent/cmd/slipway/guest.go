package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"

	"slipway/agent/config"
	"slipway/lifecycle"
)

// guest opens the engine for a command that works in the deployment root beside the daemon. It needs no network and does not ask who this
// host is.
func (p *program) guest(ctx context.Context, cfg *config.Config) (*lifecycle.Engine, error) {
	log, err := newGuestLogger(cfg, p.stderr)
	if err != nil {
		return nil, failed(err)
	}
	engine, err := lifecycle.Open(ctx, p.guestOptions(cfg, log))
	if err != nil {
		return nil, failed(err)
	}
	return engine, nil
}

// guestOptions are those of guest's engine.
func (p *program) guestOptions(cfg *config.Config, log *zap.Logger) lifecycle.Options {
	syscall.Umask(0o022) // what a hook makes must not depend on who is logged in
	outliveReader()
	sweepScratch(cfg.RootDir)
	o := p.engineOptions(cfg, p.settings(cfg, nil), contain(cfg, log.Named("hooks")), log)
	o.Guest, o.Fetcher = true, &lateFetcher{}
	o.Secrets = func() []string { return p.secrets(cfg) }
	return o
}

// failed makes the program end with code 1 for an error.
func failed(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		err = fmt.Errorf("%w (run it as root)", err)
	}
	return &exitError{exitFailure, err}
}

// interruptible is a context that SIGINT and SIGTERM end. The second of them ends the program at once, which loses nothing: the journal and the
// shim are there for that.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

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

// interruptible is a context that SIGINT, SIGTERM and the end of the terminal end. The second of them ends the program at once, which loses nothing:
// the journal and the shim are there for that.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, interrupts()...)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// onceStopped says that a signal was heard. The function that it returns ends that, and has what was begun to be said finished first: who goes on to the
// end of the program does not cut it off.
func onceStopped(ctx context.Context, say func()) (done func()) {
	said := make(chan struct{})
	unsaid := context.AfterFunc(ctx, func() {
		defer close(said)
		say()
	})
	return func() {
		if !unsaid() {
			<-said
		}
	}
}

// interrupts are the signals by which a person ends a command. A terminal that goes is one of them: a deployment would stop anywhere, and its
// script go on with nobody to tell how it ended. What whoever started the program has it ignore (nohup, a script's job in the background) stays ignored.
func interrupts() []os.Signal {
	all := []os.Signal{syscall.SIGTERM}
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			all = append(all, s)
		}
	}
	return all
}

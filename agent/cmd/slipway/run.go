package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"
)

// shimVerb is the hidden command that runs one script and outlives the daemon.
const shimVerb = "hook-shim"

func (p *program) runCommand() *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "be the agent: poll, deploy, report, until SIGTERM", Args: noArgs,
		Long: `run is the daemon. It stays in the foreground, under systemd or in a terminal.

SIGTERM and SIGINT stop it: no new command is taken, a running hook goes on by itself and is taken up by the next start,
and a download or installation in hand is given stop_timeout to end.`,
		Example: "  slipway run\n  slipway run --config /etc/codedeploy-agent/conf/codedeployagent.yml\n  SLIPWAY_LOG_LEVEL=debug slipway run",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			trust, err := newTrust(cfg)
			if err != nil {
				return err
			}
			d, err := p.newDaemon(cfg, trust)
			if err != nil {
				return err
			}
			return serve(d.run)
		},
	}
}

// supervised runs the daemon under the service manager of the host: Start must return, Stop must wait.
type supervised struct {
	run    func(context.Context) error
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of run; valid when done is closed
}

func (s *supervised) Start(service.Service) error {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() {
		defer close(s.done)
		s.err = s.run(ctx)
	}()
	return nil
}

func (s *supervised) Stop(service.Service) error {
	s.cancel()
	<-s.done
	return s.err
}

// wait returns when the host wants the daemon to stop, or it has ended by itself.
func (s *supervised) wait() {
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	defer signal.Stop(sig)
	select {
	case <-sig:
	case <-s.done:
	}
}

// outliveReader keeps the program going when whoever reads its output goes: that is no reason to leave a deployment in the middle. To catch the
// signal, other than to ignore it, is not inherited.
func outliveReader() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// serve runs the daemon under the service manager, or without one where there is none (a container, a build host).
func serve(run func(context.Context) error) error {
	outliveReader()
	s := &supervised{run: run, done: make(chan struct{})}
	svc, err := service.New(s, &service.Config{
		Name: "slipway", DisplayName: "Slipway", Description: "CodeDeploy agent of this instance",
		Option: service.KeyValue{"RunWait": s.wait},
	})
	if errors.Is(err, service.ErrNoServiceSystemDetected) {
		if err := s.Start(nil); err != nil {
			return err
		}
		s.wait()
		return s.Stop(nil)
	}
	if err != nil {
		return &exitError{exitFailure, err}
	}
	return svc.Run()
}

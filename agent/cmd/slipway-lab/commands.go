package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, as --help tells them.
const (
	exitFailure = 1   // what was asked for did not work, or the deployment failed
	exitUsage   = 2   // unknown command, flag or argument; no lab at the endpoint
	exitTimeout = 124 // watch: the deployment did not end in time
	exitSignal  = 130 // interrupted
)

// version is stamped at link time from the file VERSION.
var version = "" //nolint:gochecknoglobals // the linker can set nothing else

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}

// An exitError ends the program with a code of its own. Its text is printed unless it is empty.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

// program is what the commands share.
type program struct {
	stdout, stderr io.Writer
	getenv         func(string) string
	endpoint       string
}

// run is the whole program; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	p := &program{stdout: stdout, stderr: stderr, getenv: os.Getenv}
	cmd := p.command()
	cmd.SetArgs(args[1:])
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := exitUsage
	if exit, ok := errors.AsType[*exitError](err); ok {
		code = exit.code
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(stderr, "slipway-lab: "+text)
	}
	return code
}

const rootHelp = `slipway-lab is AWS on loopback, as far as a deployment needs it: CodeDeploy with its host-command service, S3 and
the instance metadata service (IMDSv2), in one process, with all state in memory. The aws client works with it
unchanged but for the endpoint. It is also a fault bench: answers can be delayed, refused, throttled, cut off or
tampered with while it runs.

The commands other than serve talk to a running lab: --endpoint, or SLIPWAY_LAB_ENDPOINT as serve --env writes it.

Exit codes:
  0    done; watch and deploy: the deployment succeeded
  1    it did not work; watch and deploy: the deployment failed or was stopped
  2    unknown command, flag or argument, or no lab at the endpoint
  124  watch and deploy: the deployment did not end within --timeout
  130  interrupted`

const rootExamples = `  slipway-lab serve --dir /tmp/lab --env /tmp/lab/env &
  . /tmp/lab/env
  slipway run --config /tmp/lab/agent.yml &
  aws s3 cp bundle.zip s3://slipway-lab/bundle.zip
  aws deploy create-application --application-name web
  slipway-lab watch d-ABCDEFGHI`

func (p *program) command() *cobra.Command {
	root := &cobra.Command{
		Use: "slipway-lab", Short: "AWS on loopback for trying deployments", Long: rootHelp, Example: rootExamples,
		SilenceUsage: true, SilenceErrors: true, Version: buildVersion(), Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(p.serveCommand(), p.watchCommand(), p.deployCommand(), p.faultCommand(), p.hostCommand(), p.stopCommand())
	return root
}

// addEndpoint gives a command the flag that says which lab.
func (p *program) addEndpoint(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&p.endpoint, "endpoint", "", "`URL` of the lab: its admin or gateway endpoint (default $SLIPWAY_LAB_ENDPOINT)")
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"slipway/agent/config"
	"slipway/agent/identity"
	"slipway/lifecycle"
	"slipway/lifecycle/appspec"
)

// localName is the name under which the program is the official agent's tool for local deployments (L-1 to L-26).
const localName = "codedeploy-local"

// localVersion is what that tool says to --version (L-10).
const localVersion = "1.0"

const localUsage = `codedeploy-local deploys a bundle to this host without the service.

Usage:
  codedeploy-local [options]

Options, of which long ones may be shortened:
`

// codedeployLocal is the program under that name: its options, its lines on standard output, its exit codes. What else there is to say goes to
// standard error.
func (p *program) codedeployLocal(args []string) int {
	o, err := parseLocal(args, false)
	switch {
	case err != nil:
		fmt.Fprintf(p.stdout, "%s\n\n", printableText(err.Error()))
		p.localHelp()
		return exitFailure
	case o.given(optHelp): // help and version do not succeed (L-10)
		p.localHelp()
		return exitFailure
	case o.given(optVersion):
		fmt.Fprintln(p.stdout, localVersion)
		return exitFailure
	}
	outliveReader()
	ctx, stop := interruptible(context.Background())
	defer stop()
	run, err := p.compatible(ctx, o)
	if err != nil {
		fmt.Fprintln(p.errorsOf(err), "ERROR: "+printableText(err.Error()))
		return exitFailure
	}
	if run.outcome != outcomeSucceeded {
		return exitFailure
	}
	return 0
}

func (p *program) localHelp() { io.WriteString(p.stdout, localUsage+optionsText(false)) }

// compatible carries a local deployment out with the lines of L-26. An error was not told yet.
func (p *program) compatible(ctx context.Context, o *localOptions) (*localRun, error) {
	r, err := o.check(false)
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load(p.localLoadOptions(o.value(optConfig, "")))
	if err != nil {
		return nil, invalid("%v", err)
	}
	for _, note := range r.notes {
		fmt.Fprintln(p.stderr, localName+": "+printable(note))
	}
	d, err := r.deployment()
	if err != nil {
		return nil, err
	}
	run := &localRun{p: p, cfg: cfg, request: r, d: d, began: time.Now(), view: newLocalWitness(p.stderr)}
	fmt.Fprintf(p.stdout, "Deploying in %s\n", run.folder())
	if err := p.compatibleRun(ctx, run); err != nil {
		return nil, err
	}
	if run.outcome == outcomeSucceeded {
		fmt.Fprintln(p.stdout, "The local deployment succeeded")
	}
	return run, nil
}

func (p *program) compatibleRun(ctx context.Context, run *localRun) (err error) {
	defer func() { fmt.Fprintf(p.stdout, "What the scripts have said is in %s\n", run.scriptsLog()) }()
	if run.d.Revision, err = run.request.revision(p.getenv(gitHubTokenVariable)); err != nil { // L-19h, L-19i
		return err
	}
	if err := run.deploy(ctx); err != nil {
		return err
	}
	if run.failed == nil {
		return nil
	}
	last := run.events[len(run.events)-1]
	if run.failed.Script == "" && !run.failed.Suspended() {
		return fmt.Errorf("%s failed: %w", last.Event, cmp.Or(run.failed.Err, errors.New(last.Message)))
	}
	if path := cmp.Or(run.failed.Path, run.failed.Script); path != "" {
		fmt.Fprintf(p.stdout, "The local deployment failed in the script %s\n", printable(path))
	}
	writeEvent(p.stderr, last)
	fmt.Fprintln(p.stderr, localName+": "+printableText(run.state()))
	return nil
}

// errorsOf is where the official tool tells of an error (section 4 of L): on standard output if the arguments, the events of the appspec
// missing credentials or the operating system are to blame.
func (p *program) errorsOf(err error) io.Writer {
	var wrong *invalidError
	var spec *appspec.Error
	var unknown *identity.UnknownError
	var file *identity.FileError
	var name *lifecycle.EventNameError
	switch {
	case errors.As(err, &name):
		return p.stderr
	case errors.As(err, &wrong), errors.As(err, &unknown), errors.As(err, &file), errors.As(err, &spec) && spec.ID == "", isOS(err):
		return p.stdout
	}
	return p.stderr
}

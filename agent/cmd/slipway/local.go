package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"slipway/agent/config"
	"slipway/agent/control"
	"slipway/agent/identity"
	"slipway/lifecycle"
	"slipway/lifecycle/bundle"
)

// gitHubTokenVariable holds a token for private repositories (V-117).
const gitHubTokenVariable = "CODEDEPLOY_GITHUB_TOKEN"

func (p *program) localCommand() *cobra.Command {
	return &cobra.Command{
		Use: "local [BUNDLE]", Aliases: []string{"deploy-local"}, Short: "deploy a bundle to this host, without the service",
		Long: `local deploys a bundle to this host as the agent would: the same hooks, the same installation, in the same deployment root. The service
knows nothing of it. The agent may run meanwhile; a deployment group that it works on is waited for.

BUNDLE is a directory, a zip, tar or tgz, an address of S3 (s3://BUCKET/KEY) or of GitHub; without one it is the current directory. What a
file is packed as is looked at.

Credentials for S3 are those of the on-premises file, else of the environment, of AWS_PROFILE in ~/.aws, or of the instance. AWS_ENDPOINT_URL_S3
or AWS_ENDPOINT_URL stands in for the endpoint. ` + gitHubTokenVariable + ` holds a token for private repositories.

SIGINT, SIGTERM and the end of the terminal end a running script (TERM, hooks.grace, KILL) and a download; an installation in hand is
finished. Under nohup the end of the terminal does not matter. Exit codes: 0 the deployment succeeded, 1 it did not or was not begun, 2
there is no such option or argument, 78 the configuration is wrong.

Called as codedeploy-local the program takes the same options and prints what that tool prints: docs/local.md has the differences.

Options, of which long ones may be shortened:
` + optionsText(true),
		Example: `  slipway local
  slipway local build/app.zip --file-exists-behavior OVERWRITE
  slipway local --events BeforeInstall,ApplicationStart
  slipway local 's3://releases/app.zip?versionId=3sL4kqtJlcpXro' --deployment-group web`,
		DisableFlagParsing: true, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := parseLocal(args, true)
			if err != nil {
				return fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())
			}
			if o.given(optHelp) {
				return cmd.Help()
			}
			if o.given(optVersion) {
				fmt.Fprintln(p.stdout, buildVersion())
				return nil
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return p.local(ctx, o)
		},
	}
}

// local is `slipway local`.
func (p *program) local(ctx context.Context, o *localOptions) error {
	r, err := o.check(true)
	if err != nil {
		return failed(err)
	}
	p.configFile = o.value(optConfig, p.configFile)
	cfg, err := config.Load(p.localLoadOptions(p.configFile))
	if err != nil {
		return &exitError{exitConfig, err}
	}
	d, err := r.deployment()
	if err != nil {
		return failed(err)
	}
	if d.Revision, err = r.revision(p.getenv(gitHubTokenVariable)); err != nil {
		return failed(err)
	}
	for _, note := range r.notes {
		fmt.Fprintln(p.stderr, "slipway: "+printable(note))
	}
	view := newLocalView(p, o.given(optJSON))
	run := &localRun{p: p, cfg: cfg, request: r, d: d, began: time.Now(), view: view}
	if err := run.deploy(ctx); err != nil {
		return failed(err)
	}
	view.summary(run)
	if o.given(optJSON) {
		if err := p.printJSON(run.asJSON()); err != nil {
			return failed(err)
		}
	}
	if run.outcome != outcomeSucceeded {
		return &exitError{exitFailure, errors.New(run.state())}
	}
	return nil
}

// configFlag is what a command that is recommended needs to find the same configuration, with a blank before it.
func (p *program) configFlag() string {
	if p.configFile == "" {
		return ""
	}
	return " --config " + p.configFile
}

// localLoadOptions lay the named file over the agent's own (L-12).
func (p *program) localLoadOptions(file string) config.LoadOptions {
	o := p.loadOptions()
	o.File, o.Under = file, true
	return o
}

// deployment is what the engine is asked for, still without its revision.
func (r *localRequest) deployment() (*lifecycle.Deployment, error) {
	application := r.location // L-6
	return lifecycle.Local(lifecycle.LocalRequest{
		Group: r.value(optGroup, defaultLocalGroup), GroupName: r.value(optGroupName, defaultGroupName),
		Application: r.value(optApplication, application), AppSpecFilename: r.appspec(), FileExistsBehavior: r.values[optBehavior],
		Events: r.localOptions.events(),
	})
}

// localRun is a local deployment under way.
type localRun struct {
	p       *program
	cfg     *config.Config
	request *localRequest
	d       *lifecycle.Deployment
	began   time.Time
	view    *localView

	events   []jsonEvent
	changes  *changes
	failed   *lifecycle.Result
	outcome  string
	previous string // the deployment that was installed before
	log      string // "" for none
}

// changes are what an installation has done.
type changes struct {
	Added       int `json:"added"`
	Replaced    int `json:"replaced"`
	Removed     int `json:"removed"`
	Unchanged   int `json:"unchanged"`
	Kept        int `json:"kept"`
	Directories int `json:"directories"`
}

func (r *localRun) folder() string { return filepath.Join(r.cfg.RootDir, r.d.GroupID, r.d.ID) }

func (r *localRun) scriptsLog() string { return filepath.Join(r.folder(), "logs", "scripts.log") }

// deploy carries the deployment out. An error says that it has not begun.
func (r *localRun) deploy(ctx context.Context) error {
	log, err := r.logger()
	if err != nil {
		return err
	}
	fetcher, err := r.fetcher(ctx, log)
	if err != nil {
		return err
	}
	options := r.p.guestOptions(r.cfg, log)
	options.Fetcher, options.Attended = fetcher, true
	options.Begin = r.view.begin
	engine, err := lifecycle.Open(ctx, options)
	if err != nil {
		return err
	}
	defer engine.Close()
	r.previous = r.installed()
	r.view.start(r)
	defer r.view.stop()
	defer onceStopped(ctx, r.view.stopping)()
	log.Info("local deployment", zap.String("deployment", r.d.ID), zap.String("group", r.d.GroupID), zap.Stringer("revision", r.d.Revision))
	r.outcome = outcomeSucceeded
	began := time.Now()
	for ev, result := range engine.Deploy(ctx, r.d, r.request.events) {
		now := time.Now()
		r.note(ev, result, now, now.Sub(began))
		began = now
	}
	return nil
}

// note keeps the outcome of an event.
func (r *localRun) note(ev lifecycle.Event, result lifecycle.Result, now time.Time, took time.Duration) {
	e := eventJSON(&lifecycle.Record{Event: ev, At: now, Took: took, Code: result.Code, Script: result.Script, Message: result.Message, Log: result.Log})
	switch {
	case result.Suspended():
		e.Outcome, e.Message = outcomeInterrupted, result.Err.Error()
		r.outcome, r.failed = outcomeInterrupted, &result
	case result.Code != lifecycle.Succeeded:
		r.outcome, r.failed = outcomeFailed, &result
	}
	if c := result.Changes; c != nil {
		r.changes = &changes{
			Added: c.Files + c.Links - c.Replaced, Replaced: c.Replaced, Removed: c.Removed, Unchanged: c.Unchanged, Kept: c.Kept, Directories: c.Directories,
		}
	}
	r.events = append(r.events, e)
	r.view.end(e)
}

// logger writes the log of local deployments beside the agent's (C-25), where that has one.
func (r *localRun) logger() (*zap.Logger, error) {
	as := *r.cfg
	if as.ProgramName = localName; as.Log.File != "" {
		as.Log.File = filepath.Join(filepath.Dir(as.Log.File), localName+".log")
		r.log = as.Log.File
	}
	return newGuestLogger(&as, r.p.stderr)
}

// fetcher knows the way to the revision. Only for S3 it is found out whose credentials there are.
func (r *localRun) fetcher(ctx context.Context, log *zap.Logger) (*lateFetcher, error) {
	late := &lateFetcher{}
	late.tokenFile.Store(&r.cfg.GitHubTokenFile)
	storage := &bundle.Fetcher{Log: log.Named("bundle")}
	if t := r.d.Revision.Type; t == bundle.S3 || t == bundle.GitHub {
		client, err := control.NewHTTPClient(control.HTTPOptions{ProxyURI: r.cfg.ProxyURI, ReadTimeout: r.cfg.HTTPReadTimeout, Getenv: r.p.getenv})
		if err != nil {
			return nil, err
		}
		storage.HTTP = client
		if t == bundle.S3 {
			who, err := identity.ResolveLocal(ctx, identity.Options{
				OnPremisesFile: r.cfg.OnPremisesConfigFile, AllowIMDSv1: r.cfg.IMDS.AllowV1, IMDSEndpoint: r.cfg.IMDS.Endpoint,
				Getenv: r.p.getenv, Log: log.Named("identity"),
			})
			if err != nil {
				return nil, err
			}
			if storage, err = newStorage(r.cfg, r.s3Endpoint(), who, client, log); err != nil {
				return nil, err
			}
		}
	}
	late.ready.Store(storage)
	return late, nil
}

// s3Endpoint is the configured one, else the one of the environment.
func (r *localRun) s3Endpoint() string {
	for _, text := range []string{r.cfg.S3EndpointOverride, r.p.getenv("AWS_ENDPOINT_URL_S3"), r.p.getenv("AWS_ENDPOINT_URL")} {
		if text != "" {
			return text
		}
	}
	return ""
}

// installed is the deployment whose files the group has; "" where it has none.
func (r *localRun) installed() string {
	past, err := lifecycle.History(r.cfg.RootDir)
	if err != nil {
		return ""
	}
	for _, p := range past {
		if p.Group == r.d.GroupID && p.Installed {
			return p.Deployment
		}
	}
	return ""
}

// state says what a deployment that did not come to its end has left of this host, and what to do.
func (r *localRun) state() string {
	var last jsonEvent
	installed, touched := false, ""
	for _, e := range r.events {
		last = e
		ev := lifecycle.Event(e.Event)
		switch {
		case ev == lifecycle.Install && e.Outcome == outcomeSucceeded:
			installed = true
		case ev == lifecycle.DownloadBundle || ev == lifecycle.Install:
		case r.view.ran(e.Event):
			touched = e.Event
		}
	}
	text := fmt.Sprintf("the deployment failed at %s: ", last.Event)
	if r.outcome == outcomeInterrupted {
		text = fmt.Sprintf("the deployment was interrupted at %s: ", last.Event)
	}
	switch {
	case installed:
		text += fmt.Sprintf("the files of %s are installed", r.d.ID)
	case r.previous != "":
		text += fmt.Sprintf("the files of %s are still installed", r.previous)
	default:
		text += "no files were installed"
	}
	if touched != "" {
		text += fmt.Sprintf(", and scripts have run, %s last", touched)
	}
	if installed && r.previous != "" {
		text += fmt.Sprintf("; slipway rollback %s%s brings %s back", r.d.GroupID, r.p.configFlag(), r.previous)
	}
	return text
}

// jsonLocal is a local deployment as scripts read it.
type jsonLocal struct {
	Deployment string      `json:"deployment"`
	Group      string      `json:"group"`
	Revision   string      `json:"revision"`
	Folder     string      `json:"folder"`
	Outcome    string      `json:"outcome"` // succeeded, failed, interrupted
	TookMS     int64       `json:"took_ms"`
	State      string      `json:"state,omitempty"` // of the host, where it did not succeed
	Files      *changes    `json:"files,omitempty"`
	ScriptsLog string      `json:"scripts_log,omitempty"`
	Log        string      `json:"log,omitempty"`
	Events     []jsonEvent `json:"events"`
}

func (r *localRun) asJSON() jsonLocal {
	j := jsonLocal{
		Deployment: r.d.ID, Group: r.d.GroupID, Revision: r.d.Revision.String(), Folder: r.folder(), Outcome: r.outcome,
		TookMS: time.Since(r.began).Milliseconds(), Files: r.changes, Log: r.log, Events: r.events,
	}
	if _, err := os.Stat(r.scriptsLog()); err == nil {
		j.ScriptsLog = r.scriptsLog()
	}
	if r.outcome != outcomeSucceeded {
		j.State = r.state()
	}
	return j
}

// isOS reports whether an error is the operating system's about a file.
func isOS(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	return errors.As(err, &path) || errors.As(err, &link)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"slipway/agent/config"
	"slipway/hooks"
	"slipway/lifecycle"
	"slipway/lifecycle/appspec"
	"slipway/lifecycle/bundle"
)

// runHookOptions are the flags of run-hook.
type runHookOptions struct {
	group, application, script string
	env                        []string
	timeout                    time.Duration
	verbose, keep, asJSON      bool
}

func (p *program) runHookCommand() *cobra.Command {
	var o runHookOptions
	cmd := &cobra.Command{
		Use: "run-hook BUNDLE EVENT", Short: "run the scripts of one event of a bundle as the agent would, to find out what they do", Args: takes(0, "a BUNDLE", "an EVENT"),
		Long: `run-hook runs the scripts of one lifecycle event of a bundle on this host, as the agent would in a deployment: as their users, with their
environment and timeouts, in the same containment, by the same code. It shows what they say while they say it, then how each ended, what it
has left running, and what the agent would report.

BUNDLE is a folder, or a zip or tar file, compressed or not. It is copied or unpacked into a temporary folder, and the scripts run there. They
really run, and what they do to the host they do. Nothing is installed, and the record of the deployments of this host stays as it is.

Ctrl-C ends the running script with SIGTERM and, after the grace of hooks.grace, SIGKILL; a second time at once.

Exit codes: 0 the event succeeded, or has no scripts; 1 it failed, and the message says with which code of the service; 2 there is no such
bundle, event or script; 78 the configuration is wrong.`,
		Example: `  slipway run-hook . BeforeInstall
  slipway run-hook app-1.5.0.zip AfterInstall --group fleet -v
  slipway run-hook . ApplicationStart --script 2 --timeout 10s --env DEBUG=1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			cfg, err := p.load()
			if err != nil {
				return err
			}
			return p.runHook(cmd.Context(), cfg, args[0], args[1], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.group, "group", "", "the deployment `group` that scripts are told of; one that this host knows, by id or name, with all that it knows of it")
	f.StringVar(&o.application, "application", "", "the `application` that scripts are told of")
	f.StringVar(&o.script, "script", "", "run only this `script` of the event: its number, from 1, or its location")
	f.StringArrayVar(&o.env, "env", nil, "a variable for the scripts, as `NAME=VALUE`; may be given several times")
	f.DurationVar(&o.timeout, "timeout", 0, "the timeout of each script, in place of that of the appspec, as 10s or 5m")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "also print the log that the agent would report")
	f.BoolVar(&o.keep, "keep", false, "keep the temporary folder, and say where it is")
	f.BoolVar(&o.asJSON, "json", false, "print JSON, at the end, and nothing before")
	return cmd
}

// setByAgent are variables that a script always gets from the agent.
var setByAgent = []string{"LIFECYCLE_EVENT", "DEPLOYMENT_ID", "APPLICATION_NAME", "DEPLOYMENT_GROUP_NAME", "DEPLOYMENT_GROUP_ID", "SLIPWAY_DEADLINE"}

func (o *runHookOptions) check(cmd *cobra.Command) error {
	const help = " (see slipway run-hook --help)"
	for _, name := range []string{"group", "application", "script"} {
		if f := cmd.Flag(name); f.Changed && f.Value.String() == "" {
			return fmt.Errorf("--%s is empty: say which, or leave the flag out%s", name, help)
		}
	}
	if cmd.Flag("timeout").Changed && o.timeout <= 0 {
		return fmt.Errorf("--timeout is %s: a script needs some time%s", o.timeout, help)
	}
	for _, kv := range o.env {
		name, _, ok := strings.Cut(kv, "=")
		switch {
		case !ok || name == "" || strings.ContainsRune(kv, 0):
			return fmt.Errorf("--env %q is not of the form NAME=VALUE%s", kv, help)
		case slices.Contains(setByAgent, name):
			return fmt.Errorf("--env %s: the agent itself sets this variable%s", name, help)
		}
	}
	return nil
}

// hookEvent is the event that is meant: one that runs scripts, or a name that an appspec may use.
func hookEvent(name string) (lifecycle.Event, error) {
	ev := lifecycle.Event(name)
	if ev == lifecycle.DownloadBundle || ev == lifecycle.Install {
		return "", fmt.Errorf("%s is done by the agent itself and runs no scripts (see slipway run-hook --help)", ev)
	}
	if _, err := lifecycle.LocalEvents([]string{name}); err != nil {
		return "", err
	}
	return ev, nil
}

// localBundle looks at what is to be run.
func localBundle(name string) (rev bundle.Revision, err error) {
	full, err := filepath.Abs(name)
	if err != nil {
		return rev, err
	}
	info, err := os.Stat(full)
	switch {
	case err != nil:
		return rev, fmt.Errorf("there is no bundle %s: %w", name, err)
	case info.IsDir():
		return bundle.Revision{Type: bundle.LocalDirectory, Local: bundle.LocalLocation{Path: full, Format: bundle.Directory}}, nil
	}
	format, what, err := bundle.FormatOf(full)
	if err == nil && format == "" {
		err = fmt.Errorf("it is %s; a folder, or a zip or tar file is wanted", what)
	}
	if err != nil {
		return rev, fmt.Errorf("look at the bundle %s: %w", name, err)
	}
	return bundle.Revision{Type: bundle.LocalFile, Local: bundle.LocalLocation{Path: full, Format: format}}, nil
}

func (p *program) runHook(ctx context.Context, cfg *config.Config, name, event string, o runHookOptions) error {
	ev, err := hookEvent(event)
	if err != nil {
		return err
	}
	rev, err := localBundle(name)
	if err != nil {
		return err
	}
	d, err := lifecycle.Local(p.hookRequest(cfg, rev, ev, o))
	if err != nil {
		return err
	}
	scratch, err := scratchFolder(cfg.RootDir)
	if err != nil {
		return failed(err)
	}
	r := p.newTrial(d, ev, name, o)
	if o.keep {
		r.result.Folder = scratch
	} else {
		defer os.RemoveAll(scratch)
	}
	return r.carryOut(ctx, cfg, scratch)
}

// hookRequest says whose the scripts are told to be.
func (p *program) hookRequest(cfg *config.Config, rev bundle.Revision, ev lifecycle.Event, o runHookOptions) lifecycle.LocalRequest {
	const unknown = "run-hook"
	r := lifecycle.LocalRequest{Revision: rev, Group: unknown, GroupName: unknown, Application: unknown, Events: []string{string(ev)}}
	if o.group != "" {
		r.Group, r.GroupName, r.Application = o.group, o.group, o.group
		if k, err := readKnown(cfg.RootDir); err == nil { // it need not know this group, nor any
			if id, err := k.group(o.group); err == nil {
				r.Group, r.GroupName = id, or(k.nameOf(id), id)
				r.Application = or(k.applicationOf(id), r.GroupName)
			}
		}
	}
	r.Application = or(o.application, r.Application)
	return r
}

func (k *known) applicationOf(group string) string {
	for _, p := range k.past {
		if p.Group == group && p.Application != "" {
			return p.Application
		}
	}
	return ""
}

// scratchFolder makes a deployment root for one event: where temporary files are, or beside the real deployments if nothing can be
// executed there.
func scratchFolder(root string) (string, error) {
	where := os.TempDir()
	var st unix.Statfs_t
	if unix.Statfs(where, &st) == nil && st.Flags&unix.ST_NOEXEC != 0 {
		where = root
	}
	dir, err := os.MkdirTemp(where, ".slipway-run-hook-")
	if err == nil { // the users that scripts run as have to get in, as they do in the real one
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		return "", fmt.Errorf("make a folder for the bundle: %w (TMPDIR says where)", err)
	}
	return dir, nil
}

// carryOut brings the bundle into the scratch folder and runs the event.
func (r *trial) carryOut(ctx context.Context, cfg *config.Config, scratch string) error {
	quiet := *cfg
	quiet.Log.Level, quiet.Log.Format, quiet.Log.File = "error", "human", ""
	log, _, err := newLogger(&quiet, r.p.stderr, nil)
	if err != nil {
		return failed(err)
	}
	syscall.Umask(0o022)
	outliveReader()
	set := r.p.settings(cfg, nil)
	set.NoPreflight, set.Environ = true, withVariables(set.Environ, r.o.env)
	opts := r.p.engineOptions(cfg, set, contain(cfg, log.Named("hooks")), log)
	opts.Root, opts.Fetcher, opts.Attended, opts.NoDeployLog = scratch, &bundle.Fetcher{Log: log}, true, true
	opts.Choose, opts.Begin, opts.Observe = r.choose, r.begin, r.observe
	engine, err := lifecycle.Open(ctx, opts)
	if err != nil {
		return failed(err)
	}
	defer engine.Close()
	r.follower = newFollower(scratch, r)
	defer r.follower.close()
	ctx, stop := r.interruptible(ctx, opts.Runner, scratch)
	defer stop()

	watching, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	var watcher sync.WaitGroup
	if !r.o.asJSON {
		watcher.Go(func() { _ = r.follower.run(watching) }) // what it could not print now is printed by catchUp, or fails there
	}
	var last lifecycle.Result
	for ev, result := range engine.Deploy(ctx, r.d, []lifecycle.Event{lifecycle.DownloadBundle, r.ev}) {
		r.at, last = ev, result
	}
	unwatch()
	watcher.Wait()
	return r.conclude(last)
}

// withVariables adds variables to an environment, in place of those of the same name.
func withVariables(env, more []string) []string {
	for _, kv := range more {
		name, _, _ := strings.Cut(kv, "=")
		env = append(slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, name+"=") }), kv)
	}
	return env
}

// interruptible is a context that a signal ends, and the script with it. Another signal ends the script at once.
func (r *trial) interruptible(ctx context.Context, runner *hooks.Runner, scratch string) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	caught, done := make(chan os.Signal, 4), make(chan struct{})
	signal.Notify(caught, interrupts()...)
	var waiter sync.WaitGroup
	waiter.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case <-caught:
			}
			if n == 0 {
				fmt.Fprintln(r.p.stderr, "slipway: ending the script; once more ends it at once")
				cancel()
				continue
			}
			for _, dir := range runFolders(scratch) {
				if run, err := runner.Attach(dir); err == nil {
					_ = run.Stop() // it may be over
				}
			}
		}
	})
	return ctx, func() {
		signal.Stop(caught)
		close(done)
		waiter.Wait()
		cancel()
	}
}

// runFolders are those of the scripts that run under a deployment root.
func runFolders(root string) []string {
	found, _ := filepath.Glob(filepath.Join(root, ".slipway", "runs", "*", "*"))
	return found
}

// noScriptError says that an event has no script of that name or number.
type noScriptError struct{ text string }

func (e *noScriptError) Error() string { return e.text }

// choose picks the script that was asked for, and gives the scripts their timeout.
func (r *trial) choose(ev lifecycle.Event, list []appspec.Script) ([]appspec.Script, error) {
	if r.o.timeout > 0 {
		for i := range list {
			list[i].Timeout = r.o.timeout
		}
	}
	if r.o.script == "" {
		return list, nil
	}
	var names, bases []string
	var same [][]appspec.Script // of that name, in whatever folder
	for i, s := range list {
		base := path.Base(s.Location)
		switch r.o.script {
		case strconv.Itoa(i + 1), s.Location:
			return list[i : i+1], nil
		case base:
			same = append(same, list[i:i+1])
		}
		names, bases = append(names, s.Location), append(bases, base)
	}
	switch {
	case len(same) == 1:
		return same[0], nil
	case len(list) == 0:
		return nil, &noScriptError{fmt.Sprintf("%s has no scripts in this bundle, and so no script %s", ev, r.o.script)}
	}
	text := fmt.Sprintf("%s has no script %q: it has %s", ev, r.o.script, strings.Join(names, ", "))
	if len(same) > 1 {
		text = fmt.Sprintf("%s has several scripts %s: give the location or the number of one of %s", ev, r.o.script, strings.Join(names, ", "))
	} else if meant := appspec.Meant(r.o.script, append(names, bases...)); meant != "" {
		text += fmt.Sprintf(" (did you mean %s?)", meant)
	}
	return nil, &noScriptError{text}
}

// conclude tells how the event ended, and ends the program accordingly.
func (r *trial) conclude(last lifecycle.Result) error {
	var none *noScriptError
	switch {
	case errors.As(last.Err, &none):
		return none
	case last.Code == lifecycle.Succeeded && last.Err == nil && len(r.result.Scripts) == 0 && !r.ev.Known():
		return unknownEvent(r.ev)
	case last.Suspended(): // an interrupted script has a result
		return &exitError{exitFailure, fmt.Errorf("%s was interrupted before a script ran", r.ev)}
	}
	if err := r.tell(last); err != nil {
		return failed(err)
	}
	if last.Code != lifecycle.Succeeded {
		return &exitError{exitFailure, fmt.Errorf("%s failed: the agent would report code %d", r.at, last.Code)}
	}
	return nil
}

// unknownEvent is for a name that is neither an event of the service nor one of the appspec.
func unknownEvent(ev lifecycle.Event) error {
	var names []string
	for _, known := range lifecycle.Events() {
		if known != lifecycle.DownloadBundle && known != lifecycle.Install {
			names = append(names, string(known))
		}
	}
	text := fmt.Sprintf("%q is no lifecycle event, and the appspec has no scripts for it", string(ev))
	if meant := appspec.Meant(string(ev), names); meant != "" {
		return fmt.Errorf("%s: did you mean %s?", text, meant)
	}
	return fmt.Errorf("%s; those that run scripts are %s", text, strings.Join(names, ", "))
}

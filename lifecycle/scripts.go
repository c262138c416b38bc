package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"slipway/hooks"
	"slipway/lifecycle/appspec"
)

// reportLimit is how much of a script's output goes into a result. The envelope of the service holds 8,192 bytes of JSON; what is
// longer after escaping is cut there.
const reportLimit = 6 << 10

// Prepare says that a command has come: what its first script is started with is made ready while it is fetched, checked and
// acknowledged. It returns at once.
func (e *Engine) Prepare() {
	if e.opts.Runner != nil {
		e.opts.Runner.Prepare()
	}
	if e.opts.HostEnviron != nil {
		e.opts.HostEnviron() // whoever asks makes it be looked at again
	}
}

// scripts carries out an event that runs scripts: those of the chosen revision, in order, until one fails (H-8, H-9). Each runs in a
// folder of its own under .slipway/runs, named after the command, so that a second call takes up what the first had begun.
func (e *Engine) scripts(ctx context.Context, t *Ticket) Result {
	d := t.deployment
	rev, list, nothing, err := e.chosen(d, t.Event, e.root.archive(d))
	switch {
	case err != nil:
		return failure(ctx, err)
	case e.opts.Choose != nil:
		if list, err = e.opts.Choose(t.Event, list); err != nil {
			return failure(ctx, err)
		}
	}
	if nothing != "" {
		return success("", fmt.Sprintf("%s: %s", t.Event, nothing))
	}
	began := time.Now()
	var lines []string
	for i, s := range list {
		if e.vanished(t.Event, rev, s) {
			lines = append(lines, s.Location+" is gone and was skipped")
			continue
		}
		r, out := e.script(ctx, t, rev, i, s)
		if r != nil {
			return *r
		}
		lines = append(lines, summary(s, out))
	}
	return success("", fmt.Sprintf("%s: %s, in %s", t.Event, strings.Join(lines, "; "), rounded(time.Since(began))))
}

// chosen are the scripts that an event of a deployment runs, whose archive is in the folder current, and the revision that they are of. Where
// there are none, nothing says why.
func (e *Engine) chosen(d *Deployment, ev Event, current string) (rev revision, list []appspec.Script, nothing string, err error) {
	if rev, err = e.revisionBeside(d, ev, current); err != nil {
		return rev, nil, "", err
	}
	if rev.archive == "" && rev.whose == thisRevision && d.Local { // L-16
		return rev, nil, "", fmt.Errorf("%s runs the scripts of the revision that is deployed, and DownloadBundle, which comes behind it, has not brought it yet", ev)
	}
	if rev.archive == "" {
		return rev, nil, fmt.Sprintf("nothing to run, there is no archive of %s", rev.whose), nil
	}
	spec, err := readSpec(rev.archive, d.AppSpecFilename)
	switch {
	case errors.Is(err, errNoSpec) && e.forgives(rev):
		e.log.Warn("the revision whose scripts the event runs has no appspec any more: nothing is run", zap.String("event", string(ev)), zap.String("path", rev.archive))
		return rev, nil, fmt.Sprintf("nothing to run, the archive of %s has no appspec", rev.whose), nil
	case err != nil && rev.whose != thisRevision:
		return rev, nil, "", fmt.Errorf("%w%s", err, rev.wayOut())
	case err != nil:
		return rev, nil, "", err
	}
	if list = spec.Scripts(string(ev)); len(list) == 0 {
		nothing = fmt.Sprintf("no scripts in the appspec of %s", rev.whose)
	}
	return rev, list, nothing, nil
}

// forgives reports whether what is missing of a revision is passed over: only of an old one, and only if that is configured. What the old
// revision has lost must not keep every later one from this host.
func (e *Engine) forgives(rev revision) bool {
	return rev.whose != thisRevision && e.settings.Load().OldRevision != "run"
}

// vanished reports whether a script of an old revision is not there any more, and is passed over.
func (e *Engine) vanished(ev Event, rev revision, s appspec.Script) bool {
	if !e.forgives(rev) {
		return false
	}
	path, err := within(rev.archive, s.Location)
	if err != nil {
		return false
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	e.log.Warn("a script of the old revision is gone: it is skipped", zap.String("event", string(ev)), zap.String("script", s.Location), zap.String("path", path))
	return true
}

// wayOut says whose script has failed, and how a deployment gets past it.
func (r revision) wayOut() string {
	return fmt.Sprintf(" — this is of %s, %s, not of the one being deployed; old_revision_hooks: skip deploys without running its scripts", r.whose, filepath.Dir(r.archive))
}

// script runs one script. It returns a result if that ends the event.
func (e *Engine) script(ctx context.Context, t *Ticket, rev revision, i int, s appspec.Script) (*Result, hooks.Result) {
	d := t.deployment
	order, err := e.order(d, t.Event, rev, s, e.root.own("runs", t.Key(), strconv.Itoa(i)))
	if err != nil {
		return &Result{Code: ScriptMissing, Script: s.Location, Message: err.Error(), Err: err}, hooks.Result{}
	}
	if r := e.surround(ctx, t, s, &order); r != nil {
		return r, hooks.Result{}
	}
	if i == 0 || !e.scriptsBegan(t) { // one that is gone may come before
		order.Header = []string{"LifecycleEvent - " + string(t.Event)}
	}
	e.opts.Begin(Step{Event: t.Event, Script: s.Location, RunAs: s.RunAs, Timeout: s.Timeout})
	out, err := e.runOnce(ctx, order)
	switch {
	case err != nil && ctx.Err() != nil && e.opts.Attended:
		return &Result{Err: fmt.Errorf("%w: script %s has not run", ErrSuspended, s.Location)}, out
	case err != nil && ctx.Err() != nil:
		return &Result{Err: fmt.Errorf("%w: script %s goes on", ErrSuspended, s.Location)}, out
	case err != nil:
		r := failure(ctx, fmt.Errorf("run script %s: %w", s.Location, err))
		return &r, out
	}
	r := e.verdict(t, s, out)
	if r != nil {
		r.Path = order.Path
	}
	if r != nil && rev.whose != thisRevision {
		r.Message += rev.wayOut()
	}
	return r, out
}

// order is a script as it is handed to its shim, but for what surround adds. dir is the folder of its run. The error is about a location outside the
// archive.
func (e *Engine) order(d *Deployment, ev Event, rev revision, s appspec.Script, dir string) (hooks.Script, error) {
	path, err := within(rev.archive, s.Location)
	if err != nil {
		return hooks.Script{}, err
	}
	set := e.settings.Load()
	order := hooks.Script{
		Dir: dir, Path: path, Name: s.Location,
		RunAs: s.RunAs, RunAsSet: s.RunAsSet, RunAsMode: set.RunAsMode, Sudo: s.Sudo,
		Timeout: s.Timeout, Grace: set.Grace, Limits: set.HookLimits, WorkDir: workDir(set, rev), Env: set.Environ,
		ScriptsLog: e.root.scriptsLog(d), DeploymentID: d.ID, OpenOutput: set.OpenOutput, OpenOutputWait: set.OpenOutputWait,
	}
	if !e.opts.NoDeployLog {
		order.DeploymentsLog = e.root.deploymentsLog()
	}
	return order, nil
}

// maxStarts is how often a script is handed to a shim that breaks down before the script begins.
const maxStarts = 3

// runOnce starts the script, or attaches to its run if it was started before, and waits for its result.
func (e *Engine) runOnce(ctx context.Context, order hooks.Script) (hooks.Result, error) {
	for tries := 1; ; tries++ {
		run, err := e.opts.Runner.Resume(ctx, order)
		if err != nil {
			return hooks.Result{}, err
		}
		out, err := e.wait(ctx, run)
		// An earlier process was lost before it had handed the script over: nothing ran, and nothing will in that run. A shim of our own
		// that breaks down every time (a full disk, a host out of processes) is an error.
		if !errors.Is(err, hooks.ErrNotStarted) || tries == maxStarts {
			return out, err
		}
	}
}

// stopPause is how often the end of a script is asked for that is only just being started.
const stopPause = 10 * time.Millisecond

// wait waits for the result of a run. Where a person waits, the end of ctx ends the script, and that is its result.
func (e *Engine) wait(ctx context.Context, run *hooks.Run) (hooks.Result, error) {
	out, err := run.Wait(ctx)
	if err == nil || ctx.Err() == nil || !e.opts.Attended {
		return out, err
	}
	for over := context.WithoutCancel(ctx); ; {
		err := run.Stop()
		if err == nil {
			return run.Wait(over)
		}
		if !errors.Is(err, fs.ErrNotExist) { // it goes on, and there is nothing to do about it
			e.log.Error("the script cannot be ended", zap.Error(err))
			return out, context.Cause(ctx)
		}
		soon, cancel := context.WithTimeout(over, stopPause)
		out, err = run.Wait(soon) // until it has begun, or it is known that it never will
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			return out, err
		}
	}
}

// verdict gives the outcome of a script its wire code, and tells the log and the observer of it.
func (e *Engine) verdict(t *Ticket, s appspec.Script, out hooks.Result) *Result {
	log := e.log.With(zap.String("event", string(t.Event)), zap.String("deployment", t.deployment.ID), zap.String("script", s.Location))
	for _, note := range out.Notes {
		log.Info("script: " + note)
	}
	for _, left := range out.Left {
		log.Info("the script left a process running", zap.Int("pid", left.PID), zap.String("process", left.Command))
	}
	for _, h := range out.Holders {
		log.Warn("a process that the script left behind holds its output", zap.Int("pid", h.PID), zap.String("process", h.Command), zap.String("stream", h.Stream), zap.Int("descriptor", h.FD))
	}
	code := codeOf(out.Err)
	e.opts.Observe(Observation{Event: t.Event, Deployment: t.deployment.ID, Script: s.Location, Code: code, Exit: out.Exit, Took: out.Ended.Sub(out.Started), Run: &out})
	if code == Succeeded {
		return nil
	}
	return &Result{Code: code, Script: s.Location, Message: out.Err.Error(), Log: out.Report(reportLimit), Err: out.Err}
}

// within is the path of a script inside the archive. A location that leaves it is refused; a leading slash means the top of the
// archive, as for the official agent.
func within(archive, location string) (string, error) {
	local := strings.TrimLeft(location, "/")
	if !filepath.IsLocal(local) {
		return "", fmt.Errorf("script %s is not inside the bundle: a location is a path from its top", location)
	}
	return filepath.Join(archive, local), nil
}

// maxTold is how many left-over processes a report names.
const maxTold = 4

// leftovers names the processes that a script left running, and says which of them hold its output.
func leftovers(out hooks.Result) []string {
	left := slices.Clone(out.Left)
	held := map[int][]string{}
	for _, h := range out.Holders {
		if !slices.ContainsFunc(left, func(p hooks.Process) bool { return p.PID == h.PID }) {
			left = append(left, h.Process)
		}
		held[h.PID] = append(held[h.PID], fmt.Sprintf("%s as descriptor %d", h.Stream, h.FD))
	}
	var told []string
	for i, p := range left {
		if i == maxTold {
			return append(told, fmt.Sprintf("%d more processes go on", len(left)-i))
		}
		text := fmt.Sprintf("process %d (%s) goes on", p.PID, p.Command)
		if streams := held[p.PID]; len(streams) > 0 {
			text += " and holds " + strings.Join(streams, ", ")
		}
		told = append(told, text)
	}
	return told
}

func summary(s appspec.Script, out hooks.Result) string {
	text := fmt.Sprintf("%s %s", s.Location, rounded(out.Ended.Sub(out.Started)))
	if left := leftovers(out); len(left) > 0 {
		text += " (" + strings.Join(left, "; ") + ")"
	}
	return text
}

package lifecycle

import (
	"context"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"slipway/lifecycle/appspec"
	"slipway/lifecycle/install"
)

// installFiles carries out the Install event: plan, transaction, pointer (section 3 of the installation rules). A crash between the
// transaction and the pointer is made good by the next call, which finds the installation committed.
func (e *Engine) installFiles(ctx context.Context, d *Deployment) Result {
	ctx, cancel := graced(ctx, e.settings.Load().StopTimeout)
	defer cancel()
	e.recover(ctx) // a command beside the daemon may have been killed in the middle of one
	e.settleChanges(d.GroupID)
	before, err := e.root.readPointer(d.GroupID, lastSuccessful)
	if err != nil {
		return failure(ctx, err)
	}
	summary := "installed before the restart"
	var changes *install.Counts
	if done, ok := install.Committed(e.root.path, d.GroupID); !ok || done != d.ID {
		if summary, changes, err = e.transact(ctx, d); err != nil {
			return failure(ctx, err)
		}
	}
	if err := e.root.writePointer(d.GroupID, lastSuccessful, d.ID); err != nil {
		return failure(ctx, err)
	}
	if err := e.diverge(d, before); err != nil {
		return failure(ctx, err)
	}
	r := success("", summary)
	r.Changes = changes
	return r
}

func (e *Engine) transact(ctx context.Context, d *Deployment) (summary string, changes *install.Counts, err error) {
	if err := e.root.mkdir(instructionsFolder); err != nil {
		return "", nil, err
	}
	archive := e.root.archive(d)
	if !isDir(archive) {
		return "", nil, fmt.Errorf("there is nothing to install: %s is missing, DownloadBundle has to come first", archive)
	}
	spec, err := readSpec(archive, d.AppSpecFilename)
	if err != nil {
		return "", nil, err
	}
	if err := appspec.CheckEvents(spec, d.PossibleEvents, scripted()); err != nil {
		return "", nil, err
	}
	if err := e.settings.Load().Policy.allows(spec); err != nil {
		return "", nil, err
	}
	plan, unlock, err := plan(ctx, e.request(d, spec, archive))
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	noted, wrong := e.note(ctx, d, plan)
	done, err := plan.Apply(ctx)
	if err != nil {
		e.settleChanges(d.GroupID)
		return "", nil, err
	}
	if left := done.Warnings[min(len(plan.Warnings()), len(done.Warnings)):]; len(left) > 0 { // the plan has told its own
		e.log.Warn("installed, but something could not be tidied up", zap.String("deployment", d.ID), zap.Strings("what", left))
	}
	said := append([]string{plan.Summary()}, done.Warnings...)
	if err := e.keep(d, noted, wrong); err != nil {
		said = append(said, err.Error())
	}
	return strings.Join(said, "; "), &done.Counts, nil
}

// plan plans an installation while nobody else installs to any place that it has to do with, until unlock is called.
func plan(ctx context.Context, r install.Request) (made *install.Plan, unlock func(), err error) {
	if unlock, err = install.Lock(ctx, &r); err != nil {
		return nil, nil, err
	}
	if made, err = install.Make(ctx, r); err != nil {
		unlock()
		return nil, nil, err
	}
	return made, unlock, nil
}

// request is what an installation of the deployment consists of.
func (e *Engine) request(d *Deployment, spec *appspec.Spec, archive string) install.Request {
	behavior := d.FileExistsBehavior
	if spec.FileExistsBehavior != "" {
		behavior = spec.FileExistsBehavior
	}
	return install.Request{
		Spec: spec, Archive: archive, Root: e.root.path, Group: d.GroupID, Deployment: d.ID, Behavior: behavior, Replace: e.settings.Load().Replace, Log: e.log,
	}
}

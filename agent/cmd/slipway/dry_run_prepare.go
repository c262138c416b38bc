package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"go.uber.org/zap"

	"slipway/lifecycle"
	"slipway/lifecycle/appspec/lint"
	"slipway/lifecycle/bundle"
	"slipway/lifecycle/rehearse"
)

// prepare brings the bundles to this host, lints, and plans: all that needs a network, and all that can be known without running anything.
func (r *dryRun) prepare(ctx context.Context) error {
	syscall.Umask(0o022) // the modes of a copy must not depend on who is logged in
	if err := r.plan.chooseGroup(r.cfg.RootDir); err != nil {
		return err
	}
	d := r.plan.deployment
	r.name(d)
	r.main.Of, r.main.Events = d, r.plan.list
	archive, refused, err := r.bring(ctx, r.plan.bundle, "bundle", &r.main)
	if err != nil {
		return err
	}
	if r.archive = archive; refused != nil {
		r.refused = refused.Error()
	}
	if r.o.from != "" {
		if err := r.prepareBefore(ctx); err != nil {
			return err
		}
	}
	if err := r.lint(ctx, archive, refused); err != nil {
		return err
	}
	if err := r.plan.foresee(ctx, r.p, r.cfg, archive, refused); err != nil {
		return err
	}
	if r.expect, err = rehearse.Expect(ctx, r.plan.preview); err != nil {
		return failed(fmt.Errorf("plan the deployment: %w", err))
	}
	r.whose, r.steps = map[lifecycle.Event]string{}, stepsOf(r.plan.kind)
	if len(r.o.events) > 0 {
		r.steps = r.plan.list
	}
	for _, f := range r.plan.preview.Events {
		r.whose[f.Event] = f.Whose
	}
	r.account = lifecycle.Account{
		Rehearsal: true, Deployment: d.ID, Group: d.GroupID, GroupName: d.GroupName, Application: d.Application, Revision: d.Revision.String(),
		Kind: r.plan.kind.Name, From: r.installedRevision(), Host: hostFactsOf(r.cfg), Findings: r.account.Findings,
	}
	if r.before != nil {
		r.account.From = r.before.Of.Revision.String()
	}
	return nil
}

// name gives a deployment the names that its scripts are told: those that are known of the group, else those of a local deployment.
func (r *dryRun) name(d *lifecycle.Deployment) {
	d.GroupName = cmp.Or(d.GroupName, defaultGroupName)
	d.Application = r.plan.bundle // L-6
	if k, err := readKnown(r.cfg.RootDir); err == nil {
		d.Application = cmp.Or(k.applicationOf(d.GroupID), d.Application)
	}
}

// prepareBefore is the deployment of --from: one in place to the same group.
func (r *dryRun) prepareBefore(ctx context.Context) error {
	of := *r.plan.deployment
	fresh := lifecycle.LocalDeployment(of.GroupID, of.GroupName)
	of.ID, of.Creator, of.Type = fresh.ID, fresh.Creator, fresh.Type
	r.before = &insideDeployment{Of: &of, Events: lifecycle.UndoEvents()}
	_, refused, err := r.bring(ctx, r.o.from, "before", r.before)
	if err == nil && refused != nil {
		err = failed(fmt.Errorf("look into %s: %w", r.o.from, refused))
	}
	return err
}

// bring makes a bundle ready for the sandbox, and an archive of it to look at. refused is why the bundle cannot be unpacked.
func (r *dryRun) bring(ctx context.Context, given, name string, d *insideDeployment) (archive string, refused, err error) {
	options := &localOptions{values: map[string]string{}, positional: given}
	if r.o.appspec != "" {
		options.values[optAppSpec] = r.o.appspec
	}
	request, err := options.check(true)
	if err != nil {
		return "", nil, failed(err)
	}
	rev, err := request.revision(r.p.getenv(gitHubTokenVariable))
	if err != nil {
		return "", nil, failed(err)
	}
	d.Of.Revision = rev
	fetcher, err := (&localRun{p: r.p, cfg: r.cfg, request: request, d: d.Of}).fetcher(ctx, zap.NewNop())
	if err != nil {
		return "", nil, failed(err)
	}
	archive = filepath.Join(r.work, name+"-archive")
	file := filepath.Join(r.work, name)
	d.Bundle = brought{Path: file, Format: rev.Format()}
	if rev.Type == bundle.LocalDirectory { // the sandbox shows the deployment root for certain, and not every folder of this host
		d.Bundle.Path = archive
	}
	d.Bundle.Object, err = unpackFor(ctx, fetcher, rev, file, archive, r.p.settings(r.cfg, nil).Limits)
	var wrong *bundle.ArchiveError
	if errors.As(err, &wrong) {
		return archive, err, nil
	}
	if err != nil {
		return "", nil, failed(fmt.Errorf("bring %s to this host: %w", given, err))
	}
	return archive, nil, nil
}

// lint looks at the bundle.
func (r *dryRun) lint(ctx context.Context, archive string, refused error) error {
	report := lint.Report{}
	if refused != nil {
		report = lint.Unreadable(r.plan.bundle, refused.Error())
	} else {
		root, err := os.OpenRoot(archive)
		if err != nil {
			return failed(fmt.Errorf("lint %s: %w", r.plan.bundle, err))
		}
		defer root.Close()
		subject := &lintSubject{path: r.plan.bundle, root: root, dir: r.main.Of.Revision.Type == bundle.LocalDirectory}
		if report, err = subject.look(ctx, lint.Options{AppSpec: r.o.appspec, WorkTree: subject.dir}); err != nil {
			return failed(fmt.Errorf("lint %s: %w", r.plan.bundle, err))
		}
	}
	r.view.findings = report
	r.account.Findings = findingsOf(&report)
	return nil
}

// installedRevision is what the group has on this host now; "" for nothing that is known.
func (r *dryRun) installedRevision() string {
	id := (&localRun{cfg: r.cfg, d: r.main.Of}).installed()
	k, err := readKnown(r.cfg.RootDir)
	if id == "" || err != nil {
		return ""
	}
	past, err := k.deployment(id, r.main.Of.GroupID)
	if err != nil {
		return id
	}
	return cmp.Or(k.revision(past), id)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"slipway/agent/config"
	"slipway/lifecycle"
)

// rollbackOptions are the flags of rollback.
type rollbackOptions struct {
	to                     string
	filesOnly, dry, asJSON bool
}

func (p *program) rollbackCommand() *cobra.Command {
	var o rollbackOptions
	cmd := &cobra.Command{
		Use: "rollback GROUP", Short: "bring an earlier revision back on this host, without the service", Args: takes(0, "a GROUP"),
		Long: `rollback brings a deployment group of this host back to a revision that is still on disk: the one that was installed before the present
one, or the one that --to names. It is a deployment like any other, of the events ApplicationStop to ValidateService, but the service knows
nothing of it: the host has diverged from its record until the next deployment of the group. It needs no network.

The agent may run meanwhile. A group in hand is refused. Hooks see the environment of this command, without credentials.

GROUP is the id of a deployment group, or its name where only one group has it. SIGINT and SIGTERM end the rollback between two steps: a script
goes on by itself, an installation is finished first.`,
		Example:           "  slipway rollback fleet --dry-run\n  slipway rollback fleet\n  slipway rollback fleet --to d-ABCDEF123 --files-only",
		ValidArgsFunction: p.completes(func(args []string) (groups, deployments bool) { return len(args) == 0, false }),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flag("to").Changed && o.to == "" {
				return errors.New("--to is empty: name a deployment, or leave the flag out (see slipway rollback --help)")
			}
			cfg, err := p.load()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return p.rollback(ctx, cfg, args[0], o)
		},
	}
	cmd.Flags().StringVar(&o.to, "to", "", "go back to this `deployment`; the beginning of its id is enough")
	cmd.Flags().BoolVar(&o.filesOnly, "files-only", false, "bring the files back and run no hook: DownloadBundle and Install alone")
	cmd.Flags().BoolVar(&o.dry, "dry-run", false, "change nothing, say what would be done")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print JSON, at the end")
	return cmd
}

// jsonRollback is a rollback as scripts read it.
type jsonRollback struct {
	DryRun     bool        `json:"dry_run"`
	Group      string      `json:"group"`
	GroupName  string      `json:"group_name,omitempty"`
	Deployment string      `json:"deployment,omitempty"` // the local one; none of a dry run
	From       string      `json:"from"`
	To         string      `json:"to"`
	Service    string      `json:"service"` // the last of the service's on this host; empty where it has deployed nothing to the group
	Outcome    string      `json:"outcome"` // planned, succeeded, failed, interrupted
	Installed  bool        `json:"installed"`
	Planned    []string    `json:"planned_events"`
	Events     []jsonEvent `json:"events"`
}

// Outcomes that only a rollback has.
const (
	outcomePlanned     = "planned"
	outcomeInterrupted = "interrupted"
)

func (p *program) rollback(ctx context.Context, cfg *config.Config, given string, o rollbackOptions) error {
	k, err := readKnown(cfg.RootDir)
	if err != nil {
		return err
	}
	group, err := k.group(given)
	if err != nil {
		return err
	}
	if o.to != "" {
		to, err := k.deployment(o.to, group)
		if err != nil {
			return err
		}
		o.to = to.Deployment
	}
	engine, err := p.guest(ctx, cfg)
	if err != nil {
		return err
	}
	defer engine.Close()
	d, err := engine.Undo(group, o.to)
	if err != nil {
		return failed(fmt.Errorf("go back with group %s: %w", k.full(group), err))
	}
	list := lifecycle.UndoEvents()
	if o.filesOnly {
		list = []lifecycle.Event{lifecycle.DownloadBundle, lifecycle.Install}
	}
	r := &jsonRollback{
		DryRun: o.dry, Group: group, GroupName: k.nameOf(group), From: d.Undoes, To: d.ReuseFrom, Service: k.believed(group, d.Undoes),
		Outcome: outcomePlanned, Events: []jsonEvent{},
	}
	for _, ev := range list {
		r.Planned = append(r.Planned, string(ev))
	}
	out := p.stdout
	if o.asJSON {
		out = io.Discard
	}
	k.announce(out, d, r)
	if !o.dry {
		r.Deployment = d.ID
		err = p.goBack(ctx, engine, d, list, r, out)
		if diverged, told := lifecycle.Diverged(cfg.RootDir); told == nil && r.Installed {
			if _, ok := diverged[group]; !ok { // the service has deployed nothing to this group
				r.Service = ""
			}
		}
		k.conclude(out, r)
	}
	if o.asJSON {
		err = errors.Join(err, p.printJSON(r))
	}
	if err != nil {
		return failed(err)
	}
	return nil
}

// announce says what is going to be done.
func (k *known) announce(out io.Writer, d *lifecycle.Deployment, r *jsonRollback) {
	doing := "going back"
	if r.DryRun {
		doing = "would go back"
	}
	fmt.Fprintf(out, "%s with group %s\n  from  %s\n  to    %s\n", doing, k.full(r.Group), k.described(r.Group, r.From), k.described(r.Group, r.To))
	if r.DryRun {
		for _, ev := range r.Planned {
			fmt.Fprintf(out, "  %s\n", ev)
		}
		return
	}
	fmt.Fprintf(out, "  as    %s\n", d.ID)
}

// described is a deployment with its revision.
func (k *known) described(group, deployment string) string {
	i := slices.IndexFunc(k.past, func(p *lifecycle.Past) bool { return p.Group == group && p.Deployment == deployment })
	if i < 0 || k.revision(k.past[i]) == "" {
		return deployment
	}
	return deployment + ", " + k.revision(k.past[i])
}

// goBack carries the events out and tells of each as it ends.
func (p *program) goBack(
	ctx context.Context, engine *lifecycle.Engine, d *lifecycle.Deployment, list []lifecycle.Event, r *jsonRollback, out io.Writer,
) error {
	defer onceStopped(ctx, func() {
		fmt.Fprintln(p.stderr, "slipway: stopping; a download or installation in hand is finished first, once more stops at once")
	})()
	r.Outcome = outcomeSucceeded
	began := time.Now()
	for ev, result := range engine.Deploy(ctx, d, list) {
		now := time.Now()
		e := eventJSON(&lifecycle.Record{
			Event: ev, At: now, Took: now.Sub(began), Code: result.Code, Script: result.Script, Message: result.Message, Log: result.Log,
		})
		began = now
		switch {
		case result.Suspended():
			e.Outcome, e.Message = outcomeInterrupted, result.Err.Error()
			r.Outcome = outcomeInterrupted
		case result.Code != lifecycle.Succeeded:
			r.Outcome = outcomeFailed
		case ev == lifecycle.Install:
			r.Installed = true
		}
		r.Events = append(r.Events, e)
		writeEvent(out, e)
	}
	switch last := r.Events[len(r.Events)-1]; r.Outcome {
	case outcomeInterrupted:
		return fmt.Errorf("the rollback was interrupted at %s: %s", last.Event, r.mend())
	case outcomeFailed:
		return fmt.Errorf("the rollback failed at %s: %s", last.Event, r.mend())
	}
	return nil
}

// mend says how the host stands after a rollback that did not come to its end, and what to do.
func (r *jsonRollback) mend() string {
	if r.Installed {
		return fmt.Sprintf("the files of %s are installed; finish with slipway rollback %s --to %s, or deploy", r.To, r.Group, r.To)
	}
	stopped := ""
	if slices.ContainsFunc(r.Events, func(e jsonEvent) bool { return e.Event == string(lifecycle.ApplicationStop) }) {
		stopped = ", but its ApplicationStop has run"
	}
	const text = "the files of %s are still installed%s; begin again with slipway rollback %s --to %s, or deploy"
	return fmt.Sprintf(text, r.From, stopped, r.Group, r.To)
}

// conclude says how the host stands with the service.
func (k *known) conclude(out io.Writer, r *jsonRollback) {
	if r.Outcome == outcomeSucceeded {
		fmt.Fprintf(out, "group %s has the revision of %s again\n", k.full(r.Group), r.To)
	}
	if r.Installed && r.Service != "" {
		fmt.Fprintf(out, "this host has diverged from the record of the service, whose last deployment here is %s: the next deployment of the group mends that\n", r.Service)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"slipway/agent/config"
	"slipway/lifecycle"
	"slipway/packaging/image"
)

type imageOptions struct{ check, all, dry, asJSON bool }

func (p *program) imagePrepCommand() *cobra.Command {
	var o imageOptions
	cmd := &cobra.Command{
		Use: "image-prep", Short: "make this host fit to become a disk image", Args: noArgs,
		Long: `image-prep removes what belongs to this host alone and must not be on every instance of an image: commands in hand, runs, history, logs, locks,
the official agent's tracking files, the on-premises registration, revisions that nothing names. What is installed stays known, with the
bundle of the revision, so that the first deployment on an instance finds no false conflict and need not fetch the same bundle again.

It lists what it did and may be repeated. It refuses while an agent runs or a command waits: stop it first, or finish the deployment.

Exit codes: 0 done, or with --check nothing is left to do; 1 it was refused or something is left.`,
		Example: "  slipway image-prep --dry-run\n  slipway image-prep\n  slipway image-prep --check && poweroff",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return p.imagePrep(ctx, cfg, o)
		},
	}
	cmd.Flags().BoolVar(&o.check, "check", false, "change nothing; end with 1 if something would be removed")
	cmd.Flags().BoolVar(&o.dry, "dry-run", false, "change nothing, say what would go")
	cmd.Flags().BoolVar(&o.all, "all", false, "forget what is installed too; its files stay, and the next deployment finds them in its way")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
	return cmd
}

// jsonSealed is what image-prep did, or would do.
type jsonSealed struct {
	DryRun  bool             `json:"dry_run"`
	Removed []jsonSealedPath `json:"removed"`
}

type jsonSealedPath struct {
	Path  string `json:"path"`
	Why   string `json:"why"`
	Error string `json:"error,omitempty"`
}

func (p *program) imagePrep(ctx context.Context, cfg *config.Config, o imageOptions) error {
	dry := o.dry || o.check
	silent := *cfg
	silent.Log.File = "" // it is among what goes
	engine, err := p.guest(ctx, &silent)
	if err != nil {
		return err
	}
	defer engine.Close()
	gone, err := image.Prepare(ctx, image.Options{Config: cfg, Root: engine, All: o.all, Dry: dry})
	switch {
	case errors.Is(err, lifecycle.ErrLocked):
		return failed(fmt.Errorf("the agent runs: stop it first (systemctl stop slipway): %w", err))
	case errors.Is(err, lifecycle.ErrInHand):
		return failed(fmt.Errorf("%w: start the agent and let the deployment end", err))
	}
	out := jsonSealed{DryRun: dry, Removed: []jsonSealedPath{}}
	for _, g := range gone {
		r := jsonSealedPath{Path: g.Path, Why: g.Why}
		if g.Err != nil {
			r.Error = g.Err.Error()
		}
		out.Removed = append(out.Removed, r)
	}
	var printed error
	if o.asJSON {
		printed = p.printJSON(out)
	} else {
		printed = p.printSealed(out)
	}
	switch {
	case err != nil:
		return failed(errors.Join(err, printed))
	case o.check && len(out.Removed) > 0:
		return failed(fmt.Errorf("%d things of this host are left: run slipway image-prep", len(out.Removed)))
	}
	return printed
}

func (p *program) printSealed(out jsonSealed) error {
	w := tabwriter.NewWriter(p.stdout, 0, 4, 2, ' ', 0)
	for _, r := range out.Removed {
		did, why := "removed", r.Why
		switch {
		case r.Error != "":
			did, why = "not removed", r.Error
		case out.DryRun:
			did = "would go"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", did, r.Path, why)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(out.Removed) == 0 {
		fmt.Fprintln(p.stdout, "nothing of this host is left: it is fit to become an image")
	}
	return nil
}

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"slipway/agent/config"
	"slipway/lifecycle"
)

func (p *program) adoptCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "adopt GROUP [DEPLOYMENT]", Short: "take over files of which the deployment root has lost word", Args: takes(1, "a GROUP"),
		Long: `adopt makes a deployment group the owner of the files of one of its deployments that are on the host already. It is for a host whose
deployment-instructions were lost, where the next deployment would fail because a specified file already exists. Nothing of the files
changes. The archive of the deployment must be on disk; without DEPLOYMENT it is the last that was installed.

What differs from the archive is adopted too, and kept aside by the next installation; what is not there is left out.`,
		Example: "  slipway adopt fleet --dry-run\n  slipway adopt fleet d-ABCDEF123",
		ValidArgsFunction: p.completes(func(args []string) (groups, deployments bool) {
			return len(args) == 0, len(args) == 1
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return p.adopt(ctx, cfg, args, dry)
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "change nothing, say what would be adopted")
	return cmd
}

func (p *program) adopt(ctx context.Context, cfg *config.Config, args []string, dry bool) error {
	k, err := readKnown(cfg.RootDir)
	if err != nil {
		return err
	}
	group, err := k.group(args[0])
	if err != nil {
		return err
	}
	var of *lifecycle.Past
	if len(args) > 1 {
		of, err = k.deployment(args[1], group)
	} else {
		of, err = k.lastInstalled(group)
	}
	if err != nil {
		return err
	}
	engine, err := p.guest(ctx, cfg)
	if err != nil {
		return err
	}
	defer engine.Close()
	plan, err := engine.Adopt(ctx, group, of.Deployment, dry)
	if err != nil {
		return failed(fmt.Errorf("adopt the files of %s for group %s: %w", of.Deployment, k.full(group), err))
	}
	did := "group %s has adopted the files of %s: %d files, links and directories\n"
	if dry {
		did = "group %s would adopt the files of %s: %d files, links and directories\n"
	}
	fmt.Fprintf(p.stdout, did, k.full(group), of.Deployment, plan.Counts().Adopted)
	for _, w := range plan.Warnings() {
		fmt.Fprintln(p.stdout, "  "+printable(w))
	}
	return nil
}

// lastInstalled is the newest deployment of a group that was installed and whose archive is on disk. Of one by another agent it is not known
// whether it was.
func (k *known) lastInstalled(group string) (*lifecycle.Past, error) {
	for _, p := range k.past {
		if p.Group != group || p.Archive == "" {
			continue
		}
		if p.Foreign || p.Installed {
			return p, nil
		}
		for _, e := range p.Events {
			if e.Event == lifecycle.Install && e.Code == lifecycle.Succeeded {
				return p, nil
			}
		}
	}
	return nil, failed(fmt.Errorf("no deployment of group %s that was installed has its archive on disk: deploy with file_exists_behavior: OVERWRITE", k.full(group)))
}

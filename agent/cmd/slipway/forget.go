package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"slipway/agent/config"
)

func (p *program) forgetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "forget GROUP", Short: "give up what a group has installed, and leave the files where they are", Args: takes(0, "a GROUP"),
		Long: `forget makes a deployment group give up what it has installed: the files stay where they are and belong to nobody, and the lists of what
was installed and which deployment was go. The next deployment of the group then runs no ApplicationStop and removes nothing; files that are
in its way are a conflict, unless file_exists_behavior says otherwise. The deployments on disk stay; slipway adopt takes the files back.

A group that is in hand is refused.`,
		Example:           "  slipway forget fleet",
		ValidArgsFunction: p.completes(func(args []string) (groups, deployments bool) { return len(args) == 0, false }),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return p.forget(ctx, cfg, args[0])
		},
	}
}

func (p *program) forget(ctx context.Context, cfg *config.Config, given string) error {
	k, err := readKnown(cfg.RootDir)
	if err != nil {
		return err
	}
	group, err := k.group(given)
	if err != nil {
		return err
	}
	engine, err := p.guest(ctx, cfg)
	if err != nil {
		return err
	}
	defer engine.Close()
	gone, err := engine.Forget(ctx, group)
	for _, name := range gone {
		fmt.Fprintln(p.stdout, "removed "+name)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return failed(fmt.Errorf("group %s has nothing installed as far as %s says: there is nothing to forget", k.full(group), cfg.RootDir))
	case err != nil:
		return failed(fmt.Errorf("forget what group %s has installed: %w", k.full(group), err))
	}
	fmt.Fprintf(p.stdout, "group %s has given up what it had installed; the files stay where they are\n", k.full(group))
	return nil
}

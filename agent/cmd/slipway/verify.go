package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"slipway/lifecycle/install"
)

func (p *program) verifyCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "verify GROUP", Short: "compare what is installed with what is there", Args: takes(0, "a GROUP"),
		Long: `verify compares the files of a deployment group as they were installed with what is on the host now, and prints a line for each that
differs, as rpm -V does: S size, M mode, 5 content, F file type, L link, U user, G group, T time, A access control list; "." where it is the
same, "?" where there is nothing to compare with; "missing" and "leftover". It changes nothing.

Exit codes: 0 nothing differs, 1 something does or nothing could be compared.`,
		Example:           "  slipway verify fleet\n  slipway verify fleet --json",
		ValidArgsFunction: p.completes(func(args []string) (groups, deployments bool) { return len(args) == 0, false }),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return p.verify(ctx, cfg.RootDir, args[0], asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// jsonDifference is a line of verify as scripts read it.
type jsonDifference struct {
	Path    string   `json:"path"`
	Differs []string `json:"differs"` // size, mode, content, type, link, owner, group, time, acl, missing, leftover
	Note    string   `json:"note,omitempty"`
}

// aspects are the words of an aspect that differs.
var aspects = []struct {
	is   install.Aspects
	word string
}{
	{install.Missing, "missing"},
	{install.Leftover, "leftover"},
	{install.TypeDiffers, "type"},
	{install.SizeDiffers, "size"},
	{install.ContentDiffers, "content"},
	{install.TimeDiffers, "time"},
	{install.LinkDiffers, "link"},
	{install.ModeDiffers, "mode"},
	{install.OwnerDiffers, "owner"},
	{install.GroupDiffers, "group"},
	{install.ListDiffers, "acl"},
}

// jsonVerified is what verify has found.
type jsonVerified struct {
	Group       string           `json:"group"`
	Differences []jsonDifference `json:"differences"`
	Notes       []jsonDifference `json:"notes"` // what could not be compared
}

func (p *program) verify(ctx context.Context, root, given string, asJSON bool) error {
	k, err := readKnown(root)
	if err != nil {
		return err
	}
	group, err := k.group(given)
	if err != nil {
		return err
	}
	out := jsonVerified{Group: group, Differences: []jsonDifference{}, Notes: []jsonDifference{}}
	for d, err := range install.Verify(ctx, root, group) {
		if errors.Is(err, fs.ErrNotExist) {
			return failed(fmt.Errorf("group %s has nothing installed as far as %s says (slipway adopt takes over what is there)", k.full(group), root))
		}
		if err != nil {
			return failed(err)
		}
		j := jsonDifference{Path: d.Path, Differs: []string{}, Note: d.Note}
		for _, a := range aspects {
			if d.What&a.is != 0 {
				j.Differs = append(j.Differs, a.word)
			}
		}
		if len(j.Differs) > 0 {
			out.Differences = append(out.Differences, j)
		} else {
			out.Notes = append(out.Notes, j)
		}
		if !asJSON {
			fmt.Fprintln(p.stdout, printable(d.String()))
		}
	}
	if asJSON {
		if err := p.printJSON(out); err != nil {
			return err
		}
	}
	if len(out.Differences) > 0 {
		return &exitError{code: exitFailure}
	}
	return nil
}

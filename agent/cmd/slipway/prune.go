package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"slipway/agent/config"
	"slipway/lifecycle"
)

// pruneOptions are the flags of prune.
type pruneOptions struct {
	keep               int
	olderThan, minFree string
	dry, asJSON        bool
}

func (p *program) pruneCommand() *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use: "prune [GROUP...]", Short: "remove old deployments from disk", Args: takes(-1),
		Long: `prune removes the folders of old deployments, of the groups that are named or of all, and says why each went. What is not said with a flag is
as configured: max_revisions, retention.max_age, retention.min_free. The last successful and the most recent deployment of a group always
stay. A command of the group that is in hand is waited for.

GROUP is the id of a deployment group, or its name where only one group has it.`,
		Example:           "  slipway prune --dry-run\n  slipway prune fleet --keep 2\n  slipway prune --older-than 30d --min-free 10GiB",
		ValidArgsFunction: p.completes(func([]string) (groups, deployments bool) { return true, false }),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			keep, err := o.retention(cmd, cfg)
			if err != nil {
				return fmt.Errorf("%w (see slipway prune --help)", err)
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return p.prune(ctx, cfg, args, keep, o)
		},
	}
	cmd.Flags().IntVar(&o.keep, "keep", 0, "keep `N` deployments of each group (default max_revisions)")
	cmd.Flags().StringVar(&o.olderThan, "older-than", "", "remove what is older than this `duration`, such as 12h or 30d (default retention.max_age)")
	cmd.Flags().StringVar(&o.minFree, "min-free", "", "remove until so much is free, a `size` such as 10GiB (default retention.min_free)")
	cmd.Flags().BoolVar(&o.dry, "dry-run", false, "remove nothing, say what would go")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
	return cmd
}

// retention is what is configured, but for what the flags say.
func (o *pruneOptions) retention(cmd *cobra.Command, cfg *config.Config) (lifecycle.Retention, error) {
	keep := lifecycle.Retention{Revisions: cfg.MaxRevisions, MaxAge: cfg.Retention.MaxAge, MinFree: int64(cfg.Retention.MinFree)}
	if cmd.Flag("keep").Changed {
		if o.keep < 1 {
			return keep, fmt.Errorf("--keep is %d: at least 1 deployment stays", o.keep)
		}
		keep.Revisions = o.keep
	}
	if cmd.Flag("older-than").Changed {
		age, err := parseAge(o.olderThan)
		if err != nil {
			return keep, fmt.Errorf("--older-than: %w", err)
		}
		keep.MaxAge = age
	}
	if cmd.Flag("min-free").Changed {
		size, err := config.ParseBytes(o.minFree)
		if err != nil {
			return keep, fmt.Errorf("--min-free: %w: write 10GiB or 500MB", err)
		}
		keep.MinFree = int64(size)
	}
	return keep, nil
}

// parseAge reads a duration that may begin with days: 30d, 1d12h, 90m.
func parseAge(text string) (time.Duration, error) {
	const day = 24 * time.Hour
	wrong := fmt.Errorf("%q is not a duration: write 12h or 30d", text)
	var age time.Duration
	rest := text
	if days, after, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 31)
		if err != nil || n > uint64(1<<63-1)/uint64(2*day) {
			return 0, wrong
		}
		age, rest = time.Duration(n)*day, after
		if rest == "" {
			return age, nil
		}
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 || age+more < age {
		return 0, wrong
	}
	return age + more, nil
}

// jsonPruned is what prune did, or would do.
type jsonPruned struct {
	DryRun  bool          `json:"dry_run"`
	Removed []jsonRemoved `json:"removed"`
	Freed   int64         `json:"freed_bytes"`
	Failed  int           `json:"failed"` // of Removed, how many could not be
}

type jsonRemoved struct {
	Group      string    `json:"group"`
	GroupName  string    `json:"group_name,omitempty"`
	Deployment string    `json:"deployment"`
	Path       string    `json:"path"`
	At         time.Time `json:"at"`
	Bytes      int64     `json:"bytes"`
	Why        string    `json:"why"`
	Error      string    `json:"error,omitempty"`
}

func (p *program) prune(ctx context.Context, cfg *config.Config, args []string, keep lifecycle.Retention, o pruneOptions) error {
	k, err := readKnown(cfg.RootDir)
	if err != nil {
		return err
	}
	groups := k.groups
	if len(args) > 0 {
		groups = nil
		for _, given := range args {
			group, err := k.group(given)
			if err != nil {
				return err
			}
			groups = append(groups, group)
		}
	}
	out := jsonPruned{DryRun: o.dry, Removed: []jsonRemoved{}}
	var wrong []error
	if len(groups) > 0 {
		engine, err := p.guest(ctx, cfg)
		if err != nil {
			return err
		}
		defer engine.Close()
		for _, group := range groups {
			gone, err := engine.Prune(ctx, group, keep, o.dry)
			if err != nil {
				wrong = append(wrong, fmt.Errorf("prune group %s: %w", k.full(group), err))
			}
			out.add(k, gone)
		}
	}
	if o.asJSON {
		err = p.printJSON(out)
	} else {
		err = p.printPruned(k, out, keep)
	}
	if out.Failed > 0 {
		wrong = append(wrong, fmt.Errorf("%d of %d old deployments could not be removed", out.Failed, len(out.Removed)))
	}
	if len(wrong) > 0 {
		return failed(errors.Join(append(wrong, err)...))
	}
	return err
}

func (j *jsonPruned) add(k *known, gone []lifecycle.Prunable) {
	for _, g := range gone {
		r := jsonRemoved{Group: g.Group, GroupName: k.nameOf(g.Group), Deployment: g.Deployment, Path: g.Path, At: g.At.UTC(), Bytes: g.Bytes, Why: g.Why}
		if g.Err != nil {
			r.Error = g.Err.Error()
			j.Failed++
		} else {
			j.Freed += g.Bytes
		}
		j.Removed = append(j.Removed, r)
	}
}

func (p *program) printPruned(k *known, out jsonPruned, keep lifecycle.Retention) error {
	w := tabwriter.NewWriter(p.stdout, 0, 4, 2, ' ', 0)
	for _, r := range out.Removed {
		did, why := "removed", r.Why
		switch {
		case r.Error != "":
			did, why = "not removed", r.Error
		case out.DryRun:
			did = "would go"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", did, k.name(r.Group), r.Deployment, sizeText(r.Bytes), why)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if out.DryRun && keep.MinFree > 0 {
		fmt.Fprintf(p.stdout, "more may go until %s are free: only removing shows how much that brings\n", sizeText(keep.MinFree))
	}
	switch n := len(out.Removed) - out.Failed; {
	case len(out.Removed) == 0:
		fmt.Fprintln(p.stdout, "nothing is old enough to go")
	case out.DryRun:
		fmt.Fprintf(p.stdout, "%s would go, and free %s\n", deployments(n), sizeText(out.Freed))
	default:
		fmt.Fprintf(p.stdout, "%s removed, %s freed\n", deployments(n), sizeText(out.Freed))
	}
	return nil
}

func deployments(n int) string {
	if n == 1 {
		return "1 deployment"
	}
	return strconv.Itoa(n) + " deployments"
}

package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"slipway/lifecycle"
)

func (p *program) historyCommand() *cobra.Command {
	var asJSON bool
	var most int
	cmd := &cobra.Command{
		Use: "history [GROUP]", Short: "list the deployments of this host, the newest first", Args: takes(1),
		Long: `history lists the deployments that this host knows, of all groups or of one, the newest first. * marks what is installed. A deployment
that only has a folder was carried out by another agent.

GROUP is the id of a deployment group, or its name where only one group has it.`,
		Example:           "  slipway history\n  slipway history fleet -n 5\n  slipway history --json",
		ValidArgsFunction: p.completes(func(args []string) (groups, deployments bool) { return len(args) == 0, false }),
		RunE: func(_ *cobra.Command, args []string) error {
			if most < 0 {
				return fmt.Errorf("-n is %d: say how many deployments to list, 0 for all (see slipway history --help)", most)
			}
			cfg, err := p.load()
			if err != nil {
				return err
			}
			return p.history(cfg.RootDir, args, most, asJSON)
		},
	}
	cmd.Flags().IntVarP(&most, "lines", "n", 20, "list at most `N` deployments; 0 lists all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// jsonPast is a deployment as scripts read it.
type jsonPast struct {
	Deployment  string     `json:"deployment"`
	Group       string     `json:"group"`
	GroupName   string     `json:"group_name,omitempty"`
	Application string     `json:"application,omitempty"`
	Revision    string     `json:"revision,omitempty"`
	Outcome     string     `json:"outcome"` // succeeded, failed, in_hand, incomplete, foreign
	Event       string     `json:"event,omitempty"`
	Code        int        `json:"code"`
	Began       *time.Time `json:"began,omitempty"`
	Ended       time.Time  `json:"ended"`
	TookMS      int64      `json:"took_ms"`
	Installed   bool       `json:"installed"`
	Local       bool       `json:"local"`
	Undoes      string     `json:"undoes,omitempty"`
	BroughtBack string     `json:"brought_back,omitempty"`
}

func (k *known) asJSON(p *lifecycle.Past) jsonPast {
	word, _ := k.outcome(p)
	out := jsonPast{
		Deployment: p.Deployment, Group: p.Group, GroupName: p.GroupName, Application: p.Application, Revision: k.revision(p),
		Outcome: word, Ended: p.Last.UTC(), TookMS: p.Took().Milliseconds(), Installed: p.Installed,
		Local: p.Local && !p.Foreign, Undoes: p.Undoes, BroughtBack: p.BroughtBack(),
	}
	if !p.Foreign { // of one by another agent only the time of its folder is known
		began := p.First.UTC().Truncate(time.Millisecond)
		out.Began = &began
	}
	switch failed := p.Failed(); {
	case word == outcomeInHand:
		out.Event = string(k.inHand[p.Deployment])
	case failed != nil:
		out.Event, out.Code = string(failed.Event), int(failed.Code)
	case len(p.Events) > 0:
		out.Event = string(p.Events[len(p.Events)-1].Event)
	}
	return out
}

func (p *program) history(root string, args []string, most int, asJSON bool) error {
	k, err := readKnown(root)
	if err != nil {
		return err
	}
	of := k.past
	if len(args) > 0 {
		group, err := k.group(args[0])
		if err != nil {
			return err
		}
		of = nil
		for _, past := range k.past {
			if past.Group == group {
				of = append(of, past)
			}
		}
	}
	if most > 0 {
		of = of[:min(most, len(of))]
	}
	if asJSON {
		all := make([]jsonPast, len(of))
		for i, past := range of {
			all[i] = k.asJSON(past)
		}
		return p.printJSON(all)
	}
	if len(of) == 0 {
		fmt.Fprintf(p.stdout, "no deployment is known on this host, under %s\n", root)
		return nil
	}
	w := tabwriter.NewWriter(p.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "  WHEN\tDEPLOYMENT\tGROUP\tREVISION\tTOOK\tOUTCOME")
	for _, past := range of {
		fmt.Fprintln(w, k.line(past))
	}
	return w.Flush()
}

// line is a deployment in the table.
func (k *known) line(past *lifecycle.Past) string {
	mark, took := " ", took(past.Took())
	if past.Installed {
		mark = "*"
	}
	if past.Foreign {
		took = "-"
	}
	_, outcome := k.outcome(past)
	if to := past.BroughtBack(); to != "" {
		outcome += fmt.Sprintf(" (undo of %s, back to %s)", past.Undoes, to)
	}
	return fmt.Sprintf("%s %s\t%s\t%s\t%s\t%s\t%s", mark, local(past.Last), printable(past.Deployment), printable(k.name(past.Group)), or(printable(k.revision(past)), "-"), took, printable(outcome))
}

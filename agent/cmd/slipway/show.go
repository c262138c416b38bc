package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"slipway/lifecycle"
)

func (p *program) showCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show DEPLOYMENT", Short: "tell all about one deployment", Args: takes(0, "a DEPLOYMENT"),
		Long: `show tells all that this host knows of a deployment: each event with its outcome, what failed and what the script said, and where
its archive and the output of its scripts are.

The beginning of the deployment's id is enough, where only one begins so.`,
		Example:           "  slipway show d-ABCDEF123\n  slipway show d-AB --json",
		ValidArgsFunction: p.completes(func(args []string) (groups, deployments bool) { return false, len(args) == 0 }),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			k, err := readKnown(cfg.RootDir)
			if err != nil {
				return err
			}
			past, err := k.deployment(args[0], "")
			if err != nil {
				return err
			}
			if asJSON {
				return p.printJSON(k.fullJSON(past))
			}
			return k.show(p.stdout, past)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// jsonEvent is an event of a deployment as scripts read it.
type jsonEvent struct {
	Event   string    `json:"event"`
	Outcome string    `json:"outcome"` // succeeded, failed, interrupted
	Code    int       `json:"code"`
	Ended   time.Time `json:"ended"`
	TookMS  int64     `json:"took_ms"`
	Script  string    `json:"script,omitempty"`
	Message string    `json:"message,omitempty"`
	Log     string    `json:"log,omitempty"`
}

func eventJSON(r *lifecycle.Record) jsonEvent {
	e := jsonEvent{
		Event: string(r.Event), Outcome: outcomeSucceeded, Code: int(r.Code), Ended: r.At.UTC(), TookMS: r.Took.Milliseconds(),
		Script: r.Script, Message: r.Message, Log: r.Log,
	}
	if r.Code != lifecycle.Succeeded {
		e.Outcome = outcomeFailed
	}
	return e
}

// jsonShown is all about a deployment.
type jsonShown struct {
	jsonPast
	Archive    string          `json:"archive,omitempty"`
	ScriptsLog string          `json:"scripts_log,omitempty"`
	Diverged   *jsonDivergence `json:"diverged,omitempty"`
	Events     []jsonEvent     `json:"events"`
}

func (k *known) fullJSON(p *lifecycle.Past) jsonShown {
	out := jsonShown{jsonPast: k.asJSON(p), Archive: p.Archive, ScriptsLog: p.ScriptsLog, Events: []jsonEvent{}}
	for i := range p.Events {
		out.Events = append(out.Events, eventJSON(&p.Events[i]))
	}
	if d, ok := k.divergence(p); ok {
		out.Diverged = &d
	}
	return out
}

// divergence is the group's, if the deployment is part of it.
func (k *known) divergence(p *lifecycle.Past) (jsonDivergence, bool) {
	d, ok := k.diverged[p.Group]
	j := k.divergenceJSON(p.Group, d)
	return j, ok && (p.Deployment == d.Deployment || p.Deployment == j.Service)
}

func (k *known) show(out io.Writer, p *lifecycle.Past) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, printable(text))
		}
	}
	_, outcome := k.outcome(p)
	row("deployment", p.Deployment)
	row("group", k.full(p.Group))
	row("application", p.Application)
	row("revision", k.revision(p))
	row("outcome", outcome)
	if to := p.BroughtBack(); to != "" {
		row("undo", "of "+p.Undoes+", back to "+to)
	}
	if p.Foreign {
		row("folder", local(p.Last))
	} else {
		row("began", local(p.First))
		row("ended", local(p.Last))
		row("took", took(p.Took()))
	}
	row("installed", k.installed(p))
	if d, ok := k.divergence(p); ok {
		row("diverged", d.text())
	}
	row("archive", or(p.Archive, "not on disk any more"))
	row("scripts.log", or(p.ScriptsLog, "there is none"))
	if err := w.Flush(); err != nil {
		return err
	}
	if len(p.Events) > 0 {
		fmt.Fprintln(out, "events")
	}
	for i := range p.Events {
		writeEvent(out, eventJSON(&p.Events[i]))
	}
	return nil
}

// installed says whether a deployment is the one whose files are installed, or which is.
func (k *known) installed(p *lifecycle.Past) string {
	if p.Installed {
		return "yes"
	}
	for _, o := range k.past {
		if o.Group == p.Group && o.Installed {
			return "no, " + o.Deployment + " is"
		}
	}
	return "no"
}

// writeEvent writes an event: a line with its outcome, then what there is to say about it.
func writeEvent(out io.Writer, e jsonEvent) {
	const width = 18 // of the longest name
	outcome := e.Outcome
	if e.Outcome == outcomeFailed {
		outcome = fmt.Sprintf("failed (code %d)", e.Code)
	}
	fmt.Fprintf(out, "  %-*s  %-15s  %s\n", width, e.Event, outcome, took(time.Duration(e.TookMS)*time.Millisecond))
	if e.Outcome != outcomeSucceeded { // the message of a success is the service's tag
		if e.Script != "" && !strings.Contains(e.Message, e.Script) {
			writeIndented(out, "script "+e.Script)
		}
		writeIndented(out, e.Message)
	}
	writeIndented(out, strings.TrimPrefix(e.Log, e.Message)) // what is reported of a script begins with it
}

func writeIndented(out io.Writer, text string) {
	if text = strings.TrimSpace(text); text == "" {
		return
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			line = "    " + printable(line)
		}
		fmt.Fprintln(out, line)
	}
}

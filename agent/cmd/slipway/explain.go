package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"slipway/lifecycle"
	"slipway/lifecycle/appspec"
)

func (p *program) explainCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "explain [KIND]", Short: "tell which events a deployment has, and whose scripts they run", Args: takes(1),
		Long: `explain tells the sequence of events of a kind of deployment: who carries each out, which revision's scripts run, what the balancer sees
of the host meanwhile, and what a failure there leaves. Without KIND it lists the kinds. It looks at nothing on this host.`,
		Example: "  slipway explain\n  slipway explain in-place\n  slipway explain blue-green --json",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return kindNames(lifecycle.Kinds()), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			kinds := lifecycle.Kinds()
			if len(args) == 0 {
				if asJSON {
					return p.printJSON(kindsJSON(kinds))
				}
				return listKinds(p.stdout, kinds)
			}
			kind, err := kindNamed(kinds, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return p.printJSON(kindJSON(kind))
			}
			return explain(p.stdout, kind)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func kindNames(kinds []lifecycle.Kind) (names []string) {
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	return names
}

func kindNamed(kinds []lifecycle.Kind, name string) (lifecycle.Kind, error) {
	for _, k := range kinds {
		if k.Name == name {
			return k, nil
		}
	}
	if meant := appspec.Meant(name, kindNames(kinds)); meant != "" {
		return lifecycle.Kind{}, fmt.Errorf("%q is no kind of deployment: did you mean %s?", name, meant)
	}
	return lifecycle.Kind{}, fmt.Errorf("%q is no kind of deployment: it is one of %s", name, strings.Join(kindNames(kinds), ", "))
}

func listKinds(out io.Writer, kinds []lifecycle.Kind) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for _, k := range kinds {
		fmt.Fprintf(w, "%s\t%s\n", k.Name, k.Title)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nslipway explain %s tells the events of one\n", kinds[0].Name)
	return err
}

// performer is who carries an event out.
func performer(s lifecycle.Stage) string {
	if s.Event.ByService() {
		return "service"
	}
	return "agent"
}

// proseWidth is where prose for a person is broken.
const proseWidth = 100

func explain(out io.Writer, k lifecycle.Kind) error {
	fmt.Fprintf(out, "%s: %s\n\n", k.Name, k.Title)
	writeProse(out, "", k.About)
	for i, ph := range k.Phases {
		fmt.Fprintf(out, "\n%d. %s\n", i+1, ph.Title)
		if ph.Before != "" {
			writeProse(out, "   ", "first: "+ph.Before)
		}
		w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "   EVENT\tBY\tSCRIPTS OF\tWHAT HAPPENS")
		for _, s := range ph.Steps {
			fmt.Fprintf(w, "   %s\t%s\t%s\t%s\n", s.Event, performer(s), cmp.Or(s.Whose, "-"), s.Does)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(out)
		writeRuns(out, "   the balancer sees", ph.Steps, func(s lifecycle.Stage) string { return s.Traffic })
		writeRuns(out, "   a failure leaves", ph.Steps, func(s lifecycle.Stage) string { return s.Failure })
	}
	fmt.Fprintln(out)
	writeProse(out, "", k.Ends)
	return nil
}

// writeRuns writes what is said of each step, once for neighbours of which the same is said.
func writeRuns(out io.Writer, title string, steps []lifecycle.Stage, text func(lifecycle.Stage) string) {
	fmt.Fprintln(out, title)
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for from := 0; from < len(steps); {
		to := from
		for to+1 < len(steps) && text(steps[to+1]) == text(steps[from]) {
			to++
		}
		events := string(steps[from].Event)
		if to > from {
			events += " – " + string(steps[to].Event)
		}
		fmt.Fprintf(w, "     %s\t%s\n", events, text(steps[from]))
		from = to + 1
	}
	w.Flush()
}

// writeProse breaks a text into lines.
func writeProse(out io.Writer, indent, text string) {
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > proseWidth && strings.TrimSpace(line) != "" {
			fmt.Fprintln(out, strings.TrimRight(line, " "))
			line = indent
		}
		line += word + " "
	}
	fmt.Fprintln(out, strings.TrimRight(line, " "))
}

// jsonKind is a kind of deployment as scripts read it.
type jsonKind struct {
	Kind   string      `json:"kind"`
	Title  string      `json:"title"`
	About  string      `json:"about"`
	Phases []jsonPhase `json:"phases"`
	Ends   string      `json:"ends"`
}

type jsonPhase struct {
	Title   string      `json:"title"`
	Hosts   string      `json:"hosts"`
	Creator string      `json:"deployment_creator"`
	Type    string      `json:"deployment_type"`
	Before  string      `json:"before,omitempty"`
	Steps   []jsonStage `json:"steps"`
}

type jsonStage struct {
	Event     string `json:"event"`
	By        string `json:"by"`                   // agent, service
	ScriptsOf string `json:"scripts_of,omitempty"` // this revision, the last successful revision, the most recent revision
	Does      string `json:"does"`
	Traffic   string `json:"balancer"`
	Failure   string `json:"failure_leaves"`
}

func kindsJSON(kinds []lifecycle.Kind) []jsonKind {
	all := make([]jsonKind, len(kinds))
	for i, k := range kinds {
		all[i] = kindJSON(k)
	}
	return all
}

func kindJSON(k lifecycle.Kind) jsonKind {
	j := jsonKind{Kind: k.Name, Title: k.Title, About: k.About, Ends: k.Ends}
	for _, ph := range k.Phases {
		p := jsonPhase{Title: ph.Title, Hosts: ph.Hosts, Creator: ph.Creator, Type: ph.Type, Before: ph.Before}
		for _, s := range ph.Steps {
			p.Steps = append(p.Steps, jsonStage{Event: string(s.Event), By: performer(s), ScriptsOf: s.Whose, Does: s.Does, Traffic: s.Traffic, Failure: s.Failure})
		}
		j.Phases = append(j.Phases, p)
	}
	return j
}

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway/lifecycle"
)

// known is what this host knows of its deployments, for the commands that tell of them.
type known struct {
	root     string
	past     []*lifecycle.Past // the newest first
	inHand   map[string]lifecycle.Event
	diverged map[string]lifecycle.Divergence // by group
	groups   []string                        // ids, by name
}

func readKnown(root string) (*known, error) {
	k := &known{root: root, inHand: map[string]lifecycle.Event{}}
	var err error
	if k.past, err = lifecycle.History(root); err != nil {
		return nil, failed(err)
	}
	if k.diverged, err = lifecycle.Diverged(root); err != nil {
		return nil, failed(err)
	}
	if k.groups, err = lifecycle.Groups(root); err != nil {
		return nil, failed(err)
	}
	for _, p := range k.past {
		if !slices.Contains(k.groups, p.Group) {
			k.groups = append(k.groups, p.Group)
		}
	}
	slices.Sort(k.groups)
	if running, err := locked(filepath.Join(root, ".slipway", "lock")); err != nil || !running {
		return k, nil //nolint:nilerr // what is in hand is only told where it can be
	}
	if r, err := readReport(root); err == nil && r != nil {
		for _, h := range r.InHand {
			k.inHand[h.Deployment] = h.Event
		}
	}
	return k, nil
}

// readReport reads what the daemon left for `slipway status`; nil if none ever did.
func readReport(root string) (r *report, err error) {
	data, err := os.ReadFile(filepath.Join(root, statusFile))
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return r, nil
}

// group finds the group that a person means: by its id, or by its name where only one has it.
func (k *known) group(given string) (string, error) {
	if slices.Contains(k.groups, given) {
		return given, nil
	}
	ids := map[string]bool{}
	for _, p := range k.past {
		if p.GroupName == given {
			ids[p.Group] = true
		}
	}
	switch found := slices.Sorted(maps.Keys(ids)); {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", failed(fmt.Errorf("several groups have the name %q: give the id, one of %s", given, strings.Join(found, ", ")))
	case len(k.groups) == 0:
		return "", failed(fmt.Errorf("deployment group %q is not known on this host: no deployment is, under %s", given, k.root))
	}
	names := make([]string, len(k.groups))
	for i, id := range k.groups {
		names[i] = k.full(id)
	}
	return "", failed(fmt.Errorf("deployment group %q is not known on this host; it knows %s", given, strings.Join(names, ", ")))
}

// name is what people call a group: its name, if it has one that is known and its own, else its id.
func (k *known) name(id string) string {
	name := k.nameOf(id)
	for _, p := range k.past {
		if name == "" || p.GroupName == name && p.Group != id {
			return id
		}
	}
	return cmp.Or(name, id)
}

func (k *known) nameOf(id string) string {
	for _, p := range k.past {
		if p.Group == id && p.GroupName != "" {
			return p.GroupName
		}
	}
	return ""
}

// full is a group with name and id.
func (k *known) full(id string) string {
	if name := k.nameOf(id); name != "" && name != id {
		return name + " (" + id + ")"
	}
	return id
}

// deployment finds the one that a person means by the beginning of its id, of one group or, if that is empty, of all.
func (k *known) deployment(given, group string) (*lifecycle.Past, error) {
	var all, found []*lifecycle.Past
	for _, p := range k.past {
		switch {
		case group != "" && p.Group != group:
			continue
		case p.Deployment == given:
			return p, nil
		case strings.HasPrefix(p.Deployment, given):
			found = append(found, p)
		}
		all = append(all, p)
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, failed(fmt.Errorf("several deployments begin with %q: %s", given, ids(found)))
	case len(all) == 0:
		return nil, failed(fmt.Errorf("deployment %q is not known on this host: none is, under %s", given, k.root))
	}
	slices.SortStableFunc(all, func(a, b *lifecycle.Past) int {
		return common(b.Deployment, given) - common(a.Deployment, given)
	})
	return nil, failed(fmt.Errorf("deployment %q is not known on this host; nearest are %s (slipway history has all)", given, ids(all)))
}

// common is how many bytes two ids begin with both.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// ids names a few deployments.
func ids(of []*lifecycle.Past) string {
	const few = 5
	var names []string
	for _, p := range of[:min(few, len(of))] {
		names = append(names, p.Deployment)
	}
	if len(of) > few {
		names = append(names, fmt.Sprintf("and %d more", len(of)-few))
	}
	return strings.Join(names, ", ")
}

// What became of a deployment, for scripts.
const (
	outcomeSucceeded  = "succeeded"
	outcomeFailed     = "failed"
	outcomeInHand     = "in_hand"
	outcomeIncomplete = "incomplete"
	outcomeForeign    = "foreign"
)

// outcome says what became of a deployment: in one word for scripts, and for people.
func (k *known) outcome(p *lifecycle.Past) (word, text string) {
	if ev, ok := k.inHand[p.Deployment]; ok {
		return outcomeInHand, "in hand: " + string(ev)
	}
	if p.Foreign {
		return outcomeForeign, "by another agent"
	}
	if f := p.Failed(); f != nil {
		return outcomeFailed, fmt.Sprintf("failed at %s (code %d)", f.Event, f.Code)
	}
	if p.Complete() {
		return outcomeSucceeded, outcomeSucceeded
	}
	return outcomeIncomplete, "incomplete: last event " + string(p.Events[len(p.Events)-1].Event)
}

// revision is what a deployment has installed: of an undo that of the deployment it has brought back.
func (k *known) revision(p *lifecycle.Past) string { return lifecycle.RevisionOf(k.past, p) }

// believed is the deployment that the service takes for installed where a local one is: undos of undos are followed to their beginning.
func (k *known) believed(group, undoes string) string {
	for range k.past {
		i := slices.IndexFunc(k.past, func(p *lifecycle.Past) bool { return p.Group == group && p.Deployment == undoes && p.Undoes != "" })
		if i < 0 {
			break
		}
		undoes = k.past[i].Undoes
	}
	return undoes
}

// took writes a duration as a person reads it.
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// local writes a time as a person reads it.
func local(t time.Time) string { return t.Local().Format(time.DateTime) }

// sizeText writes an amount as a person reads it.
func sizeText(bytes int64) string {
	const step = 1024
	if bytes < step {
		return fmt.Sprintf("%d B", bytes)
	}
	amount, unit := float64(bytes)/step, 0
	for amount >= step && unit < 3 {
		amount, unit = amount/step, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", amount, "KMGT"[unit])
}

func (p *program) printJSON(v any) error {
	enc := json.NewEncoder(p.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// takes refuses fewer or more arguments than a command has, in one line. names are those that it must have; more: how many others it may.
func takes(more int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s needs %s (see %s --help)", cmd.CommandPath(), strings.Join(names[len(args):], " and "), cmd.CommandPath())
		case more >= 0 && len(args) > len(names)+more:
			return fmt.Errorf("%s takes no argument %q (see %s --help)", cmd.CommandPath(), args[len(names)+more], cmd.CommandPath())
		}
		for _, a := range args {
			if a == "" {
				return fmt.Errorf("%s: an argument is empty: leave it out, or name something (see %s --help)", cmd.CommandPath(), cmd.CommandPath())
			}
		}
		return nil
	}
}

// completes gives the shell what may stand for an argument: a group where want says so, else a deployment.
func (p *program) completes(want func(args []string) (groups, deployments bool)) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		groups, deployments := want(args)
		cfg, err := p.load()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		k, err := readKnown(cfg.RootDir)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var all []string
		if groups {
			for _, id := range k.groups {
				all = append(all, k.name(id))
			}
		}
		if deployments {
			for _, past := range k.past {
				all = append(all, past.Deployment)
			}
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

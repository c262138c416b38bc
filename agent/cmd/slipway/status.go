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
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"slipway/agent"
	"slipway/lifecycle"
)

// statusFile is where the daemon leaves word for `slipway status`.
const statusFile = ".slipway/status.json"

// report is what the daemon writes into the status file.
type report struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
	Listen  string `json:"listen,omitempty"`
	// Hooks says where hooks live.
	Hooks *containment `json:"hooks,omitempty"`
	agent.Status
}

func (r report) save(root string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	name := filepath.Join(root, statusFile)
	if err := os.WriteFile(name+".new", append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

func (p *program) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "say whether the agent runs, how it stands with the service, and what it does", Args: noArgs,
		Long:    "status says whether the agent runs, how it stands with the service, what it is doing and what it did last, and\nwhich deployment groups have diverged from the record of the service.\n\nExit codes are those of LSB: 0 running, 3 not running, 4 it cannot be told.",
		Example: "  slipway status\n  slipway status --json",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			return p.status(cfg.RootDir, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *program) status(root string, asJSON bool) error {
	running, err := locked(filepath.Join(root, ".slipway", "lock"))
	if err != nil {
		return &exitError{exitUnknown, fmt.Errorf("whether the agent runs cannot be told: %w", err)}
	}
	r, err := readReport(root) // nil: no agent ever left word here
	if err != nil {
		return &exitError{exitUnknown, fmt.Errorf("read the status of the agent: %w", err)}
	}
	diverged, err := divergences(root)
	if err != nil {
		return &exitError{exitUnknown, err}
	}
	if asJSON {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(struct {
			Running bool `json:"running"`
			*report
			Diverged []jsonDivergence `json:"diverged,omitempty"`
		}{running, r, diverged}); err != nil {
			return err
		}
	} else {
		p.printStatus(running, cmp.Or(r, &report{}))
		for _, d := range diverged {
			fmt.Fprintf(p.stdout, "  diverged    %s %s\n", or(d.GroupName, d.Group), d.text())
		}
	}
	if !running {
		return &exitError{code: exitNotRunning}
	}
	return nil
}

// jsonDivergence is a group whose installed revision is not that of the service's last deployment, as scripts read it.
type jsonDivergence struct {
	Group       string    `json:"group"`
	GroupName   string    `json:"group_name,omitempty"`
	Since       time.Time `json:"since"`
	Deployment  string    `json:"deployment"`             // the local one that is installed
	BroughtBack string    `json:"brought_back,omitempty"` // the earlier one whose revision that is, where it is one
	Service     string    `json:"service"`                // the service's, which it took the place of
}

func (d *jsonDivergence) text() string {
	if d.BroughtBack == "" {
		return fmt.Sprintf("since %s: %s was deployed locally in place of the service's %s", local(d.Since), d.Deployment, d.Service)
	}
	return fmt.Sprintf("since %s: %s has brought back %s in place of the service's %s", local(d.Since), d.Deployment, d.BroughtBack, d.Service)
}

func (k *known) divergenceJSON(group string, d lifecycle.Divergence) jsonDivergence {
	return jsonDivergence{Group: group, GroupName: k.nameOf(group), Since: d.Since.UTC(), Deployment: d.Deployment, BroughtBack: d.To, Service: k.believed(group, d.Undoes)}
}

// divergences are the groups that have diverged, by id. The history is only read where there are any.
func divergences(root string) ([]jsonDivergence, error) {
	groups, err := lifecycle.Diverged(root)
	if err != nil || len(groups) == 0 {
		return nil, err
	}
	k, err := readKnown(root)
	if err != nil {
		return nil, err
	}
	var all []jsonDivergence
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		all = append(all, k.divergenceJSON(group, groups[group]))
	}
	return all, nil
}

func (p *program) printStatus(running bool, r *report) {
	w := p.stdout
	if !running {
		fmt.Fprintln(w, "slipway is not running")
		if r.Last != nil {
			fmt.Fprintf(w, "  last event  %s\n", done(r.Last))
		}
		return
	}
	fmt.Fprintf(w, "slipway %s is running, PID %d\n", r.Version, r.PID)
	fmt.Fprintf(w, "  since       %s\n", r.Started.Format(time.DateTime))
	fmt.Fprintf(w, "  host        %s\n", or(r.HostID, "not known yet: the identity of this host is still being looked for"))
	fmt.Fprintf(w, "  service     %s since %s\n", r.Link, r.Since.Format(time.DateTime))
	if r.LinkText != "" {
		fmt.Fprintf(w, "              %s\n", r.LinkText)
	}
	if r.Listen != "" {
		fmt.Fprintf(w, "  health      http://%s\n", r.Listen)
	}
	if r.Hooks != nil {
		fmt.Fprintf(w, "  hooks       %s\n", r.Hooks)
	}
	for _, h := range r.InHand {
		fmt.Fprintf(w, "  in hand     %s of %s, for %s\n", or(string(h.Event), "a report"), or(h.Deployment, "a new deployment"), time.Since(h.Since).Round(time.Second))
	}
	if r.Last != nil {
		fmt.Fprintf(w, "  last event  %s\n", done(r.Last))
	}
}

func done(d *agent.Done) string {
	outcome := "succeeded"
	if d.Code != lifecycle.Succeeded {
		outcome = fmt.Sprintf("failed with code %d: %s", d.Code, d.Message)
	}
	return fmt.Sprintf("%s of %s at %s %s", d.Event, d.Deployment, d.At.Format(time.DateTime), outcome)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// locked reports whether somebody holds the lock on a file.
func locked(name string) (bool, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

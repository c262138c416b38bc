package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"slipway/packaging/provision"
)

// exitDiffers is what provision plan and verify end with when the host is not as the profile says.
const exitDiffers = 2

const provisionHelp = `provision brings a host to what a web application needs: packages, PHP and its settings, the virtual host of Apache, folders, a
database, services. A profile says what that is; the one of the sample application is part of the program.

  plan     compares, shows every difference as a diff, changes nothing
  apply    makes the changes, one after the other, and stops at the first that fails; a second apply changes nothing
  verify   says what has drifted
  profile  prints the profile, to begin one of your own with

The new configuration of the web server and of PHP is tested before a running one reads it; if it is wrong, the old one is put back. A file that
was there before is kept beside the new one as FILE.orig. Where no systemd runs, as while an image is made, services are enabled and not started.

Exit codes:
  0   plan, verify: the host is as the profile says; apply: it is now
  1   it did not work; apply says what was done and what was not
  2   plan, verify: something differs, and is printed (a wrong command line is 2 too, and prints nothing on standard output)
  78  the profile is wrong; nothing was changed`

// provisionOptions are the flags of provision.
type provisionOptions struct {
	profile, root string
	lockWait      time.Duration
	asJSON        bool
}

func (p *program) provisionCommand() *cobra.Command {
	var o provisionOptions
	cmd := &cobra.Command{
		Use: "provision", Short: "bring PHP, httpd and a database to a profile", Long: provisionHelp, Args: noArgs,
		Example: "  slipway provision plan\n  slipway provision apply --profile tinitter.yml\n  slipway provision verify --json\n" +
			"  slipway provision apply --root /mnt/image",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	sub := func(use, short, example string, run func(context.Context, provisionOptions) error) *cobra.Command {
		c := &cobra.Command{
			Use: use, Short: short, Example: example, Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				for _, name := range []string{"profile", "root"} {
					if f := cmd.Flag(name); f.Changed && f.Value.String() == "" {
						return fmt.Errorf("--%s is empty (see %s --help)", name, cmd.CommandPath())
					}
				}
				ctx, stop := interruptible(cmd.Context())
				defer stop()
				return run(ctx, o)
			},
		}
		c.Flags().StringVar(&o.profile, "profile", "", "profile `file` (default: the one of the sample application, see slipway provision profile)")
		c.Flags().StringVar(&o.root, "root", "", "`folder` that holds the tree of an image, instead of this host")
		c.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
		return c
	}
	apply := sub("apply", "make the host what the profile says", "  slipway provision apply\n  slipway provision apply --profile tinitter.yml --lock-wait 10m", p.provisionApply)
	apply.Flags().DurationVar(&o.lockWait, "lock-wait", 2*time.Minute, "how long to wait for a package manager that is in use")
	cmd.AddCommand(
		sub("plan", "show what apply would change, as diffs", "  slipway provision plan\n  slipway provision plan --root /mnt/image --json", func(ctx context.Context, o provisionOptions) error {
			return p.provisionPlan(ctx, o, "to make", "nothing to change")
		}),
		apply,
		sub("verify", "say what has drifted from the profile", "  slipway provision verify\n  slipway provision verify --profile tinitter.yml --json", func(ctx context.Context, o provisionOptions) error {
			return p.provisionPlan(ctx, o, "to make it as the profile says (slipway provision apply)", "nothing has drifted")
		}),
		&cobra.Command{
			Use: "profile", Short: "print the profile of the sample application", Example: "  slipway provision profile >tinitter.yml", Args: noArgs,
			RunE: func(*cobra.Command, []string) error {
				_, err := p.stdout.Write(provision.Default())
				return err
			},
		},
	)
	return cmd
}

// jsonProvision is what provision prints for scripts.
type jsonProvision struct {
	Platform string             `json:"platform"`
	Profile  string             `json:"profile"`
	Image    bool               `json:"image"` // no systemd runs: services are enabled only
	Changes  []provision.Change `json:"changes"`
	Undone   []provision.Change `json:"undone,omitempty"`   // of changes, what was put back
	Failed   []provision.Change `json:"failed,omitempty"`   // what apply stopped at
	NotDone  []provision.Change `json:"not_done,omitempty"` // what it had still to do
	Error    string             `json:"error,omitempty"`
	Notes    []string           `json:"notes"`
}

// provisioned reads the profile and looks at the host.
func (p *program) provisioned(o provisionOptions, say func(string)) (*provision.Profile, *provision.Host, *jsonProvision, error) {
	name, data := provision.DefaultName, provision.Default()
	if o.profile != "" {
		var err error
		name = o.profile
		if data, err = readProfile(name); err != nil {
			return nil, nil, nil, &exitError{exitConfig, err}
		}
	}
	profile, err := provision.Parse(name, data)
	if err != nil {
		return nil, nil, nil, &exitError{exitConfig, err}
	}
	wait := o.lockWait
	if wait == 0 {
		wait = -1
	}
	host, err := provision.Open(provision.Options{Root: o.root, LockWait: wait, Progress: say})
	if err != nil {
		return nil, nil, nil, failed(err)
	}
	out := &jsonProvision{Platform: host.Platform(), Profile: profile.Name(), Image: host.Image(), Changes: []provision.Change{}, Notes: profile.Notes(host)}
	if out.Notes == nil {
		out.Notes = []string{}
	}
	return profile, host, out, nil
}

func readProfile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err == nil {
		defer f.Close()
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(f, provision.MaxSize+1)); err == nil {
			return data, nil
		}
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return nil, fmt.Errorf("the profile %s cannot be read: %w", name, err)
}

// provisionPlan prints the differences; the words say what they are.
func (p *program) provisionPlan(ctx context.Context, o provisionOptions, some, none string) error {
	profile, host, out, err := p.provisioned(o, nil)
	if err != nil {
		return err
	}
	changes, err := profile.Plan(ctx, host)
	if err != nil {
		return failed(err)
	}
	out.Changes = append(out.Changes, changes...)
	switch {
	case o.asJSON:
		err = p.printJSON(out)
	default:
		fmt.Fprintf(p.stdout, "%s, profile %s\n", out.Platform, out.Profile)
		for _, c := range changes {
			fmt.Fprintf(p.stdout, "\n%s\n%s", c, printableText(c.Diff))
		}
		fmt.Fprintln(p.stdout)
		tellNotes(p.stdout, out.Notes)
		if len(changes) == 0 {
			fmt.Fprintln(p.stdout, none)
		} else {
			fmt.Fprintf(p.stdout, "%s %s\n", things(len(changes)), some)
		}
	}
	if err == nil && len(changes) > 0 {
		return &exitError{code: exitDiffers}
	}
	return err
}

func (p *program) provisionApply(ctx context.Context, o provisionOptions) error {
	out := p.stdout
	if o.asJSON {
		out = io.Discard
	}
	profile, host, told, err := p.provisioned(o, func(line string) { fmt.Fprintln(out, "  "+printable(line)) })
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s, profile %s\n", told.Platform, told.Profile)
	syscall.Umask(0o022) // what is made must not depend on who is logged in
	outliveReader()
	outcome, err := profile.Apply(ctx, host, func(c provision.Change) { fmt.Fprintln(out, "done: "+c.String()) })
	told.Changes = append(told.Changes, outcome.Done...)
	told.Undone, told.Failed, told.NotDone = outcome.Undone, outcome.Failed, outcome.NotDone
	tellNotes(out, told.Notes)
	for _, c := range outcome.Undone {
		fmt.Fprintln(out, "put back: "+c.String())
	}
	for _, c := range outcome.NotDone {
		fmt.Fprintln(out, "not done: "+c.String())
	}
	if err != nil {
		told.Error = err.Error()
	} else {
		fmt.Fprintf(out, "%s made\n", things(len(outcome.Done)))
	}
	if o.asJSON {
		err = errors.Join(err, p.printJSON(told))
	}
	if err != nil {
		return failed(err)
	}
	return nil
}

func tellNotes(out io.Writer, notes []string) {
	for _, n := range notes {
		fmt.Fprintln(out, "note: "+n)
	}
}

func things(n int) string {
	if n == 1 {
		return "1 change"
	}
	return fmt.Sprintf("%d changes", n)
}

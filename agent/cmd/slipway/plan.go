package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"slipway/agent/config"
	"slipway/lifecycle"
	"slipway/lifecycle/appspec"
	"slipway/lifecycle/bundle"
	"slipway/lifecycle/install"
)

// planOptions are the flags of plan.
type planOptions struct {
	group, kind, behavior, appspec string
	events                         []string
	verbose, asJSON                bool
	kindFlag                       string // what the flag of the kind is called
}

// defaultLocalGroup is the deployment group of a host that knows none, as for the official local tool (L-4).
const defaultLocalGroup = "default-local-deployment-group"

// defaultGroupName is what scripts of a local deployment are told (L-5).
const defaultGroupName = "LocalFleet"

func (p *program) planCommand() *cobra.Command {
	o := planOptions{kindFlag: "type"}
	cmd := &cobra.Command{
		Use: "plan BUNDLE", Short: "tell what a deployment would do, and change nothing", Args: takes(0, "a BUNDLE"),
		Long: `plan tells what the deployment of a bundle would do to this host as it is now: the events with their scripts, what is added, replaced and
removed, permissions, conflicts, space, and whether it would succeed. It goes by the code that deploys, runs no script and changes nothing;
it makes a temporary copy of the bundle and removes it. It needs neither the service nor a network, and no root where it can read all it
has to.

BUNDLE is a folder, a zip, a tar or a tgz on this host. Scripts are looked at and not run: what they would do is not foreseen, and a problem
that one of them may put right before it matters is told with its name.

Exit codes: 0 there is nothing to do, 2 the deployment would change something (or the command line is wrong), 1 it would fail, or the plan could not
be made, 78 wrong configuration.`,
		Example: "  slipway plan build/app.zip\n  slipway plan . --group fleet -v\n  slipway plan app.tgz --type blue-green --file-exists-behavior OVERWRITE --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			d, kind, list, err := o.deployment()
			if err != nil {
				return fmt.Errorf("%w (see slipway plan --help)", err)
			}
			cfg, err := p.load()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return p.plan(ctx, cfg, args[0], planned{options: o, kind: kind, deployment: d, list: list})
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.group, "group", "", "plan for this deployment `group`, by id or name (default the only one that this host knows)")
	f.StringVar(&o.kind, "type", "in-place", "kind of deployment, as slipway explain lists them")
	f.StringVar(&o.behavior, "file-exists-behavior", "DISALLOW", "DISALLOW, OVERWRITE or RETAIN; the appspec's own word comes first")
	f.StringVar(&o.appspec, "appspec-filename", "", "`name` of the appspec in the bundle (default appspec.yml)")
	f.StringSliceVar(&o.events, "events", nil, "plan these `events` only, in this order")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "list every path")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	return cmd
}

// installing are the kinds of deployment that bring a revision to a host.
func installing() []lifecycle.Kind {
	return slices.DeleteFunc(lifecycle.Kinds(), func(k lifecycle.Kind) bool { return !k.Installs() })
}

// noEvent says that a name is none of an event, and which may be meant.
func noEvent(name string) error {
	known := lifecycle.Events()
	names := make([]string, len(known))
	for i, ev := range known {
		names[i] = string(ev)
	}
	if meant := appspec.Meant(strings.TrimSpace(name), names); meant != "" {
		return fmt.Errorf("%q is no lifecycle event: did you mean %s?", name, meant)
	}
	return fmt.Errorf("%q is no lifecycle event: it is one of %s", name, strings.Join(names, ", "))
}

// deployment is what is to be planned, as far as the command line says.
func (o *planOptions) deployment() (*lifecycle.Deployment, lifecycle.Kind, []lifecycle.Event, error) {
	kind, err := kindNamed(installing(), o.kind)
	if err != nil {
		return nil, kind, nil, fmt.Errorf("--%s: %w", o.kindFlag, err)
	}
	list := kind.Events()
	if len(o.events) > 0 {
		list = nil
		for _, name := range o.events {
			ev := lifecycle.Event(strings.TrimSpace(name))
			switch {
			case slices.Contains(list, ev):
				return nil, kind, nil, fmt.Errorf("--events: %s is given twice", ev)
			case !ev.Known():
				return nil, kind, nil, fmt.Errorf("--events: %w", noEvent(name))
			}
			list = append(list, ev)
		}
	}
	d := lifecycle.LocalDeployment(defaultLocalGroup, "")
	d.Creator, d.Type = kind.Phases[0].Creator, kind.Phases[0].Type
	d.FileExistsBehavior = strings.ToUpper(o.behavior)
	if !slices.Contains([]string{string(install.Disallow), string(install.Overwrite), string(install.Retain)}, d.FileExistsBehavior) {
		return nil, kind, nil, fmt.Errorf("--file-exists-behavior is %q: it is DISALLOW, OVERWRITE or RETAIN", o.behavior)
	}
	if o.appspec != "" {
		if !filepath.IsLocal(o.appspec) {
			return nil, kind, nil, fmt.Errorf("--appspec-filename is %q, which is no path inside the bundle", o.appspec)
		}
		d.AppSpecFilename = o.appspec
	}
	return d, kind, list, nil
}

// planned is a plan as it is made and told.
type planned struct {
	options    planOptions
	kind       lifecycle.Kind
	deployment *lifecycle.Deployment
	list       []lifecycle.Event
	bundle     string // as it was given
	group      string // as people call it
	preview    *lifecycle.Preview
	counts     planCounts
	tree       planTree
	changes    []jsonChange
}

func (p *program) plan(ctx context.Context, cfg *config.Config, given string, o planned) error {
	o.bundle, o.changes = given, []jsonChange{}
	if err := o.chooseGroup(cfg.RootDir); err != nil {
		return err
	}
	rev, err := localRevision(given)
	if err != nil {
		return failed(err)
	}
	o.deployment.Revision = rev
	syscall.Umask(0o022) // the modes of a copy must not depend on who is logged in
	work, err := scratch(cfg.RootDir)
	if err != nil {
		return failed(err)
	}
	defer work.Remove() //nolint:errcheck // the next one sweeps it
	archive := filepath.Join(work.Dir, "deployment-archive")
	_, refused := unpackFor(ctx, &bundle.Fetcher{}, rev, filepath.Join(work.Dir, "bundle"), archive, p.settings(cfg, nil).Limits)
	if err := o.foresee(ctx, p, cfg, archive, refused); err != nil {
		return err
	}
	if o.options.asJSON {
		err = p.printJSON(o.asJSON())
	} else {
		err = o.write(p.stdout)
	}
	if err == nil && len(o.preview.Problems) > 0 {
		err = &exitError{exitFailure, nil}
	}
	if err == nil && o.counts.changes() {
		err = &exitError{exitChanges, nil}
	}
	return err
}

// foresee makes the preview of a deployment whose bundle is unpacked in the folder archive, or was refused when it was unpacked.
func (o *planned) foresee(ctx context.Context, p *program, cfg *config.Config, archive string, refused error) error {
	opts := p.engineOptions(cfg, p.settings(cfg, nil), &containment{}, zap.NewNop())
	opts.ReadOnly, opts.Fetcher = true, &lateFetcher{}
	engine, err := lifecycle.Open(ctx, opts)
	if err != nil {
		return failed(err)
	}
	defer engine.Close()
	if refused != nil {
		var wrong *bundle.ArchiveError
		if !errors.As(refused, &wrong) {
			return failed(fmt.Errorf("look into %s: %w", o.bundle, refused))
		}
		o.preview = engine.PreviewRefused(ctx, o.deployment, o.list, refused)
	} else if o.preview, err = engine.Preview(ctx, o.deployment, o.list, archive); err != nil {
		return failed(err)
	}
	if o.preview.Plan == nil {
		return nil
	}
	if err := o.summarise(ctx); err != nil {
		return failed(err)
	}
	return nil
}

// summarise goes over what becomes of each path. Only what is told is kept.
func (o *planned) summarise(ctx context.Context) error {
	changes, err := o.preview.Plan.Changes(ctx)
	if err != nil {
		return err
	}
	o.tree.verbose = o.options.verbose
	for c := range changes {
		o.counts.count(&c)
		switch {
		case !o.options.asJSON:
			o.tree.add(&c)
		case o.options.verbose || markOf(&c) != markSame:
			o.changes = append(o.changes, changeJSON(&c))
		}
	}
	return nil
}

// chooseGroup finds the group that is planned for. Of one that this host does not know, nothing is installed.
func (o *planned) chooseGroup(root string) error {
	k, err := readKnown(root)
	if errors.Is(err, fs.ErrPermission) { // names are in the history, ids are names of folders
		k = &known{root: root}
		k.groups, err = lifecycle.Groups(root)
	}
	if err != nil {
		return failed(err)
	}
	d := o.deployment
	switch given := o.options.group; {
	case given == "" && len(k.groups) > 1:
		var names []string
		for _, id := range k.groups {
			names = append(names, k.full(id))
		}
		return fmt.Errorf("this host has several deployment groups: say --group and one of %s", strings.Join(names, ", "))
	case given == "" && len(k.groups) == 1:
		d.GroupID = k.groups[0]
	case given != "":
		if d.GroupID, err = k.group(given); err != nil {
			d.GroupID = given
		}
	}
	d.GroupName = k.nameOf(d.GroupID)
	d.Application, o.group = d.GroupName, k.full(d.GroupID)
	if !slices.Contains(k.groups, d.GroupID) {
		o.group += ", which has nothing on this host yet"
	}
	return nil
}

// localRevision is the revision that a path of this host stands for. What an archive is packed with its name tells, or else its beginning.
func localRevision(given string) (bundle.Revision, error) {
	if scheme, _, is := strings.Cut(given, "://"); is {
		return bundle.Revision{}, fmt.Errorf("%s: plan looks at a folder or an archive on this host, not at %s: fetch it first, such as with aws s3 cp", given, scheme)
	}
	path, err := filepath.Abs(given)
	if err != nil {
		return bundle.Revision{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return bundle.Revision{}, fmt.Errorf("look at the bundle: %w", err)
	}
	rev := bundle.Revision{Type: bundle.LocalFile, Local: bundle.LocalLocation{Path: path, Format: bundle.Tar}}
	name := strings.ToLower(path)
	switch {
	case info.IsDir():
		rev.Type, rev.Local.Format = bundle.LocalDirectory, bundle.Directory
	case strings.HasSuffix(name, ".zip"):
		rev.Local.Format = bundle.Zip
	case strings.HasSuffix(name, ".tgz"), strings.HasSuffix(name, ".tar.gz"):
		rev.Local.Format = bundle.Tgz
	case !strings.HasSuffix(name, ".tar") && beginsAsZip(path):
		rev.Local.Format = bundle.Zip
	}
	return rev, nil
}

func beginsAsZip(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [4]byte
	_, err = io.ReadFull(f, head[:])
	return err == nil && string(head[:2]) == "PK"
}

// scratchPrefix begins the name of such a folder.
const scratchPrefix = ".slipway-plan-"

// scratch makes a folder for the copy of the bundle: on the file system of the deployment root where that may be written to, so that space is
// reckoned as Install does, else where temporary files go. Scripts are looked at in it, for which other users have to be let in. What plans and rehearsals
// that were killed have left is removed.
func scratch(root string) (*lifecycle.Scratch, error) {
	at := root
	for {
		if info, err := os.Stat(at); err == nil && info.IsDir() || at == filepath.Dir(at) {
			break
		}
		at = filepath.Dir(at)
	}
	sweepScratch(at)
	work, err := lifecycle.NewScratch(at, scratchPrefix)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		at = os.TempDir()
		sweepScratch(at)
		work, err = lifecycle.NewScratch(at, scratchPrefix)
	}
	if err == nil {
		if err = os.Chmod(work.Dir, 0o755); err != nil {
			_ = work.Remove()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder for the bundle: %w", err)
	}
	return work, nil
}

// sweepScratch removes what plans and rehearsals that were killed have left in a folder.
func sweepScratch(at string) { lifecycle.SweepScratch(at, scratchPrefix, nil) }

// unpackFor brings a bundle into a file and makes the archive of it, as DownloadBundle would.
func unpackFor(ctx context.Context, from lifecycle.Fetcher, rev bundle.Revision, name, archive string, limits bundle.Limits) (bundle.Object, error) {
	if err := os.Mkdir(archive, 0o755); err != nil {
		return bundle.Object{}, err
	}
	to, err := os.OpenRoot(archive)
	if err != nil {
		return bundle.Object{}, err
	}
	defer to.Close()
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return bundle.Object{}, err
	}
	defer file.Close()
	object, _, err := from.Bring(ctx, rev, file, to, limits)
	return object, err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway/agent/config"
	"slipway/lifecycle"
	"slipway/lifecycle/rehearse"
)

// dryRunOptions are the flags of dry-run.
type dryRunOptions struct {
	planOptions
	from, health, services, net, upper, size, page string
	force                                          bool

	sandbox rehearse.Options
	probe   *config.Probe // how the application is asked; nil: not at all
}

const dryRunHelp = `dry-run rehearses the deployment of a bundle in a throw-away copy of this host, and shows what the deployment would do to it. The
same engine that deploys carries every event out, and the scripts really run, as their users: but all they see is the copy. Nothing
outside of it changes, and a script cannot leave it. Lint and plan come first.

The copy is an overlay over the file systems of this host. What is written stays in memory, or in the folder --upper, and goes at the end.
There is no network but a loopback interface of its own, no device but null, zero and the like, and no service manager: what scripts ask
systemctl or service for is noted, and answered as if it had been done. docs/dry-run.md tells what the walls are, and what
cannot be rehearsed.

BUNDLE and --from are what slipway local takes: a directory, a zip, tar or tgz, an address of S3 or GitHub. With --from that revision is
deployed in the copy first, so that only what the next deployment changes is shown.

It runs as root, and as an ordinary user where the kernel grants user namespaces. Where no sandbox can be had nothing is run, and it is said why.
Ctrl-C ends the sandbox and all in it at once.

Exit codes: 0 the rehearsal succeeded, and the plan came true; 1 the deployment would fail, its application would not be well, the rehearsal
did what no plan had said, or the sandbox ended early; 2 there is no such option or argument; 4 no sandbox can be had here, nothing was run; 78 the
configuration is wrong.`

const dryRunExamples = `  slipway dry-run build/app.zip
  slipway dry-run . --kind in-place-lb --from app-1.4.0.zip
  slipway dry-run app.tgz --services real --health=/health
  slipway dry-run app.zip --json > rehearsal.json`

func (p *program) dryRunCommand() *cobra.Command {
	o := dryRunOptions{planOptions: planOptions{kindFlag: "kind"}}
	cmd := &cobra.Command{
		Use: "dry-run BUNDLE", Short: "rehearse a deployment in a throw-away copy of this host", Args: takes(0, "a BUNDLE"), Long: dryRunHelp, Example: dryRunExamples,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, kind, list, err := o.deployment()
			if err == nil {
				err = o.check(cmd)
			}
			if err != nil {
				return fmt.Errorf("%w (see slipway dry-run --help)", err)
			}
			cfg, err := config.Load(p.localLoadOptions(p.configFile))
			if err != nil {
				return &exitError{exitConfig, err}
			}
			if err := o.probes(cfg); err != nil {
				return fmt.Errorf("%w (see slipway dry-run --help)", err)
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			r := &dryRun{p: p, cfg: cfg, o: o, plan: planned{options: o.planOptions, kind: kind, deployment: d, list: list, bundle: args[0], changes: []jsonChange{}}}
			return r.run(ctx)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.group, "group", "", "rehearse for this deployment `group`, by id or name (default the only one that this host knows)")
	f.StringVar(&o.kind, "kind", "in-place", "`kind` of deployment, as slipway explain lists them: which events there are, and whose scripts they run")
	f.StringSliceVar(&o.events, "events", nil, "rehearse these `events` only, in this order")
	f.StringVar(&o.behavior, "file-exists-behavior", "DISALLOW", "DISALLOW, OVERWRITE or RETAIN; the appspec's own word comes first")
	f.StringVar(&o.appspec, "appspec-filename", "", "`name` of the appspec in the bundle (default appspec.yml)")
	f.StringVar(&o.from, "from", "", "deploy this `bundle` in the copy first, and show what the next one changes")
	f.StringVar(&o.health, "health", "", "ask the application at the end as health.probe says, or at this `URL` or path")
	f.Lookup("health").NoOptDefVal = configuredProbe
	f.StringVar(&o.services, "services", "recorded", "what becomes of services that scripts start: recorded, or real for simple ones such as httpd")
	f.StringVar(&o.net, "net", "none", "none, or host: the network of this host, which scripts can then reach and change things over")
	f.StringVar(&o.upper, "upper", "", "keep what is written in this `folder` until the end, and not in memory")
	f.StringVar(&o.size, "size", "", "how much may be written, as 512MB (default half of the free memory, at most 8GB)")
	f.StringVar(&o.page, "report", "", "also write the account as a page to this `FILE.html`, which needs nothing else")
	f.BoolVar(&o.force, "force", false, "rehearse even if the plan says that the deployment fails for certain")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show differences of small text files, and every path")
	f.BoolVar(&o.asJSON, "json", false, "print JSON, at the end, and nothing before")
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kindNames(installing()), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// configuredProbe is --health without a value.
const configuredProbe = "configured"

func (o *dryRunOptions) check(cmd *cobra.Command) error {
	for _, name := range []string{"group", "from", "health", "upper", "size", "report"} {
		if f := cmd.Flag(name); f.Changed && f.Value.String() == "" {
			return fmt.Errorf("--%s is empty: say which, or leave the flag out", name)
		}
	}
	if !slices.Contains([]string{"recorded", "real"}, o.services) {
		return fmt.Errorf("--services is %q: it is recorded or real", o.services)
	}
	if !slices.Contains([]string{"none", "host"}, o.net) {
		return fmt.Errorf("--net is %q: it is none or host", o.net)
	}
	o.sandbox.HostNet = o.net == "host"
	if o.size != "" {
		n, err := config.ParseBytes(o.size)
		if err != nil || n <= 0 {
			return fmt.Errorf("--size is %q, which is no amount such as 512MB", o.size)
		}
		o.sandbox.Size = int64(n)
	}
	if o.upper != "" {
		var err error
		if o.sandbox.Upper, err = filepath.Abs(o.upper); err != nil {
			return err
		}
	}
	return nil
}

// probes says how the application is asked.
func (o *dryRunOptions) probes(cfg *config.Config) error {
	switch o.health {
	case "":
		return nil
	case configuredProbe:
		probe := cfg.Health.Probe
		if probe.URL == "" && len(probe.TCP) == 0 && probe.File == "" && len(probe.Command) == 0 {
			return errors.New("--health: the configuration has no health.probe: say where to ask, as --health=/health")
		}
		o.probe = &probe
		return nil
	}
	target := o.health
	if strings.HasPrefix(target, "/") {
		target = "http://127.0.0.1" + target
	}
	if u, err := url.Parse(target); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("--health is %q: it is a path that begins with a slash, or an address such as http://127.0.0.1:8080/health", o.health)
	}
	o.probe = &config.Probe{URL: target, Status: cfg.Health.Probe.Status, Timeout: cfg.Health.Probe.Timeout}
	return nil
}

// dryRun is one rehearsal.
type dryRun struct {
	p       *program
	cfg     *config.Config
	o       dryRunOptions
	plan    planned
	work    string // folder for copies of the bundles
	archive string // the bundle, unpacked, in it
	refused string // why it could not be
	main    insideDeployment
	before  *insideDeployment // of --from
	secrets []string
	expect  []rehearse.Expected

	view     *dryRunView
	account  lifecycle.Account
	foreseen string // of a plan made in the sandbox: how the deployment was to end against how it did; empty: the same
	whose    map[lifecycle.Event]string
	steps    []lifecycle.Event // of the kind, the service's too, that are still to come

	began      time.Time
	inBefore   bool          // the deployment of --from is in hand
	eventsTook time.Duration // in the sandbox, with that of --from
	asked      time.Duration // what the application was asked for
}

// run is the whole rehearsal, from the bundle to the exit code.
func (r *dryRun) run(ctx context.Context) error {
	work, err := scratch(r.cfg.RootDir)
	if err != nil {
		return failed(err)
	}
	defer work.Remove() //nolint:errcheck // the next one sweeps it
	r.work = work.Dir
	r.secrets = r.p.secrets(r.cfg)
	r.view = newDryRunView(r)
	if err := r.prepare(ctx); err != nil {
		return err
	}
	r.view.preface()
	if certain := r.certain(); certain != nil && !r.o.force {
		r.account.Outcome, r.account.State = outcomeFailed, "nothing was rehearsed: the deployment would fail for certain"
		r.account.Events = []lifecycle.EventAccount{}
		if err := r.tell(); err != nil {
			return failed(err)
		}
		return &exitError{exitFailure, errors.New("nothing was rehearsed: the deployment would fail for certain; --force rehearses it all the same")}
	}
	err = r.rehearse(ctx)
	var refusal *rehearse.Refusal
	if errors.As(err, &refusal) {
		return &exitError{exitNoSandbox, fmt.Errorf("%w; nothing was run", refusal)}
	}
	if err != nil {
		return failed(err)
	}
	if err := r.tell(); err != nil {
		return failed(err)
	}
	return r.verdict()
}

// tell prints the account, and writes the page that is asked for.
func (r *dryRun) tell() error {
	if r.o.page != "" {
		if _, err := writePage(r.o.page, &r.account); err != nil {
			return err
		}
	}
	if r.o.asJSON {
		return r.p.printJSON(&r.account)
	}
	return r.view.conclude()
}

// verdict is the exit code.
func (r *dryRun) verdict() error {
	a := &r.account
	if a.Outcome != outcomeSucceeded {
		return &exitError{exitFailure, errors.New(a.State)}
	}
	for _, probe := range a.HealthAfter {
		if !probe.OK {
			return &exitError{exitFailure, fmt.Errorf("the deployment would succeed, and its application would not be well: %s: %s", probe.Target, probe.Text)}
		}
	}
	if pr := a.Prediction; pr != nil && (len(pr.Missed) > 0 || len(pr.Unplanned) > 0 || pr.Events != "") {
		return &exitError{exitFailure, errors.New("the deployment would succeed, and not as it was planned: see the prediction; please report this, slipway plan is to be relied upon")}
	}
	return nil
}

// stepsOf are the events of a deployment of the kind on one host, the service's own too.
func stepsOf(k lifecycle.Kind) (list []lifecycle.Event) {
	for _, ph := range k.Phases {
		if ph.Hosts != k.Phases[0].Hosts {
			break
		}
		for _, s := range ph.Steps {
			list = append(list, s.Event)
		}
	}
	return list
}

// planInside reports whether the plan has to be made in the sandbox: on what --from has deployed, or, as an ordinary user, where there are the rights
// that the agent has.
func (r *dryRun) planInside() bool { return r.before != nil || os.Geteuid() != 0 }

// certain is a problem for which the deployment fails whatever scripts do; nil if there is none, or it shows only in the sandbox.
func (r *dryRun) certain() *lifecycle.Problem {
	if r.planInside() {
		return nil
	}
	for i := range r.plan.preview.Problems {
		if q := &r.plan.preview.Problems[i]; q.Unless == "" {
			return q
		}
	}
	return nil
}

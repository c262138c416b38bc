package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"slipway/agent"
	"slipway/agent/config"
	"slipway/agent/control"
	"slipway/agent/health"
	"slipway/agent/identity"
	"slipway/hooks"
	"slipway/lifecycle"
	"slipway/lifecycle/bundle"
	"slipway/systemd"
)

// daemon is `slipway run`, wired.
type daemon struct {
	p     *program
	cfg   *config.Config // as it was at the start
	trust *control.Trust
	log   *zap.Logger
	level zap.AtomicLevel

	started time.Time
	health  *health.Registry
	drains  deploymentDrains
	notify  systemd.Notifier
	fetcher lateFetcher
	contain *containment                      // where hooks live
	live    atomic.Pointer[config.Config]     // as it was read last
	taking  sync.Mutex                        // held while it takes effect
	who     atomic.Pointer[identity.Identity] // nil until it is known
	agent   atomic.Pointer[agent.Agent]       // nil until then too
	keys    witness                           // the credentials that were used last
	fleet   lifecycleState
	waiting atomic.Pointer[string] // what the first poll waits for; nil: nothing
}

// lookingForIdentity is the first that systemd hears of the state of the agent.
const lookingForIdentity = "looking for the identity of this host"

func (p *program) newDaemon(cfg *config.Config, trust *control.Trust) (*daemon, error) {
	journal, noJournal := p.journalOf(p.stdout)
	log, level, err := newLogger(cfg, p.stdout, journal)
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	if noJournal != nil {
		log.Warn("log lines go to the journal without fields", zap.Error(noJournal))
	}
	for _, w := range cfg.Warnings {
		log.Warn("configuration", zap.String("warning", w.Error()))
	}
	d := &daemon{p: p, cfg: cfg, trust: trust, log: log, level: level, started: time.Now(), notify: systemd.FromEnv(p.getenv, os.Getpid())}
	d.fleet.ask = func(ctx context.Context) (string, error) { return d.who.Load().Metadata(ctx, targetState) }
	d.fetcher.tokenFile.Store(&cfg.GitHubTokenFile)
	d.live.Store(cfg)
	return d, nil
}

// run is the daemon from its start to its orderly end.
func (d *daemon) run(ctx context.Context) error {
	defer d.log.Sync() //nolint:errcheck // standard output cannot be synced
	syscall.Umask(0o022)
	if d.cfg.DisableCoreDumps { // V-102: a dump of this process would hold credentials
		if err := noCoreDumps(); err != nil {
			d.log.Warn("switch off core dumps", zap.Error(err))
		}
	}
	pid, err := takePID(d.cfg.PIDDir, d.cfg.ProgramName)
	if err != nil {
		return &exitError{exitFailure, err}
	}
	defer pid.release()
	if pid.absent != nil {
		d.log.Warn("the official agent's tools will not see that an agent runs", zap.Error(pid.absent))
	}

	if d.health, err = d.newHealth(); err != nil {
		return &exitError{exitConfig, err}
	}
	// An installation that was interrupted is finished or undone first, which takes as long as it takes.
	if err := d.notify.Extend(recovery); err != nil {
		d.log.Warn("tell systemd", zap.Error(err))
	}
	d.contain = contain(d.cfg, d.log.Named("hooks"))
	var told sync.WaitGroup
	defer d.contain.close()
	defer told.Wait()
	told.Go(func() { d.contain.told(ctx, d.log.Named("hooks")) })
	engine, err := lifecycle.Open(ctx, d.engineOptions())
	if err != nil {
		return &exitError{exitFailure, err}
	}
	defer engine.Close()
	sweepScratch(d.cfg.RootDir)
	listen, stopServing, err := d.serveHealth(ctx)
	if err != nil {
		return &exitError{exitFailure, err}
	}
	defer stopServing()
	publish := (&publisher{d: d, listen: listen}).publish

	boot := newCloudInit(d.log)
	waiting := d.expectBoot(boot)
	publish(agent.Status{Started: d.started, Since: time.Now(), Link: agent.Connecting, LinkText: waiting, InHand: []agent.InHand{}})
	d.log.Info("started", zap.String("version", buildVersion()), zap.Int("pid", os.Getpid()), zap.String("root", d.cfg.RootDir), zap.String("health", listen))
	go d.watchConfig(ctx, engine)
	if err := d.notify.Ready(or(waiting, lookingForIdentity)); err != nil {
		d.log.Warn("tell systemd", zap.Error(err))
	}
	watched, unwatch := context.WithCancel(context.WithoutCancel(ctx)) // what is finished at the stop is watched too
	defer unwatch()
	go d.watchdog(watched)
	err = d.awaitBoot(ctx, boot, publish)
	var a *agent.Agent
	if err == nil {
		a, err = d.connect(ctx, engine, publish)
	}
	if errors.Is(err, errStopped) {
		d.log.Info("stopped")
		return nil
	}
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, d.stopping)
	defer time.AfterFunc(settled, letGo).Stop()
	a.Run(ctx)
	d.log.Info("stopped")
	return nil
}

// settled is when the start is over: configuration read, identity known, the first poll sent.
const settled = 5 * time.Second

// recovery is the time that systemd gives to finishing or undoing an installation at the start.
const recovery = 15 * time.Minute

// noCoreDumps keeps this process from leaving one. The hard limit stays: what a hook starts may want its dumps.
func noCoreDumps() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil {
		return err
	}
	limit.Cur = 0
	return syscall.Setrlimit(syscall.RLIMIT_CORE, &limit)
}

// stopping tells systemd, and asks it for the time that a download or installation in hand may take.
func (d *daemon) stopping() {
	if err := errors.Join(d.notify.Stopping("finishing what is in hand"), d.notify.Extend(d.live.Load().StopTimeout+lastMoments)); err != nil {
		d.log.Warn("tell systemd", zap.Error(err))
	}
}

// errStopped says that the program was told to stop before it knew who this host is.
var errStopped = errors.New("stopped")

// lastMoments is what the end of the program takes beyond stop_timeout, with much air.
const lastMoments = 10 * time.Second

func (d *daemon) watchdog(ctx context.Context) {
	if err := d.notify.Watchdog(ctx, d.health.Alive); err != nil && ctx.Err() == nil {
		d.log.Warn("tell systemd's watchdog", zap.Error(err))
	}
}

// connect finds out who this host is, however long that takes, and makes the agent. errStopped: the stop came first.
func (d *daemon) connect(ctx context.Context, engine *lifecycle.Engine, publish func(agent.Status)) (*agent.Agent, error) {
	who, err := d.identify(ctx, publish)
	if err != nil {
		return nil, err
	}
	d.keys.inner = who.Credentials
	who.Credentials = &d.keys
	endpoint, err := identity.CommandEndpoint(identity.EndpointOptions{
		Override: d.cfg.DeployControlEndpoint, Region: who.Region, Domain: who.Domain, CheckPartition: who.CheckPartition,
		FIPS: d.cfg.UseFIPSMode, AuthPolicy: d.cfg.EnableAuthPolicy,
	})
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	client, err := control.NewHTTPClient(control.HTTPOptions{ProxyURI: d.cfg.ProxyURI, ReadTimeout: d.cfg.HTTPReadTimeout, Getenv: d.p.getenv})
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	commands, err := control.New(control.Options{
		Endpoint: endpoint, Region: who.Region, HostID: who.HostID, Version: d.p.agentVersion(d.cfg.RootDir), Secure: d.cfg.EnableAuthPolicy,
		Mock: d.cfg.UseMockCommandService, Credentials: who.Credentials, HTTP: client, Log: d.log.Named("control"),
	})
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	if err := d.connectStorage(who, client); err != nil {
		return nil, &exitError{exitConfig, err}
	}
	d.log.Info("this host", zap.String("host", who.HostID), zap.String("region", who.Region), zap.String("endpoint", shown(endpoint)), zap.Bool("on_premises", who.OnPremises))
	if _, err := engine.Own(who.HostID); err != nil {
		return nil, &exitError{exitFailure, err}
	}
	a := agent.New(agent.Options{
		Commands: commands, Engine: engine, Trust: d.trust, HostID: who.HostID, Pace: pace(d.live.Load()), PollBound: pollBound(d.cfg), Busy: d.notify.WatchdogTimeout,
		MaxConcurrent: d.cfg.MaxConcurrent, Changed: publish, Polled: d.health.Metrics().Poll, Log: d.log.Named("agent"),
	})
	d.who.Store(who)
	d.fleet.now() // is asked for the first time
	d.agent.Store(a)
	d.takeOver(engine)
	return a, nil
}

// identify tries until it is known who this host is. Each new reason is told once, with what to do (no crash loop).
func (d *daemon) identify(ctx context.Context, publish func(agent.Status)) (*identity.Identity, error) {
	var told string
	began := time.Now()
	for delay := time.Second; ; delay = min(2*delay, time.Minute) {
		options := identityOptions(d.cfg, d.p.getenv)
		options.Log = d.log.Named("identity")
		who, err := identity.Resolve(ctx, options)
		if err == nil {
			return who, nil
		}
		if ctx.Err() != nil {
			return nil, errStopped
		}
		var unknown *identity.UnknownError
		if !errors.As(err, &unknown) {
			return nil, &exitError{exitConfig, err}
		}
		if err.Error() != told {
			told = err.Error()
			d.log.Error("it is not known who this host is: tried again until it is", zap.Error(err))
			publish(agent.Status{Started: began, Since: began, Link: agent.Connecting, LinkText: told, InHand: []agent.InHand{}})
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, errStopped
		}
	}
}

func (d *daemon) engineOptions() lifecycle.Options {
	o := d.p.engineOptions(d.cfg, d.settings(d.cfg), d.contain, d.log)
	o.Fetcher, o.Terminating, o.Observe = &d.fetcher, d.terminating, d.observe
	o.HostEnviron, o.Secrets = d.hostEnviron, d.secrets
	return o
}

// engineOptions are what the engines of the daemon and of a command beside it have in common.
func (p *program) engineOptions(c *config.Config, s lifecycle.Settings, where *containment, log *zap.Logger) lifecycle.Options {
	return lifecycle.Options{
		Root: c.RootDir, Program: c.ProgramName, Tracking: c.OngoingDeploymentTracking, NoDeployLog: !c.EnableDeploymentsLog, Closed: c.RestrictAgentDirs,
		Runner:   &hooks.Runner{Shim: []string{"/proc/self/exe", shimVerb}, Container: where.container, Log: log.Named("hooks")},
		Settings: s, Log: log.Named("lifecycle"),
	}
}

// terminating reports whether an Auto Scaling group is taking this host out of service.
func (d *daemon) terminating(ctx context.Context) bool {
	state, err := d.who.Load().Metadata(ctx, targetState)
	return err == nil && state == "Terminated"
}

func (d *daemon) settings(c *config.Config) lifecycle.Settings {
	s := d.p.settings(c, d.who.Load())
	if c.Health.Gate {
		s.Gate = func(ctx context.Context) error {
			bounded, cancel := context.WithTimeout(ctx, c.Health.GateTimeout)
			defer cancel()
			return d.health.Fit(bounded)
		}
	}
	return s
}

// settings are what the engine may be told anew while it works. who is nil where it is not known who this host is.
func (p *program) settings(c *config.Config, who *identity.Identity) lifecycle.Settings {
	return lifecycle.Settings{
		MaxRevisions: c.MaxRevisions, Environ: hookEnvironment(p.environ, c, who),
		Limits: bundle.Limits{
			MaxSize: int64(c.Limits.MaxSize), MaxFiles: c.Limits.MaxFiles, MaxRatio: c.Limits.MaxRatio,
			IgnoreOwners: c.IgnoreOwnershipInBundle, RejectLinks: c.Reject.Symlinks, RejectSetID: c.Reject.UnsafePermissions,
		},
		Policy:        lifecycle.Policy{RejectSetID: c.Reject.UnsafePermissions, RejectUnconfined: c.Reject.UnconfinedSELinux},
		WorkInArchive: c.Hooks.WorkingDirectory == "archive", EnvFile: c.Hooks.EnvFile,
		Grace: c.Hooks.Grace, OpenOutput: c.Hooks.OpenOutput, OpenOutputWait: c.Hooks.OpenOutputWait, RunAsMode: c.Hooks.RunAsMode,
		HookLimits:  hookLimits(c),
		StopTimeout: c.StopTimeout, OldRevision: c.OldRevisionHooks, MaxAge: c.Retention.MaxAge, MinFree: int64(c.Retention.MinFree),
		NoPreflight: c.Preflight.Mode == "off", PreflightWait: c.Preflight.Wait, ReuseArchives: c.EnableArchiveReuse, Replace: c.Install.Space == "replace",
	}
}

func pace(c *config.Config) agent.Pace {
	return agent.Pace{Wait: c.WaitBetweenRuns, Min: c.Poll.BackoffMin, Max: c.Poll.BackoffMax, Denied: c.Poll.DeniedPause}
}

// problems are the mistakes of a configuration, one line each.
func problems(err error) []string {
	var invalid *config.InvalidError
	if !errors.As(err, &invalid) {
		return []string{err.Error()}
	}
	lines := make([]string, len(invalid.Problems))
	for i, p := range invalid.Problems {
		lines[i] = p.String()
	}
	return lines
}

// pollBound is the longest that a poll may take: what its four attempts (P-32) may wait for a connection, credentials and an answer.
func pollBound(c *config.Config) time.Duration {
	const attempts, aside = 4, 2 * time.Minute // connection and credentials, and the body of an answer that comes in drops
	return attempts*(c.HTTPReadTimeout+aside) + aside
}

// takeOver makes what may change while the daemon runs take effect, as it was read last.
func (d *daemon) takeOver(engine *lifecycle.Engine) {
	d.taking.Lock()
	defer d.taking.Unlock()
	c := d.live.Load()
	d.fetcher.tokenFile.Store(&c.GitHubTokenFile)
	engine.Set(d.settings(c))
	if a := d.agent.Load(); a != nil {
		a.SetPace(pace(c))
	}
}

// watchConfig takes over what may change while the daemon runs. A file that is wrong keeps the old values.
func (d *daemon) watchConfig(ctx context.Context, engine *lifecycle.Engine) {
	changes, err := config.Watch(ctx, d.p.loadOptions(), d.log.Named("config"))
	if err != nil {
		d.log.Warn("the configuration is not watched: changes need a restart", zap.Error(err))
		return
	}
	for cfg, err := range changes {
		if err != nil {
			d.log.Error("the configuration on disk is wrong: the old values stay", zap.Strings("problems", problems(err)))
			continue
		}
		if restart := cfg.RestartNeeded(d.cfg); len(restart) > 0 {
			d.log.Warn("configuration changed: these keys need a restart", zap.Strings("keys", restart))
		}
		if err := d.level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
			d.log.Error("log.level", zap.Error(err))
		}
		if err := d.watchApplication(cfg.Health); err != nil {
			d.log.Error("health.probe", zap.Error(err))
		}
		d.live.Store(cfg)
		d.takeOver(engine)
		d.log.Info("configuration read again", zap.Int("warnings", len(cfg.Warnings)))
	}
}

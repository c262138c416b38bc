package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"slipway/agent/config"
	"slipway/agent/health"
	"slipway/lifecycle"
)

// newHealth makes the registry: the daemon's own two questions, and the balancer's about the application.
func (d *daemon) newHealth() (*health.Registry, error) {
	r, err := health.New(health.Options{Path: d.cfg.Health.Path, Version: buildVersion(), Page: (&statusPage{d: d}).page, Log: d.log})
	if err != nil {
		return nil, err
	}
	d.health = r
	d.drains.restore(d)
	r.Register(health.Liveness, "poll loop", func() health.Result {
		if a := d.agent.Load(); a != nil && !a.Alive() {
			return health.Result{Severity: health.Fail, Text: "the poll loop has not shown itself in time"}
		}
		return health.Result{Text: "goes on"}
	})
	r.Register(health.Readiness, "command service", func() health.Result {
		a := d.agent.Load()
		if waiting := d.waiting.Load(); waiting != nil {
			return health.Result{Severity: health.Fail, Text: *waiting}
		}
		if a == nil {
			return health.Result{Severity: health.Fail, Text: "the identity of this host is not known yet"}
		}
		ready, text := a.Ready()
		result := health.Result{Text: text, Since: a.Status().Since}
		if !ready {
			result.Severity = health.Fail
		}
		return result
	})
	return r, d.watchApplication(d.cfg.Health)
}

// watchApplication sets the probes of the application as configured. All of them must be good; without any the path says so.
func (d *daemon) watchApplication(c config.Health) error {
	set := health.Application{Interval: c.Probe.Interval, Timeout: c.Probe.Timeout, MaxAge: c.MaxAge, Rise: c.Rise, Fall: c.Fall, Grace: c.Grace}
	probes, err := d.probes(c.Probe)
	if err != nil {
		return err
	}
	if len(probes) > 0 {
		set.Probe = health.All(probes...)
	}
	d.health.Watch(set)
	return nil
}

// probes are those that are configured. A command inherits what a hook does, for the same reason: no credentials of the agent.
func (d *daemon) probes(c config.Probe) ([]health.NamedProbe, error) {
	return probesOf(c, func() []string { return hookEnvironment(d.p.environ, d.live.Load(), d.who.Load()) })
}

// serveHealth probes the application and opens the listener for health and metrics, unless it is off. A port that is taken keeps no
// deployment from this host: it is told, and tried again until it is free. stop ends both.
func (d *daemon) serveHealth(ctx context.Context) (addr string, stop func(), err error) {
	var l net.Listener
	if d.cfg.Listen != "" {
		l, err = new(net.ListenConfig).Listen(ctx, "tcp", d.cfg.Listen)
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			d.log.Error("the port of the health listener is taken: health is not answered until it is free (listen says where; off does without)", zap.Error(err))
		case err != nil:
			return "", nil, fmt.Errorf("open the health listener: %w (listen says where; \"off\" does without)", err)
		default:
			addr = l.Addr().String()
		}
	}
	// Health is answered until the very end of an orderly stop, not until its begin.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := d.health.Run(ctx); err != nil && ctx.Err() == nil {
			d.log.Error("application probe", zap.Error(err))
		}
	})
	looked := make(chan struct{})
	wg.Go(func() { d.health.FollowMarker(ctx, d.cfg.Health.DrainFile, func() { close(looked) }) })
	wg.Go(func() { d.followTermination(ctx) })
	if name := d.cfg.Health.StatusFile; name != "" {
		wg.Go(func() { d.health.KeepFile(ctx, name) })
	}
	<-looked // no answer before it is known whether the instance was taken out on purpose
	wg.Go(func() {
		if d.cfg.Listen == "" {
			return
		}
		if l == nil {
			l = d.awaitPort(ctx)
		}
		if l == nil {
			return
		}
		if err := health.Serve(ctx, l, d.health.Handler()); err != nil {
			d.log.Error("health listener", zap.Error(err))
		}
	})
	return addr, func() { cancel(); wg.Wait() }, nil
}

// portPause is the time between two looks whether the port of the health listener has become free.
const portPause = 5 * time.Second

// awaitPort opens the health listener as soon as its port is free; nil: ctx ended first.
func (d *daemon) awaitPort(ctx context.Context) net.Listener {
	tick := time.NewTicker(portPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if l, err := new(net.ListenConfig).Listen(ctx, "tcp", d.cfg.Listen); err == nil {
			d.log.Info("the health listener has its port", zap.String("health", l.Addr().String()))
			return l
		}
	}
}

// observe counts what the engine did.
func (d *daemon) observe(o lifecycle.Observation) {
	m := d.health.Metrics()
	switch {
	case o.Bytes > 0:
		m.BundleBytes(o.Bytes)
	case o.Script != "":
		m.Hook(string(o.Event), o.Exit, o.Took)
	default:
		outcome := "Succeeded"
		if o.Code != lifecycle.Succeeded {
			outcome = "Failed"
		}
		m.Command(string(o.Event), outcome, o.Took)
		d.drains.ended(o)
	}
}

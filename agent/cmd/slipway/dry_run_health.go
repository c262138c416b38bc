package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"slipway/agent/config"
	"slipway/agent/health"
	"slipway/hooks"
	"slipway/lifecycle"
)

// probesOf are the probes that are configured. env tells what a command of them inherits.
func probesOf(c config.Probe, env func() []string) (all []health.NamedProbe, err error) {
	if c.URL != "" {
		probe, err := health.NewHTTPProbe(health.HTTPProbe{URL: c.URL, Status: c.Status, Body: c.Body, MaxLatency: c.Latency})
		if err != nil {
			return nil, err
		}
		all = append(all, health.NamedProbe{Name: "http", Prober: probe})
	}
	for _, address := range c.TCP {
		probe, err := health.NewTCPProbe(address)
		if err != nil {
			return nil, err
		}
		all = append(all, health.NamedProbe{Name: "tcp " + address, Prober: probe})
	}
	if c.File != "" {
		all = append(all, health.NamedProbe{Name: "file", Prober: health.NewFileProbe(c.File, c.FileMaxAge)})
	}
	if len(c.Command) > 0 {
		all = append(all, health.NamedProbe{Name: "command", Prober: hooks.Check{Args: c.Command, Env: env()}})
	}
	return all, nil
}

// probePatience is how long an application that is being started is given until it is well, and probePause the time between two looks.
const (
	probePatience = 10 * time.Second
	probePause    = 200 * time.Millisecond
)

// newProbes are those that the application is asked with in the sandbox.
func (i *inside) newProbes() ([]health.NamedProbe, error) {
	if i.Health == nil {
		return nil, nil
	}
	return probesOf(*i.Health, func() []string { return hookEnvironment(i.Environ, i.Config, nil) })
}

// probeBefore asks the application once, before the deployment: nothing is told where it does not run.
func (i *inside) probeBefore(ctx context.Context, asked *time.Duration) []lifecycle.ProbeAccount {
	found := i.probe(ctx, 0, asked)
	if !slices.ContainsFunc(found, func(a lifecycle.ProbeAccount) bool { return a.OK }) {
		return nil
	}
	return found
}

// probe asks the application, each probe until it is well or patience is at its end. What that takes is added to asked.
func (i *inside) probe(ctx context.Context, patience time.Duration, asked *time.Duration) []lifecycle.ProbeAccount {
	if len(i.probes) == 0 {
		return nil
	}
	began := time.Now()
	defer func() { *asked += time.Since(began) }()
	all := make([]lifecycle.ProbeAccount, 0, len(i.probes))
	for _, p := range i.probes {
		all = append(all, lifecycle.ProbeAccount{Name: p.Name, Target: i.target(p.Name)})
		askUntilWell(ctx, p, cmp.Or(i.Health.Timeout, health.DefaultTimeout), began.Add(patience), &all[len(all)-1])
	}
	return all
}

// target is what a probe asks.
func (i *inside) target(name string) string {
	switch c := i.Health; name {
	case "http":
		return c.URL
	case "file":
		return c.File
	case "command":
		return strings.Join(c.Command, " ")
	}
	return strings.TrimPrefix(name, "tcp ")
}

func askUntilWell(ctx context.Context, p health.Prober, timeout time.Duration, until time.Time, a *lifecycle.ProbeAccount) {
	tick := time.NewTicker(probePause)
	defer tick.Stop()
	for {
		began := time.Now()
		once, cancel := context.WithTimeout(ctx, timeout)
		err := p.Probe(once)
		cancel()
		a.TookMS = time.Since(began).Milliseconds()
		if a.OK = err == nil; a.OK {
			a.Text = "well"
			return
		}
		if a.Text = err.Error(); !time.Now().Before(until) {
			return
		}
		<-tick.C
	}
}

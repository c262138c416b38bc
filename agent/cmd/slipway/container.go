package main

import (
	"context"
	"errors"
	"os"

	"go.uber.org/zap"

	"slipway/agent/config"
	"slipway/hooks"
	"slipway/systemd"
)

// Values of hooks.containment.
const (
	containAuto    = "auto"
	containSystemd = "systemd"
	containCgroup2 = "cgroup2"
	containNone    = "none"
)

// containment is where hooks live on this host, and why.
type containment struct {
	Mode   string `json:"mode"` // systemd, cgroup2 or none
	Reason string `json:"reason"`

	container hooks.Container  // nil for none
	manager   *systemd.Manager // nil but for systemd
	problem   bool             // the reason is that something is not as it should be
}

func (c *containment) String() string { return c.Mode + ": " + c.Reason }

// hookLimits are those of the configuration.
func hookLimits(c *config.Config) hooks.Limits {
	l := c.Hooks.Limits
	return hooks.Limits{Memory: int64(l.Memory), CPU: l.CPU, PIDs: l.PIDs}
}

// contain chooses the container of hooks. It does not wait for systemd.
func contain(c *config.Config, log *zap.Logger) *containment {
	host := hostFacts{systemd: systemd.Running(), root: os.Geteuid() == 0, delegated: hooks.DelegatedCgroup}
	return host.choose(c.Hooks.Containment, log)
}

// hostFacts is what the choice depends on.
type hostFacts struct {
	systemd   bool                   // it is process 1
	root      bool                   // the agent is root
	delegated func() (string, error) // makes a cgroup for hooks
}

func (h hostFacts) choose(wanted string, log *zap.Logger) *containment {
	switch {
	case wanted == containNone:
		return &containment{Mode: containNone, Reason: "hooks.containment says so"}
	case wanted == containSystemd:
		return scopes("hooks.containment says so", !h.systemd, log)
	case wanted == containAuto && h.systemd && h.root:
		return scopes("systemd is process 1", false, log)
	case wanted == containAuto && h.systemd:
		// systemd gives scopes of the system to root alone, and the tree of cgroups is its own.
		return &containment{Mode: containNone, Reason: "the agent is not root, and systemd gives scopes to root alone"}
	}
	dir, err := h.delegated()
	if err != nil {
		return &containment{Mode: containNone, Reason: err.Error(), problem: wanted == containCgroup2}
	}
	reason := "systemd is not process 1, and " + dir + " can be written to"
	if wanted == containCgroup2 {
		reason = "hooks.containment says so, and " + dir + " can be written to"
	}
	return &containment{
		Mode: containCgroup2, Reason: reason,
		container: &hooks.Chain{Containers: []hooks.Container{&hooks.Cgroup2{Dir: dir}}, Log: log},
	}
}

func scopes(reason string, problem bool, log *zap.Logger) *containment {
	m := &systemd.Manager{}
	start := func(ctx context.Context, unit string, pid int, limits map[string]uint64) error {
		return m.StartScope(ctx, systemd.Scope{Name: unit, Description: "Deployment hook run by Slipway", Slice: systemd.SliceName, PID: pid, Limits: limits})
	}
	return &containment{
		Mode: containSystemd, Reason: reason, manager: m, problem: problem,
		container: &hooks.Chain{Containers: []hooks.Container{&hooks.Scopes{Start: start, Stop: m.StopUnit}}, Log: log},
	}
}

// close ends the connection to systemd.
func (c *containment) close() {
	if c.manager != nil {
		c.manager.Close()
	}
}

// told logs the choice, and whether systemd answers: until it does hooks run without a scope.
func (c *containment) told(ctx context.Context, log *zap.Logger) {
	level := zap.InfoLevel
	if c.problem {
		level = zap.WarnLevel
	}
	log.Log(level, "where hooks live", zap.String("containment", c.Mode), zap.String("reason", c.Reason))
	if c.manager == nil {
		return
	}
	if err := c.manager.Connect(ctx); err != nil && !errors.Is(err, context.Canceled) && ctx.Err() == nil {
		log.Warn("systemd does not answer over the message bus: hooks run without a scope of their own until it does", zap.Error(err))
	}
}

package main

import (
	"errors"
	"testing"

	"go.uber.org/zap"
)

func TestChooseContainment(t *testing.T) {
	none := func() (string, error) { return "", errors.New("no cgroup v2 file system is mounted") }
	some := func() (string, error) { return "/cg/slipway-hooks", nil }
	tests := []struct {
		name, wanted  string
		systemd, root bool
		delegated     func() (string, error)
		want          string
		problem       bool
	}{
		{"systemd", "auto", true, true, some, "systemd: systemd is process 1", false},
		{"not root under systemd", "auto", true, false, some, "none: the agent is not root, and systemd gives scopes to root alone", false},
		{"no systemd", "auto", false, true, some, "cgroup2: systemd is not process 1, and /cg/slipway-hooks can be written to", false},
		{"nothing", "auto", false, true, none, "none: no cgroup v2 file system is mounted", false},
		{"wanted none", "none", true, true, some, "none: hooks.containment says so", false},
		{"wanted cgroup2", "cgroup2", true, true, some, "cgroup2: hooks.containment says so, and /cg/slipway-hooks can be written to", false},
		{"wanted cgroup2 in vain", "cgroup2", true, true, none, "none: no cgroup v2 file system is mounted", true},
		{"wanted systemd in vain", "systemd", false, true, some, "systemd: hooks.containment says so", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := hostFacts{systemd: tt.systemd, root: tt.root, delegated: tt.delegated}.choose(tt.wanted, zap.NewNop())
			if c.String() != tt.want || c.problem != tt.problem {
				t.Errorf("choose() = %s, problem %v, want %s, %v", c, c.problem, tt.want, tt.problem)
			}
			if (c.container == nil) != (c.Mode == containNone) || (c.manager == nil) != (c.Mode != containSystemd) {
				t.Errorf("container %v, manager %v for %s", c.container, c.manager, c.Mode)
			}
		})
	}
}

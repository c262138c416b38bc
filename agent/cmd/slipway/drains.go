package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"go.uber.org/zap"

	"slipway/agent"
	"slipway/agent/identity"
	"slipway/lifecycle"
)

// deploymentDrain is how long a deployment may keep an instance out of the pool by an option: a deployment that hangs must not take a fleet away
// from its balancer for good.
const deploymentDrain = 15 * time.Minute

// drainsFile keeps the drains of deployments over a restart of the agent.
const drainsFile = ".slipway/drains.json"

// deploymentDrains are the drains that deployments have set, where health.drain_on_block or health.drain_on_install says so.
type deploymentDrains struct {
	mu     sync.Mutex // guards active
	active map[drainKey]*deploymentDrainer
	file   string // "" until restore was called
	log    *zap.Logger
}

// drainKey is one deployment's drain of a kind.
type drainKey struct {
	deployment string
	install    bool // of health.drain_on_install
}

// deploymentDrainer is a drain, as the file has it.
type deploymentDrainer struct {
	Deployment string    `json:"deployment"`
	Install    bool      `json:"install"`
	Reason     string    `json:"reason"`
	Until      time.Time `json:"until"`
	undrain    func()
}

// seen begins and ends drains by the commands in hand. A command is seen when it has come, before it is acknowledged, and again when it is
// carried out and not yet reported; one that has nothing to do as well.
func (dd *deploymentDrains) seen(d *daemon, inHand []agent.InHand) {
	set := d.live.Load().Health
	for _, h := range inHand {
		if h.Deployment == "" {
			continue
		}
		switch h.Event {
		case lifecycle.BeforeBlockTraffic, lifecycle.AfterBlockTraffic:
			if set.DrainOnBlock {
				dd.begin(d, drainKey{h.Deployment, false}, fmt.Sprintf("deployment %s takes the instance out of traffic", h.Deployment))
			}
		case lifecycle.ApplicationStop, lifecycle.Install:
			if set.DrainOnInstall {
				dd.begin(d, drainKey{h.Deployment, true}, fmt.Sprintf("deployment %s replaces the application", h.Deployment))
			}
		case lifecycle.ValidateService:
			if h.Reporting {
				dd.end(drainKey{h.Deployment, true})
			}
		case lifecycle.BeforeAllowTraffic:
			dd.end(drainKey{h.Deployment, true})
			if h.Reporting {
				dd.end(drainKey{h.Deployment, false})
			}
		case lifecycle.AfterAllowTraffic:
			dd.end(drainKey{h.Deployment, false})
		}
	}
}

// ended ends the drains of a deployment that has failed: what it leaves is for the probe to judge.
func (dd *deploymentDrains) ended(o lifecycle.Observation) {
	if o.Code != lifecycle.Succeeded {
		dd.end(drainKey{o.Deployment, false})
		dd.end(drainKey{o.Deployment, true})
	}
}

func (dd *deploymentDrains) begin(d *daemon, k drainKey, reason string) {
	dd.mu.Lock()
	defer dd.mu.Unlock()
	if dd.active[k] == nil {
		dd.set(d, k, reason, time.Now().Add(deploymentDrain))
		dd.save()
	}
}

// set begins a drain. The caller holds mu.
func (dd *deploymentDrains) set(d *daemon, k drainKey, reason string, until time.Time) {
	if dd.active == nil {
		dd.active = map[drainKey]*deploymentDrainer{}
	}
	dd.active[k] = &deploymentDrainer{Deployment: k.deployment, Install: k.install, Reason: reason, Until: until, undrain: d.health.Drain(reason, until)}
}

func (dd *deploymentDrains) end(k drainKey) {
	dd.mu.Lock()
	defer dd.mu.Unlock()
	if drain := dd.active[k]; drain != nil {
		drain.undrain()
		delete(dd.active, k)
		dd.save()
	}
}

// restore sets the drains again that an agent before this one has not ended. It is called before the balancer is answered for the first time.
func (dd *deploymentDrains) restore(d *daemon) {
	dd.mu.Lock()
	defer dd.mu.Unlock()
	dd.file, dd.log = filepath.Join(d.cfg.RootDir, drainsFile), d.log
	data, err := os.ReadFile(dd.file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var kept []deploymentDrainer
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err != nil {
		d.log.Warn("whether deployments keep the instance out of traffic cannot be told", zap.Error(err))
	}
	for _, k := range kept {
		if left := time.Until(k.Until); left > 0 && left <= deploymentDrain {
			dd.set(d, drainKey{k.Deployment, k.Install}, k.Reason, k.Until)
		}
	}
}

// save keeps the drains for the next agent. The caller holds mu.
func (dd *deploymentDrains) save() {
	if dd.file == "" {
		return
	}
	all := slices.Collect(maps.Values(dd.active))
	data, err := json.Marshal(all)
	if err == nil {
		err = renameio.WriteFile(dd.file, data, 0o600, renameio.WithTempDir(filepath.Dir(dd.file)), renameio.WithStaticPermissions(0o600))
	}
	if err != nil {
		dd.log.Warn("a restart of the agent would put the instance into traffic again before the deployment says so", zap.Error(err))
	}
}

// How often the metadata service is asked whether the instance is being taken out of service: one that may be, and one that is neither of an
// Auto Scaling group nor a spot instance, but may come to a group later. A spot instance is told two minutes before.
const (
	terminationLook = 10 * time.Second
	terminationCare = time.Minute
)

// followTermination drains while the metadata service says that the instance is being taken out of service, until ctx ends.
func (d *daemon) followTermination(ctx context.Context) {
	var undrain func()
	for reason, wait := "", terminationLook; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		now := ""
		wait = terminationLook
		if who := d.who.Load(); d.live.Load().Health.DrainOnTermination && who != nil && !who.OnPremises {
			var err error
			switch now, err = leaving(ctx, who.Metadata); {
			case errors.Is(err, errStays):
				wait = terminationCare
			case err != nil:
				d.log.Debug("whether the instance is being taken out of service cannot be told", zap.Error(err))
				now = reason // metadata that is out of reach changes nothing
			}
		}
		if now == reason {
			continue
		}
		if undrain != nil {
			undrain()
			undrain = nil
		}
		if reason = now; reason != "" {
			undrain = d.health.Drain(reason, time.Time{})
		}
	}
}

// errStays says that nobody but a person takes the instance out of service: it is neither of an Auto Scaling group nor a spot instance.
var errStays = errors.New("neither of an Auto Scaling group nor a spot instance")

// leaving asks the metadata service whether the instance is being taken out of service, and returns why; empty: it is not.
func leaving(ctx context.Context, read func(context.Context, string) (string, error)) (string, error) {
	state, err := read(ctx, "autoscaling/target-lifecycle-state")
	switch {
	case err != nil && !errors.Is(err, identity.ErrNoMetadata):
		return "", err
	case err == nil && state == "Terminated":
		return "the Auto Scaling group terminates the instance", nil
	}
	grouped := err == nil
	if kind, err := read(ctx, "instance-life-cycle"); err != nil || kind != "spot" {
		switch {
		case err != nil && !errors.Is(err, identity.ErrNoMetadata):
			return "", err
		case !grouped:
			return "", errStays
		}
		return "", nil
	}
	notice, err := read(ctx, "spot/instance-action")
	switch {
	case errors.Is(err, identity.ErrNoMetadata):
		return "", nil
	case err != nil:
		return "", err
	}
	var action struct {
		Action string `json:"action"`
		Time   string `json:"time"`
	}
	if err := json.Unmarshal([]byte(notice), &action); err != nil || action.Action == "" {
		return "", fmt.Errorf("spot/instance-action %q is no notice", notice)
	}
	return fmt.Sprintf("spot instance: %s at %s", action.Action, or(action.Time, "a time that was not told")), nil
}

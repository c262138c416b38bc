package lab

import "slices"

// Labels of a deployment's instances. In place there is one fleet, which the API calls Blue.
const (
	blue  = "Blue"
	green = "Green"
)

// Waits of a blue/green deployment, as continue-deployment names them.
const (
	readyWait       = "READY_WAIT"
	terminationWait = "TERMINATION_WAIT"
)

// A phase is what one fleet goes through before the next phase begins.
type phase struct {
	wait   string // what is waited for first, if anything
	fleet  string
	events []string // none: the phase is its wait alone
	paced  bool     // the deployment configuration says how many instances at a time
	routes bool     // after this the new fleet serves
	ends   bool     // the fleet is terminated if the group says so
}

var (
	blockEvents   = []string{"BeforeBlockTraffic", "BlockTraffic", "AfterBlockTraffic"}
	installEvents = []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService"}
	allowEvents   = []string{"BeforeAllowTraffic", "AllowTraffic", "AfterAllowTraffic"}
)

// plans are the sequences of events, by kind of deployment.
var plans = map[string][]phase{
	"in-place":           {{fleet: blue, events: installEvents, paced: true}},
	"in-place-traffic":   {{fleet: blue, events: slices.Concat(blockEvents, installEvents, allowEvents), paced: true}},
	"blue-green":         {{fleet: green, events: installEvents}, {wait: readyWait, fleet: green, events: allowEvents, paced: true, routes: true}, {fleet: blue, events: blockEvents}, {wait: terminationWait, fleet: blue, ends: true}},
	"blue-green-offline": {{fleet: green, events: installEvents}, {wait: readyWait, fleet: green, routes: true}, {wait: terminationWait, fleet: blue, ends: true}},
	// After traffic was moved the way back is a deployment of its own: the old fleet is let in, the new one out (H-3, H-4).
	"blue-green-rollback": {{fleet: blue, events: allowEvents, routes: true}, {fleet: green, events: blockEvents}},
}

// byService are the events that the balancer performs; all others are commands for the agent.
var byService = map[string]bool{"BlockTraffic": true, "AllowTraffic": true}

// beforeNew are the events whose failure ignoreApplicationStopFailures forgives: the old revision's scripts.
var beforeNew = map[string]bool{"ApplicationStop": true, "BeforeBlockTraffic": true, "AfterBlockTraffic": true}

// eventsOf are the events of one fleet in a plan, in order.
func eventsOf(plan []phase, fleet string) []string {
	var events []string
	for _, p := range plan {
		if p.fleet == fleet {
			events = append(events, p.events...)
		}
	}
	return events
}

// planOf is the plan for a deployment.
func planOf(kind *style, creator string, rerouted bool) []phase {
	traffic := kind.DeploymentOption == withTraffic
	switch {
	case kind.DeploymentType != typeBlueGreen && traffic:
		return plans["in-place-traffic"]
	case kind.DeploymentType != typeBlueGreen:
		return plans["in-place"]
	case creator == creatorRollback && rerouted:
		return plans["blue-green-rollback"]
	case traffic:
		return plans["blue-green"]
	}
	return plans["blue-green-offline"]
}

// atOnce is how many of n hosts may be out of service together under a configuration, 0 if none may.
func atOnce(c *deploymentConfigInfo, n int) int {
	switch c.DeploymentConfigName {
	case configAllAtOnce:
		return n
	case configOneAtATime:
		return min(n, 1)
	case configHalfAtATime:
		return max(n/2, min(n, 1))
	}
	healthy := 0
	if m := c.MinimumHealthyHosts; m != nil {
		healthy = m.Value
		if m.Type == "FLEET_PERCENT" {
			healthy = (n*m.Value + 99) / 100
		}
	}
	return max(n-healthy, 0)
}

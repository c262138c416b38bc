package lab

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// deployment is one deployment while it runs and afterwards. The service's mu guards it.
type deployment struct {
	info          deploymentInfo
	groupID       string
	applicationID string
	plan          []phase
	targets       []*target
	problem       *errorInformation // why it cannot start at all
	rerouted      bool              // traffic has been moved to the new fleet
	waiting       string            // readyWait, terminationWait
	resume        chan struct{}     // continue-deployment
	stop          chan struct{}     // closed by stop-deployment
	stopping      bool
	rollBack      bool // the stop asked for a rollback
	done          chan struct{}
}

// target is one instance in a deployment.
type target struct {
	host          *host
	label         string
	status        string
	updated       time.Time
	events        []*lifecycleEvent
	specification []byte
	executionID   string
}

// over tells whether the deployment has ended.
func (d *deployment) over() bool {
	return slices.Contains([]string{statusSucceeded, statusFailed, statusStopped}, d.info.Status)
}

// target finds an instance by its name, identifier or ARN.
func (d *deployment) target(id string) *target {
	for _, t := range d.targets {
		if t.host.Name == id || t.host.ID == id {
			return t
		}
	}
	return nil
}

// overview counts the instances by status.
func (d *deployment) overview() *overview {
	var o overview
	for _, t := range d.targets {
		switch t.status {
		case statusPending:
			o.Pending++
		case statusInProgress:
			o.InProgress++
		case statusSucceeded:
			o.Succeeded++
		case statusFailed:
			o.Failed++
		case statusSkipped:
			o.Skipped++
		case statusReady:
			o.Ready++
		}
	}
	return &o
}

// describe is the deployment as GetDeployment shows it.
func (d *deployment) describe() deploymentInfo {
	info := d.info
	info.DeploymentOverview = d.overview()
	info.DeploymentStatusMessages = []string{}
	if info.ErrorInformation != nil {
		info.DeploymentStatusMessages = append(info.DeploymentStatusMessages, info.ErrorInformation.Message)
	}
	return info
}

// describeEvents copies the events for an answer.
func (t *target) describeEvents() []lifecycleEvent {
	events := make([]lifecycleEvent, len(t.events))
	for i, e := range t.events {
		events[i] = *e
	}
	return events
}

func (t *target) describe(d *deployment) deploymentTarget {
	return deploymentTarget{DeploymentTargetType: "InstanceTarget", InstanceTarget: &instanceTarget{
		DeploymentID: d.info.DeploymentID, TargetID: t.host.Name, TargetArn: t.host.ID, Status: t.status,
		LastUpdatedAt: t.lastUpdated(), LifecycleEvents: t.describeEvents(), InstanceLabel: t.label,
	}}
}

func (t *target) summary(d *deployment) instanceSummary {
	return instanceSummary{
		DeploymentID: d.info.DeploymentID, InstanceID: t.host.ID, Status: t.status,
		LastUpdatedAt: t.lastUpdated(), LifecycleEvents: t.describeEvents(), InstanceType: t.label,
	}
}

func (t *target) lastUpdated() *epoch {
	if t.updated.IsZero() {
		return nil
	}
	return stamp(t.updated)
}

// event finds a lifecycle event by name.
func (t *target) event(name string) *lifecycleEvent {
	for _, e := range t.events {
		if e.LifecycleEventName == name {
			return e
		}
	}
	return nil
}

// errorCodes translates the protocol's codes (P-58) into the public API's.
var errorCodes = []string{"Success", "ScriptMissing", "ScriptNotExecutable", "ScriptTimedOut", "ScriptFailed"}

// diagnosticsOf is what the public API makes of an agent's report.
func diagnosticsOf(o outcome) *Diagnostics {
	d := &Diagnostics{ErrorCode: "UnknownError", ScriptName: o.script, Message: o.message, LogTail: o.log}
	switch {
	case o.succeeded:
		d.ErrorCode, d.Message = errorCodes[0], strings.TrimSuffix(o.message, ": ")
	case o.code > 0 && o.code < len(errorCodes):
		d.ErrorCode = errorCodes[o.code]
	}
	return d
}

// addTarget gives a host its place in the deployment, with the events that await it.
func (s *service) addTarget(d *deployment, h *host, label string) error {
	specification, err := s.specification(d, d.info.Revision.GitHubLocation)
	if err != nil {
		return fmt.Errorf("specification for %s: %w", h.ID, err)
	}
	t := &target{
		host: h, label: label, status: statusPending, specification: specification,
		executionID: fmt.Sprintf("%s/%s/%s/%s", s.region, s.account, d.info.DeploymentID, h.Name[:min(len(h.Name), 80)]), // P-25
	}
	for _, name := range eventsOf(d.plan, label) {
		t.events = append(t.events, &lifecycleEvent{LifecycleEventName: name, Status: statusPending})
	}
	d.targets = append(d.targets, t)
	return nil
}

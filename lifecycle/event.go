// Package lifecycle is the engine on the instance: it takes one deployment command at a time and leaves the host either on
// the new revision or as it was, and says why.
//
// It owns the deployment root on disk (the layout of the official agent, so that a host can be switched over and back), the
// table of lifecycle events, the tickets that make every command repeatable after a crash, and the result of each command.
// It knows nothing of the service: package agent brings commands and carries results away.
package lifecycle

// Event is the name of a lifecycle event, which is also the name of the host command that asks for it.
type Event string

// The events of a deployment, in the order in which a complete one runs them (L-13).
const (
	BeforeBlockTraffic Event = "BeforeBlockTraffic"
	AfterBlockTraffic  Event = "AfterBlockTraffic"
	ApplicationStop    Event = "ApplicationStop"
	DownloadBundle     Event = "DownloadBundle"
	BeforeInstall      Event = "BeforeInstall"
	Install            Event = "Install"
	AfterInstall       Event = "AfterInstall"
	ApplicationStart   Event = "ApplicationStart"
	ValidateService    Event = "ValidateService"
	BeforeAllowTraffic Event = "BeforeAllowTraffic"
	AfterAllowTraffic  Event = "AfterAllowTraffic"
)

// UpdateDeploymentAgent is a command of the service to official agents of version 2. It is never run here: it would install
// another agent beside this one (V-34).
const UpdateDeploymentAgent Event = "UpdateDeploymentAgent"

// whose says which revision's scripts an event runs (H-3).
type whose int

const (
	thisRevision   whose = iota // the revision being deployed
	lastSuccessful              // the one whose Install step last succeeded (I-8)
	mostRecent                  // the one that was last downloaded (I-9)
)

func (w whose) String() string {
	return [...]string{"this revision", "the last successful revision", "the most recent revision"}[w]
}

// work is what the engine does for an event.
type work int

const (
	runScripts work = iota
	downloadBundle
	installFiles
)

// event is one row of the lifecycle.
type event struct {
	name Event
	does work
	// revision is whose scripts run; rollback is the same for the rollback of a blue/green deployment (H-4).
	revision, rollback whose
}

// events is the lifecycle as one table: the order, what each event does, and whose scripts it runs. The no-op answer, the
// check of an appspec's events, local deployments and the documentation all read it.
var events = []event{
	{BeforeBlockTraffic, runScripts, lastSuccessful, mostRecent},
	{AfterBlockTraffic, runScripts, lastSuccessful, mostRecent},
	{ApplicationStop, runScripts, lastSuccessful, lastSuccessful},
	{DownloadBundle, downloadBundle, thisRevision, thisRevision},
	{BeforeInstall, runScripts, thisRevision, thisRevision},
	{Install, installFiles, thisRevision, thisRevision},
	{AfterInstall, runScripts, thisRevision, thisRevision},
	{ApplicationStart, runScripts, thisRevision, thisRevision},
	{ValidateService, runScripts, thisRevision, thisRevision},
	{BeforeAllowTraffic, runScripts, thisRevision, lastSuccessful},
	{AfterAllowTraffic, runScripts, thisRevision, lastSuccessful},
}

// Events returns the names of all lifecycle events in order (L-13).
func Events() []Event {
	names := make([]Event, len(events))
	for i, e := range events {
		names[i] = e.name
	}
	return names
}

// Known reports whether the engine can do the event.
func (e Event) Known() bool {
	_, ok := e.row()
	return ok
}

func (e Event) row() (event, bool) {
	for _, row := range events {
		if row.name == e {
			return row, true
		}
	}
	return event{}, false
}

// revisionFor says whose scripts the event runs in the deployment (H-3, H-4). A name outside the table runs the scripts of
// the revision being deployed (H-3e).
func (e Event) revisionFor(d *Deployment) whose {
	row, ok := e.row()
	switch {
	case !ok:
		return thisRevision
	case d.blueGreenRollback():
		return row.rollback
	default:
		return row.revision
	}
}

// scripted returns the events that run scripts: the mapped commands of H-1.
func scripted() []string {
	var names []string
	for _, row := range events {
		if row.does == runScripts {
			names = append(names, string(row.name))
		}
	}
	return names
}

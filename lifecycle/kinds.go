package lifecycle

import "slices"

// Events that the service carries out itself, by means of the balancer. No command comes for them, and no script can run.
const (
	BlockTraffic Event = "BlockTraffic"
	AllowTraffic Event = "AllowTraffic"
)

// ByService reports whether the service carries the event out itself.
func (e Event) ByService() bool { return e == BlockTraffic || e == AllowTraffic }

// Kind is one way in which a deployment comes to hosts: which events, in which order, on which of them.
type Kind struct {
	Name   string // as slipway explain takes it
	Title  string // in a few words
	About  string // what it is for, and what decides that it is this one
	Phases []Phase
	Ends   string // what a failure makes of the deployment as a whole
}

// Phase is what one set of hosts goes through before the next phase begins.
type Phase struct {
	Title         string
	Hosts         string // which hosts
	Creator, Type string // of the specification, as far as they decide whose scripts run (H-4)
	Before        string // what the service does first, or waits for; empty for nothing
	Steps         []Stage
}

// Stage is one event of a phase.
type Stage struct {
	Event   Event
	Whose   string // whose revision's scripts run (H-3, H-4); empty where none can
	Does    string // what happens
	Traffic string // what the balancer sees of the host meanwhile
	Failure string // what a failure leaves on the host
}

// Events are those of the phases that end in an installation on one host, in order, without the service's own; of a kind that installs
// nothing, those of its first phase.
func (k Kind) Events() (list []Event) {
	for _, p := range k.Phases {
		if list != nil && p.Hosts != k.Phases[0].Hosts {
			break
		}
		for _, s := range p.Steps {
			if !s.Event.ByService() {
				list = append(list, s.Event)
			}
		}
	}
	return list
}

// Installs reports whether the kind installs a revision on the hosts of its first phase.
func (k Kind) Installs() bool { return slices.Contains(k.Events(), Install) }

// What the balancer sees of a host.
const (
	noBalancer   = "there is no balancer, or it is not told: requests reach the host all the while"
	registered   = "healthy: requests come in"
	draining     = "being taken out: no new requests, those under way are given the deregistration delay"
	out          = "out of the target group: no requests"
	notYet       = "not in the target group yet: no requests"
	entering     = "being registered: requests come once the health check is passed"
	registeredIn = "healthy: requests come in, those of the new revision"
)

// What a failure leaves.
const (
	oldRuns      = "the old revision, untouched and running"
	oldStopping  = "the old revision's files; how far it is stopped, its own script decides"
	oldStopped   = "the old revision's files, stopped; nothing of the new one is installed, its archive is removed"
	oldFiles     = "the old revision's files, whole, stopped; what the script did stays"
	oldOrNew     = "the old revision's files, whole: an installation that fails is undone"
	newFiles     = "the new revision's files, whole, and what the script did; from here on it is the last successful revision"
	newRuns      = "the new revision, installed and perhaps running"
	outOfTraffic = "; the host stays out of the balancer"
)

// texts are what an event does, in every kind.
var texts = map[Event]string{
	BeforeBlockTraffic: "scripts before the balancer takes the host out",
	BlockTraffic:       "the service takes the host out of the balancer and waits until it is drained",
	AfterBlockTraffic:  "scripts after no request comes any more",
	ApplicationStop:    "scripts that stop the application",
	DownloadBundle:     "the bundle is fetched, verified and unpacked beside the old one; old deployments are pruned",
	BeforeInstall:      "scripts before the files are touched",
	Install:            "the files of the old revision are replaced by those of the new one, in one transaction",
	AfterInstall:       "scripts that configure what was installed",
	ApplicationStart:   "scripts that start the application",
	ValidateService:    "scripts that make sure that it works",
	BeforeAllowTraffic: "scripts before the balancer lets the host in",
	AllowTraffic:       "the service registers the host with the balancer and waits until it is healthy",
	AfterAllowTraffic:  "scripts after requests come in",
}

// doing is one step before it is known whose scripts run.
type doing struct {
	event            Event
	traffic, failure string
}

// installing are the events that bring a revision to a host, with what the balancer sees meanwhile.
func installing(traffic, suffix string) []doing {
	return []doing{
		{ApplicationStop, traffic, oldStopping + suffix},
		{DownloadBundle, traffic, oldStopped + suffix},
		{BeforeInstall, traffic, oldFiles + suffix},
		{Install, traffic, oldOrNew + suffix},
		{AfterInstall, traffic, newFiles + suffix},
		{ApplicationStart, traffic, newRuns + suffix},
		{ValidateService, traffic, newRuns + suffix},
	}
}

// fresh are the events that bring a revision to a host that has none.
func fresh() []doing {
	const nothing = "a host without the application"
	list := installing(notYet, "; no requests")
	for i := range list[:4] {
		list[i].failure = nothing
	}
	list[0].failure = "the host as it was launched"
	return list
}

func blocking(before, after string) []doing {
	return []doing{{BeforeBlockTraffic, registered, before}, {BlockTraffic, draining, before}, {AfterBlockTraffic, out, after}}
}

func allowing(failure, in string) []doing {
	return []doing{{BeforeAllowTraffic, out, failure + outOfTraffic}, {AllowTraffic, entering, failure + "; whether requests come in, its health check decides"}, {AfterAllowTraffic, in, failure + "; requests come in"}}
}

func phase(p Phase, steps ...[]doing) Phase {
	d := &Deployment{Creator: p.Creator, Type: p.Type}
	for _, s := range slices.Concat(steps...) {
		one := Stage{Event: s.event, Does: texts[s.event], Traffic: s.traffic, Failure: s.failure}
		if row, ok := s.event.row(); ok && row.does == runScripts {
			one.Whose = s.event.revisionFor(d).String()
		}
		p.Steps = append(p.Steps, one)
	}
	return p
}

const (
	creatorUser        = defaultCreator
	creatorRollback    = "codeDeployRollback"
	creatorAutoscaling = "autoscaling"
	typeBlueGreen      = "BLUE_GREEN"
)

// Kinds are the ways in which a deployment comes to a host. Whose scripts each event runs is taken from the table of events.
func Kinds() []Kind {
	const perHost = "A failed event ends the deployment on this host; later events are skipped. Whether other hosts go on, the deployment configuration's minimum of healthy hosts decides."
	notYetNew := allowing("the new revision, installed", registeredIn)
	notYetNew[0].traffic = notYet
	return []Kind{
		{
			Name: "in-place", Title: "in place, without a balancer",
			About:  "The new revision takes the place of the old one on the same hosts. The deployment group has no load balancer, or the deployment option is WITHOUT_TRAFFIC_CONTROL: the service sends no traffic events. ApplicationStop runs the scripts of the revision that is installed, not those of the one that comes.",
			Phases: []Phase{phase(Phase{Title: "every host", Hosts: "the hosts of the group", Creator: creatorUser, Type: defaultType}, installing(noBalancer, ""))},
			Ends:   perHost,
		},
		{
			Name: "in-place-lb", Title: "in place, behind a balancer",
			About: "As in place, and each host is taken out of the balancer before and let in again after it (WITH_TRAFFIC_CONTROL). BeforeBlockTraffic, AfterBlockTraffic and ApplicationStop run the scripts of the revision that is installed, not those of the one that comes.",
			Phases: []Phase{phase(Phase{Title: "every host", Hosts: "the hosts of the group", Creator: creatorUser, Type: defaultType},
				blocking(oldRuns, "the old revision, running"+outOfTraffic), installing(out, outOfTraffic), allowing("the new revision, installed", registeredIn))},
			Ends: perHost + " A host on which it failed stays out of the balancer.",
		},
		{
			Name: "blue-green", Title: "blue/green",
			About: "New hosts, the replacement fleet, get the new revision; then the balancer is pointed at them, and the original fleet is let go.",
			Phases: []Phase{
				phase(Phase{Title: "replacement fleet", Hosts: "the replacement fleet", Creator: creatorUser, Type: typeBlueGreen, Before: "the fleet is launched, or found by its tags"}, fresh()),
				phase(Phase{
					Title: "replacement fleet, traffic", Hosts: "the replacement fleet", Creator: creatorUser, Type: typeBlueGreen,
					Before: "every host of the fleet has got so far; with STOP_DEPLOYMENT somebody says that it may go on (READY_WAIT)",
				}, notYetNew),
				phase(Phase{Title: "original fleet", Hosts: "the original fleet", Creator: creatorUser, Type: typeBlueGreen, Before: "the replacement fleet serves"},
					blocking("the old revision, running; the new fleet serves beside it", "the old revision, running; no requests reach it")),
			},
			Ends: "Before traffic is moved a failure leaves the original fleet as it is: it serves on. Afterwards the original fleet waits for its termination time (TERMINATION_WAIT) and is then terminated, or kept (KEEP_ALIVE): until then the way back is quick (slipway explain rollback).",
		},
		{
			Name: "rollback", Title: "rollback",
			About: "By the service, after a failure or an alarm, or by hand. In place it is a deployment like any other, of the last revision that was known to be good. A blue/green deployment whose traffic was moved is taken back without installing anything: only there do other revisions' scripts run (DeploymentCreator codeDeployRollback and DeploymentType BLUE_GREEN).",
			Phases: []Phase{
				phase(Phase{Title: "in place", Hosts: "the hosts of the group", Creator: creatorRollback, Type: defaultType, Before: "the deployment was one in place; behind a balancer the traffic events of in-place-lb come around these"},
					installing(noBalancer, "")),
				phase(Phase{Title: "blue/green: original fleet", Hosts: "the original fleet", Creator: creatorRollback, Type: typeBlueGreen, Before: "the deployment was blue/green, its traffic was moved, and the original fleet is still there"},
					allowing("the old revision, installed as before", registered)),
				phase(Phase{Title: "blue/green: replacement fleet", Hosts: "the replacement fleet", Creator: creatorRollback, Type: typeBlueGreen, Before: "the original fleet serves again"},
					blocking("the new revision, running", "the new revision, running; no requests reach it")),
			},
			Ends: "A rollback that fails is not rolled back. The last successful revision is the one that Install has last put on the host, whatever became of the events after it: in place the ApplicationStop of the very revision that is taken back runs. slipway rollback brings an earlier revision back without the service.",
		},
		{
			Name: "asg-launch", Title: "Auto Scaling: a host is launched",
			About: "The lifecycle hook of the Auto Scaling group keeps the new host waiting (Pending:Wait) until the revision of the group is on it. Without a load balancer in the deployment group the last three events are left out.",
			Phases: []Phase{phase(Phase{Title: "the new host", Hosts: "the host that is launched", Creator: creatorAutoscaling, Type: defaultType, Before: "the agent of the host has come up and asks for commands"},
				fresh(), notYetNew)},
			Ends: "A failure gives the launch up: the Auto Scaling group terminates the host and launches another one. An image in which an older revision is installed has a last successful revision, and its ApplicationStop runs.",
		},
		{
			Name: "asg-terminate", Title: "Auto Scaling: a host is terminated",
			About: "Only if the deployment group has the termination hook. Nothing is deployed: the application is taken out of traffic and stopped before the host goes (target lifecycle state Terminated). Without a load balancer the first three events are left out.",
			Phases: []Phase{phase(Phase{Title: "the host", Hosts: "the host that is terminated", Creator: creatorAutoscaling, Type: defaultType},
				blocking("the host goes all the same", "the host goes all the same"), []doing{{ApplicationStop, out, "the host goes all the same"}})},
			Ends: "The host is terminated whatever the scripts say; they have the time of the lifecycle hook. The agent fetches nothing early on such a host.",
		},
	}
}

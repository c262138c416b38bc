package lab

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Words of the public API that the code decides by.
const (
	withTraffic     = "WITH_TRAFFIC_CONTROL"
	withoutTraffic  = "WITHOUT_TRAFFIC_CONTROL"
	typeInPlace     = "IN_PLACE"
	typeBlueGreen   = "BLUE_GREEN"
	creatorUser     = "user"
	creatorRollback = "codeDeployRollback"

	configAllAtOnce   = "CodeDeployDefault.AllAtOnce"
	configHalfAtATime = "CodeDeployDefault.HalfAtATime"
	configOneAtATime  = "CodeDeployDefault.OneAtATime"

	statusCreated    = "Created"
	statusPending    = "Pending"
	statusInProgress = "InProgress"
	statusSucceeded  = "Succeeded"
	statusFailed     = "Failed"
	statusSkipped    = "Skipped"
	statusStopped    = "Stopped"
	statusReady      = "Ready"
)

// commands is how the service reaches the agents.
type commands interface {
	// enqueue hands one event to a host, under an id that nothing had before.
	enqueue(id, hostID, executionID, event string, specification []byte) error
	// await returns how the command ended.
	await(ctx context.Context, id string) (outcome, error)
	// withdraw takes back a command that no agent has acknowledged; it is never handed out again.
	withdraw(id string)
}

// command is the event that a command stands for.
type command struct {
	deployment *deployment
	target     *target
	event      *lifecycleEvent
}

// outcome is an agent's report in the protocol's terms (P-53).
type outcome struct {
	succeeded            bool
	code                 int
	script, message, log string
}

// application is one application with what hangs on it.
type application struct {
	info      applicationInfo
	groups    map[string]*deploymentGroupInfo
	revisions []*revision
}

// revision is one registered or used revision.
type revision struct {
	location revisionLocation
	info     genericRevisionInfo
}

// service is CodeDeploy: its records, and the orchestration of deployments.
type service struct {
	region, account string
	log             *zap.Logger
	hub             *hub
	commands        commands
	eventTimeout    time.Duration
	minute          time.Duration
	traffic         func(ctx context.Context, event string, host Host) error
	possible        []string
	ctx             context.Context //nolint:containedctx // the life of the orchestration goroutines, which outlive the calls that start them
	running         sync.WaitGroup

	mu           sync.Mutex // guards all below
	applications map[string]*application
	configs      map[string]*deploymentConfigInfo
	deployments  map[string]*deployment
	order        []*deployment      // oldest first
	byCommand    map[string]command // what the agents have in hand, by command id
	hosts        []*host
	onPremises   map[string]*instanceInfo
	tags         map[string][]tag   // by resource ARN
	fleets       map[string][]*host // by deployment group id: who serves after a blue/green deployment
}

func newService(ctx context.Context, o Options, h *hub, c commands) *service {
	s := &service{
		region: o.Region, account: o.Account, log: o.Log.Named("codedeploy"), hub: h, commands: c, ctx: ctx,
		eventTimeout: o.EventTimeout, minute: o.Minute, traffic: o.Traffic, possible: o.PossibleEvents,
		applications: map[string]*application{}, configs: map[string]*deploymentConfigInfo{}, deployments: map[string]*deployment{},
		byCommand:  map[string]command{},
		onPremises: map[string]*instanceInfo{}, tags: map[string][]tag{}, fleets: map[string][]*host{},
	}
	for name, percent := range map[string]int{configAllAtOnce: 0, configHalfAtATime: 50, configOneAtATime: 99} {
		s.configs[name] = &deploymentConfigInfo{
			DeploymentConfigID: newUUID(), DeploymentConfigName: name, ComputePlatform: "Server", CreateTime: stamp(time.Now()),
			MinimumHealthyHosts: &minimumHealthyHosts{Type: "FLEET_PERCENT", Value: percent},
		}
	}
	return s
}

// newUUID is a random identifier in the usual form.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// newDeploymentID is d- and nine capitals or digits.
func newDeploymentID() string { return "d-" + rand.Text()[:9] }

// newest returns what s.order holds, latest first. The caller holds mu.
func (s *service) newest() []*deployment {
	all := slices.Clone(s.order)
	slices.Reverse(all)
	return all
}

// declare adds a host or describes a known one anew.
func (s *service) declare(h *host) *host {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.declareLocked(h)
}

func (s *service) declareLocked(h *host) *host {
	if old := s.host(h.ID); old != nil {
		old.Tags, old.implied = cmp0(h.Tags, old.Tags), old.implied && h.implied
		old.AutoScalingGroup = cmp.Or(h.AutoScalingGroup, old.AutoScalingGroup)
		old.LifecycleState = cmp.Or(h.LifecycleState, old.LifecycleState)
		return old
	}
	s.hosts = append(s.hosts, h)
	return h
}

// cmp0 is the first map that is not nil.
func cmp0(a, b map[string]string) map[string]string {
	if a != nil {
		return a
	}
	return b
}

// host finds a host by identifier or name. The caller holds mu.
func (s *service) host(id string) *host {
	for _, h := range s.hosts {
		if h.ID == id || h.Name == id {
			return h
		}
	}
	return nil
}

// seen records a sign of life of a host; one never heard of is added.
func (s *service) seen(id, version string) {
	if id == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.host(id)
	if h == nil {
		h = &host{Host: Host{ID: id, Name: nameOf(id), Tags: map[string]string{}, OnPremises: !isInstance(id)}}
		s.hosts = append(s.hosts, h)
	}
	h.LastSeen = time.Now()
	h.Version = cmp.Or(version, h.Version)
	if h.FirstSeen.IsZero() {
		h.FirstSeen = h.LastSeen
		s.hub.publish(Event{Kind: "host", Target: h.Name, Status: "seen", Message: h.ID})
	}
}

// members are the hosts that a deployment group selects, in the order in which the lab came to know them. A group
// without any filter has all hosts that gave a sign of life or were declared on purpose. The caller holds mu.
func (s *service) members(g *deploymentGroupInfo) []*host {
	open := len(g.EC2TagFilters) == 0 && len(g.OnPremisesInstanceTagFilters) == 0 && g.EC2TagSet == nil && g.OnPremisesTagSet == nil && len(g.AutoScalingGroups) == 0
	var all, implied []*host
	for _, h := range s.hosts {
		switch {
		case h.deregistered || h.LifecycleState == "Terminated":
		case open && h.implied && h.FirstSeen.IsZero():
			implied = append(implied, h)
		case open || s.selects(g, h):
			all = append(all, h)
		}
	}
	if len(all) == 0 {
		return implied
	}
	return all
}

// selects tells whether a group's filters take a host.
func (s *service) selects(g *deploymentGroupInfo, h *host) bool {
	if slices.ContainsFunc(g.AutoScalingGroups, func(a named) bool { return a.Name == h.AutoScalingGroup && a.Name != "" }) {
		return true
	}
	if h.OnPremises {
		return matchesAny(g.OnPremisesInstanceTagFilters, h.Tags) || g.OnPremisesTagSet != nil && matchesSet(g.OnPremisesTagSet.List, h.Tags)
	}
	return matchesAny(g.EC2TagFilters, h.Tags) || g.EC2TagSet != nil && matchesSet(g.EC2TagSet.List, h.Tags)
}

// matchesAny: within one list any filter will do.
func matchesAny(filters []tagFilter, tags map[string]string) bool {
	return slices.ContainsFunc(filters, func(f tagFilter) bool {
		value, has := tags[f.Key]
		switch f.Type {
		case "KEY_ONLY":
			return has
		case "VALUE_ONLY":
			return slices.Contains(slices.Collect(maps.Values(tags)), f.Value)
		}
		return has && value == f.Value
	})
}

// matchesSet: of several lists each must be met.
func matchesSet(lists [][]tagFilter, tags map[string]string) bool {
	for _, l := range lists {
		if !matchesAny(l, tags) {
			return false
		}
	}
	return len(lists) > 0
}

// specification is the deployment specification for one host (protocol.md section 8).
func (s *service) specification(d *deployment, repository *gitHubLocation) ([]byte, error) {
	spec := map[string]any{
		"DeploymentId":        fmt.Sprintf("arn:%s:codedeploy:%s:%s:deployment/%s", partition(s.region), s.region, s.account, d.info.DeploymentID),
		"DeploymentGroupId":   d.groupID,
		"DeploymentGroupName": d.info.DeploymentGroupName,
		"ApplicationName":     d.info.ApplicationName,
		"ApplicationId":       d.applicationID,
		"DeploymentCreator":   d.info.Creator,
		"DeploymentType":      d.info.DeploymentStyle.DeploymentType,
		"AppSpecFilename":     "appspec.yml",
		"AgentActionOverrides": map[string]any{
			"AgentOverrides": map[string]any{"FileExistsBehavior": d.info.FileExistsBehavior},
		},
		"Target": map[string]any{"DeploymentTargetType": "InstanceTarget"},
	}
	if len(s.possible) > 0 {
		spec["AllPossibleLifecycleEvents"] = s.possible
	}
	switch r := d.info.Revision; {
	case r.S3Location != nil:
		l := map[string]any{"Bucket": r.S3Location.Bucket, "Key": r.S3Location.Key, "BundleType": r.S3Location.BundleType}
		if r.S3Location.Version != "" {
			l["Version"] = r.S3Location.Version
		}
		if r.S3Location.ETag != "" {
			l["ETag"] = r.S3Location.ETag
		}
		spec["Revision"] = map[string]any{"RevisionType": "S3", "S3Revision": l}
	case repository != nil:
		account, name, _ := strings.Cut(repository.Repository, "/")
		spec["Revision"] = map[string]any{"RevisionType": "GitHub", "GitHubRevision": map[string]any{
			"Account": account, "Repository": name, "CommitId": repository.CommitID,
		}}
	}
	return json.Marshal(spec)
}

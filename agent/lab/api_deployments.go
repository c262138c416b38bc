package lab

import (
	"cmp"
	"regexp"
	"slices"
	"time"
)

type createDeploymentInput struct {
	ApplicationName, DeploymentGroupName, DeploymentConfigName, Description, FileExistsBehavior string
	Revision                                                                                    *revisionLocation
	IgnoreApplicationStopFailures, UpdateOutdatedInstancesOnly                                  bool
	TargetInstances                                                                             *targetInstances
	AutoRollbackConfiguration                                                                   *autoRollback
}

func (s *service) createDeployment(in *createDeploymentInput) (any, error) {
	a, g, err := s.groupNamed(in.ApplicationName, in.DeploymentGroupName)
	if err != nil {
		return nil, err
	}
	if in.Revision == nil && g.TargetRevision != nil && in.UpdateOutdatedInstancesOnly {
		in.Revision = g.TargetRevision
	}
	if err := checkRevision(in.Revision); err != nil {
		return nil, err
	}
	if len(in.Description) > 256 {
		return nil, refuse("DescriptionTooLongException", "The description is too long.")
	}
	in.FileExistsBehavior = cmp.Or(in.FileExistsBehavior, "DISALLOW")
	if !slices.Contains([]string{"DISALLOW", "OVERWRITE", "RETAIN"}, in.FileExistsBehavior) {
		return nil, refuse("InvalidFileExistsBehaviorException", "An invalid fileExistsBehavior option was specified: %s", in.FileExistsBehavior)
	}
	in.DeploymentConfigName = cmp.Or(in.DeploymentConfigName, g.DeploymentConfigName)
	if _, err := s.configNamed(in.DeploymentConfigName); err != nil {
		return nil, err
	}
	if active := s.active(g.DeploymentGroupID); active != nil {
		return nil, refuse("DeploymentLimitExceededException", "The Deployment Group '%s' already has an active Deployment '%s'", g.DeploymentGroupName, active.info.DeploymentID)
	}
	d := s.newDeployment(a, g, deploymentInfo{
		DeploymentConfigName: in.DeploymentConfigName, Revision: in.Revision, Description: in.Description, Creator: creatorUser,
		IgnoreApplicationStopFailures: in.IgnoreApplicationStopFailures, UpdateOutdatedInstancesOnly: in.UpdateOutdatedInstancesOnly,
		TargetInstances: in.TargetInstances, FileExistsBehavior: in.FileExistsBehavior, AutoRollbackConfiguration: in.AutoRollbackConfiguration,
	})
	if err := s.place(d, g); err != nil {
		return nil, err
	}
	s.launch(a, g, d)
	return map[string]string{"deploymentId": d.info.DeploymentID}, nil
}

// active is the deployment in hand of a group.
func (s *service) active(groupID string) *deployment {
	for _, d := range s.newest() {
		if d.groupID == groupID && !d.over() {
			return d
		}
	}
	return nil
}

// newDeployment takes over what the group says.
func (s *service) newDeployment(a *application, g *deploymentGroupInfo, info deploymentInfo) *deployment {
	info.ApplicationName, info.DeploymentGroupName = a.info.ApplicationName, g.DeploymentGroupName
	info.DeploymentID, info.Status, info.CreateTime, info.ComputePlatform = newDeploymentID(), statusCreated, stamp(time.Now()), "Server"
	info.PreviousRevision, info.LoadBalancerInfo, info.BlueGreen = g.TargetRevision, g.LoadBalancerInfo, g.BlueGreen
	info.DeploymentStyle = new(style)
	*info.DeploymentStyle = *g.DeploymentStyle
	if info.AutoRollbackConfiguration == nil {
		info.AutoRollbackConfiguration = g.AutoRollbackConfiguration
	}
	return &deployment{
		info: info, groupID: g.DeploymentGroupID, applicationID: a.info.ApplicationID,
		plan:   planOf(info.DeploymentStyle, info.Creator, false),
		resume: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// place finds the instances of a deployment. To have none is not an error of the call: the deployment fails.
func (s *service) place(d *deployment, g *deploymentGroupInfo) error {
	old := s.members(g)
	var fresh []*host
	if d.info.DeploymentStyle.DeploymentType == typeBlueGreen {
		if serving := s.fleets[d.groupID]; serving != nil {
			old = slices.DeleteFunc(slices.Clone(serving), func(h *host) bool { return h.LifecycleState == "Terminated" })
		}
		fresh = s.newFleet(d, old)
		if len(fresh) == 0 {
			d.problem = &errorInformation{Code: "NO_INSTANCES", Message: msgNoInstances}
		}
	} else if len(old) == 0 {
		d.problem = &errorInformation{Code: "NO_INSTANCES", Message: msgNoInstances}
	}
	for _, h := range fresh {
		if err := s.addTarget(d, h, green); err != nil {
			return err
		}
	}
	for _, h := range old {
		if slices.Contains(fresh, h) {
			continue
		}
		if err := s.addTarget(d, h, blue); err != nil {
			return err
		}
	}
	return nil
}

// newFleet are the instances of a blue/green deployment's new environment: those that the deployment names, else
// every live instance that does not serve now, which stands for the fleet that the service would launch.
func (s *service) newFleet(d *deployment, old []*host) []*host {
	t := d.info.TargetInstances
	var fleet []*host
	for _, h := range s.hosts {
		switch {
		case h.LifecycleState == "Terminated" || h.deregistered:
		case t == nil && !slices.Contains(old, h):
			fleet = append(fleet, h)
		case t != nil && (matchesAny(t.TagFilters, h.Tags) || t.EC2TagSet != nil && matchesSet(t.EC2TagSet.List, h.Tags) || slices.Contains(t.AutoScalingGroups, h.AutoScalingGroup)):
			fleet = append(fleet, h)
		}
	}
	return fleet
}

// launch records a deployment and starts it.
func (s *service) launch(a *application, g *deploymentGroupInfo, d *deployment) {
	s.deployments[d.info.DeploymentID] = d
	s.order = append(s.order, d)
	r := a.note(d.info.Revision)
	if r.info.LastUsedTime = d.info.CreateTime; r.info.FirstUsedTime == nil {
		r.info.FirstUsedTime = d.info.CreateTime
	}
	if !slices.Contains(r.info.DeploymentGroups, g.DeploymentGroupName) {
		r.info.DeploymentGroups = append(r.info.DeploymentGroups, g.DeploymentGroupName)
	}
	g.LastAttemptedDeployment = &lastDeployment{DeploymentID: d.info.DeploymentID, Status: statusCreated, CreateTime: d.info.CreateTime}
	s.hub.publish(Event{Kind: "deployment", Deployment: d.info.DeploymentID, Status: statusCreated})
	s.running.Go(func() { s.orchestrate(d) })
}

// newRollback is the deployment that undoes d: its previous revision on the same instances, or, once traffic was
// moved, the way back to the old fleet.
func (s *service) newRollback(d *deployment) (*deployment, error) {
	a, g, err := s.groupNamed(d.info.ApplicationName, d.info.DeploymentGroupName)
	if err != nil {
		return nil, err
	}
	back := s.newDeployment(a, g, deploymentInfo{
		DeploymentConfigName: d.info.DeploymentConfigName, Revision: d.info.PreviousRevision, Creator: creatorRollback,
		Description:        "Rollback of " + d.info.DeploymentID,
		FileExistsBehavior: d.info.FileExistsBehavior, IgnoreApplicationStopFailures: d.info.IgnoreApplicationStopFailures,
		RollbackInfo: &rollbackInfo{RollbackTriggeringDeploymentID: d.info.DeploymentID},
	})
	if d.info.DeploymentStyle.DeploymentType == typeBlueGreen {
		if !d.rerouted {
			return nil, refuse("UnsupportedActionForDeploymentTypeException", "traffic was not moved, so the old fleet still serves")
		}
		back.plan, back.rerouted = planOf(back.info.DeploymentStyle, creatorRollback, true), true
	}
	for _, t := range d.targets {
		if err := s.addTarget(back, t.host, t.label); err != nil {
			return nil, err
		}
	}
	s.launch(a, g, back)
	return back, nil
}

var deploymentIDPattern = regexp.MustCompile(`^d-[A-Z0-9]{9}$`)

// deploymentNamed finds a deployment.
func (s *service) deploymentNamed(id string) (*deployment, error) {
	switch {
	case id == "":
		return nil, refuse("DeploymentIdRequiredException", "A deployment ID is required.")
	case !deploymentIDPattern.MatchString(id):
		return nil, refuse("InvalidDeploymentIdException", "%s is not a valid deployment ID", id)
	case s.deployments[id] == nil:
		return nil, refuse("DeploymentDoesNotExistException", "The deployment %s could not be found", id)
	}
	return s.deployments[id], nil
}

type deploymentID struct{ DeploymentID, NextToken string }

func (s *service) getDeployment(in *deploymentID) (any, error) {
	d, err := s.deploymentNamed(in.DeploymentID)
	if err != nil {
		return nil, err
	}
	return map[string]any{"deploymentInfo": d.describe()}, nil
}

func (s *service) batchGetDeployments(in *struct{ DeploymentIDs []string }) (any, error) {
	infos := []deploymentInfo{}
	for _, id := range in.DeploymentIDs {
		if d := s.deployments[id]; d != nil {
			infos = append(infos, d.describe())
		}
	}
	return map[string]any{"deploymentsInfo": infos}, nil
}

func (s *service) listDeployments(in *struct {
	ApplicationName, DeploymentGroupName, NextToken string
	IncludeOnlyStatuses                             []string
	CreateTimeRange                                 *struct{ Start, End *epoch }
},
) (any, error) {
	if in.ApplicationName != "" {
		if _, err := s.applicationNamed(in.ApplicationName); err != nil {
			return nil, err
		}
	}
	if in.DeploymentGroupName != "" {
		if _, _, err := s.groupNamed(in.ApplicationName, in.DeploymentGroupName); err != nil {
			return nil, err
		}
	}
	ids := []string{}
	for _, d := range s.newest() {
		created, r := time.Time(*d.info.CreateTime), in.CreateTimeRange
		switch {
		case in.ApplicationName != "" && d.info.ApplicationName != in.ApplicationName:
		case in.DeploymentGroupName != "" && d.info.DeploymentGroupName != in.DeploymentGroupName:
		case len(in.IncludeOnlyStatuses) > 0 && !slices.Contains(in.IncludeOnlyStatuses, d.info.Status):
		case r != nil && r.Start != nil && created.Before(time.Time(*r.Start)), r != nil && r.End != nil && created.After(time.Time(*r.End)):
		default:
			ids = append(ids, d.info.DeploymentID)
		}
	}
	ids, next, err := page(ids, in.NextToken, pageSize)
	if err != nil {
		return nil, err
	}
	return list("deployments", ids, next), nil
}

func (s *service) stopDeployment(in *struct {
	DeploymentID        string
	AutoRollbackEnabled bool
},
) (any, error) {
	d, err := s.deploymentNamed(in.DeploymentID)
	if err != nil {
		return nil, err
	}
	if d.over() {
		return nil, refuse("DeploymentAlreadyCompletedException", "The deployment %s has already completed with status %s", in.DeploymentID, d.info.Status)
	}
	d.rollBack = d.rollBack || in.AutoRollbackEnabled
	if !d.stopping {
		d.stopping = true
		close(d.stop)
	}
	return map[string]string{"status": "Pending", "statusMessage": "No more events will be scheduled for this deployment."}, nil
}

func (s *service) continueDeployment(in *struct{ DeploymentID, DeploymentWaitType string }) (any, error) {
	d, err := s.deploymentNamed(in.DeploymentID)
	if err != nil {
		return nil, err
	}
	in.DeploymentWaitType = cmp.Or(in.DeploymentWaitType, readyWait)
	switch {
	case d.over():
		return nil, refuse("DeploymentAlreadyCompletedException", "The deployment %s has already completed with status %s", in.DeploymentID, d.info.Status)
	case d.info.DeploymentStyle.DeploymentType != typeBlueGreen:
		return nil, refuse("UnsupportedActionForDeploymentTypeException", "Only blue/green deployments can be continued.")
	case d.waiting != in.DeploymentWaitType:
		return nil, refuse("DeploymentIsNotInReadyStateException", "The deployment %s does not wait for %s.", in.DeploymentID, in.DeploymentWaitType)
	}
	select {
	case d.resume <- struct{}{}:
	default: // asked before
	}
	return nil, nil
}

func (s *service) skipTerminationWait(in *struct{ DeploymentID string }) (any, error) {
	return s.continueDeployment(&struct{ DeploymentID, DeploymentWaitType string }{in.DeploymentID, terminationWait})
}

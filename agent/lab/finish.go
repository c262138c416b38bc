package lab

import (
	"slices"
	"time"
)

// pause is one of the waits of a blue/green deployment: until its time is over or continue-deployment is called.
func (s *service) pause(d *deployment, wait string) *errorInformation {
	length, stops := s.pauseLength(d, wait)
	if length <= 0 {
		return nil
	}
	s.mu.Lock()
	d.waiting = wait
	if wait == readyWait {
		s.setStatus(d, statusReady)
	} else {
		d.info.InstanceTerminationWaitTimeStarted = true
	}
	s.mu.Unlock()
	timer := time.NewTimer(length)
	defer timer.Stop()
	var problem *errorInformation
	select {
	case <-d.resume:
	case <-timer.C:
		if stops {
			problem = &errorInformation{Code: "TIMEOUT", Message: "The deployment was stopped because traffic was not rerouted within the time that the deployment group allows."}
		}
	case <-d.stop:
		problem = &errorInformation{Code: "MANUAL_STOP", Message: msgStopped}
	case <-s.ctx.Done():
		problem = &errorInformation{Code: "INTERNAL_ERROR", Message: "The lab is closing."}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.waiting = ""
	if wait == readyWait {
		s.setStatus(d, statusInProgress)
	}
	return problem
}

// pauseLength says how long a wait may last, and whether the deployment stops at its end.
func (s *service) pauseLength(d *deployment, wait string) (length time.Duration, stops bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := d.info.BlueGreen
	switch {
	case b == nil:
	case wait == readyWait && b.Ready != nil:
		return time.Duration(b.Ready.WaitTimeInMinutes) * s.minute, b.Ready.ActionOnTimeout == "STOP_DEPLOYMENT"
	case wait == terminationWait && b.Terminate != nil && b.Terminate.Action == "TERMINATE":
		return time.Duration(b.Terminate.TerminationWaitTimeInMinutes) * s.minute, false
	}
	return 0, false
}

// terminate takes the old fleet out of service. The caller holds mu.
func (s *service) terminate(d *deployment, fleet []*target) {
	if d.info.BlueGreen == nil || d.info.BlueGreen.Terminate == nil || d.info.BlueGreen.Terminate.Action != "TERMINATE" {
		return
	}
	for _, t := range fleet {
		t.host.LifecycleState = "Terminated"
		s.hub.publish(Event{Kind: "host", Target: t.host.Name, Status: "Terminated", Deployment: d.info.DeploymentID})
	}
}

func hostsOf(fleet []*target) []*host {
	var hosts []*host
	for _, t := range fleet {
		hosts = append(hosts, t.host)
	}
	return hosts
}

// finish settles a deployment: instances that were never reached, its status, the records of the group and the
// revision, and the rollback if the group wants one.
func (s *service) finish(d *deployment, problem *errorInformation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range d.targets {
		for _, e := range t.events {
			if e.Status == statusPending {
				s.setEvent(d, t, e, statusSkipped, nil)
			}
		}
		switch {
		case t.status == statusPending || problem != nil && t.status == statusReady:
			t.status = statusSkipped
		case t.status == statusReady:
			t.status = statusSucceeded
		}
	}
	now := time.Now()
	d.info.CompleteTime, d.info.ErrorInformation = stamp(now), problem
	status := statusSucceeded
	if problem != nil {
		status = statusFailed
		if problem.Code == "MANUAL_STOP" {
			status = statusStopped
		}
	}
	s.settle(d, status, now)
	s.rollback(d, status)
	s.setStatus(d, status)
}

// settle brings the group's and the revision's records up to date. The caller holds mu.
func (s *service) settle(d *deployment, status string, now time.Time) {
	a := s.applications[d.info.ApplicationName]
	if a == nil {
		return // deleted meanwhile
	}
	g := a.groups[d.info.DeploymentGroupName]
	if g == nil {
		return
	}
	last := &lastDeployment{DeploymentID: d.info.DeploymentID, Status: status, CreateTime: d.info.CreateTime, EndTime: stamp(now)}
	g.LastAttemptedDeployment = last
	if status == statusSucceeded {
		g.LastSuccessfulDeployment, g.TargetRevision = last, d.info.Revision
	}
}

// rollback starts the deployment of the last good revision where the group or the stop asks for it. The caller holds mu.
func (s *service) rollback(d *deployment, status string) {
	wanted := d.rollBack
	if r := d.info.AutoRollbackConfiguration; r != nil && r.Enabled {
		wanted = wanted || status == statusFailed && slices.Contains(r.Events, "DEPLOYMENT_FAILURE") ||
			status == statusStopped && slices.Contains(r.Events, "DEPLOYMENT_STOP_ON_REQUEST")
	}
	if !wanted || status == statusSucceeded || d.info.Creator == creatorRollback {
		return
	}
	if d.info.PreviousRevision == nil {
		d.info.RollbackInfo = &rollbackInfo{RollbackMessage: "The deployment could not be rolled back because the deployment group has no last successful revision."}
		return
	}
	back, err := s.newRollback(d)
	if err != nil {
		d.info.RollbackInfo = &rollbackInfo{RollbackMessage: "The deployment could not be rolled back: " + err.Error()}
		return
	}
	d.info.RollbackInfo = &rollbackInfo{RollbackDeploymentID: back.info.DeploymentID, RollbackMessage: "The deployment is being rolled back by " + back.info.DeploymentID + "."}
}

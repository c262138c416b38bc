package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// What the API says when a deployment ends badly.
const (
	msgHealth      = "The overall deployment failed because too many individual instances failed deployment, too few healthy instances are available for deployment, or some instances in your deployment group are experiencing problems."
	msgNoInstances = "The deployment failed because no instances were found for your deployment group. Check your deployment group settings to make sure the tags for your Amazon EC2 instances or Auto Scaling groups correctly identify the instances you want to deploy to, and then try again."
	msgStopped     = "The deployment was stopped on request."
	msgNoAgent     = "CodeDeploy agent was not able to receive the lifecycle event. Check the CodeDeploy agent logs on your host and make sure the agent is running and can connect to the CodeDeploy server."
	msgNoReport    = "The deployment failed because the agent took the lifecycle event and did not report its end in time."
)

var (
	errStopped  = errors.New("stopped on request")
	errTimedOut = errors.New("no report in time")
)

// orchestrate carries a deployment to its end. It runs in a goroutine of its own.
func (s *service) orchestrate(d *deployment) {
	defer close(d.done)
	s.begin(d)
	problem := d.problem
	for _, p := range d.plan {
		if problem != nil {
			break
		}
		problem = s.phase(d, p)
	}
	s.finish(d, problem)
}

// begin turns the deployment to InProgress.
func (s *service) begin(d *deployment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.info.StartTime = stamp(time.Now())
	s.setStatus(d, statusInProgress)
}

// setStatus records and tells a deployment's status. The caller holds mu.
func (s *service) setStatus(d *deployment, status string) {
	d.info.Status = status
	e := Event{Kind: "deployment", Deployment: d.info.DeploymentID, Status: status}
	if d.over() {
		e.Took = time.Time(*d.info.CompleteTime).Sub(time.Time(*d.info.CreateTime))
		if d.info.ErrorInformation != nil {
			e.Message = d.info.ErrorInformation.Code + ": " + d.info.ErrorInformation.Message
		}
	}
	s.log.Info("deployment", zap.String("deployment", d.info.DeploymentID), zap.String("status", status))
	s.hub.publish(e)
}

// phase takes one fleet through its events, as many instances at a time as the configuration allows, and returns
// why the deployment cannot go on.
func (s *service) phase(d *deployment, p phase) *errorInformation {
	if problem := s.pause(d, p.wait); problem != nil {
		return problem
	}
	s.mu.Lock()
	var fleet []*target
	for _, t := range d.targets {
		if t.label == p.fleet && t.status != statusFailed && t.status != statusSkipped {
			fleet = append(fleet, t)
		}
	}
	limit := len(fleet)
	if p.paced {
		limit = atOnce(s.configs[d.info.DeploymentConfigName], len(fleet))
	}
	s.mu.Unlock()
	if limit == 0 && len(fleet) > 0 {
		return &errorInformation{Code: "HEALTH_CONSTRAINTS_INVALID", Message: fmt.Sprintf("The deployment configuration requires more healthy instances than can be kept while any of the %d is deployed to.", len(fleet))}
	}
	if len(p.events) > 0 {
		if problem := s.walk(d, p, fleet, limit); problem != nil {
			return problem
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.routes {
		d.rerouted = true
		s.fleets[d.groupID] = hostsOf(fleet)
	}
	if p.ends {
		s.terminate(d, fleet)
	}
	return nil
}

// walk runs a phase's events on each instance of the fleet; limit is how many may be unavailable together, those
// that failed included.
func (s *service) walk(d *deployment, p phase, fleet []*target, limit int) *errorInformation {
	results := make(chan error)
	next, running, failed, stopped := 0, 0, 0, false
	for {
		for next < len(fleet) && running+failed < limit && !stopped && !s.isStopping(d) {
			t := fleet[next]
			next, running = next+1, running+1
			go func() { results <- s.instance(d, t, p) }()
		}
		if running == 0 {
			break
		}
		err := <-results
		running--
		switch {
		case errors.Is(err, errStopped):
			stopped = true
		case err != nil:
			failed++
		}
	}
	switch {
	case stopped || s.isStopping(d):
		return &errorInformation{Code: "MANUAL_STOP", Message: msgStopped}
	case next < len(fleet) || failed > 0 && failed == len(fleet):
		return &errorInformation{Code: "HEALTH_CONSTRAINTS", Message: msgHealth}
	}
	return nil
}

// instance takes one instance through the events of a phase. The first failure ends it.
func (s *service) instance(d *deployment, t *target, p phase) error {
	s.setTarget(d, t, statusInProgress)
	for _, name := range p.events {
		e := t.event(name)
		var err error
		switch {
		case s.isStopping(d):
			err = errStopped
		case byService[name]:
			err = s.trafficEvent(d, t, e)
		default:
			err = s.agentEvent(d, t, e)
		}
		if err != nil && !errors.Is(err, errStopped) && d.info.IgnoreApplicationStopFailures && beforeNew[name] {
			continue
		}
		if err != nil {
			s.abandon(d, t, err)
			return err
		}
	}
	status := statusSucceeded
	if last := t.events[len(t.events)-1]; last.LifecycleEventName != p.events[len(p.events)-1] {
		status = statusReady // a later phase goes on with this instance
	}
	s.setTarget(d, t, status)
	return nil
}

// abandon marks what an instance will not do any more.
func (s *service) abandon(d *deployment, t *target, cause error) {
	s.mu.Lock()
	for _, e := range t.events {
		if e.Status == statusPending {
			s.setEvent(d, t, e, statusSkipped, nil)
		}
	}
	s.mu.Unlock()
	status := statusFailed
	if errors.Is(cause, errStopped) {
		status = statusSkipped
	}
	s.setTarget(d, t, status)
}

// agentEvent has the agent perform one event and waits for its report, for the event's time-out, or for a stop
// that comes before the agent took it.
func (s *service) agentEvent(d *deployment, t *target, e *lifecycleEvent) error {
	ctx, cancel := context.WithTimeoutCause(s.ctx, s.eventTimeout, errTimedOut)
	defer cancel()
	id := newUUID()
	s.mu.Lock()
	s.byCommand[id] = command{d, t, e}
	s.mu.Unlock()
	defer s.forget(id)
	if err := s.commands.enqueue(id, t.host.ID, t.executionID, e.LifecycleEventName, t.specification); err != nil {
		return s.end(d, t, e, outcome{code: 5, message: err.Error()})
	}

	type report struct {
		outcome
		err error
	}
	reported := make(chan report, 1)
	waiting, stopWaiting := context.WithCancel(ctx)
	defer stopWaiting()
	go func() {
		o, err := s.commands.await(waiting, id)
		reported <- report{o, err}
	}()
	stop := d.stop
	for {
		select {
		case r := <-reported:
			if r.err != nil {
				return s.unanswered(ctx, d, t, e, id)
			}
			return s.end(d, t, e, r.outcome)
		case <-stop:
			stop = nil // an event that the agent has begun is let finish
			if s.eventStatus(e) == statusPending {
				s.commands.withdraw(id)
				return errStopped
			}
		}
	}
}

// unanswered ends an event that nobody reported on.
func (s *service) unanswered(ctx context.Context, d *deployment, t *target, e *lifecycleEvent, id string) error {
	s.commands.withdraw(id)
	if !errors.Is(context.Cause(ctx), errTimedOut) {
		return errStopped // the lab itself is closing
	}
	message := msgNoReport
	if s.eventStatus(e) == statusPending {
		message = msgNoAgent
	}
	return s.end(d, t, e, outcome{code: 5, message: message})
}

// trafficEvent stands for the balancer.
func (s *service) trafficEvent(d *deployment, t *target, e *lifecycleEvent) error {
	s.mu.Lock()
	s.setEvent(d, t, e, statusInProgress, nil)
	h := t.host.copy()
	s.mu.Unlock()
	o := outcome{succeeded: true, message: statusSucceeded}
	if s.traffic != nil {
		ctx, cancel := context.WithTimeout(s.ctx, s.eventTimeout)
		defer cancel()
		if err := s.traffic(ctx, e.LifecycleEventName, h); err != nil {
			o = outcome{code: 5, message: err.Error()}
		}
	}
	return s.end(d, t, e, o)
}

// end records how an event ended, and returns an error if it was not well.
func (s *service) end(d *deployment, t *target, e *lifecycleEvent, o outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	diagnostics := diagnosticsOf(o)
	if o.succeeded {
		s.setEvent(d, t, e, statusSucceeded, diagnostics)
		return nil
	}
	s.setEvent(d, t, e, statusFailed, diagnostics)
	return fmt.Errorf("%s on %s: %s: %s", e.LifecycleEventName, t.host.Name, diagnostics.ErrorCode, o.message)
}

// acknowledged is called when an agent takes a command: the event is now running.
func (s *service) acknowledged(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.byCommand[id]; ok && c.event.Status == statusPending {
		s.setEvent(c.deployment, c.target, c.event, statusInProgress, nil)
	}
}

func (s *service) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byCommand, id)
}

// setEvent records and tells a lifecycle event's status. The caller holds mu.
func (s *service) setEvent(d *deployment, t *target, e *lifecycleEvent, status string, diagnostics *Diagnostics) {
	now := time.Now()
	e.Status, e.Diagnostics, t.updated = status, diagnostics, now
	if e.StartTime == nil && status != statusSkipped {
		e.StartTime = stamp(now)
	}
	told := Event{Kind: "event", Time: now, Deployment: d.info.DeploymentID, Target: t.host.Name, Event: e.LifecycleEventName, Status: status, Diagnostics: diagnostics}
	if status == statusSucceeded || status == statusFailed {
		e.EndTime = stamp(now)
		told.Took = now.Sub(time.Time(*e.StartTime))
	}
	s.hub.publish(told)
}

// setTarget records and tells an instance's status in a deployment.
func (s *service) setTarget(d *deployment, t *target, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.status, t.updated = status, time.Now()
	s.hub.publish(Event{Kind: "target", Deployment: d.info.DeploymentID, Target: t.host.Name, Status: status})
}

func (s *service) isStopping(d *deployment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return d.stopping || s.ctx.Err() != nil
}

func (s *service) eventStatus(e *lifecycleEvent) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.Status
}

package lab

import "slices"

// targetNamed finds an instance in a deployment.
func (s *service) targetNamed(deployment, id, missing string) (*deploymentTargetRef, error) {
	d, err := s.deploymentNamed(deployment)
	if err != nil {
		return nil, err
	}
	t := d.target(id)
	if t == nil {
		return nil, refuse(missing, "The instance %s is not part of the deployment %s", id, deployment)
	}
	return &deploymentTargetRef{d, t}, nil
}

type deploymentTargetRef struct {
	*deployment
	*target
}

func (s *service) listInstances(in *struct {
	DeploymentID, NextToken                  string
	InstanceStatusFilter, InstanceTypeFilter []string
},
) (any, error) {
	d, err := s.deploymentNamed(in.DeploymentID)
	if err != nil {
		return nil, err
	}
	ids := d.names(in.InstanceStatusFilter, in.InstanceTypeFilter)
	ids, next, err := page(ids, in.NextToken, pageSize)
	if err != nil {
		return nil, err
	}
	return list("instancesList", ids, next), nil
}

// names lists the instances of a deployment by status and label; no filter takes all.
func (d *deployment) names(statuses, labels []string) []string {
	ids := []string{}
	for _, t := range d.targets {
		if (len(statuses) == 0 || slices.Contains(statuses, t.status)) && (len(labels) == 0 || slices.Contains(labels, t.label)) {
			ids = append(ids, t.host.Name)
		}
	}
	return ids
}

func (s *service) getInstance(in *struct{ DeploymentID, InstanceID string }) (any, error) {
	if in.InstanceID == "" {
		return nil, refuse("InstanceIdRequiredException", "The instance ID was not specified.")
	}
	r, err := s.targetNamed(in.DeploymentID, in.InstanceID, "InstanceDoesNotExistException")
	if err != nil {
		return nil, err
	}
	return map[string]any{"instanceSummary": r.summary(r.deployment)}, nil
}

func (s *service) batchGetInstances(in *struct {
	DeploymentID string
	InstanceIDs  []string
},
) (any, error) {
	if len(in.InstanceIDs) == 0 {
		return nil, refuse("InstanceIdRequiredException", "The instance ID was not specified.")
	}
	summaries := []instanceSummary{}
	for _, id := range in.InstanceIDs {
		r, err := s.targetNamed(in.DeploymentID, id, "InvalidInstanceNameException")
		if err != nil {
			return nil, err
		}
		summaries = append(summaries, r.summary(r.deployment))
	}
	return map[string]any{"instancesSummary": summaries, "errorMessage": ""}, nil
}

func (s *service) listTargets(in *struct {
	DeploymentID, NextToken string
	TargetFilters           map[string][]string
},
) (any, error) {
	d, err := s.deploymentNamed(in.DeploymentID)
	if err != nil {
		return nil, err
	}
	for name := range in.TargetFilters {
		if name != "TargetStatus" && name != "ServerInstanceLabel" {
			return nil, refuse("InvalidTargetFilterNameException", "The target filter name is invalid: %s", name)
		}
	}
	ids, next, err := page(d.names(in.TargetFilters["TargetStatus"], in.TargetFilters["ServerInstanceLabel"]), in.NextToken, pageSize)
	if err != nil {
		return nil, err
	}
	return list("targetIds", ids, next), nil
}

func (s *service) getTarget(in *struct{ DeploymentID, TargetID string }) (any, error) {
	if in.TargetID == "" {
		return nil, refuse("DeploymentTargetIdRequiredException", "A deployment target ID was not provided.")
	}
	r, err := s.targetNamed(in.DeploymentID, in.TargetID, "DeploymentTargetDoesNotExistException")
	if err != nil {
		return nil, err
	}
	return map[string]any{"deploymentTarget": r.describeTarget()}, nil
}

func (r *deploymentTargetRef) describeTarget() deploymentTarget {
	return r.target.describe(r.deployment)
}

func (s *service) batchGetTargets(in *struct {
	DeploymentID string
	TargetIDs    []string
},
) (any, error) {
	if len(in.TargetIDs) == 0 {
		return nil, refuse("DeploymentTargetIdRequiredException", "A deployment target ID was not provided.")
	}
	targets := []deploymentTarget{}
	for _, id := range in.TargetIDs {
		r, err := s.targetNamed(in.DeploymentID, id, "DeploymentTargetDoesNotExistException")
		if err != nil {
			return nil, err
		}
		targets = append(targets, r.describeTarget())
	}
	return map[string]any{"deploymentTargets": targets}, nil
}

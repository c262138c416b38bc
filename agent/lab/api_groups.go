package lab

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
)

// groupNamed finds application and group.
func (s *service) groupNamed(application, name string) (*application, *deploymentGroupInfo, error) {
	a, err := s.applicationNamed(application)
	if err != nil {
		return nil, nil, err
	}
	if name == "" {
		return nil, nil, refuse("DeploymentGroupNameRequiredException", "A deployment group name is required.")
	}
	if len(name) > 100 {
		return nil, nil, refuse("InvalidDeploymentGroupNameException", "The deployment group name was specified in an invalid format.")
	}
	g := a.groups[name]
	if g == nil {
		return a, nil, refuse("DeploymentGroupDoesNotExistException", "No Deployment Group found for name: %s", name)
	}
	return a, g, nil
}

type groupInput struct {
	ApplicationName, DeploymentGroupName, CurrentDeploymentGroupName, NewDeploymentGroupName string
	groupSettings
	AutoScalingGroups []string
	Tags              []tag
}

// checkSettings refuses what the service refuses.
func (s *service) checkSettings(g *groupSettings) error {
	if g.DeploymentConfigName != "" && s.configs[g.DeploymentConfigName] == nil {
		return refuse("DeploymentConfigDoesNotExistException", "No deployment configuration found for name: %s", g.DeploymentConfigName)
	}
	st := g.DeploymentStyle
	if st != nil {
		if !slices.Contains([]string{"", typeInPlace, typeBlueGreen}, st.DeploymentType) || !slices.Contains([]string{"", withTraffic, withoutTraffic}, st.DeploymentOption) {
			return refuse("InvalidDeploymentStyleException", "An invalid deployment style was specified.")
		}
		if st.DeploymentOption == withTraffic && len(g.LoadBalancerInfo) == 0 {
			return refuse("InvalidLoadBalancerInfoException", "A load balancer is required for the deployment option %s.", withTraffic)
		}
		if st.DeploymentType == typeBlueGreen && g.BlueGreen == nil {
			return refuse("InvalidBlueGreenDeploymentConfigurationException", "A blue/green deployment configuration is required.")
		}
	}
	if len(g.EC2TagFilters) > 0 && g.EC2TagSet != nil {
		return refuse("InvalidEC2TagCombinationException", "ec2TagFilters and ec2TagSet cannot be used together.")
	}
	if len(g.OnPremisesInstanceTagFilters) > 0 && g.OnPremisesTagSet != nil {
		return refuse("InvalidOnPremisesTagCombinationException", "onPremisesInstanceTagFilters and onPremisesTagSet cannot be used together.")
	}
	return nil
}

// apply lays what was given over what is.
func (g *groupSettings) apply(in *groupSettings) {
	have, given := reflect.ValueOf(g).Elem(), reflect.ValueOf(in).Elem()
	for i := range given.NumField() {
		if !given.Field(i).IsZero() {
			have.Field(i).Set(given.Field(i))
		}
	}
}

func (s *service) createGroup(in *groupInput) (any, error) {
	a, _, err := s.groupNamed(in.ApplicationName, in.DeploymentGroupName)
	if err == nil {
		return nil, refuse("DeploymentGroupAlreadyExistsException", "Deployment Group already exists: %s", in.DeploymentGroupName)
	}
	if !isCode(err, "DeploymentGroupDoesNotExistException") {
		return nil, err
	}
	if in.ServiceRoleArn == "" {
		return nil, refuse("RoleRequiredException", "A service role is required.")
	}
	if err := s.checkSettings(&in.groupSettings); err != nil {
		return nil, err
	}
	g := &deploymentGroupInfo{
		ApplicationName: in.ApplicationName, DeploymentGroupID: newUUID(), DeploymentGroupName: in.DeploymentGroupName,
		groupSettings: in.groupSettings, AutoScalingGroups: namedAll(in.AutoScalingGroups), ComputePlatform: "Server",
	}
	g.DeploymentConfigName = cmp.Or(g.DeploymentConfigName, configOneAtATime)
	g.complete()
	a.groups[in.DeploymentGroupName] = g
	s.tags[s.arn("deploymentgroup:"+in.ApplicationName+"/"+in.DeploymentGroupName)] = in.Tags
	return map[string]string{"deploymentGroupId": g.DeploymentGroupID}, nil
}

// complete fills in the service's defaults.
func (g *deploymentGroupInfo) complete() {
	if g.DeploymentStyle == nil {
		g.DeploymentStyle = &style{}
	}
	g.DeploymentStyle.DeploymentType = cmp.Or(g.DeploymentStyle.DeploymentType, typeInPlace)
	g.DeploymentStyle.DeploymentOption = cmp.Or(g.DeploymentStyle.DeploymentOption, withoutTraffic)
	g.OutdatedInstancesStrategy = cmp.Or(g.OutdatedInstancesStrategy, "UPDATE")
}

func namedAll(names []string) []named {
	all := []named{}
	for _, n := range names {
		all = append(all, named{n})
	}
	return all
}

func (s *service) updateGroup(in *groupInput) (any, error) {
	a, g, err := s.groupNamed(in.ApplicationName, in.CurrentDeploymentGroupName)
	if err != nil {
		return nil, err
	}
	if in.NewDeploymentGroupName != "" && in.NewDeploymentGroupName != g.DeploymentGroupName && a.groups[in.NewDeploymentGroupName] != nil {
		return nil, refuse("DeploymentGroupAlreadyExistsException", "Deployment Group already exists: %s", in.NewDeploymentGroupName)
	}
	next := *g
	next.apply(&in.groupSettings)
	if err := s.checkSettings(&next.groupSettings); err != nil {
		return nil, err
	}
	if in.AutoScalingGroups != nil {
		next.AutoScalingGroups = namedAll(in.AutoScalingGroups)
	}
	next.complete()
	delete(a.groups, g.DeploymentGroupName)
	next.DeploymentGroupName = cmp.Or(in.NewDeploymentGroupName, g.DeploymentGroupName)
	a.groups[next.DeploymentGroupName] = &next
	return map[string]any{"hooksNotCleanedUp": []any{}}, nil
}

type groupName struct{ ApplicationName, DeploymentGroupName string }

func (s *service) getGroup(in *groupName) (any, error) {
	_, g, err := s.groupNamed(in.ApplicationName, in.DeploymentGroupName)
	if err != nil {
		return nil, err
	}
	return map[string]any{"deploymentGroupInfo": g}, nil
}

func (s *service) deleteGroup(in *groupName) (any, error) {
	a, _, err := s.groupNamed(in.ApplicationName, in.DeploymentGroupName)
	if err == nil {
		delete(a.groups, in.DeploymentGroupName)
	} else if !isCode(err, "DeploymentGroupDoesNotExistException") && !isCode(err, "ApplicationDoesNotExistException") {
		return nil, err
	}
	return map[string]any{"hooksNotCleanedUp": []any{}}, nil
}

func (s *service) listGroups(in *struct{ ApplicationName, NextToken string }) (any, error) {
	a, err := s.applicationNamed(in.ApplicationName)
	if err != nil {
		return nil, err
	}
	names, next, err := page(slices.Sorted(maps.Keys(a.groups)), in.NextToken, pageSize)
	if err != nil {
		return nil, err
	}
	answer := list("deploymentGroups", names, next)
	answer["applicationName"] = in.ApplicationName
	return answer, nil
}

func (s *service) batchGetGroups(in *struct {
	ApplicationName      string
	DeploymentGroupNames []string
},
) (any, error) {
	infos := []*deploymentGroupInfo{}
	for _, name := range in.DeploymentGroupNames {
		_, g, err := s.groupNamed(in.ApplicationName, name)
		if err != nil {
			return nil, err
		}
		infos = append(infos, g)
	}
	return map[string]any{"deploymentGroupsInfo": infos, "errorMessage": ""}, nil
}

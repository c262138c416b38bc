package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// isCode tells whether err is the named exception.
func isCode(err error, code string) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.code == code
}

// arn is the name of a resource of the service.
func (s *service) arn(resource string) string {
	return fmt.Sprintf("arn:%s:codedeploy:%s:%s:%s", partition(s.region), s.region, s.account, resource)
}

func (s *service) configNamed(name string) (*deploymentConfigInfo, error) {
	if name == "" {
		return nil, refuse("DeploymentConfigNameRequiredException", "A deployment configuration name is required.")
	}
	c := s.configs[name]
	if c == nil {
		return nil, refuse("DeploymentConfigDoesNotExistException", "No deployment configuration found for name: %s", name)
	}
	return c, nil
}

func (s *service) createConfig(in *struct {
	DeploymentConfigName string
	MinimumHealthyHosts  *minimumHealthyHosts
	ComputePlatform      string
	ZonalConfig          json.RawMessage
},
) (any, error) {
	if _, err := s.configNamed(in.DeploymentConfigName); err == nil {
		return nil, refuse("DeploymentConfigAlreadyExistsException", "Deployment configuration already exists: %s", in.DeploymentConfigName)
	} else if !isCode(err, "DeploymentConfigDoesNotExistException") {
		return nil, err
	}
	if strings.HasPrefix(in.DeploymentConfigName, "CodeDeployDefault.") {
		return nil, refuse("InvalidDeploymentConfigNameException", "Names that begin with CodeDeployDefault. are reserved.")
	}
	m := in.MinimumHealthyHosts
	if m == nil || m.Value < 0 || m.Type == "FLEET_PERCENT" && m.Value > 100 || m.Type != "FLEET_PERCENT" && m.Type != "HOST_COUNT" {
		return nil, refuse("InvalidMinimumHealthyHostValueException", "The minimum healthy instance value was specified in an invalid format.")
	}
	c := &deploymentConfigInfo{
		DeploymentConfigID: newUUID(), DeploymentConfigName: in.DeploymentConfigName, MinimumHealthyHosts: m,
		CreateTime: stamp(time.Now()), ComputePlatform: "Server", ZonalConfig: in.ZonalConfig,
	}
	s.configs[c.DeploymentConfigName] = c
	return map[string]string{"deploymentConfigId": c.DeploymentConfigID}, nil
}

type configName struct{ DeploymentConfigName string }

func (s *service) getConfig(in *configName) (any, error) {
	c, err := s.configNamed(in.DeploymentConfigName)
	if err != nil {
		return nil, err
	}
	return map[string]any{"deploymentConfigInfo": c}, nil
}

func (s *service) deleteConfig(in *configName) (any, error) {
	if strings.HasPrefix(in.DeploymentConfigName, "CodeDeployDefault.") {
		return nil, refuse("InvalidOperationException", "Predefined deployment configurations cannot be deleted.")
	}
	for _, a := range s.applications {
		for _, g := range a.groups {
			if g.DeploymentConfigName == in.DeploymentConfigName {
				return nil, refuse("DeploymentConfigInUseException", "The deployment configuration is in use by %s.", g.DeploymentGroupName)
			}
		}
	}
	delete(s.configs, in.DeploymentConfigName)
	return nil, nil
}

func (s *service) listConfigs(in *struct{ NextToken string }) (any, error) {
	names, next, err := page(slices.Sorted(maps.Keys(s.configs)), in.NextToken, pageSize)
	if err != nil {
		return nil, err
	}
	return list("deploymentConfigsList", names, next), nil
}

func (s *service) tagResource(in *struct {
	ResourceArn string
	Tags        []tag
},
) (any, error) {
	if err := s.knownResource(in.ResourceArn); err != nil {
		return nil, err
	}
	s.tags[in.ResourceArn] = mergeTags(s.tags[in.ResourceArn], in.Tags)
	return struct{}{}, nil
}

func (s *service) untagResource(in *struct {
	ResourceArn string
	TagKeys     []string
},
) (any, error) {
	if err := s.knownResource(in.ResourceArn); err != nil {
		return nil, err
	}
	s.tags[in.ResourceArn] = slices.DeleteFunc(s.tags[in.ResourceArn], func(t tag) bool { return slices.Contains(in.TagKeys, t.Key) })
	return struct{}{}, nil
}

func (s *service) listResourceTags(in *struct{ ResourceArn, NextToken string }) (any, error) {
	if err := s.knownResource(in.ResourceArn); err != nil {
		return nil, err
	}
	return map[string]any{"Tags": append([]tag{}, s.tags[in.ResourceArn]...)}, nil
}

func (s *service) knownResource(arn string) error {
	if arn == "" {
		return refuse("ResourceArnRequiredException", "The ARN of a resource is required, but was not found.")
	}
	if _, ok := s.tags[arn]; !ok {
		return refuse("InvalidArnException", "The specified ARN is not in a valid format or names nothing: %s", arn)
	}
	return nil
}

// mergeTags lays more over tags.
func mergeTags(tags, more []tag) []tag {
	for _, t := range more {
		tags = slices.DeleteFunc(tags, func(have tag) bool { return have.Key == t.Key })
		tags = append(tags, t)
	}
	return tags
}

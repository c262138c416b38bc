package lab

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// registered finds an on-premises instance that is or was registered.
func (s *service) registered(name string) (*instanceInfo, error) {
	if name == "" {
		return nil, refuse("InstanceNameRequiredException", "An on-premises instance name was not specified.")
	}
	i := s.onPremises[name]
	if i == nil {
		return nil, refuse("InstanceNotRegisteredException", "The on-premises instance is not registered: %s", name)
	}
	return i, nil
}

func (s *service) registerInstance(in *struct{ InstanceName, IamUserArn, IamSessionArn string }) (any, error) {
	switch {
	case in.InstanceName == "":
		return nil, refuse("InstanceNameRequiredException", "An on-premises instance name was not specified.")
	case strings.HasPrefix(in.InstanceName, "i-"), len(in.InstanceName) > 100:
		return nil, refuse("InvalidInstanceNameException", "The on-premises instance name was specified in an invalid format: %s", in.InstanceName)
	case in.IamUserArn == "" && in.IamSessionArn == "":
		return nil, refuse("IamArnRequiredException", "No IAM ARN was included in the request.")
	case in.IamUserArn != "" && in.IamSessionArn != "":
		return nil, refuse("MultipleIamArnsProvidedException", "Both an IAM user ARN and an IAM session ARN were included in the request.")
	case in.IamUserArn != "" && !strings.Contains(in.IamUserArn, ":user/"):
		return nil, refuse("InvalidIamUserArnException", "The IAM user ARN was specified in an invalid format: %s", in.IamUserArn)
	case in.IamSessionArn != "" && !strings.Contains(in.IamSessionArn, ":assumed-role/"):
		return nil, refuse("InvalidIamSessionArnException", "The IAM session ARN was specified in an invalid format: %s", in.IamSessionArn)
	}
	if have := s.onPremises[in.InstanceName]; have != nil && have.DeregisterTime == nil {
		return nil, refuse("InstanceNameAlreadyRegisteredException", "The specified on-premises instance name is already registered: %s", in.InstanceName)
	}
	id := in.IamUserArn + in.IamSessionArn
	for _, have := range s.onPremises {
		if have.DeregisterTime == nil && have.IamUserArn+have.IamSessionArn == id {
			code := "IamUserArnAlreadyRegisteredException"
			if in.IamSessionArn != "" {
				code = "IamSessionArnAlreadyRegisteredException"
			}
			return nil, refuse(code, "The IAM ARN is already registered: %s", id)
		}
	}
	s.onPremises[in.InstanceName] = &instanceInfo{
		InstanceName: in.InstanceName, IamUserArn: in.IamUserArn, IamSessionArn: in.IamSessionArn,
		InstanceArn: s.arn("instance/" + in.InstanceName + "_" + newUUID()[:8]), RegisterTime: stamp(time.Now()),
	}
	h := s.declareLocked(&host{Host: Host{ID: id, Name: in.InstanceName, OnPremises: true, Tags: map[string]string{}}})
	h.Name, h.deregistered, h.OnPremises = in.InstanceName, false, true
	return nil, nil
}

func (s *service) deregisterInstance(in *struct{ InstanceName string }) (any, error) {
	if in.InstanceName == "" {
		return nil, refuse("InstanceNameRequiredException", "An on-premises instance name was not specified.")
	}
	if i := s.onPremises[in.InstanceName]; i != nil && i.DeregisterTime == nil {
		i.DeregisterTime, i.Tags = stamp(time.Now()), nil
		if h := s.host(i.IamUserArn + i.IamSessionArn); h != nil {
			h.deregistered, h.Tags = true, map[string]string{}
		}
	}
	return nil, nil
}

func (s *service) getOnPremises(in *struct{ InstanceName string }) (any, error) {
	i, err := s.registered(in.InstanceName)
	if err != nil {
		return nil, err
	}
	return map[string]any{"instanceInfo": i}, nil
}

func (s *service) batchGetOnPremises(in *struct{ InstanceNames []string }) (any, error) {
	if len(in.InstanceNames) == 0 {
		return nil, refuse("InstanceNameRequiredException", "An on-premises instance name was not specified.")
	}
	infos := []*instanceInfo{}
	for _, name := range in.InstanceNames {
		if i := s.onPremises[name]; i != nil {
			infos = append(infos, i)
		}
	}
	return map[string]any{"instanceInfos": infos}, nil
}

func (s *service) listOnPremises(in *struct {
	RegistrationStatus, NextToken string
	TagFilters                    []tagFilter
},
) (any, error) {
	status := cmp.Or(in.RegistrationStatus, "Registered")
	if status != "Registered" && status != "Deregistered" {
		return nil, refuse("InvalidRegistrationStatusException", "The registration status was specified in an invalid format: %s", status)
	}
	names := []string{}
	for _, name := range slices.Sorted(maps.Keys(s.onPremises)) {
		i := s.onPremises[name]
		tags := map[string]string{}
		for _, t := range i.Tags {
			tags[t.Key] = t.Value
		}
		if (i.DeregisterTime == nil) == (status == "Registered") && (len(in.TagFilters) == 0 || matchesAny(in.TagFilters, tags)) {
			names = append(names, name)
		}
	}
	names, next, err := page(names, in.NextToken, pageSize)
	if err != nil {
		return nil, err
	}
	return list("instanceNames", names, next), nil
}

type instanceTags struct {
	Tags          []tag
	InstanceNames []string
}

// retag applies a change to the tags of on-premises instances, all or none.
func (s *service) retag(in *instanceTags, change func(have []tag) []tag) (any, error) {
	if len(in.Tags) == 0 {
		return nil, refuse("TagRequiredException", "A tag was not specified.")
	}
	if len(in.InstanceNames) == 0 {
		return nil, refuse("InstanceNameRequiredException", "An on-premises instance name was not specified.")
	}
	for _, name := range in.InstanceNames {
		if i, err := s.registered(name); err != nil {
			return nil, err
		} else if i.DeregisterTime != nil {
			return nil, refuse("InstanceNotRegisteredException", "The on-premises instance is not registered: %s", name)
		}
	}
	for _, name := range in.InstanceNames {
		i := s.onPremises[name]
		i.Tags = change(i.Tags)
		if h := s.host(i.IamUserArn + i.IamSessionArn); h != nil {
			h.Tags = map[string]string{}
			for _, t := range i.Tags {
				h.Tags[t.Key] = t.Value
			}
		}
	}
	return nil, nil
}

func (s *service) addInstanceTags(in *instanceTags) (any, error) {
	return s.retag(in, func(have []tag) []tag { return mergeTags(have, in.Tags) })
}

func (s *service) removeInstanceTags(in *instanceTags) (any, error) {
	return s.retag(in, func(have []tag) []tag {
		return slices.DeleteFunc(have, func(t tag) bool { return slices.Contains(in.Tags, t) })
	})
}

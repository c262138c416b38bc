package lab

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// applicationNamed finds an application, or says in the service's words what is wrong. The caller holds mu, here and below.
func (s *service) applicationNamed(name string) (*application, error) {
	if name == "" {
		return nil, refuse("ApplicationNameRequiredException", "An application name is required.")
	}
	if len(name) > 100 {
		return nil, refuse("InvalidApplicationNameException", "The application name was specified in an invalid format.")
	}
	if a := s.applications[name]; a != nil {
		return a, nil
	}
	return nil, refuse("ApplicationDoesNotExistException", "No application found for name: %s", name)
}

func (s *service) createApplication(in *struct {
	ApplicationName, ComputePlatform string
	Tags                             []tag
},
) (any, error) {
	if _, err := s.applicationNamed(in.ApplicationName); err == nil {
		return nil, refuse("ApplicationAlreadyExistsException", "Application already exists: %s", in.ApplicationName)
	} else if !isCode(err, "ApplicationDoesNotExistException") {
		return nil, err
	}
	if in.ComputePlatform = cmp.Or(in.ComputePlatform, "Server"); in.ComputePlatform != "Server" {
		return nil, refuse("InvalidComputePlatformException", "The lab deploys to servers only, not to %s.", in.ComputePlatform)
	}
	a := &application{groups: map[string]*deploymentGroupInfo{}, info: applicationInfo{
		ApplicationID: newUUID(), ApplicationName: in.ApplicationName, CreateTime: stamp(time.Now()), ComputePlatform: in.ComputePlatform,
	}}
	s.applications[in.ApplicationName] = a
	s.tags[s.arn("application:"+in.ApplicationName)] = in.Tags
	return map[string]string{"applicationId": a.info.ApplicationID}, nil
}

func (s *service) getApplication(in *struct{ ApplicationName string }) (any, error) {
	a, err := s.applicationNamed(in.ApplicationName)
	if err != nil {
		return nil, err
	}
	return map[string]any{"application": a.info}, nil
}

func (s *service) updateApplication(in *struct{ ApplicationName, NewApplicationName string }) (any, error) {
	a, err := s.applicationNamed(in.ApplicationName)
	if err != nil {
		return nil, err
	}
	if s.applications[in.NewApplicationName] != nil {
		return nil, refuse("ApplicationAlreadyExistsException", "Application already exists: %s", in.NewApplicationName)
	}
	if in.NewApplicationName == "" {
		return nil, nil
	}
	delete(s.applications, in.ApplicationName)
	a.info.ApplicationName = in.NewApplicationName
	for _, g := range a.groups {
		g.ApplicationName = in.NewApplicationName
	}
	s.applications[in.NewApplicationName] = a
	return nil, nil
}

func (s *service) deleteApplication(in *struct{ ApplicationName string }) (any, error) {
	if in.ApplicationName == "" {
		return nil, refuse("ApplicationNameRequiredException", "An application name is required.")
	}
	delete(s.applications, in.ApplicationName) // unknown names are no error to the service either
	return nil, nil
}

func (s *service) listApplications(in *struct{ NextToken string }) (any, error) {
	names, next, err := page(slices.Sorted(maps.Keys(s.applications)), in.NextToken, pageSize)
	if err != nil {
		return nil, err
	}
	return list("applications", names, next), nil
}

// list is the answer of a List operation.
func list[T any](key string, items []T, next string) map[string]any {
	m := map[string]any{key: items}
	if next != "" {
		m["nextToken"] = next
	}
	return m
}

func (s *service) batchGetApplications(in *struct{ ApplicationNames []string }) (any, error) {
	infos := []applicationInfo{}
	for _, name := range in.ApplicationNames {
		a, err := s.applicationNamed(name)
		if err != nil {
			return nil, err
		}
		infos = append(infos, a.info)
	}
	return map[string]any{"applicationsInfo": infos}, nil
}

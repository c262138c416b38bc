package lab

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"time"
)

// checkRevision holds a revision to what the service accepts for servers.
func checkRevision(r *revisionLocation) error {
	if r == nil || r.RevisionType == "" && r.S3Location == nil && r.GitHubLocation == nil {
		return refuse("RevisionRequiredException", "A revision is required.")
	}
	switch r.RevisionType {
	case "S3":
		l := r.S3Location
		if l == nil || l.Bucket == "" || l.Key == "" {
			return refuse("InvalidRevisionException", "The revision must name bucket and key of its S3 location.")
		}
		if !slices.Contains([]string{"zip", "tar", "tgz"}, l.BundleType) {
			return refuse("InvalidRevisionException", "The bundle type %q is none of zip, tar, tgz.", l.BundleType)
		}
	case "GitHub":
		l := r.GitHubLocation
		if l == nil || l.CommitID == "" {
			return refuse("InvalidRevisionException", "The revision must name repository and commit of its GitHub location.")
		}
		if account, repository, _ := strings.Cut(l.Repository, "/"); account == "" || repository == "" || strings.Contains(repository, "/") {
			return refuse("InvalidRevisionException", "The repository %q is not of the form account/repository.", l.Repository)
		}
	default:
		return refuse("InvalidRevisionException", "The revision type %q cannot be deployed to servers.", r.RevisionType)
	}
	return nil
}

// find returns the registered revision at a location, nil if there is none.
func (a *application) find(r *revisionLocation) *revision {
	for _, have := range a.revisions {
		if reflect.DeepEqual(have.location, *r) {
			return have
		}
	}
	return nil
}

// note registers a revision unless it is.
func (a *application) note(r *revisionLocation) *revision {
	have := a.find(r)
	if have == nil {
		have = &revision{location: *r, info: genericRevisionInfo{DeploymentGroups: []string{}, RegisterTime: stamp(time.Now())}}
		a.revisions = append(a.revisions, have)
	}
	return have
}

func (s *service) registerRevision(in *struct {
	ApplicationName, Description string
	Revision                     *revisionLocation
},
) (any, error) {
	a, err := s.applicationNamed(in.ApplicationName)
	if err != nil {
		return nil, err
	}
	if err := checkRevision(in.Revision); err != nil {
		return nil, err
	}
	if len(in.Description) > 256 {
		return nil, refuse("DescriptionTooLongException", "The description is too long.")
	}
	a.note(in.Revision).info.Description = in.Description
	return nil, nil
}

func (s *service) getRevision(in *struct {
	ApplicationName string
	Revision        *revisionLocation
},
) (any, error) {
	a, err := s.applicationNamed(in.ApplicationName)
	if err != nil {
		return nil, err
	}
	if err := checkRevision(in.Revision); err != nil {
		return nil, err
	}
	r := a.find(in.Revision)
	if r == nil {
		return nil, refuse("RevisionDoesNotExistException", "The revision is not registered with the application %s", in.ApplicationName)
	}
	return map[string]any{"applicationName": in.ApplicationName, "revision": r.location, "revisionInfo": r.info}, nil
}

func (s *service) batchGetRevisions(in *struct {
	ApplicationName string
	Revisions       []*revisionLocation
},
) (any, error) {
	a, err := s.applicationNamed(in.ApplicationName)
	if err != nil {
		return nil, err
	}
	infos := []map[string]any{}
	for _, l := range in.Revisions {
		if r := a.find(l); r != nil {
			infos = append(infos, map[string]any{"revisionLocation": r.location, "genericRevisionInfo": r.info})
		}
	}
	return map[string]any{"applicationName": in.ApplicationName, "errorMessage": "", "revisions": infos}, nil
}

func (s *service) listRevisions(in *struct {
	ApplicationName, SortBy, SortOrder, S3Bucket, S3KeyPrefix, Deployed, NextToken string
},
) (any, error) {
	a, err := s.applicationNamed(in.ApplicationName)
	if err != nil {
		return nil, err
	}
	if in.S3KeyPrefix != "" && in.S3Bucket == "" {
		return nil, refuse("BucketNameFilterRequiredException", "A bucket name is required, but was not provided.")
	}
	var found []*revision
	for _, r := range a.revisions {
		l := r.location.S3Location
		switch {
		case in.S3Bucket != "" && (l == nil || l.Bucket != in.S3Bucket || !strings.HasPrefix(l.Key, in.S3KeyPrefix)):
		case in.Deployed == "include" && r.info.FirstUsedTime == nil, in.Deployed == "exclude" && r.info.FirstUsedTime != nil:
		default:
			found = append(found, r)
		}
	}
	slices.SortStableFunc(found, func(x, y *revision) int { return cmp.Compare(x.sortKey(in.SortBy), y.sortKey(in.SortBy)) })
	if in.SortOrder == "descending" {
		slices.Reverse(found)
	}
	locations := make([]revisionLocation, len(found))
	for i, r := range found {
		locations[i] = r.location
	}
	locations, next, err := page(locations, in.NextToken, pageSize)
	if err != nil {
		return nil, err
	}
	return list("revisions", locations, next), nil
}

// sortKey is the time that a list is sorted by, as nanoseconds.
func (r *revision) sortKey(by string) int64 {
	t := r.info.RegisterTime
	switch by {
	case "firstUsedTime":
		t = r.info.FirstUsedTime
	case "lastUsedTime":
		t = r.info.LastUsedTime
	}
	if t == nil {
		return 0
	}
	return time.Time(*t).UnixNano()
}

package iamtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"slipway/agent/lab"
)

// Place says where the calls that a lab has recorded belong to. Words are what Read takes for the policies of such a place.
type Place struct {
	Region, Account string
	Group           string // of all deployments, as APPLICATION/GROUP: the name of a deployment does not tell it
}

// Words are the placeholders of packaging/iam and what takes their place, for a bucket.
func (p Place) Words(bucket string) []string {
	application, _, _ := strings.Cut(p.Group, "/")
	return []string{"REGION", p.Region, "ACCOUNT", p.Account, "BUCKET", bucket, "APPLICATION", application}
}

// LabCall is the permission that AWS would ask for before it carries out a call that a lab has recorded, by the service authorization reference; ok is
// false where it asks for none, as the command service does but under enable_auth_policy.
func (p Place) LabCall(c lab.Call, authPolicy bool) (r Request, ok bool) {
	switch c.Service {
	case "control":
		return Request{Action: "codedeploy-commands-secure:" + c.Operation, Resource: "*"}, authPolicy
	case "s3":
		return s3Call(c)
	case "codedeploy":
		return Request{
			Action: "codedeploy:" + c.Operation, Resource: p.deployResource(c), Context: map[string][]string{"aws:RequestedRegion": {p.Region}},
		}, true
	}
	return Request{}, false
}

// s3Call is of an object. Parts of a large one are put with the permission for the whole.
func s3Call(c lab.Call) (Request, bool) {
	path, query, _ := strings.Cut(c.Path, "?")
	values, _ := url.ParseQuery(query)
	r := Request{Resource: "arn:aws:s3:::" + strings.TrimPrefix(path, "/")}
	upload := values.Has("uploadId") || values.Has("uploads")
	switch {
	case !strings.Contains(strings.TrimPrefix(path, "/"), "/"):
		return Request{}, false // of a bucket, which no policy here is about
	case c.Operation == http.MethodPut, c.Operation == http.MethodPost && upload:
		r.Action = "s3:PutObject"
	case c.Operation == http.MethodDelete && upload:
		r.Action = "s3:AbortMultipartUpload"
	case c.Operation == http.MethodDelete:
		r.Action = "s3:DeleteObject"
	case values.Has("versionId"):
		r.Action = "s3:GetObjectVersion"
	default:
		r.Action = "s3:GetObject"
	}
	return r, true
}

// deployResource is what a call of CodeDeploy's API is about; "*" for the actions that know no resource.
func (p Place) deployResource(c lab.Call) string {
	var request struct{ ApplicationName, DeploymentGroupName, DeploymentConfigName string }
	_ = json.Unmarshal(c.Request, &request)
	arn := "arn:aws:codedeploy:" + p.Region + ":" + p.Account + ":"
	switch c.Operation {
	case "CreateDeployment", "CreateDeploymentGroup", "GetDeploymentGroup", "ListDeployments":
		return arn + "deploymentgroup:" + request.ApplicationName + "/" + request.DeploymentGroupName
	case "GetDeployment":
		return arn + "deploymentgroup:" + p.Group
	case "CreateApplication", "RegisterApplicationRevision", "GetApplicationRevision":
		return arn + "application:" + request.ApplicationName
	case "GetDeploymentConfig":
		return arn + "deploymentconfig:" + request.DeploymentConfigName
	}
	return "*"
}

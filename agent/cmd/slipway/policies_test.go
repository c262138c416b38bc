package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"slipway/agent/lab"
)

// policy is one of packaging/iam.
type policy struct {
	Version   string
	Statement []struct {
		Sid, Effect string
		Action      actions
		Resource    string
		Principal   map[string]string
	}
}

// actions are written as one or as a list.
type actions []string

func (a *actions) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		*a = []string{""}
		return json.Unmarshal(data, &(*a)[0])
	}
	return json.Unmarshal(data, (*[]string)(a))
}

func readPolicy(t *testing.T, name string) policy {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../../packaging/iam", name))
	if err != nil {
		t.Fatal(err)
	}
	var p policy
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&p); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if p.Version != "2012-10-17" || len(p.Statement) == 0 {
		t.Errorf("%s: version %q, %d statements", name, p.Version, len(p.Statement))
	}
	for _, s := range p.Statement {
		if s.Effect != "Allow" || s.Principal == nil && s.Resource == "" {
			t.Errorf("%s: %+v", name, s)
		}
		for _, a := range s.Action {
			if strings.Contains(a, "*") {
				t.Errorf("%s allows %s: name what is needed", name, a)
			}
		}
	}
	return p
}

func (p policy) allows() []string {
	var all []string
	for _, s := range p.Statement {
		all = append(all, s.Action...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// needed is the permission that a call of a service asks for; "" where it asks for none.
func needed(c lab.Call, secure bool) string {
	switch c.Service {
	case "control":
		if secure {
			return "codedeploy-commands-secure:" + c.Operation
		}
		return "" // the command service goes by who signed
	case "codedeploy":
		return "codedeploy:" + c.Operation
	case "s3":
		version := ""
		if strings.Contains(c.Path, "versionId=") {
			version = "Version"
		}
		switch c.Operation {
		case http.MethodGet, http.MethodHead:
			return "s3:GetObject" + version
		case http.MethodPut:
			return "s3:PutObject"
		}
	}
	return ""
}

// ofHost says whose call it is: an object is read by hosts and written by who deploys.
func ofHost(c lab.Call) bool {
	return c.Service == "control" || c.Service == "s3" && c.Operation != http.MethodPut
}

// What a deployment really asks of the services is allowed by the policies, for the host and for who deploys; and the host's allow nothing that
// is not asked for.
func TestPolicies(t *testing.T) {
	h := newLabHost(t, t.TempDir())
	_, err := h.store.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: aws.String(labBucket), VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled},
	})
	h.must(err)
	out, err := h.store.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(labBucket), Key: aws.String("v1"), Body: bytes.NewReader(zipped(map[string]string{"appspec.yml": "version: 0.0\nos: linux\n"})),
	})
	h.must(err)
	h.put("v0", zipped(map[string]string{"appspec.yml": "version: 0.0\nos: linux\n", "other": "1"}))
	h.start()
	h.bring("v0") // without a version
	_, err = h.deploy.CreateDeployment(t.Context(), &codedeploy.CreateDeploymentInput{
		ApplicationName: aws.String(labApplication), DeploymentGroupName: aws.String(labGroup), Revision: &types.RevisionLocation{
			RevisionType: types.RevisionLocationTypeS3,
			S3Location:   &types.S3Location{Bucket: aws.String(labBucket), Key: aws.String("v1"), BundleType: types.BundleTypeZip, Version: out.VersionId},
		},
	})
	h.must(err)
	asked := map[string]bool{}
	h.eventually("the second deployment fetches its version", func() bool {
		for _, c := range h.calls() {
			if need := needed(c, false); need != "" && ofHost(c) {
				asked[need] = true
			}
		}
		return asked["s3:GetObjectVersion"]
	})
	host := readPolicy(t, "instance-profile.json").allows()
	for need := range asked {
		if !slices.Contains(host, need) {
			t.Errorf("the host asks for %s, which instance-profile.json does not allow", need)
		}
	}
	for _, a := range host {
		if !asked[a] {
			t.Errorf("instance-profile.json allows %s, which the host does not ask for (it asks for %v)", a, asked)
		}
	}
	secure := readPolicy(t, "instance-profile-auth-policy.json").allows()
	deployer := readPolicy(t, "deploy-user.json").allows()
	for _, c := range h.calls() {
		if need := needed(c, true); c.Service == "control" && !slices.Contains(secure, need) {
			t.Errorf("the host asks for %s, which instance-profile-auth-policy.json does not allow", need)
		}
		need := needed(c, false)
		setUp := slices.Contains([]string{"CreateApplication", "CreateDeploymentGroup"}, c.Operation) || strings.HasPrefix(c.Path, "/"+labBucket+"?versioning")
		if !ofHost(c) && need != "" && !setUp && !slices.Contains(deployer, need) {
			t.Errorf("who deploys asks for %s (%s %s), which deploy-user.json does not allow", need, c.Operation, c.Path)
		}
	}
	for _, name := range []string{"packer.json", "instance-role-trust.json"} {
		readPolicy(t, name)
	}
}

// calls are those that the lab has recorded.
func (h *labHost) calls() []lab.Call {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.lab.Endpoints().Admin+"/lab/calls", nil)
	h.must(err)
	resp, err := http.DefaultClient.Do(req)
	h.must(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	h.must(err)
	var calls []lab.Call
	h.must(json.Unmarshal(data, &calls))
	return calls
}

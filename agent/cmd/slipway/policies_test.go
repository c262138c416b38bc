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
	"slipway/packaging/iam/iamtest"
)

// place is where the calls of these tests belong to.
var place = iamtest.Place{Region: "us-east-1", Account: "123456789012", Group: labApplication + "/" + labGroup}

func readPolicy(t *testing.T, name string) *iamtest.Policy {
	t.Helper()
	p, err := iamtest.Read(filepath.Join("../../../packaging/iam", name), place.Words(labBucket)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Statements {
		for _, a := range s.Actions {
			if s.Effect != "Allow" || strings.Contains(a, "*") {
				t.Errorf("%s: %s %s: name what is needed", name, s.Effect, a)
			}
		}
	}
	return p
}

// ofHost says whose call it is: an object is read by hosts and written by who deploys.
func ofHost(c lab.Call) bool {
	return c.Service == "control" || c.Service == "s3" && c.Operation != http.MethodPut
}

// What a deployment really asks of the services is allowed by the policies, for the host and for who deploys; and the host's allow nothing that
// is not asked for. That of who deploys is held against the aws client by TestDeployUser, which make validate runs.
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
	var host []iamtest.Request
	h.eventually("the second deployment fetches its version", func() bool {
		host = nil
		for _, c := range h.calls() {
			if need, ok := place.LabCall(c, false); ok && ofHost(c) {
				host = append(host, need)
			}
		}
		return slices.ContainsFunc(host, func(r iamtest.Request) bool { return r.Action == "s3:GetObjectVersion" })
	})
	profile, secure, deployer := readPolicy(t, "instance-profile.json"), readPolicy(t, "instance-profile-auth-policy.json"), readPolicy(t, "deploy-user.json")
	for _, need := range host {
		if !profile.Decide(need).Allowed {
			t.Errorf("the host asks for %s, which instance-profile.json does not allow", need)
		}
		if need.Resource = strings.Replace(need.Resource, labBucket, "other-"+labBucket, 1); profile.Decide(need).Allowed {
			t.Errorf("instance-profile.json allows %s, of another bucket", need)
		}
	}
	if unneeded := profile.Unneeded(host); len(unneeded) > 0 {
		t.Errorf("instance-profile.json allows %q, which the host does not ask for (it asks for %v)", unneeded, host)
	}
	var ofSecure []iamtest.Request
	for _, c := range h.calls() {
		need, ok := place.LabCall(c, ofHost(c))
		setUp := slices.Contains([]string{"CreateApplication", "CreateDeploymentGroup"}, c.Operation)
		switch {
		case !ok || setUp:
		case ofHost(c):
			if ofSecure = append(ofSecure, need); !secure.Decide(need).Allowed {
				t.Errorf("the host asks for %s, which instance-profile-auth-policy.json does not allow", need)
			}
		case !deployer.Decide(need).Allowed:
			t.Errorf("who deploys asks for %s (%s %s), which deploy-user.json does not allow", need, c.Operation, c.Path)
		}
	}
	if unneeded := secure.Unneeded(ofSecure); len(unneeded) > 0 {
		t.Errorf("instance-profile-auth-policy.json allows %q, which the host does not ask for", unneeded)
	}
	trusted(t)
	for _, name := range []string{"packer.json", "packer-instance-profile.json"} {
		readPolicy(t, name)
	}
}

// trusted looks at who may take the instances' role.
func trusted(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile("../../../packaging/iam/instance-role-trust.json")
	if err != nil {
		t.Fatal(err)
	}
	var trust struct {
		Version   string
		Statement []struct {
			Effect, Action string
			Principal      map[string]string
		}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&trust); err != nil || trust.Version != "2012-10-17" || len(trust.Statement) != 1 {
		t.Fatalf("instance-role-trust.json: %v, %+v", err, trust)
	}
	if s := trust.Statement[0]; s.Effect != "Allow" || s.Action != "sts:AssumeRole" || len(s.Principal) != 1 || s.Principal["Service"] != "ec2.amazonaws.com" {
		t.Errorf("instance-role-trust.json: %+v", s)
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

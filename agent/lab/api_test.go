package lab_test

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/smithy-go"

	"slipway/agent/lab"
)

// wantCode holds an error to the service's exception.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != code {
		t.Errorf("error = %v, want %s", err, code)
	}
}

// The exceptions are those that the SDK knows by type.
func TestExceptions(t *testing.T) {
	l := start(t, lab.Options{})
	c, ctx := deployClient(l), t.Context()
	group(t, c, nil)
	for name, tc := range map[string]struct {
		call func() error
		want error
	}{
		"application": {func() error {
			_, err := c.GetApplication(ctx, &codedeploy.GetApplicationInput{ApplicationName: aws.String("nope")})
			return err
		}, &types.ApplicationDoesNotExistException{}},
		"application again": {func() error {
			_, err := c.CreateApplication(ctx, &codedeploy.CreateApplicationInput{ApplicationName: aws.String("web")})
			return err
		}, &types.ApplicationAlreadyExistsException{}},
		"group": {func() error {
			_, err := c.GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{ApplicationName: aws.String("web"), DeploymentGroupName: aws.String("nope")})
			return err
		}, &types.DeploymentGroupDoesNotExistException{}},
		"group again": {func() error {
			_, err := c.CreateDeploymentGroup(ctx, &codedeploy.CreateDeploymentGroupInput{ApplicationName: aws.String("web"), DeploymentGroupName: aws.String("live"), ServiceRoleArn: aws.String("r")})
			return err
		}, &types.DeploymentGroupAlreadyExistsException{}},
		"config": {func() error {
			_, err := c.GetDeploymentConfig(ctx, &codedeploy.GetDeploymentConfigInput{DeploymentConfigName: aws.String("nope")})
			return err
		}, &types.DeploymentConfigDoesNotExistException{}},
		"deployment": {func() error {
			_, err := c.GetDeployment(ctx, &codedeploy.GetDeploymentInput{DeploymentId: aws.String("d-ABCDEFGHI")})
			return err
		}, &types.DeploymentDoesNotExistException{}},
		"deployment id": {func() error {
			_, err := c.GetDeployment(ctx, &codedeploy.GetDeploymentInput{DeploymentId: aws.String("nonsense")})
			return err
		}, &types.InvalidDeploymentIdException{}},
		"no revision": {func() error {
			_, err := c.CreateDeployment(ctx, &codedeploy.CreateDeploymentInput{ApplicationName: aws.String("web"), DeploymentGroupName: aws.String("live")})
			return err
		}, &types.RevisionRequiredException{}},
		"bundle type": {func() error {
			r := revision("k")
			r.S3Location.BundleType = types.BundleTypeYaml
			_, err := c.RegisterApplicationRevision(ctx, &codedeploy.RegisterApplicationRevisionInput{ApplicationName: aws.String("web"), Revision: r})
			return err
		}, &types.InvalidRevisionException{}},
		"repository": {func() error {
			_, err := c.CreateDeployment(ctx, &codedeploy.CreateDeploymentInput{ApplicationName: aws.String("web"), DeploymentGroupName: aws.String("live"), Revision: &types.RevisionLocation{
				RevisionType: types.RevisionLocationTypeGitHub, GitHubLocation: &types.GitHubLocation{Repository: aws.String("norepo"), CommitId: aws.String("c")},
			}})
			return err
		}, &types.InvalidRevisionException{}},
		"unregistered revision": {func() error {
			_, err := c.GetApplicationRevision(ctx, &codedeploy.GetApplicationRevisionInput{ApplicationName: aws.String("web"), Revision: revision("never")})
			return err
		}, &types.RevisionDoesNotExistException{}},
		"behaviour": {func() error {
			_, err := c.CreateDeployment(ctx, &codedeploy.CreateDeploymentInput{ApplicationName: aws.String("web"), DeploymentGroupName: aws.String("live"), Revision: revision("k"), FileExistsBehavior: "SOMETIMES"})
			return err
		}, &types.InvalidFileExistsBehaviorException{}},
		"machine": {func() error {
			_, err := c.GetOnPremisesInstance(ctx, &codedeploy.GetOnPremisesInstanceInput{InstanceName: aws.String("nope")})
			return err
		}, &types.InstanceNotRegisteredException{}},
		"balancer": {func() error {
			_, err := c.UpdateDeploymentGroup(ctx, &codedeploy.UpdateDeploymentGroupInput{ApplicationName: aws.String("web"), CurrentDeploymentGroupName: aws.String("live"), DeploymentStyle: &types.DeploymentStyle{DeploymentOption: types.DeploymentOptionWithTrafficControl}})
			return err
		}, &types.InvalidLoadBalancerInfoException{}},
		"token": {func() error {
			_, err := c.ListApplications(ctx, &codedeploy.ListApplicationsInput{NextToken: aws.String("x")})
			return err
		}, &types.InvalidNextTokenException{}},
	} {
		err := tc.call()
		api, ok := errors.AsType[smithy.APIError](err)
		want := tc.want.(smithy.APIError).ErrorCode() //nolint:errorlint // a table entry, not a chain
		if !ok || api.ErrorCode() != want || api.ErrorMessage() == "" {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// A second deployment to a busy group is refused; the refused update above must have left the group as it was.
func TestBusyGroup(t *testing.T) {
	l := start(t, lab.Options{})
	c := deployClient(l)
	group(t, c, nil)
	id := deploy(t, c, nil)
	_, err := c.CreateDeployment(t.Context(), &codedeploy.CreateDeploymentInput{ApplicationName: aws.String("web"), DeploymentGroupName: aws.String("live"), Revision: revision("v2.zip")})
	wantCode(t, err, "DeploymentLimitExceededException")
	if _, err := c.StopDeployment(t.Context(), &codedeploy.StopDeploymentInput{DeploymentId: aws.String(id)}); err != nil {
		t.Fatal(err)
	}
	wait(t, l, c, id)
}

// What is put in comes back, through create, update, list, batch and delete.
func TestRecords(t *testing.T) {
	l := start(t, lab.Options{})
	c, ctx := deployClient(l), t.Context()
	group(t, c, func(in *codedeploy.CreateDeploymentGroupInput) { in.DeploymentConfigName = nil })
	name := func(g *types.DeploymentGroupInfo) string { return aws.ToString(g.DeploymentConfigName) }
	get := func(group string) *types.DeploymentGroupInfo {
		t.Helper()
		out, err := c.GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{ApplicationName: aws.String("web"), DeploymentGroupName: aws.String(group)})
		if err != nil {
			t.Fatal(err)
		}
		return out.DeploymentGroupInfo
	}
	before := get("live")
	if name(before) != "CodeDeployDefault.OneAtATime" || before.DeploymentStyle.DeploymentType != types.DeploymentTypeInPlace || before.DeploymentStyle.DeploymentOption != types.DeploymentOptionWithoutTrafficControl {
		t.Errorf("defaults of a group: %+v", before)
	}
	if _, err := c.UpdateDeploymentGroup(ctx, &codedeploy.UpdateDeploymentGroupInput{
		ApplicationName: aws.String("web"), CurrentDeploymentGroupName: aws.String("live"), NewDeploymentGroupName: aws.String("renamed"),
		Ec2TagFilters: []types.EC2TagFilter{{Key: aws.String("a"), Type: types.EC2TagFilterTypeKeyOnly}}, DeploymentConfigName: aws.String("CodeDeployDefault.AllAtOnce"),
	}); err != nil {
		t.Fatal(err)
	}
	after := get("renamed")
	if name(after) != "CodeDeployDefault.AllAtOnce" || len(after.Ec2TagFilters) != 1 || *after.DeploymentGroupId != *before.DeploymentGroupId || aws.ToString(after.ServiceRoleArn) != aws.ToString(before.ServiceRoleArn) {
		t.Errorf("after the update: %+v", after)
	}
	if out, err := c.BatchGetDeploymentGroups(ctx, &codedeploy.BatchGetDeploymentGroupsInput{ApplicationName: aws.String("web"), DeploymentGroupNames: []string{"renamed"}}); err != nil || len(out.DeploymentGroupsInfo) != 1 {
		t.Errorf("BatchGetDeploymentGroups() = %+v, %v", out, err)
	}
	for i, key := range []string{"b.zip", "a.zip"} {
		if _, err := c.RegisterApplicationRevision(ctx, &codedeploy.RegisterApplicationRevisionInput{ApplicationName: aws.String("web"), Revision: revision(key), Description: aws.String("number")}); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	revisions, err := c.ListApplicationRevisions(ctx, &codedeploy.ListApplicationRevisionsInput{ApplicationName: aws.String("web"), S3Bucket: aws.String("slipway-lab"), S3KeyPrefix: aws.String("a"), SortBy: types.ApplicationRevisionSortByRegisterTime, SortOrder: types.SortOrderDescending})
	if err != nil || len(revisions.Revisions) != 1 || aws.ToString(revisions.Revisions[0].S3Location.Key) != "a.zip" {
		t.Errorf("ListApplicationRevisions() = %+v, %v", revisions, err)
	}
	info, err := c.GetApplicationRevision(ctx, &codedeploy.GetApplicationRevisionInput{ApplicationName: aws.String("web"), Revision: revision("b.zip")})
	if err != nil || aws.ToString(info.RevisionInfo.Description) != "number" || info.RevisionInfo.RegisterTime == nil {
		t.Errorf("GetApplicationRevision() = %+v, %v", info, err)
	}
	configs, err := c.ListDeploymentConfigs(ctx, &codedeploy.ListDeploymentConfigsInput{})
	if err != nil || len(configs.DeploymentConfigsList) != 3 {
		t.Errorf("ListDeploymentConfigs() = %+v, %v", configs, err)
	}
	if _, err := c.DeleteApplication(ctx, &codedeploy.DeleteApplicationInput{ApplicationName: aws.String("web")}); err != nil {
		t.Fatal(err)
	}
	if out, err := c.ListApplications(ctx, &codedeploy.ListApplicationsInput{}); err != nil || len(out.Applications) != 0 {
		t.Errorf("ListApplications() = %+v, %v", out, err)
	}
}

// Signatures count unless the lab is lenient.
func TestSignatures(t *testing.T) {
	for name, tc := range map[string]struct {
		access, secret, code string
		lenient              bool
	}{
		"unknown key":  {"AKIAUNKNOWN", "secret", "UnrecognizedClientException", false},
		"wrong secret": {"AKIASLIPWAYLAB000001", "wrong", "InvalidSignatureException", false},
		"lenient":      {"AKIAUNKNOWN", "secret", "", true},
	} {
		l := start(t, lab.Options{Lenient: tc.lenient})
		c := codedeploy.New(codedeploy.Options{
			Region: "us-east-1", BaseEndpoint: aws.String(l.Endpoints().Gateway), RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider(tc.access, tc.secret, ""),
		})
		_, err := c.ListApplications(t.Context(), &codedeploy.ListApplicationsInput{})
		if tc.code == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		wantCode(t, err, tc.code)
	}
}

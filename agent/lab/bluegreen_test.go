package lab_test

import (
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/google/go-cmp/cmp"

	"slipway/agent/lab"
)

// M9: the new fleet is installed, waits to be let in, serves; then the old one is blocked and goes. Back again: H-3, H-4.
func TestBlueGreen(t *testing.T) {
	l := start(t, lab.Options{Instances: 2, Minute: time.Hour})
	c, hosts := deployClient(l), l.Hosts()
	for i, fleet := range []string{"blue", "green"} {
		if _, err := l.DeclareHost(lab.Host{ID: hosts[i].ID, Tags: map[string]string{"fleet": fleet}}); err != nil {
			t.Fatal(err)
		}
	}
	old, fresh := runStub(t, l, hosts[0].ID, nil), runStub(t, l, hosts[1].ID, nil)
	tags := func(fleet string) []types.EC2TagFilter {
		return []types.EC2TagFilter{{Key: aws.String("fleet"), Value: aws.String(fleet), Type: types.EC2TagFilterTypeKeyAndValue}}
	}
	group(t, c, func(in *codedeploy.CreateDeploymentGroupInput) {
		in.Ec2TagFilters = tags("blue")
		in.DeploymentStyle = &types.DeploymentStyle{DeploymentType: types.DeploymentTypeBlueGreen, DeploymentOption: types.DeploymentOptionWithTrafficControl}
		in.LoadBalancerInfo = &types.LoadBalancerInfo{TargetGroupInfoList: []types.TargetGroupInfo{{Name: aws.String("web")}}}
		in.BlueGreenDeploymentConfiguration = &types.BlueGreenDeploymentConfiguration{
			DeploymentReadyOption:                     &types.DeploymentReadyOption{ActionOnTimeout: types.DeploymentReadyActionStopDeployment, WaitTimeInMinutes: 1},
			TerminateBlueInstancesOnDeploymentSuccess: &types.BlueInstanceTerminationOption{Action: types.InstanceActionTerminate, TerminationWaitTimeInMinutes: 60},
		}
	})
	id := deploy(t, c, func(in *codedeploy.CreateDeploymentInput) {
		in.TargetInstances = &types.TargetInstances{TagFilters: tags("green")}
	})
	wait(t, l, c, id, types.DeploymentStatusReady)
	if diff := cmp.Diff(inPlace, fresh.events()); diff != "" || len(old.events()) != 0 {
		t.Errorf("before traffic: old %v, new (-want +got):\n%s", old.events(), diff)
	}
	if _, err := c.ContinueDeployment(t.Context(), &codedeploy.ContinueDeploymentInput{DeploymentId: aws.String(id), DeploymentWaitType: types.DeploymentWaitTypeReadyWait}); err != nil {
		t.Fatal(err)
	}
	for e := range follow(t, l, id) {
		if e.Event == "AfterBlockTraffic" && e.Status == "Succeeded" {
			break
		}
	}
	if _, err := c.StopDeployment(t.Context(), &codedeploy.StopDeploymentInput{DeploymentId: aws.String(id), AutoRollbackEnabled: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	info := wait(t, l, c, id)
	if info.Status != types.DeploymentStatusStopped {
		t.Fatalf("deployment %s, %+v", info.Status, info.ErrorInformation)
	}
	if diff := cmp.Diff([]string{"BeforeBlockTraffic", "AfterBlockTraffic"}, old.events()); diff != "" {
		t.Errorf("old fleet (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(slices.Concat(inPlace, []string{"BeforeAllowTraffic", "AfterAllowTraffic"}), fresh.events()); diff != "" {
		t.Errorf("new fleet (-want +got):\n%s", diff)
	}
}

// blueGreen turns the group into one that replaces fleets, and waits n minutes before the old one goes.
func blueGreen(t *testing.T, c *codedeploy.Client, minutes int32) {
	t.Helper()
	if _, err := c.UpdateDeploymentGroup(t.Context(), &codedeploy.UpdateDeploymentGroupInput{
		ApplicationName: aws.String("web"), CurrentDeploymentGroupName: aws.String("live"),
		DeploymentStyle:  &types.DeploymentStyle{DeploymentType: types.DeploymentTypeBlueGreen, DeploymentOption: types.DeploymentOptionWithTrafficControl},
		LoadBalancerInfo: &types.LoadBalancerInfo{TargetGroupInfoList: []types.TargetGroupInfo{{Name: aws.String("web")}}},
		BlueGreenDeploymentConfiguration: &types.BlueGreenDeploymentConfiguration{
			TerminateBlueInstancesOnDeploymentSuccess: &types.BlueInstanceTerminationOption{Action: types.InstanceActionTerminate, TerminationWaitTimeInMinutes: minutes},
			GreenFleetProvisioningOption:              &types.GreenFleetProvisioningOption{Action: types.GreenFleetProvisioningActionCopyAutoScalingGroup},
		},
	}); err != nil {
		t.Fatal(err)
	}
}

// H-3, H-4: the way back after traffic was moved is the mirror of the way there, and both fleets are told of it.
func TestBlueGreenRollback(t *testing.T) {
	l := start(t, lab.Options{Minute: time.Hour})
	c := deployClient(l)
	old := runStub(t, l, l.Hosts()[0].ID, nil)
	group(t, c, nil)
	wait(t, l, c, deploy(t, c, nil))
	second, err := l.DeclareHost(lab.Host{ID: "i-0123456789abcdef0"})
	if err != nil {
		t.Fatal(err)
	}
	blueGreen(t, c, 60)
	if _, err := c.UpdateDeploymentGroup(t.Context(), &codedeploy.UpdateDeploymentGroupInput{
		ApplicationName: aws.String("web"), CurrentDeploymentGroupName: aws.String("live"),
		Ec2TagFilters: []types.EC2TagFilter{{Key: aws.String("fleet"), Type: types.EC2TagFilterTypeKeyOnly}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.DeclareHost(lab.Host{ID: l.Hosts()[0].ID, Tags: map[string]string{"fleet": ""}}); err != nil {
		t.Fatal(err)
	}
	fresh := runStub(t, l, second.ID, nil)
	id := deploy(t, c, func(in *codedeploy.CreateDeploymentInput) { in.Revision = revision("v2.zip") })
	for e := range follow(t, l, id) {
		if e.Event == "AfterBlockTraffic" && e.Status == "Succeeded" {
			break
		}
	}
	if _, err := c.StopDeployment(t.Context(), &codedeploy.StopDeploymentInput{DeploymentId: aws.String(id), AutoRollbackEnabled: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	info := wait(t, l, c, id)
	if info.Status != types.DeploymentStatusStopped || info.RollbackInfo == nil || info.RollbackInfo.RollbackDeploymentId == nil {
		t.Fatalf("%s, rollback %+v", info.Status, info.RollbackInfo)
	}
	back := wait(t, l, c, *info.RollbackInfo.RollbackDeploymentId)
	if back.Status != types.DeploymentStatusSucceeded || aws.ToString(back.Revision.S3Location.Key) != "v1.zip" {
		t.Errorf("rollback %s to %+v", back.Status, back.Revision.S3Location)
	}
	if diff := cmp.Diff(slices.Concat(inPlace, []string{"BeforeBlockTraffic", "AfterBlockTraffic", "BeforeAllowTraffic", "AfterAllowTraffic"}), old.events()); diff != "" {
		t.Errorf("old fleet (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(slices.Concat(inPlace, []string{"BeforeAllowTraffic", "AfterAllowTraffic", "BeforeBlockTraffic", "AfterBlockTraffic"}), fresh.events()); diff != "" {
		t.Errorf("new fleet (-want +got):\n%s", diff)
	}
	last := fresh.specs[len(fresh.specs)-1]
	if last["DeploymentCreator"] != "codeDeployRollback" || last["DeploymentType"] != "BLUE_GREEN" {
		t.Errorf("the new fleet was told %v, %v", last["DeploymentCreator"], last["DeploymentType"])
	}
}

// M9: the old fleet goes after its wait, and its metadata service says so.
func TestBlueGreenTerminates(t *testing.T) {
	l := start(t, lab.Options{Instances: 2, Minute: time.Millisecond})
	c, hosts := deployClient(l), l.Hosts()
	if _, err := l.DeclareHost(lab.Host{ID: hosts[0].ID, AutoScalingGroup: "web"}); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		runStub(t, l, h.ID, nil)
	}
	group(t, c, func(in *codedeploy.CreateDeploymentGroupInput) { in.AutoScalingGroups = []string{"web"} })
	blueGreen(t, c, 1)
	info := wait(t, l, c, deploy(t, c, nil))
	if info.Status != types.DeploymentStatusSucceeded || info.DeploymentOverview.Succeeded != 2 {
		t.Errorf("%s, %+v, overview %+v", info.Status, info.ErrorInformation, info.DeploymentOverview)
	}
	if after := l.Hosts(); after[0].LifecycleState != "Terminated" || after[1].LifecycleState != "" {
		t.Errorf("old fleet %q, new fleet %q", after[0].LifecycleState, after[1].LifecycleState)
	}
}

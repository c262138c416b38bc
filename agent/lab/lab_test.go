package lab_test

import (
	"bufio"
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/google/go-cmp/cmp"

	"slipway/agent/control"
	"slipway/agent/lab"
)

// follow yields a deployment's events from its beginning on.
func follow(t *testing.T, l *lab.Lab, id string) iter.Seq[lab.Event] {
	t.Helper()
	return func(yield func(lab.Event) bool) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.Endpoints().Admin+"/lab/events?follow=1&deployment="+id, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		for in := bufio.NewScanner(resp.Body); in.Scan(); {
			var e lab.Event
			if err := json.Unmarshal(in.Bytes(), &e); err != nil {
				t.Fatalf("event %s: %v", in.Text(), err)
			}
			if !yield(e) {
				return
			}
		}
	}
}

var inPlace = []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService"}

// L-58: the sequence of an in-place deployment without a balancer, and what the agent is told (protocol.md 8).
func TestDeploymentSucceeds(t *testing.T) {
	l := start(t, lab.Options{})
	c, host := deployClient(l), l.Hosts()[0]
	agent := runStub(t, l, host.ID, nil)
	group(t, c, nil)
	id := deploy(t, c, func(in *codedeploy.CreateDeploymentInput) {
		in.FileExistsBehavior, in.Description = types.FileExistsBehaviorOverwrite, aws.String("first")
		in.Revision.S3Location.ETag, in.Revision.S3Location.Version = aws.String("abc"), aws.String("v")
	})
	info := wait(t, l, c, id)
	if info.Status != types.DeploymentStatusSucceeded || info.ErrorInformation != nil || info.CompleteTime == nil || aws.ToString(info.Description) != "first" {
		t.Errorf("deployment = %+v", info)
	}
	if diff := cmp.Diff(types.DeploymentOverview{Succeeded: 1}, *info.DeploymentOverview, cmp.AllowUnexported(types.DeploymentOverview{})); diff != "" {
		t.Errorf("overview (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(inPlace, agent.events()); diff != "" {
		t.Errorf("events at the agent (-want +got):\n%s", diff)
	}
	status, _, byName := statusOf(t, c, id, host.Name)
	if e := byName["Install"]; status != types.TargetStatusSucceeded || e.Diagnostics.ErrorCode != types.LifecycleErrorCodeSuccess || aws.ToString(e.Diagnostics.Message) != "Succeeded" || e.StartTime == nil || e.EndTime == nil {
		t.Errorf("target %s, Install %+v", status, e)
	}
	spec := agent.specs[0]
	want := map[string]any{
		"DeploymentId":        "arn:aws:codedeploy:us-east-1:123456789012:deployment/" + id,
		"DeploymentGroupName": "live", "ApplicationName": "web", "DeploymentCreator": "user", "DeploymentType": "IN_PLACE", "AppSpecFilename": "appspec.yml",
		"AgentActionOverrides": map[string]any{"AgentOverrides": map[string]any{"FileExistsBehavior": "OVERWRITE"}},
		"Revision":             map[string]any{"RevisionType": "S3", "S3Revision": map[string]any{"Bucket": "slipway-lab", "Key": "v1.zip", "BundleType": "zip", "ETag": "abc", "Version": "v"}},
		"Target":               map[string]any{"DeploymentTargetType": "InstanceTarget"},
		"DeploymentGroupId":    spec["DeploymentGroupId"], "ApplicationId": spec["ApplicationId"],
	}
	if diff := cmp.Diff(want, spec); diff != "" {
		t.Errorf("specification (-want +got):\n%s", diff)
	}
	if g, _ := spec["DeploymentGroupId"].(string); len(g) != 36 {
		t.Errorf("DeploymentGroupId %q is not a UUID", g)
	}
	g, err := c.GetDeploymentGroup(t.Context(), &codedeploy.GetDeploymentGroupInput{ApplicationName: aws.String("web"), DeploymentGroupName: aws.String("live")})
	if err != nil || aws.ToString(g.DeploymentGroupInfo.LastSuccessfulDeployment.DeploymentId) != id || aws.ToString(g.DeploymentGroupInfo.TargetRevision.S3Location.Key) != "v1.zip" {
		t.Errorf("group after success: %+v, %v", g.DeploymentGroupInfo, err)
	}
}

// A script that fails: its code, name, message and log are shown, later events are skipped, and nothing is left for the agent.
func TestScriptFails(t *testing.T) {
	l := start(t, lab.Options{})
	c, host := deployClient(l), l.Hosts()[0]
	agent := runStub(t, l, host.ID, script{"AfterInstall": failing})
	group(t, c, nil)
	id := deploy(t, c, nil)
	info := wait(t, l, c, id)
	if info.Status != types.DeploymentStatusFailed || info.ErrorInformation == nil || info.ErrorInformation.Code != types.ErrorCodeHealthConstraints {
		t.Errorf("deployment %s, %+v", info.Status, info.ErrorInformation)
	}
	status, events, byName := statusOf(t, c, id, host.Name)
	want := []string{"ApplicationStop Succeeded", "DownloadBundle Succeeded", "BeforeInstall Succeeded", "Install Succeeded", "AfterInstall Failed", "ApplicationStart Skipped", "ValidateService Skipped"}
	if diff := cmp.Diff(want, events); diff != "" || status != types.TargetStatusFailed {
		t.Errorf("target %s, events (-want +got):\n%s", status, diff)
	}
	d := byName["AfterInstall"].Diagnostics
	if d == nil || d.ErrorCode != types.LifecycleErrorCodeScriptFailed || aws.ToString(d.ScriptName) != "scripts/configure.sh" || !strings.Contains(aws.ToString(d.Message), "exit code 1") || aws.ToString(d.LogTail) != "[stderr]no such table\n" {
		t.Errorf("diagnostics = %+v", d)
	}
	if got := agent.events(); len(got) != 5 {
		t.Errorf("the agent got %v", got)
	}
	err := codedeploy.NewDeploymentSuccessfulWaiter(c).Wait(t.Context(), &codedeploy.GetDeploymentInput{DeploymentId: aws.String(id)}, time.Second)
	if err == nil {
		t.Error("the SDK's waiter took a failed deployment for a good one")
	}
}

// P-58's codes as the public API spells them.
func TestErrorCodes(t *testing.T) {
	for code, want := range map[int]types.LifecycleErrorCode{
		1: types.LifecycleErrorCodeScriptMissing, 2: types.LifecycleErrorCodeScriptNotExecutable, 3: types.LifecycleErrorCodeScriptTimedOut,
		4: types.LifecycleErrorCodeScriptFailed, 5: types.LifecycleErrorCodeUnknownError, 6: types.LifecycleErrorCodeUnknownError, 7: types.LifecycleErrorCodeUnknownError,
	} {
		l := start(t, lab.Options{})
		c, host := deployClient(l), l.Hosts()[0]
		runStub(t, l, host.ID, script{"ApplicationStop": func(context.Context) (control.Status, control.Diagnostics) {
			return control.Failed, control.Diagnostics{ErrorCode: code, Message: "m"}
		}})
		group(t, c, nil)
		id := deploy(t, c, nil)
		wait(t, l, c, id)
		if _, _, byName := statusOf(t, c, id, host.Name); byName["ApplicationStop"].Diagnostics.ErrorCode != want {
			t.Errorf("code %d is shown as %s, want %s", code, byName["ApplicationStop"].Diagnostics.ErrorCode, want)
		}
	}
}

func TestIgnoreApplicationStopFailures(t *testing.T) {
	l := start(t, lab.Options{})
	c, host := deployClient(l), l.Hosts()[0]
	runStub(t, l, host.ID, script{"ApplicationStop": failing})
	group(t, c, nil)
	id := deploy(t, c, func(in *codedeploy.CreateDeploymentInput) { in.IgnoreApplicationStopFailures = true })
	if info := wait(t, l, c, id); info.Status != types.DeploymentStatusSucceeded {
		t.Errorf("deployment %s", info.Status)
	}
	if _, events, _ := statusOf(t, c, id, host.Name); events[0] != "ApplicationStop Failed" || events[6] != "ValidateService Succeeded" {
		t.Errorf("events %v", events)
	}
}

// A stop lets the event in hand end, hands out nothing further, and says so.
func TestStop(t *testing.T) {
	l := start(t, lab.Options{})
	c, host := deployClient(l), l.Hosts()[0]
	begun, proceed := make(chan struct{}), make(chan struct{})
	agent := runStub(t, l, host.ID, script{"BeforeInstall": func(ctx context.Context) (control.Status, control.Diagnostics) {
		close(begun)
		select {
		case <-proceed:
		case <-ctx.Done():
		}
		return control.Succeeded, control.Diagnostics{}
	}})
	group(t, c, nil)
	id := deploy(t, c, nil)
	<-begun
	out, err := c.StopDeployment(t.Context(), &codedeploy.StopDeploymentInput{DeploymentId: aws.String(id)})
	if err != nil || out.Status != types.StopStatusPending {
		t.Fatalf("StopDeployment() = %+v, %v", out, err)
	}
	close(proceed)
	info := wait(t, l, c, id)
	if info.Status != types.DeploymentStatusStopped || info.ErrorInformation.Code != types.ErrorCodeManualStop {
		t.Errorf("deployment %s, %+v", info.Status, info.ErrorInformation)
	}
	status, events, _ := statusOf(t, c, id, host.Name)
	if status != types.TargetStatusSkipped || events[2] != "BeforeInstall Succeeded" || events[3] != "Install Skipped" {
		t.Errorf("target %s, events %v", status, events)
	}
	if got := agent.events(); len(got) != 3 {
		t.Errorf("the agent got %v", got)
	}
	_, err = c.StopDeployment(t.Context(), &codedeploy.StopDeploymentInput{DeploymentId: aws.String(id)})
	wantCode(t, err, "DeploymentAlreadyCompletedException")
}

// A stop before any agent took the first event ends at once, and an agent that comes later gets nothing.
func TestStopBeforeAgent(t *testing.T) {
	l := start(t, lab.Options{})
	c, host := deployClient(l), l.Hosts()[0]
	group(t, c, nil)
	id := deploy(t, c, nil)
	if _, err := c.StopDeployment(t.Context(), &codedeploy.StopDeploymentInput{DeploymentId: aws.String(id)}); err != nil {
		t.Fatal(err)
	}
	if info := wait(t, l, c, id); info.Status != types.DeploymentStatusStopped {
		t.Errorf("deployment %s", info.Status)
	}
	agent := runStub(t, l, host.ID, nil)
	id = deploy(t, c, nil)
	wait(t, l, c, id)
	if diff := cmp.Diff(inPlace, agent.events()); diff != "" {
		t.Errorf("events at the agent (-want +got):\n%s", diff)
	}
}

func TestEventTimesOut(t *testing.T) {
	t.Run("no agent", func(t *testing.T) {
		l := start(t, lab.Options{EventTimeout: 100 * time.Millisecond})
		c, host := deployClient(l), l.Hosts()[0]
		group(t, c, nil)
		id := deploy(t, c, nil)
		if info := wait(t, l, c, id); info.Status != types.DeploymentStatusFailed {
			t.Errorf("deployment %s", info.Status)
		}
		_, events, byName := statusOf(t, c, id, host.Name)
		if d := byName["ApplicationStop"].Diagnostics; events[0] != "ApplicationStop Failed" || d.ErrorCode != types.LifecycleErrorCodeUnknownError || !strings.Contains(aws.ToString(d.Message), "not able to receive") {
			t.Errorf("events %v, diagnostics %+v", events, d)
		}
	})
	t.Run("an agent that never reports", func(t *testing.T) {
		l := start(t, lab.Options{EventTimeout: 500 * time.Millisecond})
		c, host := deployClient(l), l.Hosts()[0]
		runStub(t, l, host.ID, script{"Install": func(ctx context.Context) (control.Status, control.Diagnostics) {
			<-ctx.Done()
			return control.Failed, control.Diagnostics{}
		}})
		group(t, c, nil)
		id := deploy(t, c, nil)
		wait(t, l, c, id)
		_, _, byName := statusOf(t, c, id, host.Name)
		if d := byName["Install"].Diagnostics; d == nil || !strings.Contains(aws.ToString(d.Message), "did not report") {
			t.Errorf("diagnostics %+v", d)
		}
	})
}

// With a balancer the service blocks and allows traffic around the deployment (M8).
func TestLoadBalancer(t *testing.T) {
	var traffic []string
	l := start(t, lab.Options{Traffic: func(_ context.Context, event string, h lab.Host) error {
		traffic = append(traffic, event+" "+h.Name)
		return nil
	}})
	c, host := deployClient(l), l.Hosts()[0]
	agent := runStub(t, l, host.ID, nil)
	group(t, c, func(in *codedeploy.CreateDeploymentGroupInput) {
		in.DeploymentStyle = &types.DeploymentStyle{DeploymentType: types.DeploymentTypeInPlace, DeploymentOption: types.DeploymentOptionWithTrafficControl}
		in.LoadBalancerInfo = &types.LoadBalancerInfo{TargetGroupInfoList: []types.TargetGroupInfo{{Name: aws.String("web")}}}
	})
	id := deploy(t, c, nil)
	if info := wait(t, l, c, id); info.Status != types.DeploymentStatusSucceeded {
		t.Fatalf("deployment %s", info.Status)
	}
	want := slices.Concat([]string{"BeforeBlockTraffic", "AfterBlockTraffic"}, inPlace, []string{"BeforeAllowTraffic", "AfterAllowTraffic"})
	if diff := cmp.Diff(want, agent.events()); diff != "" {
		t.Errorf("events at the agent (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"BlockTraffic " + host.Name, "AllowTraffic " + host.Name}, traffic); diff != "" {
		t.Errorf("at the balancer (-want +got):\n%s", diff)
	}
	if _, events, _ := statusOf(t, c, id, host.Name); len(events) != 13 || events[1] != "BlockTraffic Succeeded" || events[11] != "AllowTraffic Succeeded" {
		t.Errorf("events %v", events)
	}
}

// One at a time: the second host begins when the first is done, and stays as it is if the first fails.
func TestOneAtATime(t *testing.T) {
	for name, fails := range map[string]bool{"both well": false, "first fails": true} {
		t.Run(name, func(t *testing.T) {
			l := start(t, lab.Options{Instances: 2})
			c, hosts := deployClient(l), l.Hosts()
			how := script{}
			if fails {
				how["Install"] = failing
			}
			first, second := runStub(t, l, hosts[0].ID, how), runStub(t, l, hosts[1].ID, nil)
			group(t, c, func(in *codedeploy.CreateDeploymentGroupInput) {
				in.DeploymentConfigName = aws.String("CodeDeployDefault.OneAtATime")
			})
			id := deploy(t, c, nil)
			info := wait(t, l, c, id)
			if fails {
				if info.Status != types.DeploymentStatusFailed || len(first.events()) != 4 || len(second.events()) != 0 || info.DeploymentOverview.Skipped != 1 {
					t.Errorf("%s, first %v, second %v, overview %+v", info.Status, first.events(), second.events(), info.DeploymentOverview)
				}
				return
			}
			var order []string
			for e := range follow(t, l, id) {
				if e.Kind == "target" {
					order = append(order, e.Target+" "+e.Status)
				}
				if e.Kind == "deployment" && e.Status == "Succeeded" {
					break
				}
			}
			want := []string{hosts[0].Name + " InProgress", hosts[0].Name + " Succeeded", hosts[1].Name + " InProgress", hosts[1].Name + " Succeeded"}
			if diff := cmp.Diff(want, order); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

// All at once succeeds if one host does, as the service has it.
func TestMinimumHealthyHosts(t *testing.T) {
	l := start(t, lab.Options{Instances: 2})
	c, hosts := deployClient(l), l.Hosts()
	runStub(t, l, hosts[0].ID, script{"Install": failing})
	runStub(t, l, hosts[1].ID, nil)
	group(t, c, nil)
	if info := wait(t, l, c, deploy(t, c, nil)); info.Status != types.DeploymentStatusSucceeded || info.DeploymentOverview.Failed != 1 || info.DeploymentOverview.Succeeded != 1 {
		t.Errorf("%s, overview %+v", info.Status, info.DeploymentOverview)
	}
	if _, err := c.CreateDeploymentConfig(t.Context(), &codedeploy.CreateDeploymentConfigInput{
		DeploymentConfigName: aws.String("all-must-stay"), MinimumHealthyHosts: &types.MinimumHealthyHosts{Type: types.MinimumHealthyHostsTypeHostCount, Value: 2},
	}); err != nil {
		t.Fatal(err)
	}
	id := deploy(t, c, func(in *codedeploy.CreateDeploymentInput) { in.DeploymentConfigName = aws.String("all-must-stay") })
	if info := wait(t, l, c, id); info.Status != types.DeploymentStatusFailed || info.ErrorInformation.Code != types.ErrorCodeHealthConstraintsInvalid {
		t.Errorf("%s, %+v", info.Status, info.ErrorInformation)
	}
}

// H-4: a failed deployment is followed by one of the last good revision, whose creator says why.
func TestAutoRollback(t *testing.T) {
	l := start(t, lab.Options{})
	c, host := deployClient(l), l.Hosts()[0]
	broken := false
	agent := runStub(t, l, host.ID, script{"ValidateService": func(ctx context.Context) (control.Status, control.Diagnostics) {
		if broken {
			broken = false
			return failing(ctx)
		}
		return control.Succeeded, control.Diagnostics{}
	}})
	group(t, c, func(in *codedeploy.CreateDeploymentGroupInput) {
		in.AutoRollbackConfiguration = &types.AutoRollbackConfiguration{Enabled: true, Events: []types.AutoRollbackEvent{types.AutoRollbackEventDeploymentFailure}}
	})
	wait(t, l, c, deploy(t, c, nil))
	broken = true
	info := wait(t, l, c, deploy(t, c, func(in *codedeploy.CreateDeploymentInput) { in.Revision = revision("v2.zip") }))
	if info.RollbackInfo == nil || info.RollbackInfo.RollbackDeploymentId == nil {
		t.Fatalf("no rollback: %+v", info)
	}
	back := wait(t, l, c, *info.RollbackInfo.RollbackDeploymentId)
	if back.Status != types.DeploymentStatusSucceeded || back.Creator != types.DeploymentCreatorCodeDeployRollback || aws.ToString(back.Revision.S3Location.Key) != "v1.zip" {
		t.Errorf("rollback %+v", back)
	}
	if last := agent.specs[len(agent.specs)-1]; last["DeploymentCreator"] != "codeDeployRollback" {
		t.Errorf("the agent was told %v", last["DeploymentCreator"])
	}
}

func TestNoInstances(t *testing.T) {
	l := start(t, lab.Options{Instances: -1})
	c := deployClient(l)
	group(t, c, nil)
	info := wait(t, l, c, deploy(t, c, nil))
	if info.Status != types.DeploymentStatusFailed || info.ErrorInformation.Code != types.ErrorCodeNoInstances {
		t.Errorf("%s, %+v", info.Status, info.ErrorInformation)
	}
}

// L-58, L-59: a registered machine polls with its IAM ARN and is chosen by its tags; an instance with other tags is left out.
func TestOnPremises(t *testing.T) {
	l := start(t, lab.Options{})
	c, ctx := deployClient(l), t.Context()
	arn := "arn:aws:iam::123456789012:user/kiosk"
	name := aws.String("kiosk-1")
	if _, err := c.RegisterOnPremisesInstance(ctx, &codedeploy.RegisterOnPremisesInstanceInput{InstanceName: name, IamUserArn: aws.String(arn)}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddTagsToOnPremisesInstances(ctx, &codedeploy.AddTagsToOnPremisesInstancesInput{InstanceNames: []string{"kiosk-1"}, Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("kiosk")}}}); err != nil {
		t.Fatal(err)
	}
	agent := runStub(t, l, arn, nil)
	group(t, c, func(in *codedeploy.CreateDeploymentGroupInput) {
		in.OnPremisesInstanceTagFilters = []types.TagFilter{{Key: aws.String("Name"), Value: aws.String("kiosk"), Type: types.TagFilterTypeKeyAndValue}}
	})
	id := deploy(t, c, nil)
	wait(t, l, c, id)
	targets, err := c.ListDeploymentTargets(ctx, &codedeploy.ListDeploymentTargetsInput{DeploymentId: aws.String(id)})
	if err != nil || !slices.Equal(targets.TargetIds, []string{"kiosk-1"}) || len(agent.events()) != 7 {
		t.Errorf("targets %v, %v, agent %v", targets.TargetIds, err, agent.events())
	}
	if _, err := c.DeregisterOnPremisesInstance(ctx, &codedeploy.DeregisterOnPremisesInstanceInput{InstanceName: name}); err != nil {
		t.Fatal(err)
	}
	listed, err := c.ListOnPremisesInstances(ctx, &codedeploy.ListOnPremisesInstancesInput{})
	got, err2 := c.GetOnPremisesInstance(ctx, &codedeploy.GetOnPremisesInstanceInput{InstanceName: name})
	if err != nil || err2 != nil || len(listed.InstanceNames) != 0 || got.InstanceInfo.DeregisterTime == nil {
		t.Errorf("after deregistration: %v %v, %+v %v", listed.InstanceNames, err, got, err2)
	}
	if info := wait(t, l, c, deploy(t, c, nil)); info.Status != types.DeploymentStatusFailed {
		t.Errorf("a deregistered machine was deployed to: %s", info.Status)
	}
}

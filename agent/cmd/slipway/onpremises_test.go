package main

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"slipway/agent/lab"
)

// L-58, L-59: the agent on a registered machine, by an IAM user and by a session whose credentials are in a file, deploys a zip of S3.
func TestOnPremisesScenarios(t *testing.T) {
	t.Parallel()
	const user, session = "arn:aws:iam::123456789012:user/kiosk", "arn:aws:sts::123456789012:assumed-role/kiosks/kiosk"
	for _, c := range []struct {
		rule, file string
		register   codedeploy.RegisterOnPremisesInstanceInput
	}{
		{"L-58", "iam_user_arn: " + user + "\naws_access_key_id: %[1]s\naws_secret_access_key: %[2]s\n", codedeploy.RegisterOnPremisesInstanceInput{IamUserArn: aws.String(user)}},
		{"L-59", "iam_session_arn: " + session + "\naws_credentials_file: %[3]s\n", codedeploy.RegisterOnPremisesInstanceInput{IamSessionArn: aws.String(session)}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			l, err := lab.Start(lab.Options{Instances: -1, PollWait: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close(context.Background()) })
			info, ctx := l.Info(), t.Context()
			keys := credentials.NewStaticCredentialsProvider(info.AccessKey, info.SecretKey, "")
			h := &labHost{
				host: &host{t: t, dir: d.dir}, lab: l,
				deploy: codedeploy.New(codedeploy.Options{Region: info.Region, Credentials: keys, BaseEndpoint: aws.String(l.Endpoints().Gateway)}),
				store:  s3.New(s3.Options{Region: info.Region, Credentials: keys, BaseEndpoint: aws.String(l.Endpoints().S3), UsePathStyle: true}),
			}
			creds := d.write("credentials", "[default]\naws_access_key_id = "+info.AccessKey+"\naws_secret_access_key = "+info.SecretKey+"\n")
			registration := d.write("onprem.yml", "---\nregion: "+info.Region+"\n"+fmt.Sprintf(c.file, info.AccessKey, info.SecretKey, creds))
			h.config = d.write("agent.yml", fmt.Sprintf("---\n:root_dir: %[1]s/deployment-root\n:log_dir: %[1]s/log\n:pid_dir: %[1]s/pid\n:wait_between_runs: 1\n:on_premises_config_file: %[2]s\n:deploy_control_endpoint: %[3]s\n:s3_endpoint_override: %[4]s\n",
				d.dir, registration, l.Endpoints().Control, l.Endpoints().S3))
			c.register.InstanceName = aws.String("kiosk-1")
			_, err = h.deploy.RegisterOnPremisesInstance(ctx, &c.register)
			h.must(err)
			tag := types.Tag{Key: aws.String("Name"), Value: aws.String("kiosk")}
			_, err = h.deploy.AddTagsToOnPremisesInstances(ctx, &codedeploy.AddTagsToOnPremisesInstancesInput{InstanceNames: []string{"kiosk-1"}, Tags: []types.Tag{tag}})
			h.must(err)
			_, err = h.deploy.CreateApplication(ctx, &codedeploy.CreateApplicationInput{ApplicationName: aws.String(labApplication)})
			h.must(err)
			_, err = h.deploy.CreateDeploymentGroup(ctx, &codedeploy.CreateDeploymentGroupInput{
				ApplicationName: aws.String(labApplication), DeploymentGroupName: aws.String(labGroup), ServiceRoleArn: aws.String("arn:aws:iam::123456789012:role/deploy"),
				OnPremisesInstanceTagFilters: []types.TagFilter{{Key: tag.Key, Value: tag.Value, Type: types.TagFilterTypeKeyAndValue}},
			})
			h.must(err)
			h.put("k", zipped(sampleBundle()))
			h.start()
			t.Cleanup(func() {
				h.kill()
				if t.Failed() {
					t.Logf("output of slipway:\n%s", h.output.String())
				}
			})
			deployment := h.create("k")
			select {
			case <-deployment.over:
			case <-time.After(time.Minute):
				t.Fatal("the deployment does not end")
			}
			out, err := h.deploy.GetDeployment(ctx, &codedeploy.GetDeploymentInput{DeploymentId: aws.String(deployment.id)})
			h.must(err)
			if out.DeploymentInfo.Status != types.DeploymentStatusSucceeded {
				t.Errorf("status %s, %+v", out.DeploymentInfo.Status, out.DeploymentInfo.ErrorInformation)
			}
			d.proves("BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService")
			archives, err := filepath.Glob(d.path("deployment-root/*/" + deployment.id + "/deployment-archive"))
			if err != nil || len(archives) != 1 || len(d.list(archives[0])) != 6 || len(d.list(filepath.Join(archives[0], "scripts"))) != len(hooked) {
				t.Errorf("archives %v, %v", archives, err)
			}
		})
	}
}

package lab_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"slipway/agent/control"
	"slipway/agent/lab"
)

// start runs a lab for the test.
func start(t *testing.T, o lab.Options) *lab.Lab {
	t.Helper()
	if o.PollWait == 0 {
		o.PollWait = 20 * time.Millisecond
	}
	l, err := lab.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return l
}

// keys are the operator's.
func keys(l *lab.Lab) aws.CredentialsProvider {
	i := l.Info()
	return credentials.NewStaticCredentialsProvider(i.AccessKey, i.SecretKey, "")
}

func deployClient(l *lab.Lab) *codedeploy.Client {
	return codedeploy.New(codedeploy.Options{Region: l.Info().Region, Credentials: keys(l), BaseEndpoint: aws.String(l.Endpoints().Gateway), RetryMaxAttempts: 1})
}

func s3Client(l *lab.Lab) *s3.Client {
	return s3.New(s3.Options{Region: l.Info().Region, Credentials: keys(l), BaseEndpoint: aws.String(l.Endpoints().S3), UsePathStyle: true, RetryMaxAttempts: 1})
}

// A script says how the stub agent ends an event: nil is success. Without an entry an event succeeds.
type script map[string]func(ctx context.Context) (control.Status, control.Diagnostics)

// stub is an agent that runs no scripts, but speaks the whole protocol.
type stub struct {
	mu    sync.Mutex
	specs []map[string]any // as received, per event
	ran   []string
}

func (s *stub) events() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.ran...)
}

// runStub polls as host until the test ends.
func runStub(t *testing.T, l *lab.Lab, host string, how script) *stub {
	t.Helper()
	trust, err := control.NewTrust(control.TrustOptions{Signer: "integrity"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := control.New(control.Options{Endpoint: l.Endpoints().Control, Region: l.Info().Region, HostID: host, Version: "stub-1", Credentials: keys(l)})
	if err != nil {
		t.Fatal(err)
	}
	s := &stub{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := s.round(ctx, c, trust, how); err != nil && ctx.Err() == nil {
				t.Errorf("stub agent %s: %v", host, err)
				return
			}
		}
	})
	return s
}

// round takes one command through the protocol, if there is one.
func (s *stub) round(ctx context.Context, c *control.Client, trust *control.Trust, how script) error {
	cmd, err := c.Poll(ctx)
	if err != nil || cmd == nil {
		return err
	}
	envelope, err := c.Spec(ctx, cmd.ExecutionID)
	if err != nil {
		return err
	}
	content, err := envelope.Open(trust)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(content, &spec); err != nil {
		return err
	}
	s.mu.Lock()
	s.specs, s.ran = append(s.specs, spec), append(s.ran, cmd.Name)
	s.mu.Unlock()
	if status, err := c.Acknowledge(ctx, cmd.ID, control.NoopDiagnostics(false)); err != nil || status != control.InProgress {
		return errors.Join(err, errors.New("acknowledgement answered with "+string(status)))
	}
	status, diagnostics := control.Succeeded, control.Diagnostics{Message: "Succeeded: "}
	if f := how[cmd.Name]; f != nil {
		status, diagnostics = f(ctx)
	}
	return c.Complete(ctx, cmd.ID, status, diagnostics.Envelope())
}

// failing ends an event as a failed script does.
func failing(context.Context) (control.Status, control.Diagnostics) {
	return control.Failed, control.Diagnostics{ErrorCode: 4, ScriptName: "scripts/configure.sh", Message: "Script at specified location: scripts/configure.sh failed with exit code 1", Log: "[stderr]no such table\n"}
}

// group makes an application web with one deployment group, live, changed by f.
func group(t *testing.T, c *codedeploy.Client, f func(*codedeploy.CreateDeploymentGroupInput)) {
	t.Helper()
	if _, err := c.CreateApplication(t.Context(), &codedeploy.CreateApplicationInput{ApplicationName: aws.String("web")}); err != nil {
		t.Fatal(err)
	}
	in := &codedeploy.CreateDeploymentGroupInput{
		ApplicationName: aws.String("web"), DeploymentGroupName: aws.String("live"),
		ServiceRoleArn: aws.String("arn:aws:iam::123456789012:role/deploy"), DeploymentConfigName: aws.String("CodeDeployDefault.AllAtOnce"),
	}
	if f != nil {
		f(in)
	}
	if _, err := c.CreateDeploymentGroup(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

func revision(key string) *types.RevisionLocation {
	return &types.RevisionLocation{RevisionType: types.RevisionLocationTypeS3, S3Location: &types.S3Location{Bucket: aws.String("slipway-lab"), Key: aws.String(key), BundleType: types.BundleTypeZip}}
}

// deploy creates a deployment of a revision to web/live.
func deploy(t *testing.T, c *codedeploy.Client, f func(*codedeploy.CreateDeploymentInput)) string {
	t.Helper()
	in := &codedeploy.CreateDeploymentInput{ApplicationName: aws.String("web"), DeploymentGroupName: aws.String("live"), Revision: revision("v1.zip")}
	if f != nil {
		f(in)
	}
	out, err := c.CreateDeployment(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.DeploymentId)
}

// wait returns a deployment once it has one of the statuses.
func wait(t *testing.T, l *lab.Lab, c *codedeploy.Client, id string, statuses ...types.DeploymentStatus) *types.DeploymentInfo {
	t.Helper()
	if len(statuses) == 0 {
		statuses = []types.DeploymentStatus{types.DeploymentStatusSucceeded, types.DeploymentStatusFailed, types.DeploymentStatusStopped}
	}
	for e := range follow(t, l, id) {
		if e.Kind != "deployment" {
			continue
		}
		for _, s := range statuses {
			if e.Status == string(s) {
				out, err := c.GetDeployment(t.Context(), &codedeploy.GetDeploymentInput{DeploymentId: aws.String(id)})
				if err != nil {
					t.Fatal(err)
				}
				return out.DeploymentInfo
			}
		}
	}
	t.Fatalf("deployment %s never came to %v", id, statuses)
	return nil
}

// statusOf maps the events of one instance to their statuses, in order as "event status".
func statusOf(t *testing.T, c *codedeploy.Client, id, target string) (status types.TargetStatus, events []string, byName map[string]types.LifecycleEvent) {
	t.Helper()
	out, err := c.GetDeploymentTarget(t.Context(), &codedeploy.GetDeploymentTargetInput{DeploymentId: aws.String(id), TargetId: aws.String(target)})
	if err != nil {
		t.Fatal(err)
	}
	byName = map[string]types.LifecycleEvent{}
	i := out.DeploymentTarget.InstanceTarget
	for _, e := range i.LifecycleEvents {
		events = append(events, aws.ToString(e.LifecycleEventName)+" "+string(e.Status))
		byName[aws.ToString(e.LifecycleEventName)] = e
	}
	return i.Status, events, byName
}

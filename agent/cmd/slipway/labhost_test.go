package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"slipway/agent/lab"
)

// labHost is a machine in the offline lab. Deployments to it are made as an operator makes them, through the public API, and what the
// lab records of them is what is looked at.
type labHost struct {
	*host
	lab    *lab.Lab
	deploy *codedeploy.Client
	store  *s3.Client
	under  string // the deployment root
	site   string // where revisions are installed to
}

const labBucket, labApplication, labGroup = "slipway-lab", "web", "live"

// newLabHost makes a machine with its state and its site in a folder.
func newLabHost(t testing.TB, dir string) *labHost {
	t.Helper()
	l, err := lab.Start(lab.Options{PollWait: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	files, err := l.WriteFiles(filepath.Join(dir, "lab"))
	if err != nil {
		t.Fatal(err)
	}
	info := l.Info()
	keys := credentials.NewStaticCredentialsProvider(info.AccessKey, info.SecretKey, "")
	h := &labHost{
		host: &host{t: t, dir: dir, config: files["agent"]}, lab: l,
		deploy: codedeploy.New(codedeploy.Options{Region: info.Region, Credentials: keys, BaseEndpoint: aws.String(l.Endpoints().Gateway)}),
		store:  s3.New(s3.Options{Region: info.Region, Credentials: keys, BaseEndpoint: aws.String(l.Endpoints().S3), UsePathStyle: true}),
		under:  filepath.Join(dir, "lab", l.Hosts()[0].Name, "deployment-root"), site: filepath.Join(dir, "site"),
	}
	t.Cleanup(func() {
		h.kill()
		if t.Failed() {
			t.Logf("output of slipway:\n%s", h.output.String())
		}
	})
	_, err = h.deploy.CreateApplication(t.Context(), &codedeploy.CreateApplicationInput{ApplicationName: aws.String(labApplication)})
	h.must(err)
	_, err = h.deploy.CreateDeploymentGroup(t.Context(), &codedeploy.CreateDeploymentGroupInput{
		ApplicationName: aws.String(labApplication), DeploymentGroupName: aws.String(labGroup), ServiceRoleArn: aws.String("arn:aws:iam::123456789012:role/deploy"),
	})
	h.must(err)
	return h
}

func (h *labHost) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// put stores a bundle.
func (h *labHost) put(key string, data []byte) {
	h.t.Helper()
	_, err := h.store.PutObject(h.t.Context(), &s3.PutObjectInput{Bucket: aws.String(labBucket), Key: aws.String(key), Body: bytes.NewReader(data)})
	h.must(err)
}

// labDeployment is a deployment as it goes on in the lab.
type labDeployment struct {
	id         string
	installing chan struct{} // closed when the agent has acknowledged Install
	installed  chan struct{} // closed when it has reported the end of Install
	over       chan struct{} // closed at the end
}

// create makes a deployment of a revision and returns at once.
func (h *labHost) create(key string) *labDeployment {
	h.t.Helper()
	out, err := h.deploy.CreateDeployment(h.t.Context(), &codedeploy.CreateDeploymentInput{
		ApplicationName: aws.String(labApplication), DeploymentGroupName: aws.String(labGroup), Revision: &types.RevisionLocation{
			RevisionType: types.RevisionLocationTypeS3, S3Location: &types.S3Location{Bucket: aws.String(labBucket), Key: aws.String(key), BundleType: types.BundleTypeZip},
		},
	})
	h.must(err)
	d := &labDeployment{id: aws.ToString(out.DeploymentId), installing: make(chan struct{}), installed: make(chan struct{}), over: make(chan struct{})}
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.lab.Endpoints().Admin+"/lab/events?follow=1&deployment="+d.id, nil)
	h.must(err)
	resp, err := http.DefaultClient.Do(req)
	h.must(err)
	go d.follow(resp)
	return d
}

func (d *labDeployment) follow(resp *http.Response) {
	defer resp.Body.Close()
	for in := bufio.NewScanner(resp.Body); in.Scan(); {
		var e lab.Event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			return
		}
		switch {
		case e.Kind == "event" && e.Event == "Install" && e.Status == "InProgress":
			close(d.installing)
		case e.Kind == "event" && e.Event == "Install" && (e.Status == "Succeeded" || e.Status == "Failed"):
			close(d.installed)
		case e.Kind == "deployment" && (e.Status == "Succeeded" || e.Status == "Failed" || e.Status == "Stopped"):
			close(d.over)
			return
		}
	}
}

// end waits for the end of a deployment and returns the status that the lab has recorded, and what went wrong with Install.
func (h *labHost) end(d *labDeployment) (status types.DeploymentStatus, problem string) {
	h.t.Helper()
	select {
	case <-d.over:
	case <-time.After(time.Minute):
		h.t.Fatalf("deployment %s does not end", d.id)
	}
	out, err := h.deploy.GetDeployment(h.t.Context(), &codedeploy.GetDeploymentInput{DeploymentId: aws.String(d.id)})
	h.must(err)
	target, err := h.deploy.GetDeploymentTarget(h.t.Context(), &codedeploy.GetDeploymentTargetInput{DeploymentId: aws.String(d.id), TargetId: aws.String(h.lab.Hosts()[0].Name)})
	h.must(err)
	for _, e := range target.DeploymentTarget.InstanceTarget.LifecycleEvents {
		if e.Status == types.LifecycleEventStatusFailed {
			problem = aws.ToString(e.LifecycleEventName) + ": " + aws.ToString(e.Diagnostics.Message)
		}
	}
	return out.DeploymentInfo.Status, problem
}

// bring deploys a revision, which must succeed.
func (h *labHost) bring(key string) {
	h.t.Helper()
	if status, problem := h.end(h.create(key)); status != types.DeploymentStatusSucceeded {
		h.t.Fatalf("deployment of %s = %s, %s", key, status, problem)
	}
}

// offline starts slipway where nothing can tell it who it is: it makes good what was interrupted and gets no further.
func (h *labHost) offline() {
	h.t.Helper()
	h.output = syncBuffer{}
	h.extra = []string{"AWS_EC2_METADATA_DISABLED=true"}
	h.start()
	h.extra = nil
	h.eventually("the agent has started", func() bool { return strings.Contains(h.output.String(), `"started"`) })
	h.stop()
}

// phases are the parts of an installation, as the journal on the disk tells them.
const (
	phaseBefore    = "before the journal"
	phaseStaging   = "staging"
	phaseCommitted = "committed"
	phaseUndoing   = "undoing"
	phaseTidying   = "tidying up"
	phaseDone      = "done"
)

// phase says how far a deployment's installation is.
func (h *labHost) phase(id string) string {
	if journals, _ := filepath.Glob(filepath.Join(h.under, ".slipway/install/*.journal")); len(journals) > 0 {
		switch last := lastLine(journals[0]); {
		case strings.HasPrefix(last, `{"op":"commit"`):
			return phaseCommitted
		case strings.HasPrefix(last, `{"op":"undo"`):
			return phaseUndoing
		case strings.HasPrefix(last, `{"op":"done"`):
			return phaseTidying
		}
		return phaseStaging
	}
	manifests, _ := filepath.Glob(filepath.Join(h.under, ".slipway/install/*.manifest"))
	for _, name := range manifests {
		if head := make([]byte, 512); readAt(name, head, 0) && bytes.Contains(head, []byte(`"`+id+`"`)) {
			return phaseDone
		}
	}
	return phaseBefore
}

// lastLine is the last whole line of a file, if it is short.
func lastLine(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return ""
	}
	tail := make([]byte, min(info.Size(), 200))
	if !readAt(name, tail, info.Size()-int64(len(tail))) {
		return ""
	}
	text, whole := strings.CutSuffix(string(tail), "\n")
	if !whole {
		return ""
	}
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func readAt(name string, b []byte, at int64) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	n, _ := f.ReadAt(b, at)
	return n > 0
}

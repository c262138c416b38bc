//go:build packer

// For packaging/packer/validate, which brings the aws client that this needs.

package main

import (
	"context"
	"crypto/rand"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"slipway/agent/lab"
	"slipway/packaging/iam/iamtest"
)

// deployer is who deploys, with the aws client on the lab.
type deployer struct {
	*labHost
	work string
}

// aws runs the client and returns what it says.
func (d *deployer) aws(args ...string) string {
	d.t.Helper()
	out, err := d.run(args...)
	if err != nil {
		d.t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func (d *deployer) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "aws", append(args, "--output", "text")...)
	info := d.lab.Info()
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + d.work, "AWS_ENDPOINT_URL=" + d.lab.Endpoints().Gateway, "AWS_REGION=" + info.Region, "AWS_DEFAULT_REGION=" + info.Region,
		"AWS_ACCESS_KEY_ID=" + info.AccessKey, "AWS_SECRET_ACCESS_KEY=" + info.SecretKey,
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// push has the client make a revision of a folder, and returns its --s3-location.
func (d *deployer) push(key string, size int) string {
	d.t.Helper()
	filler := make([]byte, size)
	rand.Read(filler) // which no zip makes smaller
	for name, data := range map[string][]byte{"appspec.yml": []byte("version: 0.0\nos: linux\n"), "filler": filler} {
		path := filepath.Join(d.work, key, name)
		d.must(os.MkdirAll(filepath.Dir(path), 0o755))
		d.must(os.WriteFile(path, data, 0o600))
	}
	out := d.aws("deploy", "push", "--application-name", labApplication, "--s3-location", "s3://"+labBucket+"/"+key, "--source", filepath.Join(d.work, key))
	location := regexp.MustCompile(`--s3-location (\S+)`).FindStringSubmatch(out)
	if location == nil {
		d.t.Fatalf("aws deploy push says %q", out)
	}
	return strings.ReplaceAll(location[1], `"`, "")
}

// Who deploys, with the aws client as people use it, asks for what deploy-user.json allows and for all of it: push of a small bundle and of one in
// parts, one that fails on the way, deployments, waiting for them, and looking at everything about them.
func TestDeployUser(t *testing.T) {
	h := newLabHost(t, t.TempDir())
	d := &deployer{labHost: h, work: t.TempDir()}
	_, err := h.store.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: aws.String(labBucket), VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled},
	})
	h.must(err)
	h.start()
	setUp := len(h.calls())
	create := []string{"deploy", "create-deployment", "--application-name", labApplication, "--deployment-group-name", labGroup, "--query", "deploymentId", "--s3-location"}
	for key, size := range map[string]int{"small": 10, "large": 13 << 20} {
		location := d.push(key, size)
		id := d.aws(append(create, location)...)
		d.aws("deploy", "wait", "deployment-successful", "--deployment-id", id)
		if got := d.aws("deploy", "get-deployment", "--deployment-id", id, "--query", "deploymentInfo.status"); got != "Succeeded" {
			t.Errorf("deployment of %s: %s", location, got)
		}
		target := d.aws("deploy", "list-deployment-targets", "--deployment-id", id, "--query", "targetIds[0]")
		d.aws("deploy", "get-deployment-target", "--deployment-id", id, "--target-id", target)
		d.aws("deploy", "batch-get-deployment-targets", "--deployment-id", id, "--target-ids", target)
		d.run("deploy", "stop-deployment", "--deployment-id", id) // both come too late, and are asked for all the same
		d.run("deploy", "continue-deployment", "--deployment-id", id)
		d.aws("deploy", "get-application-revision", "--application-name", labApplication, "--s3-location", location)
		version := regexp.MustCompile(`version=(\S+)`).FindStringSubmatch(location)
		if version == nil {
			t.Fatalf("%s has no version", location)
		}
		d.aws("s3api", "get-object", "--bucket", labBucket, "--key", key, "--version-id", version[1], filepath.Join(d.work, "again"))
		d.aws("s3", "cp", "s3://"+labBucket+"/"+key, filepath.Join(d.work, "copy"))
	}
	d.aws("deploy", "list-deployments", "--application-name", labApplication, "--deployment-group-name", labGroup)
	d.aws("deploy", "get-deployment-group", "--application-name", labApplication, "--deployment-group-name", labGroup)
	d.aws("deploy", "get-deployment-config", "--deployment-config-name", "CodeDeployDefault.OneAtATime")
	_, err = h.lab.AddFault(lab.Fault{Service: "s3", Operation: http.MethodPut, Path: "partNumber=2", Code: "AccessDenied"})
	h.must(err)
	if out, err := d.run("deploy", "push", "--application-name", labApplication, "--s3-location", "s3://"+labBucket+"/half", "--source", filepath.Join(d.work, "large")); err == nil {
		t.Errorf("a push that is cut short: %s", out)
	}
	d.judged(h.calls()[setUp:], readPolicy(t, "deploy-user.json"))
}

// judged holds a policy against what the client has called, among other calls.
func (d *deployer) judged(calls []lab.Call, policy *iamtest.Policy) {
	d.t.Helper()
	var asked []iamtest.Request
	for _, c := range calls {
		if c.AccessKey != d.lab.Info().AccessKey {
			continue // the host's own
		}
		need, ok := place.LabCall(c, false)
		if !ok {
			d.t.Errorf("what %s %s %s needs is not known", c.Service, c.Operation, c.Path)
			continue
		}
		asked = append(asked, need)
		if !policy.Decide(need).Allowed {
			d.t.Errorf("who deploys asks for %s (%s %s), which is not allowed", need, c.Operation, c.Path)
		}
		for _, change := range [][2]string{{labBucket + "/", "other-bucket/"}, {":" + labApplication, ":other"}, {":us-east-1:", ":eu-west-1:"}, {place.Account, "999999999999"}} {
			stranger := need
			if stranger.Resource = strings.Replace(need.Resource, change[0], change[1], 1); stranger.Resource != need.Resource && policy.Decide(stranger).Allowed {
				d.t.Errorf("allowed is %s", stranger)
			}
		}
		if need.Resource == "*" {
			elsewhere := need
			if elsewhere.Context = map[string][]string{"aws:RequestedRegion": {"eu-west-1"}}; policy.Decide(elsewhere).Allowed {
				d.t.Errorf("allowed in another region is %s", need)
			}
		}
	}
	if unneeded := policy.Unneeded(asked); len(unneeded) > 0 {
		d.t.Errorf("allowed, and asked for by none of %d calls: %q", len(asked), unneeded)
	}
	d.t.Logf("the client has made %d calls", len(asked))
}

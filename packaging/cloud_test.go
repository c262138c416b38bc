package packaging

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"

	"slipway/agent/lab"
	"slipway/lifecycle/bundle/bundletest"
	"slipway/systemd/systemdtest"
)

// cloud is the offline lab with several instances, each on a network of its own, and an Auto Scaling group that they may join.
type cloud struct {
	t      *testing.T
	lab    *lab.Lab
	deploy *codedeploy.Client
	store  *s3.Client
	group  string            // the id of the deployment group
	etags  map[string]string // of the revisions

	mu    sync.Mutex // guards calls
	calls bytes.Buffer
}

const (
	cloudBucket, cloudApplication = "slipway-lab", "tinitter"
	liveGroup, batchGroup         = "live", "batch" // that of the Auto Scaling group, and one that goes by a tag
	cloudFleet, batchTag          = "web", "batch"
)

// Addresses of the lab on each instance's loopback. They are the same on all of them, so that an image can have them in its configuration; behind
// that of the metadata service is each instance's own.
const (
	controlAddress  = "127.0.0.1:8401"
	storeAddress    = "127.0.0.1:8402"
	metadataAddress = "127.0.0.1:8404"
)

// cloudConfig is what an image has in /etc/slipway/conf.d to find the lab in the place of the services.
const cloudConfig = "deploy_control_endpoint: http://" + controlAddress + "\ns3_endpoint_override: http://" + storeAddress + "\ns3: {path_style: true}\nimds: {endpoint: 'http://" + metadataAddress + "'}\n" +
	"codedeploy_test_profile: beta\nwait_between_runs: 1\nhealth: {probe: {url: 'http://127.0.0.1/health', interval: 500ms}}\n"

func (c *cloud) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls.Write(p)
}

func newCloud(t *testing.T, instances int) *cloud {
	t.Helper()
	c := &cloud{t: t, etags: map[string]string{}}
	var err error
	c.lab, err = lab.Start(lab.Options{Instances: instances, PollWait: 500 * time.Millisecond, Calls: c})
	c.must(err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := c.lab.Close(ctx); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	info := c.lab.Info()
	keys := credentials.NewStaticCredentialsProvider(info.AccessKey, info.SecretKey, "")
	c.deploy = codedeploy.New(codedeploy.Options{Region: info.Region, Credentials: keys, BaseEndpoint: aws.String(info.Endpoints.Gateway)})
	c.store = s3.New(s3.Options{Region: info.Region, Credentials: keys, BaseEndpoint: aws.String(info.Endpoints.S3), UsePathStyle: true})
	_, err = c.deploy.CreateApplication(t.Context(), &codedeploy.CreateApplicationInput{ApplicationName: aws.String(cloudApplication)})
	c.must(err)
	out, err := c.deploy.CreateDeploymentGroup(t.Context(), &codedeploy.CreateDeploymentGroupInput{
		ApplicationName: aws.String(cloudApplication), DeploymentGroupName: aws.String(liveGroup), ServiceRoleArn: aws.String("arn:aws:iam::123456789012:role/deploy"),
		DeploymentConfigName: aws.String("CodeDeployDefault.AllAtOnce"), AutoScalingGroups: []string{cloudFleet},
	})
	c.must(err)
	_, err = c.deploy.CreateDeploymentGroup(t.Context(), &codedeploy.CreateDeploymentGroupInput{
		ApplicationName: aws.String(cloudApplication), DeploymentGroupName: aws.String(batchGroup), ServiceRoleArn: aws.String("arn:aws:iam::123456789012:role/deploy"),
		Ec2TagFilters: []types.EC2TagFilter{{Key: aws.String(batchTag), Type: types.EC2TagFilterTypeKeyOnly}},
	})
	c.must(err)
	c.group = aws.ToString(out.DeploymentGroupId)
	return c
}

func (c *cloud) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// join puts an instance into the Auto Scaling group; leave takes it out for good.
func (c *cloud) join(n int) { c.set(n, "InService") }

func (c *cloud) leave(n int) { c.set(n, "Terminated") }

func (c *cloud) set(n int, state string) {
	c.t.Helper()
	_, err := c.lab.DeclareHost(lab.Host{ID: c.lab.Hosts()[n].ID, AutoScalingGroup: cloudFleet, LifecycleState: state})
	c.must(err)
}

// tag makes an instance one of the group that goes by a tag.
func (c *cloud) tag(n int) {
	c.t.Helper()
	_, err := c.lab.DeclareHost(lab.Host{ID: c.lab.Hosts()[n].ID, Tags: map[string]string{batchTag: ""}})
	c.must(err)
}

// sample stores the sample application as a revision, with a file of its own beside.
func (c *cloud) sample(name, own string) {
	c.t.Helper()
	const top = "../testdata/tinitter"
	files := map[string]string{}
	c.must(filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(top, path)
		files[rel] = string(data)
		return err
	}))
	files["REVISION"], files[own] = name+"\n", "x"
	c.put(name, files)
}

// put stores a revision.
func (c *cloud) put(name string, files map[string]string) {
	c.t.Helper()
	out, err := c.store.PutObject(c.t.Context(), &s3.PutObjectInput{Bucket: aws.String(cloudBucket), Key: aws.String(name + ".zip"), Body: bytes.NewReader(bundletest.Zip(bundletest.Files(files)...))})
	c.must(err)
	c.etags[name] = aws.ToString(out.ETag)
}

// create makes a deployment of a revision to the instances that are in a group now, with the ETag that aws deploy push has registered.
func (c *cloud) create(group, name string) string {
	c.t.Helper()
	out, err := c.deploy.CreateDeployment(c.t.Context(), &codedeploy.CreateDeploymentInput{
		ApplicationName: aws.String(cloudApplication), DeploymentGroupName: aws.String(group), Revision: &types.RevisionLocation{
			RevisionType: types.RevisionLocationTypeS3,
			S3Location:   &types.S3Location{Bucket: aws.String(cloudBucket), Key: aws.String(name + ".zip"), BundleType: types.BundleTypeZip, ETag: aws.String(c.etags[name])},
		},
	})
	c.must(err)
	return aws.ToString(out.DeploymentId)
}

// succeeds waits for a deployment's end on so many instances.
func (c *cloud) succeeds(id string, instances int64) {
	c.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		out, err := c.deploy.GetDeployment(c.t.Context(), &codedeploy.GetDeploymentInput{DeploymentId: aws.String(id)})
		c.must(err)
		switch d := out.DeploymentInfo; {
		case d.Status == types.DeploymentStatusSucceeded:
			if d.DeploymentOverview.Succeeded != instances {
				c.t.Errorf("deployment %s succeeded on %d instances, want %d", id, d.DeploymentOverview.Succeeded, instances)
			}
			return
		case d.Status == types.DeploymentStatusFailed, d.Status == types.DeploymentStatusStopped, time.Now().After(end):
			c.t.Fatalf("deployment %s: %s %+v\n%s", id, d.Status, d.ErrorInformation, c.problems(id))
		}
	}
}

// problems is how far the instances of a deployment have come.
func (c *cloud) problems(id string) string {
	var b strings.Builder
	for _, h := range c.lab.Hosts() {
		out, err := c.deploy.GetDeploymentTarget(c.t.Context(), &codedeploy.GetDeploymentTargetInput{DeploymentId: aws.String(id), TargetId: aws.String(h.Name)})
		if err != nil {
			continue
		}
		for _, e := range out.DeploymentTarget.InstanceTarget.LifecycleEvents {
			fmt.Fprintf(&b, "%s %s %s", h.Name, aws.ToString(e.LifecycleEventName), e.Status)
			if d := e.Diagnostics; d != nil {
				fmt.Fprintf(&b, " %s\n%s", aws.ToString(d.Message), aws.ToString(d.LogTail))
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// asked counts the calls that have been answered, of those that a function takes.
func (c *cloud) asked(takes func(lab.Call) bool) (n int) {
	c.t.Helper()
	c.mu.Lock()
	text := c.calls.String()
	c.mu.Unlock()
	for line := range strings.Lines(text) {
		var call lab.Call
		c.must(unmarshal(line, &call))
		if takes(call) {
			n++
		}
	}
	return n
}

// fetches counts how often a revision was read.
func (c *cloud) fetches(name string) int {
	c.t.Helper()
	return c.asked(func(call lab.Call) bool {
		return call.Service == "s3" && call.Operation == "GET" && strings.Contains(call.Path, name+".zip")
	})
}

// network is a network name space of the test's own with nothing but a loopback. It ends with the test, whatever becomes of that.
type network struct {
	path string
	do   chan func()
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{do: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this function, and the name space with it
		n.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		made <- loopbackOf()
		for f := range n.do {
			f()
		}
	}()
	t.Cleanup(func() { close(n.do) })
	if err := <-made; err != nil {
		t.Fatalf("make a network of its own for a host: %v", err)
	}
	return n
}

// loopbackOf gives the calling thread a network name space whose loopback is up.
func loopbackOf() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// lead takes what comes to an address in the network to one of the test's own.
func (n *network) lead(t *testing.T, address, to string) {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	done := make(chan struct{})
	n.do <- func() { l, err = net.Listen("tcp", address); close(done) }
	if <-done; err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			inner, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { couple(t.Context(), inner, u.Host) })
		}
	})
	t.Cleanup(func() { l.Close(); open.Wait() })
}

// couple joins a connection with one to an address until both are over, or the context.
func couple(ctx context.Context, inner net.Conn, address string) {
	defer inner.Close()
	outer, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer outer.Close()
	defer context.AfterFunc(ctx, func() { inner.Close(); outer.Close() })()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{inner, outer}, {outer, inner}} {
		both.Go(func() {
			way[0].(*net.TCPConn).WriteTo(way[1])
			way[1].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
}

// instance boots a host as the n-th instance.
func (c *cloud) instance(n int, o systemdtest.Options) (*machine, *network) {
	c.t.Helper()
	net := newNetwork(c.t)
	e := c.lab.Endpoints()
	net.lead(c.t, controlAddress, e.Control)
	net.lead(c.t, storeAddress, e.S3)
	net.lead(c.t, metadataAddress, e.Metadata[n])
	o.NetNS = net.path
	m := &machine{systemdtest.Boot(c.t, o), c.t}
	c.t.Cleanup(func() {
		if !c.t.Failed() || !m.On() {
			return
		}
		journal, _ := m.Enter(context.Background(), "journalctl", "--no-pager", "-n", "30", "-o", "cat", "-u", "slipway").CombinedOutput()
		c.t.Logf("journal of instance %d:\n%s", n, journal)
	})
	return m, net
}

// within is a program of this machine that runs in the network.
func (n *network) within(ctx context.Context, program string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + n.path, "--", program}, args...)...)
}

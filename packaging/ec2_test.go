//go:build packer

// For packaging/packer/validate, which brings the Packer and the moto that this needs.

package packaging

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"slipway/packaging/iam/iamtest"
)

const (
	bakeRegion, bakeAccount = "ap-northeast-1", "123456789012"
	bakeProfile, bakeRole   = "baker", "baking"
	bakeKey, bakeSecret     = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

// ec2 stands in for AWS while Packer bakes with the template as it is shipped, under the names that AWS has: Packer reaches it as its proxy. It is
// what moto is, of PyPI, and in front of that what moto is not: it notes each call, asks a policy whether it is allowed and refuses it if not,
// knows the tags of what a call is about, tags snapshots, and lets the host of the test be the instance.
type ec2 struct {
	t        *testing.T
	moto     string          // its address
	proxy    string          // the address of this
	dir      string          // has ca.pem
	policy   *iamtest.Policy // of who bakes
	broken   string          // an action that fails although it is allowed; "" for none
	launched func(key string) error

	mu    sync.Mutex // guards what follows
	calls []*call
	tags  map[string]map[string]string // by id, or by name for key pairs
	keys  map[string]string            // the public keys of key pairs
}

// call is one that Packer has made.
type call struct {
	service, action, region string
	form                    url.Values
	credential              string            // the access key that has signed it
	needs                   []iamtest.Request // what had to be allowed
	denied                  []iamtest.Request // of these
}

func (c *call) String() string {
	return c.service + ":" + c.action
}

// sourceImages are what moto offers, with the day that each was published: the image that a bake has to find, and ones that only look like it. All are
// Amazon's: moto knows no other public ones.
var sourceImages = []struct{ id, name, day string }{
	{"ami-0000000000000a231", "al2023-ami-2023.11.20260427.1-kernel-6.1-x86_64", "2026-04-28"},
	{newest2023, "al2023-ami-2023.12.20260601.0-kernel-6.1-x86_64", "2026-06-02"},
	{"ami-0000000000000c231", "al2023-ami-2023.12.20260601.0-kernel-6.12-x86_64", "2026-06-03"},
	{"ami-0000000000000d231", "al2023-ami-minimal-2023.12.20260601.0-kernel-6.1-x86_64", "2026-06-03"},
	{"ami-0000000000000e231", "al2023-ami-2023.12.20260601.0-kernel-6.1-arm64", "2026-06-03"},
	{"ami-0000000000000a2aa", "amzn2-ami-kernel-5.10-hvm-2.0.20260421.0-x86_64-gp2", "2026-04-22"},
	{newest2, "amzn2-ami-kernel-5.10-hvm-2.0.20260529.0-x86_64-gp2", "2026-05-30"},
	{"ami-0000000000000c2aa", "amzn2-ami-hvm-2.0.20260529.0-x86_64-gp2", "2026-06-01"},
}

// amazons reports whether an image is one of these.
func amazons(id string) bool {
	for _, image := range sourceImages {
		if image.id == id {
			return true
		}
	}
	return false
}

// imagesFile writes the source images as moto reads them.
func imagesFile(path string) error {
	var all []map[string]any
	for _, image := range sourceImages {
		arch := "x86_64"
		if strings.HasSuffix(image.name, "-arm64") {
			arch = "arm64"
		}
		all = append(all, map[string]any{
			"ami_id": image.id, "name": image.name, "description": "", "creation_date": image.day + "T00:00:00.000Z", "architecture": arch, "public": true,
			"owner_id": "137112412989", "root_device_type": "ebs", "root_device_name": "/dev/xvda", "virtualization_type": "hvm", "hypervisor": "xen",
		})
	}
	data, err := json.Marshal(all)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	return err
}

const newest2023, newest2 = "ami-0000000000000b231", "ami-0000000000000b2aa"

// newEC2 starts the stand-in, for a caller with a policy.
func newEC2(t *testing.T, policy *iamtest.Policy) *ec2 {
	t.Helper()
	e := &ec2{t: t, policy: policy, dir: t.TempDir(), tags: map[string]map[string]string{}, keys: map[string]string{}}
	e.startMoto()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.proxy = "http://" + l.Addr().String()
	inner := &tunnels{accept: make(chan net.Conn), closed: make(chan struct{}), addr: l.Addr()}
	aws := &http.Server{Handler: http.HandlerFunc(e.serve), TLSConfig: &tls.Config{GetCertificate: e.authority()}, ReadHeaderTimeout: time.Minute}
	outer := &http.Server{Handler: inner, ReadHeaderTimeout: time.Minute}
	var open sync.WaitGroup
	open.Go(func() { outer.Serve(l) })
	open.Go(func() { aws.ServeTLS(inner, "", "") })
	t.Cleanup(func() { outer.Close(); aws.Close(); open.Wait() })
	return e
}

// startMoto runs moto until the test is over.
func (e *ec2) startMoto() {
	e.t.Helper()
	images := filepath.Join(e.dir, "amis.json")
	if err := imagesFile(images); err != nil {
		e.t.Fatal(err)
	}
	cmd := exec.Command("moto_server", "-H", "127.0.0.1", "-p", "0")
	cmd.Env = append(os.Environ(), "MOTO_AMIS_PATH="+images, "PYTHONUNBUFFERED=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		e.t.Fatalf("start moto: %v", err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && e.moto == "" {
		if _, address, ok := strings.Cut(lines.Text(), "Running on "); ok {
			e.moto = strings.TrimSpace(address)
		}
	}
	var rest sync.WaitGroup
	rest.Go(func() { io.Copy(io.Discard, out) })
	e.t.Cleanup(func() { cmd.Process.Kill(); rest.Wait(); cmd.Wait() })
	if e.moto == "" {
		e.t.Fatalf("moto does not say where it listens: %v", lines.Err())
	}
	profile := url.Values{"Action": {"CreateInstanceProfile"}, "Version": {"2010-05-08"}, "InstanceProfileName": {bakeProfile}}
	if status, body := e.ask(bakeRegion, "iam", profile); status != http.StatusOK {
		e.t.Fatalf("moto makes no instance profile: %d %s", status, body)
	}
}

// ask puts a question to moto on the test's own behalf.
func (e *ec2) ask(region, service string, form url.Values) (status int, body string) {
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+bakeKey+"/20260101/"+region+"/"+service+"/aws4_request, SignedHeaders=host, Signature=0")
	return e.forward(context.Background(), header, []byte(form.Encode()))
}

// describe asks moto what there is in the region of the bake.
func (e *ec2) describe(action string, form url.Values) (status int, body string) {
	all := url.Values{"Action": {action}, "Version": {"2016-11-15"}}
	maps.Copy(all, form)
	return e.ask(bakeRegion, "ec2", all)
}

func (e *ec2) forward(ctx context.Context, header http.Header, body []byte) (status int, answer string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.moto+"/", bytes.NewReader(body))
	if err != nil {
		return http.StatusInternalServerError, err.Error()
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return http.StatusInternalServerError, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return http.StatusInternalServerError, err.Error()
	}
	return resp.StatusCode, string(data)
}

var (
	endpoint   = regexp.MustCompile(`^(ec2|iam|sts)\.(?:([a-z0-9-]+)\.)?amazonaws\.com$`)
	credential = regexp.MustCompile(`Credential=([^/]+)/[0-9]+/([^/]+)/([^/]+)/aws4_request`)
)

const refusal = `<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>0</RequestID></Response>`

// serve answers a call under the name of an AWS service.
func (e *ec2) serve(w http.ResponseWriter, r *http.Request) {
	host := endpoint.FindStringSubmatch(r.Host)
	body, err := io.ReadAll(r.Body)
	form, err2 := url.ParseQuery(string(body))
	signed := credential.FindStringSubmatch(r.Header.Get("Authorization"))
	if host == nil || signed == nil || signed[3] != host[1] || err != nil || err2 != nil || r.Method != http.MethodPost {
		e.t.Errorf("%s %s%s is no signed call of EC2, IAM or STS: %v %v %q", r.Method, r.Host, r.URL.Path, err, err2, body)
		http.Error(w, "not an API of this test", http.StatusNotFound)
		return
	}
	c := &call{service: host[1], action: form.Get("Action"), region: cmp.Or(host[2], signed[2]), form: form, credential: signed[1]}
	if !e.allowed(c) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, refusal, "UnauthorizedOperation", "You are not authorized to perform this operation.")
		return
	}
	if c.action == e.broken {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, refusal, "InvalidRequest", c.action+" is broken, by the test")
		return
	}
	status, answer := e.forward(r.Context(), r.Header, []byte(forMoto(form).Encode()))
	if status == http.StatusOK {
		answer, err = e.happened(c, answer)
	}
	if status >= http.StatusInternalServerError || err != nil {
		e.t.Errorf("%s: %d, %v\n%s\n%s", c, status, err, body, answer)
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	io.WriteString(w, answer)
}

// allowed notes a call, and asks the policy for all that it is about.
func (e *ec2) allowed(c *call) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	needs, err := e.needs(c)
	if err != nil {
		e.t.Errorf("what %s needs: %v", c, err)
	}
	c.needs = needs
	for _, need := range needs {
		if !e.policy.Decide(need).Allowed {
			c.denied = append(c.denied, need)
		}
	}
	e.calls = append(e.calls, c)
	return err == nil && len(c.denied) == 0
}

// forMoto leaves out what moto cannot do, tags for snapshots in CreateImage, and says what EC2 takes from the image: the size of the root volume.
func forMoto(form url.Values) url.Values {
	form = maps.Clone(form)
	if root := "BlockDeviceMapping.1."; form.Get(root+"DeviceName") == "/dev/xvda" && !form.Has(root+"Ebs.VolumeSize") {
		form.Set(root+"Ebs.VolumeSize", "8")
	}
	for key := range form {
		if spec, ok := strings.CutSuffix(key, ".ResourceType"); ok && strings.HasPrefix(spec, "TagSpecification.") && form.Get(key) == "snapshot" {
			maps.DeleteFunc(form, func(k string, _ []string) bool { return strings.HasPrefix(k, spec+".") })
		}
	}
	return form
}

var (
	addressElement = regexp.MustCompile(`<ipAddress>[^<]*</ipAddress>`)
	idElement      = map[string]*regexp.Regexp{
		"RunInstances":        regexp.MustCompile(`<instanceId>([^<]*)</instanceId>`),
		"CreateSecurityGroup": regexp.MustCompile(`<groupId>([^<]*)</groupId>`),
		"CreateImage":         regexp.MustCompile(`<imageId>([^<]*)</imageId>`),
	}
	snapshotElement = regexp.MustCompile(`<snapshotId>([^<]*)</snapshotId>`)
	publicElement   = regexp.MustCompile(`<publicKey>([^<]*)</publicKey>`)
)

// happened draws the consequences of a call that moto has carried out: what carries which tags, and that an instance takes the key that it is
// launched with. The instance's address is that of the host of the test.
func (e *ec2) happened(c *call, answer string) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	specs := tagSpecifications(c.form)
	if re := idElement[c.action]; re != nil {
		made := re.FindStringSubmatch(answer)
		if made == nil {
			return answer, fmt.Errorf("the answer has no id")
		}
		kind := map[string]string{"RunInstances": "instance", "CreateSecurityGroup": "security-group", "CreateImage": "image"}[c.action]
		e.tag(made[1], specs[kind])
		if c.action == "CreateImage" {
			_, image := e.describe("DescribeImages", url.Values{"ImageId.1": {made[1]}})
			for _, snapshot := range snapshotElement.FindAllStringSubmatch(image, -1) {
				e.tag(snapshot[1], specs["snapshot"])
			}
		}
	}
	switch c.action {
	case "CreateKeyPair":
		name := c.form.Get("KeyName")
		e.tag(name, specs["key-pair"])
		_, pair := e.describe("DescribeKeyPairs", url.Values{"KeyName.1": {name}, "IncludePublicKey": {"true"}})
		if key := publicElement.FindStringSubmatch(pair); key != nil {
			e.keys[name] = key[1]
		}
	case "RunInstances":
		if err := e.launched(e.keys[c.form.Get("KeyName")]); err != nil {
			return answer, err
		}
	case "CreateTags":
		for _, id := range values(c.form, "ResourceId") {
			e.tag(id, tagsOf(c.form, ""))
		}
	}
	return addressElement.ReplaceAllString(answer, "<ipAddress>127.0.0.1</ipAddress>"), nil
}

func (e *ec2) tag(id string, tags map[string]string) {
	if e.tags[id] == nil {
		e.tags[id] = map[string]string{}
	}
	maps.Copy(e.tags[id], tags)
}

// made are the calls so far.
func (e *ec2) made() []*call {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.calls)
}

package packaging

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway/agent/lab"
	"slipway/systemd/systemdtest"
)

func unmarshal(line string, into any) error { return json.Unmarshal([]byte(line), into) }

// webPackages are those of the profile and of the sample application: what a mirror would give a bake is on the host already, which sees none.
var webPackages = []string{"apache2", "libapache2-mod-php", "php-cli", "php-sqlite3", "php-mbstring", "tzdata", "curl", "unzip", "procps", "openssh-server", "sudo"}

const bakedVersion = "0.9.0"

// chroot runs a program of a host's disk on it, while the host is off.
func chroot(root string, args ...string) error {
	out, err := exec.Command("chroot", append([]string{root}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("on the disk of a host, %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return err
}

// prepareBake makes a user that may log in with a key, and become root, as an instance has it.
func prepareBake(key *string) func(root string) error {
	return func(root string) error {
		for _, args := range [][]string{
			{"useradd", "--create-home", "--shell", "/bin/sh", "baker"},
			{"install", "-d", "-m", "700", "-o", "baker", "/home/baker/.ssh"},
			{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/key"},
			{"install", "-m", "600", "-o", "baker", "/root/key.pub", "/home/baker/.ssh/authorized_keys"},
		} {
			if err := chroot(root, args...); err != nil {
				return err
			}
		}
		data, err := os.ReadFile(filepath.Join(root, "root/key"))
		if err != nil {
			return err
		}
		*key = string(data)
		os.Remove(filepath.Join(root, "root/key"))
		os.Remove(filepath.Join(root, "root/key.pub"))
		if err := write(filepath.Join(root, "etc/sudoers.d/baker"), "baker ALL=(ALL) NOPASSWD: ALL\n", 0o440); err != nil {
			return err
		}
		return write(filepath.Join(root, "etc/slipway/conf.d/10-lab.yml"), cloudConfig, 0o644)
	}
}

// bake has Packer run the template's build on a host over ssh.
func bake(t *testing.T, packages, key, group string, net *network) {
	t.Helper()
	dir := t.TempDir()
	scripts, err := filepath.Abs("packer/scripts")
	if err == nil {
		err = os.Symlink(scripts, filepath.Join(dir, "scripts"))
	}
	for name, text := range map[string]string{"null.pkr.hcl": nullTemplate(t, bakedVersion), "key": key} {
		if err == nil {
			err = write(filepath.Join(dir, name), text, 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	profile, err := filepath.Abs("provision/tinitter.yml")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	cmd := net.within(t.Context(), "packer", "build", "-color=false", "-var", "ssh_host=127.0.0.1", "-var", "ssh_user=baker", "-var", "ssh_key="+filepath.Join(dir, "key"),
		"-var", "architecture=amd64", "-var", "package_dir="+packages, "-var", "profile="+profile, "-var", "manifest="+filepath.Join(dir, "manifest.json"),
		"-var", "revision=s3://"+cloudBucket+"/v1.zip", "-var", "deployment_group="+group, filepath.Join(dir, "null.pkr.hcl"))
	cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "PACKER_CONFIG="+filepath.Join(dir, "none"), "PACKER_CONFIG_DIR="+dir, "HOME="+dir, "TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("packer build: %v\n%s", err, out)
	}
	t.Logf("packer build: %s\n%s", time.Since(began).Round(10*time.Millisecond), out)
	for _, want := range []string{"nothing has drifted\n", "s3://" + cloudBucket + "/v1.zip: downloaded,", "nothing of this host is left: it is fit to become an image\n", "Build 'null.host' finished"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("packer build does not say %q", want)
		}
	}
}

// A bake by Packer with the template's own build, and what is made of the image: two instances of their own, with nothing of the bake, that start
// their agent by themselves, know the revision that they carry, take the next one, and are well.
func TestBake(t *testing.T) {
	if _, err := exec.LookPath("packer"); err != nil {
		t.Skip("packer is not installed (packaging/test/run installs it)")
	}
	packages := built(t, bakedVersion)
	c := newCloud(t, 4)
	c.sample("v1", "htdocs/only-v1.txt")
	c.sample("v2", "htdocs/only-v2.txt")

	var key string
	builder, net := c.instance(0, systemdtest.Options{Packages: webPackages, Prepare: prepareBake(&key)})
	builder.sh("systemctl is-active --quiet ssh")
	buildID := builder.sh("cat /etc/machine-id; cat /etc/ssh/ssh_host_ed25519_key.pub")
	bake(t, packages, key, c.group, net)
	if got := builder.says("systemctl is-active slipway; slipway image-prep --check >/dev/null && echo sealed"); got != "inactive\nsealed" {
		t.Errorf("after the bake: %q", got)
	}
	builder.PowerOff()
	if n := c.asked(func(call lab.Call) bool { return call.Service == "control" }); n != 0 {
		t.Errorf("the agent of the bake has asked the command service %d times", n)
	}
	if n := c.fetches("v1"); n != 1 {
		t.Errorf("the bake has fetched the revision %d times, want once", n)
	}
	sealed(t, builder.Root())

	// Two instances of the image. Their deployment waits for them, as an Auto Scaling group makes one for what it launches.
	c.join(1)
	c.join(2)
	first := c.create(liveGroup, "v1")
	var web [2]*machine
	began := time.Now()
	for i := range web {
		web[i], _ = c.instance(i+1, systemdtest.Options{From: builder.Host})
	}
	c.succeeds(first, 2)
	t.Logf("two instances of the image are booted and deployed to: %s", time.Since(began).Round(10*time.Millisecond))
	if n := c.fetches("v1"); n != 1 {
		t.Errorf("a revision that the image has was fetched %d times more", n-1)
	}
	ids := []string{buildID}
	for i, m := range web {
		host := c.lab.Hosts()[i+1]
		id := m.sh("cat /etc/machine-id; cat /etc/ssh/ssh_host_ed25519_key.pub")
		for _, line := range strings.Split(id, "\n") {
			if len(line) < 32 || strings.Contains(strings.Join(ids, "\n"), line) {
				t.Errorf("%s: its id or its key %q is not its own", host.Name, line)
			}
		}
		ids = append(ids, id)
		if got := m.sh("cat /opt/codedeploy-agent/deployment-root/.slipway/host; systemctl is-active ssh slipway; ls /opt/codedeploy-agent/deployment-root/.slipway"); !strings.HasPrefix(got, host.ID+"\nactive\nactive\n") || strings.Contains(got, "foreign") {
			t.Errorf("%s: host, services and state are\n%s", host.Name, got)
		}
		m.well(host.Name, "v1", first)
	}

	// The next revision: fetched by each, with no false conflict, and what the image had goes.
	second := c.create(liveGroup, "v2")
	c.succeeds(second, 2)
	if n := c.fetches("v2"); n != 2 {
		t.Errorf("the next revision was fetched %d times, want once by each", n)
	}
	for i, m := range web {
		m.well(c.lab.Hosts()[i+1].Name, "v2", second)
		if got := m.says("ls /Tinitter/htdocs | grep only; slipway history | wc -l"); !strings.HasPrefix(got, "only-v2.txt\n") {
			t.Errorf("instance %d has of the revisions' own files %q", i+1, got)
		}
	}
	unsealed(t, c, web[1])
}

// well waits until the balancer's path answers 200 by way of Apache, and looks whose page is served.
func (m *machine) well(name, revision, deployment string) {
	m.t.Helper()
	m.eventually(name+" is well", "curl -sSf -D - http://127.0.0.1/balancer")
	got := m.sh("curl -sS -D - -o /dev/null http://127.0.0.1/ | tr -d '\\r' | grep -i -e '^HTTP' -e '^x-tinitter'")
	if !strings.Contains(got, " 200 ") || !strings.Contains(got, "Revision: "+revision) || !strings.Contains(got, "Deployment: "+deployment) {
		m.t.Errorf("%s serves\n%s\nwant %s of %s", name, got, revision, deployment)
	}
}

// sealed looks at the disk of an image for what is of the host that it was made on.
func sealed(t *testing.T, root string) {
	t.Helper()
	for _, name := range []string{
		"etc/slipway/hold", "etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_rsa_key.pub", "home/baker/.ssh/authorized_keys", "etc/codedeploy-agent/conf/codedeploy.onpremises.yml",
		"var/lib/systemd/random-seed", "tmp/profile.yml", "var/log/aws/codedeploy-agent/codedeploy-agent.log", "opt/codedeploy-agent/deployment-root/.slipway/host",
	} {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil {
			t.Errorf("the image has /%s", name)
		}
	}
	if data, err := os.ReadFile(filepath.Join(root, "etc/machine-id")); err != nil || len(data) != 0 {
		t.Errorf("/etc/machine-id of the image is %q, %v, want empty", data, err)
	}
	var left []string
	top := filepath.Join(root, "opt/codedeploy-agent/deployment-root")
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(top, path)
		if err == nil && !e.IsDir() && !strings.Contains(rel, "/deployment-archive/") {
			left = append(left, regexp.MustCompile(`d-[A-Z0-9]+-local`).ReplaceAllString(regexp.MustCompile(`[0-9a-f-]{36}`).ReplaceAllString(rel, "GROUP"), "DEPLOYMENT"))
		}
		return err
	})
	slices.Sort(left)
	want := []string{
		".slipway/bundles/GROUP/DEPLOYMENT.json", ".slipway/install/GROUP.manifest", ".slipway/lock", "GROUP/DEPLOYMENT/.bundle-etag", "GROUP/DEPLOYMENT/.bundle-source", "GROUP/DEPLOYMENT/bundle.tar",
		"deployment-instructions/GROUP-cleanup", "deployment-instructions/GROUP-install.json",
		"deployment-instructions/GROUP_last_successful_install", "deployment-instructions/GROUP_most_recent_install",
	}
	slices.Sort(want)
	if err != nil || !slices.Equal(left, want) {
		t.Errorf("the deployment root of the image has, %v,\n%s\nwant\n%s", err, strings.Join(left, "\n"), strings.Join(want, "\n"))
	}
}

// unsealed makes an image of a host in mid-deployment, which image-prep refuses, without it: what is made of that puts the deployment of the other
// host aside, neither goes on with it nor reports it, and takes its own.
func unsealed(t *testing.T, c *cloud, m *machine) {
	t.Helper()
	c.tag(2)
	c.put("batch", map[string]string{
		"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: f, destination: /srv/batch}\nhooks:\n  AfterInstall:\n    - {location: h.sh, timeout: 600}\n",
		"f":           "x", "h.sh": "#!/bin/sh\necho x >>/srv/began\nsleep 300\necho x >>/srv/ended\n",
	})
	broken := c.create(batchGroup, "batch")
	m.eventually("the hook runs", "test -s /srv/began")
	if got := m.says("slipway image-prep 2>&1; echo $?"); !strings.Contains(got, "the agent runs: stop it first") || !strings.HasSuffix(got, "\n1") {
		t.Errorf("image-prep beside the agent: %q", got)
	}
	if got := m.says("systemctl stop slipway; slipway image-prep 2>&1; echo $?"); !strings.Contains(got, "AfterInstall of "+broken) || !strings.HasSuffix(got, "let the deployment end\n1") {
		t.Errorf("image-prep with a command in hand: %q", got)
	}
	m.PowerOff()

	c.leave(1)
	c.leave(2)
	c.join(3)
	c.sample("v3", "htdocs/only-v3.txt")
	own := c.create(liveGroup, "v3")
	made, _ := c.instance(3, systemdtest.Options{From: m.Host})
	c.succeeds(own, 1)
	host := c.lab.Hosts()[3]
	made.well(host.Name, "v3", own)
	if got := made.sh("cat /opt/codedeploy-agent/deployment-root/.slipway/host /srv/began; test ! -e /srv/ended; systemctl list-units --plain --no-legend 'slipway-run-*'"); got != host.ID+"\nx" {
		t.Errorf("what is made of an image that was not sealed has as its host, its hooks and their scopes %q", got)
	}
	aside := made.sh("cd /opt/codedeploy-agent/deployment-root/.slipway/foreign/*; ls; ls ongoing-deployment; ls runs | wc -l; cat tickets/* | grep -e '\"state\": \"running\"'")
	if want := "ongoing-deployment\nruns\ntickets\n" + broken + "\n1\n \"state\": \"running\","; aside != want {
		t.Errorf("of the other host is put aside\n%s\nwant\n%s", aside, want)
	}
	if got := c.problems(broken); !strings.Contains(got, " AfterInstall InProgress\n") {
		t.Errorf("somebody has reported the other host's event:\n%s", got)
	}
}

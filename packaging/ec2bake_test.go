//go:build packer

package packaging

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"slipway/packaging/iam/iamtest"
	"slipway/systemd/systemdtest"
)

// packerPolicy is what packaging/iam gives to who bakes, with a region, an account and names in the place of the words in capitals.
func packerPolicy(t *testing.T, names ...string) *iamtest.Policy {
	t.Helper()
	all := &iamtest.Policy{}
	for _, name := range names {
		p, err := iamtest.Read(filepath.Join("iam", name), "REGION", bakeRegion, "ACCOUNT", bakeAccount, "PROFILE", bakeProfile, "ROLE", bakeRole)
		if err != nil {
			t.Fatal(err)
		}
		all.Statements = append(all.Statements, p.Statements...)
	}
	return all
}

// prepareAmazon makes a Debian host near enough to an instance of Amazon Linux that the template's scripts run on it as they are: its user, who may
// become root, and dnf, which installs the rpm; on Amazon Linux 2 it is called yum. A package of the test's own stands for the system's, which
// Debian has not as rpms. PHP and httpd come from the host's own packages, as slipway provision sees what system it is on.
func prepareAmazon(t *testing.T, release string) func(root string) error {
	stubs := t.TempDir()
	stub(t, stubs, "rpm", "base", "1.0.0", "/bin/sh")
	return func(root string) error {
		files, err := filepath.Glob(filepath.Join(stubs, "*.rpm"))
		if err != nil || len(files) != 1 {
			return errors.Join(err, errors.New("there is no package to stand for the system's"))
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			return err
		}
		err = errors.Join(
			write(filepath.Join(root, "root/base.rpm"), string(data), 0o644),
			write(filepath.Join(root, "etc/dnf/dnf.conf"), "[main]\nmodule_platform_id=platform:al2023\n", 0o644),
			write(filepath.Join(root, "etc/sudoers.d/ec2-user"), "ec2-user ALL=(ALL) NOPASSWD: ALL\n", 0o440),
		)
		for _, args := range [][]string{
			{"useradd", "--create-home", "--shell", "/bin/sh", "ec2-user"},
			{"install", "-d", "-m", "700", "-o", "ec2-user", "/home/ec2-user/.ssh"},
			{"rpm", "-i", "--quiet", "/root/base.rpm"},
			{"rm", "/root/base.rpm"},
		} {
			err = errors.Join(err, chroot(root, args...))
		}
		if release == "al2" {
			err = errors.Join(err, chroot(root, "mv", "/usr/bin/dnf", "/usr/bin/yum"))
		}
		return err
	}
}

// bakery is a stand-in for EC2 and the network of its only instance.
type bakery struct {
	*ec2
	net      *network
	host     *machine // nil where no instance is expected
	packages string
	manifest string
}

// newBakery boots a host that becomes the instance; none for the release "".
func newBakery(t *testing.T, release string, policy *iamtest.Policy) *bakery {
	t.Helper()
	b := &bakery{packages: built(t, current(t)), net: newNetwork(t), ec2: newEC2(t, policy), manifest: filepath.Join(t.TempDir(), "manifest.json")}
	b.net.lead(t, "127.0.0.1:8403", b.proxy)
	b.launched = func(string) error { return errors.New("an instance is launched") }
	if release != "" {
		o := systemdtest.Options{NetNS: b.net.path, Packages: append(slices.Clone(webPackages), "rpm", "dnf"), Prepare: prepareAmazon(t, release)}
		b.host = &machine{systemdtest.Boot(t, o), t}
		b.launched = func(key string) error { // as cloud-init does
			if key == "" {
				return errors.New("the instance is launched without a key")
			}
			return write(filepath.Join(b.host.Root(), "home/ec2-user/.ssh/authorized_keys"), key+"\n", 0o644)
		}
	}
	return b
}

// build is packer build of the template as it is shipped, and what that says.
func (b *bakery) build(vars ...string) (string, error) {
	b.t.Helper()
	home := b.t.TempDir()
	args := []string{"build", "-color=false"}
	for _, v := range append([]string{"region=" + bakeRegion, "package_version=" + current(b.t), "package_dir=" + b.packages, "manifest=" + b.manifest}, vars...) {
		args = append(args, "-var", v)
	}
	cmd := b.net.within(b.t.Context(), "packer", append(args, "packaging/packer")...)
	cmd.Dir = ".."
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home,
		"PACKER_CONFIG_DIR=" + home, "PACKER_PLUGIN_PATH=" + os.Getenv("PACKER_PLUGIN_PATH"), "CHECKPOINT_DISABLE=1",
		"AWS_ACCESS_KEY_ID=" + bakeKey, "AWS_SECRET_ACCESS_KEY=" + bakeSecret, "AWS_POLL_DELAY_SECONDS=1",
		"HTTPS_PROXY=http://127.0.0.1:8403", "SSL_CERT_FILE=" + filepath.Join(b.dir, "ca.pem"),
	}
	began := time.Now()
	out, err := cmd.CombinedOutput()
	b.t.Logf("packer build %q: %s, %v\n%s", vars, time.Since(began).Round(10*time.Millisecond), err, out)
	for _, c := range b.made() {
		if len(c.denied) > 0 {
			b.t.Logf("%s was denied: %v", c, c.denied)
		}
	}
	return string(out), err
}

// changes are the calls that change something, in their order.
func (b *bakery) changes() []string {
	var all []string
	for _, c := range b.made() {
		if !strings.HasPrefix(c.action, "Describe") && !strings.HasPrefix(c.action, "Get") {
			all = append(all, c.action)
		}
	}
	return all
}

// form is that of the only call of an action.
func (b *bakery) form(action string) url.Values {
	b.t.Helper()
	var forms []url.Values
	for _, c := range b.made() {
		if c.action == action {
			forms = append(forms, c.form)
		}
	}
	if len(forms) != 1 {
		b.t.Fatalf("%s was called %d times, want once", action, len(forms))
	}
	return forms[0]
}

// holds fails the test where a form has something else than it should.
func (b *bakery) holds(action string, want map[string]string) {
	b.t.Helper()
	form, got := b.form(action), map[string]string{}
	for key := range want {
		got[key] = form.Get(key)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", action, diff)
	}
}

// left fails the test where more is left of a bake than so many images, and where a call was denied or signed by somebody else.
func (b *bakery) left(images, denied int) {
	b.t.Helper()
	alive := url.Values{"Filter.1.Name": {"instance-state-name"}, "Filter.1.Value.1": {"pending"}, "Filter.1.Value.2": {"running"}, "Filter.1.Value.3": {"stopped"}}
	for _, what := range []struct {
		action, pattern string
		form            url.Values
		want            int
	}{
		{"DescribeKeyPairs", "<keyName>packer_", nil, 0},
		{"DescribeSecurityGroups", "<groupName>packer_", nil, 0},
		{"DescribeInstances", "<instanceId>", alive, 0},
		{"DescribeVolumes", "<volumeId>", nil, 0},
		{"DescribeImages", "<imageId>", url.Values{"Owner.1": {"self"}}, images},
		{"DescribeSnapshots", "Created by CreateImage", url.Values{"Owner.1": {"self"}}, images},
	} {
		status, answer := b.describe(what.action, what.form)
		if n := strings.Count(answer, what.pattern); status != 200 || n != what.want {
			b.t.Errorf("after the bake %s shows %d times %s, want %d\n%d %s", what.action, n, what.pattern, what.want, status, answer)
		}
	}
	n := 0
	for _, c := range b.made() {
		n += len(c.denied)
		if c.credential != bakeKey || c.region != bakeRegion && c.service == "ec2" {
			b.t.Errorf("%s is signed with %s, in %s", c, c.credential, c.region)
		}
		for field, value := range c.form {
			if strings.Contains(strings.Join(value, " "), bakeSecret) {
				b.t.Errorf("%s has the secret key in %s", c, field)
			}
		}
	}
	if n != denied {
		b.t.Errorf("%d permissions were denied, want %d", n, denied)
	}
}

// without fails the test where the disk of the instance, the manifest or what Packer has said has the secret key, and where the disk has what only
// the host of the bake may have.
func (b *bakery) without(out string) {
	b.t.Helper()
	b.host.PowerOff()
	root := b.host.Root()
	for _, name := range []string{
		"etc/slipway/hold", "etc/ssh/ssh_host_ed25519_key", "home/ec2-user/.ssh/authorized_keys", "tmp/profile.yml", "var/lib/systemd/random-seed",
	} {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil {
			b.t.Errorf("the image has /%s", name)
		}
	}
	manifest, err := os.ReadFile(b.manifest)
	if err != nil {
		b.t.Fatal(err)
	}
	if strings.Contains(out+string(manifest), bakeSecret) || strings.Contains(out+string(manifest), "PRIVATE KEY") {
		b.t.Error("Packer shows the secret key or the key of the instance")
	}
	looked := 0
	for _, top := range []string{"etc", "home", "opt", "root", "tmp", "var"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			looked++
			data, err := os.ReadFile(path)
			if strings.Contains(string(data), bakeSecret) || strings.Contains(string(data), bakeKey) {
				b.t.Errorf("the image has the credentials in %s", path)
			}
			return err
		})
		if err != nil {
			b.t.Error(err)
		}
	}
	if looked < 100 {
		b.t.Errorf("the image has only %d files to look at", looked)
	}
}

// image is the id of the image that was made, by the manifest, with its tags.
func (b *bakery) image() (id string, tags map[string]string) {
	b.t.Helper()
	var manifest struct {
		Builds []struct {
			Artifact string `json:"artifact_id"`
		}
	}
	data, err := os.ReadFile(b.manifest)
	if err == nil {
		err = json.Unmarshal(data, &manifest)
	}
	if err != nil || len(manifest.Builds) != 1 {
		b.t.Fatalf("the manifest: %v\n%s", err, data)
	}
	_, id, _ = strings.Cut(manifest.Builds[0].Artifact, ":")
	return id, b.tags[id]
}

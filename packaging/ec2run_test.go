//go:build packer

package packaging

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/packaging/iam/iamtest"
	"slipway/systemd/systemdtest"
)

// order are the calls of a bake that change something.
var order = []string{
	"CreateKeyPair", "CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "RunInstances", "StopInstances", "CreateImage", "ModifyImageAttribute", "CreateTags",
	"TerminateInstances", "DeleteSecurityGroup", "DeleteKeyPair",
}

// The shipped template, baked by Packer with credentials that packaging/iam allows no more than it says: both releases of Amazon Linux with what
// the variables can ask for, and the ways in which a bake fails. Whatever becomes of it, nothing is left but a finished image.
func TestBakeOnEC2(t *testing.T) {
	if reason := systemdtest.Missing(); reason != "" { // packaging/packer/validate brings it: nothing is left out here
		t.Fatal(reason)
	}
	var seen []*call
	took := func(b *bakery) { seen = append(seen, b.made()...) }
	if !t.Run("Amazon Linux 2023", func(t *testing.T) { took(bakes2023(t)) }) {
		return // what is denied there Packer may try for minutes
	}
	t.Run("Amazon Linux 2", func(t *testing.T) { took(bakes2(t)) })
	t.Run("a provisioner fails", func(t *testing.T) { took(provisionerFails(t)) })
	t.Run("the image fails", func(t *testing.T) { took(imageFails(t)) })
	t.Run("not allowed", notAllowed)
	if t.Failed() {
		return
	}
	var asked []iamtest.Request
	for _, c := range seen {
		asked = append(asked, c.needs...)
	}
	t.Run("policy", func(t *testing.T) { judged(t, asked) })
	t.Run("reference", func(t *testing.T) { referenced(t, seen) })
}

func bakes2023(t *testing.T) *bakery {
	b := newBakery(t, "al2023", packerPolicy(t, "packer.json"))
	out, err := b.build(`tags={"Team"="web"}`, `ssh_from=["192.0.2.0/24"]`)
	if err != nil {
		t.Fatal("the bake fails")
	}
	for _, want := range []string{"nothing has drifted\n", "nothing of this host is left: it is fit to become an image\n", "Build 'amazon-ebs.image' finished"} {
		if !strings.Contains(out, want) {
			t.Errorf("packer build does not say %q", want)
		}
	}
	if diff := cmp.Diff(order, b.changes()); diff != "" {
		t.Errorf("calls that change something (-want +got):\n%s", diff)
	}
	running := map[string]string{"Name": "baking slipway", "SlipwayBake": "running", "Team": "web"}
	for action, kinds := range map[string][]string{
		"CreateKeyPair": {"key-pair"}, "CreateSecurityGroup": {"security-group"}, "RunInstances": {"instance", "volume"}, "CreateImage": {"image", "snapshot"},
	} {
		want := map[string]map[string]string{}
		for _, kind := range kinds {
			want[kind] = running
		}
		if diff := cmp.Diff(want, tagSpecifications(b.form(action))); diff != "" {
			t.Errorf("tags of %s (-want +got):\n%s", action, diff)
		}
	}
	b.holds("RunInstances", map[string]string{
		"ImageId": newest2023, "InstanceType": "t3.small", "MinCount": "1", "MaxCount": "1", "EbsOptimized": "true", "InstanceInitiatedShutdownBehavior": "terminate",
		"MetadataOptions.HttpEndpoint": "enabled", "MetadataOptions.HttpTokens": "required", "MetadataOptions.HttpPutResponseHopLimit": "1",
		"BlockDeviceMapping.1.DeviceName": "/dev/xvda", "BlockDeviceMapping.1.Ebs.Encrypted": "true", "BlockDeviceMapping.1.Ebs.VolumeType": "gp3",
		"BlockDeviceMapping.1.Ebs.DeleteOnTermination": "true", "BlockDeviceMapping.1.Ebs.KmsKeyId": "", "BlockDeviceMapping.2.DeviceName": "",
		"UserData": "", "IamInstanceProfile.Name": "", "SubnetId": "",
	})
	b.holds("AuthorizeSecurityGroupIngress", map[string]string{
		"IpPermissions.1.IpProtocol": "tcp", "IpPermissions.1.FromPort": "22", "IpPermissions.1.ToPort": "22", "IpPermissions.1.IpRanges.1.CidrIp": "192.0.2.0/24",
		"IpPermissions.1.IpRanges.2.CidrIp": "", "IpPermissions.2.FromPort": "",
	})
	b.holds("ModifyImageAttribute", map[string]string{
		"Description.Value": "slipway: al2023 with PHP, httpd and slipway " + current(t), "LaunchPermission.Add.1.UserId": "", "LaunchPermission.Add.1.Group": "",
	})
	id, tags := b.image()
	done := map[string]string{
		"Name": "slipway-al2023", "Slipway": current(t), "SlipwayBake": "done", "Team": "web", "Source": "al2023-ami-2023.12.20260601.0-kernel-6.1-x86_64",
	}
	if diff := cmp.Diff(done, tags); diff != "" || !strings.HasPrefix(id, "ami-") {
		t.Errorf("tags of the image %q (-want +got):\n%s", id, diff)
	}
	if got := b.form("CreateTags"); got.Get("ResourceId.1") != id || !strings.HasPrefix(got.Get("ResourceId.2"), "snap-") || got.Has("ResourceId.3") {
		t.Errorf("CreateTags is about %q, want the image and its snapshot", values(got, "ResourceId"))
	}
	b.left(1, 0)
	b.without(out)
	return b
}

// bakes2 bakes the other release with all that the variables can ask for.
func bakes2(t *testing.T) *bakery {
	b := newBakery(t, "al2", packerPolicy(t, "packer.json", "packer-instance-profile.json"))
	_, answer := b.describe("DescribeSubnets", nil)
	_, subnet, _ := strings.Cut(answer, "<subnetId>")
	subnet, _, _ = strings.Cut(subnet, "<")
	const key = "arn:aws:kms:" + bakeRegion + ":" + bakeAccount + ":key/1234abcd-12ab-34cd-56ef-1234567890ab"
	out, err := b.build("release=al2", "instance_profile="+bakeProfile, "subnet_id="+subnet, "kms_key_id="+key, `share_with=["210987654321"]`)
	if err != nil {
		t.Fatal("the bake fails")
	}
	want := append([]string{}, order[:7]...)
	want = append(append(want, "ModifyImageAttribute"), order[7:]...) // one for the description, one for who may launch it
	if diff := cmp.Diff(want, b.changes()); diff != "" {
		t.Errorf("calls that change something (-want +got):\n%s", diff)
	}
	b.holds("RunInstances", map[string]string{
		"ImageId": newest2, "MetadataOptions.HttpTokens": "required", "BlockDeviceMapping.1.Ebs.Encrypted": "true", "BlockDeviceMapping.1.Ebs.KmsKeyId": key,
		"UserData": "", "IamInstanceProfile.Name": bakeProfile, "SubnetId": subnet,
	})
	b.left(1, 0)
	b.without(out)
	return b
}

// A bake whose provisioner fails leaves nothing, and makes no image.
func provisionerFails(t *testing.T) *bakery {
	b := newBakery(t, "al2023", packerPolicy(t, "packer.json"))
	profile := filepath.Join(t.TempDir(), "profile.yml")
	if err := os.WriteFile(profile, []byte("name: broken\npackages: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := b.build("profile=" + profile); err == nil || !strings.Contains(out, "Script exited with non-zero exit status") {
		t.Errorf("the bake ends with %v", err)
	}
	want := append(append([]string{}, order[:4]...), "TerminateInstances", "DeleteSecurityGroup", "DeleteKeyPair")
	if diff := cmp.Diff(want, b.changes()); diff != "" {
		t.Errorf("calls that change something (-want +got):\n%s", diff)
	}
	b.left(0, 0)
	return b
}

// A bake that fails when the image is there takes that away.
func imageFails(t *testing.T) *bakery {
	b := newBakery(t, "al2023", packerPolicy(t, "packer.json"))
	b.broken = "ModifyImageAttribute"
	if out, err := b.build(); err == nil || !strings.Contains(out, "is broken, by the test") {
		t.Errorf("the bake ends with %v", err)
	}
	want := append(append([]string{}, order[:7]...), "DeregisterImage", "DeleteSnapshot", "TerminateInstances", "DeleteSecurityGroup", "DeleteKeyPair")
	if diff := cmp.Diff(want, b.changes()); diff != "" {
		t.Errorf("calls that change something (-want +got):\n%s", diff)
	}
	b.left(0, 0)
	return b
}

// What the policy does not allow fails at the launch, and what was made before that goes. The policies are the shipped ones, whole or in part.
func notAllowed(t *testing.T) {
	for name, tt := range map[string]struct {
		vars   []string
		broken func(*iamtest.Policy)
		denied string
	}{
		"not encrypted": {vars: []string{"encrypted=false"}, denied: "ec2:RunInstances on arn:aws:ec2:" + bakeRegion + ":" + bakeAccount + ":volume/*"},
		"with the role of others": {
			vars: []string{"instance_profile=" + bakeProfile}, denied: "iam:PassRole on arn:aws:iam::" + bakeAccount + ":role/" + bakeRole,
			broken: func(p *iamtest.Policy) { // it may look at the profile, and not hand it over
				profile := packerPolicy(t, "packer-instance-profile.json")
				p.Statements = append(p.Statements, profile.Statements[0])
			},
		},
		"a statement is missing": {
			denied: "ec2:CreateTags on arn:aws:ec2:" + bakeRegion + ":" + bakeAccount + ":instance/*",
			broken: func(p *iamtest.Policy) {
				for i, s := range p.Statements {
					if s.Sid == "MarkWhatIsCreated" {
						p.Statements[i].Conditions[0].Values = []string{"CreateKeyPair", "CreateSecurityGroup"}
					}
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			policy := packerPolicy(t, "packer.json")
			if tt.broken != nil {
				tt.broken(policy)
			}
			b := newBakery(t, "", policy)
			if out, err := b.build(tt.vars...); err == nil || !strings.Contains(out, "UnauthorizedOperation") {
				t.Errorf("the bake ends with %v", err)
			}
			var denied []string
			for _, c := range b.made() {
				for _, need := range c.denied {
					denied = append(denied, need.String())
				}
			}
			if len(denied) == 0 || denied[0] != tt.denied {
				t.Errorf("denied is %q, want first %s", denied, tt.denied)
			}
			b.left(0, len(denied))
		})
	}
}

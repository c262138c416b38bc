//go:build packer

// For packaging/packer/validate, which brings the Packer that this needs.

package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// A Packer that knows the template's language and has the plugin of Amazon finds it valid, for each release and processor, and finds a mistake.
func TestTemplateValidates(t *testing.T) {
	dist := t.TempDir()
	for _, arch := range []string{"x86_64", "aarch64"} {
		if err := os.WriteFile(filepath.Join(dist, "slipway-0.1.0-1."+arch+".rpm"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args  []string
		valid bool
	}{
		{nil, true},
		{[]string{"-var", "release=al2", "-var", "architecture=arm64", "-var", "instance_type=t4g.small"}, true},
		{[]string{"-var", "revision=s3://bucket/key", "-var", "deployment_group=8f8dbf8a-3cd3-4d95-b2f4-b4bd6a0f6b9b"}, true},
		{[]string{"-var", `share_with=["111122223333"]`, "-var", "kms_key_id=alias/images"}, true},
		{[]string{"-var", `share_with=["111122223333"]`, "-var", "encrypted=false"}, true},
		{[]string{"-var", `share_with=["111122223333"]`}, false}, // with the account's default key
		{[]string{"-var", "release=al3"}, false},
		{[]string{"-var", "architecture=mips"}, false},
	} {
		cmd := exec.Command("packer", slices.Concat([]string{"validate", "-var", "region=us-east-1", "-var", "package_version=0.1.0", "-var", "package_dir=" + dist}, tt.args, []string{"packaging/packer"})...)
		cmd.Dir = ".."
		cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret")
		if out, err := cmd.CombinedOutput(); (err == nil) != tt.valid {
			t.Errorf("packer validate %q: %v\n%s", tt.args, err, out)
		}
	}
}

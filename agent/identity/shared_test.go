package identity

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// P-83, L-25: which credentials and which region a local deployment gets, and that nobody else is asked once both are known.
func TestResolveLocal(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"credentials": "[default]\naws_access_key_id=DEFAULT\naws_secret_access_key=s\n[two]\naws_access_key_id=TWO\naws_secret_access_key=s\naws_session_token=t\n[half]\naws_access_key_id=H\n",
		"config":      "[default]\nregion=eu-west-1\naws_access_key_id=LESS\naws_secret_access_key=s\n[profile two]\nregion = eu-west-2\n[profile role]\nrole_arn = arn:x\nregion = eu-west-3\n[profile region]\nregion=eu-west-4\n",
	} {
		if err := os.WriteFile(filepath.Join(home, ".aws", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	user := write(t, "user.yml", "region: eu-north-1\niam_user_arn: arn:aws:iam::444455556666:user/host1\naws_access_key_id: AKIAUSER\naws_secret_access_key: usersecret\n")
	role := func() *fakeIMDS {
		return &fakeIMDS{values: instanceValues("us-east-1", "aws", "amazonaws.com"), needs: true}
	}
	for _, c := range []struct {
		name, file  string
		imds        *fakeIMDS // nil: must not be asked
		env         []string
		key, region string
		err         string // instead
	}{
		{name: "on-premises file first (P-78)", file: user, env: []string{"AWS_ACCESS_KEY_ID=E", "AWS_SECRET_ACCESS_KEY=s", "AWS_REGION=us-east-2"}, key: "AKIAUSER", region: "eu-north-1"},
		{name: "environment, nothing is cleared (L-25)", env: []string{"AWS_ACCESS_KEY_ID=E", "AWS_SECRET_ACCESS_KEY=s", "AWS_REGION=us-east-2", "HOME=" + home}, key: "E", region: "us-east-2"},
		{name: "region of the profile", env: []string{"AMAZON_ACCESS_KEY_ID=E", "AMAZON_SECRET_ACCESS_KEY=s", "HOME=" + home}, key: "E", region: "eu-west-1"},
		{name: "shared files", env: []string{"HOME=" + home}, key: "DEFAULT", region: "eu-west-1"},
		{name: "named profile", env: []string{"HOME=" + home, "AWS_PROFILE=two", "AWS_DEFAULT_REGION=us-west-1"}, key: "TWO", region: "us-west-1"},
		{name: "files named", env: []string{"AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(home, ".aws/credentials"), "AWS_REGION=r-1"}, key: "DEFAULT", region: "r-1"},
		{name: "role", imds: role(), env: []string{"HOME=/nowhere"}, key: "ASIAROLE", region: "us-east-1"},
		{name: "region of the instance", imds: role(), env: []string{"AWS_ACCESS_KEY_ID=E", "AWS_SECRET_ACCESS_KEY=s"}, key: "E", region: "us-east-1"},
		{name: "role for a profile without keys", imds: role(), env: []string{"HOME=" + home, "AWS_PROFILE=region"}, key: "ASIAROLE", region: "eu-west-4"},
		{name: "no such profile", env: []string{"HOME=" + home, "AWS_PROFILE=thre"}, err: "no such profile (AWS_PROFILE); there are: default, half, region, role, two"},
		{name: "environment in spite of a broken profile", env: []string{"HOME=" + home, "AWS_PROFILE=thre", "AWS_ACCESS_KEY_ID=E", "AWS_SECRET_ACCESS_KEY=s", "AWS_REGION=r-1"}, key: "E", region: "r-1"},
		{name: "half a profile", env: []string{"HOME=" + home, "AWS_PROFILE=half"}, err: "without the other"},
		{name: "a role to assume", env: []string{"HOME=" + home, "AWS_PROFILE=role"}, err: "gets its credentials by role_arn, which is not supported here"},
		{name: "nothing", env: []string{"AWS_EC2_METADATA_DISABLED=true"}, err: "there are no credentials for S3: on-premises file "},
		{name: "no region", env: []string{"AWS_EC2_METADATA_DISABLED=true", "AWS_ACCESS_KEY_ID=E", "AWS_SECRET_ACCESS_KEY=s"}, err: "there are credentials, but nothing says which region"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var pairs []string
			for _, kv := range c.env {
				name, value, _ := strings.Cut(kv, "=")
				pairs = append(pairs, name, value)
			}
			o := Options{OnPremisesFile: filepath.Join(home, "none"), Getenv: environment(pairs...), IMDSEndpoint: closedPort(t)}
			if c.file != "" {
				o.OnPremisesFile = c.file
			}
			if c.imds != nil {
				o.IMDSEndpoint = serve(t, c.imds)
			}
			who, err := ResolveLocal(t.Context(), o)
			if c.err != "" {
				_, isFile := errors.AsType[*FileError](err)
				_, isUnknown := errors.AsType[*UnknownError](err)
				if !isFile && !isUnknown || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			keys, err := who.Credentials.Retrieve(t.Context())
			if err != nil || keys.AccessKeyID != c.key || who.Region != c.region {
				t.Errorf("key %s, region %s, %v, want %s, %s", keys.AccessKeyID, who.Region, err, c.key, c.region)
			}
		})
	}
}

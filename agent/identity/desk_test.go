package identity

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A person's credentials come from the environment, then from the profile; the region from the environment, then from the profile.
func TestResolveDesk(t *testing.T) {
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"credentials": "[default]\naws_access_key_id = AKDEFAULT\naws_secret_access_key = s\n[work]\naws_access_key_id = AKWORK\naws_secret_access_key = s\naws_session_token = t\n",
		"config":      "[default]\nregion = eu-west-1\n[profile work]\nregion = ap-northeast-1\n[profile sso]\nsso_session = x\n",
	} {
		if err := os.WriteFile(filepath.Join(home, ".aws", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, home               string
		env                      map[string]string
		key, region, fail, point string
	}{
		{"profile default", home, nil, "AKDEFAULT", "eu-west-1", "", ""},
		{"profile by name", home, map[string]string{"AWS_PROFILE": "work"}, "AKWORK", "ap-northeast-1", "", ""},
		{"environment first", home, map[string]string{"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-west-2", "AWS_ENDPOINT_URL_S3": "http://s3"}, "AKENV", "us-west-2", "", "http://s3"},
		{"region of the CLI", home, map[string]string{"AWS_DEFAULT_REGION": "us-west-1"}, "AKDEFAULT", "us-west-1", "", ""},
		{"file by name", "/nowhere", map[string]string{"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(home, ".aws/credentials")}, "AKDEFAULT", "us-east-1", "", ""},
		{"profile to sign in for", home, map[string]string{"AWS_PROFILE": "sso"}, "", "", "aws configure export-credentials --profile sso", ""},
		{"nothing", "/nowhere", map[string]string{"AWS_EC2_METADATA_DISABLED": "true"}, "", "", "there are no AWS credentials: AWS_ACCESS_KEY_ID is not set, there is no /nowhere/.aws/credentials", ""},
		{"nobody answers", "/nowhere", map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}, "", "", "no instance role", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := ResolveDesk(t.Context(), func(name string) string { return tt.env[name] }, tt.home)
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) {
					t.Fatalf("error %v, want one with %q", err, tt.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			keys, err := d.Credentials.Retrieve(t.Context())
			if err != nil || keys.AccessKeyID != tt.key || d.Region != tt.region || d.Endpoint != tt.point {
				t.Errorf("key %s, region %s, endpoint %s, %v", keys.AccessKeyID, d.Region, d.Endpoint, err)
			}
		})
	}
}

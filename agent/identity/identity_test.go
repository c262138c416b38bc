package identity

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

const instanceARN = "arn:aws:ec2:us-east-1:111122223333:instance/i-0123456789abcdef0"

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestResolve(t *testing.T) {
	user := write(t, "user.yml", "region: eu-west-1\niam_user_arn: arn:aws:iam::444455556666:user/host1\naws_access_key_id: AKIAUSER\naws_secret_access_key: usersecret\n")
	noEffect := write(t, "none.yml", ":region: eu-central-1\n")
	allValues := func(region, partition, domain string) *fakeIMDS {
		return &fakeIMDS{values: instanceValues(region, partition, domain), needs: true}
	}
	tests := []struct {
		name string
		imds *fakeIMDS // nil: must not be asked
		o    Options
		env  []string
		want Identity
		key  string
	}{
		{
			"P-70 P-71 P-76 instance", allValues("us-east-1", "aws", "amazonaws.com"),
			Options{},
			nil,
			Identity{HostID: instanceARN, Region: "us-east-1", Domain: "amazonaws.com", Partition: "aws", AccountID: "111122223333", InstanceID: "i-0123456789abcdef0"},
			"ASIAROLE",
		},
		{
			"P-7 isolated partition as told", allValues("us-iso-east-1", "aws-iso", "c2s.ic.gov"),
			Options{},
			nil,
			Identity{HostID: "arn:aws-iso:ec2:us-iso-east-1:111122223333:instance/i-0123456789abcdef0", Region: "us-iso-east-1", Domain: "c2s.ic.gov", Partition: "aws-iso", AccountID: "111122223333", InstanceID: "i-0123456789abcdef0"},
			"ASIAROLE",
		},
		{
			"X-19 domain and partition not told", &fakeIMDS{needs: true, values: map[string]string{
				"dynamic/instance-identity/document": `{"region":"cn-north-1","accountId":"111122223333","instanceId":"i-1"}`,
			}},
			Options{},
			nil,
			Identity{HostID: "arn:aws-cn:ec2:cn-north-1:111122223333:instance/i-1", Region: "cn-north-1", Domain: "amazonaws.com.cn", Partition: "aws-cn", AccountID: "111122223333", InstanceID: "i-1"},
			"",
		},
		{
			"P-76 X-18 AWS_REGION for everything, the ARN keeps the instance's", allValues("us-east-1", "aws", "amazonaws.com"),
			Options{},
			[]string{"AWS_REGION", "eu-west-1"},
			Identity{HostID: instanceARN, Region: "eu-west-1", Domain: "amazonaws.com", Partition: "aws", AccountID: "111122223333", InstanceID: "i-0123456789abcdef0"},
			"ASIAROLE",
		},
		{
			"X-18 AWS_REGION of another partition", allValues("us-east-1", "aws", "amazonaws.com"),
			Options{},
			[]string{"AWS_REGION", "cn-north-1"},
			Identity{HostID: instanceARN, Region: "cn-north-1", Domain: "amazonaws.com.cn", Partition: "aws-cn", AccountID: "111122223333", InstanceID: "i-0123456789abcdef0"},
			"ASIAROLE",
		},
		{
			"P-70 AWS_HOST_IDENTIFIER", allValues("us-east-1", "aws", "amazonaws.com"),
			Options{},
			[]string{"AWS_HOST_IDENTIFIER", "arn:aws:iam::1:user/x"},
			Identity{HostID: "arn:aws:iam::1:user/x", Region: "us-east-1", Domain: "amazonaws.com", Partition: "aws", AccountID: "111122223333", InstanceID: "i-0123456789abcdef0"},
			"ASIAROLE",
		},
		{
			"P-79 X-20 on premises by user: file before environment, no metadata asked", nil,
			Options{OnPremisesFile: user},
			[]string{"AWS_REGION", "us-east-2", "AWS_HOST_IDENTIFIER", "stray", "AWS_ACCESS_KEY_ID", "AKIASTRAY", "AWS_SECRET_ACCESS_KEY", "s"},
			Identity{HostID: "arn:aws:iam::444455556666:user/host1", Region: "eu-west-1", Domain: "amazonaws.com", Partition: "aws", AccountID: "444455556666", OnPremises: true},
			"AKIAUSER",
		},
		{
			"P-81 file without an ARN has no effect but P-6", allValues("us-east-1", "aws", "amazonaws.com"),
			Options{OnPremisesFile: noEffect},
			nil,
			Identity{HostID: instanceARN, Region: "us-east-1", Domain: "amazonaws.com", Partition: "aws", AccountID: "111122223333", InstanceID: "i-0123456789abcdef0", CheckPartition: true},
			"ASIAROLE",
		},
		{
			"X-9 stray keys are not used", allValues("us-east-1", "aws", "amazonaws.com"),
			Options{},
			[]string{"AWS_ACCESS_KEY_ID", "AKIASTRAY", "AWS_SECRET_ACCESS_KEY", "s"},
			Identity{HostID: instanceARN, Region: "us-east-1", Domain: "amazonaws.com", Partition: "aws", AccountID: "111122223333", InstanceID: "i-0123456789abcdef0"},
			"ASIAROLE",
		},
		{
			"P-77 keys of the environment where allowed", allValues("us-east-1", "aws", "amazonaws.com"),
			Options{AllowEnvCredentials: true},
			[]string{"AWS_ACCESS_KEY_ID", "AKIATEST", "AWS_SECRET_ACCESS_KEY", "s", "AWS_SESSION_TOKEN", "t"},
			Identity{HostID: instanceARN, Region: "us-east-1", Domain: "amazonaws.com", Partition: "aws", AccountID: "111122223333", InstanceID: "i-0123456789abcdef0"},
			"AKIATEST",
		},
		{
			"P-83 the older names of the same", nil,
			Options{AllowEnvCredentials: true},
			[]string{"AWS_ACCESS_KEY", "AKIAOLD", "AWS_SECRET_KEY", "s", "AWS_REGION", "us-west-2", "AWS_HOST_IDENTIFIER", "host"},
			Identity{HostID: "host", Region: "us-west-2", Domain: "amazonaws.com", Partition: "aws"},
			"AKIAOLD",
		},
		{
			"P-77 all from the environment: no metadata asked", nil,
			Options{AllowEnvCredentials: true},
			[]string{"AWS_ACCESS_KEY_ID", "AKIATEST", "AWS_SECRET_ACCESS_KEY", "s", "AWS_REGION", "us-west-2", "AWS_HOST_IDENTIFIER", "host"},
			Identity{HostID: "host", Region: "us-west-2", Domain: "amazonaws.com", Partition: "aws"},
			"AKIATEST",
		},
		{
			"P-70 no identity document needed when all but credentials is said", &fakeIMDS{needs: true, values: map[string]string{
				"meta-data/iam/security-credentials/":  "r",
				"meta-data/iam/security-credentials/r": `{"Code":"Success","AccessKeyId":"ASIAONLY","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}`,
			}},
			Options{},
			[]string{"AWS_REGION", "us-west-2", "AWS_HOST_IDENTIFIER", "host"},
			Identity{HostID: "host", Region: "us-west-2", Domain: "amazonaws.com", Partition: "aws"},
			"ASIAONLY",
		},
		{
			"P-75 IMDSv1 where allowed", &fakeIMDS{values: instanceValues("us-east-1", "aws", "amazonaws.com"), noToken: http.StatusNotFound},
			Options{AllowIMDSv1: true},
			nil,
			Identity{HostID: instanceARN, Region: "us-east-1", Domain: "amazonaws.com", Partition: "aws", AccountID: "111122223333", InstanceID: "i-0123456789abcdef0"},
			"ASIAROLE",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := tt.imds
			if f == nil {
				f = &fakeIMDS{}
			}
			// V-117: the endpoint of the environment; P-72 proxies of the environment are not for it.
			env := append([]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT", serve(t, f), "http_proxy", "http://127.0.0.1:1"}, tt.env...)
			tt.o.Getenv = environment(env...)
			if tt.o.OnPremisesFile == "" {
				tt.o.OnPremisesFile = filepath.Join(t.TempDir(), "absent.yml") // P-78: missing is fine
			}
			got, err := Resolve(t.Context(), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, *got, cmpopts.IgnoreFields(Identity{}, "Credentials"), cmpopts.IgnoreUnexported(Identity{})); diff != "" {
				t.Errorf("Resolve() mismatch (-want +got):\n%s", diff)
			}
			if tt.imds == nil && f.called() != "" {
				t.Errorf("metadata service was asked:\n%s", f.called())
			}
			creds, err := got.Credentials.Retrieve(t.Context())
			if creds.AccessKeyID != tt.key || (err != nil) != (tt.key == "") {
				t.Errorf("credentials = %q, %v; want %q", creds.AccessKeyID, err, tt.key)
			}
		})
	}
}

func TestResolveUnknown(t *testing.T) {
	tests := []struct {
		name string
		imds *fakeIMDS // nil: refuses connections
		env  []string
		want []string
	}{
		{"nothing there", nil, nil, []string{"absent.yml: does not exist", "instance metadata http://127.0.0.1:", "connection refused", "on EC2, allow", "elsewhere, register"}},
		{"IMDSv1 only, not allowed (P-75)", &fakeIMDS{values: instanceValues("us-east-1", "aws", "amazonaws.com"), noToken: http.StatusMethodNotAllowed}, nil, []string{"no session token: HTTP 405", "imds.allow_v1"}},
		{"switched off on the instance", &fakeIMDS{noToken: http.StatusForbidden}, nil, []string{"no session token: HTTP 403"}},
		{"no identity document", &fakeIMDS{needs: true}, nil, []string{"HTTP 404"}},
		{"document is garbage", &fakeIMDS{needs: true, values: map[string]string{"dynamic/instance-identity/document": "<html>"}}, nil, []string{"instance metadata"}},
		{"document is incomplete", &fakeIMDS{needs: true, values: map[string]string{"dynamic/instance-identity/document": `{"region":"us-east-1"}`}}, nil, []string{"lacks region, accountId or instanceId"}},
		{"disabled by the environment", &fakeIMDS{}, []string{"AWS_EC2_METADATA_DISABLED", "True"}, []string{"disabled by AWS_EC2_METADATA_DISABLED"}},
		{"host and region said, credentials not", nil, []string{"AWS_HOST_IDENTIFIER", "h", "AWS_REGION", "us-east-1"}, []string{"connection refused", "not its credentials"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := closedPort(t)
			if tt.imds != nil {
				url = serve(t, tt.imds)
			}
			_, err := Resolve(t.Context(), Options{OnPremisesFile: filepath.Join(t.TempDir(), "absent.yml"), IMDSEndpoint: url, Getenv: environment(tt.env...)})
			unknown, ok := errors.AsType[*UnknownError](err)
			if !ok {
				t.Fatalf("Resolve() = %v, want an *UnknownError", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error lacks %q:\n%s", want, err)
				}
			}
			if strings.Contains(err.Error(), "\n") || len(unknown.Tried) < 2 {
				t.Errorf("want one line and all sources: %q", err)
			}
		})
	}
}

func TestResolveRetriesAndWaits(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent.yml")
	f := &fakeIMDS{values: instanceValues("us-east-1", "aws", "amazonaws.com"), needs: true, failures: 1, slow: 20 * time.Millisecond}
	i, err := Resolve(t.Context(), Options{OnPremisesFile: absent, IMDSEndpoint: serve(t, f)})
	if err != nil || i.HostID != instanceARN { // P-72: a failing answer is asked for again
		t.Fatalf("Resolve() = %v, %v", i, err)
	}

	stuck := &fakeIMDS{values: f.values, slow: 300 * time.Millisecond}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("stopped"))
	defer cancel()
	if _, err := Resolve(ctx, Options{OnPremisesFile: absent, IMDSEndpoint: serve(t, stuck)}); err == nil || err.Error() != "stopped" {
		t.Errorf("Resolve() of a cancelled context = %v, want its cause", err)
	}
}

func TestResolveTellsOfStrayKeys(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	f := &fakeIMDS{values: instanceValues("us-east-1", "aws", "amazonaws.com")}
	_, err := Resolve(t.Context(), Options{
		OnPremisesFile: filepath.Join(t.TempDir(), "absent"), IMDSEndpoint: serve(t, f), Log: zap.New(core),
		Getenv: environment("AWS_ACCESS_KEY_ID", "AKIASTRAY"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if logs.FilterMessageSnippet("AWS_ACCESS_KEY_ID of the environment is ignored").Len() != 1 {
		t.Errorf("logged %v", logs.All())
	}
}

func TestMetadata(t *testing.T) {
	f := &fakeIMDS{values: instanceValues("us-east-1", "aws", "amazonaws.com"), needs: true}
	i, err := Resolve(t.Context(), Options{OnPremisesFile: filepath.Join(t.TempDir(), "absent"), IMDSEndpoint: serve(t, f)})
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.expire = true // P-73: a token that turned invalid is fetched anew and the request repeated
	f.mu.Unlock()
	if got, err := i.Metadata(t.Context(), "autoscaling/target-lifecycle-state"); err != nil || got != "InService" {
		t.Errorf("Metadata() = %q, %v", got, err)
	}
	if f.tokens != 2 {
		t.Errorf("%d tokens were fetched, want 2:\n%s", f.tokens, f.called())
	}
	if _, err := i.Metadata(t.Context(), "spot/instance-action"); !errors.Is(err, ErrNoMetadata) {
		t.Errorf("Metadata() of nothing = %v, want ErrNoMetadata", err)
	}
	for _, none := range []*Identity{nil, {OnPremises: true}} {
		if _, err := none.Metadata(t.Context(), "x"); !errors.Is(err, ErrNoMetadata) {
			t.Errorf("Metadata() on premises = %v, want ErrNoMetadata", err)
		}
	}
}

func TestMetadataTransport(t *testing.T) {
	transport, ok := newMetadata("", false).tokens.inner.(*http.Transport)
	if !ok || transport.Proxy != nil {
		t.Error("the metadata service may be asked through a proxy (X-63)")
	}
	timeout := &url.Error{Op: "Put", URL: "http://169.254.169.254/latest/api/token", Err: &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}}
	if got := plain(timeout).Error(); got != "no answer in time: dial tcp: i/o timeout" {
		t.Errorf("plain() = %q", got)
	}
}

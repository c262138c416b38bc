package identity

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func credentialsText(key string) string {
	return "[other]\naws_access_key_id = NO\n\n[default]\naws_access_key_id = " + key + "\naws_secret_access_key=sec/ret+=\naws_session_token = tok ; renewed hourly\n"
}

// P-82, V-38: read anew within 300 s of 1800 s; a failed reading is tolerated until 1800 s are over.
func TestSessionFileRefresh(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	put := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(credentialsText("FIRST"))
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		cache := newSessionFile(path, "", zap.New(core))
		want := func(after time.Duration, key string) {
			t.Helper()
			time.Sleep(after)
			got, err := cache.Retrieve(t.Context())
			if err != nil || got.AccessKeyID != key || got.SecretAccessKey != "sec/ret+=" || got.SessionToken != "tok" {
				t.Errorf("Retrieve() = %+v, %v; want key %s", got, err, key)
			}
		}
		want(0, "FIRST")
		put(credentialsText("SECOND"))
		want(1499*time.Second, "FIRST") // not yet in the window
		want(2*time.Second, "SECOND")   // 1501 s: read anew
		put("[default]\n")              // somebody is writing it
		want(1499*time.Second, "SECOND")
		want(299*time.Second, "SECOND") // 1798 s after the last good reading: tolerated
		for range 10 {                  // which is told once, not with every call
			want(0, "SECOND")
		}
		if n := logs.Len(); n != 1 {
			t.Errorf("%d warnings, want 1", n)
		}
		time.Sleep(3 * time.Second) // 1801 s: over
		if got, err := cache.Retrieve(t.Context()); err == nil {
			t.Errorf("Retrieve() = %+v after the end of its life, want an error", got)
		}
		put(credentialsText("THIRD"))
		want(0, "THIRD")
		put(credentialsText("FOURTH"))
		cache.Invalidate() // P-82: an expired-token answer
		want(0, "FOURTH")
	})
}

func TestSessionFileErrors(t *testing.T) {
	tests := []struct{ name, text, profile, want string }{
		{"missing file", "", "", "cannot be read: no such file"},
		{"missing profile", "[one]\n[two]\n", "three", "has no profile [three], only one, two"},
		{"missing key", "[default]\naws_access_key_id=a\n", "", "has no aws_secret_access_key"},
		{"bad section", "[default\n", "", ":1: is not a profile"},
		{"no section", "\n# c\naws_secret_access_key=topsecret\n", "", ":3: stands before the first profile"},
		{"garbage", "[default]\ntopsecret\n", "", ":2: is neither"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c")
			if tt.text != "" {
				path = write(t, "c", tt.text)
			}
			_, err := newSessionFile(path, tt.profile, zap.NewNop()).Retrieve(t.Context())
			if _, ok := errors.AsType[*FileError](err); !ok || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "topsecret") {
				t.Errorf("got %v, want a *FileError with %q", err, tt.want)
			}
		})
	}
}

// P-80, P-82: the whole way from the on-premises file, with AWS_PROFILE.
func TestResolveSession(t *testing.T) {
	creds := write(t, "creds", credentialsText("DEFAULT")+"[deploy]\naws_access_key_id=DEPLOY\naws_secret_access_key=s\n")
	reg := write(t, "o.yml", ":region: cn-north-1\n:iam_session_arn: arn:aws-cn:sts::777788889999:assumed-role/r/h\n:aws_credentials_file: "+creds+"\n")
	for profile, key := range map[string]string{"": "DEFAULT", "deploy": "DEPLOY"} {
		i, err := Resolve(t.Context(), Options{OnPremisesFile: reg, Getenv: environment("AWS_PROFILE", profile)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := i.Credentials.Retrieve(t.Context())
		if err != nil || got.AccessKeyID != key {
			t.Errorf("profile %q: %+v, %v", profile, got, err)
		}
		if i.HostID != "arn:aws-cn:sts::777788889999:assumed-role/r/h" || i.Domain != "amazonaws.com.cn" || i.Partition != "aws-cn" || i.AccountID != "777788889999" || !i.OnPremises {
			t.Errorf("identity = %+v", i)
		}
	}
}

func TestParseINI(t *testing.T) {
	text := "\xef\xbb\xbf# head\r\n[a]  # c\r\nKey = v#1 # c\r\n  nested = x\r\n\r\n[profile b]\nkey=\n;c\n[a]\nkey2 = a=b\nkey2 = c\n"
	got, err := parseINI("c", []byte(text))
	want := map[string]map[string]string{"a": {"key": "v#1", "key2": "c"}, "b": {"key": ""}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, mismatch (-want +got):\n%s", err, diff)
	}
}

func FuzzParseINI(f *testing.F) {
	f.Add([]byte(credentialsText("K")))
	f.Add([]byte("[a]\n = \n[]\n;\n#"))
	f.Add([]byte("[a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		profiles, err := parseINI("c", data)
		if _, ok := errors.AsType[*FileError](err); err != nil && !ok {
			t.Errorf("error of type %T: %v", err, err)
		}
		for name, values := range profiles {
			for key, value := range values {
				if strings.ContainsAny(name+key+value, "\n") || value != strings.TrimSpace(value) {
					t.Errorf("[%q] %q = %q", name, key, value)
				}
			}
		}
	})
}

package identity

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRegistration(t *testing.T) {
	const user = "region: us-west-2\niam_user_arn: arn:aws:iam::1:user/h\naws_access_key_id: AK\naws_secret_access_key: topsecret\n"
	full := registration{userARN: "arn:aws:iam::1:user/h", region: "us-west-2", accessKey: "AK", secret: "topsecret"}
	session := registration{sessionARN: "arn:aws:sts::1:assumed-role/r/h", region: "us-west-2", credentialsFile: "/c"}
	tests := []struct {
		name, text string
		want       registration
		wantErr    string
	}{
		{"P-79 user", "---\n" + user, full, ""},
		{"P-78 symbols", ":region: us-west-2\n:iam_user_arn: arn:aws:iam::1:user/h\n:aws_access_key_id: AK\n:aws_secret_access_key: 'topsecret'\n", full, ""},
		{"P-80 session", "region: us-west-2\niam_session_arn: arn:aws:sts::1:assumed-role/r/h\naws_credentials_file: /c\n", session, ""},
		{"P-81 neither", "region: us-west-2\n", registration{region: "us-west-2"}, ""},
		{"P-81 both", user + "iam_session_arn: arn:aws:sts::1:assumed-role/r/h\n", registration{}, "both iam_user_arn and iam_session_arn"},
		{"P-79 no region", "iam_user_arn: a\naws_access_key_id: AK\naws_secret_access_key: topsecret\n", registration{}, "iam_user_arn needs region"},
		{"P-79 no keys", "iam_user_arn: a\nregion: r\n", registration{}, "aws_access_key_id and aws_secret_access_key"},
		{"P-80 no file", "iam_session_arn: a\nregion: r\n", registration{}, "aws_credentials_file"},
		{"P-78 not a map", "- a\n- b\n", registration{}, "keys and values"},
		{"P-78 a text", "topsecret", registration{}, "keys and values"},
		{"P-78 empty", "", registration{}, "empty"},
		{"P-78 only comments", "# nothing\n", registration{}, "empty"},
		{"P-78 not YAML", "region: [us\naws_secret_access_key: topsecret", registration{}, "not YAML"},
		{"a list for a text", "region: [a]\naws_secret_access_key: topsecret", registration{}, "o.yml:1: region must be a text"},
		{"unknown keys, other types", "x: {y: [1]}\n? [a]\n: b\n" + user, full, ""},
		{"last duplicate wins", "region: other\n" + user, full, ""},
		{"empty value is none", user + "iam_session_arn:\n", full, ""},
		{"CRLF and BOM", "\xef\xbb\xbf" + strings.ReplaceAll(user, "\n", "\r\n"), full, ""},
		{"alias", "a: &r us-west-2\n" + strings.Replace(user, "region: us-west-2", "region: *r", 1), full, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseRegistration("o.yml", []byte(tt.text))
			if tt.wantErr != "" {
				if e, ok := errors.AsType[*FileError](err); !ok || !strings.Contains(e.Error(), tt.wantErr) || strings.Contains(e.Error(), "topsecret") {
					t.Fatalf("got %v, want a *FileError with %q and no secret", err, tt.wantErr)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(registration{})); err != nil || diff != "" {
				t.Errorf("%v, mismatch (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestReadRegistration(t *testing.T) {
	dir := t.TempDir()
	if _, absent, err := readRegistration(filepath.Join(dir, "none")); absent == nil || err != nil { // P-78
		t.Errorf("a missing file: %v, %v", absent, err)
	}
	if _, _, err := readRegistration(dir); err == nil {
		t.Error("a folder is taken for a file")
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, maxFileSize+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readRegistration(big); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a huge file: %v", err)
	}
	relative := filepath.Join(dir, "o.yml")
	if err := os.WriteFile(relative, []byte("region: r\niam_session_arn: a\naws_credentials_file: creds\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, _, err := readRegistration(relative)
	if err != nil || r.credentialsFile != filepath.Join(dir, "creds") || !r.worldReadable {
		t.Errorf("got %+v, %v", r, err)
	}
}

func FuzzParseRegistration(f *testing.F) {
	f.Add([]byte("region: us-west-2\niam_user_arn: a\naws_access_key_id: b\naws_secret_access_key: c\n"))
	f.Add([]byte(":iam_session_arn: a\n:region: &r b\n:aws_credentials_file: *r\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("? {}\n: - x\n---\nb"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRegistration("o.yml", data)
		if err != nil {
			if _, ok := errors.AsType[*FileError](err); !ok {
				t.Errorf("error of type %T: %v", err, err)
			}
			return
		}
		if r.userARN != "" && (r.region == "" || r.secret == "" || r.sessionARN != "") || r.sessionARN != "" && r.credentialsFile == "" {
			t.Errorf("accepted although incomplete: %+v", r)
		}
	})
}

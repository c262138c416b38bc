package bundle

import (
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// I-16: a file of this host, also through a link. I-17: a folder is not fetched.
func TestFetchLocal(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "bundle.zip")
	if err := os.WriteFile(name, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("bundle.zip", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind RevisionType
		path string
		says string
	}{
		{LocalFile, name, ""},
		{LocalFile, filepath.Join(dir, "link"), ""},
		{LocalFile, filepath.Join(dir, "nowhere"), "no such file"},
		{LocalFile, dir, "is a directory"},
		{LocalFile, filepath.Join(dir, "fifo"), "is a named pipe"},
		{LocalFile, filepath.Join(dir, "empty"), "0 bytes"},
		{LocalDirectory, dir, "copied as it is"},
		{"Floppy", dir, `revision type "Floppy"`},
		{S3, dir, "no access to S3"},
	} {
		to := archiveFile(t, t.TempDir(), []byte("what was there before, and longer"))
		object, err := new(Fetcher).Fetch(t.Context(), Revision{Type: c.kind, Local: LocalLocation{Path: c.path}}, to)
		if c.says != "" {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s %s: %v, want it to say %q", c.kind, c.path, err, c.says)
			}
			continue
		}
		data, _ := io.ReadAll(to)
		if err != nil || object.Bytes != 7 || string(data) != "content" {
			t.Errorf("%s %s: %+v, %q, %v", c.kind, c.path, object, data, err)
		}
	}
}

// What is fetched does not change with its original.
func TestFetchLocalIsACopy(t *testing.T) {
	name := filepath.Join(t.TempDir(), "bundle")
	if err := os.WriteFile(name, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := archiveFile(t, t.TempDir(), nil)
	if _, err := new(Fetcher).Fetch(t.Context(), Revision{Type: LocalFile, Local: LocalLocation{Path: name}}, to); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("after!"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(to); string(data) != "before" {
		t.Errorf("%q, %v", data, err)
	}
}

// No way to print a revision shows its token.
func TestRevisionHasNoSecrets(t *testing.T) {
	r := Revision{Type: GitHub, GitHub: GitHubLocation{Account: "octo", Repository: "app", CommitID: "abc", Token: "ghp_secret"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{r, &r, r.GitHub, &r.GitHub} {
			if s := fmt.Sprintf(format, v); strings.Contains(s, "ghp_secret") {
				t.Errorf("Sprintf(%q) = %s", format, s)
			}
		}
	}
	if got, want := r.String(), "github.com/octo/app at abc"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if r.Format() != Tar { // I-13
		t.Errorf("Format() = %q, want %q", r.Format(), Tar)
	}
}

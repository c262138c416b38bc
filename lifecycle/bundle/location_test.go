package bundle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// L-19h, L-20, L-21, L-22, V-91.
func TestLocations(t *testing.T) {
	t.Parallel()
	s3 := func(bucket, key, version, etag string) Revision {
		return Revision{Type: S3, S3: S3Location{Bucket: bucket, Key: key, Version: version, ETag: etag, Format: Tgz}}
	}
	gitHub := func(account, repository, commit string, format Format) Revision {
		return Revision{Type: GitHub, GitHub: GitHubLocation{Account: account, Repository: repository, CommitID: commit, Format: format}}
	}
	none := Revision{}
	for _, c := range []struct {
		text   string
		format Format
		want   Revision
	}{
		{"s3://b/k", Tgz, s3("b", "k", "", "")},
		{"S3://my_bucket/a/b%20c.zip?versionId=v.1&etag=%22e%22", Tgz, s3("my_bucket", "a/b%20c.zip", "v.1", `"e"`)},
		{"s3://b/k?etag=e&other=1#part", Tgz, s3("b", "k", "", "e")},
		{"s3://b/k?", Tgz, s3("b", "k", "", "")},
		{"s3://b", Tgz, none},
		{"s3://b/", Tgz, none},
		{"s3:///k", Tgz, none},
		{"s3://b/k?versionId=%zz", Tgz, none},
		{"https://github.com/octo/app", Zip, gitHub("octo", "app", "HEAD", Zip)},
		{"https://github.com/octo/app.git/", Tar, gitHub("octo", "app", "HEAD", Tar)},
		{"https://github.com/octo/app/tree/release/2", Tgz, gitHub("octo", "app", "release/2", Zip)},
		{"https://github.com/octo/app/commit/0123abc", Directory, gitHub("octo", "app", "0123abc", Zip)},
		{"https://api.github.com/repos/octo/app/zipball/0123abc", Tar, gitHub("octo", "app", "0123abc", Tar)},
		{"https://api.github.com/repos/octo/app/commits/0123abc", Zip, gitHub("octo", "app", "0123abc", Zip)},
		{"https://git.example.github.com/repos/octo/app/tarball/1", Zip, gitHub("octo", "app", "1", Zip)},
		{"https://github.com/octo", Zip, none},
		{"https://github.com/octo/app/issues", Zip, none},
		{"https://github.com//app", Zip, none},
		{"https://github.com", Zip, none},
		{"https://api.github.com/repos/octo/app", Zip, none},
		{"https://api.github.com/octo/app", Zip, none},
		{"https://gitlab.com/octo/app", Zip, none},
		{"http://github.com/octo/app", Zip, none},
		{"https://%zz", Zip, none},
	} {
		parse := ParseGitHubURL
		if strings.HasPrefix(strings.ToLower(c.text), "s3") {
			parse = ParseS3URL
		}
		got, err := parse(c.text, c.format)
		if diff := cmp.Diff(c.want, got); diff != "" || (err == nil) != (c.want != none) {
			t.Errorf("%s = %v (-want +got):\n%s", c.text, err, diff)
		}
	}
}

func FuzzLocations(f *testing.F) {
	for _, text := range []string{"s3://b/k?versionId=v&etag=e", "https://github.com/o/r/tree/x", "https://api.github.com/repos/o/r/zipball/1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := ParseS3URL(text, Zip); err == nil && (r.S3.Bucket == "" || r.S3.Key == "" || strings.Contains(r.S3.Bucket, "/")) {
			t.Errorf("%q is %+v", text, r.S3)
		}
		if r, err := ParseGitHubURL(text, Zip); err == nil && (r.GitHub.Account == "" || r.GitHub.Repository == "" || r.GitHub.CommitID == "") {
			t.Errorf("%q is %v", text, r)
		}
	})
}

func TestFormatOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct {
		content string
		format  Format
		text    string
	}{
		{"PK\x03\x04rest", Zip, "a zip archive"},
		{"\x1f\x8brest", Tgz, "a tar archive compressed with gzip"},
		{strings.Repeat("\x00", 257) + "ustar", Tar, "a tar archive"},
		{"version: 0.0\n", "", "a text"},
		{"#!/bin/sh\n", "", "a script"},
		{"\x00\x01\x02", "", "not an archive"},
		{"", "", "an empty file"},
	} {
		name := filepath.Join(dir, "f")
		if err := os.WriteFile(name, []byte(c.content), 0o644); err != nil {
			t.Fatal(err)
		}
		if format, text, err := FormatOf(name); format != c.format || text != c.text || err != nil {
			t.Errorf("FormatOf(%q) = %q, %q, %v, want %q, %q", c.content, format, text, err, c.format, c.text)
		}
	}
	if _, _, err := FormatOf(filepath.Join(dir, "none")); err == nil {
		t.Error("a file that is not there has a format")
	}
}

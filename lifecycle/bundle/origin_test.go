package bundle

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is written beside a bundle is read again as it was, and without its token.
func TestOriginRecord(t *testing.T) {
	gitHub := octo("ghp_secret", "")
	for _, c := range []struct {
		rev    Revision
		object Object
		want   string
	}{
		{
			Revision{Type: S3, S3: S3Location{Bucket: "b", Key: "k", ETag: `"asked"`, Format: Tgz}},
			Object{ETag: "e", VersionID: "v", Bytes: 7, Sum: "md5:00"},
			`{"type":"S3","format":"tgz","bucket":"b","key":"k","version":"v","etag":"e","bytes":7,"sum":"md5:00"}`,
		},
		{gitHub, Object{Bytes: 7, Sum: "sha256:00"}, `{"type":"GitHub","format":"tar","account":"octo","repository":"app","commit":"0123abc","bytes":7,"sum":"sha256:00"}`},
		{Revision{Type: LocalFile, Local: LocalLocation{Path: "/b", Format: Zip}}, Object{Bytes: 7}, `{"type":"Local File","format":"zip","path":"/b","bytes":7}`},
		{Revision{Type: LocalDirectory, Local: LocalLocation{Path: "/d"}}, Object{}, `{"type":"Local Directory","format":"directory","path":"/d"}`},
	} {
		origin := c.rev.Origin(c.object)
		text, err := json.Marshal(origin)
		if err != nil || string(text) != c.want {
			t.Errorf("Origin() = %s, %v, want %s", text, err, c.want)
		}
		var again Origin
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(origin, again); diff != "" {
			t.Errorf("read again (-was +is):\n%s", diff)
		}
	}
}

// V-62: a bundle is taken for the one a revision names only where it can be no other.
func TestRevisionNames(t *testing.T) {
	commit := strings.Repeat("0123abcdef", 4)
	s3 := func(change func(*S3Location)) Revision {
		r := Revision{Type: S3, S3: S3Location{Bucket: "b", Key: "k", Version: "v", ETag: "e", Format: Tgz}}
		change(&r.S3)
		return r
	}
	gitHub := func(change func(*GitHubLocation)) Revision {
		r := Revision{Type: GitHub, GitHub: GitHubLocation{Account: "octo", Repository: "app", CommitID: commit}}
		change(&r.GitHub)
		return r
	}
	object := s3(func(*S3Location) {}).Origin(Object{ETag: "e", VersionID: "v"})
	unversioned := s3(func(*S3Location) {}).Origin(Object{ETag: "e", VersionID: "null"})
	repository := gitHub(func(*GitHubLocation) {}).Origin(Object{})
	branch := gitHub(func(l *GitHubLocation) { l.CommitID = "main" })
	short := gitHub(func(l *GitHubLocation) { l.CommitID = "0123abc" })
	local := Revision{Type: LocalFile, Local: LocalLocation{Path: "/b", Format: Tgz}}
	folder := Revision{Type: LocalDirectory, Local: LocalLocation{Path: "/b"}}
	for _, c := range []struct {
		name string
		rev  Revision
		of   Origin
		want bool
	}{
		{"version and ETag", s3(func(*S3Location) {}), object, true},
		{"ETag in quotes", s3(func(l *S3Location) { l.ETag = `"e"` }), object, true},
		{"version alone", s3(func(l *S3Location) { l.ETag = "" }), object, true},
		{"ETag alone", s3(func(l *S3Location) { l.Version = "" }), object, true},
		{"neither", s3(func(l *S3Location) { l.Version, l.ETag = "", "" }), object, false},
		{"neither but quotes", s3(func(l *S3Location) { l.Version, l.ETag = "", `""` }), object, false},
		{"another version", s3(func(l *S3Location) { l.Version = "w" }), object, false},
		{"another ETag", s3(func(l *S3Location) { l.ETag = "f" }), object, false},
		{"ETag in another case", s3(func(l *S3Location) { l.ETag = "E" }), object, false},
		{"another bucket", s3(func(l *S3Location) { l.Bucket = "c" }), object, false},
		{"another key", s3(func(l *S3Location) { l.Key = "K" }), object, false},
		{"another type of bundle", s3(func(l *S3Location) { l.Format = Tar }), object, false},
		{"version of an object without versions", s3(func(l *S3Location) { l.Version, l.ETag = "null", "" }), unversioned, false},
		{"version of an object without versions, and ETag", s3(func(l *S3Location) { l.Version = "null" }), unversioned, true},
		{"version where none was told", s3(func(l *S3Location) { l.ETag = "" }), s3(func(*S3Location) {}).Origin(Object{ETag: "e"}), false},
		{"ETag where none was told", s3(func(l *S3Location) { l.Version = "" }), s3(func(*S3Location) {}).Origin(Object{VersionID: "v"}), false},
		{"commit", gitHub(func(*GitHubLocation) {}), repository, true},
		{"commit, with a token", gitHub(func(l *GitHubLocation) { l.Token = "ghp_secret" }), repository, true},
		{"commit, in another case", gitHub(func(l *GitHubLocation) {
			l.Account, l.Repository, l.CommitID = "OCTO", "App", strings.ToUpper(commit)
		}), repository, true},
		{"commit, type spelt out", gitHub(func(l *GitHubLocation) { l.Format = Tar }), repository, true},
		{"commit, another type", gitHub(func(l *GitHubLocation) { l.Format = Zip }), repository, false},
		{"another commit", gitHub(func(l *GitHubLocation) { l.CommitID = strings.Repeat("0", 40) }), repository, false},
		{"another account", gitHub(func(l *GitHubLocation) { l.Account = "evil" }), repository, false},
		{"another repository", gitHub(func(l *GitHubLocation) { l.Repository = "app2" }), repository, false},
		{"branch", branch, branch.Origin(Object{}), false},
		{"short commit", short, short.Origin(Object{}), false},
		{"file", local, local.Origin(Object{Bytes: 1, Sum: "sha256:00"}), false},
		{"folder", folder, folder.Origin(Object{}), false},
		{"another source", s3(func(*S3Location) {}), repository, false},
		{"nothing", s3(func(*S3Location) {}), Origin{}, false},
	} {
		if got := c.rev.Names(c.of); got != c.want {
			t.Errorf("%s: Names() = %v, want %v", c.name, got, c.want)
		}
	}
}

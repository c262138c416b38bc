package lifecycle

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle/bundle"
)

// minimal is the smallest specification that is right.
func minimal() map[string]any {
	return map[string]any{
		"DeploymentId": "d-1", "DeploymentGroupId": "g-1", "DeploymentGroupName": "fleet", "ApplicationName": "tinitter",
		"Revision": map[string]any{"RevisionType": "S3", "S3Revision": map[string]any{"Bucket": "b", "Key": "k", "BundleType": "zip"}},
	}
}

func with(key string, value any) map[string]any {
	m := maps.Clone(minimal())
	if value == nil {
		delete(m, key)
	} else {
		m[key] = value
	}
	return m
}

func s3(kv ...any) map[string]any {
	m := map[string]any{"Bucket": "b", "Key": "k", "BundleType": "zip"}
	for i := 0; i < len(kv); i += 2 {
		if kv[i+1] == "absent" {
			delete(m, kv[i].(string))
			continue
		}
		m[kv[i].(string)] = kv[i+1]
	}
	return map[string]any{"RevisionType": "S3", "S3Revision": m}
}

func gitHub(kv ...any) map[string]any {
	m := map[string]any{"Account": "a", "Repository": "r", "CommitId": "c"}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i].(string)] = kv[i+1]
	}
	return map[string]any{"RevisionType": "GitHub", "GitHubRevision": m}
}

func parse(t *testing.T, m map[string]any) (*Deployment, error) {
	t.Helper()
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return ParseDeployment(data)
}

func TestParseDeploymentDefaults(t *testing.T) {
	got, err := parse(t, minimal())
	if err != nil {
		t.Fatal(err)
	}
	want := &Deployment{
		ID: "d-1", GroupID: "g-1", GroupName: "fleet", Application: "tinitter",
		Creator: "user", Type: "IN_PLACE", AppSpecFilename: "appspec.yml", FileExistsBehavior: "DISALLOW", // P-65a, P-65b, P-65c, P-66
		Revision: bundle.Revision{Type: bundle.S3, S3: bundle.S3Location{Bucket: "b", Key: "k", Format: "zip"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseDeployment() mismatch (-want +got):\n%s", diff)
	}
}

func TestParseDeploymentValues(t *testing.T) {
	overrides := func(b any) map[string]any {
		return with("AgentActionOverrides", map[string]any{"AgentOverrides": map[string]any{"FileExistsBehavior": b}})
	}
	tests := []struct {
		rule string
		spec map[string]any
		get  func(*Deployment) any
		want any
	}{
		{"P-65 id of an ARN", with("DeploymentId", "arn:aws:codedeploy:us-east-1:1:deployment/d-9"), func(d *Deployment) any { return d.ID }, "d-9"},
		{"P-65a creator", with("DeploymentCreator", "codeDeployRollback"), func(d *Deployment) any { return d.Creator }, "codeDeployRollback"},
		{"P-65a empty is not set", with("DeploymentCreator", ""), func(d *Deployment) any { return d.Creator }, "user"},
		{"P-65b type", with("DeploymentType", "BLUE_GREEN"), func(d *Deployment) any { return d.Type }, "BLUE_GREEN"},
		{"P-65c file name in a folder", with("AppSpecFilename", "deploy/appspec.yaml"), func(d *Deployment) any { return d.AppSpecFilename }, "deploy/appspec.yaml"},
		{"P-66 upper-cased", overrides("overwrite"), func(d *Deployment) any { return d.FileExistsBehavior }, "OVERWRITE"},
		{"P-66 not validated here", overrides("whatever"), func(d *Deployment) any { return d.FileExistsBehavior }, "WHATEVER"},
		{"P-66 null", with("AgentActionOverrides", map[string]any{"AgentOverrides": nil}), func(d *Deployment) any { return d.FileExistsBehavior }, "DISALLOW"},
		{"P-66a list", with("AllPossibleLifecycleEvents", []any{"Install", "Custom"}), func(d *Deployment) any { return d.PossibleEvents }, []string{"Install", "Custom"}},
		{"P-66a none", minimal(), func(d *Deployment) any { return len(d.PossibleEvents) }, 0},
		{"P-68a version and ETag", with("Revision", s3("Version", "v", "ETag", `"e"`)), func(d *Deployment) any { return d.Revision.S3 }, bundle.S3Location{Bucket: "b", Key: "k", Version: "v", ETag: `"e"`, Format: "zip"}},
		{"P-68a null version", with("Revision", s3("Version", nil)), func(d *Deployment) any { return d.Revision.S3.Version }, ""},
		{"P-68b type missing is tar", with("Revision", gitHub()), func(d *Deployment) any { return d.Revision.GitHub }, bundle.GitHubLocation{Account: "a", Repository: "r", CommitID: "c", Format: "tar"}},
		{"P-69a ignored", with("ApplicationId", 7), func(d *Deployment) any { return d.Application }, "tinitter"},
		{"V-32 reuse", with("ReuseArchiveFromDeploymentId", "d-0"), func(d *Deployment) any { return d.ReuseFrom }, "d-0"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			d, err := parse(t, tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, tt.get(d)); diff != "" {
				t.Errorf("mismatch (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("P-68c token", func(t *testing.T) {
		m := with("Revision", gitHub("Anonymous", false, "OAuthToken", "x"))
		m["GitHubAccessToken"] = "secret"
		d, err := parse(t, m)
		if err != nil || d.Revision.GitHub.Token != "secret" {
			t.Errorf("token = %q, %v", d.Revision.GitHub.Token, err)
		}
	})
}

func TestParseDeploymentRefuses(t *testing.T) {
	tests := []struct {
		rule string
		spec map[string]any
		key  string
	}{
		{"P-65 id missing", with("DeploymentId", nil), "DeploymentId"},
		{"P-65 id empty", with("DeploymentId", ""), "DeploymentId"},
		{"P-65 id a number", with("DeploymentId", 1), "DeploymentId"},
		{"P-65 ARN without resource", with("DeploymentId", "arn:aws:x"), "DeploymentId"},
		{"P-65 group missing", with("DeploymentGroupId", nil), "DeploymentGroupId"},
		{"P-65 group name missing", with("DeploymentGroupName", nil), "DeploymentGroupName"},
		{"P-65 application missing", with("ApplicationName", nil), "ApplicationName"},
		{"V-29 id climbs", with("DeploymentId", ".."), "DeploymentId"},
		{"V-29 id is a path", with("DeploymentId", "arn:aws:codedeploy:r:1:deployment/a/b"), "DeploymentId"},
		{"V-29 group climbs", with("DeploymentGroupId", "../etc"), "DeploymentGroupId"},
		{"X-4 group takes our folder", with("DeploymentGroupId", ".slipway"), "DeploymentGroupId"},
		{"X-4 group takes a folder of the root", with("DeploymentGroupId", "deployment-instructions"), "DeploymentGroupId"},
		{"V-30 appspec name climbs", with("AppSpecFilename", "../appspec.yml"), "AppSpecFilename"},
		{"V-30 appspec name absolute", with("AppSpecFilename", "/etc/passwd"), "AppSpecFilename"},
		{"P-66 level not an object", with("AgentActionOverrides", "x"), "AgentActionOverrides"},
		{"P-66 inner level not an object", with("AgentActionOverrides", map[string]any{"AgentOverrides": []any{}}), "AgentActionOverrides.AgentOverrides"},
		{"P-66a not a list", with("AllPossibleLifecycleEvents", "Install"), "AllPossibleLifecycleEvents"},
		{"P-66a not names", with("AllPossibleLifecycleEvents", []any{1}), "AllPossibleLifecycleEvents"},
		{"P-67 missing", with("Revision", nil), "Revision"},
		{"P-67 type missing", with("Revision", map[string]any{}), "Revision.RevisionType"},
		{"P-67 type unknown", with("Revision", map[string]any{"RevisionType": "FTP"}), "Revision.RevisionType"},
		{"X-2 local file", with("Revision", map[string]any{"RevisionType": "Local File"}), "Revision.RevisionType"},
		{"X-2 local directory", with("Revision", map[string]any{"RevisionType": "Local Directory"}), "Revision.RevisionType"},
		{"P-68a bucket missing", with("Revision", s3("Bucket", "absent")), "Revision.S3Revision.Bucket"},
		{"P-68a key missing", with("Revision", s3("Key", "absent")), "Revision.S3Revision.Key"},
		{"P-68a type missing", with("Revision", s3("BundleType", "absent")), "Revision.S3Revision.BundleType"},
		{"P-68a type case", with("Revision", s3("BundleType", "ZIP")), "Revision.S3Revision.BundleType"},
		{"P-68a null bucket", with("Revision", s3("Bucket", nil)), "Revision.S3Revision"},
		{"P-68b commit missing", with("Revision", map[string]any{"RevisionType": "GitHub", "GitHubRevision": map[string]any{"Account": "a", "Repository": "r"}}), "Revision.GitHubRevision.CommitId"},
		{"P-68b token missing", with("Revision", gitHub("Anonymous", false)), "Revision.GitHubRevision.OAuthToken"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			_, err := parse(t, tt.spec)
			var wrong *SpecificationError
			if !errors.As(err, &wrong) || wrong.Key != tt.key {
				t.Errorf("ParseDeployment() = %v, want an error at %q", err, tt.key)
			}
		})
	}
	for _, text := range []string{"", "null", "[]", "x", `{"DeploymentId":`} {
		if _, err := ParseDeployment([]byte(text)); !errors.As(err, new(*SpecificationError)) {
			t.Errorf("ParseDeployment(%q) = %v, want a SpecificationError", text, err)
		}
	}
}

// H-3, H-4: whose scripts each event runs.
func TestRevisionFor(t *testing.T) {
	normal := &Deployment{Creator: "user", Type: "BLUE_GREEN"}
	rollback := &Deployment{Creator: "codeDeployRollback", Type: "BLUE_GREEN"}
	inPlaceRollback := &Deployment{Creator: "codeDeployRollback", Type: "IN_PLACE"}
	otherCase := &Deployment{Creator: "CodeDeployRollback", Type: "BLUE_GREEN"}
	tests := []struct {
		event                  Event
		normally, whenRollback whose
	}{
		{BeforeBlockTraffic, lastSuccessful, mostRecent},  // H-3a
		{AfterBlockTraffic, lastSuccessful, mostRecent},   // H-3a
		{ApplicationStop, lastSuccessful, lastSuccessful}, // H-3b
		{BeforeInstall, thisRevision, thisRevision},       // H-3c
		{AfterInstall, thisRevision, thisRevision},
		{ApplicationStart, thisRevision, thisRevision},
		{ValidateService, thisRevision, thisRevision},
		{BeforeAllowTraffic, thisRevision, lastSuccessful}, // H-3d
		{AfterAllowTraffic, thisRevision, lastSuccessful},
		{"CustomEvent", thisRevision, thisRevision}, // H-3e
	}
	for _, tt := range tests {
		for _, d := range []*Deployment{normal, inPlaceRollback, otherCase} {
			if got := tt.event.revisionFor(d); got != tt.normally {
				t.Errorf("%s of %s by %s = %v, want %v", tt.event, d.Type, d.Creator, got, tt.normally)
			}
		}
		if got := tt.event.revisionFor(rollback); got != tt.whenRollback {
			t.Errorf("%s in a rollback = %v, want %v", tt.event, got, tt.whenRollback)
		}
	}
}

func TestEventsAreInOrder(t *testing.T) { // L-13
	want := "BeforeBlockTraffic AfterBlockTraffic ApplicationStop DownloadBundle BeforeInstall Install AfterInstall ApplicationStart ValidateService BeforeAllowTraffic AfterAllowTraffic"
	var got []string
	for _, e := range Events() {
		got = append(got, string(e))
	}
	if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseDeployment(f *testing.F) {
	good, err := json.Marshal(minimal())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"DeploymentId":"arn:::::/","Revision":{"RevisionType":"GitHub","GitHubRevision":[]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ParseDeployment(data)
		if err == nil && (strings.ContainsAny(d.ID+d.GroupID, "/\x00") || d.ID == "" || d.GroupID == "") {
			t.Errorf("accepted id %q, group %q", d.ID, d.GroupID)
		}
	})
}

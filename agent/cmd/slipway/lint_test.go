package main

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"slipway/lifecycle/appspec"
	"slipway/lifecycle/bundle"
	"slipway/lifecycle/bundle/bundletest"
)

// lintAs runs slipway lint with an environment, and gives its exit code and output.
func lintAs(t *testing.T, env map[string]string, args ...string) (code int, out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := &program{stdout: &stdout, stderr: &stderr, getenv: func(name string) string { return env[name] }}
	cmd := p.command()
	cmd.SetArgs(append([]string{"lint"}, args...))
	cmd.SetContext(t.Context())
	if err := cmd.Execute(); err != nil {
		exit, ok := err.(*exitError) //nolint:errorlint // as run does it, nothing wraps it
		if !ok {
			return exitUsage, err.Error()
		}
		code = exit.code
		stderr.WriteString(exit.Error())
	}
	return code, stdout.String() + stderr.String()
}

// A bundle in S3 is fetched with the credentials of whoever is at the desk.
func TestLintS3(t *testing.T) {
	backend := s3mem.New()
	server := httptest.NewServer(gofakes3.New(backend).Server())
	defer server.Close()
	if err := backend.CreateBucket("b"); err != nil {
		t.Fatal(err)
	}
	for key, data := range map[string][]byte{
		"app/1.zip": zipped(map[string]string{"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  BeoreInstall:\n    - location: a.sh\n", "a.sh": "#!/bin/sh\nset -e\ntrue\n"}),
		"plain":     bundletest.Tar(bundletest.Files(map[string]string{"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/app\n"})...),
		"page":      []byte("<!DOCTYPE html>"),
	} {
		if _, err := backend.PutObject("b", key, map[string]string{}, bytes.NewReader(data), int64(len(data)), nil); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": server.URL}
	tests := []struct {
		url, want string
		code      int
	}{
		{"s3://b/app/1.zip", "s3://b/app/1.zip/appspec.yml\n  4:3 error SW101", exitLintErrors},
		{"s3://b/plain", "nothing to say", 0},
		{"s3://b/page", "SW301", exitLintErrors},
		{"s3://b/none.zip", "none.zip", exitLintErrors},
	}
	for _, tt := range tests {
		code, out := lintAs(t, env, tt.url)
		if code != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("%s: code %d, want %d with %q:\n%s", tt.url, code, tt.code, tt.want, out)
		}
	}
}

// A hostile archive gets the same words as from the agent, and leaves nothing behind.
func TestLintHostileArchives(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", t.TempDir())
	refused := 0
	for i, h := range bundletest.HostileArchives() {
		if h.Says == "" || strings.Contains(h.Says, "more than") || strings.Contains(h.Says, "bomb") {
			continue // the limits at a desk are the defaults, which the bombs of the table do not reach
		}
		name := filepath.Join(dir, "bundle."+h.Format)
		if err := os.WriteFile(name, h.Data(), 0o600); err != nil {
			t.Fatal(err)
		}
		want := unpackError(t, name, bundle.Format(h.Format))
		if want == "" {
			continue
		}
		refused++
		code, out := lintAs(t, nil, name)
		if code != exitLintErrors || !strings.Contains(out, "SW301: the bundle cannot be unpacked: ") || !strings.Contains(flat(out), flat(want)) {
			t.Errorf("%d %s: code %d, want the words %q:\n%s", i, h.Name, code, want, out)
		}
	}
	if refused < 50 {
		t.Errorf("only %d archives were refused", refused)
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func flat(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "\uFFFD", " ")), " ")
}

// unpackError is what the agent's unpacking says of an archive, "" for nothing or what is not about the archive.
func unpackError(t *testing.T, name string, format bundle.Format) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	limits := bundle.DefaultLimits
	limits.IgnoreOwners = true
	_, err = bundle.Unpack(context.Background(), f, format, root, limits)
	if err == nil {
		return ""
	}
	return err.Error()
}

// The appspec of the walkthrough, as it was published: M3, M12.
func TestLintWalkthrough(t *testing.T) {
	data, err := os.ReadFile("../../../testdata/appspec/walkthrough.yml")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "appspec.yml")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, out := lintAs(t, nil, name); code != exitLintErrors || !strings.Contains(out, "  7:3 error SW101: ") || !strings.Contains(out, "did you mean BeforeInstall?") {
		t.Errorf("code %d:\n%s", code, out)
	}
	if code, out := lintAs(t, nil, name, "--fix"); code != 0 || !strings.Contains(out, "\n-  BeoreInstall:\n+  BeforeInstall:\n") {
		t.Errorf("code %d:\n%s", code, out)
	}
	if code, out := lintAs(t, nil, name, "--strict"); code != 0 || out != "nothing to say: no errors, no warnings, no notes\n" {
		t.Errorf("code %d:\n%s", code, out)
	}
	mended, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(string(data), "BeoreInstall", "BeforeInstall", 1); string(mended) != want {
		t.Errorf("mended:\n%s", mended)
	}
	spec, diags := appspec.Parse(name, mended)
	if spec == nil || len(spec.Scripts("BeforeInstall")) != 1 {
		t.Errorf("BeforeInstall runs nothing: %v", diags.Err())
	}
}

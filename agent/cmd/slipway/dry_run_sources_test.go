package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"slipway/agent/lab"
	"slipway/lifecycle"
)

// H-20, H-21: scripts of a rehearsal see what they see in a deployment, of a bundle that comes from S3 as well, which no process in the sandbox
// can reach.
func TestDryRunEnvironment(t *testing.T) {
	needsSandbox(t)
	l, err := lab.Start(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	info := l.Info()
	store := s3.New(s3.Options{
		Region: info.Region, Credentials: credentials.NewStaticCredentialsProvider(info.AccessKey, info.SecretKey, ""),
		BaseEndpoint: aws.String(l.Endpoints().S3), UsePathStyle: true,
	})
	bundle := zipped(map[string]string{
		"appspec.yml": appspecFor("", "AfterInstall"), "scripts/afterinstall.sh": "#!/bin/sh\nenv | sort\n",
	})
	put, err := store.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(labBucket), Key: aws.String("apps/b.zip"), Body: bytes.NewReader(bundle)})
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t)
	d.env = append(d.env, "AWS_ACCESS_KEY_ID="+info.AccessKey, "AWS_SECRET_ACCESS_KEY="+info.SecretKey, "AWS_REGION="+info.Region, "AWS_ENDPOINT_URL_S3="+l.Endpoints().S3, "MINE=of the person")
	at := "s3://" + labBucket + "/apps/b.zip"
	a := d.rehearsed(0, at)
	code, out, errs := d.run("slipway", "local", at, "--config", "T.yml", "--json")
	if code != 0 {
		t.Fatalf("code %d\n%s\n%s", code, out, errs)
	}
	var real jsonLocal
	if err := json.Unmarshal([]byte(out), &real); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(real.ScriptsLog)
	if err != nil {
		t.Fatal(err)
	}
	rehearsed := variables(outputOf(eventOf(t, a, lifecycle.AfterInstall)))
	if want := variables(string(log)); !slices.Equal(rehearsed, want) {
		t.Errorf("in the rehearsal:\n%s\nin the deployment:\n%s", strings.Join(rehearsed, "\n"), strings.Join(want, "\n"))
	}
	for _, want := range []string{"BUNDLE_BUCKET=" + labBucket, "BUNDLE_KEY=apps/b.zip", "MINE=of the person", "LIFECYCLE_EVENT=AfterInstall", "BUNDLE_ETAG=" + strings.Trim(aws.ToString(put.ETag), `"`)} {
		if !slices.Contains(rehearsed, want) {
			t.Errorf("%s is not among\n%s", want, strings.Join(rehearsed, "\n"))
		}
	}
}

// variables are those that a script has printed with env.
func variables(text string) (list []string) {
	for line := range strings.Lines(text) {
		if _, after, ok := strings.Cut(line, "[stdout]"); ok {
			line = after
		}
		name, _, ok := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case !ok || strings.Contains(name, " "):
		case name == "DEPLOYMENT_ID" || name == "SLIPWAY_DEADLINE": // other in every deployment
			list = append(list, name)
		default:
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

// X-8, V-76, V-112, V-113: what is kept from scripts in a deployment is kept from them in a rehearsal.
func TestDryRunEnvironmentOfThePerson(t *testing.T) {
	needsSandbox(t)
	always := []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AMAZON_SECRET_ACCESS_KEY", "AWS_CREDENTIAL_FILE", "CODEDEPLOY_GITHUB_TOKEN",
		"NOTIFY_SOCKET", "INVOCATION_ID", "SLIPWAY_SOMETHING",
	}
	for _, test := range []struct {
		options string
		kept    []string
		gone    []string
	}{
		{"", []string{"MINE", "LD_LIBRARY_PATH", "GITHUB_TOKEN"}, nil},
		{":strip_loader_env_in_hooks: true\n", []string{"MINE"}, []string{"LD_LIBRARY_PATH"}},
		{":restrict_hook_env_to_allowlist: true\n", []string{"PATH", "HOME"}, []string{"MINE", "LD_LIBRARY_PATH", "GITHUB_TOKEN"}},
	} {
		t.Run(test.options, func(t *testing.T) {
			d := newDesk(t)
			d.write("T.yml", d.read("T.yml")+test.options)
			d.env = []string{"MINE=of the person", "LD_LIBRARY_PATH=/nowhere", "GITHUB_TOKEN=of-the-person", "HOME=/root"}
			for _, name := range always {
				d.env = append(d.env, name+"=kept-from-scripts")
			}
			at := d.tree("b", map[string]string{"appspec.yml": appspecFor("", "AfterInstall"), "scripts/afterinstall.sh": "#!/bin/sh\nenv | sort\n"})
			rehearsed := variables(outputOf(eventOf(t, d.rehearsed(0, at), lifecycle.AfterInstall)))
			has := func(name string) bool {
				return slices.ContainsFunc(rehearsed, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
			}
			for _, name := range append(test.gone, always...) {
				if has(name) {
					t.Errorf("a script sees %s", name)
				}
			}
			for _, name := range test.kept {
				if !has(name) {
					t.Errorf("a script does not see %s, of %q", name, rehearsed)
				}
			}
			code, out, errs := d.run("slipway", "local", at, "--config", "T.yml", "--json")
			var real jsonLocal
			if err := json.Unmarshal([]byte(out), &real); err != nil || code != 0 {
				t.Fatalf("code %d, %v\n%s", code, err, errs)
			}
			log, err := os.ReadFile(real.ScriptsLog)
			if err != nil {
				t.Fatal(err)
			}
			if want := variables(string(log)); !slices.Equal(rehearsed, want) {
				t.Errorf("in the rehearsal:\n%s\nin the deployment:\n%s", strings.Join(rehearsed, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// An ordinary user rehearses what slipway local would do for that user.
func TestDryRunAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	const nobody = 65534
	d := newDesk(t)
	v1 := d.versioned("v1", map[string]string{"f": "1\n"})
	d.write("v1/scripts/afterinstall.sh", "#!/bin/sh\nid -u >"+d.path("site/who")+"; echo \"home $HOME\"; echo x >/etc/hosts.rehearsed || echo refused\n")
	chownAll(t, d.dir, nobody)
	openWay(t, d.dir)
	cmd := d.command("slipway", "dry-run", "--config", "T.yml", "--json", v1)
	cmd.Path = copyOfProgram(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	before := treeOf(t, d.dir)
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code == exitNoSandbox {
		t.Skip("this machine gives no user namespaces to ordinary users: " + errs.String())
	}
	var a lifecycle.Account
	if jsonErr := json.Unmarshal(out.Bytes(), &a); err != nil || jsonErr != nil {
		t.Fatalf("%v, %v\n%s\n%s", err, jsonErr, errs.String(), out.String())
	}
	if !slices.ContainsFunc(a.Files, func(c lifecycle.FileChange) bool { return c.Path == d.path("site") || c.Path == d.path("site/who") }) {
		t.Errorf("files %+v", a.Files)
	}
	if len(differences(before, treeOf(t, d.dir))) > 0 {
		t.Errorf("the host was changed: %v", differences(before, treeOf(t, d.dir)))
	}
	if _, err := os.Lstat("/etc/hosts.rehearsed"); err == nil {
		t.Error("the script has written to /etc of the host")
	}
	if p := a.Prediction; p == nil || p.Planned == 0 || p.Met != p.Planned {
		t.Errorf("prediction %+v", p)
	}
}

// chownAll gives a folder with all in it to a user.
func chownAll(t testing.TB, dir string, id int) {
	t.Helper()
	for name := range treeOf(t, dir) {
		if err := os.Lchown(filepath.Join(dir, name), id, id); err != nil {
			t.Fatal(err)
		}
	}
}

// openWay lets others into the temporary folder of a test.
func openWay(t testing.TB, dir string) {
	t.Helper()
	for at := dir; at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// copyOfProgram is this program where every user can start it.
func copyOfProgram(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "slipway")
	if err := os.WriteFile(name, data, 0o755); err != nil {
		t.Fatal(err)
	}
	openWay(t, filepath.Dir(name))
	return name
}

// Where an ordinary user gets no user namespace nothing is run, and it is said why: exit code 4.
func TestDryRunRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to take user namespaces away from another user")
	}
	d := newDesk(t)
	v1 := d.versioned("v1", map[string]string{"f": "1\n"})
	d.write("v1/scripts/afterinstall.sh", "#!/bin/sh\necho ran >"+d.path("ran")+"\n")
	const nobody = 65534
	chownAll(t, d.dir, nobody)
	openWay(t, d.dir)
	cmd := d.command("slipway")
	cmd.Path, cmd.Args = "/bin/sh", []string{
		"sh", "-c", `echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all "$@"`,
		"sh", copyOfProgram(t), "dry-run", "--config", "T.yml", "--json", v1,
	}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: nobody + 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != exitNoSandbox || out.Len() > 0 {
		t.Errorf("code %d\n%s", code, out.String())
	}
	for _, want := range []string{"slipway: no sandbox on this host", "user.max_user_namespaces is 0", "run it as root", "nothing was run"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q is not in %s", want, errs.String())
		}
	}
	if _, err := os.Lstat(d.path("ran")); err == nil {
		t.Error("the deployment was run on the host")
	}
}

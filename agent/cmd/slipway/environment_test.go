package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"slipway/agent/config"
	"slipway/agent/control"
	"slipway/agent/control/controltest"
	"slipway/agent/identity"
	"slipway/lifecycle"
)

// P-14: the version that the service is told.
func TestAgentVersion(t *testing.T) {
	for text, want := range map[string]string{
		"agent_version: OFFICIAL_1.8.1-12_rpm\n": "OFFICIAL_1.8.1-12_rpm",
		"agent_version: COMMIT_abc":              "COMMIT_abc",
		"2.1.0":                                  "2.1.0",
		"":                                       "SLIPWAY_" + buildVersion(),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ".version"), []byte(text), 0o444); err != nil {
			t.Fatal(err)
		}
		p := &program{}
		if got := p.agentVersion(filepath.Join(dir, "deployment-root")); got != want {
			t.Errorf("agentVersion() with %q = %q, want %q", text, got, want)
		}
	}
}

// H-22, X-8, V-76, V-112, V-113: what of the agent's environment reaches scripts.
func TestHookEnvironment(t *testing.T) {
	environ := []string{
		"PATH=/bin", "HOME=/root", "USER=root", "LANG=C", "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_SESSION_TOKEN=x",
		"AWS_SECRET_KEY=x", "NOTIFY_SOCKET=/x", "LD_PRELOAD=x.so", "AWS_REGION=eu-west-1", "SLIPWAY_PROXY_URI=http://u:p@h",
	}
	who := &identity.Identity{Region: "eu-west-1", InstanceID: "i-1"}
	known := []string{"SLIPWAY_REGION=eu-west-1", "SLIPWAY_INSTANCE_ID=i-1"} // M10
	for _, tt := range []struct {
		name string
		c    config.Config
		want []string
	}{
		{"default", config.Config{}, []string{"PATH=/bin", "HOME=/root", "USER=root", "LANG=C", "LD_PRELOAD=x.so", "AWS_REGION=eu-west-1"}},
		{"V-112", config.Config{RestrictHookEnv: true}, []string{"PATH=/bin", "HOME=/root", "USER=root"}},
		{"V-113", config.Config{StripLoaderEnv: true}, []string{"PATH=/bin", "HOME=/root", "USER=root", "LANG=C", "AWS_REGION=eu-west-1"}},
	} {
		if diff := cmp.Diff(append(tt.want, known...), hookEnvironment(environ, &tt.c, who)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// The credentials that hooks must not show are those that were handed out of late, with what the configuration and the environment hold.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("token-of-github\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &daemon{p: &program{getenv: func(name string) string {
		return map[string]string{"AWS_SECRET_ACCESS_KEY": "of-the-environment"}[name]
	}}}
	d.live.Store(&config.Config{ProxyURI: "http://u:of-the-proxy@h:1", GitHubTokenFile: token})
	for i := range remembered + 2 {
		n := strconv.Itoa(i)
		d.keys.inner = credentials.NewStaticCredentialsProvider("id"+n, "key"+n, "session"+n)
		for range 2 {
			if _, err := d.keys.Retrieve(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{"id2", "key2", "session2", "id3", "key3", "session3", "id4", "key4", "session4", "of-the-environment", "of-the-proxy", "token-of-github"}
	if diff := cmp.Diff(want, d.secrets()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// SLIPWAY_TARGET_LIFECYCLE_STATE costs no waiting: it is what was read last, and nothing where that is too long ago.
func TestLifecycleState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, answer, takes := 0, "InService", time.Duration(0)
		l := &lifecycleState{ask: func(ctx context.Context) (string, error) {
			asked++
			select {
			case <-time.After(takes):
				return answer, nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}}
		look := func(after time.Duration, want string, wantAsked int) {
			t.Helper()
			time.Sleep(after)
			began := time.Now()
			got := l.now()
			synctest.Wait()
			if got != want || asked != wantAsked || time.Since(began) != 0 {
				t.Errorf("%q, asked %d times, after %v; want %q, %d times, at once", got, asked, time.Since(began), want, wantAsked)
			}
		}
		look(0, "", 1) // it is on its way
		look(time.Second, "InService", 1)
		answer = "Terminated"
		look(10*time.Second, "InService", 2)
		look(time.Second, "Terminated", 2)
		takes = time.Hour // the service does not answer any more
		look(30*time.Second, "Terminated", 3)
		look(40*time.Second, "", 4) // given up
		look(time.Second, "", 4)
		time.Sleep(stateTime) // the last answer is given up
	})
}

// P-8, P-11: enable_auth_policy picks the door and the API model that goes with it.
func TestAuthPolicyPicksTheModel(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	secure, err := controltest.New(controltest.Options{Region: "us-east-1", Secure: true, Keys: map[string]string{"AKIDEXAMPLE": "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	url, err := secure.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { secure.Close() })
	h.service = secure
	h.extra = []string{"SLIPWAY_ENABLE_AUTH_POLICY=true", "SLIPWAY_DEPLOY_CONTROL_ENDPOINT=" + url}
	h.start()
	if c := h.do("ApplicationStop", h.spec("d-1", "k", "zip")); c.Status != control.Succeeded {
		t.Errorf("completion %+v", c)
	}
	if !slices.ContainsFunc(secure.Calls(), func(c controltest.Call) bool {
		return c.Header.Get("X-Amz-Target") == "CodeDeployCommandService.PutHostCommandComplete"
	}) {
		t.Error("the calls are not of the secure model")
	}
}

// The pid file and its lock, which the official agent's tools read (L-32 to L-34).
func TestPIDFile(t *testing.T) {
	dir := t.TempDir()
	p, err := takePID(dir, "codedeploy-agent")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := takePID(dir, "codedeploy-agent"); err == nil {
		t.Error("the lock was given twice")
	}
	p.release()
	if _, err := os.Stat(filepath.Join(dir, "codedeploy-agent.pid")); err == nil {
		t.Error("the pid file is left")
	}
	// A stale file of a process that is no agent is taken over (L-34).
	if err := os.WriteFile(filepath.Join(dir, "codedeploy-agent.pid"), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if p, err = takePID(dir, "codedeploy-agent"); err != nil {
		t.Fatalf("a stale pid file: %v", err)
	}
	// The process that a killed agent was just starting has the lock for a moment.
	time.AfterFunc(20*time.Millisecond, p.release)
	if p, err = takePID(dir, "codedeploy-agent"); err != nil {
		t.Fatalf("a lock that was left: %v", err)
	}
	p.release()
}

// A full disk keeps no agent from its host: the lock, which needs no room, says that one runs.
func TestPIDFileOnAFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a small tmpfs")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	fill := filepath.Join(dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	p, err := takePID(dir, "codedeploy-agent")
	if err != nil {
		t.Fatal(err)
	}
	defer p.release()
	if !errors.Is(p.absent, unix.ENOSPC) || runningPID(p.path) != "no pid" {
		t.Errorf("what is missing: %v, pid %s", p.absent, runningPID(p.path))
	}
	if _, err := takePID(dir, "codedeploy-agent"); err == nil {
		t.Error("the lock was given twice")
	}
}

// L-34, P-91, V-89: which command lines are the official agent's. Ours may name its folders.
func TestOfficialCommand(t *testing.T) {
	for cmdline, want := range map[string]bool{
		"codedeploy-agent: master 123":                                                                  true,
		"/opt/codedeploy-agent/bin/codedeploy-agent\x00start\x00":                                       true,
		"ruby\x00/opt/codedeploy-agent/bin/codedeploy-agent\x00start\x00":                               true,
		"slipway\x00run\x00--config\x00/etc/codedeploy-agent/conf/codedeployagent.yml\x00":              false,
		"/proc/self/exe\x00hook-shim\x00/opt/codedeploy-agent/deployment-root/.slipway/runs/0123/0\x00": false,
		"vi\x00/etc/codedeploy-agent/conf/codedeployagent.yml\x00":                                      false,
		"": false,
	} {
		if got := officialCommand(cmdline); got != want {
			t.Errorf("officialCommand(%q) = %v", cmdline, got)
		}
	}
}

// Four attempts of a poll with the configured time-out are within what the watchdog grants.
func TestPollBound(t *testing.T) {
	for _, read := range []time.Duration{80 * time.Second, 10 * time.Minute} {
		if got := pollBound(&config.Config{HTTPReadTimeout: read}); got < 4*(read+15*time.Second)+15*time.Second {
			t.Errorf("pollBound(%v) = %v", read, got)
		}
	}
}

// A configuration that is read anew before it is known who this host is stays in force afterwards.
func TestTakeOverIsTheLatest(t *testing.T) {
	engine, err := lifecycle.Open(t.Context(), lifecycle.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	d := &daemon{p: &program{}, cfg: &config.Config{GitHubTokenFile: "old"}}
	d.live.Store(d.cfg)
	d.live.Store(&config.Config{GitHubTokenFile: "new"})
	d.takeOver(engine)
	if got := *d.fetcher.tokenFile.Load(); got != "new" {
		t.Errorf("in force: %s", got)
	}
}

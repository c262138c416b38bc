package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

// A whole deployment: P-39 to P-49 in their order, P-45, P-54, V-24, tracking (P-47, P-49), the state on disk (I-1 to I-10).
func TestDeployment(t *testing.T) {
	r := newRig(t)
	r.shelf.put("v1.zip", map[string]string{
		"appspec.yml":        r.appspec("ApplicationStop=p.sh", "BeforeInstall=p.sh", "AfterInstall=p.sh", "ApplicationStart=p.sh", "ValidateService=p.sh"),
		"content/index.html": "one\n", "p.sh": proof,
	})
	r.start()
	spec := r.spec("d-1", "v1.zip")
	for _, event := range sequence {
		c := r.do(event, spec)
		if c.Status != control.Succeeded || c.Diagnostics.ErrorCode != 0 || c.Count != 1 {
			t.Fatalf("%s = %+v", event, c)
		}
		want := "Succeeded: " // P-54
		if event == "DownloadBundle" {
			want = "Succeeded: BundleSource=downloaded" // V-24
		}
		if c.Diagnostics.Message != want {
			t.Errorf("%s: message %q, want %q", event, c.Diagnostics.Message, want)
		}
	}
	r.halt()
	// ApplicationStop of a first deployment has no revision to run (H-5).
	if diff := cmp.Diff("BeforeInstall\nAfterInstall\nApplicationStart\nValidateService\n", r.out("proof")); diff != "" {
		t.Errorf("events that ran (-want +got):\n%s", diff)
	}
	if got := r.out("site/index.html"); got != "one\n" {
		t.Errorf("installed %q", got)
	}
	for _, name := range []string{
		"group-1/d-1/bundle.tar", "group-1/d-1/deployment-archive/appspec.yml", "group-1/d-1/logs/scripts.log",
		"deployment-instructions/group-1-install.json", "deployment-instructions/group-1-cleanup",
		"deployment-instructions/group-1_last_successful_install", "deployment-instructions/group-1_most_recent_install",
		"deployment-logs/codedeploy-agent-deployments.log",
	} {
		if _, err := os.Stat(filepath.Join(r.root(), name)); err != nil {
			t.Errorf("state: %v", err)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(r.root(), "ongoing-deployment")); len(left) != 0 { // P-49
		t.Errorf("tracking files are left: %v", left)
	}
	var ops []string
	for _, c := range r.service.Calls() {
		if c.Operation != "PollHostCommand" {
			ops = append(ops, c.Operation)
		}
	}
	one := "GetDeploymentSpecification PutHostCommandAcknowledgement PutHostCommandComplete"
	if want := strings.TrimSpace(strings.Repeat(one+" ", len(sequence))); strings.Join(ops, " ") != want { // P-43, P-45, P-48
		t.Errorf("calls:\n got %v\nwant %v", ops, want)
	}
}

// The second deployment runs the old revision's ApplicationStop (H-3b) and replaces its files.
func TestSecondDeployment(t *testing.T) {
	r := newRig(t)
	script := "#!/bin/sh\necho \"$LIFECYCLE_EVENT of $(cat \"$(dirname \"$0\")/version\") for $DEPLOYMENT_ID\" >>\"$OUT/proof\"\n"
	for _, v := range []string{"v1", "v2"} {
		r.shelf.put(v, map[string]string{
			"appspec.yml": r.appspec("ApplicationStop=s.sh", "AfterInstall=s.sh"), "s.sh": script, "version": v,
			"content/same": v, "content/only-" + v: v,
		})
	}
	r.start()
	for _, v := range []string{"v1", "v2"} {
		for _, event := range sequence {
			if c := r.do(event, r.spec("d-"+v, v)); c.Status != control.Succeeded {
				t.Fatalf("%s of %s = %+v", event, v, c)
			}
		}
	}
	if diff := cmp.Diff("AfterInstall of v1 for d-v1\nApplicationStop of v1 for d-v2\nAfterInstall of v2 for d-v2\n", r.out("proof")); diff != "" {
		t.Error(diff)
	}
	entries, err := os.ReadDir(filepath.Join(r.dir, "site"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"only-v2", "same"}, names); diff != "" {
		t.Errorf("installed (-want +got):\n%s", diff)
	}
}

// P-46: what the answer to the acknowledgement means. P-50: the no-op test. P-51: an unknown command.
func TestAcknowledgement(t *testing.T) {
	tests := []struct {
		name, event string
		status      control.Status
		noop        bool
		ran         bool
		complete    string // message of the completion; "" for none
	}{
		{"InProgress", "AfterInstall", control.InProgress, false, true, "Succeeded: "},
		{"Pending", "AfterInstall", control.Pending, false, true, "Succeeded: "},
		{"unknown status", "AfterInstall", "Whatever", false, true, "Succeeded: "},
		{"Succeeded stops", "AfterInstall", control.Succeeded, false, false, ""},
		{"Failed with work to do", "AfterInstall", control.Failed, false, false, ""},
		{"Failed no-op", "ApplicationStart", control.Failed, true, false, "Succeeded: CompletedNoopCommand"},
		{"no-op is executed too", "ApplicationStart", control.InProgress, true, false, "Succeeded: "}, // P-47
		{"unknown command P-51", "Whatever", control.InProgress, true, false, `unknown command "Whatever"`},
		{"update command V-34", "UpdateDeploymentAgent", control.InProgress, true, false, "this agent is updated by the package manager"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.shelf.put("k", map[string]string{"appspec.yml": r.appspec("AfterInstall=p.sh"), "p.sh": proof, "content/f": ""})
			r.start()
			spec := r.spec("d-1", "k")
			if c := r.do("DownloadBundle", spec); c.Status != control.Succeeded {
				t.Fatalf("DownloadBundle = %+v", c)
			}
			id := r.service.Enqueue(controltest.Command{
				HostID: hostID, Name: tt.event, Spec: r.service.Sign(spec), AckStatus: tt.status,
			})
			if tt.complete != "" {
				if c := r.await(id); !strings.HasPrefix(c.Diagnostics.Message, tt.complete) || c.Count != 1 {
					t.Errorf("completion %+v, want message %q", c, tt.complete)
				}
			} else {
				eventually(t, "the acknowledgement", func() bool { s, _ := r.service.State(id); return s.Acks == 1 })
				// A later command shows that the agent is done with this one.
				if c := r.do("ApplicationStart", r.spec("d-1", "k")); c.Status != control.Succeeded {
					t.Fatalf("the next command = %+v", c)
				}
				if s, _ := r.service.State(id); len(s.Completions) != 0 {
					t.Errorf("completed: %+v", s)
				}
			}
			r.halt()
			if ran := r.out("proof") != ""; ran != tt.ran {
				t.Errorf("script ran: %v, want %v", ran, tt.ran)
			}
			var acks []string
			for _, c := range r.service.Calls() {
				if c.Operation == "PutHostCommandAcknowledgement" && c.Body["HostCommandIdentifier"] == id {
					acks = append(acks, c.Body["Diagnostics"].(map[string]any)["Payload"].(string))
				}
			}
			want := `{"IsCommandNoop":false}` // P-45
			if tt.noop {
				want = `{"IsCommandNoop":true}`
			}
			if len(acks) != 1 || acks[0] != want {
				t.Errorf("acknowledgements %v, want one %s", acks, want)
			}
		})
	}
}

// P-52, P-55, X-14: a failing script is reported once, with its code, its name and a log; the official agent reports twice.
func TestScriptFailures(t *testing.T) {
	tests := []struct {
		name, script string
		code         int
		message, log string
	}{
		{"exit code", "#!/bin/sh\necho working\necho it broke >&2\nexit 3\n", 4, "3", "it broke"},
		{"signal X-44", "#!/bin/sh\nkill -KILL $$\n", 4, "SIGKILL", ""},
		{"timeout", "#!/bin/sh\necho begun\nsleep 60\n", 3, "", "begun"},
		{"invalid UTF-8 X-41", "#!/bin/sh\nprintf 'a\\377b\\n' >&2\nexit 1\n", 4, "", "a\uFFFDb"},
		{"missing interpreter", "#!/no/such/interpreter\n", 4, "interpreter", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.shelf.put("k", map[string]string{
				"appspec.yml": strings.ReplaceAll(r.appspec("AfterInstall=s.sh"), "timeout: 10", "timeout: 1"), "s.sh": tt.script, "content/f": "",
			})
			r.start()
			spec := r.spec("d-1", "k")
			r.do("DownloadBundle", spec)
			id := r.send("AfterInstall", spec)
			c := r.await(id)
			if c.Status != control.Failed || c.Diagnostics.ErrorCode != tt.code || c.Diagnostics.ScriptName != "s.sh" {
				t.Errorf("completion %+v, want code %d", c, tt.code)
			}
			if !strings.Contains(c.Diagnostics.Message, "s.sh") || !strings.Contains(c.Diagnostics.Message, tt.message) || !strings.Contains(c.Diagnostics.Log, tt.log) {
				t.Errorf("message %q, log %q; want %q and %q", c.Diagnostics.Message, c.Diagnostics.Log, tt.message, tt.log)
			}
			r.halt()
			if s, _ := r.service.State(id); len(s.Completions) != 1 {
				t.Errorf("reported %d times", len(s.Completions))
			}
		})
	}
	t.Run("missing script code 1", func(t *testing.T) {
		r := newRig(t)
		r.shelf.put("k", map[string]string{"appspec.yml": r.appspec("AfterInstall=gone.sh"), "content/f": ""})
		r.start()
		spec := r.spec("d-1", "k")
		r.do("DownloadBundle", spec)
		if c := r.do("AfterInstall", spec); c.Diagnostics.ErrorCode != 1 || c.Diagnostics.ScriptName != "gone.sh" {
			t.Errorf("completion %+v", c)
		}
	})
	t.Run("location that leaves the bundle X-4", func(t *testing.T) {
		r := newRig(t)
		r.shelf.put("k", map[string]string{"appspec.yml": r.appspec("AfterInstall=../../../../bin/true"), "content/f": ""})
		r.start()
		spec := r.spec("d-1", "k")
		r.do("DownloadBundle", spec)
		if c := r.do("AfterInstall", spec); c.Diagnostics.ErrorCode != 1 || !strings.Contains(c.Diagnostics.Message, "not inside the bundle") {
			t.Errorf("completion %+v", c)
		}
	})
}

// Bad bundles: Failed with the reason, nothing installed.
func TestBadBundles(t *testing.T) {
	r := newRig(t)
	good := map[string]string{"appspec.yml": r.appspec(), "content/f": ""}
	r.shelf.put("no-appspec", map[string]string{"README": ""})
	r.shelf.put("broken-appspec", map[string]string{"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - timeout: 3\n"})
	r.shelf.put("whole", good)
	r.shelf.bundles["truncated"] = r.shelf.bundles["whole"][:40]
	r.shelf.bundles["empty"] = nil
	r.shelf.bundles["html"] = []byte("<html><body>Not found</body></html>")
	r.start()
	for key, want := range map[string]string{
		"no-appspec": "no appspec.yml at its top: it has README", "broken-appspec": "appspec.yml:5", "truncated": "", "empty": "", "html": "", "absent": "no such key",
	} {
		c := r.do("DownloadBundle", r.spec("d-"+key, key))
		if c.Status != control.Failed || c.Diagnostics.ErrorCode != 5 || !strings.Contains(c.Diagnostics.Message, want) || c.Diagnostics.Message == "" {
			t.Errorf("%s: %+v, want %q", key, c, want)
		}
		if c := r.do("Install", r.spec("d-"+key, key)); c.Status != control.Failed {
			t.Errorf("%s: Install = %+v", key, c)
		}
	}
	if _, err := os.Stat(filepath.Join(r.dir, "site")); err == nil {
		t.Error("something was installed")
	}
	// The agent lives on.
	if c := r.do("DownloadBundle", r.spec("d-good", "whole")); c.Status != control.Succeeded {
		t.Errorf("the next deployment = %+v", c)
	}
}

// Specifications and commands that are refused: one Failed completion with the reason, no acknowledgement, nothing run (P-52).
func TestRefused(t *testing.T) {
	good := func(r *rig) []byte { return r.spec("d-1", "k") }
	tests := []struct {
		name    string
		command func(*rig) controltest.Command
		want    string
	}{
		{"tampered P-62 X-1", func(r *rig) controltest.Command { return controltest.Command{Spec: r.tampered(good(r))} }, "signature"},
		{"unsigned P-61", func(r *rig) controltest.Command {
			return controltest.Command{Spec: control.Envelope{Format: "TEXT/JSON", Payload: string(good(r))}}
		}, "signed"},
		{"garbage", func(*rig) controltest.Command {
			return controltest.Command{Spec: control.Envelope{Format: "PKCS7/JSON", Payload: "garbage"}}
		}, ""},
		{"other format", func(*rig) controltest.Command {
			return controltest.Command{Spec: control.Envelope{Format: "YAML", Payload: "x"}}
		}, "YAML"},
		{"no envelope P-61", func(*rig) controltest.Command { return controltest.Command{NoEnvelope: true} }, ""},
		{"no specification P-43", func(*rig) controltest.Command { return controltest.Command{NoSpec: true} }, ""},
		{"signed nonsense", func(r *rig) controltest.Command {
			return controltest.Command{Spec: r.service.Sign([]byte(`{"DeploymentId":"d"}`))}
		}, "DeploymentGroupId"},
		{"local revision X-2", func(r *rig) controltest.Command {
			return controltest.Command{Spec: r.service.Sign(r.spec("d", "k", map[string]any{"Revision": map[string]any{"RevisionType": "Local Directory", "LocalRevision": map[string]any{"Location": "/etc", "BundleType": "directory"}}}))}
		}, "Local Directory"},
		{"other system P-43", func(r *rig) controltest.Command {
			return controltest.Command{Spec: r.service.Sign(good(r)), System: "codedeploy"}
		}, "codedeploy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.shelf.put("k", map[string]string{"appspec.yml": r.appspec(), "content/f": ""})
			r.start()
			cmd := tt.command(r)
			cmd.HostID, cmd.Name = hostID, "DownloadBundle"
			c := r.await(r.service.Enqueue(cmd))
			if c.Status != control.Failed || c.Diagnostics.ErrorCode != 5 || !strings.Contains(c.Diagnostics.Message, tt.want) || c.Count != 1 {
				t.Errorf("completion %+v, want one Failed with %q", c, tt.want)
			}
			r.halt()
			for _, call := range r.service.Calls() {
				if call.Operation == "PutHostCommandAcknowledgement" {
					t.Error("it was acknowledged")
				}
			}
			if r.shelf.fetched != 0 {
				t.Error("something was fetched")
			}
		})
	}
}

// The signer policies, end to end: what each refuses is one Failed completion, and an expired signer passes under integrity.
func TestTrustPolicies(t *testing.T) {
	for _, policy := range []string{"integrity", "ca", "pin"} {
		t.Run(policy, func(t *testing.T) {
			r := newRig(t)
			r.shelf.put("k", map[string]string{"appspec.yml": r.appspec(), "content/f": ""})
			caFile := filepath.Join(r.dir, "ca.pem")
			if err := os.WriteFile(caFile, r.service.CAPEM(), 0o600); err != nil {
				t.Fatal(err)
			}
			trust, err := control.NewTrust(control.TrustOptions{Signer: policy, CAFile: caFile, Pins: []string{r.service.SignerFingerprint()}})
			if err != nil {
				t.Fatal(err)
			}
			r.trust = trust
			r.start()
			spec := r.spec("d-1", "k")
			integrity := policy == "integrity"
			for _, tt := range []struct {
				name string
				env  control.Envelope
				ok   bool
			}{
				{"signed", r.service.Sign(spec), true},
				{"forged", r.signedBy(r.service.ForgedSigner, spec), integrity},
				{"expired", r.signedBy(r.service.ExpiredSigner, spec), integrity},
				{"tampered", r.tampered(spec), false},
				{"unsigned", control.Envelope{Format: "TEXT/JSON", Payload: string(spec)}, false},
				{"garbage", control.Envelope{Format: "PKCS7/JSON", Payload: "-----BEGIN PKCS7-----\nMIIB\n-----END PKCS7-----"}, false},
			} {
				c := r.await(r.service.Enqueue(controltest.Command{HostID: hostID, Name: "DownloadBundle", Spec: tt.env}))
				if ok := c.Status == control.Succeeded; ok != tt.ok || c.Count != 1 {
					t.Errorf("%s = %+v, want accepted %v", tt.name, c, tt.ok)
				}
			}
		})
	}
}

// P-41, X-12: a command for another host, by substring or otherwise, is failed with the reason; one without a name too.
func TestWrongHost(t *testing.T) {
	r := newRig(t)
	r.start()
	for name, cmd := range map[string]controltest.Command{
		"other host":  {EchoHost: "arn:aws:ec2:us-east-1:111122223333:instance/i-0fffffffffffffff0", Name: "Install"},
		"a substring": {EchoHost: "arn:aws:ec2", Name: "Install"},
		"no name":     {},
	} {
		cmd.HostID, cmd.Spec = hostID, r.service.Sign(r.spec("d-1", "k"))
		if c := r.await(r.service.Enqueue(cmd)); c.Status != control.Failed || c.Diagnostics.ErrorCode != 5 {
			t.Errorf("%s = %+v", name, c)
		}
	}
	if c := r.do("ApplicationStop", r.spec("d-1", "k")); c.Status != control.Succeeded {
		t.Errorf("the agent does not go on: %+v", c)
	}
}

// A restart while a script runs: the agent leaves within a second, the script goes on, runs once, and its result arrives.
func TestRestartDuringScript(t *testing.T) {
	r := newRig(t)
	r.shelf.put("k", map[string]string{
		"appspec.yml": r.appspec("AfterInstall=slow.sh", "ApplicationStart=p.sh"), "content/f": "", "p.sh": proof,
		"slow.sh": "#!/bin/sh\necho begun >>\"$OUT/proof\"\nmkfifo \"$OUT/gate\"\nread line <\"$OUT/gate\"\necho \"$line\" >>\"$OUT/proof\"\n",
	})
	r.start()
	spec := r.spec("d-1", "k")
	r.do("DownloadBundle", spec)
	id := r.send("AfterInstall", spec)
	gate := filepath.Join(r.dir, "gate")
	eventually(t, "the script runs", func() bool { _, err := os.Stat(gate); return err == nil })
	began := time.Now()
	r.halt()
	if took := time.Since(began); took > time.Second {
		t.Errorf("the stop took %v", took)
	}
	if s, _ := r.service.State(id); len(s.Completions) != 0 {
		t.Fatalf("reported before it ended: %+v", s)
	}
	r.start()
	if err := os.WriteFile(gate, []byte("ended\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := r.await(id); c.Status != control.Succeeded || c.Count != 1 {
		t.Errorf("completion %+v", c)
	}
	if c := r.do("ApplicationStart", spec); c.Status != control.Succeeded {
		t.Errorf("the deployment does not go on: %+v", c)
	}
	if got := r.out("proof"); got != "begun\nended\nApplicationStart\n" {
		t.Errorf("scripts wrote %q", got)
	}
}

// A redelivered command: while it is carried out it is ignored, afterwards it gets the same answer (V-17).
func TestRedelivery(t *testing.T) {
	r := newRig(t)
	r.shelf.put("k", map[string]string{"appspec.yml": r.appspec("AfterInstall=p.sh"), "content/f": "", "p.sh": proof})
	a := r.start()
	spec := r.spec("d-1", "k")
	r.do("DownloadBundle", spec)
	id := r.send("AfterInstall", spec)
	first := r.await(id)
	// A poll that was asked before the completion was accepted is not taken at its word: wait for one that was asked after it.
	eventually(t, "the command is settled", func() bool { return len(a.Status().InHand) == 0 })
	polls := len(r.service.Calls())
	eventually(t, "two more polls", func() bool { return len(r.service.Calls()) >= polls+2 })
	r.service.Redeliver(id)
	eventually(t, "a second completion", func() bool { s, _ := r.service.State(id); return len(s.Completions) == 2 })
	again := r.await(id)
	if diff := cmp.Diff(first.Diagnostics, again.Diagnostics); diff != "" || again.Status != first.Status {
		t.Errorf("another answer (-first +second):\n%s", diff)
	}
	if got := r.out("proof"); got != "AfterInstall\n" {
		t.Errorf("the script ran again: %q", got)
	}
}

// P-87, X-21: what the official agent had in hand is reported, every file, and then forgotten. Ours is not taken for its.
func TestForeignTracking(t *testing.T) {
	r := newRig(t)
	dir := filepath.Join(r.root(), "ongoing-deployment")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, d := range []string{"d-A", "d-B"} {
		id := r.service.Enqueue(controltest.Command{HostID: "another", Name: "AfterInstall"})
		ids[d] = id
		if err := os.WriteFile(filepath.Join(dir, d), []byte(id), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	old := filepath.Join(dir, "d-old") // P-86
	if err := os.WriteFile(old, []byte("stale"), 0o644); err != nil {
		t.Fatal(err)
	}
	day := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(old, day, day); err != nil {
		t.Fatal(err)
	}
	r.start()
	for d, id := range ids {
		c := r.await(id)
		if c.Status != control.Failed || c.Diagnostics.ErrorCode != 7 || !strings.HasPrefix(c.Diagnostics.Message, "Failed: ") || c.Diagnostics.Log != "" { // P-57
			t.Errorf("%s: %+v", d, c)
		}
	}
	eventually(t, "the files go", func() bool { left, _ := os.ReadDir(dir); return len(left) == 0 })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not seen: %s", what)
		}
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"slipway/agent/config"
	"slipway/lifecycle"
	"slipway/lifecycle/rehearse"
)

// needsSandbox skips a test where this machine gives no sandbox, and says why. As root it fails there: CI is root.
func needsSandbox(t testing.TB) {
	t.Helper()
	if err := rehearse.Possible(t.Context()); err != nil {
		if os.Geteuid() == 0 {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// rehearsed runs dry-run with --json and reads the account.
func (d *desk) rehearsed(want int, args ...string) *lifecycle.Account {
	d.t.Helper()
	code, out, errs := d.run("slipway", append([]string{"dry-run", "--config", "T.yml", "--json"}, args...)...)
	if code != want {
		d.t.Fatalf("dry-run %v: code %d, want %d\n%s\n%s", args, code, want, errs, out)
	}
	var a lifecycle.Account
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		d.t.Fatalf("dry-run %v: %v\n%s\n%s", args, err, errs, out)
	}
	return &a
}

// walkthrough is the bundle of the walkthrough that goes to a folder of the test's own in place of /Tinitter.
func (d *desk) walkthrough(name string, mended bool) (bundle, tree string) {
	d.t.Helper()
	tree = d.path("Tinitter")
	files := map[string]string{}
	for _, file := range []string{"appspec.yml", "script/before_install.sh", "script/after_install.sh", "htdocs/index.php", "htdocs/.htaccess.sample", "config.php.sample", "schema.sql", "README.md"} {
		data, err := os.ReadFile(filepath.Join("../../../testdata/walkthrough", file))
		if err != nil {
			d.t.Fatal(err)
		}
		text := strings.ReplaceAll(string(data), "/Tinitter", tree)
		if mended {
			text = strings.ReplaceAll(text, "BeoreInstall", "BeforeInstall")
		}
		files[file] = text
	}
	return d.tree(name, files), tree
}

func eventOf(t testing.TB, a *lifecycle.Account, ev lifecycle.Event) *lifecycle.EventAccount {
	t.Helper()
	for i := range a.Events {
		if a.Events[i].Event == ev {
			return &a.Events[i]
		}
	}
	t.Fatalf("the account has no %s: %+v", ev, a.Events)
	return nil
}

func outputOf(e *lifecycle.EventAccount) string {
	var b strings.Builder
	for _, s := range e.Scripts {
		for _, l := range s.Output {
			b.WriteString(l.Text + "\n")
		}
	}
	return b.String()
}

// M3, M12: the walkthrough's own bundle, whose BeforeInstall is misspelt and would remove the whole tree, on a host that has such a tree.
func TestDryRunWalkthrough(t *testing.T) {
	needsSandbox(t)
	for _, mended := range []bool{false, true} {
		t.Run(fmt.Sprintf("mended=%v", mended), func(t *testing.T) {
			d := newDesk(t)
			bundle, tree := d.walkthrough("bundle", mended)
			d.tree("Tinitter", map[string]string{"uploads/cat.jpg": "meow\n", "config.php.sample": "old\n"})
			before := treeOf(t, d.dir)
			if mended {
				before := treeOf(t, d.dir)
				a := d.rehearsed(0, bundle)
				if !slices.ContainsFunc(a.Files, func(c lifecycle.FileChange) bool {
					return c.Kind == lifecycle.FileRemoved && strings.HasPrefix(c.Path, tree+"/uploads") && c.By == lifecycle.BeforeInstall && c.ByHook
				}) {
					t.Errorf("the account does not say that BeforeInstall removes the uploads: %+v", a.Files)
				}
				if diff := cmp.Diff(before, treeOf(t, d.dir), cmp.AllowUnexported(node{})); diff != "" {
					t.Errorf("the rehearsal has changed the host:\n%s", diff)
				}
				return
			}
			// What is in the way fails for certain: nothing that removes it runs.
			a := d.rehearsed(exitFailure, bundle)
			if len(a.Events) != 0 || !slices.ContainsFunc(a.Findings, func(f lifecycle.Finding) bool { return f.ID == "SW101" && strings.Contains(f.Advice, "BeforeInstall") }) {
				t.Errorf("events %v, findings %+v", a.Events, a.Findings)
			}
			a = d.rehearsed(0, bundle, "--file-exists-behavior", "OVERWRITE")
			if e := eventOf(t, a, lifecycle.BeforeInstall); len(e.Scripts) != 0 || e.Nothing == "" {
				t.Errorf("BeforeInstall = %+v", e)
			}
			if e := eventOf(t, a, lifecycle.AfterInstall); len(e.Scripts) != 1 || e.Scripts[0].Exit != 0 {
				t.Errorf("AfterInstall = %+v", e)
			}
			if diff := cmp.Diff(before, treeOf(t, d.dir), cmp.AllowUnexported(node{})); diff != "" {
				t.Errorf("the rehearsal has changed the host:\n%s", diff)
			}
		})
	}
}

// A deployment that follows changes exactly the files that the rehearsal has named, and makes of them what it has said.
func TestDryRunComesTrue(t *testing.T) {
	needsSandbox(t)
	d := newDesk(t)
	bundle, tree := d.walkthrough("bundle", true)
	d.tree("Tinitter", map[string]string{"uploads/cat.jpg": "meow\n", "uploads/dog.jpg": "wuff\n", "config.php.sample": "old\n", "htdocs/index.php": "old\n"})
	before := treeOf(t, tree)
	a := d.rehearsed(0, bundle, "--file-exists-behavior", "OVERWRITE")
	if p := a.Prediction; p == nil || p.Planned == 0 || p.Met != p.Planned || len(p.Overridden) != p.Planned || // AfterInstall gives all of them away
		len(p.Missed)+len(p.Unplanned) > 0 {
		t.Errorf("prediction %+v", p)
	}
	if code, out, errs := d.run("slipway", "local", bundle, "--config", "T.yml", "--file-exists-behavior", "OVERWRITE"); code != 0 {
		t.Fatalf("code %d\n%s\n%s", code, out, errs)
	}
	real := differences(before, treeOf(t, tree))
	rehearsed := map[string]string{}
	for _, c := range a.Files {
		name, err := filepath.Rel(tree, c.Path)
		if err != nil || strings.HasPrefix(name, "..") {
			t.Errorf("beside the tree: %s %s", c.Kind, c.Path)
			continue
		}
		rehearsed[name] = c.Kind
		if c.Fold > 0 { // it stands for all below it
			below := 0
			for path, kind := range real {
				if strings.HasPrefix(path, name+"/") {
					rehearsed[path] = c.Kind
					below++
					if kind != c.Kind {
						t.Errorf("%s: %s, and it was folded as %s", path, kind, c.Kind)
					}
				}
			}
			if below != c.Fold {
				t.Errorf("%s stands for %d paths, and %d have changed", c.Path, c.Fold, below)
			}
		}
	}
	if diff := cmp.Diff(rehearsed, real); diff != "" {
		t.Errorf("(-rehearsed +real):\n%s", diff)
	}
	for _, c := range a.Files { // owner and mode too
		if c.Kind == lifecycle.FileRemoved {
			continue
		}
		info, err := os.Lstat(c.Path)
		if err != nil {
			t.Error(err)
			continue
		}
		if want := fmt.Sprintf("%04o", info.Mode().Perm()); !strings.HasPrefix(c.Is, want) {
			t.Errorf("%s was to be %s, and has mode %s", c.Path, c.Is, want)
		}
	}
}

// differences says how each path differs between two trees but for times, which differ from run to run: of changed files there is content.
func differences(before, after map[string]node) map[string]string {
	stamp := regexp.MustCompile(` \d{19} `) // time of a file's content
	kinds := map[string]string{}
	for path, n := range after {
		old, was := before[path]
		switch {
		case !was:
			kinds[path] = lifecycle.FileAdded
		case stamp.ReplaceAllString(old.what, " ") != stamp.ReplaceAllString(n.what, " "):
			kinds[path] = lifecycle.FileChanged
		}
	}
	for path := range before {
		if _, is := after[path]; !is {
			kinds[path] = lifecycle.FileRemoved
		}
	}
	return kinds
}

// versioned is a bundle whose scripts tell which version they are of, for every event.
func (d *desk) versioned(version string, files map[string]string) string {
	all := map[string]string{"appspec.yml": appspecFor("files:\n  - source: content\n    destination: "+d.path("site")+"\n", hooked...)}
	for _, ev := range hooked {
		all["scripts/"+strings.ToLower(ev)+".sh"] = "#!/bin/sh\necho \"$LIFECYCLE_EVENT of " + version + "\"\n"
	}
	for name, text := range files {
		all["content/"+name] = text
	}
	return d.tree(version, all)
}

// H-3: which revision's scripts run, by the kind; and what the next deployment removes.
func TestDryRunFromAndKind(t *testing.T) {
	needsSandbox(t)
	d := newDesk(t)
	v1 := d.versioned("v1", map[string]string{"kept": "1\n", "changed": "1\n", "gone": "1\n"})
	v2 := d.versioned("v2", map[string]string{"kept": "1\n", "changed": "2\n", "new": "2\n"})
	a := d.rehearsed(0, v2, "--from", v1, "--kind", "in-place-lb")
	if !strings.HasSuffix(a.From, "/v1") || a.Kind != "in-place-lb" {
		t.Errorf("from %q, kind %q", a.From, a.Kind)
	}
	said := map[lifecycle.Event]string{}
	var order []lifecycle.Event
	for i := range a.Events {
		e := &a.Events[i]
		order = append(order, e.Event)
		if len(e.Scripts) > 0 {
			said[e.Event] = strings.TrimSpace(outputOf(e))
		}
	}
	if diff := cmp.Diff(map[lifecycle.Event]string{
		"BeforeBlockTraffic": "BeforeBlockTraffic of v1", "AfterBlockTraffic": "AfterBlockTraffic of v1", "ApplicationStop": "ApplicationStop of v1",
		"BeforeInstall": "BeforeInstall of v2", "AfterInstall": "AfterInstall of v2", "ApplicationStart": "ApplicationStart of v2",
		"ValidateService": "ValidateService of v2", "BeforeAllowTraffic": "BeforeAllowTraffic of v2", "AfterAllowTraffic": "AfterAllowTraffic of v2",
	}, said); diff != "" {
		t.Error(diff)
	}
	if want := []lifecycle.Event{
		"BeforeBlockTraffic", "BlockTraffic", "AfterBlockTraffic", "ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall",
		"ApplicationStart", "ValidateService", "BeforeAllowTraffic", "AllowTraffic", "AfterAllowTraffic",
	}; !slices.Equal(order, want) {
		t.Errorf("events %v", order)
	}
	if e := eventOf(t, a, lifecycle.BlockTraffic); e.Outcome != outcomeSkipped || !strings.Contains(e.Nothing, "the service") {
		t.Errorf("BlockTraffic = %+v", e)
	}
	changed := map[string]string{}
	for _, c := range a.Files {
		changed[strings.TrimPrefix(c.Path, d.dir+"/")] = c.Kind + " by " + string(c.By)
	}
	if diff := cmp.Diff(map[string]string{"site/changed": "changed by Install", "site/gone": "removed by Install", "site/new": "added by Install"}, changed); diff != "" {
		t.Error(diff)
	}
	if p := a.Prediction; p == nil || len(p.Missed)+len(p.Unplanned) > 0 || p.Events != "" || p.Planned == 0 {
		t.Errorf("prediction %+v", p)
	}
	if _, err := os.Lstat(d.path("site")); err == nil {
		t.Error("the rehearsal has installed something")
	}
}

// A previous revision whose deployment fails ends the rehearsal.
func TestDryRunFromFails(t *testing.T) {
	needsSandbox(t)
	d := newDesk(t)
	v1, v2 := d.versioned("v1", nil), d.versioned("v2", nil)
	d.write("v1/content/x", "")
	d.write("v2/content/x", "")
	d.write("v1/scripts/afterinstall.sh", "#!/bin/sh\nexit 3\n")
	code, out, errs := d.run("slipway", "dry-run", "--config", "T.yml", "--from", v1, v2)
	if code != exitFailure || !strings.Contains(errs, "which --from says is to go before, failed at AfterInstall with code 4") {
		t.Errorf("code %d\n%s\n%s", code, out, errs)
	}
}

// What fails and when, secrets, and what is shown of both.
func TestDryRunFailsAndIsSilentOfSecrets(t *testing.T) {
	needsSandbox(t)
	d := newDesk(t)
	d.env = append(d.env, "AWS_SECRET_ACCESS_KEY=s3cr3t-of-the-agent", "AWS_ACCESS_KEY_ID=AKIDOFTHEAGENT")
	v1 := d.versioned("v1", map[string]string{"f": "1\n"})
	d.write("v1/scripts/afterinstall.sh", "#!/bin/sh\necho \"key ${AWS_SECRET_ACCESS_KEY:-is unset}\"\necho 'it is s3cr3t-of-the-agent' >&2\necho s3cr3t-of-the-agent >"+d.path("site/leak")+"\nexit 3\n")
	code, out, errs := d.run("slipway", "dry-run", "--config", "T.yml", "-v", v1)
	if code != exitFailure || !strings.Contains(errs, "the deployment would fail at AfterInstall: the new files would be installed, and scripts would have run, AfterInstall last") {
		t.Errorf("code %d\n%s\n%s", code, out, errs)
	}
	for _, want := range []string{"AfterInstall: scripts/afterinstall.sh, as ", "  | key is unset\n", "  failed (code 4): exit code 3 after ", "AfterInstall: failed, code 4, after "} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if strings.Contains(out+errs, "s3cr3t-of-the-agent") {
		t.Errorf("a secret is shown:\n%s\n%s", out, errs)
	}
	a := d.rehearsed(exitFailure, v1)
	if a.Outcome != outcomeFailed || eventOf(t, a, lifecycle.ValidateService).Outcome != outcomeSkipped {
		t.Errorf("outcome %s, %+v", a.Outcome, a.Events)
	}
	if text, err := json.Marshal(a); err != nil || bytes.Contains(text, []byte("s3cr3t-of-the-agent")) {
		t.Errorf("a secret is in the account: %s (%v)", text, err)
	}
}

// Ctrl-C ends the sandbox with all in it: no process, no mount, no folder is left.
func TestDryRunInterrupted(t *testing.T) {
	needsSandbox(t)
	d := newDesk(t)
	v1 := d.versioned("v1", map[string]string{"f": "1\n"})
	d.write("v1/scripts/afterinstall.sh", "#!/bin/sh\ntrap '' TERM INT HUP\necho at it\nsleep 3631 & sleep 3631\n")
	before := mountsOf(t)
	cmd := d.command("slipway", "dry-run", "--config", "T.yml", v1)
	var errs bytes.Buffer
	out := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(out.String(), "at it"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the script never began:\n%s\n%s", out.String(), errs.String())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitFailure || !strings.Contains(errs.String(), "interrupted: the sandbox was ended with all in it") {
		t.Errorf("code %d\n%s\n%s", code, out.String(), errs.String())
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if sleeping, _ := exec.Command("pgrep", "-f", "^sleep 3631").Output(); len(sleeping) > 0 {
		t.Errorf("left running: %s", sleeping)
	}
	if after := mountsOf(t); after != before {
		t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
	}
	if left, _ := filepath.Glob(d.path(scratchPrefix + "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func mountsOf(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The settings come into the sandbox as they are.
func TestInsideRequestKeepsTheConfiguration(t *testing.T) {
	env := map[string]string{"SLIPWAY_HOOKS_GRACE": "7s", "SLIPWAY_LIMITS_MAX_SIZE": "3GB", "SLIPWAY_HEALTH_PROBE_TCP": "127.0.0.1:80"}
	o := config.LoadOptions{Getenv: func(name string) string { return env[name] }}
	for name, value := range env {
		o.Environ = append(o.Environ, name+"="+value)
	}
	cfg, err := config.Load(o)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(insideRequest{Config: cfg, Deployment: insideDeployment{Of: lifecycle.LocalDeployment("g", "n")}})
	if err != nil {
		t.Fatal(err)
	}
	var back insideRequest
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cfg, back.Config, cmpopts.IgnoreUnexported(config.Config{}), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if cfg.Hooks.Grace != 7*time.Second {
		t.Errorf("grace %s: the test looks at defaults alone", cfg.Hooks.Grace)
	}
}

// The process of the sandbox does nothing outside of one.
func TestInsideRefusesTheHost(t *testing.T) {
	d := newDesk(t)
	code, out, errs := d.run("slipway", insideVerb)
	if code == 0 || out != "" || errs == "" {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	if entries := slices.Sorted(maps.Keys(treeOf(t, d.dir))); len(entries) != 2 { // itself and T.yml
		t.Errorf("it has made something: %v", entries)
	}
}

// What is written may lie on disk, in a folder that is empty again afterwards.
func TestDryRunUpper(t *testing.T) {
	needsSandbox(t)
	d := newDesk(t)
	v1, v2 := d.versioned("v1", map[string]string{"gone": "1\n"}), d.versioned("v2", map[string]string{"new": "2\n"})
	if err := os.Mkdir(d.path("upper"), 0o755); err != nil {
		t.Fatal(err)
	}
	a := d.rehearsed(0, v2, "--from", v1, "--upper", "upper", "--size", "64MB")
	if len(a.Files) != 2 || a.Files[0].Kind != lifecycle.FileRemoved || a.Files[1].Kind != lifecycle.FileAdded {
		t.Errorf("files %+v", a.Files)
	}
	if left, err := os.ReadDir(d.path("upper")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if code, _, errs := d.run("slipway", "dry-run", "--config", "T.yml", "--upper", "nowhere", v1); code != exitNoSandbox || !strings.Contains(errs, "nowhere") {
		t.Errorf("code %d, %s", code, errs)
	}
}

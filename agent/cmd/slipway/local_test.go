package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const localGroup = "test-local-deployments-folder"

// desk is a fresh directory T with a configuration, in which local deployments are made (section 6 of L).
type desk struct {
	t   testing.TB
	dir string
	env []string
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	d := &desk{t: t, dir: t.TempDir()}
	d.write("T.yml", fmt.Sprintf("---\n:root_dir: %[1]s/deployment-root\n:log_dir: %[1]s/log\n:pid_dir: %[1]s\n:on_premises_config_file: %[1]s/none\n", d.dir))
	return d
}

func (d *desk) path(name string) string { return filepath.Join(d.dir, name) }

func (d *desk) write(name, content string) string {
	d.t.Helper()
	path := d.path(name)
	mode := os.FileMode(0o644)
	if strings.HasPrefix(content, "#!") {
		mode = 0o755
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), mode)); err != nil {
		d.t.Fatal(err)
	}
	return path
}

func (d *desk) read(name string) string {
	data, _ := os.ReadFile(d.path(name))
	return string(data)
}

// tree writes the files of a bundle.
func (d *desk) tree(name string, files map[string]string) string {
	for file, content := range files {
		d.write(filepath.Join(name, file), content)
	}
	return d.path(name)
}

// command is the program under a name.
func (d *desk) command(as string, args ...string) *exec.Cmd {
	h := &host{t: d.t, dir: d.dir, extra: append([]string{"HOME=" + d.dir, "AWS_EC2_METADATA_DISABLED=true"}, d.env...)}
	cmd := h.program(args...)
	cmd.Args[0], cmd.Dir = as, d.dir
	return cmd
}

// deploy runs codedeploy-local with T's configuration.
func (d *desk) deploy(args ...string) (code int, stdout, stderr string) {
	d.t.Helper()
	return d.run(localName, append([]string{"-c", "T.yml", "-g", localGroup}, args...)...)
}

func (d *desk) run(as string, args ...string) (code int, stdout, stderr string) {
	d.t.Helper()
	var out, errs bytes.Buffer
	cmd := d.command(as, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// hooked are the nine events of H-1 in L-13's order.
var hooked = []string{
	"BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop", "BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService",
	"BeforeAllowTraffic", "AfterAllowTraffic",
}

func firstRun() []string { return hooked[3:] }

const proofScript = "#!/bin/sh\necho \"$LIFECYCLE_EVENT\" >>\"$(dirname \"$0\")/../../../../../executed_proof_file\"\n"

func appspecFor(head string, events ...string) string {
	var b strings.Builder
	b.WriteString("version: 0.0\nos: linux\n" + head + "hooks:\n")
	for _, ev := range events {
		fmt.Fprintf(&b, "  %s:\n    - location: scripts/%s.sh\n      timeout: 60\n", ev, strings.ToLower(ev))
	}
	return b.String()
}

// sampleBundle has a script for each event, five appspecs, and so six entries.
func sampleBundle() map[string]string {
	files := map[string]string{}
	for _, name := range []string{"appspec.yml", "appspec_override.yaml", "appspec_a.yml", "appspec_b.yml", "appspec_c.yml"} {
		files[name] = appspecFor("", hooked...)
	}
	for _, ev := range hooked {
		files["scripts/"+strings.ToLower(ev)+".sh"] = proofScript
	}
	return files
}

// installing is the sample bundle with a file F that goes to T.
func (d *desk) installing(behavior string) map[string]string {
	files := sampleBundle()
	head := "files:\n  - source: F\n    destination: " + d.dir + "\n"
	if behavior != "" {
		head += "file_exists_behavior: " + behavior + "\n"
	}
	files["F"], files["appspec.yml"] = "bundle\n", appspecFor(head, hooked...)
	return files
}

func tarred(files map[string]string, compressed bool) []byte {
	var b bytes.Buffer
	write := func(w *tar.Writer) {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			mode := int64(0o644)
			if strings.HasPrefix(files[name], "#!") {
				mode = 0o755
			}
			w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(files[name]))})
			w.Write([]byte(files[name]))
		}
		w.Close()
	}
	if !compressed {
		write(tar.NewWriter(&b))
		return b.Bytes()
	}
	z := gzip.NewWriter(&b)
	write(tar.NewWriter(z))
	z.Close()
	return b.Bytes()
}

// holds is the files check of section 6: so many deployments with so many entries each.
func (d *desk) holds(deployments, entries int) {
	d.t.Helper()
	root := d.path("deployment-root")
	for _, name := range []string{"deployment-instructions", "deployment-logs", localGroup} {
		if !slices.Contains(d.list(root), name) {
			d.t.Errorf("deployment-root has no %s: %v", name, d.list(root))
		}
	}
	if diff := cmp.Diff([]string{"codedeploy-agent-deployments.log"}, d.list(filepath.Join(root, "deployment-logs"))); diff != "" {
		d.t.Errorf("deployment-logs (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(root, "ongoing-deployment")); err == nil {
		d.t.Error("a tracking folder was made (L-25)")
	}
	made := d.list(filepath.Join(root, localGroup))
	if len(made) != deployments {
		d.t.Errorf("deployments %v, want %d", made, deployments)
	}
	for _, id := range made {
		if !regexp.MustCompile(`^d-[A-Z0-9]{9}-local$`).MatchString(id) {
			d.t.Errorf("deployment id %s (L-24)", id)
		}
		folder := filepath.Join(root, localGroup, id)
		if !slices.Contains(d.list(folder), "logs") {
			d.t.Errorf("%s has no logs", id)
		}
		archive := d.list(filepath.Join(folder, "deployment-archive"))
		if len(archive) != entries || !slices.Contains(archive, "appspec.yml") || !slices.Contains(archive, "scripts") {
			d.t.Errorf("archive %v, want %d entries", archive, entries)
		}
		want := len(hooked)
		if entries == 2 {
			want = 2
		}
		if scripts := d.list(filepath.Join(folder, "deployment-archive", "scripts")); len(scripts) != want {
			d.t.Errorf("scripts %v, want %d", scripts, want)
		}
	}
}

func (d *desk) list(name string) []string {
	entries, err := os.ReadDir(name)
	if err != nil {
		d.t.Errorf("%v", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (d *desk) proves(events ...string) {
	d.t.Helper()
	if diff := cmp.Diff(events, strings.Fields(d.read("executed_proof_file"))); diff != "" {
		d.t.Errorf("events that have run (-want +got):\n%s", diff)
	}
}

// L-40 to L-57, and what section 6 of L has observed beside them. L-58 and L-59 are of the agent, not of the local tool.
func TestLocalScenarios(t *testing.T) {
	t.Parallel()
	twice := append(slices.Clone(firstRun()), hooked...)
	custom := map[string]string{
		"appspec.yml":                 appspecFor("", "ApplicationStart", "CustomEvent"),
		"scripts/applicationstart.sh": proofScript, "scripts/customevent.sh": proofScript,
	}
	yaml := sampleBundle()
	yaml["appspec.yaml"] = yaml["appspec.yml"]
	delete(yaml, "appspec.yml")
	within := func(files map[string]string) map[string]string {
		inside := map[string]string{}
		for name, content := range files {
			inside["top/"+name] = content
		}
		return inside
	}
	for _, c := range []struct {
		rule, name string
		bundle     func(d *desk) []string // makes it and says where it is
		args       []string
		times      int // 1 when zero
		code       int
		entries    int      // of the archive; 0: not looked at
		proof      []string // nil: not looked at
		f          string   // content of T/F at the end; "": not looked at
		says       string   // on either stream
	}{
		{rule: "L-40", name: "directory", bundle: directory(sampleBundle()), args: []string{"-t", "directory"}, entries: 6, proof: firstRun()},
		{rule: "L-41", name: "directory twice", bundle: directory(sampleBundle()), times: 2, entries: 6, proof: twice},
		{rule: "L-42", name: "relative directory", bundle: func(d *desk) []string { d.tree("b", sampleBundle()); return []string{"-l", "b"} }, entries: 6, proof: firstRun()},
		{rule: "L-43", name: "zip", bundle: archive("b.zip", zipped(sampleBundle())), args: []string{"-t", "zip"}, entries: 6, proof: firstRun()},
		{rule: "L-44", name: "zipped directory", bundle: archive("b.zip", zipped(within(sampleBundle()))), args: []string{"--type=zip"}, entries: 6, proof: firstRun()},
		{rule: "L-45", name: "tgz", bundle: archive("b.tgz", tarred(sampleBundle(), true)), args: []string{"--ty", "tgz"}, entries: 6, proof: firstRun()},
		{rule: "L-46", name: "tar", bundle: archive("b.tar", tarred(sampleBundle(), false)), args: []string{"-ttar"}, entries: 6, proof: firstRun()},
		{rule: "L-48", name: "custom event", bundle: directory(custom), args: []string{"--events", "ApplicationStart,CustomEvent"}, entries: 2, proof: []string{"ApplicationStart", "CustomEvent"}},
		{rule: "L-49", name: "subset", bundle: directory(sampleBundle()), args: []string{"--events", "BeforeInstall,ApplicationStart"}, entries: 6, proof: []string{"BeforeInstall", "ApplicationStart"}},
		{rule: "L-50", name: "existing target", bundle: installs(""), code: 1, f: "host\n", says: "F"},
		{rule: "L-51", name: "overwrite", bundle: installs(""), args: []string{"--file-exists-behavior", "OVERWRITE"}, f: "bundle\n"},
		{rule: "L-52", name: "retain", bundle: installs(""), args: []string{"--file-exists-behavior", "RETAIN"}, f: "host\n"},
		{rule: "L-53", name: "custom appspec", bundle: directory(sampleBundle()), args: []string{"-A", "appspec_override.yaml"}, entries: 6, proof: firstRun()},
		{rule: "L-54", name: "missing custom appspec", bundle: directory(sampleBundle()), args: []string{"-A", "appspec_nonexistent.yaml"}, code: 1, says: "ERROR: "},
		{rule: "L-55", name: "appspec disallows", bundle: installs("DISALLOW"), code: 1, f: "host\n"},
		{rule: "L-56", name: "appspec overwrites", bundle: installs("OVERWRITE"), f: "bundle\n"},
		{rule: "L-57", name: "appspec retains", bundle: installs("RETAIN"), f: "host\n"},

		{rule: "L-3", name: "behavior in any case", bundle: installs(""), args: []string{"-b", "oVERwrite"}, f: "bundle\n"},
		{rule: "L-3", name: "behavior that is none", bundle: installs(""), args: []string{"-b", "keep"}, code: 1, f: "host\n"},
		{rule: "L-3", name: "behavior that is none and nothing in the way", bundle: directory(sampleBundle()), args: []string{"-b", "keep"}, proof: firstRun()},
		{rule: "A-15", name: "appspec before option", bundle: installs("RETAIN"), args: []string{"-b", "OVERWRITE"}, f: "host\n"},
		{rule: "X-32", name: "appspec.yaml alone", bundle: directory(yaml), proof: firstRun()}, // the official tool fails at the first hook
		{rule: "L-16", name: "nothing to run the hook of", bundle: directory(sampleBundle()), args: []string{"-e", "BeforeInstall,DownloadBundle,Install"}, code: 1, proof: nothing, says: "DownloadBundle"},
		{rule: "L-16", name: "the swap", bundle: directory(sampleBundle()), args: []string{"-e", "BeforeInstall,DownloadBundle"}, proof: []string{"BeforeInstall"}},
		{rule: "H-5", name: "stop with the new archive", bundle: directory(sampleBundle()), args: []string{"-e", "ApplicationStop"}, proof: []string{"ApplicationStop"}},
		{rule: "L-14", name: "stop between", bundle: directory(sampleBundle()), args: []string{"-e", "ApplicationStop,DownloadBundle,ApplicationStart"}, proof: []string{"ApplicationStop", "ApplicationStart"}},
		{rule: "I-18a", name: "tgz given as tar", bundle: archive("b.tgz", tarred(sampleBundle(), true)), args: []string{"-t", "tar"}, entries: 6, proof: firstRun()},
		{rule: "I-18b", name: "tar given as tgz", bundle: archive("b.tar", tarred(sampleBundle(), false)), args: []string{"-t", "tgz"}, code: 1, proof: nothing, says: "is not a tgz: it is a tar archive, say --type tar"},
		{rule: "I-19", name: "tar given as zip", bundle: archive("b.tar", tarred(sampleBundle(), false)), args: []string{"-t", "zip"}, code: 1, proof: nothing, says: "say --type tar"},
		{rule: "A-22/1", name: "custom hook without events", bundle: directory(custom), code: 1, proof: nothing, says: "unknown lifecycle event \"CustomEvent\""},
		{rule: "A-22/2", name: "custom event without hook", bundle: directory(sampleBundle()), args: []string{"-e", "ApplicationStart,CustomEvent"}, code: 1, proof: nothing, says: "asks for the lifecycle event \"CustomEvent\""},
		{rule: "L-7", name: "no events named", bundle: directory(sampleBundle()), args: []string{"-e", ""}, entries: 6, proof: firstRun()},
		{rule: "L-26", name: "nothing to run", bundle: directory(map[string]string{"appspec.yml": "version: 0.0\nos: linux\n"})},
	} {
		t.Run(c.rule+" "+c.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			args := append(c.bundle(d), c.args...)
			if !slices.Contains(args, "-A") && c.rule != "X-32" {
				args = append(args, "-A", "appspec.yml")
			}
			for range max(c.times, 1) {
				code, stdout, stderr := d.deploy(args...)
				if code != c.code || !strings.Contains(stdout+stderr, c.says) {
					t.Errorf("exit %d, want %d\nstdout:\n%s\nstderr:\n%s", code, c.code, stdout, stderr)
				}
			}
			if c.entries > 0 {
				d.holds(max(c.times, 1), c.entries)
			}
			if c.proof != nil {
				d.proves(c.proof...)
			}
			if got := d.read("F"); c.f != "" && got != c.f {
				t.Errorf("F holds %q, want %q", got, c.f)
			}
		})
	}
}

// nothing has run.
var nothing = []string{}

func directory(files map[string]string) func(*desk) []string {
	return func(d *desk) []string { return []string{"-l", d.tree("b", files)} }
}

func archive(name string, data []byte) func(*desk) []string {
	return func(d *desk) []string { return []string{"-l", d.write(name, string(data))} }
}

func installs(behavior string) func(*desk) []string {
	return func(d *desk) []string {
		d.write("F", "host\n")
		return []string{"-l", d.tree("b", d.installing(behavior))}
	}
}

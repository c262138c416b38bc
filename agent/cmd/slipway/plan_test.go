package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sample is the sample application as a bundle: what it installs goes to the site of the host, and its scripts do nothing.
func (h *host) sample() map[string]string {
	h.t.Helper()
	const dir = "../../../testdata/tinitter"
	files := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(data)
		if strings.HasPrefix(name, "deploy/") {
			files[name] = "#!/bin/sh\nexit 0\n"
		}
		return err
	}); err != nil {
		h.t.Fatal(err)
	}
	spec := strings.ReplaceAll(files["appspec.yml"], "/Tinitter", filepath.Join(h.dir, "site"))
	files["appspec.yml"] = regexp.MustCompile(`(?m)^ +runas: root\n`).ReplaceAllString(spec, "")
	return files
}

// folder writes a bundle as a folder.
func (h *host) folder(files map[string]string) string {
	h.t.Helper()
	dir := h.t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			h.t.Fatal(err)
		}
		mode := fs.FileMode(0o644) // as in the zips of these tests
		if strings.HasSuffix(name, ".sh") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			h.t.Fatal(err)
		}
	}
	return dir
}

// Before a deployment all is new; after it nothing is, and of the next revision the plan says only what differs. The host is not changed.
func TestPlanBeforeAndAfterADeployment(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	files := h.sample()
	bundle := h.folder(files)
	before := treeOf(t, h.dir)
	out := h.says(2, "plan", bundle)
	for _, want := range []string{"\nwould succeed", "nothing to run, there is no archive of the last successful revision\n", "\n  + " + h.dir + "/site/  50 paths, "} {
		if !strings.Contains(out, want) {
			t.Errorf("plan says\n%s\nwant %q in it", out, want)
		}
	}
	if diff := cmp.Diff(before, treeOf(t, h.dir), cmp.AllowUnexported(node{})); diff != "" {
		t.Errorf("the plan has changed the host, and made %s (-before +after):\n%s", h.root(), diff)
	}

	h.put("v1", zipped(files))
	h.start()
	h.rollOut("d-1", "v1")
	out = h.says(0, "plan", bundle)
	for _, want := range []string{"for group fleet (group-1), in place", "ApplicationStop     the last successful revision, d-1, up to 5m\n", "all 50 are as they would be"} {
		if !strings.Contains(out, want) {
			t.Errorf("plan says\n%s\nwant %q in it", out, want)
		}
	}

	next := maps.Clone(files)
	next["REVISION"] = "another\n"
	next["htdocs/new/page.php"] = "<?php\n"
	delete(next, "README.md")
	bundle = h.folder(next)
	before = treeOf(t, h.dir)
	var plan jsonPlan
	if err := json.Unmarshal([]byte(h.says(2, "plan", bundle, "--json")), &plan); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range plan.Changes {
		got = append(got, c.Change+" "+strings.TrimPrefix(c.Path, h.dir+"/site/"))
	}
	slices.Sort(got)
	want := []string{"add htdocs/new", "add htdocs/new/page.php", "remove README.md", "replace REVISION"}
	if diff := cmp.Diff(want, got); diff != "" || !plan.Succeeds || plan.Counts.Same+plan.Counts.Rewritten != 48 {
		t.Errorf("plan of the next revision: %+v (-want +got):\n%s", plan.Counts, diff)
	}
	after := treeOf(t, h.dir)
	for name := range after { // what the agent itself writes meanwhile
		if strings.HasPrefix(name, "log/") || name == filepath.Join("root", statusFile) {
			delete(after, name)
			delete(before, name)
		}
	}
	if diff := cmp.Diff(before, after, cmp.AllowUnexported(node{})); diff != "" {
		t.Errorf("the plan has changed the host (-before +after):\n%s", diff)
	}
	h.put("v2", zipped(next))
	h.rollOut("d-2", "v2")
	if out := h.says(0, "plan", bundle); !strings.Contains(out, "all 51 are as they would be") {
		t.Errorf("after the deployment plan says\n%s", out)
	}
}

// A plan tells of a conflict with code 1 as the deployment would, and what a person changed on the host.
func TestPlanTellsOfConflictsAndWorkByHand(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	bundle := map[string]string{"appspec.yml": h.appspec(), "content/f": "v1"}
	h.put("v1", zipped(bundle))
	h.start()
	h.rollOut("d-1", "v1")
	for name, text := range map[string]string{"f": "by hand", "theirs": "x"} {
		if err := os.WriteFile(filepath.Join(h.dir, "site", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	next := h.folder(map[string]string{"appspec.yml": h.appspec(), "content/f": "v2", "content/theirs": "y"})
	out := h.says(1, "plan", next)
	if want := "would fail at ApplicationStop with code 5, before anything is touched:"; !strings.Contains(out, want) || !strings.Contains(out, "site/theirs: exists, and file_exists_behavior is DISALLOW") {
		t.Errorf("plan says\n%s\nwant %q in it", out, want)
	}
	out = h.says(2, "plan", next, "--file-exists-behavior", "overwrite")
	for _, want := range []string{"/site/f  2 B, ", "changed on this host, kept aside", "/site/theirs  1 B, ", "not of this group", "1 changed on this host and kept aside"} {
		if !strings.Contains(out, want) {
			t.Errorf("plan says\n%s\nwant %q in it", out, want)
		}
	}
	// A bundle that cannot be unpacked is told as the deployment would.
	out = h.says(1, "plan", h.file("broken.zip", "PK\x03\x04 and no more"))
	if want := "would fail at ApplicationStop with code 5, before anything is touched:"; !strings.Contains(out, want) {
		t.Errorf("plan says\n%s\nwant %q in it", out, want)
	}
}

// Nobody needs root for a plan, and is told what could not be read.
func TestPlanWithoutRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes folders that another user cannot read")
	}
	t.Parallel()
	h := newHost(t)
	h.put("v1", zipped(map[string]string{"appspec.yml": h.appspec(), "content/f": "v1"}))
	h.start()
	h.rollOut("d-1", "v1")
	bundle := h.folder(map[string]string{"appspec.yml": h.appspec(), "content/f": "v1", "content/g": "g"})
	for dir := h.dir; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		os.Chmod(dir, 0o755)
	}
	for dir := bundle; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		os.Chmod(dir, 0o755)
	}
	if err := os.Chmod(h.config, 0o644); err != nil {
		t.Fatal(err)
	}
	as := func(code int) string {
		cmd := h.program("plan", bundle, "--config", h.config)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Fatalf("plan as nobody: exit %d, want %d\n%s", got, code, out)
		}
		return string(out)
	}
	out := as(2)
	for _, want := range []string{"  + " + h.dir + "/site/g  1 B\n  = 2 more are the same", ".slipway cannot be read: what was changed on this host"} {
		if !strings.Contains(out, want) {
			t.Errorf("plan as nobody says\n%s\nwant %q in it", out, want)
		}
	}
	if err := os.Chmod(filepath.Join(h.dir, "site"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out := as(1); !strings.Contains(out, "site") || !strings.Contains(out, "permission denied") {
		t.Errorf("plan as nobody says\n%s\nwant what cannot be read", out)
	}
}

// BenchmarkBudgetPlan plans a bundle of 50,000 files, as a zip and as a folder: for an empty place, and over itself.
func BenchmarkBudgetPlan(b *testing.B) {
	for _, kind := range []string{"zip", "folder"} {
		b.Run(kind, func(b *testing.B) {
			h := memoryHost(b, 0)
			h.putTree("k", "zip", 50_000, "")
			bundle := filepath.Join(h.dir, "k.zip")
			if kind == "folder" {
				folder := filepath.Join(h.dir, "bundle")
				if out, err := exec.CommandContext(b.Context(), "unzip", "-q", bundle, "-d", folder).CombinedOutput(); err != nil {
					b.Fatalf("unzip: %v\n%s", err, out)
				}
				bundle = folder
			}
			var first, again, cpus []time.Duration
			peak := 0.0
			n := 0
			for b.Loop() {
				n++
				took, cpu, rss := h.planned(bundle)
				first, cpus, peak = append(first, took), append(cpus, cpu), max(peak, rss)
				b.StopTimer()
				if n == 1 {
					h.firstPoll()
				}
				h.deploy(fmt.Sprintf("d-%d", n), "k", "zip")
				b.StartTimer()
				took, cpu, rss = h.planned(bundle)
				again, cpus, peak = append(again, took), append(cpus, cpu), max(peak, rss)
				b.StopTimer()
				os.RemoveAll(filepath.Join(h.dir, "site"))
				os.RemoveAll(filepath.Join(h.root(), "deployment-instructions"))
				b.StartTimer()
			}
			report1(b, "first-ms", ms(median(first)))
			report1(b, "again-ms", ms(median(again)))
			report1(b, "cpu-ms", ms(median(cpus))) // of one plan: for this a machine that does other things besides is not to blame
			report1(b, "peak-rss-MiB", peak)
		})
	}
}

// planned is what a plan takes: time, time of the processors, and MiB of memory at its peak. The kernel's figure of a process that has ended
// has that of whoever started it in it, so that it is watched while it runs.
func (h *host) planned(bundle string) (took, cpu time.Duration, peak float64) {
	h.t.Helper()
	cmd := h.program("plan", bundle, "--config", h.config)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if code := cmd.ProcessState.ExitCode(); code != 0 && code != exitChanges {
				h.t.Fatalf("plan: %v", err)
			}
			return time.Since(began), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peak
		case <-tick.C:
			data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
			if m := regexp.MustCompile(`VmHWM:\s+(\d+)`).FindSubmatch(data); m != nil {
				kb, _ := strconv.Atoi(string(m[1]))
				peak = max(peak, float64(kb)/1024)
			}
		}
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"slipway/agent/control"
)

// siteFiles are the names and contents below the place that is installed to.
func (h *host) siteFiles() map[string]string {
	h.t.Helper()
	all := map[string]string{}
	site := filepath.Join(h.dir, "site")
	err := filepath.WalkDir(site, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(site, path)
		switch {
		case path == site:
		case d.IsDir():
			all[name+"/"] = ""
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			all[name] = "-> " + target
			return err
		default:
			data, err := os.ReadFile(path)
			all[name] = string(data)
			return err
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		h.t.Fatal(err)
	}
	return all
}

// joined is what a site has of a revision and of the users.
func joined(revision map[string]string, users ...string) map[string]string {
	all := map[string]string{}
	add := func(name, text string) {
		all[name] = text
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			all[dir+"/"] = ""
		}
	}
	for name, text := range revision {
		if rel, ok := strings.CutPrefix(name, "content/"); ok {
			add(rel, text)
		}
	}
	for _, name := range users {
		add(name, "user")
	}
	return all
}

// swapRevision is the n-th revision: every one has files, links and directories that no other one has.
func (h *host) swapRevision(n int) map[string]string {
	script := fmt.Sprintf("#!/bin/sh\necho \"stop of revision %d\" >>\"$OUT/proof\"\n", n)
	r := map[string]string{
		"appspec.yml": h.appspec("ApplicationStop=stop.sh"), "stop.sh": script,
		"content/index.php": fmt.Sprint("revision ", n), "content/same": "the same in all", "content/link": fmt.Sprint("-> only-", n),
		fmt.Sprintf("content/only-%d", n): "x", fmt.Sprintf("content/dir-%d/sub/f", n): "x", "content/shared/a": fmt.Sprint(n), "content/.hidden": "x",
	}
	if n%2 == 1 {
		r["content/turns"] = "a file"
	} else {
		r["content/turns/into/a"] = "directory"
	}
	return r
}

// bring deploys a revision by slipway.
func (h *host) bring(id string, revision map[string]string) {
	h.t.Helper()
	h.put(id, zipped(revision))
	spec := h.spec(id, id, "zip")
	for _, event := range []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall"} {
		if c := h.do(event, spec); c.Status != control.Succeeded {
			h.t.Fatalf("%s of %s = %+v", event, id, c)
		}
	}
}

// TestStateSwap deploys by the official agent, by slipway and by the official agent in turns, in the same place and the same root: no
// conflict that is none, nothing left of an earlier revision, nothing of a user's gone (I-1 to I-42, V-93 to V-98).
func TestStateSwap(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "version 1", true: "version 2"}[v2], func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.extra = []string{"SLIPWAY_MAX_REVISIONS=3"}
			ref := &reference{t: t, root: h.root(), group: "group-1", site: filepath.Join(h.dir, "site"), v2: v2, keep: 3}
			var users []string
			n := 0
			byReference := func() {
				t.Helper()
				n++
				if err := ref.deploy(fmt.Sprint("d-", n), h.swapRevision(n)); err != nil {
					t.Fatalf("the official agent cannot deploy revision %d: %v", n, err)
				}
				h.swapped(n, users)
			}
			bySlipway := func() {
				t.Helper()
				n++
				h.bring(fmt.Sprint("d-", n), h.swapRevision(n))
				h.swapped(n, users)
				h.asReferenceReadsIt(ref, n)
			}
			byReference()
			for _, name := range []string{"uploads/mine", "shared/mine", "dir-1/mine"} {
				ref.write(filepath.Join(ref.site, name), "user", 0o644)
			}
			users = []string{"uploads/mine", "shared/mine", "dir-1/mine"}
			byReference()
			for range 2 {
				h.start()
				bySlipway()
				bySlipway()
				h.stop()
				byReference()
				byReference()
			}
			want := ""
			for _, i := range []int{2, 3, 6, 7} { // the one before is stopped by its own script
				want += fmt.Sprintf("stop of revision %d\n", i)
			}
			if got := h.read("proof"); got != want {
				t.Errorf("scripts wrote %q, want %q", got, want)
			}
			// And to the end: the model's cleanup leaves what is the users', and no more.
			h.start()
			bySlipway()
			h.stop()
			ref.must(ref.cleanup())
			if diff := cmp.Diff(joined(nil, users...), h.siteFiles()); diff != "" {
				t.Errorf("after the official agent's cleanup (-want +got):\n%s", diff)
			}
		})
	}
}

func (h *host) swapped(n int, users []string) {
	h.t.Helper()
	if diff := cmp.Diff(joined(h.swapRevision(n), users...), h.siteFiles()); diff != "" {
		h.t.Fatalf("site of revision %d (-want +got):\n%s", n, diff)
	}
}

// asReferenceReadsIt looks at what slipway left of a deployment as the official agent will.
func (h *host) asReferenceReadsIt(ref *reference, n int) {
	h.t.Helper()
	id := fmt.Sprint("d-", n)
	for _, suffix := range []string{"_last_successful_install", "_most_recent_install"} { // I-8, I-9
		data, err := os.ReadFile(ref.instructions(suffix))
		if err != nil || string(data) != ref.dir(id) {
			h.t.Errorf("pointer %s holds %q, %v, want %q", suffix, data, err, ref.dir(id))
		}
	}
	for name, text := range h.swapRevision(n) { // I-3
		data, err := os.ReadFile(filepath.Join(ref.dir(id), "deployment-archive", name))
		if !strings.HasPrefix(text, "-> ") && (err != nil || string(data) != text) {
			h.t.Errorf("%s of the archive holds %q, %v, want %q", name, data, err, text)
		}
	}
	if info, err := os.Stat(filepath.Join(ref.dir(id), "bundle.tar")); err != nil || info.Size() == 0 { // I-2
		h.t.Errorf("no bundle: %v", err)
	}
	etag, err := os.ReadFile(filepath.Join(ref.dir(id), ".bundle-etag")) // V-93
	if err != nil || !regexp.MustCompile(`^[0-9a-f]{32}$`).Match(etag) {
		h.t.Errorf("etag %q, %v", etag, err)
	}
	h.untracked()
	h.plan(ref)
	entries, err := os.ReadDir(filepath.Join(ref.root, ref.group)) // I-22
	if err != nil || len(entries) != min(n, ref.keep) || !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == id }) {
		h.t.Errorf("deployments that are kept: %v, %v, want %d with %s", entries, err, min(n, ref.keep), id)
	}
}

// untracked waits until no tracking file is left: it goes when the service has the completion (V-96).
func (h *host) untracked() {
	h.t.Helper()
	h.eventually("the tracking files go", func() bool {
		left, _ := os.ReadDir(filepath.Join(h.root(), "ongoing-deployment"))
		return len(left) == 0
	})
}

// plan checks that the plan file is one of the official agent's, and that it and the cleanup file name what was installed (I-38, I-40).
func (h *host) plan(ref *reference) {
	h.t.Helper()
	data, err := os.ReadFile(ref.instructions("-install.json"))
	if err != nil {
		h.t.Fatal(err)
	}
	var file struct{ Instructions []instruction }
	if err := json.Unmarshal(data, &file); err != nil {
		h.t.Fatalf("plan file: %v", err)
	}
	planned := map[string]bool{}
	for _, i := range file.Instructions {
		if i.Type != "mkdir" && i.Type != "copy" {
			h.t.Errorf("instruction %+v", i)
		}
		planned[i.Directory+i.Destination] = true
	}
	cleanup, err := os.ReadFile(ref.instructions("-cleanup"))
	if err != nil || !strings.HasSuffix(string(cleanup), "\n") {
		h.t.Fatalf("cleanup file %q, %v", cleanup, err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(cleanup)) {
		listed[strings.TrimSuffix(line, "\n")] = true
	}
	if diff := cmp.Diff(planned, listed); diff != "" {
		h.t.Errorf("cleanup file against the plan (-plan +cleanup):\n%s", diff)
	}
	for path := range maps.Keys(listed) {
		if _, err := os.Lstat(path); err != nil {
			h.t.Errorf("the cleanup file names what is not there: %v", err)
		}
	}
}

// TestTakeOverInTheMiddle stops the official agent while it has a command in hand: that is reported once as lost, and the next deployment
// removes what the cleanup file of the broken installation names (P-87, I-40).
func TestTakeOverInTheMiddle(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	ref := &reference{t: t, root: h.root(), group: "group-1", site: filepath.Join(h.dir, "site"), keep: 5}
	ref.must(ref.deploy("d-1", h.swapRevision(1)))
	ref.must(ref.deploy("d-2", h.swapRevision(2)))
	client, err := control.New(control.Options{
		Endpoint: regexp.MustCompile(`deploy_control_endpoint: (\S+)`).FindStringSubmatch(h.read("codedeployagent.yml"))[1],
		Region:   "us-east-1", HostID: hostID, Version: "OFFICIAL_1.8.1", Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
	})
	ref.must(err)
	id := h.send("Install", h.spec("d-3", "k", "zip"))
	if cmd, err := client.Poll(t.Context()); err != nil || cmd.ID != id {
		t.Fatalf("Poll() = %+v, %v", cmd, err)
	}
	if _, err := client.Acknowledge(t.Context(), id, control.NoopDiagnostics(false)); err != nil {
		t.Fatal(err)
	}
	ref.write(filepath.Join(ref.root, "ongoing-deployment/d-3"), id, 0o644)
	// Half of revision 3 is there, and the last line of the cleanup file is torn.
	ref.must(ref.cleanup())
	ref.write(filepath.Join(ref.site, "index.php"), "revision 3", 0o644)
	ref.write(filepath.Join(ref.site, "only-3"), "x", 0o644)
	ref.write(ref.instructions("-cleanup"), ref.site+"\n"+ref.site+"/index.php\n"+ref.site+"/only-3", 0o644)
	h.start()
	if c := h.once(id, control.Failed); c.Diagnostics.ErrorCode != 7 {
		t.Errorf("completion %+v, want code 7", c)
	}
	h.untracked()
	h.bring("d-4", h.swapRevision(4))
	want := joined(h.swapRevision(4))
	want["only-3"] = "x" // nothing says whose it is
	if diff := cmp.Diff(want, h.siteFiles()); diff != "" {
		t.Errorf("site (-want +got):\n%s", diff)
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// bundleDir makes a bundle that is a folder.
func (h *host) bundleDir(name string, files map[string]string) string {
	h.t.Helper()
	dir := filepath.Join(h.dir, name)
	for file, text := range files {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			h.t.Fatal(err)
		}
	}
	return dir
}

// Ctrl-C ends the script as a timeout does; once more ends it at once. What it said is shown while it goes on.
func TestRunHookInterrupted(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		script string
		grace  string
		says   []string // before each signal
		want   []string
	}{
		"it heeds TERM": {
			"#!/bin/sh\ntrap 'echo bye; exit 7' TERM\necho begun\nwhile :; do sleep 0.05; done\n", "10m",
			[]string{`^  \| begun$`},
			[]string{"  | bye\n", "was ended on request and was ended by SIGTERM"},
		},
		"it is killed after the grace": {
			"#!/bin/sh\ntrap '' TERM\necho begun\nwhile :; do sleep 0.05; done\n", "200ms",
			[]string{`^  \| begun$`},
			[]string{"was ended on request and was killed, 200ms after SIGTERM"},
		},
		"it is killed at once": {
			"#!/bin/sh\ntrap 'echo no' TERM\necho begun\nwhile :; do sleep 0.05; done\n", "10m",
			[]string{`^  \| begun$`, `^  \| no$`},
			[]string{"was ended on request and was killed (after", "killed by SIGKILL"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			tmp := filepath.Join(h.dir, "tmp")
			if err := os.Mkdir(tmp, 0o755); err != nil {
				t.Fatal(err)
			}
			h.extra = []string{"TMPDIR=" + tmp, "SLIPWAY_HOOKS_GRACE=" + tt.grace}
			dir := h.bundleDir("app", map[string]string{"appspec.yml": h.appspec("AfterInstall=s.sh"), "s.sh": tt.script})
			w := h.watch("run-hook", dir, "AfterInstall")
			for _, pattern := range tt.says {
				w.says(pattern)
				if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
					t.Fatal(err)
				}
			}
			out := w.ends(exitFailure)
			for _, want := range append(tt.want, "slipway: ending the script; once more ends it at once\n", "the agent would report: AfterInstall failed, code 4\n") {
				if !strings.Contains(out, want) {
					t.Errorf("run-hook says %q, want %q in it", out, want)
				}
			}
			if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// Beside the agent, with the name of a group of its own, nothing of its record is touched.
func TestRunHookBesideTheAgent(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.putVersions()
	h.start()
	h.rollOut("d-1", "v1")
	record := func() string {
		return h.read("root/.slipway/history.jsonl") + h.read("root/deployment-instructions/group-1_last_successful_install")
	}
	before := record()
	files := map[string]string{"appspec.yml": h.appspec("ApplicationStop=s.sh"), "s.sh": "#!/bin/sh\necho \"$DEPLOYMENT_GROUP_ID $APPLICATION_NAME\"\n"}
	if out := h.says(0, "run-hook", h.bundleDir("app", files), "ApplicationStop", "--group", "fleet"); !strings.Contains(out, "  | group-1 app\n") {
		t.Errorf("run-hook says %q", out)
	}
	if after := record(); after != before || !strings.Contains(before, "d-1") {
		t.Errorf("the record was %s, and is %s", before, after)
	}
	h.rollOut("d-2", "v2")
}

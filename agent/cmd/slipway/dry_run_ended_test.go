package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A sandbox that ends before the deployment in it is told with what ended it, and where; nothing of it is left.
func TestDryRunEndedEarly(t *testing.T) {
	needsSandbox(t)
	for _, test := range []struct {
		name, script string
		args         []string
		kill         bool
		want         string
	}{
		{"space", "dd if=/dev/zero of=/var/tmp/big bs=1M count=2000 2>/dev/null", []string{"--upper", "upper", "--size", "20MB"}, false, "19 MiB, is used up"},
		{"killed", ":", nil, true, "the first of its processes was ended from outside of it (signal: killed)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t)
			v1 := d.versioned("v1", map[string]string{"f": "1\n"})
			d.write("v1/scripts/afterinstall.sh", "#!/bin/sh\necho at it\n"+test.script+"\nsleep 3632\n")
			if err := os.Mkdir(d.path("upper"), 0o755); err != nil {
				t.Fatal(err)
			}
			before := mountsOf(t)
			cmd := d.command("slipway", append([]string{"dry-run", "--config", "T.yml", v1}, test.args...)...)
			var errs bytes.Buffer
			out := &syncBuffer{}
			cmd.Stdout, cmd.Stderr = out, &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if test.kill {
				for deadline := time.Now().Add(time.Minute); !strings.Contains(out.String(), "at it"); time.Sleep(10 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatalf("the script never began:\n%s\n%s", out.String(), errs.String())
					}
				}
				if err := syscall.Kill(grandchild(t, cmd.Process.Pid), syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			_ = cmd.Wait()
			said := errs.String()
			if code := cmd.ProcessState.ExitCode(); code != exitFailure || !strings.Contains(said, "the rehearsal came to its end at AfterInstall: the sandbox ended early: ") ||
				!strings.Contains(said, test.want) || !strings.HasSuffix(said, "; nothing of this host was touched\n") {
				t.Errorf("code %d\n%s\n%s", code, out.String(), said)
			}
			if after := mountsOf(t); after != before {
				t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
			}
			for _, pattern := range []string{scratchPrefix + "*", "deployment-root/" + scratchPrefix + "*", "upper/*", "upper/.*"} {
				if left, _ := filepath.Glob(d.path(pattern)); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			}
		})
	}
}

// grandchild is the process in the sandbox of a rehearsal: the child of its stage.
func grandchild(t *testing.T, pid int) int {
	t.Helper()
	for range 2 {
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		child := 0
		for _, name := range stats {
			data, _ := os.ReadFile(name)
			var id, parent int
			var state string
			if before, after, ok := strings.Cut(string(data), ") "); ok {
				_, _ = fmt.Sscan(before, &id)
				if _, err := fmt.Sscan(after, &state, &parent); err == nil && parent == pid {
					child = id
				}
			}
		}
		if child == 0 {
			t.Fatalf("process %d has no child", pid)
		}
		pid = child
	}
	return pid
}

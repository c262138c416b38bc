package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// A script that kills who watches over it fails, and is not told as one that never began.
func TestDryRunKilledShim(t *testing.T) {
	needsSandbox(t)
	d := newDesk(t)
	v1 := d.versioned("v1", map[string]string{"f": "1\n"})
	d.write("v1/scripts/afterinstall.sh", "#!/bin/sh\nkill -9 $PPID\nsleep 3634\n")
	code, out, errs := d.run("slipway", "dry-run", "--config", "T.yml", v1)
	if code != exitFailure || !strings.Contains(out, "  failed (code 7): how it ended is not known\n") || !strings.Contains(errs, "the deployment would fail at AfterInstall") {
		t.Errorf("code %d\n%s\n%s", code, out, errs)
	}
	if sleeping, _ := exec.Command("pgrep", "-f", "^sleep 3634").Output(); len(sleeping) > 0 {
		t.Errorf("left running: %s", sleeping)
	}
}

// A rehearsal that was killed leaves its folders until the next command sweeps them; those of one that lives stay.
func TestDryRunKilled(t *testing.T) {
	needsSandbox(t)
	d := newDesk(t)
	v1 := d.versioned("v1", map[string]string{"f": "1\n"})
	d.write("v1/scripts/afterinstall.sh", "#!/bin/sh\necho at it\nsleep 3633\n")
	if err := os.Mkdir(d.path("upper"), 0o755); err != nil {
		t.Fatal(err)
	}
	begin := func() *exec.Cmd {
		cmd := d.command("slipway", "dry-run", "--config", "T.yml", "--events", "DownloadBundle,Install,AfterInstall", "--upper", "upper", "--size", "64MB", v1)
		out := &syncBuffer{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); !strings.Contains(out.String(), "at it"); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the script never began:\n%s", out.String())
			}
		}
		return cmd
	}
	folders := func() (list []string) {
		for _, pattern := range []string{scratchPrefix + "*", "upper/.slipway-rehearsal-*"} {
			found, _ := filepath.Glob(d.path(pattern))
			list = append(list, found...)
		}
		return list
	}
	killed := begin()
	stage := child(t, killed.Process.Pid)
	_ = syscall.Kill(stage, syscall.SIGSTOP) // so that it cannot tidy up
	_ = killed.Process.Kill()
	_ = syscall.Kill(stage, syscall.SIGKILL)
	_ = killed.Wait()
	left := folders()
	if len(left) != 2 {
		t.Fatalf("a killed rehearsal has left %q: there is nothing to sweep", left)
	}
	alive := begin()
	now := folders()
	if len(now) != 2 || slices.ContainsFunc(now, func(dir string) bool { return slices.Contains(left, dir) }) {
		t.Errorf("of %q and those of another rehearsal there are %q", left, now)
	}
	for _, args := range [][]string{{"plan", "--config", "T.yml", v1}, {"prune", "--config", "T.yml"}} {
		if code, out, errs := d.run("slipway", args...); code == exitFailure || code == exitUsage && args[0] != "plan" {
			t.Errorf("%s: code %d\n%s\n%s", args[0], code, out, errs)
		}
		if still := folders(); !slices.Equal(still, now) {
			t.Errorf("after %s there are %q, not %q", args[0], still, now)
		}
	}
	_ = alive.Process.Signal(syscall.SIGINT)
	_ = alive.Wait()
	if still := folders(); len(still) > 0 {
		t.Errorf("left: %q", still)
	}
}

// grandchild is the process in the sandbox of a rehearsal: the child of its stage.
func grandchild(t *testing.T, pid int) int {
	t.Helper()
	return child(t, child(t, pid))
}

func child(t *testing.T, pid int) int {
	t.Helper()
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		data, _ := os.ReadFile(name)
		var id, parent int
		var state string
		if before, after, ok := strings.Cut(string(data), ") "); ok {
			_, _ = fmt.Sscan(before, &id)
			if _, err := fmt.Sscan(after, &state, &parent); err == nil && parent == pid {
				return id
			}
		}
	}
	t.Fatalf("process %d has no child", pid)
	return 0
}

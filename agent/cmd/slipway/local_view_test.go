package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal makes a pseudo terminal of so many columns.
func terminal(t *testing.T, columns uint16) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("this machine has no pseudo terminals: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	// Fd() would take the file out of the poller, and a read of it could not be ended.
	raw, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	number := 0
	raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err != nil {
			return
		}
		if number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN); err != nil {
			return
		}
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns})
	})
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// onTerminal starts a command on a terminal. What it prints is in the buffer, what is written to keys it gets; wait returns when it has ended.
func onTerminal(t *testing.T, cmd *exec.Cmd, columns uint16) (shown *syncBuffer, keys io.Writer, wait func()) {
	t.Helper()
	master, slave := terminal(t, columns)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	shown = &syncBuffer{}
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(shown, master) }) // until the last descriptor of the other side is closed
	return shown, master, func() {
		cmd.Wait()
		reading.Wait()
	}
}

func slowBundle(wait string) map[string]string {
	return map[string]string{
		"appspec.yml":       "version: 0.0\nos: linux\nfiles:\n  - source: F\n    destination: site\nhooks:\n  AfterInstall:\n    - location: scripts/slow.sh\n      timeout: 90\n",
		"F":                 "f\n",
		"scripts/slow.sh":   "#!/bin/sh\nprintf 'one \\033[31mred\\n'; echo two >&2\ntrap 'echo asked; exit 9' TERM\n: >\"$OUT/began\"\n" + wait + "echo three\n",
		"scripts/unused.sh": "#!/bin/sh\n",
	}
}

func (d *desk) slow(wait string) string {
	files := slowBundle(wait)
	files["appspec.yml"] = strings.Replace(files["appspec.yml"], "destination: site", "destination: "+d.path("site"), 1)
	return d.tree("b", files)
}

// On a terminal the last line tells what goes on, and is taken away before others come; scripts cannot steer the terminal.
func TestLocalOnTerminal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		env   string
		color bool
		live  bool
	}{{"color", "TERM=xterm", true, true}, {"NO_COLOR", "NO_COLOR=1", false, true}, {"dumb", "TERM=dumb", false, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.env = []string{c.env}
			const columns = 40
			shown, _, wait := onTerminal(t, d.command("slipway", "local", d.slow("sleep 0.5\n"), "-c", "T.yml"), columns)
			wait()
			text := shown.String()
			for _, want := range []string{`    | one \x1b[31mred`, "    ! two", "    | three", "  files       1 added, 0 replaced, 0 removed, 0 unchanged"} {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not shown:\n%q", want, text)
				}
			}
			if got := strings.Contains(text, "\x1b[32m"); got != c.color {
				t.Errorf("coloured: %t", got)
			}
			status := regexp.MustCompile(`\r\x1b\[K(?:\x1b\[2m)?(  AfterInstall  0s of 1m30s)`).FindStringSubmatch(text)
			if (status != nil) != c.live || !c.live && strings.Contains(text, "\x1b") {
				t.Errorf("last line %q in:\n%q", status, text)
			}
			sgr := regexp.MustCompile(`\x1b\[[0-9]*m`)
			for _, line := range strings.Split(sgr.ReplaceAllString(text, ""), "\r\x1b[K") {
				if c.live && !strings.Contains(line, "\n") && len([]rune(line)) >= columns {
					t.Errorf("the last line is longer than the terminal: %q", line)
				}
			}
			if c.live && strings.Count(text, "\n\r\x1b[K") == 0 {
				t.Errorf("the last line was not taken away:\n%q", text)
			}
		})
	}
}

// In a pipe there are plain lines alone, in the order in which things happen.
func TestLocalInPipe(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	code, stdout, stderr := d.run("slipway", "local", d.slow(""), "-c", "T.yml")
	if code != 0 || stderr != "" || strings.ContainsAny(stdout, "\x1b\r") {
		t.Errorf("exit %d\n%q\n%s", code, stdout, stderr)
	}
	want := `(?s)^deploying .*/b to this host\n  as          d-\S+-local\n.*  Install             succeeded .*  AfterInstall        scripts/slow.sh, up to 1m30s\n` +
		`    \| one .*\n    ! two\n    \| three\n  AfterInstall        succeeded .*d-\S+-local succeeded after .*\n  output      .*scripts.log\n  log         .*codedeploy-local.log\n$`
	// The two streams have no order among each other (H-25).
	const first, second, third = `    \| one .*\n`, `    ! two\n`, `    \| three\n`
	if !slices.ContainsFunc([]string{first + second + third, second + first + third, first + third + second}, func(order string) bool {
		return regexp.MustCompile(strings.Replace(want, first+second+third, order, 1)).MatchString(stdout)
	}) {
		t.Errorf("%s", stdout)
	}
	code, stdout, stderr = d.run("slipway", "local", d.path("b"), "-c", "T.yml", "--json")
	var got jsonLocal
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 || stderr != "" {
		t.Fatalf("exit %d, %v\n%s%s", code, err, stdout, stderr)
	}
	if got.Outcome != outcomeSucceeded || len(got.Events) != 11 || got.Files == nil || got.Files.Replaced+got.Files.Unchanged != 1 || got.Files.Added != 0 || got.ScriptsLog == "" || got.State != "" {
		t.Errorf("%+v, files %+v", got, got.Files)
	}
}

// Ctrl-C at the terminal: the script is asked to end, and gets its grace; the person learns how the host stands.
func TestLocalInterrupted(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.env = []string{"SLIPWAY_HOOKS_GRACE=20s"}
	cmd := d.command("slipway", "local", d.slow("while :; do sleep 0.05; done\n"), "-c", "T.yml")
	shown, keys, wait := onTerminal(t, cmd, 200)
	(&host{t: t}).eventually("the script runs", func() bool { _, err := os.Stat(d.path("began")); return err == nil })
	if _, err := keys.Write([]byte{3}); err != nil { // what Ctrl-C sends
		t.Fatal(err)
	}
	wait()
	text := strings.ReplaceAll(shown.String(), "\r\n", "\n")
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{
		"slipway: stopping; a script or download in hand is ended", "    | asked", "was ended on request and was ended by SIGTERM",
		"slipway: the deployment failed at AfterInstall: the files of d-", "are installed, and scripts have run, AfterInstall last",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not shown:\n%s", want, text)
		}
	}
}

// The end of the terminal ends a script as Ctrl-C does, and the outcome is told and recorded; under nohup it is nothing to anybody.
func TestHangup(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"local", "run-hook"} {
		for _, nohup := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, nohup %v", command, nohup), func(t *testing.T) {
				t.Parallel()
				d := newDesk(t)
				d.env = []string{"SLIPWAY_HOOKS_GRACE=20s"}
				args := []string{command, d.slow("while [ ! -e " + d.path("enough") + " ]; do sleep 0.05; done\n")}
				if command == "run-hook" {
					args = append(args, "AfterInstall")
				}
				cmd := d.command("slipway", append(args, "--config", "T.yml")...)
				if nohup {
					binary, err := filepath.EvalSymlinks(cmd.Path) // which may be /proc/self/exe
					if err != nil {
						t.Fatal(err)
					}
					cmd.Args = append([]string{"bash", "-c", `trap "" HUP; exec -a slipway "$0" "$@"`, binary}, cmd.Args[1:]...)
					cmd.Path = "/bin/bash"
				}
				var out syncBuffer
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				(&host{t: t}).eventually("the script runs", func() bool { _, err := os.Stat(d.path("began")); return err == nil })
				if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
				want := 1
				if nohup {
					want = 0
					d.write("enough", "")
				}
				cmd.Wait()
				if code := cmd.ProcessState.ExitCode(); code != want || nohup == strings.Contains(out.String(), "was ended on request") {
					t.Errorf("exit %d, want %d\n%s", code, want, out.String())
				}
			})
		}
	}
}

// L-41's locks: a group that somebody else works on is waited for, and that is told; the signal ends the waiting.
func TestLocalWaitsForGroup(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if code, stdout, stderr := d.deploy("-l", d.tree("b", sampleBundle())); code != 0 {
		t.Fatalf("%s%s", stdout, stderr)
	}
	lock, err := os.OpenFile(d.path("deployment-root/.slipway/groups/"+localGroup+".lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	var out syncBuffer
	cmd := d.command("slipway", "local", "b", "-c", "T.yml", "-g", localGroup)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	(&host{t: t}).eventually("it says that it waits", func() bool { return strings.Contains(out.String(), "waits for another deployment of the group") })
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(out.String(), "the deployment was interrupted at BeforeBlockTraffic: the files of d-") {
		t.Errorf("exit %d\n%s", code, out.String())
	}
	d.proves(firstRun()...)
}

// The scripts of a local deployment get no credentials, but what is theirs (L-4 to L-6).
func TestLocalEnvironment(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.env = []string{"AWS_SECRET_ACCESS_KEY=topsecret", gitHubTokenVariable + "=topsecret", "MINE=kept"}
	d.tree("b", map[string]string{"appspec.yml": appspecFor("", "BeforeInstall"), "scripts/beforeinstall.sh": "#!/bin/sh\nenv >\"$OUT/env\"\n"})
	if code, stdout, stderr := d.deploy("-l", "b", "-d", "fleet", "-a", "app"); code != 0 {
		t.Fatalf("%s%s", stdout, stderr)
	}
	env := "\n" + d.read("env")
	for _, want := range []string{"LIFECYCLE_EVENT=BeforeInstall", "DEPLOYMENT_GROUP_NAME=fleet", "DEPLOYMENT_GROUP_ID=" + localGroup, "APPLICATION_NAME=app", "MINE=kept"} {
		if !strings.Contains(env, "\n"+want+"\n") {
			t.Errorf("no %s in:%s", want, env)
		}
	}
	if strings.Contains(env, "topsecret") || strings.Contains(env, "\nBUNDLE_") {
		t.Errorf("environment:%s", env)
	}
}

// Whoever reads the output may go in the middle, as head does: the deployment comes to its end.
func TestLocalWithoutReader(t *testing.T) {
	t.Parallel()
	for _, as := range []string{"slipway", localName} {
		d := newDesk(t)
		d.tree("b", map[string]string{
			"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  BeforeInstall:\n    - location: say.sh\n  ValidateService:\n    - location: say.sh\n",
			"say.sh":      "#!/bin/sh\necho hello\necho \"$LIFECYCLE_EVENT\" >>" + d.dir + "/proof\n",
		})
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"-c", "T.yml", "-l", "b"}
		if as == "slipway" {
			args = append([]string{"local"}, args...)
		}
		cmd := d.command(as, args...)
		cmd.Stdout, cmd.Stderr = w, w
		r.Close() // before its first word
		if err := cmd.Run(); err != nil {
			t.Errorf("%s without a reader: %v", as, err)
		}
		w.Close()
		if got := d.read("proof"); got != "BeforeInstall\nValidateService\n" {
			t.Errorf("%s without a reader: %q ran", as, got)
		}
	}
}

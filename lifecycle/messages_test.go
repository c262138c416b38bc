package lifecycle

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A way for a script to end: what the service is told, and with which code.
type ending struct {
	name string
	body string // of scripts/s.sh
	spec string // further lines of it in the appspec
	root bool   // it takes root to arrange it
	// under is a shell command that the shim is started by: "$A" is the archive, and it ends with the shim.
	under  string
	change func(t *testing.T, b *bench, script string) // after the installation
	set    func(*Settings)
	code   Code
	text   string // pattern of the message
	log    string // and in the log of the report
}

const startOfMessage = `^script scripts/s.sh `

var endings = []ending{
	{name: "succeeds", body: "#!/bin/sh\n", code: Succeeded, text: `^Succeeded: $`, log: "AfterInstall: scripts/s.sh"},
	{
		name: "missing", body: "#!/bin/sh\n", change: func(t *testing.T, _ *bench, script string) { must(t, os.Remove(script)) }, code: ScriptMissing,
		text: startOfMessage + `is missing: .*no such file or directory; is it in the bundle, and spelt as in the appspec\?$`,
	},
	{name: "leaves the bundle", spec: "!../s.sh", code: ScriptMissing, text: `^script \.\./s.sh is not inside the bundle`},
	{
		name: "cannot be made executable", body: "#!/bin/sh\n", root: true, under: "mount --bind $A $A && mount -o remount,bind,ro $A",
		change: func(t *testing.T, _ *bench, script string) { must(t, os.Chmod(script, 0o640)) }, code: ScriptExecutable,
		text: startOfMessage + `is not executable and cannot be made so: .*read-only file system; commit it with its execute bits$`,
	},
	{
		name: "time-out", body: "#!/bin/sh\nexec sleep 60\n", spec: "timeout: 1", code: ScriptTimedOut,
		text: startOfMessage + `did not end within its timeout of 1s and was ended by SIGTERM \(after 1[.\d]*s\)$`,
	},
	{
		name: "time-out, heedless", body: "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 60; done\n", spec: "timeout: 1", set: func(s *Settings) { s.Grace = 100 * time.Millisecond }, code: ScriptTimedOut,
		text: startOfMessage + `did not end within its timeout of 1s and was killed, 100ms after SIGTERM`,
	},
	{name: "exit code", body: "#!/bin/sh\necho why >&2\nexit 3\n", code: ScriptFailed, text: startOfMessage + `failed with exit code 3 \(after .*\)$`, log: "-- last lines of stderr --\nwhy\n"},
	{name: "command not found", body: "#!/bin/sh\nno-such-command\n", code: ScriptFailed, text: `exit code 127, which a shell gives for a command that it did not find`},
	{name: "command not executable", body: "#!/bin/sh\n/etc/passwd\n", code: ScriptFailed, text: `exit code 126, which a shell gives for a command that it found but could not execute`},
	{name: "X-44 signal", body: "#!/bin/sh\nkill -KILL $$\n", code: ScriptFailed, text: startOfMessage + `was killed by SIGKILL \(after`},
	{
		name: "core dump", body: "#!/bin/sh\ncd \"$OUT\" && ulimit -c unlimited && kill -SEGV $$\n", code: ScriptFailed,
		text: startOfMessage + `was killed by SIGSEGV( and dumped core)? \(after`,
	},
	{
		name: "H-18 directory", body: "#!/bin/sh\n", code: ScriptFailed, text: startOfMessage + `cannot be run: .*scripts/s.sh is a directory$`,
		change: func(t *testing.T, _ *bench, script string) {
			must(t, os.Remove(script))
			must(t, os.Mkdir(script, 0o755))
		},
	},
	{name: "bad interpreter", body: "#!/opt/no/perl -w\n", code: ScriptFailed, text: `cannot be run: its interpreter /opt/no/perl does not exist; install it or correct the script's first line$`},
	{name: "interpreter is no program", body: "#!/etc/passwd\n", code: ScriptFailed, text: `its interpreter /etc/passwd is no program that can be executed`},
	{name: "interpreter is a directory", body: "#!/etc\n", code: ScriptFailed, text: `its interpreter /etc is no program that can be executed`},
	{name: "CRLF", body: "#!/bin/sh\r\necho x\r\n", code: ScriptFailed, text: `cannot be run: its first line ends with a carriage return, as files from Windows do; save it with Unix line ends$`},
	{
		name: "text file busy", body: "#!/bin/sh\n", code: ScriptFailed, text: `is still open for writing by process \d+ \(.*\)$`,
		change: func(t *testing.T, _ *bench, script string) {
			f, err := os.OpenFile(script, os.O_WRONLY, 0)
			must(t, err)
			t.Cleanup(func() { f.Close() })
		},
	},
	{name: "H-18 without an interpreter line", body: "exit 9\n", code: ScriptFailed, text: `failed with exit code 9`},
	{name: "program of another machine", body: "\x7fELF\x02\x01\x01", code: ScriptFailed, text: `is a program for another kind of machine$`},
	{
		name: "loader missing", body: "x", code: ScriptFailed, text: `or the loader that it names does not exist$`,
		change: func(t *testing.T, _ *bench, script string) {
			program, err := os.ReadFile("/bin/true")
			must(t, err)
			loader := regexp.MustCompile(`/lib\d*/ld-linux[a-z0-9_-]*\.so`)
			if !loader.Match(program) {
				t.Fatal("/bin/true names no loader")
			}
			must(t, os.WriteFile(script, loader.ReplaceAllFunc(program, func(b []byte) []byte { return append(bytes.Clone(b[:len(b)-1]), 'X') }), 0o755))
		},
	},
	{
		name: "environment too large", body: "#!/bin/sh\n", set: func(s *Settings) { s.Environ = append(s.Environ, "HUGE="+strings.Repeat("x", 200<<10)) }, code: ScriptFailed,
		text: `its environment is too large: \d+ variables of \d+ bytes in all, the longest of them HUGE with 204805 bytes`,
	},
	{
		name: "no more processes", body: "#!/bin/sh\n", spec: "runas: nobody", root: true, under: "prlimit --pid $$ --nproc=0:0", code: ScriptFailed,
		change: func(t *testing.T, _ *bench, _ string) { // the user has one already
			cmd := exec.Command("sleep", "60")
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			must(t, cmd.Start())
			t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		},
		text: `run as nobody cannot be run: user nobody has as many processes as its limit \(nproc\) allows`,
	},
	{
		name: "noexec", body: "#!/bin/sh\n", root: true, under: "mount --bind $A $A && mount -o remount,bind,noexec $A", code: ScriptFailed,
		text: `cannot be run: .* is on a file system mounted noexec; use a root_dir elsewhere or mount it with exec$`,
	},
	{
		name: "runas user unknown", body: "#!/bin/sh\n", spec: "runas: nobody-of-this-name", code: ScriptFailed,
		text: startOfMessage + `run as nobody-of-this-name cannot be run: no such user: .*; create the user or correct runas in the appspec$`,
	},
	{
		name: "runas without the capabilities", body: "#!/bin/sh\n", spec: "runas: nobody", root: true, under: "exec setpriv --bounding-set -setuid,-setgid --", code: ScriptFailed,
		text: `switching to user nobody is not permitted: the agent lacks the capabilities CAP_SETUID and CAP_SETGID; see CapabilityBoundingSet= of its unit$`,
	},
	{
		name: "runas user may not read it", body: "#!/bin/sh\n", spec: "runas: nobody", root: true, change: func(t *testing.T, _ *bench, script string) { must(t, os.Chmod(script, 0o700)) }, code: ScriptFailed,
		text: `nobody may not read and execute .*scripts/s.sh \(mode 0700, owner 0:0\); commit it with a mode that lets others do so, such as 0755$`,
	},
	{
		name: "X-39 output held open", body: "#!/bin/sh\nsleep 30 &\n", spec: "timeout: 1", set: func(s *Settings) { s.OpenOutput = "fail" }, code: OutputsLeftOpen,
		text: startOfMessage + `ended with exit code 0, but its output was still open at the deadline of 1s: process \d+ \(sleep 30\) holds std`,
	},
	{
		name: "shim lost", body: "#!/bin/sh\nkill -KILL $PPID\nsleep 1\n", code: FailedAfterReboot, text: `^script scripts/s.sh was started at .*, but process \d+, which watched over it, was killed .*; what it had started may still run$`,
	},
	// Hooks have no terminal: setsid has taken it, and standard input is /dev/null.
	{name: "read", body: "#!/bin/sh\nread answer || exit 5\n", code: ScriptFailed, text: `exit code 5 \(after`},
	{name: "tty", body: "#!/bin/sh\ntty >&2\n", code: ScriptFailed, text: `hooks have no terminal, and their standard input is empty: .* \(its output has "not a tty"\)`},
	{name: "stty", body: "#!/bin/sh\nstty -echo\n", code: ScriptFailed, text: `hooks have no terminal.*"stty: 'standard input': Inappropriate ioctl for device"`},
	{name: "/dev/tty", body: "#!/bin/sh\nread answer </dev/tty\n", code: ScriptFailed, text: `hooks have no terminal.*/dev/tty: No such device or address`},
	{name: "/dev/tty written", body: "#!/bin/sh\necho Continue? >/dev/tty\n", code: ScriptFailed, text: `hooks have no terminal.*create /dev/tty: No such device or address`},
	{
		name: "a login shell grumbles, and something else fails", body: "#!/bin/sh\necho 'mesg: ttyname failed: Inappropriate ioctl for device' >&2\nexit 3\n", code: ScriptFailed,
		text: `failed with exit code 3 \(after [^)]*\)$`,
	},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What the service is told of each way that a script can end, and with which code (H-10, H-11, H-18, H-35..H-39, P-55).
func TestMessages(t *testing.T) {
	for _, tt := range endings {
		t.Run(tt.name, func(t *testing.T) {
			if tt.root && os.Getuid() != 0 {
				t.Skip("needs root")
			}
			t.Parallel()
			r := tt.run(t)
			t.Logf("code %d: %s", r.Code, r.Message)
			if r.Code != tt.code || !regexp.MustCompile(tt.text).MatchString(r.Message) {
				t.Errorf("code %d, message %q\nwant %d, %s", r.Code, r.Message, tt.code, tt.text)
			}
			if !strings.Contains(r.Log, tt.log) {
				t.Errorf("log %q, want one with %q", r.Log, tt.log)
			}
			if r.Code != Succeeded && r.Script == "" {
				t.Error("P-55: no script is named")
			}
		})
	}
}

func (tt ending) run(t *testing.T) Result {
	t.Helper()
	b := newBench(t, func(o *Options) {
		if tt.under != "" {
			archive := filepath.Join(o.Root, "g-1", "d-1", "deployment-archive")
			under := strings.ReplaceAll(tt.under, "$A", archive) + " && exec "
			if strings.HasPrefix(tt.under, "exec ") {
				under = tt.under + " "
			}
			exe, err := os.Executable()
			must(t, err)
			o.Runner.Shim[0] = exe
			o.Runner.Shim = append([]string{"/usr/bin/unshare", "--mount", "--", "/bin/sh", "-c", under + `"$0" "$@"`}, o.Runner.Shim...)
		}
	})
	if tt.root { // other users may get in
		must(t, os.Chmod(filepath.Dir(b.dir), 0o755))
	}
	location := "scripts/s.sh"
	if rest, ok := strings.CutPrefix(tt.spec, "!"); ok {
		location, tt.spec = rest, ""
	}
	text := b.appspecOf("AfterInstall=" + location)
	if tt.spec != "" {
		text += "      " + tt.spec + "\n"
	}
	b.put("v1", map[string]string{"content": "1", "appspec.yml": text, "scripts/s.sh": tt.body})
	spec := b.spec("d-1", "v1")
	b.deploy(spec, DownloadBundle, Install)
	if tt.change != nil {
		tt.change(t, b, filepath.Join(b.dir, "root", "g-1", "d-1", "deployment-archive", "scripts", "s.sh"))
	}
	if tt.set != nil {
		set := *b.settings.Load()
		tt.set(&set)
		b.Set(set)
	}
	return b.do(AfterInstall, spec)
}

// An agent that is not root runs no script as somebody else, and says so.
func TestRunAsWithoutRoot(t *testing.T) {
	const marker = "SLIPWAY_TEST_WITHOUT_ROOT"
	if os.Getuid() == 0 {
		dir := t.TempDir()
		for _, d := range []string{filepath.Dir(dir), dir} {
			must(t, os.Chmod(d, 0o777))
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestRunAsWithoutRoot$", "-test.v")
		cmd.Dir, cmd.Env = "/", []string{marker + "=1", "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestRunAsWithoutRoot")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	tt := ending{body: "#!/bin/sh\n", spec: "runas: daemon"}
	want := fmt.Sprintf("run as daemon cannot be run: this agent runs as uid %d, and only root can run a script as another user", os.Getuid())
	b := tt.run(t)
	if b.Code != ScriptFailed || !strings.Contains(b.Message, want) {
		t.Errorf("%+v, want %q", b, want)
	}
}

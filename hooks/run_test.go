package hooks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// How a script ends decides the condition, and the message says what to do about it.
func TestEnds(t *testing.T) {
	tests := []struct {
		name   string
		body   string
		change func(t *testing.T, s *Script)
		kind   string
		text   string // pattern in the message
		exit   int
		signal string
		log    string // of the log, without times
	}{
		{name: "H-38 ends with 0", body: "#!/bin/sh\necho hello\n", log: "Script - scripts/script.sh\n[stdout]hello\n"},
		{
			name: "H-9 header first", body: "#!/bin/sh\n", change: func(_ *testing.T, s *Script) { s.Header = []string{"LifecycleEvent - AfterInstall"} },
			log: "LifecycleEvent - AfterInstall\nScript - scripts/script.sh\n",
		},
		{name: "H-38 ends with 3", body: "#!/bin/sh\nexit 3\n", kind: "failed", exit: 3, text: `^script scripts/script.sh failed with exit code 3 \(after \d+`},
		{
			name: "X-44 killed by a signal", body: "#!/bin/sh\nkill -USR1 $$\n", kind: "failed", exit: -1, signal: "SIGUSR1",
			text: "was killed by SIGUSR1",
		},
		{name: "command not found", body: "#!/bin/sh\nno-such-command\n", kind: "failed", exit: 127, text: "did not find"},
		{
			name: "H-10 missing", change: func(_ *testing.T, s *Script) { s.Path += "x"; s.Header = []string{"LifecycleEvent - X"} },
			kind: "missing", exit: -1, text: "is missing: .*script.shx: no such file.*spelt", log: "LifecycleEvent - X\n", // H-12: no Script line
		},
		{
			name: "H-11 not executable", body: "#!/bin/sh\nstat -c %a $0\n", change: func(t *testing.T, s *Script) { put(t, s.Path, "#!/bin/sh\nstat -c %a $0\n", 0o640) },
			log: "Script - scripts/script.sh\n[stdout]751\n",
		},
		{
			name: "H-11 cannot be made executable", body: "#!/bin/sh\n", change: func(t *testing.T, s *Script) {
				put(t, s.Path, "#!/bin/sh\n", 0o640)
				immutable(t, s.Path)
			},
			kind: "not-executable", exit: -1, text: "not executable and cannot be made so",
		},
		{
			name: "H-18 directory", change: func(_ *testing.T, s *Script) { s.Path = filepath.Dir(s.Path) }, kind: "failed", exit: -1, text: "is a directory",
			log: "Script - scripts/script.sh\n",
		},
		{name: "H-18 no #!", body: "echo $0 | sed 's,.*/,,'\n", log: "Script - scripts/script.sh\n[stdout]script.sh\n"},
		{name: "H-18 empty", body: ""},
		{name: "H-18 missing interpreter", body: "#!/opt/no/perl\n", kind: "failed", exit: -1, text: "interpreter /opt/no/perl does not exist"},
		{name: "H-18 CRLF", body: "#!/bin/sh\r\necho x\r\n", kind: "failed", exit: -1, text: "carriage return"},
		{
			name: "CRLF after env", body: "#!/usr/bin/env sh\r\necho x\r\n", change: func(_ *testing.T, s *Script) { s.Env[0] = "PATH=/usr/bin:/bin" },
			kind: "failed", exit: 127, text: "carriage return",
		},
		{name: "program of another machine", body: "\x7fELF\x02\x01\x01", kind: "failed", exit: -1, text: "another kind of machine"},
		{
			name: "no working directory", body: "#!/bin/sh\n", change: func(_ *testing.T, s *Script) { s.WorkDir = "/no/such" }, kind: "failed", exit: -1,
			text: "working directory /no/such",
		},
		{
			name: "H-39 unknown user", body: "#!/bin/sh\n", change: func(_ *testing.T, s *Script) { s.RunAs, s.RunAsSet = "nobody-of-this-name", true },
			kind: "failed", exit: -1, text: "run as nobody-of-this-name cannot be run: no such user.*correct runas",
		},
		{
			name: "user like an option", body: "#!/bin/sh\n", change: func(_ *testing.T, s *Script) { s.RunAs, s.RunAsSet = "-c", true },
			kind: "failed", exit: -1, text: "cannot be the name",
		},
		{
			name: "X-3 spaces and metacharacters in the path", body: "#!/bin/sh\n", change: func(t *testing.T, s *Script) {
				s.Path = filepath.Join(filepath.Dir(s.Path), "a b;$(touch x)'\".sh")
				put(t, s.Path, "#!/bin/sh\necho ran\n", 0o755)
			},
			log: "Script - scripts/script.sh\n[stdout]ran\n",
		},
		{
			name: "X-43 last line without newline", body: "#!/bin/sh\nprintf 'a\\n\\nb'\n",
			log: "Script - scripts/script.sh\n[stdout]a\n[stdout]\n[stdout]b\n",
		},
		{
			name: "H-19 stdin is at its end", body: "#!/bin/sh\nread x || echo eof\n", log: "Script - scripts/script.sh\n[stdout]eof\n",
		},
		{name: "no terminal", body: "#!/bin/sh\necho x >/dev/tty || exit 9\n", kind: "failed", exit: 9, text: "exit code 9"},
		{
			name: "closes its descriptors", body: "#!/bin/sh\nexec >&- 2>&- <&-\nexit 4\n", kind: "failed", exit: 4, text: "exit code 4",
		},
		{
			name: "deletes its own directory, the run folder with it", body: "#!/bin/sh\nrm -rf \"$D\"\nexit 5\n", kind: "failed", exit: 5, text: "exit code 5",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := write(t, tt.body)
			if tt.change != nil {
				tt.change(t, &s)
			}
			res := perform(t, newRunner(t), s)
			if got := kindOf(res.Err); got != tt.kind {
				t.Fatalf("kind = %q, want %q (%v)", got, tt.kind, res.Err)
			}
			if tt.kind != "" && !regexp.MustCompile(tt.text).MatchString(res.Err.Error()) {
				t.Errorf("error %q does not match %q", res.Err, tt.text)
			}
			if res.Exit != tt.exit || res.Signal != tt.signal {
				t.Errorf("exit, signal = %d, %q, want %d, %q", res.Exit, res.Signal, tt.exit, tt.signal)
			}
			if tt.log != "" {
				if diff := cmp.Diff(tt.log, unstamped(read(t, s.ScriptsLog))); diff != "" {
					t.Errorf("log (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.log, res.Tail); diff != "" { // H-31
					t.Errorf("tail (-want +got):\n%s", diff)
				}
			}
			gone(t, base(s))
		})
	}
}

// immutable makes a file that not even root may change.
func immutable(t *testing.T, path string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: chattr +i")
	}
	if out, err := exec.Command("chattr", "+i", path).CombinedOutput(); err != nil {
		t.Fatalf("chattr: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("chattr", "-i", path).Run() })
}

// A script that is still being written when it is to start gets a moment, then a message with the culprit.
func TestTextFileBusy(t *testing.T) {
	t.Parallel()
	s := write(t, "#!/bin/sh\n")
	f, err := os.OpenFile(s.Path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	res := perform(t, newRunner(t), s)
	if got := kindOf(res.Err); got != "failed" || !strings.Contains(res.Err.Error(), "still open for writing by process") {
		t.Errorf("Err = %v, want one that names who has it open", res.Err)
	}
}

// What the script finds around it: H-19, H-22, and nothing of the agent's.
func TestSurroundings(t *testing.T) {
	t.Parallel()
	s := write(t, `#!/bin/sh
pwd
umask
ls /proc/$$/fd | tr '\n' ' '; echo
grep -E '^Sig(Blk|Ign)' /proc/$$/status | tr '\t' ' '
cat /proc/$$/oom_score_adj
ps -o pid= -o pgid= -o sid= -p $$ | awk '{print ($1==$2 && $2==$3) ? "leader" : "member"}'
env | grep -v -e '^PWD=' -e '^_=' -e '^HOOKS_TEST=' -e '^D=' -e '^PATH=' -e '^SHLVL=' -e '^OLDPWD='
`)
	s.Env = append(s.Env, "GOTRACEBACK=x", "DEPLOYMENT_ID=d-1")
	res := perform(t, newRunner(t), s)
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	want := []string{"/", "0022", "0 1 10 2", "SigBlk: 0000000000000000", "SigIgn: 0000000000000000", "0", "leader", "GOTRACEBACK=x", "DEPLOYMENT_ID=d-1"}
	got := res.Excerpt.Tail
	if len(got) > 2 {
		// The shell has its script open besides the three: as 10 or 255, depending on the shell.
		got[2] = strings.Join(slices.DeleteFunc(strings.Fields(got[2]), func(fd string) bool { return fd == "10" || fd == "255" || fd == "3" }), " ")
		want[2] = "0 1 2"
	}
	if len(got) > 4 {
		// The C library keeps signals 32 and 33 for itself and leaves them ignored in what it spawns: make does, for one.
		var ignored uint64
		if _, err := fmt.Sscanf(got[4], "SigIgn: %x", &ignored); err != nil {
			t.Fatalf("%q: %v", got[4], err)
		}
		got[4] = fmt.Sprintf("SigIgn: %016x", ignored&^(3<<31))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("surroundings (-want +got):\n%s", diff)
	}
}

// H-14, X-3: another user, by its ids or through su, with the path as it is; H-22: environment kept but for four variables.
func TestRunAs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: switches users")
	}
	for _, mode := range []string{RunAsSetuid, RunAsSu} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			user := "www-data"
			if mode == RunAsSu {
				user = "root" // su asks for a login shell, which www-data lacks
			}
			s := write(t, "")
			s.Path = filepath.Join(base(s), "it's a script.sh")
			put(t, s.Path, "#!/bin/sh\nid -un; id -G; echo $HOME $USER $LOGNAME $SHELL $DEPLOYMENT_ID\n", 0o755)
			s.RunAs, s.RunAsSet, s.RunAsMode = user, true, mode
			s.Env = append(s.Env, "HOME=/elsewhere", "USER=agent", "LOGNAME=agent", "SHELL=/bin/false", "DEPLOYMENT_ID=d-1")
			res := perform(t, newRunner(t), s)
			if res.Err != nil {
				t.Fatal(res.Err, res.Excerpt)
			}
			groups, err := exec.Command("id", "-G", user).Output()
			if err != nil {
				t.Fatal(err)
			}
			a, err := lookUp(user, "")
			if err != nil {
				t.Fatal(err)
			}
			third := strings.Join([]string{a.home, a.name, a.name, a.shell, "d-1"}, " ")
			if mode == RunAsSu { // su leaves USER and LOGNAME alone for root
				third = strings.Join([]string{a.home, "agent agent", a.shell, "d-1"}, " ")
			}
			if diff := cmp.Diff([]string{user, strings.TrimSpace(string(groups)), third}, res.Excerpt.Tail); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRunAsWithoutAccess(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: switches users")
	}
	s := write(t, "#!/bin/sh\n")
	if err := os.Chmod(base(s), 0o700); err != nil {
		t.Fatal(err)
	}
	s.RunAs, s.RunAsSet = "nobody", true
	want := "nobody may not enter directory " + base(s)
	res := perform(t, newRunner(t), s)
	if kindOf(res.Err) != "failed" || !strings.Contains(res.Err.Error(), want) {
		t.Errorf("Err = %v, want one with %q", res.Err, want)
	}
	if err, _ := newRunner(t).Check(s, "", ""); kindOf(err) != "failed" || !strings.Contains(err.Error(), want) {
		t.Errorf("Check() = %v, want one with %q", err, want)
	}
	// The same of where it is to start.
	free := write(t, "#!/bin/sh\n")
	free.RunAs, free.RunAsSet, free.WorkDir = "nobody", true, base(s)
	if res := perform(t, newRunner(t), free); kindOf(res.Err) != "failed" || !strings.Contains(res.Err.Error(), want) {
		t.Errorf("Err = %v, want one with %q", res.Err, want)
	}
	// One that is still elsewhere is judged by the way to where it comes, and by that within its own tree.
	elsewhere := write(t, "#!/bin/sh\n")
	if err := os.MkdirAll(filepath.Join(base(elsewhere), "locked", "tree", "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(base(elsewhere), "locked", "tree", "sub", "s.sh")
	put(t, script, "#!/bin/sh\n", 0o755)
	if err := os.Chmod(filepath.Join(base(elsewhere), "locked"), 0o700); err != nil { // does not matter
		t.Fatal(err)
	}
	from := filepath.Join(base(elsewhere), "locked", "tree")
	for to, want := range map[string]string{filepath.Join(base(s), "tree"): want, filepath.Join(base(elsewhere), "tree"): ""} {
		s.Path = filepath.Join(to, "sub", "s.sh")
		if err, likely := newRunner(t).Check(s, from, to); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || likely != nil {
			t.Errorf("Check() of what comes to %s = %v, %v, want %q", to, err, likely, want)
		}
	}
	put(t, script, "#!/bin/sh\n", 0o700)
	s.Path = filepath.Join(base(elsewhere), "tree", "sub", "s.sh")
	if err, _ := newRunner(t).Check(s, from, filepath.Join(base(elsewhere), "tree")); err == nil || !strings.Contains(err.Error(), "nobody may not read and execute "+s.Path) {
		t.Errorf("Check() of a script that is root's = %v", err)
	}
}

// V-51: an empty name is none, and told.
func TestRunAsEmpty(t *testing.T) {
	t.Parallel()
	s := write(t, "#!/bin/sh\nid -u\n")
	s.RunAsSet = true
	res := perform(t, newRunner(t), s)
	if res.Err != nil || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "runas is empty") {
		t.Errorf("Err, Notes = %v, %q", res.Err, res.Notes)
	}
}

// H-15, H-16, X-45: sudo gets an argument vector and is told which variables to keep.
func TestSudo(t *testing.T) {
	tests := []struct{ name, runAs, want string }{
		{"H-15", "", "-n --preserve-env=DEPLOYMENT_ID,SLIPWAY_X -- PATH"},
		{"H-16", "root", "-n --preserve-env=DEPLOYMENT_ID,SLIPWAY_X -- /usr/bin/su root -c 'PATH'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := write(t, "#!/bin/sh\n")
			bin := filepath.Join(base(s), "bin")
			if err := os.Mkdir(bin, 0o755); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(bin, "sudo"), "#!/bin/sh\nprintf %s\\\\n \"$*\"\n", 0o755)
			s.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "DEPLOYMENT_ID=d-1", "SLIPWAY_X=1", "OTHER=2"}
			s.Sudo, s.RunAs, s.RunAsSet = true, tt.runAs, tt.runAs != ""
			res := perform(t, newRunner(t), s)
			want := []string{strings.ReplaceAll(tt.want, "PATH", s.Path)}
			if diff := cmp.Diff(want, res.Excerpt.Tail); diff != "" || res.Err != nil {
				t.Errorf("%v (-want +got):\n%s", res.Err, diff)
			}
		})
	}
}

// Check finds beforehand what the run would stumble over, and leaves the script as it is.
func TestCheck(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	s := write(t, "#!/bin/sh\n")
	put(t, s.Path, "#!/bin/sh\n", 0o600)
	if certain, likely := r.Check(s, "", ""); certain != nil || likely != nil {
		t.Errorf("Check() = %v, %v, want nil", certain, likely)
	}
	if info, err := os.Stat(s.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode after Check() = %v, %v, want it unchanged", info.Mode(), err)
	}
	for _, tt := range []struct {
		body   string
		change func(*Script)
		want   string // of what is certain, or, after a question mark, likely
	}{
		{"#!/no/such\n", nil, "?cannot be run: its interpreter /no/such does not exist"}, // it may be installed by then
		{"#!/bin/sh\r\n", nil, "carriage return"},
		{"#!/usr/bin/perl -w\r\n", nil, "?may fail: its first line ends with a carriage return"},
		{"#!/bin/sh\n", func(s *Script) { s.RunAs, s.RunAsSet = "nobody-of-this-name", true }, "no such user"},
		{"#!/bin/sh\n", func(s *Script) { s.Path += "x" }, "is missing"},
		{"#!/bin/sh\n", func(s *Script) { s.Path = filepath.Dir(s.Path) }, "is a directory"},
		{"#!/bin/sh\n", func(s *Script) { s.WorkDir = "/no/such" }, ""}, // it is made with the tree
	} {
		put(t, s.Path, tt.body, 0o755)
		s := s
		if tt.change != nil {
			tt.change(&s)
		}
		certain, likely := r.Check(s, "", "")
		want, found, other := tt.want, certain, likely
		if rest, ok := strings.CutPrefix(want, "?"); ok {
			want, found, other = rest, likely, certain
		}
		if other != nil || (found == nil) != (want == "") || found != nil && !strings.Contains(found.Error(), want) {
			t.Errorf("Check(%q) = %v, %v, want %q", tt.body, certain, likely, tt.want)
		}
	}
}

// What no run can be made of is refused before anything is written.
func TestStartRefuses(t *testing.T) {
	t.Parallel()
	good := write(t, "#!/bin/sh\n")
	for name, change := range map[string]func(*Script){
		"relative path":   func(s *Script) { s.Path = "a.sh" },
		"relative folder": func(s *Script) { s.Dir = "run" },
		"NUL in variable": func(s *Script) { s.Env = []string{"A=\x00"} },
		"empty variable":  func(s *Script) { s.Env = []string{""} },
		"policy":          func(s *Script) { s.OpenOutput = "ignore" },
		"mode":            func(s *Script) { s.RunAsMode = "doas" },
		"NUL in path":     func(s *Script) { s.Path = "/a\x00" },
	} {
		s := good
		change(&s)
		if _, err := newRunner(t).Start(t.Context(), s); err == nil {
			t.Errorf("%s: Start() = nil, want an error", name)
		}
	}
	if _, err := os.Stat(good.Dir); !os.IsNotExist(err) {
		t.Errorf("run folder: %v, want none", err)
	}
}

// The environment and the values to redact are in no file of the run folder.
func TestNoSecretOnDisk(t *testing.T) {
	t.Parallel()
	s := write(t, "#!/bin/sh\necho \"word $PASSWORD\"\n")
	s.Env = append(s.Env, "PASSWORD=correct-horse")
	s.Redact = []string{"correct-horse"}
	res := perform(t, newRunner(t), s)
	if diff := cmp.Diff([]string{"word [redacted]"}, res.Excerpt.Tail); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	err := filepath.WalkDir(base(s), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(read(t, path), "correct-horse") {
			t.Errorf("secret in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, f := range []string{runFile, startedFile, resultFile, lockFile} {
		if info, err := os.Stat(filepath.Join(s.Dir, f)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", f, info.Mode(), err)
		}
	}
	if info, err := os.Stat(s.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("run folder: %v, %v, want mode 0700", info.Mode(), err)
	}
}

// The times of a result are those of the script.
func TestResultTimes(t *testing.T) {
	t.Parallel()
	before := time.Now()
	res := perform(t, newRunner(t), write(t, "#!/bin/sh\n"))
	if res.Started.Before(before) || res.Ended.Before(res.Started) || res.Ended.After(time.Now()) {
		t.Errorf("started %v, ended %v, within %v and now", res.Started, res.Ended, before)
	}
}

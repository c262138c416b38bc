package hooks

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// command is a script made ready to be started.
type command struct {
	argv    []string
	env     []string
	cred    *syscall.Credential // nil: as we are
	user    *account            // who the script runs as if that was asked for and the shim switches itself
	through *account            // the same where su switches
	limits  []limit             // that the host has for another user
	notes   []string            // worth telling, no reason not to run
}

// hookVariables are what sudo is told to keep when the caller does not say (H-20, H-21, X-45).
var hookVariables = []string{
	"LIFECYCLE_EVENT", "DEPLOYMENT_ID", "APPLICATION_NAME", "DEPLOYMENT_GROUP_NAME", "DEPLOYMENT_GROUP_ID",
	"BUNDLE_BUCKET", "BUNDLE_KEY", "BUNDLE_VERSION", "BUNDLE_ETAG", "BUNDLE_COMMIT",
}

func (s Script) failure(kind error, format string, args ...any) *Failure {
	return &Failure{Kind: kind, Script: s.Name, RunAs: s.RunAs, Detail: fmt.Sprintf(format, args...)}
}

// find sees to it that the script is there and executable (H-10, H-11). It adds execute bits, unless it is only to look.
func (s Script) find(look bool) (note string, _ *Failure) {
	info, err := os.Stat(s.Path)
	if err != nil {
		return "", s.failure(ErrMissing, "is missing: %v; is it in the bundle, and spelt as in the appspec?", err)
	}
	if look || unix.Access(s.Path, unix.X_OK) == nil {
		return "", nil
	}
	mode := info.Mode() | 0o111
	if err := os.Chmod(s.Path, mode); err != nil {
		return "", s.failure(ErrNotExecutable, "is not executable and cannot be made so: %v; commit it with its execute bits", err)
	}
	return fmt.Sprintf("script %s was not executable: its mode was set to %04o", s.Name, mode.Perm()), nil
}

// prepare decides on command line, user and environment (H-13..H-16, as argument vectors: X-3).
func (s Script) prepare() (*command, *Failure) {
	if info, err := os.Stat(s.Path); err == nil && info.IsDir() {
		return nil, s.failure(ErrFailed, "cannot be run: %s is a directory", s.Path)
	}
	if info, err := os.Stat(s.WorkDir); err != nil || !info.IsDir() {
		return nil, s.failure(ErrFailed, "cannot be run: its working directory %s is not there", s.WorkDir)
	}
	c := &command{argv: []string{s.Path}, env: s.Env}
	search := variable(s.Env, "PATH")
	program := func(name string) (string, *Failure) {
		if path := findProgram(name, search); path != "" {
			return path, nil
		}
		return "", s.failure(ErrFailed, "cannot be run: it needs %s, which is not installed (looked in %s)", name, strings.Trim(search+":"+defaultPath, ":"))
	}
	if s.RunAs != "" {
		user, err := lookUp(s.RunAs, search)
		if err != nil {
			return nil, s.failure(ErrFailed, "cannot be run: %v; create the user or correct runas in the appspec", err)
		}
		if s.Sudo || s.RunAsMode == RunAsSu {
			su, f := program("su")
			if f != nil {
				return nil, f
			}
			c.argv = []string{su, s.RunAs, "-c", quote(s.Path)}
			c.through = &user
		} else {
			c.user = &user
			c.env = environ(c.env, [2]string{"HOME", user.home}, [2]string{"SHELL", user.shell}, [2]string{"USER", user.name}, [2]string{"LOGNAME", user.name})
			if search == "" {
				c.env = environ(c.env, [2]string{"PATH", defaultPath})
			}
		}
		if other := int(user.uid) != os.Geteuid(); other && !s.Sudo && os.Geteuid() != 0 {
			return nil, s.failure(ErrFailed, "cannot be run: this agent runs as uid %d, and only root can run a script as another user", os.Geteuid())
		} else if other && c.user != nil {
			c.cred = &syscall.Credential{Uid: user.uid, Gid: user.gid, Groups: user.groups}
			c.limits, c.notes = userLimits(&user, search)
		}
	}
	if s.Sudo {
		sudo, f := program("sudo")
		if f != nil {
			return nil, f
		}
		// Without a terminal a question for the password could only fail: -n says so at once.
		head := []string{sudo, "-n"}
		if keep := s.sudoEnv(); len(keep) > 0 {
			head = append(head, "--preserve-env="+strings.Join(keep, ","))
		}
		c.argv = slices.Concat(head, []string{"--"}, c.argv)
	}
	return c, nil
}

func (s Script) sudoEnv() []string {
	if s.SudoEnv != nil {
		return s.SudoEnv
	}
	var keep []string
	for _, v := range s.Env {
		name, _, _ := strings.Cut(v, "=")
		if slices.Contains(hookVariables, name) || strings.HasPrefix(name, "SLIPWAY_") {
			keep = append(keep, name)
		}
	}
	return keep
}

// quote makes one word of text for a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// direct tells a script that the shim executes itself from one that su or sudo does.
func (c *command) direct() bool { return len(c.argv) == 1 }

// head is the beginning of a script's file, for messages.
func head(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	buf := make([]byte, 256)
	n, _ := io.ReadFull(f, buf)
	return buf[:n]
}

// interpreter reads the first line of a script: what follows #!, and whether the line ends as on Windows.
func interpreter(path string) (name string, crlf bool) {
	line, _, _ := bytes.Cut(head(path), newline)
	text, ok := bytes.CutPrefix(line, []byte("#!"))
	if !ok {
		return "", false
	}
	crlf = bytes.HasSuffix(text, []byte{'\r'})
	if f := strings.Fields(string(text)); len(f) > 0 {
		name = f[0]
	}
	return name, crlf
}

// alone reports whether the first line of a script names its interpreter and nothing else.
func alone(path string) bool {
	line, _, _ := bytes.Cut(head(path), newline)
	return len(bytes.Fields(bytes.TrimPrefix(line, []byte("#!")))) == 1
}

const crlfHelp = "its first line ends with a carriage return, as files from Windows do; save it with Unix line ends"

// foreign recognises programs that a shell would only make nonsense of.
func foreign(path string) bool { return bytes.HasPrefix(head(path), []byte("\x7fELF")) }

// explain says why the kernel would not start the script.
func (s Script) explain(c *command, err error) string {
	name, crlf := interpreter(s.Path)
	switch {
	case !c.direct():
		return fmt.Sprintf("%s: %v", c.argv[0], err)
	case errors.Is(err, unix.ENOENT) && crlf:
		return crlfHelp
	case errors.Is(err, unix.ENOENT) && name != "":
		return fmt.Sprintf("its interpreter %s does not exist; install it or correct the script's first line", name)
	case errors.Is(err, unix.ENOENT):
		return fmt.Sprintf("%s or the loader that it names does not exist", s.Path)
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Sprintf("%s is a program for another kind of machine", s.Path)
	case errors.Is(err, unix.ETXTBSY):
		who := writerOf(s.Path, nil)
		if who == "" {
			who = "another process"
		}
		return fmt.Sprintf("%s is still open for writing by %s", s.Path, who)
	case errors.Is(err, unix.EACCES):
		if why := s.barrier(c.user, move{}); why != "" {
			return why
		}
		if info, err := os.Stat(name); name != "" && err == nil && (info.IsDir() || info.Mode()&0o111 == 0) {
			return fmt.Sprintf("its interpreter %s is no program that can be executed (mode %s)", name, info.Mode())
		}
		return fmt.Sprintf("%v, though the modes allow it: an access list or the host's security policy (SELinux, AppArmor) is in the way", err)
	case errors.Is(err, unix.EPERM) && c.cred != nil:
		return fmt.Sprintf("switching to user %s is not permitted: the agent lacks the capabilities CAP_SETUID and CAP_SETGID; see CapabilityBoundingSet= of its unit", c.user.name)
	case errors.Is(err, unix.E2BIG):
		return tooLarge(c.env)
	case errors.Is(err, unix.EAGAIN) && c.cred != nil:
		return fmt.Sprintf("user %s has as many processes as its limit (nproc) allows: %v; end some, or raise it in %s", c.user.name, err, limitsFile)
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOMEM):
		return "the host has no place for another process: " + err.Error()
	}
	return err.Error()
}

// tooLarge says what of an environment the kernel does not take.
func tooLarge(env []string) string {
	total, most := 0, ""
	for _, kv := range env {
		total += len(kv) + 1
		if len(kv) > len(most) {
			most = kv
		}
	}
	name, _, _ := strings.Cut(most, "=")
	return fmt.Sprintf("its environment is too large: %d variables of %d bytes in all, the longest of them %s with %d bytes (the kernel takes 128 KiB each)", len(env), total, name, len(most))
}

// barrier finds what keeps user (nil: this process) from executing the script: a directory, its mode, its file system. It
// goes by modes, so it is silent where an access list may say otherwise.
func (s Script) barrier(user *account, m move) string {
	path, err := filepath.EvalSymlinks(m.now(s.Path))
	if err != nil {
		return ""
	}
	var fsInfo unix.Statfs_t
	if unix.Statfs(path, &fsInfo) == nil && fsInfo.Flags&unix.ST_NOEXEC != 0 {
		return fmt.Sprintf("%s is on a file system mounted noexec; use a root_dir elsewhere or mount it with exec", s.Path)
	}
	if user == nil {
		user = &account{name: fmt.Sprintf("uid %d", os.Geteuid()), uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
	}
	for _, dir := range slices.Backward(slices.Concat(move{}.steps(s.WorkDir+"/x"), m.steps(path))) {
		if why := user.barred(dir, 0o1); why != "" {
			return fmt.Sprintf("%s may not enter directory %s (%s); give it the x permission there", user.name, dir, why)
		}
	}
	need, what := uint32(0o1), "execute"
	if name, _ := interpreter(path); name != "" {
		need, what = 0o5, "read and execute"
	}
	if why := user.barred(path, need); why != "" {
		return fmt.Sprintf("%s may not %s %s (%s); commit it with a mode that lets others do so, such as 0755", user.name, what, s.Path, why)
	}
	return ""
}

// A move is a tree of files that is to come from one place to another; the zero value is one that is where it belongs.
type move struct{ from, to string }

// now is where a file of the tree is at the moment.
func (m move) now(path string) string {
	if rest, ok := strings.CutPrefix(path, m.to+"/"); ok && m.to != "" {
		return filepath.Join(m.from, rest)
	}
	return path
}

// steps are the directories on the way to path, the nearest first: those of the tree where they are, and those above where they will be.
func (m move) steps(path string) []string {
	var all []string
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		all = append(all, dir)
		switch dir {
		case m.from:
			dir = m.to
		case "/":
			return all
		}
	}
}

// barred tells why path denies the user the permissions need (bits as in a mode for others), "" if it does not.
func (a *account) barred(path string, need uint32) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || a.uid == 0 {
		return ""
	}
	if n, err := unix.Getxattr(path, "system.posix_acl_access", nil); err == nil && n > 0 {
		return ""
	}
	have := st.Mode
	switch {
	case st.Uid == a.uid:
		have >>= 6
	case st.Gid == a.gid || slices.Contains(a.groups, st.Gid):
		have >>= 3
	}
	if have&need == need {
		return ""
	}
	return fmt.Sprintf("mode %04o, owner %d:%d", st.Mode&0o7777, st.Uid, st.Gid)
}

// Check tells beforehand what would keep s from being started, and changes nothing. from is where the tree of files is that is to come to the
// place to, which s.Path is in; both are absolute and clean, or "" if the script is where it belongs. certain is what nothing but a change of the host or of the script can mend: a missing script, an unknown
// user, a directory in the way. likely is what may be different by then, such as an interpreter that is still to be installed. Both are nil or
// a *Failure; what only the attempt can show, it does not see.
func (r *Runner) Check(s Script, from, to string) (certain, likely error) {
	s, err := s.withDefaults()
	if err != nil {
		return err, nil
	}
	here, m := s, move{from, to}
	here.Path, here.WorkDir = m.now(s.Path), "/"
	if _, f := here.find(true); f != nil {
		return f, nil
	}
	if s.RunAs != "" {
		if _, err := lookUp(s.RunAs, variable(s.Env, "PATH")); err != nil && !errors.Is(err, errNoUser) {
			return nil, s.failure(ErrFailed, "may not be run: %v", err) // a directory service that is away may come back
		}
	}
	c, f := here.prepare()
	if f != nil {
		return f, nil
	}
	user := cmp.Or(c.user, c.through)
	if why := s.barrier(user, m); why != "" {
		return s.failure(ErrFailed, "cannot be run: %s", why), nil
	}
	if why := c.through.noLogin(); why != "" {
		return s.failure(ErrFailed, "cannot be run: %s", why), nil
	}
	name, crlf := interpreter(here.Path)
	switch {
	case crlf && alone(here.Path): // an argument with a carriage return some interpreters bear with
		return s.failure(ErrFailed, "cannot be run: %s", crlfHelp), nil
	case crlf:
		return nil, s.failure(ErrFailed, "may fail: %s", crlfHelp)
	case name == "":
		return nil, nil
	}
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, s.failure(ErrFailed, "cannot be run: %s", here.explain(c, unix.ENOENT))
	}
	return nil, nil
}

// noLogin says why su does not run scripts as a user: it does so by the user's login shell.
func (a *account) noLogin() string {
	if a == nil || filepath.Base(a.shell) != "nologin" && filepath.Base(a.shell) != "false" {
		return ""
	}
	return fmt.Sprintf("su runs scripts by the login shell of the user, and that of %s is %s, which runs nothing; hooks.runas_mode: setuid does without one", a.name, a.shell)
}

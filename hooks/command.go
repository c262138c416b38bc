package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
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

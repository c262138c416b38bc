package hooks

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

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

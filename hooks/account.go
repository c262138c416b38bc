package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// account is what switching to a user needs.
type account struct {
	name        string
	uid, gid    uint32
	groups      []uint32 // all of them, the primary one first
	home, shell string
}

var errNoUser = errors.New("no such user")

// getentTime bounds a question to the host's directory service.
const getentTime = 10 * time.Second

// lookUp finds a user in the host's own files, and if it is not there asks getent, which knows the directory services. The C
// library's own way is closed to a static binary.
func lookUp(name, searchPath string) (account, error) {
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, ":/\n\x00") {
		return account{}, fmt.Errorf("%w: %q cannot be the name of one", errNoUser, name)
	}
	data, err := os.ReadFile("/etc/passwd")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return account{}, fmt.Errorf("look up user %s: %w", name, err)
	}
	if a, ok := parsePasswd(data, name); ok {
		groups, err := os.ReadFile("/etc/group")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return account{}, fmt.Errorf("look up groups of user %s: %w", name, err)
		}
		a.groups = append([]uint32{a.gid}, parseGroups(groups, name, a.gid)...)
		return a, nil
	}
	getent := findProgram("getent", searchPath)
	if getent == "" {
		return account{}, fmt.Errorf("%w: %s is not in /etc/passwd", errNoUser, name)
	}
	data, err = ask(getent, "passwd", name)
	if err != nil {
		return account{}, fmt.Errorf("look up user %s: %w", name, err)
	}
	a, ok := parsePasswd(data, name)
	if !ok {
		return account{}, fmt.Errorf("%w: %s is neither in /etc/passwd nor known to getent", errNoUser, name)
	}
	data, err = ask(getent, "initgroups", name)
	if err != nil {
		return account{}, fmt.Errorf("look up groups of user %s: %w", name, err)
	}
	a.groups = []uint32{a.gid}
	for _, field := range strings.Fields(string(data)) {
		if gid, err := strconv.ParseUint(field, 10, 32); err == nil && !slices.Contains(a.groups, uint32(gid)) {
			a.groups = append(a.groups, uint32(gid))
		}
	}
	return a, nil
}

// ask runs getent. Its answer "not found" is an empty answer, not an error.
func ask(getent, database, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), getentTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, getent, database, key).Output()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("getent %s %s: no answer within %s", database, key, getentTime)
	}
	if e, ok := errors.AsType[*exec.ExitError](err); ok && e.Exited() {
		return nil, nil
	}
	return out, err
}

// parsePasswd finds name's line: name:password:uid:gid:gecos:home:shell.
func parsePasswd(data []byte, name string) (account, bool) {
	for line := range bytes.Lines(data) {
		f := strings.Split(strings.TrimRight(string(line), "\n"), ":")
		if len(f) < 7 || f[0] != name {
			continue
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		a := account{name: name, uid: uint32(uid), gid: uint32(gid), home: f[5], shell: f[6]}
		if a.shell == "" {
			a.shell = "/bin/sh"
		}
		if a.home == "" {
			a.home = "/"
		}
		return a, true
	}
	return account{}, false
}

// parseGroups finds the groups that list name as a member: group:password:gid:members.
func parseGroups(data []byte, name string, primary uint32) []uint32 {
	var found []uint32
	for line := range bytes.Lines(data) {
		f := strings.Split(strings.TrimRight(string(line), "\n"), ":")
		if len(f) < 4 || !slices.Contains(strings.Split(f[3], ","), name) {
			continue
		}
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err == nil && uint32(gid) != primary && !slices.Contains(found, uint32(gid)) {
			found = append(found, uint32(gid))
		}
	}
	return found
}

// defaultPath is for an environment without PATH, and the second place to look for su, sudo and getent.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func findProgram(name, searchPath string) string {
	for _, dir := range filepath.SplitList(searchPath + ":" + defaultPath) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// environ sets variables in a copy of env, replacing those of the same name.
func environ(env []string, set ...[2]string) []string {
	out := slices.Clone(env)
	for _, kv := range set {
		out = slices.DeleteFunc(out, func(v string) bool { return strings.HasPrefix(v, kv[0]+"=") })
		out = append(out, kv[0]+"="+kv[1])
	}
	return out
}

// variable is the last value of a name in env.
func variable(env []string, name string) string {
	for _, v := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// groupID finds a group by its name, in the host's own file and then by getent.
func groupID(name, searchPath string) (uint32, bool) {
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, ":/\n\x00") {
		return 0, false
	}
	data, err := os.ReadFile("/etc/group")
	if gid, ok := parseGroup(data, name); err == nil && ok {
		return gid, true
	}
	getent := findProgram("getent", searchPath)
	if getent == "" {
		return 0, false
	}
	if data, err = ask(getent, "group", name); err != nil {
		return 0, false
	}
	return parseGroup(data, name)
}

// parseGroup finds the id of a group.
func parseGroup(data []byte, name string) (uint32, bool) {
	for line := range bytes.Lines(data) {
		f := strings.Split(strings.TrimRight(string(line), "\n"), ":")
		if len(f) < 3 || f[0] != name {
			continue
		}
		if gid, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			return uint32(gid), true
		}
	}
	return 0, false
}

package rehearse

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// execution is how a unit's commands are to be run.
type execution struct {
	unit *unitFile
	env  []string
	dir  string
	cred *syscall.Credential // nil: as this process
}

// newInvocation is an id such as systemd gives each start of a unit.
func newInvocation() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it does not fail
	return hex.EncodeToString(b[:])
}

func newExecution(u *unitFile, id string) (*execution, error) {
	e := &execution{unit: u, dir: "/", env: []string{"LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "INVOCATION_ID=" + id}}
	if name := u.specified(u.last("Service.User")); name != "" && name != "root" && name != "0" {
		uid, gid, err := ownerIDs(name, u.specified(u.last("Service.Group")))
		if err != nil {
			return nil, fmt.Errorf("its User=%s: %w", name, err)
		}
		e.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: groupsOf(name)}
		e.env = append(e.env, "USER="+name, "LOGNAME="+name)
		if of, err := user.LookupId(strconv.Itoa(uid)); err == nil {
			e.env = append(e.env, "HOME="+of.HomeDir)
		}
	}
	for _, line := range u.settings["Service.Environment"] {
		words, err := splitWords(u.specified(line))
		if err != nil {
			return nil, fmt.Errorf("its Environment=%s: %w", line, err)
		}
		e.env = append(e.env, words...)
	}
	for _, file := range u.settings["Service.EnvironmentFile"] {
		name, optional := strings.CutPrefix(u.specified(file), "-")
		text, err := readBounded(name)
		if err != nil && !optional {
			return nil, fmt.Errorf("its EnvironmentFile=%s: %w", file, err)
		}
		e.env = append(e.env, environmentLines(text)...)
	}
	if dir, optional := strings.CutPrefix(u.specified(u.last("Service.WorkingDirectory")), "-"); dir != "" && dir != "~" {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			e.dir = dir
		} else if !optional {
			return nil, fmt.Errorf("its WorkingDirectory=%s is no folder", dir)
		}
	}
	return e, nil
}

func (e *execution) set(name, value string) { e.env = append(e.env, name+"="+value) }

func (e *execution) lookup(name string) string {
	for i := len(e.env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(e.env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// unitDirectories are the settings that make folders, and where.
var unitDirectories = map[string]string{
	"RuntimeDirectory": "/run", "StateDirectory": "/var/lib", "CacheDirectory": "/var/cache", "LogsDirectory": "/var/log", "ConfigurationDirectory": "/etc",
}

func (e *execution) makeFolders() {
	for key, below := range unitDirectories {
		mode := os.FileMode(0o755)
		if m, err := strconv.ParseUint(e.unit.last("Service."+key+"Mode"), 8, 12); err == nil {
			mode = os.FileMode(m)
		}
		for _, line := range e.unit.settings["Service."+key] {
			for name := range strings.FieldsSeq(e.unit.specified(line)) {
				name, _, _ = strings.Cut(name, ":")
				at := filepath.Join(below, filepath.Clean("/"+name))
				if os.MkdirAll(at, 0o755) != nil {
					continue // the daemon says what it misses
				}
				_ = os.Chmod(at, mode)
				if e.cred != nil && key != "ConfigurationDirectory" {
					_ = os.Chown(at, int(e.cred.Uid), int(e.cred.Gid))
				}
				e.set(map[string]string{
					"RuntimeDirectory": "RUNTIME_DIRECTORY", "StateDirectory": "STATE_DIRECTORY", "CacheDirectory": "CACHE_DIRECTORY",
					"LogsDirectory": "LOGS_DIRECTORY", "ConfigurationDirectory": "CONFIGURATION_DIRECTORY",
				}[key], at)
			}
		}
	}
}

// run runs a command line of the unit to its end. Its failure counts not if the line begins with "-".
func (e *execution) run(ctx context.Context, line string) error {
	cmd, optional, err := e.command(ctx, line)
	if err != nil {
		return err
	}
	log, err := openLog(e.unit.id)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil && !optional {
		return err
	}
	return nil
}

// command is a command line of the unit (systemd.service(5), "COMMAND LINES").
func (e *execution) command(ctx context.Context, line string) (cmd *exec.Cmd, optional bool, err error) {
	name := ""
	full := false
prefixes:
	for ; line != ""; line = line[1:] {
		switch line[0] {
		case '-':
			optional = true
		case '@':
			name = "@"
		case '+', '!':
			full = true
		case ':':
		default:
			break prefixes
		}
	}
	words, err := splitWords(e.unit.specified(line))
	if err != nil {
		return nil, false, err
	}
	args := e.expand(words)
	if len(args) == 0 {
		return nil, false, errors.New("the command line is empty")
	}
	path := args[0]
	if !filepath.IsAbs(path) {
		if path, err = exec.LookPath(path); err != nil {
			return nil, false, err
		}
	}
	cmd = exec.CommandContext(ctx, path)
	if cmd.Args = args; name == "@" && len(args) > 1 {
		cmd.Args = args[1:]
	}
	cmd.Env, cmd.Dir = e.env, e.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if !full {
		cmd.SysProcAttr.Credential = e.cred
	}
	return cmd, optional, nil
}

// expand replaces variables: $NAME alone is as many words as it has, ${NAME} a part of one.
func (e *execution) expand(words []string) (args []string) {
	for i, w := range words {
		if name, ok := strings.CutPrefix(w, "$"); ok && i > 0 && isVariable(name) {
			args = append(args, strings.Fields(e.lookup(name))...)
			continue
		}
		var b strings.Builder
		for rest := w; rest != ""; {
			before, after, found := strings.Cut(rest, "$")
			b.WriteString(before)
			if !found {
				break
			}
			if strings.HasPrefix(after, "$") {
				b.WriteByte('$')
				rest = after[1:]
				continue
			}
			name, behind, closed := strings.Cut(strings.TrimPrefix(after, "{"), "}")
			if strings.HasPrefix(after, "{") && closed && isVariable(name) {
				b.WriteString(e.lookup(name))
				rest = behind
				continue
			}
			b.WriteByte('$')
			rest = after
		}
		args = append(args, b.String())
	}
	return args
}

func isVariable(name string) bool {
	for i, c := range []byte(name) {
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// splitWords splits as systemd does: blanks part, quotes and backslashes hold together.
func splitWords(text string) (words []string, err error) {
	var b strings.Builder
	var quote byte
	open := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			if i++; i == len(text) {
				return nil, errors.New("it ends in a backslash")
			}
			if r := strings.IndexByte("abfnrtvs", text[i]); r >= 0 {
				b.WriteByte("\a\b\f\n\r\t\v "[r])
			} else {
				b.WriteByte(text[i])
			}
			open = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, open = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if open {
				words = append(words, b.String())
			}
			b.Reset()
			open = false
		default:
			b.WriteByte(c)
			open = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	if open {
		words = append(words, b.String())
	}
	return words, nil
}

// environmentLines reads an EnvironmentFile=: lines NAME=value, the value in quotes or not.
func environmentLines(text string) (env []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || !isVariable(name) {
			continue
		}
		value = strings.TrimSpace(value)
		if len(value) > 1 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			value = value[1 : len(value)-1]
		}
		env = append(env, name+"="+value)
	}
	return env
}

// ownerIDs are the ids of a user and a group; "" and "-" are root, or the user's own group.
func ownerIDs(name, group string) (uid, gid int, err error) {
	if name != "" && name != "-" {
		u, err := user.Lookup(name)
		if err != nil {
			if u, err = user.LookupId(name); err != nil {
				return 0, 0, err
			}
		}
		if uid, err = strconv.Atoi(u.Uid); err != nil {
			return 0, 0, err
		}
		if gid, err = strconv.Atoi(u.Gid); err != nil {
			return 0, 0, err
		}
	}
	if group == "" || group == "-" {
		return uid, gid, nil
	}
	if n, err := strconv.Atoi(group); err == nil {
		return uid, n, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(g.Gid)
	return uid, gid, err
}

// groupsOf are all groups that a user is in.
func groupsOf(name string) (ids []uint32) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil
	}
	list, _ := u.GroupIds()
	for _, id := range list {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			ids = append(ids, uint32(n))
		}
	}
	return ids
}

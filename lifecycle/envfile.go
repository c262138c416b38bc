package lifecycle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"
)

// Placeholders of Settings.EnvFile.
const (
	placeGroup       = "{group}"
	placeApplication = "{application}"
)

// maxEnvFile bounds what is read of a file with variables.
const maxEnvFile = 1 << 20

// variables are what a file sets, each name once, with what is to be told of the file.
type variables struct {
	set   [][2]string // name and value
	notes []string
}

// envFile reads the variables for the scripts of a deployment from the file that is configured for it. Without one there are none.
func (e *Engine) envFile(d *Deployment) (variables, error) {
	pattern := e.settings.Load().EnvFile
	if pattern == "" {
		return variables{}, nil
	}
	path, optional := strings.CutPrefix(pattern, "-")
	for _, p := range []struct{ place, name string }{{placeGroup, d.GroupName}, {placeApplication, d.Application}} {
		if !strings.Contains(path, p.place) {
			continue
		}
		if p.name == "" || p.name == "." || p.name == ".." || strings.ContainsAny(p.name, "/\x00\n{}") {
			return variables{}, fmt.Errorf("hooks.env_file %s: %q cannot be part of the name of a file", pattern, p.name)
		}
		path = strings.ReplaceAll(path, p.place, p.name)
	}
	v, err := readEnvFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && optional:
		return variables{}, nil
	case errors.Is(err, fs.ErrNotExist):
		return v, fmt.Errorf("%s with the variables of this deployment's scripts is missing (%w); make it, or write hooks.env_file with a minus sign before the path if it may be", path, err)
	case err != nil:
		return v, fmt.Errorf("read the variables of this deployment's scripts: %w", err)
	}
	return v, nil
}

// readEnvFile reads a file that holds secrets: it must be root's, or the agent's own, and nobody else may be able to change it.
func readEnvFile(path string) (v variables, _ error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return v, err
	}
	for _, p := range []string{path, real} {
		for dir := filepath.Dir(p); ; dir = filepath.Dir(dir) {
			info, err := os.Stat(dir)
			if err != nil {
				return v, err
			}
			if err := trusted(dir, info); err != nil {
				return v, err
			}
			if dir == "/" {
				break
			}
		}
	}
	f, err := os.OpenFile(real, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return v, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return v, err
	case !info.Mode().IsRegular():
		return v, fmt.Errorf("%s is no regular file", path)
	}
	if err := trusted(path, info); err != nil {
		return v, err
	}
	if info.Mode()&0o004 != 0 {
		v.notes = append(v.notes, fmt.Sprintf("%s can be read by every user of this host (mode %04o): chmod 600 it", path, info.Mode().Perm()))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxEnvFile+1))
	if err != nil {
		return v, err
	}
	if len(data) > maxEnvFile {
		return v, fmt.Errorf("%s is larger than %d bytes", path, maxEnvFile)
	}
	v.set, err = parseEnv(path, data)
	return v, err
}

// trusted reports what lets others change a file, or what is in a folder.
func trusted(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner cannot be told", path)
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, who could change it: chown root it", path, st.Uid)
	}
	if info.IsDir() && info.Mode()&os.ModeSticky != 0 {
		return nil // what is root's in it, nobody else can replace
	}
	if info.Mode()&0o022 != 0 {
		return fmt.Errorf("%s can be changed by others than its owner (mode %04o): chmod go-w it", path, info.Mode().Perm())
	}
	return nil
}

// parseEnv reads lines NAME=value as systemd reads an EnvironmentFile=: # and ; begin a comment line, a value may be in single or double
// quotes, a backslash takes the next character as it is and joins lines, nothing is expanded. Of two lines for a name the later counts. What
// systemd passes over is an error here, with its line; no message quotes a value.
func parseEnv(name string, data []byte) ([][2]string, error) {
	p := &envParser{name: name, data: bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), line: 1}
	if bytes.IndexByte(p.data, 0) >= 0 || !utf8.Valid(p.data) {
		return nil, fmt.Errorf("%s is no text in UTF-8", name)
	}
	for !p.end() {
		if err := p.entry(); err != nil {
			return nil, err
		}
	}
	return p.set, nil
}

// envParser goes through a file once.
type envParser struct {
	name string
	data []byte
	at   int
	line int
	set  [][2]string
}

func (p *envParser) end() bool { return p.at >= len(p.data) }

// next takes a byte. A carriage return counts as a line end, but not as a line.
func (p *envParser) next() byte {
	b := p.data[p.at]
	p.at++
	if b == '\n' {
		p.line++
	}
	return b
}

func (p *envParser) fail(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", p.name, line, fmt.Sprintf(format, args...))
}

func isLineEnd(b byte) bool { return b == '\n' || b == '\r' }
func isBlank(b byte) bool   { return b == ' ' || b == '\t' }

// entry reads a line, or as many as its value has.
func (p *envParser) entry() error {
	for !p.end() && (isBlank(p.data[p.at]) || isLineEnd(p.data[p.at])) {
		p.next()
	}
	if p.end() {
		return nil
	}
	line := p.line
	if b := p.data[p.at]; b == '#' || b == ';' {
		p.comment()
		return nil
	}
	start := p.at
	for !p.end() && p.data[p.at] != '=' {
		if isLineEnd(p.data[p.at]) {
			return p.fail(line, "the line has no =; it must be NAME=value")
		}
		p.next()
	}
	if p.end() {
		return p.fail(line, "the line has no =; it must be NAME=value")
	}
	name := string(bytes.TrimRight(p.data[start:p.at], " \t"))
	p.next()
	switch {
	case strings.HasPrefix(name, "export "):
		return p.fail(line, "the file is not a shell script: write the line without export")
	case !isName(name):
		return p.fail(line, "what is before the = is no name of a variable: letters, digits and _, no digit first")
	}
	value, err := p.value(line)
	if err != nil {
		return err
	}
	p.set = slices.DeleteFunc(p.set, func(kv [2]string) bool { return kv[0] == name })
	p.set = append(p.set, [2]string{name, value})
	return nil
}

func isName(s string) bool {
	for i := range len(s) {
		b := s[i]
		if b != '_' && (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (i == 0 || b < '0' || b > '9') {
			return false
		}
	}
	return s != ""
}

// comment passes over a line; as in systemd, one that ends with a backslash goes on in the next.
func (p *envParser) comment() {
	for !p.end() {
		switch b := p.next(); {
		case b == '\\' && !p.end():
			p.next()
		case isLineEnd(b):
			return
		}
	}
}

// value reads what is behind the =, to the end of its line.
func (p *envParser) value(line int) (string, error) {
	var out []byte
	bare := false // within text that is in no quotes: a quote there is one like any other
	keep := 0     // what of out must not be trimmed
	for !p.end() {
		b := p.next()
		switch {
		case isLineEnd(b):
			return string(trimEnd(out, keep)), nil
		case b == '\\':
			bare = true
			if !p.end() {
				if b = p.next(); b != '\n' {
					out = append(out, b)
					keep = len(out)
				}
			}
		case !bare && (b == '\'' || b == '"'):
			var err error
			if out, err = p.quoted(out, b, line); err != nil {
				return "", err
			}
			keep = len(out)
		case !bare && isBlank(b):
		default:
			bare = true
			out = append(out, b)
		}
	}
	return string(trimEnd(out, keep)), nil
}

func trimEnd(out []byte, keep int) []byte {
	for len(out) > keep && isBlank(out[len(out)-1]) {
		out = out[:len(out)-1]
	}
	return out
}

// quoted reads to the closing quote.
func (p *envParser) quoted(out []byte, quote byte, line int) ([]byte, error) {
	for !p.end() {
		b := p.next()
		switch {
		case b == quote:
			return out, nil
		case b == '\\' && quote == '"' && !p.end():
			b = p.next()
			switch b {
			case '\n':
			case '"', '\\', '`', '$':
				out = append(out, b)
			default:
				out = append(out, '\\', b)
			}
		default:
			out = append(out, b)
		}
	}
	return nil, p.fail(line, "the value begins with a quote that is not closed")
}

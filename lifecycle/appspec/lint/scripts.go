package lint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"slipway/lifecycle/appspec"
)

// maxScript is how much of a script is looked at.
const maxScript = 1 << 20

// scripts looks at the scripts that the appspec names, each once.
func (b *bundleLinter) scripts() error {
	seen := map[string]bool{}
	for i := range b.spec.Hooks {
		h := &b.spec.Hooks[i]
		for j := range h.Scripts {
			s := &h.Scripts[j]
			name := path.Clean(strings.TrimLeft(s.Location, "/"))
			if seen[name] || climbs(name) {
				continue
			}
			seen[name] = true
			e, ok := b.resolve(name)
			switch {
			case !ok:
				b.missing(h, s, name)
			case !e.typ.IsRegular():
				b.add(b.script(scriptNoFile, s, fmt.Sprintf("%s is no file that could be run", shown(s.Location)), ""))
			default:
				if err := b.content(e.name); err != nil {
					return err
				}
			}
			if b.ctx.Err() != nil {
				return context.Cause(b.ctx)
			}
		}
	}
	return nil
}

func (b *bundleLinter) missing(h *appspec.EventHooks, s *appspec.Script, name string) {
	if e, ok := b.entry(name); ok && e.typ&fs.ModeSymlink != 0 {
		b.add(b.script(scriptNoFile, s, fmt.Sprintf("%s is a link that leads to nothing in the bundle", shown(s.Location)), ""))
		return
	}
	if b.full(scriptMissing) {
		return
	}
	suggestion := "write the path from the top of the bundle, in its exact case"
	if near := b.nearest(name); near != "" {
		suggestion = fmt.Sprintf("did you mean %s?", near)
	}
	b.add(b.script(scriptMissing, s, fmt.Sprintf("%s runs %s, which is not in the bundle", h.Name, shown(s.Location)), suggestion))
}

// content looks at one script.
func (b *bundleLinter) content(name string) error {
	info, err := fs.Stat(b.fsys, name)
	if err != nil {
		return fmt.Errorf("look at the script %s: %w", name, err)
	}
	data, err := readUpTo(b.fsys, name, maxScript+1)
	if err != nil {
		return fmt.Errorf("read the script %s: %w", name, err)
	}
	c := &script{bundleLinter: b, name: name, data: data}
	if info.Mode().Perm()&0o111 == 0 {
		f := b.file(notRunnable, name, fmt.Sprintf("the mode is %04o: nobody may run it", info.Mode().Perm()), "chmod +x "+name)
		f.Fixable = true
		b.add(f)
	}
	if len(data) > maxScript || bytes.IndexByte(data, 0) >= 0 {
		return nil // a program, or none of our business
	}
	return c.look()
}

// script is one script under the glass.
type script struct {
	*bundleLinter
	name string
	data []byte
}

// on is about a line of the script, counted from 1.
func (c *script) on(id string, line, col, length int, message, suggestion string) Finding {
	f := c.file(id, c.name, message, suggestion)
	f.Pos, f.Len, f.Line = appspec.Pos{Line: line, Col: col}, max(length, 1), strings.ToValidUTF8(lineOf(c.data, line), "\uFFFD")
	return f
}

func lineOf(data []byte, n int) string {
	for line := range bytes.Lines(data) {
		if n--; n == 0 {
			return strings.TrimRight(string(line), "\r\n")
		}
	}
	return ""
}

func (c *script) look() error {
	if bytes.HasPrefix(c.data, []byte(bom)) {
		f := c.on(scriptBOM, 1, 1, 1, "the script begins with a byte order mark, which hides its interpreter", "")
		f.Line, f.Fixable = strings.TrimPrefix(f.Line, bom), true
		c.add(f)
	}
	body := bytes.TrimPrefix(c.data, []byte(bom))
	first, _, _ := bytes.Cut(body, []byte("\n"))
	line := strings.TrimRight(string(first), "\r")
	command, ok := strings.CutPrefix(line, "#!")
	words := strings.Fields(command)
	shell := shellOf(line)
	switch {
	case ok && len(words) > 0:
		c.interpreter(line, words)
	case len(bytes.TrimSpace(body)) == 0:
		return nil
	default:
		c.add(c.on(noInterpreter, 1, 1, utf8.RuneCountInString(line), "the script has no #! line: /bin/sh runs it", ""))
	}
	if i := bytes.Index(body, []byte("\r\n")); i >= 0 && (shell != "" || i == len(line)) {
		n := 1 + bytes.Count(body[:i], []byte("\n"))
		text := lineOf(body, n)
		f := c.on(scriptCRLF, n, utf8.RuneCountInString(text)+1, 1, fmt.Sprintf("the script has CRLF line ends (%s)", count(bytes.Count(body, []byte("\r\n")), "line", "lines")), "save it with LF line ends")
		f.Fixable = true
		c.add(f)
		return nil // all else would be about these
	}
	if shell == "" {
		return nil
	}
	c.stops(shell, words)
	return c.syntax(shell)
}

// interpreter looks at the program of a #! line.
func (c *script) interpreter(line string, words []string) {
	program := programOf(words)
	if c.opts.HasProgram(program) {
		return
	}
	suggestion := "name an interpreter that the hosts have, or have it installed before the script runs"
	if meant := certain(path.Base(program), []string{"bash", "python3", "ruby", "node", "perl"}); meant != "" {
		suggestion = fmt.Sprintf("did you mean %s?", path.Join(path.Dir(program), meant))
	}
	c.add(c.on(interpreterNA, 1, 1, utf8.RuneCountInString(line), fmt.Sprintf("this host has no %s; the script needs one that has", program), suggestion))
}

// programOf is the interpreter that the words of a #! line name, through env as well.
func programOf(words []string) string {
	if path.Base(words[0]) == "env" {
		for _, w := range words[1:] {
			if !strings.HasPrefix(w, "-") && !strings.Contains(w, "=") {
				return w
			}
		}
	}
	return words[0]
}

// shellOf is the shell that reads a script with that first line: "sh", "bash", or "" if it is none.
func shellOf(line string) string {
	command, ok := strings.CutPrefix(line, "#!")
	words := strings.Fields(command)
	if !ok || len(words) == 0 {
		return "sh"
	}
	switch path.Base(programOf(words)) {
	case "sh", "dash", "ash":
		return "sh"
	case "bash":
		return "bash"
	}
	return ""
}

// stops finds scripts of several commands that end with one that always succeeds, without set -e.
func (c *script) stops(shell string, words []string) {
	for _, w := range words[min(1, len(words)):] {
		if strings.HasPrefix(w, "-") && !strings.HasPrefix(w, "--") && strings.Contains(w, "e") {
			return
		}
	}
	var commands []string
	last, lastLine, number := "", "", 0
	n := 0
	for line := range bytes.Lines(c.data) {
		n++
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		fields := strings.Fields(text)
		if fields[0] == "set" && setsErrexit(fields[1:]) || fields[0] == "trap" && slices.Contains(fields, "ERR") {
			return
		}
		commands = append(commands, fields[0])
		last, lastLine, number = fields[0], text, n
	}
	const two = 2
	if len(commands) < two || !alwaysSucceeds(last, lastLine) {
		return
	}
	col := utf8.RuneCountInString(lineOf(c.data, number)) - utf8.RuneCountInString(strings.TrimLeft(lineOf(c.data, number), " \t")) + 1
	c.add(c.on(goesOn, number, col, utf8.RuneCountInString(lastLine), "the script has no set -e and ends with a command that always succeeds, so that no failure is seen", fmt.Sprintf("write set -e below the first line (%s)", shell)))
}

func setsErrexit(words []string) bool {
	for i, w := range words {
		if w == "errexit" && i > 0 && words[i-1] != "+o" {
			return true
		}
		if strings.HasPrefix(w, "-") && !strings.HasPrefix(w, "--") && strings.Contains(w, "e") {
			return true
		}
	}
	return false
}

func alwaysSucceeds(first, line string) bool {
	switch first {
	case "true", ":", "echo":
		return !strings.ContainsAny(line, ";|&") || strings.HasSuffix(line, "|| true") || strings.HasSuffix(line, "|| :")
	case "exit":
		return line == "exit 0" || line == "exit 0;"
	}
	return strings.HasSuffix(line, "|| true") || strings.HasSuffix(line, "|| :")
}

// syntax asks the shells.
func (c *script) syntax(shell string) error {
	body := bytes.TrimPrefix(c.data, []byte(bom))
	v, err := c.opts.Shell(c.ctx, shell, body)
	if errors.Is(err, ErrNoShell) || err == nil && v.OK {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check the syntax of %s: %w", c.name, err)
	}
	col := 1 + len(lineOf(c.data, v.Line)) - len(strings.TrimLeft(lineOf(c.data, v.Line), " \t"))
	length := utf8.RuneCountInString(strings.TrimSpace(lineOf(c.data, v.Line)))
	if shell == "sh" {
		if other, err := c.opts.Shell(c.ctx, "bash", body); err == nil && other.OK {
			c.add(c.on(bashism, v.Line, col, length, fmt.Sprintf("%s refuses this and bash does not: %s", v.Judge, v.Message), "write #!/bin/bash on the first line"))
			return nil
		}
	}
	c.add(c.on(syntaxError, v.Line, col, length, fmt.Sprintf("%s refuses this: %s", v.Judge, v.Message), ""))
	return nil
}

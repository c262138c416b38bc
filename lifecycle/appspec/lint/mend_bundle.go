package lint

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"slipway/lifecycle/appspec"
)

// Change is what Mend makes of one file of a bundle: new content, new execute bits, or both.
type Change struct {
	// Name is the file's path in the bundle. It is a file, not a link.
	Name          string
	Before, After []byte
	// Mode is the permissions that the file should have, and Was those that it has.
	Was, Mode fs.FileMode
}

// MendBundle is what has one right answer in an unpacked bundle: the appspec as by [Mend], and the scripts that the mended appspec names:
// line ends, byte order marks, execute bits. It changes nothing itself.
func MendBundle(ctx context.Context, fsys fs.FS, o Options) ([]Change, error) {
	b := &bundleLinter{ctx: ctx, fsys: fsys, opts: o.withDefaults()}
	if err := b.walk(); err != nil {
		return nil, err
	}
	name, found := b.find()
	if !found {
		return nil, nil
	}
	e, ok := b.resolve(name)
	if !ok {
		return nil, nil
	}
	c, err := b.change(e.name, func(data []byte) []byte { return Mend(name, data) }, 0)
	if err != nil {
		return nil, err
	}
	changes := c.kept(nil)
	spec, _ := appspec.Parse(name, c.After)
	if spec == nil {
		return changes, nil
	}
	seen := map[string]bool{e.name: true}
	for _, h := range spec.Hooks {
		for i := range h.Scripts {
			script := path.Clean(strings.TrimLeft(h.Scripts[i].Location, "/"))
			e, ok := b.resolve(script)
			if climbs(script) || !ok || !e.typ.IsRegular() || seen[e.name] {
				continue
			}
			seen[e.name] = true
			c, err := b.change(e.name, mendScript, 0o111)
			if err != nil {
				return nil, err
			}
			changes = c.kept(changes)
		}
	}
	return changes, nil
}

// change reads a file and says what becomes of it.
func (b *bundleLinter) change(name string, mend func([]byte) []byte, execute fs.FileMode) (Change, error) {
	info, err := fs.Stat(b.fsys, name)
	if err != nil {
		return Change{}, fmt.Errorf("look at %s: %w", name, err)
	}
	data, err := readUpTo(b.fsys, name, maxScript+1)
	if err != nil {
		return Change{}, fmt.Errorf("read %s: %w", name, err)
	}
	c := Change{Name: name, Before: data, After: data, Was: info.Mode().Perm(), Mode: info.Mode().Perm()}
	if len(data) <= maxScript {
		c.After = mend(data)
	}
	if execute != 0 && c.Was&0o111 == 0 {
		c.Mode |= c.Was >> 2 & execute // whoever may read it may run it
	}
	return c, nil
}

// kept adds the change to others if it is one.
func (c Change) kept(to []Change) []Change {
	if bytes.Equal(c.Before, c.After) && c.Was == c.Mode {
		return to
	}
	return append(to, c)
}

// mendScript gives a shell script LF line ends and takes its byte order mark away. A program, or what another interpreter reads, keeps all but
// the line end of its first line.
func mendScript(data []byte) []byte {
	if bytes.IndexByte(data, 0) >= 0 {
		return data
	}
	body := data
	for bytes.HasPrefix(body, []byte(bom)) {
		body = body[len(bom):]
	}
	first, rest, _ := bytes.Cut(body, []byte("\n"))
	line := strings.TrimRight(string(first), "\r")
	if shell := shellOf(line); shell != "" {
		return withoutCR(body)
	}
	if len(line) == len(first) {
		return body
	}
	return append([]byte(line+"\n"), rest...)
}

// withoutCR takes the carriage returns before every line feed away.
func withoutCR(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for line := range bytes.Lines(text) {
		if content, ok := bytes.CutSuffix(line, []byte("\n")); ok {
			out = append(append(out, bytes.TrimRight(content, "\r")...), '\n')
			continue
		}
		out = append(out, line...)
	}
	return out
}

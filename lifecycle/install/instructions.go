package install

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// output writes texts. An error stays until Flush.
type output struct {
	*bufio.Writer
	buf []byte
}

func newOutput(w io.Writer) *output { return &output{Writer: bufio.NewWriterSize(w, 64<<10)} }

func (o *output) put(texts ...string) {
	for _, t := range texts {
		_, _ = o.WriteString(t)
	}
}

// quote writes a JSON string.
func (o *output) quote(s string) {
	o.buf = appendText(o.buf[:0], s)
	_, _ = o.Write(o.buf)
}

// instructions is the path of one of the official agent's files for the group.
func (p *Plan) instructions(suffix string) string {
	return filepath.Join(p.req.Root, instructionsDir, p.req.Group+suffix)
}

// cleanupName is the path of a group's cleanup file.
func cleanupName(root, group string) string {
	return filepath.Join(root, instructionsDir, group+cleanupSuffix)
}

// listIdentity tells one cleanup file from the next.
type listIdentity struct {
	ino         uint64
	size, mtime int64
}

func identifyList(name string) listIdentity {
	var st unix.Stat_t
	if unix.Lstat(name, &st) != nil {
		return listIdentity{}
	}
	return listIdentity{st.Ino, st.Size, st.Mtim.Nano()}
}

// WriteInstructions encodes the plan as the official agent's plan file (I-38): one compact JSON object, in execution order,
// without a newline at the end.
func (p *Plan) WriteInstructions(w io.Writer) error {
	e := &instructions{output: newOutput(w)}
	e.put(`{"instructions":[`)
	for _, i := range p.order {
		if i < 0 {
			e.begin("mkdir")
			e.field("directory", p.dirs[^i].shown)
		} else {
			e.begin("copy")
			e.field("source", p.source(i))
			e.field("destination", p.target(i))
		}
		e.put("}")
	}
	for n := range p.perms {
		for _, i := range p.permsOf[n] {
			e.permission(&p.perms[n], p.path(i))
		}
	}
	e.put("]}")
	if err := e.Flush(); err != nil {
		return fmt.Errorf("write the plan file: %w", err)
	}
	return nil
}

type instructions struct {
	*output
	some bool
}

// permission writes what an entry does to one path in the official agent's order (I-49).
func (e *instructions) permission(m *permission, path string) {
	if m.modeSet {
		e.begin("chmod")
		e.field("mode", m.modeText)
		e.end(path)
	}
	if m.aclSet {
		e.begin("setfacl")
		e.put(`,"acl":[`)
		for i, a := range m.acls {
			if i > 0 {
				e.put(",")
			}
			e.quote(a.String())
		}
		e.put("]")
		e.end(path)
	}
	if c := m.context; c != nil {
		e.begin("semanage")
		e.put(`,"context":{"user":`) // the official agent's key is user, not name
		e.quoteOrNull(c.Name)
		e.put(`,"role":null,"type":`)
		e.quote(c.Type)
		e.put(`,"range":`)
		e.quoteOrNull(c.Range)
		e.put("}")
		e.end(path)
	}
	if m.owner != "" || m.group != "" {
		e.begin("chown")
		e.put(`,"owner":`)
		e.quoteOrNull(m.owner)
		e.put(`,"group":`)
		e.quoteOrNull(m.group)
		e.end(path)
	}
}

func (e *instructions) begin(typ string) {
	if e.some {
		e.put(",")
	}
	e.some = true
	e.put(`{"type":"`, typ, `"`)
}

func (e *instructions) end(path string) {
	e.field("file", path)
	e.put("}")
}

func (e *instructions) field(name, value string) {
	e.put(`,"`, name, `":`)
	e.quote(value)
}

func (e *instructions) quoteOrNull(s string) {
	if s == "" {
		e.put("null")
		return
	}
	e.quote(s)
}

// appendText appends s as a JSON string that escapes only what has to be, as the official agent's encoder does. What is no
// UTF-8 becomes U+FFFD.
func appendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r) // RuneError is U+FFFD
			i += size
			continue
		}
		i++
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\f':
			b = append(b, '\\', 'f')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(b, '"')
}

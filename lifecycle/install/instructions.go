package install

import (
	"bufio"
	"fmt"
	"io"
	"unicode/utf8"

	"slipway/lifecycle/appspec"
)

// WriteInstructions encodes the plan as the official agent's plan file (I-38): one compact JSON object, in execution order,
// without a newline at the end.
func (p *Plan) WriteInstructions(w io.Writer) error {
	e := &instructions{Writer: bufio.NewWriterSize(w, 64<<10)}
	e.WriteString(`{"instructions":[`)
	for _, i := range p.order {
		if i < 0 {
			e.begin("mkdir")
			e.field("directory", p.dirs[^i].shown)
		} else {
			e.begin("copy")
			e.field("source", p.source(i))
			e.field("destination", p.target(i))
		}
		e.WriteByte('}')
	}
	for n := range p.perms {
		for _, i := range p.permsOf[n] {
			e.permission(&p.perms[n], p.path(i))
		}
	}
	e.WriteString("]}")
	if err := e.Flush(); err != nil {
		return fmt.Errorf("write the plan file: %w", err)
	}
	return nil
}

type instructions struct {
	*bufio.Writer
	some bool
	buf  []byte
}

// permission writes what an entry does to one path in the official agent's order (I-49).
func (e *instructions) permission(m *permission, path string) {
	if m.modeSet {
		e.begin("chmod")
		e.field("mode", m.modeText)
		e.field("file", path)
		e.WriteByte('}')
	}
	if m.aclSet {
		e.begin("setfacl")
		e.WriteString(`,"acl":[`)
		for i, a := range m.acls {
			if i > 0 {
				e.WriteByte(',')
			}
			e.text(a.String())
		}
		e.WriteByte(']')
		e.field("file", path)
		e.WriteByte('}')
	}
	if m.context != nil {
		e.begin("semanage")
		e.context(m.context)
		e.field("file", path)
		e.WriteByte('}')
	}
	if m.owner != "" || m.group != "" {
		e.begin("chown")
		e.nullable("owner", m.owner)
		e.nullable("group", m.group)
		e.field("file", path)
		e.WriteByte('}')
	}
}

// context keeps the official agent's key names: user, not name.
func (e *instructions) context(c *appspec.Context) {
	e.WriteString(`,"context":{"user":`)
	e.textOrNull(c.Name)
	e.WriteString(`,"role":null,"type":`)
	e.text(c.Type)
	e.WriteString(`,"range":`)
	e.textOrNull(c.Range)
	e.WriteByte('}')
}

func (e *instructions) begin(typ string) {
	if e.some {
		e.WriteByte(',')
	}
	e.some = true
	e.WriteString(`{"type":"`)
	e.WriteString(typ)
	e.WriteByte('"')
}

func (e *instructions) field(name, value string) {
	e.WriteString(`,"`)
	e.WriteString(name)
	e.WriteString(`":`)
	e.text(value)
}

func (e *instructions) nullable(name, value string) {
	e.WriteString(`,"`)
	e.WriteString(name)
	e.WriteString(`":`)
	e.textOrNull(value)
}

func (e *instructions) textOrNull(s string) {
	if s == "" {
		e.WriteString("null")
		return
	}
	e.text(s)
}

func (e *instructions) text(s string) {
	e.buf = appendText(e.buf[:0], s)
	e.Write(e.buf)
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

package systemd

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

// What is spoken here is the little of D-Bus that starting a scope takes, little endian. A library for all of it is a quarter of a
// megabyte in a program whose size is bounded.

// Types of message.
const (
	busCall   = 1
	busReply  = 2
	busError  = 3
	busSignal = 4
)

// Header fields, each with its signature.
const (
	fieldPath        = 1 // o
	fieldInterface   = 2 // s
	fieldMember      = 3 // s
	fieldErrorName   = 4 // s
	fieldReplySerial = 5 // u
	fieldDestination = 6 // s
	fieldSignature   = 8 // g
)

const (
	busFixedHeader = 16
	maxBusMessage  = 1 << 20 // what is waited for has a few hundred bytes
)

// BusError is what the service manager, or the message bus before it, answered instead of doing what it was asked.
type BusError struct {
	Name    string // such as org.freedesktop.DBus.Error.AccessDenied
	Message string
}

func (e *BusError) Error() string {
	if e.Message == "" {
		return e.Name
	}
	return e.Message + " (" + e.Name + ")"
}

// message is one that was received.
type message struct {
	kind      byte
	reply     uint32 // to which serial
	member    string
	errorName string
	signature string
	body      []byte
	order     binary.ByteOrder
}

// encoder writes values with the alignment that D-Bus wants, from the start of a message or of its body.
type encoder struct{ b []byte }

func (e *encoder) align(n int) {
	for len(e.b)%n != 0 {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) uint32(v uint32) {
	e.align(4)
	e.b = binary.LittleEndian.AppendUint32(e.b, v)
}

func (e *encoder) uint64(v uint64) {
	e.align(8)
	e.b = binary.LittleEndian.AppendUint64(e.b, v)
}

func (e *encoder) string(s string) {
	e.uint32(uint32(len(s)))
	e.b = append(append(e.b, s...), 0)
}

func (e *encoder) signature(s string) { e.b = append(append(append(e.b, byte(len(s))), s...), 0) }

// array writes the elements that fill adds. elem is the alignment of one.
func (e *encoder) array(elem int, fill func()) {
	e.uint32(0)
	at := len(e.b) - 4
	e.align(elem)
	from := len(e.b)
	fill()
	binary.LittleEndian.PutUint32(e.b[at:], uint32(len(e.b)-from))
}

// callMessage is a method call.
func callMessage(serial uint32, destination, path, iface, member, signature string, body []byte) []byte {
	e := &encoder{b: []byte{'l', busCall, 0, 1}}
	e.uint32(uint32(len(body)))
	e.uint32(serial)
	e.array(8, func() {
		for _, f := range []struct {
			code      byte
			signature string
			value     string
		}{
			{fieldPath, "o", path},
			{fieldInterface, "s", iface},
			{fieldMember, "s", member},
			{fieldDestination, "s", destination},
			{fieldSignature, "g", signature},
		} {
			if f.value == "" {
				continue
			}
			e.align(8)
			e.b = append(e.b, f.code)
			e.signature(f.signature)
			if f.signature == "g" {
				e.signature(f.value)
			} else {
				e.string(f.value)
			}
		}
	})
	e.align(8)
	return append(e.b, body...)
}

var errBusFormat = errors.New("malformed message from the message bus")

// decoder reads values. After an error all it gives is zero.
type decoder struct {
	b     []byte
	at    int
	order binary.ByteOrder
	err   error
}

func (d *decoder) take(n int) []byte {
	if d.err != nil || n < 0 || len(d.b)-d.at < n {
		d.err = errBusFormat
		return nil
	}
	d.at += n
	return d.b[d.at-n : d.at]
}

func (d *decoder) align(n int) { d.take((n - d.at%n) % n) }

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	d.align(4)
	if b := d.take(4); b != nil {
		return d.order.Uint32(b)
	}
	return 0
}

func (d *decoder) text(n int) string {
	s := string(d.take(n))
	if d.take(1); d.err != nil {
		return ""
	}
	return s
}

func (d *decoder) string() string {
	n := d.uint32()
	if n > maxBusMessage {
		d.err = errBusFormat
		return ""
	}
	return d.text(int(n))
}

func (d *decoder) signature() string { return d.text(int(d.byte())) }

// readMessage reads one message. Only the header fields that are used here are understood; one of an unknown type ends the header.
func readMessage(r io.Reader) (*message, error) {
	fixed := make([]byte, busFixedHeader)
	if _, err := io.ReadFull(r, fixed); err != nil {
		return nil, err
	}
	m := &message{kind: fixed[1], order: binary.LittleEndian}
	switch fixed[0] {
	case 'l':
	case 'B':
		m.order = binary.BigEndian
	default:
		return nil, errBusFormat
	}
	body, fields := m.order.Uint32(fixed[4:]), m.order.Uint32(fixed[12:])
	if body > maxBusMessage || fields > maxBusMessage {
		return nil, fmt.Errorf("%w: %d bytes", errBusFormat, uint64(body)+uint64(fields))
	}
	rest := make([]byte, (int(fields)+7)/8*8+int(body))
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	m.body = rest[len(rest)-int(body):]
	return m, m.fields(rest[:fields])
}

func (m *message) fields(b []byte) error {
	d := &decoder{b: b, order: m.order} // fields begin at a multiple of eight
	for d.err == nil && d.at < len(b) {
		if d.align(8); d.at == len(b) {
			break
		}
		code := d.byte()
		switch d.signature() {
		case "s", "o":
			switch v := d.string(); code {
			case fieldMember:
				m.member = v
			case fieldErrorName:
				m.errorName = v
			}
		case "g":
			if v := d.signature(); code == fieldSignature {
				m.signature = v
			}
		case "u":
			if v := d.uint32(); code == fieldReplySerial {
				m.reply = v
			}
		default:
			return errBusFormat
		}
	}
	return d.err
}

// bus is a connection to the message bus.
type bus struct {
	conn   net.Conn
	in     *bufio.Reader
	serial uint32
}

// dialBus connects to the message bus and introduces itself, as the user it is.
func dialBus(ctx context.Context, socket string) (*bus, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connect to the message bus: %w", err)
	}
	b := &bus{conn: conn, in: bufio.NewReader(conn)}
	if err := b.introduce(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("introduce itself to the message bus: %w", err)
	}
	return b, nil
}

func (b *bus) introduce(ctx context.Context) error {
	if err := b.until(ctx); err != nil {
		return err
	}
	uid := hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid())))
	if _, err := io.WriteString(b.conn, "\x00AUTH EXTERNAL "+uid+"\r\n"); err != nil {
		return err
	}
	line, err := b.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) < 3 || string(line[:3]) != "OK " {
		return fmt.Errorf("it does not take this user: %q", line)
	}
	if _, err := io.WriteString(b.conn, "BEGIN\r\n"); err != nil {
		return err
	}
	const name = "org.freedesktop.DBus"
	_, err = b.call(name, "/org/freedesktop/DBus", name, "Hello", "", nil, nil)
	return err
}

// until makes what follows end with ctx's deadline, or in [busTime] when it has none.
func (b *bus) until(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(busTime)
	}
	return b.conn.SetDeadline(deadline)
}

// call calls a method and waits for its answer. Signals that come before are given to heard.
func (b *bus) call(destination, path, iface, member, signature string, body []byte, heard func(*message)) (*message, error) {
	b.serial++
	if _, err := b.conn.Write(callMessage(b.serial, destination, path, iface, member, signature, body)); err != nil {
		return nil, err
	}
	for {
		m, err := readMessage(b.in)
		if err != nil {
			return nil, err
		}
		switch {
		case m.kind == busSignal && heard != nil:
			heard(m)
		case m.kind == busReply && m.reply == b.serial:
			return m, nil
		case m.kind == busError && m.reply == b.serial:
			e := &BusError{Name: m.errorName}
			if len(m.signature) > 0 && m.signature[0] == 's' {
				e.Message = (&decoder{b: m.body, order: m.order}).string()
			}
			return nil, e
		}
	}
}

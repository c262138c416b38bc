package systemd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// answer is a message from the bus.
func answer(kind byte, reply uint32, member, errorName, signature string, body []byte) []byte {
	e := &encoder{b: []byte{'l', kind, 0, 1}}
	e.uint32(uint32(len(body)))
	e.uint32(77)
	e.array(8, func() {
		for _, f := range []struct {
			code      byte
			signature string
			text      string
		}{{fieldMember, "s", member}, {fieldErrorName, "s", errorName}, {fieldDestination, "s", ":1.7"}, {fieldSignature, "g", signature}} {
			if f.text == "" {
				continue
			}
			e.align(8)
			e.b = append(e.b, f.code)
			e.signature(f.signature)
			if f.signature == "g" {
				e.signature(f.text)
			} else {
				e.string(f.text)
			}
		}
		e.align(8)
		e.b = append(e.b, fieldReplySerial)
		e.signature("u")
		e.uint32(reply)
	})
	e.align(8)
	return append(e.b, body...)
}

func text(parts ...string) []byte {
	var e encoder
	for _, p := range parts {
		e.string(p)
	}
	return e.b
}

func jobRemoved(job, unit, result string) []byte {
	var e encoder
	e.uint32(9)
	e.b = append(e.b, text(job, unit, result)...)
	return answer(busSignal, 0, "JobRemoved", "", "uoss", e.b)
}

// fakeBus answers as the bus and systemd do. start answers StartTransientUnit; nil hangs up.
func fakeBus(t *testing.T, start func(serial uint32, in []byte) []byte) (socket string, dials *atomic.Int32) {
	t.Helper()
	socket, dials = filepath.Join(t.TempDir(), "bus"), &atomic.Int32{}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			dials.Add(1)
			go serveBus(conn, start)
		}
	}()
	return socket, dials
}

func serveBus(conn net.Conn, start func(serial uint32, in []byte) []byte) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "\x00AUTH EXTERNAL ") {
		return
	}
	io.WriteString(conn, "OK 0123\r\n")
	if line, err := in.ReadString('\n'); err != nil || line != "BEGIN\r\n" {
		return
	}
	for {
		fixed, err := in.Peek(busFixedHeader)
		if err != nil {
			return
		}
		serial := binary.LittleEndian.Uint32(fixed[8:])
		m, err := readMessage(in)
		if err != nil {
			return
		}
		out := answer(busReply, serial, "", "", "", nil)
		if m.member == "StartTransientUnit" {
			if out = start(serial, m.body); out == nil {
				return
			}
		}
		conn.Write(out)
	}
}

func TestStartScope(t *testing.T) {
	const job = "/org/freedesktop/systemd1/job/9"
	reply := func(serial uint32) []byte { return answer(busReply, serial, "", "", "o", text(job)) }
	tests := []struct {
		name  string
		start func(serial uint32, body []byte) []byte
		want  string // in the error; "" for none
		is    error
	}{
		{name: "done", start: func(n uint32, _ []byte) []byte { return append(reply(n), jobRemoved(job, "x.scope", "done")...) }},
		{name: "the signal comes first", start: func(n uint32, _ []byte) []byte {
			return append(append(jobRemoved("/other", "y.scope", "failed"), jobRemoved(job, "x.scope", "done")...), reply(n)...)
		}},
		{name: "the job fails", start: func(n uint32, _ []byte) []byte { return append(reply(n), jobRemoved(job, "x.scope", "failed")...) }, want: "start x.scope: the job ended with the result failed"},
		{name: "refused", start: func(n uint32, _ []byte) []byte {
			return answer(busError, n, "", "org.freedesktop.DBus.Error.AccessDenied", "s", text("Rejected"))
		}, want: "start x.scope: Rejected (org.freedesktop.DBus.Error.AccessDenied)"},
		{name: "garbage", start: func(uint32, []byte) []byte { return []byte(strings.Repeat("x", 64)) }, want: "malformed", is: errBusFormat},
		{name: "too long", start: func(uint32, []byte) []byte {
			return []byte{'l', busReply, 0, 1, 0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0, 0, 0, 0, 0}
		}, want: "malformed", is: errBusFormat},
		{name: "hangs up", start: func(uint32, []byte) []byte { return nil }, want: "EOF"},
		{name: "silent", start: func(uint32, []byte) []byte { return []byte{} }, want: "systemd does not answer", is: ErrSilent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			socket, _ := fakeBus(t, tt.start)
			m := &Manager{Socket: socket}
			defer m.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			if errors.Is(tt.is, ErrSilent) {
				ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
			}
			defer cancel()
			err := m.StartScope(ctx, Scope{Name: "x.scope", Slice: SliceName, PID: 1, Limits: map[string]uint64{"MemoryLimit": 5}})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("StartScope() = %v, want %q", err, tt.want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("StartScope() = %v, want %v", err, tt.is)
			}
			if errors.Is(tt.is, ErrSilent) { // not asked again at once
				began := time.Now()
				if err := m.StartScope(t.Context(), Scope{Name: "y.scope", PID: 1}); !errors.Is(err, ErrSilent) || time.Since(began) > busTime {
					t.Errorf("asked again: %v after %v", err, time.Since(began))
				}
			}
		})
	}
}

// One connection serves many scopes, and one that broke is made anew.
func TestConnectionIsKept(t *testing.T) {
	var calls atomic.Int32
	socket, dials := fakeBus(t, func(n uint32, _ []byte) []byte {
		if calls.Add(1) == 3 {
			return nil // the bus is restarted
		}
		return append(answer(busReply, n, "", "", "o", text("/job")), jobRemoved("/job", "x.scope", "done")...)
	})
	m := &Manager{Socket: socket}
	defer m.Close()
	if err := m.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := m.StartScope(t.Context(), Scope{Name: "x.scope", PID: 1}); err != nil {
			t.Errorf("scope %d: %v", i, err)
		}
	}
	if got := dials.Load(); got != 2 {
		t.Errorf("%d connections, want 2", got)
	}
}

func TestNoBus(t *testing.T) {
	m := &Manager{Socket: filepath.Join(t.TempDir(), "none")}
	if err := m.StartScope(t.Context(), Scope{Name: "x.scope", PID: 1}); err == nil || !strings.Contains(err.Error(), "connect to the message bus") {
		t.Errorf("StartScope() = %v", err)
	}
}

// The call, byte by byte, as the specification of D-Bus lays it out.
func TestCallMessage(t *testing.T) {
	got := callMessage(1, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", "", nil)
	want := "l\x01\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x6d\x00\x00\x00" +
		"\x01\x01o\x00\x15\x00\x00\x00/org/freedesktop/DBus\x00\x00\x00" +
		"\x02\x01s\x00\x14\x00\x00\x00org.freedesktop.DBus\x00\x00\x00\x00" +
		"\x03\x01s\x00\x05\x00\x00\x00Hello\x00\x00\x00" +
		"\x06\x01s\x00\x14\x00\x00\x00org.freedesktop.DBus\x00\x00\x00\x00"
	if string(got) != want {
		t.Errorf("callMessage() =\n%q, want\n%q", got, want)
	}
}

func FuzzReadMessage(f *testing.F) {
	f.Add(answer(busReply, 3, "", "", "o", text("/job")))
	f.Add(answer(busError, 3, "", "org.Error", "s", text("why")))
	f.Add(jobRemoved("/job", "x.scope", "done"))
	f.Add(callMessage(1, "a.b", "/a", "a.b", "C", "s", text("x")))
	f.Add([]byte{'B', 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 8, 5, 1, 'u', 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := readMessage(bytes.NewReader(data))
		if err != nil {
			return
		}
		d := &decoder{b: m.body, order: m.order}
		d.uint32()
		if s := d.string(); len(s) > len(data) {
			t.Errorf("%d bytes of text in a message of %d", len(s), len(data))
		}
	})
}

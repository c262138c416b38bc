package systemd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// BusSocket is where the system's message bus listens.
const BusSocket = "/run/dbus/system_bus_socket"

const (
	busTime = 3 * time.Second // for an answer
	busIdle = time.Minute     // a connection that is not used is closed
	// busPause follows an answer that did not come: whoever asks meanwhile is refused at once rather than kept waiting.
	busPause = 30 * time.Second
)

// Running reports whether the service manager of this host is systemd.
func Running() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Manager is the service manager, asked over the message bus. The connection is made when it is needed, kept while it is used, and made
// anew when it breaks. The zero value is ready for use.
type Manager struct {
	// Socket is that of the message bus; [BusSocket] when empty.
	Socket string

	mu     sync.Mutex // guards all below, and lets one call out at a time
	bus    *bus
	close  *time.Timer
	silent time.Time // it gave no answer then
}

// ErrSilent says that the service manager gave no answer in time, or did not a moment ago.
var ErrSilent = errors.New("systemd does not answer")

// Scope is the order for a transient scope unit.
type Scope struct {
	Name        string // with its suffix .scope; no other unit has it
	Description string
	Slice       string // the unit that it lives in
	PID         int    // the process that it begins with
	// Limits are properties of the scope's control group, such as MemoryLimit in bytes.
	Limits map[string]uint64
}

const (
	managerName  = "org.freedesktop.systemd1"
	managerPath  = "/org/freedesktop/systemd1"
	managerIface = managerName + ".Manager"
)

// Connect makes the connection if there is none, so that the first scope need not wait for it.
func (m *Manager) Connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.rest()
	return m.told(m.connect(ctx))
}

// StartScope starts a scope and returns when its process is in it. It takes up to three seconds. A [*BusError] is the answer of systemd or the
// bus; [ErrSilent]: there was none, and the scope may still come about.
func (m *Manager) StartScope(ctx context.Context, s Scope) error {
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.rest()
	reused := m.bus != nil
	err := m.told(m.startScope(ctx, s))
	if reused && broken(err) { // the bus was restarted since
		err = m.told(m.startScope(ctx, s))
		if e := (*BusError)(nil); errors.As(err, &e) && e.Name == managerName+".UnitExists" {
			err = nil // the first call was heard after all
		}
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	return nil
}

// broken reports whether the connection ended.
func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// told closes the connection after an error that leaves it in an unknown state.
func (m *Manager) told(err error) error {
	var answer *BusError
	if err == nil || errors.As(err, &answer) {
		return err
	}
	m.hangUp()
	var late net.Error
	if errors.As(err, &late) && late.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		m.silent = time.Now()
		return fmt.Errorf("%w: %w", ErrSilent, err)
	}
	return err
}

func (m *Manager) hangUp() {
	if m.bus != nil {
		m.bus.conn.Close()
		m.bus = nil
	}
}

// rest has the connection closed once it is not used for a while.
func (m *Manager) rest() {
	if m.bus == nil {
		return
	}
	if m.close == nil {
		m.close = time.AfterFunc(busIdle, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.hangUp()
		})
		return
	}
	m.close.Reset(busIdle)
}

// Close closes the connection. The Manager can still be used.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hangUp()
	if m.close != nil {
		m.close.Stop()
	}
}

// connect makes sure of a connection that hears of finished jobs.
func (m *Manager) connect(ctx context.Context) error {
	if m.bus != nil {
		return m.bus.until(ctx)
	}
	if since := time.Since(m.silent); since < busPause {
		return fmt.Errorf("%w: it was last asked %s ago", ErrSilent, since.Round(time.Second))
	}
	socket := m.Socket
	if socket == "" {
		socket = BusSocket
	}
	b, err := dialBus(ctx, socket)
	if err != nil {
		return err
	}
	m.bus = b
	var e encoder
	e.string("type='signal',sender='" + managerName + "',path='" + managerPath + "',interface='" + managerIface + "',member='JobRemoved'")
	const name = "org.freedesktop.DBus"
	if _, err = b.call(name, "/org/freedesktop/DBus", name, "AddMatch", "s", e.b, nil); err == nil {
		_, err = b.call(managerName, managerPath, managerIface, "Subscribe", "", nil, nil)
	}
	if err != nil {
		m.hangUp()
		return fmt.Errorf("ask systemd to tell of its jobs: %w", err)
	}
	return nil
}

// StopUnit asks for a unit to be stopped, and does not wait for it. One that is not there is no error.
func (m *Manager) StopUnit(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.rest()
	err := m.connect(ctx)
	if err == nil {
		var e encoder
		e.string(name)
		e.string("replace")
		_, err = m.bus.call(managerName, managerPath, managerIface, "StopUnit", "ss", e.b, nil)
	}
	if answer := (*BusError)(nil); errors.As(err, &answer) && answer.Name == managerName+".NoSuchUnit" {
		return nil
	}
	if err = m.told(err); err != nil {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	return nil
}

func (m *Manager) startScope(ctx context.Context, s Scope) error {
	if err := m.connect(ctx); err != nil {
		return err
	}
	results := map[string]string{} // job → result: the end of a job may be told before its start
	heard := func(msg *message) {
		if msg.member == "JobRemoved" && msg.signature == "uoss" {
			d := &decoder{b: msg.body, order: msg.order}
			d.uint32()
			job, _, result := d.string(), d.string(), d.string()
			results[job] = result
		}
	}
	reply, err := m.bus.call(managerName, managerPath, managerIface, "StartTransientUnit", "ssa(sv)a(sa(sv))", s.encode(), heard)
	if err != nil {
		return err
	}
	job := (&decoder{b: reply.body, order: reply.order}).string()
	for results[job] == "" {
		msg, err := readMessage(m.bus.in)
		if err != nil {
			return fmt.Errorf("wait for the scope: %w", err)
		}
		if msg.kind == busSignal {
			heard(msg)
		}
	}
	if r := results[job]; r != "done" {
		return &BusError{Name: managerName + ".JobResult", Message: "the job ended with the result " + r}
	}
	return nil
}

// encode is the body of the call.
func (s *Scope) encode() []byte {
	var e encoder
	e.string(s.Name)
	e.string("fail") // a unit of this name is another's
	property := func(name, signature string, value func()) {
		e.align(8)
		e.string(name)
		e.signature(signature)
		value()
	}
	e.array(8, func() {
		property("Description", "s", func() { e.string(s.Description) })
		property("Slice", "s", func() { e.string(s.Slice) })
		property("Delegate", "b", func() { e.uint32(1) })
		property("PIDs", "au", func() { e.array(4, func() { e.uint32(uint32(s.PID)) }) })
		for name, v := range s.Limits {
			property(name, "t", func() { e.uint64(v) })
		}
	})
	e.array(8, func() {})
	return e.b
}

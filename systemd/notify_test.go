package systemd

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// manager is the receiving end, as the service manager has it.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func receive(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatalf("nothing received: %v", err)
	}
	return string(buf[:n])
}

func TestMessages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	abstract := "@slipway-test-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	for _, socket := range []string{path, abstract} {
		conn := manager(t, socket)
		n := Notifier{Socket: socket}
		tests := []struct {
			name string
			send func() error
			want string
		}{
			{"ready", func() error { return n.Ready("polling") }, "READY=1\nSTATUS=polling\n"},
			{"status", func() error { return n.Status("deployment d-1: Install") }, "STATUS=deployment d-1: Install\n"},
			{"a status cannot assign", func() error { return n.Status("x\nMAINPID=1\r\n \xff") }, "STATUS=x MAINPID=1 ?\n"},
			{"stopping", func() error { return n.Stopping("finishing Install") }, "STOPPING=1\nSTATUS=finishing Install\n"},
			{"extend", func() error { return n.Extend(90 * time.Second) }, "EXTEND_TIMEOUT_USEC=90000000\n"},
		}
		for _, tt := range tests {
			if err := tt.send(); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if diff := cmp.Diff(tt.want, receive(t, conn)); diff != "" {
				t.Errorf("%s over %s mismatch (-want +got):\n%s", tt.name, socket, diff)
			}
		}
		if err := n.Reloading("reading the configuration"); err != nil {
			t.Fatal(err)
		}
		got := strings.Split(receive(t, conn), "\n")
		usec, err := strconv.ParseInt(strings.TrimPrefix(got[1], "MONOTONIC_USEC="), 10, 64)
		if got[0] != "RELOADING=1" || err != nil || usec <= 0 || got[2] != "STATUS=reading the configuration" {
			t.Errorf("reloading: %q", got)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	n := Notifier{Socket: filepath.Join(t.TempDir(), "none")}
	if err := n.Ready("x"); err == nil || !strings.Contains(err.Error(), "notify the service manager") {
		t.Errorf("Ready() = %v, want an error", err)
	}
	var none Notifier
	if err := errors.Join(none.Ready("x"), none.Status("x"), none.Stopping("x"), none.Reloading("x"), none.Extend(time.Second)); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
}

// A manager that does not read fills its socket; the agent must not hang on it.
func TestSendDoesNotBlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager(t, path)
	n := Notifier{Socket: path}
	began := time.Now()
	var err error
	for range 5000 {
		if err = n.Status(strings.Repeat("x", 4000)); err != nil {
			break
		}
	}
	if err == nil {
		t.Fatal("5000 messages were taken by nobody")
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestFromEnv(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		want Notifier
	}{
		{"no service manager", nil, Notifier{}},
		{"path", map[string]string{"NOTIFY_SOCKET": "/run/systemd/notify"}, Notifier{Socket: "/run/systemd/notify"}},
		{"abstract", map[string]string{"NOTIFY_SOCKET": "@/org/x"}, Notifier{Socket: "@/org/x"}},
		{"neither", map[string]string{"NOTIFY_SOCKET": "vsock:2:1234"}, Notifier{}},
		{"watchdog", map[string]string{"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "60000000"}, Notifier{Socket: "/n", WatchdogTimeout: time.Minute}},
		{"watchdog for us", map[string]string{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "42"}, Notifier{WatchdogTimeout: time.Millisecond}},
		{"watchdog for another", map[string]string{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "43"}, Notifier{}},
		{"rubbish", map[string]string{"WATCHDOG_USEC": "1m"}, Notifier{}},
		{"zero", map[string]string{"WATCHDOG_USEC": "0"}, Notifier{}},
		{"beyond reason", map[string]string{"WATCHDOG_USEC": "9223372036854775807"}, Notifier{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := FromEnv(func(name string) string { return tt.env[name] }, 42)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("FromEnv() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWatchdog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn := manager(t, path)
	n := Notifier{Socket: path, WatchdogTimeout: 30 * time.Millisecond}
	ctx, cancel := context.WithCancelCause(t.Context())
	var asked atomic.Int32
	dead := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- n.Watchdog(ctx, func() bool {
			switch asked.Add(1) {
			case 1, 2, 3:
				return true
			case 10:
				close(dead)
			}
			return false
		})
	}()
	for range 3 {
		if got := receive(t, conn); got != "WATCHDOG=1\n" {
			t.Errorf("received %q", got)
		}
	}
	<-dead
	conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // what was sent is queued already
	if n, err := conn.Read(make([]byte, 100)); err == nil {
		t.Errorf("a sign of life of %d bytes from a dead loop", n)
	}
	stop := errors.New("stopping")
	cancel(stop)
	if err := <-done; !errors.Is(err, stop) {
		t.Errorf("Watchdog() = %v, want the cause", err)
	}
}

func TestWatchdogWithoutOne(t *testing.T) {
	for _, n := range []Notifier{{}, {Socket: "/n"}, {WatchdogTimeout: time.Second}} {
		if err := n.Watchdog(t.Context(), func() bool { t.Error("asked"); return true }); err != nil {
			t.Errorf("%+v: %v", n, err)
		}
	}
}

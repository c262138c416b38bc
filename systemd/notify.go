// Package systemd is what the agent and its packages know of the service manager: the unit files, embedded, and the
// notification protocol (state, status text, watchdog). It reads no environment by itself and does nothing when the
// process was not started by a service manager.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Notifier tells the service manager about this process. The zero value tells nobody.
type Notifier struct {
	// Socket is NOTIFY_SOCKET: an absolute path, or an abstract name after @.
	Socket string
	// WatchdogTimeout is how long the service manager waits for a sign of life before it ends the process; zero means
	// that it does not watch.
	WatchdogTimeout time.Duration
}

// Variables are the names of the environment that [FromEnv] reads. Processes started by this one should not inherit
// them: a script that calls systemd-notify would speak for the agent.
var Variables = []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}

// FromEnv makes a Notifier of the environment that getenv shows and of the process's own id. A watchdog that is meant
// for another process (WATCHDOG_PID) or is malformed counts as none.
func FromEnv(getenv func(string) string, pid int) Notifier {
	n := Notifier{Socket: getenv("NOTIFY_SOCKET")}
	if !strings.HasPrefix(n.Socket, "/") && !strings.HasPrefix(n.Socket, "@") {
		n.Socket = ""
	}
	if who := getenv("WATCHDOG_PID"); who != "" && who != strconv.Itoa(pid) {
		return n
	}
	if usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 && usec < int64(24*time.Hour/time.Microsecond) {
		n.WatchdogTimeout = time.Duration(usec) * time.Microsecond
	}
	return n
}

// Ready says that the start, or a reload, is complete.
func (n Notifier) Ready(status string) error { return n.send("READY=1", statusLine(status)) }

// Status sets the line that `systemctl status` shows.
func (n Notifier) Status(text string) error { return n.send(statusLine(text)) }

// Stopping says that the process has begun to leave.
func (n Notifier) Stopping(status string) error { return n.send("STOPPING=1", statusLine(status)) }

// Reloading says that a reload has begun; [Notifier.Ready] ends it.
func (n Notifier) Reloading(status string) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("notify the service manager: read the clock: %w", err)
	}
	return n.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(now.Nano()/1000, 10), statusLine(status))
}

// Extend asks for more time while starting or stopping: d from now.
func (n Notifier) Extend(d time.Duration) error {
	return n.send("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10))
}

// Watchdog sends a sign of life three times per watchdog timeout for as long as alive says so, until ctx ends. When
// alive says no it keeps silent, so that the service manager ends and restarts a process that is stuck. It returns nil
// at once when nobody watches, else the cause of ctx; an error in sending is tried again and returned at the end.
func (n Notifier) Watchdog(ctx context.Context, alive func() bool) error {
	if n.Socket == "" || n.WatchdogTimeout <= 0 {
		return nil
	}
	tick := time.NewTicker(n.WatchdogTimeout / 3)
	defer tick.Stop()
	var last error
	for {
		if alive() {
			last = n.send("WATCHDOG=1")
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}

// send passes the lines to the service manager in one datagram. It never blocks for long: a manager that does not read
// is given one second.
func (n Notifier) send(lines ...string) error {
	if n.Socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.Socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer func() { _ = conn.Close() }() // a datagram is sent or not; closing tells nothing new
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	if _, err := conn.Write([]byte(strings.Join(lines, "\n") + "\n")); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}

// statusLine keeps the text in one line, or it would be read as further assignments.
func statusLine(text string) string {
	return "STATUS=" + strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "?")
}

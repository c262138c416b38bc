package rehearse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// starter starts the daemons of services as their unit files say, as far as a process that is not systemd can.
type starter struct {
	log *zap.Logger
}

// Bounds of starting and stopping. A unit's own are shorter, or count not: a person waits.
const (
	startTime  = 30 * time.Second
	stopTime   = 10 * time.Second
	settleTime = 150 * time.Millisecond // in which a simple service that cannot start has ended
	lookTime   = 20 * time.Millisecond
	maxLogFile = 1 << 20
)

func newStarter(log *zap.Logger) *starter { return &starter{log: log} }

func logOf(unit string) string { return filepath.Join(watchDir, "log", filepath.Base(unit)) }

// runReal does a job to a service for real. m.mu is let go meanwhile: what is started may call systemctl itself.
func (m *manager) runReal(c *serviceCall, u *unitFile, s *unitState, job string) (exit int, note string) {
	running := s.real
	if job == jobStart && s.state == stateActive && !s.onHost {
		return 0, noteRecorded + "; it is active already"
	}
	if job == jobStop && s.state != stateActive {
		return 0, noteRecorded + "; it is not active"
	}
	m.mu.Unlock()
	d, note, err := m.starter.do(u, running, job)
	m.mu.Lock()
	s.real, s.onHost, s.since = d, false, time.Now()
	var no *notStarted
	switch {
	case errors.As(err, &no) && no.believed:
		m.pretend(u, s, job)
		return 0, "recorded; not started for real: " + no.why
	case err != nil:
		s.state, s.result = stateFailed, "exit-code"
		m.starter.log.Warn("service does not start in the rehearsal", zap.String("unit", u.id), zap.Error(err))
		fmt.Fprintf(&c.err, "Job for %s failed because the control process exited with error code.\nSee \"systemctl status %[1]s\" and \"journalctl -xeu %[1]s\" for details.\n", u.id)
		return 1, "started for real, and failed: " + err.Error()
	case d != nil && (d.remains || d.running()):
		s.state = stateActive
	default:
		s.state = stateInactive
	}
	return 0, note
}

// notStarted is why a service was not started. believed: it is not the service's fault.
type notStarted struct {
	why      string
	believed bool
}

func (n *notStarted) Error() string { return n.why }

func (st *starter) do(u *unitFile, d *daemon, job string) (*daemon, string, error) {
	switch {
	case job == jobReload && d != nil:
		return d, "reloaded for real", st.reload(u, d)
	case job == jobReload: // it runs on the host, and not here
		return nil, noteRecorded, nil
	case job == jobStop && d == nil:
		return nil, noteRecorded + "; none of its processes runs in the sandbox", nil
	case job == jobStop:
		st.stop(u, d)
		return nil, "stopped for real", nil
	case d != nil:
		st.stop(u, d)
	}
	d, err := st.start(u)
	if err != nil {
		return d, "", err
	}
	note := "started for real: " + strings.TrimSuffix(u.id, ".service")
	if d.pid > 0 {
		note += " (pid " + strconv.Itoa(d.pid) + ")"
	}
	if len(d.notes) > 0 {
		note += "; " + strings.Join(d.notes, "; ")
	}
	return d, note, nil
}

// notHonoured are settings that change what a daemon may or sees, which it does not get here.
var notHonoured = []string{
	"RootDirectory", "RootImage", "DynamicUser", "LoadCredential", "SetCredential", "Sockets", "BindPaths", "AmbientCapabilities", "NetworkNamespacePath", "TemporaryFileSystem",
}

func (st *starter) start(u *unitFile) (*daemon, error) {
	kind := u.kind()
	if u.sysv {
		return nil, &notStarted{why: "it is a script in /etc/init.d", believed: true}
	}
	if kind == "dbus" || kind == "idle" {
		kind = "simple"
	}
	if strings.HasPrefix(kind, "notify") {
		kind = "notify"
	}
	d := &daemon{unit: u.id, id: newInvocation(), done: make(chan struct{})}
	for _, key := range notHonoured {
		if v := u.last("Service." + key); v != "" && !strings.EqualFold(v, "no") && v != "false" {
			d.notes = append(d.notes, key+"= is not honoured")
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	how, err := newExecution(u, d.id)
	if err != nil {
		return d, err
	}
	how.makeFolders()
	for _, line := range u.settings["Service.ExecStartPre"] {
		if err := how.run(ctx, line); err != nil {
			return d, fmt.Errorf("ExecStartPre=%s: %w", line, err)
		}
	}
	starts := u.settings["Service.ExecStart"]
	if len(starts) == 0 && kind != "oneshot" {
		return d, &notStarted{why: "its unit file has no ExecStart="}
	}
	switch kind {
	case "oneshot", "forking":
		for _, line := range starts {
			if err := how.run(ctx, line); err != nil {
				d.kill()
				return d, fmt.Errorf("ExecStart=%s: %w", line, err)
			}
		}
		d.remains = kind == "oneshot" && u.yes("Service.RemainAfterExit")
		if kind == "forking" {
			err = d.findMain(ctx, u.specified(u.last("Service.PIDFile")))
		}
	case "simple", "exec", "notify":
		err = how.begin(ctx, d, starts[0], kind == "notify")
	default:
		return nil, &notStarted{why: "services of Type=" + kind + " are not understood", believed: true}
	}
	if err != nil {
		d.kill()
		return d, err
	}
	for _, line := range u.settings["Service.ExecStartPost"] {
		how.set("MAINPID", strconv.Itoa(d.pid))
		if err := how.run(ctx, line); err != nil {
			d.kill()
			return d, fmt.Errorf("ExecStartPost=%s: %w", line, err)
		}
	}
	return d, nil
}

func (st *starter) reload(u *unitFile, d *daemon) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	how, err := newExecution(u, d.id)
	if err != nil {
		return err
	}
	how.set("MAINPID", strconv.Itoa(d.pid))
	for _, line := range u.settings["Service.ExecReload"] {
		if err := how.run(ctx, line); err != nil {
			return fmt.Errorf("ExecReload=%s: %w", line, err)
		}
	}
	return nil
}

// stop ends a service as its unit file says, then by signals. Nothing of it is left.
func (st *starter) stop(u *unitFile, d *daemon) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if how, err := newExecution(u, d.id); err == nil && d.running() {
		how.set("MAINPID", strconv.Itoa(d.pid))
		for _, line := range u.settings["Service.ExecStop"] {
			if err := how.run(ctx, line); err != nil {
				st.log.Info("service is stopped by signals", zap.String("unit", u.id), zap.Error(err))
			}
		}
		d.await(ctx, stopTime/5)
	}
	signal := syscall.SIGTERM
	switch u.last("Service.KillSignal") {
	case "SIGINT", "INT":
		signal = syscall.SIGINT
	case "SIGQUIT", "QUIT":
		signal = syscall.SIGQUIT
	case "SIGWINCH": // Amazon Linux's httpd: it ends gracefully
		signal = syscall.SIGWINCH
	case "SIGKILL", "KILL":
		signal = syscall.SIGKILL
	}
	pids := d.processes()
	if d.pid > 0 && slices.Contains(pids, d.pid) && u.last("Service.KillMode") == "mixed" {
		pids = []int{d.pid}
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, signal) // it may have ended
	}
	d.await(ctx, stopTime/2)
	d.kill()
}

// begin starts a main process that stays, and waits until it is up.
func (e *execution) begin(ctx context.Context, d *daemon, line string, notify bool) error {
	var ready chan error
	if notify {
		var err error
		if ready, err = e.awaitReady(ctx, d); err != nil {
			return err
		}
	}
	cmd, _, err := e.command(context.WithoutCancel(ctx), line)
	if err != nil {
		return err
	}
	log, err := openLog(d.unit)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Start()
	log.Close()
	if err != nil {
		return fmt.Errorf("ExecStart=%s: %w", line, err)
	}
	d.cmd, d.pid = cmd, cmd.Process.Pid
	go func() {
		_ = cmd.Wait() // its code tells
		d.mu.Lock()
		d.ended, d.code = true, cmd.ProcessState.ExitCode()
		d.mu.Unlock()
		close(d.done)
	}()
	settled := time.After(settleTime)
	if notify {
		settled = nil
	}
	select {
	case err := <-ready:
		return err
	case <-settled:
		return nil
	case <-d.done:
		if d.endedWell() && !notify {
			return nil
		}
		return fmt.Errorf("ExecStart=%s: it has ended with code %d", line, d.code)
	}
}

// awaitReady listens for READY=1 (sd_notify(3)).
func (e *execution) awaitReady(ctx context.Context, d *daemon) (chan error, error) {
	dir := filepath.Join(watchDir, "notify")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	at := filepath.Join(dir, d.id)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err == nil {
		err = os.Chmod(at, 0o666) // the daemon may be anybody
	}
	if err != nil {
		return nil, fmt.Errorf("listen for the word that it is ready: %w", err)
	}
	e.set("NOTIFY_SOCKET", at)
	ready := make(chan error, 1)
	end, _ := ctx.Deadline()
	_ = conn.SetReadDeadline(end)
	go func() {
		buf := make([]byte, 4<<10)
		told := false
		for {
			n, err := conn.Read(buf)
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded) && !told:
				ready <- fmt.Errorf("it has not said within %s that it is ready", startTime)
				return
			case err != nil:
				return
			case !told && slices.Contains(strings.Split(string(buf[:n]), "\n"), "READY=1"):
				told = true
				ready <- nil
				_ = conn.SetReadDeadline(time.Time{}) // what it says later is not to fail
			}
		}
	}()
	go func() { <-d.done; _ = conn.Close(); os.Remove(at) }()
	return ready, nil
}

// openLog is the file of what a daemon says. It is begun anew when it has grown large.
func openLog(unit string) (*os.File, error) {
	at := logOf(unit)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.Size() > maxLogFile {
		err = f.Truncate(0)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

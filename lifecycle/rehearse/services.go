package rehearse

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// RecorderOptions says how calls of service managers are answered.
type RecorderOptions struct {
	// Real starts and stops the daemons of services in the sandbox, as far as their unit files are understood. Otherwise a start is believed.
	Real bool
	// Active are the units that run on the host, such as httpd.service: they are told as active until they are stopped. In the sandbox none of
	// their processes runs.
	Active []string
	// Booted tells that systemd is process 1 of the host. If it is not, systemctl is answered nevertheless, and each answer says that the host would not.
	Booted bool
	Marks  *Marks              // of the rehearsal; nil: calls belong to no event
	Redact func(string) string // takes secrets out of command lines; nil: as they are
	Log    *zap.Logger         // nil: none
}

// Recorder answers the programs that scripts reach a service manager with, as these would, and notes the calls. It is safe for concurrent use.
type Recorder struct {
	options RecorderOptions
	manager *manager
	listen  *net.UnixListener
	done    sync.WaitGroup

	mu    sync.Mutex // guards what follows
	calls []lifecycle.ServiceCall
	left  int
}

// maxCalls bounds what is remembered: a script may wait for a service in a loop.
const maxCalls = 1000

const recorderSocket = watchDir + "/services"

// InstallRecorder begins to answer, within the walls and before the first script runs. EnterInside has put this program in the places of
// systemctl, service, chkconfig, initctl, rc-service, journalctl, loginctl, hostnamectl, timedatectl, shutdown and its like, wherever the host has them.
func InstallRecorder(o RecorderOptions) (*Recorder, error) {
	if o.Redact == nil {
		o.Redact = func(s string) string { return s }
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	r := &Recorder{options: o, manager: newManager(o)}
	if err := os.MkdirAll(watchDir, 0o755); err != nil {
		return nil, fmt.Errorf("answer service managers: %w", err)
	}
	_ = os.Remove(recorderSocket) // of a process that was here before
	var err error
	if r.listen, err = net.ListenUnix("unix", &net.UnixAddr{Name: recorderSocket, Net: "unix"}); err != nil {
		return nil, fmt.Errorf("answer service managers: %w", err)
	}
	if err := os.Chmod(recorderSocket, 0o666); err != nil { // who may do what is decided by who calls
		return nil, errors.Join(fmt.Errorf("answer service managers: %w", err), r.listen.Close())
	}
	r.done.Go(r.serve)
	return r, nil
}

// Calls are those so far, in their order.
func (r *Recorder) Calls() []lifecycle.ServiceCall {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

// Omitted counts the calls beyond those that are remembered.
func (r *Recorder) Omitted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.left
}

// Fact tells what is done with calls.
func (r *Recorder) Fact() lifecycle.Fact {
	value := "answered by a recorder; nothing is started"
	if r.options.Real {
		value = "answered by a recorder, which starts simple daemons for real"
	}
	return lifecycle.Fact{Name: "services", Value: value}
}

// Close ends the answers. Daemons that were started go on.
func (r *Recorder) Close() error {
	err := r.listen.Close()
	r.done.Wait()
	return err
}

// serviceRequest is a call as the caller's process sends it; serviceReply the answer to it.
type serviceRequest struct {
	Args []string // the name of the program first, without folders
	Dir  string
}

type serviceReply struct {
	Out, Err string
	Exit     int
	// Exec is a program that the caller is to run in place of an answer; its exit code is to be sent back, and gets another reply.
	Exec []string
}

// maxRequest bounds a call, and callTime how long it takes to arrive.
const (
	maxRequest = 4 << 20
	callTime   = 10 * time.Second
)

func (r *Recorder) serve() {
	for {
		conn, err := r.listen.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files, say: callers wait
			time.Sleep(callTime / 1000)
			continue
		}
		go r.receive(conn) // ends with the caller; those that Close leaves behind touch nothing of it
	}
}

func (r *Recorder) receive(conn *net.UnixConn) {
	defer conn.Close() //nolint:errcheck // all was said
	peer, err := peerOf(conn)
	if err != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(callTime))
	in := json.NewDecoder(io.LimitReader(conn, maxRequest))
	var q serviceRequest
	if err := in.Decode(&q); err != nil || len(q.Args) == 0 {
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	at, by := time.Now().UTC(), r.options.Marks.now()
	place := r.reserve(lifecycle.ServiceCall{At: at, By: by, Call: r.options.Redact(flatLine(strings.Join(q.Args, " "), maxCommand)), Answer: "not answered: the caller has gone", Exit: -1})
	c := &serviceCall{args: q.Args, root: peer.Uid == 0, by: by, exec: func(args []string) int {
		if json.NewEncoder(conn).Encode(serviceReply{Exec: args}) != nil {
			return -1
		}
		var code int
		if in.Decode(&code) != nil {
			return -1
		}
		return code
	}}
	r.manager.answer(c)
	if !r.options.Booted && slices.Contains(ofSystemd, q.Args[0]) {
		c.note += "; the host does not run systemd: there the call would fail"
	}
	r.settle(place, r.options.Redact(flatLine(c.note, maxCommand)), c.exit)
	_ = json.NewEncoder(conn).Encode(serviceReply{Out: c.out.String(), Err: c.err.String(), Exit: c.exit}) // who has gone needs no answer
}

// reserve notes a call before it is answered, so that calls are in the order of their beginning.
func (r *Recorder) reserve(c lifecycle.ServiceCall) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.calls) == maxCalls {
		r.left++
		return -1
	}
	r.calls = append(r.calls, c)
	return len(r.calls) - 1
}

func (r *Recorder) settle(place int, answer string, exit int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if place >= 0 {
		r.calls[place].Answer, r.calls[place].Exit = answer, exit
	}
}

func peerOf(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var asked error
	if err := raw.Control(func(fd uintptr) { peer, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return nil, err
	}
	return peer, asked
}

// serviceCall is one call while it is answered.
type serviceCall struct {
	args []string
	root bool // the caller is root
	by   lifecycle.Event
	exec func(args []string) int // has the caller run a program; its exit code, -1: it could not be

	out, err strings.Builder
	exit     int
	note     string // what the account says of it
}

func (c *serviceCall) print(format string, args ...any) { fmt.Fprintf(&c.out, format+"\n", args...) }

// fail ends a call with a message on its standard error, "" for none.
func (c *serviceCall) fail(exit int, note, message string) {
	if message != "" {
		c.err.WriteString(message + "\n")
	}
	c.exit, c.note = exit, note
}

// The notes of calls that are answered without more.
const (
	noteRecorded = "recorded"
	noteRead     = "answered from what was recorded"
)

// ofSystemd are the programs that need systemd to run.
var ofSystemd = []string{"systemctl", "loginctl", "hostnamectl", "timedatectl"}

// answers tells whether a program of this name is answered by the recorder.
func answers(name string) bool { return slices.Contains(recorded, name) }

// IsRecorded tells whether a program that is called by this path, its args[0], is to be RecorderMain.
func IsRecorded(path string) bool { return answers(filepath.Base(path)) }

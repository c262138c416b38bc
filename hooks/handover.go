package hooks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The order goes to the shim over a socket, which also carries the lock of the run: whoever has the message has the lock, and
// while it is on its way nobody else gets it. So a shim may be started before it is known what for.

// Descriptors of the shim: where it complains, and the socket.
const (
	stderrFD = 2
	orderFD  = 3
)

// firstChunk is how much of an order is read at once; the environment is rarely larger.
const firstChunk = 16 << 10

// briefTime bounds how long the shim may take to listen; it does so within milliseconds of its start.
const briefTime = 30 * time.Second

// brief is what travels to the shim through the socket, so that it never is on disk, and so that a starter that dies half-way
// has started nothing: without the end mark the shim does not begin.
type brief struct {
	Dir    string   `json:"dir"` // the run folder
	Place  Place    `json:"place"`
	Redact []string `json:"redact,omitempty"`
	Notes  []string `json:"notes,omitempty"`
}

// encodeBrief is one line of JSON, then the variables, each ended by NUL, then an empty one.
func encodeBrief(b brief, env []string) ([]byte, error) {
	head, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	buf := bytes.NewBuffer(append(head, '\n'))
	for _, v := range env {
		buf.WriteString(v)
		buf.WriteByte(0)
	}
	buf.WriteByte(0)
	return buf.Bytes(), nil
}

var errNoBrief = errors.New("starter ended before it had said everything")

func decodeBrief(data []byte) (b brief, env []string, err error) {
	head, rest, ok := bytes.Cut(data, []byte{'\n'})
	if !ok {
		return b, nil, errNoBrief
	}
	if err := json.Unmarshal(head, &b); err != nil {
		return b, nil, fmt.Errorf("read order from starter: %w", err)
	}
	for {
		v, more, ok := bytes.Cut(rest, []byte{0})
		switch {
		case !ok:
			return b, nil, errNoBrief
		case len(v) == 0:
			return b, env, nil
		}
		env, rest = append(env, string(v)), more
	}
}

// newShim starts a shim, which waits for its order. What it complains about goes to stderr until then.
func (r *Runner) newShim(stderr *os.File) (*waiting, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	if stderr == nil {
		stderr = null
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	hear := os.NewFile(uintptr(pair[0]), "order")
	defer hear.Close()
	if err := unix.SetNonblock(pair[1], true); err != nil { // for the deadline
		return nil, errors.Join(err, unix.Close(pair[1]))
	}
	tell := os.NewFile(uintptr(pair[1]), "order")
	// The shim's environment is empty: what is meant for the script might steer the shim.
	process, err := os.StartProcess(r.Shim[0], r.Shim, &os.ProcAttr{
		Dir: "/", Env: []string{}, Files: []*os.File{null, null, stderr, hear}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		tell.Close()
		return nil, fmt.Errorf("start its shim: %w", err)
	}
	return &waiting{process: process, tell: tell}, nil
}

// waiting is a shim without an order. It ends if tell is closed.
type waiting struct {
	process *os.Process
	tell    *os.File
	place   Place // reserved for it
}

// order gives the shim its order and the lock of the run.
func (w *waiting) order(message []byte, lock *os.File) error {
	if err := w.tell.SetWriteDeadline(time.Now().Add(briefTime)); err != nil {
		return err
	}
	socket, err := w.tell.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var sendErr error
	err = socket.Write(func(fd uintptr) bool {
		n, sendErr = unix.SendmsgN(int(fd), message, unix.UnixRights(int(lock.Fd())), nil, unix.MSG_NOSIGNAL)
		return !errors.Is(sendErr, unix.EAGAIN)
	})
	if err = errors.Join(err, sendErr); err != nil {
		return err
	}
	_, err = w.tell.Write(message[n:])
	return err
}

// errDeaf is a shim that did not hear its order out, and so has not begun.
var errDeaf = errors.New("brief its shim")

// errDismissed is what a shim gets that is not needed.
var errDismissed = errors.New("no order came")

// handed is what came over the socket.
type handed struct {
	message []byte
	lock    *os.File
	err     error
}

// receive waits for the order on a socket, unless the process is told to stop before.
func receive(fd int, stop <-chan struct{}) handed {
	came := make(chan handed, 1)
	go func() { came <- listen(fd) }()
	select {
	case h := <-came:
		return h
	case <-stop:
		return handed{err: errDismissed}
	}
}

// listen reads an order whole.
func listen(fd int) handed {
	socket := os.NewFile(uintptr(fd), "order")
	defer socket.Close()
	first, rights := make([]byte, firstChunk), make([]byte, unix.CmsgSpace(4))
	var n, got int
	var err error
	for {
		if n, got, _, _, err = unix.Recvmsg(fd, first, rights, unix.MSG_CMSG_CLOEXEC); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case err != nil:
		return handed{err: err}
	case n == 0:
		return handed{err: errDismissed}
	}
	lock, err := lockOf(rights[:got])
	if err != nil {
		return handed{err: fmt.Errorf("read order: no lock with it: %w", err)}
	}
	rest, err := io.ReadAll(socket)
	return handed{message: append(first[:n:n], rest...), lock: lock, err: err}
}

// lockOf takes the lock of the run out of what came beside the order. Its file holds from now on what a shim that breaks down has
// to say.
func lockOf(rights []byte) (*os.File, error) {
	control, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	if len(control) != 1 {
		return nil, errNoBrief
	}
	fds, err := unix.ParseUnixRights(&control[0])
	if err != nil {
		return nil, err
	}
	if err := unix.Dup3(fds[0], stderrFD, 0); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fds[0]), lockFile), nil
}

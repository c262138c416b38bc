// Package rehearse runs the engine in a throw-away copy of the machine, and tells what it would have changed.
//
// A sandbox is two processes. The stage has a mount namespace of its own, without root a user namespace too: it mounts overlays over the
// file systems of the host, and reads afterwards what was written into their upper layers. The inside lives in the copy, as process 1 of
// namespaces of its own, with few capabilities, behind a system call filter, with no way back to the mounts, devices, sockets and processes of the host.
// Where a host cannot give that there is a [Refusal]; the real host is never used instead.
package rehearse

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// StageVerb is the hidden command whose body is StageMain.
const StageVerb = "rehearse-stage"

// Options of a sandbox.
type Options struct {
	// Upper is an existing folder on disk for what is written; it is bounded by the disk's free space alone, of which Size may be used. "": memory.
	Upper string
	// Size is how many bytes may be written; 0: half of the memory that is free, at most 8 GiB.
	Size int64
	// HostNet is the network of the host in place of one with nothing but loopback.
	HostNet bool
	// PIDs is how many processes may live inside at a time; 0: 2048.
	PIDs int64
	// Writable are folders that a user namespace is to be able to write to although they belong to root, such as the deployment root and the
	// destinations of the appspec. In the copy they, their parents and what is made in them belong to the user. Root needs none.
	Writable []string
	// LeaveOut are paths that are never told as changed, with all below them.
	LeaveOut []string
	Log      *zap.Logger

	lower     string // for tests: a folder in place of /, with a program and what that needs
	noCgroups bool   // for tests: as where there are none
}

// Bounds and defaults.
const (
	defaultPIDs = 2048
	maxSize     = 8 << 30
	minSize     = 16 << 20
	closeTime   = 10 * time.Second // for the stage to tidy up
)

// Possible tells whether this host can give a sandbox: nil, or a *Refusal. It makes one, with a process inside that ends at once.
func Possible(ctx context.Context) error {
	s, err := Open(ctx, Options{Size: minSize})
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // it was a probe
	inside, err := s.Start(ctx, []string{"", StageVerb, withinVerb}, nil)
	if err != nil {
		return err
	}
	return inside.Wait()
}

// Sandbox is a copy of the machine. It is safe for concurrent use.
type Sandbox struct {
	log     *zap.Logger
	line    *line
	stage   *exec.Cmd
	control *os.File
	ended   chan struct{} // closed when the stage has ended
	tail    *tail         // what stage and inside said
	pids    int64         // how many processes may live inside
	out     *os.File      // fd 3 of inside
	in      *os.File      // fd 4 of inside

	closing sync.Once
	closed  error // of Close; valid when closing is done

	mu      sync.Mutex // guards what follows
	started bool
	walls   []lifecycle.Fact
	opened  openAnswer
	redact  func(string) string
}

// openBody is what the stage has to know.
type openBody struct {
	Upper, Lower       string
	Size, PIDs, Memory int64
	HostNet, UserNS    bool
	NoCgroups          bool
	Writable, LeaveOut []string
}

type openAnswer struct {
	Walls []lifecycle.Fact
	// What is to be removed if the stage cannot.
	Cgroups []string
	Folder  string
}

// Open makes the copy. Close has to be called for it.
func Open(ctx context.Context, o Options) (*Sandbox, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if r := noQuietCores("/proc"); r != nil {
		return nil, r
	}
	userns, err := needsUserNamespace()
	if err != nil {
		return nil, err
	}
	b, err := o.body(userns)
	if err != nil {
		return nil, err
	}
	s := &Sandbox{log: o.Log, ended: make(chan struct{}), tail: &tail{}, pids: b.PIDs}
	if err := s.startStage(userns); err != nil {
		return nil, err
	}
	if userns {
		if err = mapUsers(ctx, s.stage.Process.Pid); err == nil {
			_, err = s.control.Write([]byte("\n")) // the stage waits for it
		}
	}
	if err == nil {
		if err = s.line.ask(ctx, opOpen, b, &s.opened); errors.Is(err, errStageGone) {
			err = noRights("/proc", "set the sandbox up", fmt.Errorf("%w: %s", err, s.tail.text()))
		}
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	s.walls = s.opened.Walls
	return s, nil
}

func (o *Options) body(userns bool) (*openBody, error) {
	b := &openBody{Upper: o.Upper, Lower: o.lower, Size: o.Size, PIDs: o.PIDs, HostNet: o.HostNet, UserNS: userns, NoCgroups: o.noCgroups, Writable: o.Writable, LeaveOut: o.LeaveOut}
	free := availableMemory()
	if b.Size == 0 {
		b.Size = min(free/2, maxSize)
	}
	if b.Size < minSize {
		return nil, &Refusal{What: "bound what is written", Why: fmt.Sprintf("%d bytes are too few", b.Size), Remedy: fmt.Sprintf("allow at least %d bytes, or free memory", minSize)}
	}
	if b.PIDs == 0 {
		b.PIDs = defaultPIDs
	}
	if home, err := os.UserHomeDir(); userns && err == nil {
		b.Writable = append(b.Writable[:len(b.Writable):len(b.Writable)], home)
	}
	b.Memory = free / 4
	if b.Upper == "" {
		b.Memory += b.Size
	}
	return b, nil
}

// startStage starts the stage. A thread of its own waits for it, because the kernel ends the stage with the thread that started it.
func (s *Sandbox) startStage(userns bool) error {
	ours, theirs, err := socketPair()
	if err != nil {
		return fmt.Errorf("make a connection to the stage: %w", err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	s.control, s.out, s.in = ours, outR, inW
	flags := uintptr(unix.CLONE_NEWNS)
	if userns {
		flags |= unix.CLONE_NEWUSER
	}
	s.stage = &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{"slipway", StageVerb}, Env: []string{}, Dir: "/", ExtraFiles: []*os.File{theirs, outW, inR},
		Stderr:      s.tail,
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: flags, Setsid: true, Pdeathsig: unix.SIGTERM},
	}
	begun := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the stage, not before
		err := s.stage.Start()
		begun <- err
		if err == nil {
			_ = s.stage.Wait()
			close(s.ended)
		}
	}()
	err = <-begun
	for _, f := range []*os.File{theirs, outW, inR} {
		f.Close()
	}
	if err != nil {
		for _, f := range []*os.File{ours, outR, inW} {
			f.Close()
		}
		return noNamespaces("/proc", userns, bareCause(err))
	}
	s.line = newLine(ours, s.answer)
	go s.line.serve(ours)
	return nil
}

// answer is for what the stage asks.
func (s *Sandbox) answer(op string, body json.RawMessage) (any, error) {
	s.mu.Lock()
	redact := s.redact
	s.mu.Unlock()
	var text string
	if err := json.Unmarshal(body, &text); err != nil || op != opRedact || redact == nil {
		return nil, fmt.Errorf("%s is not to be asked", op)
	}
	return redact(text), nil
}

// Inside is the process in the copy.
type Inside struct {
	Out *bufio.Reader  // what it writes to its descriptor 3. It is the word of a process among hostile ones
	In  io.WriteCloser // what it reads from its descriptor 4
	s   *Sandbox
}

// Start starts a program as process 1 of the sandbox, once. An argv[0] of "" is this program; it has to call EnterInside before it does anything else. Start
// returns when that has happened: what the program then does it does within the walls. Its standard output and error are kept for errors.
func (s *Sandbox) Start(ctx context.Context, argv, env []string) (*Inside, error) {
	s.mu.Lock()
	again := s.started
	s.started = true
	s.mu.Unlock()
	if again {
		return nil, errors.New("start a process in the sandbox: one was started already")
	}
	var walls []lifecycle.Fact
	if err := s.line.ask(ctx, opStart, startBody{Argv: argv, Env: env}, &walls); err != nil {
		return nil, s.telling("start a process in the sandbox", err)
	}
	s.mu.Lock()
	s.walls = append(s.walls, walls...)
	s.mu.Unlock()
	return &Inside{Out: bufio.NewReader(s.out), In: s.in, s: s}, nil
}

// Wait waits until the process has ended, and with it all others of the sandbox. Its error tells of an exit status that is not 0, and what ended it
// if it did not end by itself.
func (i *Inside) Wait() error {
	err := i.s.line.ask(context.Background(), opWait, nil, nil)
	return i.s.telling("the sandbox ended early", err)
}

// telling adds what the processes have said last.
func (s *Sandbox) telling(what string, err error) error {
	var r *Refusal
	if err == nil || errors.As(err, &r) {
		return err
	}
	said := s.tail.text()
	if strings.Contains(said, noThread) {
		// Without root the bound is one of the user's, which process 1 meets as its children do; what the runtime says then is of no use to anybody.
		return fmt.Errorf("%s: the sandbox ended early: more than %d processes lived in it", what, s.pids)
	}
	if said != "" {
		return fmt.Errorf("%s: %w: %s", what, err, said)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Base takes what the copy has become until now as given, as what the sandbox itself has done: see Scanner.Base.
func (s *Sandbox) Base(ctx context.Context) error { return s.line.ask(ctx, opBase, nil, nil) }

// Scan attributes to an event what is new in the copy since the last Scan: see Scanner.Mark.
func (s *Sandbox) Scan(ctx context.Context, ev lifecycle.Event, byHook bool) error {
	return s.line.ask(ctx, opMark, markBody{Event: ev, ByHook: byHook}, nil)
}

// Changes tells what was changed: see Scanner.Changes.
func (s *Sandbox) Changes(ctx context.Context, o ChangesOptions) ([]lifecycle.FileChange, int, error) {
	s.mu.Lock()
	s.redact = o.Redact
	s.mu.Unlock()
	var a changesAnswer
	err := s.line.ask(ctx, opChanges, changesBody{Max: o.Max, DiffMax: o.DiffMax, Redact: o.Redact != nil}, &a)
	return a.Files, a.Omitted, err
}

// Compare holds a plan against what the copy has become: see Scanner.Compare.
func (s *Sandbox) Compare(ctx context.Context, expected []Expected) (*lifecycle.Prediction, error) {
	var p *lifecycle.Prediction
	err := s.line.ask(ctx, opCompare, expected, &p)
	return p, err
}

// People tells of users and groups: see Scanner.People.
func (s *Sandbox) People(ctx context.Context) (lines []string, err error) {
	err = s.line.ask(ctx, opPeople, nil, &lines)
	return lines, err
}

// Cron tells of what runs at times: see Scanner.Cron.
func (s *Sandbox) Cron(ctx context.Context) (lines []string, err error) {
	err = s.line.ask(ctx, opCron, nil, &lines)
	return lines, err
}

// Packages tells of packages: see Scanner.Packages.
func (s *Sandbox) Packages(ctx context.Context) (lines []string, err error) {
	err = s.line.ask(ctx, opPackages, nil, &lines)
	return lines, err
}

// Walls says what the sandbox is made of, and what its limits are; after Start there is more of it.
func (s *Sandbox) Walls() []lifecycle.Fact {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]lifecycle.Fact(nil), s.walls...)
}

// Close ends all processes of the sandbox. Nothing is left: no mount, no cgroup, no folder. It may be called again, and while another goroutine
// waits for the sandbox: that ends the wait.
func (s *Sandbox) Close() error {
	s.closing.Do(func() { s.closed = s.close() })
	return s.closed
}

func (s *Sandbox) close() error {
	_ = unix.Shutdown(int(s.control.Fd()), unix.SHUT_WR) // the stage sees it and tidies up
	var err error
	select {
	case <-s.ended:
	case <-time.After(closeTime):
		_ = s.stage.Process.Kill()
		<-s.ended
		err = fmt.Errorf("close the sandbox: its stage did not end within %v and was killed", closeTime)
	}
	for _, f := range []*os.File{s.control, s.out, s.in} {
		f.Close()
	}
	for _, dir := range s.opened.Cgroups {
		if e := removeCgroup(dir); e != nil {
			err = errors.Join(err, e)
		}
	}
	if s.opened.Folder != "" {
		openWork(s.opened.Folder)
		if e := os.RemoveAll(s.opened.Folder); e != nil {
			err = errors.Join(err, fmt.Errorf("remove what was written: %w", e))
		}
	}
	if code := s.stage.ProcessState.ExitCode(); err == nil && code != 0 {
		err = fmt.Errorf("close the sandbox: its stage ended with %v: %s", s.stage.ProcessState, s.tail.text())
	}
	return err
}

// noThread is how the runtime begins to say that the kernel gives it no thread.
const noThread = "runtime: failed to create new OS thread"

// tail keeps the beginning and the end of a text.
type tail struct {
	mu   sync.Mutex // guards what follows
	head []byte
	buf  []byte
	cut  bool // something between them is left out
}

const (
	headBytes = 512
	tailBytes = 8 << 10
)

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	begin := min(n, headBytes-len(t.head))
	t.head, p = append(t.head, p[:begin]...), p[begin:]
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailBytes; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
		t.cut = true
	}
	return n, nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	between := ""
	if t.cut {
		between = " … "
	}
	return strings.TrimSpace(string(t.head) + between + string(t.buf))
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "stage"), os.NewFile(uintptr(fds[1]), "stage"), nil
}

// bareCause is the errno of an error of os/exec, without the name of the program.
func bareCause(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}

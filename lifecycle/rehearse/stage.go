package rehearse

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

const (
	// withinVerb follows StageVerb where the process is to enter the sandbox and to end.
	withinVerb = "within"
	// mappedVerb follows it where the stage's user namespace has its users.
	mappedVerb = "mapped"
)

// The descriptors of the stage.
const (
	stageControl = 3
	stageOut     = 4
	stageIn      = 5
)

// StageMain is the body of the hidden command rehearse-stage: the program of a process that Open starts. What it returns is the exit code.
func StageMain(args []string) int {
	var err error
	switch {
	case slices.Equal(args, []string{withinVerb}):
		err = EnterInside()
	case len(args) == 0 || slices.Equal(args, []string{mappedVerb}):
		err = runStage(len(args) == 1)
	default:
		err = errors.New("usage: " + StageVerb + "; it is started by a rehearsal, not by hand")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runStage(mapped bool) error {
	runtime.LockOSThread()
	var st unix.Stat_t
	if unix.Fstat(stageControl, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New(StageVerb + " is started by a rehearsal, not by hand")
	}
	for fd := stageControl; fd <= stageIn; fd++ {
		unix.CloseOnExec(fd)
	}
	if caps, err := effective(); err != nil || caps&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return becomeRoot(mapped, err)
	}
	// What gains capabilities loses both.
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	unix.Umask(0o022)
	control := os.NewFile(stageControl, "control")
	s := &stage{control: control, insideEnded: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	s.ctx = ctx
	s.line = newLine(control, s.answer)
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	gone := make(chan struct{})
	go func() {
		s.line.read(control)
		close(gone)
	}()
	select {
	case <-asked:
	case <-gone:
	}
	cancel()
	return s.close()
}

// becomeRoot waits until the user namespace has its users, and executes the program again: that makes it root there.
func becomeRoot(mapped bool, err error) error {
	if err != nil || mapped {
		return fmt.Errorf("the user namespace gives no capabilities: %w", errors.Join(err, unix.EPERM))
	}
	if err := unix.SetNonblock(stageControl, false); err != nil {
		return err
	}
	var b [1]byte
	if n, err := unix.Read(stageControl, b[:]); n != 1 {
		return fmt.Errorf("wait for the users of the namespace: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	for fd := stageControl; fd <= stageIn; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return err
		}
	}
	return fmt.Errorf("execute this program again: %w", unix.Exec("/proc/self/exe", []string{"slipway", StageVerb, mappedVerb}, nil))
}

// stage holds the copy.
type stage struct {
	ctx     context.Context // ends with the person's process
	control *os.File
	line    *line

	mu      sync.Mutex // guards the scanner, and what follows until a blank line
	copier  *copier
	scanner *Scanner
	bounds  *bounds
	run     runShape

	inside      *exec.Cmd
	insideEnded chan struct{} // closed when it has
	insideErr   error         // valid then
	why         string        // it was killed; guarded by whyMu
	whyMu       sync.Mutex
}

func (s *stage) answer(op string, body json.RawMessage) (any, error) {
	if op == opWait {
		return nil, s.ended()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch op {
	case opOpen:
		var b openBody
		if err := json.Unmarshal(body, &b); err != nil {
			return nil, err
		}
		return s.open(b)
	case opStart:
		var b startBody
		if err := json.Unmarshal(body, &b); err != nil {
			return nil, err
		}
		return s.start(b)
	}
	if s.scanner == nil {
		return nil, errors.New("the sandbox is not open")
	}
	return s.scan(op, body)
}

func (s *stage) scan(op string, body json.RawMessage) (any, error) {
	switch op {
	case opMark:
		var b markBody
		if err := json.Unmarshal(body, &b); err != nil {
			return nil, err
		}
		return nil, s.scanner.Mark(s.ctx, b.Event, b.ByHook)
	case opBase:
		return nil, s.scanner.Base(s.ctx)
	case opChanges:
		var b changesBody
		if err := json.Unmarshal(body, &b); err != nil {
			return nil, err
		}
		o := ChangesOptions{Max: b.Max, DiffMax: b.DiffMax}
		if b.Redact {
			o.Redact = s.redact
		}
		files, omitted, err := s.scanner.Changes(s.ctx, o)
		return changesAnswer{files, omitted}, err
	case opCompare:
		var expected []Expected
		if err := json.Unmarshal(body, &expected); err != nil {
			return nil, err
		}
		return s.scanner.Compare(s.ctx, expected)
	case opPeople:
		return s.scanner.People(s.ctx)
	case opCron:
		return s.scanner.Cron(s.ctx)
	case opPackages:
		return s.scanner.Packages(s.ctx)
	}
	return nil, fmt.Errorf("unknown question %q", op)
}

// redact lets the person's process take secrets out; what cannot be asked is left out whole.
func (s *stage) redact(text string) string {
	var out string
	if s.line.ask(s.ctx, opRedact, text, &out) != nil {
		return ""
	}
	return out
}

func (s *stage) open(b openBody) (any, error) {
	if s.copier != nil {
		return nil, errors.New("the sandbox is open already")
	}
	s.run = shapeOfRun() // before something is mounted over it
	s.copier = &copier{openBody: b}
	if err := s.copier.build(); err != nil {
		return nil, err
	}
	s.scanner = NewScanner(s.copier.layers, s.copier.leaveOut)
	s.bounds = &bounds{}
	if !b.NoCgroups {
		s.bounds = makeBounds(b.PIDs, b.Memory)
	}
	a := openAnswer{Walls: append(s.copier.walls, s.bounds.facts(b.PIDs, b.Memory)...), Cgroups: s.bounds.dirs}
	if s.copier.disk != nil {
		a.Folder = s.copier.disk.Dir
	}
	return a, nil
}

func (c *copier) leaveOut(name string) bool {
	return slices.Contains(ownFolders, name) || slices.ContainsFunc(c.LeaveOut, func(dir string) bool { return within(name, dir) })
}

// insideStatus is what the inside says of itself.
type insideStatus struct {
	No    *Refusal
	Error string
	Walls []lifecycle.Fact
}

func (s *stage) start(b startBody) (any, error) {
	if s.copier == nil || s.inside != nil {
		return nil, errors.New("there is no sandbox, or something was started in it already")
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	orderR, orderW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer orderW.Close()
	statusR, statusW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer statusR.Close()
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	if !s.copier.HostNet {
		flags |= unix.CLONE_NEWNET
	}
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: append([]string{"slipway"}, b.Argv[min(1, len(b.Argv)):]...), Env: append(slices.Clone(b.Env), wallsVariable+"=enter"), Dir: "/",
		Stdout: os.Stderr, Stderr: os.Stderr,
		ExtraFiles:  []*os.File{os.NewFile(stageOut, "out"), os.NewFile(stageIn, "in"), orderR, statusW},
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: flags, Setsid: true, Pdeathsig: unix.SIGKILL},
	}
	if len(b.Argv) > 0 && b.Argv[0] != "" {
		cmd.Path = b.Argv[0]
	}
	if err := s.launch(cmd); err != nil {
		return nil, noNamespaces("/proc", false, bareCause(err))
	}
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	order := insideOrder{HostNet: s.copier.HostNet, UserNS: s.copier.UserNS, Size: s.copier.Size, Exe: exe, Run: s.run, Counted: s.bounds.pids == "", MemoryBound: s.bounds.memory != "", PIDs: s.copier.PIDs}
	if err := s.admit(cmd.Process.Pid, orderW, &order); err != nil {
		_ = cmd.Process.Kill()
		return nil, err
	}
	var status insideStatus
	if err := json.NewDecoder(statusR).Decode(&status); err != nil {
		_ = cmd.Process.Kill()
		<-s.insideEnded
		return nil, fmt.Errorf("it ended before it was within the walls: %w", cmp.Or(s.insideErr, io.ErrUnexpectedEOF))
	}
	switch {
	case status.No != nil:
		return nil, status.No
	case status.Error != "":
		return nil, errors.New(status.Error)
	}
	s.watch(cmd.Process.Pid)
	return status.Walls, nil
}

// launch starts the inside by a thread that lives as long.
func (s *stage) launch(cmd *exec.Cmd) error {
	begun := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		begun <- err
		if err == nil {
			s.insideErr = cmd.Wait()
			close(s.insideEnded)
		}
	}()
	err := <-begun
	if err == nil {
		s.inside = cmd
	}
	return err
}

// admit bounds the process and tells it what to do; it has waited for that.
func (s *stage) admit(pid int, to *os.File, order *insideOrder) error {
	if err := s.bounds.enter(pid); err != nil {
		return err
	}
	if err := json.NewEncoder(to).Encode(order); err != nil {
		return fmt.Errorf("tell the process in the sandbox what to do: %w", err)
	}
	return to.Close()
}

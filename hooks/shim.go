package hooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what the shim waits for beside timeout and grace; together less than the second it is allowed.
const (
	killTime  = 700 * time.Millisecond // for the killed to be gone
	drainTime = 200 * time.Millisecond // for the last of their output
	busyTime  = time.Second            // for a script that is still open for writing
)

// shim is the process between starter and script.
type shim struct {
	dir     string
	script  Script
	brief   brief
	command *command // once it is known
	lock    *os.File
	room    *os.File // for the result, kept free on the disk; nil: none
	red     *redactor
	out     *output
	cage    *cage
	stop    <-chan struct{} // closed: the script is to end
	again   <-chan struct{} // closed: at once
	result  Result

	memoryTold bool // the failure says that the memory limit was met
}

// ShimMain is the shim: the program of a process that does nothing else, started by a Runner. args has to be empty. What it
// returns is the exit code; the result of the run is in the run folder.
func ShimMain(args []string) int {
	const usage = "usage: hook-shim; it is started by the agent, not by hand"
	if len(args) != 0 {
		fmt.Fprintln(os.Stderr, usage)
		return 64
	}
	stop, again := seclude()
	id, err := identify()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	patternScanner() // is made while there is nothing else to do
	h := receive(orderFD, stop)
	switch {
	case errors.Is(h.err, errDismissed):
		return 0
	case errors.Is(h.err, unix.ENOTSOCK), errors.Is(h.err, unix.EBADF):
		fmt.Fprintln(os.Stderr, usage)
		return 64
	}
	s, err := board(h, stop)
	if err == nil {
		s.again = again
		err = s.begin(id)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s.run()
	return 0
}

// board makes a run of what the starter said: the order itself is in the run folder.
func board(h handed, stop <-chan struct{}) (*shim, error) {
	if h.err != nil {
		return nil, h.err
	}
	b, env, err := decodeBrief(h.message)
	if err != nil {
		return nil, fmt.Errorf("read order: %w", err)
	}
	if !filepath.IsAbs(b.Dir) {
		return nil, fmt.Errorf("read order: the run folder %q is not absolute", b.Dir)
	}
	record, err := readRecord(b.Dir, runFile)
	if err != nil {
		return nil, err
	}
	order, err := decodeOrder(record)
	if err != nil {
		return nil, err
	}
	order.Dir, order.Env, order.Redact = b.Dir, env, b.Redact
	if order, err = order.withDefaults(); err != nil {
		return nil, err
	}
	// Nothing of what is meant for the script steers the shim, but for the time zone of its log entries.
	if tz := variable(env, "TZ"); tz != "" {
		if err := os.Setenv("TZ", tz); err != nil {
			return nil, err
		}
	}
	s := &shim{dir: b.Dir, script: order, brief: b, lock: h.lock, stop: stop, red: newRedactor(b.Redact), cage: newCage(b.Place)}
	shield(b.Place)
	s.out = newOutput(order, s.red)
	s.result = Result{Script: order.Name, RunAs: order.RunAs, Exit: -1, Notes: b.Notes}
	return s, nil
}

// seclude makes this process one that nothing but its script concerns: no inherited descriptors, no core dumps, parent of all
// orphans below it, deaf to all signals but KILL and TERM, which is the wish to end the script, and the second time to end it without grace.
func seclude() (stop, again <-chan struct{}) {
	if unix.CloseRange(orderFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) != nil {
		entries, _ := os.ReadDir("/proc/self/fd")
		for _, e := range entries {
			if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= orderFD {
				unix.CloseOnExec(fd)
			}
		}
	}
	unix.Umask(0o022)
	_ = os.Chdir("/")
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	// What is caught here is back at its default in the script, also where whoever started the agent had it ignored.
	caught, asked := make(chan os.Signal, 8), [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	signal.Notify(caught, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGPIPE, unix.SIGALRM, unix.SIGUSR1, unix.SIGUSR2,
		unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT, unix.SIGCHLD, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGVTALRM, unix.SIGPROF)
	go func() {
		for n := 0; ; {
			if sig := <-caught; sig == unix.SIGTERM && n < len(asked) {
				close(asked[n])
				n++
			}
		}
	}()
	return asked[0], asked[1]
}

// identify is what this process is known by: in a shim that waits it is looked up before there is an order.
func identify() (began, error) {
	self, err := readProc(os.Getpid())
	return began{Version: recordVersion, BootID: bootID(), PID: self.pid, StartTime: self.start}, err
}

// begin makes started: whoever makes it runs the script, and nobody after.
func (s *shim) begin(b began) error {
	b.At, b.Place = time.Now(), s.brief.Place
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	if err := writeNew(filepath.Join(s.dir, startedFile), data); err != nil {
		return fmt.Errorf("begin run: %w", err)
	}
	s.room = keepRoom(s.dir)
	return syncDir(s.dir)
}

// run runs the script and leaves the result in the folder.
func (s *shim) run() {
	reading := s.perform()
	s.metLimits()
	s.out.fill(&s.result)
	s.result.hint(s.command)
	s.conceal()
	s.deliver()
	if !reading {
		return
	}
	// Somebody still has a pipe open: to leave now would end that process by SIGPIPE at its next word.
	debug.FreeOSMemory()
	<-s.out.done
}

// conceal takes secrets out of what a result says in words: a path, the first line of a script, what another program had to say. The
// output has been through this before.
func (s *shim) conceal() {
	if f, ok := errors.AsType[*Failure](s.result.Err); ok {
		f.Detail = string(s.red.clean([]byte(f.Detail)))
	}
	for i, n := range s.result.Notes {
		s.result.Notes[i] = string(s.red.clean([]byte(n)))
	}
}

// perform fills the result and reports whether output is still to be read.
func (s *shim) perform() (reading bool) {
	for _, h := range s.script.Header {
		s.out.entry(h)
	}
	note, f := s.script.find(false)
	if f != nil {
		s.result.Err = f
		return false
	}
	s.note(note)
	if s.script.RunAsSet && s.script.RunAs == "" {
		s.note("runas is empty: the script runs as the agent's own user")
	}
	s.out.entry("Script - " + s.script.Name)
	c, f := s.script.prepare()
	if f != nil {
		s.result.Err = f
		return false
	}
	s.command = c
	s.result.Notes = append(s.result.Notes, c.notes...)
	s.result.Started = time.Now()
	deadline := make(chan struct{})
	defer time.AfterFunc(s.script.Timeout, func() { close(deadline) }).Stop()
	pid, err := s.launch(c)
	if err != nil {
		s.result.Started = time.Time{}
		s.result.Err = s.script.failure(ErrFailed, "cannot be run: %s", s.script.explain(c, err))
		return false
	}
	ended, childless := make(chan ending, 1), make(chan struct{})
	go reap(pid, ended, childless)
	select {
	case e := <-ended:
		return s.settle(e, deadline)
	case <-s.stop:
		return s.cut(ended, childless, ErrFailed, "was ended on request")
	case <-deadline:
		select {
		case e := <-ended:
			return s.settle(e, deadline)
		default:
			return s.cut(ended, childless, ErrTimedOut, fmt.Sprintf("did not end within its timeout of %s", s.script.Timeout))
		}
	}
}

func (s *shim) note(text string) {
	if text != "" {
		s.result.Notes = append(s.result.Notes, text)
	}
}

// launch starts the script with its output connected.
func (s *shim) launch(c *command) (pid int, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	defer s.out.wait()
	stdout, err := s.out.open("stdout")
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(stdout) }()
	stderr, err := s.out.open("stderr")
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(stderr) }()
	attr := syscall.ProcAttr{Dir: s.script.WorkDir, Env: c.env, Files: []uintptr{null.Fd(), uintptr(stdout), uintptr(stderr)}}
	pid, note, err := s.cage.start(func(sys *syscall.SysProcAttr) (int, error) {
		sys.Credential = c.cred
		attr.Sys = sys
		pid, notes, err := s.fork(c, &attr)
		s.result.Notes = append(s.result.Notes, notes...)
		return pid, err
	})
	s.note(note)
	return pid, err
}

// fork starts the script; without #! by /bin/sh (H-18), and again for a while if it is still open for writing.
func (s *shim) fork(c *command, attr *syscall.ProcAttr) (pid int, notes []string, err error) {
	argv := c.argv
	wait, tried := 5*time.Millisecond, time.Now()
	for {
		pid, notes, err = forkLimited(argv, attr, c.limits)
		switch {
		case errors.Is(err, unix.ENOEXEC) && c.direct() && len(argv) == 1 && !foreign(s.script.Path):
			argv = []string{"/bin/sh", s.script.Path}
		case errors.Is(err, unix.ETXTBSY) && time.Since(tried) < busyTime:
			time.Sleep(wait)
			wait *= 2
		default:
			return pid, notes, err
		}
	}
}

// deliver writes the result and lets go of the run. A folder that the script removed is made again, a full disk waited for where the room
// that was kept does not suffice: the result is the one thing that may not be lost.
func (s *shim) deliver() {
	o, err := outcomeOf(s.result)
	if err == nil && s.room != nil && fillRoom(s.room, s.dir, o) == nil {
		_ = syncDir(s.dir)
		_ = flock(s.lock, unix.LOCK_UN)
		return
	}
	for wait := 10 * time.Millisecond; err == nil; wait = min(2*wait, time.Second) {
		err := place(s.dir, resultFile, o)
		if err == nil {
			_ = syncDir(s.dir) // whoever waited may have removed the folder already
			break
		}
		fmt.Fprintln(os.Stderr, "write result:", err)
		if errors.Is(err, fs.ErrNotExist) && os.MkdirAll(s.dir, 0o700) == nil {
			continue
		}
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			o = o.short()
		}
		time.Sleep(wait)
	}
	_ = flock(s.lock, unix.LOCK_UN)
}

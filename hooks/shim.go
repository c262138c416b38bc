package hooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors that the starter gives to the shim beside the usual three.
const (
	briefFD = 3
	lockFD  = 4
)

// Bounds of what the shim waits for beside timeout and grace; together less than the second it is allowed.
const (
	killTime  = 700 * time.Millisecond // for the killed to be gone
	drainTime = 200 * time.Millisecond // for the last of their output
	busyTime  = time.Second            // for a script that is still open for writing
)

// shim is the process between starter and script.
type shim struct {
	dir    string
	script Script
	brief  brief
	lock   *os.File
	red    *redactor
	out    *output
	cage   *cage
	stop   <-chan struct{}
	result Result
}

// ShimMain is the shim: the program of a process that does nothing else, started by a Runner. args is the run folder. What it
// returns is the exit code; the result of the run is in the folder.
func ShimMain(args []string) int {
	if len(args) != 1 || !filepath.IsAbs(args[0]) {
		fmt.Fprintln(os.Stderr, "usage: hook-shim <absolute run folder>; it is started by the agent, not by hand")
		return 64
	}
	s, err := board(args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s.run()
	return 0
}

// board takes over the run: from its return on the script may be started, by this process alone.
func board(dir string) (*shim, error) {
	stop := seclude()
	s := &shim{dir: dir, stop: stop, lock: os.NewFile(lockFD, filepath.Join(dir, lockFile))}
	pipe := os.NewFile(briefFD, "order")
	var env []string
	data, err := io.ReadAll(pipe)
	if err == nil {
		s.brief, env, err = decodeBrief(data)
	}
	pipe.Close()
	if err != nil {
		return nil, fmt.Errorf("read order: %w", err)
	}
	record, err := readRecord(dir, runFile)
	if err != nil {
		return nil, err
	}
	if s.script, err = decodeOrder(record); err != nil {
		return nil, err
	}
	s.script.Dir, s.script.Env, s.script.Redact = dir, env, s.brief.Redact
	if s.script, err = s.script.withDefaults(); err != nil {
		return nil, err
	}
	s.red = newRedactor(s.brief.Redact)
	s.out = newOutput(s.script, s.red)
	s.cage = newCage(s.brief.Place)
	s.result = Result{Script: s.script.Name, RunAs: s.script.RunAs, Exit: -1, Notes: s.brief.Notes}
	return s, s.begin()
}

// seclude makes this process one that nothing but its script concerns: no inherited descriptors, no core dumps, parent of all
// orphans below it, deaf to all signals but KILL and TERM, which is the wish to end the script.
func seclude() <-chan struct{} {
	if unix.CloseRange(briefFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) != nil {
		entries, _ := os.ReadDir("/proc/self/fd")
		for _, e := range entries {
			if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= briefFD {
				unix.CloseOnExec(fd)
			}
		}
	}
	unix.Umask(0o022)
	_ = os.Chdir("/")
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	// What is caught here is back at its default in the script, also where whoever started the agent had it ignored.
	caught, stop := make(chan os.Signal, 8), make(chan struct{})
	signal.Notify(caught, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGPIPE, unix.SIGALRM, unix.SIGUSR1, unix.SIGUSR2,
		unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT, unix.SIGCHLD, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGVTALRM, unix.SIGPROF)
	go func() {
		for asked := false; ; {
			if sig := <-caught; sig == unix.SIGTERM && !asked {
				asked = true
				close(stop)
			}
		}
	}()
	return stop
}

// begin makes started: whoever makes it runs the script, and nobody after.
func (s *shim) begin() error {
	self, err := readProc(os.Getpid())
	if err != nil {
		return err
	}
	b := began{Version: recordVersion, BootID: bootID(), PID: self.pid, StartTime: self.start, At: time.Now(), Place: s.brief.Place}
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	if err := writeNew(filepath.Join(s.dir, startedFile), data); err != nil {
		return fmt.Errorf("begin run: %w", err)
	}
	return syncDir(s.dir)
}

// run runs the script and leaves the result in the folder.
func (s *shim) run() {
	reading := s.perform()
	s.out.fill(&s.result)
	s.deliver()
	if !reading {
		return
	}
	// Somebody still has a pipe open: to leave now would end that process by SIGPIPE at its next word.
	debug.FreeOSMemory()
	<-s.out.done
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
	s.result.Started = time.Now()
	deadline := make(chan struct{})
	defer time.AfterFunc(s.script.Timeout, func() { close(deadline) }).Stop()
	pid, err := s.launch(c)
	if err != nil {
		s.result.Started = time.Time{}
		s.result.Err = s.script.failure(ErrFailed, "cannot be run: %s", s.red.clean([]byte(s.script.explain(c, err))))
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
	defer unix.Close(stdout)
	stderr, err := s.out.open("stderr")
	if err != nil {
		return 0, err
	}
	defer unix.Close(stderr)
	attr := syscall.ProcAttr{Dir: s.script.WorkDir, Env: c.env, Files: []uintptr{null.Fd(), uintptr(stdout), uintptr(stderr)}}
	pid, note, err := s.cage.start(func(sys *syscall.SysProcAttr) (int, error) {
		sys.Credential = c.cred
		attr.Sys = sys
		return s.fork(c, &attr)
	})
	s.note(note)
	return pid, err
}

// fork starts the script; without #! by /bin/sh (H-18), and again for a while if it is still open for writing.
func (s *shim) fork(c *command, attr *syscall.ProcAttr) (int, error) {
	argv := c.argv
	wait, tried := 5*time.Millisecond, time.Now()
	for {
		pid, err := forkClean(argv, attr)
		switch {
		case errors.Is(err, unix.ENOEXEC) && c.direct() && len(argv) == 1 && !foreign(s.script.Path):
			argv = []string{"/bin/sh", s.script.Path}
		case errors.Is(err, unix.ETXTBSY) && time.Since(tried) < busyTime:
			time.Sleep(wait)
			wait *= 2
		default:
			return pid, err
		}
	}
}

// forkClean starts a process with no signal blocked and with the neutral standing towards the out-of-memory killer, whatever
// the agent has.
func forkClean(argv []string, attr *syscall.ProcAttr) (int, error) {
	const oom = "/proc/self/oom_score_adj"
	if adj, err := os.ReadFile(oom); err == nil && strings.TrimSpace(string(adj)) != "0" {
		if os.WriteFile(oom, []byte("0"), 0) == nil {
			defer func() { _ = os.WriteFile(oom, adj, 0) }()
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var none, before unix.Sigset_t
	if unix.PthreadSigmask(unix.SIG_SETMASK, &none, &before) == nil {
		defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }()
	}
	return syscall.ForkExec(argv[0], argv, attr)
}

// settle is for a script that ended by itself: its output may still be held by a process that it left behind.
func (s *shim) settle(e ending, deadline <-chan struct{}) (reading bool) {
	s.ended(e)
	s.result.Err = s.verdict(e.status)
	strict := s.script.OpenOutput == OpenOutputFail && s.result.Err == nil
	patience := time.NewTimer(s.script.OpenOutputWait)
	defer patience.Stop()
	limit := patience.C
	if strict {
		limit = nil
	}
	select {
	case <-s.out.done:
	case <-limit:
		reading = true
	case <-s.stop:
		reading = true
	case <-deadline:
		reading = true
		// The last words of a script that ended with its deadline are on their way.
		select {
		case <-s.out.done:
			reading = false
		case <-time.After(drainTime):
		}
	}
	if reading {
		s.result.Holders = holders(s.out.pipes, s.red)
		if strict {
			s.result.Err = s.script.failure(ErrOutputOpen, "ended with exit code 0, but its output was still open at the deadline of %s: %s",
				s.script.Timeout, s.culprits())
		} else {
			s.note("output was still open after the script's end: " + s.culprits())
		}
	}
	if reading || !e.alone {
		s.result.Left = describe(s.cage.members(), s.red)
	}
	return reading
}

// culprits names the holders of the output for a message.
func (s *shim) culprits() string {
	var all []string
	for _, h := range s.result.Holders[:min(len(s.result.Holders), 4)] {
		all = append(all, h.String())
	}
	if len(all) == 0 {
		return "by a process that this user may not look at"
	}
	return strings.Join(all, ", ") + "; start it with its output redirected"
}

// cut ends a script that is still running, whole: TERM, grace, KILL.
func (s *shim) cut(ended <-chan ending, childless <-chan struct{}, kind error, why string) (reading bool) {
	defer hasten()()
	s.cage.terminate()
	grace := time.NewTimer(s.script.Grace)
	defer grace.Stop()
	how := " and was ended by SIGTERM"
	select {
	case <-childless:
	case <-grace.C:
		how = fmt.Sprintf(" and was killed, %s after SIGTERM", s.script.Grace)
		if s.script.Grace == 0 {
			how = " and was killed"
		}
	}
	left := s.cage.kill(time.Now().Add(killTime))
	drain := time.NewTimer(drainTime)
	defer drain.Stop()
	select {
	case <-s.out.done:
	case <-drain.C:
		reading = true
		s.result.Holders = holders(s.out.pipes, s.red)
		drain.Reset(drainTime / 10)
	}
	select {
	case e := <-ended:
		s.ended(e)
	case <-drain.C:
	}
	s.result.Ended = time.Now() // it was over with the last of its processes
	if len(left) > 0 {
		s.result.Left = describe(left, s.red)
		how += fmt.Sprintf("; %d processes could not be ended, such as %d (%s)", len(left), s.result.Left[0].PID, s.result.Left[0].Command)
	}
	f := s.script.failure(kind, "%s%s", why, how)
	f.Took = s.result.Ended.Sub(s.result.Started)
	s.result.Err = f
	return reading
}

// hasten gives the caller precedence over everything else on the host, which a script that multiplies itself would keep from
// it, until the returned function is called. Where that is not permitted it changes nothing.
func hasten() (done func()) {
	runtime.LockOSThread()
	normal, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return runtime.UnlockOSThread
	}
	first := &unix.SchedAttr{Size: normal.Size, Policy: unix.SCHED_FIFO, Priority: 1}
	if unix.SchedSetAttr(0, first, 0) != nil {
		first = &unix.SchedAttr{Size: normal.Size, Policy: normal.Policy, Nice: -20}
		_ = unix.SchedSetAttr(0, first, 0)
	}
	return func() {
		_ = unix.SchedSetAttr(0, normal, 0)
		runtime.UnlockOSThread()
	}
}

func (s *shim) ended(e ending) {
	s.result.Ended = e.at
	if e.status.Signaled() {
		s.result.Signal = unix.SignalName(e.status.Signal())
		return
	}
	s.result.Exit = e.status.ExitStatus()
}

// verdict judges the end of a script that was left alone (H-38, X-44).
func (s *shim) verdict(status syscall.WaitStatus) error {
	if status.Exited() && status.ExitStatus() == 0 {
		return nil
	}
	text := fmt.Sprintf("failed with exit code %d", status.ExitStatus())
	if status.Signaled() {
		text = fmt.Sprintf("was killed by %s", s.result.Signal)
		if status.CoreDump() {
			text += " and dumped core"
		}
	}
	switch _, crlf := interpreter(s.script.Path); {
	case crlf:
		text += "; " + crlfHelp
	case status.ExitStatus() == 126:
		text += ", which a shell gives for a command that it found but could not execute"
	case status.ExitStatus() == 127:
		text += ", which a shell gives for a command that it did not find"
	}
	f := s.script.failure(ErrFailed, "%s", text)
	f.Took = s.result.Ended.Sub(s.result.Started)
	return f
}

// deliver writes the result and lets go of the run. A folder that the script removed is made again, a full disk waited for:
// the result is the one thing that may not be lost.
func (s *shim) deliver() {
	o, err := outcomeOf(s.result)
	for wait := 10 * time.Millisecond; err == nil; wait = min(2*wait, time.Second) {
		err := writeRecord(s.dir, resultFile, o)
		if err == nil {
			break
		}
		fmt.Fprintln(os.Stderr, "write result:", err)
		if errors.Is(err, fs.ErrNotExist) && os.MkdirAll(s.dir, 0o700) == nil {
			continue
		}
		time.Sleep(wait)
	}
	_ = flock(s.lock, unix.LOCK_UN)
}

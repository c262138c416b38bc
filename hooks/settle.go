package hooks

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

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
	case <-s.again:
		how = " and was killed"
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
		if status.Signal() == unix.SIGKILL && s.brief.Place.overMemory() {
			text = "was killed because it went over its memory limit of " + bytesText(s.script.Limits.Memory)
			s.memoryTold = true
		}
		if status.CoreDump() {
			text += " and dumped core"
		}
	}
	if !s.memoryTold && s.brief.Place.overMemory() {
		text += "; " + s.overMemory()
		s.memoryTold = true
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

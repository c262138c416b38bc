package hooks

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// forkLimited starts a process with limits of its own. They are set from outside, between the process's becoming its program and that
// program's first instruction: the kernel holds it there for a tracer, which lets go of it at once. So the shim's own limits never change:
// it has to go on logging when the script may write no more, and could not take a hard limit back without a capability. Where tracing is
// not permitted the process starts without the limits, and that is told.
func forkLimited(argv []string, attr *syscall.ProcAttr, limits []limit) (pid int, notes []string, err error) {
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	if len(limits) == 0 {
		pid, err = forkClean(argv, attr)
		return pid, nil, err
	}
	attr.Sys.Ptrace = true
	pid, err = forkClean(argv, attr)
	attr.Sys.Ptrace = false
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSYS) {
		refused := err
		if pid, err = forkClean(argv, attr); err == nil {
			notes = []string{fmt.Sprintf("the user's limits are not set: the kernel does not let the agent hold the script for that (%v)", refused)}
		}
		return pid, notes, err
	}
	if err != nil {
		return pid, nil, err
	}
	var status syscall.WaitStatus
	for {
		if _, err := syscall.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if !status.Stopped() {
		// Killed from outside in this instant, and reaped here.
		return pid, nil, fmt.Errorf("it was ended before it began: %w", unix.ESRCH)
	}
	notes = impose(pid, attr.Sys.Credential, limits)
	if err := unix.PtraceDetach(pid); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		return pid, notes, fmt.Errorf("let go of the script: %w", err)
	}
	return pid, notes, nil
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

package rehearse

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newNamespaces are the flags of clone that ask for a namespace; plainUnshare are those of unshare that do not, whatever else it learns.
const (
	newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	plainUnshare  = unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SYSVSEM | unix.CLONE_VM | unix.CLONE_SIGHAND | unix.CLONE_THREAD
)

// refusedCalls are refused with EPERM on every architecture: mounts, namespaces of others, what acts on the kernel or on the whole machine,
// and what names things beside the tree of files.
var refusedCalls = []uint32{
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOVE_MOUNT,
	unix.SYS_OPEN_TREE, unix.SYS_MOUNT_SETATTR, sysOpenTreeAttr, unix.SYS_SETNS, unix.SYS_REBOOT, unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE,
	unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_SETTIMEOFDAY,
	unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN,
	unix.SYS_USERFAULTFD, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_SYSLOG, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD,
	unix.SYS_NFSSERVCTL, unix.SYS_VHANGUP, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_FANOTIFY_INIT, unix.SYS_KEXEC_FILE_LOAD,
}

// absentCalls are answered with ENOSYS, so that programs take an older way that can be looked at.
var absentCalls = []uint32{unix.SYS_CLONE3, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER}

// sysOpenTreeAttr is open_tree_attr of Linux 6.15, by its number on every architecture.
const sysOpenTreeAttr = 467

// seccompFilter is the filter of the machine's architecture. It starts from all being allowed: deployment scripts may call anything that does not
// reach out.
func seccompFilter() []unix.SockFilter {
	f := &filter{}
	f.load(seenArch)
	f.unless(unix.BPF_JEQ, nativeArch, func() { f.give(fails(unix.ENOSYS)) }) // 32-bit programs: their numbers are others
	f.load(seenNumber)
	if foreignNumbers != 0 {
		f.when(unix.BPF_JGE, foreignNumbers, func() { f.give(fails(unix.ENOSYS)) })
	}
	for _, list := range []struct {
		calls []uint32
		errno unix.Errno
	}{{refusedCalls, unix.EPERM}, {refusedHere, unix.EPERM}, {absentCalls, unix.ENOSYS}} {
		for _, n := range list.calls {
			f.when(unix.BPF_JEQ, n, func() { f.give(fails(list.errno)) })
		}
	}
	f.call(unix.SYS_CLONE, func() {
		f.load(seenArg0)
		f.when(unix.BPF_JSET, newNamespaces, func() { f.give(fails(unix.EPERM)) })
	})
	f.call(unix.SYS_UNSHARE, func() {
		f.load(seenArg0)
		f.when(unix.BPF_JSET, ^uint32(plainUnshare), func() { f.give(fails(unix.EPERM)) })
	})
	f.limits()
	f.sockets()
	f.requests()
	f.give(unix.SECCOMP_RET_ALLOW)
	return f.code
}

// limits lets nobody change the limit of core dumps, and says that it was done: where the host pipes them to a program it would start that one
// outside of the walls (see limitCores). Nor does it let a script limit process 1, in which the rehearsal runs.
func (f *filter) limits() {
	const done = unix.SECCOMP_RET_ERRNO // with error 0
	f.call(unix.SYS_SETRLIMIT, func() {
		f.load(seenArg0)
		f.when(unix.BPF_JEQ, unix.RLIMIT_CORE, func() { f.give(done) })
	})
	f.call(unix.SYS_PRLIMIT64, func() {
		set := func(result uint32) { // it sets, and does not just ask: both halves of the pointer tell
			for _, half := range []uint32{seenArg2, seenArg2 + 4} {
				f.load(half)
				f.unless(unix.BPF_JEQ, 0, func() { f.give(result) })
			}
		}
		f.load(seenArg1)
		f.when(unix.BPF_JEQ, unix.RLIMIT_CORE, func() { set(done) })
		f.load(seenArg0)
		f.when(unix.BPF_JEQ, 1, func() { set(fails(unix.EPERM)) })
	})
}

// limitCores sets the limit that keeps a program which takes core dumps from being started, and a file from being written, for this process and all
// that it starts. A socket that takes them asks for no limit: see noQuietCores.
func limitCores() error {
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1}) // 0 would not: core(5)
}

// installFilter puts the filter on the calling thread and all that it executes. The thread must have CAP_SYS_ADMIN in its user namespace:
// with NO_NEW_PRIVS in its place su and sudo would not work in scripts.
func installFilter(code []unix.SockFilter) error {
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(code)
	if errno != 0 {
		return fmt.Errorf("install a system call filter: %w", errno)
	}
	return nil
}

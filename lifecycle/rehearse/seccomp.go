package rehearse

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newNamespaces are the flags of clone and unshare that ask for a namespace; unshareTime is one of unshare alone.
const (
	newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	unshareTime   = unix.CLONE_NEWTIME
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

// Offsets into what a filter sees of a call: struct seccomp_data, little-endian.
const (
	seenNumber = 0
	seenArch   = 4
	seenArg0   = 16
	seenArg1   = 24
	seenArg2   = 32
)

// families are the sockets that there are. The kernel loads modules for others on request, and some reach the host beside every network namespace.
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET}

// filter builds a filter.
type filter struct{ code []unix.SockFilter }

func (f *filter) load(offset uint32) {
	f.code = append(f.code, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

func (f *filter) give(result uint32) {
	f.code = append(f.code, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: result})
}

// unless skips the given number of instructions if the comparison does not hold.
func (f *filter) unless(how uint16, k uint32, skip uint8) {
	f.code = append(f.code, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | how, K: k, Jf: skip})
}

func fails(errno uint32) uint32 { return unix.SECCOMP_RET_ERRNO | errno }

// seccompFilter is the filter of the machine's architecture. It starts from all being allowed: deployment scripts may call anything that does not reach out.
func seccompFilter() []unix.SockFilter {
	f := &filter{}
	f.load(seenArch)
	f.unless(unix.BPF_JEQ, nativeArch, 1) // 32-bit programs: their numbers are others
	f.code = append(f.code, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: 1})
	f.give(fails(uint32(unix.ENOSYS)))
	f.load(seenNumber)
	if foreignNumbers != 0 {
		f.unless(unix.BPF_JGE, foreignNumbers, 1)
		f.give(fails(uint32(unix.ENOSYS)))
	}
	for _, list := range []struct {
		calls []uint32
		errno uint32
	}{{refusedCalls, uint32(unix.EPERM)}, {refusedHere, uint32(unix.EPERM)}, {absentCalls, uint32(unix.ENOSYS)}} {
		for _, n := range list.calls {
			f.unless(unix.BPF_JEQ, n, 1)
			f.give(fails(list.errno))
		}
	}
	for n, flags := range map[uint32]uint32{unix.SYS_CLONE: newNamespaces, unix.SYS_UNSHARE: newNamespaces | unshareTime} {
		f.unless(unix.BPF_JEQ, n, 4)
		f.load(seenArg0)
		f.unless(unix.BPF_JSET, flags, 1)
		f.give(fails(uint32(unix.EPERM)))
		f.give(unix.SECCOMP_RET_ALLOW)
	}
	f.coreLimits()
	f.pairs()
	f.sockets()
	f.give(unix.SECCOMP_RET_ALLOW)
	return f.code
}

// coreLimits lets nobody change the limit of core dumps, and says that it was done: where the host pipes them to a program it would start that one outside of
// the walls. See limitCores.
func (f *filter) coreLimits() {
	const done = unix.SECCOMP_RET_ERRNO // with error 0
	f.unless(unix.BPF_JEQ, unix.SYS_SETRLIMIT, 4)
	f.load(seenArg0)
	f.unless(unix.BPF_JEQ, unix.RLIMIT_CORE, 1)
	f.give(done)
	f.give(unix.SECCOMP_RET_ALLOW)
	f.unless(unix.BPF_JEQ, unix.SYS_PRLIMIT64, 6)
	f.load(seenArg1)
	f.unless(unix.BPF_JEQ, unix.RLIMIT_CORE, 3)
	f.load(seenArg2)
	f.unless(unix.BPF_JGT, 0, 1) // it sets, and does not just ask
	f.give(done)
	f.give(unix.SECCOMP_RET_ALLOW)
}

// sockets gives those of families alone, and none of the kernel's audit, as where there is no audit: the messages of su and useradd would be in the
// host's log.
func (f *filter) sockets() {
	f.unless(unix.BPF_JEQ, unix.SYS_SOCKET, uint8(2*len(families)+6))
	f.load(seenArg0)
	for _, family := range families {
		f.unless(unix.BPF_JEQ, family, 1)
		f.code = append(f.code, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(2*(len(families)-1-slices.Index(families, family)) + 1)})
	}
	f.give(fails(uint32(unix.EAFNOSUPPORT)))
	f.unless(unix.BPF_JEQ, unix.AF_NETLINK, 3)
	f.load(seenArg2)
	f.unless(unix.BPF_JEQ, unix.NETLINK_AUDIT, 1)
	f.give(fails(uint32(unix.EPROTONOSUPPORT)))
}

// pairs gives those of AF_UNIX alone, which no other of families has: the kernel loads the module of a family for a pair as it does for a socket.
func (f *filter) pairs() {
	f.unless(unix.BPF_JEQ, unix.SYS_SOCKETPAIR, 4)
	f.load(seenArg0)
	f.unless(unix.BPF_JEQ, unix.AF_UNIX, 1)
	f.give(unix.SECCOMP_RET_ALLOW)
	f.give(fails(uint32(unix.EAFNOSUPPORT)))
}

// limitCores sets the limit that keeps a program which takes core dumps from being started, for this process and all that it starts.
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

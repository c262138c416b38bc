package rehearse

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// TestFilter asks the filter itself: of what it refuses a kernel without the module does too.
func TestFilter(t *testing.T) {
	var program []bpf.Instruction
	for _, i := range seccompFilter() {
		program = append(program, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K}.Disassemble())
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	const (
		allowed = uint32(unix.SECCOMP_RET_ALLOW)
		done    = uint32(unix.SECCOMP_RET_ERRNO)
		pointer = 0xc000012340
		half    = 1 << 32 // a pointer whose lower half is 0
	)
	socket := func(family, kind, protocol uint64) [4]uint64 {
		return [4]uint64{unix.SYS_SOCKET, family, kind, protocol}
	}
	for _, test := range []struct {
		name string
		call [4]uint64 // number and arguments
		want uint32
	}{
		{"tcp", socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0), allowed},
		{"tcp by name", socket(unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP), allowed},
		{"mptcp", socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP), allowed},
		{"udp", socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP), allowed},
		{"ping", socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP), allowed},
		{"ping6", socket(unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6), allowed},
		{"raw", socket(unix.AF_INET, unix.SOCK_RAW, 112), allowed},
		{"unix", socket(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0), allowed},
		{"packet", socket(unix.AF_PACKET, unix.SOCK_RAW, 0x300), allowed},
		{"route", socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE), allowed},
		{"sock_diag", socket(unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_SOCK_DIAG), allowed},
		{"uevent", socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT), allowed},

		{"dccp", socket(unix.AF_INET, unix.SOCK_DCCP, unix.IPPROTO_DCCP), fails(unix.ESOCKTNOSUPPORT)},
		{"dccp by type", socket(unix.AF_INET6, unix.SOCK_DCCP|unix.SOCK_CLOEXEC, 0), fails(unix.ESOCKTNOSUPPORT)},
		{"sctp", socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP), fails(unix.EPROTONOSUPPORT)},
		{"sctp of many", socket(unix.AF_INET6, unix.SOCK_SEQPACKET, unix.IPPROTO_SCTP), fails(unix.ESOCKTNOSUPPORT)},
		{"l2tp", socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_L2TP), fails(unix.EPROTONOSUPPORT)},
		{"smc", socket(unix.AF_INET, unix.SOCK_STREAM, 256), fails(unix.EPROTONOSUPPORT)},
		{"audit", socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT), fails(unix.EPROTONOSUPPORT)},
		{"generic", socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC), fails(unix.EPROTONOSUPPORT)},
		{"netfilter", socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER), fails(unix.EPROTONOSUPPORT)},
		{"rdma", socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_RDMA), fails(unix.EPROTONOSUPPORT)},
		{"vsock", socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0), fails(unix.EAFNOSUPPORT)},
		{"pair", [4]uint64{unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_STREAM}, allowed},
		{"pair of tipc", [4]uint64{unix.SYS_SOCKETPAIR, unix.AF_TIPC, unix.SOCK_STREAM}, fails(unix.EAFNOSUPPORT)},

		{"size of a terminal", [4]uint64{unix.SYS_IOCTL, 1, unix.TIOCGWINSZ, pointer}, allowed},
		{"line discipline", [4]uint64{unix.SYS_IOCTL, 1, unix.TIOCSETD, pointer}, fails(unix.EINVAL)},
		{"bridge", [4]uint64{unix.SYS_IOCTL, 3, siocBRADDBR, pointer}, fails(unix.ENOPKG)},
		{"vlan", [4]uint64{unix.SYS_IOCTL, 3, siocGIFVLAN, pointer}, fails(unix.ENOPKG)},

		{"frame relay", [4]uint64{unix.SYS_IOCTL, 3, siocADDDLCI, pointer}, fails(unix.ENOPKG)},
		{"tcp without delay", [4]uint64{unix.SYS_SETSOCKOPT, 3, unix.IPPROTO_TCP, unix.TCP_NODELAY}, allowed},
		{"option 38 of another level", [4]uint64{unix.SYS_SETSOCKOPT, 3, unix.SOL_SOCKET, tcpAOAddKey}, allowed},
		{"key of tcp", [4]uint64{unix.SYS_SETSOCKOPT, 3, unix.IPPROTO_TCP, tcpAOAddKey}, fails(unix.ENOPROTOOPT)},

		{"ask for the limit of cores", [4]uint64{unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CORE, 0}, allowed},
		{"set it", [4]uint64{unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CORE, pointer}, done},
		{"set it, half", [4]uint64{unix.SYS_PRLIMIT64, 77, unix.RLIMIT_CORE, half}, done},
		{"set it the old way", [4]uint64{unix.SYS_SETRLIMIT, unix.RLIMIT_CORE, pointer}, done},
		{"set another", [4]uint64{unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, pointer}, allowed},
		{"set another the old way", [4]uint64{unix.SYS_SETRLIMIT, unix.RLIMIT_NOFILE, pointer}, allowed},
		{"ask for one of process 1", [4]uint64{unix.SYS_PRLIMIT64, 1, unix.RLIMIT_NOFILE, 0}, allowed},
		{"set one of process 1", [4]uint64{unix.SYS_PRLIMIT64, 1, unix.RLIMIT_CPU, half}, fails(unix.EPERM)},

		{"unshare files", [4]uint64{unix.SYS_UNSHARE, unix.CLONE_FS | unix.CLONE_FILES}, allowed},
		{"unshare a namespace", [4]uint64{unix.SYS_UNSHARE, unix.CLONE_FS | unix.CLONE_NEWTIME}, fails(unix.EPERM)},
		{"unshare what is not known", [4]uint64{unix.SYS_UNSHARE, 0x100000}, fails(unix.EPERM)},
		{"clone a thread", [4]uint64{unix.SYS_CLONE, unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND}, allowed},
		{"clone a namespace", [4]uint64{unix.SYS_CLONE, unix.CLONE_NEWUSER}, fails(unix.EPERM)},
		{"clone3", [4]uint64{unix.SYS_CLONE3}, fails(unix.ENOSYS)},
		{"mount", [4]uint64{unix.SYS_MOUNT}, fails(unix.EPERM)},
		{"read", [4]uint64{unix.SYS_READ}, allowed},
	} {
		t.Run(test.name, func(t *testing.T) {
			seen := make([]byte, 64) // the words of a seccomp_data, as the machine of x/net reads words
			put := func(at int, word uint32) { binary.BigEndian.PutUint32(seen[at:], word) }
			put(seenNumber, uint32(test.call[0]))
			put(seenArch, nativeArch)
			for i, arg := range test.call[1:] {
				put(seenArg0+8*i, uint32(arg))
				put(seenArg0+8*i+4, uint32(arg>>32))
			}
			got, err := vm.Run(seen)
			if err != nil || uint32(got) != test.want {
				t.Errorf("the filter gives %#x, %v; want %#x", got, err, test.want)
			}
		})
	}
}

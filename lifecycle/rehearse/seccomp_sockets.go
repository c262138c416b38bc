package rehearse

import "golang.org/x/sys/unix"

// The kernel loads modules of the host for whoever asks for a family of sockets, a protocol, a part of netlink, a line discipline or a cipher that
// it has not. What can be asked for here it has anyway; the rest fails as on a kernel that has no such module.

// families are the sockets that there are: some others reach the host beside every network namespace.
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET}

// protocols are those of IP that no module brings, by type of socket. MPTCP is a part of the kernel or is not there. A raw socket may have any: it
// is no module's.
var protocols = []struct {
	kind uint32
	of   []uint32
}{
	{unix.SOCK_STREAM, []uint32{0, unix.IPPROTO_TCP, unix.IPPROTO_MPTCP}},
	{unix.SOCK_DGRAM, []uint32{0, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6}},
}

// talks are the parts of netlink that programs ask about interfaces, routes and sockets. Not among them are the kernel's audit, in whose log on the
// host the messages of su and useradd would be, and the generic one, in which the name of a family loads its module.
var talks = []uint32{unix.NETLINK_ROUTE, unix.NETLINK_SOCK_DIAG, unix.NETLINK_KOBJECT_UEVENT}

// typeBits are those of a socket's type; the others are flags.
const typeBits = 0xf

// sockets gives those of families alone, and pairs of AF_UNIX alone, which no other of families has.
func (f *filter) sockets() {
	f.call(unix.SYS_SOCKETPAIR, func() {
		f.load(seenArg0)
		f.unless(unix.BPF_JEQ, unix.AF_UNIX, func() { f.give(fails(unix.EAFNOSUPPORT)) })
	})
	f.call(unix.SYS_SOCKET, func() {
		f.load(seenArg0)
		for _, family := range families {
			f.when(unix.BPF_JEQ, family, func() {
				switch family {
				case unix.AF_INET, unix.AF_INET6:
					f.protocol()
				case unix.AF_NETLINK:
					f.load(seenArg2)
					f.among(talks, unix.EPROTONOSUPPORT)
				}
				f.give(unix.SECCOMP_RET_ALLOW)
			})
		}
		f.give(fails(unix.EAFNOSUPPORT))
	})
}

// protocol decides about a socket of IP.
func (f *filter) protocol() {
	f.load(seenArg1)
	f.and(typeBits)
	for _, p := range protocols {
		f.when(unix.BPF_JEQ, p.kind, func() {
			f.load(seenArg2)
			f.among(p.of, unix.EPROTONOSUPPORT)
		})
	}
	f.when(unix.BPF_JEQ, unix.SOCK_RAW, func() { f.give(unix.SECCOMP_RET_ALLOW) })
	f.give(fails(unix.ESOCKTNOSUPPORT))
}

// among allows the call if what was loaded is one of a list, and else lets it fail.
func (f *filter) among(list []uint32, errno unix.Errno) {
	for _, k := range list {
		f.when(unix.BPF_JEQ, k, func() { f.give(unix.SECCOMP_RET_ALLOW) })
	}
	f.give(fails(errno))
}

// Requests of ioctl that x/sys has no names for: bridges, frame relay (before Linux 5.15) and VLANs.
const (
	siocGIFBR   = 0x8940
	siocSIFBR   = 0x8941
	siocADDDLCI = 0x8980
	siocDELDLCI = 0x8981
	siocGIFVLAN = 0x8982
	siocSIFVLAN = 0x8983
	siocBRADDBR = 0x89a0
	siocBRDELBR = 0x89a1
)

// tcpAOAddKey is an option of TCP since Linux 6.7, whose value names an algorithm.
const tcpAOAddKey = 38

// requests refuses those of ioctl, and the option of a socket, for which the kernel loads a module before it asks for any right.
func (f *filter) requests() {
	f.call(unix.SYS_IOCTL, func() {
		f.load(seenArg1)
		for _, k := range []uint32{siocGIFBR, siocSIFBR, siocADDDLCI, siocDELDLCI, siocGIFVLAN, siocSIFVLAN, siocBRADDBR, siocBRDELBR} {
			f.when(unix.BPF_JEQ, k, func() { f.give(fails(unix.ENOPKG)) })
		}
		f.when(unix.BPF_JEQ, unix.TIOCSETD, func() { f.give(fails(unix.EINVAL)) })
	})
	f.call(unix.SYS_SETSOCKOPT, func() {
		f.load(seenArg1)
		f.when(unix.BPF_JEQ, unix.IPPROTO_TCP, func() {
			f.load(seenArg2)
			f.when(unix.BPF_JEQ, tcpAOAddKey, func() { f.give(fails(unix.ENOPROTOOPT)) })
		})
	})
}

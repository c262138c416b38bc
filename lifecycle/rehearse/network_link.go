package rehearse

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// The way out of the sandbox is a pair of virtual Ethernet interfaces: what is routed to the port arrives at the peer, where the watch reads it, and what
// the watch sends from the peer arrives at the port. Unlike a TUN device this needs no device node and no descriptor that would have to
// be handed through the walls; behind them the right to make packets is enough.
const (
	watchPort = "eth0"
	watchPeer = "watch0"
)

// The port's addresses are of the blocks for documentation: nobody has them.
var (
	portIPv4 = []byte{192, 0, 2, 1}
	portIPv6 = net.ParseIP("2001:db8::1").To16()
)

// prepareNetwork makes the way out of the network namespace of this process. Without it nothing can be sent, which is no error: WatchNetwork tells.
func prepareNetwork() error {
	l, err := dialNetlink()
	if err != nil {
		return err
	}
	defer unix.Close(l.fd) //nolint:errcheck // each request was answered
	peer := attr(unix.IFLA_IFNAME, cstring(watchPeer))
	kind := append(attr(unix.IFLA_INFO_KIND, []byte("veth")), attr(unix.IFLA_INFO_DATA|unix.NLA_F_NESTED, attr(1 /* VETH_INFO_PEER */, append(linkMessage(0, 0), peer...)))...)
	create := append(linkMessage(0, 0), attr(unix.IFLA_IFNAME, cstring(watchPort))...)
	create = append(create, attr(unix.IFLA_LINKINFO|unix.NLA_F_NESTED, kind)...)
	if err := l.ask(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, create); err != nil {
		return nil //nolint:nilerr // no such interfaces with this kernel: WatchNetwork finds none
	}
	for _, name := range []string{watchPeer, watchPort} {
		dev, err := net.InterfaceByName(name)
		if err != nil {
			return fmt.Errorf("find interface %s of the sandbox: %w", name, err)
		}
		flags := uint32(unix.IFF_UP)
		if name == watchPort {
			flags |= unix.IFF_NOARP // nobody is there to be asked for an address
		}
		mode := append(linkMessage(dev.Index, 0), attr(unix.IFLA_AF_SPEC|unix.NLA_F_NESTED,
			attr(unix.AF_INET6|unix.NLA_F_NESTED, attr(8 /* IFLA_INET6_ADDR_GEN_MODE */, []byte{1 /* none */})))...)
		_ = l.ask(unix.RTM_NEWLINK, 0, mode) // a kernel without IPv6 makes up no addresses
		if err := l.ask(unix.RTM_NEWLINK, 0, linkMessage(dev.Index, flags)); err != nil {
			return fmt.Errorf("start interface %s of the sandbox: %w", name, err)
		}
		if name == watchPort {
			err = errors.Join(l.lead(dev.Index, unix.AF_INET, portIPv4))
			_ = l.lead(dev.Index, unix.AF_INET6, portIPv6) // or the host has no IPv6
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lead gives an interface an address, and makes it the way to everywhere.
func (l *netlink) lead(index int, family byte, address []byte) error {
	body := []byte{family, byte(len(address) * 8), unix.IFA_F_NODAD, 0}
	body = binary.NativeEndian.AppendUint32(body, uint32(index))
	body = append(append(body, attr(unix.IFA_LOCAL, address)...), attr(unix.IFA_ADDRESS, address)...)
	if err := l.ask(unix.RTM_NEWADDR, unix.NLM_F_CREATE, body); err != nil {
		return fmt.Errorf("give interface %s of the sandbox an address: %w", watchPort, err)
	}
	route := []byte{family, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_LINK, unix.RTN_UNICAST, 0, 0, 0, 0}
	if family == unix.AF_INET6 {
		route[6] = unix.RT_SCOPE_UNIVERSE
	}
	route = append(route, attr(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(index)))...)
	if err := l.ask(unix.RTM_NEWROUTE, unix.NLM_F_CREATE, route); err != nil {
		return fmt.Errorf("make interface %s the way out of the sandbox: %w", watchPort, err)
	}
	return nil
}

type netlink struct {
	fd  int
	seq uint32
}

func dialNetlink() (*netlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("set up the network of the sandbox: %w", os.NewSyscallError("socket", err))
	}
	return &netlink{fd: fd}, nil
}

// ask sends a request and reads the kernel's answer to it.
func (l *netlink) ask(kind, flags uint16, body []byte) error {
	l.seq++
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	msg = binary.NativeEndian.AppendUint16(msg, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	msg = binary.NativeEndian.AppendUint32(msg, l.seq)
	msg = append(binary.NativeEndian.AppendUint32(msg, 0), body...)
	if err := unix.Sendto(l.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 8<<10)
	n, _, err := unix.Recvfrom(l.fd, buf, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(buf[4:]) != unix.NLMSG_ERROR || binary.NativeEndian.Uint32(buf[8:]) != l.seq {
		return errors.New("the kernel's answer is not understood")
	}
	if code := int32(binary.NativeEndian.Uint32(buf[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// linkMessage is the fixed part of a request about an interface. flags are set, no others changed.
func linkMessage(index int, flags uint32) []byte {
	msg := binary.NativeEndian.AppendUint32(nil, 0)
	msg = binary.NativeEndian.AppendUint32(msg, uint32(index))
	msg = binary.NativeEndian.AppendUint32(msg, flags)
	return binary.NativeEndian.AppendUint32(msg, flags)
}

// attr is an attribute of a request, padded.
func attr(kind uint16, value []byte) []byte {
	a := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	a = append(binary.NativeEndian.AppendUint16(a, kind), value...)
	for len(a)%4 != 0 {
		a = append(a, 0)
	}
	return a
}

func cstring(s string) []byte { return append([]byte(s), 0) }

// hostShort is a number as the kernel has it in network order.
func hostShort(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

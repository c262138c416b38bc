package rehearse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// NetworkOptions says how to watch.
type NetworkOptions struct {
	HostNet bool   // the sandbox has the network of the host: nothing is watched
	Marks   *Marks // of the rehearsal; nil: destinations belong to no event
}

// NetworkWatch records where processes of the sandbox try to go. Its network has one way out, which ends here: each packet is noted and answered
// at once, so that whoever sent it fails as on a host without a way out, and does not wait.
//
// A TCP connection is reset. To say "network unreachable" would be the better word, but the kernel takes that for final only if the packet
// finds the socket at rest, which it does not always as the answer comes within microseconds, and else tries again for a minute. UDP is
// answered with "port unreachable", an echo request with "host unreachable", a question of DNS with SERVFAIL: resolvers then say that
// names cannot be looked up for the time being, which is true, where NXDOMAIN would say that there is no such host. Measured, no client is faster with that.
type NetworkWatch struct {
	marks *Marks
	fact  lifecycle.Fact

	packets int // the socket, -1: none
	names   []net.PacketConn
	done    sync.WaitGroup
	closed  chan struct{}

	mu    sync.Mutex // guards what follows
	seen  map[seenDestination]int
	order []seenDestination
	left  int // destinations beyond maxDestinations
}

// seenDestination is where something was sent; kind tells questions of DNS for the same name apart.
type seenDestination struct {
	by               lifecycle.Event
	network, address string
	kind             uint16
}

// maxDestinations bounds what is remembered: a script may try every address there is.
const maxDestinations = 1000

// WatchNetwork begins to watch the network of the sandbox, and has to be called before the first script runs. A network that cannot be watched is
// not an error: it has no way out, what is sent fails, and Fact says that nobody sees it.
func WatchNetwork(ctx context.Context, o NetworkOptions) (*NetworkWatch, error) {
	n := &NetworkWatch{marks: o.Marks, packets: -1, closed: make(chan struct{}), seen: map[seenDestination]int{}}
	if o.HostNet {
		n.fact = lifecycle.Fact{Name: "destinations", Value: "not recorded: the network is that of the host"}
		return n, nil
	}
	peer, err := net.InterfaceByName(watchPeer)
	if err == nil {
		n.packets, err = listenPackets(peer.Index)
	}
	if err != nil {
		n.fact = lifecycle.Fact{Name: "destinations", Value: "not recorded, and none can be reached: " + err.Error()}
		return n, nil //nolint:nilerr // Fact tells
	}
	n.fact = lifecycle.Fact{Name: "destinations", Value: "recorded, and answered at once: TCP refused, UDP unreachable, names not resolved"}
	port, err := net.InterfaceByName(watchPort)
	if err != nil {
		unix.Close(n.packets) //nolint:errcheck // nothing was sent
		return nil, fmt.Errorf("watch the network of the sandbox: %w", err)
	}
	n.done.Go(func() { n.answerPackets(peer, port.HardwareAddr) })
	for _, at := range localResolvers(readText("/etc/resolv.conf")) {
		conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", net.JoinHostPort(at.String(), "53"))
		if err != nil { // something of the copy answers there, or there is no IPv6
			continue
		}
		n.names = append(n.names, conn)
		n.done.Go(func() { n.answerNames(conn) })
	}
	return n, nil
}

// Fact tells whether destinations are recorded, or why not.
func (n *NetworkWatch) Fact() lifecycle.Fact { return n.fact }

// Destinations is where processes tried to go so far, in the order of the first attempt, each once for an event. TCP is counted by connection, UDP and
// ICMP by packet, names by question.
func (n *NetworkWatch) Destinations() []lifecycle.Destination {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []lifecycle.Destination
	at := map[seenDestination]int{}
	for _, d := range n.order {
		count, key := n.seen[d], d
		key.kind = 0
		if i, ok := at[key]; ok { // IPv4 and IPv6 of a name are asked for together
			list[i].Count = max(list[i].Count, count)
			continue
		}
		at[key] = len(list)
		list = append(list, lifecycle.Destination{By: d.by, Network: d.network, Address: d.address, Count: count})
	}
	return list
}

// Omitted is how many packets went to further destinations than are remembered.
func (n *NetworkWatch) Omitted() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.left
}

// Close ends the watch. What is sent afterwards gets no answer.
func (n *NetworkWatch) Close() error {
	select {
	case <-n.closed:
		return nil
	default:
	}
	close(n.closed)
	var err error
	for _, c := range n.names {
		err = errors.Join(err, c.Close())
	}
	n.done.Wait()
	if n.packets >= 0 {
		err = errors.Join(err, unix.Close(n.packets))
	}
	return err
}

func (n *NetworkWatch) note(network, address string, kind uint16) {
	d := seenDestination{n.marks.now(), network, address, kind}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch _, ok := n.seen[d]; {
	case ok:
	case len(n.order) == maxDestinations:
		n.left++
		return
	default:
		n.order = append(n.order, d)
	}
	n.seen[d]++
}

// pollTime bounds how long Close waits for the reader of packets.
const pollTime = 100 // milliseconds

func (n *NetworkWatch) answerPackets(peer *net.Interface, to net.HardwareAddr) {
	buf := make([]byte, 64<<10)
	for {
		select {
		case <-n.closed:
			return
		default:
		}
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(n.packets), Events: unix.POLLIN}}, pollTime)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if ready <= 0 {
			continue
		}
		size, from, err := unix.Recvfrom(n.packets, buf, unix.MSG_DONTWAIT)
		if err != nil {
			if errors.Is(err, unix.ENETDOWN) { // the interface was taken down; it may come back
				time.Sleep(pollTime * time.Millisecond)
			}
			continue
		}
		if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype == unix.PACKET_OUTGOING {
			continue // an answer of ours
		}
		p, ok := parsePacket(buf[:size])
		if !ok {
			continue
		}
		answer := n.consider(p)
		if answer == nil {
			continue
		}
		link := &unix.SockaddrLinklayer{Protocol: hostShort(unix.ETH_P_IP), Ifindex: peer.Index, Halen: 6}
		if p.src.Is6() {
			link.Protocol = hostShort(unix.ETH_P_IPV6)
		}
		copy(link.Addr[:], to)
		_ = unix.Sendto(n.packets, answer, 0, link) // who waits for it waits longer
	}
}

// consider notes a packet, and makes the answer to it, nil for none.
func (n *NetworkWatch) consider(p packet) []byte {
	to := netip.AddrPortFrom(p.dst, p.dstPort).String()
	switch {
	case p.proto == unix.IPPROTO_TCP && p.opens():
		n.note("tcp", to, 0)
		return p.reset()
	case p.proto == unix.IPPROTO_TCP:
		return p.reset()
	case p.proto == unix.IPPROTO_UDP && p.dstPort == 53:
		if name, kind, answer := answerDNS(p.payload); answer != nil {
			n.note("dns", name, kind)
			return p.reply(answer)
		}
		n.note("udp", to, 0)
		return p.unreachable(portUnreachable)
	case p.proto == unix.IPPROTO_UDP:
		n.note("udp", to, 0)
		return p.unreachable(portUnreachable)
	case p.asksEcho():
		n.note("icmp", p.dst.String(), 0)
		return p.unreachable(hostUnreachable)
	}
	return nil
}

// answerNames is a resolver of this host, such as systemd-resolved would be, that resolves nothing.
func (n *NetworkWatch) answerNames(conn net.PacketConn) {
	buf := make([]byte, 4<<10)
	for {
		size, from, err := conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if name, kind, answer := answerDNS(buf[:size]); answer != nil {
			n.note("dns", name, kind)
			_, _ = conn.WriteTo(answer, from) // who waits for it asks again
		}
	}
}

// localResolvers are the addresses of this host where resolv.conf has names asked for. Where it names no server at all, resolvers ask 127.0.0.1.
func localResolvers(conf string) []netip.Addr {
	list, named := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 53})}, false
	for line := range strings.Lines(conf) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		at, err := netip.ParseAddr(f[1])
		if err != nil {
			continue
		}
		named = true
		if at.IsLoopback() && !slices.Contains(list, at) {
			list = append(list, at)
		}
	}
	if !named {
		list = append(list, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	slices.SortStableFunc(list, func(a, b netip.Addr) int { return cmp.Compare(a.String(), b.String()) })
	return list
}

func listenPackets(index int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		if err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: hostShort(unix.ETH_P_ALL), Ifindex: index}); err == nil {
			return fd, nil
		}
		unix.Close(fd) //nolint:errcheck // nothing was sent
	}
	return -1, os.NewSyscallError("listen to packets", err)
}

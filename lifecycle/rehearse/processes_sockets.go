package rehearse

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// listeningSocket is one that waits for others.
type listeningSocket struct {
	network, address string
}

// listening reads the sockets of the network namespace of this process that are listened on, by their inodes.
func listening(proc string) map[uint64]listeningSocket {
	all := map[uint64]listeningSocket{}
	for _, file := range []string{"tcp", "tcp6", "udp", "udp6"} {
		for line := range strings.Lines(readText(filepath.Join(proc, "self", "net", file))) {
			if at, inode, ok := parseInetSocket(line, strings.HasPrefix(file, "udp")); ok {
				all[inode] = listeningSocket{strings.TrimSuffix(file, "6"), at.String()}
			}
		}
	}
	for line := range strings.Lines(readText(filepath.Join(proc, "self", "net", "unix"))) {
		if at, inode, ok := parseUnixSocket(line); ok {
			all[inode] = listeningSocket{"unix", at}
		}
	}
	return all
}

// parseInetSocket reads a line of /proc/net/tcp, udp, tcp6 or udp6; ok is false if it is none of a socket that is listened on. Of UDP that is one
// without a peer, bound to a port.
func parseInetSocket(line string, udp bool) (at netip.AddrPort, inode uint64, ok bool) {
	const listen, unconnected = "0A", "07"
	f := strings.Fields(line)
	if len(f) < 10 || !udp && f[3] != listen || udp && f[3] != unconnected {
		return at, 0, false
	}
	if at, ok = parseHexAddr(f[1]); !ok || at.Port() == 0 {
		return at, 0, false
	}
	inode, err := strconv.ParseUint(f[9], 10, 64)
	return at, inode, err == nil && inode != 0
}

// parseHexAddr reads "0100007F:1F90": words of the address as the processor has them, and the port.
func parseHexAddr(text string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(text, ":")
	if !ok {
		return netip.AddrPort{}, false
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, false
	}
	for w := raw; len(w) > 0; w = w[4:] {
		binary.NativeEndian.PutUint32(w, binary.BigEndian.Uint32(w))
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr, uint16(number)), ok
}

// parseUnixSocket reads a line of /proc/net/unix; ok is false if it is none of a socket that is listened on and has a name.
func parseUnixSocket(line string) (at string, inode uint64, ok bool) {
	const accepts = 1 << 16 // SO_ACCEPTCON
	f := strings.SplitN(strings.Join(strings.Fields(line), " "), " ", 8)
	if len(f) < 8 {
		return "", 0, false
	}
	flags, err := strconv.ParseUint(f[3], 16, 32)
	if err != nil || flags&accepts == 0 {
		return "", 0, false
	}
	inode, err = strconv.ParseUint(f[6], 10, 64)
	return flatLine(f[7], maxCommand), inode, err == nil && inode != 0
}

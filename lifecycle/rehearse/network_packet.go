package rehearse

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// packet is what is to be known of one that leaves.
type packet struct {
	raw              []byte // all of it, from the header of IP
	src, dst         netip.Addr
	proto            uint8 // of IPPROTO_TCP and the like
	srcPort, dstPort uint16
	seq, ack         uint32 // TCP's
	flags            byte   // TCP's
	icmp             byte   // type of ICMP
	payload          []byte // of UDP and TCP
}

// Flags of TCP.
const (
	tcpFIN = 1 << iota
	tcpSYN
	tcpRST
	_
	tcpACK
)

// maxExtensions bounds the extension headers of IPv6 that are passed over.
const maxExtensions = 8

// parsePacket reads a packet of IPv4 or IPv6. ok is false for what is neither, is cut short, or is a later fragment.
func parsePacket(raw []byte) (p packet, ok bool) {
	if len(raw) == 0 {
		return p, false
	}
	var body []byte
	switch raw[0] >> 4 {
	case 4:
		body, ok = p.parseIPv4(raw)
	case 6:
		body, ok = p.parseIPv6(raw)
	}
	if !ok {
		return p, false
	}
	switch p.proto {
	case unix.IPPROTO_TCP:
		if len(body) < 20 {
			return p, false
		}
		p.seq, p.ack, p.flags = binary.BigEndian.Uint32(body[4:]), binary.BigEndian.Uint32(body[8:]), body[13]
		offset := int(body[12]>>4) * 4
		if offset < 20 || offset > len(body) {
			return p, false
		}
		p.payload = body[offset:]
	case unix.IPPROTO_UDP:
		if len(body) < 8 {
			return p, false
		}
		p.payload = body[8:]
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		if len(body) < 8 {
			return p, false
		}
		p.icmp = body[0]
		return p, true
	default:
		return p, true
	}
	p.srcPort, p.dstPort = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
	return p, true
}

func (p *packet) parseIPv4(raw []byte) (body []byte, ok bool) {
	if len(raw) < 20 {
		return nil, false
	}
	header, total := int(raw[0]&15)*4, int(binary.BigEndian.Uint16(raw[2:]))
	if header < 20 || total < header || total > len(raw) || binary.BigEndian.Uint16(raw[6:])&0x1fff != 0 {
		return nil, false
	}
	p.raw, p.proto = raw[:total], raw[9]
	p.src, p.dst = netip.AddrFrom4([4]byte(raw[12:16])), netip.AddrFrom4([4]byte(raw[16:20]))
	return raw[header:total], true
}

func (p *packet) parseIPv6(raw []byte) (body []byte, ok bool) {
	if len(raw) < 40 {
		return nil, false
	}
	total := 40 + int(binary.BigEndian.Uint16(raw[4:]))
	if total > len(raw) {
		return nil, false
	}
	p.raw, p.proto, body = raw[:total], raw[6], raw[40:total]
	p.src, p.dst = netip.AddrFrom16([16]byte(raw[8:24])), netip.AddrFrom16([16]byte(raw[24:40]))
	if p.src.Is4In6() || p.dst.Is4In6() { // not to be on any wire
		return nil, false
	}
	for range maxExtensions {
		var size int
		switch p.proto {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS:
			if len(body) < 8 {
				return nil, false
			}
			size = 8 + int(body[1])*8
		case unix.IPPROTO_FRAGMENT:
			if len(body) < 8 || binary.BigEndian.Uint16(body[2:])&0xfff8 != 0 {
				return nil, false
			}
			size = 8
		default:
			return body, true
		}
		if size > len(body) {
			return nil, false
		}
		p.proto, body = body[0], body[size:]
	}
	return nil, false
}

func (p *packet) opens() bool { return p.flags&(tcpSYN|tcpACK|tcpRST) == tcpSYN }

func (p *packet) asksEcho() bool {
	return p.proto == unix.IPPROTO_ICMP && p.icmp == 8 || p.proto == unix.IPPROTO_ICMPV6 && p.icmp == 128
}

// reset is the answer of a port where nobody listens (RFC 9293, 3.10.7.1), nil if there is none.
func (p *packet) reset() []byte {
	if p.flags&tcpRST != 0 {
		return nil
	}
	body := make([]byte, 20)
	binary.BigEndian.PutUint16(body, p.dstPort)
	binary.BigEndian.PutUint16(body[2:], p.srcPort)
	body[12] = 5 << 4
	if p.flags&tcpACK != 0 {
		binary.BigEndian.PutUint32(body[4:], p.ack)
		body[13] = tcpRST
	} else {
		next := p.seq + uint32(len(p.payload))
		if p.flags&tcpSYN != 0 {
			next++
		}
		if p.flags&tcpFIN != 0 {
			next++
		}
		binary.BigEndian.PutUint32(body[8:], next)
		body[13] = tcpRST | tcpACK
	}
	return p.back(unix.IPPROTO_TCP, body, 16)
}

// reply is an answer to a datagram of UDP.
func (p *packet) reply(payload []byte) []byte {
	body := binary.BigEndian.AppendUint16(nil, p.dstPort)
	body = binary.BigEndian.AppendUint16(body, p.srcPort)
	body = binary.BigEndian.AppendUint16(body, uint16(8+len(payload)))
	return p.back(unix.IPPROTO_UDP, append(append(body, 0, 0), payload...), 6)
}

// Why something cannot be reached, as ICMP has it for IPv4 and IPv6 (RFC 792, RFC 4443).
var (
	hostUnreachable = [2]byte{1, 3}
	portUnreachable = [2]byte{3, 4}
)

// unreachable tells the sender of a packet that it has not arrived. There is no such answer to what was sent to many.
func (p *packet) unreachable(code [2]byte) []byte {
	if p.dst.IsMulticast() || p.dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return nil
	}
	if p.src.Is4() {
		quote := p.raw[:min(len(p.raw), int(p.raw[0]&15)*4+64)]
		return p.back(unix.IPPROTO_ICMP, append([]byte{3, code[0], 0, 0, 0, 0, 0, 0}, quote...), 2)
	}
	quote := p.raw[:min(len(p.raw), 1200)]
	return p.back(unix.IPPROTO_ICMPV6, append([]byte{1, code[1], 0, 0, 0, 0, 0, 0}, quote...), 2)
}

// back sends a body to where the packet came from, as if from where it went. at is where the checksum of the body has its place.
func (p *packet) back(proto uint8, body []byte, at int) []byte {
	var pseudo []byte // what the checksum covers beside the body
	if proto != unix.IPPROTO_ICMP {
		pseudo = append(append(pseudo, p.dst.AsSlice()...), p.src.AsSlice()...)
		pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(body)))
		pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(proto))
	}
	sum := checksum(append(pseudo, body...))
	if sum == 0 && proto == unix.IPPROTO_UDP {
		sum = 0xffff // 0 would be none
	}
	binary.BigEndian.PutUint16(body[at:], sum)
	if p.src.Is6() {
		head := []byte{0x60, 0, 0, 0}
		head = binary.BigEndian.AppendUint16(head, uint16(len(body)))
		head = append(head, proto, 64)
		return append(append(append(head, p.dst.AsSlice()...), p.src.AsSlice()...), body...)
	}
	head := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(20+len(body)))
	head = append(head, 0, 0, 0x40, 0, 64, proto, 0, 0)
	head = append(append(head, p.dst.AsSlice()...), p.src.AsSlice()...)
	binary.BigEndian.PutUint16(head[10:], checksum(head))
	return append(head, body...)
}

// checksum is the one of the Internet (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// answerDNS reads a question and makes the answer that the server cannot tell (SERVFAIL); nil if it is no question. Resolvers of the C
// library ask each server once more, at once, and give up with "temporary failure in name resolution".
func answerDNS(question []byte) (name string, kind uint16, answer []byte) {
	const head, servfail = 12, 2
	if len(question) < head || question[2]&0x80 != 0 || binary.BigEndian.Uint16(question[4:]) != 1 {
		return "", 0, nil
	}
	var labels []string
	rest, size := question[head:], 0
	for {
		if len(rest) == 0 || rest[0] > 63 || len(rest) < 1+int(rest[0]) { // the question's name is never compressed
			return "", 0, nil
		}
		label := rest[1 : 1+rest[0]]
		if size += 1 + len(label); size > 255 {
			return "", 0, nil
		}
		rest = rest[1+len(label):]
		if len(label) == 0 {
			break
		}
		labels = append(labels, visible(label))
	}
	if len(rest) < 4 {
		return "", 0, nil
	}
	kind = binary.BigEndian.Uint16(rest)
	answer = append([]byte(nil), question[:len(question)-len(rest)+4]...)
	answer[2] = 0x80 | question[2]&0x79 // what was asked, recursion as wanted
	answer[3] = 0x80 | servfail
	clear(answer[6:head])
	if name = strings.Join(labels, "."); name == "" {
		name = "."
	}
	return name, kind, answer
}

// visible has no control characters and nothing that is not ASCII.
func visible(label []byte) string {
	text := []byte(strings.Clone(string(label)))
	for i, c := range text {
		if c <= ' ' || c > '~' {
			text[i] = '?'
		}
	}
	return string(text)
}

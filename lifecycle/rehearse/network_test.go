package rehearse

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle"
)

// packetOf makes packets of tests.
func packetOf(src, dst string, proto byte, body []byte) []byte {
	from, to := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	p := packet{src: to, dst: from} // back turns them
	return p.back(proto, slices.Clone(body), len(body)-2)
}

func udpBody(from, to uint16, payload string) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	return append(append(b, 0, 0), payload...)
}

func tcpBody(from, to uint16, flags byte) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	binary.BigEndian.PutUint32(b[4:], 41)
	b[12], b[13] = 5<<4, flags
	return b
}

// question is one of DNS for a name in labels.
func question(kind uint16, labels ...string) []byte {
	q := []byte{0x12, 0x34, 1, 0x20, 0, 1, 0, 0, 0, 0, 0, 0}
	for _, l := range labels {
		q = append(append(q, byte(len(l))), l...)
	}
	q = append(q, 0)
	return append(binary.BigEndian.AppendUint16(q, kind), 0, 1)
}

func TestConsider(t *testing.T) {
	const a4, b4, a6, b6 = "192.0.2.1", "203.0.113.9", "2001:db8::1", "2001:db8:1::9"
	echo := []byte{8, 0, 0, 0, 0, 1, 0, 1, 0, 0}
	echo6 := append([]byte{128}, echo[1:]...)
	withHeader := packetOf(a6, b6, 0, append([]byte{17, 0, 1, 4, 0, 0, 0, 0}, udpBody(7, 123, "time!!")...))
	late := packetOf(a4, b4, 17, udpBody(7, 123, "rest"))
	late[7] = 1
	for _, c := range []struct {
		name   string
		raw    []byte
		answer string // its protocol and kind
		to     []lifecycle.Destination
	}{
		{"nothing", nil, "", nil},
		{"not IP", []byte{0x10, 1, 2, 3}, "", nil},
		{"cut short", packetOf(a4, b4, 6, tcpBody(7, 443, tcpSYN))[:30], "", nil},
		{"a header that is too long", append([]byte{0x4f}, packetOf(a4, b4, 6, tcpBody(7, 443, tcpSYN))[1:]...), "", nil},
		{"connection", packetOf(a4, b4, 6, tcpBody(7, 443, tcpSYN)), "tcp RST|ACK 42", []lifecycle.Destination{{Network: "tcp", Address: b4 + ":443", Count: 1}}},
		{"connection, IPv6", packetOf(a6, b6, 6, tcpBody(7, 443, tcpSYN)), "tcp RST|ACK 42", []lifecycle.Destination{{Network: "tcp", Address: "[" + b6 + "]:443", Count: 1}}},
		{"segment of none", packetOf(a4, b4, 6, tcpBody(7, 443, tcpACK)), "tcp RST 0", nil},
		{"reset", packetOf(a4, b4, 6, tcpBody(7, 443, tcpRST)), "", nil},
		{"datagram", packetOf(a4, b4, 17, udpBody(7, 123, "time")), "icmp 3 3", []lifecycle.Destination{{Network: "udp", Address: b4 + ":123", Count: 1}}},
		{"datagram, IPv6", packetOf(a6, b6, 17, udpBody(7, 123, "time")), "icmp6 1 4", []lifecycle.Destination{{Network: "udp", Address: "[" + b6 + "]:123", Count: 1}}},
		{"behind a header", withHeader, "icmp6 1 4", []lifecycle.Destination{{Network: "udp", Address: "[" + b6 + "]:123", Count: 1}}},
		{"later fragment", late, "", nil},
		{"to many", packetOf(a4, "224.0.0.251", 17, udpBody(5353, 5353, "mdns")), "", []lifecycle.Destination{{Network: "udp", Address: "224.0.0.251:5353", Count: 1}}},
		{"echo", packetOf(a4, b4, 1, echo), "icmp 3 1", []lifecycle.Destination{{Network: "icmp", Address: b4, Count: 1}}},
		{"echo, IPv6", packetOf(a6, b6, 58, echo6), "icmp6 1 3", []lifecycle.Destination{{Network: "icmp", Address: b6, Count: 1}}},
		{"search for a router", packetOf(a6, "ff02::2", 58, []byte{133, 0, 0, 0, 0, 0, 0, 0, 0, 0}), "", nil},
		{"question", packetOf(a4, b4, 17, udpBody(7, 53, string(question(1, "db", "example")))), "udp 53", []lifecycle.Destination{{Network: "dns", Address: "db.example", Count: 1}}},
		{"no question", packetOf(a4, b4, 17, udpBody(7, 53, "hello")), "icmp 3 3", []lifecycle.Destination{{Network: "udp", Address: b4 + ":53", Count: 1}}},
	} {
		n := &NetworkWatch{seen: map[seenDestination]int{}}
		got := ""
		if p, ok := parsePacket(c.raw); ok {
			got = kindOf(t, n.consider(p))
		}
		if got != c.answer {
			t.Errorf("%s: answered with %q, want %q", c.name, got, c.answer)
		}
		if diff := cmp.Diff(c.to, n.Destinations()); diff != "" {
			t.Errorf("%s: Destinations() mismatch (-want +got):\n%s", c.name, diff)
		}
	}
}

// kindOf reads an answer with the parser, and proves its checksums.
func kindOf(t *testing.T, raw []byte) string {
	t.Helper()
	if raw == nil {
		return ""
	}
	p, ok := parsePacket(raw)
	if !ok {
		t.Errorf("the answer %x is no packet", raw)
		return "?"
	}
	body := raw[20:]
	if p.src.Is6() {
		body = raw[40:]
	} else if checksum(raw[:20]) != 0 {
		t.Errorf("checksum of the header of %x", raw)
	}
	var pseudo []byte
	if p.proto != 1 {
		pseudo = append(append(p.src.AsSlice(), p.dst.AsSlice()...), 0, 0, byte(len(body)>>8), byte(len(body)), 0, 0, 0, p.proto)
	}
	if checksum(append(pseudo, body...)) != 0 {
		t.Errorf("checksum of %x", raw)
	}
	switch p.proto {
	case 6:
		return fmt.Sprintf("tcp %s %d", map[byte]string{tcpRST: "RST", tcpRST | tcpACK: "RST|ACK"}[p.flags], p.ack)
	case 17:
		return fmt.Sprintf("udp %d", p.srcPort)
	case 1:
		return fmt.Sprintf("icmp %d %d", body[0], body[1])
	}
	return fmt.Sprintf("icmp6 %d %d", body[0], body[1])
}

func TestAnswerDNS(t *testing.T) {
	for _, c := range []struct {
		in   []byte
		name string
	}{
		{question(28, "www", "example", "com"), "www.example.com"},
		{append(question(1, "a"), 0, 0, 41, 16, 0), "a"}, // EDNS: it is left out of the answer
		{question(1), "."},
		{question(1, "a\x1b[2Jb"), "a?[2Jb"},
		{question(1, strings.Repeat("x", 63), strings.Repeat("x", 63), strings.Repeat("x", 63), strings.Repeat("x", 63)), ""}, // too long
		{question(1, "a")[:14], ""},
		{append([]byte{0, 0, 0x80}, question(1, "a")[3:]...), ""}, // an answer
		{append(question(1)[:12], 0xc0, 12, 0, 1, 0, 1), ""},      // compressed
		{nil, ""},
	} {
		name, _, answer := answerDNS(c.in)
		if name != c.name || (answer == nil) != (c.name == "") {
			t.Errorf("answerDNS(%q) = %q, %x; want %q", c.in, name, answer, c.name)
		}
		if answer != nil && (answer[3]&15 != 2 || answer[2]&0x80 == 0 || !slices.Equal(answer[:2], c.in[:2]) || len(answer) > len(c.in)) {
			t.Errorf("answerDNS(%q) answers %x", c.in, answer)
		}
	}
}

func TestLocalResolvers(t *testing.T) {
	for conf, want := range map[string]string{
		"":                                     "[127.0.0.1 127.0.0.53]",
		"nameserver 10.0.0.2\n":                "[127.0.0.53]",
		"nameserver ::1\nnameserver 127.0.0.9": "[127.0.0.53 127.0.0.9 ::1]",
		"nameserver\nnameserver x\nsearch a b": "[127.0.0.1 127.0.0.53]",
	} {
		if got := fmt.Sprint(localResolvers(conf)); got != want {
			t.Errorf("localResolvers(%q) = %s, want %s", conf, got, want)
		}
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(packetOf("192.0.2.1", "203.0.113.9", 6, tcpBody(7, 443, tcpSYN)))
	f.Add(packetOf("2001:db8::1", "2001:db8::9", 17, udpBody(7, 53, string(question(1, "db", "example")))))
	f.Add(packetOf("2001:db8::1", "2001:db8::9", 0, append([]byte{17, 0, 1, 4, 0, 0, 0, 0}, udpBody(7, 123, "time!!")...)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, ok := parsePacket(raw)
		if !ok {
			return
		}
		n := &NetworkWatch{seen: map[seenDestination]int{}}
		answer := n.consider(p)
		if answer == nil {
			return
		}
		kindOf(t, answer)
		if back, ok := parsePacket(answer); !ok || back.src != p.dst || back.dst != p.src {
			t.Errorf("the answer to %x is %x", raw, answer)
		}
	})
}

func FuzzDNS(f *testing.F) {
	f.Add(question(1, "www", "example", "com"))
	f.Add([]byte("\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, in []byte) {
		name, _, answer := answerDNS(in)
		if answer == nil {
			return
		}
		if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) || len(answer) > len(in) || answer[2]&0x80 == 0 {
			t.Errorf("answerDNS(%x) = %q, %x", in, name, answer)
		}
		if _, _, again := answerDNS(answer); again != nil {
			t.Error("an answer is answered")
		}
	})
}

// Programs that scripts use to reach others, what each is to fail with, and what is to be recorded.
var errands = []struct {
	needs, script string
	exit          int // -1: any but 0
	said          string
	to            lifecycle.Destination
}{
	{"curl", "curl -sS http://203.0.113.9/", 7, "connect to", lifecycle.Destination{Network: "tcp", Address: "203.0.113.9:80"}},
	{"curl", "curl -sS -g http://[2001:db8:1::9]:8080/", 7, "connect to", lifecycle.Destination{Network: "tcp", Address: "[2001:db8:1::9]:8080"}},
	{"curl", "curl -sS https://db.watch.example/", 6, "Could not resolve host", lifecycle.Destination{Network: "dns", Address: "db.watch.example"}},
	{"curl", "curl -sS http://169.254.169.254/latest/meta-data/", 7, "connect to", lifecycle.Destination{Network: "tcp", Address: "169.254.169.254:80"}},
	{"wget", "wget -nv -O- -t 1 http://wget.watch.example/", 4, "", lifecycle.Destination{Network: "dns", Address: "wget.watch.example"}},
	{"getent", "getent hosts getent.watch.example", 2, "", lifecycle.Destination{Network: "dns", Address: "getent.watch.example"}},
	{"getent", "getent ahosts ahosts.watch.example", 2, "", lifecycle.Destination{Network: "dns", Address: "ahosts.watch.example"}},
	{"bash", "echo >/dev/tcp/203.0.113.10/25", 1, "Connection refused", lifecycle.Destination{Network: "tcp", Address: "203.0.113.10:25"}},
	{"bash", "exec 3<>/dev/udp/203.0.113.10/514; echo log >&3; sleep 0.1; echo log >&3", 1, "Connection refused", lifecycle.Destination{Network: "udp", Address: "203.0.113.10:514"}},
	{"ping", "ping -c 1 203.0.113.11", 1, "Unreachable", lifecycle.Destination{Network: "icmp", Address: "203.0.113.11"}},
	{"perl", `perl -MIO::Socket::INET -e 'IO::Socket::INET->new("203.0.113.12:5432") or die "$@\n"'`, -1, "Connection refused", lifecycle.Destination{Network: "tcp", Address: "203.0.113.12:5432"}},
	{"apt-get", "apt-get -o Dir::Etc::sourceparts=- -o Dir::Etc::sourcelist=/run/list -o Acquire::http::Proxy=false -o Acquire::http::ProxyAutoDetect= update", 0, "Temporary failure resolving", lifecycle.Destination{Network: "dns", Address: "apt.watch.example"}},
}

// Each ends at once, and what it tried is recorded with its event.
func TestNetworkOfScripts(t *testing.T) {
	w := openWatched(t, `{}`)
	told := w.do(watchOrder{Mark: lifecycle.BeforeInstall, Files: map[string]string{"/run/list": "deb http://apt.watch.example/debian bookworm main\n"}, Script: "true"})
	if !strings.Contains(told.Fact, "recorded, and answered") {
		t.Fatalf("the network is not watched: %s", told.Fact)
	}
	for _, c := range errands {
		if _, err := exec.LookPath(c.needs); err != nil {
			t.Logf("%s is not on this host", c.needs)
			continue
		}
		if c.needs == "apt-get" && os.Geteuid() != 0 {
			continue // it is root's
		}
		// This is more than any program takes that need not wait for an answer; apt waits seven seconds in all between attempts of its own.
		got := w.run("timeout 30 bash -c '" + strings.ReplaceAll(c.script, "'", `'\''`) + "'")
		t.Logf("%s: exit %d after %v", c.script, got.Exit, got.Took)
		if got.Exit == 124 || got.Exit != c.exit && c.exit >= 0 || !strings.Contains(got.Out+got.Err, c.said) {
			t.Errorf("%s: exit %d, %q; want exit %d, %q", c.script, got.Exit, got.Out+got.Err, c.exit, c.said)
		}
		if !slices.ContainsFunc(got.To, func(d lifecycle.Destination) bool {
			return d.Network == c.to.Network && d.Address == c.to.Address && d.By == lifecycle.BeforeInstall && d.Count > 0
		}) {
			t.Errorf("%s: %v is not recorded: %+v", c.script, c.to, got.To)
		}
	}
	if got := w.run("curl -sS http://127.0.0.1:1/"); slices.ContainsFunc(got.To, func(d lifecycle.Destination) bool { return strings.HasPrefix(d.Address, "127.") }) {
		t.Errorf("loopback is recorded: %+v", got.To)
	}
}

func TestNetworkIsBounded(t *testing.T) {
	n := &NetworkWatch{seen: map[seenDestination]int{}}
	for i := range maxDestinations + 5 {
		n.note("tcp", fmt.Sprint(i), 0)
	}
	n.note("tcp", "0", 0)
	if got := n.Destinations(); len(got) != maxDestinations || got[0].Count != 2 || n.Omitted() != 5 {
		t.Errorf("%d destinations, the first %+v, %d omitted", len(got), got[0], n.Omitted())
	}
}

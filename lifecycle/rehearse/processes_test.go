package rehearse

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"slipway/lifecycle"
)

func TestParseStat(t *testing.T) {
	const rest = " 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 1000 10"
	for _, c := range []struct {
		text, name string
		state      byte
		began      time.Duration
		ok         bool
	}{
		{"7 (sh) S" + rest, "sh", 'S', 123450 * time.Millisecond, true},
		{"7 (a) b (c)) Z" + rest, "a) b (c)", 'Z', 123450 * time.Millisecond, true},
		{"7 (a\x1b[2J\n) R" + rest, "a [2J ", 'R', 123450 * time.Millisecond, true},
		{"", "", 0, 0, false},
		{"7 (sh) S 1 2", "", 0, 0, false},
		{"7 )sh( S" + rest, "", 0, 0, false},
		{"x (sh) S" + rest, "", 0, 0, false},
		{"7 (sh) S" + strings.Replace(rest, "12345", "-1", 1), "", 0, 0, false},
		{"7 (sh) S" + strings.Replace(rest, " 1 ", " x ", 1), "", 0, 0, false},
	} {
		p, state, err := parseStat(c.text)
		if (err == nil) != c.ok {
			t.Errorf("parseStat(%q): %v", c.text, err)
			continue
		}
		if c.ok && (p.pid != 7 || p.parent != 1 || p.command != c.name || state != c.state || p.began != c.began) {
			t.Errorf("parseStat(%q) = %+v, %c", c.text, p, state)
		}
	}
}

// hexAddr is an address as this processor shows it in /proc.
func hexAddr(words ...string) string {
	one := uint16(1)
	if *(*byte)(unsafe.Pointer(&one)) == 0 {
		return strings.Join(words, "")
	}
	var b strings.Builder
	for _, w := range words {
		raw, _ := hex.DecodeString(w)
		slices.Reverse(raw)
		b.WriteString(strings.ToUpper(hex.EncodeToString(raw)))
	}
	return b.String()
}

func TestParseSockets(t *testing.T) {
	const end = " 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0"
	for _, c := range []struct {
		line string
		udp  bool
		want string
	}{
		{"   0: " + hexAddr("7F000001") + ":1F90 00000000:0000 0A" + end, false, "127.0.0.1:8080"},
		{"   0: " + hexAddr("7F000001") + ":1F90 00000000:0000 01" + end, false, ""}, // connected
		{"   0: " + hexAddr("00000000", "00000000", "00000000", "00000000") + ":0050 0:0000 0A" + end, false, "[::]:80"},
		{"   0: " + hexAddr("20010DB8", "00000000", "00000000", "00000001") + ":0050 0:0000 0A" + end, false, "[2001:db8::1]:80"},
		{"   0: " + hexAddr("00000000") + ":0035 00000000:0000 07" + end, true, "0.0.0.0:53"},
		{"   0: " + hexAddr("00000000") + ":0035 00000000:0000 01" + end, true, ""},
		{"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode", false, ""},
		{"   0: 7F0001:1F90 00000000:0000 0A" + end, false, ""},
		{"   0: 7F000001 00000000:0000 0A" + end, false, ""},
		{"   0: 7F000001:99999 00000000:0000 0A" + end, false, ""},
		{"", false, ""},
	} {
		at, inode, ok := parseInetSocket(c.line, c.udp)
		if ok != (c.want != "") || ok && (at.String() != c.want || inode != 4711) {
			t.Errorf("parseInetSocket(%q) = %v, %d, %v; want %q", c.line, at, inode, ok, c.want)
		}
	}
	for line, want := range map[string]string{
		"0000000000000000: 00000002 00000000 00010000 0001 01 4711 /run/a b.sock": "/run/a b.sock",
		"0000000000000000: 00000002 00000000 00010000 0001 01 4711 @abstract":     "@abstract",
		"0000000000000000: 00000002 00000000 00010000 0001 01 4711":               "", // without a name
		"0000000000000000: 00000002 00000000 00000000 0001 03 4711 /run/x":        "", // connected
		"Num       RefCount Protocol Flags    Type St Inode Path":                 "",
		"": "",
	} {
		if at, inode, ok := parseUnixSocket(line); ok != (want != "") || ok && (at != want || inode != 4711) {
			t.Errorf("parseUnixSocket(%q) = %q, %d, %v; want %q", line, at, inode, ok, want)
		}
	}
}

func FuzzProc(f *testing.F) {
	f.Add("7 (a) b (c)) Z 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 1000 10")
	f.Add("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1")
	f.Add("0000000000000000: 00000002 00000000 00010000 0001 01 4711 /run/a b.sock")
	f.Add("Uid:\t0\t33\t0\t0\nGid:\t0\t34\t0\t0\n")
	f.Fuzz(func(t *testing.T, text string) {
		if p, _, err := parseStat(text); err == nil && (p.began < 0 || strings.ContainsAny(p.command, "\n\x1b\x00")) {
			t.Errorf("parseStat(%q) = %+v", text, p)
		}
		for _, udp := range []bool{false, true} {
			if at, _, ok := parseInetSocket(text, udp); ok && !at.IsValid() {
				t.Errorf("parseInetSocket(%q) = %v", text, at)
			}
		}
		if at, _, ok := parseUnixSocket(text); ok && (at == "" || strings.ContainsAny(at, "\n\x1b\x00")) {
			t.Errorf("parseUnixSocket(%q) = %q", text, at)
		}
		statusIDs(text)
	})
}

// Left runs where it is called, too.
func TestLeftHere(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	left, _, err := Left(ctx, LeftOptions{})
	if err != nil || slices.ContainsFunc(left, func(l lifecycle.LeftProcess) bool { return l.PID == os.Getpid() }) {
		t.Errorf("Left() = %+v, %v", left, err)
	}
	cancel()
	if _, _, err := Left(ctx, LeftOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Left() = %v", err)
	}
	if _, _, err := Left(t.Context(), LeftOptions{Proc: t.TempDir() + "/none"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Left() = %v", err)
	}
}

func TestLeftOfScripts(t *testing.T) {
	if _, err := exec.LookPath("perl"); err != nil {
		t.Skip("perl is what listens in this test")
	}
	w := openWatched(t, `{}`)
	const server = `perl -MIO::Socket::INET -MIO::Socket::UNIX -e '$a=IO::Socket::INET->new(Listen=>5,LocalAddr=>"127.0.0.1",LocalPort=>8123) or die;
$u=IO::Socket::INET->new(Proto=>"udp",LocalPort=>8124) or die; $s=IO::Socket::UNIX->new(Type=>SOCK_STREAM(),Local=>"/run/perl.sock",Listen=>1) or die;
open F,">/run/up"; close F; sleep 1000' -- --password hunter2 >/dev/null 2>&1 &
for i in $(seq 200); do [ -e /run/up ] && break; sleep 0.05; done; rm /run/up`
	w.do(watchOrder{Mark: lifecycle.BeforeInstall, Script: "sleep 1001 >/dev/null 2>&1 & exit 0"})
	got := w.do(watchOrder{Mark: lifecycle.ApplicationStart, Script: server})
	if got.Exit != 0 || len(got.Left) != 2 {
		t.Fatalf("exit %d, left %+v; want two processes", got.Exit, got.Left)
	}
	sleep, perl := got.Left[0], got.Left[1]
	if sleep.Command != "sleep 1001" || sleep.By != lifecycle.BeforeInstall || sleep.User != "root" && os.Geteuid() == 0 || len(sleep.Listens) != 0 {
		t.Errorf("left: %+v", sleep)
	}
	if want := []string{"tcp 127.0.0.1:8123", "udp 0.0.0.0:8124", "unix /run/perl.sock"}; perl.By != lifecycle.ApplicationStart || !slices.Equal(perl.Listens, want) ||
		!strings.HasSuffix(perl.Command, "--password ***") {
		t.Errorf("left: %+v, want it to listen on %v", perl, want)
	}
	// What the watches themselves listen on is not told of.
	if len(got.Listen) != 3 || slices.ContainsFunc(got.Listen, func(l lifecycle.Listener) bool { return l.PID != perl.PID || l.Command != perl.Command }) {
		t.Errorf("listeners: %+v", got.Listen)
	}
	if os.Geteuid() != 0 {
		return // there is but one user
	}
	got = w.run(strings.NewReplacer("812", "912", "perl -M", "setpriv --reuid=33 --regid=33 --clear-groups perl -M", "/run/", "/tmp/").Replace(server))
	if last := got.Left[len(got.Left)-1]; last.User != "www-data" || !slices.Contains(last.Listens, "tcp 127.0.0.1:9123") {
		t.Errorf("of another user: %+v", last)
	}
}

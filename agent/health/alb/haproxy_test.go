package alb_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slipway/agent/health/alb"
)

// misconfiguration is a way in which targets are set up, mostly wrongly, and what is expected to be said of it. serve makes a target of that
// kind anew each time, so that two checkers do not disturb each other.
type misconfiguration struct {
	name    string
	target  alb.Target
	serve   func(t *testing.T) (address string)
	healthy bool
	finding string // the code that must be among the findings; "" for none at all
}

func answering(h http.HandlerFunc) func(*testing.T) string {
	return func(t *testing.T) string { return started(t, httptest.NewUnstartedServer(h)) }
}

func started(t *testing.T, s *httptest.Server) string {
	s.Config.ErrorLog = quiet()
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); io.WriteString(w, body) }
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}
}

// raw answers each connection with what it is told, after the header of a request has come.
func raw(answer func(method string) string) func(*testing.T) string {
	return func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					conn.SetDeadline(time.Now().Add(30 * time.Second))
					in := bufio.NewReader(conn)
					line, _ := in.ReadString('\n')
					for {
						if more, err := in.ReadString('\n'); err != nil || strings.TrimSpace(more) == "" {
							break
						}
					}
					method, _, _ := strings.Cut(line, " ")
					io.WriteString(conn, answer(method))
				}()
			}
		}()
		return l.Addr().String()
	}
}

// counted gives each request its number, from 0 on.
func counted(h func(n int64, w http.ResponseWriter)) func(*testing.T) string {
	return func(t *testing.T) string {
		var n atomic.Int64
		return started(t, httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { h(n.Add(1)-1, w) })))
	}
}

func withTLS(http2 bool) func(*testing.T) string {
	return func(t *testing.T) string {
		s := httptest.NewUnstartedServer(status(http.StatusOK, "ok"))
		s.EnableHTTP2 = http2
		s.Config.ErrorLog = quiet()
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
}

func h2c(t *testing.T) string {
	s := httptest.NewUnstartedServer(status(http.StatusOK, "ok"))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	return started(t, s)
}

func refusing(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// slowness is beyond the timeout of the checks of this test, 2 s.
const slowness = 4 * time.Second

var misconfigurations = []misconfiguration{
	{"well", alb.Target{}, answering(status(200, "ok")), true, ""},
	{"redirect to https", alb.Target{}, answering(redirect("https://www.example.com/health")), false, "redirect-https"},
	{"302 to login", alb.Target{}, answering(redirect("/login.php?back=/health")), false, "redirect-login"},
	{"redirect to the canonical name", alb.Target{}, answering(redirect("http://www.example.com/health")), false, "redirect-host"},
	{"slash missing", alb.Target{}, answering(redirect("/health/")), false, "redirect-slash"},
	{"redirect that the matcher accepts", alb.Target{Matcher: "200-399"}, answering(redirect("/login")), true, "redirect-login"},
	{"name-based virtual host", alb.Target{}, answering(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "www.example.com" {
			http.NotFound(w, r)
		}
	}), false, "virtual-host"},
	{"wrong path", alb.Target{}, answering(http.NotFound), false, "not-found"},
	{"wrong path that the matcher accepts", alb.Target{Matcher: "200-499"}, answering(http.NotFound), true, "error-accepted"},
	{"password", alb.Target{}, answering(status(401, "")), false, "denied"},
	{"database gone", alb.Target{}, answering(status(500, "SQLSTATE[HY000] [2002] Connection refused")), false, "application"},
	{"204, matcher 200", alb.Target{}, answering(status(204, "")), false, "matcher"},
	{"204, matcher 200,204", alb.Target{Matcher: "200,204"}, answering(status(204, "")), true, ""},
	{"slow", alb.Target{}, answering(func(http.ResponseWriter, *http.Request) { time.Sleep(slowness) }), false, "slow"},
	{"slow first hit", alb.Target{}, counted(func(n int64, _ http.ResponseWriter) {
		if n == 0 {
			time.Sleep(slowness)
		}
	}), true, "slow-first"},
	{"hangs", alb.Target{}, raw(func(string) string { time.Sleep(20 * time.Second); return "" }), false, "hangs"},
	{"nobody listens", alb.Target{}, refusing, false, "refused"},
	{"closes without an answer", alb.Target{}, raw(func(string) string { return "" }), false, "hung-up"},
	{"no HTTP", alb.Target{}, raw(func(string) string { return "220 mail.example.com ESMTP\r\n" }), false, "no-http"},
	{"TLS on the port", alb.Target{}, withTLS(false), false, "tls"},
	{"no TLS on the port", alb.Target{Protocol: alb.HTTPS}, answering(status(200, "ok")), false, "no-tls"},
	{"TLS of any name", alb.Target{Protocol: alb.HTTPS}, withTLS(false), true, ""},
	{"HTTP/2", alb.Target{Version: alb.HTTP2}, h2c, true, ""},
	{"HTTP/2 over TLS", alb.Target{Version: alb.HTTP2, Protocol: alb.HTTPS}, withTLS(true), true, ""},
	{"no HTTP/2", alb.Target{Version: alb.HTTP2}, answering(status(200, "ok")), false, "no-http2"},
	{"every other one is bad", alb.Target{}, counted(func(n int64, w http.ResponseWriter) {
		if n%2 == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}), true, "flapping"},
	{"two of three are bad", alb.Target{}, counted(func(n int64, w http.ResponseWriter) {
		if n%3 > 0 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}), false, "flapping"},
	{"body after HEAD", alb.Target{}, raw(func(string) string {
		return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
	}), true, "head-body"},
	{"HEAD is refused", alb.Target{}, answering(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	}), true, "head-status"},
	{"keep-alive of 5 s", alb.Target{}, answering(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Keep-Alive", "timeout=5, max=100") }), true, "keep-alive"},
	{"welcome page", alb.Target{}, answering(status(200, "<html><body><h1>It works!</h1></body></html>")), true, "content"},
	{"PHP is not run", alb.Target{}, answering(status(200, "<?php require 'x.php';")), true, "content"},
	{"body that does not end", alb.Target{}, answering(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(slowness):
		}
		panic(http.ErrAbortHandler)
	}), true, "body-cut"},
}

// The verdict is that of a real balancer: haproxy with the same interval, rise, fall and matcher, on a target of each kind.
func TestVerdictsAgreeWithHAProxy(t *testing.T) {
	bin, err := exec.LookPath("haproxy")
	if err != nil {
		bin = "/usr/sbin/haproxy"
	}
	if _, err := os.Stat(bin); err != nil {
		t.Skip("haproxy is not installed (packaging/test/run installs it)")
	}
	const rise, fall = 2, 2
	var cfg strings.Builder
	dir, err := os.MkdirTemp("", "alb") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	fmt.Fprintf(&cfg, "global\n stats socket %s\n log 127.0.0.1:1 local0 emerg\ndefaults\n mode http\n timeout connect 2s\n timeout client 5s\n timeout server 5s\n timeout check 2s\n", socket)
	for i, m := range misconfigurations {
		fmt.Fprintf(&cfg, "backend c%d\n option httpchk\n %s\n", i, backend(m.target, m.serve(t)))
	}
	name := filepath.Join(dir, "cfg")
	if err := os.WriteFile(name, []byte(cfg.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-db", "-f", name)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("haproxy:\n%s", said.String())
		}
	})
	began := time.Now()

	reports := make([]*alb.Report, len(misconfigurations))
	var wg sync.WaitGroup
	for i, m := range misconfigurations {
		m.target.Address, m.target.Healthy, m.target.Unhealthy = m.serve(t), rise, fall
		m.target.Timeout, m.target.Path = 2*time.Second, "/health"
		wg.Go(func() {
			r, err := alb.Check(t.Context(), m.target, alb.Options{Pace: 10 * time.Millisecond, Names: []string{"www.example.com"}})
			if err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
			reports[i] = r
		})
	}
	wg.Wait()
	// Two checks that run out of time, their pauses, and some more.
	time.Sleep(time.Until(began.Add(10 * time.Second)))
	up := states(t, socket)
	for i, m := range misconfigurations {
		r := reports[i]
		if r == nil {
			continue
		}
		if haproxy := up[fmt.Sprintf("c%d", i)]; strings.HasPrefix(haproxy, "UP") != m.healthy || r.Healthy != m.healthy {
			t.Errorf("%s: verdict %v (%s %s), haproxy says %s, want %v", m.name, r.Healthy, r.Reason, r.Text, haproxy, m.healthy)
		}
		codes := []string{}
		for _, f := range r.Findings {
			codes = append(codes, string(f.Kind)+" "+f.Code)
		}
		if m.finding == "" && len(codes) > 0 || m.finding != "" && !slices.ContainsFunc(codes, func(c string) bool { return strings.HasSuffix(c, " "+m.finding) }) {
			t.Errorf("%s: findings %q, want %q: %+v", m.name, codes, m.finding, r.Findings)
		}
		if has := slices.ContainsFunc(r.Findings, func(f alb.Finding) bool { return f.Kind == alb.Cause }); has == r.Healthy {
			t.Errorf("%s: healthy %v with findings %q: what is not healthy has a cause, and nothing else has", m.name, r.Healthy, codes)
		}
		t.Logf("%-36s haproxy %-20s alb-check %-5v %s", m.name, up[fmt.Sprintf("c%d", i)], r.Healthy, strings.Join(codes, ", "))
	}
}

// backend is a server of haproxy that is checked as the balancer checks it.
func backend(target alb.Target, address string) string {
	connect, server, version := "", "", "HTTP/1.1"
	if target.Protocol == alb.HTTPS {
		connect, server = " ssl", " check-ssl verify none"
	}
	if target.Version == alb.HTTP2 {
		version = "HTTP/2.0"
		if target.Protocol == alb.HTTPS {
			connect += " alpn h2"
		} else {
			connect += " proto h2"
		}
	}
	return fmt.Sprintf(`http-check connect%s
 http-check send meth GET uri /health ver %s hdr Host %s hdr User-Agent %s
 http-check expect status %s
 server s %s check%s inter 2s fastinter 300ms downinter 300ms rise 2 fall 2`, connect, version, address, alb.UserAgent, cmp.Or(target.Matcher, "200"), address, server)
}

// states is what haproxy says of each server: its status and its last check.
func states(t *testing.T, socket string) map[string]string {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "show stat\n")
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("# ")))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := func(name string) int { return slices.Index(rows[0], name) }
	found := map[string]string{}
	for _, row := range rows[1:] {
		if row[column("svname")] == "s" {
			found[row[column("pxname")]] = row[column("status")] + " " + row[column("check_status")]
		}
	}
	return found
}

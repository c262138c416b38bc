package alb

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// inspection finds out why a target is answered as it is. It asks further questions, which are no checks: they count for nothing.
type inspection struct {
	*Report
	ctx  context.Context
	o    Options
	good matcher
}

func (i *inspection) cause(code, remedy, text string, args ...any) {
	i.add(Cause, code, remedy, text, args...)
}

func (i *inspection) risk(code, remedy, text string, args ...any) {
	i.add(Risk, code, remedy, text, args...)
}

func (i *inspection) add(kind Kind, code, remedy, text string, args ...any) {
	i.Findings = append(i.Findings, Finding{kind, code, fmt.Sprintf(text, args...), remedy})
}

func (i *inspection) run() {
	if bad := i.bad(); bad != nil && !i.Healthy {
		switch {
		case bad.Status == 0:
			i.unanswered(bad)
		case bad.Status/100 == 3:
			i.redirected(Cause, bad)
		default:
			i.mismatched(bad)
		}
	}
	if i.flaps() {
		kind := Cause
		if i.Healthy {
			kind = Risk
		}
		i.add(kind, "flapping", "look at the application's log at the times of the bad checks; a pool of workers of which one is broken answers so", "good and bad checks alternate: %s", i.sequence())
	}
	i.slowFirst()
	last := i.Checks[len(i.Checks)-1]
	if !last.Good || i.ctx.Err() != nil {
		return
	}
	i.accepted(&last)
	if i.Target.Version == HTTP1 {
		i.keepAlive()
		i.head(last.Status)
	}
}

// flaps reports whether a check was bad after a good one.
func (i *inspection) flaps() bool {
	first := slices.IndexFunc(i.Checks, func(a Answer) bool { return a.Good })
	return first >= 0 && slices.ContainsFunc(i.Checks[first:], func(a Answer) bool { return !a.Good })
}

func (i *inspection) sequence() string {
	words := make([]string, len(i.Checks))
	for n, a := range i.Checks {
		words[n] = "bad"
		if a.Good {
			words[n] = "good"
		}
	}
	return strings.Join(words, " ")
}

// unanswered is about a check that met no HTTP answer.
func (i *inspection) unanswered(bad *Answer) {
	t := i.Target
	host, port, _ := net.SplitHostPort(t.Address)
	var record tls.RecordHeaderError
	var unknown *net.DNSError
	switch {
	case errors.As(bad.err, &unknown):
		i.cause("unresolved", "correct the name, or give the address that is registered", "the name %s leads nowhere from here: %s", host, bad.Error)
	case errors.Is(bad.err, syscall.ECONNREFUSED):
		if ip := net.ParseIP(host); ip != nil && !ip.IsLoopback() && i.accepts(net.JoinHostPort("127.0.0.1", port)) {
			i.cause("loopback-only", "let it listen on the instance's address, or on all: Listen "+port, "nothing listens at %s, but something does at 127.0.0.1:%s: the balancer comes from outside", t.Address, port)
			return
		}
		i.cause("refused", "start the application, or correct the port", "nothing listens at %s", t.Address)
	case errors.Is(bad.err, errNoAnswer):
		i.slow()
	case t.Protocol == HTTP && t.Version == HTTP1 && i.speaksTLS():
		i.cause("tls", "set the target group's protocol to HTTPS, or the port to the one without TLS", "the target speaks TLS at this port, the check is without")
	case t.Protocol == HTTPS && (errors.As(bad.err, &record) || strings.Contains(bad.Error, "HTTP response to HTTPS")):
		i.cause("no-tls", "set the target group's protocol to HTTP, or the port to the one with TLS", "the target does not speak TLS at this port, the check does")
	case t.Version == HTTP2 && i.tryAgain(question{version: HTTP1}):
		how := "without TLS, begun at once (prior knowledge)"
		if t.Protocol == HTTPS {
			how = "over TLS"
		}
		i.cause("no-http2", "set the target group's protocol version to HTTP1, or switch HTTP/2 on (Apache: Protocols h2c http/1.1)", "the target answers HTTP/1.1 and not HTTP/2 %s", how)
	case errors.Is(bad.err, syscall.ECONNRESET) || errors.Is(bad.err, io.EOF) || errors.Is(bad.err, io.ErrUnexpectedEOF):
		i.cause("hung-up", "look into the log of what listens there: it may be no web server, or one that only lets known clients in", "the target takes the connection and closes it without an answer")
	case errors.Is(bad.err, syscall.EHOSTUNREACH) || errors.Is(bad.err, syscall.ENETUNREACH):
		i.cause("unreachable", "correct the address, or the routes of this host", "there is no way to %s from here: %s", t.Address, bad.Error)
	default:
		i.cause("no-http", "see that a web server listens at this port", "the target answers with what is no HTTP: %s", bad.Error)
	}
}

// tryAgain reports whether the check would be good if one thing were different.
func (i *inspection) tryAgain(q question) bool {
	q.timeout = i.Target.Timeout
	a := ask(i.ctx, i.Target, q)
	a.judge(i.good)
	return a.Good
}

func (i *inspection) accepts(address string) bool {
	ctx, cancel := context.WithTimeout(i.ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func (i *inspection) speaksTLS() bool {
	ctx, cancel := context.WithTimeout(i.ctx, i.Target.Timeout)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}}
	conn, err := d.DialContext(ctx, "tcp", i.Target.Address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// longest is how long a slow target is waited for to say how slow it is.
const longest = 20 * time.Second

// slow is about checks that ran out of time.
func (i *inspection) slow() {
	t := i.Target
	if !i.accepts(t.Address) {
		i.cause("filtered", "let the balancer in: its security group in the rules of the instance's, and the host's own firewall", "no connection comes about with %s: packets are dropped on the way", t.Address)
		return
	}
	a := ask(i.ctx, t, question{timeout: min(max(4*t.Timeout, 2*time.Second), longest)})
	if a.Status == 0 {
		i.cause("hangs", "look at what the application waits for: a database, a lock, workers that are all busy", "the target takes the connection and does not answer for %s", a.Took.Round(100*time.Millisecond))
		return
	}
	i.cause("slow", "make the health path cheaper, or set the timeout above that", "the target answers %d after %s, the timeout is %s", a.Status, a.Took.Round(10*time.Millisecond), t.Timeout)
}

var loginPattern = regexp.MustCompile(`(?i)log-?in|sign-?in|/auth|/sso|oauth|saml`)

// redirected is about a 3xx, which the balancer does not follow.
func (i *inspection) redirected(kind Kind, a *Answer) {
	u, err := url.Parse(a.Location)
	if err != nil || a.Location == "" {
		i.add(kind, "redirect", "let the path answer 200 itself", "the target answers %d without a place to go to", a.Status)
		return
	}
	host, _, _ := net.SplitHostPort(i.Target.Address)
	switch {
	case u.Scheme == "https" && i.Target.Protocol == HTTP:
		i.add(kind, "redirect-https", "leave the health path, or what comes with the User-Agent "+UserAgent+", out of the redirect; or redirect at the balancer's listener instead", "the target answers %d to %s: it sends plain HTTP to HTTPS, and the check follows no redirect", a.Status, a.Location)
	case loginPattern.MatchString(u.Path):
		i.add(kind, "redirect-login", "let the health path answer without a session", "the target answers %d to %s: the path needs somebody who is logged in", a.Status, a.Location)
	case u.Host != "" && u.Hostname() != host:
		i.add(kind, "redirect-host", "leave the health path out of the redirect to the canonical name", "the target answers %d to %s: it insists on another host name than its address", a.Status, a.Location)
	case strings.TrimSuffix(u.Path, "/") == strings.TrimSuffix(pathOf(i.Target.Path), "/"):
		i.add(kind, "redirect-slash", "set the path to "+u.Path, "the target answers %d to %s: only the slash at the end differs", a.Status, a.Location)
	default:
		i.add(kind, "redirect", "set the path to one that answers 200 itself", "the target answers %d to %s, which the check does not follow", a.Status, a.Location)
	}
}

func pathOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}

// mismatched is about an answer with a status that is not good.
func (i *inspection) mismatched(a *Answer) {
	t := i.Target
	if a.Status == http.StatusBadRequest && bytes.Contains(bytes.ToLower(a.body), []byte("https")) && t.Protocol == HTTP && i.speaksTLS() {
		i.cause("tls", "set the target group's protocol to HTTPS, or the port to the one without TLS", "the target speaks TLS at this port, the check is without")
		return
	}
	if name := i.siteName(a); name != "" {
		i.cause("virtual-host", "make the health path part of the default virtual host, or give the site ServerAlias *; the check cannot send a name", "the target answers %d to its address and well to the name %s: the site is a name-based virtual host, and the check's Host is %s", a.Status, name, t.Address)
		return
	}
	switch code := a.Status; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden || code == http.StatusProxyAuthRequired:
		i.cause("denied", "let the health path be read without credentials from the subnets of the balancer", "the target answers %d: it does not let the check in%s", code, said(a.body))
	case code == http.StatusNotFound || code == http.StatusGone:
		i.cause("not-found", "correct the path, or deploy what answers it", "the target answers %d: there is nothing at %s%s", code, t.Path, said(a.body))
	case code == http.StatusMethodNotAllowed || code == http.StatusNotImplemented:
		i.cause("method", "let the health path be read with GET", "the target answers %d: it does not take GET", code)
	case code == http.StatusTooManyRequests:
		i.cause("throttled", "leave the health path out of the rate limit", "the target answers 429: the checks of the balancer's nodes alone are too many for it")
	case code/100 == 5:
		i.cause("application", "look into the application's log", "the target answers %d: the application is broken or does not run%s", code, said(a.body))
	default:
		i.cause("matcher", fmt.Sprintf("set the success codes to %s,%d if that answer is meant, or let the path answer %s", t.Matcher, code, t.Matcher), "the target answers %d, the success codes are %s", code, t.Matcher)
	}
}

// siteName is a host name to which the target answers well; empty if there is none, or if the status has nothing to do with names.
func (i *inspection) siteName(a *Answer) string {
	if i.flaps() || a.Status/100 != 4 && a.Status != http.StatusServiceUnavailable && a.Status != http.StatusBadGateway {
		return ""
	}
	names := slices.Clone(i.o.Names)
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	for _, name := range append(names, "localhost") {
		if name != "" && i.tryAgain(question{host: name}) {
			return name
		}
	}
	return ""
}

// said is the beginning of a plain answer, which often says what is wrong.
func said(body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if line == "" || strings.HasPrefix(line, "<") || strings.ContainsRune(line, 0) {
		return ""
	}
	const most = 120
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "…"
	}
	return ": " + strings.ToValidUTF8(line, "?")
}

// slowFirst is about an application that has to be warmed up.
func (i *inspection) slowFirst() {
	const few, factor, near = 3, 5, 4 // near the timeout is a quarter of it
	if len(i.Checks) < few {
		return
	}
	first, rest := i.Checks[0], make([]time.Duration, 0, len(i.Checks))
	for _, a := range i.Checks[1:] {
		if a.Status != 0 {
			rest = append(rest, a.Took)
		}
	}
	if len(rest) < few-1 {
		return
	}
	slices.Sort(rest)
	usual := rest[len(rest)/2]
	if first.Took > factor*usual && first.Took > i.Target.Timeout/near && (first.Status != 0 || errors.Is(first.err, errNoAnswer)) {
		i.risk("slow-first", "ask the path once in ValidateService, before the balancer does", "the first answer took %s, the others %s: each worker that starts is slow once, and the timeout is %s",
			first.Took.Round(time.Millisecond), usual.Round(time.Millisecond/10), i.Target.Timeout)
	}
}

// strange are answers with a good status that are not those of an application.
var strange = []struct{ text, what string }{
	{"<?php", "source code of PHP, which is not run"},
	{"Apache2 Debian Default Page", "the web server's welcome page"},
	{"Apache2 Ubuntu Default Page", "the web server's welcome page"},
	{"<h1>It works!</h1>", "the web server's welcome page"},
	{"Test Page for the HTTP Server", "the web server's welcome page"},
	{"Welcome to nginx!", "the web server's welcome page"},
	{"<title>Index of /", "a listing of a folder"},
	{"<b>Fatal error</b>", "an error of PHP"},
	{"<b>Parse error</b>", "an error of PHP"},
	{"PHP Fatal error", "an error of PHP"},
	{"Uncaught PDOException", "an error of the database"},
}

// accepted is about a good status behind which something is not good.
func (i *inspection) accepted(a *Answer) {
	switch {
	case a.Status/100 == 3:
		i.redirected(Risk, a)
	case a.Status/100 == 4:
		i.risk("error-accepted", "set the success codes to 200", "the target answers %d, which the success codes %s accept: a missing application would be healthy", a.Status, i.Target.Matcher)
	case a.cut:
		i.risk("body-cut", "see why the answer does not end", "the answer begins and does not end within the timeout")
	}
	for _, s := range strange {
		if bytes.Contains(a.body, []byte(s.text)) {
			i.risk("content", "let the path be answered by the application; the agent's own path looks at the content (health.probe.body)", "the answer is %s: the balancer looks at the status alone and would take it for healthy", s.what)
			return
		}
	}
}

var keepAlivePattern = regexp.MustCompile(`timeout=(\d+)`)

// keepAlive is about connections that the target closes while the balancer still means to use them: it then answers 502.
func (i *inspection) keepAlive() {
	a := ask(i.ctx, i.Target, question{timeout: i.Target.Timeout, keepAlive: true})
	if a.Status == 0 {
		return
	}
	const remedy = "let the target keep connections longer than the balancer does (Apache: KeepAliveTimeout 65, nginx: keepalive_timeout 65)"
	if strings.EqualFold(a.header.Get("Connection"), "close") {
		i.risk("no-keep-alive", remedy, "the target closes every connection: each request of the balancer pays for a new one")
		return
	}
	if m := keepAlivePattern.FindStringSubmatch(a.header.Get("Keep-Alive")); m != nil {
		seconds, err := strconv.Atoi(m[1])
		if kept := time.Duration(seconds) * time.Second; err == nil && kept <= i.o.Idle {
			i.risk("keep-alive", remedy, "the target closes idle connections after %s, the balancer after %s: a request that is sent in between is answered 502", kept, i.o.Idle)
		}
	}
}

// head is about HEAD, which clients send through the balancer: a body after it is taken for the answer to the next request.
func (i *inspection) head(get int) {
	t := i.Target
	ctx, cancel := context.WithTimeout(i.ctx, t.Timeout)
	defer cancel()
	var conn net.Conn
	var err error
	if t.Protocol == HTTPS {
		conn, err = (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}}).DialContext(ctx, "tcp", t.Address)
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", t.Address)
	}
	if err != nil {
		return
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if conn.SetDeadline(deadline) != nil {
			return
		}
	}
	fmt.Fprintf(conn, "HEAD %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nConnection: close\r\n\r\n", t.Path, t.Address, UserAgent)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodHead})
	if err != nil {
		return
	}
	resp.Body.Close()
	if rest, _ := io.ReadAll(io.LimitReader(in, bodyLimit)); len(rest) > 0 {
		i.risk("head-body", "answer HEAD without a body", "the target sends a body of %d bytes after HEAD: over a connection that is kept, the balancer would take it for the next answer", len(rest))
	} else if resp.StatusCode != get && !i.flaps() {
		i.risk("head-status", "answer HEAD like GET", "the target answers HEAD with %d and GET with %d", resp.StatusCode, get)
	}
}

package control

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// proxy decides which proxy a request goes through.
type proxy struct {
	http, https *url.URL // nil: none
	except      []exception
	// loopback says that this machine itself is asked directly: so it is with the variables of the environment, which are for
	// everybody. A proxy named in the configuration is meant.
	loopback bool
}

// exception is one entry of NO_PROXY.
type exception struct {
	all    bool
	prefix netip.Prefix
	suffix string // with a dot before it: a domain and what is below
	below  bool   // the domain itself is not meant
	port   string
}

// newProxy takes proxy_uri, else the environment (C-22).
func newProxy(uri string, getenv func(string) string) (*proxy, error) {
	either := func(name string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return getenv(strings.ToUpper(name))
	}
	p := &proxy{except: exceptions(either("no_proxy"))}
	if uri != "" {
		u, err := proxyURL("proxy_uri", uri)
		p.http, p.https = u, u
		return p, err
	}
	p.loopback = true
	var err error
	if v := either("http_proxy"); v != "" {
		if p.http, err = proxyURL("http_proxy", v); err != nil {
			return nil, err
		}
	}
	if v := either("https_proxy"); v != "" {
		if p.https, err = proxyURL("https_proxy", v); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// proxyURL reads the address of a proxy. Its error does not repeat it, because there may be a password in it.
func proxyURL(from, s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("%s: it cannot be read as a URL; reserved characters in a password are written as %%XX", from)
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return nil, fmt.Errorf("%s: proxies of type %q are not supported, only http, https and socks5", from, u.Scheme)
	}
	if u.Hostname() == "" {
		return nil, fmt.Errorf("%s: %s names no host", from, u.Redacted())
	}
	return u, nil
}

// forRequest is the Proxy function of http.Transport.
func (p *proxy) forRequest(r *http.Request) (*url.URL, error) {
	via := p.http
	if r.URL.Scheme == "https" {
		via = p.https
	}
	if via == nil || p.direct(r.URL) {
		return nil, nil
	}
	return via, nil
}

// direct reports whether a target is reached without the proxy.
func (p *proxy) direct(u *url.URL) bool {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	ip, err := netip.ParseAddr(host)
	if err == nil {
		ip = ip.WithZone("").Unmap()
		if ip.IsLinkLocalUnicast() || ip == metadataIPv6 || p.loopback && ip.IsLoopback() {
			return true
		}
	} else if p.loopback && host == "localhost" {
		return true
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	for _, e := range p.except {
		if e.matches(host, ip, port) {
			return true
		}
	}
	return false
}

// metadataIPv6 is where instance metadata is on IPv6: unique-local by number, link-local by nature.
var metadataIPv6 = netip.MustParseAddr("fd00:ec2::254")

// exceptions reads NO_PROXY: names and addresses, with a port or not, domains with a dot or "*." before them, networks, or "*". What
// is none of these is passed over, as everybody does.
func exceptions(list string) (es []exception) {
	for _, s := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		s = strings.ToLower(s)
		if s == "*" {
			es = append(es, exception{all: true})
			continue
		}
		if prefix, err := netip.ParsePrefix(s); err == nil {
			es = append(es, exception{prefix: prefix.Masked()})
			continue
		}
		var e exception
		if host, port, err := net.SplitHostPort(s); err == nil {
			s, e.port = host, port
		}
		s = strings.Trim(s, "[]")
		if ip, err := netip.ParseAddr(s); err == nil {
			e.prefix = netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen())
			es = append(es, e)
			continue
		}
		s = strings.TrimSuffix(strings.TrimPrefix(s, "*"), ".")
		if e.below = strings.HasPrefix(s, "."); !e.below {
			s = "." + s
		}
		if len(s) > 1 {
			e.suffix = s
			es = append(es, e)
		}
	}
	return es
}

func (e exception) matches(host string, ip netip.Addr, port string) bool {
	switch {
	case e.all:
		return true
	case e.port != "" && e.port != port:
		return false
	case e.prefix.IsValid():
		return ip.IsValid() && e.prefix.Contains(ip)
	}
	return strings.HasSuffix(host, e.suffix) || !e.below && "."+host == e.suffix
}

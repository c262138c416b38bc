package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// maxSkew is how far the clock may be off before the service refuses what was signed with it.
const maxSkew = 5 * time.Minute

// Endpoint asks a URL for an answer, whatever it is, as the agent would: through the client's proxy and with its trust. proxy names the proxy that
// is configured, "" for none.
func Endpoint(name, address, proxy string, client *http.Client) Check {
	return Check{name, func(ctx context.Context) Result {
		answer, err := ask(ctx, client, address)
		if err == nil {
			answer.Body.Close()
			return ok("%s answers%s", address, through(proxy))
		}
		return unreachable(address, proxy, err)
	}}
}

func through(proxy string) string {
	if proxy == "" {
		return ""
	}
	return " through the proxy " + bare(proxy)
}

// bare is a URL without the password that may be in it.
func bare(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "that is configured"
	}
	return u.Redacted()
}

func ask(ctx context.Context, client *http.Client, address string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return nil, err
	}
	return client.Do(req)
}

// unreachable says why an address does not answer, and what to do.
func unreachable(address, proxy string, err error) Result {
	var (
		dns     *net.DNSError
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		record  tls.RecordHeaderError
		op      *net.OpError
	)
	where := address + through(proxy)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Result{Fail, fmt.Sprintf("%s: its certificate is not valid now: %v", where, invalid), "compare date -u with the real time; if the clock is right, the certificate of the endpoint or of a proxy between has to be renewed"}
	case errors.As(err, &unknown):
		return Result{Fail, fmt.Sprintf("%s: its certificate is of an authority that this host does not know", where), "install ca-certificates; where a proxy opens the connection, name its authority in AWS_CA_BUNDLE"}
	case errors.As(err, &host):
		return Result{Fail, fmt.Sprintf("%s: its certificate is for another name: %v", where, host), "correct the endpoint, or the DNS that leads to another server"}
	case errors.As(err, &record):
		return Result{Fail, fmt.Sprintf("%s: what answers does not speak TLS", where), "correct the port, or the proxy that answers instead"}
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return Result{Fail, fmt.Sprintf("the proxy %s cannot be reached: %v", bare(proxy), op.Err), "start the proxy, or correct proxy_uri / HTTPS_PROXY"}
	case errors.As(err, &dns):
		return Result{Fail, fmt.Sprintf("%s: the name %s is not found: %v", where, dns.Name, dns.Err), "is the region right? Then mend DNS: /etc/resolv.conf, the VPC's DNS settings, a VPC endpoint with private DNS"}
	case errors.Is(err, context.DeadlineExceeded):
		return Result{Fail, where + " does not answer", "open the way out: route to a NAT or internet gateway or a VPC endpoint, security group and network ACL for port 443"}
	}
	remedy := "look at routes, security group, network ACL and firewall"
	if proxy != "" {
		remedy = "start the proxy, or correct proxy_uri / HTTPS_PROXY"
	}
	return Result{Fail, fmt.Sprintf("%s cannot be reached: %v", where, err), remedy}
}

// Clock compares the clock of this host with that of a server, which says the time in its answers. now is time.Now outside tests.
func Clock(name, address string, client *http.Client, now func() time.Time) Check {
	return Check{name, func(ctx context.Context) Result {
		answer, err := ask(ctx, client, address)
		if err != nil {
			return skip("%s, which would tell the time, does not answer", address)
		}
		answer.Body.Close()
		theirs, err := http.ParseTime(answer.Header.Get("Date"))
		if err != nil {
			return skip("%s does not tell the time", address)
		}
		off := now().Sub(theirs).Round(time.Second)
		const remedy = "start a time service: systemctl enable --now chronyd (169.254.169.123 is the clock of EC2)"
		switch {
		case off.Abs() >= maxSkew:
			return Result{Fail, fmt.Sprintf("the clock is off by %s: signatures are refused from %s on", off, maxSkew), remedy}
		case off.Abs() >= maxSkew/5:
			return Result{Warn, fmt.Sprintf("the clock is off by %s", off), remedy}
		}
		return ok("the clock is right within %s", max(off.Abs(), time.Second))
	}}
}

// Answers asks an address of this host, such as the path of the balancer, and compares the status.
func Answers(name, address string, want func(status int) bool, client *http.Client, remedy string) Check {
	return Check{name, func(ctx context.Context) Result {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return Result{Fail, err.Error(), remedy}
		}
		answer, err := client.Do(req)
		if err != nil {
			return Result{Fail, fmt.Sprintf("%s does not answer: %v", address, err), remedy}
		}
		answer.Body.Close()
		if !want(answer.StatusCode) {
			return Result{Fail, fmt.Sprintf("%s answers %d", address, answer.StatusCode), remedy}
		}
		return ok("%s answers %d", address, answer.StatusCode)
	}}
}

package control

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	connectTimeout     = 15 * time.Second // P-31
	defaultReadTimeout = 80 * time.Second // http_read_timeout, C-18
	idleTimeout        = 5 * time.Second  // P-31
)

// HTTPOptions are what NewHTTPClient makes a client of. Zero values are the defaults.
type HTTPOptions struct {
	ProxyURI    string              // proxy_uri (C-9); "": the proxy variables of the environment
	CAFile      string              // "": AWS_SSL_CA_BUNDLE, else AWS_CA_BUNDLE (P-16)
	CADir       string              // "": AWS_SSL_CA_DIRECTORY
	ReadTimeout time.Duration       // http_read_timeout (C-18): the longest silence of a peer; 80 s when zero
	Getenv      func(string) string // nil: an empty environment
}

// NewHTTPClient makes the client for the command service, S3 and GitHub.
//
// The certificate of a server is always verified (P-16). Roots named by option or variable replace those of the system, as in the
// AWS SDKs; file and directory add up. SSL_CERT_FILE adds to the system's roots and counts only where none of them is named.
//
// Requests go through ProxyURI, else through https_proxy or http_proxy. NO_PROXY holds for both, and link-local addresses, where the
// instance metadata is, are never asked for through a proxy. A request fails when connecting takes longer than 15 s, or when
// the peer is silent for longer than ReadTimeout; idle connections are kept for 5 s (P-31).
func NewHTTPClient(o HTTPOptions) (*http.Client, error) {
	getenv := o.Getenv
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	roots, err := rootCAs(o, getenv)
	if err != nil {
		return nil, err
	}
	proxy, err := newProxy(o.ProxyURI, getenv)
	if err != nil {
		return nil, err
	}
	read := cmp.Or(o.ReadTimeout, defaultReadTimeout)
	if read < 0 {
		return nil, fmt.Errorf("read time-out: %v is negative", read)
	}
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}
	return &http.Client{Transport: &http.Transport{
		Proxy: proxy.forRequest,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &boundedConn{conn, read}, nil
		},
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   connectTimeout,
		ResponseHeaderTimeout: read,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       idleTimeout,
		MaxIdleConnsPerHost:   16, // as many as the parts of a download that are fetched at once, and some
	}}, nil
}

// boundedConn ends a read that brings nothing for too long, as the reference's read time-out does. The one of http.Transport ends
// with the headers: a download that stands still would hang for ever.
type boundedConn struct {
	net.Conn
	silence time.Duration
}

func (c *boundedConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write starts the time anew: the read that waits for the answer began when the connection became idle.
func (c *boundedConn) Write(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// rootCAs are the roots to trust, or nil for the system's.
func rootCAs(o HTTPOptions, getenv func(string) string) (*x509.CertPool, error) {
	file, fileFrom := o.CAFile, "CA file"
	for _, name := range []string{"AWS_SSL_CA_BUNDLE", "AWS_CA_BUNDLE"} {
		if file == "" {
			file, fileFrom = getenv(name), name
		}
	}
	dir, dirFrom := o.CADir, "CA directory"
	if dir == "" {
		dir, dirFrom = getenv("AWS_SSL_CA_DIRECTORY"), "AWS_SSL_CA_DIRECTORY"
	}
	if file == "" && dir == "" {
		if file = getenv("SSL_CERT_FILE"); file == "" {
			return nil, nil
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		return pool, addFile(pool, "SSL_CERT_FILE", file)
	}
	pool := x509.NewCertPool()
	if file != "" {
		if err := addFile(pool, fileFrom, file); err != nil {
			return nil, err
		}
	}
	if dir != "" {
		if err := addDir(pool, dirFrom, dir); err != nil {
			return nil, err
		}
	}
	return pool, nil
}

func addFile(pool *x509.CertPool, from, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if !pool.AppendCertsFromPEM(data) {
		return fmt.Errorf("%s: %s has no PEM certificate", from, path)
	}
	return nil
}

// addDir takes the certificates of every file in a directory, however it is called: OpenSSL looks for names made of hashes,
// others for *.pem.
func addDir(pool *x509.CertPool, from, path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	found := false
	var unread []error
	for _, e := range entries {
		name := filepath.Join(path, e.Name())
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() || info.Size() > 4<<20 {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			unread = append(unread, err)
			continue
		}
		found = pool.AppendCertsFromPEM(data) || found
	}
	if !found {
		return errors.Join(append([]error{fmt.Errorf("%s: %s has no PEM certificate in any of its files", from, path)}, unread...)...)
	}
	return nil
}

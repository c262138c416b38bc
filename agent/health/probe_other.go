package health

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"
)

// NewTCPProbe returns a probe that is good when a connection to the address, host:port, is accepted. Nothing is sent.
func NewTCPProbe(address string) (Prober, error) {
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("health probe %q: it needs an address, for example 127.0.0.1:3306", address)
	}
	return tcpProber(address), nil
}

type tcpProber string

// Probe connects once.
func (p tcpProber) Probe(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", string(p))
	if err != nil {
		if op := (*net.OpError)(nil); errors.As(err, &op) {
			err = op.Err // without it the text would name the address twice
		}
		return fmt.Errorf("connect to %s: %w", string(p), err)
	}
	conn.Close()
	return nil
}

// NewFileProbe returns a probe that is good while the file at path is there and was written within maxAge; zero: whenever. It is for what
// has no listener: a worker that touches a file with each turn.
func NewFileProbe(path string, maxAge time.Duration) Prober { return fileProber{path, maxAge} }

type fileProber struct {
	path   string
	maxAge time.Duration
}

// Probe looks once. A file system that hangs (a dead NFS server) is the context's to end: the look goes on in a goroutine of its own.
func (p fileProber) Probe(ctx context.Context) error {
	seen := make(chan error, 1)
	go func() { seen <- p.look(time.Now()) }()
	select {
	case err := <-seen:
		return err
	case <-ctx.Done():
		return fmt.Errorf("look at %s: %w", p.path, context.Cause(ctx))
	}
}

func (p fileProber) look(now time.Time) error {
	info, err := os.Stat(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is not there", p.path)
	case err != nil:
		return fmt.Errorf("look at the file: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", p.path)
	}
	if age := now.Sub(info.ModTime()); p.maxAge > 0 && age > p.maxAge {
		return fmt.Errorf("%s was last written %s ago, allowed are %s", p.path, age.Round(time.Second), p.maxAge)
	}
	return nil
}

package health

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// shutdownWait is how long answers that are under way are waited for; they take microseconds.
const shutdownWait = 2 * time.Second

// Serve answers on the listener until ctx ends, then lets answers under way finish, closes everything and returns
// nil. An error means that the listener broke before.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	var unused unusedConns
	server := &http.Server{
		Handler:           h,
		ConnState:         unused.note,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second,
		// Longer than a balancer keeps a connection (60 s), or it would use one that is being closed.
		IdleTimeout:    75 * time.Second,
		MaxHeaderBytes: 16 << 10,
		// Noise about clients that hang up is no news to the operator.
		ErrorLog: zap.NewStdLog(zap.NewNop()),
	}
	server.RegisterOnShutdown(unused.close)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWait)
		defer cancel()
		if err := server.Shutdown(bounded); err != nil {
			_ = server.Close() // waited long enough
		}
	})
	err := server.Serve(l)
	if stop() {
		return err
	}
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// unusedConns are connections that were opened and never asked anything. A balancer opens such in advance, and
// [http.Server.Shutdown] would wait five seconds for them.
type unusedConns struct {
	mu     sync.Mutex // guards both
	conns  map[net.Conn]struct{}
	closed bool
}

func (u *unusedConns) note(c net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(u.conns, c)
	case u.closed:
		_ = c.Close()
	default:
		if u.conns == nil {
			u.conns = map[net.Conn]struct{}{}
		}
		u.conns[c] = struct{}{}
	}
}

func (u *unusedConns) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for c := range u.conns {
		_ = c.Close()
	}
}

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

// mostConns is how many connections there may be: a balancer has some for each of its nodes. What keeps connections open must not take the
// descriptors and the memory that deployments need.
const mostConns = 512

// Serve answers on the listener until ctx ends, then lets answers under way finish, closes everything and returns
// nil. An error means that the listener broke before.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	var open openConns
	server := &http.Server{
		Handler:           h,
		ConnState:         open.note,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second,
		// Longer than a balancer keeps a connection (60 s), or it would use one that is being closed.
		IdleTimeout:    75 * time.Second,
		MaxHeaderBytes: 16 << 10,
		// Noise about clients that hang up is no news to the operator.
		ErrorLog: zap.NewStdLog(zap.NewNop()),
	}
	server.RegisterOnShutdown(open.close)
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

// openConns are the connections there are. Of those that were opened and never asked anything, as a balancer opens them in advance,
// [http.Server.Shutdown] would wait five seconds for each. Of too many the one that has rested the longest is closed.
type openConns struct {
	mu     sync.Mutex // guards all
	conns  map[net.Conn]resting
	turn   uint64
	closed bool
}

// resting says since which turn a connection has been without a request; 0: it has one in hand.
type resting struct {
	since uint64
	fresh bool // it has asked nothing yet
}

func (o *openConns) note(c net.Conn, state http.ConnState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.turn++
	switch state {
	case http.StateNew:
		if o.closed || len(o.conns) >= mostConns && !o.makeRoom() {
			_ = c.Close()
			return
		}
		if o.conns == nil {
			o.conns = map[net.Conn]resting{}
		}
		o.conns[c] = resting{since: o.turn, fresh: true}
	case http.StateActive:
		o.set(c, resting{})
	case http.StateIdle:
		o.set(c, resting{since: o.turn})
	case http.StateClosed, http.StateHijacked:
		delete(o.conns, c)
	}
}

// set changes what is known of a connection that was not closed here. The caller holds mu.
func (o *openConns) set(c net.Conn, r resting) {
	if _, ok := o.conns[c]; ok {
		o.conns[c] = r
	}
}

// makeRoom closes the connection that has rested the longest; false: none rests. The caller holds mu.
func (o *openConns) makeRoom() bool {
	var oldest net.Conn
	for c, r := range o.conns {
		if r.since > 0 && (oldest == nil || r.since < o.conns[oldest].since) {
			oldest = c
		}
	}
	if oldest == nil {
		return false
	}
	delete(o.conns, oldest)
	_ = oldest.Close()
	return true
}

func (o *openConns) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for c, r := range o.conns {
		if r.fresh {
			_ = c.Close()
		}
	}
}

package health

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// shutdownWait is how long answers that are under way are waited for. Handlers take microseconds; a connection that a
// balancer has opened in advance and never used must not hold the agent's stop.
const shutdownWait = 200 * time.Millisecond

// Serve answers on the listener until ctx ends, then lets answers under way finish, closes everything and returns
// nil. An error means that the listener broke before.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second,
		// Longer than a balancer keeps a connection (60 s), or it would use one that is being closed.
		IdleTimeout:    75 * time.Second,
		MaxHeaderBytes: 16 << 10,
		// Noise about clients that hang up is no news to the operator.
		ErrorLog: zap.NewStdLog(zap.NewNop()),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWait)
		defer cancel()
		if err := server.Shutdown(bounded); err != nil {
			_ = server.Close() // the wait is over; what is left are idle connections
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

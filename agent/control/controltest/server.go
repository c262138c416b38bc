// Package controltest is the command service in-process, over real HTTP. It keeps commands and their states, verifies the signature of
// every call, checks what the service checks, signs specifications with a key of its own, and does badly on request.
//
// It is for tests and for the offline lab: many hosts may talk to one Server at once.
package controltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Options are what a Server is made of. Zero values are the defaults.
type Options struct {
	Region string            // that calls must be signed for; us-east-1
	Keys   map[string]string // access key → secret; none: calls are checked for everything but who signed them
	Tokens map[string]string // access key → session token that must come with it

	// Variant is the API model that calls must be of (P-11).
	Secure, Mock bool

	// PollWait is how long a poll waits for a command before it answers that there is none. Zero: not at all.
	PollWait time.Duration
	// Redeliver is how long after a delivery a command that was not acknowledged is delivered again. Zero: by the next poll.
	Redeliver time.Duration

	Log     *zap.Logger
	OnEvent func(Event) // is told of everything that happens to commands, in the goroutine of the call; may use the Server
	OnCall  func(Call)  // is told of every call
	MaxCall int         // how many calls are remembered; 10,000. The oldest are forgotten
}

// Server is the command service. Its methods may be used at any time and from any goroutine.
type Server struct {
	opts    Options
	log     *zap.Logger
	signers *authority

	mu       sync.Mutex // guards all below
	keys     map[string]key
	commands []*command // in order of arrival
	byID     map[string]*command
	seq      int
	changed  chan struct{} // closed, and made anew, when a poll or Await may find something new
	faults   []*fault
	calls    []Call
	skew     time.Duration
	closed   bool
	httpd    *http.Server
}

// New makes a service without commands.
func New(o Options) (*Server, error) {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Secure && o.Mock {
		return nil, errors.New("controltest: the mock service has no auth policy")
	}
	if o.MaxCall <= 0 {
		o.MaxCall = 10_000
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	signers, err := newAuthority(o.Region)
	if err != nil {
		return nil, fmt.Errorf("controltest: %w", err)
	}
	s := &Server{opts: o, log: o.Log, signers: signers, keys: map[string]key{}, byID: map[string]*command{}, changed: make(chan struct{})}
	for access, secret := range o.Keys {
		s.keys[access] = key{secret: secret, token: o.Tokens[access]}
	}
	return s, nil
}

// Start serves on a free port of the loopback interface until Close, and returns the URL.
func (s *Server) Start() (string, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("controltest: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.httpd != nil {
		l.Close()
		return "", errors.New("controltest: started or closed before")
	}
	s.httpd = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go s.httpd.Serve(l) //nolint:errcheck // ends by Close
	return "http://" + l.Addr().String(), nil
}

// Close ends polls that wait and, after Start, the listener and its connections.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.wakeLocked()
	httpd := s.httpd
	s.mu.Unlock()
	if httpd != nil {
		return httpd.Close()
	}
	return nil
}

// wakeLocked lets waiting polls and Awaits look again.
func (s *Server) wakeLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Call is one request as the service saw it.
type Call struct {
	Operation string
	Host      string // that the call names, or whose command it is about; "" if it names none that is known
	Body      map[string]any
	Header    http.Header // as received
	At        time.Time
	Status    int    // HTTP status given; 0: the connection was cut instead
	Code      string // error code given; "" on success
}

// Calls returns what was called so far, in order of arrival.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.calls...)
}

// EventKind is what an Event is about.
type EventKind string

// What happens to commands.
const (
	Enqueued     EventKind = "enqueued"
	Delivered    EventKind = "delivered"    // a poll was answered with it
	SpecRead     EventKind = "spec-read"    // its specification was fetched
	Acknowledged EventKind = "acknowledged" // each time
	Updated      EventKind = "updated"
	Completed    EventKind = "completed" // each time; see Completion.Count
	Cancelled    EventKind = "cancelled"
)

// Event is something that happened to a command.
type Event struct {
	Kind    EventKind
	ID      string // of the command
	Host    string
	At      time.Time
	Version string // that the caller's header told; "" where nobody called
	State   CommandState
}

// tell reports an event. It must not be called with the lock held.
func (s *Server) tell(events ...Event) {
	if s.opts.OnEvent == nil {
		return
	}
	for _, e := range events {
		s.opts.OnEvent(e)
	}
}

// AddKey makes a key known, or replaces its secret and token. An empty token means that none is wanted.
func (s *Server) AddKey(access, secret, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[access] = key{secret: secret, token: token}
}

// ExpireKey answers calls signed by a key with ExpiredTokenException from now on; AddKey ends that.
func (s *Server) ExpireKey(access string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[access]
	k.expired = true
	s.keys[access] = k
}

// SkewClock moves the clock of the service: what its Date header tells and what it measures signatures by.
func (s *Server) SkewClock(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skew = d
}

// key is a known access key.
type key struct {
	secret, token string
	expired       bool
}

package lab

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Endpoints are the URLs of a running lab, without a slash at the end.
type Endpoints struct {
	// Gateway answers for CodeDeploy, S3, the host-command service and the lab's own API alike, so that one
	// AWS_ENDPOINT_URL is enough.
	Gateway string `json:"gateway"`
	// Control is the host-command service alone.
	Control string `json:"control"`
	// S3 is S3 alone; address buckets by path.
	S3 string `json:"s3"`
	// Admin is the lab's own API, below /lab/.
	Admin string `json:"admin"`
	// Metadata has one URL per instance.
	Metadata []string `json:"metadata"`
}

// closingTime is what a request in hand gets to end when the lab closes.
const closingTime = 300 * time.Millisecond

// A Lab is running from Start to Close.
type Lab struct {
	options   Options
	service   *service
	control   *hostCommands
	objects   *objects
	hub       *hub
	faults    *faults
	calls     *callLog
	authority *authority
	endpoints Endpoints
	instances []*host
	servers   []*http.Server
	ctx       context.Context //nolint:containedctx // the lab's life, for streams and deployments
	cancel    context.CancelFunc
	done      chan struct{}
	once      sync.Once
}

// Start opens the listeners and returns at once. What it started ends with Close.
func Start(o Options) (*Lab, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	l := &Lab{options: o, hub: newHub(), done: make(chan struct{}), calls: &callLog{out: o.Calls, log: o.Log}}
	l.faults = &faults{hub: l.hub}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for n := range o.Instances {
		h := instanceHost(o.Region, o.Account, n)
		h.implied = o.Instances == 1
		l.instances = append(l.instances, h)
	}
	if err := l.open(); err != nil {
		l.Close(context.Background()) //nolint:errcheck // the first error counts
		return nil, err
	}
	return l, nil
}

// open makes the services and their listeners.
func (l *Lab) open() error {
	if err := l.build(); err != nil {
		return err
	}
	return l.listen()
}

// build makes the services.
func (l *Lab) build() (err error) {
	o := l.options
	if o.TLS {
		if l.authority, err = newAuthority(); err != nil {
			return err
		}
	}
	keys := l.keyring()
	if l.control, err = newHostCommands(o, keys,
		func(id string) { l.service.acknowledged(id) }, func(id, version string) { l.service.seen(id, version) }); err != nil {
		return fmt.Errorf("host-command service: %w", err)
	}
	l.service = newService(l.ctx, o, l.hub, l.control)
	for _, h := range l.instances {
		l.service.declare(h)
	}
	for _, h := range o.Hosts {
		if _, err := l.DeclareHost(h); err != nil {
			return err
		}
	}
	l.objects, err = newObjects(o.Buckets, o.Log)
	return err
}

// keyring has the operator's pair and one temporary set per instance.
func (l *Lab) keyring() *keyring {
	k := &keyring{secrets: map[string]string{l.options.AccessKey: l.options.SecretKey}, tokens: map[string]string{}, lenient: l.options.Lenient}
	for _, h := range l.instances {
		k.secrets[h.keys.access], k.tokens[h.keys.access] = h.keys.secret, h.keys.token
	}
	return k
}

// listen opens all listeners.
func (l *Lab) listen() error {
	host, port, err := l.options.address()
	if err != nil {
		return err
	}
	keys := l.keyring()
	front := func(service string, h http.Handler, keys *keyring, refuse func(http.ResponseWriter, *http.Request, int, string, string)) *front {
		return &front{service: service, handler: h, keys: keys, faults: l.faults, calls: l.calls, refuse: refuse}
	}
	control := front(serviceControl, l.control.server, nil, refuseJSON)
	deploy := front(serviceDeploy, l.service, keys, refuseJSON)
	s3 := front(serviceS3, l.objects, keys, writeS3Error)
	admin := l.admin()
	gateway := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := r.Header.Get("X-Amz-Target")
		switch {
		case strings.HasPrefix(target, apiPrefix):
			deploy.ServeHTTP(w, r)
		case target != "" && r.Method == http.MethodPost:
			control.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/lab/"):
			admin.ServeHTTP(w, r)
		default:
			s3.ServeHTTP(w, r)
		}
	})
	for i, at := range []struct {
		handler http.Handler
		url     *string
	}{{gateway, &l.endpoints.Gateway}, {control, &l.endpoints.Control}, {s3, &l.endpoints.S3}, {admin, &l.endpoints.Admin}} {
		if *at.url, err = l.serve(host, next(port, i), at.handler, l.options.TLS); err != nil {
			return err
		}
	}
	for i, h := range l.instances {
		m := &metadata{service: l.service, host: h, tokens: map[string]time.Time{}}
		url, err := l.serve(host, next(port, 4+i), front(serviceMetadata, m, nil, refusePlain), false)
		if err != nil {
			return err
		}
		l.endpoints.Metadata = append(l.endpoints.Metadata, url)
		l.service.mu.Lock()
		h.Endpoint = url
		l.service.mu.Unlock()
	}
	return nil
}

// next is the port i after the first, any if the first is.
func next(first, i int) int {
	if first == 0 {
		return 0
	}
	return first + i
}

// serve opens one listener and returns its URL.
func (l *Lab) serve(host string, port int, h http.Handler, secure bool) (string, error) {
	var config net.ListenConfig
	ln, err := config.Listen(l.ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: zap.NewStdLog(l.options.Log.Named("http")),
		BaseContext: func(net.Listener) context.Context { return l.ctx },
	}
	l.servers = append(l.servers, server)
	scheme := "http"
	if secure {
		scheme = "https"
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{l.authority.server}, MinVersion: tls.VersionTLS12}
		go server.ServeTLS(ln, "", "") //nolint:errcheck // ends by Close
	} else {
		go server.Serve(ln) //nolint:errcheck // ends by Close
	}
	return scheme + "://" + cmp.Or(ln.Addr().String(), host), nil
}

// Endpoints are where the lab listens.
func (l *Lab) Endpoints() Endpoints { return l.endpoints }

// Done is closed when somebody asked for the lab's end through its API.
func (l *Lab) Done() <-chan struct{} { return l.done }

// Info is what a client needs to know.
func (l *Lab) Info() Info {
	i := Info{
		Endpoints: l.endpoints, Region: l.options.Region, Account: l.options.Account, AccessKey: l.options.AccessKey, SecretKey: l.options.SecretKey,
		Signer: string(l.control.server.CAPEM()), SignerFingerprint: l.control.server.SignerFingerprint(),
	}
	if l.authority != nil {
		i.Authority = string(l.authority.pem)
	}
	return i
}

// Close stops deployments in hand and all listeners. Polls and streams are ended; other requests in hand get a moment.
func (l *Lab) Close(ctx context.Context) error {
	l.cancel()
	var errs []error
	if l.control != nil {
		errs = append(errs, l.control.server.Close())
	}
	moment, cancel := context.WithTimeout(ctx, closingTime)
	defer cancel()
	var closing sync.WaitGroup
	for _, s := range l.servers {
		closing.Go(func() {
			if s.Shutdown(moment) != nil {
				s.Close()
			}
		})
	}
	closing.Wait()
	if l.service != nil {
		ended := make(chan struct{})
		go func() { l.service.running.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("deployments in hand: %w", context.Cause(ctx)))
		}
	}
	return errors.Join(errs...)
}

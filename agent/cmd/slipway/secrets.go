package main

import (
	"context"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"slipway/agent/config"
)

// witness hands out credentials and remembers those of late: hooks must not show them. It keeps them in memory alone.
type witness struct {
	inner aws.CredentialsProvider

	mu   sync.Mutex        // guards what follows
	seen []aws.Credentials // the newest last
}

// remembered is how many credentials are: those in use, those before, and one more for a hook that began with them.
const remembered = 3

// Retrieve is that of the provider.
func (w *witness) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := w.inner.Retrieve(ctx)
	if err != nil {
		return c, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.ContainsFunc(w.seen, func(o aws.Credentials) bool {
		return o.AccessKeyID == c.AccessKeyID && o.SecretAccessKey == c.SecretAccessKey && o.SessionToken == c.SessionToken
	}) {
		w.seen = append(w.seen, c)
		w.seen = w.seen[max(0, len(w.seen)-remembered):]
	}
	return c, nil
}

// Invalidate is for the clients, which do it when a service says that the credentials have expired.
func (w *witness) Invalidate() {
	if cache, ok := w.inner.(interface{ Invalidate() }); ok {
		cache.Invalidate()
	}
}

// values are all parts of the credentials that were used of late.
func (w *witness) values() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, c := range w.seen {
		all = append(all, c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
	}
	return all
}

// secrets are the values that may appear in no log and no report: the credentials that the agent has used of late, and those below.
func (d *daemon) secrets() []string { return append(d.keys.values(), d.p.secrets(d.live.Load())...) }

// secrets are the credentials that the program has in its environment, whether it uses them or not, and those of its configuration.
func (p *program) secrets(c *config.Config) []string {
	var all []string
	for _, name := range credentialVariables {
		all = append(all, p.getenv(name))
	}
	for _, text := range []string{c.ProxyURI, c.DeployControlEndpoint, c.S3EndpointOverride} {
		if u, err := url.Parse(text); err == nil && u.User != nil {
			password, _ := u.User.Password()
			all = append(all, password)
		}
	}
	if c.GitHubTokenFile != "" {
		token, _ := os.ReadFile(c.GitHubTokenFile) // whoever needs it tells if it cannot be read
		all = append(all, strings.TrimSpace(string(token)))
	}
	return slices.DeleteFunc(all, func(v string) bool { return v == "" })
}

// shown is a URL without its password.
func shown(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "a URL that cannot be read"
	}
	return u.Redacted()
}

// targetState is where the metadata service says what an Auto Scaling group wants of this host.
const targetState = "autoscaling/target-lifecycle-state"

// lifecycleState is that value as it was read last. It is read in the background when somebody wants to know it, so that nobody waits for
// the metadata service, and left out when it is too old to be right.
type lifecycleState struct {
	ask func(context.Context) (string, error)

	mu     sync.Mutex // guards what follows
	value  string     // "" where there is none: on premises, outside of a group
	at     time.Time  // of the last answer
	asking bool
}

const (
	stateFresh = 5 * time.Second // it is not asked for again before
	stateStale = time.Minute     // an older one is not told
	stateTime  = 5 * time.Second // for an answer
)

// now is the value, and makes it be read again.
func (l *lifecycleState) now() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	age := time.Since(l.at)
	if age > stateFresh && !l.asking {
		l.asking = true
		go l.refresh()
	}
	if age > stateStale {
		return ""
	}
	return l.value
}

func (l *lifecycleState) refresh() {
	ctx, cancel := context.WithTimeout(context.Background(), stateTime)
	defer cancel()
	value, err := l.ask(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asking = false
	if err != nil {
		value = ""
	}
	l.value, l.at = value, time.Now()
}

// hostEnviron are the variables that scripts get and that change with the host.
func (d *daemon) hostEnviron() []string {
	if state := d.fleet.now(); state != "" {
		return []string{"SLIPWAY_TARGET_LIFECYCLE_STATE=" + state}
	}
	return nil
}

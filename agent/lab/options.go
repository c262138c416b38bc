package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"time"

	"go.uber.org/zap"
)

// Defaults of Options.
const (
	defaultRegion    = "us-east-1"
	defaultAccount   = "123456789012"
	defaultAccessKey = "AKIASLIPWAYLAB000001"
	defaultSecretKey = "slipwayLabSecretKeyForLoopbackUseOnly000"
	defaultBucket    = "slipway-lab"
)

// Options of a lab. The zero value is a complete lab with one instance on ports of its own choice.
type Options struct {
	// Listen is the gateway's address, 127.0.0.1:0 by default. With a port other than 0 the further listeners take
	// the ports after it: control +1, S3 +2, admin +3, metadata of the n-th instance +4+n. Anything but loopback is refused.
	Listen string
	// Region and Account are what identity documents and ARNs say: us-east-1 and 123456789012 by default.
	Region, Account string
	// AccessKey and SecretKey are the operator's key pair, with which every service may be called.
	AccessKey, SecretKey string
	// Lenient accepts any signature, and none.
	Lenient bool
	// TLS serves everything but metadata over TLS, with a certificate of the lab's own authority.
	TLS bool
	// Secure makes the host-command service speak the auth-policy model (P-11).
	Secure bool
	// Instances is the number of EC2 identities with a metadata service each; 0 stands for 1, a negative number for none.
	Instances int
	// Hosts are declared beforehand, on-premises ones too. An entry with the id of an instance describes that instance.
	Hosts []Host
	// Buckets exist from the start; slipway-lab by default.
	Buckets []string
	// EventTimeout fails a lifecycle event that no agent has completed by then, 1 h by default.
	EventTimeout time.Duration
	// Minute is how long a minute of the API's waits (ready, termination) lasts; 1 min by default.
	Minute time.Duration
	// PollWait is how long a poll waits for a command before it is told that there is none; 1 s by default, negative for not at all.
	PollWait time.Duration
	// Traffic performs BlockTraffic and AllowTraffic of one instance; nil does nothing, at once.
	Traffic func(ctx context.Context, event string, host Host) error
	// PossibleEvents is sent as AllPossibleLifecycleEvents. The service sends none to a server, nor does the lab by default.
	PossibleEvents []string
	// Calls receives one JSON line per call of any service; nil for none.
	Calls io.Writer
	Log   *zap.Logger
}

var accountPattern = regexp.MustCompile(`^\d{12}$`)

// complete fills in the defaults and refuses what cannot be served.
func (o Options) complete() (Options, error) {
	o.Listen = cmp.Or(o.Listen, "127.0.0.1:0")
	o.Region = cmp.Or(o.Region, defaultRegion)
	o.Account = cmp.Or(o.Account, defaultAccount)
	if o.AccessKey == "" && o.SecretKey == "" {
		o.AccessKey, o.SecretKey = defaultAccessKey, defaultSecretKey
	}
	o.Instances = max(cmp.Or(o.Instances, 1), 0)
	if len(o.Buckets) == 0 {
		o.Buckets = []string{defaultBucket}
	}
	o.EventTimeout = cmp.Or(o.EventTimeout, time.Hour)
	o.Minute = cmp.Or(o.Minute, time.Minute)
	o.PollWait = max(cmp.Or(o.PollWait, time.Second), 0)
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.AccessKey == "" || o.SecretKey == "" {
		return o, errors.New("an access key needs its secret key: give both or neither")
	}
	if !accountPattern.MatchString(o.Account) {
		return o, fmt.Errorf("account %q is not twelve digits", o.Account)
	}
	if o.Instances > 100 {
		return o, fmt.Errorf("%d instances: 100 at most", o.Instances)
	}
	_, _, err := o.address()
	return o, err
}

// address splits Listen and holds it to loopback.
func (o Options) address() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return "", 0, fmt.Errorf("listen address %q: %w", o.Listen, err)
	}
	if host != "localhost" {
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			return "", 0, fmt.Errorf("listen address %q is not loopback: the lab's keys are public, use 127.0.0.1", o.Listen)
		}
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("listen address %q: the port must be a number up to 65535, 0 for any", o.Listen)
	}
	return host, port, nil
}

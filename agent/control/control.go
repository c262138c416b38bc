// Package control is the client of the command service, and the reader of the signed envelopes that it sends.
//
// The service speaks JSON 1.1 over HTTPS, signed with SigV4. The client asks for a command, fetches what belongs to
// it, and reports; it repeats a call that a fault of the network or the service spoilt, corrects a wrong clock, and
// renews credentials that ran out (P-32). What cannot be mended comes back as a typed error that says whether asking
// again can help. An Envelope gives its content only after its signature was verified.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"go.uber.org/zap"
)

// Options are what a Client is made of.
type Options struct {
	Endpoint    string // URL of the service (P-2, P-3)
	Region      string // signed for
	HostID      string // the agent's own host identifier: the one it sends, never one echoed to it (P-27)
	Version     string // text of the agent version header (P-13, P-14)
	Secure      bool   // the service of enable_auth_policy: its own target prefix and signing name (P-11)
	Mock        bool   // use_mock_command_service (P-11); without effect if Secure
	Credentials aws.CredentialsProvider
	HTTP        *http.Client // nil: NewHTTPClient with defaults
	Log         *zap.Logger  // nil: silent
}

// Client talks to the command service. It is safe for concurrent use.
type Client struct {
	hostID      string
	endpoint    *url.URL
	region      string
	version     string
	userAgent   string
	variant     variant
	credentials aws.CredentialsProvider
	http        *http.Client
	signer      *v4.Signer
	log         *zap.Logger

	// offset is what the service's clock is ahead of this host's (nanoseconds), as far as a refused signature showed it.
	offset atomic.Int64
}

// variant is one of the API models of P-11.
type variant struct{ prefix, signingName string }

var (
	plainVariant  = variant{"CodeDeployCommandService_v20141006", "codedeploy-commands"}
	secureVariant = variant{"CodeDeployCommandService", "codedeploy-commands-secure"}
	mockVariant   = variant{"ApolloDeployControlService_mock", "codedeploy-commands"}
)

// The operations of the service.
const (
	opPoll        = "PollHostCommand"
	opSpec        = "GetDeploymentSpecification"
	opAcknowledge = "PutHostCommandAcknowledgement"
	opComplete    = "PutHostCommandComplete"
	opUpdate      = "PostHostCommandUpdate"
)

// New makes a client. It does not talk to the service yet.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.Endpoint)
	switch {
	case err != nil:
		return nil, fmt.Errorf("endpoint of the command service: %w", err)
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "":
		return nil, fmt.Errorf("endpoint of the command service: %q is not an https:// or http:// URL", o.Endpoint)
	case o.Region == "":
		return nil, errors.New("no region to sign for: set AWS_REGION")
	case o.HostID == "":
		return nil, errors.New("no host identifier")
	case o.Credentials == nil:
		return nil, errors.New("no credentials provider")
	}
	if u.Path == "" {
		u.Path = "/"
	}
	u.Fragment = ""
	c := &Client{
		hostID: o.HostID, endpoint: u, region: o.Region, version: headerText(o.Version), userAgent: userAgent(o.Version),
		variant: plainVariant, credentials: o.Credentials, signer: v4.NewSigner(), log: o.Log,
	}
	switch {
	case o.Secure:
		c.variant = secureVariant
	case o.Mock:
		c.variant = mockVariant
	}
	if c.version == "" {
		c.version = "UNKNOWN_VERSION"
	}
	if c.log == nil {
		c.log = zap.NewNop()
	}
	client := o.HTTP
	if client == nil {
		if client, err = NewHTTPClient(HTTPOptions{}); err != nil {
			return nil, err
		}
	}
	// The service redirects nobody: a signed request must not be sent on to wherever an answer points.
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &own
	return c, nil
}

// headerText is text as a header can carry it.
func headerText(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s))
}

// userAgent is our own text: the service relies on the version header alone (P-15).
func userAgent(version string) string {
	token := strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f && !strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) {
			return r
		}
		return -1
	}, version)
	agent := "slipway"
	if token != "" {
		agent += "/" + token
	}
	return agent + " (" + runtime.GOOS + "; " + runtime.GOARCH + ") " + strings.Replace(runtime.Version(), "go", "go/", 1)
}

// Poll asks for a command (P-19). Neither a command nor an error: there is nothing to do. The service may hold the call
// for as long as the read time-out allows. What it returns is as received: call Check before believing it.
func (c *Client) Poll(ctx context.Context) (*HostCommand, error) {
	var out struct {
		HostCommand *struct {
			ID          string `json:"HostCommandIdentifier"`
			HostID      string `json:"HostIdentifier"`
			ExecutionID string `json:"DeploymentExecutionId"`
			Name        string `json:"CommandName"`
		}
	}
	if err := c.call(ctx, opPoll, retried, map[string]any{"HostIdentifier": c.hostID}, &out); err != nil || out.HostCommand == nil {
		return nil, err
	}
	cmd := HostCommand(*out.HostCommand)
	return &cmd, nil
}

// Spec fetches the envelope of an execution (P-20, P-43). A *SpecError means that the answer arrived and is of no use:
// asking again brings the same.
func (c *Client) Spec(ctx context.Context, executionID string) (Envelope, error) {
	var out struct {
		DeploymentSystem        string
		DeploymentSpecification *struct{ GenericEnvelope *envelopeText }
	}
	in := map[string]any{"DeploymentExecutionId": executionID, "HostIdentifier": c.hostID}
	err := c.call(ctx, opSpec, retried, in, &out)
	var malformed *ResponseError
	switch {
	case errors.As(err, &malformed):
		return Envelope{}, &SpecError{ExecutionID: executionID, Reason: malformed.Error(), Err: err}
	case err != nil:
		return Envelope{}, err
	case out.DeploymentSystem != "CodeDeploy":
		return Envelope{}, &SpecError{ExecutionID: executionID, Reason: fmt.Sprintf("its deployment system is %q, not CodeDeploy", out.DeploymentSystem)}
	case out.DeploymentSpecification == nil:
		return Envelope{}, &SpecError{ExecutionID: executionID, Reason: "the service has no specification for it"}
	case out.DeploymentSpecification.GenericEnvelope == nil:
		return Envelope{}, &SpecError{ExecutionID: executionID, Reason: "the specification has no envelope"}
	}
	e := out.DeploymentSpecification.GenericEnvelope
	return Envelope{Format: string(e.Format), Payload: string(e.Payload)}, nil
}

// Acknowledge tells the service that the command is taken, and returns what the service says of it (P-21): a terminal status
// means that it is not to be carried out (P-46). It may be repeated.
func (c *Client) Acknowledge(ctx context.Context, id string, diag Envelope) (Status, error) {
	in := map[string]any{"HostCommandIdentifier": id}
	diag.into(in)
	return c.status(ctx, opAcknowledge, in)
}

// Complete reports the result of a command (P-22), in one attempt: the caller knows how long a report is worth repeating.
func (c *Client) Complete(ctx context.Context, id string, s Status, diag Envelope) error {
	in := map[string]any{"HostCommandIdentifier": id, "CommandStatus": s}
	diag.into(in)
	return c.call(ctx, opComplete, once, in, nil)
}

// Update tells the service when a command will be done (P-23). The reference agent never does.
func (c *Client) Update(ctx context.Context, id string, eta time.Time, diag Envelope) (Status, error) {
	in := map[string]any{"HostCommandIdentifier": id}
	if !eta.IsZero() {
		in["EstimatedCompletionTime"] = json.Number(fmt.Sprintf("%d.%03d", eta.Unix(), eta.Nanosecond()/1e6))
	}
	diag.into(in)
	return c.status(ctx, opUpdate, in)
}

// status is a call that answers a CommandStatus, or none: carry on (P-26).
func (c *Client) status(ctx context.Context, op string, in map[string]any) (Status, error) {
	var out struct{ CommandStatus Status }
	err := c.call(ctx, op, retried, in, &out)
	return out.CommandStatus, err
}

// into adds the diagnostics to a request, if there are any.
func (e Envelope) into(in map[string]any) {
	if e != (Envelope{}) {
		in["Diagnostics"] = map[string]string{"Format": e.Format, "Payload": e.Payload}
	}
}

// encode is JSON as the service gets it: no HTML escapes, which only make diagnostics longer.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

package lab

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

// hostCommands is the host-command service, which the orchestration speaks to the agents through.
type hostCommands struct {
	server *controltest.Server

	mu     sync.Mutex                  // guards all below
	signed map[string]control.Envelope // by execution id: all events of an instance's deployment share one specification
	skewed *Fault
}

func newHostCommands(o Options, keys *keyring, acknowledged func(id string), polled func(host, version string)) (*hostCommands, error) {
	options := controltest.Options{
		Region: o.Region, Secure: o.Secure, PollWait: o.PollWait, Log: o.Log.Named("control"), MaxCall: maxKept,
		OnEvent: func(e controltest.Event) {
			if e.Kind == controltest.Acknowledged {
				acknowledged(e.ID)
			}
		},
		OnCall: func(c controltest.Call) {
			if c.Operation == "PollHostCommand" && c.Status == http.StatusOK {
				polled(c.Host, c.Header.Get("X-Amz-Codedeploy-Agent-Version"))
			}
		},
	}
	if !keys.lenient {
		options.Keys, options.Tokens = keys.secrets, keys.tokens
	}
	server, err := controltest.New(options)
	if err != nil {
		return nil, err
	}
	return &hostCommands{server: server, signed: map[string]control.Envelope{}}, nil
}

func (c *hostCommands) enqueue(id, hostID, executionID, event string, specification []byte) error {
	c.mu.Lock()
	envelope, ok := c.signed[executionID]
	if !ok {
		envelope = c.server.Sign(specification)
		c.signed[executionID] = envelope
	}
	c.mu.Unlock()
	c.server.Enqueue(controltest.Command{ID: id, HostID: hostID, ExecutionID: executionID, Name: event, Spec: envelope})
	return nil
}

func (c *hostCommands) await(ctx context.Context, id string) (outcome, error) {
	done, err := c.server.Await(ctx, id)
	if err != nil {
		return outcome{}, err
	}
	d := done.Diagnostics
	return outcome{succeeded: done.Status == control.Succeeded, code: d.ErrorCode, script: d.ScriptName, message: d.Message, log: d.Log}, nil
}

func (c *hostCommands) withdraw(id string) { c.server.Cancel(id) }

// skew moves the service's clock.
func (c *hostCommands) skew(f Fault) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.ID == "" {
		f.ID = "skew"
	}
	c.skewed = &f
	c.server.SkewClock(time.Duration(f.Skew))
	return f.ID
}

// unskew puts the clock right if that fault, or any for the empty id, moved it.
func (c *hostCommands) unskew(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.skewed == nil || id != "" && id != c.skewed.ID {
		return 0
	}
	c.skewed = nil
	c.server.SkewClock(0)
	return 1
}

func (c *hostCommands) skews() []Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.skewed == nil {
		return nil
	}
	return []Fault{*c.skewed}
}

// A CommandRequest hands an agent one command beside any deployment: POST /lab/commands.
type CommandRequest struct {
	// Host is the host identifier or name.
	Host string `json:"host"`
	// Name is the command's name, known to the agent or not.
	Name string `json:"name"`
	// Specification is the content to sign, as text.
	Specification string `json:"specification"`
	// Envelope says how it is wrapped: signed (default), unsigned, tampered, forged, expired, sha1, detached, der,
	// garbage, none (a null envelope).
	Envelope string `json:"envelope,omitempty"`
	// System is the DeploymentSystem, CodeDeploy by default; EchoHost what the poll's answer says instead of the host.
	System   string `json:"system,omitempty"`
	EchoHost string `json:"echoHost,omitempty"`
}

// A CommandView is what became of a command: GET /lab/commands/ID.
type CommandView struct {
	ID          string           `json:"id"`
	Status      string           `json:"status"`
	Deliveries  int              `json:"deliveries"`
	Acks        int              `json:"acknowledgements"`
	Completions []CompletionView `json:"completions"`
}

// A CompletionView is one report of a command's end; the first counts.
type CompletionView struct {
	Status  string `json:"status"`
	Code    int    `json:"code"`
	Script  string `json:"script"`
	Message string `json:"message"`
	Log     string `json:"log"`
}

var errEnvelope = errors.New("envelope: give signed, unsigned, tampered, forged, expired, sha1, detached, der, garbage or none")

func (c *hostCommands) view(id string) (CommandView, bool) {
	state, ok := c.server.State(id)
	v := CommandView{ID: id, Status: string(state.Status), Deliveries: state.Deliveries, Acks: state.Acks, Completions: []CompletionView{}}
	for _, done := range state.Completions {
		d := done.Diagnostics
		v.Completions = append(v.Completions, CompletionView{string(done.Status), d.ErrorCode, d.ScriptName, d.Message, d.Log})
	}
	return v, ok
}

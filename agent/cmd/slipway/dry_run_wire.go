package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"slipway/agent/config"
	"slipway/lifecycle"
	"slipway/lifecycle/bundle"
	"slipway/lifecycle/rehearse"
)

// insideRequest is what the process in the sandbox is to do. It comes over a pipe, as it has secrets in it.
type insideRequest struct {
	Config  *config.Config
	Environ []string // that scripts inherit
	Secrets []string // values that nothing may show

	Before     *insideDeployment `json:",omitempty"` // of the revision that is to be there already
	Deployment insideDeployment
	Plan       bool   // make the plan in the sandbox, after Before
	Archive    string // the bundle of Deployment, unpacked, for that plan
	Refused    string // why it cannot be unpacked; empty if it can

	Health   *config.Probe `json:",omitempty"` // how the application is asked; nil: not at all
	Services bool          // start simple services for real
	Booted   bool          // systemd is process 1 of the host
	Active   []string      // its units that are active
	HostNet  bool          // the network is the host's: it is not watched
}

// insideDeployment is a deployment and where its bundle lies, which was brought to this host before.
type insideDeployment struct {
	Of     *lifecycle.Deployment
	Events []lifecycle.Event
	Bundle brought
}

// brought is a bundle on this host.
type brought struct {
	Path   string
	Format bundle.Format
	Object bundle.Object // what the source of a bundle from elsewhere said of it
}

// insideMessage is a line that the process in the sandbox writes. Of its fields one is set.
type insideMessage struct {
	Ready  *insideReady          `json:",omitempty"`
	Began  *insideStep           `json:",omitempty"`
	Line   *lifecycle.OutputLine `json:",omitempty"`
	Script *insideScript         `json:",omitempty"`
	Event  *insideEvent          `json:",omitempty"`
	Plan   *insidePlan           `json:",omitempty"`
	End    *insideEnd            `json:",omitempty"`
	Error  string                `json:",omitempty"` // nothing more comes
}

// insideReady says that the events begin. An answer is waited for.
type insideReady struct {
	Facts []lifecycle.Fact // about the inside of the sandbox
}

// insideStep says that an event or a script begins.
type insideStep struct {
	Event   lifecycle.Event
	Script  string
	RunAs   string
	Timeout time.Duration
	Before  bool // it is of the deployment that goes before
}

// insideScript is a script that has ended.
type insideScript struct {
	jsonScript
	Event   lifecycle.Event
	Began   time.Time
	Started bool
}

// insideEvent is an event that has ended. An answer is waited for.
type insideEvent struct {
	Event          lifecycle.Event
	Began          time.Time
	Took           time.Duration
	Code           lifecycle.Code
	Outcome        string
	Message, Log   string
	Before, Script bool // of the deployment that goes before; a script has run
}

// insidePlan is the plan that was made in the sandbox.
type insidePlan struct {
	Counts   planCounts
	Problems []string
	Whose    map[lifecycle.Event]string
	Expected []rehearse.Expected
}

// insideEnd is what there is at the end. The process then waits for the end of its input.
type insideEnd struct {
	Processes    []lifecycle.LeftProcess
	Listeners    []lifecycle.Listener
	Services     []lifecycle.ServiceCall
	Destinations []lifecycle.Destination
	HealthBefore []lifecycle.ProbeAccount
	HealthAfter  []lifecycle.ProbeAccount
	Asked        time.Duration // that the probes have taken
	Notes        []string
	Foreseen     string // of a plan that was made in the sandbox: how the deployment was to end, if it did not end so
}

// Descriptors of the process in the sandbox.
const (
	insideSays  = 3
	insideHears = 4
)

// maxMessage bounds a line between the two processes: what the sandbox says is not to be trusted with the memory of this process.
const maxMessage = 64 << 20

// insideLine is the inside's end of the pipes.
type insideLine struct {
	mu  sync.Mutex // guards what is written
	out *json.Encoder
	in  *bufio.Reader
}

func newInsideLine(out io.Writer, in io.Reader) *insideLine {
	return &insideLine{out: json.NewEncoder(out), in: bufio.NewReader(in)}
}

// say sends a message.
func (l *insideLine) say(m insideMessage) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Encode(&m)
}

// ask sends a message and waits for the answer, which only says that it was heard.
func (l *insideLine) ask(m insideMessage) error {
	if err := l.say(m); err != nil {
		return err
	}
	_, err := l.in.ReadString('\n')
	return err
}

// hear reads the next message of the process in the sandbox. io.EOF says that it has ended.
func hear(from *bufio.Reader) (m insideMessage, err error) {
	var line []byte
	for {
		part, err := from.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxMessage:
			return m, fmt.Errorf("the sandbox says more than %d MiB in one message", maxMessage>>20)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) > 0:
			return m, io.ErrUnexpectedEOF
		case err != nil:
			return m, err
		}
		break
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return m, fmt.Errorf("the sandbox says what is no message: %w", err)
	}
	return m, nil
}

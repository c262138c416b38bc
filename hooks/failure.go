package hooks

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// What a *Failure is of; test with errors.Is. In brackets the condition of the protocol's table.
var (
	ErrMissing       = errors.New("script is missing")            // 1
	ErrNotExecutable = errors.New("script is not executable")     // 2
	ErrTimedOut      = errors.New("script timed out")             // 3
	ErrFailed        = errors.New("script failed")                // 4
	ErrOutputOpen    = errors.New("output of script held open")   // 6
	ErrLost          = errors.New("outcome of script is unknown") // 7
)

// kinds names the conditions in result.json.
var kinds = []struct {
	name string
	err  error
}{
	{"missing", ErrMissing},
	{"not-executable", ErrNotExecutable},
	{"timed-out", ErrTimedOut},
	{"failed", ErrFailed},
	{"output-open", ErrOutputOpen},
	{"lost", ErrLost},
}

// Failure says which script failed and how. It wraps one of the conditions above.
type Failure struct {
	Kind   error  // ErrMissing … ErrLost
	Script string // its name in the appspec
	RunAs  string // the user it ran as, "" for the agent's own
	// Detail says what happened and, where something can be done about it, what.
	Detail string
	// Took is the time from the script's start to its end; zero when it was not started.
	Took time.Duration
}

// Error is one line for the deployer: the script, its user, what happened, the time it took.
func (f *Failure) Error() string {
	var b strings.Builder
	b.WriteString("script ")
	b.WriteString(f.Script)
	if f.RunAs != "" {
		b.WriteString(" run as ")
		b.WriteString(f.RunAs)
	}
	b.WriteByte(' ')
	b.WriteString(f.Detail)
	if f.Took > 0 {
		fmt.Fprintf(&b, " (after %s)", rounded(f.Took))
	}
	return b.String()
}

func (f *Failure) Unwrap() error { return f.Kind }

// rounded keeps a duration readable: milliseconds below ten seconds, tenths below ten minutes, then seconds.
func rounded(d time.Duration) time.Duration {
	switch {
	case d < 10*time.Second:
		return d.Round(time.Millisecond)
	case d < 10*time.Minute:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"slipway/hooks"
	"slipway/lifecycle/install"
)

// Code is the outcome of a command as the service knows it (section 7 of the protocol).
type Code int

// The codes of a result. All but Succeeded fail the event.
const (
	Succeeded         Code = 0
	ScriptMissing     Code = 1
	ScriptExecutable  Code = 2
	ScriptTimedOut    Code = 3
	ScriptFailed      Code = 4
	UnknownError      Code = 5
	OutputsLeftOpen   Code = 6
	FailedAfterReboot Code = 7
)

// codes is where the errors of a hook get their wire codes.
var codes = []struct {
	err  error
	code Code
}{
	{hooks.ErrMissing, ScriptMissing},
	{hooks.ErrNotExecutable, ScriptExecutable},
	{hooks.ErrTimedOut, ScriptTimedOut},
	{hooks.ErrFailed, ScriptFailed},
	{hooks.ErrOutputOpen, OutputsLeftOpen},
	{hooks.ErrLost, FailedAfterReboot},
}

// codeOf is the wire code of an error of a hook, Succeeded for none.
func codeOf(err error) Code {
	if err == nil {
		return Succeeded
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return UnknownError
}

// ErrSuspended says that the program is stopping and the command goes on with the next start: a running script stays with
// its shim, a download or installation in its journal. Nothing is reported.
var ErrSuspended = errors.New("suspended: the program is stopping")

// Result is what became of a command.
type Result struct {
	Code    Code   `json:"code"`
	Script  string `json:"script,omitempty"`  // the location as the appspec has it (P-55)
	Message string `json:"message,omitempty"` // the sentence for a person; on success the tag that the service reads (P-54, V-24)
	Log     string `json:"log,omitempty"`     // what a person needs of the output; on success a summary
	// Path is where the failed script lies, and Changes what an installation has done, for a person who waits for the result.
	Path    string          `json:"-"`
	Changes *install.Counts `json:"-"`
	// Err is the cause, for the log of the daemon. It wraps ErrSuspended when the command is not over.
	Err error `json:"-"`
}

// Suspended reports whether the command is not over and must not be reported.
func (r Result) Suspended() bool { return errors.Is(r.Err, ErrSuspended) }

// success is a result with the service's wording (P-54) and a summary for people in the log.
func success(tag, summary string) Result {
	return Result{Message: "Succeeded: " + tag, Log: summary}
}

// failure is a result for an error that is no script's (P-56). An error that comes of the program's stop is no failure.
func failure(ctx context.Context, err error) Result {
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), ErrSuspended) {
		return Result{Err: fmt.Errorf("%w: %w", ErrSuspended, err)}
	}
	return Result{Code: UnknownError, Message: err.Error(), Err: err}
}

// FailedBeforeRun is the result of a command that could not be carried out at all: no specification, a wrong signature, an
// unknown command (P-52).
func FailedBeforeRun(err error) Result {
	return Result{Code: UnknownError, Message: err.Error(), Err: err}
}

// Lost is the result for a command that was in hand when another agent, or this host, went down (P-57).
func Lost() Result {
	return Result{Code: FailedAfterReboot, Message: "Failed: the agent was stopped while the command was running, and its outcome is not known", Err: hooks.ErrLost}
}

// CompletedNoop is the result of a command that the service had given up and that had nothing to do (P-46).
func CompletedNoop() Result { return success("CompletedNoopCommand", "") }

func rounded(d time.Duration) time.Duration {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond)
	case d < time.Second:
		return d.Round(time.Millisecond)
	default:
		return d.Round(10 * time.Millisecond)
	}
}

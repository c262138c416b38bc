package hooks

import "context"

// Run is a run under way or over.
type Run struct {
	dir string
}

// Dir is the run folder.
func (r *Run) Dir() string { return r.dir }

// Wait returns the result as soon as there is one. When ctx ends first it returns the cause, and the script goes on under
// its shim. It may be called again.
func (r *Run) Wait(ctx context.Context) (Result, error) { panic("todo") }

// Stop asks the shim to end the script now: TERM, grace, KILL. The result is an ErrFailed that says so.
func (r *Run) Stop() error { panic("todo") }

// ShimMain is the shim: the program of a process that does nothing else. args is the run folder.
func ShimMain(args []string) int { panic("todo") }

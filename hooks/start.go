package hooks

import "context"

// Start writes the order into the run folder and starts the shim, which does the rest. It returns as soon as the shim has
// what it needs; only a folder that cannot be written or a shim that cannot be started is an error here, and then nothing has
// run. Everything about the script itself, such as its being missing, is told by the Result. ErrStarted: the folder has
// been used.
func (r *Runner) Start(ctx context.Context, s Script) (*Run, error) { panic("todo") }

// Attach takes over the run of a folder, whoever started it. ErrNotStarted: nothing ran and nothing will; Start may be
// called. A run whose shim was lost is no error here: its Result is ErrLost.
func (r *Runner) Attach(dir string) (*Run, error) { panic("todo") }

// Resume attaches to the run in s.Dir, or starts it if it never was.
func (r *Runner) Resume(ctx context.Context, s Script) (*Run, error) { panic("todo") }

// Check tells beforehand what would keep s from being started: a missing script, an unknown user, a directory in the way.
// It changes nothing and answers a *Failure or nil.
func (r *Runner) Check(s Script) error { panic("todo") }

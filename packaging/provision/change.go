package provision

import (
	"context"
	"strings"

	"slipway/lifecycle/textdiff"
)

// A Change is one difference between a host and a profile.
type Change struct {
	Kind   string `json:"kind"`   // package, source, timezone, directory, file, link, database, service
	Target string `json:"target"` // a path, a package, a unit, a database
	Action string `json:"action"` // install, enable, start, reload, create, edit, remove, …
	Diff   string `json:"diff"`   // from what is there to what is wanted, in the unified form; secrets are left out
}

// String names the change on one line.
func (c Change) String() string { return c.Action + " " + c.Kind + " " + c.Target }

// property is the change of something that is no text: its states are shown as lines.
func property(kind, target, action, from, to string) Change {
	end := func(s string) string {
		if s == "" || strings.HasSuffix(s, "\n") {
			return s
		}
		return s + "\n"
	}
	return Change{kind, target, action, textdiff.Unified(kind+" "+target, kind+" "+target, end(from), end(to))}
}

// A resource is a part of the host that a profile speaks of.
type resource interface {
	// check compares; no change means that all is as wanted. It changes nothing.
	check(ctx context.Context, h *Host) ([]Change, error)
	// apply makes the changes that check found.
	apply(ctx context.Context, h *Host) error
}

// part is a resource with what follows from its change.
type part struct {
	resource
	reloads []string // units that have to read their configuration again
	paths   []string // files that the transaction has to be able to put back
}

// Package install puts a revision's files where its appspec says, whole or not at all.
//
// Make computes a Plan from appspec, unpacked bundle and disk, against the tree as the removal of the previous revision
// would leave it, and changes nothing. Apply carries it out as one transaction: every new file is staged under a hidden
// name beside its destination, final in content, owner, mode and time; then a journal says commit, and exchanges of names
// make the new tree the visible one; then the old files go. An error before the end, or the end of the context, undoes
// everything; after a crash Recover undoes what had not been committed and finishes what had.
//
// The plan file and the cleanup file of the official agent are part of the transaction, so that either agent can take over
// from the other at any time. All else that the package keeps lies in <root>/.slipway/install.
package install

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"go.uber.org/zap"

	"slipway/lifecycle/appspec"
)

// Behavior is what happens to a file that exists where one is to be installed and that no earlier revision of the group
// has put there (I-36).
type Behavior string

// The behaviors.
const (
	Disallow  Behavior = "DISALLOW"  // the installation fails, unless the file is equal in type and content
	Overwrite Behavior = "OVERWRITE" // the file is replaced, and then owned by the revision
	Retain    Behavior = "RETAIN"    // the file stays and is left out of the installation
)

// Request says what to install where.
type Request struct {
	// Spec is the appspec; only its files and permissions matter here.
	Spec *appspec.Spec
	// Archive is the absolute path of the unpacked bundle, Root that of the deployment root (root_dir).
	Archive, Root string
	// Group and Deployment are ids, each one path component.
	Group, Deployment string
	// Behavior is the effective file_exists_behavior: DISALLOW, OVERWRITE or RETAIN. Empty text means DISALLOW, any
	// other is an error (I-36, V-55).
	Behavior string
	// Adopt makes the group the owner of what is on the host already where the appspec would install, and changes nothing of
	// it: what was installed before the deployment root was lost is then no conflict for the next installation.
	Adopt bool
	// Replace lets the previous revision be removed before the new one is written, where there is no room for both. Such an
	// installation cannot be undone, which the plan says; where there is room, nothing is different.
	Replace bool
	Log     *zap.Logger

	held *locks // by Lock
}

func (r *Request) check() (Behavior, error) {
	for name, id := range map[string]string{"deployment group": r.Group, "deployment": r.Deployment} {
		if !validID(id) {
			return "", fmt.Errorf("plan installation: %s id %q cannot name a file: it has to be one path component", name, id)
		}
	}
	for name, path := range map[string]string{"archive": r.Archive, "deployment root": r.Root} {
		if !filepath.IsAbs(path) {
			return "", fmt.Errorf("plan installation: %s %q is not an absolute path", name, path)
		}
	}
	if r.Spec == nil {
		return "", fmt.Errorf("plan installation: there is no appspec")
	}
	switch b := Behavior(r.Behavior); b {
	case "":
		return Disallow, nil
	case Disallow, Overwrite, Retain:
		return b, nil
	}
	return "", fmt.Errorf("plan installation: file_exists_behavior is %q: it has to be DISALLOW, OVERWRITE or RETAIN", r.Behavior)
}

// validID reports whether an id is one path component.
func validID(id string) bool {
	return id != "" && id != "." && id != ".." && !strings.ContainsAny(id, "/\x00\n")
}

// Make plans an installation. It changes nothing. What stands in the way of the whole plan is one *ConflictError that lists
// all of it; too little space or too few inodes are a *SpaceError with the numbers. A plan describes the disk at the time it
// was made: apply it at once or make it anew.
func Make(ctx context.Context, r Request) (*Plan, error) {
	behavior, err := r.check()
	if err != nil {
		return nil, err
	}
	if r.Log == nil {
		r.Log = zap.NewNop()
	}
	p, err := newMaker(r, behavior).run(ctx)
	if err != nil || r.held == nil {
		return p, err
	}
	places := p.uncovered(r.held)
	if len(places) == 0 {
		return p, nil
	}
	if err := r.held.extend(places); err != nil {
		return nil, fmt.Errorf("plan installation: %w", err)
	}
	return newMaker(r, behavior).run(ctx) // as it is under the lock
}

// Conflict is one reason why a plan cannot be carried out.
type Conflict struct {
	Path string // absolute path on the host, or the place in the appspec or bundle that it is about
	Why  string // what is wrong, and what to do
	Who  string // who owns the path, if that is known: "deployment group <id>", or empty
}

func (c Conflict) String() string {
	if c.Who == "" {
		return c.Path + ": " + c.Why
	}
	return c.Path + ": " + c.Why + " (it belongs to " + c.Who + ")"
}

// ConflictError holds every conflict of a plan, in order of their paths. Nothing was changed.
type ConflictError struct{ Conflicts []Conflict }

// maxShown bounds an error's text: the service takes 8 KiB of diagnostics. Conflicts holds all.
const maxShown = 20

func (e *ConflictError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the installation cannot begin, nothing was changed: %d conflict%s", len(e.Conflicts), plural(len(e.Conflicts)))
	for i, c := range e.Conflicts {
		if i == maxShown {
			fmt.Fprintf(&b, "\n  … and %d more", len(e.Conflicts)-maxShown)
			break
		}
		b.WriteString("\n  ")
		b.WriteString(c.String())
	}
	return b.String()
}

func newConflictError(all []Conflict) *ConflictError {
	sort.SliceStable(all, func(i, j int) bool { return all[i].Path < all[j].Path })
	return &ConflictError{Conflicts: slices.Compact(all)}
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Sealing says how Engine.Seal goes about it.
type Sealing struct {
	All bool // nothing of the deployments stays: no pointers, bundles or word of what is installed
	Dry bool // nothing is removed
}

// A Sealed path is one that an image must not carry, and why.
type Sealed struct {
	Path, Why string
	Err       error // why it could not be removed, if it could not
}

// Seal removes from the deployment root what belongs to this host and not to an image of its disk: commands in hand, runs, history, logs,
// locks, tracking files, revisions that no pointer names. What is installed stays known (I-8, I-9, I-40), with the bundles and archives of
// the revisions that the pointers name, so that the next deployment finds no false conflict and need not fetch the same bundle again. It returns all that
// was removed, or would be. ErrLocked: an agent works in the root. ErrInHand: a command waits there for the agent's next start, or an installation
// that was cut short could not be settled.
func (e *Engine) Seal(ctx context.Context, how Sealing) ([]Sealed, error) {
	if err := e.lockRoot(); err != nil {
		return nil, err
	}
	defer func() { e.lock.Close(); e.lock = nil }()
	if t := e.tickets.unfinished(""); t != nil {
		return nil, fmt.Errorf("%w: %s of %s, which goes on when the agent is started again", ErrInHand, t.Event, t.deployment.ID)
	}
	if what := e.unsettled(); what != "" {
		return nil, fmt.Errorf("%w: %s", ErrInHand, what)
	}
	s := &sealer{ctx: ctx, root: e.root, how: how, tracking: e.tickets.tracking, keep: map[string]bool{}}
	if err := s.known(); err != nil {
		return nil, err
	}
	err := s.walk()
	return s.removed, err
}

type sealer struct {
	ctx      context.Context
	root     root
	how      Sealing
	tracking string
	groups   []string        // that have something installed or downloaded
	keep     map[string]bool // folders of deployments that pointers name
	removed  []Sealed
}

// known finds what the pointers name.
func (s *sealer) known() error {
	if s.how.All {
		return nil
	}
	names, err := filepath.Glob(s.root.instructions("*_install"))
	if err != nil {
		return err
	}
	for _, name := range names {
		for _, w := range []whose{lastSuccessful, mostRecent} {
			g, ok := strings.CutSuffix(filepath.Base(name), filepath.Base(s.root.pointer("", w)))
			if !ok {
				continue
			}
			id, err := s.root.pointed(g, w)
			if err != nil {
				return err
			}
			if id != "" {
				s.keep[filepath.Join(s.root.path, g, id)] = true
			}
			if !slices.Contains(s.groups, g) {
				s.groups = append(s.groups, g)
			}
		}
	}
	return nil
}

// walk goes through the root by name. What is not known by name is left: it is somebody else's.
func (s *sealer) walk() error {
	groups, err := s.root.groups()
	if err != nil {
		return err
	}
	for _, group := range groups {
		s.each(filepath.Join(s.root.path, group), func(path string, _ fs.DirEntry) {
			if !s.keep[path] {
				s.remove(path, "no pointer names this revision")
				return
			}
			s.each(filepath.Join(path, "logs"), func(log string, _ fs.DirEntry) { s.remove(log, "log of this host") })
		})
	}
	s.each(filepath.Join(s.root.path, s.tracking), func(path string, _ fs.DirEntry) { s.remove(path, "command in hand on this host") })
	s.each(filepath.Join(s.root.path, logsFolder), func(path string, _ fs.DirEntry) { s.remove(path, "log of this host") })
	if s.how.All {
		s.each(filepath.Join(s.root.path, instructionsFolder), func(path string, _ fs.DirEntry) { s.remove(path, "what is installed is forgotten (--all)") })
	}
	s.each(s.root.own(), s.own)
	var errs []error
	for _, r := range s.removed {
		if r.Err != nil {
			errs = append(errs, r.Err)
		}
	}
	return errors.Join(append(errs, context.Cause(s.ctx))...)
}

// own judges an entry of .slipway.
func (s *sealer) own(path string, entry fs.DirEntry) {
	switch entry.Name() {
	case "lock": // held, and empty
	case "install":
		s.each(path, func(file string, e fs.DirEntry) {
			group, ok := strings.CutSuffix(e.Name(), ".manifest")
			if s.how.All || !ok || !slices.Contains(s.groups, group) {
				s.remove(file, "of no group that has something installed")
			}
		})
	case "bundles":
		s.each(path, func(group string, _ fs.DirEntry) {
			s.each(group, func(file string, e fs.DirEntry) {
				if !s.keep[filepath.Join(s.root.path, filepath.Base(group), strings.TrimSuffix(e.Name(), ".json"))] {
					s.remove(file, "its bundle is not kept")
				}
			})
		})
	case "tickets", "runs", "prefetch", "groups", "aside", "foreign":
		s.each(path, func(file string, _ fs.DirEntry) { s.remove(file, "state of this host") })
	default: // host, history.jsonl, changes, status.json and what later versions add: state of this host as well
		s.remove(path, "state of this host")
	}
}

func (s *sealer) each(dir string, f func(path string, entry fs.DirEntry)) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.removed = append(s.removed, Sealed{Path: dir, Why: "it could not be looked into", Err: err})
		return
	}
	for _, e := range entries {
		if s.ctx.Err() != nil {
			return
		}
		f(filepath.Join(dir, e.Name()), e)
	}
}

func (s *sealer) remove(path, why string) {
	r := Sealed{Path: path, Why: why}
	if !s.how.Dry {
		if r.Err = os.RemoveAll(path); r.Err != nil {
			r.Err = fmt.Errorf("seal the deployment root: %w", r.Err)
		}
	}
	s.removed = append(s.removed, r)
}

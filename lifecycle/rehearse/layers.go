package rehearse

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// Layer is one overlay: what was written lies under Upper, what it was written over under Lower, and the whole stands at At in the tree of the
// copy ("/", or "/etc"). Neither folder is ever written to. The overlay has to be mounted with redirect_dir=off and metacopy=off, without which
// the upper layer alone does not say what has changed; what was mounted otherwise is an error of Changes as soon as it makes a difference.
type Layer struct {
	Upper, Lower, At string
	// UserXattr says that the overlay keeps its own marks in user.overlay.* (mount option userxattr), and not in trusted.overlay.*.
	UserXattr bool
	// Beside begins the names of what Base makes, which may not lie below Lower; empty: Upper.
	Beside string
}

// marks is the prefix of the overlay's own extended attributes.
func (l *Layer) marks() string {
	if l.UserXattr {
		return "user.overlay."
	}
	return "trusted.overlay."
}

const (
	// maxDepth is how many directories deep the upper layer is read: one descriptor is held for each. What lies deeper counts as omitted.
	maxDepth = 400
	// maxEntries is how many paths of the upper layers are remembered, at some 110 bytes each. What is beyond counts as omitted.
	maxEntries = 1 << 20
)

// Scanner tells what a rehearsal has changed, and in which event, from the upper layers of its overlays. It costs some five megabytes for
// 50,000 changed paths, and looks at the lower layers only where the upper ones have something. It is not safe for concurrent use.
type Scanner struct {
	layers   []Layer
	tops     []entry // of each layer its topmost directory
	leaveOut func(path string) bool
	made     []mark          // what Mark was called for, in order
	most     int             // entries that are remembered
	entries  int             // remembered
	beyond   int             // not remembered: too many, or too deep
	met      map[string]bool // what an earlier Compare has found to be as planned
	users    idMap           // of the namespace that the scanner is in
	groups   idMap
	views    []view
	origins  []string // of each layer the lower side that was there before its view
}

// mark is one call of Mark, or of Base.
type mark struct {
	event lifecycle.Event
	hook  bool
	base  bool
}

// NewScanner makes a scanner of layers. What leaveOut reports true for is left out with all below it: the agent's own bookkeeping, such as
// its logs. A nil leaveOut leaves out nothing.
func NewScanner(layers []Layer, leaveOut func(path string) bool) *Scanner {
	if leaveOut == nil {
		leaveOut = func(string) bool { return false }
	}
	s := &Scanner{leaveOut: leaveOut, most: maxEntries, users: readIDMap("uid_map"), groups: readIDMap("gid_map")}
	for _, l := range layers {
		s.layers, s.tops = append(s.layers, l), append(s.tops, entry{})
	}
	return s
}

// Mark attributes to the event by what is new in the upper layers since the last Mark: to its scripts if byHook is true, else to the agent. It
// reads the upper layers alone. A path that is changed again belongs to the last event that did.
//
// What may be called new is told from inode, times, size, mode and owner, so that two changes within one tick of a kernel older than 6.13 (4 ms)
// may count as one, of the first event.
func (s *Scanner) Mark(ctx context.Context, by lifecycle.Event, byHook bool) error {
	if err := s.mark(ctx, mark{event: by, hook: byHook}); err != nil {
		return fmt.Errorf("look at what %s has changed: %w", by, err)
	}
	return nil
}

func (s *Scanner) mark(ctx context.Context, m mark) error {
	if len(s.made) == 1<<16 {
		return errors.New("it was looked at 65,536 times, and no deployment has as many events")
	}
	s.made = append(s.made, m)
	s.entries, s.beyond = 0, 0
	for i := range s.layers {
		l := &s.layers[i]
		fd, err := openFolder(l.Upper)
		if err == nil {
			w := &walker{Scanner: s, ctx: ctx, marks: l.marks()}
			err = w.top(fd, &s.tops[i], l.At)
			closeFolder(fd)
		}
		if err != nil {
			return fmt.Errorf("the upper layer of %s: %w", l.At, err)
		}
	}
	return nil
}

// A Mounted error says that an overlay was mounted in a way that its upper layer cannot be read by.
type Mounted struct {
	Path   string // in the copy
	Option string // the mount option
}

func (e *Mounted) Error() string {
	return fmt.Sprintf("what was changed at %s cannot be told: the overlay was mounted with %s=on; mount it with %s=off", e.Path, e.Option, e.Option)
}

// gone reports whether an error only says that a path went away while it was looked at, as they do where a process still works.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ESTALE)
}

// barred reports whether an error says that a path of the host may not be looked at: by an ordinary user, who could then not change it either. What
// the copy has there counts as added.
func barred(err error) bool { return errors.Is(err, unix.EACCES) }

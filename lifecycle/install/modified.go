package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Modified is a path that the group's previous installation has put there and that somebody changed on the host since. A
// file that was only touched is none.
type Modified struct {
	Path string
	What Aspects
	// Aside: somebody's work may lie in it, and it is kept aside when it is replaced or removed. If not, only mode or owner
	// have changed, and are not kept.
	Aside bool
}

// suspect is a path of the previous revision that is not as it was installed.
type suspect struct {
	key
	path string
	line int // index into the cleanup file's paths
	what Aspects
	keep bool
	// What it takes up, and on which file system.
	bytes int64
	dev   uint64
}

// openKnown opens the manifest of what is to be removed. If something is wrong with it, nothing is known then, which is no
// reason to fail; that there is no descriptor for it is.
func (m *maker) openKnown(lines []cleanupLine, odd []string) error {
	i := -1
	known, err := openManifest(m.req.Root, m.req.Group, func() (string, bool) {
		i++
		if i >= len(lines) || lines[i].label || len(odd) > 0 {
			return "", false
		}
		return lines[i].path, true
	})
	switch {
	case err == nil:
		m.known = known
	case errors.Is(err, errUnknown):
		m.req.Log.Debug("nothing is known of what was installed", zap.Error(err))
	case !errors.Is(err, fs.ErrNotExist):
		return m.unknown(err)
	}
	return nil
}

// unknown gives up on the manifest, and says so: what somebody has changed by hand cannot be told from what was installed.
func (m *maker) unknown(err error) error {
	if is(err, unix.EMFILE, unix.ENFILE, unix.ENOMEM) { // it will be different soon
		return fmt.Errorf("plan installation: %w", err)
	}
	m.known.close()
	m.known, m.suspects = nil, nil
	m.warn("it is not known how the previous installation has left its files, so that none is kept aside: %v", err)
	return nil
}

// suspicious compares what goes with what was installed there.
func (m *maker) suspicious(k key, fd int, st *unix.Stat_t, line int, path string) error {
	if m.known == nil || line >= m.known.n {
		return nil
	}
	h, err := m.known.at(line)
	if err != nil {
		return m.unknown(err)
	}
	what := h.differs(st)
	if what&TypeDiffers == 0 && h.kind() == unix.S_IFLNK {
		if text, err := readlinkAt(fd, k.name); err == nil && text != h.link {
			what |= LinkDiffers
		}
	}
	if what != 0 {
		// A directory that goes is empty, or all that is in it goes too.
		keep := what&touched != 0 && st.Mode&unix.S_IFMT != unix.S_IFDIR
		m.suspects = append(m.suspects, suspect{k, path, line, what, keep, st.Blocks * 512, st.Dev})
	}
	return nil
}

// clear compares the files that have another time with the previous revision's bundle, where that is still there: those that
// were only touched are not changed.
func (m *maker) clear(ctx context.Context) error {
	slices.Reverse(m.suspects) // into the order of the cleanup file
	doubtful := func(s *suspect) bool { return s.what&touched == TimeDiffers }
	if !slices.ContainsFunc(m.suspects, func(s suspect) bool { return doubtful(&s) }) {
		return nil
	}
	src, err := openSources(m.req.Root, m.req.Group)
	if err != nil {
		m.req.Log.Debug("the previous revision's plan is not known", zap.Error(err))
	}
	defer src.close()
	bundle := newArchived()
	defer bundle.close()
	for i := range m.suspects {
		s := &m.suspects[i]
		if !doubtful(s) {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		source, dir, ok := src.of(s.line, s.path)
		if !ok || dir || filepath.Base(source) != s.name {
			continue
		}
		fd, err := m.open(s.dir)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if lstatAt(fd, s.name, &st) != nil {
			continue
		}
		switch bundle.compare(source, st.Size, fd) {
		case equalToSource:
			s.what &^= TimeDiffers
			s.keep = false
		case unequalToSource:
			s.what |= ContentDiffers
		}
	}
	m.suspects = slices.DeleteFunc(m.suspects, func(s suspect) bool { return s.what == 0 })
	return nil
}

// modified says what becomes of the suspects. One that equals the new revision's file stays, and is nothing to speak of.
func (m *maker) modified() {
	p, t := m.plan, m.tree
	for _, s := range m.suspects {
		if c := t.entries[s.key].copy; c != 0 && p.files[c-1].act == actSame || m.shared[s.key] {
			continue
		}
		keep := s.keep && !p.forgoes
		if keep {
			if p.aside == nil {
				p.aside = map[key]struct{}{}
			}
			p.aside[s.key] = struct{}{}
		}
		p.modified = append(p.modified, Modified{strings.Clone(s.path), s.what, keep})
	}
	m.suspects = nil
	p.previous = installedBy(m.req.Root, m.req.Group)
	if m.known == nil {
		return
	}
	p.previous = m.known.header.Deployment
	by := m.known.header.Deployment
	it := func(n int) string { return map[bool]string{true: "it", false: "them"}[n == 1] }
	lost := func(c Modified) bool { return p.forgoes && c.What&touched != 0 }
	if n, which := m.which(lost); n > 0 {
		m.warn("%d file%s changed on this host since %s installed %s: there is no room to keep what was changed, it is lost: %s", n, plural(n), by, it(n), which)
	}
	if n, which := m.which(isAside); n > 0 {
		m.warn("%d file%s changed on this host since %s installed %s: Install keeps what it replaces in %s: %s", n, plural(n), by, it(n), p.asideFolder(), which)
	}
	if n, which := m.which(func(c Modified) bool { return !c.Aside && !lost(c) }); n > 0 {
		m.warn("%d path%s got another mode or owner on this host since %s installed %s, which is not kept: %s", n, plural(n), by, it(n), which)
	}
}

func isAside(c Modified) bool { return c.Aside }

// which counts and names some of the modified paths.
func (m *maker) which(some func(Modified) bool) (n int, text string) {
	var shown []string
	for _, c := range m.plan.modified {
		if !some(c) {
			continue
		}
		if n++; n <= maxShown {
			shown = append(shown, c.Path+" ("+c.What.words()+")")
		}
	}
	if n > maxShown {
		shown = append(shown, fmt.Sprintf("… and %d more", n-maxShown))
	}
	return n, strings.Join(shown, ", ")
}

// Modified says what of the previous revision's paths somebody has changed on this host, in the order of the cleanup file. It
// is empty where nothing is known: the official agent leaves no record to compare with. Of an adoption it says what is not as
// an installation would leave it.
func (p *Plan) Modified() []Modified { return p.modified }

// keeps reports whether what stands at a place is to be kept aside.
func (p *Plan) keeps(in dirID, name string) bool {
	if p.aside == nil {
		return false
	}
	_, ok := p.aside[key{in, name}]
	return ok
}

// asIs is the time that an old object must still have, or it is kept aside after all; 0 if none is.
func (p *Plan) asIs(was int64) int64 {
	if p.forgoes {
		return 0
	}
	return was
}

// asideFolder is where the plan keeps aside what it replaces or removes; empty if nothing is.
func (p *Plan) asideFolder() string {
	if p.aside == nil {
		return ""
	}
	return asideDir(p.req.Root, p.req.Group, p.previous)
}

func (p *Plan) eachModified(yield func(Op) bool) bool {
	for _, c := range p.modified {
		if p.aside != nil && c.Aside && !yield(Op{Kind: KeepAside, Path: c.Path, Detail: c.What.String()}) {
			return false
		}
	}
	return true
}

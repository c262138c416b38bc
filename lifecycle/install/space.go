package install

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Space is what a plan needs on one file system, beside all that is there until the installation is complete.
type Space struct {
	Path                   string // a directory on it
	NeedBytes, FreeBytes   int64
	NeedInodes, FreeInodes int64 // FreeInodes is negative where inodes are not counted
	// What the removal of the previous revision frees, if it is removed first (Request.Replace); else 0.
	FreedBytes, FreedInodes int64
}

func (s Space) fits() bool {
	return s.missingBytes() <= 0 && s.missingInodes() <= 0
}

func (s Space) missingBytes() int64 { return s.NeedBytes - s.FreedBytes - s.FreeBytes }

func (s Space) missingInodes() int64 {
	if s.FreeInodes < 0 {
		return 0
	}
	return s.NeedInodes - s.FreedInodes - s.FreeInodes
}

// SpaceError means that the new revision does not fit beside the old one, or, with Replace, not even in its place. Nothing was
// changed.
type SpaceError struct {
	Short   []Space
	Replace bool
}

func (e *SpaceError) Error() string {
	var b strings.Builder
	b.WriteString("the installation cannot begin, nothing was changed: ")
	if e.Replace {
		b.WriteString("there is too little space for the new revision, even once the old one is removed")
	} else {
		b.WriteString("the new revision is written beside the old one, and there is too little space")
	}
	for _, s := range e.Short {
		if s.missingBytes() > 0 {
			fmt.Fprintf(&b, "\n  %s: %s needed, %s free (%d of %d bytes)", s.Path, bytesText(s.NeedBytes), bytesText(s.FreeBytes), s.NeedBytes, s.FreeBytes)
			if e.Replace {
				fmt.Fprintf(&b, ", %s more once the old revision is removed (%d bytes)", bytesText(s.FreedBytes), s.FreedBytes)
			}
		}
		if s.missingInodes() > 0 {
			fmt.Fprintf(&b, "\n  %s: %d inodes needed, %d free", s.Path, s.NeedInodes, s.FreeInodes)
			if e.Replace {
				fmt.Fprintf(&b, ", %d more once the old revision is removed", s.FreedInodes)
			}
		}
	}
	b.WriteString("\n  free some, or enlarge the file system")
	return b.String()
}

// journalBytes is a generous estimate of what our own files take up for each op: journal, plan and cleanup file.
const journalBytes = 512

// needs is what is needed by file system.
type needs struct {
	byDev map[uint64]*Space
	order []uint64
	root  uint64 // the file system of the deployment root
}

func (n *needs) on(dev uint64, path string) *Space {
	s, ok := n.byDev[dev]
	if !ok {
		s = &Space{Path: path}
		n.byDev[dev] = s
		n.order = append(n.order, dev)
	}
	return s
}

// needed adds up what the plan writes: beside the previous revision, or once that is gone.
func (m *maker) needed(gone bool) (*needs, error) {
	p := m.plan
	n := &needs{byDev: map[uint64]*Space{}}
	// A directory that is not there yet will be where the nearest one above it is. Parents come before their children.
	at := make([]*Space, len(p.dirs))
	for i := range p.dirs {
		d := &p.dirs[i]
		if !d.exists && i > 0 {
			at[i] = at[d.parent]
		} else {
			at[i] = n.on(d.dev, d.path)
		}
		if !d.exists && i > 0 || gone && d.goes && d.planned {
			at[i].NeedInodes++
			at[i].NeedBytes += 4096
		}
	}
	p.bytes = 0
	for i := range p.files {
		f := &p.files[i]
		if f.act == actSame && !gone || f.act == actAdopt {
			continue
		}
		at[f.dir].NeedInodes++
		if !f.link() {
			at[f.dir].NeedBytes += roundUp(f.size)
			p.bytes += f.size
		}
	}
	return n, n.own(m.req.Root, int64(len(p.order))*journalBytes)
}

func roundUp(size int64) int64 { return (size + 4095) &^ 4095 }

// own adds what journal, plan and cleanup file need under the deployment root.
func (n *needs) own(root string, need int64) error {
	for path := root; ; path = filepath.Dir(path) {
		var st unix.Stat_t
		switch err := unix.Stat(path, &st); {
		case err == nil:
			n.root = st.Dev
			s := n.on(st.Dev, path)
			s.NeedBytes += need
			s.NeedInodes += 4
			return nil
		case !errors.Is(err, unix.ENOENT) || path == "/":
			return fmt.Errorf("plan installation: deployment root %s: %w", root, err)
		}
	}
}

// compare measures what is free. It gives all that is needed somewhere, and what of it does not fit.
func (n *needs) compare(archive string) (all, short []Space, err error) {
	from := deviceOf(archive)
	for _, dev := range n.order {
		s := n.byDev[dev]
		if s.NeedInodes == 0 {
			continue
		}
		if err := s.measure(dev == from); err != nil {
			return nil, nil, err
		}
		all = append(all, *s)
		if !s.fits() {
			short = append(short, *s)
		}
	}
	return all, short, nil
}

// space compares what the plan writes with what is free.
func (m *maker) space() error {
	n, err := m.needed(false)
	if err != nil {
		return err
	}
	all, short, err := n.compare(m.req.Archive)
	if err != nil {
		return err
	}
	m.plan.spaces = all
	switch {
	case short == nil:
		return nil
	case m.req.Replace && len(m.gone) > 0:
		return m.replace()
	}
	return &SpaceError{Short: short}
}

func deviceOf(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Dev
}

// measure reads what is free. Where a copy from the same file system may share its blocks, its size says nothing about what
// it takes up: the bytes are then not held against the plan, and a full disk undoes the installation instead.
func (s *Space) measure(same bool) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.Path, &fs); err != nil {
		return fmt.Errorf("plan installation: free space at %s: %w", s.Path, err)
	}
	if same && (fs.Type == unix.BTRFS_SUPER_MAGIC || fs.Type == unix.XFS_SUPER_MAGIC) {
		s.NeedBytes = 0
	}
	blocks := fs.Bavail
	if os.Geteuid() == 0 {
		blocks = fs.Bfree
	}
	s.FreeBytes, s.FreeInodes = int64(blocks)*fs.Bsize, int64(fs.Ffree)
	if fs.Blocks == 0 { // a tmpfs without a limit
		s.FreeBytes = 1<<63 - 1
	}
	if fs.Files == 0 {
		s.FreeInodes = -1
	}
	return nil
}

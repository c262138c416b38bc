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
}

func (s Space) fits() bool {
	return s.NeedBytes <= s.FreeBytes && (s.FreeInodes < 0 || s.NeedInodes <= s.FreeInodes)
}

// SpaceError means that the new revision does not fit beside the old one. Nothing was changed.
type SpaceError struct{ Short []Space }

func (e *SpaceError) Error() string {
	var b strings.Builder
	b.WriteString("the installation cannot begin, nothing was changed: the new revision is written beside the old one, and there is too little space")
	for _, s := range e.Short {
		if s.NeedBytes > s.FreeBytes {
			fmt.Fprintf(&b, "\n  %s: %s needed, %s free (%d of %d bytes)", s.Path, bytesText(s.NeedBytes), bytesText(s.FreeBytes), s.NeedBytes, s.FreeBytes)
		}
		if s.FreeInodes >= 0 && s.NeedInodes > s.FreeInodes {
			fmt.Fprintf(&b, "\n  %s: %d inodes needed, %d free", s.Path, s.NeedInodes, s.FreeInodes)
		}
	}
	b.WriteString("\n  free some, or enlarge the file system")
	return b.String()
}

// journalBytes is a generous estimate of what our own files take up for each op: journal, plan and cleanup file.
const journalBytes = 512

// space adds up what the plan writes and compares it with what is free.
func (m *maker) space() error {
	p := m.plan
	byDev := map[uint64]*Space{}
	var order []uint64
	on := func(dev uint64, path string) *Space {
		s, ok := byDev[dev]
		if !ok {
			s = &Space{Path: path}
			byDev[dev] = s
			order = append(order, dev)
		}
		return s
	}
	// A directory that is not there yet will be where the nearest one above it is. Parents come before their children.
	at := make([]*Space, len(p.dirs))
	for i := range p.dirs {
		d := &p.dirs[i]
		if !d.exists && i > 0 {
			at[i] = at[d.parent]
			at[i].NeedInodes++
			at[i].NeedBytes += 4096
		} else {
			at[i] = on(d.dev, d.path)
		}
	}
	for i := range p.files {
		f := &p.files[i]
		if f.act == actSame || f.act == actAdopt {
			continue
		}
		at[f.dir].NeedInodes++
		if !f.link() {
			at[f.dir].NeedBytes += (f.size + 4095) &^ 4095
			p.bytes += f.size
		}
	}
	if err := ownSpace(m.req.Root, int64(len(p.order))*journalBytes, on); err != nil {
		return err
	}
	archive := deviceOf(m.req.Archive)
	var short []Space
	for _, dev := range order {
		s := byDev[dev]
		if s.NeedInodes == 0 {
			continue
		}
		if err := s.measure(dev == archive); err != nil {
			return err
		}
		p.spaces = append(p.spaces, *s)
		if !s.fits() {
			short = append(short, *s)
		}
	}
	if short != nil {
		return &SpaceError{short}
	}
	return nil
}

// ownSpace adds what journal, plan and cleanup file need under the deployment root.
func ownSpace(root string, need int64, on func(uint64, string) *Space) error {
	for path := root; ; path = filepath.Dir(path) {
		var st unix.Stat_t
		switch err := unix.Stat(path, &st); {
		case err == nil:
			s := on(st.Dev, path)
			s.NeedBytes += need
			s.NeedInodes += 4
			return nil
		case !errors.Is(err, unix.ENOENT) || path == "/":
			return fmt.Errorf("plan installation: deployment root %s: %w", root, err)
		}
	}
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

package lifecycle

import (
	"fmt"

	"golang.org/x/sys/unix"

	"slipway/lifecycle/textdiff"
)

// FileState is one side of a FileChange.
type FileState struct {
	Mode   uint32 // type and permission bits, as stat(2) gives them
	Owner  string // "root:root"
	Size   int64  // of a file, in bytes
	Link   string // of a symbolic link, what it leads to; empty if that is not known
	Device uint64 // of a device, its number
	NoMode bool   // its permission bits are not known
}

// FileType is how a FileChange calls the type of a file of that mode, as stat(2) gives it.
func FileType(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "link"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "device"
	}
	return "file"
}

// String puts the state into words: "0644 root:root 1234 bytes", "root:root -> ../there", "0600 root:root 8:0".
func (s FileState) String() string {
	text := s.Owner
	if typ := s.Mode & unix.S_IFMT; typ == unix.S_IFLNK {
		if s.Link != "" {
			text += " -> " + textdiff.Name(s.Link)
		}
		return text
	}
	if !s.NoMode {
		text = fmt.Sprintf("%04o %s", s.Mode&0o7777, s.Owner)
	}
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return fmt.Sprintf("%s %d bytes", text, s.Size)
	case unix.S_IFCHR, unix.S_IFBLK:
		return fmt.Sprintf("%s %d:%d", text, unix.Major(s.Device), unix.Minor(s.Device))
	}
	return text
}

package bundle

import (
	"context"
	"errors"
	"os"
)

// Limits bounds what a bundle may unpack to. A field that is zero sets no bound; [DefaultLimits] are generous ones.
type Limits struct {
	// MaxSize is the most bytes that the files may have together.
	MaxSize int64
	// MaxFiles is the most entries, folders that no entry names included.
	MaxFiles int
	// MaxRatio is the most unpacked bytes per packed byte. It counts once more than 64 MiB come out: below that a bomb does no harm.
	MaxRatio int
}

// DefaultLimits let every bundle through that is not made to do harm: 64 GiB, a million entries, and a thousand times the
// bundle's own size.
var DefaultLimits = Limits{MaxSize: 64 << 30, MaxFiles: 1_000_000, MaxRatio: 1000}

// Stats says what was unpacked or copied.
type Stats struct {
	Files, Dirs, Links int   // Links are symbolic; a hard link is a file
	Bytes              int64 // content of the files
}

// ArchiveError says what is wrong with a bundle itself: it is corrupt, hostile, too big, or not what its type says.
type ArchiveError struct {
	Entry   string // the name of the entry, as it stands in the archive; empty if it is about the whole
	Problem string
	Err     error // may be nil
}

// Unpack makes the files, folders and links of an archive in a folder, which should be empty. It reads the archive from its start.
func Unpack(ctx context.Context, archive *os.File, format Format, to *os.Root, limits Limits) (Stats, error) {
	return Stats{}, errors.New("not built yet")
}

// Strip applies the one-level rule (I-20).
func Strip(root *os.Root) error { return errors.New("not built yet") }

// CopyTree copies a folder of this host (I-17).
func CopyTree(ctx context.Context, from string, to *os.Root) (Stats, error) {
	return Stats{}, errors.New("not built yet")
}
func (e *ArchiveError) Error() string { return e.Problem }

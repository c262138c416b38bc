package bundle

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// Limits bounds what a bundle may unpack to, and what may be in it. A field that is zero sets no bound; [DefaultLimits] are generous ones.
type Limits struct {
	// MaxSize is the most bytes that the files may have together.
	MaxSize int64
	// MaxFiles is the most entries, folders that no entry names included.
	MaxFiles int
	// MaxRatio is the most unpacked bytes per packed byte. It counts once more than 64 MiB come out: below that a bomb does no harm.
	MaxRatio int
	// IgnoreOwners lets all files belong to whoever unpacks them, whatever the tar says (ignore_ownership_in_bundle, V-110). A set-id bit
	// that would lend the rights of another owner than the tar's is left out.
	IgnoreOwners bool
	// RejectLinks refuses by its name a symbolic link or a file with several names (reject_symlinks_in_bundle, V-105).
	RejectLinks bool
	// RejectSetID refuses by its name a file with a set-id bit, also where unpacking would leave the bit out
	// (reject_unsafe_permissions_in_bundle, V-107).
	RejectSetID bool
}

// link is the error for a link, if there is to be none.
func (l Limits) link(entry, kind string) error {
	if !l.RejectLinks {
		return nil
	}
	return &ArchiveError{Entry: entry, Problem: fmt.Sprintf("is %s, which this host does not accept in a bundle (reject_symlinks_in_bundle)", kind)}
}

// mode is the error for a file with set-id bits, if there are to be none.
func (l Limits) mode(entry string, mode uint32) error {
	if !l.RejectSetID || mode&0o6000 == 0 {
		return nil
	}
	return &ArchiveError{Entry: entry, Problem: fmt.Sprintf("has the mode %04o with a set-id bit, which this host does not accept in a bundle (reject_unsafe_permissions_in_bundle)", mode&0o7777)}
}

// DefaultLimits let every bundle through that is not made to do harm: 64 GiB, a million entries, and a thousand times the
// bundle's own size.
var DefaultLimits = Limits{MaxSize: 64 << 30, MaxFiles: 1_000_000, MaxRatio: 1000}

// ratioFloor is how much comes out of any archive before its ratio is looked at.
const ratioFloor = 64 << 20

// Stats says what was unpacked.
type Stats struct {
	Files, Dirs, Links int   // Links are symbolic; a hard link is a file
	Bytes              int64 // content of the files
}

// ArchiveError says what is wrong with a bundle itself: it is corrupt, hostile, too big, or not what its type says. Trying again
// with the same bundle gives the same error.
type ArchiveError struct {
	Entry   string // the name of the entry as it stands in the archive; empty if it is about the whole
	Problem string
	Err     error // may be nil
}

func (e *ArchiveError) Error() string {
	s := e.Problem
	if e.Entry != "" {
		s = fmt.Sprintf("entry %s %s", quoted(e.Entry), e.Problem)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *ArchiveError) Unwrap() error { return e.Err }

// quoted keeps a name readable and the message on one line, however long the name and whatever is in it.
func quoted(name string) string {
	const most = 200
	if len(name) > most {
		return fmt.Sprintf("%q... (%d bytes)", name[:most], len(name))
	}
	return fmt.Sprintf("%q", name)
}

// Unpack makes the files, folders and links of an archive in a folder, which should be empty and nobody else's. The archive is read
// from its start, whatever the file's offset is.
//
// Modes and modification times are those of the archive, and owners as well for a tar unpacked by root. Set-id bits survive a
// tar and not a zip, as with tar -p and unzip. An entry that comes twice: the last wins. Nothing is written outside the folder
// whatever the archive says, and no link in the folder is followed.
//
// On any error the folder may hold a part of the content; the caller removes it. Nothing is synced.
func Unpack(ctx context.Context, archive *os.File, format Format, to *os.Root, limits Limits) (Stats, error) {
	info, err := archive.Stat()
	if err != nil {
		return Stats{}, fmt.Errorf("look at the bundle: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Stats{}, fmt.Errorf("the bundle is %s, not a file", kindOf(info.Mode()))
	}
	if info.Size() == 0 {
		return Stats{}, &ArchiveError{Problem: "the bundle is empty: it has 0 bytes"}
	}
	size := func(int64) (int64, error) { return info.Size(), nil }
	u := &unpacker{archive: archive, size: info.Size(), tree: newTree(to, quota{Limits: limits, packed: size})}
	defer u.tree.close()
	switch format {
	case Zip:
		err = u.zip(ctx)
	case Tar, Tgz:
		err = u.tar(ctx, format, func(ctx context.Context) io.Reader { return &source{ctx: ctx, ReaderAt: archive} })
	default:
		err = unknownFormat(format)
	}
	if err == nil {
		err = u.tree.finish()
	}
	return u.tree.stats, unpackTrouble(ctx, err, to)
}

func unknownFormat(format Format) error {
	return fmt.Errorf("bundle type %q is not one of tar, tgz, zip", string(format))
}

// unpackTrouble is the error of an unpacking for a person: the reason why it was ended, if it was, and a full disk in words.
func unpackTrouble(ctx context.Context, err error, to *os.Root) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return outOfSpace(err, to.Name())
}

// unpacker is one archive on its way into one folder.
//
// The work is split so that its result does not depend on chance: one goroutine reads the archive's entries in order and makes every
// name, and only the content of files that are already open is written by others.
type unpacker struct {
	archive io.ReaderAt // of a zip
	size    int64       // of a zip
	tree    *tree
}

// workers is how many goroutines fill files.
func workers() int { return min(runtime.GOMAXPROCS(0), 4) }

// eachJob runs produce, which hands out jobs, beside the workers that do them, each with its own state from start. The first error of
// any ends all; jobs that are not done by then are dropped.
func eachJob[J, W any](ctx context.Context, start func() W, produce func(ctx context.Context, out chan<- J) error, do func(W, J) error, drop func(J)) error {
	group, ctx := errgroup.WithContext(ctx)
	jobs := make(chan J, 4*workers())
	group.Go(func() error {
		defer close(jobs)
		return produce(ctx, jobs)
	})
	for range workers() {
		group.Go(func() error {
			w := start()
			for j := range jobs {
				if ctx.Err() != nil {
					drop(j)
				} else if err := do(w, j); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	for j := range jobs {
		drop(j)
	}
	return err
}

// send hands a job over, or drops it when there is nobody left to do it.
func send[J any](ctx context.Context, out chan<- J, j J, drop func(J)) error {
	select {
	case out <- j:
		return nil
	case <-ctx.Done():
		drop(j)
		return ctx.Err()
	}
}

// quota counts what comes out of an archive.
type quota struct {
	Limits
	// packed is how many bytes the archive has. While it arrives, that is how many are there, and more than the least if more come.
	packed  func(least int64) (int64, error)
	bytes   int64
	entries int
	over    bool // a limit was exceeded
}

// exceeded is the error for an entry that goes over a limit.
func (q *quota) exceeded(name, format string, args ...any) error {
	q.over = true
	return &ArchiveError{Entry: name, Problem: fmt.Sprintf(format, args...)}
}

// take counts an entry and its content.
func (q *quota) take(name string, n int64) error {
	if err := q.count(name); err != nil {
		return err
	}
	return q.content(name, n)
}

// count counts one name.
func (q *quota) count(name string) error {
	q.entries++
	if q.MaxFiles > 0 && q.entries > q.MaxFiles {
		return q.exceeded(name, "is one more than the %d entries that a bundle may have (limits.max_files)", q.MaxFiles)
	}
	return nil
}

// content counts the bytes that an entry says it has, before they are unpacked. Nobody gets to unpack more than that.
func (q *quota) content(name string, n int64) error {
	switch {
	case n < 0:
		return &ArchiveError{Entry: name, Problem: "says it has a negative size"}
	case n > 1<<62-q.bytes || q.MaxSize > 0 && q.bytes+n > q.MaxSize:
		return q.exceeded(name, "would bring the content to more than the %s that a bundle may unpack to (limits.max_size)", amount(q.MaxSize))
	}
	q.bytes += n
	if q.MaxRatio <= 0 || q.bytes <= ratioFloor {
		return nil
	}
	// Of a bundle that arrives, as much is unpacked as what is there allows, and no more until more is there: a good one is never
	// refused for its beginning, and a bomb never gets ahead.
	least := q.bytes / int64(q.MaxRatio)
	packed, err := q.packed(least)
	if err != nil {
		return err
	}
	if least > packed {
		return q.exceeded(name, "brings the content to %s, more than %d times the bundle's %s: this looks like a decompression bomb (limits.max_ratio)",
			amount(q.bytes), q.MaxRatio, amount(packed))
	}
	return nil
}

// sourceError marks an error of reading the archive file itself, to tell it from an error in what it holds.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// source reads the archive file; its errors are sourceErrors, and it ends with the context.
type source struct {
	ctx context.Context
	io.ReaderAt
	off int64
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, &sourceError{err}
	}
	n, err := s.ReaderAt.ReadAt(p, s.off)
	s.off += int64(n)
	switch {
	case n > 0:
		return n, nil
	case err != nil && err != io.EOF:
		err = &sourceError{fmt.Errorf("read the bundle: %w", err)}
	}
	return 0, err
}

// kindOf names the type of a file that is not a regular one.
func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m.IsRegular():
		return "a file"
	default:
		return "a special file"
	}
}

package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// copyJob is a file and its copy, both open.
type copyJob struct {
	from, to *os.File
	size     int64
	sparse   bool
	attrs
}

func (j copyJob) drop() {
	j.from.Close()
	if j.to != nil {
		j.to.Close()
	}
}

// filler is one worker of a copier.
type filler struct {
	ctx context.Context // of the one copy that the worker lives for
	*copier
	buf []byte
}

func (f *filler) do(j copyJob) error {
	err := f.content(j)
	if err == nil && f.exact {
		err = j.applyPermitted(j.to)
	}
	j.from.Close()
	if closed := j.to.Close(); err == nil && closed != nil {
		err = fmt.Errorf("write %s: %w", j.to.Name(), cause(closed))
	}
	return err
}

// copySmall is up to where a file is copied with one read and one write, which costs less than having the kernel do it.
const copySmall = 64 << 10

func (f *filler) content(j copyJob) error {
	if j.size > 0 && !f.noClone.Load() {
		if unix.IoctlFileClone(int(j.to.Fd()), int(j.from.Fd())) == nil {
			return nil
		}
		f.noClone.Store(true) // this file's reason is every file's: another file system, or one that does not do it
	}
	switch {
	case j.sparse:
		return copyData(f.ctx, j.to, j.from, j.size)
	case j.size > copySmall:
		return copyFile(f.ctx, j.to, j.from, func(int64) {})
	}
	if f.buf == nil {
		f.buf = make([]byte, copySmall+1)
	}
	// A file that has its size, as nearly all do, ends where one byte more was asked for and did not come. What says that it is empty, as
	// some do that the kernel makes up, is read until it ends.
	buf, enough := f.buf, len(f.buf)
	if j.size > 0 {
		buf, enough = f.buf[:j.size+1], int(j.size)
	}
	n, err := io.ReadAtLeast(j.from, buf, enough)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if _, err := j.to.Write(buf[:n]); err != nil || n < len(buf) {
		return err
	}
	return copyFile(f.ctx, j.to, j.from, func(int64) {}) // it has grown since
}

// copyPiece is how much is copied between two looks at the context.
const copyPiece = 64 << 20

// copyFile copies from one file to another inside the kernel where it can: only with the two files as they are does io.Copy know. It
// tells of each piece.
func copyFile(ctx context.Context, to, from *os.File, copied func(n int64)) error {
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n, err := io.CopyN(to, from, copyPiece)
		copied(n)
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// copyData copies a file with holes, without them.
func copyData(ctx context.Context, to, from *os.File, size int64) error {
	for at := int64(0); at < size; {
		data, err := from.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole up to its end
		}
		if err != nil {
			return err
		}
		hole, err := from.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := from.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := to.Seek(data, io.SeekStart); err != nil {
			return err
		}
		for at = data; at < hole; {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			n, err := io.CopyN(to, from, min(hole-at, copyPiece))
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("%s became shorter while it was copied", from.Name())
			}
			if err != nil {
				return err
			}
			at += n
		}
	}
	return to.Truncate(size)
}

// isHoley says whether a file has fewer blocks than its length needs.
func isHoley(info fs.FileInfo) bool {
	return info.Sys().(*syscall.Stat_t).Blocks*512 < info.Size()
}

// attrsOf are the attributes that a file has.
func attrsOf(info fs.FileInfo) attrs {
	st := info.Sys().(*syscall.Stat_t)
	return attrs{mode: st.Mode & 0o7777, uid: int(st.Uid), gid: int(st.Gid), mtime: unix.Timespec(st.Mtim)}
}

// applyPermitted is apply for a file whose owner may not be ours to set: then it stays ours, without the set-id bits, which would lend
// our rights instead of the owner's.
func (a attrs) applyPermitted(f *os.File) error {
	err := a.apply(f)
	if errors.Is(err, unix.EPERM) {
		a.uid, a.gid, a.mode = -1, -1, a.mode&^0o6000
		err = a.apply(f)
	}
	return err
}

package bundle

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	tarSmall   = 128 << 10 // up to here a file's content is handed to the workers; above, the reader writes it itself
	tarBuffers = 24        // contents on their way to the workers at once
)

// tarJob is a file that is open, its content in memory, and what else it gets.
type tarJob struct {
	file    *os.File
	content []byte
	attrs
}

// tar unpacks a tar, plain or compressed (I-18). Three things go on at once: decompressing, reading entries and making their
// names, and filling small files. The archive is read from what open gives, which ends with its context.
func (u *unpacker) tar(ctx context.Context, format Format, open func(context.Context) io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	raw := bufio.NewReaderSize(open(ctx), 256<<10)
	head, err := raw.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return archiveTrouble("", "is cut off", err)
	}
	var plain io.Reader = raw
	compressed := true
	switch is := sniff(head); {
	case is == isGzip:
		ahead := newReadAhead(ctx, func() (io.Reader, error) { return newGunzip(raw) })
		defer ahead.wait(cancel)
		plain = ahead
	case format == Tgz:
		return mistaken(format, is, head)
	case is == isBzip2:
		ahead := newReadAhead(ctx, func() (io.Reader, error) { return bzip2.NewReader(raw), nil })
		defer ahead.wait(cancel)
		plain = ahead
	case is == isTar:
		compressed = false
	default:
		return mistaken(format, is, head)
	}
	t := &tarReader{unpacker: u, entries: tar.NewReader(plain), owners: newOwners(), free: make(chan []byte, tarBuffers)}
	for range tarBuffers {
		t.free <- nil
	}
	produce := func(ctx context.Context, out chan<- tarJob) error {
		if err := t.all(ctx, out); err != nil || !compressed {
			return err
		}
		return u.drain(plain)
	}
	return eachJob(ctx, func() struct{} { return struct{}{} }, produce, t.do, t.drop)
}

// drain reads what follows the last entry, so that the compressed stream's checksum at its end is looked at. It is bounded as content is.
func (u *unpacker) drain(r io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if err := u.tree.content("", int64(n)); u.tree.over {
			return &ArchiveError{Problem: "what follows the last entry", Err: err}
		} else if err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return archiveTrouble("", "is damaged behind its last entry", err)
		}
	}
}

// archiveTrouble is the error for a stream that ends in one: the host's own if the file cannot be read, else the archive's.
func archiveTrouble(entry, problem string, err error) error {
	if read := new(sourceError); errors.As(err, &read) {
		return read.err
	}
	if archive := new(ArchiveError); errors.As(err, &archive) {
		return archive
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		problem, err = "is cut off", nil
	}
	if entry == "" {
		problem = "the tar archive " + problem
	}
	return &ArchiveError{Entry: entry, Problem: problem, Err: err}
}

// tarReader walks the entries.
type tarReader struct {
	*unpacker
	entries *tar.Reader
	owners  *owners
	free    chan []byte // buffers; nil for one that is still to be made
	last    string
	zeros   []byte
}

func (t *tarReader) all(ctx context.Context, out chan<- tarJob) error {
	for {
		h, err := t.entries.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			where := "before its first entry"
			if t.last != "" {
				where = "behind the entry " + quoted(t.last)
			}
			return archiveTrouble("", "is damaged "+where, err)
		}
		if err := t.entry(ctx, h, out); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		t.last = h.Name
	}
}

// volumeHeader is GNU tar's label of an archive; it says nothing about a file.
const volumeHeader = 'V'

func (t *tarReader) entry(ctx context.Context, h *tar.Header, out chan<- tarJob) error {
	if h.Typeflag == tar.TypeXGlobalHeader || h.Typeflag == volumeHeader {
		return t.tree.take(h.Name, max(h.Size, 0)) // git's pax_global_header holds the commit
	}
	name, err := clean(h.Name)
	if err != nil {
		return err
	}
	if err := t.tree.count(h.Name); err != nil {
		return err
	}
	a := attrs{mode: uint32(h.Mode) & 0o7777, uid: -1, gid: -1, mtime: unix.Timespec{Sec: h.ModTime.Unix(), Nsec: int64(h.ModTime.Nanosecond())}}
	a.uid, a.gid = t.owners.of(h)
	if t.tree.IgnoreOwners {
		a = a.ownedByUs()
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return t.tree.dir(h.Name, name, a)
	case tar.TypeSymlink:
		if err := t.tree.Limits.link(h.Name, "a symbolic link"); err != nil {
			return err
		}
		return t.tree.symlink(h.Name, name, h.Linkname, a)
	case tar.TypeLink:
		if err := t.tree.Limits.link(h.Name, fmt.Sprintf("another name of %s", quoted(h.Linkname))); err != nil {
			return err
		}
		return t.tree.link(h.Name, name, h.Linkname)
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return t.file(ctx, h, name, a, out)
	case tar.TypeChar, tar.TypeBlock:
		return &ArchiveError{Entry: h.Name, Problem: "is a device: a bundle may hold files, folders and links"}
	case tar.TypeFifo:
		return &ArchiveError{Entry: h.Name, Problem: "is a named pipe: a bundle may hold files, folders and links"}
	default:
		return &ArchiveError{Entry: h.Name, Problem: fmt.Sprintf("is of type %q: a bundle may hold files, folders and links", h.Typeflag)}
	}
}

func (t *tarReader) file(ctx context.Context, h *tar.Header, name string, a attrs, out chan<- tarJob) error {
	if err := t.tree.Limits.mode(h.Name, uint32(h.Mode)); err != nil {
		return err
	}
	if err := t.tree.content(h.Name, h.Size); err != nil {
		return err
	}
	file, err := t.tree.create(h.Name, name)
	if err != nil {
		return err
	}
	t.tree.stats.Bytes += h.Size
	if h.Size > tarSmall {
		return finishFile(file, a, t.copy(ctx, h, file))
	}
	var buf []byte
	if h.Size > 0 {
		select {
		case buf = <-t.free:
		case <-ctx.Done():
			file.Close()
			return ctx.Err()
		}
		if cap(buf) == 0 {
			buf = make([]byte, tarSmall)
		}
		buf = buf[:h.Size]
		if _, err := io.ReadFull(t.entries, buf); err != nil {
			file.Close()
			return archiveTrouble(h.Name, "is damaged", err)
		}
	}
	return send(ctx, out, tarJob{file, buf, a}, t.drop)
}

// do fills a small file.
func (t *tarReader) do(_ struct{}, j tarJob) error {
	var err error
	if len(j.content) > 0 {
		if _, err = j.file.Write(j.content); err != nil {
			err = fmt.Errorf("write %s: %w", j.file.Name(), cause(err))
		}
	}
	err = finishFile(j.file, j.attrs, err)
	t.giveBack(j)
	return err
}

func (t *tarReader) drop(j tarJob) {
	j.file.Close()
	t.giveBack(j)
}

func (t *tarReader) giveBack(j tarJob) {
	if cap(j.content) > 0 {
		t.free <- j.content[:0] // it has room for all of them
	}
}

// finishFile gives a file that has been written its attributes and closes it.
func finishFile(file *os.File, a attrs, err error) error {
	if err == nil {
		err = a.apply(file)
	}
	if closed := file.Close(); err == nil && closed != nil {
		err = fmt.Errorf("write %s: %w", file.Name(), cause(closed))
	}
	return err
}

// copy writes a large file as it is read. Blocks of zeros in one that was sparse stay holes.
func (t *tarReader) copy(ctx context.Context, h *tar.Header, file *os.File) error {
	buf := make([]byte, tarSmall)
	sparse := isSparse(h)
	if sparse && t.zeros == nil {
		t.zeros = make([]byte, tarSmall)
	}
	for left := h.Size; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:min(left, int64(len(buf)))]
		if _, err := io.ReadFull(t.entries, b); err != nil {
			return archiveTrouble(h.Name, "is damaged", err)
		}
		left -= int64(len(b))
		var err error
		if sparse && bytes.Equal(b, t.zeros[:len(b)]) {
			_, err = file.Seek(int64(len(b)), io.SeekCurrent)
		} else {
			_, err = file.Write(b)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", file.Name(), cause(err))
		}
	}
	if sparse {
		if err := file.Truncate(h.Size); err != nil {
			return fmt.Errorf("write %s: %w", file.Name(), cause(err))
		}
	}
	return nil
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// owners turns an entry's owner into numbers: those of the names where this host knows them, else the archive's own, as tar does
// for root. For anybody else files belong to whoever unpacks them.
type owners struct {
	root          bool
	users, groups map[string]int
}

// ownedByUs are the attributes of what is to belong to whoever unpacks it, without a set-id bit that was for another.
func (a attrs) ownedByUs() attrs {
	if a.uid >= 0 && a.uid != os.Geteuid() {
		a.mode &^= unix.S_ISUID
	}
	if a.gid >= 0 && a.gid != os.Getegid() {
		a.mode &^= unix.S_ISGID
	}
	a.uid, a.gid = -1, -1
	return a
}

// ownersKnown bounds the look-ups that a hostile archive can cause.
const ownersKnown = 256

func newOwners() *owners {
	return &owners{root: os.Geteuid() == 0, users: map[string]int{}, groups: map[string]int{}}
}

func (o *owners) of(h *tar.Header) (uid, gid int) {
	if !o.root {
		return -1, -1
	}
	uid = known(o.users, h.Uname, h.Uid, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
	gid = known(o.groups, h.Gname, h.Gid, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
	return uid, gid
}

func known(seen map[string]int, name string, number int, lookup func(string) (string, error)) int {
	if name == "" {
		return number
	}
	id, ok := seen[name]
	if !ok {
		if len(seen) >= ownersKnown {
			return number
		}
		id = -1
		if text, err := lookup(name); err == nil {
			if n, err := strconv.Atoi(text); err == nil {
				id = n
			}
		}
		seen[name] = id
	}
	if id < 0 {
		return number
	}
	return id
}

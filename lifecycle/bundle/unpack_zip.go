package bundle

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/bzip2"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/zstd"
)

const (
	zipSmallPacked = 128 << 10 // up to here an entry's content is read at once
	zipSmall       = 256 << 10 // up to here it is unpacked at once
)

// zipJob is a file that is open and waits for its content.
type zipJob struct {
	entry zipEntry
	file  *os.File
}

func dropZip(j zipJob) { j.file.Close() }

// zip unpacks a zip (I-19). The list of entries is walked twice: once to refuse what can be refused before anything is written, and
// once to make the names, while the workers inflate.
func (u *unpacker) zip(ctx context.Context) error {
	dir, err := openZip(u.archive, u.size)
	if err != nil {
		return err
	}
	if dir == nil {
		return u.noZip()
	}
	total, err := u.checkZip(ctx, dir)
	if err != nil {
		return err
	}
	self, err := u.tree.last().open()
	if err != nil {
		return err
	}
	if err := room(self, total); err != nil {
		return err
	}
	streams := newStreams()
	start := func() *inflater { return &inflater{archive: u.archive, streams: streams} }
	produce := func(ctx context.Context, out chan<- zipJob) error {
		links := start()
		for e, err := range dir.entries() {
			if err == nil {
				err = u.zipEntry(ctx, e, links, out)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return eachJob(ctx, start, produce, (*inflater).do, dropZip)
}

// noZip says what a file is that has no list of entries.
func (u *unpacker) noZip() error {
	head := make([]byte, min(u.size, 512))
	if err := readAt(u.archive, head, 0); err != nil {
		return err
	}
	if is := sniff(head); is != isZip {
		return mistaken(Zip, is, head)
	}
	return &ArchiveError{Problem: "the zip archive is cut off: the list of entries at its end is missing"}
}

// checkZip refuses what the list alone tells, and adds up what will be unpacked.
func (u *unpacker) checkZip(ctx context.Context, dir *zipDirectory) (total int64, err error) {
	q := u.tree.quota // a copy: what is counted here is counted again
	for e, err := range dir.entries() {
		if err != nil {
			return 0, err
		}
		if _, err := clean(e.name); err != nil {
			return 0, err
		}
		if err := cmp.Or(e.check(), e.refuse(q.Limits)); err != nil {
			return 0, err
		}
		if err := q.take(e.name, e.size); err != nil {
			return 0, err
		}
	}
	return q.bytes, ctx.Err()
}

// check refuses entries that are not unpacked here.
func (e zipEntry) check() error {
	const encrypted = 1
	switch e.mode.Type() {
	case 0, fs.ModeDir, fs.ModeSymlink:
	default:
		return &ArchiveError{Entry: e.name, Problem: fmt.Sprintf("is %s: a bundle may hold files, folders and links", kindOf(e.mode))}
	}
	if e.mode.IsDir() {
		return nil
	}
	if e.flags&encrypted != 0 {
		return &ArchiveError{Entry: e.name, Problem: "is encrypted: make the bundle without a password"}
	}
	switch e.method {
	case 0:
		if e.packed != e.size {
			return &ArchiveError{Entry: e.name, Problem: fmt.Sprintf("lies about its size: %d bytes stored, %d announced", e.packed, e.size)}
		}
	case 8, 12, zipZstd, zipZstdOld:
	default:
		names := map[uint16]string{9: "deflate64", 14: "LZMA", 95: "xz", 98: "PPMd", 99: "AES"}
		name := names[e.method]
		if name == "" {
			name = "a method of its own"
		}
		return &ArchiveError{Entry: e.name, Problem: fmt.Sprintf("is compressed with method %d (%s): make the bundle with deflate, the method of every zip program", e.method, name)}
	}
	if e.mode.Type() == fs.ModeSymlink && e.size > maxTarget {
		return &ArchiveError{Entry: e.name, Problem: fmt.Sprintf("is a symbolic link with a target of more than %d bytes", maxTarget)}
	}
	return nil
}

// refuse refuses what this host does not accept.
func (e zipEntry) refuse(l Limits) error {
	switch e.mode.Type() {
	case fs.ModeSymlink:
		return l.link(e.name, "a symbolic link")
	case 0:
		return l.mode(e.name, e.unix)
	}
	return nil
}

// zipEntry makes one entry. The content of a file is the workers' business.
func (u *unpacker) zipEntry(ctx context.Context, e zipEntry, links *inflater, out chan<- zipJob) error {
	name, err := clean(e.name)
	if err != nil {
		return err
	}
	t := u.tree
	if err := t.take(e.name, e.size); err != nil {
		return err
	}
	switch e.mode.Type() {
	case fs.ModeDir:
		return t.dir(e.name, name, e.attrs())
	case fs.ModeSymlink:
		target := new(bytes.Buffer)
		if err := links.copy(e, target); err != nil {
			return err
		}
		return t.symlink(e.name, name, target.String(), e.attrs())
	}
	file, err := t.create(e.name, name)
	if err != nil {
		return err
	}
	t.stats.Bytes += e.size
	return send(ctx, out, zipJob{e, file}, dropZip)
}

// attrs are the entry's mode and time. A zip has no owners that unzip would restore.
func (e zipEntry) attrs() attrs {
	return attrs{mode: uint32(e.mode.Perm()), uid: -1, gid: -1, mtime: e.mtime}
}

// inflater is one worker, with all that it needs again for each file.
type inflater struct {
	archive io.ReaderAt
	packed  []byte
	plain   []byte
	bytes   bytes.Reader
	flate   io.ReadCloser
	stream  *bufio.Reader
	zstd    *zstd.Decoder      // of small entries
	streams chan *zstd.Decoder // of large ones
}

// do fills a file and gives it its attributes.
func (w *inflater) do(j zipJob) error {
	err := w.copy(j.entry, j.file)
	if err == nil {
		err = j.entry.attrs().apply(j.file)
	}
	if closed := j.file.Close(); err == nil && closed != nil {
		err = fmt.Errorf("write %s: %w", j.entry.name, cause(closed))
	}
	return err
}

// copy writes the content of an entry, as many bytes as it announces and with the checksum that it announces, or fails.
func (w *inflater) copy(e zipEntry, to io.Writer) error {
	if e.packed <= zipSmallPacked && e.size <= zipSmall {
		return w.copySmall(e, to)
	}
	body, err := w.body(e)
	if err != nil {
		return err
	}
	if w.stream == nil {
		w.stream = bufio.NewReaderSize(nil, 64<<10)
	}
	w.stream.Reset(body)
	if e.isZstd() {
		return w.zstdStream(e, w.stream, to)
	}
	decoder, err := w.decoder(e, w.stream)
	if err != nil {
		return err
	}
	return w.copyStream(e, decoder, to)
}

// body is where the content of an entry lies in the archive, behind its local header.
func (w *inflater) body(e zipEntry) (io.Reader, error) {
	var header [zipLocalLen]byte
	if err := readAt(w.archive, header[:], e.offset); err != nil {
		return nil, err
	}
	at, err := e.bodyAt(header[:])
	return &fileReader{io.NewSectionReader(w.archive, at, e.packed)}, err
}

// bodyAt is where the content begins, by the local header. Its lengths are its own; all else in it repeats the list, which holds.
func (e zipEntry) bodyAt(header []byte) (int64, error) {
	if string(header[:4]) != zipLocal {
		return 0, &ArchiveError{Entry: e.name, Problem: "is not where the zip archive's list says: the archive is corrupt"}
	}
	le := binary.LittleEndian
	return e.offset + zipLocalLen + int64(le.Uint16(header[26:])) + int64(le.Uint16(header[28:])), nil
}

// copySmall unpacks an entry with one read, one go of the decoder and one write.
func (w *inflater) copySmall(e zipEntry, to io.Writer) error {
	// The local header's extra field has its own length, mostly less than this.
	guess := zipLocalLen + e.raw + 64 + int(e.packed)
	w.packed = grow(w.packed, guess)
	n, err := w.archive.ReadAt(w.packed, e.offset)
	if n < zipLocalLen {
		return broken(err, "it is cut off")
	}
	at, err := e.bodyAt(w.packed)
	if err != nil {
		return err
	}
	from := int(at - e.offset)
	if from+int(e.packed) > n {
		w.packed, from = grow(w.packed, int(e.packed)), 0
		if err := readAt(w.archive, w.packed[:e.packed], at); err != nil {
			return broken(errors.Unwrap(err), "it is cut off")
		}
	}
	packed := w.packed[from : from+int(e.packed)]
	if e.method == 0 {
		return w.write(e, packed, to)
	}
	// One byte more than announced, to see that there is none.
	w.plain = grow(w.plain, int(e.size)+1)
	got, err := w.unpackSmall(e, packed, w.plain)
	if err != nil {
		return err
	}
	if int64(len(got)) != e.size {
		return e.lies(int64(len(got)))
	}
	return w.write(e, got, to)
}

// unpackSmall unpacks what fits into the room.
func (w *inflater) unpackSmall(e zipEntry, packed, room []byte) ([]byte, error) {
	if e.isZstd() {
		return w.zstdAll(e, packed, room)
	}
	w.bytes.Reset(packed)
	decoder, err := w.decoder(e, &w.bytes)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadFull(decoder, room)
	short := errors.Is(err, io.ErrUnexpectedEOF) // as it should be; but a stream that is cut off says the same
	if err != nil && !errors.Is(err, io.EOF) && !short || short && int64(got) != e.size {
		return nil, e.undecodable(err)
	}
	return room[:got], nil
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n, n+n/2+4096)
	}
	return b[:n]
}

func (w *inflater) write(e zipEntry, content []byte, to io.Writer) error {
	if crc32.ChecksumIEEE(content) != e.crc {
		return e.wrongSum()
	}
	if len(content) == 0 {
		return nil
	}
	if _, err := to.Write(content); err != nil {
		return fmt.Errorf("write %s: %w", e.name, cause(err))
	}
	return nil
}

// copyStream unpacks a large entry piece by piece.
func (w *inflater) copyStream(e zipEntry, decoder io.Reader, to io.Writer) error {
	w.plain = grow(w.plain, zipSmall)
	var got int64
	var sum uint32
	for {
		n, err := io.ReadFull(decoder, w.plain)
		if got += int64(n); got > e.size {
			return e.lies(got)
		}
		sum = crc32.Update(sum, crc32.IEEETable, w.plain[:n])
		if n > 0 {
			if _, err := to.Write(w.plain[:n]); err != nil {
				return fmt.Errorf("write %s: %w", e.name, cause(err))
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF && got == e.size {
			break
		}
		if err != nil {
			return e.undecodable(err)
		}
	}
	switch {
	case got != e.size:
		return e.lies(got)
	case sum != e.crc:
		return e.wrongSum()
	}
	return nil
}

// decoder is the reader for the entry's method.
func (w *inflater) decoder(e zipEntry, from io.Reader) (io.Reader, error) {
	switch e.method {
	case 0:
		return from, nil
	case 12:
		return bzip2.NewReader(from), nil
	}
	if w.flate == nil {
		w.flate = flate.NewReader(from)
		return w.flate, nil
	}
	if err := w.flate.(flate.Resetter).Reset(from, nil); err != nil {
		return nil, fmt.Errorf("inflate %s: %w", e.name, err)
	}
	return w.flate, nil
}

func (e zipEntry) lies(got int64) error {
	if got > e.size {
		return &ArchiveError{Entry: e.name, Problem: fmt.Sprintf("lies about its size: more comes out than the %d bytes announced", e.size)}
	}
	return &ArchiveError{Entry: e.name, Problem: fmt.Sprintf("lies about its size: %d bytes come out, %d are announced", got, e.size)}
}

func (e zipEntry) wrongSum() error {
	return &ArchiveError{Entry: e.name, Problem: "is damaged: its checksum is wrong"}
}

func (e zipEntry) undecodable(err error) error {
	if read := new(sourceError); errors.As(err, &read) {
		return read.err
	}
	return &ArchiveError{Entry: e.name, Problem: "is damaged: it cannot be decompressed", Err: err}
}

// fileReader marks the errors of reading the archive.
type fileReader struct{ r io.Reader }

func (f *fileReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		err = &sourceError{fmt.Errorf("read the bundle: %w", err)}
	}
	return n, err
}

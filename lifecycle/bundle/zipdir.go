package bundle

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"math"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The records of a zip that are read here: their first bytes and their fixed lengths.
const (
	zipLocal        = "PK\x03\x04"
	zipCentral      = "PK\x01\x02"
	zipEnd          = "PK\x05\x06"
	zip64End        = "PK\x06\x06"
	zip64Locator    = "PK\x06\x07"
	zipLocalLen     = 30
	zipCentralLen   = 46
	zipEndLen       = 22
	zip64EndLen     = 56
	zip64LocatorLen = 20
)

// zipDirectory is the list of entries at the end of a zip. It is read as it is walked and never kept: archive/zip holds some 270
// bytes for each entry, and reads all of them before anybody can count, so that a hostile bundle of one gigabyte would have it take
// five. Content is what archive/zip would give: the same decoders read it.
type zipDirectory struct {
	r             io.ReaderAt
	start, length int64  // of the list
	base          int64  // bytes before the archive's own first byte, as in a self-extracting one
	count         uint64 // entries, modulo 65536 unless wide
	wide          bool
}

// zipEntry is one entry of the list.
type zipEntry struct {
	name   string
	raw    int // bytes of the name as stored
	method uint16
	flags  uint16
	crc    uint32
	packed int64
	size   int64
	offset int64 // of the local header, from the start of the file
	mode   fs.FileMode
	unix   uint32 // the mode as it is stored, 0 where the archive was not made on Unix
	mtime  unix.Timespec
}

func corruptZip(format string, args ...any) error {
	return &ArchiveError{Problem: "the zip archive is corrupt: " + fmt.Sprintf(format, args...)}
}

// openZip finds the list. The error is nil, nil directory when there is none: the file is no zip, or its end is missing.
func openZip(r io.ReaderAt, size int64) (*zipDirectory, error) {
	end, at, err := findZipEnd(r, size)
	if err != nil || end == nil {
		return nil, err
	}
	le := binary.LittleEndian
	disk, listDisk := uint32(le.Uint16(end[4:])), uint32(le.Uint16(end[6:]))
	d := &zipDirectory{r: r, count: uint64(le.Uint16(end[10:])), length: int64(le.Uint32(end[12:]))}
	offset := int64(le.Uint32(end[16:]))
	if d.count == math.MaxUint16 || d.length == math.MaxUint32 || offset == math.MaxUint32 {
		wide, wideAt, err := findZip64End(r, at)
		if err != nil {
			return nil, err
		}
		if wide != nil {
			at, d.wide = wideAt, true
			disk, listDisk = le.Uint32(wide[16:]), le.Uint32(wide[20:])
			d.count, d.length, offset = le.Uint64(wide[32:]), int64(le.Uint64(wide[40:])), int64(le.Uint64(wide[48:]))
		}
	}
	if disk != 0 || listDisk != 0 {
		return nil, &ArchiveError{Problem: "the zip archive is one of several volumes"}
	}
	if d.length < 0 || offset < 0 || d.length > at || offset > at-d.length {
		return nil, corruptZip("its list of entries would lie outside the file")
	}
	// The list ends where the end record begins. If it does not begin where that says, something stands before the archive.
	d.start = at - d.length
	d.base = d.start - offset
	if d.base != 0 && d.isList(offset) {
		d.start, d.base = offset, 0
	}
	return d, nil
}

// isList says whether an entry of the list stands at the offset.
func (d *zipDirectory) isList(at int64) bool {
	var magic [4]byte
	_, err := d.r.ReadAt(magic[:], at)
	return err == nil && string(magic[:]) == zipCentral
}

// findZipEnd finds the last record of a zip, which may have a comment of 64 KiB behind it.
func findZipEnd(r io.ReaderAt, size int64) (end []byte, at int64, err error) {
	for _, most := range []int64{1 << 10, zipEndLen + math.MaxUint16} {
		tail := make([]byte, min(size, most))
		if err := readAt(r, tail, size-int64(len(tail))); err != nil {
			return nil, 0, err
		}
		for i := len(tail) - zipEndLen; i >= 0; i-- {
			i = bytes.LastIndex(tail[:i+len(zipEnd)], []byte(zipEnd))
			if i < 0 {
				break
			}
			if comment := int(binary.LittleEndian.Uint16(tail[i+20:])); i+zipEndLen+comment <= len(tail) {
				return tail[i : i+zipEndLen], size - int64(len(tail)) + int64(i), nil
			}
		}
	}
	return nil, 0, nil
}

// findZip64End finds the record with wide fields through the locator that stands before the end record.
func findZip64End(r io.ReaderAt, endAt int64) (end []byte, at int64, err error) {
	var locator [zip64LocatorLen]byte
	if endAt < zip64LocatorLen+zip64EndLen {
		return nil, 0, nil
	}
	if err := readAt(r, locator[:], endAt-zip64LocatorLen); err != nil {
		return nil, 0, err
	}
	if string(locator[:4]) != zip64Locator {
		return nil, 0, nil
	}
	end = make([]byte, zip64EndLen)
	// Where something stands before the archive the locator is short by its length: then it is looked for where it mostly is.
	for _, at := range []int64{int64(binary.LittleEndian.Uint64(locator[8:])), endAt - zip64LocatorLen - zip64EndLen} {
		if at < 0 || at > endAt-zip64LocatorLen-zip64EndLen {
			continue
		}
		if err := readAt(r, end, at); err != nil {
			return nil, 0, err
		}
		if string(end[:4]) == zip64End {
			return end, at, nil
		}
	}
	return nil, 0, corruptZip("its zip64 end record is missing")
}

// readAt reads exactly what it is asked for.
func readAt(r io.ReaderAt, p []byte, at int64) error {
	if n, err := r.ReadAt(p, at); n < len(p) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read the bundle: %w", err)
	}
	return nil
}

// entries walks the list. An error is the last thing that it yields.
func (d *zipDirectory) entries() iter.Seq2[zipEntry, error] {
	return func(yield func(zipEntry, error) bool) {
		r := bufio.NewReaderSize(io.NewSectionReader(d.r, d.start, d.length), 64<<10)
		var scratch []byte
		var seen uint64
		for left := d.length; left > 0; seen++ {
			e, n, err := d.next(r, &scratch)
			if err != nil {
				yield(zipEntry{}, err)
				return
			}
			if left -= int64(n); !yield(e, nil) {
				return
			}
		}
		if want := d.count; seen != want && (d.wide || uint16(seen) != uint16(want)) {
			yield(zipEntry{}, corruptZip("it lists %d entries and says it has %d", seen, want))
		}
	}
}

// next reads one entry of the list and how long it was.
func (d *zipDirectory) next(r *bufio.Reader, scratch *[]byte) (e zipEntry, n int, err error) {
	var fixed [zipCentralLen]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil || string(fixed[:4]) != zipCentral {
		return e, 0, broken(err, "its list of entries is broken")
	}
	le := binary.LittleEndian
	names, extras, comments := int(le.Uint16(fixed[28:])), int(le.Uint16(fixed[30:])), int(le.Uint16(fixed[32:]))
	if cap(*scratch) < names+extras {
		*scratch = make([]byte, names+extras+256)
	}
	text := (*scratch)[:names+extras]
	if _, err := io.ReadFull(r, text); err != nil {
		return e, 0, broken(err, "its list of entries is cut off")
	}
	if _, err := r.Discard(comments); err != nil {
		return e, 0, broken(err, "its list of entries is cut off")
	}
	e = zipEntry{
		name: string(text[:names]), raw: names,
		flags: le.Uint16(fixed[8:]), method: le.Uint16(fixed[10:]), crc: le.Uint32(fixed[16:]),
		packed: int64(le.Uint32(fixed[20:])), size: int64(le.Uint32(fixed[24:])), offset: int64(le.Uint32(fixed[42:])),
		mtime: unix.Timespec{Sec: dosTime(le.Uint16(fixed[14:]), le.Uint16(fixed[12:])).Unix()},
	}
	if err := e.extra(text[names:], text[:names]); err != nil {
		return e, 0, err
	}
	if e.packed < 0 || e.size < 0 || e.offset < 0 || e.offset > d.start-d.base-zipLocalLen || e.packed > d.start-d.base-zipLocalLen-e.offset {
		return e, 0, &ArchiveError{Entry: e.name, Problem: "would lie outside the zip archive, which is corrupt or cut off"}
	}
	e.offset += d.base
	e.attributes(fixed[5], le.Uint32(fixed[38:]))
	return e, zipCentralLen + names + extras + comments, nil
}

// broken keeps an error of reading the file apart from one of what the file holds.
func broken(err error, problem string) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return corruptZip("%s", problem)
	}
	return fmt.Errorf("read the bundle: %w", err)
}

// The extra fields that change what an entry is.
const (
	extraZip64       = 0x0001
	extraNTFS        = 0x000a
	extraTimes       = 0x5455 // Info-ZIP's extended time stamp
	extraOldUnix     = 0x5855
	extraUnicodePath = 0x7075
)

// extra reads the extra fields: sizes over 4 GiB, times in UTC, the name in UTF-8.
func (e *zipEntry) extra(b, stored []byte) error {
	le := binary.LittleEndian
	wideSize, widePacked, wideOffset := e.size == math.MaxUint32, e.packed == math.MaxUint32, e.offset == math.MaxUint32
	for len(b) >= 4 {
		tag, n := le.Uint16(b), int(le.Uint16(b[2:]))
		if n > len(b)-4 {
			break // padding of some writers
		}
		field := b[4 : 4+n]
		b = b[4+n:]
		switch {
		case tag == extraZip64:
			for _, w := range []struct {
				here bool
				to   *int64
			}{{wideSize, &e.size}, {widePacked, &e.packed}, {wideOffset, &e.offset}} {
				if !w.here {
					continue
				}
				if len(field) < 8 {
					return &ArchiveError{Entry: e.name, Problem: "has a zip64 field that is too short"}
				}
				*w.to, field = int64(le.Uint64(field)), field[8:]
			}
			wideSize, widePacked, wideOffset = false, false, false
		case tag == extraTimes && n >= 5 && field[0]&1 != 0:
			e.mtime = unix.Timespec{Sec: int64(int32(le.Uint32(field[1:])))}
		case tag == extraOldUnix && n >= 8:
			e.mtime = unix.Timespec{Sec: int64(int32(le.Uint32(field[4:])))}
		case tag == extraNTFS && n >= 32 && le.Uint16(field[4:]) == 1:
			// Ticks of 100 ns since 1601.
			t := time.Unix(int64(le.Uint64(field[8:])/1e7)-11644473600, int64(le.Uint64(field[8:])%1e7)*100)
			e.mtime = unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
		case tag == extraUnicodePath && n > 5 && field[0] == 1 && le.Uint32(field[1:]) == crc32.ChecksumIEEE(stored):
			e.name = string(field[5:])
		}
	}
	return nil
}

// Hosts in "version made by".
const (
	madeByFAT    = 0
	madeByUnix   = 3
	madeByDarwin = 19
)

// attributes sets the mode. Where the archive was not made on Unix, it is the one that a new file gets under the agent's umask 022.
func (e *zipEntry) attributes(host byte, external uint32) {
	if host == madeByFAT && strings.Contains(e.name, `\`) && !strings.Contains(e.name, "/") {
		e.name = strings.ReplaceAll(e.name, `\`, "/") // as unzip does
	}
	unixMode := uint32(0)
	if host == madeByUnix || host == madeByDarwin {
		unixMode = external >> 16
	}
	e.mode, e.unix = fs.FileMode(unixMode&0o777), unixMode
	switch kind := unixMode & unix.S_IFMT; {
	case strings.HasSuffix(e.name, "/") || kind == unix.S_IFDIR || unixMode == 0 && external&0x10 != 0:
		e.mode |= fs.ModeDir
		if unixMode == 0 {
			e.mode |= 0o755
		}
	case kind == unix.S_IFLNK:
		e.mode |= fs.ModeSymlink
	case kind == unix.S_IFCHR || kind == unix.S_IFBLK:
		e.mode |= fs.ModeDevice
	case kind == unix.S_IFIFO:
		e.mode |= fs.ModeNamedPipe
	case kind == unix.S_IFSOCK:
		e.mode |= fs.ModeSocket
	case unixMode == 0 && external&0x01 != 0:
		e.mode |= 0o444
	case unixMode == 0:
		e.mode |= 0o644
	}
}

// dosTime is the time of an entry without a better one: to two seconds, in the zone of whoever packed it, taken for this host's.
func dosTime(date, clock uint16) time.Time {
	return time.Date(1980+int(date>>9), time.Month(date>>5&0xf), int(date&0x1f), int(clock>>11), int(clock>>5&0x3f), int(clock&0x1f)*2, 0, time.Local)
}

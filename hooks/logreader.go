package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LogReader reads a log of scripts line by line, from its oldest file on and as it grows, while others write and rotate it. Its memory
// does not grow with the log. A log that is not there yet has no lines yet.
type LogReader struct {
	path   string
	f      *os.File
	newest bool // the file that is open had the name of the log when it was last looked at
	pos    int64
	buf    []byte
	at, to int // what of buf is not given away yet
}

// readBuffer is longer than any line that is written by output.
const readBuffer = 2 * maxLine

// NewLogReader reads the log of that name, as Script.ScriptsLog gives it. It opens nothing yet.
func NewLogReader(path string) *LogReader { return &LogReader{path: path} }

// Next returns the next line with its newline. io.EOF: there is no other line for now; a later call may have one. What has no newline is
// returned when nothing can follow it any more, or where it is longer than 128 KiB. The line is valid until the next call.
func (r *LogReader) Next() ([]byte, error) {
	for {
		if i := bytes.IndexByte(r.buf[r.at:r.to], '\n'); i >= 0 {
			return r.take(i + 1), nil
		}
		if r.to-r.at == readBuffer {
			return r.take(readBuffer), nil
		}
		n, err := r.fill()
		if err != nil {
			return nil, err
		}
		if n > 0 {
			continue
		}
		switch next, err := r.advance(); {
		case err != nil:
			return nil, err
		case next == atEnd:
			return nil, io.EOF
		case next == another && r.to > r.at: // nobody writes to the file before any more
			return r.take(r.to - r.at), nil
		}
	}
}

// Rest returns what was written of a line that has no end yet, nil for nothing. It belongs to no later line then.
func (r *LogReader) Rest() []byte { return r.take(r.to - r.at) }

// SkipToEnd leaves out what is there by now.
func (r *LogReader) SkipToEnd() error {
	files, err := r.files()
	if err != nil || len(files) == 0 {
		return err
	}
	if _, err := r.open(files[len(files)-1]); err != nil || r.f == nil {
		return err
	}
	r.at, r.to = 0, 0
	r.pos, err = r.f.Seek(0, io.SeekEnd)
	return err
}

// Close closes the file that is open. Reading on begins anew.
func (r *LogReader) Close() error {
	if r.f == nil {
		return nil
	}
	err := r.f.Close()
	*r = LogReader{path: r.path}
	return err
}

func (r *LogReader) take(n int) []byte {
	part := r.buf[r.at : r.at+n]
	r.at += n
	return part
}

// fill reads on in the file that is open.
func (r *LogReader) fill() (int, error) {
	if r.f == nil {
		return 0, nil
	}
	if r.buf == nil {
		r.buf = make([]byte, readBuffer)
	}
	if r.at > 0 {
		r.to = copy(r.buf, r.buf[r.at:r.to])
		r.at = 0
	}
	n, err := r.f.Read(r.buf[r.to:])
	r.to += n
	r.pos += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("read log: %w", err)
	}
	return n, nil
}

// What there is to do at the end of a file.
const (
	atEnd   = iota // for more
	again          // read on
	another        // read on, in another file
)

// advance opens the file that follows the one that was read to its end, if there is one by now.
func (r *LogReader) advance() (int, error) {
	files, err := r.files()
	if err != nil || len(files) == 0 {
		return atEnd, err
	}
	if r.f == nil {
		return r.open(files[0])
	}
	mine, err := r.f.Stat()
	if err != nil {
		return atEnd, fmt.Errorf("read log: %w", err)
	}
	if mine.Size() < r.pos { // somebody has emptied it
		r.pos = 0
		if _, err := r.f.Seek(0, io.SeekStart); err != nil {
			return atEnd, fmt.Errorf("read log: %w", err)
		}
		return another, nil
	}
	last := len(files) - 1
	for i, f := range files {
		switch {
		case !os.SameFile(f.info, mine):
			continue
		case i == last:
			r.newest = true
			return atEnd, nil
		case f.info.Size() > r.pos: // it was written to between its end and its rotation
			return again, nil
		}
		return r.open(files[i+1])
	}
	// Gone: removed by hand, or rotated away while nobody read. Older files are of no interest in the first case.
	switch {
	case !r.newest || len(files) == logFiles:
		return r.open(files[0])
	case files[last].name == r.path:
		return r.open(files[last])
	}
	return atEnd, nil
}

// logName is a file of a log.
type logName struct {
	name string
	info os.FileInfo
}

// files are those of the log, the oldest first.
func (r *LogReader) files() ([]logName, error) {
	for {
		var all []logName
		moved := false
		for n := range logFiles { // as they are renamed, so that none is missed
			name := r.path
			if n > 0 {
				name += "." + strconv.Itoa(n)
			}
			info, err := os.Stat(name)
			switch {
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
				continue
			case err != nil:
				return nil, fmt.Errorf("read log: %w", err)
			}
			moved = moved || len(all) > 0 && os.SameFile(all[len(all)-1].info, info)
			all = append(all, logName{name, info})
		}
		if !moved {
			slices.Reverse(all)
			return all, nil
		}
	}
}

// open goes on with a file. One that was renamed meanwhile is looked for again.
func (r *LogReader) open(next logName) (int, error) {
	f, err := os.OpenFile(next.name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return again, nil
	}
	if err != nil {
		return atEnd, fmt.Errorf("read log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return atEnd, fmt.Errorf("read log: %w", err)
	}
	if !os.SameFile(info, next.info) {
		f.Close()
		return again, nil
	}
	if r.f != nil {
		r.f.Close()
	}
	r.f, r.pos, r.newest = f, 0, next.name == r.path
	return another, nil
}

// Kinds of an Entry.
const (
	EntryEvent  = "event"  // an event begins: its name is the text
	EntryScript = "script" // a script begins: its location is the text
	EntryStdout = "stdout" // a line of the script's
	EntryStderr = "stderr"
	EntryOther  = "" // anything else: words of the shim, a line that another program wrote
)

// Entry is a line of a log of scripts, taken apart (H-24).
type Entry struct {
	At   time.Time // in the time of the host, in seconds; zero if the line has none
	Kind string
	Text string // without newline; of a script's output the bytes as they were written
}

// ParseEntry takes a line of a log of scripts apart. Whatever it is, nothing of its text is lost.
func ParseEntry(line []byte) Entry {
	text := strings.TrimSuffix(string(line), "\n")
	const stamp = "2006-01-02 15:04:05 "
	var e Entry
	if len(text) >= len(stamp) && text[len(stamp)-1] == ' ' {
		if at, err := time.ParseInLocation(stamp[:len(stamp)-1], text[:len(stamp)-1], time.Local); err == nil {
			e.At, text = at, text[len(stamp):]
		}
	}
	e.Text = text
	if e.At.IsZero() {
		return e
	}
	for _, k := range []struct{ mark, kind string }{
		{"[stdout]", EntryStdout}, {"[stderr]", EntryStderr}, {"LifecycleEvent - ", EntryEvent}, {"Script - ", EntryScript},
	} {
		if rest, ok := strings.CutPrefix(text, k.mark); ok {
			e.Kind, e.Text = k.kind, rest
			break
		}
	}
	return e
}

package install

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// A journal is a file of JSON lines. First comes the header, then each directory in which hidden names may appear; this much
// is on the disk before the first of them does. When all is staged the steps follow, with inode numbers, then a commit line
// that seals what is above it; this much is on the disk before the first step. Progress is not recorded: what has happened to
// a name can be told from the inodes. A done or undo line ends it. A finished journal is kept as the group's manifest.
const journalVersion = 2

// Version 1 says less: nothing of directories, of lists, of the cleanup file, or of what is to be kept aside.
const oldestJournal = 1

// journalHeader is the first line.
type journalHeader struct {
	What       string    `json:"slipway"`
	Version    int       `json:"v"`
	TX         string    `json:"tx"`
	Group      string    `json:"group"`
	Deployment string    `json:"deployment"`
	At         time.Time `json:"at"`
	// Aside is the deployment that had installed what is to be kept aside, if anything is.
	Aside string `json:"aside,omitempty"`
	// Removes: the previous revision is removed, and the new one not yet installed.
	Removes bool `json:"removes,omitempty"`
}

const journalWhat = "install"

// record is any other line. Names that are no UTF-8 are kept in the fields that end in 64.
type record struct {
	Op     string  `json:"op"`
	Dir    int32   `json:"d,omitempty"`
	Path   string  `json:"path,omitempty"`
	Path64 []byte  `json:"path64,omitempty"`
	Name   string  `json:"name,omitempty"`
	Name64 []byte  `json:"name64,omitempty"`
	N      uint32  `json:"n,omitempty"`
	Ino    uint64  `json:"ino,omitempty"`
	Was    int64   `json:"was,omitempty"`
	FS     string  `json:"fs,omitempty"`
	Over   bool    `json:"over,omitempty"`
	Keep   bool    `json:"keep,omitempty"`
	Size   int64   `json:"size,omitempty"`
	MTime  int64   `json:"mtime,omitempty"`
	Old    *status `json:"old,omitempty"`
	New    *status `json:"new,omitempty"`
	Lines  int     `json:"lines,omitempty"`
	CRC    uint32  `json:"crc,omitempty"`
}

func (r *record) name() string { return string(r.Name64) + r.Name }
func (r *record) path() string { return string(r.Path64) + r.Path }

// The ops of records that are no steps.
const (
	opDir     = "dir"     // a directory in which hidden names may appear
	opList    = "list"    // size and time of the cleanup file that belongs to the paths
	opHave    = "have"    // a path of the new revision
	opRmdir   = "rmdir"   // a directory that goes in the end, if it is empty
	opUnlabel = "unlabel" // a path whose SELinux rule goes in the end
	opCommit  = "commit"
	opUndo    = "undo"
	opDone    = "done"
)

// journal writes a transaction's journal.
type journal struct {
	name  string
	f     *os.File
	w     *bufio.Writer
	lines int
	crc   uint32
	buf   []byte
}

// unborn ends the name of a journal that is not yet locked: under its own name it always is, as long as its owner lives.
const unborn = ".new"

// createJournal begins a journal.
func createJournal(name string, h journalHeader) (*journal, error) {
	f, err := bearJournal(name)
	if err != nil {
		return nil, fmt.Errorf("begin the installation's journal: %w", err)
	}
	j := &journal{name: name, f: f, w: bufio.NewWriterSize(f, 64<<10)}
	h.What, h.Version = journalWhat, journalVersion
	line, err := json.Marshal(h)
	if err == nil {
		err = j.line(line)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("begin the installation's journal: %w", err)
	}
	return j, nil
}

func bearJournal(name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name+unborn, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		switch err := flock(f, unix.LOCK_EX); {
		case err == nil && isStill(f, name+unborn):
			if err = os.Rename(name+unborn, name); err == nil {
				return f, nil
			}
			f.Close()
			return nil, errors.Join(err, os.Remove(name+unborn))
		case err != nil && !is(err, unix.EWOULDBLOCK):
			f.Close()
			return nil, errors.Join(err, os.Remove(name+unborn))
		}
		f.Close() // a recovery has taken it for one that a crash has left, and removes it
		_ = os.Remove(name + unborn)
	}
}

// appendJournal goes on with a journal after a crash. Only undo and done may follow.
func appendJournal(name string) (*journal, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("go on with the installation's journal: %w", err)
	}
	return &journal{name: name, f: f, w: bufio.NewWriter(f)}, nil
}

// line writes one line. It is not on the disk before sync.
func (j *journal) line(b []byte) error {
	b = append(b, '\n')
	j.lines++
	j.crc = crc32.Update(j.crc, crc32.IEEETable, b)
	_, err := j.w.Write(b)
	return err
}

func (j *journal) record(r *record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return j.line(b)
}

// named writes a record of the usual shape without reflection: a large installation has one for each of its paths.
func (j *journal) named(op string, s *step) error {
	b := append(j.buf[:0], `{"op":"`...)
	b = append(b, op...)
	b = append(b, `","d":`...)
	b = strconv.AppendInt(b, int64(s.dir), 10)
	b = appendName(append(b, ','), "name", s.name)
	b = strconv.AppendUint(append(b, `,"n":`...), uint64(s.n), 10)
	b = strconv.AppendUint(append(b, `,"ino":`...), s.ino, 10)
	if s.was != 0 {
		b = strconv.AppendInt(append(b, `,"was":`...), s.was, 10)
	}
	if s.over {
		b = append(b, `,"over":true`...)
	}
	if s.keep {
		b = append(b, `,"keep":true`...)
	}
	b = append(b, '}')
	err := j.line(b)
	j.buf = b
	return err
}

// appendName appends "key":"text", or "key64" if the text is no UTF-8, which JSON cannot hold.
func appendName(b []byte, key, text string) []byte {
	b = append(append(b, '"'), key...)
	if utf8.ValidString(text) {
		return appendText(append(b, `":`...), text)
	}
	b = append(b, `64":"`...)
	return append(base64.StdEncoding.AppendEncode(b, []byte(text)), '"')
}

// seal writes a line that changes what the journal means, and puts all of it on the disk.
func (j *journal) seal(op string) error {
	r := record{Op: op}
	if op == opCommit {
		r.Lines, r.CRC = j.lines, j.crc
	}
	if err := j.record(&r); err != nil {
		return fmt.Errorf("write %q to the installation's journal: %w", op, err)
	}
	return j.sync()
}

func (j *journal) sync() error {
	if err := j.w.Flush(); err != nil {
		return fmt.Errorf("write the installation's journal: %w", err)
	}
	if err := j.f.Sync(); err != nil {
		return fmt.Errorf("write the installation's journal to the disk: %w", err)
	}
	return nil
}

func (j *journal) close() { j.f.Close() }

// journalState is how far a transaction has come.
type journalState uint8

const (
	stateStaging journalState = iota // nothing of the old tree is touched
	stateCommitted
	stateUndoing
	stateDone
)

// readJournal reads a journal up to the first line that was not written whole, or not as we write it.
func readJournal(r io.Reader) (journalHeader, *transaction, journalState, error) {
	var h journalHeader
	in := bufio.NewReaderSize(r, 64<<10)
	line, err := in.ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return h, nil, 0, fmt.Errorf("read the installation's journal: %w", err)
	}
	if err != nil || json.Unmarshal(line, &h) != nil || h.What != journalWhat || h.TX == "" {
		return h, nil, 0, errTorn
	}
	if h.Version < oldestJournal || h.Version > journalVersion {
		return h, nil, 0, fmt.Errorf("the journal is of version %d, and this program knows those up to %d: finish with the program that began it", h.Version, journalVersion)
	}
	t := newTransaction(h.TX)
	state, lines, crc := stateStaging, 1, crc32.ChecksumIEEE(line)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return h, t, state, nil
		}
		if err != nil {
			return h, nil, 0, fmt.Errorf("read the installation's journal: %w", err)
		}
		var rec record
		have := bytes.HasPrefix(line, havePrefix)
		whole := have || json.Unmarshal(line, &rec) == nil
		switch {
		case !whole:
			return h, t, state, nil
		case have:
		case rec.Op == opCommit:
			if rec.Lines != lines || rec.CRC != crc { // its sync had not returned, so nothing was done
				return h, t, state, nil
			}
			state = stateCommitted
		case rec.Op == opUndo && (state == stateCommitted || state == stateDone): // a done line whose sync failed does not count
			state = stateUndoing
		case rec.Op == opDone && state == stateCommitted:
			state = stateDone
		default:
			if state != stateStaging || !t.take(&rec) {
				return h, t, state, nil
			}
		}
		lines++
		crc = crc32.Update(crc, crc32.IEEETable, line)
	}
}

// errTorn means that a crash came before the journal's first line was written, and so before anything else was.
var errTorn = errors.New("the journal has no header")

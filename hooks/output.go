package hooks

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	maxLine    = 64 << 10 // a longer line is split (V-80)
	maxOver    = 8 << 10  // and so much of it is read ahead, so that no secret is split
	maxScratch = 256 << 10
	// maxAfter is how much a process that outlived its script may still write into the log.
	maxAfter = 1 << 20
)

// The marks of a script's lines (H-24).
var marks = map[string][]byte{"stdout": []byte("[stdout]"), "stderr": []byte("[stderr]")}

// begun is what has come of a line: text is the reader's own, which leaves it alone until it says otherwise.
type begun struct {
	text   []byte
	secret bool // it may be a part of one
}

// output takes what a script writes, line by line, into logs and memory. It keeps reading for as long as anybody has a
// pipe open, whatever becomes of the logs, so that a writer never waits for more than the disk and never meets a closed pipe.
type output struct {
	red  *redactor
	raw  map[string]*strand // by stream
	done chan struct{}      // closed at the end of both streams

	streams sync.WaitGroup
	pipes   map[string]uint64 // stream → inode of its pipe

	mu          sync.Mutex // guards all below: the two streams write in turn
	scripts     *logFile
	deployments *logFile
	id          string
	mem         *memory
	begun       map[string]begun // by stream: the line that has no end yet
	scratch     []byte
	after       int // bytes that may still be logged once the run is over; -1 before
}

func newOutput(s Script, red *redactor) *output {
	o := &output{red: red, raw: map[string]*strand{"stdout": {red: red}, "stderr": {red: red}}, done: make(chan struct{}), pipes: map[string]uint64{}, begun: map[string]begun{}, id: s.DeploymentID, mem: newMemory(), after: -1}
	if s.ScriptsLog != "" {
		o.scripts = &logFile{path: s.ScriptsLog, size: logSize, first: 1}
	}
	if s.DeploymentsLog != "" {
		o.deployments = &logFile{path: s.DeploymentsLog, size: logSize, first: 0, begin: true}
	}
	return o
}

// entry logs a line that is not output (H-9, H-12).
func (o *output) entry(text string) {
	clean := o.red.clean([]byte(text))
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mem.entry(clean)
	o.log(nil, append(bytes.ReplaceAll(clean, newline, []byte{' '}), '\n'))
}

// open makes the pipe of a stream and starts reading it; what it returns is for the script and to be closed here once the
// script has it.
func (o *output) open(stream string) (fd int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(p[0], &st); err != nil {
		return -1, errors.Join(err, unix.Close(p[0]), unix.Close(p[1]))
	}
	if err := unix.SetNonblock(p[0], true); err != nil {
		return -1, errors.Join(err, unix.Close(p[0]), unix.Close(p[1]))
	}
	o.pipes[stream] = st.Ino
	r := os.NewFile(uintptr(p[0]), stream)
	o.streams.Go(func() {
		defer r.Close()
		o.read(stream, r)
	})
	return p[1], nil
}

// wait arranges for done; it is called once both streams are open.
func (o *output) wait() {
	go func() {
		o.streams.Wait()
		close(o.done)
	}()
}

// read takes whole lines out of what comes, and what is left at the end.
func (o *output) read(stream string, r io.Reader) {
	buf := make([]byte, maxLine+maxOver)
	n := 0
	for {
		got, err := r.Read(buf[n:])
		n += got
		end := bytes.LastIndexByte(buf[:n], '\n') + 1
		if end == 0 && n == len(buf) {
			end = o.raw[stream].cut(buf, maxLine)
		}
		if end > 0 {
			o.lines(stream, buf[:end])
			n = copy(buf, buf[end:n])
		}
		o.keep(stream, buf[:n])
		if err != nil {
			if n > 0 {
				o.lines(stream, buf[:n])
			}
			return
		}
	}
}

// keep notes what has come of a line: where a process that outlived its script has the pipe open, it is all that comes of the script's last words.
func (o *output) keep(stream string, text []byte) {
	if len(text) == 0 {
		return // lines has taken what was noted
	}
	s := o.raw[stream]
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begun[stream] = begun{text: text, secret: s.key || s.swallow || s.endless}
}

// splitAt is the end of the last whole character of a line that is too long.
func splitAt(buf []byte) int {
	for i := len(buf) - 1; i > len(buf)-utf8.UTFMax; i-- {
		if utf8.RuneStart(buf[i]) {
			if utf8.FullRune(buf[i:]) {
				break
			}
			return i
		}
	}
	return len(buf)
}

// lines logs a block of whole lines, the last of which may lack its end.
func (o *output) lines(stream string, block []byte) {
	clean := o.raw[stream].clean(block)
	mark := marks[stream]
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.begun, stream) // it is in the block
	if o.after >= 0 {
		o.late(mark, clean)
		return
	}
	o.mem.bytes += int64(len(block))
	for line := range bytes.Lines(clean) {
		o.mem.line(mark, bytes.TrimSuffix(line, newline), stream == "stderr")
	}
	o.log(mark, clean)
}

// late logs what comes when the run is over, up to a bound.
func (o *output) late(mark, block []byte) {
	if o.after == 0 {
		return
	}
	if len(block) < o.after {
		o.after -= len(block)
		o.log(mark, block)
		return
	}
	o.after = 0
	o.log(nil, []byte("Output of processes that outlived their script is discarded from here on\n"))
	o.scripts.close()
	o.deployments.close()
}

// log stamps each line and appends it to both logs. The caller holds mu.
func (o *output) log(mark, block []byte) {
	now := time.Now()
	if o.scripts != nil {
		stamp := now.AppendFormat(nil, "2006-01-02 15:04:05 ")
		o.stamped(o.scripts, append(stamp, mark...), block, func(line []byte) []byte { return line })
	}
	if o.deployments != nil {
		stamp := now.AppendFormat(nil, "[2006-01-02 15:04:05.000] [")
		stamp = append(append(stamp, o.id...), ']')
		o.stamped(o.deployments, append(stamp, mark...), block, func(line []byte) []byte {
			if mark == nil {
				return bytes.TrimSpace(line)
			}
			return bytes.TrimRight(line, " \t\r\v\f") // the mark is part of the text that is trimmed (H-26)
		})
	}
}

func (o *output) stamped(to *logFile, prefix, block []byte, trim func([]byte) []byte) {
	o.scratch = o.scratch[:0]
	for line := range bytes.Lines(block) {
		o.scratch = append(o.scratch, prefix...)
		o.scratch = append(o.scratch, trim(bytes.TrimSuffix(line, newline))...)
		o.scratch = append(o.scratch, '\n')
		if len(o.scratch) > maxScratch {
			to.write(o.scratch)
			o.scratch = o.scratch[:0]
		}
	}
	to.write(o.scratch)
}

// fill puts what was collected into a result. What comes from now on belongs to no run any more.
func (o *output) fill(r *Result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, stream := range []string{"stdout", "stderr"} {
		b := o.begun[stream]
		if len(b.text) == 0 {
			continue
		}
		clean := []byte(redacted)
		if !b.secret {
			clean = o.red.clean(b.text)
		}
		o.mem.bytes += int64(len(b.text))
		o.mem.line(marks[stream], bytes.TrimSuffix(clean, newline), stream == "stderr")
	}
	r.Tail = o.mem.tailText()
	r.Excerpt = o.mem.excerpt(o.red)
	for _, l := range []*logFile{o.scripts, o.deployments} {
		if l != nil && l.err != nil {
			r.Notes = append(r.Notes, l.err.Error())
		}
	}
	o.after, o.mem = maxAfter, nil
}

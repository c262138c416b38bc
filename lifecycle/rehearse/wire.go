package rehearse

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"slipway/lifecycle"
)

// message is a line between the person's process and the stage, in both directions.
type message struct {
	ID    uint64          `json:"id"`
	Op    string          `json:"op,omitempty"` // of a question; empty: the answer to the one with this ID
	Body  json.RawMessage `json:"body,omitempty"`
	Error string          `json:"error,omitempty"`
	No    *Refusal        `json:"no,omitempty"`
}

// The questions. All but opRedact are the person's to the stage.
const (
	opOpen     = "open"
	opStart    = "start"
	opWait     = "wait"
	opMark     = "mark"
	opBase     = "base"
	opChanges  = "changes"
	opCompare  = "compare"
	opPeople   = "people"
	opCron     = "cron"
	opPackages = "packages"
	opRedact   = "redact"
)

type startBody struct {
	Argv, Env []string
}

type markBody struct {
	Event  lifecycle.Event
	ByHook bool
}

type changesBody struct {
	Max     int
	DiffMax int64
	Redact  bool
}

type changesAnswer struct {
	Files   []lifecycle.FileChange
	Omitted int
}

// maxLine bounds a message. The differences of a rehearsal are the largest.
const maxLine = 64 << 20

var errStageGone = errors.New("the process that holds the sandbox has ended")

// line asks and answers over one connection.
type line struct {
	answer func(op string, body json.RawMessage) (any, error)

	answers sync.WaitGroup

	mu      sync.Mutex // guards what follows
	out     io.Writer
	next    uint64
	pending map[uint64]chan message
	over    bool
}

func newLine(out io.Writer, answer func(string, json.RawMessage) (any, error)) *line {
	return &line{answer: answer, out: out, pending: map[uint64]chan message{}}
}

// serve reads until the other side is gone; questions are answered side by side.
func (l *line) serve(in io.Reader) {
	defer l.answers.Wait()
	l.read(in)
}

// read is serve without waiting for the answers that are under way.
func (l *line) read(in io.Reader) {
	defer l.close()
	scan := bufio.NewScanner(in)
	scan.Buffer(make([]byte, 0, 64<<10), maxLine)
	for scan.Scan() {
		var m message
		if json.Unmarshal(scan.Bytes(), &m) != nil {
			return
		}
		if m.Op == "" {
			l.mu.Lock()
			waiting := l.pending[m.ID]
			delete(l.pending, m.ID)
			l.mu.Unlock()
			if waiting != nil {
				waiting <- m
			}
			continue
		}
		l.answers.Go(func() { l.reply(m) })
	}
}

func (l *line) reply(m message) {
	body, err := l.answer(m.Op, m.Body)
	reply := message{ID: m.ID}
	if err == nil {
		reply.Body, err = json.Marshal(body)
	}
	if err != nil {
		reply.Error = err.Error()
		errors.As(err, &reply.No)
	}
	_ = l.write(&reply) // who is gone needs no answer
}

func (l *line) write(m *message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err = l.out.Write(append(data, '\n'))
	return err
}

// close fails all questions that are not answered.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	for id, waiting := range l.pending {
		delete(l.pending, id)
		close(waiting)
	}
}

// ask puts a question and reads the answer into reply, unless that is nil.
func (l *line) ask(ctx context.Context, op string, body, reply any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	waiting := make(chan message, 1)
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return errStageGone
	}
	l.next++
	id := l.next
	l.pending[id] = waiting
	l.mu.Unlock()
	if err := l.write(&message{ID: id, Op: op, Body: data}); err != nil {
		return fmt.Errorf("%w: %w", errStageGone, err)
	}
	select {
	case <-ctx.Done():
		l.mu.Lock()
		delete(l.pending, id)
		l.mu.Unlock()
		return context.Cause(ctx)
	case m, ok := <-waiting:
		switch {
		case !ok:
			return errStageGone
		case m.No != nil:
			return m.No
		case m.Error != "":
			return errors.New(m.Error)
		case reply == nil:
			return nil
		}
		return json.Unmarshal(m.Body, reply)
	}
}

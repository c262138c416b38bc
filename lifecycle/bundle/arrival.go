package bundle

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"sync"
)

// errAnew ends what follows an arrival when bytes that it may have read are void: the download began anew.
var errAnew = errors.New("the download began anew")

// arrival is the file of a bundle while it arrives. A download writes its parts in any order, and followers read what is there without
// a gap, as it comes: they see no byte that is not the final one of its attempt, and learn when an attempt is void.
type arrival struct {
	file *os.File

	mu      sync.Mutex // guards what follows
	changed sync.Cond  // of mu: any of it is another
	ready   int64      // bytes from the start on that are there without a gap
	beyond  []span     // what is there behind a gap: no more than there are parts on the way
	attempt int        // how often bytes that a follower may have read became void
	whole   bool       // all is there
	err     error      // why no more will come
}

// span is bytes from one offset to before another.
type span struct{ from, to int64 }

func newArrival(file *os.File) *arrival {
	a := &arrival{file: file}
	a.changed.L = &a.mu
	return a
}

// WriteAt writes a piece where it belongs. Pieces on the way at the same time do not overlap; one that comes again does, when its part
// broke off.
func (a *arrival) WriteAt(b []byte, at int64) (int, error) {
	piece := span{at, at + int64(len(b))}
	a.mu.Lock()
	if a.has(piece) {
		defer a.mu.Unlock()
		return a.rewrite(b, piece)
	}
	a.mu.Unlock()
	n, err := a.file.WriteAt(b, at)
	a.add(span{at, at + int64(n)})
	return n, err
}

// has says whether some of a piece is there. The caller holds the lock.
func (a *arrival) has(piece span) bool {
	overlaps := func(s span) bool { return s.from < piece.to && piece.from < s.to }
	return piece.from < a.ready || slices.ContainsFunc(a.beyond, overlaps)
}

// rewrite writes a piece of which something is there. Mostly it brings the same bytes; where it does not, and a follower may have seen
// the old ones, followers begin anew. The caller holds the lock, so that none sees the old bytes meanwhile.
func (a *arrival) rewrite(b []byte, piece span) (int, error) {
	if seen := min(a.ready-piece.from, int64(len(b))); seen > 0 {
		old := make([]byte, seen)
		if err := readAt(a.file, old, piece.from); err != nil {
			return 0, err
		}
		if !bytes.Equal(old, b[:seen]) {
			a.attempt++
			a.changed.Broadcast()
		}
	}
	n, err := a.file.WriteAt(b, piece.from)
	a.note(span{piece.from, piece.from + int64(n)})
	return n, err
}

// add notes what was written to the file.
func (a *arrival) add(piece span) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.note(piece)
}

func (a *arrival) note(piece span) {
	before := a.ready
	if piece.from > a.ready {
		a.beyond = merge(append(a.beyond, piece))
	} else {
		a.ready = max(a.ready, piece.to)
	}
	for len(a.beyond) > 0 && a.beyond[0].from <= a.ready {
		a.ready = max(a.ready, a.beyond[0].to)
		a.beyond = slices.Delete(a.beyond, 0, 1)
	}
	if a.ready > before {
		a.changed.Broadcast()
	}
}

// merge puts spans in order and joins those that touch.
func merge(spans []span) []span {
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	out := spans[:1]
	for _, s := range spans[1:] {
		if last := &out[len(out)-1]; s.from <= last.to {
			last.to = max(last.to, s.to)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// anew throws away what has arrived, for another attempt.
func (a *arrival) anew() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ready > 0 { // else nobody has seen a byte
		a.attempt++
	}
	a.ready, a.beyond = 0, nil
	a.changed.Broadcast()
	return empty(a.file)
}

// bytes is how many bytes are there without a gap.
func (a *arrival) bytes() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ready
}

// end says that all has arrived, or why no more will come. Nothing is written after it; what is told first stays.
func (a *arrival) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.whole && a.err == nil {
		a.whole, a.err = err == nil, err
	}
	a.changed.Broadcast()
}

func (a *arrival) wake() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changed.Broadcast()
}

// wait waits until that many bytes of an attempt are there, or all that there will be, and says how many there are.
func (a *arrival) wait(ctx context.Context, attempt int, n int64) (int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	over := func() bool {
		return a.attempt != attempt || a.ready >= n || a.whole || a.err != nil || ctx.Err() != nil
	}
	if !over() {
		defer context.AfterFunc(ctx, a.wake)()
		for !over() {
			a.changed.Wait()
		}
	}
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case a.attempt != attempt:
		return 0, errAnew
	}
	return a.ready, a.err
}

// follow reads the bundle from its start, behind the download.
func (a *arrival) follow(ctx context.Context) *follower {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &follower{ctx: ctx, arrival: a, attempt: a.attempt}
}

// follower reads one attempt. It waits for what is not there yet, and fails with the download or with errAnew. Its errors are
// sourceErrors.
type follower struct {
	ctx     context.Context // of the one reading that the follower lives for
	arrival *arrival
	attempt int
	off     int64
}

func (f *follower) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	ready, err := f.arrival.wait(f.ctx, f.attempt, f.off+1)
	if err != nil {
		return 0, &sourceError{err}
	}
	if ready <= f.off {
		return 0, io.EOF
	}
	n, err := f.arrival.file.ReadAt(p[:min(int64(len(p)), ready-f.off)], f.off)
	// What was read counts only if the attempt still did afterwards: the file may have been emptied meanwhile.
	if _, anew := f.arrival.wait(f.ctx, f.attempt, 0); anew != nil {
		return 0, &sourceError{anew}
	}
	f.off += int64(n)
	if n > 0 {
		return n, nil
	}
	return 0, &sourceError{fmt.Errorf("read the bundle: %w", cmp.Or(err, io.ErrNoProgress))}
}

// size is how many bytes the bundle has, as far as is known: not fewer than the least, unless it has no more.
func (f *follower) size(least int64) (int64, error) { return f.arrival.wait(f.ctx, f.attempt, least) }

// end waits until all has arrived.
func (f *follower) end() error {
	_, err := f.arrival.wait(f.ctx, f.attempt, forever)
	return err
}

// forever is more than any bundle has.
const forever = 1<<63 - 1

// digest is the checksum of the bundle, computed behind the download.
func (a *arrival) digest(ctx context.Context, h hash.Hash) ([]byte, error) {
	buf := make([]byte, 128<<10)
	for {
		h.Reset()
		_, err := io.CopyBuffer(h, a.follow(ctx), buf)
		if !errors.Is(err, errAnew) {
			return h.Sum(nil), err
		}
	}
}

package bundle

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"sync"
)

// gunzip reads a gzip stream of any number of members. Zeros behind the last one are let pass, as gzip does: tapes and some uploads
// pad with them. Anything else there is an error.
type gunzip struct {
	raw *bufio.Reader
	z   *gzip.Reader
}

func newGunzip(raw *bufio.Reader) (io.Reader, error) {
	z, err := gzip.NewReader(raw)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &gunzip{raw, z}, nil
}

func (g *gunzip) Read(p []byte) (int, error) {
	for {
		n, err := g.z.Read(p)
		ended := errors.Is(err, io.EOF) // this member; what follows is seen to when all of it has been given out
		if n > 0 && ended {
			return n, nil
		}
		if !ended {
			return n, err
		}
		more, err := g.more()
		if err != nil {
			return 0, err
		}
		if !more {
			return 0, io.EOF
		}
		if err := g.z.Reset(g.raw); err != nil {
			return 0, err
		}
		g.z.Multistream(false)
	}
}

// more says whether another member follows.
func (g *gunzip) more() (bool, error) {
	for {
		b, err := g.raw.ReadByte()
		switch {
		case err == io.EOF:
			return false, nil
		case err != nil:
			return false, err
		case b == 0:
		case b == 0x1f:
			return true, g.raw.UnreadByte()
		default:
			return false, errors.New("there is something else behind the gzip stream")
		}
	}
}

const (
	aheadPiece  = 128 << 10
	aheadPieces = 8
)

// readAhead reads a stream in a goroutine of its own, so that decompressing goes on while what came out is used.
type readAhead struct {
	pieces chan []byte // filled
	free   chan []byte
	err    error // why pieces was closed
	now    []byte
	piece  []byte
	done   sync.WaitGroup
}

func newReadAhead(ctx context.Context, open func() (io.Reader, error)) *readAhead {
	a := &readAhead{pieces: make(chan []byte, aheadPieces), free: make(chan []byte, aheadPieces)}
	for range aheadPieces {
		a.free <- make([]byte, aheadPiece)
	}
	a.done.Go(func() {
		defer close(a.pieces)
		r, err := open()
		for err == nil {
			var b []byte
			select {
			case b = <-a.free:
			case <-ctx.Done():
				a.err = &sourceError{ctx.Err()}
				return
			}
			n := 0
			for n < aheadPiece && err == nil {
				var got int
				got, err = r.Read(b[n:aheadPiece])
				n += got
			}
			a.pieces <- b[:n] // there are no more pieces than it has room for
		}
		a.err = err
	})
	return a
}

func (a *readAhead) Read(p []byte) (int, error) {
	for len(a.now) == 0 {
		if a.piece != nil {
			a.free <- a.piece
			a.piece = nil
		}
		b, ok := <-a.pieces
		if !ok {
			return 0, a.err
		}
		a.piece, a.now = b, b
	}
	n := copy(p, a.now)
	a.now = a.now[n:]
	return n, nil
}

// wait ends the goroutine.
func (a *readAhead) wait(cancel context.CancelFunc) {
	cancel()
	a.done.Wait()
}

package alb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Frames of HTTP/2 that one request meets, and their flags (RFC 9113, 6).
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameGoAway       = 0x7
	frameContinuation = 0x9

	flagAck        = 0x1 // of settings and pings
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	settingEnablePush = 0x2

	frameHead  = 9         // bytes
	frameLimit = 1 << 14   // what a peer may send unless it is asked for more (4.2)
	streamMask = 1<<31 - 1 // the highest bit is reserved
	priority   = 5         // bytes of a header's priority
)

type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

func appendFrame(to []byte, f frame) []byte {
	to = append(to, byte(len(f.payload)>>16), byte(len(f.payload)>>8), byte(len(f.payload)), f.kind, f.flags)
	return append(binary.BigEndian.AppendUint32(to, f.stream), f.payload...)
}

// readFrame reads one frame. What is not HTTP/2 is an error, most often for the length that it seems to have.
func readFrame(in io.Reader) (f frame, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return f, err
	}
	n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	if n > frameLimit {
		return f, fmt.Errorf("no frame of HTTP/2: %q", head[:])
	}
	f = frame{kind: head[3], flags: head[4], stream: binary.BigEndian.Uint32(head[5:]) & streamMask, payload: make([]byte, n)}
	if _, err := io.ReadFull(in, f.payload); err != nil {
		return f, io.ErrUnexpectedEOF
	}
	return f, nil
}

var errPadding = errors.New("a frame of HTTP/2 has more padding than content")

// content is the payload without padding, and without the priority that a header may have.
func (f *frame) content(header bool) ([]byte, error) {
	p := f.payload
	pad := 0
	if f.flags&flagPadded != 0 {
		if len(p) == 0 {
			return nil, errPadding
		}
		pad, p = int(p[0]), p[1:]
	}
	if header && f.flags&flagPriority != 0 {
		if len(p) < priority {
			return nil, errPadding
		}
		p = p[priority:]
	}
	if pad > len(p) {
		return nil, errPadding
	}
	return p[:len(p)-pad], nil
}

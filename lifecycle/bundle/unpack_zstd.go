package bundle

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// The methods of entries that are compressed with zstd: the one that it has, and the one that it had first.
const (
	zipZstd    = 93
	zipZstdOld = 20
)

// zstdWindow is the largest window that is unpacked, which is memory: what every program that knows zstd has to understand (RFC 8878),
// and all that the levels up to 19 use.
const zstdWindow = 8 << 20

// zstdStreams is how many large entries are unpacked at once, each with a window of its own.
const zstdStreams = 2

func (e zipEntry) isZstd() bool { return e.method == zipZstd || e.method == zipZstdOld }

// newZstd makes a decoder that starts no goroutine and takes little more memory than one window. Small contents need no window: they are
// unpacked at once, into no more room than they are given.
func newZstd(e zipEntry) (*zstd.Decoder, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow),
		zstd.WithDecoderMaxMemory(zstdWindow), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", e.name, err)
	}
	return d, nil
}

// newStreams are the decoders for large entries, which the workers share; nil for one that is still to be made.
func newStreams() chan *zstd.Decoder {
	streams := make(chan *zstd.Decoder, zstdStreams)
	for range zstdStreams {
		streams <- nil
	}
	return streams
}

// zstdAll unpacks a small entry into room for one byte more than it announces.
func (w *inflater) zstdAll(e zipEntry, packed, room []byte) ([]byte, error) {
	if w.zstd == nil {
		d, err := newZstd(e)
		if err != nil {
			return nil, err
		}
		w.zstd = d
	}
	out, err := w.zstd.DecodeAll(packed, room[:0:len(room)])
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return nil, e.lies(e.size + 1)
	}
	if err != nil {
		return nil, e.undecodable(err)
	}
	return out, nil
}

// zstdStream unpacks a large entry.
func (w *inflater) zstdStream(e zipEntry, from io.Reader, to io.Writer) error {
	d := <-w.streams
	defer func() { w.streams <- d }()
	if d == nil {
		var err error
		if d, err = newZstd(e); err != nil {
			return err
		}
	}
	if err := d.Reset(from); err != nil {
		return e.undecodable(err)
	}
	return w.copyStream(e, zstdReader{d}, to)
}

// zstdReader says of a window that is too large that it is one. The decoder calls it the content's size where the two are the same.
type zstdReader struct{ *zstd.Decoder }

func (r zstdReader) Read(p []byte) (int, error) {
	n, err := r.Decoder.Read(p)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		err = fmt.Errorf("it needs a window of more than %s: compress it with a level of up to 19 and without --long: %w", amount(zstdWindow), err)
	}
	return n, err
}

package lab

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// chunkReader reads the aws-chunked encoding: size in hex, optional extensions, CRLF, data, CRLF; a chunk of size 0
// ends it, then come trailers.
type chunkReader struct {
	body  io.Closer
	in    *bufio.Reader
	left  int64
	first bool
	err   error
	into  http.Header
}

func newChunkReader(body io.ReadCloser, trailers http.Header) io.ReadCloser {
	return &chunkReader{body: body, in: bufio.NewReader(body), first: true, into: trailers}
}

func (c *chunkReader) Close() error { return c.body.Close() }

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.err == nil && c.left == 0 {
		c.err = c.next()
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.in.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next reads the head of a chunk; io.EOF after the last.
func (c *chunkReader) next() error {
	if !c.first {
		if line, err := c.line(); err != nil || line != "" {
			return errChunk
		}
	}
	c.first = false
	head, err := c.line()
	if err != nil {
		return errChunk
	}
	size, _, _ := strings.Cut(head, ";")
	if c.left, err = strconv.ParseInt(size, 16, 64); err != nil || c.left < 0 {
		return errChunk
	}
	if c.left > 0 {
		return nil
	}
	for {
		line, err := c.line()
		if line == "" || err != nil {
			return io.EOF
		}
		if name, value, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(strings.ToLower(name), "x-amz-checksum-") {
			c.into.Set(name, strings.TrimSpace(value))
		}
	}
}

func (c *chunkReader) line() (string, error) {
	line, err := c.in.ReadSlice('\n')
	return strings.TrimRight(string(line), "\r\n"), err
}

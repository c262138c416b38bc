package alb

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// overHTTP2 asks one question in HTTP/2 (RFC 9113) on a connection of its own, by prior knowledge where there is no TLS, as the balancer does for a
// target group of that version. One request and no body: of the protocol that is a preface and a few frames. net/http's own client of HTTP/2 is not
// built into the program: nothing else in it speaks HTTP/2, and it is half a megabyte.
type overHTTP2 struct{ tls *tls.Config } // nil: without TLS

// headerLimit bounds the header of an answer, in bytes.
const headerLimit = 64 << 10

// RoundTrip sends a request without a body and reads the answer until its end, as far as bodyLimit.
func (o *overHTTP2) RoundTrip(req *http.Request) (*http.Response, error) {
	conn, err := o.dial(req.Context(), req.URL.Host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(req.Context(), func() { conn.Close() })
	defer stop()
	e := newExchange(conn, conn)
	e.resp.Request = req
	if err := e.ask(req); err != nil {
		return nil, err
	}
	cut, err := e.answer()
	if err != nil {
		return nil, err
	}
	e.resp.Body = io.NopCloser(io.MultiReader(&e.body, &ended{cut}))
	return e.resp, nil
}

func (o *overHTTP2) dial(ctx context.Context, address string) (net.Conn, error) {
	if o.tls == nil {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	config := o.tls.Clone()
	config.NextProtos = []string{alpn}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if got := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != alpn {
		conn.Close()
		return nil, fmt.Errorf("the target does not offer HTTP/2 in the TLS handshake (it chose %q)", got)
	}
	return conn, nil
}

// ended is the end of a body: nil for one that is whole.
type ended struct{ err error }

func (e *ended) Read([]byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	return 0, io.EOF
}

// alpn is the name of HTTP/2 in the TLS handshake.
const alpn = "h2"

// exchange is a connection with one request.
type exchange struct {
	out   io.Writer
	in    *bufio.Reader
	table *hpack.Decoder
	resp  *http.Response
	block []byte // of a header, as far as its frames have come
	ends  bool   // the answer ends with that header
	body  bytes.Buffer
}

const firstStream = 1

func newExchange(out io.Writer, in io.Reader) *exchange {
	return &exchange{
		out: out, in: bufio.NewReader(in), table: hpack.NewDecoder(4096, nil),
		resp: &http.Response{Proto: "HTTP/2.0", ProtoMajor: 2, Header: http.Header{}},
	}
}

func (e *exchange) ask(req *http.Request) error {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	fields := []hpack.HeaderField{
		{Name: ":method", Value: req.Method}, {Name: ":scheme", Value: req.URL.Scheme}, {Name: ":authority", Value: req.Host}, {Name: ":path", Value: req.URL.RequestURI()},
	}
	for name, values := range req.Header {
		if name == "Connection" { // has no meaning here (8.2.2)
			continue
		}
		for _, v := range values {
			fields = append(fields, hpack.HeaderField{Name: strings.ToLower(name), Value: v})
		}
	}
	for _, f := range fields {
		if err := enc.WriteField(f); err != nil {
			return err
		}
	}
	out := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	out = appendFrame(out, frame{kind: frameSettings, payload: []byte{0, settingEnablePush, 0, 0, 0, 0}})
	out = appendFrame(out, frame{kind: frameHeaders, flags: flagEndStream | flagEndHeaders, stream: firstStream, payload: block.Bytes()})
	_, err := e.out.Write(out)
	return err
}

// answer reads frames until the answer has ended. cut says why a body is not whole; err is for an answer without a header.
func (e *exchange) answer() (cut, err error) {
	for {
		f, err := readFrame(e.in)
		if err == nil {
			var done bool
			done, err = e.take(f)
			switch {
			case done && err == nil && e.resp.StatusCode == 0:
				return nil, errNoHeader
			case done && err == nil:
				return nil, nil
			}
		}
		switch {
		case err == nil:
		case e.resp.StatusCode == 0:
			return nil, err
		default:
			return err, nil
		}
	}
}

var errNoHeader = errors.New("the answer ends without a header")

var errCutShort = errors.New("the rest of the body is not looked at")

// take takes in a frame and reports whether it was the last of the answer.
func (e *exchange) take(f frame) (done bool, err error) {
	switch f.kind {
	case frameSettings, framePing:
		if f.flags&flagAck == 0 {
			f.flags = flagAck
			if f.kind == frameSettings {
				f.payload = nil
			}
			_, err = e.out.Write(appendFrame(nil, f))
		}
		return false, err
	case frameGoAway:
		if len(f.payload) >= 8 && binary.BigEndian.Uint32(f.payload)&streamMask < firstStream {
			return false, fmt.Errorf("the target ends the connection, HTTP/2 error %d", binary.BigEndian.Uint32(f.payload[4:]))
		}
		return false, nil
	}
	if f.stream != firstStream {
		return false, nil
	}
	switch f.kind {
	case frameReset:
		if len(f.payload) == 4 {
			err = fmt.Errorf("the target gives the request up, HTTP/2 error %d", binary.BigEndian.Uint32(f.payload))
		}
		return false, err
	case frameData:
		data, err := f.content(false)
		e.body.Write(data)
		if err == nil && e.body.Len() >= bodyLimit { // as much as it may send without being asked for more (6.9.2)
			err = errCutShort
		}
		return f.flags&flagEndStream != 0, err
	case frameHeaders:
		e.block, err = f.content(true)
		e.ends = f.flags&flagEndStream != 0
	case frameContinuation:
		e.block = append(e.block, f.payload...)
	default:
		return false, nil
	}
	if len(e.block) > headerLimit {
		return false, fmt.Errorf("the header is larger than %d bytes", headerLimit)
	}
	if err != nil || f.flags&flagEndHeaders == 0 {
		return false, err
	}
	return e.ends, e.header()
}

// header takes in a header: that of the answer, after some that are not final, or its trailer.
func (e *exchange) header() error {
	if e.resp.StatusCode != 0 {
		return nil
	}
	fields, err := e.table.DecodeFull(e.block)
	if err != nil {
		return fmt.Errorf("read the header of the answer: %w", err)
	}
	for _, h := range fields {
		if h.Name != ":status" {
			e.resp.Header.Add(h.Name, h.Value)
			continue
		}
		if e.resp.StatusCode, err = strconv.Atoi(h.Value); err != nil {
			return fmt.Errorf("the status of the answer is %q", h.Value)
		}
	}
	switch status := e.resp.StatusCode; {
	case status == 0:
		return errors.New("the answer has no status")
	case status < http.StatusOK:
		e.resp.StatusCode, e.resp.Header = 0, http.Header{}
	}
	return nil
}

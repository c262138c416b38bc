package alb

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// overHTTP2 asks one question in HTTP/2 on a connection of its own, by prior knowledge where there is no TLS, as the balancer does for a target group
// of that version. The frames are golang.org/x/net's. net/http's own client of HTTP/2 is not built into the program: nothing else in it speaks HTTP/2,
// and it is half a megabyte.
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
	e := &exchange{conn: conn, framer: http2.NewFramer(conn, conn), resp: &http.Response{Proto: "HTTP/2.0", ProtoMajor: 2, Header: http.Header{}, Request: req}}
	e.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	e.framer.MaxHeaderListSize = headerLimit
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
	config.NextProtos = []string{http2.NextProtoTLS}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if got := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != http2.NextProtoTLS {
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

// exchange is a connection with one request.
type exchange struct {
	conn   net.Conn
	framer *http2.Framer
	resp   *http.Response
	body   bytes.Buffer
}

const firstStream = 1

func (e *exchange) ask(req *http.Request) error {
	if _, err := io.WriteString(e.conn, http2.ClientPreface); err != nil {
		return err
	}
	if err := e.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: bodyLimit}); err != nil {
		return err
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	fields := []hpack.HeaderField{
		{Name: ":method", Value: req.Method}, {Name: ":scheme", Value: req.URL.Scheme}, {Name: ":authority", Value: req.Host}, {Name: ":path", Value: req.URL.RequestURI()},
	}
	for name, values := range req.Header {
		if name == "Connection" { // has no meaning here (RFC 9113, 8.2.2)
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
	return e.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: firstStream, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
}

// answer reads frames until the answer has ended. cut says why a body is not whole; err is for an answer without a header.
func (e *exchange) answer() (cut, err error) {
	for {
		f, err := e.framer.ReadFrame()
		if err == nil {
			var done bool
			done, err = e.take(f)
			if done && err == nil {
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

var errCutShort = errors.New("the rest of the body is not looked at")

// take takes in a frame and reports whether it was the last of the answer.
func (e *exchange) take(f http2.Frame) (done bool, err error) {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return false, e.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return false, e.framer.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame:
		if f.LastStreamID < firstStream {
			return false, fmt.Errorf("the target ends the connection: %s", f.ErrCode)
		}
	case *http2.RSTStreamFrame:
		if f.StreamID == firstStream {
			return false, fmt.Errorf("the target gives the request up: %s", f.ErrCode)
		}
	case *http2.MetaHeadersFrame:
		return e.header(f)
	case *http2.DataFrame:
		e.body.Write(f.Data())
		if e.body.Len() >= bodyLimit {
			return false, errCutShort
		}
		return f.StreamEnded(), nil
	}
	return false, nil
}

// header takes in a header: that of the answer, after some that are not final, or its trailer.
func (e *exchange) header(f *http2.MetaHeadersFrame) (done bool, err error) {
	if e.resp.StatusCode != 0 {
		return f.StreamEnded(), nil
	}
	status, err := strconv.Atoi(f.PseudoValue("status"))
	if err != nil {
		return false, fmt.Errorf("the answer has no status: %w", err)
	}
	if status < http.StatusOK {
		return false, nil
	}
	e.resp.StatusCode = status
	for _, h := range f.RegularFields() {
		e.resp.Header.Add(h.Name, h.Value)
	}
	return f.StreamEnded(), nil
}

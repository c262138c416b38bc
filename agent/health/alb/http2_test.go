package alb

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// What a peer sends as HTTP/2 is read without a fault, whatever it is, and nothing is kept beyond the bounds.
func FuzzHTTP2(f *testing.F) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, h := range []hpack.HeaderField{{Name: ":status", Value: "200"}, {Name: "server", Value: "x"}} {
		if err := enc.WriteField(h); err != nil {
			f.Fatal(err)
		}
	}
	whole := appendFrame(nil, frame{kind: frameSettings})
	whole = appendFrame(whole, frame{kind: framePing, payload: make([]byte, 8)})
	whole = appendFrame(whole, frame{kind: frameHeaders, flags: flagEndHeaders, stream: firstStream, payload: block.Bytes()})
	whole = appendFrame(whole, frame{kind: frameData, flags: flagPadded | flagEndStream, stream: firstStream, payload: []byte("\x02ok\x00\x00")})
	f.Add(whole)
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Add(appendFrame(nil, frame{kind: frameHeaders, flags: flagPriority, stream: firstStream}))
	f.Add(appendFrame(nil, frame{kind: frameGoAway, payload: make([]byte, 8)}))
	f.Fuzz(func(t *testing.T, data []byte) {
		e := newExchange(io.Discard, bytes.NewReader(data))
		cut, err := e.answer()
		if err == nil && e.resp.StatusCode < 200 {
			t.Errorf("an answer without a status: %+v", e.resp)
		}
		if err != nil && cut != nil {
			t.Errorf("both %v and %v", cut, err)
		}
		if e.body.Len() > bodyLimit+frameLimit || len(e.block) > headerLimit+frameLimit {
			t.Errorf("%d bytes of body, %d of header are kept", e.body.Len(), len(e.block))
		}
	})
}

// The whole answer, frame by frame.
func TestHTTP2Frames(t *testing.T) {
	var block bytes.Buffer
	if err := hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "503"}); err != nil {
		t.Fatal(err)
	}
	head, rest := block.Bytes()[:1], block.Bytes()[1:]
	in := appendFrame(nil, frame{kind: frameSettings})
	in = appendFrame(in, frame{kind: frameData, stream: 3, payload: []byte("of nobody's stream")})
	in = appendFrame(in, frame{kind: frameHeaders, flags: flagPriority | flagPadded, stream: firstStream, payload: append(append([]byte{1, 0, 0, 0, 0, 9}, head...), 0)})
	in = appendFrame(in, frame{kind: frameContinuation, flags: flagEndHeaders, stream: firstStream, payload: rest})
	in = appendFrame(in, frame{kind: frameData, stream: firstStream, payload: []byte("not ")})
	in = appendFrame(in, frame{kind: frameData, flags: flagEndStream, stream: firstStream, payload: []byte("well")})
	var out bytes.Buffer
	e := newExchange(&out, bytes.NewReader(in))
	if cut, err := e.answer(); cut != nil || err != nil {
		t.Fatal(cut, err)
	}
	if e.resp.StatusCode != http.StatusServiceUnavailable || e.body.String() != "not well" {
		t.Errorf("%d %q", e.resp.StatusCode, e.body.String())
	}
	if want := appendFrame(nil, frame{kind: frameSettings, flags: flagAck}); !bytes.Equal(out.Bytes(), want) {
		t.Errorf("answered %x, want %x", out.Bytes(), want)
	}
	for name, in := range map[string][]byte{
		"HTTP/1.1": []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"reset":    appendFrame(nil, frame{kind: frameReset, stream: firstStream, payload: []byte{0, 0, 0, 7}}),
		"go away":  appendFrame(nil, frame{kind: frameGoAway, payload: []byte{0, 0, 0, 0, 0, 0, 0, 1}}),
		"padding":  appendFrame(nil, frame{kind: frameData, flags: flagPadded, stream: firstStream, payload: []byte{9, 1}}),
		"nothing":  nil,
	} {
		if _, err := newExchange(io.Discard, bytes.NewReader(in)).answer(); err == nil || name == "nothing" && !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

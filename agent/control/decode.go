package control

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// decodeBody reads the JSON object of an answer. None at all stands for an empty one (P-9).
func decodeBody(data []byte, out any) error {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return nil
	}
	if data[0] != '{' {
		return notObject(data)
	}
	if err := json.Unmarshal(data, out); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) && int(syntax.Offset) >= len(data) {
			return fmt.Errorf("%w: it ends after %d bytes", io.ErrUnexpectedEOF, len(data))
		}
		return err
	}
	return nil
}

func notObject(data []byte) error {
	return fmt.Errorf("not a JSON object: it begins with %q", excerpt(bytes.TrimSpace(data), 40))
}

// maxMessage bounds an error text that goes to the log.
const maxMessage = 1024

// decodeError reads an error answer as P-29 says.
func decodeError(op string, status int, h http.Header, data []byte) *APIError {
	var body struct {
		Type     json.RawMessage `json:"__type"`
		Code     json.RawMessage `json:"code"`
		Message  json.RawMessage `json:"message"`
		Message2 json.RawMessage `json:"Message"`
	}
	// What is not JSON has been written by something between the service and here; status and headers tell then.
	_ = json.Unmarshal(data, &body)
	code := cmp.Or(errorCode(plainText(body.Type)), errorCode(plainText(body.Code)), errorCode(h.Get("X-Amzn-Errortype")))
	if code == "" {
		code = unnamed(status)
	}
	message := cmp.Or(plainText(body.Message), plainText(body.Message2))
	return &APIError{
		Operation: op, Code: code, Message: excerpt([]byte(message), maxMessage), RequestID: requestID(h), HTTPStatus: status, RetryAfter: retryAfter(h),
	}
}

// plainText is the value of a JSON string, or "": an error body may hold anything.
func plainText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// errorCode is the bare name in "com.amazonaws.service#Name" (P-29) and in "Name:http://…", as the header has it.
func errorCode(s string) string {
	s = s[strings.LastIndexByte(s, '#')+1:]
	s, _, _ = strings.Cut(s, ":")
	return excerpt([]byte(strings.TrimSpace(s)), 100)
}

// requestID is what the service's people ask for.
func requestID(h http.Header) string {
	return excerpt([]byte(cmp.Or(h.Get("X-Amzn-Requestid"), h.Get("X-Amz-Request-Id"))), 100)
}

// excerpt is the beginning of foreign text, on one line.
func excerpt(data []byte, most int) string {
	cut := len(data) > most
	if cut {
		data = data[:most]
	}
	s := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(data), ""))
	if cut {
		s += "…"
	}
	return s
}

// envelopeText is an Envelope on the wire.
type envelopeText struct{ Format, Payload rawText }

// rawText is a JSON string whose bytes are kept although they may not be UTF-8: a DER payload arrives that way (P-60), and
// encoding/json would replace what it cannot read.
type rawText string

// UnmarshalJSON takes a string or null.
func (t *rawText) UnmarshalJSON(data []byte) error {
	if utf8.Valid(data) {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		*t = rawText(s)
		return nil
	}
	if len(data) < 2 || data[0] != '"' || data[len(data)-1] != '"' {
		return fmt.Errorf("a string is wanted, not %q", excerpt(data, 20))
	}
	s, err := unquote(data[1 : len(data)-1])
	*t = rawText(s)
	return err
}

// unquote resolves the escapes of a JSON string and leaves every other byte as it is.
func unquote(data []byte) (string, error) {
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			out = append(out, data[i])
			continue
		}
		if i++; i == len(data) {
			return "", io.ErrUnexpectedEOF
		}
		if data[i] != 'u' {
			at := strings.IndexByte(`"\/bfnrt`, data[i])
			if at < 0 {
				return "", fmt.Errorf("unknown escape \\%c", data[i])
			}
			out = append(out, "\"\\/\b\f\n\r\t"[at])
			continue
		}
		r, ok := hex4(data, i+1)
		if !ok {
			return "", errors.New("bad \\u escape")
		}
		i += 4
		if utf16.IsSurrogate(r) {
			low, ok := rune(0), false
			if i+2 < len(data) && data[i+1] == '\\' && data[i+2] == 'u' {
				low, ok = hex4(data, i+3)
			}
			if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
				i += 6
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out), nil
}

// hex4 reads the four digits of a \u escape.
func hex4(data []byte, at int) (rune, bool) {
	if at+4 > len(data) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(data[at:at+4]), 16, 16)
	return rune(n), err == nil
}

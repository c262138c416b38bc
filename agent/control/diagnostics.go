package control

import (
	"strings"
	"unicode/utf8"
)

// maxDiagnostics is what the service takes of a diagnostics payload (P-24), counted in bytes to be safe.
const maxDiagnostics = 8192

// Diagnostics are what a completion tells about the command.
type Diagnostics struct {
	ErrorCode  int // 0 to 7
	ScriptName string
	Message    string
	Log        string
}

// Envelope encodes the diagnostics as the service wants them (P-53): always an integer code, always valid UTF-8, never more
// than 8192 bytes. What is too long loses the beginning of its log, then the end of its message.
func (d Diagnostics) Envelope() Envelope {
	d.ScriptName, d.Message, d.Log = valid(d.ScriptName), valid(d.Message), valid(d.Log)
	payload := d.payload()
	if over := len(payload) - maxDiagnostics; over > 0 {
		d.Log = keepEnd(d.Log, escapedLen(d.Log)-over)
		payload = d.payload()
	}
	if over := len(payload) - maxDiagnostics; over > 0 {
		d.Message = keepStart(d.Message, escapedLen(d.Message)-over)
		payload = d.payload()
	}
	if over := len(payload) - maxDiagnostics; over > 0 {
		d.ScriptName = keepEnd(d.ScriptName, escapedLen(d.ScriptName)-over)
		payload = d.payload()
	}
	return Envelope{FormatJSON, payload}
}

// payload is the JSON text with its keys in the order of P-53.
func (d Diagnostics) payload() string {
	data, err := encode(struct {
		ErrorCode  int    `json:"error_code"`
		ScriptName string `json:"script_name"`
		Message    string `json:"message"`
		Log        string `json:"log"`
	}(d))
	if err != nil {
		panic("strings and a number cannot be encoded: " + err.Error())
	}
	return string(data)
}

// NoopDiagnostics tell the service with the acknowledgement whether the command has anything to do (P-45).
func NoopDiagnostics(noop bool) Envelope {
	if noop {
		return Envelope{FormatJSON, `{"IsCommandNoop":true}`}
	}
	return Envelope{FormatJSON, `{"IsCommandNoop":false}`}
}

// valid replaces what is not UTF-8.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// ellipsis marks where text was cut.
const ellipsis = "…"

// keepEnd is the end of s that takes at most n bytes in JSON. A cut falls between lines if one ends nearby.
func keepEnd(s string, n int) string {
	if escapedLen(s) <= n {
		return s
	}
	n -= len(ellipsis)
	at := len(s)
	for at > 0 {
		r, size := utf8.DecodeLastRuneInString(s[:at])
		if n -= escapedRune(r); n < 0 {
			break
		}
		at -= size
	}
	if at == len(s) {
		return ""
	}
	end := s[at:]
	if i := strings.IndexByte(end, '\n'); i >= 0 && i < 256 && i+1 < len(end) {
		end = end[i+1:]
	}
	return ellipsis + end
}

// keepStart is the beginning of s that takes at most n bytes in JSON.
func keepStart(s string, n int) string {
	if escapedLen(s) <= n {
		return s
	}
	n -= len(ellipsis)
	for at, r := range s {
		if n -= escapedRune(r); n < 0 {
			if at == 0 {
				return ""
			}
			return s[:at] + ellipsis
		}
	}
	return ""
}

// escapedLen is how many bytes s takes inside a JSON string.
func escapedLen(s string) (n int) {
	for _, r := range s {
		n += escapedRune(r)
	}
	return n
}

// escapedRune is the same for one rune, as encoding/json escapes it.
func escapedRune(r rune) int {
	switch {
	case r == '"', r == '\\', r == '\n', r == '\r', r == '\t', r == '\b', r == '\f':
		return 2
	case r < ' ', r == '\u2028', r == '\u2029':
		return 6
	}
	return utf8.RuneLen(r)
}

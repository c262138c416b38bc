package hooks

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"slipway/agent/control"
)

// The whole way of a script's output to the service: whatever it is, what arrives is at most 8,192 bytes of valid JSON with an integer for a code
// the report within its bound, and on success the message what the service reads (P-54, V-24).
func TestReportOfAnyOutput(t *testing.T) {
	piece := rapid.Custom(func(t *rapid.T) string {
		unit := rapid.OneOf(
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 300), func(b []byte) string { return string(b) }), rapid.String(),
			rapid.SampledFrom([]string{"\x00", "\n", "\"\\", "é", "\xff\xfe", "\U0001F600", "\u2028", "\x1b[31m", "\x1b]0;", "\r\n", "error: ", "x", "-----BEGIN PRIVATE KEY-----\n"}),
		).Draw(t, "unit")
		return strings.Repeat(unit, rapid.SampledFrom([]int{1, 2, 100, 5000, 40000}).Draw(t, "times"))
	})
	rapid.Check(t, func(t *rapid.T) {
		o := newOutput(Script{}, newRedactor([]string{"swordfish"}))
		for _, stream := range []string{"stdout", "stderr"} {
			o.read(stream, strings.NewReader(strings.Join(rapid.SliceOfN(piece, 0, 4).Draw(t, stream), "")))
		}
		r := Result{Script: piece.Draw(t, "script"), Notes: []string{piece.Draw(t, "note")}, Holders: []Holder{{Process: Process{PID: 1, Command: piece.Draw(t, "command")}}}}
		code := rapid.IntRange(0, 7).Draw(t, "code")
		if code > 0 {
			r.Err = &Failure{Kind: ErrFailed, Script: r.Script, Detail: piece.Draw(t, "detail")}
		}
		o.fill(&r)
		limit := rapid.IntRange(0, 9000).Draw(t, "limit")
		report := r.Report(limit)
		if len(report) > limit || !utf8.ValidString(report) || len(r.Tail) > tailLimit || !utf8.ValidString(r.Tail) {
			t.Fatalf("report of %d bytes, limit %d; tail of %d bytes", len(report), limit, len(r.Tail))
		}
		d := control.Diagnostics{ErrorCode: code, ScriptName: r.Script, Message: "Succeeded: ", Log: report}
		if r.Err != nil {
			d.Message = r.Err.Error()
		}
		payload := d.Envelope().Payload
		var got struct {
			Code    *int    `json:"error_code"`
			Message *string `json:"message"`
			Log     *string `json:"log"`
		}
		if err := json.Unmarshal([]byte(payload), &got); err != nil || len(payload) > 8192 || got.Code == nil || *got.Code != code || got.Log == nil {
			t.Fatalf("%d bytes, %v: %.200q", len(payload), err, payload)
		}
		if len(r.Script) < 1000 && errors.Is(r.Err, nil) && *got.Message != "Succeeded: " {
			t.Fatalf("message %q", *got.Message)
		}
	})
}

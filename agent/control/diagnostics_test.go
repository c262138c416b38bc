package control_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"slipway/agent/control"
)

// diagnosticsRules are P-53..P-59.
var diagnosticsRules = []rule{
	{"P-53_keys_in_order", func(t *testing.T) {
		d := control.Diagnostics{ErrorCode: 4, ScriptName: "scripts/a.sh", Message: `exit "1" <&>`, Log: "one\ntwo\té\u2028"}
		want := control.Envelope{Format: "JSON", Payload: `{"error_code":4,"script_name":"scripts/a.sh","message":"exit \"1\" <&>","log":"one\ntwo\té\u2028"}`}
		if diff := cmp.Diff(want, d.Envelope()); diff != "" {
			t.Errorf("envelope (-want +got):\n%s", diff)
		}
	}},
	payload("P-54_success", control.Diagnostics{Message: "Succeeded: "}, `{"error_code":0,"script_name":"","message":"Succeeded: ","log":""}`),
	payload("P-54_success_with_tag", control.Diagnostics{Message: "Succeeded: CompletedNoopCommand"},
		`{"error_code":0,"script_name":"","message":"Succeeded: CompletedNoopCommand","log":""}`),
	payload("P-55_script_failure", control.Diagnostics{ErrorCode: 1, ScriptName: "b.sh", Message: "Script does not exist: b.sh", Log: "tail"},
		`{"error_code":1,"script_name":"b.sh","message":"Script does not exist: b.sh","log":"tail"}`),
	payload("P-56_other_failure", control.Diagnostics{ErrorCode: 5, Message: "no such bucket"}, `{"error_code":5,"script_name":"","message":"no such bucket","log":""}`),
	payload("P-57_after_restart", control.Diagnostics{ErrorCode: 7, Message: "Failed: the host was restarted"},
		`{"error_code":7,"script_name":"","message":"Failed: the host was restarted","log":""}`),
	// X-41 replaces it: always an integer, and what cannot be read is replaced.
	payload("P-58_invalid_utf-8", control.Diagnostics{ErrorCode: 4, ScriptName: "\xff.sh", Message: "a\xc3", Log: "b\xe2\x82c\x00"},
		`{"error_code":4,"script_name":"�.sh","message":"a�","log":"b�c\u0000"}`),
	// X-42 replaces it: the beginning of the log goes first, then the end of the message.
	{"P-59_never_more_than_the_service_takes", func(t *testing.T) {
		lines := strings.Repeat("a line of output with \"quotes\"\n", 1000) + "the last line\n"
		for _, tc := range []struct {
			name string
			in   control.Diagnostics
			want func(in, out control.Diagnostics) bool
		}{
			{"fits", control.Diagnostics{Log: strings.Repeat("x", 8192-55), Message: ""}, func(in, out control.Diagnostics) bool { return in == out }},
			{"log", control.Diagnostics{ErrorCode: 4, ScriptName: "a.sh", Message: "failed", Log: lines}, func(in, out control.Diagnostics) bool {
				rest, cut := strings.CutPrefix(out.Log, "…")
				return cut && len(out.Log) > 6000 && strings.HasSuffix(in.Log, "\n"+rest) && out.Message == in.Message && out.ScriptName == in.ScriptName
			}},
			{"log of one line", control.Diagnostics{Log: strings.Repeat("é", 9000)}, func(in, out control.Diagnostics) bool {
				return strings.HasPrefix(out.Log, "…é") && len(out.Log) > 8000
			}},
			{"log of control characters", control.Diagnostics{Log: strings.Repeat("\x1b", 8000)}, func(in, out control.Diagnostics) bool {
				return len(out.Log) > 1300
			}},
			{"message", control.Diagnostics{Message: strings.Repeat("m", 9000), Log: "short"}, func(in, out control.Diagnostics) bool {
				return out.Log == "" && strings.HasSuffix(out.Message, "mm…") && len(out.Message) > 8000
			}},
			{"script name", control.Diagnostics{ScriptName: strings.Repeat("s", 9000) + "/a.sh", Message: "m", Log: "l"}, func(in, out control.Diagnostics) bool {
				return out.Log == "" && out.Message == "" && strings.HasPrefix(out.ScriptName, "…s") && strings.HasSuffix(out.ScriptName, "s/a.sh")
			}},
		} {
			e := tc.in.Envelope()
			var out control.Diagnostics
			decodePayload(t, e, &out)
			if len(e.Payload) > 8192 || out.ErrorCode != tc.in.ErrorCode || !tc.want(tc.in, out) {
				t.Errorf("%s: %d bytes, %.100q, message %.20q, log %.60q", tc.name, len(e.Payload), out.ScriptName, out.Message, out.Log)
			}
		}
	}},
	{"P-59_for_any_text", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			text := rapid.Custom(func(t *rapid.T) string {
				unit := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\x00", "\n", "\"", "é", "\xff", "\U0001F600", "\u2028"})).Draw(t, "unit")
				return strings.Repeat(unit, rapid.IntRange(0, 4000).Draw(t, "times"))
			})
			d := control.Diagnostics{ErrorCode: rapid.IntRange(0, 7).Draw(t, "code"), ScriptName: text.Draw(t, "script"), Message: text.Draw(t, "message"), Log: text.Draw(t, "log")}
			p := d.Envelope().Payload
			if len(p) > 8192 || !utf8.ValidString(p) || !json.Valid([]byte(p)) {
				t.Fatalf("%d bytes: %.200q", len(p), p)
			}
			if !strings.HasPrefix(p, `{"error_code":`) {
				t.Fatalf("%.40s", p)
			}
		})
	}},
}

// payload is a rule that holds the text of some diagnostics.
func payload(name string, d control.Diagnostics, want string) rule {
	return rule{name, func(t *testing.T) {
		if diff := cmp.Diff(control.Envelope{Format: "JSON", Payload: want}, d.Envelope()); diff != "" {
			t.Errorf("envelope (-want +got):\n%s", diff)
		}
	}}
}

func decodePayload(t *testing.T, e control.Envelope, out *control.Diagnostics) {
	t.Helper()
	var d struct {
		ErrorCode  int    `json:"error_code"`
		ScriptName string `json:"script_name"`
		Message    string `json:"message"`
		Log        string `json:"log"`
	}
	if err := json.Unmarshal([]byte(e.Payload), &d); err != nil {
		t.Fatal(err)
	}
	*out = control.Diagnostics(d)
}

package control

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzDecode: no answer makes the decoder panic or lie.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `{"HostCommand":{"HostCommandIdentifier":"1","Nonce":2}}`, `{"__type":"a#B","message":"m"}`, `{"code":"x","Message":1}`,
		`{"DeploymentSystem":"CodeDeploy","DeploymentSpecification":{"GenericEnvelope":{"Format":"f","Payload":"\u00e9\ud83d\ude00\ud83d"}}}`,
		"{\"DeploymentSpecification\":{\"GenericEnvelope\":{\"Payload\":\"\x30\x80\\u0000\\n\xff\"}}}", `{"CommandStatus":"Failed"}`, `[`, `{"a":`,
	} {
		f.Add([]byte(seed), 200)
		f.Add([]byte(seed), 400)
	}
	f.Fuzz(func(t *testing.T, data []byte, status int) {
		var spec struct {
			DeploymentSystem        string
			DeploymentSpecification *struct{ GenericEnvelope *envelopeText }
		}
		if err := decodeBody(data, &spec); err == nil && spec.DeploymentSpecification != nil && spec.DeploymentSpecification.GenericEnvelope != nil {
			got := string(spec.DeploymentSpecification.GenericEnvelope.Payload)
			// Where the answer is text, the payload is what encoding/json makes of it.
			var plain struct {
				DeploymentSpecification struct{ GenericEnvelope struct{ Payload string } }
			}
			if utf8.Valid(data) && json.Unmarshal(data, &plain) == nil && plain.DeploymentSpecification.GenericEnvelope.Payload != got {
				t.Errorf("payload %q, want %q", got, plain.DeploymentSpecification.GenericEnvelope.Payload)
			}
		}
		e := decodeError("op", status, http.Header{"X-Amzn-Errortype": {string(data)}}, data)
		if e.Code == "" || strings.ContainsAny(e.Error(), "\n\r\x00\x1b") || !utf8.ValidString(e.Error()) || len(e.Error()) > 2048 {
			t.Errorf("error text %q", e.Error())
		}
	})
}

// TestUnquote: bytes that are not text stay what they are (P-60), escapes are resolved as encoding/json does.
func TestUnquote(t *testing.T) {
	for in, want := range map[string]string{
		"":                   "",
		"\x30\x82\xff\x00x":  "\x30\x82\xff\x00x",
		`a\"\\\/\b\f\n\r\tz`: "a\"\\/\b\f\n\r\tz",
		"\\u0000\\u00e9\xff": "\x00é\xff",
		`\ud83d\ude00`:       "\U0001F600",
		`\ud83dx`:            "\uFFFDx",
		`\ude00\ud83d`:       "\uFFFD\uFFFD",
		`\ud83d\ud83d\ude00`: "\uFFFD\U0001F600",
		"\\\"\xfe\\\"":       "\"\xfe\"",
	} {
		if got, err := unquote([]byte(in)); err != nil || got != want {
			t.Errorf("unquote(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{`\`, `\x`, `\u12`, `\u12g4`} {
		if got, err := unquote([]byte(in)); err == nil {
			t.Errorf("unquote(%q) = %q", in, got)
		}
	}
}

// TestConnectTimeout holds the part of P-31 that would take its time to be seen.
func TestConnectTimeout(t *testing.T) {
	if connectTimeout.Seconds() != 15 {
		t.Errorf("connect time-out %v", connectTimeout)
	}
}

package control_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

// TestForeignEnvelopes opens messages that openssl made, once: what the library here writes is not all there is.
func TestForeignEnvelopes(t *testing.T) {
	files, err := filepath.Glob("testdata/openssl/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	want, err := os.ReadFile("testdata/openssl/content.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		if name == "content.json" || name == "README" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			payload, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := control.Envelope{Format: "PKCS7/JSON", Payload: string(payload)}.Open(nil)
			if bad := strings.HasPrefix(name, "bad-"); bad != (err != nil) || !bad && !bytes.Equal(got, want) {
				t.Errorf("Open() = %q, %v", got, err)
			}
		})
	}
}

// FuzzOpen: whatever arrives, what Open returns without an error was signed.
func FuzzOpen(f *testing.F) {
	s, err := controltest.New(controltest.Options{})
	if err != nil {
		f.Fatal(err)
	}
	text := []byte(`{"DeploymentId":"d-1"}`)
	for _, edit := range []func(*controltest.Signer){
		func(*controltest.Signer) {}, func(g *controltest.Signer) { g.DER = true }, func(g *controltest.Signer) { g.DER, g.Bare = true, true },
		func(g *controltest.Signer) { g.DER, g.Streamed, g.PieceOfContent = true, true, 5 }, func(g *controltest.Signer) { g.DER, g.Detached = true, true },
		func(g *controltest.Signer) { g.DER, g.OmitSigner = true, true }, func(g *controltest.Signer) { g.DER, g.SHA1 = true, true },
	} {
		e, err := with(s.Signer(), edit).Sign(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(e.Payload)
	}
	files, _ := filepath.Glob("testdata/openssl/*")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			f.Add(string(data))
		}
	}
	foreign, err := os.ReadFile("testdata/openssl/content.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add("\x30\x80\x30\x80\x00\x00\x00\x00")
	f.Fuzz(func(t *testing.T, payload string) {
		got, err := control.Envelope{Format: "PKCS7/JSON", Payload: payload}.Open(nil)
		switch {
		case err == nil && !bytes.Equal(got, text) && !bytes.Equal(got, foreign):
			t.Errorf("content that nobody signed: %q", got)
		case err == nil:
		case got != nil:
			t.Errorf("%v, and content", err)
		case !errors.Is(err, control.ErrFormat) && !errors.Is(err, control.ErrUnsigned) && !errors.Is(err, control.ErrSignature) && !errors.Is(err, control.ErrSigner):
			t.Errorf("an error of no kind: %v", err)
		}
	})
}

func TestNewTrustRefuses(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	write(t, empty, nil)
	pin := strings.Repeat("ab", 32)
	for _, tc := range []struct {
		name string
		o    control.TrustOptions
		want string // "" for none
	}{
		{"default", control.TrustOptions{}, ""},
		{"unknown policy", control.TrustOptions{Signer: "all"}, `trust.signer: "all" is none of integrity, ca, pin`},
		{"ca without file", control.TrustOptions{Signer: "ca"}, "trust.ca_file must name"},
		{"ca with missing file", control.TrustOptions{Signer: "ca", CAFile: filepath.Join(dir, "none")}, "trust.ca_file: open"},
		{"ca with empty file", control.TrustOptions{Signer: "ca", CAFile: empty}, "has no PEM certificate"},
		{"pin without pins", control.TrustOptions{Signer: "pin"}, "trust.pins must list"},
		{"pin too short", control.TrustOptions{Signer: "pin", Pins: []string{"abcd"}}, "64 hexadecimal digits"},
		{"pin not hexadecimal", control.TrustOptions{Signer: "pin", Pins: []string{strings.Repeat("xy", 32)}}, "64 hexadecimal digits"},
		{"pin", control.TrustOptions{Signer: "pin", Pins: []string{pin}}, ""},
		{"pin with colons, as openssl prints it", control.TrustOptions{Signer: "pin", Pins: []string{strings.ToUpper(strings.TrimSuffix(strings.Repeat("ab:", 32), ":"))}}, ""},
	} {
		_, err := control.NewTrust(tc.o)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: NewTrust() = %v, want %q", tc.name, err, tc.want)
		}
	}
}

// with is a signer that does something else.
func with(g controltest.Signer, edit func(*controltest.Signer)) controltest.Signer {
	edit(&g)
	return g
}

// trusts are the policies, each meant for the server's own signer.
func trusts(t *testing.T, s *controltest.Server) map[string]*control.Trust {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	write(t, file, s.CAPEM())
	all := map[string]*control.Trust{}
	for policy, o := range map[string]control.TrustOptions{
		"default": {}, "integrity": {Signer: "integrity"}, "ca": {Signer: "ca", CAFile: file}, "pin": {Signer: "pin", Pins: []string{s.SignerFingerprint()}},
	} {
		trust, err := control.NewTrust(o)
		if err != nil {
			t.Fatal(err)
		}
		all[policy] = trust
	}
	return all
}

func everyPolicy(t *testing.T, s *controltest.Server, f func(*testing.T, *control.Trust)) {
	t.Helper()
	everyPolicyBut(t, s, "", f)
}

func everyPolicyBut(t *testing.T, s *controltest.Server, but string, f func(*testing.T, *control.Trust)) {
	t.Helper()
	for policy, trust := range trusts(t, s) {
		if policy != but {
			t.Run(policy, func(t *testing.T) { f(t, trust) })
		}
	}
}

// graft puts the content under the signature of another message, which differs in its first byte.
func graft(t *testing.T, from control.Envelope) control.Envelope {
	t.Helper()
	data := raw(from)
	at := bytes.Index(data, content[1:40])
	if at < 1 {
		t.Fatal("the content is not in the message in one piece")
	}
	data[at-1] = content[0]
	return controltest.Armour(data)
}

func raw(e control.Envelope) []byte {
	if block, _ := pem.Decode([]byte(e.Payload)); block != nil {
		return block.Bytes
	}
	return []byte(e.Payload)
}

// cut takes the last hundred bytes off a message.
func cut(t *testing.T, e control.Envelope) control.Envelope {
	t.Helper()
	data := raw(e)
	return controltest.Armour(data[:len(data)-100])
}

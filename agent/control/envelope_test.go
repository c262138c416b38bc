package control_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

// content is a specification with what may trouble a parser of armour.
var content = []byte(`{"DeploymentId":"d-1","DeploymentGroupId":"g-1","Note":"-----BEGIN ` + strings.Repeat("é<&> ", 400) + `"}`)

// envelopeRules are P-60..P-62.
var envelopeRules = []rule{
	{"P-60_signed_message_pem_or_der", func(t *testing.T) {
		s := newServer(t, controltest.Options{})
		rsa, err := s.RSASigner()
		if err != nil {
			t.Fatal(err)
		}
		for name, g := range map[string]controltest.Signer{
			"ECDSA": s.Signer(), "RSA": rsa, "DER": with(s.Signer(), func(g *controltest.Signer) { g.DER = true }),
			"SHA-1":                with(rsa, func(g *controltest.Signer) { g.SHA1 = true }),
			"SHA-1 and ECDSA":      with(s.Signer(), func(g *controltest.Signer) { g.SHA1 = true }),
			"no attributes":        with(rsa, func(g *controltest.Signer) { g.Bare = true }),
			"streamed":             with(rsa, func(g *controltest.Signer) { g.Streamed = true }),
			"streamed DER SHA-1":   with(rsa, func(g *controltest.Signer) { g.Streamed, g.DER, g.SHA1 = true, true, true }),
			"streamed in one":      with(s.Signer(), func(g *controltest.Signer) { g.Streamed, g.PieceOfContent = true, 1<<20 }),
			"streamed, one by one": with(s.Signer(), func(g *controltest.Signer) { g.Streamed, g.PieceOfContent = true, 1 }),
		} {
			t.Run(name, func(t *testing.T) {
				e, err := g.Sign(content)
				if err != nil {
					t.Fatal(err)
				}
				got, err := e.Open(nil)
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("Open() = %q, %v", got, err)
				}
			})
		}
	}},
	{"P-60_armour", func(t *testing.T) {
		s := newServer(t, controltest.Options{})
		e := s.Sign(content)
		block, _ := pem.Decode([]byte(e.Payload))
		oneLine := "-----BEGIN PKCS7-----\n" + base64.StdEncoding.EncodeToString(block.Bytes) + "\n-----END PKCS7-----"
		for name, payload := range map[string]string{
			"as sent":           e.Payload,
			"CRLF":              strings.ReplaceAll(e.Payload, "\n", "\r\n"),
			"text around":       "Subject: x\n\n" + e.Payload + "\ntrailing text\n",
			"no last newline":   strings.TrimSuffix(e.Payload, "\n"),
			"one line":          oneLine,
			"CMS":               strings.ReplaceAll(e.Payload, "PKCS7-----", "CMS-----"),
			"after certificate": string(s.CAPEM()) + e.Payload,
		} {
			if got, err := (control.Envelope{Format: "PKCS7/JSON", Payload: payload}).Open(nil); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s: Open() = %q, %v", name, got, err)
			}
		}
		for name, payload := range map[string]string{
			"another block":  string(s.CAPEM()),
			"cut off":        e.Payload[:len(e.Payload)-30],
			"broken base64":  strings.Replace(e.Payload, "M", "\x00", 1),
			"empty block":    "-----BEGIN PKCS7-----\n-----END PKCS7-----\n",
			"bare base64":    base64.StdEncoding.EncodeToString(block.Bytes),
			"trailing bytes": string(block.Bytes) + "x",
		} {
			if _, err := (control.Envelope{Format: "PKCS7/JSON", Payload: payload}).Open(nil); !errors.Is(err, control.ErrFormat) {
				t.Errorf("%s: Open() = %v", name, err)
			}
		}
	}},
	// A DER payload is not text, but the reference reads it from the answer's bytes.
	{"P-60_der_over_the_wire", func(t *testing.T) {
		s, c := peers(t, controltest.Options{}, nil)
		e, err := with(s.Signer(), func(g *controltest.Signer) { g.DER = true }).Sign(content)
		if err != nil {
			t.Fatal(err)
		}
		s.Enqueue(controltest.Command{HostID: hostID, ExecutionID: "a/b/c/d", Name: "Install", Spec: e})
		got, err := c.Spec(t.Context(), "a/b/c/d")
		if err != nil {
			t.Fatal(err)
		}
		if got != e {
			t.Fatal("the bytes of the payload have changed on their way")
		}
		if opened, err := got.Open(nil); err != nil || !bytes.Equal(opened, content) {
			t.Errorf("Open() = %q, %v", opened, err)
		}
	}},
	{"P-61_formats", func(t *testing.T) {
		s := newServer(t, controltest.Options{})
		signed := s.Sign(content).Payload
		for format, want := range map[string]error{
			"PKCS7/JSON": nil, "TEXT/JSON": control.ErrUnsigned, "JSON": control.ErrFormat, "": control.ErrFormat, "pkcs7/json": control.ErrFormat,
			"PKCS7": control.ErrFormat, "PKCS7/JSON ": control.ErrFormat,
		} {
			everyPolicy(t, s, func(t *testing.T, trust *control.Trust) {
				if _, err := (control.Envelope{Format: format, Payload: signed}).Open(trust); !errors.Is(err, want) || want == nil && err != nil {
					t.Errorf("%q: Open() = %v, want %v", format, err, want)
				}
			})
		}
	}},
	{"P-61_unsigned_only_for_deployments_of_this_host", func(t *testing.T) {
		s := newServer(t, controltest.Options{})
		plain := control.Envelope{Format: "TEXT/JSON", Payload: string(content)}
		everyPolicy(t, s, func(t *testing.T, trust *control.Trust) {
			if _, err := plain.Open(trust); !errors.Is(err, control.ErrUnsigned) {
				t.Errorf("Open() = %v", err)
			}
		})
		local, err := control.NewTrust(control.TrustOptions{AllowUnsigned: true})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := plain.Open(local); err != nil || !bytes.Equal(got, content) {
			t.Errorf("Open() = %q, %v", got, err)
		}
		// It does not make a signed one any less checked.
		tampered, err := controltest.TamperContent(s.Sign(content), content[:40])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tampered.Open(local); !errors.Is(err, control.ErrSignature) {
			t.Errorf("Open() = %v", err)
		}
	}},
	// X-1 and V-27 replace it: digest and signature count, always.
	{"P-62_changed_messages_are_refused_under_every_policy", func(t *testing.T) {
		s := newServer(t, controltest.Options{})
		rsa, err := s.RSASigner()
		if err != nil {
			t.Fatal(err)
		}
		for kind, g := range map[string]controltest.Signer{
			"ECDSA": s.Signer(), "RSA": rsa, "bare": with(rsa, func(g *controltest.Signer) { g.Bare = true }),
			"DER": with(rsa, func(g *controltest.Signer) { g.DER = true }), "SHA-1": with(rsa, func(g *controltest.Signer) { g.SHA1 = true }),
			"streamed": with(rsa, func(g *controltest.Signer) { g.Streamed, g.PieceOfContent = true, 1<<20 }),
		} {
			e, err := g.Sign(content)
			if err != nil {
				t.Fatal(err)
			}
			changed, err := controltest.TamperContent(e, content[:40])
			if err != nil {
				t.Fatal(err)
			}
			unsigned, err := controltest.TamperSignature(e)
			if err != nil {
				t.Fatal(err)
			}
			other, err := g.Sign(append([]byte("x"), content[1:]...))
			if err != nil {
				t.Fatal(err)
			}
			detached, err := with(g, func(g *controltest.Signer) { g.Detached, g.Streamed = true, false }).Sign(content)
			if err != nil {
				t.Fatal(err)
			}
			anonymous, err := with(g, func(g *controltest.Signer) { g.OmitSigner, g.Streamed = true, false }).Sign(content)
			if err != nil {
				t.Fatal(err)
			}
			empty, err := with(g, func(g *controltest.Signer) { g.Streamed = false }).Sign(nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, tc := range map[string]struct {
				e    control.Envelope
				want error
			}{
				"content changed":              {changed, control.ErrSignature},
				"signature changed":            {unsigned, control.ErrSignature},
				"signature of another message": {graft(t, other), control.ErrSignature},
				"content is detached":          {detached, control.ErrFormat},
				"content is empty":             {empty, control.ErrFormat},
				"certificate is not in it":     {anonymous, control.ErrSigner},
				"cut off":                      {cut(t, e), control.ErrFormat},
			} {
				if name == "signature changed" && g.Streamed {
					continue // its last bytes end the stream: garbage, below
				}
				everyPolicy(t, s, func(t *testing.T, trust *control.Trust) {
					if _, err := tc.e.Open(trust); !errors.Is(err, tc.want) {
						t.Errorf("%s, %s: Open() = %v, want %v", kind, name, err, tc.want)
					}
				})
			}
		}
	}},
	{"P-62_other_kinds_of_message_and_garbage_are_refused_under_every_policy", func(t *testing.T) {
		s := newServer(t, controltest.Options{})
		degenerate, err := pkcs7.DegenerateCertificate(s.Signer().Certificate.Raw)
		if err != nil {
			t.Fatal(err)
		}
		rsa, err := s.RSASigner()
		if err != nil {
			t.Fatal(err)
		}
		enveloped, err := pkcs7.Encrypt(content, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, tc := range map[string]struct {
			payload string
			want    error
			text    string
		}{
			"no signer":         {controltest.Armour(degenerate).Payload, control.ErrUnsigned, "no signer"},
			"enveloped":         {controltest.Armour(enveloped).Payload, control.ErrUnsigned, "no signer"},
			"a certificate":     {string(rsa.Certificate.Raw), control.ErrFormat, ""},
			"empty":             {"", control.ErrFormat, "not PKCS#7 at all"},
			"text":              {"hello", control.ErrFormat, ""},
			"JSON":              {string(content), control.ErrFormat, "PEM armour"},
			"zeros":             {strings.Repeat("\x00", 1000), control.ErrFormat, ""},
			"length beyond":     {"\x30\x84\x7f\xff\xff\xff", control.ErrFormat, "not PKCS#7 at all"},
			"nested":            {strings.Repeat("\x30\x80", 2000), control.ErrFormat, "nested too deep"},
			"nested definitely": {strings.Repeat("\x30\x83\x00\x00\x00", 10), control.ErrFormat, ""},
			"in pieces":         {"\x30\x80" + strings.Repeat("\x05\x00", 200_000) + "\x00\x00", control.ErrFormat, "too many pieces"},
			"large":             {strings.Repeat("\x30", 1<<20+1), control.ErrFormat, "larger than 1048576 bytes"},
		} {
			everyPolicy(t, s, func(t *testing.T, trust *control.Trust) {
				began := time.Now()
				_, err := control.Envelope{Format: "PKCS7/JSON", Payload: tc.payload}.Open(trust)
				if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
					t.Errorf("%s: Open() = %v, want %v", name, err, tc.want)
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("%s: took %v", name, took)
				}
			})
		}
	}},
	{"P-62_messages_that_contradict_themselves_are_refused", func(t *testing.T) {
		s := newServer(t, controltest.Options{})
		g, err := s.RSASigner()
		if err != nil {
			t.Fatal(err)
		}
		extra := func(attributes ...pkcs7.Attribute) func(*pkcs7.SignedData) error {
			return func(sd *pkcs7.SignedData) error {
				return sd.AddSigner(g.Certificate, g.Key, pkcs7.SignerInfoConfig{ExtraSignedAttributes: attributes})
			}
		}
		for name, tc := range map[string]struct {
			sign func(*pkcs7.SignedData) error
			want error
		}{
			"one more attribute": {extra(pkcs7.Attribute{Type: asn1.ObjectIdentifier{1, 2, 3}, Value: 1}), nil},
			"two digests":        {extra(pkcs7.Attribute{Type: pkcs7.OIDAttributeMessageDigest, Value: make([]byte, 32)}), control.ErrSignature},
			"two content types":  {extra(pkcs7.Attribute{Type: pkcs7.OIDAttributeContentType, Value: pkcs7.OIDSignedData}), control.ErrSignature},
			"digest that the signature algorithm does not have": {func(sd *pkcs7.SignedData) error {
				sd.SetEncryptionAlgorithm(pkcs7.OIDEncryptionAlgorithmRSASHA512)
				return sd.SignWithoutAttr(g.Certificate, g.Key, pkcs7.SignerInfoConfig{})
			}, control.ErrSignature},
			"attributes removed": {func(sd *pkcs7.SignedData) error {
				err := sd.AddSigner(g.Certificate, g.Key, pkcs7.SignerInfoConfig{})
				sd.RemoveAuthenticatedAttributes()
				return err
			}, control.ErrSignature},
		} {
			sd, err := pkcs7.NewSignedData(content)
			if err != nil {
				t.Fatal(err)
			}
			sd.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
			if err := tc.sign(sd); err != nil {
				t.Fatal(err)
			}
			der, err := sd.Finish()
			if err != nil {
				t.Fatal(err)
			}
			everyPolicyBut(t, s, "pin", func(t *testing.T, trust *control.Trust) {
				if _, err := controltest.Armour(der).Open(trust); !errors.Is(err, tc.want) || tc.want == nil && err != nil {
					t.Errorf("%s: Open() = %v, want %v", name, err, tc.want)
				}
			})
		}
	}},
	{"P-62_signers_by_policy", func(t *testing.T) {
		s := newServer(t, controltest.Options{})
		expired, err := s.ExpiredSigner()
		if err != nil {
			t.Fatal(err)
		}
		forged, err := s.ForgedSigner()
		if err != nil {
			t.Fatal(err)
		}
		below, err := s.IntermediateSigner()
		if err != nil {
			t.Fatal(err)
		}
		another, err := s.RSASigner()
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			name               string
			g                  controltest.Signer
			integrity, ca, pin bool
		}{
			{"the service's", s.Signer(), true, true, true},
			{"the service's without attributes", with(s.Signer(), func(g *controltest.Signer) { g.Bare = true }), true, true, true},
			{"another of its CA", another, true, true, false},
			{"of a CA below", below, true, true, false},
			{"of a CA below that is not in the message", with(below, func(g *controltest.Signer) { g.Chain = nil }), true, false, false},
			{"expired", expired, true, false, false},
			{"expired, without attributes", with(expired, func(g *controltest.Signer) { g.Bare = true }), true, false, false},
			{"expired, SHA-1, streamed", with(expired, func(g *controltest.Signer) { g.SHA1, g.Streamed = true, true }), true, false, false},
			{"forged", forged, true, false, false},
		} {
			e, err := tc.g.Sign(content)
			if err != nil {
				t.Fatal(err)
			}
			for policy, ok := range map[string]bool{"integrity": tc.integrity, "ca": tc.ca, "pin": tc.pin} {
				got, err := e.Open(trusts(t, s)[policy])
				switch {
				case ok && (err != nil || !bytes.Equal(got, content)):
					t.Errorf("%s under %s: Open() = %q, %v", tc.name, policy, got, err)
				case !ok && (!errors.Is(err, control.ErrSigner) || got != nil):
					t.Errorf("%s under %s: Open() = %q, %v", tc.name, policy, got, err)
				}
			}
		}
	}},
	{"P-62_an_expired_signer_is_still_checked", func(t *testing.T) {
		s := newServer(t, controltest.Options{})
		expired, err := s.ExpiredSigner()
		if err != nil {
			t.Fatal(err)
		}
		for _, bare := range []bool{false, true} {
			e, err := with(expired, func(g *controltest.Signer) { g.Bare = bare }).Sign(content)
			if err != nil {
				t.Fatal(err)
			}
			changed, err := controltest.TamperContent(e, content[:40])
			if err != nil {
				t.Fatal(err)
			}
			unsigned, err := controltest.TamperSignature(e)
			if err != nil {
				t.Fatal(err)
			}
			for _, bad := range []control.Envelope{changed, unsigned} {
				everyPolicy(t, s, func(t *testing.T, trust *control.Trust) {
					if _, err := bad.Open(trust); !errors.Is(err, control.ErrSignature) {
						t.Errorf("bare %v: Open() = %v", bare, err)
					}
				})
			}
		}
	}},
	{"P-62_ca_looks_at_the_clock", func(t *testing.T) {
		s := newServer(t, controltest.Options{})
		file := filepath.Join(t.TempDir(), "ca.pem")
		write(t, file, s.CAPEM())
		for years, ok := range map[int]bool{0: true, 20: false, -1: false} {
			trust, err := control.NewTrust(control.TrustOptions{Signer: "ca", CAFile: file, Now: func() time.Time { return time.Now().AddDate(years, 0, 0) }})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Sign(content).Open(trust); (err == nil) != ok || err != nil && !errors.Is(err, control.ErrSigner) {
				t.Errorf("in %d years: Open() = %v", years, err)
			}
		}
	}},
}

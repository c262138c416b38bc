package control

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Formats of an Envelope.
const (
	FormatSigned = "PKCS7/JSON" // P-60
	FormatPlain  = "TEXT/JSON"  // P-61
	FormatJSON   = "JSON"       // of diagnostics, P-53
)

// maxPayload bounds an envelope before it is looked into.
const maxPayload = 1 << 20

// Envelope is text and what kind of text it is: a specification on its way here, diagnostics on their way back.
type Envelope struct{ Format, Payload string }

// Why an envelope is refused. Every error of Open wraps exactly one of them.
var (
	ErrFormat    = errors.New("the specification is not a signed message with content")
	ErrUnsigned  = errors.New("the specification is not signed")
	ErrSignature = errors.New("the signature of the specification does not fit its content")
	ErrSigner    = errors.New("the signer of the specification is not trusted")
)

// The policies of TrustOptions.Signer.
const (
	policyIntegrity = "integrity"
	policyCA        = "ca"
	policyPin       = "pin"
)

// TrustOptions say whose signature counts.
type TrustOptions struct {
	// Signer is the policy. integrity, the default: whoever signed, digest and signature must fit the content; the dates of the
	// certificate do not matter, so that a signer that ran out does not stop a fleet, and who may speak for the service is left
	// to TLS and the signed call. ca: the signer's certificate also leads to CAFile and is valid now. pin: it is also one of Pins.
	Signer string
	// CAFile has the roots in PEM; further certificates of the chain may come with the envelope. Go refuses SHA-1 in a chain.
	CAFile string
	// Pins are SHA-256 sums of DER certificates in hexadecimal; colons and case do not matter.
	Pins []string
	// AllowUnsigned lets TEXT/JSON through: for deployments that a person starts on this host, never for the service's (P-61).
	AllowUnsigned bool
	// Now is the clock of the ca policy; nil: time.Now.
	Now func() time.Time
}

// Trust is a checked TrustOptions. It is safe for concurrent use.
type Trust struct {
	policy        string
	roots         *x509.CertPool
	pins          [][sha256.Size]byte
	allowUnsigned bool
	now           func() time.Time
}

// NewTrust reads and checks the options.
func NewTrust(o TrustOptions) (*Trust, error) {
	t := &Trust{policy: o.Signer, allowUnsigned: o.AllowUnsigned, now: o.Now}
	if t.now == nil {
		t.now = time.Now
	}
	switch t.policy {
	case "":
		t.policy = policyIntegrity
	case policyIntegrity:
	case policyCA:
		if o.CAFile == "" {
			return nil, errors.New("trust.signer is ca: trust.ca_file must name the file with the signer's CA")
		}
		data, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("trust.ca_file: %w", err)
		}
		t.roots = x509.NewCertPool()
		if !t.roots.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("trust.ca_file: %s has no PEM certificate", o.CAFile)
		}
	case policyPin:
		if len(o.Pins) == 0 {
			return nil, errors.New("trust.signer is pin: trust.pins must list at least one fingerprint")
		}
		for _, pin := range o.Pins {
			sum, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(pin), ":", ""))
			if err != nil || len(sum) != sha256.Size {
				return nil, fmt.Errorf("trust.pins: %q is not a SHA-256 sum in 64 hexadecimal digits", pin)
			}
			t.pins = append(t.pins, [sha256.Size]byte(sum))
		}
	default:
		return nil, fmt.Errorf("trust.signer: %q is none of integrity, ca, pin", o.Signer)
	}
	return t, nil
}

// Open returns what was signed, if the trust's policy is met. Digest and signature are verified under every policy, which the
// reference agent does not do (P-62): X-1, V-27. A nil trust is the default one. Errors wrap ErrFormat, ErrUnsigned, ErrSignature or
// ErrSigner.
func (e Envelope) Open(t *Trust) ([]byte, error) {
	if t == nil {
		t = &Trust{policy: policyIntegrity}
	}
	if len(e.Payload) > maxPayload {
		return nil, fmt.Errorf("%w: it is larger than %d bytes", ErrFormat, maxPayload)
	}
	switch e.Format {
	case FormatSigned:
	case FormatPlain:
		if !t.allowUnsigned {
			return nil, fmt.Errorf("%w: its format is %s, which only deployments started on this host may have", ErrUnsigned, FormatPlain)
		}
		return []byte(e.Payload), nil
	case "":
		return nil, fmt.Errorf("%w: it names no format", ErrFormat)
	default:
		return nil, fmt.Errorf("%w: its format is %q, not %s", ErrFormat, excerpt([]byte(e.Format), 64), FormatSigned)
	}
	data, err := der(e.Payload)
	if err != nil {
		return nil, err
	}
	m, err := parseMessage(data)
	if err != nil {
		return nil, err
	}
	// Every signature has to hold: one that does not has been put there for a reason.
	for _, s := range m.Signers {
		cert, err := m.verify(s)
		if err != nil {
			return nil, err
		}
		if err := t.accepts(cert, m.Certificates); err != nil {
			return nil, err
		}
	}
	return m.Content, nil
}

// accepts applies the policy to a signer whose signature holds.
func (t *Trust) accepts(signer *x509.Certificate, chain []*x509.Certificate) error {
	switch t.policy {
	case policyCA:
		between := x509.NewCertPool()
		for _, c := range chain {
			between.AddCert(c)
		}
		_, err := signer.Verify(x509.VerifyOptions{
			Roots: t.roots, Intermediates: between, CurrentTime: t.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrSigner, signerName(signer), err)
		}
	case policyPin:
		if sum := sha256.Sum256(signer.Raw); !slices.Contains(t.pins, sum) {
			return fmt.Errorf("%w: the certificate of %s is not in trust.pins (its SHA-256 is %x)", ErrSigner, signerName(signer), sum)
		}
	}
	return nil
}

// signerName is how a certificate is called in messages.
func signerName(c *x509.Certificate) string {
	return fmt.Sprintf("%q (serial %x, valid %s to %s)", excerpt([]byte(c.Subject.String()), 200), c.SerialNumber, c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
}

// der finds the message in a payload (P-60): in the first PEM block of its kind, whatever is around it, as OpenSSL reads it; a payload
// that begins as a message does, or is not armoured, is taken for DER.
func der(payload string) ([]byte, error) {
	const sequence, longLength = 0x30, 0x80 // no text goes on like that
	binary := len(payload) > 1 && payload[0] == sequence && payload[1] >= longLength
	if binary || !strings.Contains(payload, "-----BEGIN ") {
		return []byte(payload), nil
	}
	for rest := []byte(payload); ; {
		block, next := pem.Decode(rest)
		if block == nil {
			return nil, fmt.Errorf("%w: its PEM armour has no intact PKCS7 block", ErrFormat)
		}
		if slices.Contains(armours, block.Type) {
			return block.Bytes, nil
		}
		rest = next
	}
}

// armours are the PEM types of a signed message.
var armours = []string{"PKCS7", "PKCS #7 SIGNED DATA", "CMS"}

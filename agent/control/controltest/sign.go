package controltest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/smallstep/pkcs7"

	"slipway/agent/control"
)

// Signer signs specifications. The zero flags make what the service sends; each flag makes something else of it.
type Signer struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
	Chain       []*x509.Certificate // further certificates that go with the message, the signer's own CA first

	SHA1           bool // the digest of the service's early signers
	Bare           bool // no signed attributes: the signature is over the content itself
	Detached       bool // the content does not go with the message
	OmitSigner     bool // the signer's certificate does not go with the message
	DER            bool // no PEM armour
	Streamed       bool // BER with indefinite lengths and the content in pieces, as from a tool that does not know its length beforehand
	PieceOfContent int  // bytes in each such piece; 64 if zero
}

// authority is the CA of a server and its signer.
type authority struct {
	region string
	ca     Signer
	signer Signer
}

// newAuthority makes a CA and a signer named as the service's is (P-63).
func newAuthority(region string) (*authority, error) {
	ca, err := newSigner(Signer{}, "Test deployment signer CA", time.Now().Add(-time.Hour), time.Now().AddDate(10, 0, 0), true, false)
	if err != nil {
		return nil, err
	}
	a := &authority{region: region, ca: ca}
	a.signer, err = a.issue(time.Now().Add(-time.Hour), time.Now().AddDate(10, 0, 0), false)
	return a, err
}

// issue makes a signer with a certificate from the CA.
func (a *authority) issue(from, to time.Time, withRSA bool) (Signer, error) {
	return newSigner(a.ca, commonName(a.region), from, to, false, withRSA)
}

func commonName(region string) string { return "codedeploy-signer-" + region + ".amazonaws.com" }

// newSigner makes a key and a certificate, signed by the issuer, or by itself where that has none.
func newSigner(issuer Signer, name string, from, to time.Time, isCA, withRSA bool) (s Signer, err error) {
	if withRSA {
		s.Key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		s.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return s, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return s, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"controltest"}}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, IsCA: isCA,
	}
	if isCA {
		template.KeyUsage |= x509.KeyUsageCertSign
	}
	parent, key := template, s.Key
	if issuer.Certificate != nil {
		parent, key = issuer.Certificate, issuer.Key
		s.Chain = append([]*x509.Certificate{issuer.Certificate}, issuer.Chain...)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, s.Key.Public(), key)
	if err != nil {
		return s, err
	}
	s.Certificate, err = x509.ParseCertificate(der)
	return s, err
}

// Signer is the server's own: its certificate is valid, and issued by the CA of CAPEM.
func (s *Server) Signer() Signer { return s.signers.signer }

// RSASigner is another of the same CA, with a key of the kind that the service has. Making it takes a moment.
func (s *Server) RSASigner() (Signer, error) {
	return s.signers.issue(time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0), true)
}

// ExpiredSigner is one of the same CA whose certificate ran out yesterday.
func (s *Server) ExpiredSigner() (Signer, error) {
	return s.signers.issue(time.Now().AddDate(-1, 0, 0), time.Now().AddDate(0, 0, -1), false)
}

// ForgedSigner has the name of the server's signer and a certificate that it made itself.
func (s *Server) ForgedSigner() (Signer, error) {
	return newSigner(Signer{}, commonName(s.signers.region), time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0), false, false)
}

// IntermediateSigner has a certificate from a CA below that of CAPEM, which goes with the message.
func (s *Server) IntermediateSigner() (Signer, error) {
	below, err := newSigner(s.signers.ca, "Test deployment signer CA 2", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0), true, false)
	if err != nil {
		return Signer{}, err
	}
	return newSigner(below, commonName(s.signers.region), time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0), false, false)
}

// CAPEM is the CA of the server's signers.
func (s *Server) CAPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.signers.ca.Certificate.Raw})
}

// SignerFingerprint is the SHA-256 of the certificate of the server's own signer, as trust.pins has it.
func (s *Server) SignerFingerprint() string { return s.signers.signer.Fingerprint() }

// Fingerprint is the SHA-256 of the certificate in hexadecimal.
func (g Signer) Fingerprint() string {
	sum := sha256.Sum256(g.Certificate.Raw)
	return hex.EncodeToString(sum[:])
}

// Sign makes a specification of content, as the service does (P-60).
func (s *Server) Sign(content []byte) control.Envelope {
	e, err := s.signers.signer.Sign(content)
	if err != nil {
		panic("controltest: " + err.Error()) // the key is in memory and the content is any
	}
	return e
}

// Sign makes a specification of content.
func (g Signer) Sign(content []byte) (control.Envelope, error) {
	der, err := g.message(content)
	if err != nil {
		return control.Envelope{}, fmt.Errorf("sign: %w", err)
	}
	if g.Streamed {
		if der, err = stream(der, max(g.PieceOfContent, 0)); err != nil {
			return control.Envelope{}, fmt.Errorf("stream: %w", err)
		}
	}
	if g.DER {
		return control.Envelope{Format: control.FormatSigned, Payload: string(der)}, nil
	}
	return Armour(der), nil
}

// Armour makes a specification of a message in DER or BER.
func Armour(der []byte) control.Envelope {
	return control.Envelope{Format: control.FormatSigned, Payload: string(pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: der}))}
}

// message is the PKCS#7 SignedData.
func (g Signer) message(content []byte) ([]byte, error) {
	sd, err := pkcs7.NewSignedData(content)
	if err != nil {
		return nil, err
	}
	digest := pkcs7.OIDDigestAlgorithmSHA256
	if g.SHA1 {
		digest = pkcs7.OIDDigestAlgorithmSHA1
	}
	sd.SetDigestAlgorithm(digest)
	switch {
	case g.Bare:
		err = sd.SignWithoutAttr(g.Certificate, g.Key, pkcs7.SignerInfoConfig{})
	default:
		err = sd.AddSignerChain(g.Certificate, g.Key, g.Chain, pkcs7.SignerInfoConfig{})
	}
	if err != nil {
		return nil, err
	}
	if g.Detached {
		sd.Detach()
	}
	der, err := sd.Finish()
	if err == nil && g.OmitSigner {
		der, err = omitCertificates(der)
	}
	return der, err
}

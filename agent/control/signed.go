package control

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // for signers of old: see digests
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/smallstep/pkcs7"
)

// message is a PKCS#7 SignedData with content and at least one signer.
//
// The library takes it apart. Verification is our own, because the library's first judges whether the signing time falls into the
// certificate's validity and gives up on everything else if not: production signers do run out, and whether that matters is the
// policy's to say (Trust), while digest and signature matter always.
type message struct {
	Content      []byte
	Certificates []*x509.Certificate
	Signers      []signer
}

// signer is one SignerInfo of RFC 2315.
type signer struct {
	issuer     []byte // DER
	serial     *big.Int
	digest     asn1.ObjectIdentifier
	encryption asn1.ObjectIdentifier
	attributes []attribute
	signature  []byte
}

// attribute is a signed attribute; Value is the SET around its values.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue `asn1:"set"`
}

// parseMessage reads a message in DER or BER. Its errors wrap ErrFormat or ErrUnsigned.
func parseMessage(data []byte) (*message, error) {
	if err := checkNesting(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	p7, err := pkcs7.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if len(p7.Signers) == 0 {
		return nil, fmt.Errorf("%w: the message has no signer, or names it otherwise than by issuer and serial number", ErrUnsigned)
	}
	if len(p7.Content) == 0 {
		return nil, fmt.Errorf("%w: the signature is detached, the content is missing", ErrFormat)
	}
	m := &message{Content: p7.Content, Certificates: p7.Certificates}
	for _, s := range p7.Signers {
		one := signer{
			issuer: s.IssuerAndSerialNumber.IssuerName.FullBytes, serial: s.IssuerAndSerialNumber.SerialNumber,
			digest: s.DigestAlgorithm.Algorithm, encryption: s.DigestEncryptionAlgorithm.Algorithm, signature: s.EncryptedDigest,
		}
		for _, a := range s.AuthenticatedAttributes {
			one.attributes = append(one.attributes, attribute{a.Type, a.Value})
		}
		m.Signers = append(m.Signers, one)
	}
	return m, nil
}

// verify checks that the signer's certificate is there and that its key signed the content. It returns the certificate. Errors
// wrap ErrSignature, or ErrSigner where the certificate is missing.
func (m *message) verify(s signer) (*x509.Certificate, error) {
	cert := m.certificate(s)
	if cert == nil {
		return nil, fmt.Errorf("%w: its certificate (serial %x) is not in the message", ErrSigner, s.serial)
	}
	hash, ok := digests[s.digest.String()]
	if !ok {
		return nil, fmt.Errorf("%w: digest algorithm %v is not supported", ErrSignature, s.digest)
	}
	algorithm, err := s.algorithm(cert, hash)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	signed := m.Content
	if len(s.attributes) > 0 {
		// With attributes, they are what is signed, and one of them is the digest of the content.
		if err := m.checkAttributes(s, hash); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSignature, err)
		}
		if signed, err = encodeAttributes(s.attributes); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSignature, err)
		}
	}
	if err := cert.CheckSignature(algorithm, signed, s.signature); err != nil {
		return nil, fmt.Errorf("%w: signer %s: %w", ErrSignature, signerName(cert), err)
	}
	return cert, nil
}

// certificate is the one that the signer names by issuer and serial number.
func (m *message) certificate(s signer) *x509.Certificate {
	for _, c := range m.Certificates {
		if s.serial != nil && c.SerialNumber.Cmp(s.serial) == 0 && bytes.Equal(c.RawIssuer, s.issuer) {
			return c
		}
	}
	return nil
}

// digests are the accepted digest algorithms. SHA-1 is among them: the service's signers come from its days, and a second content
// with the digest of a given one cannot be made for it either.
var digests = map[string]crypto.Hash{
	pkcs7.OIDDigestAlgorithmSHA1.String():   crypto.SHA1,
	pkcs7.OIDDigestAlgorithmSHA256.String(): crypto.SHA256,
	pkcs7.OIDDigestAlgorithmSHA384.String(): crypto.SHA384,
	pkcs7.OIDDigestAlgorithmSHA512.String(): crypto.SHA512,
}

// algorithms says by key and digest how a signature is checked.
var algorithms = map[x509.PublicKeyAlgorithm]map[crypto.Hash]x509.SignatureAlgorithm{
	x509.RSA: {
		crypto.SHA1: x509.SHA1WithRSA, crypto.SHA256: x509.SHA256WithRSA, crypto.SHA384: x509.SHA384WithRSA, crypto.SHA512: x509.SHA512WithRSA,
	},
	x509.ECDSA: {
		crypto.SHA1: x509.ECDSAWithSHA1, crypto.SHA256: x509.ECDSAWithSHA256, crypto.SHA384: x509.ECDSAWithSHA384, crypto.SHA512: x509.ECDSAWithSHA512,
	},
}

// implied are the digests that a signature algorithm names itself; a plain key algorithm names none.
var implied = map[string]crypto.Hash{
	pkcs7.OIDEncryptionAlgorithmRSASHA1.String(): crypto.SHA1, pkcs7.OIDEncryptionAlgorithmRSASHA256.String(): crypto.SHA256,
	pkcs7.OIDEncryptionAlgorithmRSASHA384.String(): crypto.SHA384, pkcs7.OIDEncryptionAlgorithmRSASHA512.String(): crypto.SHA512,
	pkcs7.OIDDigestAlgorithmECDSASHA1.String(): crypto.SHA1, pkcs7.OIDDigestAlgorithmECDSASHA256.String(): crypto.SHA256,
	pkcs7.OIDDigestAlgorithmECDSASHA384.String(): crypto.SHA384, pkcs7.OIDDigestAlgorithmECDSASHA512.String(): crypto.SHA512,
}

// oidRSAPSS is a way to sign with an RSA key that needs parameters; no signer of the service uses it.
var oidRSAPSS = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}

// algorithm is how the signature is to be checked: by the certificate's key, not by what the message says of it, as far as the two
// do not contradict each other.
func (s signer) algorithm(cert *x509.Certificate, hash crypto.Hash) (x509.SignatureAlgorithm, error) {
	a, ok := algorithms[cert.PublicKeyAlgorithm][hash]
	if !ok {
		return 0, fmt.Errorf("keys of type %v are not supported", cert.PublicKeyAlgorithm)
	}
	if s.encryption.Equal(oidRSAPSS) {
		return 0, errors.New("RSA-PSS is not supported")
	}
	if h, ok := implied[s.encryption.String()]; ok && h != hash {
		return 0, fmt.Errorf("it names two digests, %v and %v", hash, h)
	}
	return a, nil
}

// checkAttributes holds the signed attributes against the content.
func (m *message) checkAttributes(s signer, hash crypto.Hash) error {
	var digest []byte
	if err := s.attribute(pkcs7.OIDAttributeMessageDigest, &digest); err != nil {
		return fmt.Errorf("message digest: %w", err)
	}
	h := hash.New()
	h.Write(m.Content)
	if sum := h.Sum(nil); subtle.ConstantTimeCompare(digest, sum) != 1 {
		return fmt.Errorf("the content was changed: %v is %x, signed was %s", hash, sum, excerpt(fmt.Appendf(nil, "%x", digest), 128))
	}
	var kind asn1.ObjectIdentifier
	if err := s.attribute(pkcs7.OIDAttributeContentType, &kind); err != nil {
		return fmt.Errorf("content type: %w", err)
	}
	if !kind.Equal(pkcs7.OIDData) {
		return fmt.Errorf("the content was signed as type %v, not as data", kind)
	}
	return nil
}

// attribute reads the one attribute of a type with its one value.
func (s signer) attribute(kind asn1.ObjectIdentifier, out any) error {
	found := 0
	for _, a := range s.attributes {
		if !a.Type.Equal(kind) {
			continue
		}
		found++
		if rest, err := asn1.Unmarshal(a.Value.Bytes, out); err != nil {
			return err
		} else if len(rest) > 0 {
			return errors.New("the signed attribute has more than one value")
		}
	}
	if found != 1 {
		return fmt.Errorf("it is signed %d times, not once", found)
	}
	return nil
}

// encodeAttributes is the DER of the attributes as a SET: what the signature is over.
func encodeAttributes(attributes []attribute) ([]byte, error) {
	data, err := asn1.Marshal(struct {
		A []attribute `asn1:"set"`
	}{attributes})
	if err != nil {
		return nil, err
	}
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(data, &outer); err != nil {
		return nil, err
	}
	return outer.Bytes, nil
}

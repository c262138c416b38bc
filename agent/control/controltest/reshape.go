package controltest

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"

	"slipway/agent/control"
)

// TamperContent changes one byte of what was signed: content, which is the text that was signed, has its first occurrence changed.
func TamperContent(e control.Envelope, content []byte) (control.Envelope, error) {
	return edit(e, func(der []byte) error {
		at := bytes.Index(der, content)
		if at < 0 || len(content) == 0 {
			return errors.New("the content is not in the message in one piece")
		}
		der[at+len(content)/2] ^= 0x01
		return nil
	})
}

// TamperSignature changes the last byte of the signature.
func TamperSignature(e control.Envelope) (control.Envelope, error) {
	return edit(e, func(der []byte) error {
		der[len(der)-1] ^= 0x01
		return nil
	})
}

// edit changes a message under its armour.
func edit(e control.Envelope, change func(der []byte) error) (control.Envelope, error) {
	block, _ := pem.Decode([]byte(e.Payload))
	if block == nil {
		der := []byte(e.Payload)
		err := change(der)
		return control.Envelope{Format: e.Format, Payload: string(der)}, err
	}
	err := change(block.Bytes)
	return Armour(block.Bytes), err
}

// signedParts are the members of a SignedData, in order.
type signedParts struct {
	kind    asn1.RawValue // OBJECT IDENTIFIER of the whole
	members []asn1.RawValue
}

// split takes a message in DER apart.
func split(der []byte) (p signedParts, err error) {
	var outer struct {
		Kind asn1.RawValue
		Body asn1.RawValue `asn1:"explicit,tag:0"`
	}
	if _, err = asn1.Unmarshal(der, &outer); err != nil {
		return p, err
	}
	p.kind = outer.Kind
	var body asn1.RawValue
	if _, err = asn1.Unmarshal(outer.Body.Bytes, &body); err != nil {
		return p, err
	}
	for rest := body.Bytes; len(rest) > 0; {
		var v asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &v); err != nil {
			return p, err
		}
		p.members = append(p.members, v)
	}
	return p, nil
}

// value is one BER value with a definite length.
func value(tag byte, content ...[]byte) []byte {
	all := bytes.Join(content, nil)
	out := []byte{tag}
	switch n := len(all); {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	case n < 0x10000:
		out = append(out, 0x82, byte(n>>8), byte(n))
	default:
		out = append(out, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(out, all...)
}

// endless is one BER value with an indefinite length.
func endless(tag byte, content ...[]byte) []byte {
	out := append([]byte{tag, 0x80}, bytes.Join(content, nil)...)
	return append(out, 0, 0)
}

const (
	tagSequence  = 0x30
	tagExplicit0 = 0xa0
	tagOctets    = 0x04
	tagPieces    = 0x24
)

// omitCertificates takes the certificates out of a message.
func omitCertificates(der []byte) ([]byte, error) {
	p, err := split(der)
	if err != nil {
		return nil, err
	}
	var members [][]byte
	for _, m := range p.members {
		if m.Class != asn1.ClassContextSpecific {
			members = append(members, m.FullBytes)
		}
	}
	return value(tagSequence, p.kind.FullBytes, value(tagExplicit0, value(tagSequence, members...))), nil
}

// stream writes a message anew in BER, with the content in pieces.
func stream(der []byte, piece int) ([]byte, error) {
	if piece == 0 {
		piece = 64
	}
	p, err := split(der)
	if err != nil {
		return nil, err
	}
	if len(p.members) < 3 {
		return nil, fmt.Errorf("%d members", len(p.members))
	}
	var inner struct {
		Kind    asn1.RawValue
		Content []byte `asn1:"explicit,tag:0"`
	}
	if _, err := asn1.Unmarshal(p.members[2].FullBytes, &inner); err != nil {
		return nil, err
	}
	var pieces [][]byte
	for rest := inner.Content; len(rest) > 0; {
		n := min(piece, len(rest))
		pieces = append(pieces, value(tagOctets, rest[:n]))
		rest = rest[n:]
	}
	members := [][]byte{p.members[0].FullBytes, p.members[1].FullBytes}
	members = append(members, endless(tagSequence, inner.Kind.FullBytes, endless(tagExplicit0, endless(tagPieces, pieces...))))
	for _, m := range p.members[3:] {
		members = append(members, m.FullBytes)
	}
	return endless(tagSequence, p.kind.FullBytes, endless(tagExplicit0, endless(tagSequence, members...))), nil
}

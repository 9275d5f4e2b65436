package standin

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"time"
)

// envelopeFormat is the format of a signed specification, the only one an agent may take from the wire.
const envelopeFormat = "PKCS7/JSON"

// segment is how much content one piece of the envelope's octet string has: so little that every specification has
// several, as the service's have.
const segment = 256

// The names of PKCS #7 and PKCS #9.
var (
	oidData        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidDigest      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}

	sha256Algorithm = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, Parameters: asn1.NullRawValue}
	rsaAlgorithm    = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, Parameters: asn1.NullRawValue}
)

// envelope signs a specification, or does with it what FaultEnvelopes asked for.
func (c *Cloud) envelope(spec []byte) (format, payload string) {
	c.mu.Lock()
	how := c.forgery
	c.mu.Unlock()
	return how.envelope(spec)
}

// message is a PKCS #7 message of signed data with its content inside.
type message struct {
	content []byte // nil: none inside
	certs   []*x509.Certificate
	infos   []signerInfo
}

// signMessage signs content as each signer at a time.
func signMessage(content []byte, at time.Time, by ...signer) *message {
	m := &message{content: content}
	for _, s := range by {
		m.infos = append(m.infos, s.info(attributesOf(content, at)))
		for _, cert := range append([]*x509.Certificate{s.cert}, s.chain...) {
			if !slices.ContainsFunc(m.certs, cert.Equal) {
				m.certs = append(m.certs, cert)
			}
		}
	}
	return m
}

// signerInfo is RFC 2315's SignerInfo.
type signerInfo struct {
	Version    int
	Issuer     issuerAndSerial
	Digest     pkix.AlgorithmIdentifier
	Attributes []attribute `asn1:"set,optional,omitempty,tag:0"` // none: the signature is over the content
	Encryption pkix.AlgorithmIdentifier
	Signature  []byte
}

type issuerAndSerial struct {
	Name   asn1.RawValue
	Serial *big.Int
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

// attributesOf is what a signer signs: not the content but what it is, its digest and the time.
func attributesOf(content []byte, at time.Time) []attribute {
	digest := sha256.Sum256(content)
	return []attribute{
		{oidContentType, []asn1.RawValue{{FullBytes: der(oidData)}}},
		{oidSigningTime, []asn1.RawValue{{FullBytes: der(at.UTC())}}},
		{oidDigest, []asn1.RawValue{{FullBytes: der(digest[:])}}},
	}
}

// info signs attributes.
func (s signer) info(attributes []attribute) signerInfo {
	set, err := asn1.MarshalWithParams(attributes, "set")
	if err != nil {
		panic("standin: cannot write signed attributes: " + err.Error())
	}
	digest := sha256.Sum256(set)
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, digest[:])
	if err != nil {
		panic("standin: cannot sign a specification: " + err.Error())
	}
	return signerInfo{
		Version:    1,
		Issuer:     issuerAndSerial{asn1.RawValue{FullBytes: s.cert.RawIssuer}, s.cert.SerialNumber},
		Digest:     sha256Algorithm,
		Attributes: attributes,
		Encryption: rsaAlgorithm,
		Signature:  signature,
	}
}

// The tags of BER that the frame is made of.
const (
	tagSequence = 0x30
	tagSet      = 0x31
	tagExplicit = 0xa0 // [0], constructed
	tagOctets   = 0x24 // an octet string in segments
)

// ber writes the message as one that signs while it reads does: lengths that are not known beforehand are indefinite, and
// the content comes in segments. Go's encoding/asn1 writes DER only, which has neither.
func (m *message) ber() []byte {
	inside := [][]byte{der(oidData)}
	if m.content != nil {
		var segments [][]byte
		for piece := range slices.Chunk(m.content, segment) {
			segments = append(segments, der(piece))
		}
		if len(segments) == 0 {
			segments = [][]byte{der([]byte{})} // an octet string of no segment at all is more than most readers take
		}
		inside = append(inside, indefinite(tagExplicit, indefinite(tagOctets, segments...)))
	}
	var certs, infos [][]byte
	for _, cert := range m.certs {
		certs = append(certs, cert.Raw)
	}
	for _, info := range m.infos {
		infos = append(infos, der(info))
	}
	return indefinite(tagSequence, der(oidSignedData), indefinite(tagExplicit,
		indefinite(tagSequence,
			der(1),
			definite(tagSet, der(sha256Algorithm)),
			indefinite(tagSequence, inside...),
			definite(tagExplicit, certs...),
			definite(tagSet, infos...),
		)))
}

// pem writes the message as the service sends it.
func (m *message) pem() string { return pemOf(m.ber()) }

func pemOf(ber []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: ber}))
}

// indefinite frames parts with an end instead of a length.
func indefinite(tag byte, parts ...[]byte) []byte {
	framed := append([]byte{tag, 0x80}, bytes.Join(parts, nil)...)
	return append(framed, 0, 0)
}

// definite frames parts with their length.
func definite(tag byte, parts ...[]byte) []byte {
	return der(asn1.RawValue{Class: int(tag >> 6), Tag: int(tag & 0x1f), IsCompound: true, Bytes: bytes.Join(parts, nil)})
}

func der(v any) []byte {
	out, err := asn1.Marshal(v)
	if err != nil {
		panic("standin: cannot write ASN.1: " + err.Error())
	}
	return out
}

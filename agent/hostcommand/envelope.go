package hostcommand

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/smallstep/pkcs7"
)

// Limits of an envelope before it is parsed: the parser recurses, and copies at every level. The service's
// have some kilobytes, and certificates end some fifteen levels down.
const (
	maxEnvelope = 128 << 10
	maxDepth    = 48
)

// clockSkew is how far the instance's clock may be off where a message does not say when it was signed. AWS takes no
// request from a clock that is further off.
const clockSkew = 5 * time.Minute

// Signer is who signed a specification.
type Signer struct {
	Subject     string // of the certificate: "CN=codedeploy-signer-eu-west-1.amazonaws.com,…"
	Fingerprint string // SHA-256 of the certificate, in hexadecimal
	Trusted     bool   // the chain and the name were checked, and are good
	Remark      string // what was not checked or not as it should be; "" when Trusted
}

// trust is whom to believe.
type trust struct {
	roots *x509.CertPool // nil: anybody
	name  string         // of the signer
	now   time.Time
}

func (c *Client) trust() trust { return trust{c.opt.SignerCA, c.signer, c.now()} }

// open verifies an envelope and returns what is in it.
func (t trust) open(format, payload string) ([]byte, Signer, error) {
	message, err := unwrap(format, payload)
	if err != nil {
		return nil, Signer{}, err
	}
	switch rest, err := skip(message, maxDepth); {
	case err != nil:
		return nil, Signer{}, fmt.Errorf("its envelope is not a PKCS #7 message: %v", err)
	case len(rest) > 0:
		return nil, Signer{}, fmt.Errorf("there are %d bytes after the message in its envelope", len(rest))
	}
	p, err := pkcs7.Parse(message)
	if err != nil {
		return nil, Signer{}, fmt.Errorf("its envelope is not a PKCS #7 message: %v", err)
	}
	cert := p.GetOnlySigner()
	switch {
	case len(p.Signers) != 1:
		return nil, Signer{}, fmt.Errorf("its envelope has %d signers, not one", len(p.Signers))
	case cert == nil:
		return nil, Signer{}, errors.New("its envelope does not have the certificate of its signer")
	case len(p.Content) == 0:
		return nil, Signer{}, errors.New("its envelope is empty")
	}
	if err := t.form(p, cert); err != nil {
		return nil, Signer{}, err
	}
	if err := p.Verify(); err != nil {
		return nil, Signer{}, explain(err)
	}
	signer, err := t.judge(cert, p.Certificates)
	if err != nil {
		return nil, Signer{}, err
	}
	return p.Content, signer, nil
}

// unwrap is the message in an envelope's text: one PEM block, and nothing before or after it.
func unwrap(format, payload string) ([]byte, error) {
	if format != "PKCS7/JSON" {
		return nil, fmt.Errorf("the format of its envelope is %q, not PKCS7/JSON", format)
	}
	if len(payload) > maxEnvelope {
		return nil, fmt.Errorf("its envelope has %d bytes, more than %d", len(payload), maxEnvelope)
	}
	text := strings.TrimSpace(payload)
	const begin = "-----BEGIN "
	if n := strings.Count(text, begin); n != 1 || !strings.HasPrefix(text, begin) {
		return nil, fmt.Errorf("its envelope is not one PEM block: there are %d, or other text before it", n)
	}
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, errors.New("its envelope is not a whole PEM block")
	case len(rest) > 0:
		return nil, fmt.Errorf("there are %d bytes after its envelope's PEM block", len(rest))
	case block.Type != "PKCS7" && block.Type != "CMS":
		return nil, fmt.Errorf("its envelope is PEM of type %q, not PKCS7 or CMS", block.Type)
	}
	return block.Bytes, nil
}

// skip returns what follows the first BER value in b. The parser would pass over that in silence.
func skip(b []byte, depth int) ([]byte, error) {
	if depth == 0 {
		return nil, errors.New("it is nested too deep")
	}
	cut := errors.New("it is cut off")
	n := 1 // bytes of the tag, then of the header
	if len(b) > 0 && b[0]&0x1f == 0x1f {
		for n < len(b) && b[n] >= 0x80 {
			n++
		}
		n++
	}
	if n >= len(b) {
		return nil, cut
	}
	constructed, length := b[0]&0x20 != 0, int(b[n])
	n++
	if indefinite := length == 0x80; indefinite && constructed {
		for b = b[n:]; !bytes.HasPrefix(b, []byte{0, 0}); {
			var err error
			if b, err = skip(b, depth-1); err != nil {
				return nil, err
			}
		}
		return b[2:], nil
	}
	if digits := length - 0x80; digits >= 0 {
		if digits < 1 || digits > 3 || n+digits > len(b) {
			return nil, cut
		}
		length = 0
		for range digits {
			length, n = length<<8|int(b[n]), n+1
		}
	}
	b = b[n:]
	if length > len(b) {
		return nil, cut
	}
	for inside := b[:length]; constructed && len(inside) > 0; {
		var err error
		if inside, err = skip(inside, depth-1); err != nil {
			return nil, err
		}
	}
	return b[length:], nil
}

// form sees that the signature is of one of two forms, and over this content alone.
//
// With signed attributes it is over them, and they must name the content's type, its digest and the time: Verify
// checks what is there, and would take a message that leaves some out.
//
// Without any it is over the content itself, as OpenSSL's PKCS7_verify takes it and with it AWS's agents. The two
// forms can be confused: who strips the attributes off a signed message, and puts their encoding where the content
// was, has a message without attributes whose signature is good. Such content is refused; JSON does not begin so.
// (The type of the content is not looked at: without attributes nobody has signed it.)
func (t trust) form(p *pkcs7.PKCS7, cert *x509.Certificate) error {
	signer := p.Signers[0]
	if err := sameDigest(signer.DigestAlgorithm.Algorithm, signer.DigestEncryptionAlgorithm.Algorithm); err != nil {
		return err
	}
	if len(signer.AuthenticatedAttributes) > 0 {
		return attributes(p)
	}
	const set = asn1.TagSet | 0x20 // a SET, constructed: how the encoding of signed attributes begins
	switch {
	case p.Content[0] == set:
		return errors.New("the content of its envelope is the signed attributes of another message")
	case t.now.Add(clockSkew).Before(cert.NotBefore), t.now.Add(-clockSkew).After(cert.NotAfter):
		return fmt.Errorf("its envelope does not say when it was signed, and its signer's certificate is valid from %s to %s",
			cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// attributes sees that the signature is over the content's type, its digest and the time.
func attributes(p *pkcs7.PKCS7) error {
	var kind asn1.ObjectIdentifier
	if err := p.UnmarshalSignedAttribute(pkcs7.OIDAttributeContentType, &kind); err != nil || !kind.Equal(pkcs7.OIDData) {
		return errors.New("the signature of its envelope does not say that it is over data")
	}
	var digest []byte
	if err := p.UnmarshalSignedAttribute(pkcs7.OIDAttributeMessageDigest, &digest); err != nil {
		return errors.New("the signature of its envelope is over no digest")
	}
	var at time.Time
	if err := p.UnmarshalSignedAttribute(pkcs7.OIDAttributeSigningTime, &at); err != nil {
		return errors.New("the signature of its envelope does not say when it was made")
	}
	return nil
}

// sameDigest refuses a signer whose signature algorithm names another digest than its digest algorithm: the parser
// goes by the one with RSA and by the other with ECDSA, OpenSSL always by the latter, and no honest signer has two.
// Plain RSA and ECDSA keys name none.
func sameDigest(digest, signature asn1.ObjectIdentifier) error {
	named := map[string]asn1.ObjectIdentifier{
		pkcs7.OIDEncryptionAlgorithmRSASHA1.String(): pkcs7.OIDDigestAlgorithmSHA1, pkcs7.OIDDigestAlgorithmECDSASHA1.String(): pkcs7.OIDDigestAlgorithmSHA1,
		pkcs7.OIDEncryptionAlgorithmRSASHA256.String(): pkcs7.OIDDigestAlgorithmSHA256, pkcs7.OIDDigestAlgorithmECDSASHA256.String(): pkcs7.OIDDigestAlgorithmSHA256,
		pkcs7.OIDEncryptionAlgorithmRSASHA384.String(): pkcs7.OIDDigestAlgorithmSHA384, pkcs7.OIDDigestAlgorithmECDSASHA384.String(): pkcs7.OIDDigestAlgorithmSHA384,
		pkcs7.OIDEncryptionAlgorithmRSASHA512.String(): pkcs7.OIDDigestAlgorithmSHA512, pkcs7.OIDDigestAlgorithmECDSASHA512.String(): pkcs7.OIDDigestAlgorithmSHA512,
	}
	if of, names := named[signature.String()]; names && !of.Equal(digest) {
		return fmt.Errorf("the signature of its envelope is of the algorithm %s, and its digest of %s", signature, digest)
	}
	return nil
}

// explain says what a signature that is not good means.
func explain(err error) error {
	var digest *pkcs7.MessageDigestMismatchError
	var when *pkcs7.SigningTimeNotValidError
	switch {
	case errors.As(err, &digest):
		return errors.New("its content was changed after it was signed: the digest is another")
	case errors.As(err, &when):
		return fmt.Errorf("its envelope was signed on %s with a certificate that is valid from %s to %s",
			when.SigningTime.Format(time.RFC3339), when.NotBefore.Format(time.RFC3339), when.NotAfter.Format(time.RFC3339))
	}
	return fmt.Errorf("the signature of its envelope is not good: %v", err)
}

// judge says who the signer is, and refuses one who does not belong to the configured authorities.
func (t trust) judge(cert *x509.Certificate, sent []*x509.Certificate) (Signer, error) {
	sum := sha256.Sum256(cert.Raw)
	signer := Signer{Subject: cert.Subject.String(), Fingerprint: hex.EncodeToString(sum[:])}
	var remarks []string
	if cert.Subject.CommonName != t.name {
		remarks = append(remarks, fmt.Sprintf("its name is not %s", t.name))
	}
	if t.roots == nil {
		if t.now.Before(cert.NotBefore) || t.now.After(cert.NotAfter) {
			remarks = append(remarks, fmt.Sprintf("its certificate is valid from %s to %s only", cert.NotBefore.Format(time.DateOnly), cert.NotAfter.Format(time.DateOnly)))
		}
		signer.Remark = strings.Join(append([]string{"no authority was configured to check it against"}, remarks...), "; ")
		return signer, nil
	}
	between := x509.NewCertPool()
	for _, c := range sent {
		between.AddCert(c)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: t.roots, Intermediates: between, CurrentTime: t.now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return Signer{}, fmt.Errorf("its signer %s (SHA-256 %s) does not belong to the configured authorities: %v", signer.Subject, signer.Fingerprint, err)
	}
	if len(remarks) > 0 {
		return Signer{}, fmt.Errorf("its signer %s (SHA-256 %s) is not the service's: %s", signer.Subject, signer.Fingerprint, remarks[0])
	}
	signer.Trusted = true
	return signer, nil
}

// notifySigner notifies of who signed without being checked, once for each.
func (c *Client) notifySigner(s Signer) {
	if s.Trusted {
		return
	}
	if _, logged := c.signers.LoadOrStore(s.Fingerprint+s.Remark, true); !logged {
		c.notify(Event{Kind: SignerUnverified, Op: "GetDeploymentSpecification", Signer: s})
	}
}

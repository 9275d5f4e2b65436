package standin

import (
	"bytes"
	"slices"
	"strings"
	"time"
)

// EnvelopeFault is what is wrong with the envelopes that GetDeploymentSpecification answers with; the zero value is nothing.
type EnvelopeFault struct {
	Kind FaultKind

	// NoAttributes: the signatures are over the content itself, without signed attributes. Clients take that form
	// too; alone it is no flaw. DigestAltered and NoSignedDigest are of the other form.
	NoAttributes bool

	// Edit changes the specification before it is signed: one that lacks a field, or is no JSON. It is
	// called for every specification, possibly by several goroutines at once.
	Edit func(spec []byte) []byte
}

// FaultKind is one way in which an envelope is not what it must be. But for the flaw, everything is right.
type FaultKind int

// The flaws of an envelope.
const (
	NoFault             FaultKind = iota
	ContentAltered                // the content names another application than the one that was signed
	DigestAltered                 // the same, and the digest in the signed attributes is that of the altered content
	SignerOfAnotherName           // a certificate of the right authority for somebody else
	SignerOfAnotherRoot           // the right name, under an authority that is not SignerCA; its root is sent along
	SignerSelfSigned              // the right name, by nobody
	SignerExpired                 // the certificate ended before the specification was signed
	SignerBackdated               // the certificate has ended, and the time of signing says it had not
	TwoSigners                    // both of the right name, under the right authority
	NoSigner                      // certificates and content, and nobody signed
	NoCertificate                 // of the signer: only the authority's
	NoContent                     // a detached signature
	NoSignedDigest                // the signed attributes leave out what the content is
	AttributesAsContent           // a good message's signed attributes, passed off as content that is signed without any
	UnsignedFormat                // the specification itself, with the format TEXT/JSON
	UnknownFormat                 // a good envelope whose format is another
	TooLong                       // more than EnvelopeLimit, and otherwise good
	TwoBlocks                     // two PEM blocks, each good
	TextAfterBlock                // something after the PEM block
	BytesAfterMessage             // something in the PEM block, after the message
	NotPEM                        // base64 without its frame
)

// EnvelopeLimit is what an envelope of TooLong exceeds; the service's are a few KiB.
const EnvelopeLimit = 128 << 10

// FaultEnvelopes makes the envelopes wrong from now on; the zero value makes them right again.
func (c *Cloud) FaultEnvelopes(how EnvelopeFault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgery = how
}

// expiredFor is how long ago an expired signer's certificate ended, and how long it was valid.
const expiredFor = 24 * time.Hour

// envelope signs a specification in the way of the forgery.
func (f EnvelopeFault) envelope(spec []byte) (format, payload string) {
	spec = slices.Clone(spec) // the engine's own, which other calls read
	if f.Edit != nil {
		spec = append([]byte{}, f.Edit(spec)...) // nil is an empty specification, not a message without one
	}
	now, s := time.Now(), signing()
	good := func() *message { return f.sign(spec, now, s.signer) }
	switch f.Kind {
	case UnsignedFormat:
		return "TEXT/JSON", string(spec)
	case UnknownFormat:
		return "PKCS7/YAML", good().pem()
	case TwoBlocks:
		return envelopeFormat, good().pem() + good().pem()
	case TextAfterBlock:
		return envelopeFormat, good().pem() + "and more\n"
	case BytesAfterMessage:
		return envelopeFormat, pemOf(append(good().ber(), "and more"...))
	case NotPEM:
		lines := strings.Split(strings.TrimSpace(good().pem()), "\n")
		return envelopeFormat, strings.Join(lines[1:len(lines)-1], "\n")
	}
	return envelopeFormat, f.message(spec, now, s).pem()
}

// sign signs content in the form that was asked for.
func (f EnvelopeFault) sign(content []byte, at time.Time, by ...signer) *message {
	if f.NoAttributes {
		return signContent(content, at, by...)
	}
	return signMessage(content, at, by...)
}

// message is the signed message with the flaws that are inside it.
func (f EnvelopeFault) message(spec []byte, now time.Time, s signatory) *message {
	since, until, ended := now.Add(-validSince), now.Add(validUntil), now.Add(-expiredFor)
	m := f.sign(spec, now, s.signer)
	switch f.Kind {
	case ContentAltered:
		m.content = altered(spec)
	case DigestAltered:
		m.content = altered(spec)
		m.infos[0].Attributes = attributesOf(m.content, now)
	case SignerOfAnotherName:
		return f.sign(spec, now, s.authority.issue(s.key, "codedeploy-signer.example.com", since, until))
	case SignerOfAnotherRoot:
		other := newAuthority("CodeDeploy")
		forger := other.issue(s.key, signerName, since, until)
		forger.chain = append(forger.chain, other.root)
		return f.sign(spec, now, forger)
	case SignerSelfSigned:
		return f.sign(spec, now, selfSigned(s.key, signerName))
	case SignerExpired:
		return f.sign(spec, now, s.authority.issue(s.key, signerName, ended.Add(-expiredFor), ended))
	case SignerBackdated:
		return f.sign(spec, ended.Add(-expiredFor/2), s.authority.issue(s.key, signerName, ended.Add(-expiredFor), ended))
	case TwoSigners:
		return f.sign(spec, now, s.signer, s.authority.issue(s.key, signerName, since, until))
	case NoSigner:
		m.infos = nil
	case NoCertificate:
		m.certs = s.signer.chain
	case NoContent:
		m.content = nil
	case NoSignedDigest:
		undigested := slices.DeleteFunc(attributesOf(spec, now), func(a attribute) bool { return a.Type.Equal(oidDigest) })
		m.infos[0] = s.signer.info(undigested)
	case AttributesAsContent:
		return stripped(signMessage(spec, now, s.signer))
	case TooLong:
		return f.sign(append(spec, strings.Repeat(" ", EnvelopeLimit)...), now, s.signer)
	}
	return m
}

// altered is a specification for another application, as a forger would have it; one that an Edit left without an
// application ends with a space more.
func altered(spec []byte) []byte {
	mark := []byte(`"ApplicationName":"`)
	if !bytes.Contains(spec, mark) {
		return append(slices.Clone(spec), ' ')
	}
	return bytes.Replace(spec, mark, append(mark, 'x'), 1)
}

package standin

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"time"
)

// signContent signs content as each signer without signed attributes, as `openssl cms -noattr` does: the signature is
// over the content itself, and says nothing of when it was made.
func signContent(content []byte, at time.Time, by ...signer) *message {
	m := signMessage(content, at, by...)
	digest := sha256.Sum256(content)
	for i, s := range by {
		signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, digest[:])
		if err != nil {
			panic("standin: cannot sign a specification: " + err.Error())
		}
		m.infos[i].Attributes, m.infos[i].Signature = nil, signature
	}
	return m
}

// stripped is a signed message whose signed attributes were taken away and put where its content was: the signature
// is over them, and so it is good. Nobody signed that as content.
func stripped(m *message) *message {
	set, err := asn1.MarshalWithParams(m.infos[0].Attributes, "set")
	if err != nil {
		panic("standin: cannot write signed attributes: " + err.Error())
	}
	m.content, m.infos[0].Attributes = set, nil
	return m
}

package standin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync"
	"time"
)

// signerName is the common name of whoever signs the specifications of a region.
const signerName = "codedeploy-signer-" + region + ".amazonaws.com"

// The certificates are valid from a little before they are made, for a machine whose clock is behind, and for longer than
// any test.
const (
	validSince     = time.Hour
	validUntil     = 365 * 24 * time.Hour
	serialNumberOf = 120 // bits, at random
)

// signerKeyBits is the size of the key that signs, as small as is still accepted: it is made in every test process.
const signerKeyBits = 2048

// authority is a root and the intermediate that it lets issue.
type authority struct {
	root, intermediate       *x509.Certificate
	rootKey, intermediateKey *ecdsa.PrivateKey
}

// signer is somebody who signs envelopes.
type signer struct {
	cert  *x509.Certificate
	key   *rsa.PrivateKey
	chain []*x509.Certificate // sent along with the certificate
}

// signatory is what a process signs with.
type signatory struct {
	authority authority
	key       *rsa.PrivateKey // of every signer, forged ones too: a key takes a while to make
	signer    signer
}

// signing makes the process's signatory when it is first needed.
var signing = sync.OnceValue(func() signatory {
	key, err := rsa.GenerateKey(rand.Reader, signerKeyBits)
	if err != nil {
		panic("standin: cannot make the signer's key: " + err.Error())
	}
	a := newAuthority("CodeDeploy")
	now := time.Now()
	return signatory{a, key, a.issue(key, signerName, now.Add(-validSince), now.Add(validUntil))}
})

// SignerCA is the authority that issues the signers of deployment specifications, PEM: what a client trusts.
func (c *Cloud) SignerCA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signing().authority.root.Raw})
}

// newAuthority makes a root and its intermediate.
func newAuthority(name string) authority {
	a := authority{rootKey: newAuthorityKey(), intermediateKey: newAuthorityKey()}
	now := time.Now()
	root := certificate(name+" Root", now.Add(-validSince), now.Add(validUntil))
	intermediate := certificate(name+" Intermediate", now.Add(-validSince), now.Add(validUntil))
	for _, c := range []*x509.Certificate{root, intermediate} {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
	}
	a.root = sign(root, root, &a.rootKey.PublicKey, a.rootKey)
	a.intermediate = sign(intermediate, a.root, &a.intermediateKey.PublicKey, a.rootKey)
	return a
}

func newAuthorityKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("standin: cannot make an authority's key: " + err.Error())
	}
	return key
}

// issue makes a signer; its intermediate is sent along and the root is not, as it should be.
func (a authority) issue(key *rsa.PrivateKey, name string, since, until time.Time) signer {
	cert := sign(certificate(name, since, until), a.intermediate, &key.PublicKey, a.intermediateKey)
	return signer{cert, key, []*x509.Certificate{a.intermediate}}
}

// selfSigned makes a signer that vouches for itself.
func selfSigned(key *rsa.PrivateKey, name string) signer {
	now := time.Now()
	template := certificate(name, now.Add(-validSince), now.Add(validUntil))
	return signer{cert: sign(template, template, &key.PublicKey, key), key: key}
}

// certificate is one to be signed, of somebody who signs documents.
func certificate(name string, since, until time.Time) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialNumberOf))
	if err != nil {
		panic("standin: cannot make a serial number: " + err.Error())
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name, Organization: []string{"standin"}},
		NotBefore:    since, NotAfter: until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		panic("standin: cannot sign a certificate: " + err.Error())
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic("standin: cannot read its own certificate: " + err.Error())
	}
	return cert
}

package hostcommand

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"
)

const signerName = "codedeploy-signer-eu-west-1.amazonaws.com"

// person is somebody with a certificate and a key, in memory and as a PEM file for openssl.
type person struct {
	cert *x509.Certificate
	key  crypto.Signer
	file string
}

// certify makes a person. by is the issuer; nil is the person itself.
func certify(t *testing.T, name string, by *person, change func(*x509.Certificate)) *person {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return certifyKey(t, name, key, by, change)
}

func certifyKey(t *testing.T, name string, key crypto.Signer, by *person, change func(*x509.Certificate)) *person {
	t.Helper()
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name, Organization: []string{"Amazon"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if change != nil {
		change(template)
	}
	p := &person{key: key, cert: template, file: filepath.Join(t.TempDir(), "person.pem")}
	if by == nil {
		by = p
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	if err := os.WriteFile(p.file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// issuer is a certificate that may issue others.
func issuer(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }

// fingerprint is who a person is, in a Signer.
func (p *person) fingerprint() string {
	sum := sha256.Sum256(p.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// openssl runs the command; in CI it must be there.
func openssl(t *testing.T, input []byte, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil && os.Getenv("CI") == "" {
		t.Skip("openssl is not installed")
	}
	cmd := exec.CommandContext(t.Context(), "openssl", args...)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, said.String())
	}
	return out.Bytes()
}

// signed is content signed by somebody, as the service does: embedded, in BER with segments.
func signed(t *testing.T, content []byte, by *person, args ...string) string {
	t.Helper()
	return string(openssl(t, content, append([]string{"cms", "-sign", "-binary", "-nodetach", "-stream", "-outform", "PEM", "-signer", by.file}, args...)...))
}

// large is a specification that openssl writes in more than one segment, which it does above 4096 bytes.
func large() []byte {
	return []byte(strings.Replace(plain, `{`, `{"Padding":"`+strings.Repeat("0123456789abcdef", 700)+`",`, 1))
}

// message is what is in an envelope's PEM.
func message(t testing.TB, payload string) []byte {
	block, _ := pem.Decode([]byte(payload))
	if block == nil {
		t.Fatalf("no PEM in %q", payload)
	}
	return block.Bytes
}

func inPEM(kind string, message []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: message}))
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	root := certify(t, "CodeDeploy Root", nil, issuer)
	between := certify(t, "CodeDeploy Intermediate", root, issuer)
	good := certify(t, signerName, between, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} })
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	goodRSA := certifyKey(t, signerName, rsaKey, between, nil)
	another := certify(t, "codedeploy-signer-us-east-1.amazonaws.com", between, nil)
	alone := certify(t, signerName, nil, nil)
	stranger := certify(t, signerName, certify(t, "CodeDeploy Root", nil, issuer), nil)
	old := certify(t, signerName, between, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	ended := certify(t, signerName, between, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-2 * clockSkew) })
	young := certify(t, signerName, between, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	chain := []string{"-certfile", between.file}
	spec := large()
	sign := func(by *person, args ...string) string {
		return signed(t, spec, by, append(slices.Clone(chain), args...)...)
	}
	normal := sign(good)
	ber := message(t, normal)
	if bytes.Contains(ber, spec) {
		t.Fatal("the content is in one segment: this test would not show that several are read")
	}
	swapIn := func(payload, from, to string) string {
		was := message(t, payload)
		changed := bytes.Replace(was, []byte(from), []byte(to), 1)
		if len(from) != len(to) || bytes.Equal(changed, was) {
			t.Fatalf("cannot change %q in the message", from)
		}
		return inPEM("CMS", changed)
	}
	swap := func(from, to string) string { return swapIn(normal, from, to) }
	swapLast := func(payload, from, to string) string { // where the signer names its algorithms
		was := message(t, payload)
		at := bytes.LastIndex(was, []byte(from))
		if len(from) != len(to) || at < 0 {
			t.Fatalf("cannot change %q in the message", from)
		}
		return inPEM("CMS", slices.Concat(was[:at], []byte(to), was[at+len(to):]))
	}
	bare := sign(good, "-noattr")
	// A certificate of somebody else's making, with the same issuer's name and number as the good one.
	twin := certify(t, signerName, certify(t, "CodeDeploy Intermediate", nil, issuer), func(c *x509.Certificate) { c.SerialNumber = good.cert.SerialNumber })
	const (
		oidSHA256 = "\x60\x86\x48\x01\x65\x03\x04\x02\x01"
		oidSHA512 = "\x60\x86\x48\x01\x65\x03\x04\x02\x03"
		notOne    = "its envelope is not one PEM block: there are "
		noTrust   = "no authority was configured to check it against"
		otherName = "; its name is not " + signerName
		whose     = "does not belong to the configured authorities: "
	)
	for _, c := range []struct {
		name, payload string
		signer        *person
		trusted       string // why it is refused when there is an authority; "" when it is not
		untrusted     string // and without one; a remark begins with "no authority"
	}{
		{"good", normal, good, "", noTrust},
		{"good, RSA", sign(goodRSA), goodRSA, "", noTrust},
		{"good, as PKCS #7 in one piece", string(openssl(t, spec, "smime", "-sign", "-binary", "-nodetach", "-outform", "PEM", "-signer", good.file, "-certfile", between.file)), good, "", noTrust},
		{"good, PKCS7", inPEM("PKCS7", ber), good, "", noTrust},
		{"good, with lines around it", "\n" + normal + "\r\n\n", good, "", noTrust},
		{"the intermediate is not sent", signed(t, spec, good), good, whose + "x509: certificate signed by unknown authority", noTrust},
		{"another Region's signer", sign(another), another, "is not the service's: its name is not " + signerName, noTrust + otherName},
		{"self-signed", sign(alone), alone, whose, noTrust},
		{"of another root", sign(stranger), stranger, whose, noTrust},
		{"changed content", swap(`"ApplicationName":"shop"`, `"ApplicationName":"evil"`), nil, "its content was changed after it was signed: the digest is another", "its content was changed"},
		{"changed signature", inPEM("CMS", flipped(ber, len(ber)-20)), nil, "the signature of its envelope is not good: ", "the signature of its envelope is not good: "},
		{"an expired certificate", sign(old), nil, "its envelope was signed on ", "its envelope was signed on "},
		{"a certificate that is not valid yet", sign(young), nil, "its envelope was signed on ", "its envelope was signed on "},
		{"two signers", sign(good, "-signer", another.file), nil, "its envelope has 2 signers, not one", "its envelope has 2 signers"},
		{"no certificate of the signer", signed(t, spec, good, "-nocerts"), nil, "its envelope does not have the certificate of its signer", "its envelope does not have the certificate"},
		{"no content", string(openssl(t, spec, "cms", "-sign", "-binary", "-outform", "PEM", "-signer", good.file)), nil, "its envelope is empty", "its envelope is empty"},
		{"without attributes", bare, good, "", noTrust},
		{"without attributes, RSA", sign(goodRSA, "-noattr"), goodRSA, "", noTrust},
		{"without attributes, as PKCS #7 in one piece", string(openssl(t, spec, "smime", "-sign", "-noattr", "-binary", "-nodetach", "-outform", "PEM", "-signer", good.file, "-certfile", between.file)), good, "", noTrust},
		{"without attributes, of another root", sign(stranger, "-noattr"), stranger, whose, noTrust},
		{"without attributes, another Region's signer", sign(another, "-noattr"), another, "is not the service's: its name is not " + signerName, noTrust + otherName},
		{"without attributes, changed content", swapIn(bare, `"ApplicationName":"shop"`, `"ApplicationName":"evil"`), nil, "the signature of its envelope is not good: ", "the signature of its envelope is not good: "},
		{"without attributes, changed signature", inPEM("CMS", flipped(message(t, bare), len(message(t, bare))-20)), nil, "the signature of its envelope is not good: ", "the signature of its envelope is not good: "},
		{"without attributes, signed by another key", signed(t, spec, twin, "-noattr", "-nocerts", "-certfile", good.file), nil, "the signature of its envelope is not good: ", "the signature of its envelope is not good: "},
		{"without attributes, two signers", sign(good, "-noattr", "-signer", another.file), nil, "its envelope has 2 signers, not one", "its envelope has 2 signers"},
		{"without attributes, an expired certificate", sign(ended, "-noattr"), nil, "its envelope does not say when it was signed, and its signer's certificate is valid from ", "its envelope does not say when it was signed"},
		{"without attributes, another digest than was signed", swapLast(sign(goodRSA, "-noattr"), oidSHA256, oidSHA512), nil, "the signature of its envelope is not good: ", "the signature of its envelope is not good: "},
		{"without attributes, two digests", swapLast(bare, oidSHA256, oidSHA512), nil, "the signature of its envelope is of the algorithm 1.2.840.10045.4.3.2, and its digest of 2.16.840.1.101.3.4.2.3", "the signature of its envelope is of the algorithm"},
		{"two digests", swapLast(normal, oidSHA256, oidSHA512), nil, "the signature of its envelope is of the algorithm 1.2.840.10045.4.3.2, and its digest of 2.16.840.1.101.3.4.2.3", "the signature of its envelope is of the algorithm"},
		{"another's attributes for content", attributesAsContent(t, normal), nil, "the content of its envelope is the signed attributes of another message", "the content of its envelope is the signed attributes"},
		{"another's attributes for content, RSA", attributesAsContent(t, sign(goodRSA)), nil, "the content of its envelope is the signed attributes of another message", "the content of its envelope is the signed attributes"},
		{"signed as another type", sign(good, "-econtent_type", "1.2.840.113549.1.9.16.1.4"), nil, "the signature of its envelope does not say that it is over data", "the signature of its envelope does not say"},
		{"signed at no time", swap("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x05", "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x63"), nil, "the signature of its envelope does not say when it was made", "the signature of its envelope does not say when"}, // the attribute is now another
		{"not signed at all", inPEM("CMS", openssl(t, spec, "cms", "-data_create", "-outform", "DER")), nil, "its envelope is not a PKCS #7 message: ", "its envelope is not a PKCS #7 message: "},
		{"two messages", normal + normal, nil, notOne + "2", notOne},
		{"a broken message before a good one", "-----BEGIN CMS-----\n!\n" + normal, nil, notOne + "2", notOne},
		{"text before it", "Subject: x\n" + normal, nil, notOne + "1", notOne},
		{"text after it", normal + "and more\n", nil, "there are 8 bytes after its envelope's PEM block", "there are 8 bytes after"},
		{"bytes after the message", inPEM("CMS", append(slices.Clone(ber), "and more"...)), nil, "there are 8 bytes after the message in its envelope", "there are 8 bytes after the message"},
		{"a message cut off", inPEM("CMS", ber[:len(ber)-1]), nil, "its envelope is not a PKCS #7 message: it is cut off", "its envelope is not a PKCS #7 message: it is cut off"},
		{"half a block", normal[:len(normal)/2], nil, "its envelope is not a whole PEM block", "its envelope is not a whole PEM block"},
		{"another type of PEM", inPEM("CERTIFICATE", ber), nil, `its envelope is PEM of type "CERTIFICATE", not PKCS7 or CMS`, `its envelope is PEM of type "CERTIFICATE"`},
		{"a certificate", inPEM("PKCS7", good.cert.Raw), nil, "its envelope is not a PKCS #7 message: ", "its envelope is not a PKCS #7 message: "},
		{"JSON", plain, nil, notOne + "0", notOne},
		{"nothing", "", nil, notOne + "0", notOne},
		{"nested without end", inPEM("CMS", bytes.Repeat([]byte{0x30, 0x80}, 40_000)), nil, "its envelope is not a PKCS #7 message: it is nested too deep", "its envelope is not a PKCS #7 message: it is nested"},
		{"too long", signed(t, bytes.Repeat(spec, 10), good), nil, "its envelope has ", "its envelope has "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			roots := x509.NewCertPool()
			roots.AddCert(root.cert)
			for _, authority := range []struct {
				pool *x509.CertPool
				want string
			}{{roots, c.trusted}, {nil, c.untrusted}} {
				content, signer, err := trust{authority.pool, signerName, time.Now()}.open("PKCS7/JSON", c.payload)
				accepted := authority.want == "" || strings.HasPrefix(authority.want, noTrust)
				switch {
				case !accepted && (err == nil || !strings.Contains(err.Error(), authority.want) || content != nil):
					t.Errorf("got %q, %v\nwant %s", content, err, authority.want)
				case accepted && err != nil:
					t.Error(err)
				case accepted && (!bytes.Equal(content, spec) || signer != Signer{c.signer.cert.Subject.String(), c.signer.fingerprint(), authority.want == "", authority.want}):
					t.Errorf("got %d bytes of %+v, want %d and the remark %q", len(content), signer, len(spec), authority.want)
				}
			}
		})
	}
	t.Run("another format", func(t *testing.T) {
		_, _, err := trust{nil, signerName, time.Now()}.open("TEXT/JSON", normal)
		if err == nil || err.Error() != `the format of its envelope is "TEXT/JSON", not PKCS7/JSON` {
			t.Error(err)
		}
	})
	t.Run("a chain that has ended since", func(t *testing.T) {
		later := time.Now().Add(2 * time.Hour)
		roots := x509.NewCertPool()
		roots.AddCert(root.cert)
		if _, _, err := (trust{roots, signerName, later}).open("PKCS7/JSON", normal); err == nil || !strings.Contains(err.Error(), "certificate has expired") {
			t.Errorf("with an authority: %v", err)
		}
		_, signer, err := trust{nil, signerName, later}.open("PKCS7/JSON", normal)
		want := noTrust + "; its certificate is valid from " + good.cert.NotBefore.Format(time.DateOnly) + " to " + good.cert.NotAfter.Format(time.DateOnly) + " only"
		if err != nil || signer.Remark != want {
			t.Errorf("without: %+v, %v", signer, err)
		}
	})
}

// attributesAsContent takes the signed attributes off a message and puts them where its content was. The signature is
// good, as openssl is asked to witness, and of nothing that was signed as content.
func attributesAsContent(t *testing.T, payload string) string {
	t.Helper()
	p, err := pkcs7.Parse(message(t, payload))
	if err != nil {
		t.Fatal(err)
	}
	of := p.Signers[0]
	type attribute struct {
		Type   asn1.ObjectIdentifier
		Values asn1.RawValue
	}
	var all []attribute
	for _, a := range of.AuthenticatedAttributes {
		all = append(all, attribute{a.Type, a.Value})
	}
	set, err := asn1.MarshalWithParams(all, "set")
	if err != nil {
		t.Fatal(err)
	}
	var certs []byte
	for _, c := range p.Certificates {
		certs = append(certs, c.Raw...)
	}
	type content struct {
		Type asn1.ObjectIdentifier
		Data []byte `asn1:"explicit,tag:0"`
	}
	type signer struct {
		Version           int
		Issuer            any
		Digest, Signature pkix.AlgorithmIdentifier
		Value             []byte
	}
	type signedData struct {
		Version int
		Digests []pkix.AlgorithmIdentifier `asn1:"set"`
		Content content
		Certs   asn1.RawValue
		Signers []signer `asn1:"set"`
	}
	forged, err := asn1.Marshal(struct {
		Type asn1.ObjectIdentifier
		Data signedData `asn1:"explicit,tag:0"`
	}{pkcs7.OIDSignedData, signedData{1, []pkix.AlgorithmIdentifier{of.DigestAlgorithm}, content{pkcs7.OIDData, set},
		asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: certs},
		[]signer{{1, of.IssuerAndSerialNumber, of.DigestAlgorithm, of.DigestEncryptionAlgorithm, of.EncryptedDigest}}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := openssl(t, forged, "smime", "-verify", "-noverify", "-binary", "-inform", "DER"); !bytes.Equal(got, set) {
		t.Fatalf("openssl reads %x, not the attributes: the forgery is none", got)
	}
	return inPEM("PKCS7", forged)
}

// flipped is data with one bit changed.
func flipped(data []byte, at int) []byte {
	changed := slices.Clone(data)
	changed[at] ^= 1
	return changed
}

// skip finds the end of a value as the encoding says, or that there is none.
func TestSkip(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, hex string
		rest      int // -1: refused
	}{
		{"null", "0500", 0},
		{"and more", "0500ffff", 2},
		{"a long tag", "1f8101" + "00", 0},
		{"a length of two bytes", "0482000141", 0},
		{"nested", "3003020101", 0},
		{"nested, without lengths", "3080020101" + "0000" + "ff", 1},
		{"empty, without length", "30800000", 0},
		{"inside one with a length", "3007" + "3080020101" + "0000", 0},
		{"nothing", "", -1},
		{"a tag alone", "30", -1},
		{"a long tag without end", "1f81", -1},
		{"less than it says", "0402ff", -1},
		{"less inside than it says", "3003" + "020201" + "01", -1},
		{"without length, and without end", "3080020101", -1},
		{"a primitive without length", "04800000", -1},
		{"a length that is cut off", "0482ff", -1},
		{"a length that is too large", "0484ffffffff", -1},
		{"as deep as may be", strings.Repeat("3080", 47) + "0500" + strings.Repeat("0000", 47), 0},
		{"too deep", strings.Repeat("3080", 48) + "0500" + strings.Repeat("0000", 48), -1},
	} {
		b, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		rest, err := skip(b, maxDepth)
		if (err == nil) != (c.rest >= 0) || err == nil && len(rest) != c.rest {
			t.Errorf("%s: %d bytes left, %v", c.name, len(rest), err)
		}
	}
}

package standin_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"

	"usher/agent/standin"
)

// specifier asks for one specification again and again.
func specifier(t *testing.T) (*standin.Cloud, func(t *testing.T) (format, payload string)) {
	t.Helper()
	cloud, inst, host := oneHost(t, standin.Options{})
	cloud.SendCommand(inst, event("Install"))
	in := fields{"DeploymentExecutionId": host.poll().HostCommand.DeploymentExecutionId, "HostIdentifier": host.host}
	return cloud, func(t *testing.T) (format, payload string) {
		t.Helper()
		host.t = t
		var spec specified
		host.ask("GetDeploymentSpecification", in, &spec)
		e := spec.DeploymentSpecification.GenericEnvelope
		return e.Format, e.Payload
	}
}

func TestTheEnvelopeIsAsTheServiceSendsIt(t *testing.T) {
	t.Parallel()
	cloud, specification := specifier(t)
	format, payload := specification(t)
	if wrong := inspect(t, cloud, format, payload); len(wrong) > 0 {
		t.Fatalf("wrong with it: %q\n%s", wrong, payload)
	}
	block, _ := pem.Decode([]byte(payload))
	message, err := pkcs7.Parse(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(message.Content, &spec); err != nil {
		t.Fatalf("%v in %s", err, message.Content)
	}
	for name, want := range map[string]any{"ApplicationName": "shop", "DeploymentGroupName": "production"} {
		if spec[name] != want {
			t.Errorf("%s is %v, want %v", name, spec[name], want)
		}
	}

	// What a reader of DER does not understand, and the service sends.
	var indefinite, octets, segments int
	elements(block.Bytes, func(tag byte, endless bool) {
		switch {
		case tag == 0x24 && endless:
			octets++
			segments = 0
		case tag == 0x04 && octets == 1:
			segments++
		}
		if endless {
			indefinite++
		}
	})
	if indefinite < 3 || octets != 1 || segments < 2 {
		t.Errorf("%d elements of indefinite length, %d octet strings in segments, the last of %d", indefinite, octets, segments)
	}
	if got, err := openssl(t, cloud, payload); err != nil || !bytes.Equal(got, message.Content) {
		t.Errorf("openssl reads %q, %v", got, err)
	}
}

// elements visits every element of BER and returns how long the first is with all that is in it.
func elements(ber []byte, visit func(tag byte, endless bool)) int {
	tag, length, at := ber[0], int(ber[1]), 2
	endless := length == 0x80
	if length > 0x80 {
		n := length - 0x80
		length = 0
		for _, b := range ber[at : at+n] {
			length = length<<8 | int(b)
		}
		at += n
	}
	visit(tag, endless)
	switch {
	case endless:
		for ber[at] != 0 || ber[at+1] != 0 {
			at += elements(ber[at:], visit)
		}
		return at + 2
	case tag&0x20 == 0:
		return at + length
	}
	for end := at + length; at < end; {
		at += elements(ber[at:], visit)
	}
	return at
}

// inspect tells everything that is wrong with an envelope, as a client that looks closely would see it.
func inspect(t *testing.T, c *standin.Cloud, format, payload string) (wrong []string) {
	t.Helper()
	say := func(when bool, what string, args ...any) {
		if when {
			wrong = append(wrong, fmt.Sprintf(what, args...))
		}
	}
	say(format != "PKCS7/JSON", "format %s", format)
	say(len(payload) > standin.EnvelopeLimit, "long")
	block, rest := pem.Decode([]byte(payload))
	if block == nil {
		return append(wrong, "no PEM block")
	}
	second, text := pem.Decode(rest)
	say(second != nil, "a second block")
	say(len(text) > 0, "text after it")
	say(block.Type != "PKCS7", "type %s", block.Type)
	say(elements(block.Bytes, func(byte, bool) {}) != len(block.Bytes), "bytes after it")

	m, err := pkcs7.Parse(block.Bytes)
	if err != nil {
		t.Fatalf("not a message: %v", err)
	}
	var spec struct{ ApplicationName string }
	if err := json.Unmarshal(m.Content, &spec); len(m.Content) > 0 && (err != nil || spec.ApplicationName != "shop") {
		wrong = append(wrong, "another specification")
	}
	say(len(m.Content) == 0, "no content")
	say(len(m.Signers) != 1, "%d signers", len(m.Signers))
	if len(m.Signers) != 1 {
		if err := m.Verify(); len(m.Signers) > 1 && err != nil {
			t.Errorf("not every signature is good: %v", err)
		}
		return wrong
	}
	var signed []byte
	digest := sha256.Sum256(m.Content)
	switch err := m.UnmarshalSignedAttribute(pkcs7.OIDAttributeMessageDigest, &signed); {
	case err != nil:
		wrong = append(wrong, "no digest")
	case !bytes.Equal(signed, digest[:]):
		wrong = append(wrong, "digest")
	}
	cert := m.GetOnlySigner()
	if cert == nil {
		return append(wrong, "no certificate")
	}
	var at time.Time
	if err := m.UnmarshalSignedAttribute(pkcs7.OIDAttributeSigningTime, &at); err != nil && len(m.Signers[0].AuthenticatedAttributes) > 0 {
		t.Errorf("time of signing: %v", err)
	} else if err != nil {
		at = time.Now()
	}
	say(at.Before(cert.NotBefore) || at.After(cert.NotAfter), "time of signing")
	// The rest after its own checks of the digest and the time of signing.
	say(errors.Is(m.Verify(), rsa.ErrVerification), "signature")
	say(cert.Subject.CommonName != "codedeploy-signer-"+c.Region+".amazonaws.com", "name")

	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(c.SignerCA())
	for _, other := range m.Certificates {
		between.AddCert(other)
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		wrong = append(wrong, "root")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		wrong = append(wrong, "expired")
	case err != nil:
		t.Errorf("chain: %v", err)
	}
	if len(wrong) == 0 && m.Verify() != nil {
		t.Errorf("nothing is wrong, and yet: %v", m.Verify())
	}
	return wrong
}

func TestEveryForgeryIsWhatItSays(t *testing.T) {
	t.Parallel()
	cloud, specification := specifier(t)
	for _, c := range []struct {
		name  string
		flaw  standin.FaultKind
		wrong []string
		fools bool // openssl cms -verify with the right CA, which knows nothing of names, formats or sizes
	}{
		{"none", standin.NoFault, nil, true},
		{"content altered", standin.ContentAltered, []string{"another specification", "digest"}, false},
		{"digest altered", standin.DigestAltered, []string{"another specification", "signature"}, false},
		{"another name", standin.SignerOfAnotherName, []string{"name"}, true},
		{"another root", standin.SignerOfAnotherRoot, []string{"root"}, false},
		{"self-signed", standin.SignerSelfSigned, []string{"root"}, false},
		{"expired", standin.SignerExpired, []string{"time of signing", "expired"}, false},
		{"expired and backdated", standin.SignerBackdated, []string{"expired"}, false},
		{"two signers", standin.TwoSigners, []string{"2 signers"}, true},
		{"no signer", standin.NoSigner, []string{"0 signers"}, false},
		{"no certificate", standin.NoCertificate, []string{"no certificate"}, false},
		{"no content", standin.NoContent, []string{"no content", "digest"}, false},
		{"no digest", standin.NoSignedDigest, []string{"no digest"}, false},
		{"attributes for content", standin.AttributesAsContent, []string{"another specification", "no digest"}, true},
		{"another format", standin.UnknownFormat, []string{"format PKCS7/YAML"}, true},
		{"not signed", standin.UnsignedFormat, []string{"format TEXT/JSON", "no PEM block"}, false},
		{"too long", standin.TooLong, []string{"long"}, true},
		{"two blocks", standin.TwoBlocks, []string{"a second block"}, true},
		{"text after the block", standin.TextAfterBlock, []string{"text after it"}, true},
		{"bytes after the message", standin.BytesAfterMessage, []string{"bytes after it"}, true},
		{"not PEM", standin.NotPEM, []string{"no PEM block"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cloud.FaultEnvelopes(standin.EnvelopeFault{Kind: c.flaw})
			format, payload := specification(t)
			if wrong := inspect(t, cloud, format, payload); !slices.Equal(wrong, c.wrong) {
				t.Errorf("wrong with it: %q, want %q", wrong, c.wrong)
			}
			if _, err := openssl(t, cloud, payload); (err == nil) != c.fools {
				t.Errorf("openssl: %v", err)
			}
			if c.flaw == standin.NotPEM {
				if ber, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(payload, "\n", "")); err != nil {
					t.Errorf("inside the frame that is missing: %v", err)
				} else if _, err := pkcs7.Parse(ber); err != nil {
					t.Errorf("inside the frame that is missing: %v", err)
				}
			}
		})
	}
	cloud.FaultEnvelopes(standin.EnvelopeFault{})
	if format, payload := specification(t); len(inspect(t, cloud, format, payload)) > 0 {
		t.Error("the forgery does not end")
	}
}

// The same form as openssl's -noattr: openssl accepts what is good, and sees what was altered.
func TestAnEnvelopeWithoutAttributes(t *testing.T) {
	t.Parallel()
	cloud, specification := specifier(t)
	for _, c := range []struct {
		flaw standin.FaultKind
		good bool
	}{{standin.NoFault, true}, {standin.ContentAltered, false}, {standin.SignerOfAnotherRoot, false}, {standin.SignerExpired, false}, {standin.TwoSigners, true}} {
		cloud.FaultEnvelopes(standin.EnvelopeFault{Kind: c.flaw, NoAttributes: true})
		_, payload := specification(t)
		block, _ := pem.Decode([]byte(payload))
		m, err := pkcs7.Parse(block.Bytes)
		if err != nil || len(m.Signers[0].AuthenticatedAttributes) > 0 {
			t.Fatalf("flaw %d: %v, or it has attributes", c.flaw, err)
		}
		if _, err := openssl(t, cloud, payload); (err == nil) != c.good {
			t.Errorf("flaw %d: openssl: %v", c.flaw, err)
		}
	}
}

func TestAnEditedSpecificationIsSigned(t *testing.T) {
	t.Parallel()
	cloud, specification := specifier(t)
	for _, want := range []string{`["shop"]`, `{"ApplicationName":""}`, ""} {
		cloud.FaultEnvelopes(standin.EnvelopeFault{Edit: func([]byte) []byte { return []byte(want) }})
		_, payload := specification(t)
		got, err := openssl(t, cloud, payload)
		if err != nil || string(got) != want {
			t.Errorf("edited to %q: %q, %v", want, got, err)
		}
		block, _ := pem.Decode([]byte(payload))
		if m, err := pkcs7.Parse(block.Bytes); err != nil || string(m.Content) != want || m.Verify() != nil {
			t.Errorf("edited to %q: %+v, %v", want, m, err)
		}
	}
	cloud.FaultEnvelopes(standin.EnvelopeFault{Kind: standin.ContentAltered, Edit: func(spec []byte) []byte {
		return bytes.Replace(spec, []byte(`"shop"`), []byte(`"store"`), 1)
	}})
	_, payload := specification(t)
	block, _ := pem.Decode([]byte(payload))
	m, err := pkcs7.Parse(block.Bytes)
	if err != nil || !bytes.Contains(m.Content, []byte(`"xstore"`)) || m.Verify() == nil {
		t.Errorf("edited, signed and altered: %+v, %v", m, err)
	}
}

// openssl reads an envelope as a client nobody of us wrote does. CI has one, so there its absence is a failure.
func openssl(t *testing.T, c *standin.Cloud, payload string) (content []byte, err error) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no openssl in PATH: install it")
		}
		t.Skip("no openssl in PATH: the envelopes are read by one reader only")
	}
	dir := t.TempDir()
	ca, in := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "envelope.pem")
	for name, text := range map[string]string{ca: string(c.SignerCA()), in: payload} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, bad bytes.Buffer
	cmd := exec.CommandContext(testContext(t), "openssl", "cms", "-verify", "-inform", "PEM", "-in", in, "-CAfile", ca, "-purpose", "any", "-binary")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &bad
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, bad.String())
	}
	return out.Bytes(), nil
}

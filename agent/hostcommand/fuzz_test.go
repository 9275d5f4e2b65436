package hostcommand

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// recorded are envelopes of openssl with a signer that is valid for a hundred years, and the time they are
// read at: the first short, the second in two segments.
func recorded(t testing.TB) (envelopes []string, at trust) {
	for _, name := range []string{"short.pem", "segments.pem"} {
		text, err := os.ReadFile(filepath.Join(here, "testdata", "envelope", name))
		if err != nil {
			t.Fatal(err)
		}
		envelopes = append(envelopes, string(text))
	}
	return envelopes, trust{nil, signerName, time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)}
}

// here is absolute because the stand-in moves the process.
var here, _ = filepath.Abs(".")

// What openssl wrote once is read, whether openssl is here or not.
func TestRecordedEnvelopes(t *testing.T) {
	t.Parallel()
	envelopes, at := recorded(t)
	for _, e := range envelopes {
		content, signer, err := at.open("PKCS7/JSON", e)
		if err != nil || !strings.HasSuffix(string(content), plain[1:]) || signer.Subject != "CN="+signerName+",O=Amazon" {
			t.Errorf("%d bytes of %+v, %v", len(content), signer, err)
		}
		if got, err := parse(content); err != nil || !reflect.DeepEqual(got, specificationOf(nil)) {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// Any message, and any text for an envelope, is refused or opened without a panic; and what is said to be of
// the signer of the examples is what that signer signed.
func FuzzEnvelope(f *testing.F) {
	envelopes, at := recorded(f)
	signedBy := map[string]string{} // content to fingerprint
	for _, e := range envelopes {
		content, signer, err := at.open("PKCS7/JSON", e)
		if err != nil {
			f.Fatal(err)
		}
		signedBy[string(content)] = signer.Fingerprint
		f.Add([]byte(e))
		f.Add(message(f, e))
	}
	of := signedBy[plain]
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, payload := range []string{string(data), inPEM("PKCS7", data)} {
			got, signer, err := at.open("PKCS7/JSON", payload)
			switch {
			case err != nil && (got != nil || signer != Signer{}):
				t.Errorf("refused with %v, and yet %q of %+v", err, got, signer)
			case err == nil && signer.Fingerprint == of && signedBy[string(got)] != of:
				t.Errorf("the signer of the examples is said to have signed %q", got)
			}
		}
	})
}

// Any content is refused, or has what a deployment needs.
func FuzzSpecification(f *testing.F) {
	f.Add([]byte(plain))
	f.Add([]byte(`{"DeploymentId":"d-1","DeploymentGroupId":"g","DeploymentGroupName":"n","ApplicationName":"a","Revision":{"RevisionType":"GitHub","GitHubRevision":{"Account":"o","Repository":"r","CommitId":"c"}}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parse(text)
		if err != nil {
			return
		}
		if s.Application == "" || s.Group == "" || s.GroupID == "" || s.Creator == "" || s.Type == "" || !strings.HasPrefix(s.DeploymentID, "d-") || strings.ContainsAny(s.DeploymentID, "/.\n") {
			t.Errorf("%+v of %s", s, text)
		}
		if (s.S3 == nil) == (s.GitHub == nil) || s.S3 != nil && (s.S3.Bucket == "" || s.S3.Key == "" || strings.HasPrefix(s.S3.ETag, `"`)) {
			t.Errorf("%+v of %s", s, text)
		}
	})
}

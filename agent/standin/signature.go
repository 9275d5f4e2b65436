package standin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// maxClockSkew is how far a signature's time may be from ours; AWS allows five minutes.
const maxClockSkew = 5 * time.Minute

// signatureTime is the form of X-Amz-Date.
const signatureTime = "20060102T150405Z"

// credential is a key pair somebody was given.
type credential struct {
	key, secret string
	token       string // of a role's session; "" for a user
	issued      time.Time
	expires     time.Time // zero: never
	instance    string    // whose role credentials these are; "" for a user
	session     string    // ROLE/SESSION that a user has assumed with these; "" for a user's own
	cloud       *Cloud
}

func (c credential) expired() bool { return !c.expires.IsZero() && !time.Now().Before(c.expires) }

// keyring knows every credential of the process: the S3 gateway, which the Clouds share, has to check
// signatures of all of them.
type keyring struct {
	mu   sync.Mutex
	keys map[string]credential
}

var keys = &keyring{keys: map[string]credential{}}

// The prefixes by which access keys tell what they are.
const (
	userKey    = "AKIA"
	sessionKey = "ASIA"
)

// issue makes a new key pair; with a lifetime it is a session's: it has a token and expires.
func (k *keyring) issue(c *Cloud, instance string, lifetime time.Duration) credential {
	return k.add(c, credential{instance: instance}, lifetime)
}

// issueRole makes the credentials of a role that a user has assumed.
func (k *keyring) issueRole(c *Cloud, session string, lifetime time.Duration) credential {
	return k.add(c, credential{session: session}, lifetime)
}

func (k *keyring) add(c *Cloud, made credential, lifetime time.Duration) credential {
	now := time.Now()
	made.key, made.secret, made.issued, made.cloud = userKey+strings.ToUpper(randomHex(16)), randomHex(40), now, c
	if lifetime > 0 {
		made.key = sessionKey + strings.ToUpper(randomHex(16))
		made.token = randomHex(200)
		made.expires = now.Add(lifetime)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[made.key] = made
	return made
}

func (k *keyring) lookup(key string) (credential, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, ok := k.keys[key]
	return c, ok
}

// expire ends a credential now.
func (k *keyring) expire(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c, ok := k.keys[key]; ok {
		c.expires = time.Now()
		k.keys[key] = c
	}
}

// revoke forgets the credentials of a Cloud.
func (k *keyring) revoke(c *Cloud) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, made := range k.keys {
		if made.cloud == c {
			delete(k.keys, key)
		}
	}
}

// authorization is a parsed Authorization header of Signature Version 4.
type authorization struct {
	key, date, region, service string
	headers                    []string // lower case
	signature                  string
}

// parseAuthorization reads the header; ok is false when it is absent or not SigV4.
func parseAuthorization(h string) (a authorization, ok bool) {
	fields, found := strings.CutPrefix(h, "AWS4-HMAC-SHA256 ")
	if !found {
		return a, false
	}
	for field := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch name {
		case "Credential":
			scope := strings.Split(value, "/")
			if len(scope) != 5 || scope[4] != "aws4_request" {
				return a, false
			}
			a.key, a.date, a.region, a.service = scope[0], scope[1], scope[2], scope[3]
		case "SignedHeaders":
			a.headers = strings.Split(value, ";")
		case "Signature":
			a.signature = value
		}
	}
	return a, a.key != "" && a.signature != "" && slices.Contains(a.headers, "host")
}

// refusal is why a signature is not accepted; every protocol has its own code for each.
type refusal int

const (
	unsigned refusal = iota + 1
	unknownKey
	expiredKey
	wrongSignature
)

// verify checks that a request is signed for the service with a key of this Cloud, recomputing the
// signature with the SDK's own signer.
func (c *Cloud) verify(r *http.Request, body []byte, service string) (credential, refusal, string) {
	auth, ok := parseAuthorization(r.Header.Get("Authorization"))
	if !ok {
		return credential{}, unsigned, "Missing Authentication Token"
	}
	cred, ok := keys.lookup(auth.key)
	if !ok || cred.cloud != c || r.Header.Get("X-Amz-Security-Token") != cred.token {
		return credential{}, unknownKey, "The security token included in the request is invalid."
	}
	if cred.expired() {
		return cred, expiredKey, "The security token included in the request is expired"
	}
	if auth.region != c.Region {
		return cred, wrongSignature, fmt.Sprintf("Credential should be scoped to a valid region, not '%s'. ", auth.region)
	}
	if auth.service != service {
		return cred, wrongSignature, fmt.Sprintf("Credential should be scoped to correct service: '%s'. ", service)
	}
	stamp := r.Header.Get("X-Amz-Date")
	at, err := time.Parse(signatureTime, stamp)
	if err != nil || !strings.HasPrefix(stamp, auth.date) {
		return cred, wrongSignature, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP"
	}
	if age := c.now().Sub(at).Abs(); age > maxClockSkew {
		return cred, wrongSignature, fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - 5 min.)",
			stamp, c.now().Add(-maxClockSkew).UTC().Format(signatureTime), c.now().UTC().Format(signatureTime))
	}
	if !c.signedBy(r, body, auth, cred, at) {
		return cred, wrongSignature, "The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	}
	return cred, 0, ""
}

// signedBy signs the same request with the key's secret and compares.
func (c *Cloud) signedBy(r *http.Request, body []byte, auth authorization, cred credential, at time.Time) bool {
	again, err := http.NewRequestWithContext(context.Background(), r.Method, "http://"+r.Host+r.URL.RequestURI(), io.NopCloser(bytes.NewReader(body)))
	if err != nil {
		return false
	}
	for _, name := range auth.headers {
		switch name {
		case "host", "x-amz-date":
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	sum := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: cred.key, SecretAccessKey: cred.secret},
		again, hex.EncodeToString(sum[:]), auth.service, auth.region, at)
	if err != nil {
		return false
	}
	ours, ok := parseAuthorization(again.Header.Get("Authorization"))
	return ok && ours.signature == auth.signature
}

// Package revision answers which revision this server must run: the target revision of its one
// deployment group, which by CodeDeploy's own rule for new instances is the last one that was
// deployed successfully.
//
// Revisions in S3 (tar, tgz, zip) and in public GitHub repositories are known. A group that nothing
// was deployed to yet has none: [ErrNone], which is no failure.
//
// Caveats. A revision in S3 that was registered with neither ETag nor version names a place, not a
// content: see [Revision.Pinned]. Calls are retried as the caller's client does; throttling by
// CodeDeploy comes back as an error that wraps the service's.
package revision

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"path"
	"strings"
	"time"
)

// maxID bounds a release id, in bytes. It becomes the name of directories beside others with a few
// more characters (".incoming-", ".json"), and file names end at 255; 80 fit on a line of a terminal.
const maxID = 80

// hashDigits is how many hexadecimal digits of the hash are in a release id. They only have to tell
// apart the handful of releases on one disk.
const hashDigits = 8

// Revision is what a deployment group runs, and where it comes from. Exactly one of S3 and GitHub is
// set.
type Revision struct {
	Application  string    // name of the CodeDeploy application
	Group        string    // name of the deployment group
	GroupID      string    // its id, a UUID
	DeploymentID string    // the deployment that last succeeded (d-…); "" when CodeDeploy does not say
	Deployed     time.Time // when that deployment ended; zero when CodeDeploy does not say
	Underway     string    // the deployment that is being rolled out to the group now; "" for none
	S3           *S3
	GitHub       *GitHub
}

// S3 is a revision in Amazon S3.
type S3 struct {
	Bucket, Key string
	Version     string // version of the object; "" when the revision was registered without
	ETag        string // without quotes; "" when the revision was registered without
	BundleType  string // "tar", "tgz" or "zip"
}

// GitHub is a revision in a public GitHub repository.
type GitHub struct {
	Repository string // owner/name
	CommitID   string // 7 to 40 hexadecimal digits
}

// ID is the name of the revision's release on disk: the stem of the key or of the repository, "-", and
// eight hexadecimal digits that stand for where exactly it is. Equal revisions ([Revision.Same]) have
// equal ids. It is at most 80 bytes of [A-Za-z0-9._-], starts with a letter, a digit or "_", and
// ends in a hexadecimal digit.
func (r Revision) ID() string {
	stem := "revision"
	switch {
	case r.S3 != nil:
		stem = r.S3.Key
	case r.GitHub != nil:
		stem = r.GitHub.Repository
	}
	stem = path.Base(stem)
	for _, suffix := range []string{".zip", ".tgz", ".gz", ".tar"} { // in this order for .tar.gz
		stem = strings.TrimSuffix(stem, suffix)
	}
	stem = strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
			return c
		}
		return '-'
	}, stem)
	stem = strings.TrimLeft(stem, ".-") // neither hidden nor taken for an option
	stem = strings.TrimRight(stem[:min(len(stem), maxID-1-hashDigits)], ".-")
	if stem == "" {
		stem = "revision"
	}
	return stem + "-" + r.hash()[:hashDigits]
}

// hash is the SHA-256 of what identifies the bundle, in hexadecimal.
func (r Revision) hash() string {
	var parts []string
	switch {
	case r.S3 != nil:
		parts = []string{r.S3.Bucket, r.S3.Key, r.S3.Version, r.S3.ETag}
	case r.GitHub != nil:
		parts = []string{strings.ToLower(r.GitHub.Repository), strings.ToLower(r.GitHub.CommitID)}
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00"))) // no part can hold a NUL
	return hex.EncodeToString(sum[:])
}

// String names the revision for people: s3://bucket/key?versionId=… (etag …), without what it was
// registered without, or github.com/owner/name@abc1234.
func (r Revision) String() string {
	switch {
	case r.S3 != nil:
		text := "s3://" + r.S3.Bucket + "/" + r.S3.Key
		if r.S3.Version != "" {
			text += "?versionId=" + url.QueryEscape(r.S3.Version)
		}
		if r.S3.ETag != "" {
			text += " (etag " + r.S3.ETag + ")"
		}
		return text
	case r.GitHub != nil:
		const short = 7 // as git abbreviates a commit
		return "github.com/" + r.GitHub.Repository + "@" + r.GitHub.CommitID[:min(len(r.GitHub.CommitID), short)]
	}
	return "no revision"
}

// Same reports whether r and o name the same bundle, whichever deployment brought it.
func (r Revision) Same(o Revision) bool {
	return (r.S3 != nil) == (o.S3 != nil) && (r.GitHub != nil) == (o.GitHub != nil) && r.hash() == o.hash()
}

// Pinned reports whether the revision names one content for ever: a commit, or an object with its ETag
// or version. Of a revision that is not pinned, the ID says nothing about the content: a release with
// that id on disk may have been made from an older object under the same key.
func (r Revision) Pinned() bool {
	return r.GitHub != nil || r.S3 != nil && (r.S3.Version != "" || r.S3.ETag != "")
}

// Pin is r with the version and ETag that the object was found to have, where it was registered without.
func (r Revision) Pin(version, etag string) Revision {
	if r.S3 == nil {
		return r
	}
	pinned := *r.S3
	if pinned.Version == "" {
		pinned.Version = version
	}
	if pinned.ETag == "" {
		pinned.ETag = strings.Trim(etag, `"`)
	}
	r.S3 = &pinned
	return r
}

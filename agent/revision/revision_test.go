package revision

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func s3(bucket, key, version, etag string) Revision {
	return Revision{S3: &S3{Bucket: bucket, Key: key, Version: version, ETag: etag}}
}

func github(repository, commit string) Revision {
	return Revision{GitHub: &GitHub{Repository: repository, CommitID: commit}}
}

func TestID(t *testing.T) {
	for _, c := range []struct {
		name string
		r    Revision
		want string // without the digits of the hash
	}{
		{"key in a folder", s3("b", "web/releases/web-1a2b3c4.tgz", "", ""), "web-1a2b3c4"},
		{"two suffixes", s3("b", "web.tar.gz", "", ""), "web"},
		{"no suffix", s3("b", "web", "", ""), "web"},
		{"a version number", s3("b", "web-1.2.3.zip", "", ""), "web-1.2.3"},
		{"another suffix stays", s3("b", "web.json", "", ""), "web.json"},
		{"blanks and letters of the world", s3("b", "my äpp (1).zip", "", ""), "my--pp--1"},
		{"hidden", s3("b", ".incoming-x.zip", "", ""), "incoming-x"},
		{"like an option", s3("b", "-rf.zip", "", ""), "rf"},
		{"a folder's name", s3("b", "web/", "", ""), "web"},
		{"dots", s3("b", "..", "", ""), "revision"},
		{"only a suffix", s3("b", ".zip", "", ""), "revision"},
		{"nothing of it can stay", s3("b", "é", "", ""), "revision"},
		{"long", s3("b", strings.Repeat("x", 300)+".zip", "", ""), strings.Repeat("x", 71)},
		{"GitHub", github("o/web.site", "0123456789"), "web.site"},
		{"nothing", Revision{}, "revision"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := c.r.ID()
			if stem, ok := strings.CutSuffix(id, "-"+c.r.hash()[:8]); !ok || stem != c.want {
				t.Errorf("got %s, want %s-%s", id, c.want, c.r.hash()[:8])
			}
		})
	}
}

// Ids are names of directories on every server: they must not change with a new usher.
func TestIDsStayWhatTheyAre(t *testing.T) {
	for _, c := range []struct {
		r    Revision
		want string
	}{
		{s3("releases", "web/web-1.tgz", "v7", "abc"), "web-1-99893be9"},
		{github("o/web", "0123456789abcdef0123456789abcdef01234567"), "web-1d30d7b3"},
	} {
		if got := c.r.ID(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.r, got, c.want)
		}
	}
}

func anyRevision(t *rapid.T, label string) Revision {
	if rapid.Bool().Draw(t, label+" is on GitHub") {
		return github(rapid.String().Draw(t, label+" repository"), rapid.SampledFrom([]string{"0123456", "89abcde"}).Draw(t, label+" commit"))
	}
	key := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"a.zip", "b/a.zip", "a.json", "x.bundle", ".a"}), rapid.StringN(100, 400, -1))
	few := rapid.SampledFrom([]string{"", "1", "2"})
	return s3(few.Draw(t, label+" bucket"), key.Draw(t, label+" key"), few.Draw(t, label+" version"), few.Draw(t, label+" etag"))
}

func TestIDIsAlwaysASafeName(t *testing.T) {
	safe := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*-[0-9a-f]{8}$`)
	rapid.Check(t, func(t *rapid.T) {
		r := anyRevision(t, "r")
		if id := r.ID(); !safe.MatchString(id) || len(id) > 80 {
			t.Fatalf("%s has the id %q", r, id)
		}
	})
}

func TestSameRevisionsAndOnlyTheyShareAnID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyRevision(t, "a"), anyRevision(t, "b")
		again := a
		again.DeploymentID, again.Application = "d-OTHER", "other"
		if !a.Same(again) || a.ID() != again.ID() {
			t.Fatalf("%s is not the same as itself in another deployment", a)
		}
		if a.Same(b) != (a.String() == b.String()) {
			t.Fatalf("%s and %s: the same is %v", a, b, a.Same(b))
		}
		if a.Same(b) != (a.ID() == b.ID()) {
			t.Fatalf("%s and %s: the ids are %s and %s", a, b, a.ID(), b.ID())
		}
	})
}

func TestString(t *testing.T) {
	for _, c := range []struct {
		r    Revision
		want string
	}{
		{s3("b", "web/1.tgz", "v7", "abc"), "s3://b/web/1.tgz?versionId=v7 (etag abc)"},
		{s3("b", "1.tgz", "", "abc"), "s3://b/1.tgz (etag abc)"},
		{s3("b", "1.tgz", "a b", ""), "s3://b/1.tgz?versionId=a+b"},
		{s3("b", "1.tgz", "", ""), "s3://b/1.tgz"},
		{github("o/web", "0123456789abcdef"), "github.com/o/web@0123456"},
		{Revision{}, "no revision"},
	} {
		if got := c.r.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestPin(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after Revision // Pin("v2", `"def"`) in between
		pinned        bool     // before
	}{
		{"by nothing", s3("b", "k", "", ""), s3("b", "k", "v2", "def"), false},
		{"by its ETag", s3("b", "k", "", "abc"), s3("b", "k", "v2", "abc"), true},
		{"by its version", s3("b", "k", "v1", ""), s3("b", "k", "v1", "def"), true},
		{"a commit", github("o/web", "0123456"), github("o/web", "0123456"), true},
		{"nothing", Revision{}, Revision{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := c.before.String()
			if c.before.Pinned() != c.pinned {
				t.Errorf("pinned is %v", !c.pinned)
			}
			if got := c.before.Pin("v2", `"def"`); !got.Same(c.after) || got.String() != c.after.String() {
				t.Errorf("got %s, want %s", got, c.after)
			}
			if c.before.String() != before {
				t.Error("Pin changed its receiver")
			}
		})
	}
}

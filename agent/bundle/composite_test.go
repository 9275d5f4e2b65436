package bundle

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Whatever sizes the parts of an object have, their checksums are verified; and how often S3 is asked for them.
func TestFetchS3InParts(t *testing.T) {
	b := bucket(t, false)
	const mb = 1 << 20
	for _, c := range []struct {
		name     string
		sizes    []int
		checksum string
		heads    int // HeadObject's, the first included
	}{
		{"all but the last are alike", []int{5 * mb, 5 * mb, 77}, "sha256 of 3 parts", 2},
		{"all are", []int{6 * mb, 6 * mb}, "sha256 of 2 parts", 2},
		{"the second is larger", []int{5 * mb, 7 * mb, 1}, "sha256 of 3 parts", 5},
		{"they are not alike, and could be", []int{7 * mb, 5 * mb, 6 * mb}, "sha256 of 3 parts", 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			size := 0
			for _, n := range c.sizes {
				size += n
			}
			data := random(size)
			putParts(t, b, c.name, data, types.ChecksumAlgorithmSha256, types.ChecksumTypeComposite, c.sizes...)
			fetch := func(f fault, want string) {
				t.Helper()
				endpoint, calls := proxy(t, f)
				dst := saved(t, "b", nil)
				got, err := fetchS3(t.Context(), client(endpoint), S3Object{Bucket: b, Key: c.name}, dst, nil, hasty)
				if want == "" && (err != nil || got.Checksum != c.checksum || !bytes.Equal(content(t, dst), data)) {
					t.Errorf("fetched %+v, %v", got, err)
				}
				if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("error %v, want %s", err, want)
				}
				if n := len(slices.DeleteFunc(calls(), func(s string) bool { return !strings.HasPrefix(s, "HEAD") })); want == "" && n != c.heads {
					t.Errorf("asked %d times what there is, and not %d times", n, c.heads)
				}
			}
			fetch(func(w http.ResponseWriter, r *http.Request, _ int, s3 http.Handler) { s3.ServeHTTP(w, r) }, "")
			fetch(func(w http.ResponseWriter, r *http.Request, _ int, s3 http.Handler) {
				if r.Method == http.MethodGet {
					w = &flipper{ResponseWriter: w}
				}
				s3.ServeHTTP(w, r)
			}, "what was downloaded, twice, has the "+c.checksum+" checksum ")
		})
	}
}

// With nothing but an ETag, as of objects from before 2022, the MD5s of the parts are what there is.
func TestFetchS3InPartsByETag(t *testing.T) {
	b := bucket(t, false)
	data := random(11 << 20)
	putParts(t, b, "k", data, types.ChecksumAlgorithmSha256, types.ChecksumTypeComposite)
	for _, c := range []struct {
		name           string
		flip, noParts  bool
		checksum, fail string
	}{
		{"whole", false, false, "md5 of 3 parts", ""},
		{"damaged", true, false, "", "what was downloaded, twice, has the md5 of 3 parts checksum"},
		{"a server that does not know of parts", false, true, lengthOnly, ""},
	} {
		endpoint, _ := proxy(t, func(w http.ResponseWriter, r *http.Request, _ int, s3 http.Handler) {
			if c.noParts && r.URL.Query().Has("partNumber") {
				w.WriteHeader(http.StatusNotImplemented)
				return
			}
			w = &headerFilter{ResponseWriter: w}
			if c.flip && r.Method == http.MethodGet {
				w = &flipper{ResponseWriter: w}
			}
			s3.ServeHTTP(w, r)
		})
		got, err := fetchS3(t.Context(), client(endpoint), S3Object{Bucket: b, Key: "k"}, saved(t, "b", nil), nil, hasty)
		if c.fail == "" && (err != nil || got.Checksum != c.checksum) || c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)) {
			t.Errorf("%s: fetched %+v, %v", c.name, got, err)
		}
	}
}

// AWS's own command line uploads what is larger than 8 MiB in parts of that size.
func TestFetchS3OfTheCommandLine(t *testing.T) {
	const aws = "/usr/bin/aws" // Debian's: others of the name may be anything
	if _, err := os.Stat(aws); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	b := bucket(t, false)
	data := random(19 << 20)
	file := filepath.Join(t.TempDir(), "app.tgz")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cli := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), aws, append(args, "--endpoint-url", gateway(), "--region", region)...)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey, "AWS_EC2_METADATA_DISABLED=true"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	cli("s3", "cp", file, fmt.Sprintf("s3://%s/cp.tgz", b))
	dst := saved(t, "b", nil)
	endpoint, _ := proxy(t, func(w http.ResponseWriter, r *http.Request, _ int, s3 http.Handler) {
		s3.ServeHTTP(&headerFilter{ResponseWriter: w}, r) // the gateway adds a checksum of the whole
	})
	got, err := fetchS3(t.Context(), client(endpoint), S3Object{Bucket: b, Key: "cp.tgz"}, dst, nil, hasty)
	if err != nil || got.Checksum != "md5 of 3 parts" || !strings.HasSuffix(got.ETag, "-3") || !bytes.Equal(content(t, dst), data) {
		t.Errorf("fetched %+v, %v", got, err)
	}
}

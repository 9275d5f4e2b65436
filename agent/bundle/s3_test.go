package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// hasty is the policy of tests.
var hasty = backoffPolicy{first: time.Millisecond, stall: 10 * time.Second}

func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(data)
	return data
}

// Objects of all sizes arrive whole, and are verified with the best checksum there is.
func TestFetchS3(t *testing.T) {
	b := bucket(t, false)
	one := func(size int, sum types.ChecksumAlgorithm) func(string) []byte {
		return func(key string) []byte {
			data := random(size)
			put(t, b, key, data, sum)
			return data
		}
	}
	parts := func(size int, sum types.ChecksumAlgorithm, whole types.ChecksumType) func(string) []byte {
		return func(key string) []byte {
			data := random(size)
			putParts(t, b, key, data, sum, whole)
			return data
		}
	}
	tests := []struct {
		name     string
		upload   func(key string) []byte
		checksum string
		requests int
	}{
		{"one byte", one(1, types.ChecksumAlgorithmCrc64nvme), "crc64nvme", 1},
		{"one part", one(PartSize, types.ChecksumAlgorithmCrc32), "crc32", 1},
		{"one part and a byte", one(PartSize+1, types.ChecksumAlgorithmCrc32c), "crc32c", 2},
		{"sha1", one(5000, types.ChecksumAlgorithmSha1), "sha1", 1},
		{"sha256, six parts", one(5*PartSize+17, types.ChecksumAlgorithmSha256), "sha256", 6},
		{"crc64nvme, three parts", one(3*PartSize, types.ChecksumAlgorithmCrc64nvme), "crc64nvme", 3},
		{"uploaded in parts with a checksum of the whole", parts(12<<20, types.ChecksumAlgorithmCrc64nvme, types.ChecksumTypeFullObject), "crc64nvme", 2},
		{"uploaded in parts with a checksum of the parts", parts(12<<20, types.ChecksumAlgorithmSha256, types.ChecksumTypeComposite), "sha256 of 3 parts", 3},
		{"crc32 of the parts", parts(12<<20, types.ChecksumAlgorithmCrc32, types.ChecksumTypeComposite), "crc32 of 3 parts", 3},
		{"uploaded in one part, as parts", parts(1<<20, types.ChecksumAlgorithmSha256, types.ChecksumTypeComposite), "sha256 of 1 part", 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			key := "shop/" + strings.ReplaceAll(test.name, " ", "-") + ".tgz"
			data := test.upload(key)
			endpoint, calls := proxy(t, func(w http.ResponseWriter, r *http.Request, _ int, s3 http.Handler) { s3.ServeHTTP(w, r) })
			dst := saved(t, "b", bytes.Repeat([]byte("old"), 1000))
			var last int64
			got, err := FetchS3(t.Context(), client(endpoint), S3Object{Bucket: b, Key: key}, dst, func(done, total int64) {
				if done <= last || total != int64(len(data)) {
					t.Errorf("progress %d of %d after %d", done, total, last)
				}
				last = done
			})
			if err != nil {
				t.Fatal(err)
			}
			if got.Checksum != test.checksum || got.Size != int64(len(data)) || got.ETag == "" || strings.Contains(got.ETag, `"`) {
				t.Errorf("fetched %+v, want checksum %q", got, test.checksum)
			}
			if !bytes.Equal(content(t, dst), data) {
				t.Error("the file differs from the object")
			}
			if last != int64(len(data)) {
				t.Errorf("progress ended at %d", last)
			}
			if n := len(calls()) - 1; n != test.requests {
				t.Errorf("%d requests, want %d: %v", n, test.requests, calls())
			}
		})
	}
}

// Every server since 2024 adds a checksum of its own; old objects have only their ETag.
func TestChecksumOf(t *testing.T) {
	md5 := aws.String(`"9e107d9d372bb6826bd81d3542a419d6"`)
	tests := []struct {
		name string
		head s3.HeadObjectOutput
		want string
	}{
		{"nothing", s3.HeadObjectOutput{}, lengthOnly},
		{"an ETag that is an MD5", s3.HeadObjectOutput{ETag: md5}, "md5"},
		{"encrypted with S3's own key it still is", s3.HeadObjectOutput{ETag: md5, ServerSideEncryption: types.ServerSideEncryptionAes256}, "md5"},
		{"with a KMS key it is not", s3.HeadObjectOutput{ETag: md5, ServerSideEncryption: types.ServerSideEncryptionAwsKms}, lengthOnly},
		{"nor with KMS twice", s3.HeadObjectOutput{ETag: md5, ServerSideEncryption: types.ServerSideEncryptionAwsKmsDsse}, lengthOnly},
		{"nor with a customer's key", s3.HeadObjectOutput{ETag: md5, SSECustomerAlgorithm: aws.String("AES256")}, lengthOnly},
		{"of the parts after an upload in parts", s3.HeadObjectOutput{ETag: aws.String(`"9e107d9d372bb6826bd81d3542a419d6-2"`)}, "md5 of 2 parts"},
		{"nor then with a KMS key", s3.HeadObjectOutput{ETag: aws.String(`"9e107d9d372bb6826bd81d3542a419d6-2"`), ServerSideEncryption: types.ServerSideEncryptionAwsKms}, lengthOnly},
		{"nor with parts that are none", s3.HeadObjectOutput{ETag: aws.String(`"9e107d9d372bb6826bd81d3542a419d6-x"`)}, lengthOnly},
		{"a checksum is better", s3.HeadObjectOutput{ETag: md5, ChecksumCRC32: aws.String("AAAAAA==")}, "crc32"},
		{"the strongest", s3.HeadObjectOutput{ChecksumCRC32: aws.String("AAAAAA=="), ChecksumSHA256: aws.String("AAAA"), ChecksumCRC64NVME: aws.String("AAAA")}, "sha256"},
		{"one of the parts", s3.HeadObjectOutput{ETag: md5, ChecksumType: types.ChecksumTypeComposite, ChecksumSHA256: aws.String("AAAA-2")}, "sha256 of 2 parts"},
		{"also if the type is not said", s3.HeadObjectOutput{ChecksumSHA256: aws.String("AAAA-2")}, "sha256 of 2 parts"},
		{"but not of an unknown number of them", s3.HeadObjectOutput{ChecksumType: types.ChecksumTypeComposite, ChecksumSHA256: aws.String("AAAA")}, lengthOnly},
		{"one of the whole, after an upload in parts", s3.HeadObjectOutput{ETag: aws.String(`"9e107d9d372bb6826bd81d3542a419d6-2"`), ChecksumType: types.ChecksumTypeFullObject, ChecksumCRC32: aws.String("AAAAAA==")}, "crc32"},
	}
	for _, test := range tests {
		if got := checksumOf(&test.head).name(); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// Without any checksum the MD5 that the ETag is must match, with a real MD5.
func TestFetchS3VerifiesETag(t *testing.T) {
	b := bucket(t, false)
	data := random(1000)
	put(t, b, "k", data, "")
	hide := func(w http.ResponseWriter, r *http.Request, flip bool, s3 http.Handler) {
		inner := &headerFilter{ResponseWriter: w}
		if flip && r.Method == http.MethodGet {
			s3.ServeHTTP(&flipper{ResponseWriter: inner}, r)
			return
		}
		s3.ServeHTTP(inner, r)
	}
	for _, flip := range []bool{false, true} {
		endpoint, _ := proxy(t, func(w http.ResponseWriter, r *http.Request, _ int, s3 http.Handler) { hide(w, r, flip, s3) })
		got, err := fetchS3(t.Context(), client(endpoint), S3Object{Bucket: b, Key: "k"}, saved(t, "b", nil), nil, hasty)
		switch {
		case !flip && (err != nil || got.Checksum != "md5"):
			t.Errorf("fetched %+v, %v", got, err)
		case flip && (err == nil || !strings.Contains(err.Error(), "what was downloaded, twice, has the md5 checksum")):
			t.Errorf("a changed body: %v", err)
		}
	}
}

// A headerFilter removes the checksums S3 answers with.
type headerFilter struct{ http.ResponseWriter }

func (f *headerFilter) WriteHeader(status int) {
	for name := range f.Header() {
		if strings.HasPrefix(name, "X-Amz-Checksum") {
			f.Header().Del(name)
		}
	}
	f.ResponseWriter.WriteHeader(status)
}

// The version and the ETag that were registered are what is fetched, or nothing is.
func TestFetchS3Pins(t *testing.T) {
	b := bucket(t, true)
	first, second := []byte("first"), []byte("the second")
	v1 := put(t, b, "k", first, types.ChecksumAlgorithmCrc32)
	v2 := put(t, b, "k", second, types.ChecksumAlgorithmCrc32)
	tests := []struct {
		name   string
		object S3Object
		want   []byte
		err    string
	}{
		{"the latest", S3Object{}, second, ""},
		{"a version", S3Object{Version: *v1.VersionId}, first, ""},
		{"a version and its ETag, quoted as the API has it", S3Object{Version: *v1.VersionId, ETag: *v1.ETag}, first, ""},
		{"an ETag without quotes", S3Object{ETag: strings.Trim(*v2.ETag, `"`)}, second, ""},
		{"an ETag that was overwritten", S3Object{ETag: *v1.ETag}, nil, "the object was overwritten since, register and deploy the revision again"},
		{"a version that never was", S3Object{Version: "01J00000000000000000000000"}, nil, "/k (version 01J00000000000000000000000): the version was deleted: deploy a revision that exists"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.object.Bucket, test.object.Key = b, "k"
			dst := saved(t, "b", nil)
			got, err := fetchS3(t.Context(), client(gateway()), test.object, dst, nil, hasty)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), "s3://"+b+"/k") {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(content(t, dst)) != string(test.want) || got.Version == "" {
				t.Errorf("fetched %q %+v, want %q", content(t, dst), got, test.want)
			}
		})
	}
}

// What is wrong on the way, and what it comes to: the object whole, or this error.
func TestFetchS3Faults(t *testing.T) {
	b := bucket(t, false)
	data := random(2*PartSize + 100_000)
	put(t, b, "large", data, types.ChecksumAlgorithmCrc64nvme)
	put(t, b, "small", data[:300_000], types.ChecksumAlgorithmCrc64nvme)
	put(t, b, "empty", nil, types.ChecksumAlgorithmCrc64nvme)

	get := func(r *http.Request) bool { return r.Method == http.MethodGet }
	pass := func(w http.ResponseWriter, r *http.Request, _ int, s3 http.Handler) { s3.ServeHTTP(w, r) }
	always := func(status int, code string) fault {
		return func(w http.ResponseWriter, r *http.Request, _ int, _ http.Handler) { answer(w, r, status, code) }
	}
	onGet := func(status int, code string) fault {
		return func(w http.ResponseWriter, r *http.Request, n int, s3 http.Handler) {
			if get(r) {
				answer(w, r, status, code)
				return
			}
			s3.ServeHTTP(w, r)
		}
	}
	var hang fault = func(w http.ResponseWriter, r *http.Request, n int, s3 http.Handler) {
		if get(r) && n == 1 {
			w = &cutter{w, 1000, r.Context()}
		}
		s3.ServeHTTP(w, r)
	}
	tests := []struct {
		name  string
		key   string
		fault fault
		err   string // "" for success
		calls []string
	}{
		{"a small object cut off is resumed where it stopped", "small", func(w http.ResponseWriter, r *http.Request, n int, s3 http.Handler) {
			if get(r) && n == 1 {
				w = &cutter{w, 100_000, nil}
			}
			s3.ServeHTTP(w, r)
		}, "", []string{"HEAD", "GET bytes=100000-299999"}},
		{"and again", "small", func(w http.ResponseWriter, r *http.Request, n int, s3 http.Handler) {
			if get(r) && n <= 3 {
				w = &cutter{w, 50_000, nil}
			}
			s3.ServeHTTP(w, r)
		}, "", []string{"HEAD", "GET bytes=50000-299999", "GET bytes=100000-299999", "GET bytes=150000-299999"}},
		{"every third connection of a large one breaks", "large", func(w http.ResponseWriter, r *http.Request, n int, s3 http.Handler) {
			if get(r) && n%3 == 0 {
				w = &cutter{w, 12_345, nil}
			}
			s3.ServeHTTP(w, r)
		}, "", nil},
		{"connections reset before an answer", "large", func(w http.ResponseWriter, r *http.Request, n int, s3 http.Handler) {
			if n <= 2 {
				panic(http.ErrAbortHandler)
			}
			s3.ServeHTTP(w, r)
		}, "", nil},
		{"slow down", "large", func(w http.ResponseWriter, r *http.Request, n int, s3 http.Handler) {
			if n <= 3 {
				answer(w, r, http.StatusServiceUnavailable, "SlowDown")
				return
			}
			s3.ServeHTTP(w, r)
		}, "", nil},
		{"an internal error after the headers of a part", "large", func(w http.ResponseWriter, r *http.Request, n int, s3 http.Handler) {
			if get(r) && n == 2 {
				answer(w, r, http.StatusInternalServerError, "InternalError")
				return
			}
			s3.ServeHTTP(w, r)
		}, "", nil},
		{"a connection that stays silent", "small", hang, "", []string{"HEAD", "GET bytes=1000-299999"}},
		{"slow down, and never up again", "small", always(http.StatusServiceUnavailable, "SlowDown"), "(6 attempts)", []string{"HEAD", "HEAD", "HEAD", "HEAD", "HEAD", "HEAD"}},
		{"a body that always breaks at once", "small", func(w http.ResponseWriter, r *http.Request, _ int, s3 http.Handler) {
			if get(r) {
				w = &cutter{w, 1, nil}
			}
			s3.ServeHTTP(w, r)
		}, "(6 attempts)", nil},
		{"one bit of a part is different, once", "large", func(w http.ResponseWriter, r *http.Request, n int, s3 http.Handler) {
			if get(r) && n == 2 {
				w = &flipper{ResponseWriter: w}
			}
			s3.ServeHTTP(w, r)
		}, "", nil},
		{"one bit of each part is different", "large", func(w http.ResponseWriter, r *http.Request, _ int, s3 http.Handler) {
			if get(r) {
				w = &flipper{ResponseWriter: w}
			}
			s3.ServeHTTP(w, r)
		}, "what was downloaded, twice, has the crc64nvme checksum", nil},
		{"the range is ignored", "large", func(w http.ResponseWriter, r *http.Request, _ int, s3 http.Handler) {
			if get(r) {
				_, _ = w.Write(data)
				return
			}
			s3.ServeHTTP(w, r)
		}, "asked for the bytes from", nil},
		{"empty", "empty", pass, "cannot download s3://" + b + "/empty: it is empty: upload the bundle again", []string{"HEAD"}},
		{"no such object", "nothing", pass, "there is no object s3://" + b + "/nothing, or no such bucket: it was deleted or never uploaded: deploy a revision that exists", []string{"HEAD"}},
		{"no such object, and no s3:ListBucket", "nothing", always(http.StatusForbidden, "AccessDenied"), "; or there is no object s3://" + b + "/nothing, which S3 does not tell to a role without s3:ListBucket: then deploy a revision that exists", []string{"HEAD"}},
		{"access denied", "small", always(http.StatusForbidden, "AccessDenied"), "access denied: allow s3:GetObject on arn:aws:s3:::" + b + "/small to the instance's role", []string{"HEAD"}},
		{"the first part is of another object", "small", func(w http.ResponseWriter, r *http.Request, n int, s3 http.Handler) {
			if get(r) && n == 1 {
				w.Header().Set("ETag", `"another"`)
				_, _ = w.Write(data[1:300_001])
				return
			}
			s3.ServeHTTP(w, r)
		}, "", []string{"HEAD", "GET"}},
		{"access denied to the KMS key", "small", onGet(http.StatusForbidden, "AccessDenied"), "and kms:Decrypt if a KMS key encrypts it", []string{"HEAD"}},
		{"archived", "small", onGet(http.StatusForbidden, "InvalidObjectState"), "it is archived: restore it", []string{"HEAD"}},
		{"expired credentials", "small", onGet(http.StatusBadRequest, "ExpiredToken"), "the credentials or the clock of the instance are out of date", []string{"HEAD"}},
		{"another region", "small", func(w http.ResponseWriter, r *http.Request, _ int, _ http.Handler) {
			w.Header().Set("X-Amz-Bucket-Region", "us-east-2")
			answer(w, r, http.StatusMovedPermanently, "PermanentRedirect")
		}, "the bucket is in the region us-east-2: use a bucket in the instance's region", []string{"HEAD"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			endpoint, calls := proxy(t, test.fault)
			dst := saved(t, "b", nil)
			p := hasty
			if test.name == "a connection that stays silent" {
				p.stall = 200 * time.Millisecond
			}
			_, err := fetchS3(t.Context(), client(endpoint), S3Object{Bucket: b, Key: test.key}, dst, nil, p)
			switch {
			case test.err == "" && err != nil:
				t.Fatal(err)
			case test.err == "":
				want := data
				if test.key == "small" {
					want = data[:300_000]
				}
				if !bytes.Equal(content(t, dst), want) {
					t.Error("the file differs from the object")
				}
			case err == nil || !strings.Contains(err.Error(), test.err) || !strings.HasPrefix(err.Error(), "cannot download ") || !strings.Contains(err.Error(), "s3://"+b+"/"+test.key):
				t.Errorf("error %v\nwant  %s", err, test.err)
			}
			// The first part is asked for beside what there is, and given up when that is refused, maybe before it is sent.
			got := slices.DeleteFunc(calls(), func(call string) bool { return call == fmt.Sprintf("GET bytes=0-%d", PartSize-1) })
			if test.calls != nil && !slices.Equal(got, test.calls) {
				t.Errorf("requests %q, want %q", got, test.calls)
			}
		})
	}
}

// An object overwritten while it is being downloaded is an error, not a mixture of two.
func TestFetchS3Overwritten(t *testing.T) {
	b := bucket(t, false)
	data := random(6 * PartSize)
	put(t, b, "k", data, types.ChecksumAlgorithmCrc64nvme)
	var once atomic.Bool
	endpoint, _ := proxy(t, func(w http.ResponseWriter, r *http.Request, n int, s3 http.Handler) {
		if r.Method == http.MethodGet && n > 2 && once.CompareAndSwap(false, true) {
			put(t, b, "k", random(len(data)-1), types.ChecksumAlgorithmCrc64nvme)
		}
		s3.ServeHTTP(w, r)
	})
	_, err := fetchS3(t.Context(), client(endpoint), S3Object{Bucket: b, Key: "k"}, saved(t, "b", nil), nil, hasty)
	if err == nil || !strings.Contains(err.Error(), "it was overwritten while it was being downloaded") {
		t.Errorf("error %v", err)
	}
}

func TestFetchS3Stops(t *testing.T) {
	b := bucket(t, false)
	put(t, b, "k", random(3*PartSize), "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := FetchS3(ctx, client(gateway()), S3Object{Bucket: b, Key: "k"}, saved(t, "b", nil), func(done, _ int64) {
		if done > PartSize {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

// A file that cannot be written to is not worth downloading six times.
func TestFetchS3CannotWrite(t *testing.T) {
	b := bucket(t, false)
	put(t, b, "k", random(100), "")
	dst := saved(t, "b", nil)
	dst.Close()
	_, err := FetchS3(t.Context(), client(gateway()), S3Object{Bucket: b, Key: "k"}, dst, nil)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("cannot download s3://%s/k: truncate %s", b, dst.Name())) {
		t.Errorf("error %v", err)
	}
}

// What to allow is an ARN of the part of AWS that the Region is in.
func TestAccessDeniedInEveryPartition(t *testing.T) {
	denied := &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: http.StatusForbidden}}, Err: errors.New("no")}
	for region, arn := range map[string]string{
		"eu-west-1": "arn:aws:s3:::b/k to", "cn-north-1": "arn:aws-cn:s3:::b/k to", "us-gov-west-1": "arn:aws-us-gov:s3:::b/k to", "us-isob-east-1": "arn:aws-iso-b:s3:::b/k to",
		"": "arn:aws:s3:::b/k to",
	} {
		err := explain(s3.New(s3.Options{Region: region}), S3Object{Bucket: "b", Key: "k"}, denied)
		if !strings.Contains(err.Error(), "allow s3:GetObject on "+arn) {
			t.Errorf("in %s: %v", region, err)
		}
	}
}

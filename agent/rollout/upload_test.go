//go:build linux && !developer

package rollout_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"usher/agent/bundle"
	"usher/agent/retry"
	"usher/agent/rollout"
	"usher/agent/standin"
)

// yard is AWS with a bucket for the revisions of an application.
type yard struct {
	*standin.Cloud
	api *s3.Client
	env rollout.Environment
}

func newYard(t *testing.T) yard {
	t.Helper()
	cloud, err := standin.Start(standin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	v := map[string]string{}
	for _, variable := range cloud.CLIEnviron() {
		name, value, _ := strings.Cut(variable, "=")
		v[name] = value
	}
	cfg, err := config.LoadDefaultConfig(minute(t), config.WithRegion(v["AWS_REGION"]), config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(v["AWS_ACCESS_KEY_ID"], v["AWS_SECRET_ACCESS_KEY"], "")))
	if err != nil {
		t.Fatal(err)
	}
	return yard{cloud, s3.NewFromConfig(cfg, func(o *s3.Options) { o.BaseEndpoint = aws.String(v["AWS_ENDPOINT_URL_S3"]) }),
		rollout.Environment{Name: "production", Application: "shop", DeploymentGroup: "production", Bucket: cloud.Bucket, Prefix: "deploy/", Region: v["AWS_REGION"]}}
}

// packed is a bundle of a repository with so many bytes that do not compress.
func packed(t *testing.T, size int) rollout.Bundle {
	t.Helper()
	w := newTree(t)
	w.git("config", "core.compression", "0")
	w.write("appspec.yml", "version: 0.0\nos: linux\n")
	noise := make([]byte, size)
	rand.Read(noise)
	w.write("noise", string(noise))
	w.commit("noise")
	b, err := w.open().Archive(minute(t), w.resolve("HEAD"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// steps records progress, which never goes back.
type steps struct {
	t     *testing.T
	total int64
	done  []int64
}

func (s *steps) progress(done, total int64) {
	if total != s.total || done > total || len(s.done) > 0 && done <= s.done[len(s.done)-1] {
		s.t.Errorf("progress %d of %d (the bundle has %d) after %d", done, total, s.total, s.done[max(0, len(s.done)-1):])
	}
	s.done = append(s.done, done)
}

// ended is whether all was sent.
func (s *steps) ended() bool { return len(s.done) > 0 && s.done[len(s.done)-1] == s.total }

// ops are the operations of S3 that were called, and how they ended.
func (y yard) ops() (all []string) {
	for _, c := range y.Calls() {
		op := c.Op
		if c.Status >= 300 || c.Status == 0 {
			op += " " + strconv.Itoa(c.Status)
		}
		all = append(all, op)
	}
	return all
}

// parts counts the uploads in parts that were neither completed nor aborted.
func (y yard) parts(t *testing.T) int {
	t.Helper()
	out, err := y.api.ListMultipartUploads(minute(t), &s3.ListMultipartUploadsInput{Bucket: &y.Bucket})
	if err != nil {
		t.Fatal(err)
	}
	return len(out.Uploads)
}

func TestUpload(t *testing.T) {
	t.Parallel()
	y, b := newYard(t), packed(t, 5000)
	b.Commit.Author = "Zoë"
	if _, found, err := rollout.Existing(minute(t), y.api, y.env, b); err != nil || found {
		t.Fatalf("before: %t, %v", found, err)
	}
	s := &steps{t: t, total: b.Size}
	first, err := rollout.Upload(minute(t), y.api, b, y.env, s.progress)
	if err != nil {
		t.Fatal(err)
	}
	key := "deploy/shop/" + b.Commit.SHA + ".tgz"
	if first.Bucket != y.Bucket || first.Key != key || first.Version == "" || len(first.ETag) != 32 || first.Already || !s.ended() {
		t.Errorf("%+v after %d", first, s.done)
	}
	if got := y.ops(); !slices.Equal(got, []string{"HeadObject 404", "HeadObject 404", "PutObject"}) {
		t.Errorf("calls %q", got)
	}
	if put := y.CallsOf("PutObject")[0]; put.Params["If-None-Match"] != "*" {
		t.Errorf("PutObject may overwrite: %v", put.Params)
	}
	out, err := y.api.GetObject(minute(t), &s3.GetObjectInput{Bucket: &y.Bucket, Key: &key, VersionId: &first.Version, ChecksumMode: "ENABLED"})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	stored, err := io.ReadAll(out.Body)
	if file, fileErr := os.ReadFile(b.Path); err != nil || fileErr != nil || !bytes.Equal(stored, file) {
		t.Errorf("the object has %d bytes, the bundle %d: %v, %v", len(stored), len(file), err, fileErr)
	}
	want := map[string]string{"commit": b.Commit.SHA, "author": "=?utf-8?q?Zo=C3=AB?=", "uncompressed-size": strconv.FormatInt(b.Unpacked, 10), "sha256": b.SHA256}
	for name, value := range want {
		if out.Metadata[name] != value {
			t.Errorf("metadata %s is %q, want %q", name, out.Metadata[name], value)
		}
	}
	if aws.ToString(out.ContentType) != "application/gzip" || aws.ToString(out.ChecksumSHA256) == "" {
		t.Errorf("type %s, checksum %s", aws.ToString(out.ContentType), aws.ToString(out.ChecksumSHA256))
	}

	again, err := rollout.Upload(minute(t), y.api, b, y.env, func(int64, int64) { t.Error("something is sent") })
	want2 := first
	want2.Already = true
	if err != nil || again != want2 {
		t.Errorf("again %+v, %v, want %+v", again, err, want2)
	}
	known, found, err := rollout.Existing(minute(t), y.api, y.env, b)
	if err != nil || !found || known != want2 {
		t.Errorf("existing %+v, %t, %v", known, found, err)
	}
	staging := y.env // the same commit, in the same bucket: the same object
	staging.Name, staging.DeploymentGroup = "staging", "staging"
	if shared, err := rollout.Upload(minute(t), y.api, b, staging, nil); err != nil || shared != want2 {
		t.Errorf("for another environment %+v, %v", shared, err)
	}
	if n := len(y.CallsOf("PutObject")); n != 1 {
		t.Errorf("%d uploads", n)
	}
}

// A large bundle goes up in parts, with progress also within a part; and an instance can verify it.
func TestUploadLarge(t *testing.T) {
	t.Parallel()
	y, b := newYard(t), packed(t, 100<<20)
	s := &steps{t: t, total: b.Size}
	up, err := rollout.Upload(minute(t), y.api, b, y.env, s.progress)
	if err != nil {
		t.Fatal(err)
	}
	parts := len(y.CallsOf("UploadPart"))
	if len(y.CallsOf("CreateMultipartUpload")) != 1 || parts != 13 || len(y.CallsOf("PutObject")) != 0 || len(y.CallsOf("CompleteMultipartUpload")) != 1 {
		t.Errorf("calls %q", y.ops())
	}
	if !s.ended() || len(s.done) < 10*parts {
		t.Errorf("%d steps of progress for %d parts", len(s.done), parts)
	}
	before := len(y.Calls())
	again, err := rollout.Upload(minute(t), y.api, b, y.env, nil)
	if err != nil || !again.Already || again.Version != up.Version || again.ETag != up.ETag {
		t.Errorf("again %+v, %v, want %+v", again, err, up)
	}
	if got := y.ops()[before:]; !slices.Contains(got, "GetObject") || slices.Contains(got, "CreateMultipartUpload") { // S3 has no SHA-256 of it
		t.Errorf("again: calls %q", got)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "bundle"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := bundle.FetchS3(minute(t), y.api, bundle.S3Object{Bucket: up.Bucket, Key: up.Key, Version: up.Version, ETag: up.ETag}, f, nil)
	if err != nil || got.Size != b.Size || got.Checksum != "crc64nvme" {
		t.Errorf("an instance fetches %+v, %v", got, err)
	}
}

// Who comes second uses what is there, however late it is noticed.
func TestUploadRaced(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"in one request": 5000, "in parts": 20 << 20} {
		b := packed(t, size)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y := newYard(t)
			first, err := rollout.Upload(minute(t), y.api, b, y.env, nil)
			if err != nil {
				t.Fatal(err)
			}
			y.Fail("HeadObject", 1, standin.Fault{Status: http.StatusNotFound, Code: "NotFound"}) // looked a moment too early
			second, err := rollout.Upload(minute(t), y.api, b, y.env, nil)
			first.Already = true
			if err != nil || second != first {
				t.Errorf("%+v, %v, want %+v", second, err, first)
			}
			if got := y.ops(); !slices.Contains(got, "PutObject 412") && !slices.Contains(got, "CompleteMultipartUpload 412") {
				t.Errorf("nobody was second: calls %q", got)
			}
			if n := y.parts(t); n != 0 {
				t.Errorf("%d uploads in parts are left", n)
			}
		})
		t.Run(name+", both at once", func(t *testing.T) {
			t.Parallel()
			y := newYard(t)
			var up [2]rollout.Uploaded
			var wg sync.WaitGroup
			for i := range up {
				wg.Go(func() {
					var err error
					if up[i], err = rollout.Upload(minute(t), y.api, b, y.env, nil); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if up[0].Version == "" || up[0].Version != up[1].Version || up[0].ETag != up[1].ETag {
				t.Errorf("%+v", up)
			}
		})
		t.Run(name+", its own answer lost", func(t *testing.T) {
			t.Parallel()
			y := newYard(t)
			lost := standin.Fault{AfterEffect: true, DropConnection: true}
			y.Fail("PutObject", 1, lost)
			y.Fail("CompleteMultipartUpload", 1, lost)
			s := &steps{t: t, total: b.Size}
			up, err := rollout.Upload(minute(t), y.api, b, y.env, s.progress)
			if err != nil || up.Version == "" || up.Key != y.env.Key(b.Commit.SHA) {
				t.Errorf("%+v, %v", up, err)
			}
			if n := y.parts(t); n != 0 {
				t.Errorf("%d uploads in parts are left", n)
			}
		})
	}
}

// What fails for a moment is sent again, and the progress does not go back for it.
func TestUploadAgain(t *testing.T) {
	t.Parallel()
	y, b := newYard(t), packed(t, 20<<20)
	y.Fail("CreateMultipartUpload", 1, standin.Fault{Code: "SlowDown"})
	y.Fail("UploadPart", 2, standin.Fault{Code: "InternalError"})
	y.Fail("CompleteMultipartUpload", 1, standin.Fault{Code: "ConditionalRequestConflict", Status: http.StatusConflict})
	s := &steps{t: t, total: b.Size}
	up, err := rollout.Upload(minute(t), y.api, b, y.env, s.progress)
	if err != nil || up.Already || up.Version == "" {
		t.Errorf("%+v, %v, calls %q", up, err, y.ops())
	}
	if n := len(y.CallsOf("AbortMultipartUpload")); n != 1 || y.parts(t) != 0 {
		t.Errorf("%d aborted, %d left", n, y.parts(t))
	}
}

func TestUploadCancelled(t *testing.T) {
	t.Parallel()
	y, b := newYard(t), packed(t, 40<<20)
	ctx, cancel := context.WithCancel(minute(t))
	_, err := rollout.Upload(ctx, y.api, b, y.env, func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if n := len(y.CallsOf("CreateMultipartUpload")); n != 1 || y.parts(t) != 0 {
		t.Errorf("%d uploads begun, %d left", n, y.parts(t))
	}
	if _, found, err := rollout.Existing(minute(t), y.api, y.env, b); found || err != nil {
		t.Errorf("there is an object: %t, %v", found, err)
	}
}

// A peer that takes no more of a bundle, on a connection that stays open, as behind a NAT that forgot it: the request is given
// up and made again, and when that goes on, the upload fails and says so. A slow line is no such peer.
func TestUploadStalls(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		size, stalls int
		slow         time.Duration // between pieces of what is taken
		want         string
	}{
		"in one request":             {5 << 20, 2, 0, ""},
		"in parts":                   {20 << 20, 3, 0, ""},
		"for ever":                   {5 << 20, 1000, 0, "no more of PutObject was taken within 2s: the network or AWS has dropped it"},
		"for ever, in parts":         {20 << 20, 1000, 0, "no more of UploadPart was taken within 2s: the network or AWS has dropped it"},
		"not, but slower than 2s go": {3 << 20, 0, 40 * time.Millisecond, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y, b := newYard(t), packed(t, test.size)
			line := stallingLine(t, *y.api.Options().BaseEndpoint, test.stalls, test.slow)
			y.api = s3.New(y.api.Options(), func(o *s3.Options) {
				o.BaseEndpoint = &line
				o.APIOptions = append(o.APIOptions, retry.Deadline(time.Second)...)
				o.HTTPClient = awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) { d.Control = littleAhead })
			})
			began := time.Now()
			_, err := rollout.Upload(minute(t), y.api, b, y.env, nil)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("%v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "cannot upload s3://"+y.env.Bucket+"/")):
				t.Errorf("got %v\nwant %s", err, test.want)
			case test.slow > 0 && time.Since(began) < 2*time.Second:
				t.Errorf("the line was not slow: %s", time.Since(began))
			}
			if left := y.parts(t); left != 0 && test.want == "" {
				t.Errorf("%d parts are left", left)
			}
		})
	}
}

// littleAhead lets the kernel take little of what it cannot send yet, as on a line that is slow by nature.
func littleAhead(_, _ string, conn syscall.RawConn) error {
	var failed error
	err := conn.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 64<<10)
	})
	return errors.Join(err, failed)
}

// stallingLine leads to a server of HTTP. On the first connections that send more than a head it takes no more, and
// leaves them open. It waits between the pieces that it takes of the others.
func stallingLine(t *testing.T, to string, stalls int, slow time.Duration) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var left atomic.Int64
	left.Store(int64(stalls))
	var group sync.WaitGroup
	over := make(chan struct{})
	t.Cleanup(func() { close(over); listener.Close(); group.Wait() })
	group.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			client.(*net.TCPConn).SetReadBuffer(16 << 10)
			group.Go(func() {
				defer client.Close()
				server, err := net.Dial("tcp", strings.TrimPrefix(to, "http://"))
				if err != nil {
					return
				}
				defer server.Close()
				group.Go(func() { io.Copy(client, server); client.Close() })
				group.Go(func() { <-over; client.Close(); server.Close() })
				piece := make([]byte, 32<<10)
				for sent := 0; ; {
					n, err := client.Read(piece)
					if err != nil {
						return
					}
					if sent += n; sent > 64<<10 && left.Add(-1) >= 0 {
						<-over
						return
					}
					time.Sleep(slow)
					if _, err := server.Write(piece[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	return "http://" + listener.Addr().String()
}

func TestUploadRefused(t *testing.T) {
	t.Parallel()
	small, large := packed(t, 5000), packed(t, 9<<20)
	damage := func(_ *yard, b *rollout.Bundle) {
		data, err := os.ReadFile(b.Path)
		if err != nil {
			panic(err)
		}
		data[len(data)/2] ^= 1
		b.Path += ".damaged"
		if err := os.WriteFile(b.Path, data, 0o600); err != nil {
			panic(err)
		}
	}
	const damaged = "cannot upload s3://BUCKET/deploy/shop/SHA.tgz: what arrived is not what was packed: the disk or the line damages files, deploy again: "
	for name, test := range map[string]struct {
		prepare func(y *yard, b *rollout.Bundle)
		want    string // the error begins so; BUCKET and SHA stand for themselves
	}{
		"no bucket": {func(y *yard, _ *rollout.Bundle) { y.env.Bucket = "no-such-bucket-anywhere" },
			"cannot upload s3://no-such-bucket-anywhere/deploy/shop/SHA.tgz: there is no such bucket: correct bucket of production in usher.yml, or make it, with versions: `aws s3 mb s3://no-such-bucket-anywhere --region eu-west-1`: "},
		"another Region": {func(y *yard, _ *rollout.Bundle) {
			y.Fail("HeadObject", -1, standin.Fault{Status: http.StatusMovedPermanently, Code: "PermanentRedirect"})
		}, "cannot look for s3://BUCKET/deploy/shop/SHA.tgz: the bucket is in another Region, and the servers of production are in eu-west-1: use a bucket there: "},
		"may not look": {func(y *yard, _ *rollout.Bundle) { y.Fail("HeadObject", -1, standin.Fault{Code: "AccessDenied"}) },
			"cannot look for s3://BUCKET/deploy/shop/SHA.tgz: access denied: allow your identity s3:GetObject on arn:aws:s3:::BUCKET/deploy/shop/* and s3:ListBucket on arn:aws:s3:::BUCKET (and "},
		"may not upload": {func(y *yard, _ *rollout.Bundle) { y.Fail("PutObject", -1, standin.Fault{Code: "AccessDenied"}) },
			"cannot upload s3://BUCKET/deploy/shop/SHA.tgz: access denied: allow your identity s3:PutObject and s3:AbortMultipartUpload on arn:aws:s3:::BUCKET/deploy/shop/* (and kms:GenerateDataKey and kms:Decrypt when a KMS key encrypts the bucket), and see that the bucket is of this account: "},
		"expired": {func(y *yard, _ *rollout.Bundle) { y.Fail("PutObject", -1, standin.Fault{Code: "ExpiredToken"}) },
			"cannot upload s3://BUCKET/deploy/shop/SHA.tgz: your AWS credentials have expired: "},
		"in the way for ever": {func(y *yard, _ *rollout.Bundle) {
			y.Fail("PutObject", -1, standin.Fault{Code: "ConditionalRequestConflict", Status: http.StatusConflict})
		}, "cannot upload s3://BUCKET/deploy/shop/SHA.tgz: others upload to the same key at the same time, or delete it: deploy again: "},
		"somebody else's object": {func(y *yard, b *rollout.Bundle) {
			if _, _, err := y.Cloud.Upload(y.Bucket, y.env.Key(b.Commit.SHA), []byte("by hand")); err != nil {
				panic(err)
			}
		}, "cannot use s3://BUCKET/deploy/shop/SHA.tgz: it is not commit "},
		"a forged object, whose metadata are those of the commit": {func(y *yard, b *rollout.Bundle) {
			forged := tgz("evil")
			y.puts(b, forged, map[string]string{"commit": b.Commit.SHA, "sha256": b.SHA256})
		}, "cannot use s3://BUCKET/deploy/shop/SHA.tgz: it is not commit "},
		"a large one": {func(y *yard, b *rollout.Bundle) {
			y.puts(b, make([]byte, 1<<20), map[string]string{"commit": b.Commit.SHA})
		}, "cannot use s3://BUCKET/deploy/shop/SHA.tgz: it is not commit "},
		"the bundle with one bit changed": {func(y *yard, b *rollout.Bundle) {
			damaged, err := os.ReadFile(b.Path)
			if err != nil {
				panic(err)
			}
			damaged[len(damaged)/2] ^= 1
			y.puts(b, damaged, map[string]string{"commit": b.Commit.SHA})
		}, "cannot use s3://BUCKET/deploy/shop/SHA.tgz: it is not commit "},
		"the file damaged since": {damage, damaged},
		"a large file damaged since": {func(y *yard, b *rollout.Bundle) {
			*b = large
			damage(y, b)
		}, damaged},
		"the file gone": {func(_ *yard, b *rollout.Bundle) { b.Path += ".gone" }, "cannot upload s3://BUCKET/deploy/shop/SHA.tgz: open "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y, b := newYard(t), small
			test.prepare(&y, &b)
			_, err := rollout.Upload(minute(t), y.api, b, y.env, nil)
			want := strings.NewReplacer("BUCKET", y.Bucket, "SHA", b.Commit.SHA).Replace(test.want)
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("\n got %v\nwant %s", err, want)
			}
		})
	}
}

// puts is somebody else who was first at a bundle's key.
func (y *yard) puts(b *rollout.Bundle, object []byte, metadata map[string]string) {
	key := y.env.Key(b.Commit.SHA)
	if _, err := y.api.PutObject(context.Background(), &s3.PutObjectInput{Bucket: &y.Bucket, Key: &key, Body: bytes.NewReader(object), Metadata: metadata}); err != nil {
		panic(err)
	}
}

// tgz is text, compressed in another way than usher does it.
func tgz(text string) []byte {
	var out bytes.Buffer
	gz, err := gzip.NewWriterLevel(&out, gzip.HuffmanOnly)
	if err == nil {
		_, err = io.WriteString(gz, text)
	}
	if err := errors.Join(err, gz.Close()); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// A colleague's usher of another version compresses in another way, and is no attacker: the same tar is the same commit.
func TestUploadedByAnotherVersion(t *testing.T) {
	t.Parallel()
	y, b := newYard(t), packed(t, 5000)
	f, err := os.Open(b.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	tar, err := io.ReadAll(gz)
	if err != nil {
		t.Fatal(err)
	}
	y.puts(&b, tgz(string(tar)), map[string]string{"commit": b.Commit.SHA})
	up, err := rollout.Upload(minute(t), y.api, b, y.env, nil)
	if err != nil || !up.Already || up.Version == "" {
		t.Errorf("%+v, %v", up, err)
	}
}

package bundle

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

const accessKey, secretKey, region = "testaccess", "testsecret", "eu-west-1"

// gateway is the address of a real S3 server on loopback, one for all tests of the package, started
// for the first that asks: fuzzing slows to a crawl beside a server it did not ask for.
var gateway = sync.OnceValue(func() string {
	address, err := startGateway()
	if err != nil {
		panic(fmt.Sprint("cannot start the S3 server of the tests: ", err))
	}
	return address
})

// stopGateway ends the server, if it was started, and removes its files.
var stopGateway = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	stopGateway()
	os.Exit(code)
}

func startGateway() (string, error) {
	dir, err := os.MkdirTemp("", "bundle-s3-")
	if err != nil {
		return "", err
	}
	stopGateway = func() { os.RemoveAll(dir) }
	for _, name := range []string{"data", "meta", "versions"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return "", err
		}
	}
	sidecar, err := meta.NewSideCar(filepath.Join(dir, "meta"))
	if err != nil {
		return "", err
	}
	backend, err := posix.New(filepath.Join(dir, "data"), sidecar, posix.PosixOpts{
		VersioningDir: filepath.Join(dir, "versions"), SideCarDir: filepath.Join(dir, "meta"), Concurrency: 64,
	})
	if err != nil {
		return "", err
	}
	address, err := freeAddress()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
			RootUserAccess: accessKey, RootUserSecret: secretKey, Region: region, Ports: []string{address},
			MaxConnections: 256, MaxRequests: 256, AdminMaxConnections: 1, AdminMaxRequests: 1, MultipartMaxParts: 10000,
			HealthPath: "/healthy", Quiet: true, KeepAlive: true,
		})
	}()
	stopGateway = func() {
		cancel()
		<-ended
		os.RemoveAll(dir)
	}
	return "http://" + address, healthy("http://"+address, ended)
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// healthy waits until the gateway answers.
func healthy(address string, ended <-chan error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(5 * time.Minute); ; {
		if r, err := http.Get(address + "/healthy"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-ended:
			return fmt.Errorf("it ended: %v", err)
		case <-deadline:
			return fmt.Errorf("no answer from %s", address)
		case <-tick.C:
		}
	}
}

// client talks to endpoint, making each request once: what is tested is our own retrying.
func client(endpoint string) *s3.Client {
	return s3.New(s3.Options{
		Region: region, BaseEndpoint: &endpoint, UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
	})
}

// bucket makes a bucket for one test.
func bucket(t testing.TB, versioned bool) string {
	t.Helper()
	buckets.Lock()
	buckets.n++
	name := fmt.Sprintf("revisions-%d", buckets.n)
	buckets.Unlock()
	api := client(gateway())
	if _, err := api.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	if versioned {
		_, err := api.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: &name, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return name
}

var buckets struct {
	sync.Mutex
	n int
}

// put uploads an object in one request, with the checksum named ("" for none).
func put(t testing.TB, bucket, key string, data []byte, sum types.ChecksumAlgorithm) *s3.PutObjectOutput {
	t.Helper()
	out, err := client(gateway()).PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(data), ChecksumAlgorithm: sum}, func(o *s3.Options) {
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// putParts uploads an object in parts of these sizes, or of 5 MiB, as `aws s3 cp` does with large files.
func putParts(t testing.TB, bucket, key string, data []byte, sum types.ChecksumAlgorithm, whole types.ChecksumType, sizes ...int) {
	t.Helper()
	api := client(gateway())
	plain := func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired }
	up, err := api.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key, ChecksumAlgorithm: sum, ChecksumType: whole}, plain)
	if err != nil {
		t.Fatal(err)
	}
	var done []types.CompletedPart
	for n := int32(1); len(data) > 0; n++ {
		size := 5 << 20
		if len(sizes) > 0 {
			size, sizes = sizes[0], sizes[1:]
		}
		part := data[:min(size, len(data))]
		data = data[len(part):]
		out, err := api.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId, PartNumber: &n, Body: bytes.NewReader(part), ChecksumAlgorithm: sum}, plain)
		if err != nil {
			t.Fatal(err)
		}
		done = append(done, types.CompletedPart{PartNumber: &n, ETag: out.ETag, ChecksumCRC64NVME: out.ChecksumCRC64NVME, ChecksumSHA256: out.ChecksumSHA256, ChecksumCRC32: out.ChecksumCRC32})
	}
	_, err = api.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId, ChecksumType: whole, MultipartUpload: &types.CompletedMultipartUpload{Parts: done}}, plain)
	if err != nil {
		t.Fatal(err)
	}
}

// A fault stands between the client and the gateway. n counts the requests of this method from 1.
type fault func(w http.ResponseWriter, r *http.Request, n int, s3 http.Handler)

// proxy is a gateway with a fault. calls lists what was asked: "GET bytes=0-99".
func proxy(t testing.TB, f fault) (endpoint string, calls func() []string) {
	t.Helper()
	target, err := url.Parse(gateway())
	if err != nil {
		t.Fatal(err)
	}
	behind := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
			r.Out.Host = r.In.Host // it is part of what was signed
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	var mu sync.Mutex
	var list []string
	counts := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		list = append(list, strings.TrimSpace(r.Method+" "+r.Header.Get("Range")))
		counts[r.Method]++
		n := counts[r.Method]
		mu.Unlock()
		f(w, r, n, behind)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), list...)
	}
}

// A cutter lets so many bytes of a body through and then breaks the connection, or with silent is silent until that ends.
type cutter struct {
	http.ResponseWriter
	left   int
	silent context.Context
}

func (c *cutter) Write(p []byte) (int, error) {
	if len(p) >= c.left {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		if c.silent != nil {
			<-c.silent.Done()
		}
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

// A flipper changes one bit of a body.
type flipper struct {
	http.ResponseWriter
	done bool
}

func (f *flipper) Write(p []byte) (int, error) {
	if !f.done && len(p) > 0 {
		p = bytes.Clone(p)
		p[len(p)/2] ^= 1
		f.done = true
	}
	return f.ResponseWriter.Write(p)
}

// answer is an error of S3 as it stands on the wire; the answer to HEAD has no body.
func answer(w http.ResponseWriter, r *http.Request, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>made for a test</Message><RequestId>R</RequestId></Error>`, code)
	}
}

// content is what lies in an open file, from its beginning.
func content(t testing.TB, f *os.File) []byte {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

package standin

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// uploadTimeout bounds what the Go API itself asks of the gateway on this machine.
const uploadTimeout = time.Minute

// s3Front stands before the gateway: it logs calls, makes faults happen, and keeps the buckets of
// other Clouds out of sight. Requests pass through unchanged, so the gateway checks the signatures.
func (c *Cloud) s3Front() http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport: c.gateway.transport,
		ErrorLog:  quietLog,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", "gateway"
			p.Out.Host = p.In.Host // it is part of the signature
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := s3Call(r)
		defer func() { c.calls.add(call) }()
		if auth, ok := parseAuthorization(r.Header.Get("Authorization")); ok {
			cred, known := keys.lookup(auth.key)
			call.InstanceID = cred.instance
			switch {
			case known && cred.cloud != c:
				s3Error(w, r, &call, apiError{403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."})
				return
			case cred.expired():
				s3Error(w, r, &call, apiError{400, "ExpiredToken", "The provided token has expired."})
				return
			}
		}
		if owner := c.gateway.owner(call.Params["bucket"]); owner != nil && owner != c {
			s3Error(w, r, &call, apiError{403, "AccessDenied", "Access Denied"})
			return
		}
		fault := c.faults.next(Request{call.Service, call.Op, call.InstanceID, call.Params})
		if err := c.pause(r.Context(), fault.Delay, fault.Until); err != nil || (fault.DropConnection && !fault.AfterEffect) {
			call.ErrorCode = "ConnectionDropped"
			panic(http.ErrAbortHandler)
		}
		if fault.Stall {
			w = stalled{w, r}
		}
		if fault.answers() && !fault.AfterEffect {
			s3Fault(w, r, &call, fault)
			return
		}
		front := *proxy
		if fault.CutAfter > 0 {
			front.FlushInterval = -1 // what comes before the cut is to arrive
		}
		front.ModifyResponse = func(resp *http.Response) error {
			call.Status, call.ErrorCode = resp.StatusCode, errorCode(resp)
			if call.Op == "CreateBucket" && resp.StatusCode == http.StatusOK {
				c.gateway.own(call.Params["bucket"], c)
			}
			if call.Op == "DeleteObject" && resp.StatusCode < 300 {
				if err := c.gone(r.Context(), call.Params["bucket"], call.Params["key"]); err != nil {
					return err
				}
			}
			if fault.CutAfter > 0 {
				resp.Body = &cutBody{resp.Body, fault.CutAfter}
			}
			if fault.Corrupt {
				resp.Body = &corruptBody{ReadCloser: resp.Body}
			}
			if fault.AfterEffect {
				return errors.New("the answer is lost")
			}
			return nil
		}
		front.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
			switch {
			case fault.AfterEffect && fault.answers():
				s3Fault(w, r, &call, fault)
			case fault.AfterEffect:
				call.Status, call.ErrorCode = 0, "ConnectionDropped"
				panic(http.ErrAbortHandler)
			default:
				s3Error(w, r, &call, apiError{502, "BadGateway", err.Error()})
			}
		}
		front.ServeHTTP(w, r)
	})
}

// gone sees to it that an object of which no current version is left can be made anew.
func (c *Cloud) gone(ctx context.Context, bucket, key string) error {
	_, err := c.s3Client().HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if none := (*types.NotFound)(nil); !errors.As(err, &none) {
		return err
	}
	return c.gateway.deleted(bucket, key)
}

// s3Call tells which operation a request is, from its method and query.
func s3Call(r *http.Request) Call {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	call := Call{At: time.Now(), Service: "s3", Op: s3Op(r.Method, bucket, key, q, r.Header), Params: map[string]string{"bucket": bucket, "key": key}}
	for _, name := range []string{"versionId", "partNumber", "prefix"} {
		if q.Has(name) {
			call.Params[name] = q.Get(name)
		}
	}
	for _, name := range []string{"Range", "If-Match", "If-None-Match", "X-Amz-Checksum-Mode"} {
		if v := r.Header.Get(name); v != "" {
			call.Params[name] = v
		}
	}
	return call
}

func s3Op(method, bucket, key string, q url.Values, h http.Header) string {
	switch {
	case bucket == "":
		return "ListBuckets"
	case key == "" && q.Has("versioning"):
		return map[string]string{"GET": "GetBucketVersioning", "PUT": "PutBucketVersioning"}[method]
	case key == "" && q.Has("location"):
		return "GetBucketLocation"
	case key == "" && q.Has("versions"):
		return "ListObjectVersions"
	case key == "" && q.Has("delete"):
		return "DeleteObjects"
	case key == "":
		return map[string]string{"GET": "ListObjectsV2", "HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}[method]
	case q.Has("uploads"):
		return "CreateMultipartUpload"
	case q.Has("uploadId"):
		return map[string]string{"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload", "GET": "ListParts"}[method]
	case q.Has("attributes"):
		return "GetObjectAttributes"
	case h.Get("X-Amz-Copy-Source") != "":
		return "CopyObject"
	}
	return map[string]string{"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}[method]
}

// s3Fault answers as a fault says.
func s3Fault(w http.ResponseWriter, r *http.Request, call *Call, f Fault) {
	if f.Body == nil {
		s3Error(w, r, call, f.asError())
		return
	}
	call.Status, call.ErrorCode = max(f.Status, http.StatusOK), f.Code
	w.WriteHeader(call.Status)
	_, _ = w.Write(f.Body)
}

// s3Error answers with S3's error document; a HEAD has none.
func s3Error(w http.ResponseWriter, r *http.Request, call *Call, e apiError) {
	if e.status == 0 {
		e.status = statusOf(e.code)
	}
	call.Status, call.ErrorCode = e.status, e.code
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("X-Amz-Request-Id", strings.ToUpper(randomHex(16)))
	w.WriteHeader(e.status)
	if r.Method == http.MethodHead {
		return
	}
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName                 xml.Name `xml:"Error"`
		Code, Message, Resource string
	}{Code: e.code, Message: e.message, Resource: r.URL.Path})
}

// errorCode reads the code out of a gateway's error and leaves the body as it was.
func errorCode(resp *http.Response) string {
	if resp.StatusCode < 300 {
		return ""
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var e struct{ Code string }
	if xml.Unmarshal(body, &e) != nil || e.Code == "" {
		return http.StatusText(resp.StatusCode)
	}
	return e.Code
}

// cutBody ends a body early, as a broken connection does.
type cutBody struct {
	io.ReadCloser
	left int64
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// corruptBody changes the first byte of a body.
type corruptBody struct {
	io.ReadCloser
	done bool
}

func (b *corruptBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 && !b.done {
		b.done = true
		p[0] ^= 0xff
	}
	return n, err
}

// s3Client is the Go API's own way to the gateway: past the front, so that the log has only clients' calls.
func (c *Cloud) s3Client() *s3.Client {
	return s3.New(s3.Options{
		Region:       c.Region,
		BaseEndpoint: aws.String("http://gateway"),
		UsePathStyle: true,
		HTTPClient:   &http.Client{Transport: c.gateway.transport},
		Credentials:  credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, ""),
	})
}

// CreateBucket makes a bucket of this Cloud. Names are shared by all Clouds of the process; it is an
// error when another has it.
func (c *Cloud) CreateBucket(bucket string, versioned bool) error {
	ctx, cancel := context.WithTimeout(c.stopped, uploadTimeout)
	defer cancel()
	if owner := c.gateway.owner(bucket); owner != nil {
		return fmt.Errorf("cannot create bucket %s: a Cloud of this process has one of that name; use Cloud.Bucket", bucket)
	}
	api := c.s3Client()
	if _, err := api.CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket:                    &bucket,
		CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(c.Region)},
	}); err != nil {
		return fmt.Errorf("cannot create bucket %s: %w", bucket, err)
	}
	c.gateway.own(bucket, c)
	if !versioned {
		return nil
	}
	if _, err := api.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket:                  &bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	}); err != nil {
		return fmt.Errorf("cannot turn on versioning of bucket %s: %w", bucket, err)
	}
	return nil
}

// Upload puts an object, in a bucket that is made with versioning when it is not there, and returns its ETag
// without quotes and its version id. The upload is not in the call log.
func (c *Cloud) Upload(bucket, key string, data []byte) (etag, version string, err error) {
	if c.gateway.owner(bucket) == nil {
		if err := c.CreateBucket(bucket, true); err != nil {
			return "", "", err
		}
	}
	ctx, cancel := context.WithTimeout(c.stopped, uploadTimeout)
	defer cancel()
	out, err := c.s3Client().PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(data)})
	if err != nil {
		return "", "", fmt.Errorf("cannot upload s3://%s/%s: %w", bucket, key, err)
	}
	return strings.Trim(aws.ToString(out.ETag), `"`), aws.ToString(out.VersionId), nil
}

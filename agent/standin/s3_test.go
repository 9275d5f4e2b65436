package standin_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"usher/agent/standin"
)

func storeOf(c *standin.Cloud, cfg aws.Config) *s3.Client {
	return s3.NewFromConfig(cfg, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = aws.String(c.S3Endpoint), true })
}

func fetch(ctx context.Context, api *s3.Client, bucket, key, byteRange string) ([]byte, error) {
	in := &s3.GetObjectInput{Bucket: &bucket, Key: &key}
	if byteRange != "" {
		in.Range = &byteRange
	}
	out, err := api.GetObject(ctx, in)
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

func TestS3Faults(t *testing.T) {
	t.Parallel()
	cloud := start(t, standin.Options{})
	data := bytes.Repeat([]byte("0123456789abcdef"), 8192)
	etag, _, err := cloud.Upload(cloud.Bucket, "app.tgz", data)
	if sum := md5.Sum(data); err != nil || etag != hex.EncodeToString(sum[:]) {
		t.Fatalf("ETag %s, %v", etag, err)
	}
	api := storeOf(cloud, asUser(cloud))
	for _, c := range []struct {
		name  string
		op    string
		fault standin.Fault
		want  string // error code, "broken", "wrong" bytes or "whole"
	}{
		{"nothing", "GetObject", standin.Fault{}, "whole"},
		{"told to slow down", "GetObject", standin.Fault{Code: "SlowDown"}, "SlowDown"},
		{"no permission", "GetObject", standin.Fault{Code: "AccessDenied"}, "AccessDenied"},
		{"the key gone", "GetObject", standin.Fault{Code: "NoSuchKey"}, "NoSuchKey"},
		{"another operation", "HeadObject", standin.Fault{Code: "SlowDown"}, "whole"},
		{"the body cut", "GetObject", standin.Fault{CutAfter: 1000}, "broken"},
		{"a byte wrong", "GetObject", standin.Fault{Corrupt: true}, "wrong"},
		{"no answer", "GetObject", standin.Fault{DropConnection: true}, "broken"},
		{"a slow answer", "GetObject", standin.Fault{Delay: 20 * time.Millisecond}, "whole"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cloud.Heal("*")
			cloud.Fail(c.op, -1, c.fault)
			got, err := fetch(testContext(t), api, cloud.Bucket, "app.tgz", "bytes=0-99999")
			result := code(err)
			switch {
			case result != "":
			case err != nil:
				result = "broken"
				if c.fault.CutAfter > 0 && int64(len(got)) != c.fault.CutAfter {
					t.Errorf("cut after %d bytes, want %d", len(got), c.fault.CutAfter)
				}
			case bytes.Equal(got, data[:100000]):
				result = "whole"
			default:
				result = "wrong"
			}
			if result != c.want {
				t.Errorf("%s (%v), want %s", result, err, c.want)
			}
		})
	}
	calls := cloud.CallsOf("GetObject")
	if first := calls[0]; first.Params["Range"] != "bytes=0-99999" || first.Params["key"] != "app.tgz" || first.Status != http.StatusPartialContent {
		t.Errorf("log %+v", first)
	}
	if len(calls) < 2 || calls[1].ErrorCode != "SlowDown" || calls[1].Status != 503 {
		t.Errorf("log %+v", calls[1])
	}
}

func TestVersionsAndETags(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cloud := start(t, standin.Options{})
	oldTag, old, err := cloud.Upload(cloud.Bucket, "app.tgz", []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	newTag, latest, err := cloud.Upload(cloud.Bucket, "app.tgz", []byte("two"))
	if err != nil || old == latest || old == "" || oldTag == newTag {
		t.Fatalf("versions %q and %q, %v", old, latest, err)
	}
	server := cloud.Standalone(standin.LaunchOptions{})
	cfg, _ := onInstance(t, cloud, server)
	api := storeOf(cloud, cfg)
	out, err := api.GetObject(ctx, &s3.GetObjectInput{Bucket: &cloud.Bucket, Key: aws.String("app.tgz"), VersionId: &old})
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(out.Body); err != nil || string(body) != "one" {
		t.Errorf("old version is %q, %v", body, err)
	}
	if _, err := api.GetObject(ctx, &s3.GetObjectInput{Bucket: &cloud.Bucket, Key: aws.String("app.tgz"), IfMatch: &oldTag}); code(err) != "PreconditionFailed" {
		t.Errorf("If-Match of the old ETag: %v", err)
	}
	if _, err := api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &cloud.Bucket, Key: aws.String("none")}); code(err) != "NotFound" {
		t.Errorf("a key that is not there: %v", err)
	}
	server.ExpireCredentials()
	if _, err := fetch(ctx, api, cloud.Bucket, "app.tgz", ""); code(err) != "ExpiredToken" {
		t.Errorf("with expired credentials: %v", err)
	}
}

func TestCloudsShareOneGatewayAndNothingElse(t *testing.T) {
	t.Parallel()
	const clouds = 4
	var wg sync.WaitGroup
	for range clouds {
		wg.Go(func() {
			c, err := standin.Start(standin.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if _, _, err := c.Upload(c.Bucket, "app.tgz", []byte(c.Bucket)); err != nil {
				t.Error(err)
			}
			got, err := fetch(testContext(t), storeOf(c, asUser(c)), c.Bucket, "app.tgz", "")
			if err != nil || string(got) != c.Bucket {
				t.Errorf("%q, %v", got, err)
			}
			if calls := c.CallsOf("GetObject"); len(calls) != 1 {
				t.Errorf("%d calls in the log", len(calls))
			}
		})
	}
	wg.Wait()

	mine, theirs := start(t, standin.Options{}), start(t, standin.Options{})
	if _, _, err := theirs.Upload("releases", "app.tgz", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := mine.CreateBucket("releases", true); err == nil {
		t.Error("one bucket name in two Clouds")
	}
	if _, err := fetch(testContext(t), storeOf(mine, asUser(mine)), "releases", "app.tgz", ""); code(err) != "AccessDenied" {
		t.Errorf("another Cloud's bucket: %v", err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	cloud, err := standin.Start(standin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cloud.CreateGroup(standin.Group{Name: "web"})
	cloud.PutHook("web", standin.Hook{Name: "deploy", HeartbeatTimeout: time.Millisecond})
	server := cloud.Launch("web", standin.LaunchOptions{})
	cloud.Fail("*", -1, standin.Fault{Delay: time.Hour})
	hanging := make(chan error, 1)
	go func() {
		_, err := http.Get(cloud.Endpoint)
		hanging <- err
	}()
	cloud.Close()
	if err := <-hanging; err == nil {
		t.Error("a call that hung got an answer")
	}
	for _, endpoint := range []string{cloud.Endpoint, cloud.S3Endpoint, server.MetadataEndpoint} {
		if _, err := http.Get(endpoint); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, want connection refused", endpoint, err)
		}
	}
	states := server.States()
	if !slices.Equal(states[:2], []standin.State{standin.Pending, standin.PendingWait}) {
		t.Errorf("states %v", states)
	}
}

// An object that was deleted is not there for If-None-Match: neither behind a delete marker nor when its version was deleted.
func TestS3MadeAnewAfterADeletion(t *testing.T) {
	t.Parallel()
	cloud := start(t, standin.Options{})
	api := storeOf(cloud, asUser(cloud))
	key := "lock.json"
	for _, byVersion := range []bool{false, true, false} {
		put, err := api.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &cloud.Bucket, Key: &key, Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := api.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &cloud.Bucket, Key: &key, Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")}); code(err) != "PreconditionFailed" {
			t.Errorf("one that is there: %v", err)
		}
		in := &s3.DeleteObjectInput{Bucket: &cloud.Bucket, Key: &key}
		if byVersion {
			in.VersionId = put.VersionId
		}
		if _, err := api.DeleteObject(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
}

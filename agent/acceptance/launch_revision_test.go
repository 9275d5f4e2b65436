package acceptance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"usher/agent/standin"
)

// What the deployment group runs.

// No revision yet: the base stays live, and the launch continues.
func TestGroupWithoutRevision(t *testing.T) {
	s := newStage(t)
	server, r, code := s.launch()
	s.expect("exit code", itoa(code), "0")
	s.waitFor(server, standin.InService)
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
	s.said(r, "deployment group production of application shop has no revision yet", "opt/app stays as it is")
	s.expect("live", s.live(), "base")
	s.expect("calls", callsOf(s.cloud), "CompleteLifecycleAction DescribeAutoScalingInstances DescribeLifecycleHooks GetDeploymentGroup")
}

// A deployment that failed is not what new instances get: the last one that succeeded is.
func TestLastSuccessfulRevision(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	etag, version, err := s.cloud.Upload(s.cloud.Bucket, "shop-2.zip", zipped(t, s.app("2")))
	s.must(err)
	s.cloud.FailDeployment("shop", "production", standin.S3Revision(s.cloud.Bucket, "shop-2.zip", "zip", version, etag))
	server, _, code := s.launch()
	s.expect("exit code", itoa(code), "0")
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
	s.expect("live", s.live(), "1")
}

// A group or an application that is not there, or a revision usher cannot deploy: ABANDON, and what to do.
func TestRevisionIsRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*stage)
		want    string
	}{
		{"no such group", func(s *stage) { s.config["deployment_group"] = "prodcution" },
			"cannot read deployment group prodcution of application shop in eu-west-1: the application has no such deployment group: create it, or correct application and deployment_group"},
		{"no such application", func(s *stage) { s.config["application"] = "shopp" },
			"cannot read deployment group production of application shopp in eu-west-1: there is no such application in this account and Region"},
		{"no permission", func(s *stage) {
			s.cloud.Fail("GetDeploymentGroup", -1, standin.Fault{Code: "AccessDeniedException"})
		}, "allow codedeploy:GetDeploymentGroup in the policy of the instance's role"},
		{"an object that is gone", func(s *stage) {
			s.cloud.PublishRevision("shop", "production", standin.S3Revision(s.cloud.Bucket, "gone.zip", "zip", "", "0123456789abcdef0123456789abcdef"))
		}, "/gone.zip, or no such bucket: it was deleted or never uploaded: deploy a revision that exists"},
		{"an object of another region", func(s *stage) {
			s.publish("shop-1", s.app("1"))
			s.cloud.Fail("HeadObject", -1, standin.Fault{Status: http.StatusMovedPermanently, Code: "PermanentRedirect"})
		}, "the bucket is in another region: use a bucket in the instance's region"},
		{"an object that may not be read", func(s *stage) {
			s.publish("shop-1", s.app("1"))
			s.cloud.Fail("HeadObject", -1, standin.Fault{Code: "AccessDenied"})
		}, "access denied: allow s3:GetObjectVersion on arn:aws:s3:::"},
		{"a revision of another kind", func(s *stage) {
			s.cloud.PublishRevision("shop", "production", standin.Revision{Raw: []byte(`{"revisionType":"String","string":{"content":"{}","sha256":"0"}}`)})
		}, `its type is "String", and usher knows S3 and GitHub`},
		{"S3 is down for longer than the patience", func(s *stage) {
			s.config["retry_timeout"] = "1ms"
			s.publish("shop-1", s.app("1"))
			s.cloud.Fail("GetDeploymentGroup", -1, standin.Fault{Status: 503})
		}, "cannot read deployment group production of application shop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			c.prepare(s)
			server, r, code := s.launch()
			s.expect("exit code", itoa(code), "1")
			s.waitFor(server, standin.Terminated)
			s.expect("verdict", answers(server), "usher-launch ABANDON")
			s.expect("live", s.live(), "base")
			s.expect("the scripts saw", s.trace(), "")
			s.said(r, c.want)
			s.clean()
		})
	}
}

// A revision that was registered with neither ETag nor version is pinned to what is there now.
func TestRevisionWithoutETag(t *testing.T) {
	s := newStage(t)
	_, _, err := s.cloud.Upload(s.cloud.Bucket, "latest.zip", zipped(t, s.app("1")))
	s.must(err)
	s.cloud.PublishRevision("shop", "production", standin.S3Revision(s.cloud.Bucket, "latest.zip", "zip", "", ""))
	server, _, code := s.launch()
	s.expect("exit code", itoa(code), "0")
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
	s.expect("live", s.live(), "1")
	s.expect("calls", callsOf(s.cloud), "CompleteLifecycleAction DescribeAutoScalingInstances DescribeLifecycleHooks GetDeploymentGroup GetObject HeadObject HeadObject")
	if get := s.cloud.CallsOf("GetObject")[0]; get.Params["versionId"] == "" && get.Params["If-Match"] == "" {
		t.Error("what was downloaded is not pinned")
	}
}

// archive is a tar.gz as GitHub makes one: everything below owner-name-commit/.
func archive(t *testing.T, top string, f files) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, content := range f {
		err := w.WriteHeader(&tar.Header{Name: top + "/" + name, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg})
		if err == nil {
			_, err = io.WriteString(w, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	z.Close()
	return b.Bytes()
}

// A revision in a public repository, by way of GitHub's redirect.
func TestGitHubRevision(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	s := newStage(t)
	bundle := archive(t, "acme-shop-0123456", s.app("1").with(files{
		"scripts/validate.sh": "#!/bin/sh\nset -eu\necho \"commit $BUNDLE_COMMIT bucket ${BUNDLE_BUCKET-none}\"\n"}))
	var asked []string
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		if r.URL.Path == "/archive" {
			_, _ = w.Write(bundle)
			return
		}
		http.Redirect(w, r, "/archive", http.StatusFound)
	}))
	t.Cleanup(github.Close)
	s.config["github_api"] = github.URL
	id := s.cloud.PublishRevision("shop", "production", standin.GitHubRevision("acme/shop", commit))
	server, r, code := s.launch()

	s.expect("exit code", itoa(code), "0")
	s.waitFor(server, standin.InService)
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
	s.expect("live", s.live(), "1")
	s.said(r, "deployment "+id+" begins: github.com/acme/shop@0123456", "| commit "+commit+" bucket none")
	s.expect("requests", itoa(len(asked)), "2")
	s.expect("the first", asked[0], "GET /repos/acme/shop/tarball/"+commit)
	s.expect("calls", callsOf(s.cloud), "CompleteLifecycleAction DescribeAutoScalingInstances DescribeLifecycleHooks GetDeploymentGroup")
}

// A private repository answers as one that is not there.
func TestGitHubRevisionIsNotThere(t *testing.T) {
	s := newStage(t)
	github := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(github.Close)
	s.config["github_api"] = github.URL
	s.cloud.PublishRevision("shop", "production", standin.GitHubRevision("acme/secret", "0123456789abcdef0123456789abcdef01234567"))
	server, r, code := s.launch()
	s.expect("exit code", itoa(code), "1")
	s.expect("verdict", answers(server), "usher-launch ABANDON")
	s.said(r, "cannot download github.com/acme/secret@", "there is no such repository or commit, or it is private")
	s.expect("live", s.live(), "base")
	s.clean()
}

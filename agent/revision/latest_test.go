package revision

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
)

// answer is what the service says, in AWS JSON 1.1.
type answer struct {
	status int
	body   string
}

// group is the answer for a deployment group with these further members.
func group(members string) answer {
	if members != "" {
		members = "," + members
	}
	return answer{200, `{"deploymentGroupInfo":{"applicationName":"web","deploymentGroupName":"staging",` +
		`"deploymentGroupId":"2f0e-44","computePlatform":"Server"` + members + `}}`}
}

// target is a deployment group whose target revision is location, last deployed by d-OK1.
func target(location string) answer {
	return group(`"targetRevision":` + location +
		`,"lastSuccessfulDeployment":{"deploymentId":"d-OK1","status":"Succeeded","createTime":1.7e9}` +
		`,"lastAttemptedDeployment":{"deploymentId":"d-BAD2","status":"Failed"}`)
}

// failure is an error of the service.
func failure(status int, code, message string) answer {
	return answer{status, fmt.Sprintf(`{"__type":%q,"message":%q}`, code, message)}
}

// client is the SDK's client for a server on the loopback that gives the answer and checks the request.
func client(t *testing.T, a answer) *codedeploy.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var in map[string]string
		if err := json.Unmarshal(body, &in); err != nil || len(in) != 2 || in["applicationName"] != "web" || in["deploymentGroupName"] != "staging" {
			t.Errorf("the request is %s", body)
		}
		if got := r.Header.Get("X-Amz-Target"); got != "CodeDeploy_20141006.GetDeploymentGroup" {
			t.Errorf("called %s", got)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	t.Cleanup(server.Close)
	return codedeploy.New(codedeploy.Options{
		Region:           "eu-west-1",
		BaseEndpoint:     &server.URL,
		Credentials:      credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		RetryMaxAttempts: 1, // how long to try again is the caller's matter
		Retryer:          aws.NopRetryer{},
	})
}

func TestLatest(t *testing.T) {
	of := func(r Revision) Revision {
		r.Application, r.Group, r.GroupID, r.DeploymentID = "web", "staging", "2f0e-44", "d-OK1"
		return r
	}
	for _, c := range []struct {
		name   string
		answer answer
		want   Revision
	}{
		{"S3, pinned to version and ETag",
			target(`{"revisionType":"S3","s3Location":{"bucket":"b","key":"web/1.tgz","bundleType":"tgz","version":"v7","eTag":"\"abc\""}}`),
			of(Revision{S3: &S3{Bucket: "b", Key: "web/1.tgz", Version: "v7", ETag: "abc", BundleType: "tgz"}})},
		{"S3, pinned to nothing",
			target(`{"revisionType":"S3","s3Location":{"bucket":"b","key":"web.zip","bundleType":"zip"}}`),
			of(Revision{S3: &S3{Bucket: "b", Key: "web.zip", BundleType: "zip"}})},
		{"S3, tar",
			target(`{"revisionType":"S3","s3Location":{"bucket":"b","key":"web","bundleType":"tar"}}`),
			of(Revision{S3: &S3{Bucket: "b", Key: "web", BundleType: "tar"}})},
		{"GitHub",
			target(`{"revisionType":"GitHub","gitHubLocation":{"repository":"o/web","commitId":"0123456789abcdef0123456789abcdef01234567"}}`),
			of(Revision{GitHub: &GitHub{Repository: "o/web", CommitID: "0123456789abcdef0123456789abcdef01234567"}})},
		{"no deployment is named",
			group(`"targetRevision":{"revisionType":"S3","s3Location":{"bucket":"b","key":"k","bundleType":"tar"}}`),
			Revision{Application: "web", Group: "staging", GroupID: "2f0e-44", S3: &S3{Bucket: "b", Key: "k", BundleType: "tar"}}},
		{"an answer of before platforms",
			answer{200, `{"deploymentGroupInfo":{"targetRevision":{"revisionType":"S3","s3Location":{"bucket":"b","key":"k","bundleType":"tar"}}}}`},
			Revision{Application: "web", Group: "staging", S3: &S3{Bucket: "b", Key: "k", BundleType: "tar"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Latest(t.Context(), client(t, c.answer), "web", "staging")
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %#v\nwant %#v", got, c.want)
			}
		})
	}
}

func TestNoRevisionYet(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer answer
	}{
		{"nothing was ever deployed", group("")},
		{"only failures", group(`"lastAttemptedDeployment":{"deploymentId":"d-BAD2","status":"Failed"}`)},
		{"an empty target", group(`"targetRevision":{}`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Latest(t.Context(), client(t, c.answer), "web", "staging")
			if !errors.Is(err, ErrNone) {
				t.Fatalf("got %v", err)
			}
			if want := (Revision{Application: "web", Group: "staging", GroupID: "2f0e-44"}); !reflect.DeepEqual(got, want) {
				t.Errorf("got %#v, want the group alone", got)
			}
			if want := "deployment group staging of application web: the deployment group has no successful deployment yet"; err.Error() != want {
				t.Errorf("the error is %q", err)
			}
		})
	}
}

func TestRefusedRevisions(t *testing.T) {
	const start = "cannot deploy the revision of deployment group staging of application web in eu-west-1: "
	for _, c := range []struct {
		name, location, want string
	}{
		{"of an old Lambda deployment", `{"revisionType":"String","string":{"content":"{}"}}`,
			`its type is "String", and usher knows S3 and GitHub`},
		{"of a Lambda or ECS deployment", `{"revisionType":"AppSpecContent","appSpecContent":{"content":"{}"}}`,
			`its type is "AppSpecContent", and usher knows S3 and GitHub`},
		{"of a type yet to come", `{"revisionType":"Git"}`, `its type is "Git", and usher knows S3 and GitHub`},
		{"an appspec alone, YAML", `{"revisionType":"S3","s3Location":{"bucket":"b","key":"k","bundleType":"YAML"}}`,
			"the bundle type of s3://b/k is YAML: a server needs tar, tgz or zip"},
		{"an appspec alone, JSON", `{"revisionType":"S3","s3Location":{"bucket":"b","key":"k","bundleType":"JSON"}}`,
			"the bundle type of s3://b/k is JSON: a server needs tar, tgz or zip"},
		{"no bundle type", `{"revisionType":"S3","s3Location":{"bucket":"b","key":"k"}}`,
			"s3://b/k has no bundle type: register it again as tar, tgz or zip"},
		{"no bucket", `{"revisionType":"S3","s3Location":{"key":"k","bundleType":"zip"}}`,
			"its S3 location has no bucket: register it again"},
		{"no key", `{"revisionType":"S3","s3Location":{"bucket":"b","bundleType":"zip"}}`,
			"its S3 location in bucket b has no key: register it again"},
		{"no location in S3", `{"revisionType":"S3"}`, "its type is S3, but it has no S3 location"},
		{"no location on GitHub", `{"revisionType":"GitHub"}`, "its type is GitHub, but it has no GitHub location"},
		{"no owner", `{"revisionType":"GitHub","gitHubLocation":{"repository":"web","commitId":"0123456"}}`,
			`its GitHub repository is "web": it must be owner/name`},
		{"a branch", `{"revisionType":"GitHub","gitHubLocation":{"repository":"o/web","commitId":"main"}}`,
			`the commit of GitHub repository o/web is "main": it must be a commit id, 7 to 40 hexadecimal digits`},
		{"no commit", `{"revisionType":"GitHub","gitHubLocation":{"repository":"o/web"}}`,
			`the commit of GitHub repository o/web is "": it must be a commit id, 7 to 40 hexadecimal digits`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Latest(t.Context(), client(t, target(c.location)), "web", "staging")
			if err == nil || err.Error() != start+c.want {
				t.Errorf("got  %v\nwant %s", err, start+c.want)
			}
		})
	}
	for _, platform := range []string{"Lambda", "ECS"} {
		t.Run("a group of "+platform, func(t *testing.T) {
			a := answer{200, `{"deploymentGroupInfo":{"computePlatform":"` + platform + `"}}`}
			_, err := Latest(t.Context(), client(t, a), "web", "staging")
			if err == nil || !strings.HasPrefix(err.Error(), start+"the application's compute platform is "+platform) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	const start = "cannot read deployment group staging of application web in eu-west-1: "
	for _, c := range []struct {
		name   string
		answer answer
		want   string // what comes after start, before the SDK's own words
	}{
		{"no application", failure(400, "ApplicationDoesNotExistException", "No application found for name: web"),
			"there is no such application in this account and Region: create it, or correct "},
		{"no group", failure(400, "DeploymentGroupDoesNotExistException", "No Deployment Group found for name: staging"),
			"the application has no such deployment group: create it, or correct "},
		{"no permission", failure(400, "AccessDeniedException", "User: arn:aws:sts::123456789012:assumed-role/web/i-0abc is not authorized"),
			"allow codedeploy:GetDeploymentGroup in the policy of the instance's role: "},
		{"expired", failure(400, "ExpiredTokenException", "The security token included in the request is expired"),
			"the instance's credentials are not accepted: check its instance profile and its clock: "},
		{"a clock that is wrong", failure(400, "InvalidSignatureException", "Signature expired"),
			"the request's signature is not accepted: check the instance's clock: "},
		{"throttled", failure(400, "ThrottlingException", "Rate exceeded"), "operation error CodeDeploy"},
		{"an invalid name", failure(400, "InvalidApplicationNameException", "invalid"), "operation error CodeDeploy"},
		{"nothing that is JSON", answer{502, "<html>"}, "operation error CodeDeploy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Latest(t.Context(), client(t, c.answer), "web", "staging")
			if err == nil || !strings.HasPrefix(err.Error(), start+c.want) {
				t.Errorf("got  %v\nwant %s…", err, start+c.want)
			}
			if errors.Is(err, ErrNone) {
				t.Error("a failure is taken for a group without a revision")
			}
		})
	}
	t.Run("the service's error can be looked at", func(t *testing.T) {
		_, err := Latest(t.Context(), client(t, failure(400, "ApplicationDoesNotExistException", "x")), "web", "staging")
		if _, ok := errors.AsType[*types.ApplicationDoesNotExistException](err); !ok {
			t.Errorf("%v does not wrap it", err)
		}
	})
	t.Run("an empty answer", func(t *testing.T) {
		_, err := Latest(t.Context(), client(t, answer{200, `{}`}), "web", "staging")
		if err == nil || !strings.Contains(err.Error(), "it is empty") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no names", func(t *testing.T) {
		_, err := Latest(t.Context(), client(t, group("")), "web", "")
		if err == nil || !strings.Contains(err.Error(), `application is "web" and deployment group is "": set application`) {
			t.Errorf("got %v", err)
		}
	})
}

package hostcommand

import (
	"reflect"
	"strings"
	"testing"
)

// plain is the content of an envelope, with everything that is required.
const plain = `{"DeploymentId":"d-ABCDEF123","DeploymentGroupId":"2f0e-44","DeploymentGroupName":"production","ApplicationName":"shop",` +
	`"Revision":{"RevisionType":"S3","S3Revision":{"Bucket":"b","Key":"shop/1.tgz","BundleType":"tgz"}}}`

// specificationOf is what plain says, changed.
func specificationOf(change func(*Specification)) Specification {
	s := Specification{DeploymentID: "d-ABCDEF123", Application: "shop", Group: "production", GroupID: "2f0e-44",
		S3: &S3{Bucket: "b", Key: "shop/1.tgz", BundleType: "tgz"}, Creator: "user", Type: "IN_PLACE"}
	if change != nil {
		change(&s)
	}
	return s
}

func TestParse(t *testing.T) {
	t.Parallel()
	const revision = `"Revision":{"RevisionType":"S3","S3Revision":{"Bucket":"b","Key":"shop/1.tgz","BundleType":"tgz"}}`
	with := func(old, changed string) string {
		if !strings.Contains(plain, old) {
			t.Fatalf("%s is not in the specification", old)
		}
		return strings.Replace(plain, old, changed, 1)
	}
	also := func(members string) string { return with(`{"DeploymentId"`, `{`+members+`,"DeploymentId"`) }
	from := func(location string) string { return with(revision, `"Revision":`+location) }
	for _, c := range []struct {
		name, text string
		want       func(*Specification)
	}{
		{"what is required", plain, nil},
		{"with blanks around it", " \r\n\t" + plain + "\n", nil},
		{"the deployment as an ARN", with(`d-ABCDEF123`, `arn:aws:codedeploy:eu-west-1:123456789012:deployment/d-ABCDEF123`), nil},
		{"nulls", also(`"DeploymentCreator":null,"AgentActionOverrides":null,"AppSpecFilename":null,"AllPossibleLifecycleEvents":null,"Target":null`), nil},
		{"everything", also(`"DeploymentCreator":"codeDeployRollback","DeploymentType":"BLUE_GREEN","AppSpecFilename":"deploy/appspec.yaml",` +
			`"AgentActionOverrides":{"AgentOverrides":{"FileExistsBehavior":"Overwrite"}},"AllPossibleLifecycleEvents":["ApplicationStop","Install"],"GitHubAccessToken":"t","ReuseArchiveFromDeploymentId":"d-OLD","New":{"x":[1]}`),
			func(s *Specification) {
				s.Creator, s.Type, s.AppSpecFile, s.FileExists = "codeDeployRollback", "BLUE_GREEN", "deploy/appspec.yaml", "OVERWRITE"
			}},
		{"known members of other types", also(`"AllPossibleLifecycleEvents":"all","ReuseArchiveFromDeploymentId":{"id":7},"GitHubAccessToken":[]`), nil},
		{"S3 without an ETag", from(`{"RevisionType":"S3","S3Revision":{"Bucket":"b","Key":"k","BundleType":"zip","Version":null}}`),
			func(s *Specification) { s.S3 = &S3{Bucket: "b", Key: "k", BundleType: "zip"} }},
		{"S3 with version and ETag", from(`{"RevisionType":"S3","S3Revision":{"Bucket":"b","Key":"k","BundleType":"zip","Version":"v7","ETag":"\"abc\""},"GitHubRevision":null}`),
			func(s *Specification) { s.S3 = &S3{"b", "k", "zip", "v7", "abc"} }},
		{"GitHub", from(`{"RevisionType":"GitHub","GitHubRevision":{"Account":"o","Repository":"shop","CommitId":"0123456"}}`),
			func(s *Specification) {
				s.S3, s.GitHub = nil, &GitHub{Account: "o", Repository: "shop", CommitID: "0123456"}
			}},
		{"GitHub as a zip", from(`{"RevisionType":"GitHub","S3Revision":null,"GitHubRevision":{"Account":"o","Repository":"shop","CommitId":"0123456","BundleType":"zip"}}`),
			func(s *Specification) { s.S3, s.GitHub = nil, &GitHub{"o", "shop", "0123456", "zip"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := parse([]byte(c.text))
			if want := specificationOf(c.want); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
	const where = `"Bucket":"b","Key":"shop/1.tgz","BundleType":"tgz"`
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "its content is not a JSON object"},
		{"null", "null", "its content is not a JSON object"},
		{"a list", "[" + plain + "]", "its content is not a JSON object"},
		{"text", `"{}"`, "its content is not a JSON object"},
		{"YAML", "DeploymentId: d-1", "its content is not a JSON object"},
		{"half of it", plain[:len(plain)-1], "its content is not the JSON of a specification: unexpected end of JSON input"},
		{"two of it", plain + plain, "its content is not the JSON of a specification: invalid character '{' after top-level value"},
		{"a number for a name", with(`"shop"`, `7`), "its content is not the JSON of a specification: json: cannot unmarshal number into Go struct field content.ApplicationName of type string"},
		{"empty", "{}", "it has no DeploymentId"},
		{"no deployment", with(`d-ABCDEF123`, ``), "it has no DeploymentId"},
		{"no group's id", with(`"DeploymentGroupId":"2f0e-44",`, ``), "it has no DeploymentGroupId"},
		{"no group", with(`"production"`, `null`), "it has no DeploymentGroupName"},
		{"no application", with(`"shop"`, `""`), "it has no ApplicationName"},
		{"a deployment that is a path", with(`d-ABCDEF123`, `..`), `its DeploymentId is "..", which is none`},
		{"a deployment without id", with(`d-ABCDEF123`, `deployment/`), `its DeploymentId is "deployment/", which is none`},
		{"an appspec elsewhere", also(`"AppSpecFilename":"../appspec.yml"`), `its AppSpecFilename is "../appspec.yml", which leads out of the bundle`},
		{"an absolute appspec", also(`"AppSpecFilename":"/etc/passwd"`), `its AppSpecFilename is "/etc/passwd", which leads out of the bundle`},
		{"a behaviour nobody knows", also(`"AgentActionOverrides":{"AgentOverrides":{"FileExistsBehavior":"MERGE"}}`), `its FileExistsBehavior is "MERGE": usher knows DISALLOW, OVERWRITE and RETAIN`},
		{"no revision", with(","+revision, ``), `its revision is of type "": usher deploys from S3 and GitHub`},
		{"a local file", from(`{"RevisionType":"Local File","LocalRevision":{"Location":"/tmp/x","BundleType":"tar"}}`), `its revision is of type "Local File": usher deploys from S3 and GitHub`},
		{"a local directory", from(`{"RevisionType":"Local Directory","LocalRevision":{"Location":"/tmp/x","BundleType":"directory"}}`), `its revision is of type "Local Directory": usher deploys from S3 and GitHub`},
		{"S3 without a place", from(`{"RevisionType":"S3"}`), "its revision is of type S3, but has no S3Revision"},
		{"S3 without a bucket", with(where, `"Key":"k","BundleType":"tgz"`), "its revision in S3 has no bucket or no key: s3:///k"},
		{"S3 without a key", with(where, `"Bucket":"b","BundleType":"tgz"`), "its revision in S3 has no bucket or no key: s3://b/"},
		{"S3 with another bundle", with(`"tgz"`, `"rar"`), `the bundle type of s3://b/shop/1.tgz is "rar": it must be tar, tgz or zip`},
		{"GitHub without a place", from(`{"RevisionType":"GitHub"}`), "its revision is of type GitHub, but has no GitHubRevision"},
		{"GitHub without a commit", from(`{"RevisionType":"GitHub","GitHubRevision":{"Account":"o","Repository":"r"}}`), `its revision on GitHub is not whole: account "o", repository "r", commit ""`},
		{"GitHub with another bundle", from(`{"RevisionType":"GitHub","GitHubRevision":{"Account":"o","Repository":"r","CommitId":"c","BundleType":"tgz"}}`), `the bundle type of github.com/o/r is "tgz": it must be tar or zip`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got, err := parse([]byte(c.text)); err == nil || err.Error() != c.want {
				t.Errorf("got %+v, %v\nwant %s", got, err, c.want)
			}
		})
	}
}

// An answer that is not the specification of the command's deployment is refused.
func TestSpecificationOfAnother(t *testing.T) {
	t.Parallel()
	by := certify(t, signerName, nil, nil)
	answer := func(system, content string) string {
		return asJSON(t, map[string]any{"DeploymentSystem": system, "DeploymentSpecification": map[string]any{
			"GenericEnvelope": map[string]string{"Format": "PKCS7/JSON", "Payload": signed(t, []byte(content), by)}}})
	}
	for _, c := range []struct{ name, answer, want string }{
		{"of this deployment", answer("CodeDeploy", plain), ""},
		{"of another", answer("CodeDeploy", strings.Replace(plain, "d-ABCDEF123", "d-ABCDEF124", 1)), "it is the specification of deployment d-ABCDEF124"},
		{"of a longer one", answer("CodeDeploy", strings.Replace(plain, "d-ABCDEF123", "d-ABCDEF1234", 1)), "it is the specification of deployment d-ABCDEF1234"},
		{"of another system", answer("Other", plain), `it is of the system "Other", not of CodeDeploy`},
		{"of nothing", `{}`, `it is of the system "", not of CodeDeploy`},
		{"without envelope", `{"DeploymentSystem":"CodeDeploy"}`, `the format of its envelope is "", not PKCS7/JSON`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, says(200, c.answer))
			got, err := client(t, s).Specification(limited(t), command)
			if c.want == "" && (err != nil || got.DeploymentID != "d-ABCDEF123") || c.want != "" && (err == nil || err.Error() != "cannot accept the specification of deployment d-ABCDEF123: "+c.want) {
				t.Errorf("got %+v, %v", got, err)
			}
			if body := string(s.seen()[0].body); s.seen()[0].op != "GetDeploymentSpecification" || body != `{"DeploymentExecutionId":"`+execution+`","HostIdentifier":"`+host+`"}` {
				t.Errorf("asked %s with %s", s.seen()[0].op, body)
			}
		})
	}
}

// A signer whom nobody vouches for is told once, another again.
func TestUncheckedSignersAreTold(t *testing.T) {
	t.Parallel()
	one, two := certify(t, signerName, nil, nil), certify(t, "codedeploy-signer", nil, nil)
	answer := func(by *person) string {
		return asJSON(t, map[string]any{"DeploymentSystem": "CodeDeploy", "DeploymentSpecification": map[string]any{
			"GenericEnvelope": map[string]string{"Format": "PKCS7/JSON", "Payload": signed(t, []byte(plain), by)}}})
	}
	s := serve(t, says(200, answer(one)), says(200, answer(one)), says(200, answer(two)), says(200, answer(one)))
	var told []Signer
	c := client(t, s, func(o *Options) {
		o.Notify = func(n Event) {
			if n.Kind != SignerUnverified || n.Op != "GetDeploymentSpecification" {
				t.Errorf("told %+v", n)
			}
			told = append(told, n.Signer)
		}
	})
	for range 4 {
		if _, err := c.Specification(limited(t), command); err != nil {
			t.Fatal(err)
		}
	}
	want := []Signer{
		{Subject: "CN=" + signerName + ",O=Amazon", Fingerprint: one.fingerprint(), Remark: "no authority was configured to check it against"},
		{Subject: "CN=codedeploy-signer,O=Amazon", Fingerprint: two.fingerprint(), Remark: "no authority was configured to check it against; its name is not " + signerName},
	}
	if !reflect.DeepEqual(told, want) {
		t.Errorf("told %+v\nwant %+v", told, want)
	}
}

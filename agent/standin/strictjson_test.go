package standin_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"usher/agent/standin"
	"usher/agent/standin/awsmodel"
)

// unread are the parts of CodeDeploy's requests that the stand-in does not look at: on-premises instances, tag filters,
// triggers and blue/green (see its caveats).
var unread = []string{"ec2TagFilters", "onPremisesInstanceTagFilters", "triggerConfigurations", "blueGreenDeploymentConfiguration", "ec2TagSet",
	"onPremisesTagSet", "targetInstances", "computePlatform", "outdatedInstancesStrategy", "deploymentStyle"}

// nonsense calls with every path to an enumeration in a shape, and an object that has a wrong word there.
func nonsense(m *awsmodel.Model, name string, with func(path string, value any)) {
	s := m.Shapes[name]
	switch {
	case len(s.Enum) > 0:
		with("", "Nonsense")
	case s.Type == "list":
		nonsense(m, s.Member.Shape, func(path string, v any) { with("[]"+path, []any{v}) })
	case s.Type == "structure":
		for member, ref := range s.Members {
			if !slices.Contains(unread, member) {
				nonsense(m, ref.Shape, func(path string, v any) { with("."+member+path, map[string]any{member: v}) })
			}
		}
	}
}

// Every enumeration in CodeDeploy's requests, and the lengths of its names: a wrong one is refused with an error of the
// operation (Watch sees to that), by the code that names what is wrong.
func TestEveryEnumerationOfCodeDeploy(t *testing.T) {
	t.Parallel()
	m := awsmodel.Of(t, "codedeploy")
	cloud := start(t, standin.Options{})
	cloud.PublishRevision("shop", "production", standin.GitHubRevision("o/r", strings.Repeat("a", 40)))
	base := map[string]string{
		"CreateDeployment": `{"applicationName":"shop","deploymentGroupName":"production","revision":{"revisionType":"S3","s3Location":{"bucket":"b","key":"k","bundleType":"zip"}}}`,
		"CreateDeploymentGroup": `{"applicationName":"shop","deploymentGroupName":"other","serviceRoleArn":"arn:aws:iam::123456789012:role/codedeploy",` +
			`"autoRollbackConfiguration":{"enabled":true}}`,
		"ListApplicationRevisions":    `{"applicationName":"shop"}`,
		"ListDeployments":             `{"applicationName":"shop","deploymentGroupName":"production"}`,
		"RegisterApplicationRevision": `{"applicationName":"shop","revision":{"revisionType":"S3","s3Location":{"bucket":"b","key":"k","bundleType":"zip"}}}`,
	}
	refused := func(op, what string, body map[string]any) {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		status, answer := raw(t, cloud, "codedeploy", http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"CodeDeploy_20141006." + op}}, string(text))
		if status != 400 || !strings.Contains(answer, "Exception") {
			t.Errorf("%s with %s: %d %s", op, what, status, answer)
		}
	}
	violated := 0
	for op, text := range base {
		in := m.InputOf(op)
		nonsense(m, in.Name(), func(path string, v any) {
			body := map[string]any{}
			if err := json.Unmarshal([]byte(text), &body); err != nil {
				t.Fatal(err)
			}
			merge(body, v.(map[string]any))
			violated++
			refused(op, "nonsense at "+path, body)
		})
		for name, ref := range in.Members {
			s := m.Shapes[ref.Shape]
			if s.Type != "string" || s.Max == nil {
				continue
			}
			body := map[string]any{}
			if err := json.Unmarshal([]byte(text), &body); err != nil {
				t.Fatal(err)
			}
			body[name] = strings.Repeat("a", int(*s.Max)+1)
			violated++
			refused(op, "too long a "+name, body)
		}
	}
	t.Logf("%d violated, each refused; %s", violated, awsmodel.Counts())
	if violated < 15 {
		t.Errorf("only %d were found", violated)
	}
}

// merge puts one object into another.
func merge(into, from map[string]any) {
	for name, v := range from {
		a, ok := into[name].(map[string]any)
		b, both := v.(map[string]any)
		if ok && both {
			merge(a, b)
			continue
		}
		into[name] = v
	}
}

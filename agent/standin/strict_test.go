package standin_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"usher/agent/standin"
	"usher/agent/standin/awsmodel"
)

// What the stand-in accepts, held against AWS's own models: every constraint of every parameter is violated once.

// raw sends a request that no SDK would build.
func raw(t *testing.T, c *standin.Cloud, service string, header http.Header, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, c.Endpoint+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	sum := sha256.Sum256([]byte(body))
	who := aws.Credentials{AccessKeyID: c.AccessKey, SecretAccessKey: c.SecretKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), who, req, hex.EncodeToString(sum[:]), service, c.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func query(t *testing.T, c *standin.Cloud, op string, params url.Values) (int, string) {
	params.Set("Action", op)
	params.Set("Version", "2011-01-01")
	return raw(t, c, "autoscaling", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, params.Encode())
}

// ours are the operations of Auto Scaling that the stand-in has.
var ours = []string{
	"CompleteLifecycleAction", "DeleteAutoScalingGroup", "DeleteLifecycleHook", "DescribeAutoScalingGroups", "DescribeAutoScalingInstances",
	"DescribeInstanceRefreshes", "DescribeLifecycleHooks", "DescribeScalingActivities", "DescribeWarmPool", "DetachInstances", "EnterStandby",
	"ExitStandby", "PutLifecycleHook", "PutWarmPool", "RecordLifecycleActionHeartbeat", "SetInstanceHealth", "SetInstanceProtection",
	"StartInstanceRefresh", "TerminateInstanceInAutoScalingGroup",
}

// allowed is a value that a shape's constraints allow.
func allowed(s *awsmodel.Shape) string {
	switch {
	case s.Type == "boolean":
		return "true"
	case s.Type == "integer":
		return "60"
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Min != nil && *s.Min > 1:
		return strings.Repeat("a", int(*s.Min))
	}
	return "a"
}

// forbidden are values that they do not allow, by the constraint.
func forbidden(s *awsmodel.Shape) map[string]string {
	bad := map[string]string{}
	if s.Type == "string" && s.Max != nil {
		bad["max"] = strings.Repeat("a", int(*s.Max)+1)
	}
	if s.Type == "string" && s.Min != nil && *s.Min > 0 {
		bad["min"] = strings.Repeat("a", int(*s.Min)-1)
	}
	if s.Type == "string" && s.Pattern != "" {
		bad["pattern"] = "a\x01b"
	}
	if strings.HasPrefix(s.Pattern, "[A-Z") {
		bad["letters"] = "a b"
	}
	if len(s.Enum) > 0 {
		bad["enum"] = "Nonsense"
	}
	if s.Type == "integer" && s.Min != nil {
		bad["least"] = "-2"
	}
	return bad
}

func TestEveryConstraintOfAutoScaling(t *testing.T) {
	t.Parallel()
	m := awsmodel.Of(t, "autoscaling")
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "a"})
	violated := 0
	for _, op := range ours {
		in := m.InputOf(op)
		base := func() url.Values {
			all := url.Values{}
			for _, name := range in.Required {
				s := m.Shapes[in.Members[name].Shape]
				if s.Type == "list" {
					all.Set(name+".member.1", "a")
					continue
				}
				all.Set(name, allowed(s))
			}
			return all
		}
		refused := func(what string, params url.Values, says string) {
			t.Helper()
			violated++
			if status, answer := query(t, cloud, op, params); status != 400 || !strings.Contains(answer, "<Code>ValidationError</Code>") || !strings.Contains(answer, says) {
				t.Errorf("%s with %s: %d %s", op, what, status, answer)
			}
		}
		for _, name := range in.Required {
			without := base()
			without.Del(name)
			without.Del(name + ".member.1")
			refused("no "+name, without, "Member must not be null")
		}
		for name, ref := range in.Members {
			s, at := m.Shapes[ref.Shape], name
			if s.Type == "list" {
				if s.Max != nil {
					many := base()
					for n := range int(*s.Max) + 1 {
						many.Set(name+".member."+itoa(n+1), "a")
					}
					refused("too many "+name, many, "failed to satisfy constraint")
				}
				s, at = m.Shapes[s.Member.Shape], name+".member.1"
			}
			for what, value := range forbidden(s) {
				if what == "min" && value == "" && slices.Contains(in.Required, name) {
					continue // as if it were absent
				}
				params := base()
				params.Set(at, value)
				refused(what+" of "+name+" violated", params, "failed to satisfy constraint: Member must ")
			}
			if values := m.Values(in.Name(), name); len(values) > 0 { // documented in words
				for _, wrong := range append([]string{"Nonsense"}, afterColon(values)...) {
					params := base()
					params.Set(name, wrong)
					if op == "PutLifecycleHook" && name != "LifecycleTransition" {
						params.Set("LifecycleTransition", m.Values(in.Name(), "LifecycleTransition")[0])
					}
					refused(name+" "+wrong, params, "must be one of")
				}
			}
		}
		unknown := base()
		unknown.Set("NoSuchParameter", "x")
		if op == "PutLifecycleHook" {
			unknown.Set("LifecycleTransition", m.Values(in.Name(), "LifecycleTransition")[0])
		}
		if _, answer := query(t, cloud, op, unknown); strings.Contains(answer, "NoSuchParameter") || strings.Contains(answer, "constraint") {
			t.Errorf("%s with an unknown parameter: %s", op, answer)
		}
		if op == "DeleteAutoScalingGroup" {
			cloud.CreateGroup(standin.Group{Name: "a"})
		}
	}
	t.Logf("%d constraints of %d operations violated, each refused; %s", violated, len(ours), awsmodel.Counts())
	if violated < 100 {
		t.Errorf("only %d constraints were found", violated)
	}
}

// afterColon are the values without what stands before a colon in them: the bare words.
func afterColon(values []string) (bare []string) {
	for _, v := range values {
		if _, after, ok := strings.Cut(v, ":"); ok {
			bare = append(bare, after)
		}
	}
	return bare
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

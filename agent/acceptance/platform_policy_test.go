package acceptance

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"usher/agent/hostcommand"
	"usher/agent/policy"
	"usher/agent/standin"
)

// The policies that `usher iam-policy` prints, held against the calls that AWS saw: each must be allowed, and each
// action needed.

// allowed is a policy, as IAM reads it.
type allowed struct{ Statement []allowedStatement }

type allowedStatement struct {
	Sid, Effect      string
	Action, Resource any // a string, or a list of them
	Condition        map[string]map[string]string
}

func strs(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, s := range v {
			all = append(all, s.(string))
		}
	}
	return all
}

// allows evaluates the policy as IAM does: one statement must have both the action and the resource. * in a
// resource is any text.
func (p allowed) allows(action, resource string) bool {
	for _, s := range p.Statement {
		for _, r := range strs(s.Resource) {
			if s.Effect == "Allow" && slices.Contains(strs(s.Action), action) && matches(r, resource) {
				return true
			}
		}
	}
	return false
}

func matches(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	for _, part := range parts[1 : len(parts)-1] {
		var found bool
		if _, rest, found = strings.Cut(rest, part); !found {
			return false
		}
	}
	return ok && strings.HasSuffix(rest, parts[len(parts)-1])
}

// access is what IAM is asked for a call: an action on a resource.
type access struct{ action, resource string }

// accessOf is what the services ask IAM for a call, by their service authorization reference. It is written apart
// from the table that the policy is made of.
func accessOf(c *standin.Cloud, call standin.Call) (all []access) {
	own := func(service string) string { return service + ":" + call.Op }
	arn := func(service, rest string) string {
		return fmt.Sprintf("arn:aws:%s:%s:%s:%s", service, c.Region, standin.Account, rest)
	}
	group := arn("codedeploy", "deploymentgroup:"+call.Params["applicationName"]+"/"+call.Params["deploymentGroupName"])
	application := arn("codedeploy", "application:"+call.Params["applicationName"])
	object := "arn:aws:s3:::" + path.Join(call.Params["bucket"], call.Params["key"])
	switch call.Op {
	case "GetCallerIdentity", "PollHostCommand", "GetDeploymentSpecification", "PutHostCommandAcknowledgement", "PutHostCommandComplete":
		return nil
	case "DescribeAutoScalingInstances", "DescribeLifecycleHooks", "DescribeAutoScalingGroups", "DescribeScalingActivities":
		return []access{{own("autoscaling"), "*"}}
	case "RecordLifecycleActionHeartbeat", "CompleteLifecycleAction", "PutLifecycleHook":
		return []access{{own("autoscaling"), arn("autoscaling", "autoScalingGroup:5a3c1e9b-0000:autoScalingGroupName/"+call.Params["AutoScalingGroupName"])}}
	case "HeadObject", "GetObject":
		if call.Params["versionId"] != "" {
			return []access{{"s3:GetObjectVersion", object}}
		}
		if call.Status == 404 { // else it is forbidden
			return []access{{"s3:GetObject", object}, {"s3:ListBucket", "arn:aws:s3:::" + call.Params["bucket"]}}
		}
		return []access{{"s3:GetObject", object}}
	case "HeadBucket":
		return []access{{"s3:ListBucket", "arn:aws:s3:::" + call.Params["bucket"]}}
	case "PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload":
		return []access{{"s3:PutObject", object}}
	case "DeleteObject":
		if call.Params["versionId"] != "" {
			return []access{{"s3:DeleteObjectVersion", object}}
		}
		return []access{{own("s3"), object}}
	case "AbortMultipartUpload":
		return []access{{own("s3"), object}}
	case "CreateDeployment":
		return []access{{own("codedeploy"), group}, {"codedeploy:GetDeploymentConfig", arn("codedeploy", "deploymentconfig:CodeDeployDefault.OneAtATime")},
			{"codedeploy:GetApplicationRevision", application}}
	case "RegisterApplicationRevision", "ListApplicationRevisions":
		return []access{{own("codedeploy"), application}}
	case "GetDeployment", "BatchGetDeployments": // about ids, which are of the group
		return []access{{own("codedeploy"), arn("codedeploy", "deploymentgroup:shop/production")}}
	case "GetDeploymentGroup", "ListDeployments":
		return []access{{own("codedeploy"), group}}
	}
	return []access{{own(call.Service), "*"}}
}

// policyOf is the policy of a side for the names of a stage.
func (s *stage) policyOf(side policy.Side) (p allowed) {
	s.Helper()
	got := usher(s.T, s.dir, []string{"iam-policy", "--side", string(side), "--group", "web,job", "--application", "shop", "--deployment-group", "production",
		"--bucket", s.cloud.Bucket, "--region", s.cloud.Region, "--account", standin.Account})
	if got.code != 0 || got.stderr != "" {
		s.Fatalf("exit %d, stderr %q", got.code, got.stderr)
	}
	s.must(json.Unmarshal([]byte(got.stdout), &p))
	return p
}

// replay holds a side's policy against calls, and its actions but for those that are excused against what was used.
func (s *stage) replay(side policy.Side, calls []standin.Call, excused ...string) {
	s.Helper()
	p, used := s.policyOf(side), map[string]bool{}
	for _, call := range calls {
		for _, a := range accessOf(s.cloud, call) {
			used[a.action] = true
			if !p.allows(a.action, a.resource) {
				s.Errorf("%s: %s needs %s on %s, which the policy does not allow", side, call.Op, a.action, a.resource)
			}
		}
		if actions, known := policy.Actions(side, call.Op); !known {
			s.Errorf("%s calls %s, of which the table knows nothing", side, call.Op)
		} else if len(actions) == 0 != (len(accessOf(s.cloud, call)) == 0) {
			s.Errorf("%s: %s needs %v by the table", side, call.Op, actions)
		}
	}
	for _, statement := range p.Statement {
		for _, action := range strs(statement.Action) {
			if !used[action] && !slices.Contains(excused, action) {
				s.Errorf("%s: the policy allows %s, which no call needed", side, action)
			}
		}
	}
	for _, action := range excused {
		if used[action] {
			s.Errorf("%s: %s was needed after all: excuse it no longer", side, action)
		}
	}
	if s.Failed() {
		s.Logf("calls: %v", slices.Sorted(maps.Keys(used)))
	}
}

// callsBy are the calls of the instances, or of the person.
func (s *stage) callsBy(instances bool) (all []standin.Call) {
	for _, call := range s.cloud.Calls() {
		if instances == (call.InstanceID != "") {
			all = append(all, call)
		}
	}
	return all
}

// Launches of revisions with and without a version, one of them long enough for a heartbeat, and a deployment by
// host commands.
func TestThePolicyOfAnInstance(t *testing.T) {
	h := newShop(t, 1, production())
	h.ended(h.usher("deploy production"), 0)
	h.fifos()
	h.cloud.PutHook("web", standin.Hook{Name: "usher-launch", HeartbeatTimeout: 12 * time.Second})
	etag, _, err := h.cloud.Upload(h.cloud.Bucket, "by-hand.zip", zipped(t, h.waiting("2")))
	h.must(err)
	h.cloud.PublishRevision("shop", "production", standin.S3Revision(h.cloud.Bucket, "by-hand.zip", "zip", "", etag))
	r := h.start(h.cloud.Launch("web", standin.LaunchOptions{}), "--once")
	_, err = h.cloud.WaitForCalls(h.ctx, "RecordLifecycleActionHeartbeat", 1)
	h.must(err)
	h.hasBegun()
	h.goOn()
	h.expect("exit code", itoa(r.wait()), "0")
	h.replay(policy.Instance, h.callsBy(true))

	p := h.policyOf(policy.Instance)
	for _, other := range []access{
		{"autoscaling:CompleteLifecycleAction", "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:1:autoScalingGroupName/website"},
		{"codedeploy:GetDeploymentGroup", "arn:aws:codedeploy:eu-west-1:123456789012:deploymentgroup:shop/staging"},
		{"s3:GetObject", "arn:aws:s3:::" + h.cloud.Bucket + "-2/x"}, {"s3:PutObject", "arn:aws:s3:::" + h.cloud.Bucket + "/x"},
	} {
		if p.allows(other.action, other.resource) {
			t.Errorf("%s on %s is allowed", other.action, other.resource)
		}
	}
}

// Everything a developer does: deploy, a large upload, follow, roll back, stop, look at what is there, lock.
func TestThePolicyOfADeveloper(t *testing.T) {
	h := newShop(t, 1, production())
	h.ended(h.usher("deploy production"), 0)
	h.fifos()
	noise := make([]byte, 9<<20) // more than one part; the race detector makes seconds of each MiB
	rand.NewChaCha8([32]byte{}).Read(noise)
	h.commit("2", h.waiting("2").with(files{"assets.bin": string(noise)}))
	h.ended(h.usher("deploy --no-wait production"), 0)
	h.hasBegun()
	h.ended(h.usher("deploy status --no-wait production"), 4)
	back := h.types("rollback --yes --stop production")
	back.says("stopping deployment")
	h.goOn()
	h.ended(back.ends(), 0)
	h.ended(h.usher("rollback --yes production "+h.commits[0][:12]), 0)
	h.ended(h.usher("deploy list production"), 0)
	h.ended(h.usher("servers production"), 0)
	h.ended(h.usher("lock production migration"), 0)
	h.ended(h.usher("unlock production"), 0)
	h.replay(policy.Developer, h.callsBy(false), "s3:AbortMultipartUpload", // of an upload that fails half-way
		"s3:DeleteObject") // of a lock in a bucket without versions
}

// What the platform engineer's page shows is what the command prints.
func TestThePolicyInTheReadme(t *testing.T) {
	t.Parallel()
	const words = "iam-policy --group GROUP --application APPLICATION --deployment-group DEPLOYMENT-GROUP --bucket BUCKET --prefix PREFIX --region REGION --account ACCOUNT"
	readme, err := os.ReadFile(path.Join(house, "packaging", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```json\n")
	shown, _, _ := strings.Cut(rest, "```")
	var a, b any
	if err := json.Unmarshal([]byte(shown), &a); err != nil {
		t.Fatal(err)
	}
	got := usher(t, t.TempDir(), strings.Fields(words))
	if err := json.Unmarshal([]byte(got.stdout), &b); err != nil {
		t.Fatal(err)
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if string(x) != string(y) {
		t.Errorf("packaging/README.md has\n%s\nusher %s prints\n%s", shown, words, got.stdout)
	}
}

func TestIAMPolicy(t *testing.T) {
	for _, c := range []struct {
		line, want string
		code       int
	}{
		{"", "--group, --application, --deployment-group, --bucket are missing", 2},
		{"--side developer --application a --deployment-group g", "--bucket is missing", 2},
		{"--group w --application a --deployment-group g --bucket b", "the bucket is \"b\"", 2},
		{"--group w* --application a --deployment-group g --bucket acme", "\"w*\" has a character that stands for others", 2},
		{"--group w --application a --deployment-group g --bucket acme --side instanc", "there is no side \"instanc\": did you mean instance?", 2},
		{"--group w --application a --deployment-group g --bucket acme --kms alias/x", "an alias is not enough", 2},
		{"--group w,,x --application a --deployment-group g --bucket acme", "a name is empty", 2},
		{"--group w --group x,y --application a --deployment-group g --bucket acme --region eu-west-1 --account 1",
			`"Resource": ["arn:aws:autoscaling:eu-west-1:1:autoScalingGroup:*:autoScalingGroupName/w", "arn:aws:autoscaling:eu-west-1:1:autoScalingGroup:*:autoScalingGroupName/x", "arn:`, 0},
		{"--group w --application a --deployment-group g --bucket acme", "replace REGION and ACCOUNT", 0},
		{"--group w --application a --deployment-group g --bucket acme --region cn-north-1", `"arn:aws-cn:s3:::acme/*"`, 0},
		{"--group w --application a --deployment-group g --bucket acme --enable-auth-policy", `"Action": ["codedeploy-commands-secure:PollHostCommand", "codedeploy-commands-secure:GetDeploymentSpecification", ` +
			`"codedeploy-commands-secure:PutHostCommandAcknowledgement", "codedeploy-commands-secure:PutHostCommandComplete"],
     "Resource": "*"`, 0},
		{"--group w --application a --deployment-group g --bucket acme --region us-isob-east-1", `"arn:aws-iso-b:s3:::acme/*"`, 0},
		{"--group w --application a --deployment-group g --bucket acme --region eusc-de-east-1 --kms arn:aws-eusc:kms:eusc-de-east-1:123456789012:key/1", `"kms:ViaService": "s3.eusc-de-east-1.amazonaws.eu"`, 0},
		{"--group w --application a --deployment-group g --bucket acme --prefix /x/", `"arn:aws:s3:::acme/x/*"`, 0},
		{"--group w --application a --deployment-group g --bucket acme --region us-gov-west-1 --kms arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/1",
			`"Resource": "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/1",
     "Condition": {"StringEquals": {"kms:ViaService": "s3.us-gov-west-1.amazonaws.com"}}}`, 0},
	} {
		t.Run(c.line, func(t *testing.T) {
			t.Parallel()
			got := usher(t, t.TempDir(), append([]string{"iam-policy"}, strings.Fields(c.line)...))
			if got.code != c.code || !strings.Contains(got.stdout+got.stderr, c.want) {
				t.Errorf("exit %d, stdout:\n%s\nstderr:\n%s\nwant %s", got.code, got.stdout, got.stderr, c.want)
			}
			if c.code == 0 && !json.Valid([]byte(got.stdout)) {
				t.Errorf("no JSON:\n%s", got.stdout)
			}
		})
	}
}

// The domain that a policy names is the one of the SDK's endpoints, in every partition.
func TestThePolicyKnowsThePartitions(t *testing.T) {
	t.Parallel()
	for _, region := range []string{"eu-west-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "us-isob-east-1", "eu-isoe-west-1", "us-isof-south-1", "eusc-de-east-1"} {
		e, err := hostcommand.Endpoint(t.Context(), hostcommand.Place{Region: region})
		if err != nil {
			t.Fatal(err)
		}
		domain := strings.TrimPrefix(e, "https://codedeploy-commands."+region+".")
		text, err := policy.For(policy.Instance, policy.Names{Groups: []string{"g"}, Application: "a", DeploymentGroup: "d", Bucket: "bucket", Region: region, Key: "arn:aws:kms:x:1:key/1"}).JSON()
		if err != nil {
			t.Fatal(err)
		}
		if want := `"kms:ViaService": "s3.` + region + "." + domain + `"`; !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

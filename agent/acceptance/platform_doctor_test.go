package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"usher/agent/doctor"
	"usher/agent/platform"
	"usher/agent/policy"
	"usher/agent/record"
	"usher/agent/standin"
)

// `usher doctor` on a server whose AWS is the stand-in. What it looks at on the disk is the machine's that runs the
// test, but for what the configuration says; see also bake_test.go.

// diagnosis is what doctor found.
type diagnosis struct {
	*testing.T
	typed
	report platform.DoctorReport
}

// doctor types the command on an instance, or without one.
func (s *stage) doctor(server *standin.Instance, environ ...string) diagnosis {
	s.Helper()
	var yml strings.Builder
	for _, k := range slices.Sorted(maps.Keys(s.config)) {
		fmt.Fprintf(&yml, "%s: %s\n", k, s.config[k])
	}
	s.must(os.WriteFile(s.path("agent.yml"), []byte(yml.String()), 0o600))
	env := append(s.cloud.Environ(server), environ...)
	d := diagnosis{T: s.T, typed: usherOn(s.T, env, []string{"doctor", "-json", "-config", s.path("agent.yml")})}
	s.must(json.Unmarshal([]byte(d.stdout), &d.report))
	return d
}

// usherOn types a command line with an environment, its last words winning.
func usherOn(t *testing.T, environ []string, args []string) typed {
	t.Helper()
	return usherWith(t, append(slices.Clone(environ), "PATH="+os.Getenv("PATH"), "HOME="+t.TempDir(), "GORACE=atexit_sleep_ms=0"), args)
}

// of are the findings about something, as they are printed.
func (d diagnosis) of(about string) string {
	var all []string
	for _, f := range d.report.Findings {
		if f.Subject == about {
			all = append(all, string(f.Level)+" "+f.String())
		}
	}
	return strings.Join(all, "\n")
}

// finds checks that there is a finding of this level that begins so, and that the exit code agrees.
func (d diagnosis) finds(level doctor.Level, want string) {
	d.Helper()
	found := false
	for _, f := range d.report.Findings {
		found = found || f.Level == level && strings.Contains(f.String(), want)
	}
	if !found {
		d.Errorf("no %s says %q in\n%s", level, want, d.stdout)
	}
	if level == doctor.Problem && d.code != 1 {
		d.Errorf("exit code %d with problems", d.code)
	}
}

// A server that is as it should be, up to what this machine has no package of usher's for.
func TestDoctorOfAGoodServer(t *testing.T) {
	s := newStage(t, standin.Options{LongPoll: 50 * time.Millisecond})
	s.cloud.PutDeploymentGroup(production())
	s.publish("shop-1", s.app("1"))
	server, _, code := s.launch()
	s.expect("exit code of the launch", itoa(code), "0")
	before := len(server.Answers())
	d := s.doctor(server)
	for about, want := range map[string]string{
		"metadata":   "ok metadata: " + server.ID + " (ami-",
		"identity":   "ok identity: arn:aws:sts::123456789012:assumed-role/usher-instance/" + server.ID,
		"clock":      "ok clock: in sync with AWS",
		"revision":   "ok revision: s3://" + s.cloud.Bucket + "/shop-1.zip?versionId=",
		"bundle":     "ok bundle: s3://" + s.cloud.Bucket + "/shop-1.zip is readable (",
		"group":      "ok group: web, where this instance is InService",
		"hook":       "ok hook: hook usher-launch of group web: ABANDON, heartbeat timeout 1m0s",
		"one group":  "ok one group: no other deployment group deploys to the servers of web",
		"commands":   "ok commands: CodeDeploy answers polls for host commands",
		"assumption": "ok assumption: ",
		"endpoint":   "ok endpoint: ",
		"link":       "ok link: " + s.path("opt/app") + " -> " + s.path("opt/app-releases/shop-1-"),
		"role hooks": "ok role hooks: fit to run",
		"record":     "ok record: the last deployment (d-",
		"disk":       "ok disk: " + s.path("opt/app-releases") + " has ",
		"permission": `ok permission: GetDeploymentGroup is allowed
ok permission: DescribeAutoScalingInstances is allowed
ok permission: DescribeLifecycleHooks is allowed
ok permission: RecordLifecycleActionHeartbeat is allowed
ok permission: CompleteLifecycleAction is allowed`,
	} {
		if got := d.of(about); !strings.HasPrefix(got, want) {
			t.Errorf("%s:\n got: %s\nwant: %s", about, got, want)
		}
	}
	for _, f := range d.report.Findings {
		if f.Level != doctor.OK && !slices.Contains([]string{"unit", "unit paths", "catalog", "time"}, f.Subject) {
			t.Errorf("%s: %s", f.Level, f)
		}
	}
	if len(server.Answers()) != before || server.State() != standin.InService {
		t.Error("doctor has changed something")
	}
	for _, call := range s.cloud.Calls() {
		if _, known := policy.Actions(policy.Instance, call.Op); !known && !strings.HasPrefix(call.Op, "List") && !strings.HasPrefix(call.Op, "BatchGet") {
			t.Errorf("it calls %s, for which the policy of an instance has nothing", call.Op)
		}
	}
}

// A launch that waits is not decided by looking at it.
func TestDoctorLeavesALaunchAlone(t *testing.T) {
	s := newStage(t, standin.Options{LongPoll: 50 * time.Millisecond})
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	heartbeats := server.Actions()[0].Heartbeats
	s.doctor(server).finds(doctor.OK, "permission: CompleteLifecycleAction is allowed")
	if len(server.Actions()) != 1 || server.Actions()[0].Heartbeats != heartbeats || server.State() != standin.PendingWait {
		t.Errorf("it is %s now", server.State())
	}
}

// Each permission, taken away.
func TestDoctorPermissions(t *testing.T) {
	s := newStage(t, standin.Options{LongPoll: 50 * time.Millisecond})
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	for op, want := range map[string]string{
		"DescribeAutoScalingInstances":   "DescribeAutoScalingInstances is refused: allow autoscaling:DescribeAutoScalingInstances in the policy of the instance's role; `usher iam-policy --side instance` prints it",
		"DescribeLifecycleHooks":         "DescribeLifecycleHooks is refused: allow autoscaling:DescribeLifecycleHooks in",
		"RecordLifecycleActionHeartbeat": "RecordLifecycleActionHeartbeat is refused: allow autoscaling:RecordLifecycleActionHeartbeat in",
		"CompleteLifecycleAction":        "CompleteLifecycleAction is refused: allow autoscaling:CompleteLifecycleAction in",
		"GetDeploymentGroup":             "revision: cannot read deployment group production of application shop in eu-west-1: allow codedeploy:GetDeploymentGroup in the policy",
		"HeadObject":                     "shop-1.zip: HeadObject is refused, or the object is not there: allow s3:GetObject, s3:GetObjectVersion in",
		"GetObject":                      "shop-1.zip: GetObject is refused: allow s3:GetObject, s3:GetObjectVersion in",
		"PollHostCommand":                "commands: CodeDeploy does not answer polls for host commands: ",
		"GetCallerIdentity":              "identity: no credentials that AWS accepts: ",
	} {
		code := "AccessDenied"
		if strings.HasPrefix(op, "Get") && op != "GetObject" || op == "PollHostCommand" {
			code = "AccessDeniedException"
		}
		s.cloud.Fail(op, -1, standin.Fault{Status: 403, Code: code, Message: "no"})
		s.doctor(server).finds(doctor.Problem, want)
		s.cloud.Heal(op)
	}
	s.cloud.Fail("GetObject", -1, standin.Fault{Status: 403, Code: "AccessDenied", Message: "User: x is not authorized to perform: kms:Decrypt on the resource"})
	s.doctor(server).finds(doctor.Problem, "shop-1.zip is encrypted with its KMS key, which cannot be used: allow kms:Decrypt on it, there and in the key's own policy")
	s.cloud.Heal("GetObject")
	s.cloud.Fail("ListApplications", -1, standin.Fault{Code: "AccessDeniedException", Message: "no"})
	s.doctor(server).finds(doctor.Warning, "one group: not seen whether another deployment group deploys to the servers of web: `usher doctor ENV` of somebody who may (codedeploy:ListApplications, ")
}

// The launch hook, in all the ways in which it can be wrong.
func TestDoctorHooks(t *testing.T) {
	for _, c := range []struct {
		name  string
		hooks []standin.Hook
		yml   string // lifecycle_hook
		level doctor.Level
		want  string
	}{
		{"none", nil, "", doctor.Problem, "group web has no launch hook: Auto Scaling does not wait for usher: `usher attach ENV`, or initial_lifecycle_hook in Terraform"},
		{"only for terminations", []standin.Hook{{Name: "drain", Transition: standin.OnTerminate}}, "", doctor.Problem, "group web has no launch hook"},
		{"two", []standin.Hook{{Name: "a"}, {Name: "b"}}, "", doctor.Problem, "group web has 2 launch hooks (a, b): the agent refuses to choose: set lifecycle_hook"},
		{"two, one named", []standin.Hook{{Name: "a"}, {Name: "b"}}, "b", doctor.Warning, "group web has 2 launch hooks (a, b): a launch waits for all of them"},
		{"a name nobody has", []standin.Hook{{Name: "a"}}, "b", doctor.Problem, "group web has no launch hook named b (it has: a)"},
		{"CONTINUE", []standin.Hook{{Name: "a", DefaultResult: standin.Continue}}, "", doctor.Problem, "hook a of group web has the default result CONTINUE: an instance whose agent dies enters service as it is"},
		{"a short heartbeat", []standin.Hook{{Name: "a", HeartbeatTimeout: 30 * time.Second}}, "", doctor.Warning, "hook a of group web has a heartbeat timeout of 30s: two heartbeats that are lost end the launch"},
		{"a long heartbeat", []standin.Hook{{Name: "a"}}, "", doctor.Warning, "hook a of group web has a heartbeat timeout of 1h0m0s: a launch that hangs is noticed only then"},
		{"a short life", []standin.Hook{{Name: "a", HeartbeatTimeout: time.Minute, GlobalTimeout: 5 * time.Minute}}, "", doctor.Problem, "hook a of group web ends every launch after 5m0s, and one of a bundle of 0 B may need 10m0s"},
		{"CodeDeploy's own", []standin.Hook{{Name: "a", HeartbeatTimeout: time.Minute}, {Name: "CodeDeploy-managed-automatic-launch-deployment-hook-x"}}, "", doctor.Warning,
			"group web has CodeDeploy's own launch hook CodeDeploy-managed-automatic-launch-deployment-hook-x: a launch then waits for a deployment of CodeDeploy's as well"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, standin.Options{LongPoll: 50 * time.Millisecond})
			s.cloud.CreateGroup(standin.Group{Name: "fresh", NoReplacement: true})
			for _, h := range c.hooks {
				s.cloud.PutHook("fresh", h)
			}
			if c.yml != "" {
				s.config["lifecycle_hook"] = c.yml
			}
			s.doctor(s.cloud.Launch("fresh", standin.LaunchOptions{})).finds(c.level, strings.ReplaceAll(c.want, "group web", "group fresh"))
		})
	}
}

// What else can be wrong, each by itself.
func TestDoctorFinds(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(s *stage, server *standin.Instance) []string // more environment
		level doctor.Level
		want  string
	}{
		{"no metadata", func(_ *stage, i *standin.Instance) []string { i.SetMetadata(standin.Disabled); return nil }, doctor.Problem,
			"nothing in AWS was looked at: on a workstation name an environment: usher doctor ENV"},
		{"no application", func(s *stage, _ *standin.Instance) []string { delete(s.config, "application"); return nil }, doctor.Problem,
			"agent.yml: cannot use the configuration: it does not say which deployment group is this server's"},
		{"a bad configuration", func(s *stage, _ *standin.Instance) []string { s.config["keep_releases"] = "0"; return nil }, doctor.Problem, "keep_releases is 0: it must be 1 to 100: correct it"},
		{"no revision", func(*stage, *standin.Instance) []string { return nil }, doctor.Warning, "deployment group production of shop has no successful deployment yet: launches keep the base: usher deploy ENV"},
		{"a bundle that is gone", func(s *stage, _ *standin.Instance) []string {
			s.cloud.PublishRevision("shop", "production", standin.S3Revision(s.cloud.Bucket, "gone.zip", "zip", "", "abc"))
			return nil
		}, doctor.Problem, "/gone.zip is not there any more: no launch can succeed: deploy a revision again"},
		{"a bundle that was overwritten", func(s *stage, _ *standin.Instance) []string {
			s.must(s.cloud.CreateBucket(s.cloud.Bucket+"-plain", false))
			_, _, err := s.cloud.Upload(s.cloud.Bucket+"-plain", "x.zip", []byte("x"))
			s.must(err)
			s.cloud.PublishRevision("shop", "production", standin.S3Revision(s.cloud.Bucket+"-plain", "x.zip", "zip", "", "abc"))
			return nil
		}, doctor.Problem, "/x.zip was overwritten since it was registered (its ETag is 9dd4e461268c8034f5c8564e155c67a6, and was abc)"},
		{"a bucket elsewhere", func(s *stage, _ *standin.Instance) []string {
			s.publish("shop-1", s.app("1"))
			s.cloud.Fail("HeadObject", -1, standin.Fault{Status: 301, Code: "PermanentRedirect", Message: "use another endpoint"})
			return nil
		}, doctor.Problem, " is not in eu-west-1: use a bucket in eu-west-1"},
		{"a bucket that launches do not expect", func(s *stage, _ *standin.Instance) []string {
			s.publish("shop-1", s.app("1"))
			s.config["bucket"] = "before"
			return nil
		}, doctor.Warning, ", and a launch opens its connections to before: correct bucket in agent.yml, or the tag usher:bucket"},
		{"another deployment group", func(s *stage, _ *standin.Instance) []string {
			s.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "blog", Name: "all", AutoScalingGroups: []string{"web"}})
			return nil
		}, doctor.Problem, "one group: deployment group all of application blog deploys to the servers of web as well: take the group out of it"},
		{"another, by tag", func(s *stage, _ *standin.Instance) []string {
			s.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "blog", Name: "all", EC2Tags: map[string]string{"aws:autoscaling:groupName": "web"}})
			return nil
		}, doctor.Problem, "one group: deployment group all of application blog deploys to the servers of web as well"},
		{"no host commands", func(s *stage, _ *standin.Instance) []string { s.config["host_commands"] = "false"; return nil }, doctor.OK, "commands: host_commands is false"},
		{"CodeDeploy out of reach", func(*stage, *standin.Instance) []string {
			return []string{"AWS_ENDPOINT_URL_CODEDEPLOY_COMMANDS=http://127.0.0.1:1"}
		}, doctor.Problem, "commands: CodeDeploy does not answer polls for host commands: "},
		{"a link that leads nowhere", func(s *stage, _ *standin.Instance) []string { s.must(os.RemoveAll(s.path("opt/app-base"))); return nil }, doctor.Problem, "/opt/app leads nowhere"},
		{"no link", func(s *stage, _ *standin.Instance) []string { s.must(os.Remove(s.path("opt/app"))); return nil }, doctor.Problem, "/opt/app does not exist"},
		{"a directory for a link", func(s *stage, _ *standin.Instance) []string {
			s.must(os.Remove(s.path("opt/app")))
			s.must(os.Mkdir(s.path("opt/app"), 0o755))
			return nil
		}, doctor.Problem, "/opt/app is a directory, not a symbolic link"},
		{"a record of another kind", func(s *stage, _ *standin.Instance) []string {
			s.write("state/record.jsonl", "{}\nnonsense\n{}\n")
			return nil
		}, doctor.Warning, "record: "},
		{"no room", func(s *stage, _ *standin.Instance) []string {
			s.write("opt/app-releases/shop-0-12345678.json", `{"id": "shop-0-12345678", "status": "good"}`)
			s.write("opt/app-releases/shop-0-12345678/hole", "")
			s.must(os.Truncate(s.path("opt/app-releases/shop-0-12345678/hole"), 8<<40)) // it takes no space itself
			return nil
		}, doctor.Problem, " of space left, and the next deployment needs 8796.1 GB: grow the volume, or keep fewer releases"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, standin.Options{LongPoll: 50 * time.Millisecond})
			server := s.cloud.Launch("web", standin.LaunchOptions{})
			s.doctor(server, c.spoil(s, server)...).finds(c.level, c.want)
		})
	}
}

// A standalone instance, and one whose last deployment failed.
func TestDoctorOfOtherServers(t *testing.T) {
	s := newStage(t, standin.Options{LongPoll: 50 * time.Millisecond})
	s.doctor(s.cloud.Standalone(standin.LaunchOptions{})).finds(doctor.Warning, "group: this instance is in no Auto Scaling group: there is no launch to complete")
	s.publish("shop-1", s.app("1").with(files{"scripts/after.sh": "#!/bin/sh\nset -e\nfalse\n"}))
	server, _, code := s.launch()
	s.expect("exit code of the launch", itoa(code), "1")
	s.doctor(server).finds(doctor.Problem, "failed just now: AfterInstall script scripts/after.sh failed with exit code 1")
}

// The clock, by what AWS's answers say: here AWS is the one that is wrong.
func TestDoctorClock(t *testing.T) {
	s := newStage(t, standin.Options{LongPoll: 50 * time.Millisecond})
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	for _, c := range []struct {
		off   time.Duration
		level doctor.Level
		want  string
	}{
		{-time.Minute, doctor.Warning, "ahead of AWS's: let chrony or systemd-timesyncd set it"},
		{time.Minute, doctor.Warning, "behind AWS's"},
		{time.Hour, doctor.Problem, "behind AWS's, which refuses what is signed 5 minutes off"},
	} {
		there, err := url.Parse(s.cloud.Endpoint)
		s.must(err)
		front := httptest.NewServer(&httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(there); r.Out.Host = r.In.Host }, // the signature is over it
			ModifyResponse: func(r *http.Response) error {
				r.Header.Set("Date", time.Now().Add(c.off).UTC().Format(http.TimeFormat))
				return nil
			},
		})
		t.Cleanup(front.Close)
		s.doctor(server, "AWS_ENDPOINT_URL_STS="+front.URL).finds(c.level, c.want)
	}
}

// The filesystem, by numbers: what a test cannot fill.
func TestDoctorDisk(t *testing.T) {
	const gb = 1e9
	for _, c := range []struct {
		left doctor.Space
		use  doctor.Use
		want string
	}{
		{doctor.Space{Bytes: 10 * gb, Files: 1000, Fixed: true}, doctor.Use{Bytes: gb, Files: 100, Bundle: gb / 2, More: 3}, "ok disk: /opt has 10.0 GB left, and the releases that are kept will need 3.5 GB at most"},
		{doctor.Space{Bytes: 3 * gb, Files: 1000, Fixed: true}, doctor.Use{Bytes: gb, Files: 100, Bundle: gb / 2, More: 3}, "warning disk: /opt has 3.0 GB of space left, and all the releases that are kept will need 3.5 GB more: grow"},
		{doctor.Space{Bytes: gb, Files: 1000, Fixed: true}, doctor.Use{Bytes: gb, Files: 100, Bundle: gb / 2, More: 3}, "problem disk: /opt has 1.0 GB of space left, and the next deployment needs 1.5 GB: grow"},
		{doctor.Space{Bytes: 10 * gb, Files: 250, Fixed: true}, doctor.Use{Bytes: gb, Files: 100, More: 3}, "warning disk: /opt has 250 inodes left, and all the releases that are kept will need 300 more"},
		{doctor.Space{Bytes: 10 * gb, Files: 99, Fixed: true}, doctor.Use{Bytes: gb, Files: 100, More: 3}, "problem disk: /opt has 99 inodes left, and the next deployment needs 100"},
		{doctor.Space{Bytes: 10 * gb}, doctor.Use{Bytes: gb, Files: 100, More: 3}, "ok disk: /opt has"},
	} {
		var r doctor.Report
		r.Disk("/opt", c.left, c.use)
		if got := fmt.Sprint(r[0].Level, " ", r[0]); len(r) != 1 || !strings.HasPrefix(got, c.want) {
			t.Errorf("got  %v\nwant %s", r, c.want)
		}
	}
}

// An environment, from a workstation.
func TestDoctorOfAnEnvironment(t *testing.T) {
	h := newShop(t, 0, production())
	h.cloud.CreateGroup(tagged("job", "production"))
	h.cloud.PutHook("web", standin.Hook{Name: "usher-launch", HeartbeatTimeout: 5 * time.Minute})
	got := h.usher("doctor production")
	h.ended(got, 1)
	h.expect("it printed", strings.NewReplacer(h.cloud.Bucket, "BUCKET", h.cloud.Endpoint, "AWS", h.cloud.S3Endpoint, "S3").Replace(got.stdout+got.stderr), `ok       identity     arn:aws:iam::123456789012:user/operator in eu-west-1
ok       clock        in sync with AWS
warning  revision     deployment group production of shop has no successful deployment yet: launches keep the base: usher deploy production
ok       bucket       BUCKET is in eu-west-1
ok       group        job, by its tags
problem  hook         group job has no launch hook: Auto Scaling does not wait for usher: `+"`usher attach ENV`"+`, or initial_lifecycle_hook in Terraform
ok       one group    no other deployment group deploys to the servers of job
ok       launches     no launch of job has ended in the last 24 hours
ok       group        web, associated in CodeDeploy
ok       hook         hook usher-launch of group web: ABANDON, heartbeat timeout 5m0s
ok       one group    no other deployment group deploys to the servers of web
ok       launches     no launch of web has ended in the last 24 hours
ok       assumption   a deployment group has its alarmConfiguration, also without alarms: it is there
ok       assumption   a hook's transition is autoscaling:EC2_INSTANCE_LAUNCHING or _TERMINATING: usher-launch has autoscaling:EC2_INSTANCE_LAUNCHING
ok       endpoint     auto scaling: AWS directly
ok       endpoint     codedeploy: AWS directly
ok       endpoint     s3: S3 directly
ok       endpoint     sts: AWS directly
1 problem, 1 warning
`)
	h.ended(h.usher("attach -yes production"), 0)
	h.publish("shop-1", h.app("1"))
	h.ended(h.usher("doctor production"), 0, "shop-1.zip is readable", "0 problems, 0 warnings\n")
	h.replay(policy.Platform, h.callsBy(false), "s3:GetObject") // of a revision without a version

	h.ended(h.usher("doctor -hook mine production"), 1, "group web has no launch hook named mine (it has: usher-launch)")
	h.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "blog", Name: "all", EC2Tags: map[string]string{"usher:application": "shop"}})
	h.ended(h.usher("doctor production"), 1, "deployment group all of application blog deploys to the servers of job as well")
	h.cloud.Fail("GetDeploymentGroup", 1, standin.Fault{Code: "AccessDeniedException", Message: "no"})
	h.ended(h.usher("doctor production"), 1, "problem  revision     cannot read deployment group production of application shop: your AWS identity is not authorized: allow codedeploy:GetDeploymentGroup in its policy")
	h.cloud.Fail("DescribeAutoScalingGroups", 1, standin.Fault{Code: "AccessDenied", Message: "no"})
	h.ended(h.usher("doctor production"), 1, "cannot find the Auto Scaling groups of production: your AWS identity is not authorized: allow autoscaling:DescribeAutoScalingGroups")
	h.ended(h.usher("doctor staging"), 2, "there is no environment \"staging\"")
	var r platform.DoctorReport
	h.must(json.Unmarshal([]byte(h.usher("doctor -json production").stdout), &r))
	if r.Problems != 1 || len(r.Findings) < 8 {
		t.Errorf("%+v", r)
	}
}

// Launches that are abandoned one after the other, which Auto Scaling goes on with for as long as nobody looks.
func TestDoctorSeesLaunchesFail(t *testing.T) {
	h := newShop(t, 1, production())
	h.cloud.PutHook("web", standin.Hook{Name: "usher-launch", HeartbeatTimeout: 5 * time.Minute})
	h.ended(h.usher("deploy production"), 0)
	h.ended(h.usher("doctor production"), 0, "ok       launches     the last launch of web came to a good end")
	fails := func() *standin.Instance {
		lost := h.cloud.Launch("web", standin.LaunchOptions{})
		h.answersHook(lost, "usher-launch", standin.Abandon)
		h.waitFor(lost, standin.Terminated)
		return lost
	}
	for n, want := range []string{
		"warning  launches     the last launch of web failed: the newest at ",
		"warning  launches     the last 2 launches of web failed: the newest at ",
		"problem  launches     the last 3 launches of web failed, and Auto Scaling goes on trying: the newest at ",
	} {
		code := 0
		if n == 2 {
			code = 1
		}
		lost := fails()
		h.ended(h.usher("doctor production"), code, want, ", "+lost.ID+": Instance failed to complete user's Lifecycle Action: ", "was abandoned: Lifecycle Action Completed with ABANDON Result",
			"usher gave it up: usher's reason is on its console: `usher servers production` has the command that shows it")
	}

	// One that is under way says nothing yet; one that nobody answers is of another kind.
	under := h.cloud.Launch("web", standin.LaunchOptions{})
	h.ended(h.usher("doctor production"), 1, "the last 3 launches of web failed")
	h.cloud.PutHook("web", standin.Hook{Name: "usher-launch", HeartbeatTimeout: 5 * time.Second})
	silent := h.cloud.Launch("web", standin.LaunchOptions{})
	h.waitFor(silent, standin.Terminated)
	h.ended(h.usher("doctor production"), 1, "the last 4 launches of web failed", silent.ID, "was abandoned: Heartbeat Timeout: nobody answered the launch hook in time")

	// A good one ends the row.
	h.answersHook(under, "usher-launch", standin.Abandon)
	h.cloud.PutHook("web", standin.Hook{Name: "usher-launch", HeartbeatTimeout: 5 * time.Minute})
	h.serve(1)
	h.ended(h.usher("doctor production"), 0, "the last launch of web came to a good end")
	h.cloud.Fail("DescribeScalingActivities", -1, standin.Fault{Code: "AccessDenied", Message: "no"})
	h.ended(h.usher("doctor production"), 0, "warning  launches     not seen whether launches of web fail: ", "allow autoscaling:DescribeScalingActivities in its policy")
}

// A bucket that the environment has not used yet.
func TestDoctorOfABucket(t *testing.T) {
	h := newShop(t, 0, production())
	for status, want := range map[int]string{
		301: "problem  bucket       bucket BUCKET is not in eu-west-1: use a bucket in eu-west-1",
		403: "warning  bucket       you may not look at bucket BUCKET: allow s3:ListBucket",
		404: "problem  bucket       there is no bucket BUCKET: correct bucket in usher.yml, or make it: aws s3 mb s3://BUCKET --region eu-west-1",
	} {
		h.cloud.Fail("HeadBucket", 1, standin.Fault{Status: status, Code: http.StatusText(status)})
		if got := strings.ReplaceAll(h.usher("doctor production").stdout, h.cloud.Bucket, "BUCKET"); !strings.Contains(got, want) {
			t.Errorf("%d: it does not say %q but\n%s", status, want, got)
		}
	}
}

// Whoever is not root is told what was not seen.
func TestDoctorOfSomebodyElse(t *testing.T) {
	t.Parallel()
	dir, nobody := openToAll(t)
	if os.Geteuid() != 0 {
		t.Skip("there is nobody else to be")
	}
	writeIn(t, filepath.Join(dir, "agent.yml"), "application: shop\ndeployment_group: production\nstate_dir: "+filepath.Join(dir, "state")+"\n")
	r, err := record.Open(filepath.Join(dir, "state"), record.Owner{Instance: "i-0aaa", Image: "ami-1", Boot: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "usher"), "doctor", "-config", filepath.Join(dir, "agent.yml"))
	cmd.Env = []string{"AWS_EC2_METADATA_DISABLED=true", "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(nobody), Gid: uint32(nobody)}}
	out, err := cmd.Output()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
	}
	for _, want := range []string{"warning  record       only root may read the record: sudo usher doctor\n", "problem  metadata     cannot read dynamic/instance-identity/document: AWS_EC2_METADATA_DISABLED=true keeps usher from the instance metadata service"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q but\n%s", want, out)
		}
	}
}

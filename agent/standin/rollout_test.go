package standin

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// engine is a Cloud with no sockets: so many instances of "web" in service, and a deployment group over them that
// runs release 1.
func engine(instances int, g DeploymentGroup) *Cloud {
	c := bare(Group{Name: "web", NoReplacement: true})
	c.deploys = newDeployments(c.fleet)
	for range instances {
		c.Launch("web", LaunchOptions{})
	}
	g.Application, g.Name, g.AutoScalingGroups = "shop", "production", []string{"web"}
	c.PutDeploymentGroup(g)
	c.PublishRevision("shop", "production", release(1))
	return c
}

func (c *Cloud) shutDown() {
	c.fleet.close()
	c.deploys.close()
}

// release is revision number n.
func release(n int) Revision { return GitHubRevision("owner/shop", fmt.Sprintf("%040d", n)) }

// Deployments as pictures: a group of instances, what each agent does, and what comes of it. An agent
//
//	ok              does everything it is told
//	idle            has nothing to do in any event but DownloadBundle and Install
//	EVENT fails     or hangs
//	EVENT stops     does it, but meanwhile somebody stops the deployment
//	EVENT is stopped and fails
//	EVENT leaves    is terminated in it, and not heard of again
//	absent          never asks
//
// and want is the deployment's status and error, then each target's: S(ucceeded), F(ailed), - for Skipped.
var rollouts = []struct {
	name   string
	config string
	agents string
	want   string
	took   time.Duration // of the deployment; all else takes no time
}{
	{"one at a time", "OneAtATime", "ok, ok, ok", "Succeeded: S S S", 0},
	{"nothing to do is done", "OneAtATime", "idle, idle", "Succeeded: S S", 0},
	{"a failure ends it", "OneAtATime", "ok, AfterInstall fails, ok", "Failed HEALTH_CONSTRAINTS: S F -", 0},
	{"the first failure too", "OneAtATime", "ApplicationStop fails, ok", "Failed HEALTH_CONSTRAINTS: F -", 0},
	{"not the last of several", "OneAtATime", "ok, ok, ValidateService fails", "Succeeded: S S F", 0},
	{"the only one", "OneAtATime", "ValidateService fails", "Failed HEALTH_CONSTRAINTS: F", 0},
	{"no agent", "OneAtATime", "absent, ok", "Failed HEALTH_CONSTRAINTS: F -", 5 * time.Minute},
	{"an event without end", "OneAtATime", "Install hangs, ok", "Failed HEALTH_CONSTRAINTS: F -", time.Hour},
	{"no instance", "OneAtATime", "", "Failed NO_INSTANCES:", 0},
	{"an instance that goes is not waited for", "OneAtATime", "ok, BeforeInstall leaves, ok", "Succeeded: S - S", 0},
	{"the last one goes", "OneAtATime", "ok, BeforeInstall leaves", "Succeeded: S -", 0},
	{"all go", "OneAtATime", "BeforeInstall leaves", "Failed HEALTH_CONSTRAINTS: -", 0},
	{"a stop lets the event end", "OneAtATime", "ok, Install stops, ok", "Stopped MANUAL_STOP: S - -", 0},
	{"a stop in the last event of all", "OneAtATime", "ValidateService stops", "Stopped MANUAL_STOP: S", 0},
	{"a stop in an event that fails", "OneAtATime", "Install is stopped and fails, ok", "Stopped MANUAL_STOP: F -", 0},

	{"half at a time", "HalfAtATime", "ok, ok, ok, ok, ok", "Succeeded: S S S S S", 0},
	{"two waves: absent agents in the first", "HalfAtATime", "absent, ok, ok, ok", "Succeeded: F S S S", 5 * time.Minute},
	{"half may fail", "HalfAtATime", "ok, Install fails, ok, Install fails", "Succeeded: S F S F", 0},
	{"the minimum must stay", "HalfAtATime", "Install fails, Install fails, ok, ok", "Failed HEALTH_CONSTRAINTS: F F - -", 0},
	{"half of three is one at a time", "HalfAtATime", "Install fails, ok, ok", "Failed HEALTH_CONSTRAINTS: F - -", 0},
	{"half of one is that one", "HalfAtATime", "ok", "Succeeded: S", 0},

	{"all at once", "AllAtOnce", "ok, ok, ok", "Succeeded: S S S", 0},
	{"one success is enough", "AllAtOnce", "Install fails, ok, absent", "Succeeded: F S F", 5 * time.Minute},
	{"none is not", "AllAtOnce", "Install fails, ApplicationStart fails", "Failed HEALTH_CONSTRAINTS: F F", 0},
}

func TestRollouts(t *testing.T) {
	for _, r := range rollouts {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				agents := strings.FieldsFunc(r.agents, func(r rune) bool { return r == ',' })
				c := engine(len(agents), DeploymentGroup{Config: "CodeDeployDefault." + r.config})
				defer c.shutDown()
				for n, script := range agents {
					act(t, c, c.Instances()[n], strings.TrimSpace(script))
				}
				began := time.Now()
				id, err := c.Deploy("shop", "production", release(2))
				if err != nil {
					t.Fatal(err)
				}
				status, err := c.WaitForDeployment(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				if got := picture(c, id); got != r.want {
					t.Errorf("%s, agents %s\n got %s\nwant %s", r.config, r.agents, got, r.want)
				}
				if took := time.Since(began); took != r.took {
					t.Errorf("it took %s, want %s", took, r.took)
				}
				moved := target2(c)
				if moved != (status == statusSucceeded) {
					t.Errorf("it is %s, and that the target revision moved is %t", status, moved)
				}
				if bad := broken(c); bad != "" {
					t.Error(bad)
				}
			})
		})
	}
}

// act makes an agent behave as its script says.
func act(t *testing.T, c *Cloud, inst *Instance, script string) {
	event, does, _ := strings.Cut(script, " ")
	if script == "absent" {
		return
	}
	Obey(t, c, inst, func(now string) Outcome {
		switch {
		case script == "idle" && now != "DownloadBundle" && now != "Install":
			return Noop
		case now != event:
			return Succeeds
		case does == "fails":
			return Fails
		case does == "hangs":
			return Hangs
		}
		// The agent has the command; what happens to it happens once that is acknowledged.
		h, _ := c.deploys.next(inst.ID)
		if _, bad := c.deploys.acknowledge(inst.ID, h.id, false); bad != nil {
			t.Error(bad.message)
		}
		if does == "leaves" {
			inst.Terminate()
			return Hangs
		}
		if got := stopOf(t, c, h.deployment, nil); got != "Pending" {
			t.Errorf("stopping in %s is %s", now, got)
		}
		if does == "is stopped and fails" {
			return Fails
		}
		return Succeeds
	})
}

// stopOf stops a deployment and returns the answer's status.
func stopOf(t rapid.TB, c *Cloud, id string, rollback *bool) string {
	t.Helper()
	out, bad := stopDeployment(c, asked(t, map[string]any{"deploymentId": id, "autoRollbackEnabled": rollback}))
	if bad != nil {
		t.Errorf("stop of %s: %s %s", id, bad.code, bad.message)
		return ""
	}
	return out.(map[string]string)["status"]
}

// asked is a request with these parameters.
func asked(t rapid.TB, params map[string]any) request {
	t.Helper()
	body, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	r := request{params: map[string]string{}, body: body}
	for name, v := range params {
		if text, ok := v.(string); ok {
			r.params[name] = text
		}
	}
	return r
}

// picture is a deployment's end in one line.
func picture(c *Cloud, id string) string {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	dep := c.deploys.deployment(id)
	line := dep.status
	if dep.failure != nil {
		line += " " + dep.failure.Code
	}
	line += ":"
	for _, t := range dep.targets {
		mark, ok := map[string]string{statusSucceeded: "S", statusFailed: "F", statusSkipped: "-"}[t.status]
		if !ok {
			mark = t.status
		}
		line += " " + mark
	}
	return line
}

// target2 tells whether the group's target revision is release 2.
func target2(c *Cloud) bool {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	return sameJSON(c.deploys.applications["shop"].groups["production"].revision, release(2).wire())
}

// broken is the rule of deployments that does not hold; "" when all do.
func broken(c *Cloud) string {
	d := c.deploys
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.applications {
		for _, g := range a.groups {
			var last *deployment
			active := 0
			for _, dep := range d.all {
				if dep.group != g || dep.creator == createdByAutoScaling {
					continue
				}
				if !dep.hasEnded() {
					active++
				}
				if dep.status == statusSucceeded {
					last = dep
				}
			}
			if active > 1 {
				return fmt.Sprintf("%d deployments of one group are under way", active)
			}
			if g.last != last || (last != nil && !sameJSON(g.revision, last.revision)) {
				return "the target revision is not the last successful deployment's"
			}
		}
	}
	for _, dep := range d.all {
		if bad := brokenIn(dep); bad != "" {
			return dep.id + ": " + bad
		}
	}
	return ""
}

func brokenIn(dep *deployment) string {
	if n := dep.count(statusInProgress); dep.order.config == oneAtATime && n > 1 {
		return fmt.Sprintf("%d instances at a time", n)
	}
	for _, t := range dep.targets {
		if dep.hasEnded() && (t.status == statusPending || t.status == statusInProgress) {
			return "it has ended, and " + t.inst.ID + " is " + t.status
		}
		open := 0
		for n, e := range t.events {
			if e.command != nil && !e.command.hasEnded() {
				open++
			}
			if n > 0 && e.command != nil && t.events[n-1].status != statusSucceeded && !dep.order.ignoreStopFailures {
				return e.name + " was sent though " + t.events[n-1].name + " is " + t.events[n-1].status
			}
		}
		if open > 1 || (open == 1 && t.status != statusInProgress) {
			return fmt.Sprintf("%s is %s with %d commands", t.inst.ID, t.status, open)
		}
	}
	return ""
}

// sentTo lists the events that an instance was told of.
func sentTo(c *Cloud, inst *Instance) string {
	var names []string
	for _, h := range c.HostCommands() {
		if h.InstanceID == inst.ID {
			names = append(names, h.Name)
		}
	}
	return strings.Join(names, " ")
}

const inPlace = "ApplicationStop DownloadBundle BeforeInstall Install AfterInstall ApplicationStart ValidateService"

func TestEventsAreSentInOrder(t *testing.T) {
	for name, r := range map[string]struct {
		group  DeploymentGroup
		order  map[string]any
		script string
		want   string
		status string
	}{
		"in place":                {DeploymentGroup{}, nil, "ok", inPlace, statusSucceeded},
		"up to the failure":       {DeploymentGroup{}, nil, "BeforeInstall fails", "ApplicationStop DownloadBundle BeforeInstall", statusFailed},
		"behind a load balancer":  {DeploymentGroup{LoadBalancer: true}, nil, "ok", "BeforeBlockTraffic AfterBlockTraffic " + inPlace + " BeforeAllowTraffic AfterAllowTraffic", statusSucceeded},
		"a forgiven failure":      {DeploymentGroup{}, map[string]any{"ignoreApplicationStopFailures": true}, "ApplicationStop fails", inPlace, statusSucceeded},
		"one that is not":         {DeploymentGroup{}, map[string]any{"ignoreApplicationStopFailures": true}, "BeforeInstall fails", "ApplicationStop DownloadBundle BeforeInstall", statusFailed},
		"a forgiven traffic hook": {DeploymentGroup{LoadBalancer: true}, map[string]any{"ignoreApplicationStopFailures": true}, "AfterBlockTraffic fails", "BeforeBlockTraffic AfterBlockTraffic " + inPlace + " BeforeAllowTraffic AfterAllowTraffic", statusSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := engine(1, r.group)
				defer c.shutDown()
				act(t, c, c.Instances()[0], r.script)
				in := map[string]any{"applicationName": "shop", "deploymentGroupName": "production", "revision": release(2).wire()}
				for k, v := range r.order {
					in[k] = v
				}
				out, bad := createDeployment(c, asked(t, in))
				if bad != nil {
					t.Fatal(bad.code, bad.message)
				}
				status, err := c.WaitForDeployment(t.Context(), out.(map[string]string)["deploymentId"])
				if err != nil || status != r.status {
					t.Errorf("%s, %v", status, err)
				}
				if got := sentTo(c, c.Instances()[0]); got != r.want {
					t.Errorf("sent\n got %s\nwant %s", got, r.want)
				}
			})
		})
	}
}

func TestAFailureIsRolledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := engine(3, DeploymentGroup{AutoRollback: true})
		defer c.shutDown()
		var once sync.Once
		for n, inst := range c.Instances() {
			Obey(t, c, inst, func(event string) (o Outcome) {
				o = Succeeds
				if n == 1 && event == "ApplicationStart" {
					once.Do(func() { o = Fails })
				}
				return o
			})
		}
		id, err := c.Deploy("shop", "production", release(2))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.WaitForDeployment(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		c.deploys.mu.Lock()
		failed := c.deploys.deployment(id)
		back := c.deploys.deployment(failed.rollback.Deployment)
		c.deploys.mu.Unlock()
		if _, err := c.WaitForDeployment(t.Context(), back.id); err != nil {
			t.Fatal(err)
		}
		if got := picture(c, id); got != "Failed HEALTH_CONSTRAINTS: S F -" {
			t.Errorf("the deployment: %s", got)
		}
		if got := picture(c, back.id); got != "Succeeded: S S S" || back.creator != createdByRollback || back.rollback.Triggering != id || !sameJSON(back.revision, release(1).wire()) {
			t.Errorf("the rollback: %s of %s by %s after %+v", got, back.revision, back.creator, back.rollback)
		}
		if target2(c) {
			t.Error("the target revision is the one that failed")
		}
	})
}

func TestWhatIsNotRolledBack(t *testing.T) {
	yes, no := true, false
	for name, r := range map[string]struct {
		group    DeploymentGroup
		fresh    bool // nothing was ever deployed
		rollback *bool
		script   string
		want     string
	}{
		"nobody asked":               {DeploymentGroup{}, false, nil, "Install fails", ""},
		"nothing to return to":       {DeploymentGroup{AutoRollback: true}, true, nil, "Install fails", "The deployment was not rolled back: its deployment group has no last successful deployment."},
		"a stop":                     {DeploymentGroup{AutoRollback: true}, false, nil, "", ""},
		"a stop that says so":        {DeploymentGroup{AutoRollback: true}, false, &no, "", ""},
		"a stop that wants to be":    {DeploymentGroup{}, false, &yes, "", "back"},
		"a failure that wants to be": {DeploymentGroup{AutoRollback: true}, false, nil, "Install fails", "back"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := engine(1, r.group)
				defer c.shutDown()
				if r.fresh {
					g := c.deploys.applications["shop"].groups["production"]
					g.last, g.revision = nil, nil
				}
				id, err := c.Deploy("shop", "production", release(2))
				if err != nil {
					t.Fatal(err)
				}
				if r.script == "" {
					stopOf(t, c, id, r.rollback)
				} else {
					act(t, c, c.Instances()[0], r.script)
				}
				if _, err := c.WaitForDeployment(t.Context(), id); err != nil {
					t.Fatal(err)
				}
				c.deploys.mu.Lock()
				defer c.deploys.mu.Unlock()
				got := ""
				if info := c.deploys.deployment(id).rollback; info != nil {
					got = info.Message
					if info.Deployment != "" {
						got = "back"
					}
				}
				if got != r.want {
					t.Errorf("rollback %q, want %q", got, r.want)
				}
			})
		})
	}
}

func TestACommandIsHandedOutUntilItIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := engine(1, DeploymentGroup{})
		defer c.shutDown()
		d, inst := c.deploys, c.Instances()[0]
		if h, _ := d.next(inst.ID); h != nil {
			t.Fatalf("a command %s before any was sent", h.name)
		}
		id := c.SendCommand(inst, Sent{Event: "Install", Application: "shop", Group: "production", Revision: release(2), DeploymentID: "d-123456789"})
		for range 2 {
			if h, _ := d.next(inst.ID); h == nil || h.id != id {
				t.Fatalf("next is %+v", h)
			}
		}
		for _, want := range []string{commandInProgress, commandInProgress} { // a second one after a lost answer
			if got, bad := d.acknowledge(inst.ID, id, false); bad != nil || got != want {
				t.Errorf("acknowledged: %s, %v", got, bad)
			}
		}
		if h, _ := d.next(inst.ID); h != nil {
			t.Errorf("%s is handed out again", h.name)
		}
		for _, status := range []string{commandFailed, commandSucceeded} {
			if bad := d.complete(inst.ID, id, status, diagnosis{4, "stop", "failed", "log"}); bad != nil {
				t.Error(bad.message)
			}
		}
		got, err := c.WaitForHostCommand(t.Context(), inst, id)
		if err != nil || got.Status != commandFailed || got.Completed != 2 || got.Polled != 2 || got.Diagnostics != (Diagnostics{4, "stop", "failed", "log"}) {
			t.Errorf("%+v, %v", got, err)
		}
		if status, bad := d.acknowledge(inst.ID, id, true); bad != nil || status != commandFailed {
			t.Errorf("acknowledged after its end: %s, %v", status, bad)
		}
		// The same one again: the same identifier, handed out once more.
		if again := c.SendCommand(inst, Sent{Event: "Install", DeploymentID: "d-123456789"}); again != id {
			t.Errorf("the same command has the identifier %s, then %s", id, again)
		}
		if h, _ := d.next(inst.ID); h == nil || h.id != id || h.nonce == 1 {
			t.Errorf("sent again, next is %+v", h)
		}
		for _, bad := range []*apiError{
			d.complete("i-0", id, commandFailed, diagnosis{}), d.complete(inst.ID, "x", commandFailed, diagnosis{}), d.complete(inst.ID, id, commandInProgress, diagnosis{}),
		} {
			if bad == nil || bad.code != "ClientException" {
				t.Errorf("completing what is not there: %v", bad)
			}
		}
	})
}

func TestASpecification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := engine(1, DeploymentGroup{})
		defer c.shutDown()
		inst := c.Instances()[0]
		for _, s := range []struct {
			sent Sent
			want string
		}{
			{Sent{DeploymentID: "d-A", GroupID: "g", Application: "shop", Group: "production", Revision: S3Revision("b", "k", "tgz", "v", "e"), FileExists: "RETAIN"},
				`{"DeploymentId":"d-A","DeploymentGroupId":"g","DeploymentGroupName":"production","ApplicationName":"shop","DeploymentCreator":"user","DeploymentType":"IN_PLACE",` +
					`"Revision":{"RevisionType":"S3","S3Revision":{"Bucket":"b","Key":"k","BundleType":"tgz","Version":"v","ETag":"e"}},` +
					`"AgentActionOverrides":{"AgentOverrides":{"FileExistsBehavior":"RETAIN"}}}`},
			{Sent{DeploymentID: "arn:aws:codedeploy:eu-west-1:1:deployment/d-B", GroupID: "g", Application: "shop", Group: "staging", Revision: GitHubRevision("o/r", "c"), Creator: "codeDeployRollback"},
				`{"DeploymentId":"arn:aws:codedeploy:eu-west-1:1:deployment/d-B","DeploymentGroupId":"g","DeploymentGroupName":"staging","ApplicationName":"shop",` +
					`"DeploymentCreator":"codeDeployRollback","DeploymentType":"IN_PLACE","Revision":{"GitHubRevision":{"Account":"o","CommitId":"c","Repository":"r"},"RevisionType":"GitHub"}}`},
			// The common case: registered without an ETag, there is none. A restart, which names the bundle that is there.
			{Sent{DeploymentID: "d-C", GroupID: "g", Application: "shop", Group: "production", Revision: S3Revision("b", "k", "zip", "", ""), ReuseArchive: "d-A", Events: []string{"Install"}},
				`{"DeploymentId":"d-C","DeploymentGroupId":"g","DeploymentGroupName":"production","ApplicationName":"shop","DeploymentCreator":"user","DeploymentType":"IN_PLACE",` +
					`"Revision":{"RevisionType":"S3","S3Revision":{"Bucket":"b","Key":"k","BundleType":"zip"}},"AllPossibleLifecycleEvents":["Install"],"ReuseArchiveFromDeploymentId":"d-A"}`},
		} {
			s.sent.Event = "Install"
			c.SendCommand(inst, s.sent)
			id := s.sent.DeploymentID[strings.LastIndex(s.sent.DeploymentID, "d-"):]
			got, _, bad := c.deploys.specification("CodeDeploy/eu-west-1/Prod/arn:aws:sds:eu-west-1:123456789012:deployment/"+id, inst.ID)
			if bad != nil || string(got) != s.want {
				t.Errorf("%v\n got %s\nwant %s", bad, got, s.want)
			}
		}
		if _, _, bad := c.deploys.specification("CodeDeploy/eu-west-1/Prod/arn:aws:sds:eu-west-1:123456789012:deployment/d-A", "i-0"); bad == nil {
			t.Error("another instance got the specification")
		}
	})
}

func TestADeploymentMayStartLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := engine(1, DeploymentGroup{StartAfter: time.Minute})
		defer c.shutDown()
		Obey(t, c, c.Instances()[0], nil)
		id, err := c.Deploy("shop", "production", release(2))
		if err != nil {
			t.Fatal(err)
		}
		if _, bad := c.deploys.startedNamed(id); bad == nil || bad.code != "DeploymentNotStartedException" {
			t.Errorf("targets before the start: %v", bad)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 59*time.Second)
		defer cancel()
		if status, err := c.WaitForDeployment(ctx, id); err == nil || status != statusCreated {
			t.Errorf("before its time: %s, %v", status, err)
		}
		if status, err := c.WaitForDeployment(t.Context(), id); err != nil || status != statusSucceeded {
			t.Errorf("%s, %v", status, err)
		}
		if id, err = c.Deploy("shop", "production", release(3)); err != nil {
			t.Fatal(err)
		}
		if got := stopOf(t, c, id, nil); got != "Succeeded" || picture(c, id) != "Stopped MANUAL_STOP:" {
			t.Errorf("stopped before the start: %s, %s", got, picture(c, id))
		}
	})
}

package rollout

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go"
)

// What people see of events, a line each.
func TestLines(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 3, 0, time.Local)
	for _, c := range []struct {
		name string
		e    Event
		want string
	}{
		{"nothing for a plan", Event{Type: Planned, Commit: "abc"}, ""},
		{"created", Event{Type: DeploymentChanged, Deployment: "d-1", Status: Created}, "12:00:03 d-1 created\n"},
		{"a rollback", Event{Type: DeploymentChanged, Deployment: "d-2", Status: Created, RollbackOf: "d-1"}, "\nRollback: CodeDeploy rolls d-1 back with d-2\n\n12:00:03 d-2 created\n"},
		{"begun", Event{Type: DeploymentChanged, Deployment: "d-1", Status: InProgress, Total: 3}, "12:00:03 d-1 in progress: 3 instances\n"},
		{"a rollback begun", Event{Type: DeploymentChanged, Deployment: "d-2", Status: InProgress, RollbackOf: "d-1", Total: 3}, "\nRollback: CodeDeploy rolls d-1 back with d-2\n\n12:00:03 d-2 in progress: 3 instances\n"},
		{"nothing for a count", Event{Type: DeploymentChanged, Deployment: "d-1", Status: InProgress, Done: 1, Total: 3}, ""},
		{"failed", Event{Type: DeploymentChanged, Deployment: "d-1", Status: Failed, Code: "HEALTH_CONSTRAINTS", Message: "a long sentence"}, "12:00:03 d-1 failed (HEALTH_CONSTRAINTS)\n"},
		{"a status of its own", Event{Type: DeploymentChanged, Deployment: "d-1", Status: Baking}, "12:00:03 d-1 is baking\n"},
		{"nothing for a server that waits", Event{Type: InstanceChanged, Instance: "i-1", Status: Pending}, ""},
		{"a server", Event{Type: InstanceChanged, Instance: "i-1", Status: Succeeded, Seconds: 252}, "12:00:03 i-1 succeeded in 4m12s\n"},
		{"nothing for a step that nobody saw", Event{Type: LifecycleEvent, Instance: "i-1", Event: "AfterInstall", Status: Succeeded, Seconds: 1.24}, ""},
		{"a script of usher's agent", Event{Type: LifecycleEvent, Instance: "i-1", Event: "AfterInstall", Status: Failed, Seconds: 0.02, Code: "ScriptFailed", Script: "scripts/x.sh",
			Message: "AfterInstall script scripts/x.sh failed with exit code 1 after 3ms; its last line: no", Log: "yes\nno\n"},
			"12:00:03 i-1 AfterInstall failed after 20ms: script scripts/x.sh failed with exit code 1 after 3ms\n    | yes\n    | no\n"},
		{"what a server did about it", Event{Type: LifecycleEvent, Instance: "i-1", Event: "AfterInstall", Status: Failed, Code: "ScriptFailed", Script: "x.sh",
			Message: "AfterInstall script x.sh failed with exit code 1; its last line: no\nand the rollback failed: cannot switch the link\nrolled back: nothing", Log: "no\n"},
			"12:00:03 i-1 AfterInstall failed after 0ms: script x.sh failed with exit code 1\n    | no\n    and the rollback failed: cannot switch the link\n    rolled back: nothing\n"},
		{"no script", Event{Type: LifecycleEvent, Instance: "i-1", Event: "Install", Status: Failed, Code: "UnknownError", Message: "Install: cannot install x\nrolled back: app-base is live again"},
			"12:00:03 i-1 Install failed after 0ms: cannot install x\n    rolled back: app-base is live again\n"},
		{"a script of another agent", Event{Type: LifecycleEvent, Instance: "i-1", Event: "AfterInstall", Status: Failed, Code: "ScriptTimedOut", Script: "x.sh", Message: "Script timed out"},
			"12:00:03 i-1 AfterInstall failed after 0ms: x.sh: Script timed out\n"},
		{"no words at all", Event{Type: LifecycleEvent, Instance: "i-1", Event: "BlockTraffic", Status: Failed}, "12:00:03 i-1 BlockTraffic failed after 0ms: CodeDeploy does not say why\n"},
		{"output that would move the cursor", Event{Type: LifecycleEvent, Instance: "i-1", Event: "AfterInstall", Status: Failed, Code: "ScriptFailed",
			Log: "\x1b[2J\x1b]0;mine\x07 é\tok\r\n\u009b31m"}, "12:00:03 i-1 AfterInstall failed after 0ms: ScriptFailed\n    | \\x1b[2J\\x1b]0;mine\\x07 é\tok\n    | \\u009b31m\n"},
		{"uploaded", Event{Type: UploadProgress, Status: Succeeded, Total: 104857600, Seconds: 3.14, Message: "s3://b/k"}, "12:00:03 uploaded 104.9 MB in 3.1s to s3://b/k\n"},
		{"the end", Event{Type: Finished, Message: "production runs 1234"}, "production runs 1234\n"},
	} {
		c.e.Time = at
		var out bytes.Buffer
		v := TerminalView(&out)
		v.Show(c.e)
		v.Close()
		if out.String() != c.want {
			t.Errorf("%s:\n got: %q\nwant: %q", c.name, out.String(), c.want)
		}
	}
}

// A server is two lines. A step is one of its own when it was seen to begin, or failed, and the longest is named.
func TestServerLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v := TerminalView(&out)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	show := func(instance, event, status string, seconds float64) {
		e := Event{Time: at, Type: LifecycleEvent, Deployment: "d-1", Instance: instance, Event: event, Status: status, Seconds: seconds}
		if event == "" {
			e.Type = InstanceChanged
		}
		v.Show(e)
	}
	for _, i := range []string{"i-1", "i-2"} {
		show(i, "", InProgress, 0)
		for _, step := range []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall"} {
			show(i, step, Succeeded, 0.1)
		}
	}
	show("i-1", "ApplicationStart", InProgress, 0)
	show("i-1", "ApplicationStart", Succeeded, 90)
	show("i-1", "ValidateService", Succeeded, 2)
	show("i-1", "", Succeeded, 95)
	show("i-2", "ApplicationStart", Succeeded, 0.9)
	show("i-2", "", Succeeded, 1.3)
	if want := `12:00:00 i-1 begins
12:00:00 i-2 begins
12:00:00 i-1 ApplicationStart began
12:00:00 i-1 ApplicationStart succeeded in 1m30s
12:00:00 i-1 succeeded in 1m35s, 1m30s of it ApplicationStart
12:00:00 i-2 succeeded in 1.3s
`; out.String() != want {
		t.Errorf("it printed\n%s\nwant\n%s", out.String(), want)
	}
}

// An upload is told in tenths once it takes a while, and never twice the same.
func TestUploadLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v := TerminalView(&out)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	for i := range 201 {
		v.Show(Event{Type: UploadProgress, Status: InProgress, Time: at.Add(time.Duration(i) * 50 * time.Millisecond), Done: int64(i) * 500_000, Total: 100_000_000})
	}
	if n := strings.Count(out.String(), "\n"); n != 8 || !strings.HasPrefix(out.String(), "12:00:02 uploading: 20% of 100.0 MB\n") {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}

// What is fetched is said at once, and then as an upload is; the upload after it begins anew.
func TestFetchLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v := TerminalView(&out)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	for _, c := range []struct {
		kind   Type
		status string
		after  time.Duration
		done   int64
	}{{FetchProgress, InProgress, 0, 0}, {FetchProgress, InProgress, time.Second, 30}, {FetchProgress, InProgress, 3 * time.Second, 50}, {FetchProgress, InProgress, 4 * time.Second, 51},
		{FetchProgress, Succeeded, 5 * time.Second, 100}, {UploadProgress, InProgress, 6 * time.Second, 10}, {UploadProgress, InProgress, 9 * time.Second, 20}} {
		v.Show(Event{Type: c.kind, Status: c.status, Time: at.Add(c.after), Done: c.done * 1e6, Total: 100e6, Seconds: c.after.Seconds(), Message: "origin"})
	}
	if want := `12:00:00 fetching 100.0 MB in Git LFS from origin
12:00:03 fetching: 50% of 100.0 MB
12:00:05 fetched 100.0 MB in Git LFS in 5.0s from origin
12:00:09 uploading: 20% of 100.0 MB
`; out.String() != want {
		t.Errorf("it printed\n%s\nwant\n%s", out.String(), want)
	}
}

// Every error that a developer can do something about says what.
func TestExplain(t *testing.T) {
	t.Parallel()
	env := Environment{Application: "shop", DeploymentGroup: "web", Region: "eu-west-1", Profile: "acme"}
	call := func(code string) error {
		return &smithy.OperationError{ServiceID: "CodeDeploy", OperationName: "CreateDeployment", Err: &smithy.GenericAPIError{Code: code}}
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{call("AccessDeniedException"), "allow codedeploy:CreateDeployment in its policy"},
		{call("ExpiredTokenException"), "your AWS credentials have expired: run `aws sso login --profile acme`"},
		{call("UnrecognizedClientException"), "AWS does not know these credentials"},
		{call("InvalidSignatureException"), "check the secret key and this machine's clock"},
		{call("ApplicationDoesNotExistException"), "there is no application shop in this account and eu-west-1"},
		{call("DeploymentGroupDoesNotExistException"), "application shop has no deployment group web"},
	} {
		if err := Explain("do it", env, c.err); !strings.HasPrefix(err.Error(), "cannot do it: ") || !strings.Contains(err.Error(), c.want) || !errors.Is(err, c.err) {
			t.Errorf("%v\nwant: %s", err, c.want)
		}
	}
	if Explain("do it", env, nil) != nil {
		t.Error("no error became one")
	}
}

func TestTrouble(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o    Outcome
		want string
	}{
		{Outcome{Deployment: "d-1", Status: Succeeded}, ""},
		{Outcome{Deployment: "d-1", Status: Succeeded, Failed: []string{"i-1"}}, "deployment d-1 succeeded, but failed on i-1"},
		{Outcome{Deployment: "d-1", Status: Failed, Reason: "no instances"}, "deployment d-1 failed: no instances"},
		{Outcome{Deployment: "d-1", Status: Failed, Failed: []string{"i-1"}, Why: "AfterInstall: exit code 1", Reason: "too few"}, "deployment d-1 failed on i-1"},
		{Outcome{Deployment: "d-1", Status: Failed, Failed: []string{"i-1", "i-2", "i-3", "i-4"}}, "deployment d-1 failed on i-1, i-2, i-3 and 1 more"},
		{Outcome{Deployment: "d-1", Status: Stopped, Reason: "by hand"}, "deployment d-1 stopped: by hand"},
		{Outcome{Deployment: "d-1", Status: Stopped, Failed: []string{"i-1"}}, "deployment d-1 stopped, and had failed on i-1"},
	} {
		if got := c.o.FailureText(); got != c.want {
			t.Errorf("%q, and not %q", got, c.want)
		}
	}
}

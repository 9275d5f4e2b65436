package standin_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"usher/agent/standin"
)

// asker asks the host commands' service by hand: every part of the request can be wrong.
type asker struct {
	t        *testing.T
	endpoint string
	region   string
	host     string // HostIdentifier
	keys     aws.Credentials

	service     string // SigV4's name
	target      string // before the operation's name
	contentType string
	version     string // of the agent; "": the header is absent
	unsigned    bool   // the version is added after signing
	path        string
}

// onHost asks as an agent on the instance does.
func onHost(t *testing.T, c *standin.Cloud, inst *standin.Instance) asker {
	t.Helper()
	cfg, _ := onInstance(t, c, inst)
	keys, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return asker{
		t: t, endpoint: c.Endpoint, region: c.Region, keys: keys,
		host:    "arn:aws:ec2:" + c.Region + ":" + standin.Account + ":instance/" + inst.ID,
		service: "codedeploy-commands", target: "CodeDeployCommandService_v20141006.",
		contentType: "application/x-amz-json-1.1", version: "test/1", path: "/",
	}
}

// send makes one call; in is JSON, or what is marshalled to it.
func (a asker) send(ctx context.Context, op string, in any) (status int, body string, err error) {
	text, ok := in.(string)
	if !ok {
		out, err := json.Marshal(in)
		if err != nil {
			return 0, "", err
		}
		text = string(out)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.endpoint+a.path, strings.NewReader(text))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", a.contentType)
	r.Header.Set("X-Amz-Target", a.target+op)
	version := func() {
		if a.version != "" {
			r.Header.Set("X-Amz-Codedeploy-Agent-Version", a.version)
		}
	}
	if !a.unsigned {
		version()
	}
	sum := sha256.Sum256([]byte(text))
	if a.keys.AccessKeyID != "" {
		if err := v4.NewSigner().SignHTTP(ctx, a.keys, r, hex.EncodeToString(sum[:]), a.service, a.region, time.Now()); err != nil {
			return 0, "", err
		}
	}
	version()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(out), err
}

// ask makes one call that the service has to serve, and reads its answer into out.
func (a asker) ask(op string, in, out any) {
	a.t.Helper()
	status, body, err := a.send(testContext(a.t), op, in)
	if err != nil || status != http.StatusOK {
		a.t.Fatalf("%s: %d %s, %v", op, status, body, err)
	}
	if out == nil {
		if body != "" {
			a.t.Errorf("%s answers %q, want nothing at all", op, body)
		}
		return
	}
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(out); err != nil {
		a.t.Fatalf("%s: %v in %s", op, err, body)
	}
}

// The answers of the service.
type (
	polled struct {
		HostCommand *struct {
			HostCommandIdentifier, HostIdentifier, DeploymentExecutionId, CommandName string
			Nonce                                                                     int64
		}
	}
	specified struct {
		DeploymentSystem        string
		DeploymentSpecification struct {
			GenericEnvelope struct{ Format, Payload string }
		}
	}
	acknowledged struct{ CommandStatus string }
	fields       = map[string]any
)

func (a asker) poll() (p polled) {
	a.t.Helper()
	a.ask("PollHostCommand", fields{"HostIdentifier": a.host}, &p)
	return p
}

// diagnostics is an agent's envelope.
func diagnostics(payload any) fields {
	out, err := json.Marshal(payload)
	if err != nil {
		panic(err)
	}
	return fields{"Format": "JSON", "Payload": string(out)}
}

func result(log string) fields {
	return fields{"error_code": 4, "script_name": "scripts/start", "message": "it failed", "log": log}
}

// oneHost is a Cloud with one instance.
func oneHost(t *testing.T, o standin.Options) (*standin.Cloud, *standin.Instance, asker) {
	t.Helper()
	c := start(t, o)
	c.CreateGroup(standin.Group{Name: "web"})
	inst := c.Launch("web", standin.LaunchOptions{})
	return c, inst, onHost(t, c, inst)
}

func event(name string) standin.Sent {
	return standin.Sent{Event: name, Application: "shop", Group: "production", Revision: standin.GitHubRevision("acme/shop", strings.Repeat("a", 40))}
}

func TestOneHostCommand(t *testing.T) {
	t.Parallel()
	for _, variant := range []struct{ service, target string }{
		{"codedeploy-commands", "CodeDeployCommandService_v20141006."},
		{"codedeploy-commands-secure", "CodeDeployCommandService."},
	} {
		t.Run(variant.service, func(t *testing.T) {
			t.Parallel()
			cloud, inst, host := oneHost(t, standin.Options{})
			host.service, host.target = variant.service, variant.target
			id := cloud.SendCommand(inst, event("Install"))

			got := host.poll().HostCommand
			if got == nil || got.HostCommandIdentifier != id || got.HostIdentifier != host.host || got.CommandName != "Install" || got.Nonce == 0 {
				t.Fatalf("polled %+v", got)
			}
			if again := host.poll().HostCommand; again == nil || *again != *got {
				t.Errorf("a command whose answer may have been lost: %+v", again)
			}
			var spec specified
			host.ask("GetDeploymentSpecification", fields{"DeploymentExecutionId": got.DeploymentExecutionId, "HostIdentifier": host.host}, &spec)
			if e := spec.DeploymentSpecification.GenericEnvelope; spec.DeploymentSystem != "CodeDeploy" || e.Format != "PKCS7/JSON" || e.Payload == "" {
				t.Errorf("specification %+v", spec)
			}
			var status acknowledged
			host.ask("PutHostCommandAcknowledgement", fields{"HostCommandIdentifier": id, "Diagnostics": diagnostics(fields{"IsCommandNoop": false})}, &status)
			if status.CommandStatus != "InProgress" {
				t.Errorf("acknowledged, it is %s", status.CommandStatus)
			}
			host.ask("PostHostCommandUpdate", fields{"HostCommandIdentifier": id, "EstimatedCompletionTime": 1.7e9}, &status)
			if status.CommandStatus != "InProgress" {
				t.Errorf("under way, it is %s", status.CommandStatus)
			}
			host.ask("PutHostCommandComplete", fields{"HostCommandIdentifier": id, "CommandStatus": "Failed", "Diagnostics": diagnostics(result("a line\n"))}, nil)
			host.ask("PutHostCommandComplete", fields{"HostCommandIdentifier": id, "CommandStatus": "Failed",
				"Diagnostics": diagnostics(fields{"error_code": 5, "script_name": "", "message": "UnknownError", "log": ""})}, nil)
			host.ask("PutHostCommandAcknowledgement", fields{"HostCommandIdentifier": id, "Diagnostics": diagnostics(fields{"IsCommandNoop": false})}, &status)
			if status.CommandStatus != "Failed" {
				t.Errorf("ended, it is %s", status.CommandStatus)
			}

			seen := cloud.HostCommands()
			if len(seen) != 1 || seen[0].Status != "Failed" || seen[0].Completed != 2 || seen[0].Polled != 2 ||
				seen[0].Diagnostics != (standin.Diagnostics{Code: 4, Script: "scripts/start", Message: "it failed", Log: "a line\n"}) {
				t.Errorf("CodeDeploy saw %+v", seen)
			}
			var calls []string
			for _, call := range cloud.Calls() {
				if call.Service != variant.service || call.InstanceID != inst.ID {
					t.Errorf("call %+v", call)
				}
				calls = append(calls, call.Op)
			}
			if want := []string{"PollHostCommand", "PollHostCommand", "GetDeploymentSpecification", "PutHostCommandAcknowledgement", "PostHostCommandUpdate",
				"PutHostCommandComplete", "PutHostCommandComplete", "PutHostCommandAcknowledgement"}; !slices.Equal(calls, want) {
				t.Errorf("calls %q, want %q", calls, want)
			}
		})
	}
}

func TestANoopSucceedsByItsAcknowledgement(t *testing.T) {
	t.Parallel()
	cloud, inst, host := oneHost(t, standin.Options{})
	id := cloud.SendCommand(inst, event("BeforeInstall"))
	var status acknowledged
	host.ask("PutHostCommandAcknowledgement", fields{"HostCommandIdentifier": id, "Diagnostics": diagnostics(fields{"IsCommandNoop": true})}, &status)
	if seen := cloud.HostCommands(); status.CommandStatus != "Succeeded" || !seen[0].Noop {
		t.Errorf("%s, %+v", status.CommandStatus, seen)
	}
}

// underWay tells when the first call, a poll, has reached the Cloud.
func underWay(c *standin.Cloud) <-chan struct{} {
	came := make(chan struct{}, 1)
	c.Intercept(func(r standin.Request) *standin.Fault {
		select {
		case came <- struct{}{}:
		default: // only the first is waited for
		}
		return nil
	})
	return came
}

func TestAPollEndsWhenACommandComes(t *testing.T) {
	t.Parallel()
	cloud, inst, host := oneHost(t, standin.Options{LongPoll: time.Hour}) // the test's own deadline is shorter
	came := underWay(cloud)
	got := make(chan polled, 1)
	go func() {
		var p polled
		defer func() { got <- p }()
		_, body, err := host.send(testContext(t), "PollHostCommand", fields{"HostIdentifier": host.host})
		if err == nil {
			_ = json.Unmarshal([]byte(body), &p)
		}
	}()
	<-came
	id := cloud.SendCommand(inst, event("Install"))
	if p := <-got; p.HostCommand == nil || p.HostCommand.HostCommandIdentifier != id {
		t.Errorf("polled %+v", p)
	}
}

func TestAPollWithoutACommand(t *testing.T) {
	t.Parallel()
	const wait = 100 * time.Millisecond
	cloud, inst, host := oneHost(t, standin.Options{LongPoll: wait})
	other := cloud.Launch("web", standin.LaunchOptions{})
	cloud.SendCommand(other, event("Install"))
	began := time.Now()
	status, body, err := host.send(testContext(t), "PollHostCommand", fields{"HostIdentifier": host.host})
	if took := time.Since(began); err != nil || status != http.StatusOK || body != "{}" || took < wait {
		t.Errorf("after %v: %d %s, %v", took, status, body, err)
	}
	if calls := cloud.CallsOf("PollHostCommand"); len(calls) != 1 || calls[0].InstanceID != inst.ID || calls[0].Took < wait {
		t.Errorf("calls %+v", calls)
	}
}

func TestACommandOutlivesAPoll(t *testing.T) {
	t.Parallel()
	cloud, inst, host := oneHost(t, standin.Options{LongPoll: time.Hour})
	came := underWay(cloud)
	ctx, leave := context.WithCancel(testContext(t))
	left := make(chan error, 1)
	go func() {
		_, _, err := host.send(ctx, "PollHostCommand", fields{"HostIdentifier": host.host})
		left <- err
	}()
	<-came
	leave()
	if err := <-left; err == nil {
		t.Error("a poll whose client has left was answered")
	}
	calls, err := cloud.WaitForCalls(testContext(t), "PollHostCommand", 1)
	if err != nil || calls[0].ErrorCode != "ClientGone" || calls[0].Status != 0 {
		t.Fatalf("calls %+v, %v", calls, err)
	}

	id := cloud.SendCommand(inst, event("Install"))
	cloud.Fail("PollHostCommand", 1, standin.Fault{DropConnection: true, AfterEffect: true})
	if _, _, err := host.send(testContext(t), "PollHostCommand", fields{"HostIdentifier": host.host}); err == nil {
		t.Error("the answer was to be lost")
	}
	if got := host.poll().HostCommand; got == nil || got.HostCommandIdentifier != id {
		t.Errorf("polled %+v", got)
	}
}

func TestCloseEndsAPoll(t *testing.T) {
	t.Parallel()
	cloud, _, host := oneHost(t, standin.Options{LongPoll: time.Hour})
	came := underWay(cloud)
	left := make(chan error, 1)
	go func() {
		_, _, err := host.send(testContext(t), "PollHostCommand", fields{"HostIdentifier": host.host})
		left <- err
	}()
	<-came
	cloud.Close()
	if err := <-left; err == nil {
		t.Error("a poll of a closed Cloud was answered")
	}
}

func TestHostCommandsRefused(t *testing.T) {
	t.Parallel()
	cloud, inst, good := oneHost(t, standin.Options{LongPoll: time.Millisecond})
	other := cloud.Launch("web", standin.LaunchOptions{})
	id := cloud.SendCommand(inst, event("Install"))
	execution := good.poll().HostCommand.DeploymentExecutionId
	expired := cloud.Launch("web", standin.LaunchOptions{})
	late := onHost(t, cloud, expired)
	expired.ExpireCredentials()

	poll := fields{"HostIdentifier": good.host}
	specification := func(execution string) fields {
		return fields{"DeploymentExecutionId": execution, "HostIdentifier": good.host}
	}
	acknowledge := func(envelope any) fields { return fields{"HostCommandIdentifier": id, "Diagnostics": envelope} }
	complete := func(status string, envelope any) fields {
		return fields{"HostCommandIdentifier": id, "CommandStatus": status, "Diagnostics": envelope}
	}
	with := func(change func(*asker)) asker {
		a := good
		change(&a)
		return a
	}
	without := func(member string) fields {
		d := result("")
		delete(d, member)
		return d
	}
	for _, c := range []struct {
		name    string
		by      asker
		op      string
		in      any
		code    string
		message string
	}{
		{"no signature", with(func(a *asker) { a.keys = aws.Credentials{} }), "PollHostCommand", poll, "MissingAuthenticationTokenException", ""},
		{"signed for CodeDeploy itself", with(func(a *asker) { a.service = "codedeploy" }), "PollHostCommand", poll, "InvalidSignatureException", "correct service: 'codedeploy-commands'"},
		{"signed for the other service", with(func(a *asker) { a.target = "CodeDeployCommandService." }), "PollHostCommand", poll, "InvalidSignatureException", ""},
		{"signed for another region", with(func(a *asker) { a.region = "us-east-1" }), "PollHostCommand", poll, "InvalidSignatureException", "us-east-1"},
		{"expired credentials", late, "PollHostCommand", fields{"HostIdentifier": late.host}, "ExpiredTokenException", ""},
		{"a user", with(func(a *asker) {
			a.keys = aws.Credentials{AccessKeyID: cloud.AccessKey, SecretAccessKey: cloud.SecretKey}
		}), "PollHostCommand", poll, "AccessDeniedException", "a user's credentials"},
		{"no version of the agent", with(func(a *asker) { a.version = "" }), "PollHostCommand", poll, "ClientException", "x-amz-codedeploy-agent-version"},
		{"a version that is not signed", with(func(a *asker) { a.unsigned = true }), "PollHostCommand", poll, "ClientException", "x-amz-codedeploy-agent-version"},
		{"another content type", with(func(a *asker) { a.contentType = "application/json" }), "PollHostCommand", poll, "UnknownOperationException", ""},
		{"another path", with(func(a *asker) { a.path = "/poll" }), "PollHostCommand", poll, "UnknownOperationException", ""},
		{"an operation there is not", good, "PollHostCommands", poll, "UnknownOperationException", ""},
		{"no JSON", good, "PollHostCommand", "{", "SerializationException", ""},
		{"a number for a string", good, "PollHostCommand", fields{"HostIdentifier": 5}, "SerializationException", "HostIdentifier"},
		{"no host", good, "PollHostCommand", fields{}, "ClientException", "HostIdentifier is required"},
		{"a member in another case", good, "PollHostCommand", fields{"hostIdentifier": good.host}, "ClientException", "HostIdentifier is required"},
		{"another's host", good, "PollHostCommand", fields{"HostIdentifier": strings.Replace(good.host, inst.ID, other.ID, 1)}, "AccessDeniedException", "not of arn:aws:ec2:"},
		{"an instance id for a host", good, "PollHostCommand", fields{"HostIdentifier": inst.ID}, "AccessDeniedException", ""},

		{"no execution", good, "GetDeploymentSpecification", poll, "ClientException", "DeploymentExecutionId is required"},
		{"an execution that is none", good, "GetDeploymentSpecification", specification("d-123456789"), "ClientException", "must match"},
		{"an execution that is too long", good, "GetDeploymentSpecification", specification(execution + strings.Repeat("x", 130-len(execution))), "ClientException", "at most 129"},
		{"an execution that is not there", good, "GetDeploymentSpecification", specification(execution[:len(execution)-1]), "ClientException", "found for"},
		{"another's specification", onHost(t, cloud, other), "GetDeploymentSpecification",
			fields{"DeploymentExecutionId": execution, "HostIdentifier": strings.Replace(good.host, inst.ID, other.ID, 1)}, "ClientException", "found for"},
		{"a specification without a host", good, "GetDeploymentSpecification", fields{"DeploymentExecutionId": execution}, "ClientException", "HostIdentifier is required"},

		{"no command", good, "PutHostCommandAcknowledgement", fields{}, "ClientException", "HostCommandIdentifier is required"},
		{"a command there is not", good, "PutHostCommandAcknowledgement", fields{"HostCommandIdentifier": "x"}, "ClientException", "x"},
		{"another's command", onHost(t, cloud, other), "PutHostCommandAcknowledgement", acknowledge(diagnostics(fields{"IsCommandNoop": true})), "ClientException", ""},
		{"diagnostics of no format", good, "PutHostCommandAcknowledgement", acknowledge(fields{"Payload": `{"IsCommandNoop":true}`}), "ClientException", "Format is required"},
		{"diagnostics of another format", good, "PutHostCommandAcknowledgement", acknowledge(fields{"Format": "YAML", "Payload": "{}"}), "ClientException", "YAML"},
		{"a format that is too long", good, "PutHostCommandAcknowledgement", acknowledge(fields{"Format": strings.Repeat("J", 65), "Payload": "{}"}), "ClientException", "more than 64"},
		{"diagnostics that are no JSON", good, "PutHostCommandAcknowledgement", acknowledge(fields{"Format": "JSON", "Payload": "yes"}), "ClientException", "not a JSON object"},
		{"diagnostics that are null", good, "PutHostCommandAcknowledgement", acknowledge(fields{"Format": "JSON", "Payload": "null"}), "ClientException", "not a JSON object"},
		{"a noop that is no bool", good, "PutHostCommandAcknowledgement", acknowledge(diagnostics(fields{"IsCommandNoop": "false"})), "ClientException", "IsCommandNoop"},
		{"a noop that is absent", good, "PutHostCommandAcknowledgement", acknowledge(diagnostics(fields{"isCommandNoop": false})), "ClientException", "IsCommandNoop"},
		{"an update of no command", good, "PostHostCommandUpdate", fields{}, "ClientException", "HostCommandIdentifier is required"},
		{"a time that is none", good, "PostHostCommandUpdate", fields{"HostCommandIdentifier": id, "EstimatedCompletionTime": "soon"}, "SerializationException", "EstimatedCompletionTime"},

		{"no status", good, "PutHostCommandComplete", fields{"HostCommandIdentifier": id}, "ClientException", "CommandStatus is required"},
		{"a status that is no end", good, "PutHostCommandComplete", complete("InProgress", diagnostics(result(""))), "ClientException", "InProgress"},
		{"a command there is not, completed", good, "PutHostCommandComplete", fields{"HostCommandIdentifier": "x", "CommandStatus": "Succeeded"}, "ClientException", "x"},
		{"diagnostics in a string", good, "PutHostCommandComplete", complete("Failed", "it failed"), "SerializationException", "Diagnostics"},
		{"a payload that is too long", good, "PutHostCommandComplete", complete("Failed", diagnostics(fields{
			"error_code": 4, "script_name": "", "message": strings.Repeat("m", 8192), "log": ""})), "ClientException", "at most 8192"},
		{"a log that is too long", good, "PutHostCommandComplete", complete("Failed", diagnostics(result(strings.Repeat("l", 2049)))), "ClientException", "at most 2048"},
		{"no code", good, "PutHostCommandComplete", complete("Failed", diagnostics(without("error_code"))), "ClientException", "error_code"},
		{"no script", good, "PutHostCommandComplete", complete("Failed", diagnostics(without("script_name"))), "ClientException", "script_name"},
		{"no log", good, "PutHostCommandComplete", complete("Failed", diagnostics(without("log"))), "ClientException", "log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body, err := c.by.send(testContext(t), c.op, c.in)
			var failed struct {
				Type    string `json:"__type"`
				Message string `json:"message"`
			}
			if err != nil || json.Unmarshal([]byte(body), &failed) != nil || status < 400 || status > 499 ||
				failed.Type != c.code || !strings.Contains(failed.Message, c.message) {
				t.Errorf("got %d %s, %v\nwant %s: %s", status, body, err, c.code, c.message)
			}
		})
	}
	if seen := cloud.HostCommands(); len(seen) != 1 || seen[0].Status != "Pending" || seen[0].Completed != 0 {
		t.Errorf("a refused call did something: %+v", seen)
	}
}

// The limits count characters: as many as are allowed are taken.
func TestDiagnosticsOfTheGreatestLength(t *testing.T) {
	t.Parallel()
	cloud, inst, host := oneHost(t, standin.Options{})
	id := cloud.SendCommand(inst, event("Install"))
	log := strings.Repeat("é", 2048)
	d := fields{"error_code": 4, "script_name": "s", "message": "", "log": log}
	short, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	message := strings.Repeat("é", 8192-len([]rune(string(short))))
	d["message"] = message
	host.ask("PutHostCommandComplete", fields{"HostCommandIdentifier": id, "CommandStatus": "Failed", "Diagnostics": diagnostics(d)}, nil)
	if seen := cloud.HostCommands()[0].Diagnostics; seen.Log != log || seen.Message != message {
		t.Errorf("a log of %d bytes and a message of %d", len(seen.Log), len(seen.Message))
	}
}

func TestFaultsOfHostCommands(t *testing.T) {
	t.Parallel()
	cloud, _, host := oneHost(t, standin.Options{LongPoll: time.Millisecond})
	for _, c := range []struct {
		fault standin.Fault
		want  string
	}{
		{standin.Fault{Code: "ThrottlingException"}, `400 {"__type":"ThrottlingException","message":"Rate exceeded"}`},
		{standin.Fault{Code: "ServerException", Message: "try again"}, `500 {"__type":"ServerException","message":"try again"}`},
		{standin.Fault{Body: []byte("<html>")}, `200 <html>`},
	} {
		cloud.Fail("PollHostCommand", 1, c.fault)
		status, body, err := host.send(testContext(t), "PollHostCommand", fields{"HostIdentifier": host.host})
		if got := fmt.Sprint(status, " ", body); err != nil || got != c.want {
			t.Errorf("%+v: %s, %v, want %s", c.fault, got, err, c.want)
		}
	}
	if calls := cloud.CallsOf("PollHostCommand"); len(calls) != 3 {
		t.Errorf("%d calls in the log, want 3", len(calls))
	}
}

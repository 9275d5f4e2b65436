//go:build linux && !developer

package hostcommand

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"usher/agent/retry"
	"usher/agent/standin"
)

// start makes a Cloud that ends with the test, with a deployment group of one instance in service.
func start(t *testing.T, o standin.Options) (*standin.Cloud, *standin.Instance) {
	t.Helper()
	c, err := standin.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	c.CreateGroup(standin.Group{Name: "web"})
	c.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}})
	return c, c.Launch("web", standin.LaunchOptions{})
}

// revision is one that nobody downloads here.
var revision = standin.S3Revision("b", "shop/1.tgz", "tgz", "v7", "abc")

// onInstance is the client as it is on the instance: credentials from its metadata.
func onInstance(t *testing.T, c *standin.Cloud, inst *standin.Instance, change ...func(*Options)) *Client {
	t.Helper()
	meta := imds.New(imds.Options{Endpoint: inst.MetadataEndpoint, EnableFallback: aws.FalseTernary})
	o := Options{Region: c.Region, Endpoint: c.Endpoint, Version: "1.2.3",
		Host:        "arn:aws:ec2:" + c.Region + ":" + standin.Account + ":instance/" + inst.ID,
		SignerCA:    authorities(t, c),
		Credentials: aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = meta }))}
	for _, f := range change {
		f(&o)
	}
	client := New(o)
	t.Cleanup(client.http.CloseIdleConnections)
	return hasty(client)
}

func authorities(t *testing.T, c *standin.Cloud) *x509.CertPool {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.SignerCA()) {
		t.Fatal("the signer's authority is no certificate")
	}
	return pool
}

// A deployment from its first event to its last, by the service's own account.
func TestADeployment(t *testing.T) {
	t.Parallel()
	ctx := limited(t)
	cloud, inst := start(t, standin.Options{})
	c := onInstance(t, cloud, inst, func(o *Options) { o.Notify = func(n Event) { t.Errorf("told %+v", n) } })
	id, err := cloud.Deploy("shop", "production", revision)
	if err != nil {
		t.Fatal(err)
	}
	var events []string
	for range 7 {
		cmd, err := c.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, cmd.Event)
		spec, err := c.Specification(ctx, cmd)
		if err != nil {
			t.Fatal(err)
		}
		if spec.DeploymentID != id || spec.Application != "shop" || spec.Group != "production" || spec.GroupID == "" || spec.Creator != "user" || spec.Type != "IN_PLACE" ||
			*spec.S3 != (S3{"b", "shop/1.tgz", "tgz", "v7", "abc"}) || spec.GitHub != nil || !spec.Signer.Trusted || spec.Signer.Remark != "" {
			t.Errorf("the specification is %+v of %+v", spec, spec.S3)
		}
		if spec.Signer.Subject != "CN="+signerName+",O=standin" || len(spec.Signer.Fingerprint) != 64 {
			t.Errorf("the signer is %+v", spec.Signer)
		}
		noop := cmd.Event == "ApplicationStop"
		want := map[bool]Status{false: InProgress, true: Succeeded}[noop]
		if got, err := c.Acknowledge(ctx, cmd, noop); err != nil || got != want {
			t.Fatalf("%s: %q, %v", cmd.Event, got, err)
		}
		if noop {
			continue
		}
		if err := c.Complete(ctx, cmd.ID, Result{Log: []string{cmd.Event}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(events, " "); got != "ApplicationStop DownloadBundle BeforeInstall Install AfterInstall ApplicationStart ValidateService" {
		t.Errorf("the events were %s", got)
	}
	if status, err := cloud.WaitForDeployment(ctx, id); err != nil || status != "Succeeded" {
		t.Errorf("the deployment is %s, %v", status, err)
	}
	for _, h := range cloud.HostCommands() {
		if h.Status != "Succeeded" || h.Noop != (h.Name == "ApplicationStop") || !h.Noop && (h.Completed != 1 || h.Diagnostics != standin.Diagnostics{Message: "Succeeded", Log: h.Name}) {
			t.Errorf("%+v", h)
		}
	}
}

// A failure arrives with everything a person needs to see, whatever the script printed.
func TestAFailure(t *testing.T) {
	t.Parallel()
	ctx := limited(t)
	cloud, inst := start(t, standin.Options{})
	c := onInstance(t, cloud, inst)
	for name, log := range map[string][]string{
		"a line":              {"[stderr]cat: x: No such file or directory"},
		"binary":              {"\xff\xfe", strings.Repeat("\x00\x1b", 5000), strings.Repeat("\"\\", 300)},
		"a megabyte of lines": slices.Repeat([]string{strings.Repeat("ы", 50)}, 10_000),
	} {
		id := cloud.SendCommand(inst, standin.Sent{Event: "AfterInstall", Application: "shop", Group: "production", Revision: revision})
		cmd, err := c.Next(ctx)
		if err != nil || cmd.ID != id {
			t.Fatalf("%+v, %v", cmd, err)
		}
		if _, err := c.Acknowledge(ctx, cmd, false); err != nil {
			t.Fatal(err)
		}
		r := Result{ScriptFailed, "scripts/a.sh", "script scripts/a.sh failed with exit code 1", log}
		if err := c.Complete(ctx, cmd.ID, r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, err := cloud.WaitForHostCommand(ctx, inst, id)
		if want := (standin.Diagnostics{Code: 4, Script: r.Script, Message: r.Message, Log: newest(log)}); err != nil || got.Status != "Failed" || got.Diagnostics != want || want.Log == "" {
			t.Errorf("%s: got %s %+v, %v", name, got.Status, got.Diagnostics, err)
		}
	}
}

// A poll waits for a command, and is answered as soon as there is one.
func TestLongPoll(t *testing.T) {
	t.Parallel()
	ctx := limited(t)
	cloud, inst := start(t, standin.Options{LongPoll: time.Hour})
	c := onInstance(t, cloud, inst)
	type answer struct {
		cmd Command
		err error
	}
	answered := make(chan answer)
	poll := func(ctx context.Context) {
		go func() {
			cmd, err := c.Next(ctx)
			answered <- answer{cmd, err}
		}()
	}
	poll(ctx)
	id := cloud.SendCommand(inst, standin.Sent{Event: "Install", Application: "shop", Group: "production", Revision: revision})
	got := <-answered
	if got.err != nil || got.cmd.ID != id {
		t.Fatalf("%+v", got)
	}
	if _, err := c.Acknowledge(ctx, got.cmd, false); err != nil {
		t.Fatal(err)
	}
	stopping := errors.New("stopping")
	waiting, stop := context.WithCancelCause(ctx)
	poll(waiting)
	stop(stopping)
	if got := <-answered; got.err != stopping {
		t.Errorf("%+v", got)
	}

	empty, server := start(t, standin.Options{LongPoll: time.Millisecond})
	if cmd, err := onInstance(t, empty, server).Poll(ctx); cmd != nil || err != nil {
		t.Errorf("a poll that nothing came of: %+v, %v", cmd, err)
	}
}

// Every forgery of a specification is refused; without an authority those that only an authority can tell
// are accepted, with a remark.
func TestForgeries(t *testing.T) {
	t.Parallel()
	ctx := limited(t)
	cloud, inst := start(t, standin.Options{})
	strict := onInstance(t, cloud, inst)
	loose := onInstance(t, cloud, inst, func(o *Options) { o.SignerCA = nil })
	id := cloud.SendCommand(inst, standin.Sent{Event: "Install", Application: "shop", Group: "production", Revision: revision})
	cmd, err := strict.Next(ctx)
	if err != nil || cmd.ID != id {
		t.Fatalf("%+v, %v", cmd, err)
	}
	swap := func(old, changed string) func([]byte) []byte {
		return func(spec []byte) []byte {
			if !strings.Contains(string(spec), old) {
				t.Errorf("%s is not in %s", old, spec)
			}
			return []byte(strings.Replace(string(spec), old, changed, 1))
		}
	}
	const (
		unchecked = "no authority was configured to check it against"
		stranger  = " does not belong to the configured authorities: "
	)
	for _, f := range []struct {
		name    string
		forgery standin.EnvelopeFault
		strict  string // why it is refused; "" when it is not
		loose   string // the same without an authority; "" is as strict, and a remark begins with unchecked
	}{
		{"none", standin.EnvelopeFault{}, "", unchecked},
		{"the content altered", standin.EnvelopeFault{Kind: standin.ContentAltered}, "its content was changed after it was signed", ""},
		{"its digest too", standin.EnvelopeFault{Kind: standin.DigestAltered}, "the signature of its envelope is not good: ", ""},
		{"another's name", standin.EnvelopeFault{Kind: standin.SignerOfAnotherName}, " is not the service's: its name is not " + signerName, unchecked + "; its name is not " + signerName},
		{"another root", standin.EnvelopeFault{Kind: standin.SignerOfAnotherRoot}, stranger, unchecked},
		{"self-signed", standin.EnvelopeFault{Kind: standin.SignerSelfSigned}, stranger, unchecked},
		{"expired", standin.EnvelopeFault{Kind: standin.SignerExpired}, "its envelope was signed on ", ""},
		{"backdated", standin.EnvelopeFault{Kind: standin.SignerBackdated}, stranger, unchecked + "; its certificate is valid from "},
		{"two signers", standin.EnvelopeFault{Kind: standin.TwoSigners}, "its envelope has 2 signers, not one", ""},
		{"no signer", standin.EnvelopeFault{Kind: standin.NoSigner}, "its envelope has 0 signers, not one", ""},
		{"no certificate", standin.EnvelopeFault{Kind: standin.NoCertificate}, "its envelope does not have the certificate of its signer", ""},
		{"no content", standin.EnvelopeFault{Kind: standin.NoContent}, "its envelope is empty", ""},
		{"no signed digest", standin.EnvelopeFault{Kind: standin.NoSignedDigest}, "the signature of its envelope is over no digest", ""},
		{"without attributes", standin.EnvelopeFault{NoAttributes: true}, "", unchecked},
		{"without attributes, the content altered", standin.EnvelopeFault{NoAttributes: true, Kind: standin.ContentAltered}, "the signature of its envelope is not good: ", ""},
		{"without attributes, another's name", standin.EnvelopeFault{NoAttributes: true, Kind: standin.SignerOfAnotherName}, " is not the service's: its name is not " + signerName, unchecked + "; its name is not " + signerName},
		{"without attributes, another root", standin.EnvelopeFault{NoAttributes: true, Kind: standin.SignerOfAnotherRoot}, stranger, unchecked},
		{"without attributes, expired", standin.EnvelopeFault{NoAttributes: true, Kind: standin.SignerExpired}, "its envelope does not say when it was signed", ""},
		{"without attributes, two signers", standin.EnvelopeFault{NoAttributes: true, Kind: standin.TwoSigners}, "its envelope has 2 signers, not one", ""},
		{"another's attributes for content", standin.EnvelopeFault{Kind: standin.AttributesAsContent}, "the content of its envelope is the signed attributes of another message", ""},
		{"no envelope", standin.EnvelopeFault{Kind: standin.UnsignedFormat}, `the format of its envelope is "TEXT/JSON", not PKCS7/JSON`, ""},
		{"another format", standin.EnvelopeFault{Kind: standin.UnknownFormat}, `the format of its envelope is "PKCS7/YAML", not PKCS7/JSON`, ""},
		{"too long", standin.EnvelopeFault{Kind: standin.TooLong}, "bytes, more than 131072", ""},
		{"two blocks", standin.EnvelopeFault{Kind: standin.TwoBlocks}, "its envelope is not one PEM block: there are 2", ""},
		{"text after it", standin.EnvelopeFault{Kind: standin.TextAfterBlock}, "bytes after its envelope's PEM block", ""},
		{"bytes after it", standin.EnvelopeFault{Kind: standin.BytesAfterMessage}, "bytes after the message in its envelope", ""},
		{"no PEM", standin.EnvelopeFault{Kind: standin.NotPEM}, "its envelope is not one PEM block: there are 0", ""},
		{"no JSON", standin.EnvelopeFault{Edit: func([]byte) []byte { return []byte("shop") }}, "its content is not a JSON object", ""},
		{"no object", standin.EnvelopeFault{Edit: func([]byte) []byte { return []byte("null") }}, "its content is not a JSON object", ""},
		{"no application", standin.EnvelopeFault{Edit: swap(`"ApplicationName":"shop"`, `"ApplicationName":""`)}, "it has no ApplicationName", ""},
		{"another deployment's", standin.EnvelopeFault{Edit: swap(`"DeploymentId":"d-`, `"DeploymentId":"d-0`)}, "it is the specification of deployment d-0", ""},
		{"a local revision", standin.EnvelopeFault{Edit: swap(`"RevisionType":"S3"`, `"RevisionType":"Local File"`)}, `its revision is of type "Local File"`, ""},
	} {
		t.Run(f.name, func(t *testing.T) {
			cloud.FaultEnvelopes(f.forgery)
			if f.loose == "" {
				f.loose = f.strict
			}
			for name, check := range map[string]struct {
				client *Client
				want   string
			}{"strict": {strict, f.strict}, "loose": {loose, f.loose}} {
				spec, err := check.client.Specification(ctx, cmd)
				if accepted := check.want == "" || strings.HasPrefix(check.want, unchecked); accepted {
					if err != nil || spec.Application != "shop" || !strings.HasPrefix(spec.Signer.Remark, check.want) || spec.Signer.Trusted != (check.want == "") {
						t.Errorf("%s: %+v, %v", name, spec.Signer, err)
					}
				} else if err == nil || !strings.Contains(err.Error(), check.want) || spec.DeploymentID != "" {
					t.Errorf("%s: got %+v, %v\nwant %s", name, spec.Signer, err, check.want)
				}
			}
		})
	}
}

// Whatever goes wrong once in any of the calls, the event is carried out and its result recorded once.
func TestFaultsInEachCall(t *testing.T) {
	t.Parallel()
	calls := []string{"PollHostCommand", "GetDeploymentSpecification", "PutHostCommandAcknowledgement", "PutHostCommandComplete"}
	for _, f := range []struct {
		name  string
		fault standin.Fault
	}{
		{"throttled", standin.Fault{Code: "ThrottlingException"}},
		{"a failure", standin.Fault{Status: 500, Code: "ServerException"}},
		{"a failure after the effect", standin.Fault{Status: 500, Code: "ServerException", AfterEffect: true}},
		{"unavailable", standin.Fault{Status: 503}},
		{"the request lost", standin.Fault{DropConnection: true}},
		{"the answer lost", standin.Fault{DropConnection: true, AfterEffect: true}},
		{"expired credentials", standin.Fault{Code: "ExpiredTokenException"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			ctx := limited(t)
			cloud, inst := start(t, standin.Options{})
			c := onInstance(t, cloud, inst)
			for _, op := range calls {
				id := cloud.SendCommand(inst, standin.Sent{Event: "Install", Application: "shop", Group: "production", Revision: revision})
				cloud.Fail(op, 1, f.fault)
				before := len(cloud.CallsOf(op))
				if err := carryOut(ctx, c, Result{Code: ScriptFailed, Script: op}); err != nil {
					t.Fatalf("%s: %v", op, err)
				}
				got, err := cloud.WaitForHostCommand(ctx, inst, id)
				if err != nil || got.Status != "Failed" || got.Diagnostics.Script != op {
					t.Errorf("%s: %+v, %v", op, got, err)
				}
				twice := 1
				if f.fault.AfterEffect && op == "PutHostCommandComplete" {
					twice = 2 // the service keeps the first
				}
				if made := len(cloud.CallsOf(op)) - before; made != 2 || got.Completed != twice {
					t.Errorf("%s: made %d times, completed %d times", op, made, got.Completed)
				}
			}
		})
	}
}

// carryOut does what an agent does with the next command.
func carryOut(ctx context.Context, c *Client, r Result) error {
	cmd, err := c.Next(ctx)
	if err != nil {
		return err
	}
	if _, err = c.Specification(ctx, cmd); err != nil {
		return err
	}
	if _, err = c.Acknowledge(ctx, cmd, false); err != nil {
		return err
	}
	return c.Complete(ctx, cmd.ID, r)
}

// Role credentials that are revoked between any two calls are replaced, and nobody notices.
func TestCredentialsThatExpire(t *testing.T) {
	t.Parallel()
	ctx := limited(t)
	cloud, inst := start(t, standin.Options{})
	c := onInstance(t, cloud, inst, func(o *Options) { o.Notify = func(n Event) { t.Errorf("told %+v", n) } })
	cloud.SendCommand(inst, standin.Sent{Event: "Install", Application: "shop", Group: "production", Revision: revision})
	cmd, err := c.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []func() error{
		func() error { _, err := c.Poll(ctx); return err }, // the same command: it is not acknowledged yet
		func() error { _, err := c.Specification(ctx, cmd); return err },
		func() error { _, err := c.Acknowledge(ctx, cmd, false); return err },
		func() error { return c.Complete(ctx, cmd.ID, Result{}) },
	} {
		inst.ExpireCredentials()
		if err := call(); err != nil {
			t.Error(err)
		}
	}
	var refused int
	for _, call := range cloud.Calls() {
		if call.ErrorCode == "ExpiredTokenException" {
			refused++
		}
	}
	if refused != 4 {
		t.Errorf("expired credentials were refused %d times, want once for each call", refused)
	}
}

// With the clock hours off, and while it is being set, every call is signed by the service's clock: nothing is lost.
func TestAClockThatIsOff(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{2 * time.Hour, -26 * time.Hour} {
		t.Run(fmt.Sprint(off), func(t *testing.T) {
			t.Parallel()
			ctx := limited(t)
			cloud, inst := start(t, standin.Options{})
			c := onInstance(t, cloud, inst, func(o *Options) {
				o.Notify = func(n Event) {
					if n.Kind != SignerUnverified {
						t.Errorf("told %s: %v", n.Kind, n.Err)
					}
				}
			})
			var ahead atomic.Int64
			c.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			ahead.Store(int64(off))
			cloud.SendCommand(inst, standin.Sent{Event: "Install", Application: "shop", Group: "production", Revision: revision})
			cmd, err := c.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			ahead.Store(0) // it is set
			if _, err := c.Acknowledge(ctx, cmd, false); err != nil {
				t.Errorf("acknowledgement: %v", err)
			}
			ahead.Store(int64(-off))
			if err := c.Complete(ctx, cmd.ID, Result{}); err != nil {
				t.Errorf("completion: %v", err)
			}
		})
	}
}

// The service's refusals come back as they are, and are not tried again.
func TestRefusals(t *testing.T) {
	t.Parallel()
	ctx := limited(t)
	cloud, inst := start(t, standin.Options{})
	other := cloud.Launch("web", standin.LaunchOptions{})
	c := onInstance(t, cloud, inst)
	cloud.SendCommand(inst, standin.Sent{Event: "Install", Application: "shop", Group: "production", Revision: revision})
	cmd, err := c.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	thief := onInstance(t, cloud, other, func(o *Options) { o.Host = c.opt.Host })
	elsewhere := onInstance(t, cloud, inst, func(o *Options) { o.Region = "us-east-1" })
	unknown := cmd
	unknown.ID, unknown.Execution = "bm9uZQ==", strings.Replace(cmd.Execution, "/d-", "/d-0", 1)
	for _, r := range []struct {
		name string
		call func() error
		want string
	}{
		{"another instance's commands", func() error { _, err := thief.Poll(ctx); return err }, "AccessDeniedException"},
		{"another instance's specification", func() error { _, err := thief.Specification(ctx, cmd); return err }, "AccessDeniedException"},
		{"another instance's result", func() error { return thief.Complete(ctx, cmd.ID, Result{}) }, "ClientException"},
		{"another Region", func() error { _, err := elsewhere.Poll(ctx); return err }, "InvalidSignatureException"},
		{"a deployment that is not there", func() error { _, err := c.Specification(ctx, unknown); return err }, "ClientException"},
		{"the acknowledgement of a command that is not there", func() error { _, err := c.Acknowledge(ctx, unknown, false); return err }, "ClientException"},
		{"the result of one", func() error { return c.Complete(ctx, unknown.ID, Result{}) }, "ClientException"},
	} {
		before := len(cloud.Calls())
		if err := r.call(); err == nil || retry.Code(err) != r.want || strings.Contains(err.Error(), "clock") {
			t.Errorf("%s: %v, want %s", r.name, err, r.want)
		}
		if made := len(cloud.Calls()) - before; made != 1 {
			t.Errorf("%s: asked %d times", r.name, made)
		}
	}
	if got := cloud.HostCommands()[0]; got.Status != "Pending" {
		t.Errorf("%+v", got)
	}
}

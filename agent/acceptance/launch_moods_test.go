package acceptance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"

	"usher/agent/standin"
)

// What AWS may say to a launch, one file for each of its moods:
//
//	aws_metadata_test.go  instance metadata that is late, silent or strange; tags
//	aws_hook_test.go      which lifecycle action is ours
//	aws_wait_test.go      the action's clock: early, late, raced, decided by somebody else
//	aws_fault_test.go     throttling, lost connections, credentials
//	aws_failure_test.go   what becomes of an instance whose deployment failed
//	aws_pool_test.go      warm pools
//	aws_leaving_test.go   instances on their way out
//	aws_revision_test.go  what the deployment group runs

// gate makes a script of an event wait in the middle: it says "at the gate", and goes on when the function
// that gate returns is called.
func (s *stage) gate(f files, script string) (with files, open func()) {
	s.Helper()
	fifo := s.path("gate-" + filepath.Base(script))
	s.must(syscall.Mkfifo(fifo, 0o600))
	with = f.with(files{script: f[script] + "echo at the gate\nread opened < " + fifo + "\necho through the gate\n"})
	return with, func() {
		s.Helper()
		w, err := os.OpenFile(fifo, os.O_WRONLY, 0) // until the script reads
		s.must(err)
		_, err = w.WriteString("open\n")
		s.must(err)
		s.must(w.Close())
	}
}

// somebody is a person with an AWS CLI.
func (s *stage) somebody() *autoscaling.Client {
	return autoscaling.New(autoscaling.Options{
		Region: s.cloud.Region, BaseEndpoint: aws.String(s.cloud.Endpoint),
		Credentials: credentials.NewStaticCredentialsProvider(s.cloud.AccessKey, s.cloud.SecretKey, ""),
	})
}

// answersHook is somebody who completes the action of a hook.
func (s *stage) answersHook(server *standin.Instance, hook, result string) {
	s.Helper()
	_, err := s.somebody().CompleteLifecycleAction(s.ctx, &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName: aws.String("web"), LifecycleHookName: &hook, InstanceId: &server.ID, LifecycleActionResult: &result})
	s.must(err)
}

// history is the instance's states so far.
func history(server *standin.Instance) string {
	var states []string
	for _, st := range server.States() {
		states = append(states, string(st))
	}
	return strings.Join(states, " ")
}

// completions are the results of CompleteLifecycleAction that the instance was told: "" for accepted.
func completions(c *standin.Cloud, server *standin.Instance) string {
	var all []string
	for _, call := range c.CallsOf("CompleteLifecycleAction") {
		if call.InstanceID == server.ID {
			code := call.ErrorCode
			if code == "" {
				code = "accepted"
			}
			all = append(all, call.Params["LifecycleActionResult"]+" "+code)
		}
	}
	return strings.Join(all, ", ")
}

// completed compares completions when there are as many as are wanted: a server can be seen in the state that a call
// brought about before that call is in the list of those that were answered.
func (s *stage) completed(what string, server *standin.Instance, want string) {
	s.Helper()
	stop := time.After(soon)
	for often := time.NewTicker(5 * time.Millisecond); strings.Count(completions(s.cloud, server), " ") < strings.Count(want, " "); {
		select {
		case <-often.C:
		case <-stop:
			s.expect(what, completions(s.cloud, server), want)
			return
		}
	}
	s.expect(what, completions(s.cloud, server), want)
}

// callsSince are the operations AWS saw after the first n calls, but for heartbeats, sorted.
func callsSince(c *standin.Cloud, n int) string {
	var ops []string
	for _, call := range c.Calls()[n:] {
		if call.Op != "RecordLifecycleActionHeartbeat" {
			ops = append(ops, call.Op)
		}
	}
	slices.Sort(ops)
	return strings.Join(ops, " ")
}

// What a whole first launch of app("1") writes.
const fullTrace = "BeforeInstall 1 live=base\nAfterInstall 1 live=base\nApplicationStart 1 live=1\nValidateService 1 live=1"

// The calls of a launch: one of each, and one Describe more when Auto Scaling is not there yet.
func TestCallsOfALaunch(t *testing.T) {
	t.Run("the wait state is there", func(t *testing.T) {
		s := newStage(t)
		s.publish("shop-1", s.app("1"))
		server, _, code := s.launch()
		s.expect("exit code", itoa(code), "0")
		s.expect("calls", callsOf(s.cloud),
			"CompleteLifecycleAction DescribeAutoScalingInstances DescribeLifecycleHooks GetDeploymentGroup GetObject HeadObject")
		for _, call := range s.cloud.Calls() {
			s.expect(call.Op+" is signed by", call.InstanceID, server.ID)
			s.expect(call.Op+" ends with", call.ErrorCode, "")
		}
	})
	t.Run("the instance is still Pending", func(t *testing.T) {
		s := newStage(t)
		s.publish("shop-1", s.app("1"))
		server := s.cloud.Launch("web", standin.LaunchOptions{HoldPending: true})
		r := s.start(server, "-once")
		_, err := s.cloud.WaitForCalls(s.ctx, "DescribeAutoScalingInstances", 1)
		s.must(err)
		server.Release()
		s.expect("exit code", itoa(r.wait()), "0")
		s.expect("states", history(server), "Pending Pending:Wait Pending:Proceed InService")
		s.expect("calls", callsOf(s.cloud), "CompleteLifecycleAction DescribeAutoScalingInstances DescribeAutoScalingInstances "+
			"DescribeLifecycleHooks GetDeploymentGroup GetObject HeadObject")
	})
	t.Run("nothing is to be done", func(t *testing.T) {
		s := newStage(t)
		s.publish("shop-1", s.app("1"))
		server, _, _ := s.launch()
		before := len(s.cloud.Calls())
		r := s.start(server, "-once")
		s.expect("exit code", itoa(r.wait()), "3")
		s.expect("calls of the second run", callsSince(s.cloud, before), "DescribeAutoScalingInstances")
		s.expect("the scripts saw", s.trace(), fullTrace)
	})
}

// deleteHook is somebody who takes a hook of the group away.
func (s *stage) deleteHook(hook string) {
	s.Helper()
	_, err := s.somebody().DeleteLifecycleHook(s.ctx, &autoscaling.DeleteLifecycleHookInput{AutoScalingGroupName: aws.String("web"), LifecycleHookName: &hook})
	s.must(err)
}

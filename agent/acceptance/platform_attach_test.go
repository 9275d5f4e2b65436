package acceptance

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// `usher attach`: hooks on the groups of an environment.

// tagged is a group that says itself which deployment group it is of.
func tagged(name, group string) standin.Group {
	return standin.Group{Name: name, Tags: map[string]string{"usher:application": "shop", "usher:deployment-group": group}}
}

// hooksOf are a group's hooks as the service lists them.
func (h *shop) hooksOf(group string) string {
	h.Helper()
	got := h.cloud.Hooks(group)
	var all []string
	for _, x := range got {
		all = append(all, strings.Join([]string{x.Name, string(x.Transition), x.DefaultResult, x.HeartbeatTimeout.String(), x.NotificationMetadata}, " "))
	}
	return strings.Join(all, ", ")
}

// The groups come from CodeDeploy and from tags; each difference is shown, then made, and then there is none.
func TestAttach(t *testing.T) {
	h := newShop(t, 0, production())
	h.cloud.CreateGroup(tagged("job", "production"))
	h.cloud.CreateGroup(tagged("other", "staging"))
	h.cloud.CreateGroup(tagged("api", "production"))
	h.cloud.PutHook("web", standin.Hook{Name: "usher-launch", HeartbeatTimeout: time.Hour, DefaultResult: standin.Continue, NotificationMetadata: "keep me"})
	h.cloud.PutHook("api", standin.Hook{Name: "usher-launch", HeartbeatTimeout: 5 * time.Minute})

	const plan = `Attach to production of shop (eu-west-1, account 123456789012)

  as         arn:aws:iam::123456789012:user/operator
  api        hook usher-launch is as it should be
  job        hook usher-launch is not there, and would be
               transition         autoscaling:EC2_INSTANCE_LAUNCHING
               default result     ABANDON
               heartbeat timeout  300 s
  web        hook usher-launch would change
               default result     CONTINUE -> ABANDON
               heartbeat timeout  3600 s -> 300 s

`
	got := h.usher("attach --dry-run production")
	h.ended(got, 0)
	h.expect("a dry run", got.stdout+got.stderr, plan+"A dry run: no hook was changed.\n")
	h.expect("changes of a dry run", itoa(len(h.cloud.CallsOf("PutLifecycleHook"))), "0")

	got = h.usher("attach production")
	h.ended(got, 2, "hooks are changed by a person only, and this is not a terminal: use --yes to go ahead")
	h.expect("changes without a person", itoa(len(h.cloud.CallsOf("PutLifecycleHook"))), "0")

	got = h.usher("attach --yes production")
	h.ended(got, 0)
	h.expect("it printed", got.stdout+got.stderr, plan+"job has hook usher-launch\nweb has hook usher-launch\nInstances that they launch from now on wait for usher.\n")
	h.expect("job", h.hooksOf("job"), "usher-launch autoscaling:EC2_INSTANCE_LAUNCHING ABANDON 5m0s ")
	h.expect("web", h.hooksOf("web"), "usher-launch autoscaling:EC2_INSTANCE_LAUNCHING ABANDON 5m0s keep me")
	h.expect("other", h.hooksOf("other"), "")

	h.ended(h.usher("attach production"), 0, "Nothing to do: usher-launch is as it should be on 3 groups.")
	h.expect("changes in all", itoa(len(h.cloud.CallsOf("PutLifecycleHook"))), "2")
}

// At a terminal a person is asked, and what is typed decides.
func TestAttachAsks(t *testing.T) {
	h := newShop(t, 0, production())
	for _, c := range []struct {
		answer string
		code   int
		said   string
		puts   string
	}{
		{"y\n", 2, "not confirmed: nothing was started", "0"},
		{"production\n", 0, "web has hook usher-launch", "1"},
	} {
		s, tty := terminal(t)
		cmd := h.types("attach -heartbeat 10m production", func(cmd *exec.Cmd) { cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty })
		s.says("heartbeat timeout  60 s -> 600 s")
		s.says("Type production to go ahead: ")
		s.types(c.answer)
		h.expect("exit code", itoa(cmd.ends().code), itoa(c.code))
		s.says(c.said)
		h.expect("changes", itoa(len(h.cloud.CallsOf("PutLifecycleHook"))), c.puts)
	}
}

// Hooks of others are told of, and stay.
func TestAttachBesideOthers(t *testing.T) {
	group := production()
	group.Managed = true
	h := newShop(t, 0, group)
	h.cloud.PutHook("web", standin.Hook{Name: "register-dns"})
	h.cloud.PutHook("web", standin.Hook{Name: "drain", Transition: standin.OnTerminate})
	before := h.hooksOf("web")
	h.ended(h.usher("attach --yes --hook mine production"), 0, "hook mine is not there, and would be",
		"warning    group web has CodeDeploy's own launch hook CodeDeploy-managed-automatic-launch-deployment-hook-production-",
		"warning    group web has another launch hook (usher-launch, register-dns): set lifecycle_hook: mine in the image's agent.yml",
		"Instances that it launches from now on wait for usher.")
	h.expect("hooks", h.hooksOf("web"), before+", mine autoscaling:EC2_INSTANCE_LAUNCHING ABANDON 5m0s ")
	h.ended(h.usher("attach --yes --hook drain production"), 2, "the hook drain of group web is for autoscaling:EC2_INSTANCE_TERMINATING, so it is not usher's: choose another name with --hook")
}

// What cannot be done is refused, or says what to do.
func TestAttachFails(t *testing.T) {
	h := newShop(t, 0, standin.DeploymentGroup{Application: "shop", Name: "production"})
	h.ended(h.usher("attach production"), 2, "production has no Auto Scaling group: give the group, and the instances it launches, the tags usher:application=shop and usher:deployment-group=production")
	h.ended(h.usher("attach --hook CodeDeploy-managed-x production"), 2, "the hook's name is \"CodeDeploy-managed-x\"")
	h.ended(h.usher("attach --heartbeat 10s production"), 2, "the heartbeat timeout is 10s: Auto Scaling allows whole seconds from 30s to 2h0m0s")
	h.ended(h.usher("attach prod"), 2, "there is no environment \"prod\": the environments in usher.yml are production")
	h.ended(h.usher("attach"), 2, "missing ENV: name an environment from usher.yml")
	for _, name := range []string{"a", "b", "c"} {
		h.cloud.CreateGroup(tagged(name, "production"))
	}
	h.cloud.Fail("PutLifecycleHook", 1, standin.Fault{Code: "AccessDenied", Message: "no"})
	h.ended(h.usher("attach --yes production"), 1, "cannot put hook usher-launch on group a: your AWS identity is not authorized: allow autoscaling:PutLifecycleHook in its policy", "b has hook", "c has hook")
	h.ended(h.usher("attach --yes production"), 0, "a has hook usher-launch")
	h.cloud.Fail("DescribeAutoScalingGroups", 1, standin.Fault{Code: "AccessDenied", Message: "no"})
	h.ended(h.usher("attach --yes production"), 1, "allow autoscaling:DescribeAutoScalingGroups in its policy")
}

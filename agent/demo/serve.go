package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"usher/agent/standin"
)

// serve leaves AWS up for a person, with an instance that waits for its launch hook to be completed, until
// the person interrupts it.
func (d *demo) serve(ctx context.Context) error {
	d.section("Your turn", "an instance waits, and no agent runs on it")
	s, err := newServer(filepath.Join(d.scratch, "server-yours"))
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := d.publish("shop-1.0.0.zip", d.example.on(s)); err != nil {
		return err
	}
	waiting := d.cloud.Launch(scalingGroup, standin.LaunchOptions{})
	d.say(fmt.Sprintf("%s is %s in group %s. An AWS CLI in another terminal needs:", waiting.ID, waiting.State(), scalingGroup), "")
	for _, v := range d.cloud.CLIEnviron() {
		d.say("  export " + v)
	}
	d.say("  unset AWS_PROFILE AWS_SESSION_TOKEN",
		"  alias aws=\"aws --endpoint-url $AWS_ENDPOINT_URL\"   # a CLI older than 2.13 does not read the variable")
	d.say("", "Where the instance is, what it should run, and letting it into service by hand:", "")
	d.say("  aws autoscaling describe-auto-scaling-instances --instance-ids "+waiting.ID,
		"  aws deploy get-deployment-group --application-name "+application+" --deployment-group-name "+deploymentGroup,
		"  aws autoscaling complete-lifecycle-action --lifecycle-action-result CONTINUE \\",
		"    --auto-scaling-group-name "+scalingGroup+" --lifecycle-hook-name "+hookName+" --instance-id "+waiting.ID)
	d.say("", "More of what can happen to a group, played by hand (the instance in service first):", "",
		"  aws autoscaling put-lifecycle-hook --auto-scaling-group-name "+scalingGroup+" --lifecycle-hook-name drain \\",
		"    --lifecycle-transition autoscaling:EC2_INSTANCE_TERMINATING --default-result CONTINUE",
		"  aws autoscaling enter-standby --auto-scaling-group-name "+scalingGroup+" --instance-ids "+waiting.ID+" --should-decrement-desired-capacity",
		"  aws autoscaling exit-standby --auto-scaling-group-name "+scalingGroup+" --instance-ids "+waiting.ID,
		"  aws autoscaling start-instance-refresh --auto-scaling-group-name "+scalingGroup)
	d.say("", "Or let usher do it, on a server whose application is "+s.url+" :", "")
	d.say("  env -i PATH=\"$PATH\" "+strings.Join(d.cloud.Environ(waiting), " \\\n      ")+" \\",
		"    "+d.usher+" run --config "+s.path("etc/usher/agent.yml"))
	d.say("", "Ctrl-C ends AWS and removes "+d.scratch+".")

	if waiting.WaitFor(ctx, standin.InService) == nil {
		d.say("", waiting.ID+" is "+string(waiting.State())+".")
	}
	<-ctx.Done()
	return nil
}

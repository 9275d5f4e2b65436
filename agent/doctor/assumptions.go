package doctor

import (
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	cdtypes "github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// What usher takes for granted of AWS's answers beyond their types: by the services' documentation, which may be wrong
// of an account nobody has seen yet.

// Assume adds whether an answer was as usher takes it to be. what is the assumption, saw what was there.
func (r *Report) Assume(held bool, what, saw string) {
	if held {
		r.OK("assumption", "%s: %s", what, saw)
		return
	}
	r.Warn("assumption", "usher may misunderstand this account: report this line (systemd/README.md, \"The first day in a real account\")", "%s does not hold: %s", what, saw)
}

// transitions are the two that Auto Scaling documents.
var transitions = []string{"autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"}

// targets are the values of autoscaling/target-lifecycle-state that EC2's guide lists.
var targets = []string{"Detached", "InService", "Standby", "Terminated", "Warmed:Hibernated", "Warmed:Running", "Warmed:Stopped", "Warmed:Terminated"}

// etagForm is an MD5, or that of a multipart upload with the number of its parts.
var etagForm = regexp.MustCompile(`^[0-9a-f]{32}(-[0-9]+)?$`)

// Forms of what metadata says.
var (
	instanceForm = regexp.MustCompile(`^i-[0-9a-f]{8,17}$`)
	accountForm  = regexp.MustCompile(`^[0-9]{12}$`)
)

// Metadata says whether metadata's answers were as usher takes them to be. target is "" in no group.
func (r *Report) Metadata(instance, account, region, target string) {
	r.Assume(instanceForm.MatchString(instance) && accountForm.MatchString(account) && region != "", "the identity document names the instance, its account and its Region",
		instance+", "+account+", "+region)
	if target != "" {
		r.Assume(slices.Contains(targets, target), "autoscaling/target-lifecycle-state has one of the values that are documented", target)
	}
}

// Assumptions says which of usher's assumptions about AWS's answers those that were seen bear out.
func (w *Watch) Assumptions(r *Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	said := map[string]bool{} // the same answer may have been seen twice
	assume := func(held bool, what, saw string) {
		if !said[what+saw] {
			said[what+saw] = true
			r.Assume(held, what, saw)
		}
	}
	state := func(s string) {
		known := slices.Contains(astypes.LifecycleState("").Values(), astypes.LifecycleState(s))
		assume(known, "an instance's lifecycle state is one that is documented", s)
	}
	for _, answer := range w.answers {
		switch out := answer.(type) {
		case *autoscaling.DescribeAutoScalingInstancesOutput:
			for _, i := range out.AutoScalingInstances {
				state(aws.ToString(i.LifecycleState))
			}
		case *autoscaling.DescribeAutoScalingGroupsOutput:
			for _, g := range out.AutoScalingGroups {
				for _, i := range g.Instances {
					state(string(i.LifecycleState))
				}
			}
		case *autoscaling.DescribeLifecycleHooksOutput:
			for _, h := range out.LifecycleHooks {
				t := aws.ToString(h.LifecycleTransition)
				assume(slices.Contains(transitions, t), "a hook's transition is autoscaling:EC2_INSTANCE_LAUNCHING or _TERMINATING", aws.ToString(h.LifecycleHookName)+" has "+t)
			}
		case *codedeploy.GetDeploymentGroupOutput:
			assumeGroup(out.DeploymentGroupInfo, assume)
		case *s3.HeadObjectOutput:
			etag := aws.ToString(out.ETag)
			bare := strings.Trim(etag, `"`)
			assume(etag == `"`+bare+`"` && etagForm.MatchString(bare), "an object's ETag is 32 hexadecimal digits in quotes, with its parts after it when it was uploaded in parts", etag)
		}
	}
}

// assumeGroup is what usher reads of a deployment group.
func assumeGroup(g *cdtypes.DeploymentGroupInfo, assume func(held bool, what, saw string)) {
	if g == nil {
		assume(false, "GetDeploymentGroup has deploymentGroupInfo", "it has none")
		return
	}
	alarms := "it is there"
	if g.AlarmConfiguration == nil {
		alarms = "it is not"
	}
	assume(g.AlarmConfiguration != nil, "a deployment group has its alarmConfiguration, also without alarms", alarms)
	target := g.TargetRevision
	if target == nil {
		return // nothing was deployed yet
	}
	saw, held := string(target.RevisionType), false
	switch {
	case target.RevisionType == cdtypes.RevisionLocationTypeS3 && target.S3Location != nil:
		at := target.S3Location
		saw += " " + string(at.BundleType)
		held = aws.ToString(at.Bucket) != "" && aws.ToString(at.Key) != "" && slices.Contains(cdtypes.BundleType("").Values(), at.BundleType)
		etag, version := aws.ToString(at.ETag), aws.ToString(at.Version)
		switch {
		case etag == "" && version == "":
			saw += ", with neither eTag nor version"
		case etag == "":
			saw += ", with a version and no eTag"
		default:
			saw += ", with the eTag " + etag
			held = held && etagForm.MatchString(strings.Trim(etag, `"`))
		}
	case target.RevisionType == cdtypes.RevisionLocationTypeGitHub && target.GitHubLocation != nil:
		held = strings.Count(aws.ToString(target.GitHubLocation.Repository), "/") == 1 && aws.ToString(target.GitHubLocation.CommitId) != ""
	}
	assume(held, "the target revision is an object in S3 or a commit on GitHub, and says which", saw)
}

//go:build linux && !developer

package platform

import (
	"context"
	"errors"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"usher/agent/cli"
	"usher/agent/clients"
	"usher/agent/config"
	"usher/agent/doctor"
	"usher/agent/groups"
	"usher/agent/hostcommand"
	"usher/agent/instance"
	"usher/agent/policy"
	"usher/agent/revision"
	"usher/hooks"
)

// What `usher doctor` finds out on a server from what AWS says to it.

// stsTime is how long STS is waited for: a server in a private network may have no way to it, and needs none.
const stsTime = 10 * time.Second

// metadataTime is how long metadata may be silent before doctor takes this for a workstation.
const metadataTime = 6 * time.Second

// examination is of a server as its agent sees it.
type examination struct {
	cfg     config.Config
	me      instance.Identity
	clients clients.Server
	calls   *doctor.Watch // sees the clients' calls
}

// Examine is all that can be found out on a server.
func Examine(ctx context.Context, r *doctor.Report, file string) {
	loadServiceEnvironment(r)
	cfg, err := config.Load(file)
	if err != nil {
		r.Problem("agent.yml", "correct it", "%v", err)
		cfg = config.Default() // the rest is looked at all the same
	}
	examineDisk(ctx, r, cfg)
	a := &examination{cfg: cfg, clients: clients.New(), calls: new(doctor.Watch)}
	patient, cancel := context.WithTimeout(ctx, metadataTime)
	defer cancel()
	if a.me, err = a.clients.Metadata.Discover(patient, nil); err != nil {
		a.calls.Asked("metadata", a.clients.Metadata.Endpoint(), err)
		a.calls.Places(r)
		r.Problem("metadata", "on a workstation name an environment: usher doctor ENV", "%v; nothing in AWS was looked at", err)
		return
	}
	r.OK("metadata", "%s (%s, %s) in %s, account %s, by IMDSv2", a.me.InstanceID, a.me.ImageID, a.me.InstanceType, a.me.AvailabilityZone, a.me.AccountID)
	a.calls.Asked("metadata", a.clients.Metadata.Endpoint(), nil)
	target, err := a.clients.Metadata.TargetLifecycleState(patient)
	if err != nil {
		r.Problem("metadata", "", "%v", err)
	}
	r.Metadata(a.me.InstanceID, a.me.AccountID, a.me.Region, target)
	if a.cfg, err = cfg.ForInstance(a.me); err != nil {
		r.Problem("agent.yml", "", "%v", err)
	}
	o := clients.OptionsFor(a.cfg, a.me, cli.Version())
	o.Observe = a.calls.Observe
	if err := a.clients.Connect(ctx, o); err != nil {
		r.Problem("agent.yml", "", "%v", err)
		return
	}
	a.examineAWS(ctx, r)
	a.calls.Assumptions(r)
	a.calls.Places(r)
}

// examineAWS makes each call that the agent makes, in a way that changes nothing.
func (a *examination) examineAWS(ctx context.Context, r *doctor.Report) {
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	brief, done := context.WithTimeout(ctx, stsTime)
	who, err := sts.NewFromConfig(a.clients.AWS).GetCallerIdentity(brief, &sts.GetCallerIdentityInput{})
	done()
	if a.calls.Unanswered("sts") {
		r.Warn("identity", "usher itself does not need STS: go by the other lines", "STS cannot be reached to ask who this is: %v", err)
		who = new(sts.GetCallerIdentityOutput)
	} else if err != nil {
		r.Problem("identity", "give the launch template an instance profile, whose role has what `usher iam-policy` prints; AWS must be reachable from here", "no credentials that AWS accepts: %v", err)
		return
	}
	if err == nil {
		r.OK("identity", "%s", aws.ToString(who.Arn))
		r.Skew(who.ResultMetadata)
	}
	rev := a.examineRevision(ctx, r)
	size := int64(0)
	if rev.S3 != nil {
		if a.cfg.Bucket != "" && a.cfg.Bucket != rev.S3.Bucket {
			r.Warn("bundle", "correct bucket in agent.yml, or the tag usher:bucket", "the revision is in bucket %s, and a launch opens its connections to %s", rev.S3.Bucket, a.cfg.Bucket)
		}
		size = r.Object(ctx, a.clients.S3, policy.Instance, a.me.Region, doctor.Object{Bucket: rev.S3.Bucket, Key: rev.S3.Key, Version: rev.S3.Version, ETag: rev.S3.ETag})
	} else if rev.GitHub != nil {
		r.Warn("bundle", "", "%s is downloaded from GitHub: not tried", rev)
	}
	a.examineGroup(ctx, r, size)
	a.examineCommands(ctx, r)
	a.examineSpace(r, size)
}

// examineRevision asks for what the deployment group runs.
func (a *examination) examineRevision(ctx context.Context, r *doctor.Report) (rev revision.Revision) {
	if a.cfg.Application == "" || a.cfg.DeploymentGroup == "" {
		return rev // told before
	}
	rev, err := revision.Latest(ctx, a.clients.CodeDeploy, a.cfg.Application, a.cfg.DeploymentGroup)
	switch {
	case errors.Is(err, revision.ErrNone):
		r.Call(policy.Instance, "GetDeploymentGroup", nil)
		r.Warn("revision", "usher deploy ENV", "deployment group %s of %s has no successful deployment yet: launches keep the base", a.cfg.DeploymentGroup, a.cfg.Application)
	case err != nil:
		r.Problem("revision", "", "%v", err)
	default:
		r.Call(policy.Instance, "GetDeploymentGroup", nil)
		r.OK("revision", "%s of deployment group %s of %s", rev, a.cfg.DeploymentGroup, a.cfg.Application)
	}
	return rev
}

// examineGroup looks at the Auto Scaling group, its launch hook and who else deploys to it.
func (a *examination) examineGroup(ctx context.Context, r *doctor.Report, size int64) {
	api := autoscaling.NewFromConfig(a.clients.AWS)
	out, err := api.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{a.me.InstanceID}})
	if !r.Call(policy.Instance, "DescribeAutoScalingInstances", err) {
		return
	}
	if len(out.AutoScalingInstances) == 0 {
		r.Warn("group", "", "this instance is in no Auto Scaling group: there is no launch to complete")
		return
	}
	group := aws.ToString(out.AutoScalingInstances[0].AutoScalingGroupName)
	r.OK("group", "%s, where this instance is %s", group, aws.ToString(out.AutoScalingInstances[0].LifecycleState))
	hooks, err := groups.Hooks(ctx, api, group)
	if r.Call(policy.Instance, "DescribeLifecycleHooks", err) {
		r.Hooks(group, hooks, a.cfg.LifecycleHook, size)
	}
	r.TryActions(ctx, api, group, a.me.InstanceID)
	tags := map[string]string{"aws:autoscaling:groupName": group}
	for key, value := range a.me.Tags {
		tags[key] = value
	}
	r.OneGroup(ctx, codedeploy.NewFromConfig(a.clients.AWS), groups.Deployment{Application: a.cfg.Application, Group: a.cfg.DeploymentGroup}, doctor.Server{Group: group, Tags: tags})
}

// pollTime is how long an answer to a poll is waited for: the service itself waits for commands, but says no at once.
const pollTime = 3 * time.Second

// examineCommands asks for a host command once. One that is there stays there: only an agent acknowledges it.
func (a *examination) examineCommands(ctx context.Context, r *doctor.Report) {
	if a.clients.Commands == nil {
		r.OK("commands", "host_commands is false: CodeDeploy's deployments are not answered")
		return
	}
	at := a.clients.Commands.Endpoint()
	var sent atomic.Bool
	whole := ctx
	ctx, cancel := context.WithTimeout(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(i httptrace.WroteRequestInfo) { sent.Store(i.Err == nil) },
	}), pollTime)
	defer cancel()
	const answer = "CodeDeploy answers polls for host commands"
	cmd, err := a.clients.Commands.Poll(ctx)
	unanswered := err
	if sent.Load() { // whatever became of it: somebody took it
		unanswered = nil
	}
	a.calls.Asked("host commands", at, unanswered)
	switch {
	case err == nil:
		r.OK("commands", answer)
		a.examineCommand(whole, r, cmd)
	case ctx.Err() != nil && sent.Load():
		r.OK("commands", "%s (it waits for one)", answer)
	case doctor.CodeOf(err) == "UnknownOperationException" && !a.cfg.EnableAuthPolicy:
		r.Problem("commands", "set enable_auth_policy: true in agent.yml, if that is the VPC endpoint codedeploy-commands-secure", "%s does not know polls for host commands: %v", at, err)
	case doctor.CodeOf(err) == "UnknownOperationException":
		r.Problem("commands", "set enable_auth_policy: false in agent.yml, if that is not the VPC endpoint codedeploy-commands-secure", "%s does not know polls for host commands: %v", at, err)
	case doctor.CodeOf(err) == "AccessDeniedException" && a.cfg.EnableAuthPolicy:
		r.Problem("commands", "allow codedeploy-commands-secure:PollHostCommand and the other actions of `usher iam-policy -enable-auth-policy` in the policy of the instance's role, and of the VPC endpoint",
			"polls for host commands are refused: %v", err)
	case ctx.Err() != nil:
		r.Problem("commands", "let the server reach "+at+" over HTTPS, or set host_commands: false", "CodeDeploy cannot be reached for host commands: no connection within %s", pollTime)
	default:
		r.Problem("commands", "", "CodeDeploy does not answer polls for host commands: %v", err)
	}
}

// examineCommand looks at a command that waits, if one does: its specification is asked for and verified, which
// changes nothing. It stays where it is, for the agent to take.
func (a *examination) examineCommand(ctx context.Context, r *doctor.Report, cmd *hostcommand.Command) {
	if cmd == nil || cmd.Event == hostcommand.UpdateAgent {
		return
	}
	spec, err := a.clients.Commands.Specification(ctx, *cmd)
	if err != nil {
		r.Assume(false, "a deployment's specification can be verified", err.Error())
		return
	}
	signer := spec.Signer.Subject
	if spec.Signer.Remark != "" {
		signer += ", " + spec.Signer.Remark
	}
	r.Assume(true, "a deployment's specification can be verified", spec.DeploymentID+" is signed by "+signer)
	r.Assume(hooks.IsEvent(cmd.Event), "a host command is a lifecycle event that usher knows", cmd.Event)
}

package policy

import (
	"cmp"
	"slices"
	"strings"
)

// Side is one of those who call AWS.
type Side string

// The sides.
const (
	Instance  Side = "instance"  // the agent, as its instance's role
	Developer Side = "developer" // usher deploy, rollback, servers, lock and unlock
	Platform  Side = "platform"  // usher attach and usher doctor ENV
)

// Sides are all of them.
var Sides = []Side{Instance, Developer, Platform}

// Names are what a policy is about.
type Names struct {
	Groups          []string // Auto Scaling groups
	Application     string   // CodeDeploy application
	DeploymentGroup string
	Bucket          string
	Prefix          string // folder in the bucket; "" is all of it
	Key             string // ARN of the KMS key that revisions are encrypted with; "" for none
	Region          string // "" leaves the word REGION to be replaced: CodeDeploy takes no wildcard there
	Account         string // "" leaves the word ACCOUNT
	AuthPolicy      bool   // host commands are asked of codedeploy-commands-secure, which asks IAM (enable_auth_policy)
}

// Kinds of resource.
const (
	onAll         = "*"
	onGroups      = "Auto Scaling groups"
	onDeployments = "deployment group"
	onApplication = "application"
	onConfigs     = "deployment configurations"
	onObjects     = "objects"
	onLocks       = "locks" // usher lock's objects
	onBucket      = "bucket"
	onKey         = "key"
	onCommands    = "host commands" // where IAM is asked for them
)

// secure is what the actions of the host commands of a VPC endpoint begin with.
const secure = "codedeploy-commands-secure:"

// need is an action on a kind of resource.
type need struct{ action, on string }

// calls is every call of a side, with the statement it belongs to and what it needs there.
var calls = map[Side][]struct {
	sid, op string
	needs   []need
}{
	Instance: {
		{"WhereAmI", "DescribeAutoScalingInstances", []need{{"autoscaling:DescribeAutoScalingInstances", onAll}}},
		{"WhereAmI", "DescribeLifecycleHooks", []need{{"autoscaling:DescribeLifecycleHooks", onAll}}},
		{"Lifecycle", "RecordLifecycleActionHeartbeat", []need{{"autoscaling:RecordLifecycleActionHeartbeat", onGroups}}},
		{"Lifecycle", "CompleteLifecycleAction", []need{{"autoscaling:CompleteLifecycleAction", onGroups}}},
		{"Revision", "GetDeploymentGroup", []need{{"codedeploy:GetDeploymentGroup", onDeployments}}},
		// With a version, S3 asks for the other permission.
		{"Bundle", "HeadObject", []need{{"s3:GetObject", onObjects}, {"s3:GetObjectVersion", onObjects}}},
		{"Bundle", "GetObject", []need{{"s3:GetObject", onObjects}, {"s3:GetObjectVersion", onObjects}, {"kms:Decrypt", onKey}}},
		// Host commands are signed with the role's credentials, and CodeDeploy wants nothing more; the service of its
		// VPC endpoint does.
		{"HostCommands", "PollHostCommand", []need{{secure + "PollHostCommand", onCommands}}},
		{"HostCommands", "GetDeploymentSpecification", []need{{secure + "GetDeploymentSpecification", onCommands}}},
		{"HostCommands", "PutHostCommandAcknowledgement", []need{{secure + "PutHostCommandAcknowledgement", onCommands}}},
		{"HostCommands", "PutHostCommandComplete", []need{{secure + "PutHostCommandComplete", onCommands}}},
		{"", "GetCallerIdentity", nil}, // of usher doctor; nobody can be forbidden it
	},
	Developer: {
		{"Deploy", "GetDeploymentGroup", []need{{"codedeploy:GetDeploymentGroup", onDeployments}}},
		{"Deploy", "ListDeployments", []need{{"codedeploy:ListDeployments", onDeployments}}},
		{"Deploy", "GetDeployment", []need{{"codedeploy:GetDeployment", onDeployments}}},
		{"Deploy", "BatchGetDeployments", []need{{"codedeploy:BatchGetDeployments", onDeployments}}},
		// CodeDeploy looks at the configuration and the revision in the caller's name.
		{"Deploy", "CreateDeployment", []need{{"codedeploy:CreateDeployment", onDeployments}, {"codedeploy:GetDeploymentConfig", onConfigs},
			{"codedeploy:GetApplicationRevision", onApplication}}},
		{"Deploy", "RegisterApplicationRevision", []need{{"codedeploy:RegisterApplicationRevision", onApplication}}},
		{"Deploy", "ListApplicationRevisions", []need{{"codedeploy:ListApplicationRevisions", onApplication}}},
		{"Follow", "ListDeploymentTargets", []need{{"codedeploy:ListDeploymentTargets", onAll}}},
		{"Follow", "BatchGetDeploymentTargets", []need{{"codedeploy:BatchGetDeploymentTargets", onAll}}},
		{"Follow", "StopDeployment", []need{{"codedeploy:StopDeployment", onAll}}},
		{"Servers", "DescribeAutoScalingGroups", []need{{"autoscaling:DescribeAutoScalingGroups", onAll}}},
		{"Servers", "DescribeScalingActivities", []need{{"autoscaling:DescribeScalingActivities", onAll}}},
		// Without ListBucket, S3 answers "forbidden" for an object that is not there.
		{"Bundle", "HeadObject", []need{{"s3:GetObject", onObjects}, {"s3:GetObjectVersion", onObjects}, {"s3:ListBucket", onBucket}}},
		{"Bundle", "GetObject", []need{{"s3:GetObject", onObjects}, {"s3:GetObjectVersion", onObjects}, {"s3:ListBucket", onBucket}, {"kms:Decrypt", onKey}}},
		{"Bundle", "PutObject", []need{{"s3:PutObject", onObjects}, {"kms:GenerateDataKey", onKey}}},
		{"Bundle", "CreateMultipartUpload", []need{{"s3:PutObject", onObjects}, {"kms:GenerateDataKey", onKey}}},
		{"Bundle", "UploadPart", []need{{"s3:PutObject", onObjects}, {"kms:GenerateDataKey", onKey}, {"kms:Decrypt", onKey}}},
		{"Bundle", "CompleteMultipartUpload", []need{{"s3:PutObject", onObjects}, {"kms:Decrypt", onKey}}},
		{"Bundle", "AbortMultipartUpload", []need{{"s3:AbortMultipartUpload", onObjects}}},
		// A bundle that can be deleted cannot be rolled back to.
		{"Unlock", "DeleteObject", []need{{"s3:DeleteObject", onLocks}, {"s3:DeleteObjectVersion", onLocks}}},
		{"", "GetCallerIdentity", nil},
	},
	Platform: {
		{"Groups", "DescribeAutoScalingGroups", []need{{"autoscaling:DescribeAutoScalingGroups", onAll}}},
		{"Groups", "DescribeLifecycleHooks", []need{{"autoscaling:DescribeLifecycleHooks", onAll}}},
		{"Groups", "DescribeScalingActivities", []need{{"autoscaling:DescribeScalingActivities", onAll}}},
		{"Attach", "PutLifecycleHook", []need{{"autoscaling:PutLifecycleHook", onGroups}}},
		{"Deployments", "GetDeploymentGroup", []need{{"codedeploy:GetDeploymentGroup", onDeployments}}},
		// A server in two deployment groups is seen only by who sees all of them.
		{"Others", "ListApplications", []need{{"codedeploy:ListApplications", onAll}}},
		{"Others", "ListDeploymentGroups", []need{{"codedeploy:ListDeploymentGroups", onAll}}},
		{"Others", "BatchGetDeploymentGroups", []need{{"codedeploy:BatchGetDeploymentGroups", onAll}}},
		{"Bundle", "HeadBucket", []need{{"s3:ListBucket", onBucket}}},
		{"Bundle", "HeadObject", []need{{"s3:GetObject", onObjects}, {"s3:GetObjectVersion", onObjects}}},
		{"Bundle", "GetObject", []need{{"s3:GetObject", onObjects}, {"s3:GetObjectVersion", onObjects}, {"kms:Decrypt", onKey}}},
		{"", "GetCallerIdentity", nil},
	},
}

// Actions are the IAM actions that a call of a side may need, in the order of the table, but for those of
// Names.AuthPolicy. known is false for a call that the side does not make.
func Actions(side Side, op string) (actions []string, known bool) {
	for _, c := range calls[side] {
		if c.op != op {
			continue
		}
		for _, n := range c.needs {
			if n.on != onCommands {
				actions = append(actions, n.action)
			}
		}
		return actions, true
	}
	return nil, false
}

// resources are the ARNs of a kind; none when the names have no such thing.
func (n Names) resources(kind string) []string {
	region, account := cmp.Or(n.Region, "REGION"), cmp.Or(n.Account, "ACCOUNT")
	arn := func(service, rest string) string {
		return "arn:" + Partition(n.Region) + ":" + service + ":" + region + ":" + account + ":" + rest
	}
	bucket := "arn:" + Partition(n.Region) + ":s3:::" + n.Bucket
	switch kind {
	case onGroups:
		var all []string
		for _, g := range n.Groups {
			all = append(all, arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/"+g)) // * is an id that nobody chose
		}
		return all
	case onDeployments:
		return []string{arn("codedeploy", "deploymentgroup:"+n.Application+"/"+n.DeploymentGroup)}
	case onApplication:
		return []string{arn("codedeploy", "application:"+n.Application)}
	case onConfigs:
		return []string{arn("codedeploy", "deploymentconfig:*")}
	case onObjects:
		return []string{bucket + "/" + n.folder() + "*"}
	case onLocks:
		return []string{bucket + "/" + n.folder() + n.Application + "/locks/*"}
	case onBucket:
		return []string{bucket}
	case onCommands:
		if !n.AuthPolicy {
			return nil
		}
	case onKey:
		if n.Key == "" {
			return nil
		}
		return []string{n.Key}
	}
	return []string{"*"}
}

// folder is the prefix as keys begin with it.
func (n Names) folder() string {
	if prefix := strings.Trim(n.Prefix, "/"); prefix != "" {
		return prefix + "/"
	}
	return ""
}

// Partition is the part of AWS that a Region is in, as its ARNs begin: "aws", "aws-cn", "aws-us-gov", ….
func Partition(region string) string {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.prefix) {
			return p.name
		}
	}
	return "aws"
}

// domain is AWS's in that part.
func (n Names) domain() string {
	for _, p := range partitions {
		if strings.HasPrefix(n.Region, p.prefix) {
			return p.domain
		}
	}
	return "amazonaws.com"
}

// partitions are the parts of AWS besides "aws", as the SDK has them: what their Regions begin with, and their domain.
var partitions = []struct{ prefix, name, domain string }{
	{"cn-", "aws-cn", "amazonaws.com.cn"},
	{"us-gov-", "aws-us-gov", "amazonaws.com"},
	{"us-iso-", "aws-iso", "c2s.ic.gov"},
	{"us-isob-", "aws-iso-b", "sc2s.sgov.gov"},
	{"eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"},
	{"us-isof-", "aws-iso-f", "csp.hci.ic.gov"},
	{"eusc-", "aws-eusc", "amazonaws.eu"},
}

// Known reports whether a side is one.
func Known(side Side) bool { return slices.Contains(Sides, side) }

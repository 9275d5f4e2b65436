package platform

import (
	"context"
	"flag"
	"fmt"
	"strings"

	"usher/agent/cli"
	"usher/agent/policy"
	"usher/hooks"
)

// IAMPolicyCommand is `usher iam-policy`.
func IAMPolicyCommand() cli.Command {
	var n policy.Names
	var side string
	return cli.Command{Name: "iam-policy", Group: cli.Platform, About: "print a least-privilege IAM policy",
		More: "--side instance: what the agent needs, for the instance's role. developer: usher deploy, rollback, servers, lock and unlock. platform: usher attach and usher doctor ENV.\n" +
			"Needed: --application, --deployment-group, --bucket, and --group but for a developer.",
		Flags: func(f *flag.FlagSet) {
			n.Groups = nil
			f.Var((*cli.Names)(&n.Groups), "group", "Auto Scaling group `ASG` (repeatable)")
			f.StringVar(&n.Application, "application", "", "CodeDeploy application `A`")
			f.StringVar(&n.DeploymentGroup, "deployment-group", "", "its deployment group `G`")
			f.StringVar(&n.Bucket, "bucket", "", "`BUCKET` of the revisions")
			f.StringVar(&n.Prefix, "prefix", "", "`FOLDER` of the bucket that they are in (default: all of it)")
			f.StringVar(&n.Key, "kms", "", "`ARN` of the KMS key that they are encrypted with")
			f.StringVar(&n.Region, "region", "", "`REGION`, such as eu-west-1")
			f.StringVar(&n.Account, "account", "", "`NUMBER` of the AWS account")
			f.BoolVar(&n.AuthPolicy, "enable-auth-policy", false, "with the actions of the host commands of a VPC endpoint (enable_auth_policy in agent.yml)")
			f.StringVar(&side, "side", string(policy.Instance), "whose: `SIDE` is instance, developer or platform")
		},
		Run: func(_ context.Context, in cli.Call) int {
			text, err := iamPolicy(policy.Side(side), n)
			if err != nil {
				return in.Misused(err)
			}
			fmt.Fprint(in.Stdout, text)
			if n.Region == "" || n.Account == "" {
				fmt.Fprintln(in.Stderr, "usher iam-policy: replace REGION and ACCOUNT, or give --region and --account")
			}
			return cli.ExitDone
		}}
}

var (
	bucketForm = cli.LazyRegexp(`^[A-Za-z0-9][A-Za-z0-9.-]{1,61}[A-Za-z0-9]$`) // also a placeholder in capitals
	keyForm    = cli.LazyRegexp(`^arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+$`)
)

// iamPolicy is the policy's text. A name with a wildcard would allow more than it says.
func iamPolicy(side policy.Side, n policy.Names) (string, error) {
	if !policy.Known(side) {
		var all []string
		for _, s := range policy.Sides {
			all = append(all, string(s))
		}
		if near := hooks.Closest(string(side), all); near != "" {
			return "", fmt.Errorf("there is no side %q: did you mean %s?", side, near)
		}
		return "", fmt.Errorf("there is no side %q: it is one of %s", side, strings.Join(all, ", "))
	}
	var missing []string
	for _, f := range []struct{ flag, value string }{{"--application", n.Application}, {"--deployment-group", n.DeploymentGroup}, {"--bucket", n.Bucket}} {
		if f.value == "" {
			missing = append(missing, f.flag)
		}
	}
	if len(n.Groups) == 0 && side != policy.Developer {
		missing = append([]string{"--group"}, missing...)
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("%s missing: a policy is for certain names", strings.Join(missing, ", ")+map[bool]string{true: " is", false: " are"}[len(missing) == 1])
	}
	for _, name := range append(append([]string{}, n.Groups...), n.Application, n.DeploymentGroup, n.Prefix, n.Region, n.Account) {
		if strings.ContainsAny(name, "*?${}") {
			return "", fmt.Errorf("%q has a character that stands for others in a policy (* ? $ { }): write the name itself", name)
		}
	}
	switch {
	case !bucketForm().MatchString(n.Bucket):
		return "", fmt.Errorf("the bucket is %q: it must be a bucket's name alone, such as acme-revisions", n.Bucket)
	case n.Key != "" && !keyForm().MatchString(n.Key):
		return "", fmt.Errorf("the key is %q: it must be its ARN, arn:aws:kms:REGION:ACCOUNT:key/ID; an alias is not enough", n.Key)
	}
	return policy.For(side, n).JSON()
}

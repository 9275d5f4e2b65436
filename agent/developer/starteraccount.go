package developer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"usher/agent/rollout"
)

// What `usher init` finds out about an application in an AWS account, where somebody is signed in to one.

// lookTimeout is how long the account is looked at: without it the file is nearly as good.
const lookTimeout = time.Minute

// found is what an account knows.
type found struct {
	account, application string
	applications         []string // all there are
	environments         []rollout.Environment
}

// lookAtAccount finds the application of that name, or the one that fits a repository of the name near.
func (d *Session) lookAtAccount(ctx context.Context, application, near string) (f found, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, fmt.Errorf("AWS did not answer in %s", lookTimeout))
	defer cancel()
	if err = d.connect(ctx); err != nil {
		return f, err
	}
	if f.account, _, err = d.WhoAmI(ctx); err != nil {
		return f, err
	}
	pages := codedeploy.NewListApplicationsPaginator(d.AWS.CodeDeploy, &codedeploy.ListApplicationsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return f, rollout.Explain("list the CodeDeploy applications", d.Env, err)
		}
		f.applications = append(f.applications, page.Applications...)
	}
	slices.Sort(f.applications)
	if f.application = fitting(f.applications, application, near); f.application == "" {
		return f, nil
	}
	d.Env.Application = f.application
	var names []string
	groups := codedeploy.NewListDeploymentGroupsPaginator(d.AWS.CodeDeploy, &codedeploy.ListDeploymentGroupsInput{ApplicationName: &f.application})
	for groups.HasMorePages() {
		page, err := groups.NextPage(ctx)
		if err != nil {
			return f, rollout.Explain("list the deployment groups of "+f.application, d.Env, err)
		}
		names = append(names, page.DeploymentGroups...)
	}
	slices.Sort(names)
	for some := range slices.Chunk(names, 100) { // CodeDeploy takes no more
		out, err := d.AWS.CodeDeploy.BatchGetDeploymentGroups(ctx, &codedeploy.BatchGetDeploymentGroupsInput{ApplicationName: &f.application, DeploymentGroupNames: some})
		if err != nil {
			return f, rollout.Explain("look at the deployment groups of "+f.application, d.Env, err)
		}
		for _, g := range out.DeploymentGroupsInfo {
			if g.ComputePlatform == "" || g.ComputePlatform == types.ComputePlatformServer {
				f.environments = append(f.environments, d.environmentOf(g, f.environments))
			}
		}
	}
	return f, nil
}

// fitting is the application that was asked for, or the one that is called like the repository, or has that in its name.
func fitting(all []string, asked, near string) string {
	if asked != "" {
		if slices.Contains(all, asked) {
			return asked
		}
		return ""
	}
	for _, like := range []func(string) bool{
		func(name string) bool { return strings.EqualFold(name, near) },
		func(name string) bool { return strings.Contains(strings.ToLower(name), strings.ToLower(near)) },
	} {
		if fit := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return !like(name) }); len(fit) == 1 {
			return fit[0]
		}
	}
	return ""
}

// environmentOf is a deployment group as an environment, with the bucket that its last revision came from.
func (d *Session) environmentOf(g types.DeploymentGroupInfo, others []rollout.Environment) rollout.Environment {
	group := aws.ToString(g.DeploymentGroupName)
	name := strings.Trim(strings.TrimPrefix(strings.ToLower(group), strings.ToLower(d.Env.Application)), "-_. ")
	e := rollout.Environment{Name: rollout.EnvironmentName(name), DeploymentGroup: group, Region: d.Env.Region}
	if e.Name == "" || slices.ContainsFunc(others, func(o rollout.Environment) bool { return o.Name == e.Name }) {
		e.Name = rollout.EnvironmentName(fmt.Sprintf("%s-%d", group, len(others)+1))
	}
	if r := g.TargetRevision; r != nil && r.S3Location != nil {
		e.Bucket = aws.ToString(r.S3Location.Bucket)
		dir, commit, _ := strings.Cut(aws.ToString(r.S3Location.Key), d.Env.Application+"/")
		if strings.HasSuffix(commit, ".tgz") && !strings.Contains(commit, "/") {
			e.Prefix = dir
		}
	}
	return e
}

// environmentsFile is usher.yml. What is not known is empty, so that usher refuses the file at that line.
func environmentsFile(application, branch, account, build, bundle string, all []rollout.Environment) string {
	text := "application: " + yamlText(application) + "\n"
	if bundle != "" {
		text += "\n# What is deployed is built where `usher deploy` runs. arm64 servers: GOARCH=arm64.\nbundle: " + bundle + "\nbuild: |\n  " + strings.ReplaceAll(strings.TrimSpace(build), "\n", "\n  ") + "\n\n"
	}
	text += "environments:\n"
	for _, e := range all {
		line := func(key, value, missing string) {
			switch {
			case value != "":
				text += "    " + key + ": " + yamlText(value) + "\n"
			case missing != "":
				text += "    " + key + ": # " + missing + "\n"
			}
		}
		text += "  " + e.Name + ":\n"
		line("deployment_group", e.DeploymentGroup, "the CodeDeploy deployment group that has the servers")
		line("bucket", e.Bucket, "the S3 bucket for the revisions, in that Region")
		line("prefix", e.Prefix, "")
		line("region", e.Region, "the AWS Region, such as eu-west-1")
		if account != "" {
			text += "    account: \"" + account + "\"\n"
		}
		line("branch", branch, "")
		line("link", e.Link, "")
		if slices.Contains([]string{"production", "prod", "live", "prd"}, e.Name) {
			text += "    confirm: true\n"
		}
	}
	return text
}

// yamlText is a text as YAML has it; JSON's is one too.
func yamlText(s string) string {
	if plainName.MatchString(strings.TrimPrefix(s, "/")) && strings.ContainsAny(s, "abcdefghijklmnopqrstuvwxyz") && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off"}, strings.ToLower(s)) {
		return s
	}
	quoted, _ := json.Marshal(s)
	return string(quoted)
}

package doctor

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"usher/agent/groups"
	"usher/agent/policy"
)

// Deployments is the subset of *codedeploy.Client that OneGroup calls.
type Deployments interface {
	ListApplications(context.Context, *codedeploy.ListApplicationsInput, ...func(*codedeploy.Options)) (*codedeploy.ListApplicationsOutput, error)
	ListDeploymentGroups(context.Context, *codedeploy.ListDeploymentGroupsInput, ...func(*codedeploy.Options)) (*codedeploy.ListDeploymentGroupsOutput, error)
	BatchGetDeploymentGroups(context.Context, *codedeploy.BatchGetDeploymentGroupsInput, ...func(*codedeploy.Options)) (*codedeploy.BatchGetDeploymentGroupsOutput, error)
}

// Server is what deployment groups select a server by.
type Server struct {
	Group string            // its Auto Scaling group
	Tags  map[string]string // those that are known
}

// OneGroup finds out whether another deployment group of the account, of any application, deploys to the server as
// well. An agent answers for one group only, and the other's deployments fail.
func (r *Report) OneGroup(ctx context.Context, api Deployments, mine groups.Deployment, server Server) {
	others, err := reaching(ctx, api, server)
	others = slices.DeleteFunc(others, func(d groups.Deployment) bool { return d == mine })
	switch {
	case len(others) > 0:
		for _, d := range others {
			r.Problem("one group", "take the group out of it: a server has one deployment group", "deployment group %s of application %s deploys to the servers of %s as well", d.Group, d.Application, server.Group)
		}
	case denied(err):
		actions := []string{}
		for _, op := range []string{"ListApplications", "ListDeploymentGroups", "BatchGetDeploymentGroups"} {
			a, _ := policy.Actions(policy.Platform, op)
			actions = append(actions, a...)
		}
		r.Warn("one group", "`usher doctor ENV` of somebody who may ("+strings.Join(actions, ", ")+")", "not seen whether another deployment group deploys to the servers of %s", server.Group)
	case err != nil:
		r.Warn("one group", "", "not seen whether another deployment group deploys to the servers of %s: %v", server.Group, err)
	default:
		r.OK("one group", "no other deployment group deploys to the servers of %s", server.Group)
	}
}

// maxBatch is how many groups BatchGetDeploymentGroups takes.
const maxBatch = 100

// reaching are the deployment groups that deploy to a server, as far as could be seen before err.
func reaching(ctx context.Context, api Deployments, server Server) (found []groups.Deployment, err error) {
	applications := codedeploy.NewListApplicationsPaginator(api, &codedeploy.ListApplicationsInput{})
	for applications.HasMorePages() {
		page, err := applications.NextPage(ctx)
		if err != nil {
			return found, err
		}
		for _, app := range page.Applications {
			pages := codedeploy.NewListDeploymentGroupsPaginator(api, &codedeploy.ListDeploymentGroupsInput{ApplicationName: &app})
			for pages.HasMorePages() {
				names, err := pages.NextPage(ctx)
				if err != nil {
					return found, err
				}
				for some := range slices.Chunk(names.DeploymentGroups, maxBatch) {
					out, err := api.BatchGetDeploymentGroups(ctx, &codedeploy.BatchGetDeploymentGroupsInput{ApplicationName: &app, DeploymentGroupNames: some})
					if err != nil {
						return found, err
					}
					for _, g := range out.DeploymentGroupsInfo {
						if selects(g, server) {
							found = append(found, groups.Deployment{Application: app, Group: aws.ToString(g.DeploymentGroupName)})
						}
					}
				}
			}
		}
	}
	return found, nil
}

// selects tells whether a deployment group deploys to a server: by its Auto Scaling group, by one of its tag filters, or
// by one filter of each list of its tag set.
func selects(g types.DeploymentGroupInfo, server Server) bool {
	for _, a := range g.AutoScalingGroups {
		if aws.ToString(a.Name) == server.Group {
			return true
		}
	}
	match := func(f types.EC2TagFilter) bool {
		value, ok := server.Tags[aws.ToString(f.Key)]
		switch f.Type {
		case types.EC2TagFilterTypeKeyOnly:
			return ok
		case types.EC2TagFilterTypeValueOnly:
			for _, v := range server.Tags {
				if v == aws.ToString(f.Value) {
					return true
				}
			}
			return false
		}
		return ok && value == aws.ToString(f.Value)
	}
	if slices.ContainsFunc(g.Ec2TagFilters, match) {
		return true
	}
	if g.Ec2TagSet == nil || len(g.Ec2TagSet.Ec2TagSetList) == 0 {
		return false
	}
	for _, list := range g.Ec2TagSet.Ec2TagSetList {
		if !slices.ContainsFunc(list, match) {
			return false
		}
	}
	return true
}

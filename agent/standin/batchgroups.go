package standin

import "fmt"

// maxGroups is how many deployment groups BatchGetDeploymentGroups takes at a time.
const maxGroups = 100

// batchGetDeploymentGroups leaves out groups that are not there, and says so.
func batchGetDeploymentGroups(c *Cloud, r request) (any, *apiError) {
	var in struct {
		ApplicationName      string
		DeploymentGroupNames []string
	}
	if bad := decode(r, &in); bad != nil {
		return nil, bad
	}
	switch {
	case len(in.DeploymentGroupNames) == 0:
		return nil, &apiError{400, "DeploymentGroupNameRequiredException", "Deployment Group name is missing"}
	case len(in.DeploymentGroupNames) > maxGroups:
		return nil, &apiError{400, "BatchLimitExceededException", fmt.Sprintf("At most %d deployment groups at a time.", maxGroups)}
	}
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	a, bad := c.deploys.app(in.ApplicationName)
	if bad != nil {
		return nil, bad
	}
	infos, missing := []any{}, ""
	for _, name := range in.DeploymentGroupNames {
		if g, ok := a.groups[name]; ok {
			infos = append(infos, g.info(c.deploys.shown(g)))
		} else {
			missing = "No Deployment Group found for name: " + name
		}
	}
	out := map[string]any{"deploymentGroupsInfo": infos}
	if missing != "" {
		out["errorMessage"] = missing
	}
	return out, nil
}

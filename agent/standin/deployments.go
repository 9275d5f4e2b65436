package standin

import (
	"encoding/json"
	"reflect"
	"slices"
	"time"
)

func createApplication(c *Cloud, r request) (any, *apiError) {
	app, bad := name(r, "applicationName", "Application")
	if bad != nil {
		return nil, bad
	}
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	if _, ok := c.deploys.applications[app]; ok {
		return nil, &apiError{400, "ApplicationAlreadyExistsException", "Application already exists: " + app}
	}
	c.deploys.group(app, "")
	return map[string]string{"applicationId": c.deploys.applications[app].id}, nil
}

func createDeploymentGroup(c *Cloud, r request) (any, *apiError) {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	app, _, _, bad := c.deploys.find(r, false)
	if bad != nil {
		return nil, bad
	}
	group, bad := name(r, "deploymentGroupName", "DeploymentGroup")
	if bad != nil {
		return nil, bad
	}
	if r.params["serviceRoleArn"] == "" {
		return nil, &apiError{400, "RoleRequiredException", "The role is required."}
	}
	if _, ok := c.deploys.applications[app].groups[group]; ok {
		return nil, &apiError{400, "DeploymentGroupAlreadyExistsException", "Deployment group already exists: " + group}
	}
	g := c.deploys.group(app, group)
	g.role = r.params["serviceRoleArn"]
	return map[string]string{"deploymentGroupId": g.id}, nil
}

func getApplication(c *Cloud, r request) (any, *apiError) {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	app, _, _, bad := c.deploys.find(r, false)
	if bad != nil {
		return nil, bad
	}
	a := c.deploys.applications[app]
	return map[string]any{"application": map[string]any{
		"applicationId": a.id, "applicationName": app, "createTime": epoch(a.created),
		"computePlatform": "Server", "linkedToGitHub": false,
	}}, nil
}

func getDeploymentGroup(c *Cloud, r request) (any, *apiError) {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	app, group, g, bad := c.deploys.find(r, true)
	if bad != nil {
		return nil, bad
	}
	info := map[string]any{
		"applicationName": app, "deploymentGroupName": group, "deploymentGroupId": g.id,
		"deploymentConfigName": "CodeDeployDefault.OneAtATime", "computePlatform": "Server",
		"serviceRoleArn": g.role, "autoScalingGroups": []any{}, "ec2TagFilters": []any{},
		"onPremisesInstanceTagFilters": []any{}, "triggerConfigurations": []any{},
		"deploymentStyle":           map[string]string{"deploymentType": "IN_PLACE", "deploymentOption": "WITHOUT_TRAFFIC_CONTROL"},
		"outdatedInstancesStrategy": "UPDATE", "terminationHookEnabled": false,
	}
	if g.revision != nil {
		info["targetRevision"] = g.revision
	}
	if g.last != nil {
		info["lastSuccessfulDeployment"] = g.last.brief()
	}
	if g.tried != nil {
		info["lastAttemptedDeployment"] = g.tried.brief()
	}
	return map[string]any{"deploymentGroupInfo": info}, nil
}

func (d *deployment) brief() map[string]any {
	return map[string]any{
		"deploymentId": d.id, "status": d.status, "createTime": epoch(d.created), "endTime": epoch(d.ended),
	}
}

func getDeployment(c *Cloud, r request) (any, *apiError) {
	id := r.params["deploymentId"]
	if id == "" {
		return nil, &apiError{400, "DeploymentIdRequiredException", "Deployment ID is required."}
	}
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	at := slices.IndexFunc(c.deploys.all, func(d *deployment) bool { return d.id == id })
	if at < 0 {
		return nil, &apiError{400, "DeploymentDoesNotExistException", "The deployment " + id + " could not be found"}
	}
	d := c.deploys.all[at]
	return map[string]any{"deploymentInfo": map[string]any{
		"applicationName": d.application, "deploymentGroupName": d.group, "deploymentId": d.id,
		"deploymentConfigName": "CodeDeployDefault.OneAtATime", "computePlatform": "Server", "creator": "user",
		"revision": d.revision, "status": d.status, "createTime": epoch(d.created),
		"startTime": epoch(d.created), "completeTime": epoch(d.ended),
		"deploymentOverview": map[string]int{"Pending": 0, "InProgress": 0, "Succeeded": 0, "Failed": 0, "Skipped": 0, "Ready": 0},
	}}, nil
}

func getApplicationRevision(c *Cloud, r request) (any, *apiError) {
	var in struct{ Revision json.RawMessage }
	if err := json.Unmarshal(r.body, &in); err != nil || in.Revision == nil {
		return nil, &apiError{400, "RevisionRequiredException", "Revision is required."}
	}
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	app, _, _, bad := c.deploys.find(r, false)
	if bad != nil {
		return nil, bad
	}
	var groups []string
	var first, last time.Time
	for _, d := range c.deploys.all {
		if d.application != app || !sameJSON(d.revision, in.Revision) {
			continue
		}
		if first.IsZero() {
			first = d.created
		}
		last = d.ended
		if !slices.Contains(groups, d.group) {
			groups = append(groups, d.group)
		}
	}
	if first.IsZero() {
		return nil, &apiError{400, "RevisionDoesNotExistException", "No revision found for the application: " + app}
	}
	return map[string]any{
		"applicationName": app, "revision": in.Revision,
		"revisionInfo": map[string]any{
			"deploymentGroups": groups, "firstUsedTime": epoch(first), "lastUsedTime": epoch(last), "registerTime": epoch(first),
		},
	}, nil
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func listApplications(c *Cloud, _ request) (any, *apiError) {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	return map[string]any{"applications": sortedKeys(c.deploys.applications)}, nil
}

func listDeploymentGroups(c *Cloud, r request) (any, *apiError) {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	app, _, _, bad := c.deploys.find(r, false)
	if bad != nil {
		return nil, bad
	}
	return map[string]any{"applicationName": app, "deploymentGroups": sortedKeys(c.deploys.applications[app].groups)}, nil
}

// listDeployments answers with the latest first, of one group or of all.
func listDeployments(c *Cloud, r request) (any, *apiError) {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	app, group := r.params["applicationName"], r.params["deploymentGroupName"]
	if app != "" {
		if _, _, _, bad := c.deploys.find(r, group != ""); bad != nil {
			return nil, bad
		}
	}
	var in struct{ IncludeOnlyStatuses []string }
	if err := json.Unmarshal(r.body, &in); err != nil {
		return nil, &apiError{400, "SerializationException", ""}
	}
	ids := []string{}
	for _, d := range slices.Backward(c.deploys.all) {
		if (app == "" || d.application == app) && (group == "" || d.group == group) &&
			(len(in.IncludeOnlyStatuses) == 0 || slices.Contains(in.IncludeOnlyStatuses, d.status)) {
			ids = append(ids, d.id)
		}
	}
	return map[string]any{"deployments": ids}, nil
}

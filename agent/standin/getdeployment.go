package standin

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// maxBatch is how many ids a BatchGet call takes.
const maxBatch = 25

// brief is what a deployment group says of a deployment.
func (d *deployment) brief() map[string]any {
	b := map[string]any{"deploymentId": d.id, "status": d.status, "createTime": epoch(d.created)}
	if !d.ended.IsZero() {
		b["endTime"] = epoch(d.ended)
	}
	return b
}

// info is a DeploymentInfo.
func (d *deployment) info() map[string]any {
	overview := map[string]int{"Pending": 0, "InProgress": 0, "Succeeded": 0, "Failed": 0, "Skipped": 0, "Ready": 0}
	for _, t := range d.targets {
		overview[t.status]++
	}
	info := map[string]any{
		"applicationName": d.group.Application, "deploymentGroupName": d.group.Name, "deploymentId": d.id,
		"deploymentConfigName": d.order.config, "computePlatform": "Server", "creator": d.creator,
		"revision": d.revision, "status": d.status, "createTime": epoch(d.created),
		"deploymentOverview": overview, "deploymentStyle": d.settings.style(),
		"ignoreApplicationStopFailures": d.order.ignoreStopFailures,
		"updateOutdatedInstancesOnly":   d.order.outdatedOnly,
		"autoRollbackConfiguration":     d.order.rollback.shown(),
		"fileExistsBehavior":            cmp.Or(d.order.fileExists, "DISALLOW"),
		"deploymentStatusMessages":      []string{},

		"instanceTerminationWaitTimeStarted": false,
	}
	if d.previous != nil {
		info["previousRevision"] = d.previous
	}
	if d.order.description != "" {
		info["description"] = d.order.description
	}
	if !d.started.IsZero() {
		info["startTime"] = epoch(d.started)
	}
	if !d.ended.IsZero() {
		info["completeTime"] = epoch(d.ended)
	}
	if d.failure != nil {
		info["errorInformation"] = d.failure
	}
	if d.rollback != nil {
		info["rollbackInfo"] = d.rollback
	}
	return info
}

func getDeployment(c *Cloud, r request) (any, *apiError) {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	dep, bad := c.deploys.named(r.params["deploymentId"])
	if bad != nil {
		return nil, bad
	}
	return map[string]any{"deploymentInfo": dep.info()}, nil
}

// batchGetDeployments leaves out ids that there are not.
func batchGetDeployments(c *Cloud, r request) (any, *apiError) {
	var in struct{ DeploymentIDs []string }
	if bad := decode(r, &in); bad != nil {
		return nil, bad
	}
	switch {
	case len(in.DeploymentIDs) == 0:
		return nil, &apiError{400, "DeploymentIdRequiredException", "Deployment ID is required."}
	case len(in.DeploymentIDs) > maxBatch:
		return nil, &apiError{400, "BatchLimitExceededException", fmt.Sprintf("At most %d deployments at a time.", maxBatch)}
	}
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	infos := []any{}
	for _, id := range in.DeploymentIDs {
		if dep := c.deploys.deployment(id); dep != nil {
			infos = append(infos, dep.info())
		}
	}
	return map[string]any{"deploymentsInfo": infos}, nil
}

// listDeployments answers with the latest first, of one group or of all.
func listDeployments(c *Cloud, r request) (any, *apiError) {
	var in struct {
		ApplicationName, DeploymentGroupName, NextToken string

		IncludeOnlyStatuses []string
		CreateTimeRange     struct{ Start, End *float64 }
	}
	if bad := decode(r, &in); bad != nil {
		return nil, bad
	}
	for _, s := range in.IncludeOnlyStatuses {
		if !slices.Contains([]string{statusCreated, "Queued", statusInProgress, "Baking", statusSucceeded, statusFailed, statusStopped, "Ready"}, s) {
			return nil, &apiError{400, "InvalidDeploymentStatusException", "No such deployment status: " + s}
		}
	}
	from, to := in.CreateTimeRange.Start, in.CreateTimeRange.End
	if from != nil && to != nil && *from > *to {
		return nil, &apiError{400, "InvalidTimeRangeException", "The time range ends before it starts."}
	}
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	var only *deploymentGroup
	if in.ApplicationName != "" || in.DeploymentGroupName != "" { // both or neither
		var bad *apiError
		if only, bad = c.deploys.find(in.ApplicationName, in.DeploymentGroupName); bad != nil {
			return nil, bad
		}
	}
	ids := []string{}
	for _, dep := range slices.Backward(c.deploys.all) {
		if (only == nil || dep.group == only) && within(dep.created, from, to) &&
			(len(in.IncludeOnlyStatuses) == 0 || slices.Contains(in.IncludeOnlyStatuses, dep.status)) {
			ids = append(ids, dep.id)
		}
	}
	return listed("deployments", ids, in.NextToken)
}

// within tells whether a time is in a range as JSON 1.1 writes it; nil is no bound.
func within(at time.Time, from, to *float64) bool {
	return (from == nil || epoch(at) >= *from) && (to == nil || epoch(at) <= *to)
}

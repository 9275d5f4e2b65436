package standin

import (
	"fmt"
	"slices"
)

// lifecycleErrors are the API's names for an agent's error codes, in their order. What an agent calls
// 6 and 7 has none of its own.
var lifecycleErrors = []string{"Success", "ScriptMissing", "ScriptNotExecutable", "ScriptTimedOut", "ScriptFailed", "UnknownError"}

// describe is a LifecycleEvent.
func (e *event) describe() map[string]any {
	out := map[string]any{"lifecycleEventName": e.name, "status": e.status}
	if !e.began.IsZero() {
		out["startTime"] = epoch(e.began)
	}
	if !e.ended.IsZero() {
		out["endTime"] = epoch(e.ended)
	}
	if e.diagnosis != nil {
		code := "UnknownError"
		if n := e.diagnosis.Code; n >= 0 && n < len(lifecycleErrors) {
			code = lifecycleErrors[n]
		}
		out["diagnostics"] = map[string]string{
			"errorCode": code, "scriptName": e.diagnosis.Script, "message": e.diagnosis.Message, "logTail": e.diagnosis.Log,
		}
	}
	return out
}

// describe is a DeploymentTarget.
func (t *target) describe(deploymentID string) map[string]any {
	events := []any{}
	for _, e := range t.events {
		events = append(events, e.describe())
	}
	return map[string]any{
		"deploymentTargetType": "InstanceTarget",
		"instanceTarget": map[string]any{
			"deploymentId": deploymentID, "targetId": t.inst.ID, "targetArn": instanceARN(t.inst.ID),
			"status": t.status, "lastUpdatedAt": epoch(t.updated), "lifecycleEvents": events,
		},
	}
}

// target finds one by its id; nil when the deployment does not have it.
func (d *deployment) target(id string) *target {
	at := slices.IndexFunc(d.targets, func(t *target) bool { return t.inst.ID == id })
	if at < 0 {
		return nil
	}
	return d.targets[at]
}

// startedNamed finds a deployment that has its targets already; mu is held.
func (d *deployments) startedNamed(id string) (*deployment, *apiError) {
	dep, bad := d.named(id)
	if bad == nil && dep.status == statusCreated {
		bad = &apiError{400, "DeploymentNotStartedException", "The deployment " + id + " has not started"}
	}
	return dep, bad
}

func listDeploymentTargets(c *Cloud, r request) (any, *apiError) {
	var in struct {
		DeploymentID, NextToken string
		TargetFilters           map[string][]string
	}
	if bad := decode(r, &in); bad != nil {
		return nil, bad
	}
	for name, values := range in.TargetFilters {
		switch name {
		case "TargetStatus":
			for _, v := range values {
				if !slices.Contains([]string{statusPending, statusInProgress, statusSucceeded, statusFailed, statusSkipped, statusUnknown, "Ready"}, v) {
					return nil, &apiError{400, "InvalidInstanceStatusException", "No such target status: " + v}
				}
			}
		case "ServerInstanceLabel":
			return nil, &apiError{400, "InvalidDeploymentInstanceTypeException", "Instances of an in-place deployment have no label."}
		default:
			return nil, &apiError{400, "InvalidTargetFilterNameException", "No such target filter: " + name}
		}
	}
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	dep, bad := c.deploys.startedNamed(in.DeploymentID)
	if bad != nil {
		return nil, bad
	}
	only := in.TargetFilters["TargetStatus"]
	ids := []string{}
	for _, t := range dep.targets {
		if len(only) == 0 || slices.Contains(only, t.status) {
			ids = append(ids, t.inst.ID)
		}
	}
	return listed("targetIds", ids, in.NextToken)
}

func getDeploymentTarget(c *Cloud, r request) (any, *apiError) {
	found, bad := targetsNamed(c, r.params["deploymentId"], []string{r.params["targetId"]})
	if bad != nil {
		return nil, bad
	}
	return map[string]any{"deploymentTarget": found[0]}, nil
}

func batchGetDeploymentTargets(c *Cloud, r request) (any, *apiError) {
	var in struct {
		DeploymentID string
		TargetIDs    []string
	}
	if bad := decode(r, &in); bad != nil {
		return nil, bad
	}
	found, bad := targetsNamed(c, in.DeploymentID, in.TargetIDs)
	if bad != nil {
		return nil, bad
	}
	return map[string]any{"deploymentTargets": found}, nil
}

// targetsNamed describes the targets with the ids in a request.
func targetsNamed(c *Cloud, deploymentID string, ids []string) ([]any, *apiError) {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	dep, bad := c.deploys.startedNamed(deploymentID)
	switch {
	case bad != nil:
		return nil, bad
	case len(ids) == 0 || slices.Contains(ids, ""):
		return nil, &apiError{400, "DeploymentTargetIdRequiredException", "A deployment target ID is required."}
	case len(ids) > maxBatch:
		return nil, &apiError{400, "DeploymentTargetListSizeExceededException", fmt.Sprintf("At most %d targets at a time.", maxBatch)}
	}
	var found []any
	for _, id := range ids {
		t := dep.target(id)
		if t == nil {
			return nil, &apiError{400, "DeploymentTargetDoesNotExistException", "The deployment " + dep.id + " has no target " + id}
		}
		found = append(found, t.describe(dep.id))
	}
	return found, nil
}

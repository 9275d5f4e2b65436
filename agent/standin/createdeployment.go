package standin

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
)

// validDeploymentID is the form of a deployment's id.
var validDeploymentID = regexp.MustCompile(`^d-[A-Z0-9]+$`)

// The events after which a deployment may be rolled back by itself. There are no alarms here, so the second never happens.
const (
	onFailure = "DEPLOYMENT_FAILURE"
	onAlarm   = "DEPLOYMENT_STOP_ON_ALARM"
	onStop    = "DEPLOYMENT_STOP_ON_REQUEST"
)

// autoRollback is an autoRollbackConfiguration.
type autoRollback struct {
	Enabled bool     `json:"enabled"`
	Events  []string `json:"events"`
}

// check answers as the service does when a configuration makes no sense; nil is none at all, which is fine.
func (a *autoRollback) check() *apiError {
	if a == nil {
		return nil
	}
	if a.Enabled && len(a.Events) == 0 {
		return &apiError{400, "InvalidAutoRollbackConfigException", "Automatic rollback needs at least one event."}
	}
	for _, e := range a.Events {
		if !slices.Contains([]string{onFailure, onAlarm, onStop}, e) {
			return &apiError{400, "InvalidAutoRollbackConfigException", "No such event: " + e}
		}
	}
	return nil
}

// after tells whether an event is followed by a rollback.
func (a *autoRollback) after(event string) bool {
	return a != nil && a.Enabled && slices.Contains(a.Events, event)
}

// shown is the configuration as the API shows it: its list of events is never absent.
func (a autoRollback) shown() autoRollback {
	a.Events = append([]string{}, a.Events...)
	return a
}

func createDeployment(c *Cloud, r request) (any, *apiError) {
	var in struct {
		ApplicationName, DeploymentGroupName, DeploymentConfigName, Description, FileExistsBehavior string

		IgnoreApplicationStopFailures, UpdateOutdatedInstancesOnly bool

		Revision                  json.RawMessage
		AutoRollbackConfiguration *autoRollback
	}
	if bad := decode(r, &in); bad != nil {
		return nil, bad
	}
	d := c.deploys
	d.mu.Lock()
	defer d.mu.Unlock()
	g, bad := d.find(in.ApplicationName, in.DeploymentGroupName)
	if bad != nil {
		return nil, bad
	}
	o := order{
		config: in.DeploymentConfigName, description: in.Description, fileExists: in.FileExistsBehavior,
		ignoreStopFailures: in.IgnoreApplicationStopFailures, outdatedOnly: in.UpdateOutdatedInstancesOnly,
		rollback: g.rollback(),
	}
	if in.AutoRollbackConfiguration != nil {
		o.rollback = *in.AutoRollbackConfiguration
	}
	id, bad := d.create(g, in.Revision, o)
	if bad != nil {
		return nil, bad
	}
	return map[string]string{"deploymentId": id}, nil
}

// create starts a deployment, or says as the service does why not; mu is held.
func (d *deployments) create(g *deploymentGroup, location json.RawMessage, o order) (id string, bad *apiError) {
	if bad := checkRevision(location); bad != nil {
		return "", bad
	}
	if bad := checkDescription(o.description); bad != nil {
		return "", bad
	}
	if bad := o.rollback.check(); bad != nil {
		return "", bad
	}
	if _, ok := deploymentConfigs[o.config]; o.config != "" && !ok {
		return "", noSuchConfig(o.config)
	}
	if !slices.Contains([]string{"", "DISALLOW", "OVERWRITE", "RETAIN"}, o.fileExists) {
		return "", &apiError{400, "InvalidFileExistsBehaviorException", "The file exists behavior must be DISALLOW, OVERWRITE or RETAIN, not: " + o.fileExists}
	}
	if active := d.active(g); active != nil {
		return "", &apiError{400, "DeploymentLimitExceededException",
			fmt.Sprintf("The Deployment Group '%s' already has an active Deployment '%s'", g.Name, active.id)}
	}
	dep := d.add(g, location, createdByUser, o)
	d.advance()
	return dep.id, nil
}

// active is the deployment of a group that has not ended; launches do not count. mu is held.
func (d *deployments) active(g *deploymentGroup) *deployment {
	for _, dep := range d.all {
		if dep.group == g && !dep.hasEnded() && dep.creator != createdByAutoScaling {
			return dep
		}
	}
	return nil
}

// named finds a deployment by the id in a request; mu is held.
func (d *deployments) named(id string) (*deployment, *apiError) {
	switch {
	case id == "":
		return nil, &apiError{400, "DeploymentIdRequiredException", "Deployment ID is required."}
	case !validDeploymentID.MatchString(id):
		return nil, &apiError{400, "InvalidDeploymentIdException", "The deployment ID is not valid: " + id}
	}
	dep := d.deployment(id)
	if dep == nil {
		return nil, &apiError{400, "DeploymentDoesNotExistException", "The deployment " + id + " could not be found"}
	}
	return dep, nil
}

// stopDeployment lets the events end that are under way, and sends no other.
func stopDeployment(c *Cloud, r request) (any, *apiError) {
	var in struct {
		DeploymentID        string
		AutoRollbackEnabled *bool
	}
	if bad := decode(r, &in); bad != nil {
		return nil, bad
	}
	d := c.deploys
	d.mu.Lock()
	defer d.mu.Unlock()
	dep, bad := d.named(in.DeploymentID)
	if bad != nil {
		return nil, bad
	}
	if dep.hasEnded() {
		return nil, &apiError{400, "DeploymentAlreadyCompletedException", "The deployment " + dep.id + " is already completed: " + dep.status}
	}
	dep.stopping = true
	dep.order.rollbackOnStop = dep.order.rollback.after(onStop)
	if in.AutoRollbackEnabled != nil {
		dep.order.rollbackOnStop = *in.AutoRollbackEnabled
	}
	d.advance()
	if !dep.hasEnded() {
		return map[string]string{"status": "Pending", "statusMessage": "Stopping the deployment: lifecycle events that have begun are let end."}, nil
	}
	return map[string]string{"status": "Succeeded", "statusMessage": "The deployment was stopped."}, nil
}

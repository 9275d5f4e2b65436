package standin

import (
	"encoding/json"
	"time"
)

// How long CodeDeploy waits for an agent.
const (
	defaultPickUp       = 5 * time.Minute
	defaultEventTimeout = time.Hour
)

// DeploymentGroup is a deployment group and which instances it deploys to.
type DeploymentGroup struct {
	Application, Name string

	// AutoScalingGroups are names. Their instances that are in service when a deployment begins are its
	// targets, in the order in which they were launched.
	AutoScalingGroups []string

	// EC2Tags are tags that instances have, all of them, to be targets too: in any Auto Scaling group or none,
	// and also while they launch. That is how AWS selects by tag: whoever runs.
	EC2Tags map[string]string

	Config       string   // OneAtATime (the default), HalfAtATime or AllAtOnce, with "CodeDeployDefault." in front
	Alarms       []string // CloudWatch alarms, only shown: none ever goes off here
	AutoRollback bool     // a deployment that fails is followed by one of the last successful revision
	StopRollback bool     // so is one that is stopped
	LoadBalancer bool     // the traffic events are sent too; Block- and AllowTraffic themselves are the service's

	// Managed is CodeDeploy's own integration with Auto Scaling, which AWS puts in place with the
	// association: a launch hook, whose wait state is answered by a deployment to that instance. Without it the group
	// is one whose hook was taken away, because its instances deploy by themselves when they launch.
	Managed bool

	StartAfter   time.Duration // a deployment stays Created for this long; default: it starts at once
	PickUp       time.Duration // an instance must ask for a command, and acknowledge it, within this; default 5 min
	EventTimeout time.Duration // an event must end within this of being acknowledged; default 1 h
}

// application is what CodeDeploy knows of one.
type application struct {
	id, name  string
	created   time.Time
	groups    map[string]*deploymentGroup
	revisions []*registered
}

type deploymentGroup struct {
	DeploymentGroup
	id, role  string
	hook      string                     // of the managed integration
	outcome                              // of its deployments
	replaced  []oldOutcome               // what describing calls may still see
	installed map[string]json.RawMessage // what the engine brought to each instance
	launches  map[string]*deployment     // of the managed integration, by the token of the lifecycle action
}

// complete fills in the service's defaults.
func (g DeploymentGroup) complete() DeploymentGroup {
	if g.Config == "" {
		g.Config = oneAtATime
	}
	if g.PickUp == 0 {
		g.PickUp = defaultPickUp
	}
	if g.EventTimeout == 0 {
		g.EventTimeout = defaultEventTimeout
	}
	return g
}

// PutDeploymentGroup makes a deployment group, and its application when there is none, or gives one new
// settings; a deployment under way keeps those it began with. The Auto Scaling groups must be there.
func (c *Cloud) PutDeploymentGroup(g DeploymentGroup) {
	g = g.complete()
	if _, ok := deploymentConfigs[g.Config]; !ok {
		panic("standin: no deployment configuration " + g.Config)
	}
	c.fleet.mustHaveGroups(g.AutoScalingGroups)
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	c.deploys.put(g)
}

// put gives a group its settings, and its Auto Scaling groups the hook or not; mu is held.
func (d *deployments) put(settings DeploymentGroup) {
	g := d.group(settings.Application, settings.Name)
	had := g.DeploymentGroup
	g.DeploymentGroup = settings
	if had.Managed {
		d.fleet.dropHook(had.AutoScalingGroups, g.hook)
	}
	if g.Managed {
		d.fleet.addHook(g.AutoScalingGroups, g.hook)
	}
	d.advance()
}

// app finds an application by the name in a request; mu is held.
func (d *deployments) app(name string) (*application, *apiError) {
	if bad := checkName(name, "Application"); bad != nil {
		return nil, bad
	}
	a, ok := d.applications[name]
	if !ok {
		return nil, &apiError{400, "ApplicationDoesNotExistException", "No application found for name: " + name}
	}
	return a, nil
}

// find looks a deployment group up by the names in a request; mu is held.
func (d *deployments) find(app, group string) (*deploymentGroup, *apiError) {
	if bad := checkName(app, "Application"); bad != nil {
		return nil, bad
	}
	if bad := checkName(group, "DeploymentGroup"); bad != nil {
		return nil, bad
	}
	a, bad := d.app(app)
	if bad != nil {
		return nil, bad
	}
	g, ok := a.groups[group]
	if !ok {
		return nil, &apiError{400, "DeploymentGroupDoesNotExistException", "No Deployment Group found for name: " + group}
	}
	return g, nil
}

// group finds or makes an application's group; mu is held.
func (d *deployments) group(app, name string) *deploymentGroup {
	a, ok := d.applications[app]
	if !ok {
		a = &application{id: newUUID(), name: app, created: time.Now(), groups: map[string]*deploymentGroup{}}
		d.applications[app] = a
	}
	g, ok := a.groups[name]
	if !ok && name != "" {
		g = &deploymentGroup{
			DeploymentGroup: DeploymentGroup{Application: app, Name: name}.complete(),
			id:              newUUID(), role: "arn:aws:iam::" + Account + ":role/codedeploy",
			hook:      "CodeDeploy-managed-automatic-launch-deployment-hook-" + name + "-" + newUUID(),
			installed: map[string]json.RawMessage{}, launches: map[string]*deployment{},
		}
		a.groups[name] = g
	}
	return g
}

func createApplication(c *Cloud, r request) (any, *apiError) {
	app := r.params["applicationName"]
	if bad := checkName(app, "Application"); bad != nil {
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

// createDeploymentGroup makes a group; Auto Scaling groups that it names get CodeDeploy's hook, as in AWS.
func createDeploymentGroup(c *Cloud, r request) (any, *apiError) {
	var in struct {
		ApplicationName, DeploymentGroupName, DeploymentConfigName, ServiceRoleArn string

		AutoScalingGroups         []string
		AutoRollbackConfiguration *autoRollback
		LoadBalancerInfo          json.RawMessage
	}
	if bad := decode(r, &in); bad != nil {
		return nil, bad
	}
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	a, bad := c.deploys.app(in.ApplicationName)
	if bad == nil {
		bad = checkName(in.DeploymentGroupName, "DeploymentGroup")
	}
	switch _, had := deploymentConfigs[in.DeploymentConfigName]; {
	case bad != nil:
		return nil, bad
	case in.ServiceRoleArn == "":
		return nil, &apiError{400, "RoleRequiredException", "The role is required."}
	case in.DeploymentConfigName != "" && !had:
		return nil, noSuchConfig(in.DeploymentConfigName)
	case in.AutoRollbackConfiguration.check() != nil:
		return nil, in.AutoRollbackConfiguration.check()
	}
	if _, ok := a.groups[in.DeploymentGroupName]; ok {
		return nil, &apiError{400, "DeploymentGroupAlreadyExistsException", "Deployment group already exists: " + in.DeploymentGroupName}
	}
	if missing := c.fleet.missing(in.AutoScalingGroups); missing != "" {
		return nil, &apiError{400, "InvalidAutoScalingGroupException", "No Auto Scaling group found for name: " + missing}
	}
	c.deploys.put(DeploymentGroup{
		Application: in.ApplicationName, Name: in.DeploymentGroupName, Config: in.DeploymentConfigName,
		AutoScalingGroups: in.AutoScalingGroups, Managed: len(in.AutoScalingGroups) > 0,
		AutoRollback: in.AutoRollbackConfiguration.after(onFailure), StopRollback: in.AutoRollbackConfiguration.after(onStop), LoadBalancer: in.LoadBalancerInfo != nil,
	}.complete())
	g := a.groups[in.DeploymentGroupName]
	g.role = in.ServiceRoleArn
	return map[string]string{"deploymentGroupId": g.id}, nil
}

func getApplication(c *Cloud, r request) (any, *apiError) {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	a, bad := c.deploys.app(r.params["applicationName"])
	if bad != nil {
		return nil, bad
	}
	return map[string]any{"application": map[string]any{
		"applicationId": a.id, "applicationName": a.name, "createTime": epoch(a.created),
		"computePlatform": "Server", "linkedToGitHub": false,
	}}, nil
}

func listApplications(c *Cloud, r request) (any, *apiError) {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	return listed("applications", sortedKeys(c.deploys.applications), r.params["nextToken"])
}

func getDeploymentGroup(c *Cloud, r request) (any, *apiError) {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	g, bad := c.deploys.find(r.params["applicationName"], r.params["deploymentGroupName"])
	if bad != nil {
		return nil, bad
	}
	return map[string]any{"deploymentGroupInfo": g.info(c.deploys.shown(g))}, nil
}

// info is a group as the API shows it; mu is held.
func (g *deploymentGroup) info(o outcome) map[string]any {
	associated := []map[string]string{}
	for _, name := range g.AutoScalingGroups {
		one := map[string]string{"name": name}
		if g.Managed {
			one["hook"] = g.hook
		}
		associated = append(associated, one)
	}
	info := map[string]any{
		"applicationName": g.Application, "deploymentGroupName": g.Name, "deploymentGroupId": g.id,
		"deploymentConfigName": g.Config, "computePlatform": "Server",
		"serviceRoleArn": g.role, "autoScalingGroups": associated, "ec2TagFilters": []any{},
		"onPremisesInstanceTagFilters": []any{}, "triggerConfigurations": []any{},
		"alarmConfiguration": map[string]any{"enabled": len(g.Alarms) > 0, "ignorePollAlarmFailure": false, "alarms": g.alarms()},
		"deploymentStyle":    g.style(), "outdatedInstancesStrategy": "UPDATE",
	}
	if len(g.EC2Tags) > 0 {
		info["ec2TagSet"] = g.tagSet()
	}
	if g.AutoRollback || g.StopRollback {
		info["autoRollbackConfiguration"] = g.rollback()
	}
	if o.revision != nil {
		info["targetRevision"] = o.revision
	}
	if o.last != nil {
		info["lastSuccessfulDeployment"] = o.last.brief()
	}
	if o.tried != nil {
		info["lastAttemptedDeployment"] = o.tried.brief()
	}
	return info
}

// alarms are Alarms as the API has them.
func (g *deploymentGroup) alarms() any {
	all := []map[string]string{}
	for _, name := range g.Alarms {
		all = append(all, map[string]string{"name": name})
	}
	return all
}

func listDeploymentGroups(c *Cloud, r request) (any, *apiError) {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	a, bad := c.deploys.app(r.params["applicationName"])
	if bad != nil {
		return nil, bad
	}
	groups, bad := listed("deploymentGroups", sortedKeys(a.groups), r.params["nextToken"])
	if bad == nil {
		groups.(map[string]any)["applicationName"] = a.name
	}
	return groups, bad
}

// style is the group's deploymentStyle.
func (g DeploymentGroup) style() map[string]string {
	option := "WITHOUT_TRAFFIC_CONTROL"
	if g.LoadBalancer {
		option = "WITH_TRAFFIC_CONTROL"
	}
	return map[string]string{"deploymentType": "IN_PLACE", "deploymentOption": option}
}

// rollback is the group's autoRollbackConfiguration.
func (g DeploymentGroup) rollback() autoRollback {
	r := autoRollback{Enabled: g.AutoRollback || g.StopRollback, Events: []string{}}
	if g.AutoRollback {
		r.Events = append(r.Events, onFailure)
	}
	if g.StopRollback {
		r.Events = append(r.Events, onStop)
	}
	return r
}

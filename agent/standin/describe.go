package standin

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// How many items a page of a Describe call has, and may have, by the service's reference.
const (
	pageDefault   = 50
	pageMax       = 100
	describeIDMax = 50 // InstanceIds of DescribeAutoScalingInstances
)

// list is a list of the Query protocol: <Name><member>…</member></Name>.
type list[T any] struct {
	Members []T `xml:"member"`
}

type xmlInstance struct {
	InstanceId           string
	InstanceType         string
	AutoScalingGroupName string `xml:",omitempty"`
	AvailabilityZone     string
	LifecycleState       State
	HealthStatus         string
	LaunchTemplate       xmlLaunchTemplate
	ProtectedFromScaleIn bool
}

type xmlLaunchTemplate struct{ LaunchTemplateId, LaunchTemplateName, Version string }

type xmlHook struct {
	LifecycleHookName     string
	AutoScalingGroupName  string
	LifecycleTransition   Transit
	NotificationMetadata  string `xml:",omitempty"`
	HeartbeatTimeout      int
	GlobalTimeout         int
	DefaultResult         string
	NotificationTargetARN string `xml:",omitempty"`
}

type xmlActivity struct {
	ActivityId           string
	AutoScalingGroupName string
	Description          string
	Cause                string
	StartTime            string
	EndTime              string `xml:",omitempty"`
	StatusCode           string
	StatusMessage        string `xml:",omitempty"`
	Progress             int
	Details              string
}

// page cuts one page out of items, by MaxRecords and NextToken.
func page[T any](r request, items []T, most int) (part []T, next string, bad *apiError) {
	size := min(pageDefault, most)
	if given := r.params["MaxRecords"]; given != "" {
		n, err := strconv.Atoi(given)
		if err != nil || n < 1 || n > most {
			return nil, "", validation("MaxRecords must be between 1 and %d", most)
		}
		size = n
	}
	from := 0
	if given := r.params["NextToken"]; given != "" {
		n, err := strconv.Atoi(given)
		if err != nil || n < 0 || n > len(items) {
			return nil, "", &apiError{400, "InvalidNextToken", "The token '" + given + "' is not valid."}
		}
		from = n
	}
	to := min(from+size, len(items))
	if to < len(items) {
		next = strconv.Itoa(to)
	}
	return items[from:to], next, nil
}

// seconds is a duration as the service writes it: whole seconds. A hook put by the Go API may be shorter; it is shown
// as one second, never as none.
func seconds(d time.Duration) int { return max(1, int(d.Seconds())) }

func (i *Instance) describe(s State, withGroup bool) xmlInstance {
	x := xmlInstance{
		InstanceId:       i.ID,
		InstanceType:     i.options.InstanceType,
		AvailabilityZone: i.fleet.region + "a",
		LifecycleState:   s,
		HealthStatus:     "HEALTHY",
		LaunchTemplate:   xmlLaunchTemplate{"lt-0123456789abcdef0", i.group.Name, "1"},

		ProtectedFromScaleIn: i.protected,
	}
	if i.unhealthy {
		x.HealthStatus = "UNHEALTHY"
	}
	if withGroup {
		x.AutoScalingGroupName = i.group.Name
	} else { // groups spell it in another way than DescribeAutoScalingInstances
		x.HealthStatus = map[string]string{"HEALTHY": "Healthy", "UNHEALTHY": "Unhealthy"}[x.HealthStatus]
	}
	return x
}

func describeAutoScalingInstances(c *Cloud, r request) (any, *apiError) {
	ids := members(r, "InstanceIds")
	if len(ids) > describeIDMax {
		return nil, validation("The number of instance ids exceeds the limit of %d", describeIDMax)
	}
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	var found []xmlInstance
	for _, inst := range c.fleet.all { // an unknown id is left out, not an error
		if s, seen := inst.shown(); inst.group != nil && seen && (len(ids) == 0 || slices.Contains(ids, inst.ID)) {
			found = append(found, inst.describe(s, true))
		}
	}
	part, next, bad := page(r, found, pageDefault)
	return struct {
		AutoScalingInstances list[xmlInstance]
		NextToken            string `xml:",omitempty"`
	}{list[xmlInstance]{part}, next}, bad
}

func describeLifecycleHooks(c *Cloud, r request) (any, *apiError) {
	if bad := required(r, "AutoScalingGroupName"); bad != nil {
		return nil, bad
	}
	names := members(r, "LifecycleHookNames")
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	g, bad := c.fleet.groupNamed(r.params["AutoScalingGroupName"])
	if bad != nil {
		return nil, bad
	}
	var found []xmlHook
	for _, h := range c.fleet.shownHooks(g) {
		if len(names) > 0 && !slices.Contains(names, h.Name) {
			continue
		}
		found = append(found, xmlHook{
			LifecycleHookName: h.Name, AutoScalingGroupName: g.Name, LifecycleTransition: h.Transition,
			NotificationMetadata: h.NotificationMetadata, DefaultResult: h.DefaultResult,
			HeartbeatTimeout: seconds(h.HeartbeatTimeout), GlobalTimeout: seconds(h.GlobalTimeout),
		})
	}
	return struct{ LifecycleHooks list[xmlHook] }{list[xmlHook]{found}}, nil
}

func describeLifecycleHookTypes(*Cloud, request) (any, *apiError) {
	return struct{ LifecycleHookTypes list[Transit] }{list[Transit]{[]Transit{OnLaunch, OnTerminate}}}, nil
}

func describeAutoScalingGroups(c *Cloud, r request) (any, *apiError) {
	type xmlGroup struct {
		XMLName                           xml.Name `xml:"member"`
		AutoScalingGroupName              string
		AutoScalingGroupARN               string
		MinSize, MaxSize, DesiredCapacity int
		DefaultCooldown                   int
		AvailabilityZones                 list[string]
		HealthCheckType                   string
		HealthCheckGracePeriod            int
		Instances                         list[xmlInstance]
		CreatedTime                       string
		NewInstancesProtectedFromScaleIn  bool
		Tags                              list[xmlTag]
	}
	names, filters := members(r, "AutoScalingGroupNames"), tagFilters(r)
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	var found []xmlGroup
	for _, name := range sortedKeys(c.fleet.groups) {
		tags := c.fleet.groups[name].Tags
		if len(names) > 0 && !slices.Contains(names, name) || !matchTags(tags, filters) {
			continue
		}
		g := xmlGroup{
			AutoScalingGroupName: name,
			AutoScalingGroupARN:  fmt.Sprintf("arn:aws:autoscaling:%s:%s:autoScalingGroup:%s:autoScalingGroupName/%s", c.Region, Account, newUUID(), name),
			AvailabilityZones:    list[string]{[]string{c.Region + "a"}},
			HealthCheckType:      "EC2",
			CreatedTime:          c.began.UTC().Format(time.RFC3339),
			Tags:                 list[xmlTag]{tagsOf(name, tags)},
		}
		for _, inst := range c.fleet.all {
			if s, seen := inst.shown(); inst.groupName() == name && seen {
				g.Instances.Members = append(g.Instances.Members, inst.describe(s, false))
			}
		}
		g.DesiredCapacity = len(g.Instances.Members)
		g.MaxSize = g.DesiredCapacity
		found = append(found, g)
	}
	part, next, bad := page(r, found, pageMax)
	return struct {
		AutoScalingGroups list[xmlGroup]
		NextToken         string `xml:",omitempty"`
	}{list[xmlGroup]{part}, next}, bad
}

// describe is an activity as the service shows it.
func (a activity) describe(group string) xmlActivity {
	x := xmlActivity{
		ActivityId: a.id, AutoScalingGroupName: group, Description: a.description, Cause: a.cause,
		StartTime: a.began.Format(time.RFC3339), StatusCode: a.status, StatusMessage: a.message, Details: "{}",
	}
	if !a.ended.IsZero() {
		x.EndTime, x.Progress = a.ended.Format(time.RFC3339), 100
	}
	return x
}

func describeScalingActivities(c *Cloud, r request) (any, *apiError) {
	only := r.params["AutoScalingGroupName"]
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	var found []xmlActivity
	for _, name := range sortedKeys(c.fleet.groups) {
		if only != "" && only != name {
			continue
		}
		for _, a := range slices.Backward(c.fleet.groups[name].activities) { // the latest first
			found = append(found, a.describe(name))
		}
	}
	part, next, bad := page(r, found, pageMax)
	return struct {
		Activities list[xmlActivity]
		NextToken  string `xml:",omitempty"`
	}{list[xmlActivity]{part}, next}, bad
}

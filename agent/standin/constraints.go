package standin

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// constraint is what Auto Scaling checks of a parameter before anything else, by the service's model. A test holds these
// against the model itself (strict_test.go).
type constraint struct {
	min, max int // characters
	pattern  string
	values   []string // of an enumeration
	least    *int     // of a number
	flag     bool     // true or false
	most     int      // elements of a list; 0: any number
	list     bool
}

// noControl is the pattern of most strings, as the service writes it.
const noControl = `[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*`

var (
	shortText  = constraint{min: 1, max: 255, pattern: noControl}
	instanceID = constraint{min: 1, max: 19, pattern: noControl}
	hookName   = constraint{min: 1, max: 255, pattern: `[A-Za-z0-9\-_\/]+`}
	flag       = constraint{flag: true}
)

// constraints are those of every parameter, by its name.
var constraints = map[string]constraint{
	"ActivityIds":                    listOf(constraint{max: maxRequest, pattern: noControl}, 0),
	"AutoScalingGroupName":           shortText,
	"AutoScalingGroupNames":          listOf(shortText, 0),
	"ForceDelete":                    flag,
	"HealthStatus":                   {min: 1, max: 32, pattern: noControl},
	"IncludeDeletedGroups":           flag,
	"InstanceId":                     instanceID,
	"InstanceIds":                    listOf(instanceID, 0),
	"InstanceRefreshIds":             listOf(shortText, 0),
	"LifecycleActionToken":           {min: 36, max: 36},
	"LifecycleHookName":              hookName,
	"LifecycleHookNames":             listOf(hookName, 50),
	"MaxGroupPreparedCapacity":       atLeast(-1),
	"MinSize":                        atLeast(0),
	"NextToken":                      {max: maxRequest, pattern: noControl},
	"NotificationMetadata":           {min: 1, max: 1023, pattern: noControl},
	"NotificationTargetARN":          {max: 255, pattern: noControl},
	"PoolState":                      {max: 255, values: []string{"Hibernated", "Stopped", "Running"}},
	"ProtectedFromScaleIn":           flag,
	"RoleARN":                        shortText,
	"ShouldDecrementDesiredCapacity": flag,
	"ShouldRespectGracePeriod":       flag,
	"Strategy":                       {max: 255, values: []string{rolling, replaceRoot}},
}

// longName is the group's name in the two calls that take an ARN for it.
var longName = constraint{min: 1, max: 1600, pattern: noControl}

// mandatory are the parameters an operation cannot be without.
var mandatory = map[string][]string{
	"CompleteLifecycleAction":             {"AutoScalingGroupName", "LifecycleHookName", "LifecycleActionResult"},
	"DeleteAutoScalingGroup":              {"AutoScalingGroupName"},
	"DeleteLifecycleHook":                 {"AutoScalingGroupName", "LifecycleHookName"},
	"DescribeInstanceRefreshes":           {"AutoScalingGroupName"},
	"DescribeLifecycleHooks":              {"AutoScalingGroupName"},
	"DescribeWarmPool":                    {"AutoScalingGroupName"},
	"DetachInstances":                     {"AutoScalingGroupName", "ShouldDecrementDesiredCapacity"},
	"EnterStandby":                        {"AutoScalingGroupName", "ShouldDecrementDesiredCapacity"},
	"ExitStandby":                         {"AutoScalingGroupName"},
	"PutLifecycleHook":                    {"AutoScalingGroupName", "LifecycleHookName"},
	"PutWarmPool":                         {"AutoScalingGroupName"},
	"RecordLifecycleActionHeartbeat":      {"AutoScalingGroupName", "LifecycleHookName"},
	"SetInstanceHealth":                   {"InstanceId", "HealthStatus"},
	"SetInstanceProtection":               {"AutoScalingGroupName", "ProtectedFromScaleIn", "InstanceIds.member.1"},
	"StartInstanceRefresh":                {"AutoScalingGroupName"},
	"TerminateInstanceInAutoScalingGroup": {"InstanceId", "ShouldDecrementDesiredCapacity"},
}

func listOf(c constraint, most int) constraint {
	c.list, c.most = true, most
	return c
}

func atLeast(n int) constraint { return constraint{least: &n} }

// constrained answers as the service does when parameters are not what its model allows. Parameters that it does not know
// are ignored, as it does.
func constrained(r request) *apiError {
	if bad := required(r, mandatory[r.op]...); bad != nil {
		return bad
	}
	var wrong []string
	for _, name := range sortedKeys(r.params) {
		value := r.params[name]
		list, _, element := strings.Cut(name, ".member.")
		c, known := constraints[list]
		if !known || c.list != element {
			continue
		}
		if list == "AutoScalingGroupName" && (r.op == "CompleteLifecycleAction" || r.op == "RecordLifecycleActionHeartbeat") {
			c = longName
		}
		if why := c.violated(value); why != "" {
			field := strings.ToLower(name[:1]) + name[1:]
			wrong = append(wrong, fmt.Sprintf("Value '%s' at '%s' failed to satisfy constraint: %s", value, field, why))
		}
		if n := len(members(r, list)); element && c.most > 0 && n > c.most && strings.HasSuffix(name, ".member.1") {
			wrong = append(wrong, fmt.Sprintf("Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", strings.ToLower(list[:1])+list[1:], c.most))
		}
	}
	return detected(wrong)
}

// detected is the error for violated constraints, in the service's words; nil for none.
func detected(wrong []string) *apiError {
	switch len(wrong) {
	case 0:
		return nil
	case 1:
		return validation("1 validation error detected: %s", wrong[0])
	}
	return validation("%d validation errors detected: %s", len(wrong), strings.Join(wrong, "; "))
}

// violated says which constraint a value does not satisfy, in the service's words; "" when it satisfies all.
func (c constraint) violated(value string) string {
	n := utf8.RuneCountInString(value)
	switch {
	case c.flag && value != "true" && value != "false":
		return "Member must be true or false"
	case c.flag:
		return ""
	case c.least != nil:
		if v, err := strconv.Atoi(value); err != nil || v < *c.least {
			return fmt.Sprintf("Member must have value greater than or equal to %d", *c.least)
		}
		return ""
	case n < c.min:
		return fmt.Sprintf("Member must have length greater than or equal to %d", c.min)
	case n > c.max:
		return fmt.Sprintf("Member must have length less than or equal to %d", c.max)
	case len(c.values) > 0 && !slices.Contains(c.values, value):
		return "Member must satisfy enum value set: [" + strings.Join(c.values, ", ") + "]"
	case c.pattern == noControl && strings.ContainsFunc(value, isControl),
		c.pattern != "" && c.pattern != noControl && !regexp.MustCompile("^(?:"+c.pattern+")$").MatchString(value):
		return "Member must satisfy regular expression pattern: " + c.pattern
	}
	return ""
}

// isControl tells the characters that noControl forbids.
func isControl(r rune) bool { return r < ' ' && r != '\r' && r != '\n' && r != '\t' }

package standin

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// xmlTag is a tag of an Auto Scaling group.
type xmlTag struct {
	ResourceId, ResourceType, Key, Value string
	PropagateAtLaunch                    bool
}

// tagsOf are a group's tags as the service lists them.
func tagsOf(group string, tags map[string]string) (all []xmlTag) {
	for _, key := range sortedKeys(tags) {
		all = append(all, xmlTag{group, "auto-scaling-group", key, tags[key], true})
	}
	return all
}

// tagFilters are the filters of DescribeAutoScalingGroups that are about one tag: its key, and the values it may
// have.
func tagFilters(r request) map[string][]string {
	all := map[string][]string{}
	for n := 1; ; n++ {
		at := "Filters.member." + strconv.Itoa(n)
		name, ok := r.params[at+".Name"]
		if !ok {
			return all
		}
		if key, ok := strings.CutPrefix(name, "tag:"); ok {
			all[key] = members(r, at+".Values")
		}
	}
}

// matchTags tells whether tags pass all filters.
func matchTags(tags map[string]string, filters map[string][]string) bool {
	for key, values := range filters {
		if value, ok := tags[key]; !ok || !slices.Contains(values, value) {
			return false
		}
	}
	return true
}

// tagSet is EC2Tags as the API has them: of every list one filter must match.
func (g *deploymentGroup) tagSet() any {
	lists := [][]map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(g.EC2Tags)) {
		lists = append(lists, []map[string]string{{"Key": name, "Value": g.EC2Tags[name], "Type": "KEY_AND_VALUE"}})
	}
	return map[string]any{"ec2TagSetList": lists}
}

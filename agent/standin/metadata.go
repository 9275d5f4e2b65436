package standin

import (
	"maps"
	"strings"
	"time"
)

// items is everything the metadata service knows now, by path below /latest/. An item with the name "" is an empty
// directory, which EC2 answers with 200.
func (m *metadata) items() map[string]string {
	i := m.inst
	i.fleet.mu.Lock()
	state, launched := i.state, m.cloud.onClock(i.launched).UTC().Format(time.RFC3339)
	target := ""
	if i.group != nil {
		target = targetState(state, i.group.PoolState)
	}
	role, tags := defaultRole, i.tags()
	visible := i.options.MetadataTags
	if g := i.group; g != nil {
		role, visible = g.Role, visible || g.MetadataTags
	}
	i.fleet.mu.Unlock()

	cred := m.credentials()
	region := m.cloud.Region
	items := map[string]string{
		"meta-data/ami-id":                      i.options.ImageID,
		"meta-data/instance-id":                 i.ID,
		"meta-data/instance-type":               i.options.InstanceType,
		"meta-data/local-ipv4":                  "127.0.0.1",
		"meta-data/placement/availability-zone": region + "a",
		"meta-data/placement/region":            region,
		"meta-data/services/domain":             "amazonaws.com",
		"meta-data/services/partition":          "aws",
		"meta-data/iam/info": toJSON(map[string]string{
			"Code": "Success", "LastUpdated": cred.issued.UTC().Format(time.RFC3339),
			"InstanceProfileArn": "arn:aws:iam::" + Account + ":instance-profile/" + role,
		}),
		"meta-data/iam/security-credentials/" + role: toJSON(map[string]string{
			"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": cred.issued.UTC().Format(time.RFC3339),
			"AccessKeyId": cred.key, "SecretAccessKey": cred.secret,
			"Token": cred.token, "Expiration": cred.expires.UTC().Format(time.RFC3339),
		}),
		"meta-data/tags/instance/": "", // answers even where tags are not allowed in metadata
		"dynamic/instance-identity/document": toJSON(map[string]any{
			"accountId": Account, "architecture": "x86_64", "availabilityZone": region + "a", "imageId": i.options.ImageID,
			"instanceId": i.ID, "instanceType": i.options.InstanceType, "pendingTime": launched, "privateIp": "127.0.0.1",
			"region": region, "version": "2017-09-30", "billingProducts": nil, "devpayProductCodes": nil,
			"marketplaceProductCodes": nil, "kernelId": nil, "ramdiskId": nil,
		}),
	}
	if target != "" {
		items["meta-data/autoscaling/target-lifecycle-state"] = target
	}
	if visible {
		for key, value := range tags {
			items["meta-data/tags/instance/"+key] = value
		}
	}
	return items
}

// SetTag changes a tag of the instance; where metadata shows tags, it shows the new one at once.
func (i *Instance) SetTag(key, value string) {
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	tags := maps.Clone(i.options.Tags) // LaunchOptions may be another instance's too
	if tags == nil {
		tags = map[string]string{}
	}
	tags[key] = value
	i.options.Tags = tags
}

// targetState is the state an instance is on its way to, which is all that metadata tells: never one
// of the states in between. pool is where the group's warm instances rest.
func targetState(s, pool State) string {
	switch {
	case s == "":
		return "" // not in a group: 404
	case s.base() == WarmedPending:
		return string(pool)
	case s.base() == WarmedTerminating, s == WarmedTerminated:
		return string(WarmedTerminated)
	case s.base() == Terminating, s == Terminated:
		return string(Terminated)
	case s == Detaching, s == Detached:
		return string(Detached)
	case s == EnteringStandby, s == Standby:
		return string(Standby)
	case strings.HasPrefix(string(s), "Warmed:"):
		return string(s)
	}
	return string(InService)
}

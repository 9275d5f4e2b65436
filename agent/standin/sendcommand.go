package standin

import (
	"encoding/json"
	"strings"
)

// deploymentCreators: who a specification says made its deployment.
const (
	createdByUser        = "user"
	createdByRollback    = "codeDeployRollback"
	createdByAutoScaling = "autoscaling"
)

// possibleEvents are the lifecycle events of an in-place deployment, in the order in which they happen.
var possibleEvents = []string{
	"BeforeBlockTraffic", "BlockTraffic", "AfterBlockTraffic",
	"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService",
	"BeforeAllowTraffic", "AllowTraffic", "AfterAllowTraffic",
}

// specification is a deployment as the agents get to see it.
type specification struct {
	DeploymentId         string
	DeploymentGroupId    string
	DeploymentGroupName  string
	ApplicationName      string
	DeploymentCreator    string
	DeploymentType       string
	AppSpecFilename      string `json:",omitempty"`
	Revision             any
	AgentActionOverrides any `json:",omitempty"`

	// AWS's agents fail every Install of a specification with AllPossibleLifecycleEvents, so the service cannot send it.
	// A test may. ReuseArchiveFromDeploymentId names the deployment whose bundle a restart uses again.
	AllPossibleLifecycleEvents   []string `json:",omitempty"`
	ReuseArchiveFromDeploymentId string   `json:",omitempty"`
}

// write is the specification's JSON.
func (s specification) write() []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic("standin: cannot write a specification: " + err.Error())
	}
	return text
}

// overrides tells the agent what to do with files that are there already; nil leaves it to the agent.
func overrides(fileExists string) any {
	if fileExists == "" {
		return nil
	}
	return map[string]any{"AgentOverrides": map[string]string{"FileExistsBehavior": fileExists}}
}

// revisionOfHost is a revision location as specifications write it. Host commands have their own form: other
// names, and a GitHub repository in two parts.
func revisionOfHost(location json.RawMessage) any {
	var l struct {
		RevisionType   string
		S3Location     *S3Location
		GitHubLocation *GitHubLocation
	}
	if err := json.Unmarshal(location, &l); err != nil {
		panic("standin: cannot read a revision: " + err.Error())
	}
	switch {
	case l.S3Location != nil:
		type s3Revision struct {
			Bucket, Key, BundleType string
			Version, ETag           string `json:",omitempty"`
		}
		s := l.S3Location
		return map[string]any{"RevisionType": "S3", "S3Revision": s3Revision{s.Bucket, s.Key, s.BundleType, s.Version, s.ETag}}
	case l.GitHubLocation != nil:
		account, repository, _ := strings.Cut(l.GitHubLocation.Repository, "/")
		return map[string]any{"RevisionType": "GitHub", "GitHubRevision": map[string]string{
			"Account": account, "Repository": repository, "CommitId": l.GitHubLocation.CommitID}}
	}
	return map[string]any{"RevisionType": l.RevisionType}
}

// Sent is a command that a test sends past the engine. Everything that is left out is as a deployment of
// the group would have it, so that a test says only what is odd: an event nobody knows, another group's name.
type Sent struct {
	Event              string
	Application, Group string
	Revision           Revision

	DeploymentID    string   // default: a new one; an ARN is sent as it is
	ExecutionID     string   // default: made of DeploymentID
	GroupID         string   // default: the group's, or a new one when there is no such group
	Creator         string   // default "user"
	Type            string   // default "IN_PLACE"
	AppSpecFilename string   // default: not given
	FileExists      string   // DISALLOW, OVERWRITE or RETAIN; default: not given
	Events          []string // AllPossibleLifecycleEvents; default: not given, as the service never gives it
	Variant         string   // VariantId, with a VariantEnvelope of its own, which no in-place deployment needs; default: none
	ReuseArchive    string   // ReuseArchiveFromDeploymentId; default: not given
}

// UpdateDeploymentAgent is the host command that is no lifecycle event: AWS has its own agent update itself by it. It is
// sent as any other, with a specification (AWS's agent fetches it before it looks at the name).
const UpdateDeploymentAgent = "UpdateDeploymentAgent"

// SendCommand sends an instance a command outside any deployment of the engine and returns its
// identifier. Nothing follows from its result. Sending the same event of the same DeploymentID again hands
// the same identifier out a second time.
func (c *Cloud) SendCommand(inst *Instance, s Sent) (commandID string) {
	d := c.deploys
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.DeploymentID == "" {
		s.DeploymentID = newDeploymentID()
	}
	if s.ExecutionID == "" {
		s.ExecutionID = executionOf(s.DeploymentID[strings.LastIndex(s.DeploymentID, "/")+1:])
	}
	if s.GroupID == "" {
		s.GroupID = d.groupID(s.Application, s.Group)
	}
	if s.Creator == "" {
		s.Creator = createdByUser
	}
	if s.Type == "" {
		s.Type = "IN_PLACE"
	}
	spec := specification{
		DeploymentId: s.DeploymentID, DeploymentGroupId: s.GroupID, DeploymentGroupName: s.Group, ApplicationName: s.Application,
		DeploymentCreator: s.Creator, DeploymentType: s.Type, AppSpecFilename: s.AppSpecFilename,
		AgentActionOverrides: overrides(s.FileExists), AllPossibleLifecycleEvents: s.Events,
		ReuseArchiveFromDeploymentId: s.ReuseArchive,
	}
	if location := s.Revision.wire(); location != nil {
		spec.Revision = revisionOfHost(location)
	}
	h := d.send(inst.ID, s.DeploymentID, s.ExecutionID, s.Event, firstPosition, spec.write())
	h.variant = s.Variant
	d.advance()
	return h.id
}

// groupID is the id of a group, or a new one when there is no such group; mu is held.
func (d *deployments) groupID(app, group string) string {
	if a, ok := d.applications[app]; ok {
		if g, ok := a.groups[group]; ok {
			return g.id
		}
	}
	return newUUID()
}

// newDeploymentID returns a random deployment id of the service's form.
func newDeploymentID() string { return "d-" + strings.ToUpper(randomHex(9)) }

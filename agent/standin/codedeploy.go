package standin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// codeDeployTarget begins X-Amz-Target of CodeDeploy's public API.
const codeDeployTarget = "CodeDeploy_20141006."

// maxName is the longest name of an application or a deployment group.
const maxName = 100

// validName is what CodeDeploy accepts as a name.
var validName = regexp.MustCompile(`^[a-zA-Z0-9._+=,@-]+$`)

// codeDeployWire is JSON 1.1.
var codeDeployWire = wire{
	name:        "codedeploy",
	contentType: "application/x-amz-json-1.1",
	parse:       parseJSON,
	result:      jsonResult,
	failure:     jsonFailure,
	refused: map[refusal]apiError{
		unsigned:       {status: 400, code: "MissingAuthenticationTokenException"},
		unknownKey:     {status: 400, code: "UnrecognizedClientException"},
		expiredKey:     {status: 400, code: "ExpiredTokenException"},
		wrongSignature: {status: 400, code: "InvalidSignatureException"},
	},
	throttled: apiError{400, "ThrottlingException", "Rate exceeded"},
	operations: map[string]operation{
		"CreateApplication":      createApplication,
		"CreateDeploymentGroup":  createDeploymentGroup,
		"GetApplication":         getApplication,
		"GetApplicationRevision": getApplicationRevision,
		"GetDeployment":          getDeployment,
		"GetDeploymentGroup":     getDeploymentGroup,
		"ListApplications":       listApplications,
		"ListDeploymentGroups":   listDeploymentGroups,
		"ListDeployments":        listDeployments,
	},
	unknown: func(op string) apiError { return apiError{400, "UnknownOperationException", ""} },
}

func parseJSON(r *http.Request, body []byte) (request, *apiError) {
	req := request{op: strings.TrimPrefix(r.Header.Get("X-Amz-Target"), codeDeployTarget), params: map[string]string{}, body: body}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return req, &apiError{400, "SerializationException", ""}
	}
	for name, value := range fields {
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		req.params[name] = text
	}
	return req, nil
}

func jsonResult(op, _ string, v any) []byte {
	if v == nil {
		v = struct{}{}
	}
	out, err := json.Marshal(v)
	if err != nil {
		panic("standin: cannot write an answer of " + op + ": " + err.Error())
	}
	return out
}

func jsonFailure(_ string, e apiError) []byte {
	out, err := json.Marshal(struct {
		Type    string `json:"__type"`
		Message string `json:"message,omitempty"`
	}{e.code, e.message})
	if err != nil {
		panic("standin: cannot write an error: " + err.Error())
	}
	return out
}

// Revision is where an application revision lies: S3, GitHub, or Raw for the kinds the Go API has no field
// for. The zero Revision is none at all.
type Revision struct {
	S3     *S3Location
	GitHub *GitHubLocation
	Raw    json.RawMessage // a whole revision location as the wire has it, such as {"revisionType":"String",…}
}

// S3Location is a bundle in S3. Version and ETag are optional.
type S3Location struct {
	Bucket     string `json:"bucket,omitempty"`
	Key        string `json:"key,omitempty"`
	BundleType string `json:"bundleType,omitempty"` // tar, tgz or zip
	Version    string `json:"version,omitempty"`
	ETag       string `json:"eTag,omitempty"`
}

// GitHubLocation is a commit of a repository.
type GitHubLocation struct {
	Repository string `json:"repository,omitempty"` // OWNER/NAME
	CommitID   string `json:"commitId,omitempty"`
}

// S3Revision is a bundle in S3; version and etag may be "".
func S3Revision(bucket, key, bundleType, version, etag string) Revision {
	return Revision{S3: &S3Location{bucket, key, bundleType, version, etag}}
}

// GitHubRevision is a commit of a repository OWNER/NAME.
func GitHubRevision(repository, commit string) Revision {
	return Revision{GitHub: &GitHubLocation{repository, commit}}
}

// wire is the revision as the API writes it; nil for none.
func (r Revision) wire() json.RawMessage {
	var v any
	switch {
	case r.Raw != nil:
		return r.Raw
	case r.S3 != nil:
		v = map[string]any{"revisionType": "S3", "s3Location": r.S3}
	case r.GitHub != nil:
		v = map[string]any{"revisionType": "GitHub", "gitHubLocation": r.GitHub}
	default:
		return nil
	}
	out, err := json.Marshal(v)
	if err != nil {
		panic("standin: cannot write a revision: " + err.Error())
	}
	return out
}

// deployments is the state of CodeDeploy.
type deployments struct {
	mu           sync.Mutex
	applications map[string]*application
	all          []*deployment
	commands     []*hostCommand
	changed      chan struct{} // closed and replaced with every change
}

type application struct {
	id      string
	created time.Time
	groups  map[string]*deploymentGroup
}

type deploymentGroup struct {
	id       string
	role     string
	revision json.RawMessage // the target revision; nil: none yet
	last     *deployment     // successful
	tried    *deployment
}

type deployment struct {
	id, application, group, status string
	revision                       json.RawMessage
	created, ended                 time.Time
}

func newDeployments() *deployments {
	return &deployments{applications: map[string]*application{}, changed: make(chan struct{})}
}

// advance wakes everyone who waits for a change; mu is held.
func (d *deployments) advance() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// group finds or makes an application's group; mu is held.
func (d *deployments) group(app, name string) *deploymentGroup {
	a, ok := d.applications[app]
	if !ok {
		a = &application{id: newUUID(), created: time.Now(), groups: map[string]*deploymentGroup{}}
		d.applications[app] = a
	}
	g, ok := a.groups[name]
	if !ok && name != "" {
		g = &deploymentGroup{id: newUUID(), role: "arn:aws:iam::" + Account + ":role/codedeploy"}
		a.groups[name] = g
	}
	return g
}

// PublishRevision records a successful deployment of a revision: it becomes the group's target
// revision, which is what new instances get. Application and group are made when there are none. It
// returns the deployment's id; with the zero Revision it only makes the group and returns "".
func (c *Cloud) PublishRevision(app, group string, r Revision) string {
	return c.deployed(app, group, r, "Succeeded")
}

// FailDeployment records a deployment that failed: it is the group's last attempt, and the target
// revision stays what it was.
func (c *Cloud) FailDeployment(app, group string, r Revision) string {
	return c.deployed(app, group, r, "Failed")
}

func (c *Cloud) deployed(app, group string, r Revision, status string) string {
	revision := r.wire()
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	g := c.deploys.group(app, group)
	if revision == nil {
		return ""
	}
	now := time.Now()
	d := &deployment{
		id: newDeploymentID(), application: app, group: group, status: status,
		revision: revision, created: now, ended: now,
	}
	c.deploys.all = append(c.deploys.all, d)
	g.tried = d
	if status == "Succeeded" {
		g.last, g.revision = d, revision
	}
	return d.id
}

// epoch is a time as JSON 1.1 writes it.
func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// name checks a name in a request and answers as the service does.
func name(r request, field, kind string) (string, *apiError) {
	v := r.params[field]
	switch {
	case v == "":
		return "", &apiError{400, kind + "NameRequiredException", kind + " name is required."}
	case len(v) > maxName || !validName.MatchString(v):
		return "", &apiError{400, "Invalid" + kind + "NameException", fmt.Sprintf("%s name must be 1 to %d letters, digits and ._+=,@- : %s", kind, maxName, v)}
	}
	return v, nil
}

// find looks an application, and with group a deployment group, up by the names in the request; mu is held.
func (d *deployments) find(r request, withGroup bool) (app, group string, g *deploymentGroup, bad *apiError) {
	if app, bad = name(r, "applicationName", "Application"); bad != nil {
		return
	}
	if withGroup {
		if group, bad = name(r, "deploymentGroupName", "DeploymentGroup"); bad != nil {
			return
		}
	}
	a, ok := d.applications[app]
	if !ok {
		return app, group, nil, &apiError{400, "ApplicationDoesNotExistException", "No application found for name: " + app}
	}
	if withGroup {
		if g, ok = a.groups[group]; !ok {
			return app, group, nil, &apiError{400, "DeploymentGroupDoesNotExistException", "No Deployment Group found for name: " + group}
		}
	}
	return app, group, g, nil
}

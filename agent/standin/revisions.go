package standin

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"
)

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

// checkRevision answers as the service does when a revision cannot be one of a server's.
func checkRevision(location json.RawMessage) *apiError {
	if len(location) == 0 || string(location) == "null" {
		return &apiError{400, "RevisionRequiredException", "Revision is required."}
	}
	var l struct {
		RevisionType   string
		S3Location     *S3Location
		GitHubLocation *GitHubLocation
	}
	if json.Unmarshal(location, &l) != nil {
		return &apiError{400, "SerializationException", ""}
	}
	invalid := func(why string) *apiError { return &apiError{400, "InvalidRevisionException", why} }
	switch l.RevisionType {
	case "S3":
		s := l.S3Location
		switch {
		case s == nil || s.Bucket == "" || s.Key == "":
			return invalid("An S3 revision needs a bucket and a key.")
		case !slices.Contains([]string{"tar", "tgz", "zip"}, s.BundleType):
			return invalid("The bundle type of a server's revision must be tar, tgz or zip, not: " + s.BundleType)
		}
	case "GitHub":
		g := l.GitHubLocation
		if g == nil || g.CommitID == "" || strings.Count(g.Repository, "/") != 1 {
			return invalid("A GitHub revision needs a repository, as OWNER/NAME, and a commit.")
		}
	default:
		return invalid("The revision type must be S3 or GitHub, not: " + l.RevisionType)
	}
	return nil
}

// registered is a revision that an application knows.
type registered struct {
	location                json.RawMessage
	description             string
	at, firstUsed, lastUsed time.Time // the last two zero: never deployed
	groups                  []string
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// revision finds a revision of an application; nil when it was never registered. mu is held.
func (a *application) revision(location json.RawMessage) *registered {
	at := slices.IndexFunc(a.revisions, func(r *registered) bool { return sameJSON(r.location, location) })
	if at < 0 {
		return nil
	}
	return a.revisions[at]
}

// register makes a revision known to an application, or finds it; mu is held.
func (a *application) register(location json.RawMessage) *registered {
	r := a.revision(location)
	if r == nil {
		r = &registered{location: location, at: time.Now()}
		a.revisions = append(a.revisions, r)
	}
	return r
}

// used notes that a revision is deployed to a group; mu is held.
func (a *application) used(location json.RawMessage, group string) {
	r := a.register(location)
	r.lastUsed = time.Now()
	if r.firstUsed.IsZero() {
		r.firstUsed = r.lastUsed
	}
	if !slices.Contains(r.groups, group) {
		r.groups = append(r.groups, group)
	}
}

func registerApplicationRevision(c *Cloud, r request) (any, *apiError) {
	var in struct {
		Revision    json.RawMessage
		Description string
	}
	if bad := decode(r, &in); bad != nil {
		return nil, bad
	}
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	a, bad := c.deploys.app(r.params["applicationName"])
	if bad == nil {
		bad = checkRevision(in.Revision)
	}
	if bad == nil {
		bad = checkDescription(in.Description)
	}
	if bad != nil {
		return nil, bad
	}
	known := a.register(in.Revision)
	if in.Description != "" {
		known.description = in.Description
	}
	return nil, nil
}

func getApplicationRevision(c *Cloud, r request) (any, *apiError) {
	var in struct{ Revision json.RawMessage }
	if bad := decode(r, &in); bad != nil {
		return nil, bad
	}
	if in.Revision == nil {
		return nil, &apiError{400, "RevisionRequiredException", "Revision is required."}
	}
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	a, bad := c.deploys.app(r.params["applicationName"])
	if bad != nil {
		return nil, bad
	}
	known := a.revision(in.Revision)
	if known == nil {
		return nil, &apiError{400, "RevisionDoesNotExistException", "No revision found for the application: " + a.name}
	}
	info := map[string]any{"registerTime": epoch(known.at), "deploymentGroups": append([]string{}, known.groups...)}
	if known.description != "" {
		info["description"] = known.description
	}
	if !known.firstUsed.IsZero() {
		info["firstUsedTime"], info["lastUsedTime"] = epoch(known.firstUsed), epoch(known.lastUsed)
	}
	return map[string]any{"applicationName": a.name, "revision": known.location, "revisionInfo": info}, nil
}

// listApplicationRevisions answers in the order of registration unless another is asked for.
func listApplicationRevisions(c *Cloud, r request) (any, *apiError) {
	var in struct{ S3Bucket, S3KeyPrefix, Deployed, SortBy, SortOrder, NextToken string }
	if bad := decode(r, &in); bad != nil {
		return nil, bad
	}
	by, ok := map[string]func(*registered) time.Time{
		"":              func(r *registered) time.Time { return r.at },
		"registerTime":  func(r *registered) time.Time { return r.at },
		"firstUsedTime": func(r *registered) time.Time { return r.firstUsed },
		"lastUsedTime":  func(r *registered) time.Time { return r.lastUsed },
	}[in.SortBy]
	switch {
	case !ok:
		return nil, &apiError{400, "InvalidSortByException", "Revisions cannot be sorted by " + in.SortBy}
	case !slices.Contains([]string{"", "ascending", "descending"}, in.SortOrder):
		return nil, &apiError{400, "InvalidSortOrderException", "The order is ascending or descending, not " + in.SortOrder}
	case !slices.Contains([]string{"", "include", "exclude", "ignore"}, in.Deployed):
		return nil, &apiError{400, "InvalidDeployedStateFilterException", "Deployed is include, exclude or ignore, not " + in.Deployed}
	case in.S3KeyPrefix != "" && in.S3Bucket == "":
		return nil, &apiError{400, "BucketNameFilterRequiredException", "A key prefix needs a bucket."}
	}
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	a, bad := c.deploys.app(r.params["applicationName"])
	if bad != nil {
		return nil, bad
	}
	var found []*registered
	for _, known := range a.revisions {
		var l struct{ S3Location S3Location }
		if json.Unmarshal(known.location, &l) != nil || (in.S3Bucket != "" && l.S3Location.Bucket != in.S3Bucket) ||
			!strings.HasPrefix(l.S3Location.Key, in.S3KeyPrefix) {
			continue
		}
		deployed := !known.firstUsed.IsZero()
		if (in.Deployed == "include" && !deployed) || (in.Deployed == "exclude" && deployed) {
			continue
		}
		found = append(found, known)
	}
	slices.SortStableFunc(found, func(x, y *registered) int { return by(x).Compare(by(y)) })
	if in.SortOrder == "descending" {
		slices.Reverse(found)
	}
	locations := []json.RawMessage{}
	for _, known := range found {
		locations = append(locations, known.location)
	}
	return listed("revisions", locations, in.NextToken)
}

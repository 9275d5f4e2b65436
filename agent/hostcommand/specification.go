package hostcommand

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Specification is what a deployment deploys here, and how. Exactly one of S3 and GitHub is set.
type Specification struct {
	DeploymentID string // d-…, also when the service sent an ARN
	Application  string
	Group        string // name of the deployment group
	GroupID      string // its id, a UUID
	S3           *S3
	GitHub       *GitHub
	Creator      string // "user", "autoscaling", "codeDeployRollback", …
	Type         string // "IN_PLACE" or "BLUE_GREEN"
	AppSpecFile  string // in the bundle; "" is appspec.yml
	FileExists   string // "DISALLOW", "OVERWRITE" or "RETAIN"; "" is the appspec's choice
	Signer       Signer // who says all this
}

// S3 is a revision in Amazon S3.
type S3 struct {
	Bucket, Key string
	BundleType  string // "tar", "tgz" or "zip"
	Version     string // of the object; "" when the revision was registered without
	ETag        string // without quotes; "" when the revision was registered without
}

// GitHub is a revision in a GitHub repository.
type GitHub struct {
	Account, Repository string // github.com/ACCOUNT/REPOSITORY
	CommitID            string
	BundleType          string // "tar" or "zip"; "" is tar
}

// ErrUnacceptable: a specification came, and is not one to act on: not what its signer wrote, of a signer
// that is not trusted, or not whole. To ask again does not help.
var ErrUnacceptable = errors.New("cannot accept the specification")

// Specification gets and verifies the specification of the deployment that cmd is of.
func (c *Client) Specification(ctx context.Context, cmd Command) (Specification, error) {
	in := struct{ DeploymentExecutionId, HostIdentifier string }{cmd.Execution, c.opt.Host}
	var out struct {
		DeploymentSystem        string
		DeploymentSpecification struct {
			GenericEnvelope struct{ Format, Payload string }
		}
	}
	if err := c.call(ctx, "GetDeploymentSpecification", in, &out); err != nil {
		return Specification{}, fmt.Errorf("cannot get the deployment specification: %w", err)
	}
	envelope := out.DeploymentSpecification.GenericEnvelope
	refuse := func(err error) (Specification, error) {
		return Specification{}, fmt.Errorf("%w of deployment %s: %v", ErrUnacceptable, last(cmd.Execution), err)
	}
	if out.DeploymentSystem != "CodeDeploy" {
		return refuse(fmt.Errorf("it is of the system %q, not of CodeDeploy", out.DeploymentSystem))
	}
	content, signer, err := c.trust().open(envelope.Format, envelope.Payload)
	if err != nil {
		return refuse(err)
	}
	spec, err := parse(content)
	if err != nil {
		return refuse(err)
	}
	if of := last(cmd.Execution); spec.DeploymentID != of {
		return refuse(fmt.Errorf("it is the specification of deployment %s", spec.DeploymentID))
	}
	spec.Signer = signer
	c.notifySigner(signer)
	return spec, nil
}

// last is what follows the last slash: the id in the name of a deployment.
func last(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// deploymentForm is an id as the service makes them. It becomes the name of files and units.
var deploymentForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^d-[A-Za-z0-9-]{1,64}$`) })

// The content of an envelope, as far as it is read.
type content struct {
	DeploymentId, DeploymentGroupId, DeploymentGroupName, ApplicationName string
	DeploymentCreator, DeploymentType, AppSpecFilename                    string

	Revision struct {
		RevisionType   string
		S3Revision     *struct{ Bucket, Key, BundleType, Version, ETag string }
		GitHubRevision *struct{ Account, Repository, CommitId, BundleType string }
	}
	AgentActionOverrides struct {
		AgentOverrides struct{ FileExistsBehavior string }
	}
}

// parse reads a specification. Other members than those of content are ignored, whatever their type: the service may
// have more. Known of these are ReuseArchiveFromDeploymentId, with which AWS's agents take the bundle of a restart
// from an earlier deployment's directory (usher fetches the revision and verifies it, as theirs do when that is
// gone), and AllPossibleLifecycleEvents, which the service does not send: what is an event is usher's to know.
func parse(text []byte) (Specification, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{")) {
		return Specification{}, errors.New("its content is not a JSON object") // null would be one to json
	}
	var in content
	if err := json.Unmarshal(text, &in); err != nil {
		return Specification{}, fmt.Errorf("its content is not the JSON of a specification: %v", err)
	}
	for _, m := range [][2]string{
		{"DeploymentId", in.DeploymentId}, {"DeploymentGroupId", in.DeploymentGroupId},
		{"DeploymentGroupName", in.DeploymentGroupName}, {"ApplicationName", in.ApplicationName},
	} {
		if m[1] == "" {
			return Specification{}, fmt.Errorf("it has no %s", m[0])
		}
	}
	spec := Specification{
		DeploymentID: last(in.DeploymentId),
		Application:  in.ApplicationName,
		Group:        in.DeploymentGroupName,
		GroupID:      in.DeploymentGroupId,
		Creator:      in.DeploymentCreator,
		Type:         in.DeploymentType,
		AppSpecFile:  in.AppSpecFilename,
		FileExists:   strings.ToUpper(in.AgentActionOverrides.AgentOverrides.FileExistsBehavior),
	}
	if spec.Creator == "" {
		spec.Creator = "user"
	}
	if spec.Type == "" {
		spec.Type = "IN_PLACE"
	}
	switch {
	case !deploymentForm().MatchString(spec.DeploymentID):
		return Specification{}, fmt.Errorf("its DeploymentId is %q, which is none", in.DeploymentId)
	case spec.AppSpecFile != "" && !filepath.IsLocal(spec.AppSpecFile):
		return Specification{}, fmt.Errorf("its AppSpecFilename is %q, which leads out of the bundle", spec.AppSpecFile)
	case !slices.Contains([]string{"", "DISALLOW", "OVERWRITE", "RETAIN"}, spec.FileExists):
		return Specification{}, fmt.Errorf("its FileExistsBehavior is %q: usher knows DISALLOW, OVERWRITE and RETAIN", spec.FileExists)
	}
	return spec, spec.locate(in)
}

// locate takes over where the revision is, if usher deploys from there.
func (s *Specification) locate(in content) error {
	switch kind := in.Revision.RevisionType; kind {
	case "S3":
		at := in.Revision.S3Revision
		switch {
		case at == nil:
			return errors.New("its revision is of type S3, but has no S3Revision")
		case at.Bucket == "", at.Key == "":
			return fmt.Errorf("its revision in S3 has no bucket or no key: s3://%s/%s", at.Bucket, at.Key)
		case !slices.Contains([]string{"tar", "tgz", "zip"}, at.BundleType):
			return fmt.Errorf("the bundle type of s3://%s/%s is %q: it must be tar, tgz or zip", at.Bucket, at.Key, at.BundleType)
		}
		s.S3 = &S3{Bucket: at.Bucket, Key: at.Key, BundleType: at.BundleType, Version: at.Version, ETag: strings.Trim(at.ETag, `"`)}
	case "GitHub":
		at := in.Revision.GitHubRevision
		switch {
		case at == nil:
			return errors.New("its revision is of type GitHub, but has no GitHubRevision")
		case at.Account == "", at.Repository == "", at.CommitId == "":
			return fmt.Errorf("its revision on GitHub is not whole: account %q, repository %q, commit %q", at.Account, at.Repository, at.CommitId)
		case !slices.Contains([]string{"", "tar", "zip"}, at.BundleType):
			return fmt.Errorf("the bundle type of github.com/%s/%s is %q: it must be tar or zip", at.Account, at.Repository, at.BundleType)
		}
		s.GitHub = &GitHub{Account: at.Account, Repository: at.Repository, CommitID: at.CommitId, BundleType: at.BundleType}
	default:
		return fmt.Errorf("its revision is of type %q: usher deploys from S3 and GitHub", kind)
	}
	return nil
}

// Package config is the agent's configuration: /etc/usher/agent.yml, read once, with the defaults, the checks of its values, and
// the instance's tags that win over it. It also says where in a YAML file a mistake is (errors.go), for agent.yml and for a
// developer's usher.yml alike. It asks nobody anything: it reads one file.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"usher/agent/bundle"
	"usher/agent/instance"
	"usher/agent/release"
	"usher/hooks"
)

// Config is /etc/usher/agent.yml. The file is strict: a key this version does not know is an error, not
// something to skip over. packaging/agent.yml is the same, key by key, for the platform engineer.
type Config struct {
	Application     string `yaml:"application"`      // CodeDeploy application; the tag usher:application wins
	DeploymentGroup string `yaml:"deployment_group"` // its one deployment group; the tag usher:deployment-group wins
	Bucket          string `yaml:"bucket"`           // where its revisions are, as a rule: connections are opened ahead; "" for none; the tag usher:bucket wins
	LifecycleHook   string `yaml:"lifecycle_hook"`   // "" for the group's only launch hook

	Link         string `yaml:"link"`          // the application's path: a symbolic link
	Base         string `yaml:"base"`          // the application baked into the image
	Releases     string `yaml:"releases"`      // where releases are kept
	KeepReleases int    `yaml:"keep_releases"` // good releases kept, the live one included; two at the least

	Errexit      hooks.Policy  `yaml:"errexit"`       // enforce, require, report or off
	RoleHooks    string        `yaml:"role_hooks"`    // folder of role hooks
	OnFailure    string        `yaml:"on_failure"`    // abandon, continue or hold
	HoldTimeout  time.Duration `yaml:"hold_timeout"`  // how long hold keeps a failed instance before ABANDON
	OnTerminate  string        `yaml:"on_terminate"`  // ignore or stop
	RetryTimeout time.Duration `yaml:"retry_timeout"` // how long a call or download that fails is tried again

	HostCommands       bool          `yaml:"host_commands"`        // answer CodeDeploy's deployments after the launch
	EnableAuthPolicy   bool          `yaml:"enable_auth_policy"`   // ask codedeploy-commands-secure for them, the service with a VPC endpoint, which asks IAM
	SignerCA           string        `yaml:"signer_ca_file"`       // authorities that may sign their specifications; "" for any
	DriftCheckInterval time.Duration `yaml:"drift_check_interval"` // how often to look whether the group has moved on; 0 for never

	MaxFiles int   `yaml:"max_files"` // in a bundle
	MaxBytes int64 `yaml:"max_bytes"` // of a bundle, unpacked

	GitHubAPI string `yaml:"github_api"` // for revisions in public GitHub repositories
	StateDir  string `yaml:"state_dir"`  // folder of the record
}

// What to do when a deployment failed at launch, and when the instance is terminated.
const (
	OnFailureAbandon  = "abandon"  // ABANDON: the instance is replaced
	OnFailureContinue = "continue" // CONTINUE on what was live before: for groups that prefer old code to no server
	OnFailureHold     = "hold"     // keep the instance for hold_timeout, for a person to look, then ABANDON

	onTerminateIgnore = "ignore"
	OnTerminateStop   = "stop" // run ApplicationStop, then let the instance go
)

// Tags that win over the file, so that one image serves staging and production.
const (
	tagApplication = "usher:application"
	tagGroup       = "usher:deployment-group"
	tagBucket      = "usher:bucket"
)

// DefaultFile is where the agent, and the commands that ask it, look for the configuration.
const DefaultFile = "/etc/usher/agent.yml"

// Default is the configuration of a server whose file sets nothing.
func Default() Config {
	return Config{
		Link:     "/opt/app",
		Base:     "/opt/app-base",
		Releases: "/opt/app-releases",
		// One to run, one to go back to, one to compare with.
		KeepReleases: 3,
		Errexit:      hooks.Enforce,
		RoleHooks:    "/etc/usher/hooks.d",
		OnFailure:    OnFailureAbandon,
		// Long enough to notice, log in and look; short enough for a forgotten instance to cost little.
		HoldTimeout: 30 * time.Minute,
		OnTerminate: onTerminateIgnore,
		// An outage of S3 or CodeDeploy is waited out while the hook's heartbeats hold the launch. Replacing
		// the instance would not help: its successor meets the same outage. A tenth of it bounds the pauses
		// after throttled calls: they are as long as a thousand launches at once need.
		RetryTimeout: 10 * time.Minute,
		HostCommands: true,
		// A missed deployment is rare; 10,000 servers then ask CodeDeploy 11 times a second together.
		DriftCheckInterval: 15 * time.Minute,
		MaxFiles:           bundle.DefaultMaxFiles,
		MaxBytes:           bundle.DefaultMaxBytes,
		GitHubAPI:          "https://api.github.com",
		StateDir:           "/var/lib/usher",
	}
}

// Load reads the file over the defaults. The default file may be absent (the tags can say all that
// has no default); one that was asked for may not.
func Load(file string) (Config, error) {
	c := Default()
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && file == DefaultFile {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("cannot read the configuration: %w", err)
	}
	read := c
	if err := yaml.UnmarshalWithOptions(text, &read, yaml.Strict()); err != nil && !errors.Is(err, io.EOF) {
		return c, fmt.Errorf("%w: %s", ErrInvalid, Locate(file, text, err, reflect.TypeFor[Config]()))
	}
	if read == (Config{}) { // a file of comments is null, which the parser takes for "set nothing to everything"
		read = c
	}
	c = read
	if err := c.validate(); err != nil {
		return c, fmt.Errorf("%w: %s", ErrInvalid, Locate(file, text, err, reflect.TypeFor[Config]()))
	}
	return c, nil
}

// WithLink is the configuration with the application's path at another place; "" leaves it.
func (c Config) WithLink(link string) (Config, error) {
	if link != "" {
		c.Link = link
	}
	return c, c.validate()
}

func (c Config) validate() error {
	for _, p := range [][2]string{{"link", c.Link}, {"base", c.Base}, {"releases", c.Releases}, {"role_hooks", c.RoleHooks}, {"state_dir", c.StateDir}} {
		if at := p[1]; !path.IsAbs(at) || at == "/" || at != path.Clean(at) { // a server's, whatever this machine is
			return invalid(p[0], " is %q: it must be an absolute path without . or .. or a slash at the end", at)
		}
	}
	for _, p := range [][4]string{{"link", c.Link, "base", c.Base}, {"link", c.Link, "releases", c.Releases}, {"base", c.Base, "releases", c.Releases}} {
		if within(p[1], p[3]) || within(p[3], p[1]) {
			return Invalid(fmt.Sprintf("%s (%s) and %s (%s) must not be in one another", p[0], p[1], p[2], p[3]), p[2], p[0])
		}
	}
	switch {
	case c.KeepReleases < 1 || c.KeepReleases > 100:
		return invalid("keep_releases", " is %d: it must be 1 to 100", c.KeepReleases)
	case c.OnFailure != OnFailureAbandon && c.OnFailure != OnFailureContinue && c.OnFailure != OnFailureHold:
		return invalid("on_failure", " is %q: it must be abandon, continue or hold", c.OnFailure)
	case c.OnTerminate != onTerminateIgnore && c.OnTerminate != OnTerminateStop:
		return invalid("on_terminate", " is %q: it must be ignore or stop", c.OnTerminate)
	case c.HoldTimeout <= 0:
		return invalid("hold_timeout", " is %s: it must be more than 0", c.HoldTimeout)
	case c.RetryTimeout < 0:
		return invalid("retry_timeout", " is %s: it must not be less than 0", c.RetryTimeout)
	case c.DriftCheckInterval < 0:
		return invalid("drift_check_interval", " is %s: it must not be less than 0", c.DriftCheckInterval)
	case c.SignerCA != "" && !path.IsAbs(c.SignerCA):
		return invalid("signer_ca_file", " is %q: it must be an absolute path", c.SignerCA)
	case c.MaxFiles < 1:
		return invalid("max_files", " is %d: it must be at least 1", c.MaxFiles)
	case c.MaxBytes < 1:
		return invalid("max_bytes", " is %d: it must be at least 1", c.MaxBytes)
	}
	if _, err := hooks.ParsePolicy(string(c.Errexit)); err != nil {
		return invalid("errexit", " is %q: it must be enforce, require, report or off", c.Errexit)
	}
	return nil
}

func within(path, parent string) bool { return path == parent || strings.HasPrefix(path, parent+"/") }

// IsName says whether CodeDeploy allows s as the name of an application or a deployment group.
func IsName(s string) bool {
	n := utf8.RuneCountInString(s)
	return n >= 1 && n <= 100 && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' })
}

// ErrInvalid is a configuration that cannot be used, exit code 2: to start again does not help.
var ErrInvalid = errors.New("cannot use the configuration")

// ForInstance is the configuration of one instance: its tags win for application, group and bucket.
func (c Config) ForInstance(me instance.Identity) (Config, error) {
	if v := me.Tags[tagApplication]; v != "" {
		c.Application = v
	}
	if v := me.Tags[tagGroup]; v != "" {
		c.DeploymentGroup = v
	}
	if v := me.Tags[tagBucket]; v != "" {
		c.Bucket = v
	}
	if !IsName(c.Application) || !IsName(c.DeploymentGroup) {
		return c, fmt.Errorf("%w: it does not say which deployment group is this server's (application %q, deployment_group %q): set both in %s, "+
			"or tag the instance with %s and %s and show tags in its metadata (InstanceMetadataTags=enabled in the launch template)",
			ErrInvalid, c.Application, c.DeploymentGroup, DefaultFile, tagApplication, tagGroup)
	}
	return c, nil
}

// Layout is where this configuration has the application on disk.
func (c Config) Layout() release.Layout {
	return release.Layout{Link: c.Link, Base: c.Base, Releases: c.Releases}
}

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"usher/agent/bundle"
	"usher/agent/instance"
	"usher/hooks"
)

// Config is /etc/usher/agent.yml. The file is strict: a key this version does not know is an error, not
// something to skip over. packaging/agent.yml is the same, key by key, for the platform engineer.
type Config struct {
	Application     string `yaml:"application"`      // CodeDeploy application; the tag usher:application wins
	DeploymentGroup string `yaml:"deployment_group"` // its one deployment group; the tag usher:deployment-group wins
	LifecycleHook   string `yaml:"lifecycle_hook"`   // "" for the group's only launch hook

	Link     string `yaml:"link"`     // the application's path: a symbolic link
	Base     string `yaml:"base"`     // the application baked into the image
	Releases string `yaml:"releases"` // where releases are kept
	Keep     int    `yaml:"keep"`     // good releases kept, the live one included; two at the least

	Errexit     hooks.Policy  `yaml:"errexit"`      // enforce, require or off
	RoleHooks   string        `yaml:"role_hooks"`   // folder of role hooks
	OnFailure   string        `yaml:"on_failure"`   // abandon, continue or hold
	HoldFor     time.Duration `yaml:"hold_for"`     // how long hold keeps a failed instance before ABANDON
	OnTerminate string        `yaml:"on_terminate"` // ignore or stop
	Patience    time.Duration `yaml:"patience"`     // how long a call or download that fails is tried again

	HostCommands bool          `yaml:"host_commands"`  // answer CodeDeploy's deployments after the launch
	SignerCA     string        `yaml:"signer_ca_file"` // authorities that may sign their specifications; "" for any
	DriftRepair  time.Duration `yaml:"drift_repair"`   // how often to look whether the group has moved on; 0 for never

	MaxFiles int   `yaml:"max_files"` // in a bundle
	MaxBytes int64 `yaml:"max_bytes"` // of a bundle, unpacked

	GitHubAPI string `yaml:"github_api"` // for revisions in public GitHub repositories
	State     string `yaml:"state"`      // folder of the record
}

// What to do when a deployment failed at launch, and when the instance is terminated.
const (
	onFailureAbandon  = "abandon"  // ABANDON: the instance is replaced
	onFailureContinue = "continue" // CONTINUE on what was live before: for groups that prefer old code to no server
	onFailureHold     = "hold"     // keep the instance for hold_for, for a person to look, then ABANDON

	onTerminateIgnore = "ignore"
	onTerminateStop   = "stop" // run ApplicationStop, then let the instance go
)

// Tags that win over the file, so that one image serves staging and production.
const (
	tagApplication = "usher:application"
	tagGroup       = "usher:deployment-group"
)

const defaultConfigFile = "/etc/usher/agent.yml"

func defaultConfig() Config {
	return Config{
		Link:     "/opt/app",
		Base:     "/opt/app-base",
		Releases: "/opt/app-releases",
		// One to run, one to go back to, one to compare with.
		Keep:      3,
		Errexit:   hooks.Enforce,
		RoleHooks: "/etc/usher/hooks.d",
		OnFailure: onFailureAbandon,
		// Long enough to notice, log in and look; short enough for a forgotten instance to cost little.
		HoldFor:     30 * time.Minute,
		OnTerminate: onTerminateIgnore,
		// An outage of S3 or CodeDeploy is waited out while the hook's heartbeats hold the launch. Replacing
		// the instance would not help: its successor meets the same outage. A tenth of it bounds the pauses
		// after throttled calls: they are as long as a thousand launches at once need.
		Patience:     10 * time.Minute,
		HostCommands: true,
		// A missed deployment is rare; 10,000 servers then ask CodeDeploy 11 times a second together.
		DriftRepair: 15 * time.Minute,
		MaxFiles:    bundle.DefaultMaxFiles,
		MaxBytes:    bundle.DefaultMaxBytes,
		GitHubAPI:   "https://api.github.com",
		State:       "/var/lib/usher",
	}
}

// loadConfig reads the file over the defaults. The default file may be absent (the tags can say all that
// has no default); one that was asked for may not.
func loadConfig(file string) (Config, error) {
	c := defaultConfig()
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && file == defaultConfigFile {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("cannot read the configuration: %w", err)
	}
	read := c
	if err := yaml.UnmarshalWithOptions(text, &read, yaml.Strict()); err != nil && !errors.Is(err, io.EOF) {
		return c, fmt.Errorf("%w: %s", errConfiguration, explain(file, text, err))
	}
	if read == (Config{}) { // a file of comments is null, which the parser takes for "set nothing to everything"
		read = c
	}
	c = read
	if err := c.validate(); err != nil {
		return c, fmt.Errorf("%w: %s", errConfiguration, explain(file, text, err))
	}
	return c, nil
}

func (c Config) validate() error {
	for _, p := range [][2]string{{"link", c.Link}, {"base", c.Base}, {"releases", c.Releases}, {"role_hooks", c.RoleHooks}, {"state", c.State}} {
		if path := p[1]; !filepath.IsAbs(path) || path == "/" || path != filepath.Clean(path) {
			return mistaken(p[0], " is %q: it must be an absolute path without . or .. or a slash at the end", path)
		}
	}
	for _, p := range [][4]string{{"link", c.Link, "base", c.Base}, {"link", c.Link, "releases", c.Releases}, {"base", c.Base, "releases", c.Releases}} {
		if within(p[1], p[3]) || within(p[3], p[1]) {
			return mistake{[]string{p[2], p[0]}, fmt.Sprintf("%s (%s) and %s (%s) must not be in one another", p[0], p[1], p[2], p[3])}
		}
	}
	switch {
	case c.Keep < 1 || c.Keep > 100:
		return mistaken("keep", " is %d: it must be 1 to 100", c.Keep)
	case c.OnFailure != onFailureAbandon && c.OnFailure != onFailureContinue && c.OnFailure != onFailureHold:
		return mistaken("on_failure", " is %q: it must be abandon, continue or hold", c.OnFailure)
	case c.OnTerminate != onTerminateIgnore && c.OnTerminate != onTerminateStop:
		return mistaken("on_terminate", " is %q: it must be ignore or stop", c.OnTerminate)
	case c.HoldFor <= 0:
		return mistaken("hold_for", " is %s: it must be more than 0", c.HoldFor)
	case c.Patience < 0:
		return mistaken("patience", " is %s: it must not be less than 0", c.Patience)
	case c.DriftRepair < 0:
		return mistaken("drift_repair", " is %s: it must not be less than 0", c.DriftRepair)
	case c.SignerCA != "" && !filepath.IsAbs(c.SignerCA):
		return mistaken("signer_ca_file", " is %q: it must be an absolute path", c.SignerCA)
	case c.MaxFiles < 1:
		return mistaken("max_files", " is %d: it must be at least 1", c.MaxFiles)
	case c.MaxBytes < 1:
		return mistaken("max_bytes", " is %d: it must be at least 1", c.MaxBytes)
	}
	if _, err := hooks.ParsePolicy(string(c.Errexit)); err != nil {
		return mistaken("errexit", " is %q: it must be enforce, require or off", c.Errexit)
	}
	return nil
}

func within(path, parent string) bool { return path == parent || strings.HasPrefix(path, parent+"/") }

// isName says whether CodeDeploy allows s as the name of an application or a deployment group.
func isName(s string) bool {
	n := utf8.RuneCountInString(s)
	return n >= 1 && n <= 100 && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' })
}

// errConfiguration is exit code 2: to start again does not help.
var errConfiguration = errors.New("cannot use the configuration")

// of is the configuration of one instance: its tags win for application and group.
func (c Config) of(me instance.Identity) (Config, error) {
	if v := me.Tags[tagApplication]; v != "" {
		c.Application = v
	}
	if v := me.Tags[tagGroup]; v != "" {
		c.DeploymentGroup = v
	}
	if !isName(c.Application) || !isName(c.DeploymentGroup) {
		return c, fmt.Errorf("%w: it does not say which deployment group is this server's (application %q, deployment_group %q): set both in %s, "+
			"or tag the instance with %s and %s and show tags in its metadata (InstanceMetadataTags=enabled in the launch template)",
			errConfiguration, c.Application, c.DeploymentGroup, defaultConfigFile, tagApplication, tagGroup)
	}
	return c, nil
}

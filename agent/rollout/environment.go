package rollout

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"

	"usher/agent/config"
	"usher/hooks"
)

// FileName is the name of the file that has an application's environments.
const FileName = "usher.yml"

// Example is a small usher.yml, for somebody who has none.
const Example = `application: shop
environments:
  production:
    deployment_group: production
    bucket: acme-revisions
    region: eu-west-1
    branch: origin/main
    confirm: true
`

// ErrNoFile is what Find returns when there is no usher.yml.
var ErrNoFile = errors.New("there is no " + FileName)

// Environment is where an application can be deployed to: one CodeDeploy deployment group, and the bucket its
// revisions are in.
type Environment struct {
	Name            string
	Application     string // CodeDeploy application
	DeploymentGroup string
	Bucket          string // of the region below
	Prefix          string // folder in the bucket: "" or ends with a slash
	Region          string
	Profile         string // of the developer's AWS configuration; "" is the default one
	Account         string // AWS account that it is in; "" does not say
	Branch          string // ref that is deployed when none is named; "" when one must be
	Path            string // the directory that is deployed, relative to that of usher.yml; "" is the repository
	Link            string // the application's path on the servers; "" is the usual one
	Confirm         bool   // ask before deploying
	Built           string // what is deployed in place of the commit's files: a directory or archive, absolute; "" for those
	Build           string // the command that makes it; "" for none
	Submodules, LFS bool   // pack the files of submodules, and those in Git LFS
	On              On
}

// Key is where the environment's bucket has a bundle, by its Name.
func (e Environment) Key(name string) string { return e.Prefix + e.Application + "/" + name + ".tgz" }

// Find is the path of the usher.yml in dir, or in the nearest directory above it that is not above the top of
// the git repository. The error is ErrNoFile when there is none.
func Find(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("cannot look for %s: %w", FileName, err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		file := filepath.Join(at, FileName)
		switch _, err := os.Stat(file); {
		case err == nil:
			return file, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("cannot look for %s: %w", FileName, err)
		}
		// A file in a linked working tree or a submodule, a directory otherwise.
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil || at == filepath.Dir(at) {
			return "", fmt.Errorf("%w in %s, nor above it in its repository: `usher init` writes one", ErrNoFile, dir)
		}
	}
}

// contents is usher.yml as it is written.
type contents struct {
	Application  string              `yaml:"application"`
	Path         string              `yaml:"path"`
	Bundle       string              `yaml:"bundle"`
	Build        string              `yaml:"build"`
	Submodules   bool                `yaml:"submodules"`
	LFS          bool                `yaml:"lfs"`
	On           On                  `yaml:"on"`
	Environments map[string]settings `yaml:"environments"`
}

// settings is one environment as it is written.
type settings struct {
	Application     string `yaml:"application"`
	DeploymentGroup string `yaml:"deployment_group"`
	Bucket          string `yaml:"bucket"`
	Prefix          string `yaml:"prefix"`
	Region          string `yaml:"region"`
	Profile         string `yaml:"profile"`
	Account         string `yaml:"account"`
	Branch          string `yaml:"branch"`
	Link            string `yaml:"link"`
	Confirm         bool   `yaml:"confirm"`
	Path            string `yaml:"path"`
	Bundle          string `yaml:"bundle"`
	Build           string `yaml:"build"`
	Submodules      bool   `yaml:"submodules"`
	LFS             bool   `yaml:"lfs"`
	On              On     `yaml:"on"`
}

// shape is what an usher.yml is read into, for the errors about it.
var shape = []reflect.Type{reflect.TypeFor[contents](), reflect.TypeFor[On](), reflect.TypeFor[settings]()}

// Load reads the environments from an usher.yml, in their order. A mistake in it is an error of the form
// file:line:col: message.
func Load(file string) ([]Environment, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the environments: %w", err)
	}
	var c contents
	if err := yaml.UnmarshalWithOptions(text, &c, yaml.Strict()); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New(config.Locate(file, text, err, shape...))
	}
	var order struct {
		Environments yaml.MapSlice `yaml:"environments"`
	}
	if err := yaml.Unmarshal(text, &order); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New(config.Locate(file, text, err, shape...))
	}
	if len(c.Environments) == 0 {
		return nil, errors.New(config.Locate(file, text, config.Invalid("environments is empty: name at least one, such as production, with its deployment_group, bucket and region", "environments"), shape...))
	}
	var all []Environment
	for _, item := range order.Environments {
		name := fmt.Sprint(item.Key)
		set := c.Environments[name]
		set.Path = cmp.Or(set.Path, c.Path)
		set.Bundle, set.Build = cmp.Or(set.Bundle, c.Bundle), cmp.Or(set.Build, c.Build)
		set.On = On{cmp.Or(set.On.Started, c.On.Started), cmp.Or(set.On.Succeeded, c.On.Succeeded), cmp.Or(set.On.Failed, c.On.Failed)}
		set.Submodules, set.LFS = set.Submodules || c.Submodules, set.LFS || c.LFS
		e, err := set.environment(name, c.Application)
		if err != nil {
			return nil, errors.New(config.Locate(file, text, err, shape...))
		}
		if e.Built != "" {
			e.Built = filepath.Join(filepath.Dir(file), e.Built)
		}
		all = append(all, e)
	}
	return all, nil
}

// form is a regular expression that is compiled when it is asked for. The ones with a count take 50 kB and more, which
// every usher would spend at its start, the agent on a server too.
func form(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

var (
	environmentForm = form(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`) // stands in commands, and in completions of them
	nameForm        = form(`^[^\x00-\x1f]{1,100}$`)            // what CodeDeploy allows
	bucketForm      = form(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionForm      = form(`^[a-z]+(-[a-z]+)+-[0-9]+$`)
	prefixForm      = form(`^[A-Za-z0-9!_.*'()-][A-Za-z0-9!_.*'()/-]*$`) // S3's safe characters
)

// subcommands are what an environment may not be called: what stands behind `usher deploy` in its place.
var subcommands = []string{"status", "list", "stop", "help"}

// environment is the settings of name, with the application of the whole file where they have none.
func (s settings) environment(name, application string) (Environment, error) {
	path := "environments." + name
	wrong := func(key, format string, args ...any) (Environment, error) {
		return Environment{}, config.Invalid(key+" of "+name+" "+fmt.Sprintf(format, args...), path+"."+key)
	}
	if slices.Contains(subcommands, name) {
		return Environment{}, config.Invalid(fmt.Sprintf("environment %q: `usher deploy %s` is a command: give it another name", name, name), path)
	}
	if !environmentForm().MatchString(name) {
		return Environment{}, config.Invalid(fmt.Sprintf("environment %q: a name is letters, digits, - and _", name), path)
	}
	if s.Application == "" {
		s.Application = application
	}
	if s.Prefix != "" && !strings.HasSuffix(s.Prefix, "/") {
		s.Prefix += "/"
	}
	switch {
	case s.Application == "":
		return wrong("application", "is missing: give the CodeDeploy application, here or at the top of the file for all environments")
	case !nameForm().MatchString(s.Application):
		return wrong("application", "is %q: it must be 1 to 100 characters, without control characters", s.Application)
	case s.DeploymentGroup == "":
		return wrong("deployment_group", "is missing: give the CodeDeploy deployment group that has the servers")
	case !nameForm().MatchString(s.DeploymentGroup):
		return wrong("deployment_group", "is %q: it must be 1 to 100 characters, without control characters", s.DeploymentGroup)
	case s.Bucket == "":
		return wrong("bucket", "is missing: give the S3 bucket for the revisions")
	case !bucketForm().MatchString(s.Bucket):
		return wrong("bucket", "is %q: it must be the bucket's name alone, such as acme-revisions", s.Bucket)
	case s.Region == "":
		return wrong("region", "is missing: give the AWS Region of the deployment group, such as eu-west-1")
	case !regionForm().MatchString(s.Region):
		return wrong("region", "is %q: it must be a Region such as eu-west-1", s.Region)
	case s.Account != "" && (len(s.Account) != 12 || strings.Trim(s.Account, "0123456789") != ""):
		return wrong("account", "is %q: it must be the 12 digits of an AWS account, in quotes", s.Account)
	case s.Prefix != "" && !prefixForm().MatchString(s.Prefix):
		return wrong("prefix", "is %q: it must be a folder such as revisions/, of letters, digits and !_.*'()-, without a slash before it", s.Prefix)
	case s.Path != "" && !filepath.IsLocal(s.Path):
		return wrong("path", "is %q: it must be a path below the directory of %s, such as services/shop", s.Path, FileName)
	case s.Bundle != "" && !filepath.IsLocal(s.Bundle):
		return wrong("bundle", "is %q: it must be a path below the directory of %s, such as dist/", s.Bundle, FileName)
	case s.Build != "" && s.Bundle == "":
		return wrong("build", "has no bundle: name the directory or archive that `%s` makes", s.Build)
	case strings.HasPrefix(s.Branch, "-"):
		return wrong("branch", "is %q: it must be a ref such as origin/main", s.Branch)
	}
	if _, err := config.Default().WithLink(s.Link); err != nil {
		return wrong("link", "cannot be used: %v", err)
	}
	return Environment{
		Name: name, Application: s.Application, DeploymentGroup: s.DeploymentGroup, Bucket: s.Bucket, Prefix: s.Prefix,
		Region: s.Region, Profile: s.Profile, Account: s.Account, Branch: s.Branch, Link: s.Link, Confirm: s.Confirm,
		Built: s.Bundle, Build: s.Build, Path: s.Path, Submodules: s.Submodules, LFS: s.LFS, On: s.On,
	}, nil
}

// ByName is the environment of that name. The error for an unknown one names those there are.
func ByName(all []Environment, name string) (Environment, error) {
	var names []string
	for _, e := range all {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	hint := "the environments in " + FileName + " are " + strings.Join(names, ", ")
	if near := hooks.Closest(name, names); near != "" {
		hint = "did you mean " + near + "? " + strings.ToUpper(hint[:1]) + hint[1:]
	}
	return Environment{}, fmt.Errorf("there is no environment %q: %s", name, hint)
}

// EnvironmentName is a text as an environment may be called: without what may not be in a name, "" where nothing is left.
func EnvironmentName(text string) string {
	name := strings.Trim(strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r < 0x80 && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z') {
			return r
		}
		return '-'
	}, text), "-_")
	name = name[:min(len(name), 64)]
	if slices.Contains(subcommands, name) {
		name += "-servers"
	}
	return name
}

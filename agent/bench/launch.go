package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"usher/agent/bundle"
	"usher/agent/standin"
)

const whoScript = "user-data script"

// userData is the script that usher's launch is compared with.
//
//go:embed testdata/user-data.sh
var userData string

// Names in this AWS.
const (
	application = "shop"
	hookName    = "usher-launch"
)

// launchLimit bounds one launch, which takes seconds at the most.
const launchLimit = time.Minute

// launches takes an instance from the start of its agent, or of its user-data script, to the verdict as Auto Scaling
// gets it.
func (b *bench) launches(ctx context.Context) error {
	for _, l := range []struct {
		corpus corpus
		rounds int
		atMost float64
	}{{small, 11, 0.05}, {big, 9, 0.18}} {
		g, err := b.group(l.corpus)
		if err != nil {
			return err
		}
		if err := b.race(ctx, row{Name: "a " + l.corpus.name + " revision, " + l.corpus.about, Goals: []goal{{Against: whoScript, AtMost: l.atMost}},
			Note: "three scripts, as processes; usher's release survives a power cut, the script's may not"}, b.rounds(l.rounds),
			subject{who: whoUsher, run: func(ctx context.Context) (time.Duration, error) {
				return b.launch(ctx, g, func(s *server) *exec.Cmd { return s.usher(ctx, b.usher, "-once") })
			}},
			subject{whoScript, []string{"aws", "curl", "unzip"}, func(ctx context.Context) (time.Duration, error) {
				return b.launch(ctx, g, func(s *server) *exec.Cmd { return s.userData(ctx) })
			}},
		); err != nil {
			return err
		}
	}
	return nil
}

// launch launches an instance and runs a program on it, and says how long it took from its start to the verdict.
func (b *bench) launch(ctx context.Context, g *group, program func(*server) *exec.Cmd) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, launchLimit)
	defer cancel()
	s, err := b.launched(g)
	if err == nil {
		err = coolDown(b.disk)
	}
	if err != nil {
		return 0, err
	}
	cmd := program(s)
	began := time.Now()
	said, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w\n%s", err, said)
	}
	if err := s.instance.WaitFor(ctx, standin.InService); err != nil {
		return 0, err
	}
	if err := s.runsIt(); err != nil {
		return 0, err
	}
	for _, t := range s.instance.History() {
		if t.State == standin.PendingProceed {
			return t.At.Sub(began), nil
		}
	}
	return 0, errors.New("the instance was never let go")
}

// A group is an Auto Scaling group with a deployment group of its own, both of one name, and a revision for it.
type group struct {
	name     string
	revision standin.Revision
}

// group makes a group for a part, whose new instances get a corpus.
func (b *bench) group(c corpus) (*group, error) {
	archive, err := b.archive(c, bundle.Zip)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(archive)
	if err != nil {
		return nil, fmt.Errorf("cannot read the bundle: %w", err)
	}
	g := &group{name: b.part + "-" + c.name}
	if g.revision, err = b.upload(g.name+".zip", content); err != nil {
		return nil, err
	}
	b.fleet(g)
	return g, nil
}

// fleet makes the groups, in AWS, that a group stands for.
func (b *bench) fleet(g *group) {
	b.cloud.CreateGroup(standin.Group{Name: g.name, NoReplacement: true})
	b.cloud.PutHook(g.name, standin.Hook{Name: hookName})
	b.cloud.PublishRevision(application, g.name, g.revision)
}

func (b *bench) upload(key string, content []byte) (standin.Revision, error) {
	etag, version, err := b.cloud.Upload(b.cloud.Bucket, key, content)
	return standin.S3Revision(b.cloud.Bucket, key, bundle.Zip, version, etag), err
}

// A server is an instance with a file tree of its own.
type server struct {
	root     string
	instance *standin.Instance
	environ  []string
	group    *group
}

func (s *server) path(name string) string { return filepath.Join(s.root, name) }

// launched is a new instance in its wait state, with the base image's files.
func (b *bench) launched(g *group) (*server, error) {
	root, err := b.directory(b.disk)
	if err != nil {
		return nil, err
	}
	s := &server{root: root, group: g}
	config := fmt.Sprintf("application: %s\ndeployment_group: %s\nlink: %s\nbase: %s\nreleases: %s\nrole_hooks: %s\nstate_dir: %s\n", application, g.name,
		s.path("opt/app"), s.path("opt/app-base"), s.path("opt/app-releases"), s.path("etc/usher/hooks.d"), s.path("var/lib/usher"))
	for name, content := range map[string]string{
		"opt/app-base/VERSION": "base\n", "etc/usher/agent.yml": config, "var/lib/cloud/user-data.sh": userData,
	} {
		if err := writeFile(s.path(name), content); err != nil {
			return nil, err
		}
	}
	if err := os.Symlink(s.path("opt/app-base"), s.path("opt/app")); err != nil {
		return nil, fmt.Errorf("cannot make the server: %w", err)
	}
	s.instance = b.cloud.Launch(g.name, standin.LaunchOptions{MetadataTags: true, Tags: map[string]string{"usher:bucket": b.cloud.Bucket}}) // as Terraform and CloudFormation make it
	s.environ = append(b.cloud.Environ(s.instance), "PATH="+os.Getenv("PATH"), "HOME="+root)
	return s, nil
}

// usher is the agent on the server.
func (s *server) usher(ctx context.Context, binary string, flags ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, append([]string{"run", "-runner", "processes", "-config", s.path("etc/usher/agent.yml")}, flags...)...)
	cmd.Env = s.environ
	return cmd
}

// userData is the user-data script on the server.
func (s *server) userData(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", s.path("var/lib/cloud/user-data.sh"))
	cmd.Env = append(s.environ, "ROOT="+s.root, "APPLICATION="+application, "GROUP="+s.group.name, "HOOK="+hookName)
	return cmd
}

// runsIt tells what is wrong when the link does not lead to a release whose three scripts have run.
func (s *server) runsIt() error {
	target, err := os.Readlink(s.path("opt/app"))
	if err == nil && !strings.HasPrefix(target, s.path("opt/app-releases")+"/") {
		err = errors.New("the link does not lead to a release")
	}
	for _, script := range []string{"prepare", "configure", "start"} {
		if err == nil {
			_, err = os.Stat(filepath.Join(target, "."+script+".sh.ran"))
		}
	}
	if err != nil {
		return fmt.Errorf("the server does not run its revision: %w", err)
	}
	return nil
}

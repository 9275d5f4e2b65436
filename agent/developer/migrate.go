package developer

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"usher/agent/appspec"
	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/release"
	"usher/hooks"
)

// MigrateCommand is `usher migrate [PATH]`: what is different for a repository that was written for CodeDeploy's agent.
// It finds what `usher check` finds, and sorts it by what somebody who moves has to know.
func MigrateCommand() cli.Command {
	var link string
	var asJSON bool
	c := cli.Command{Name: "migrate", Args: []string{"[PATH]"}, Group: cli.Developer, About: "what differs from CodeDeploy's agent for a repository",
		More: "PATH is a repository or a revision, the working directory when it is left out. Nothing is changed.\n" +
			"exit codes: 0 nothing is refused, 1 something is, 2 usage",
		Flags: func(f *flag.FlagSet) {
			LinkFlag(f, &link)
			f.BoolVar(&asJSON, "json", false, "print one JSON object")
		}}
	c.Run = func(ctx context.Context, in cli.Call) int {
		cfg, err := config.Default().WithLink(link)
		if err != nil {
			return in.Fail(cli.ExitUsage, err)
		}
		path := cmp.Or(in.Arg(0), ".")
		if _, err := os.Stat(path); err != nil {
			return in.Fail(cli.ExitUsage, fmt.Errorf("cannot open the repository: %w", err))
		}
		dir, _, done, err := open(ctx, path, nil)
		if err != nil {
			return in.Fail(cli.ExitFailed, err)
		}
		defer done()
		spec, problems := appspec.ReadPartly(dir)
		if spec == nil { // then there is nothing to compare
			for _, p := range problems {
				err = errors.Join(err, errors.New(p.String()))
			}
			return in.Fail(cli.ExitFailed, err)
		}
		m := compare(cfg, path, dir, spec)
		if asJSON {
			if err := writeJSON(in.Stdout, m); err != nil {
				return in.Fail(cli.ExitFailed, err)
			}
		} else {
			m.print(in.Stdout)
		}
		if len(m.Refused) > 0 {
			return cli.ExitFailed
		}
		return cli.ExitDone
	}
	return c
}

// LinkFlag declares the flag of commands that look at a revision as a server will whose link is elsewhere.
func LinkFlag(flags *flag.FlagSet, link *string) {
	flags.StringVar(link, "link", "", "the application's `PATH` on the server, where agent.yml has a link of its own (default "+config.Default().Link+")")
}

// migration is what `usher migrate` says. Its lists are empty rather than null.
type migration struct {
	Path         string                `json:"path"`
	Link         string                `json:"link"`
	Refused      []hooks.Problem       `json:"refused"`
	Ends         []hooks.Problem       `json:"ends"`
	Differs      []hooks.Problem       `json:"differs"`
	Destinations []release.Destination `json:"destinations"`
	Switch       *switching            `json:"switch,omitempty"`
	Needs        hooks.Needs           `json:"needs"`
	Steps        []string              `json:"steps"`

	others int // warnings that are as true with CodeDeploy's agent
}

// compare looks at the revision at path, which is unpacked in dir.
func compare(cfg config.Config, path, dir string, spec *appspec.Spec) migration {
	m := migration{Path: path, Link: cfg.Link, Needs: needsOf(dir), Refused: []hooks.Problem{}, Ends: []hooks.Problem{}, Differs: []hooks.Problem{},
		Destinations: []release.Destination{}}
	plan, problems := release.Check(layoutOf(cfg), dir, "", hooks.Enforce, hooks.CheckSource)
	m.Destinations = append(m.Destinations, plan.Destinations...)
	for _, p := range problems {
		switch {
		case !p.Warning:
			m.Refused = append(m.Refused, p)
		case p.Kind == hooks.KindErrexit:
			m.Ends = append(m.Ends, p)
		case p.Kind == hooks.KindLive || p.Kind == hooks.KindAgentPath || p.Kind == hooks.KindRestart:
			m.Differs = append(m.Differs, p)
		default:
			m.others++
		}
	}
	m.Differs = append(m.Differs, silentDifferences(spec, m.Needs)...)
	hooks.Sort(m.Differs)
	m.Switch = suggestLink(cfg, dir, plan.Destinations, problems)
	m.Steps = m.steps()
	return m
}

// silentDifferences are those that no line of a script is wrong about, so that check has nothing to say of them.
func silentDifferences(spec *appspec.Spec, needs hooks.Needs) (found []hooks.Problem) {
	say := func(line, col int, format string, args ...any) {
		found = append(found, hooks.Problem{File: spec.File, Line: line, Col: col, Warning: true, Message: fmt.Sprintf(format, args...)})
	}
	if len(spec.Files) == 0 {
		say(0, 0, "it installs no files: the link leads to the whole revision, where CodeDeploy's agent installs nothing")
	}
	for _, p := range spec.Permissions {
		if p.Mode == nil || !p.LeadingZero {
			continue
		}
		if there := strconv.Itoa(int(unixMode(*p.Mode))); strings.Trim(there, "01234567") == "" { // else it refuses the mode
			say(p.Line, p.Col, "its mode is the one that is written, 0%o: CodeDeploy's agent, to which 0%[1]o is a number in octal, sets 0%s", unixMode(*p.Mode), there)
		}
	}
	for _, event := range []string{hooks.ApplicationStop, hooks.BeforeBlockTraffic, hooks.AfterBlockTraffic} {
		if list := spec.Hooks[event]; len(list) > 0 {
			say(list[0].Line, list[0].Col, "a script of %s that fails is a warning, and the deployment goes on", event)
		}
	}
	for _, event := range []string{hooks.BeforeBlockTraffic, hooks.AfterBlockTraffic, hooks.BeforeAllowTraffic, hooks.AfterAllowTraffic} {
		if list := spec.Hooks[event]; len(list) > 0 {
			say(list[0].Line, list[0].Col, "%s runs in a deployment by CodeDeploy with a load balancer, and not at a launch", event)
		}
	}
	var users []string
	first := appspec.Hook{}
	for _, event := range hooks.Events {
		for _, h := range spec.Hooks[event] {
			if h.RunAs != "" && h.RunAs != "root" && !slices.Contains(users, h.RunAs) {
				if len(users) == 0 {
					first = h
				}
				users = append(users, h.RunAs)
			}
		}
	}
	if len(users) > 0 {
		say(first.Line, first.Col, "runas %s is no `su`: limits of /etc/security/limits.conf and variables of /etc/environment are not there", strings.Join(users, ", "))
	}
	if len(needs.Variables) > 0 {
		say(0, 0, "its scripts read %s, which nobody sets: CodeDeploy's agent hands on what /etc/profile sets", strings.Join(needs.Variables, ", "))
	}
	return found
}

// unixMode is the number that chmod takes.
func unixMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// steps is an order that works.
func (m migration) steps() (steps []string) {
	say := func(text string, args ...any) { steps = append(steps, fmt.Sprintf(text, args...)) }
	if len(m.Refused) > 0 {
		say("Correct what is refused: `usher check` then says ok.")
	}
	var settings []string
	if s := m.Switch; s != nil && s.Link != "" {
		settings = append(settings, "`link: "+s.Link+"`")
	} else if m.Link != config.Default().Link {
		settings = append(settings, "`link: "+m.Link+"`")
	}
	if len(m.Ends) > 0 || len(m.Refused) > 0 {
		settings = append(settings, "`errexit: report`")
	}
	rehearse := "usher rehearse --errexit report"
	if s := m.Switch; s != nil && s.Link != "" {
		rehearse += " --link " + s.Link
	} else if m.Link != config.Default().Link {
		rehearse += " --link " + m.Link
	}
	say("Try it on a machine like a server: `%s %s`.", rehearse, m.Path)
	image := "In the image: "
	if len(needed(m.Needs)) > 0 {
		image += "what the server must have; "
	}
	if len(settings) > 0 {
		image += strings.Join(settings, " and ") + " in agent.yml; "
	}
	say("%susher in the place of CodeDeploy's agent; `usher bake`.", image)
	say("One server: launch it, `usher deploy`, and read what its journal warns of.")
	if len(m.Ends) > 0 || len(m.Refused) > 0 {
		say("After a week without a warning of errexit: `errexit: enforce`, which is the default.")
	}
	say("Let the deployment group select its servers by tag, and its Auto Scaling groups go: `usher doctor ENV` says what is left of CodeDeploy's hooks.")
	return steps
}

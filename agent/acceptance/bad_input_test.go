package acceptance

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"usher/agent/release"
	"usher/agent/standin"
)

// Bad input, through a whole launch. Whatever is wrong, the server does not go into service: the verdict is
// ABANDON, the base is live, and nothing on the disk has changed but what the test says.

// refused launches a server on what the test has prepared. It is refused before any script runs, saying all
// of want, and leaves no release.
func (s *stage) refused(want ...string) *agentRun {
	s.Helper()
	r := s.abandoned(want...)
	s.expect("the scripts saw", s.trace(), "")
	s.expect("releases", s.releases(), "")
	return r
}

// abandoned launches a server, which must fail, saying all of want, and leave everything outside the folder
// of releases as it was.
func (s *stage) abandoned(want ...string) *agentRun {
	s.Helper()
	return s.abandonedWith("1", want...)
}

// abandonedWith is abandoned with another exit code: 2 says that starting again cannot help.
func (s *stage) abandonedWith(exit string, want ...string) *agentRun {
	s.Helper()
	before := s.picture()
	server, r, code := s.launch()
	s.waitFor(server, standin.Terminated)
	s.expect("exit code", itoa(code), exit)
	s.expect("verdict", answers(server), "usher-launch ABANDON")
	s.said(r, append(want, "completed the lifecycle action of hook usher-launch with ABANDON")...)
	s.clean()
	after := s.picture()
	delete(after, "trace") // what the scripts wrote
	delete(after, "run/pid")
	delete(after, "opt/.app.spare") // what the link was before the last flip, to go back without an inode
	for name, was := range before {
		if is, ok := after[name]; !ok {
			s.Errorf("%s is gone", name)
		} else if is != was {
			s.Errorf("%s was %q and is %q", name, was, is)
		}
		delete(after, name)
	}
	for name := range after {
		s.Errorf("%s was not there before", name)
	}
	return r
}

// picture is everything on the server's disk but usher's own: path -> content.
func (s *stage) picture() map[string]string {
	s.Helper()
	all := map[string]string{}
	s.must(filepath.Walk(s.dir, func(path string, info os.FileInfo, err error) error {
		name := strings.TrimPrefix(path, s.dir+"/")
		switch {
		case err != nil:
			return err
		case info.IsDir() && (name == "state" || name == "opt/app-releases"):
			return filepath.SkipDir
		case path == s.dir, name == "agent.yml":
			return nil
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(path)
			all[name] = "-> " + target
			return err
		case info.IsDir():
			all[name] = info.Mode().String()
			return nil
		}
		text, err := os.ReadFile(path)
		all[name] = info.Mode().String() + " " + string(text)
		return err
	}))
	return all
}

// releases is what is in the folder of releases: "shop-1 good, shop-2 bad", oldest first, and whatever else
// is there by its name.
func (s *stage) releases() string {
	s.Helper()
	entries, _ := os.ReadDir(s.path("opt/app-releases"))
	var found []release.Metadata
	for _, e := range entries {
		var f release.Metadata
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			text, err := os.ReadFile(s.path("opt/app-releases/" + e.Name()))
			s.must(err)
			s.must(json.Unmarshal(text, &f))
			s.expect("facts of", id, f.ID)
			found = append(found, f)
		} else if _, err := os.Stat(s.path("opt/app-releases/" + strings.TrimSuffix(strings.TrimSuffix(e.Name(), ".bundle"), ".scripts") + ".json")); err != nil {
			found = append(found, release.Metadata{ID: e.Name() + "-", Status: "without facts"})
		}
	}
	slices.SortFunc(found, func(a, b release.Metadata) int { return a.Time.Compare(b.Time) })
	var names []string
	for _, f := range found {
		names = append(names, f.ID[:strings.LastIndex(f.ID, "-")]+" "+f.Status)
	}
	return strings.Join(names, ", ")
}

// A revision that asks for something impossible is refused before any script of it runs.
func TestBadRevision(t *testing.T) {
	appspec := func(old, new string) func(s *stage, f files) files {
		return func(s *stage, f files) files {
			if !strings.Contains(f["appspec.yml"], old) {
				s.Fatalf("the appspec has no %q", old)
			}
			return f.with(files{"appspec.yml": strings.Replace(f["appspec.yml"], old, new, 1)})
		}
	}
	script := func(text string) func(s *stage, f files) files {
		return func(_ *stage, f files) files { return f.with(files{"scripts/after.sh": text}) }
	}
	unprepared := func(text string) func(s *stage, f files) files { // no BeforeInstall may bring what is missing
		return func(s *stage, f files) files {
			return script(text)(s, appspec("  BeforeInstall: [{location: scripts/before.sh}]\n", "")(s, f))
		}
	}
	for _, c := range []struct {
		name   string
		change func(s *stage, f files) files
		says   string
	}{
		{"has no appspec", func(_ *stage, f files) files { return f.with(files{"appspec.yml": "-"}) }, "appspec.yml: not found: appspec.yml (or appspec.yaml) must be at the top of the bundle"},
		{"has its appspec in a folder beside another with one", func(_ *stage, f files) files {
			return files{"app/appspec.yml": f["appspec.yml"], "web/appspec.yml": f["appspec.yml"]}
		}, `appspec.yml: not found: appspec.yml (or appspec.yaml) must be at the top of the bundle; the bundle holds "app/appspec.yml"`},
		{"has an empty appspec", func(_ *stage, f files) files { return f.with(files{"appspec.yml": ""}) }, "appspec.yml: is empty: it needs at least `version: 0.0` and `os: linux`"},
		{"has an appspec that is not YAML", func(_ *stage, f files) files { return f.with(files{"appspec.yml": "version: 0.0\nos: [linux\n"}) }, "appspec.yml:2:5: this [ is never closed with ]"},
		{"has a tab in its appspec", func(_ *stage, f files) files {
			return f.with(files{"appspec.yml": "version: 0.0\nos: linux\nhooks:\n\tAfterInstall:\n"})
		}, "appspec.yml:4:1: a tab stands in the indentation, which YAML does not allow: use spaces"},
		{"has hooks under another name", appspec("hooks:", "hook:"), `: unknown key "hook" in the appspec, and nothing of it would run: did you mean hooks?`},
		{"has an unknown event", appspec("AfterInstall:", "AfterInstal:"), `appspec.yml:8:3: unknown lifecycle event "AfterInstal": did you mean AfterInstall?`},
		{"hooks an event that runs no scripts", appspec("AfterInstall:", "Install:"), "appspec.yml:8:3: Install runs no scripts: the deployment does it by itself; events that run scripts are BeforeBlockTraffic, "},
		{"has a mode that is none", appspec("mode: 0644", "mode: 0988"), `mode "0988" must be 1 to 4 octal digits, such as 0644`},
		{"gives its hooks twice", appspec("os: linux", "os: linux\nhooks: {}"), `"hooks" is given twice: line 3 has it already`},
		{"has two problems", appspec("os: linux", "os: windows\nHooks: {}"), `the revision has 2 problems, the first: appspec.yml:2:5: os must be linux, not "windows": this is an agent for Linux servers`},
		{"is for Windows", appspec("os: linux", "os: windows"), `appspec.yml:2:5: os must be linux, not "windows": this is an agent for Linux servers`},
		{"installs a file it does not have", appspec("source: /", "source: /public"), "appspec.yml:4:5: source public is not in the revision"},
		{"installs into the base", func(s *stage, f files) files {
			return appspec(s.path("opt/app"), s.path("opt/app-base"))(s, f)
		}, "/opt/app-base is in the base, which a deployment never writes to: use /"},
		{"leaves the bundle with a source", appspec("source: /", "source: ../.."), `appspec.yml:4:14: source "../.." leads out of the bundle: it must name something inside it`},
		{"leaves the bundle with a script", appspec("scripts/after.sh", "../../../bin/true"), `appspec.yml:8:29: location "../../../bin/true" leads out of the bundle: scripts come with the revision`},
		{"has a timeout in minutes", appspec("timeout: 20", "timeout: 5m"), `appspec.yml:10:62: timeout "5m" must be a whole number of seconds, such as 300`},
		{"runs its first script as an unknown user", appspec("location: scripts/before.sh", "location: scripts/before.sh, runas: shopkeeper"), "scripts/before.sh: runs as user shopkeeper, who is not on this machine: create the user in the AMI"},
		{"names a script it does not have", appspec("scripts/after.sh", "scripts/afterwards.sh"), "scripts/afterwards.sh: does not exist, and AfterInstall needs it"},
		{"names a script that is nearly there", appspec("scripts/after.sh", "scripts/aftr.sh"), "scripts/aftr.sh: does not exist, and AfterInstall needs it: did you mean scripts/after.sh?"},
		{"has a script that does not parse", script("#!/bin/sh\nset -e\nif true; then\n  echo yes\n"), "scripts/after.sh:3:1: does not parse: `if` statement must end with `fi`"},
		{"has a script for an interpreter that is not there", unprepared("#!/usr/bin/tclsh9\nputs hello\n"), "scripts/after.sh:1:1: its interpreter /usr/bin/tclsh9 is not a program on this machine: install it in the AMI"},
		{"has a script for an interpreter env does not find", unprepared("#!/usr/bin/env tclsh9\nputs hello\n"), "scripts/after.sh:1:1: its interpreter tclsh9 is not in PATH (/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin): install it in the AMI"},
		{"has a script from Windows", script("#!/bin/sh\r\nset -e\r\ntrue\r\n"), "scripts/after.sh:1:1: has Windows line ends (CRLF): run dos2unix"},
		{"has a script that is a folder", func(_ *stage, f files) files {
			return f.with(files{"scripts/after.sh": "-", "scripts/after.sh/x": "x"})
		}, "scripts/after.sh: is not a regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			f := s.app("1")
			f["appspec.yml"] += "permissions:\n  - {object: " + s.path("opt/app") + ", mode: 0644, type: [file]}\n"
			s.publish("shop-1", c.change(s, maps.Clone(f)))
			s.refused(c.says, "DownloadBundle failed")
			s.expect("live", s.live(), "base")
		})
	}
}

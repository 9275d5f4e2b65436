package acceptance

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"usher/agent/standin"
)

// What a script is given, and what is made of it.

// The environment of each script, whole, and its working directory. Nothing of the agent's own gets in.
func TestEnvironmentOfScripts(t *testing.T) {
	s := newStage(t)
	f := s.dumping()
	s.publish("shop-1", f)
	server := s.pooled()
	one := s.target()
	s.expect("USHER_PREVIOUS_RELEASE of the first deployment", s.seen("BeforeInstall")["USHER_PREVIOUS_RELEASE"], s.path("opt/app-base"))

	bundle := zipped(t, f.with(files{"VERSION": "2"}))
	etag, version, err := s.cloud.Upload(s.cloud.Bucket, "shop-2.zip", bundle)
	s.must(err)
	id := s.cloud.PublishRevision("shop", "production", standin.S3Revision(s.cloud.Bucket, "shop-2.zip", "zip", version, etag))
	s.write("hooks.d/ValidateService/50-role", strings.Replace(f["scripts/start.sh"], "$LIFECYCLE_EVENT", "role", 1))
	s.update(server)
	two := s.target()

	for _, c := range []struct{ file, event, release, script string }{
		{"ApplicationStop", "ApplicationStop", one, "0"}, // the old revision's script, told of the new deployment
		{"BeforeInstall", "BeforeInstall", two, "0"},
		{"AfterInstall", "AfterInstall", two, "0"},
		{"ApplicationStart", "ApplicationStart", two, "0"},
		{"ValidateService", "ValidateService", two, "0"},
		{"role", "ValidateService", two, "1"},
	} {
		seen := s.seen(c.file)
		if !regexp.MustCompile(`^[0-9a-f-]{36}$`).MatchString(seen["DEPLOYMENT_GROUP_ID"]) {
			t.Errorf("%s: DEPLOYMENT_GROUP_ID is %q", c.file, seen["DEPLOYMENT_GROUP_ID"])
		}
		for _, of := range []string{"DEPLOYMENT_GROUP_ID", "HOME", "USER", "LOGNAME", "SHELL"} { // the last four depend on who runs the test
			if seen[of] == "" {
				t.Errorf("%s: %s is not set", c.file, of)
			}
			delete(seen, of)
		}
		s.expect(c.file, lines(seen), lines(map[string]string{
			"working directory":       c.release,
			"APPLICATION_NAME":        "shop",
			"AUTO_SCALING_GROUP_NAME": "web",
			"AWS_REGION":              "eu-west-1",
			"BUNDLE_BUCKET":           s.cloud.Bucket,
			"BUNDLE_ETAG":             etag,
			"BUNDLE_KEY":              "shop-2.zip",
			"BUNDLE_VERSION":          version,
			"DEPLOYMENT_GROUP_NAME":   "production",
			"DEPLOYMENT_ID":           id,
			"INSTANCE_ID":             server.ID,
			"LANG":                    "C.UTF-8",
			"LIFECYCLE_EVENT":         c.event,
			"PATH":                    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"USHER_PREVIOUS_RELEASE":  one,
			"USHER_RELEASE_DIR":       c.release,
			"USHER_SCRIPT":            id + "-2-" + c.event + "-" + c.script,
		}))
	}
}

// The ApplicationStart of a release that comes back is in its own place, not in that of the failed one.
func TestEnvironmentOfRollback(t *testing.T) {
	s := newStage(t)
	f := s.dumping()
	s.publish("shop-1", f)
	server := s.pooled()
	one := s.target()
	id := s.publish("shop-2", f.with(files{"VERSION": "2", "scripts/validate.sh": "#!/bin/sh\nset -e\nfalse\n"}))
	_, code := s.takeOut(server)
	s.expect("exit code", itoa(code), "1")
	seen := s.seen("ApplicationStart")
	s.expect("working directory", seen["working directory"], one)
	s.expect("USHER_RELEASE_DIR", seen["USHER_RELEASE_DIR"], one)
	s.expect("USHER_SCRIPT", seen["USHER_SCRIPT"], id+"-2-Rollback-ApplicationStart-0")
}

// dumping is a revision whose scripts write down what they are given.
func (s *stage) dumping() files {
	s.write("seen/.keep", "")
	dump := "#!/bin/sh\nset -e\n{ echo \"working directory=$(pwd)\"; tr '\\0' '\\n' < /proc/$$/environ; } > " + s.path("seen") + "/$LIFECYCLE_EVENT\n"
	f := s.app("1")
	for name := range f {
		if strings.HasPrefix(name, "scripts/") {
			f[name] = dump
		}
	}
	return f
}

// seen is what the script of an event was given.
func (s *stage) seen(event string) map[string]string {
	s.Helper()
	text, err := os.ReadFile(s.path("seen/" + event))
	s.must(err)
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		all[key] = value
	}
	return all
}

func lines(all map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "\n%s=%s", key, all[key])
	}
	return b.String()
}

// target is where the link points.
func (s *stage) target() string {
	s.Helper()
	target, err := os.Readlink(s.path("opt/app"))
	s.must(err)
	return target
}

// Role hooks run after the revision's scripts of the same event, in the order of their names, in the
// revision's place.
func TestRoleHooks(t *testing.T) {
	s := newStage(t)
	role := func(event, name string) {
		s.write("hooks.d/"+event+"/"+name, "#!/bin/sh\nset -e\necho \"$LIFECYCLE_EVENT "+name+" in $(cat VERSION)\" >> "+s.path("trace")+"\n")
	}
	for _, name := range []string{"20-second", "10-first", ".30-hidden", "40-old~", "50-app.dpkg-old"} {
		role("AfterInstall", name)
	}
	role("ApplicationStop", "10-drain")
	s.publish("shop-1", s.app("1"))
	server := s.pooled()
	s.expect("the scripts saw at first", s.trace(), strings.Join([]string{"BeforeInstall 1 live=base",
		"AfterInstall 1 live=base", "AfterInstall 10-first in 1", "AfterInstall 20-second in 1",
		"ApplicationStart 1 live=1", "ValidateService 1 live=1"}, "\n"))

	s.publish("shop-2", s.app("2"))
	trace := s.traced(func() { s.update(server) })
	s.expect("the scripts saw", trace, strings.Join([]string{"ApplicationStop 1 live=1", "ApplicationStop 10-drain in 1",
		"BeforeInstall 2 live=1", "AfterInstall 2 live=1", "AfterInstall 10-first in 2", "AfterInstall 20-second in 2",
		"ApplicationStart 2 live=2", "ValidateService 2 live=2"}, "\n"))
}

// A role hook has the same say as a script of the revision, and is checked like one.
func TestBadRoleHook(t *testing.T) {
	for _, c := range []struct {
		name, file, script string
		mode               os.FileMode
		says               string
		releases           string
	}{
		{"fails", "ValidateService/10-probe", "#!/bin/sh\necho 'port 80 is closed'\nfalse\n", 0o755,
			"ValidateService role hook DIR/hooks.d/ValidateService/10-probe failed with exit code 1 after", "shop-1 bad"},
		{"does not parse", "ValidateService/10-probe", "#!/bin/sh\nset -e\nif true\n", 0o755, "DIR/hooks.d/ValidateService/10-probe:3:1: does not parse", ""},
		{"can be changed by everybody", "ValidateService/10-probe", "#!/bin/sh\nset -e\n", 0o777,
			"DIR/hooks.d/ValidateService/10-probe: can be changed by every user and would run as the agent: chmod o-w", ""},
		{"is for an event that is not there", "ValidateServices/10-probe", "#!/bin/sh\nset -e\n", 0o755,
			"DIR/hooks.d/ValidateServices: is not named after a lifecycle event: did you mean ValidateService?", ""},
		{"is for an event that runs no scripts", "Install/10-probe", "#!/bin/sh\nset -e\n", 0o755, "DIR/hooks.d/Install: the event Install runs no scripts", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1"))
			s.write("hooks.d/"+c.file, c.script)
			s.must(os.Chmod(s.path("hooks.d/"+c.file), c.mode))
			s.abandoned(strings.ReplaceAll(c.says, "DIR", s.dir))
			s.expect("live", s.live(), "base")
			s.expect("releases", s.releases(), c.releases)
		})
	}
}

// What is made of a script that goes on after a failed command, by the setting errexit.
func TestErrexit(t *testing.T) {
	const careless = "#!/bin/sh\nfalse\necho went on\n"
	const warning = "scripts/after.sh:2:1: "
	for _, c := range []struct {
		name, errexit, script string
		live                  string
		says                  []string
	}{
		{"enforce ends a script that does not ask for it", "enforce", careless, "base", []string{"script scripts/after.sh failed with exit code 1"}},
		{"report lets it go on, and says where enforce would have ended it", "report", strings.Replace(careless, "/sh", "/bash", 1), "1",
			[]string{"| went on", "errexit would have ended scripts/after.sh at scripts/after.sh:2, where `false` had status 1"}},
		{"require refuses such a script", "require", careless, "base", []string{"error: " + warning + "no `set -e` before this: "}},
		{"off lets it go on, as CodeDeploy does", "off", careless, "1", []string{"| went on"}},
		{"enforce leaves a script alone that asks for it", "enforce", "#!/bin/sh\nset -e\nfalse\n", "base", nil},
		{"require takes a script that asks for it", "require", "#!/bin/sh\nset -e\ntrue\n", "1", nil},
		{"off does not switch it off", "off", "#!/bin/sh\nset -e\nfalse\n", "base", nil},
		{"enforce reaches bash through env", "enforce", "#!/usr/bin/env bash\nfalse\necho went on\n", "base",
			[]string{"errexit (-e) ended it at scripts/after.sh:2, where `false` had status 1"}},
		{"enforce reaches a script without a first line", "enforce", "true\nfalse\necho went on\n", "base", []string{"script scripts/after.sh failed with exit code 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.config["errexit"] = c.errexit
			s.publish("shop-1", s.app("1").with(files{"scripts/after.sh": c.script}))
			server, r, _ := s.launch()
			s.expect("live", s.live(), c.live)
			s.expect("verdict", answers(server), map[string]string{"1": "usher-launch CONTINUE", "base": "usher-launch ABANDON"}[c.live])
			s.said(r, c.says...)
			if c.live == "base" && strings.Contains(r.text(), "| went on") {
				t.Error("the script went on")
			}
			if c.says == nil && strings.Contains(r.text(), "set -e") {
				t.Error("it warns")
			}
		})
	}
}

package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"usher/agent/standin"
)

// What a deployment finds on a server that was deployed to before, and leaves behind. Such a server is one of
// a warm pool: it comes out of the pool, the agent runs, it goes into service and back into the pool.

// pooled launches a server into the warm pool on the group's revision.
func (s *stage) pooled() *standin.Instance {
	s.Helper()
	server := s.cloud.Launch("web", standin.LaunchOptions{WarmPool: true})
	r := s.start(server, "-once")
	s.expect("exit code in the pool", itoa(r.wait()), "0")
	s.waitFor(server, standin.WarmedStopped)
	return server
}

// takeOut takes a server out of the pool and runs the agent on it to the end of the launch.
func (s *stage) takeOut(server *standin.Instance) (r *agentRun, code int) {
	s.Helper()
	if server.State() == standin.InService {
		server.ReturnToPool()
		s.waitFor(server, standin.WarmedStopped)
	}
	server.StartFromPool()
	s.waitFor(server, standin.PendingWait)
	r = s.start(server, "-once")
	return r, r.wait()
}

// update takes a server out of the pool, with success.
func (s *stage) update(server *standin.Instance) *agentRun {
	s.Helper()
	r, code := s.takeOut(server)
	s.expect("exit code", itoa(code), "0")
	s.waitFor(server, standin.InService)
	s.clean()
	return r
}

// traced runs what is done in act, and returns what the scripts wrote meanwhile.
func (s *stage) traced(act func()) string {
	s.Helper()
	before := s.trace()
	act()
	return strings.TrimSpace(strings.TrimPrefix(s.trace(), before))
}

// The group has moved on while the server was in the pool.
func TestUpdate(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	server := s.pooled()
	s.publish("shop-2", s.app("2"))
	trace := s.traced(func() { s.update(server) })

	s.expect("live", s.live(), "2")
	s.expect("releases", s.releases(), "shop-1 good, shop-2 good")
	s.expect("the scripts saw", trace, "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 2 live=1\nApplicationStart 2 live=2\nValidateService 2 live=2")
	s.expect("verdicts", answers(server), "usher-launch CONTINUE, usher-launch CONTINUE")
}

// An update fails. What was live is live again, and started again where it was stopped.
func TestUpdateThatFails(t *testing.T) {
	for _, c := range []struct{ script, event, trace string }{
		{"before.sh", "BeforeInstall", "ApplicationStop 1 live=1\nApplicationStart 1 live=1\nValidateService 1 live=1"},
		{"after.sh", "AfterInstall", "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nApplicationStart 1 live=1\nValidateService 1 live=1"},
		{"start.sh", "ApplicationStart", "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 2 live=1\nApplicationStop 2 live=2\nApplicationStart 1 live=1\nValidateService 1 live=1"},
		{"validate.sh", "ValidateService", "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 2 live=1\nApplicationStart 2 live=2\nApplicationStop 2 live=2\nApplicationStart 1 live=1\nValidateService 1 live=1"},
	} {
		t.Run(c.event, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1"))
			server := s.pooled()
			s.publish("shop-2", s.app("2").with(files{"scripts/" + c.script: "#!/bin/sh\nset -e\nfalse\n"}))
			trace := s.traced(func() {
				_, code := s.takeOut(server)
				s.expect("exit code", itoa(code), "1")
			})

			s.waitFor(server, standin.Terminated)
			s.expect("live", s.live(), "1")
			s.expect("releases", s.releases(), "shop-1 good, shop-2 bad")
			s.expect("the scripts saw", trace, c.trace)
			s.expect("verdicts", answers(server), "usher-launch CONTINUE, usher-launch ABANDON")
			s.clean()
		})
	}
}

// The old revision cannot be corrected by the new one, so its ApplicationStop has no say.
func TestStopThatFails(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1").with(files{"scripts/stop.sh": "#!/bin/sh\nset -e\necho no such process\nfalse\n"}))
	server := s.pooled()
	s.publish("shop-2", s.app("2"))
	r := s.update(server)

	s.expect("live", s.live(), "2")
	s.said(r, "ApplicationStop of the live release shop-1-", "failed, going on with the new one: ",
		"script scripts/stop.sh failed with exit code 1", "ApplicationStop finished", "(failed, ignored)")
}

// Of the good releases the newest are kept, and of the bad ones one to look at.
func TestReleasesKept(t *testing.T) {
	s := newStage(t)
	s.config["keep_releases"], s.config["on_failure"] = "2", "continue"
	s.publish("shop-1", s.app("1"))
	server := s.pooled()
	for _, c := range []struct {
		name, releases string
		f              files
	}{
		{"shop-2", "shop-1 good, shop-2 good", s.app("2")},
		{"shop-3", "shop-2 good, shop-3 good", s.app("3")},
		{"shop-4", "shop-2 good, shop-3 good, shop-4 bad", s.app("4").with(files{"scripts/after.sh": "exit 1\n"})},
		{"shop-5", "shop-2 good, shop-3 good, shop-5 bad", s.app("5").with(files{"scripts/after.sh": "exit 1\n"})},
	} {
		s.publish(c.name, c.f)
		s.takeOut(server)
		s.waitFor(server, standin.InService)
		s.expect("releases after "+c.name, s.releases(), c.releases)
		s.clean()
	}
	s.expect("live", s.live(), "3")
}

// The group goes back to a revision that is still on the disk. What its scripts and the application have made of that is not
// what was built and verified, and its scripts would not work on it: it is unpacked again, beside it.
func TestDeployedAgain(t *testing.T) {
	s := newStage(t)
	one := s.app("1").with(files{"env.production": "LEVEL=info\n"}).appends("scripts/after.sh", "mv env.production .env\n")
	etag, version, err := s.cloud.Upload(s.cloud.Bucket, "shop-1.zip", zipped(t, one))
	s.must(err)
	first := standin.S3Revision(s.cloud.Bucket, "shop-1.zip", "zip", version, etag)
	s.cloud.PublishRevision("shop", "production", first)
	server := s.pooled()
	s.write("opt/app/VERSION", "altered")
	s.publish("shop-2", s.app("2"))
	s.update(server)
	s.cloud.PublishRevision("shop", "production", first)
	s.update(server)

	s.expect("live", s.live(), "1")
	s.expect("releases", s.releases(), "shop-2 good, shop-1 good")
	s.expect("bundles fetched", itoa(len(s.cloud.CallsOf("GetObject"))), "3")
	for range 3 { // the two take turns, and none is made of what was left
		s.publish("shop-2", s.app("2"))
		s.update(server)
		s.cloud.PublishRevision("shop", "production", first)
		s.write("opt/app/VERSION", "altered")
		s.update(server)
		s.expect("live", s.live(), "1")
	}
}

// A release that failed is never trusted again: it is fetched anew.
func TestBadReleaseOnDisk(t *testing.T) {
	s := newStage(t)
	s.config["on_failure"] = "continue"
	s.publish("shop-1", s.app("1"))
	server := s.pooled()
	s.publish("shop-2", s.app("2").with(files{"scripts/after.sh": "#!/bin/sh\nset -e\necho spoilt > VERSION\ntest -e " + s.path("database") + "\n"}))
	_, code := s.takeOut(server)
	s.expect("exit code", itoa(code), "1")
	s.expect("live", s.live(), "1")
	s.expect("releases", s.releases(), "shop-1 good, shop-2 bad")

	s.write("database", "")
	s.update(server)
	s.expect("live", s.live(), "spoilt")
	s.expect("releases", s.releases(), "shop-1 good, shop-2 good")
	s.expect("bundles fetched", itoa(len(s.cloud.CallsOf("GetObject"))), "3")
}

// An image that carries the group's revision. Unpacked by whoever baked it, it is taken as it lies, and nothing is fetched;
// of a server that ran it, and whose scripts have changed it, it is fetched again.
func TestReleaseInImage(t *testing.T) {
	for status, fetched := range map[string]string{"good": "2", "unpacked": "1"} {
		t.Run(status, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1"))
			builder, _, _ := s.launch()
			s.waitFor(builder, standin.InService)
			s.must(os.Remove(s.path("opt/app")))
			s.must(os.Symlink(s.path("opt/app-base"), s.path("opt/app")))
			facts, err := filepath.Glob(s.path("opt/app-releases/*.json"))
			s.must(err)
			text, err := os.ReadFile(facts[0])
			s.must(err)
			s.must(os.WriteFile(facts[0], []byte(strings.Replace(string(text), `"good"`, `"`+status+`"`, 1)), 0o644))

			var r *agentRun
			trace := s.traced(func() {
				var server *standin.Instance
				server, r, _ = s.launch()
				s.waitFor(server, standin.InService)
			})
			s.expect("live", s.live(), "1")
			s.expect("releases", s.releases(), "shop-1 good")
			s.expect("the scripts saw", trace, "BeforeInstall 1 live=base\nAfterInstall 1 live=base\nApplicationStart 1 live=1\nValidateService 1 live=1")
			s.said(r, "the record found here is of instance "+builder.ID)
			if status == "unpacked" {
				s.said(r, " is on disk already)")
			}
			s.expect("bundles fetched", itoa(len(s.cloud.CallsOf("GetObject"))), fetched)
		})
	}
}

package acceptance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"usher/agent/rollout"
	"usher/agent/standin"
)

// What is deployed, and when: what teams tell `usher deploy` beside the environment and the ref.

// last is the last event of --json.
func (h *shop) last(text string) (e rollout.Event) {
	h.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	h.must(json.Unmarshal([]byte(lines[len(lines)-1]), &e))
	return e
}

// Built output is deployed, untracked and ignored files with it, under the commit and its own content; and rolled back to.
func TestDeployWhatWasBuilt(t *testing.T) {
	h := newShop(t, 1, production())
	h.write("shop/.gitignore", "dist/\n")
	sha := h.commit("2", nil)
	for name, content := range edition("built-1") {
		h.write("shop/dist/"+name, content)
	}
	h.ended(h.usher("deploy --bundle dist production"), 0, "production runs")
	h.expect("live", h.live(), "built-1")

	again := h.usher("deploy --skip-unchanged --bundle dist --json production")
	h.ended(again, 0)
	h.expect("the same files again", h.last(again.stdout).Status, rollout.EndedUnchanged)

	h.write("shop/dist/VERSION", "built-2")
	h.write("shop/dist/scripts/validate.sh", "#!/bin/sh\nset -eu\ntest -s VERSION\n")
	got := h.usher("deploy --bundle dist --json production")
	h.ended(got, 0)
	h.expect("live", h.live(), "built-2")
	var plan rollout.Event
	h.must(json.Unmarshal([]byte(strings.SplitN(got.stdout, "\n", 2)[0]), &plan))
	if !strings.HasPrefix(plan.Bundle, "s3://"+h.cloud.Bucket+"/shop/"+sha+"-") || plan.Environment != "production" || plan.Region != h.cloud.Region || plan.Account != "123456789012" {
		t.Errorf("plan: %+v", plan)
	}
	h.ended(h.usher("rollback production"), 0)
	h.expect("rolled back to", h.live(), "built-1")

	// It is packed from where it lies: no file of its size is written for that.
	h.must(os.WriteFile(filepath.Join(h.repo, "dist/zeros"), make([]byte, 16<<20), 0o600))
	h.ended(h.usher("deploy --bundle dist production"), 0)
	h.ended(h.types("deploy --bundle dist production", func(c *exec.Cmd) {
		c.Args = append([]string{"sh", "-c", `ulimit -f 8192 && exec "$0" "$@"`}, c.Args...)
		c.Path = "/bin/sh"
	}).ends(), 0, "uploaded before, compared with the commit now")
	h.must(os.Remove(filepath.Join(h.repo, "dist/zeros")))

	// An archive, of any kind; and one that usher.yml has made.
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for name, content := range edition("archive") {
		h.must(w.WriteHeader(&tar.Header{Name: "shop-1/" + name, Mode: 0o755, Size: int64(len(content))}))
		_, err := w.Write([]byte(content))
		h.must(err)
	}
	h.must(w.Close())
	h.must(z.Close())
	h.must(os.WriteFile(filepath.Join(h.repo, "dist.tgz"), buf.Bytes(), 0o600))
	h.environments("    bundle: out/\n    build: rm -rf out && mkdir out && tar -xzf dist.tgz --strip-components=1 -C out && echo built of $COMMIT\n")
	h.ended(h.usher("deploy production"), 0, "built of "+sha, "what was built may not be of "+sha[:10])
	h.expect("live", h.live(), "archive")

	h.environments("    bundle: out/\n    build: exit 3\n")
	h.ended(h.usher("deploy production"), 2, "cannot build: `exit 3` failed: exit status 3")
	h.environments("    bundle: out/\n    build: echo building; exec sleep 600\n")
	stopped := h.types("deploy production")
	stopped.says("building")
	stopped.interrupt()
	h.ended(stopped.ends(), 130, "usher deploy: interrupted: nothing was started\n")
	h.environments("    build: make\n")
	h.ended(h.usher("deploy production"), 2, "build of production has no bundle")
	h.environments("    bundle: ../out\n")
	h.ended(h.usher("deploy production"), 2, "it must be a path below the directory of usher.yml")
	h.environments("")
	h.ended(h.usher("deploy --bundle nothing production"), 2, "cannot open what was built")
	h.must(os.Remove(filepath.Join(h.repo, "dist/appspec.yml")))
	h.ended(h.usher("deploy --bundle dist production"), 2, "appspec.yml")
}

// A deployment lines up behind the one in progress.
func TestDeployWaitsForItsTurn(t *testing.T) {
	h := newShop(t, 1, production())
	h.fifos()
	h.commit("2", h.waiting("2"))
	first := h.types("deploy production")
	h.hasBegun()
	h.commit("3", edition("3"))
	h.ended(h.usher("deploy production"), 5, "is in progress", "--wait 30m waits for it")
	h.ended(h.usher("deploy --wait 1ms production"), 5, "waited for 1ms (--wait), and deployment d-")
	second := h.types("deploy --wait 10m production")
	second.says("waiting for deployment")
	h.goOn()
	h.ended(first.ends(), 0)
	h.ended(second.ends(), 0, "production runs "+h.commits[2][:10])
	h.expect("live", h.live(), "3")
}

// Never an older commit over a newer one; nothing at all when it runs already.
func TestDeployForward(t *testing.T) {
	h := newShop(t, 1, production())
	h.commit("2", edition("2"))
	h.ended(h.usher("deploy --forward-only production"), 0) // nothing runs yet
	h.ended(h.usher("deploy --forward-only production "+h.commits[0]), 2, "production runs "+h.commits[1][:10], "lacks 1 of its commits (--forward-only)")
	h.expect("live", h.live(), "2")
	got := h.usher("deploy --skip-unchanged --forward-only production")
	h.ended(got, 0, "production runs "+h.commits[1][:10]+" Version 2 already: nothing was started")
	h.commit("3", edition("3"))
	h.ended(h.usher("deploy --skip-unchanged --forward-only production"), 0)
	h.expect("live", h.live(), "3")

	// A tag, and what is two before HEAD, can be rolled back to.
	h.in("tag", "v1", h.commits[1])
	h.ended(h.usher("rollback production v1"), 0, "production runs "+h.commits[1][:10])
	h.expect("live", h.live(), "2")
	h.ended(h.usher("rollback production HEAD"), 0)
	h.expect("live", h.live(), "3")
	h.ended(h.usher("rollback production HEAD~1"), 0)
	h.expect("live", h.live(), "2")
	h.ended(h.usher("rollback production HEAD~2"), 2, "no bundle of it was ever registered")
}

// In a CI job the branch may have moved on from what was tested.
func TestDeployOfAJob(t *testing.T) {
	h := newShop(t, 1, production())
	h.commit("2", edition("2"))
	job := func(sha string) func(*exec.Cmd) {
		return func(c *exec.Cmd) { c.Env = append(c.Env, "CI=true", "GITHUB_SHA="+sha) }
	}
	h.ended(h.types("deploy production", job(h.commits[0])).ends(), 2, `this job is for `+h.commits[0][:10]+`: name the job's commit: usher deploy production "$GITHUB_SHA"`)
	h.ended(h.types("deploy production "+h.commits[0], job(h.commits[0])).ends(), 0)
	h.expect("live", h.live(), "1")
	got := h.types("deploy --no-wait --json production", job(h.commits[1])).ends()
	h.ended(got, 0)
	end := h.last(got.stdout)
	h.expect("what has only begun", end.Status, rollout.EndedStarted)
	if !strings.HasPrefix(end.URL, "https://"+h.cloud.Region+".console.aws.amazon.com/codesuite/codedeploy/deployments/"+end.Deployment) {
		t.Errorf("URL %q", end.URL)
	}
	h.ended(h.usher("deploy status production"), 0)
	h.expect("live", h.live(), "2")
}

func TestAnEnvironmentIsNotACommand(t *testing.T) {
	h := newShop(t, 0, production())
	h.write("shop/usher.yml", "application: shop\nenvironments:\n  status: {deployment_group: production, bucket: acme-revisions, region: eu-west-1}\n")
	h.ended(h.usher("deploy status"), 2, "usher.yml:3:3: environment \"status\": `usher deploy status` is a command: give it another name")
}

// A fleet at zero whose target is bad: no launch comes into service, so there is nothing to deploy the cure to. One launch is held,
// completed by hand, and deployed to: from then on new servers get the cure.
func TestDeployToAFleetAtZero(t *testing.T) {
	h := newShop(t, 0, production())
	h.publish("bad", broken("bad"))
	for _, line := range []string{"deploy production", "rollback production"} {
		h.ended(h.usher(line), 2, "there is no server of production to deploy to: Auto Scaling group web has none in service and none that launches. New servers get s3://"+h.cloud.Bucket+"/bad.zip")
	}
	h.ended(h.usher("deploy --dry-run production"), 0, "web: 0 in service", "there is no server to deploy to")
	for _, op := range []string{"PutObject", "CreateDeployment"} {
		h.expect(op, itoa(len(h.cloud.CallsOf(op))), "0")
	}
	s, server, r := h.launches(map[string]string{"on_failure": "hold", "hold_timeout": "1h"})
	r.says("on_failure is hold")
	h.ended(h.usher("servers production"), 0, server.ID, "Pending:Wait")
	s.answersHook(server, "usher-launch", "CONTINUE")
	s.waitFor(server, standin.InService)
	h.ended(h.usher("deploy production"), 0, "web: 1 in service", "production runs "+h.commits[0][:10])
	h.expect("live", h.live(), "1")
	h.serve(1)
	h.expect("live", h.live(), "1 1")
}

// A repository of several services: one of them is deployed, and only what concerns it is told.
func TestDeployPartOfARepository(t *testing.T) {
	h := newShop(t, 1, production())
	part := func(n string) files {
		f := files{}
		for name, content := range edition(n) {
			f["services/shop/"+name] = content
		}
		return f
	}
	h.environments("    path: services/shop\n")
	first := h.commit("2", part("shop-1").with(files{"services/mail/appspec.yml": "not of the shop"}))
	h.ended(h.usher("deploy production"), 0)
	h.expect("live", h.live(), "shop-1")
	if _, err := os.Lstat(h.servers[0].path("opt/app/services")); !os.IsNotExist(err) {
		t.Error("the whole repository is there")
	}
	h.commit("of the mail", files{"services/mail/VERSION": "3"})
	h.ended(h.usher("deploy --skip-unchanged production"), 0, "already: nothing was started")
	h.commit("of the shop", part("shop-2"))
	h.write("shop/services/mail/more", "not of the shop")
	got := h.usher("deploy --forward-only production")
	h.ended(got, 0, "adds       1 commit\n", "Version of the shop")
	if strings.Contains(got.stdout, "not committed") || strings.Contains(got.stdout, "of the mail") {
		t.Errorf("it is about the mail too:\n%s", got.stdout)
	}
	h.expect("live", h.live(), "shop-2")
	h.ended(h.usher("rollback production "+first[:12]), 0)
	h.expect("live", h.live(), "shop-1")

	h.environments("    path: services/nothing\n")
	h.ended(h.usher("deploy production"), 2, "has no files in services/nothing: commit them, correct path in usher.yml, or deploy another")

	// usher.yml beside the service's appspec.yml says the same.
	h.environments("")
	h.must(os.Rename(h.path("shop/usher.yml"), h.path("shop/services/shop/usher.yml")))
	h.repo = h.path("shop/services/shop")
	h.ended(h.usher("deploy production"), 0, "usher.yml")
	h.expect("live", h.live(), "shop-2")

	h.write("shop/services/shop/usher.yml", "application: shop\nenvironments:\n  production: {deployment_group: production, bucket: acme-revisions, region: eu-west-1, path: ../mail}\n")
	h.ended(h.usher("deploy production HEAD"), 2, "it must be a path below the directory of usher.yml, such as services/shop")
}

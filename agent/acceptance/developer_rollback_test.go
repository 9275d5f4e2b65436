package acceptance

import (
	"os/exec"
	"strings"
	"testing"

	"usher/agent/standin"
)

// `usher rollback ENV`: the bundles that were deployed before, again.

func TestRollBackEnvironment(t *testing.T) {
	h := newShop(t, 2, production())
	h.ended(h.usher("rollback production"), 2, "no other revision was ever deployed to it successfully")
	first := h.usher("deploy production")
	h.ended(first, 0)
	h.ended(h.usher("rollback production"), 2, "no other revision was ever deployed to it successfully")
	for _, n := range []string{"2", "3"} {
		h.commit(n, edition(n))
		h.ended(h.usher("deploy production"), 0)
	}
	uploads := len(h.cloud.CallsOf("PutObject"))

	got := h.usher("rollback production")
	h.ended(got, 0)
	h.expect("live", h.live(), "2 2")
	plan, _, _ := strings.Cut(h.picture(got.stdout), "TIME")
	h.expect("plan", plan, `Roll back production of shop (eu-west-1, account 123456789012)

  as         arn:aws:iam::123456789012:user/operator
  servers    Auto Scaling group web: 2 in service; OneAtATime
  running    commit3 Version 3 (deployment1, AGO)
  deploying  commit2 Version 2 (of deployment2, AGO)
  reverts    1 commit
             commit3 Version 3
  bundle     s3://BUCKET/shop/SHA2.tgz

`)
	h.ended(h.usher("rollback production "+h.commits[0][:7]), 0)
	h.expect("live", h.live(), "1 1")
	h.ended(h.usher("rollback production "+strings.ToUpper(h.commits[2][:7])), 0)
	h.expect("live", h.live(), "3 3")
	h.ended(h.usher("rollback production "+h.deploymentIn(first.stdout[strings.Index(first.stdout, " d-"):])), 0)
	h.expect("live", h.live(), "1 1")
	h.expect("uploads", itoa(len(h.cloud.CallsOf("PutObject"))-uploads), "0")

	h.ended(h.usher("rollback production d-ABCDEFGHI"), 2, "there is no such deployment: d-ABCDEFGHI in eu-west-1: `usher deploy list production` lists")
	h.ended(h.usher("rollback production fffffff"), 2, "no bundle of it was ever registered")
	h.ended(h.usher("rollback production nowhere"), 2, "name a deployment, d-..., a ref of this repository, or a commit by 4 or more digits of its hash")
	h.ended(h.usher("rollback --dry-run production"), 0, "A dry run: no deployment was created.")
	h.expect("live", h.live(), "1 1")
	h.cloud.Fail("HeadObject", 1, standin.Fault{Status: 404, Code: "NoSuchKey"})
	h.ended(h.usher("rollback production"), 1, "there is no object s3://"+h.cloud.Bucket+"/shop/", " (version 01", "it was deleted, or its bucket was: `usher deploy production ")
	h.cloud.Fail("HeadObject", 1, standin.Fault{Code: "AccessDenied"})
	h.ended(h.usher("rollback production"), 1, "access denied: allow your identity s3:GetObject", "; or there is no object s3://"+h.cloud.Bucket+"/shop/", "which S3 does not tell without s3:ListBucket: then `usher deploy production ")
}

// After a deployment that CodeDeploy has rolled back itself, what ran before is older than what somebody may mean.
func TestRollBackAfterARollback(t *testing.T) {
	group := production()
	group.AutoRollback = true
	h := newShop(t, 1, group)
	h.ended(h.usher("deploy production"), 0)
	h.commit("2", edition("2"))
	h.ended(h.usher("deploy production"), 0)
	h.commit("3", broken("3"))
	h.ended(h.usher("deploy production"), 3)
	got := h.usher("rollback --dry-run production")
	h.ended(got, 0, "Version 1 (of d-", " was rolled back already, by d-", ": this goes back further\n")
	if got = h.usher("rollback --dry-run production " + h.commits[0]); strings.Contains(got.stdout, "warning") {
		t.Errorf("it warns of what was named:\n%s", got.stdout)
	}
}

// On a terminal a person picks what to go back to, from each revision that ran before; a program never does.
func TestRollBackToOneOfAList(t *testing.T) {
	h := newShop(t, 1, production())
	h.ended(h.usher("deploy production"), 0)
	screen, tty := terminal(t)
	pick := func(line string) *typing {
		return h.types(line, func(c *exec.Cmd) { c.Stdin, c.Stdout, c.Stderr = tty, tty, tty })
	}
	for _, n := range []string{"2", "3"} {
		h.commit(n, edition(n))
		h.ended(h.usher("deploy production"), 0)
	}
	h.ended(h.usher("rollback production fffffff"), 2, "no bundle of it was ever registered")
	back := pick("rollback production")
	screen.says("What was deployed to production before:")
	screen.says("  1  d-")
	screen.says("just now  " + h.commits[1][:10] + " Version 2")
	screen.says("  2  d-")
	screen.says("just now  " + h.commits[0][:10] + " Version 1")
	screen.says("Go back to which? [1] ")
	screen.types("4\n")
	screen.says("4 is none of 1 to 2.")
	screen.says("Go back to which? [1] ")
	screen.types("2\n")
	screen.says("deploying  " + h.commits[0][:10] + " Version 1")
	screen.says("production runs " + h.commits[0][:10])
	h.expect("exit code", itoa(back.ends().code), "0")
	h.expect("live", h.live(), "1")

	// Enter is what it would be without a terminal; --yes, a name and a dry run ask nothing.
	h.expect("exit code", itoa(pick("rollback --dry-run production").ends().code), "0")
	screen.says("deploying  " + h.commits[2][:10] + " Version 3")
	back = pick("rollback production")
	screen.says("Go back to which? [1] ")
	screen.types("\n")
	screen.says("production runs " + h.commits[2][:10])
	h.expect("exit code", itoa(back.ends().code), "0")
	h.expect("exit code", itoa(pick("rollback --yes production").ends().code), "0")
	h.expect("live", h.live(), "1")
	h.expect("exit code", itoa(pick("rollback production HEAD~1").ends().code), "0")
	h.expect("live", h.live(), "2")

	// Two bundles of one commit are told apart.
	for name, content := range edition("built") {
		h.write("built/"+name, content)
	}
	h.ended(h.usher("deploy --bundle "+h.path("built")+" production "+h.commits[1]), 0)
	back = pick("rollback production")
	screen.says(h.commits[1][:10] + " Version 2 (its own files)")
	screen.says("Go back to which? [1] ")
	screen.types("1\n")
	h.expect("exit code", itoa(back.ends().code), "0")
	h.expect("live", h.live(), "2")

	// Ctrl-D and Ctrl-C begin nothing.
	began := len(h.cloud.CallsOf("CreateDeployment"))
	back = pick("rollback production")
	screen.says("Go back to which? [1] ")
	screen.types("\x04")
	screen.says("nothing was picked: nothing was started")
	h.expect("exit code", itoa(back.ends().code), "2")
	back = pick("rollback production")
	screen.says("Go back to which? [1] ")
	back.interrupt()
	screen.says("interrupted: nothing was started")
	h.expect("exit code", itoa(back.ends().code), "130")
	h.expect("deployments", itoa(len(h.cloud.CallsOf("CreateDeployment"))-began), "0")

	// The list of deployments says how.
	h.expect("exit code", itoa(pick("deploy list production").ends().code), "0")
	screen.says("`usher rollback production d-ID` goes back to one of them.")
	if strings.Contains(h.usher("deploy list production").stdout, "usher rollback") {
		t.Error("a program is told how to roll back")
	}
}

// After a deployment that failed, the last good revision is what to go back to: the servers have two.
func TestRollBackOfAFailure(t *testing.T) {
	group := production()
	group.Config = "CodeDeployDefault.AllAtOnce"
	h := newShop(t, 2, group)
	h.ended(h.usher("deploy production"), 0)
	h.commit("2", edition("2").with(files{"scripts/validate.sh": "#!/bin/sh\nset -eu\necho the page is blank\nexit 7\n"}))
	h.ended(h.usher("deploy production"), 1, "the page is blank", "CodeDeploy did not roll it back: `usher rollback production` does that")
	got := h.usher("rollback production")
	h.ended(got, 0, "deploying  "+h.commits[0][:10]+" Version 1", "some servers may run it")
	h.expect("live", h.live(), "1 1")
}

// A deployment that CodeDeploy calls a success, because enough servers have it, is none while one does not.
func TestDeployFailsOnOneOfMany(t *testing.T) {
	group := production()
	group.Config = "CodeDeployDefault.HalfAtATime"
	h := newShop(t, 2, group)
	h.commit("2", edition("2").with(files{"scripts/validate.sh": "#!/bin/sh\nset -eu\ntest \"$INSTANCE_ID\" != " + h.ids[1] + "\n"}))
	got := h.usher("deploy production")
	h.ended(got, 1, "succeeded, but failed on "+h.ids[1])
	h.expect("live", h.live(), "2 base")
}

// A deployment in progress is stopped first, when that is asked for.
func TestRollBackStops(t *testing.T) {
	h := newShop(t, 1, production())
	h.fifos()
	h.ended(h.usher("deploy production"), 0)
	h.commit("2", h.waiting("2"))
	stuck := h.usher("deploy production --no-wait")
	h.ended(stuck, 0)
	id := h.deploymentIn(stuck.stdout[strings.Index(stuck.stdout, "Deployment "):])
	h.hasBegun()
	back := h.types("rollback --stop production")
	back.says("stopping deployment " + id)
	h.goOn()
	h.ended(back.ends(), 0, "stops      deployment "+id+", which is in progress", "production runs "+h.commits[0][:10]+" Version 1")
	h.expect("live", h.live(), "1")
	h.ended(h.usher("deploy status "+id), 1, "deployment "+id+" stopped")
}

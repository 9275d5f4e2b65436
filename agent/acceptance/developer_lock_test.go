package acceptance

import (
	"os/exec"
	"strings"
	"sync"
	"testing"

	"usher/agent/standin"
)

// An environment to which nothing is to be deployed for a while.

// because puts the reason, which has blanks, into a command line.
func because(reason string) func(*exec.Cmd) {
	return func(c *exec.Cmd) { c.Args = append(c.Args, reason) }
}

// While it is locked, everybody is refused, and told by whom and why.
func TestLock(t *testing.T) {
	h := newShop(t, 1, production())
	h.ended(h.usher("deploy production"), 0)
	h.commit("2", edition("2"))
	h.ended(h.types("lock production", because("orders are\nmigrated \x1b[31mtoday")).ends(), 0, "production is locked: `usher unlock production` unlocks it.")
	const why = `locked by operator (arn:aws:iam::123456789012:user/operator, just now): orders are migrated \x1b[31mtoday`
	for _, line := range []string{"deploy production", "rollback production " + h.commits[0], "deploy --yes --wait 1m production"} {
		got := h.usher(line)
		h.ended(got, 2, "production is "+why, "`usher unlock production` unlocks it for everybody; --despite-lock goes ahead this once")
	}
	h.expect("live", h.live(), "1")
	h.expect("deployments", itoa(len(h.cloud.CallsOf("CreateDeployment"))), "1")
	h.ended(h.usher("deploy --dry-run production"), 0, "warning    "+why, "A dry run")
	h.ended(h.usher("deploy status production"), 0, "production is "+why, "succeeded")
	h.ended(h.usher("deploy status --json production"), 0, `"type":"notice","message":"production is locked by operator`)

	// Nobody takes it from somebody else without saying so.
	got := h.types("lock production", because("mine")).ends()
	h.ended(got, 2, "production is locked already by operator", "`usher unlock production` removes that lock")

	h.ended(h.usher("deploy --despite-lock production"), 0, "warning    "+why)
	h.expect("live", h.live(), "2")
	h.ended(h.usher("rollback --despite-lock production"), 0, "warning    "+why)
	h.expect("live", h.live(), "1")

	h.ended(h.usher("unlock production"), 0, "production is unlocked. It was "+why)
	h.ended(h.usher("unlock production"), 0, "production was not locked.")
	h.ended(h.usher("deploy production"), 0)
	h.expect("live", h.live(), "2")

	// A job's lock names the job, and can be put where one was before.
	job := func(c *exec.Cmd) {
		because("load test")(c)
		c.Env = append(c.Env, "GITLAB_CI=true", "CI_JOB_ID=42", "GITLAB_USER_LOGIN=ann", "CI_JOB_URL=https://gitlab.example.com/acme/shop/-/jobs/42")
	}
	h.ended(h.types("lock production", job).ends(), 0)
	h.ended(h.usher("deploy production"), 2, "locked by ann, gitlab job 42 (arn:aws:iam::123456789012:user/operator, just now, https://gitlab.example.com/acme/shop/-/jobs/42): load test")
}

// Of two who lock at the same time one has it. An answer that is lost is no other's lock.
func TestLockAtTheSameTime(t *testing.T) {
	h := newShop(t, 0, production())
	var all sync.WaitGroup
	codes := make([]typed, 6)
	for i := range codes {
		one := h.types("lock production", because("number "+itoa(i)))
		all.Go(func() { codes[i] = one.ends() })
	}
	all.Wait()
	won, lost := 0, 0
	for _, c := range codes {
		switch {
		case c.code == 0:
			won++
		case c.code == 2 && strings.Contains(c.stderr, "is locked already by operator"):
			lost++
		}
	}
	if won != 1 || lost != len(codes)-1 {
		t.Errorf("%d have it and %d are refused: %+v", won, lost, codes)
	}
	h.ended(h.usher("unlock production"), 0)
	h.cloud.Fail("PutObject", 1, standin.Fault{AfterEffect: true, DropConnection: true})
	h.ended(h.types("lock production", because("once")).ends(), 0)
}

// A lock is put while a deployment waits for its turn; one that cannot be read; a missing permission.
func TestLockMeanwhile(t *testing.T) {
	h := newShop(t, 1, production())
	h.fifos()
	h.commit("2", h.waiting("2"))
	first := h.types("deploy production")
	h.hasBegun()
	h.commit("3", edition("3"))
	second := h.types("deploy --wait 10m production")
	second.says("waiting for deployment")
	h.ended(h.types("lock production", because("enough")).ends(), 0)
	h.goOn()
	h.ended(first.ends(), 0)
	h.ended(second.ends(), 2, "production is locked by operator", "enough")
	h.expect("live", h.live(), "2")
	h.ended(h.usher("unlock production"), 0)

	_, _, err := h.cloud.Upload(h.cloud.Bucket, "shop/locks/production.json", []byte("?"))
	h.must(err)
	h.ended(h.usher("deploy production"), 2, "production is locked by somebody", "was not written by usher lock")
	h.ended(h.usher("unlock production"), 0)
	h.cloud.Fail("PutObject", 1, standin.Fault{Status: 403, Code: "AccessDenied"})
	h.ended(h.types("lock production", because("no")).ends(), 1, "cannot write the lock s3://"+h.cloud.Bucket+"/shop/locks/production.json: your AWS identity is not authorized: allow s3:PutObject in its policy")
	h.cloud.Fail("GetObject", -1, standin.Fault{Status: 403, Code: "AccessDenied"})
	h.ended(h.usher("deploy production"), 1, "cannot read the lock s3://"+h.cloud.Bucket+"/shop/locks/production.json: access denied: allow your identity s3:GetObject on ")
	h.ended(h.usher("deploy status production"), 0, "cannot tell whether production is locked", "succeeded")
	h.cloud.Heal("GetObject")
	h.ended(h.usher("lock production"), 2, "missing REASON: say why, in quotes")
	h.ended(h.types("lock production", because(" ")).ends(), 2, "the reason must have 1 to 500 characters")
	h.ended(h.usher("deploy production"), 0)
}

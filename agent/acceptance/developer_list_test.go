package acceptance

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"usher/agent/standin"
)

// What was deployed before, when, by whom, and what became of it.

// whenForm is a time as a person reads it.
var whenForm = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)

// table is a table that was printed, with one blank between its columns.
func (h *shop) table(text string) string {
	return regexp.MustCompile(` {2,}`).ReplaceAllString(h.picture(whenForm.ReplaceAllString(text, "WHEN")), " ")
}

// A person's deployment, a job's that fails and is undone by CodeDeploy, and a colleague's without usher.
func TestDeployList(t *testing.T) {
	group := production()
	group.AutoRollback = true
	h := newShop(t, 1, group)
	got := h.usher("deploy list production")
	h.ended(got, 0, "nothing was deployed to production yet")
	h.expect("stdout", got.stdout, "")
	h.ended(h.usher("deploy production"), 0)
	h.commit("2", broken("2"))
	job := func(c *exec.Cmd) {
		c.Env = append(c.Env, "CI=true", "GITHUB_ACTIONS=true", "GITHUB_SHA="+h.commits[1], "GITHUB_RUN_ID=19876543210", "GITHUB_ACTOR=ann", "GITHUB_REPOSITORY=acme/shop")
	}
	h.ended(h.types("deploy -m orders production", job).ends(), 3)
	h.commit("3", edition("3"))
	h.ended(h.usher("deploy -m because production"), 0)
	h.ended(h.usher("rollback production "+h.commits[0]), 0)

	got = h.usher("deploy list production")
	h.ended(got, 0)
	h.expect("stderr", got.stderr, "")
	h.expect("it printed", h.table(got.stdout), `WHEN DEPLOYMENT OUTCOME BY WHAT
WHEN deployment1 succeeded operator commit1 Version 1
WHEN deployment2 succeeded operator commit3 Version 3
WHEN deployment3 succeeded codeDeployRollback, undoes deployment4 commit1 Version 1
WHEN deployment4 failed, undone by deployment3 ann, github run 19876543210 commit2 Version 2
WHEN deployment5 succeeded operator commit1 Version 1
`)
	got = h.usher("deploy list --limit 2 production --json")
	h.ended(got, 0)
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	h.expect("lines", itoa(len(lines)), "2")
	var last struct {
		ID      string `json:"deployment_id"`
		By      string
		Commit  string
		Subject string
		Message string
		Status  string
		Creator string
	}
	h.must(json.Unmarshal([]byte(lines[1]), &last))
	h.expect("the one before the last", h.picture(strings.Join([]string{last.ID, last.By, last.Commit, last.Subject, last.Message, last.Status, last.Creator}, ", ")),
		"deployment1, operator, SHA3, Version 3, because, Succeeded, user")
	h.ended(h.usher("deploy list --limit -1 production"), 2, "--limit is -1: it must not be less than 0")
	h.ended(h.usher("deploy list"), 2, "missing ENV")
	h.ended(h.usher("deploy list prodution"), 2, "did you mean production?")

	// What others wrote into a description is no more than text, on one line.
	h.commit("4 \x1b[31mred", edition("4"))
	h.ended(h.usher("deploy production"), 0)
	h.ended(h.usher("deploy list --limit 1 production"), 0, `Version 4 \x1b[31mred`)
}

// More deployments than CodeDeploy describes at once.
func TestDeployListIsLong(t *testing.T) {
	h := newShop(t, 0, production())
	for range 60 {
		h.cloud.PublishRevision("shop", "production", standin.S3Revision(h.cloud.Bucket, "by-hand.zip", "zip", "", ""))
	}
	count := func(line string) string { return itoa(strings.Count(h.usher(line).stdout, "\n")) }
	h.expect("lines", count("deploy list production"), "21")
	h.ended(h.usher("deploy list --limit 1 production"), 0, "succeeded", "user", "s3://"+h.cloud.Bucket+"/by-hand.zip")
	h.expect("all lines", count("deploy list --limit 0 production"), "61")
}

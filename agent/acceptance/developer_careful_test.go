package acceptance

import (
	"os"
	"strings"
	"testing"

	"usher/agent/standin"
)

// What careful teams want: one deployment that differs from its group, and a dry run that says what is in the way.

// One deployment has a configuration, a way with files in the way and no rollback of its own.
func TestDeployInAnotherWayThanItsGroup(t *testing.T) {
	group := production()
	group.AutoRollback, group.Alarms = true, []string{"errors", "latency"}
	h := newShop(t, 2, group)
	h.ended(h.usher("deploy --config CodeDeployDefault.AllAtOnce --file-exists overwrite production"), 0,
		"Auto Scaling group web: 2 in service; AllAtOnce", "alarms     errors, latency: each stops the deployment")
	asked := h.cloud.CallsOf("CreateDeployment")[0].Params
	h.expect("configuration", asked["deploymentConfigName"], "CodeDeployDefault.AllAtOnce")
	h.expect("files", asked["fileExistsBehavior"], "OVERWRITE")
	h.commit("2", broken("2"))
	h.ended(h.usher("deploy --no-rollback production"), 1, "rollback   none, if it fails (--no-rollback)", "CodeDeploy did not roll it back")
	h.expect("live", h.live(), "1 1")
	h.ended(h.usher("deploy --file-exists maybe production"), 2, `--file-exists is "maybe": it must be disallow, overwrite or retain`)
	h.ended(h.usher("deploy --config Canary production"), 1, "there is no such deployment configuration in this account")
}

// A dry run finds what would be in the way: a bucket that is not there, a deployment in progress, and what check warns of.
func TestDryRunFindsWhatIsInTheWay(t *testing.T) {
	h := newShop(t, 1, production())
	h.fifos()
	h.commit("2", h.waiting("2"))
	going := h.types("deploy production")
	h.hasBegun()
	h.commit("3", edition("3").with(files{"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstall: [{location: scripts/render.sh, time_out: 3}]\n"}))
	got := h.usher("deploy --dry-run production")
	h.goOn()
	h.ended(going.ends(), 0)
	h.ended(got, 0, "warning    deployment "+h.deploymentIn(going.text())+" is in progress", `warning    appspec.yml:4:`, "did you mean timeout?")
	text, err := os.ReadFile(h.path("shop/usher.yml"))
	h.must(err)
	h.write("shop/usher.yml", strings.Replace(string(text), h.cloud.Bucket, "no-such-bucket-anywhere", 1))
	h.ended(h.usher("deploy --dry-run production"), 1, "there is no such bucket: correct bucket of production in usher.yml")
}

// The brake: a deployment in progress is stopped, with the rollback that its group wants or without it.
func TestDeployStop(t *testing.T) {
	group := production()
	group.StopRollback = true
	h := newShop(t, 2, group)
	h.ended(h.usher("deploy stop production"), 2, "there is nothing to stop: nothing was deployed to production yet")
	h.ended(h.usher("deploy production"), 0)
	h.ended(h.usher("deploy stop production"), 2, "there is nothing to stop: deployment d-", " has succeeded")
	h.fifos()
	h.commit("2", h.waiting("2"))
	begin := func() string {
		h.Helper()
		got := h.usher("deploy --no-wait production")
		h.ended(got, 0)
		h.hasBegun()
		return h.deploymentIn(got.stdout[strings.Index(got.stdout, "Deployment "):])
	}
	id := begin()
	stop := h.types("deploy stop --no-rollback production")
	stop.says("stopping deployment " + id + ": servers finish their current lifecycle event")
	h.goOn()
	h.ended(stop.ends(), 0, id+" stopped", "Deployment "+id+" is stopped: it had succeeded on no server: `usher rollback production` returns all to what ran before")
	asked := h.cloud.CallsOf("StopDeployment")
	h.expect("rollback that was asked for", asked[len(asked)-1].Params["autoRollbackEnabled"], "false")
	h.ended(h.usher("rollback --yes production"), 0)
	h.expect("live", h.live(), "1 1")

	// As the group says, by the deployment's id, and for a program.
	id = begin()
	stop = h.types("deploy stop --json " + id)
	stop.says("stopping deployment")
	h.goOn()
	got := stop.ends()
	h.ended(got, 0, `"undoes":"`+id+`"`)
	last := h.last(got.stdout)
	h.expect("how it ended", last.Status+" "+last.Deployment, "succeeded "+id)
	if !strings.Contains(last.Message, "Deployment "+id+" is stopped, and deployment d-") || !strings.Contains(last.Message, " rolled it back") {
		t.Errorf("it says %q", last.Message)
	}
	asked = h.cloud.CallsOf("StopDeployment")
	h.expect("rollback that was asked for", asked[len(asked)-1].Params["autoRollbackEnabled"], "")
	h.expect("live", h.live(), "1 1")
	h.cloud.Fail("StopDeployment", 1, standin.Fault{Code: "AccessDeniedException"})
	id = begin()
	h.ended(h.usher("deploy stop production"), 1, "it was not stopped: cannot stop deployment "+id+": your AWS identity is not authorized: allow codedeploy:StopDeployment in its policy")
	h.goOn()
}

// What the appspec names and .gitignore keeps out of the commit is said, whether the commit has some of it or nothing.
func TestDeployWarnsOfWhatIsIgnored(t *testing.T) {
	h := newShop(t, 1, production())
	spec := "version: 0.0\nos: linux\nfiles:\n  - {source: public, destination: " + h.path("www") + "}\n"
	h.commit("2", files{"appspec.yml": spec, "public/index.html": "2", ".gitignore": "/public/assets/\n*.log\n/node_modules/\ndist/\n"})
	for _, name := range []string{"public/assets/app.js", "node_modules/left/pad.js", "debug.log"} {
		h.write("shop/"+name, "built")
	}
	h.ended(h.usher("deploy production"), 0,
		"warning    appspec.yml names files that .gitignore keeps out of the commit: not deployed: public/assets/: `bundle:` in usher.yml deploys what was built\n")
	h.commit("3", files{"appspec.yml": strings.ReplaceAll(spec, "public", "dist/web")})
	h.write("shop/dist/web/index.html", "built")
	h.ended(h.usher("deploy production"), 2, "servers would reject this commit: 1 problem", "appspec.yml:4:", "names files that .gitignore keeps out of the commit: not deployed: dist/: `bundle:` in usher.yml")
	h.commit("4", edition("4"))
	if got := h.usher("deploy production"); got.code != 0 || strings.Contains(got.stdout, "warning") {
		t.Errorf("without a name in the appspec: %s%s", got.stdout, got.stderr)
	}
}

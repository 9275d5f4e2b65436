package acceptance

import (
	"os"
	"strings"
	"testing"
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
	h.ended(h.usher("deploy --no-rollback production"), 1, "rollback   none, if it fails (--no-rollback)", "it was not rolled back")
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

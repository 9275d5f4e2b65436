package acceptance

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"usher/agent/standin"
)

// Which commit runs on which server, as CodeDeploy and Auto Scaling know it.

// One server by a deployment, one by its launch, one whose launch has not ended, one that was abandoned.
func TestServers(t *testing.T) {
	h := newShop(t, 1, production())
	h.expect("before anything was deployed", h.table(h.usher("servers production").stdout), `New servers of production get nothing: no deployment to production has succeeded yet

SERVER STATE SINCE BY RUNS
server1 InService WHEN - what its image has
`)
	h.ended(h.usher("deploy production"), 0)
	h.serve(1)
	h.expect("live", h.live(), "1 1")
	h.expect("it printed", h.table(h.usher("servers production").stdout), `New servers of production get commit1 Version 1 (deployment1, AGO)

SERVER STATE SINCE BY RUNS
server1 InService WHEN deployment1 commit1 Version 1
server2 InService WHEN its launch commit1 Version 1
`)

	// A deployment fails on the first: both run what they ran.
	h.commit("2", broken("2"))
	h.ended(h.usher("deploy production"), 1)
	h.expect("live", h.live(), "1 1")
	got := h.usher("servers production")
	h.ended(got, 0)
	h.expect("after a failure", h.table(got.stdout), `New servers of production get commit1 Version 1 (deployment1, AGO)

SERVER STATE SINCE BY RUNS
server1 InService WHEN deployment1, deployment2 failed commit1 Version 1
server2 InService WHEN its launch commit1 Version 1
`)

	// One succeeds on both, and a server that is launched now fails and is abandoned.
	h.commit("3", edition("3"))
	h.ended(h.usher("deploy production"), 0)
	h.expect("live", h.live(), "3 3")
	lost := h.cloud.Launch("web", standin.LaunchOptions{})
	h.waitFor(lost, standin.PendingWait)
	held := h.usher("servers production")
	h.ids = append(h.ids, lost.ID)
	h.expect("while it is held", h.table(held.stdout), `New servers of production get commit3 Version 3 (deployment1, AGO)

SERVER STATE SINCE BY RUNS
server1 InService WHEN deployment1 commit3 Version 3
server2 InService WHEN deployment1 commit3 Version 3
server3 Pending:Wait WHEN - its launch has not ended
`)
	h.answersHook(lost, "usher-launch", standin.Abandon)
	h.waitFor(lost, standin.Terminated)
	got = h.usher("servers production")
	h.ended(got, 0, "1 launch failed in the last 24 hours", "was abandoned: Lifecycle Action Completed with ABANDON Result",
		"aws ec2 get-console-output --latest --output text --region eu-west-1 --instance-id "+lost.ID)
	h.expect("rows", itoa(strings.Count(got.stdout, " InService ")), "2")

	var report struct {
		Commit  string
		Servers []struct {
			ID     string `json:"instance_id"`
			State  string
			Commit string
			By     string
		}
		Failed []struct {
			ID string `json:"instance_id"`
		} `json:"failed_launches"`
	}
	got = h.usher("servers --json production")
	h.ended(got, 0)
	h.must(json.Unmarshal([]byte(got.stdout), &report))
	if len(report.Servers) != 2 || report.Servers[1].Commit != h.commits[2] || report.Servers[1].By != "deployment" || len(report.Failed) != 1 || report.Failed[0].ID != lost.ID || report.Commit != h.commits[2] {
		t.Errorf("JSON: %s", got.stdout)
	}
}

// No server, no deployment, no permission.
func TestServersOfNothing(t *testing.T) {
	h := newShop(t, 0, production())
	h.ended(h.usher("servers production"), 0, "nothing: no deployment to production has succeeded yet", "There is no server now.")
	h.serve(1)
	h.ended(h.usher("servers production"), 0, h.ids[0]+"  InService", "what its image has")
	h.cloud.Fail("DescribeScalingActivities", -1, standin.Fault{Code: "AccessDenied"})
	h.ended(h.usher("servers production"), 1, "allow autoscaling:DescribeScalingActivities in its policy")
	h.ended(h.usher("servers prodution"), 2, "did you mean production?")
	h.must(os.Remove(h.path("shop/usher.yml")))
	h.ended(h.usher("servers production"), 2, "there is no usher.yml")
}

// A deployment group that selects by tags has no Auto Scaling group to be asked: its servers are those of its newest deployment.
func TestServersByTags(t *testing.T) {
	h := newShop(t, 0, production())
	h.cloud.CreateGroup(standin.Group{Name: "web", NoReplacement: true, Tags: map[string]string{"role": "shop"}})
	h.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", EC2Tags: map[string]string{"role": "shop"}})
	h.serve(2)
	h.ended(h.usher("servers production"), 0, "There is no server now.")
	h.ended(h.usher("deploy production"), 0)
	h.expect("live", h.live(), "1 1")
	got := h.usher("servers production")
	h.ended(got, 0)
	h.expect("it printed", h.table(got.stdout), `New servers of production get commit1 Version 1 (deployment1, AGO)

SERVER STATE SINCE BY RUNS
server1 in no group WHEN deployment1 commit1 Version 1
server2 in no group WHEN deployment1 commit1 Version 1
`)
}

package standin

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// CodeDeploy's own integration, as a picture: what the agent of a launching instance does, and where the
// instance ends.
func TestCodeDeploysOwnIntegration(t *testing.T) {
	for name, r := range map[string]struct {
		script string
		fresh  bool // nothing was ever deployed
		events string
		end    State
		took   time.Duration
	}{
		"it is deployed to":               {"ok", false, inPlace, InService, 0},
		"a failure ends the launch":       {"AfterInstall fails", false, "ApplicationStop DownloadBundle BeforeInstall Install AfterInstall", Terminated, 0},
		"no agent":                        {"absent", false, "ApplicationStop", Terminated, 5 * time.Minute},
		"the hook's timeout comes first":  {"Install hangs", false, "ApplicationStop DownloadBundle BeforeInstall Install", Terminated, managedHeartbeat},
		"it goes meanwhile":               {"Install leaves", false, "ApplicationStop DownloadBundle BeforeInstall Install", Terminated, 0},
		"nothing was ever deployed to it": {"ok", true, "", InService, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := engine(0, DeploymentGroup{Managed: true, AutoRollback: true})
				defer c.shutDown()
				g := c.deploys.applications["shop"].groups["production"]
				if !strings.HasPrefix(g.hook, "CodeDeploy-managed-automatic-launch-deployment-hook-production-") {
					t.Errorf("the hook is %s", g.hook)
				}
				if r.fresh {
					g.last, g.revision = nil, nil
				}
				last, tried := g.last, g.tried
				inst := c.Launch("web", LaunchOptions{})
				act(t, c, inst, r.script)
				began := time.Now()
				for inst.State() != r.end {
					if time.Since(began) > time.Hour {
						t.Fatalf("it went %s", path(inst.History()))
					}
					time.Sleep(time.Second) // in a bubble: the clock is the test's
					synctest.Wait()
				}
				if took := time.Since(began).Truncate(time.Minute); took != r.took {
					t.Errorf("it took %s, want %s", took, r.took)
				}
				synctest.Wait()
				if got := sentTo(c, inst); got != r.events {
					t.Errorf("sent\n got %s\nwant %s", got, r.events)
				}
				c.deploys.mu.Lock()
				defer c.deploys.mu.Unlock()
				if g.last != last || g.tried != tried {
					t.Error("a launch changed the group's deployments")
				}
				for _, dep := range c.deploys.all {
					if !dep.hasEnded() {
						t.Errorf("a deployment by %s is %s", dep.creator, dep.status)
					}
				}
			})
		})
	}
}

func TestALaunchBesideADeployment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := engine(0, DeploymentGroup{Managed: true})
		defer c.shutDown()
		old := c.Launch("web", LaunchOptions{})
		act(t, c, old, "ok")
		if err := old.WaitFor(t.Context(), InService); err != nil {
			t.Fatal(err)
		}
		next := c.Launch("web", LaunchOptions{}) // its agent is not up yet
		id, err := c.Deploy("shop", "production", release(2))
		if err != nil {
			t.Fatal(err)
		}
		if status, err := c.WaitForDeployment(t.Context(), id); err != nil || status != statusSucceeded {
			t.Errorf("the deployment %s, %v", status, err)
		}
		act(t, c, next, "ok")
		if err := next.WaitFor(t.Context(), InService); err != nil {
			t.Fatal(err)
		}
		// It began with the release that was the target then.
		g := c.deploys.applications["shop"].groups["production"]
		if got := g.installed[next.ID]; !sameJSON(got, release(1).wire()) || !target2(c) {
			t.Errorf("it has %s", got)
		}

		// Deployed to what is outdated only, the rest is left alone.
		out, bad := createDeployment(c, asked(t, map[string]any{"applicationName": "shop", "deploymentGroupName": "production",
			"revision": release(2).wire(), "updateOutdatedInstancesOnly": true}))
		if bad != nil {
			t.Fatal(bad.message)
		}
		id = out.(map[string]string)["deploymentId"]
		if status, err := c.WaitForDeployment(t.Context(), id); err != nil || status != statusSucceeded {
			t.Errorf("the second deployment %s, %v", status, err)
		}
		if dep := c.deploys.deployment(id); len(dep.targets) != 1 || dep.targets[0].inst != next {
			t.Errorf("its targets are %s", picture(c, id))
		}
	})
}

func TestAGroupThatIsManagedNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := engine(0, DeploymentGroup{Managed: true})
		defer c.shutDown()
		inst := c.Launch("web", LaunchOptions{}) // nobody answers
		if inst.State() != PendingWait {
			t.Fatalf("it is %s", inst.State())
		}
		c.PutDeploymentGroup(DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}})
		if inst.State() != Terminated { // a launch is abandoned when the hook that holds it goes
			t.Errorf("without the hook it is %s", inst.State())
		}
		if other := c.Launch("web", LaunchOptions{}); other.State() != InService {
			t.Errorf("the next one is %s", other.State())
		}
	})
}

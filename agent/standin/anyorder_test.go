package standin

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Whatever happens to a group's deployments, in whatever order, the rules hold, and every deployment ends.
func TestAnyOrderOfEventsKeepsTheRulesOfDeployments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noDeadline := struct{ rapid.TB }{t} // a bubble's clock has nothing to do with the test's deadline
		rapid.Check(noDeadline, func(rt *rapid.T) {
			c := engine(rapid.IntRange(0, 5).Draw(rt, "instances"), DeploymentGroup{
				Config:       rapid.SampledFrom(sortedKeys(deploymentConfigs)).Draw(rt, "config"),
				AutoRollback: rapid.Bool().Draw(rt, "rollback"),
				LoadBalancer: rapid.Bool().Draw(rt, "load balancer"),
				Managed:      rapid.Bool().Draw(rt, "managed"),
			})
			defer c.shutDown()
			d := c.deploys
			releases := 1
			pick := func(rt *rapid.T) *Instance { return rapid.SampledFrom(c.Instances()).Draw(rt, "instance") }
			rt.Repeat(map[string]func(*rapid.T){
				"deploy": func(*rapid.T) {
					releases++
					busy := underWay(c) != ""
					if _, err := c.Deploy("shop", "production", release(releases)); (err != nil) != busy {
						rt.Fatalf("while a deployment is under way (%t): %v", busy, err)
					}
				},
				"work": func(rt *rapid.T) { // one command of one instance
					if len(c.Instances()) == 0 {
						return
					}
					inst := pick(rt)
					if h, _ := d.next(inst.ID); h != nil {
						o := rapid.SampledFrom([]Outcome{Succeeds, Succeeds, Succeeds, Succeeds, Succeeds, Noop, Fails, Hangs}).Draw(rt, "outcome")
						if bad := c.obey(inst, h, func(string) Outcome { return o }); bad != nil {
							rt.Fatalf("%s: %s", h.name, bad.message)
						}
					}
				},
				"late answer": func(rt *rapid.T) { // of any command there ever was
					all := c.HostCommands()
					if len(all) == 0 {
						return
					}
					h := rapid.SampledFrom(all).Draw(rt, "command")
					if bad := d.complete(h.InstanceID, h.ID, rapid.SampledFrom([]string{commandSucceeded, commandFailed}).Draw(rt, "status"), diagnosis{}); bad != nil {
						rt.Fatal(bad.message)
					}
				},
				"stop": func(rt *rapid.T) {
					id := underWay(c)
					if id == "" {
						return
					}
					var back *bool
					if rapid.Bool().Draw(rt, "says") {
						yes := rapid.Bool().Draw(rt, "roll back")
						back = &yes
					}
					stopOf(rt, c, id, back)
				},
				"launch": func(*rapid.T) { c.Launch("web", LaunchOptions{}) },
				"terminate": func(rt *rapid.T) {
					if len(c.Instances()) > 0 {
						pick(rt).Terminate()
					}
				},
				"time": func(rt *rapid.T) {
					time.Sleep(time.Duration(rapid.IntRange(1, 90).Draw(rt, "minutes")) * time.Minute)
				},
				"": func(rt *rapid.T) {
					synctest.Wait()
					if bad := broken(c); bad != "" {
						rt.Fatal(bad)
					}
				},
			})
			// Left alone, every deployment ends: nobody answers any more.
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			if id := underWay(c); id != "" {
				rt.Fatalf("%s never ends: %s", id, picture(c, id))
			}
			if bad := broken(c); bad != "" {
				rt.Fatal(bad)
			}
		})
	})
}

// underWay is a deployment that has not ended, launches left aside; "" when all have.
func underWay(c *Cloud) string {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	if dep := c.deploys.active(c.deploys.applications["shop"].groups["production"]); dep != nil {
		return dep.id
	}
	return ""
}

func TestListsHavePages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := engine(pageSize+1, DeploymentGroup{Config: "CodeDeployDefault.AllAtOnce"})
		defer c.shutDown()
		for n := range 2 * pageSize {
			c.PublishRevision("shop", "production", release(n+1))
		}
		id, err := c.Deploy("shop", "production", release(1))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range []struct {
			name, field string
			list        operation
			params      map[string]any
			want        int
		}{
			{"deployments", "deployments", listDeployments, map[string]any{}, 2*pageSize + 2},
			{"targets", "targetIds", listDeploymentTargets, map[string]any{"deploymentId": id}, pageSize + 1},
			{"revisions", "revisions", listApplicationRevisions, map[string]any{"applicationName": "shop"}, 2 * pageSize},
		} {
			seen, pages := map[string]bool{}, 0
			for more := true; more; pages++ {
				out, bad := l.list(c, asked(t, l.params))
				if bad != nil {
					t.Fatal(l.name, bad.code)
				}
				answer := out.(map[string]any)
				switch part := answer[l.field].(type) {
				case []string:
					for _, one := range part {
						seen[one] = true
					}
				case []json.RawMessage:
					for _, one := range part {
						seen[string(one)] = true
					}
				}
				l.params["nextToken"], more = answer["nextToken"]
			}
			if len(seen) != l.want || pages != (l.want+pageSize-1)/pageSize {
				t.Errorf("%s: %d in %d pages, want %d", l.name, len(seen), pages, l.want)
			}
			l.params["nextToken"] = "x"
			if _, bad := l.list(c, asked(t, l.params)); bad == nil || bad.code != "InvalidNextTokenException" {
				t.Errorf("%s: a token that is none: %v", l.name, bad)
			}
		}
	})
}

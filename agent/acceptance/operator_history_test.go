package acceptance

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"usher/agent/operator"
	"usher/agent/standin"
)

// `usher history`, after a life of deployments.

// A launch in which the agent was killed, updates of which one fails, a rollback that is under way: a line
// each, the newest last.
func TestHistory(t *testing.T) {
	s := newStage(t)
	s.config["on_failure"] = "continue"
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	s.expect("the agent died", s.killed(server, "6+"), "after started BeforeInstall")
	s.expect("exit code of the next", itoa(s.start(server, "-once").wait()), "0")
	s.waitFor(server, standin.InService)
	two, shut, open := s.gateIf(s.app("2"), "scripts/start.sh")
	for n, f := range []files{two, s.app("3").with(files{"scripts/after.sh": failing}), s.app("4")} {
		s.publish("shop-"+itoa(n+2), f)
		s.takeOut(server)
		s.waitFor(server, standin.InService)
	}
	shut()
	r := s.start(server)
	r.says("nothing to deploy")
	client := exec.CommandContext(s.ctx, s.binary, "rollback", "-config", s.path("agent.yml"))
	s.must(client.Start())
	r.says("at the gate")

	columns := func(line string) string {
		s.Helper()
		got := s.types(line)
		if got.code != 0 || got.stderr != "" {
			s.Errorf("usher %s: exit %d, %s", line, got.code, got.stderr)
		}
		return regexp.MustCompile(`  +`).ReplaceAllString(s.plain(got.stdout), " | ")
	}
	const head, underWay = "WHEN | DEPLOYMENT | RELEASE | WHAT | OUTCOME | TOOK\n", "TIME | rollback-TIME | shop-2-N | rollback | under way in ApplicationStart | SPAN\n"
	s.expect("history", columns("history"), head+`TIME | d-N | shop-1-N | launch | succeeded | SPAN
TIME | d-N | shop-2-N | launch | succeeded | SPAN
TIME | d-N | shop-3-N | launch | failed in AfterInstall, rolled back | SPAN
TIME | d-N | shop-4-N | launch | succeeded | SPAN
`+underWay)
	s.expect("the newest", columns("history -n 1"), head+underWay)

	var steps []string
	for in := json.NewDecoder(strings.NewReader(s.types("history -n 0 -json").stdout)); in.More(); {
		var d operator.DeploymentStatus
		in.DisallowUnknownFields()
		s.must(in.Decode(&d))
		line := d.Release[:6] + " " + d.Verdict + ":"
		for _, step := range d.Steps {
			line += " " + step.Name
			if !step.Done {
				line += "..."
			}
			if step.Error != "" {
				line += "!"
			}
		}
		steps = append(steps, line)
	}
	const all = " ApplicationStop DownloadBundle BeforeInstall Install AfterInstall Flip ApplicationStart ValidateService"
	s.expect("steps", strings.Join(steps, "\n"), "shop-1 CONTINUE:"+all+"\nshop-2 CONTINUE:"+all+
		"\nshop-3 CONTINUE: ApplicationStop DownloadBundle BeforeInstall Install AfterInstall! Rollback\nshop-4 CONTINUE:"+all+
		"\nshop-2 : ApplicationStop DownloadBundle BeforeInstall Install AfterInstall Flip ApplicationStart...")
	open()
	s.must(client.Wait())
	s.expect("the newest in the end", columns("history -n 1"), head+"TIME | rollback-TIME | shop-2-N | rollback | succeeded | SPAN\n")
	s.expect("exit code", itoa(r.stop()), "0")

	// The last line is torn: what it said is not known.
	lines, err := os.ReadFile(s.path("state/record.jsonl"))
	s.must(err)
	s.write("state/record.jsonl", string(lines[:len(lines)-20]))
	s.expect("the newest of a torn record", columns("history -n 1"), head+"TIME | rollback-TIME | shop-2-N | rollback | under way | SPAN\n")
	s.answered("history -n -1", 2, "", "usher history: -n is -1: it must not be less than 0\n")
	s.must(os.Remove(s.path("state/record.jsonl")))
	s.answered("history", 3, "", "usher history: nothing was deployed yet\n")
}

// Of a damaged record, what is before the damage is shown.
func TestHistoryOfADamagedRecord(t *testing.T) {
	s := newStage(t)
	s.write("agent.yml", "state_dir: "+s.path("state")+"\n")
	s.write("state/record.jsonl", aLine+anEnd+rubble)
	got := s.types("history")
	s.expect("exit code", itoa(got.code), "0")
	s.expect("history", regexp.MustCompile(`  +`).ReplaceAllString(s.plain(got.stdout), " | "),
		"WHEN | DEPLOYMENT | RELEASE | WHAT | OUTCOME | TOOK\nTIME | d-OLD | old-1 | launch | failed, NOT rolled back | SPAN\n")
	s.write("state/record.jsonl", aLine+anEnd+rubble+aLine)
	again := s.types("history")
	s.expect("what is shown before the damage", again.stdout, got.stdout)
	if !strings.HasPrefix(again.stderr, "usher history: the record "+s.path("state/record.jsonl")+" is damaged: line 3: ") {
		t.Errorf("it says %s", again.stderr)
	}
}

package acceptance

import (
	"os"
	"strings"
	"testing"

	"usher/agent/standin"
)

// One line in the middle of the record of a server in service cannot be read any more: whichever it is, the next agent
// goes on with what is live, says so, and takes the next deployment. Nothing is stopped or run.
func TestADamagedRecordOfAServerInService(t *testing.T) {
	for line, name := range []string{"the first", "of a step", "the deployment's end", "the verdict"} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			server, r := s.serving()
			r.stop()
			_ = os.Remove(s.path("trace"))
			text, err := os.ReadFile(s.path("state/record.jsonl"))
			s.must(err)
			lines := strings.SplitAfter(string(text), "\n")
			at := 0
			for i, l := range lines {
				what := []string{`"what":"begun"`, `"what":"finished"`, `"what":"succeeded"`, `"what":"deciding"`}[line]
				if strings.Contains(l, what) {
					at = i
					break
				}
			}
			lines[at] = "?" + lines[at][1:]
			s.must(os.WriteFile(s.path("state/record.jsonl"), []byte(strings.Join(lines, "")), 0o600))
			r = s.start(server)
			if name != "the verdict" {
				r.says("is live and was good here: going on with it, nothing is deployed again")
			}
			_, status := s.deploy(s.revision("shop-2", s.app("2")))
			s.expect("the next deployment", status, "Succeeded")
			s.expect("live", s.live(), "2")
			if trace := s.trace(); strings.Contains(trace, "Start 1") || strings.Contains(trace, "BeforeInstall 1") || strings.Count(trace, "ApplicationStop 1") != 1 {
				t.Errorf("what was live was deployed again:\n%s", trace)
			}
			s.expect("state", string(server.State()), string(standin.InService))
			s.expect("answers", answers(server), "usher-launch CONTINUE")
		})
	}
}

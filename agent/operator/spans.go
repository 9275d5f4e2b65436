package operator

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"usher/agent/lifecycle"
	"usher/agent/record"
	"usher/hooks"
)

// How a timeline is read from the lines of a record.

// reader goes through the lines of one deployment.
type reader struct {
	t    timeline
	id   string
	step int // of t.spans, the one that is under way; -1 between two
	last time.Time
	boot string // of the line before

	command  string    // of CodeDeploy's that is carried out, or was last
	answered time.Time // when CodeDeploy had its result
	end      time.Time // of the deployment, while its verdict is due
	waited   time.Time // when the wait state was seen
	deciding time.Time
}

func (r *reader) line(e record.Entry) {
	switch { // a command of another deployment, which was refused, has its lines here too
	case e.What == record.Commanded && strings.HasSuffix(e.Execution, "/"+r.id):
		r.command = e.Command
	case e.Command != r.command && e.Command != "":
		return
	}
	r.before(e)
	switch e.What {
	case record.Started:
		r.cut(e.Time)
		r.step = len(r.t.spans)
		r.add(span{step: e.Step, began: e.Time, ended: e.Time, kind: kindUsher})
	case record.ScriptDone:
		if len(e.Parts) == 0 { // of an agent that did not write down which, and for how long
			r.add(span{step: e.Step, part: "script " + scriptNumber(e.Script), inside: true, began: r.last, ended: e.Time, kind: kindScript})
		}
	case record.Finished, record.Failed:
		r.done(e)
	case record.Succeeded, record.Abandoned, record.Superseded:
		r.cut(e.Time)
		r.end = e.Time
	case record.Commanded:
		if !r.answered.IsZero() {
			r.add(span{step: spanWait, part: "for CodeDeploy's next command", began: r.answered, ended: e.Time, kind: kindAWS})
		}
		r.answered = time.Time{}
	case record.Reported:
		r.answered = e.Time
	case record.Completing:
		r.deciding = e.Time
	case record.Completed:
		r.decided(e)
	}
	r.last, r.boot = e.Time, e.Boot
}

func (r *reader) add(s span) { r.t.spans = append(r.t.spans, s) }

// cut ends the step that is under way, of which no end was recorded.
func (r *reader) cut(at time.Time) {
	if r.step >= 0 {
		r.t.spans[r.step].ended, r.t.spans[r.step].state = later(r.last, at), stateCutOff
	}
	r.step = -1
}

// scriptNumber counts the scripts of an event from 1, as the order in the appspec does. The last number in a
// script's id counts them from 0.
func scriptNumber(id string) string {
	n, err := strconv.Atoi(id[strings.LastIndexByte(id, '-')+1:])
	if err != nil {
		return id
	}
	return strconv.Itoa(n + 1)
}

// done ends a step, well or not.
func (r *reader) done(e record.Entry) {
	if r.step < 0 || r.t.spans[r.step].step != e.Step {
		return // of a step whose start is not told
	}
	s := &r.t.spans[r.step]
	s.ended = e.Time
	if e.What == record.Failed {
		s.state = stateFailed
		if n := len(r.t.spans) - 1; n > r.step && r.t.spans[n].inside {
			r.t.spans[n].state = stateFailed // its last part is what failed
		}
	}
	if e.Step == record.StepFlip && e.What == record.Finished {
		r.t.moments = append(r.t.moments, moment{e.Time, "live"})
	}
	r.step = -1
}

// decided ends the launch: the wait for the wait state, if it came after the deployment, and the call.
func (r *reader) decided(e record.Entry) {
	from := r.deciding
	if from.IsZero() {
		from = e.Time
	}
	if !r.end.IsZero() && r.waited.After(r.end) {
		began := r.end
		for _, s := range r.t.spans { // the agent may have been started again since
			began = later(began, s.ended)
		}
		r.add(span{step: spanWait, part: "for Pending:Wait", began: began, ended: later(began, earlier(r.waited, e.Time)), kind: kindAWS})
		from = later(from, r.waited)
	}
	if e.Detail == string(lifecycle.Completed) {
		r.add(span{step: spanVerdict, part: "telling Auto Scaling", began: from, ended: e.Time, kind: kindUsher})
		r.t.moments = append(r.t.moments, moment{e.Time, e.Verdict})
	}
}

// before reads the parts of a line, which come before what the line itself says.
func (r *reader) before(e record.Entry) {
	first, newBoot, n := r.last.IsZero(), r.boot != e.Boot, len(r.t.spans)
	up := started(e.Parts, newBoot)
	if !first && !up.IsZero() {
		r.restarted(up)
		n = len(r.t.spans)
	}
	for _, p := range e.Parts {
		ended := p.Began.Add(time.Duration(p.Seconds * 1e9))
		switch {
		case p.Step != "":
			r.part(p, ended)
		case p.Name == record.PartBoot:
			if up.Equal(p.Began) {
				r.add(span{step: record.PartBoot, part: "from there to usher's start", began: p.Began, ended: ended, kind: kindAWS})
			}
		case p.Name == record.PartLaunched:
			if gap := up.Sub(p.Began); first && gap >= 0 && gap < longestBoot {
				r.t.moments = append(r.t.moments, moment{p.Began, record.PartLaunched})
				to := "usher's" // where the kernel says nothing, or is older than the instance
				if slices.ContainsFunc(r.t.spans[n:], func(s span) bool { return s.step == record.PartBoot }) {
					to = "the kernel's"
				}
				r.add(span{step: spanInstance, part: "from EC2's launch to " + to + " start", began: p.Began, ended: up, kind: kindAWS})
			}
		case p.Name == record.PartHold:
			r.add(span{step: record.PartHold, part: "for inspection", began: p.Began, ended: ended, kind: kindAWS})
		case p.Seconds == 0 && strings.HasSuffix(p.Name, ":Wait"):
			if r.waited.IsZero() { // an agent that is started again sees it again
				r.waited = p.Began
				r.t.moments = append(r.t.moments, moment{p.Began, p.Name})
			}
		case p.Seconds > 0:
			r.add(span{step: p.Name, part: about[p.Name], began: p.Began, ended: ended, kind: kindUsher})
		}
	}
	slices.SortStableFunc(r.t.spans[n:], func(a, b span) int { return a.began.Compare(b.began) }) // the launch is known last
}

// started is when what wrote these parts came up: the kernel, where that is not too long ago, else the agent. It
// is zero for parts that are not an agent's first.
func started(parts []record.Part, newBoot bool) (at time.Time) {
	launched := time.Time{}
	for _, p := range parts {
		if p.Name == record.PartLaunched {
			launched = p.Began
		}
	}
	for _, p := range parts {
		switch {
		case p.Step != "":
		case p.Name == record.PartBoot && p.Began.Before(launched): // a kernel older than the instance: a container's host
		case p.Name == record.PartBoot && newBoot && p.Seconds < longestBoot.Seconds():
			return p.Began
		case p.Name == record.PartMetadata:
			at = p.Began
		}
	}
	return at
}

// about is what usher did in spans that are no steps.
var about = map[string]string{
	record.PartMetadata:  "who am I?",
	record.PartLifecycle: "finding the launch",
	record.PartRevision:  "asking CodeDeploy",
	record.PartSync:      "what all scripts wrote",
}

// part is a part of the step that is under way.
func (r *reader) part(p record.Part, ended time.Time) {
	s := span{step: p.Step, part: p.Name, inside: true, began: p.Began, ended: ended, kind: kindScript}
	if p.Step == hooks.DownloadBundle || p.Step == record.StepFlip {
		s.kind = kindUsher
	}
	r.add(s)
}

// restarted is a new agent that goes on. What was cut off in a step is the step's, for it was at work.
func (r *reader) restarted(at time.Time) {
	if r.step < 0 {
		r.add(span{step: spanRestart, part: "nobody was at work", began: r.last, ended: later(r.last, at), kind: kindAWS})
	}
	r.cut(at)
	r.answered = time.Time{}
}

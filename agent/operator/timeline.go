package operator

import (
	"fmt"
	"slices"
	"time"

	"usher/agent/format"
	"usher/agent/record"
)

// timeline is where the time of one deployment went: of a launch, from the instance's launch to the verdict. It
// is computed from the record alone. What an older agent did not write down is missing, or is part of
// what surrounds it.
type timeline struct {
	deployment   DeploymentStatus
	owner        record.Owner
	began, ended time.Time
	spans        []span // in the order they began, the parts of a step behind it
	moments      []moment
}

// span is a step, a part of one, or something before, between and after the steps.
type span struct {
	step, part   string // a step, or what it is if it is none; a script or part in it
	inside       bool   // it is a part of the step before it
	began, ended time.Time
	kind         kind
	state        string // "" for one that ended well, else failed, cut off or under way
}

func (s span) took() time.Duration { return max(s.ended.Sub(s.began), 0) }

// kind is whose time it was.
type kind string

const (
	kindAWS    kind = "outside" // EC2's, Auto Scaling's, CodeDeploy's, a person's
	kindUsher  kind = "usher"
	kindScript kind = "script"
)

// How a span may have ended other than well.
const (
	stateFailed   = "failed"
	stateCutOff   = "cut off" // by a restart of the agent or of the server
	stateUnderWay = "under way"
)

// What spans are called that are neither steps nor parts in the record.
const (
	spanInstance = "instance" // from its launch to the kernel's start
	spanWait     = "wait"     // for Auto Scaling, or for CodeDeploy's next command
	spanRestart  = "restart"  // from the last line of one agent to the start of the next, between two steps
	spanVerdict  = "verdict"  // telling Auto Scaling
)

// moment is a point in time.
type moment struct {
	at   time.Time
	name string
}

// longestBoot is how long a launch or a boot may take before usher runs. A time that is further away is of
// something else: the agent was started by hand, or again.
const longestBoot = 30 * time.Minute

// timelineOf is the timeline of a deployment, as it is now.
func timelineOf(p record.DeploymentHistory, owner record.Owner, now time.Time) timeline {
	r := reader{t: timeline{deployment: describe(p, now), owner: owner}, id: p.ID, step: -1}
	for _, e := range p.Lines {
		r.line(e)
	}
	t := &r.t
	if r.step >= 0 {
		r.t.spans[r.step].state, r.t.spans[r.step].ended = stateUnderWay, later(r.last, now)
	}
	slices.SortStableFunc(t.moments, func(a, b moment) int { return a.at.Compare(b.at) })
	t.began, t.ended = p.Began, r.last
	if p.End == "" {
		t.ended = now
	}
	for _, s := range t.spans {
		t.began = earlier(t.began, s.began)
		t.ended = later(t.ended, s.ended)
	}
	for _, m := range t.moments {
		t.began = earlier(t.began, m.at)
		t.ended = later(t.ended, m.at)
	}
	return *t
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// withoutBoot begins with the agent.
func (t timeline) withoutBoot() timeline {
	first := slices.IndexFunc(t.spans, func(s span) bool { return s.step != spanInstance && s.step != record.PartBoot })
	if first < 0 {
		return t
	}
	t.spans = t.spans[first:]
	t.began = t.spans[0].began
	t.moments = slices.DeleteFunc(slices.Clone(t.moments), func(m moment) bool { return m.at.Before(t.began) })
	return t
}

// title is what the timeline is of, and how it ended.
func (t timeline) title() string {
	d := t.deployment
	text := fmt.Sprintf("%s %s: %s", d.What, d.Deployment, d.Ending())
	if d.Verdict != "" {
		text += ", " + d.Verdict
	}
	return text + fmt.Sprintf(" after %s", format.Duration(t.ended.Sub(t.began)))
}

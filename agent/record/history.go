package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Part is a piece of time, inside a step or of no step. Replay does not look at it: it is for the person who
// wants to know where a launch's time went.
type Part struct {
	Step    string    `json:"step,omitempty"` // the step it is inside of
	Name    string    `json:"name"`           // of a script, or of what usher did itself
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds,omitempty"` // 0: a moment, not a span
}

// Step is one step of a past deployment. One that was cut off and run again is there once, with its first
// start and its last end.
type Step struct {
	Name    string // lifecycle event, or Flip, Rollback
	Began   time.Time
	Done    bool    // it finished or failed; else it is under way, or was cut off
	Seconds float64 // of the run that ended
	Detail  string  // of one that finished
	Error   string  // of one that failed
}

// DeploymentHistory is one deployment as history tells it.
type DeploymentHistory struct {
	Deployment
	Began   time.Time
	Steps   []Step // in the order they first started
	Verdict string // CONTINUE or ABANDON, when Auto Scaling took one on it

	Lines []Entry // all that are about it, in order
}

// Took is how long the deployment took, or how long it is under way at now.
func (p DeploymentHistory) Took(now time.Time) time.Duration {
	if !p.Ended.IsZero() {
		now = p.Ended
	}
	return max(now.Sub(p.Began), 0)
}

// Step is the step that failed, or the one that is under way or was cut off; "" when there is neither.
func (p DeploymentHistory) Step() string {
	if p.FailedStep != "" {
		return p.FailedStep
	}
	for _, s := range slices.Backward(p.Steps) {
		if !s.Done {
			return s.Name
		}
	}
	return ""
}

// History is everything a record tells.
type History struct {
	Owner       Owner               // whose record it is; Boot is of its last line
	Deployments []DeploymentHistory // oldest first
	State       State               // what an agent that opened the record now would go on from
	Damaged     error               // what is wrong with a line in the middle: those from there on are missing here
}

// ErrNone says that there is no record: no agent has run here.
var ErrNone = errors.New("there is no record")

// ReadAll reads the record in dir without its lock and without changing it, also while an agent writes
// to it: a last line that is not whole yet does not count.
func ReadAll(dir string) (History, error) {
	path := filepath.Join(dir, FileName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return History{}, fmt.Errorf("%w in %s", ErrNone, dir)
	}
	if err != nil {
		return History{}, fmt.Errorf("cannot open the record: %w", err) // a caller asks whether it is a matter of permission
	}
	defer f.Close()
	entries, _, damaged, err := read(f)
	if err != nil {
		return History{}, fmt.Errorf("cannot read the record %s: %v", path, err)
	}
	h := history(entries)
	if damaged != nil {
		h.Damaged = fmt.Errorf("the record %s is damaged: %v", path, damaged)
	}
	return h, nil
}

// history replays lines, oldest first, as Replay does, and keeps what Replay forgets.
func history(entries []Entry) (h History) {
	var of []*Deployment // in step with h.Deployments
	for _, e := range entries {
		h.Owner = Owner{Instance: e.Instance, Image: e.Image, Boot: e.Boot}
		open := h.State.Open()
		h.State.apply(e)
		switch {
		case e.What == Begun:
			if open != nil && len(of) > 0 && of[len(of)-1].Ended.IsZero() {
				of[len(of)-1].Ended = e.Time // superseded without a line of its own
			}
			of = append(of, h.State.Last)
			h.Deployments = append(h.Deployments, DeploymentHistory{Began: e.Time})
		case e.What == Completed:
			if i := newest(of, e.Sequence); i >= 0 {
				h.Deployments[i].Verdict = e.Verdict
			}
		case open != nil && open.Sequence == e.Sequence:
			p := &h.Deployments[len(h.Deployments)-1]
			p.Steps = step(p.Steps, e)
		}
		if i := newest(of, e.Sequence); i >= 0 {
			h.Deployments[i].Lines = append(h.Deployments[i].Lines, e)
		}
	}
	for i, d := range of {
		h.Deployments[i].Deployment = *d
	}
	return h
}

// newest is the index of the newest deployment that has this number, -1 without one.
func newest(of []*Deployment, run int) int {
	for i, d := range slices.Backward(of) {
		if d.Sequence == run {
			return i
		}
	}
	return -1
}

// step adds what a line says of a step.
func step(steps []Step, e Entry) []Step {
	if e.What != Started && e.What != Finished && e.What != Failed {
		return steps
	}
	n := slices.IndexFunc(steps, func(s Step) bool { return s.Name == e.Step })
	if n < 0 {
		n = len(steps)
		steps = append(steps, Step{Name: e.Step})
	}
	s := &steps[n]
	switch {
	case e.What == Started && s.Began.IsZero():
		s.Began = e.Time
	case e.What == Started: // again, after a restart of the agent
		s.Done, s.Seconds, s.Error = false, 0, ""
	default:
		s.Done, s.Seconds, s.Detail, s.Error = true, e.Seconds, e.Detail, e.Error
	}
	return steps
}

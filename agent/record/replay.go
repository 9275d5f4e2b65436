package record

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// Deployment is one deployment as its lines tell it.
type Deployment struct {
	Sequence   int
	ID         string // CodeDeploy's
	By         string // what brought it about; "" for a launch
	Boot       string // of its first line
	Began      time.Time
	Revision   string
	Release    string
	Live       string
	Fallback   string
	From       string            // the first step that is done; "" for all
	Finished   map[string]bool   // steps that are done
	FinishedIn map[string]string // step -> boot id in which it was done
	Scripts    map[string]string // script id -> boot id in which it finished
	Started    []string          // steps in the order they first started
	StartedIn  string            // boot id in which a step started last
	Error      string            // of the step that failed, or of the end
	FailedStep string
	End        string    // "" while open, else Succeeded, Abandoned or Superseded
	Ended      time.Time // zero while open
	EndBoot    string    // boot id in which it ended
	RolledBack bool      // it was abandoned, and what was live before is live again
	Serving    bool      // it was rolled back, and what was live before was started and validated, where it had been stopped
	Completed  bool      // its lifecycle action is complete
	Finalized  bool      // what it replaced was removed

	before *Deployment // the newest that had succeeded before it
}

// RevisionField is the revision as a field of the journal: where its bundle is, without the remark in brackets. systemd reads
// the fields of a running unit again after a daemon-reload, and takes a blank for the end of one.
func (d *Deployment) RevisionField() string {
	field, _, _ := strings.Cut(d.Revision, " (")
	return field
}

// Err is why a deployment was abandoned, nil for any other.
func (d *Deployment) Err() error {
	if d == nil || d.End != Abandoned {
		return nil
	}
	return errors.New(d.Error)
}

// Interrupted says that the step was started and neither finished nor failed: the agent died in it.
func (d *Deployment) Interrupted(step string) bool {
	return d != nil && slices.Contains(d.Started, step) && !d.Finished[step] && d.FailedStep != step
}

// Decision is one verdict.
type Decision struct {
	Sequence       int // the deployment it is about, 0 for none
	Verdict        string
	LifecycleState string // lifecycle state it was for
	Boot           string
	Done           bool // Auto Scaling has it
	At             time.Time
	Detail         string
}

// Command is one host command of CodeDeploy's.
type Command struct {
	ID        string
	Execution string // CodeDeploy's DeploymentExecutionId
	Event     string // lifecycle event it asks for
	Sequence  int    // the deployment it is of
	Result    string // what CodeDeploy is told, "" while it is being carried out
	Reported  bool   // CodeDeploy has the result
}

// State is what the record says. It is a value: a later line makes another, and changes nothing that this one leads to.
type State struct {
	Last     *Deployment // the newest deployment, ended or not
	Good     *Deployment // the newest that succeeded
	Decision *Decision   // the newest verdict
	Command  *Command    // the newest host command
	GivenUp  string      // id of the newest deployment by host commands that was abandoned: more of its commands may come
	Sequence int
}

// Open is the deployment that was begun and has not ended, or nil.
func (s State) Open() *Deployment {
	if s.Last != nil && s.Last.End == "" {
		return s.Last
	}
	return nil
}

// CommandDue is the host command that CodeDeploy waits for the result of, or nil.
func (s State) CommandDue() *Command {
	if s.Command == nil || s.Command.Reported {
		return nil
	}
	return s.Command
}

// RolledBack says that nothing a failed deployment did is left: its rollback succeeded, or no deployment failed.
func (s State) RolledBack() bool {
	return s.Last == nil || s.Last.End == Succeeded || s.Last.RolledBack
}

// Serving is RolledBack, and that what is live again was seen to work.
func (s State) Serving() bool {
	return s.Last == nil || s.Last.End == Succeeded || s.Last.Serving
}

// VerdictDue is the launch's ended deployment whose verdict has not been taken by Auto Scaling, or nil.
func (s State) VerdictDue() *Deployment {
	if s.Last == nil || s.Last.By != "" || s.Last.Completed || (s.Last.End != Succeeded && s.Last.End != Abandoned) {
		return nil
	}
	return s.Last
}

// Replay computes the state from all lines, oldest first. Lines that make no sense where they stand (a
// step of no deployment, an end after the end) change nothing.
func Replay(entries []Entry) State {
	var s State
	for _, e := range entries {
		s.apply(e)
	}
	return s
}

func (s *State) apply(e Entry) {
	switch e.What {
	case Begun:
		if d := s.Open(); d != nil {
			d.End = Superseded
		}
		if s.Good != nil {
			s.Good.before = nil // one to go back to is enough: a record is long
		}
		s.Sequence = max(s.Sequence+1, e.Sequence)
		s.Last = &Deployment{
			Sequence: e.Sequence, ID: e.Deployment, By: e.By, Boot: e.Boot, Began: e.Time, Revision: e.Revision, Release: e.Release, Live: e.Live, Fallback: e.Fallback, From: e.From,
			Finished: map[string]bool{}, FinishedIn: map[string]string{}, Scripts: map[string]string{}, before: s.Good,
		}
		return
	case Commanded:
		s.Command = &Command{ID: e.Command, Execution: e.Execution, Event: e.Step, Sequence: e.Sequence}
		return
	case Reporting, Reported:
		if s.Command == nil || s.Command.ID != e.Command {
			return
		}
		if e.What == Reporting {
			s.Command.Result = e.Result
		}
		s.Command.Reported = e.What == Reported
		return
	case Finalized:
		if d := s.Last; d != nil && d.Sequence == e.Sequence {
			d.Finalized = true
		}
		return
	case Reopened:
		if d := s.Last; d != nil && d.Sequence == e.Sequence && d.End == Succeeded {
			d.End, d.Ended, d.EndBoot, s.Good = "", time.Time{}, "", d.before
		}
		return
	case Completing:
		s.Decision = &Decision{Sequence: e.Sequence, Verdict: e.Verdict, LifecycleState: e.LifecycleState, Boot: e.Boot, At: e.Time}
		return
	case Completed:
		if s.Decision == nil || s.Decision.Sequence != e.Sequence {
			s.Decision = &Decision{Sequence: e.Sequence, Verdict: e.Verdict, LifecycleState: e.LifecycleState, Boot: e.Boot, At: e.Time}
		}
		s.Decision.Done, s.Decision.Detail, s.Decision.At = true, e.Detail, e.Time
		if s.Last != nil && s.Last.Sequence == e.Sequence {
			s.Last.Completed = true
		}
		return
	}
	d := s.Open()
	if d == nil || d.Sequence != e.Sequence {
		return
	}
	switch e.What {
	case Started:
		if !slices.Contains(d.Started, e.Step) {
			d.Started = append(d.Started, e.Step)
		}
		d.StartedIn = e.Boot
		if d.FailedStep == e.Step {
			d.FailedStep, d.Error = "", ""
		}
	case Finished:
		d.Finished[e.Step], d.FinishedIn[e.Step] = true, e.Boot
	case ScriptDone:
		d.Scripts[e.Script] = e.Boot
	case Failed:
		if d.FailedStep == "" { // a rollback that fails too is not why
			d.FailedStep, d.Error = e.Step, e.Error
		}
	case Succeeded:
		d.End, d.Ended, d.EndBoot, s.Good = Succeeded, e.Time, e.Boot, d
	case Abandoned:
		d.End, d.Ended, d.EndBoot = Abandoned, e.Time, e.Boot
		if d.By == ByCommand {
			s.GivenUp = d.ID
		}
		d.RolledBack, d.Serving = e.Detail == RolledBack || e.Detail == NotServing, e.Detail == RolledBack
		if e.Error != "" {
			d.Error = e.Error
		}
	case Superseded:
		d.End, d.Ended = Superseded, e.Time
	}
}

// clone is a state that a line may change.
func (s State) clone() State {
	c := s
	same := s.Good == s.Last
	c.Last, c.Good = s.Last.clone(), s.Good.clone()
	if same {
		c.Good = c.Last
	}
	if s.Command != nil {
		cmd := *s.Command
		c.Command = &cmd
	}
	if s.Decision != nil {
		d := *s.Decision
		c.Decision = &d
	}
	return c
}

func (d *Deployment) clone() *Deployment {
	if d == nil {
		return nil
	}
	c := *d
	c.Finished, c.FinishedIn, c.Scripts, c.Started = maps.Clone(d.Finished), maps.Clone(d.FinishedIn), maps.Clone(d.Scripts), slices.Clone(d.Started)
	return &c
}

// Package record is the account of everything usher did to this server: one JSON object per line in
// /var/lib/usher/record.jsonl, appended and fsynced before the next thing happens.
//
// The state of a deployment is the replay of its lines and nothing else: after a crash, a restart or a
// reboot the agent reads the file and knows which events are finished (they are never run again), which
// one was interrupted (it is run again), whether a verdict is due, and which release was last good. The
// same lines answer an operator: `grep d-ABCDEF123 record.jsonl`.
//
// What can go wrong with the file, and what happens:
//   - A last line cut short by a crash or a power cut is ignored and overwritten.
//   - Any other line that cannot be read makes the file damaged: it is set aside as
//     record.jsonl.damaged-TIME, the readable lines before it are kept, and Open says so: see Damaged.
//   - A record of another instance, or of the same instance from another image (an image baked from a
//     machine that already ran, a root volume that was replaced), is not ours: it is set aside as
//     record.jsonl.of-INSTANCE-IMAGE, and the new one is empty.
//
// The file does not grow for ever. When it holds more than 250 deployments, Compact keeps the newest 200, with the one that
// is good and the one that was good before it, the launch, the newest verdict and the newest host command, and drops the
// lines of all others. What is kept is written to record.jsonl.new, which takes the record's place when it is on the disk.
// What a crash leaves under that name is removed at the next Open. Nothing else is ever deleted here: what was set
// aside stays.
//
// The record's disk may be full, and how a deployment failed must be remembered all the same: what is forgotten is done
// again, at every restart. So 64 KiB behind the end of the file are allocated, which nobody else can fill. A line that
// begins something needs room beside them, or fails; the last words of something may use them (AppendOrLog). They are
// allocated anew when there is room again.
//
// A record is used by one process at a time: the agent holds its lock. ReadAll needs none, and sees the file as it was
// before a compaction or as it is after it.
package record

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// FileName is the record's name inside the state directory.
const FileName = "record.jsonl"

// maxLine bounds one line: an error text with a script's last lines is a few KiB, so a longer line is
// damage, not history.
const maxLine = 1 << 20

// What happened, as the value of Entry.What.
const (
	Begun      = "begun"       // a deployment began: Revision, Release, Live, Fallback and perhaps From are set
	Started    = "started"     // a step started
	Finished   = "finished"    // a step finished: Seconds and Detail are set
	Failed     = "failed"      // a step failed: Seconds and Error are set
	ScriptDone = "script"      // a script of a step finished with exit status 0: Script is set
	Succeeded  = "succeeded"   // the deployment ended: its release is good
	Abandoned  = "gave-up"     // the deployment ended: rolled back, its release is bad; Error is set
	Superseded = "superseded"  // the deployment was unfinished when the group moved on to another revision
	RolledBack = "rolled back" // Detail of GaveUp: what was live before is live again, and serves
	NotServing = "not serving" // Detail of GaveUp: what was live before is live again, and could not be started or validated
	Completing = "deciding"    // the lifecycle action is about to be completed: Verdict and LifecycleState are set
	Completed  = "decided"     // the lifecycle action is complete, with this result or one before: Detail says which
	Reopened   = "reopened"    // a deployment that had succeeded goes on with another event: its success is taken back
	Commanded  = "commanded"   // a host command of CodeDeploy's is being carried out: Command, Execution and Step are set
	Reporting  = "answering"   // the result of the host command is about to be sent: Result is set
	Reported   = "answered"    // CodeDeploy has the result of the host command
	Finalized  = "settled"     // what a deployment by commands had replaced was removed: nothing can bring it back
)

// What brought a deployment about, as the value of Entry.By. A launch writes nothing.
const (
	ByCommand  = "command"  // CodeDeploy's host commands: `usher deploy`, or anything else that creates deployments
	ByRepair   = "repair"   // usher saw that the group had moved on without this server
	ByOperator = "operator" // `usher rollback` on this server
)

// Entry is one line of the record. Fields that do not apply are empty.
type Entry struct {
	Time     time.Time `json:"time"`
	Boot     string    `json:"boot"`     // kernel boot id: tells a restart of the agent from a reboot
	Instance string    `json:"instance"` // i-...
	Image    string    `json:"image"`    // ami-...

	Sequence   int    `json:"run,omitempty"`        // deployments on this server, counted from 1
	Deployment string `json:"deployment,omitempty"` // CodeDeploy's id, d-...
	Step       string `json:"step,omitempty"`       // lifecycle event, or Flip, Rollback
	Script     string `json:"script,omitempty"`     // id of a finished script
	What       string `json:"what"`

	Revision string `json:"revision,omitempty"` // as revision.Revision prints it
	Release  string `json:"release,omitempty"`  // release id
	Live     string `json:"live,omitempty"`     // where the link pointed when the deployment began
	Fallback string `json:"fallback,omitempty"` // where the link goes back to when it fails
	From     string `json:"from,omitempty"`     // the first step that is done, when those before it need not be: what is live is started and validated again. ApplicationStop, the very first: a deployment by commands begins again

	By        string `json:"by,omitempty"`        // what brought the deployment about; "" for a launch
	Command   string `json:"command,omitempty"`   // CodeDeploy's HostCommandIdentifier
	Execution string `json:"execution,omitempty"` // CodeDeploy's DeploymentExecutionId
	Result    string `json:"result,omitempty"`    // of a host command, in the form of the room that sends it

	Verdict        string  `json:"verdict,omitempty"` // CONTINUE or ABANDON
	LifecycleState string  `json:"wait,omitempty"`    // the lifecycle state the verdict is for
	Seconds        float64 `json:"seconds,omitempty"`
	Detail         string  `json:"detail,omitempty"`
	Error          string  `json:"error,omitempty"`
	Parts          []Part  `json:"parts,omitempty"` // what time was spent on since the line before, as far as it is known
}

// Owner is whose record it is. Instance and Image must match the lines of an existing file; Boot is
// written to every line.
type Owner struct{ Instance, Image, Boot string }

// Record is the open file and its replay.
type Record struct {
	Notice  string   // what Open did about a foreign or damaged file, for the journal; "" if nothing
	Damaged bool     // the state lacks all from an unreadable line on: the caller has to look at what is live
	Timings *Timings // written with the next line; nil keeps none

	path  string
	mu    sync.Mutex
	file  *os.File
	owner Owner
	state State

	pending   []byte // lines that could not be written
	allocated int64  // bytes of the file that have room on the disk, those behind its end too
	begun     int    // deployments in the file
	doubled   int64  // twice its size after it was compacted
}

// CrashHook, when set, is called before (false) and after (true) each line is made durable, and (true) after each step
// of a compaction. It exists for crash tests, which kill the process in it; nothing in the program sets it.
var CrashHook func(e Entry, written bool)

// ErrLocked says that another usher process holds the record.
var ErrLocked = errors.New("another usher holds the record")

// Open opens or creates the record in dir (made with mode 0700) for its owner, and replays it. The file
// stays locked until Close; a second process gets ErrLocked.
func Open(dir string, owner Owner) (*Record, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the state directory: %w", err)
	}
	path := filepath.Join(dir, FileName)
	f, err := openLocked(path)
	if err != nil {
		return nil, err
	}
	r := &Record{owner: owner, path: path, file: f}
	if err := r.prepare(); err != nil {
		r.file.Close()
		return nil, err
	}
	return r, nil
}

// prepare replays the file that was opened, and does what is to be done about what is wrong with it.
func (r *Record) prepare() error {
	if err := os.Remove(r.path + newSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove what an earlier agent left: %w", err)
	}
	if err := syncDir(filepath.Dir(r.path)); err != nil { // the file may be new
		return fmt.Errorf("cannot prepare the record %s: %w", r.path, err)
	}
	var first *Entry
	lines := 0
	good, damaged, err := scan(r.file, func(_ []byte, e Entry) {
		if first == nil {
			first = &e
		}
		lines++
		r.apply(e)
	})
	if err != nil {
		return fmt.Errorf("cannot read the record %s: %w", r.path, err)
	}
	switch owner := r.owner; {
	case first != nil && (first.Instance != owner.Instance || first.Image != owner.Image):
		aside := r.path + ".of-" + safeName(first.Instance) + "-" + safeName(first.Image)
		r.Notice = fmt.Sprintf("the record found here is of instance %s, image %s, not of this one (%s, %s): set aside as %s",
			first.Instance, first.Image, owner.Instance, owner.Image, aside)
		r.state, r.begun = State{}, 0
		err = r.replace(aside, nil)
	case damaged != nil:
		aside := r.path + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
		r.Notice = fmt.Sprintf("the record %s is damaged (%v): set aside as %s, going on from the %d lines before it", r.path, damaged, aside, lines)
		r.Damaged = true
		err = r.replace(aside, io.NewSectionReader(r.file, 0, good))
	default:
		err = r.dropAfter(good) // a torn last line
	}
	if err != nil {
		return fmt.Errorf("cannot prepare the record %s: %w", r.path, err)
	}
	_ = r.allocate(good + reserve) // the first line needs it, and says so
	return nil
}

// take makes the state that comes of one more line. What State has given out stays as it is.
func (r *Record) take(e Entry) {
	r.state = r.state.clone()
	r.apply(e)
}

// apply changes the state by a line.
func (r *Record) apply(e Entry) {
	r.state.apply(e)
	if e.What == Begun {
		r.begun++
	}
}

// InMemory is a record for a server on which none can be opened: it forgets everything with the process,
// so it is enough to give a launch up, and not to make one.
func InMemory(owner Owner) *Record { return &Record{owner: owner} }

// Begin adds the first line of a deployment, and returns what the record has of it: its Sequence is the next.
func (r *Record) Begin(e Entry) (*Deployment, error) {
	e.What, e.Sequence = Begun, r.State().Sequence+1
	if err := r.Append(e); err != nil {
		return nil, err
	}
	return r.State().Last, nil
}

// Append adds one line: it is on disk when Append returns. Time, Boot, Instance and Image are filled in, and so is the
// newest deployment's Sequence where the line has none, unless it completes a launch, which may have no deployment.
// The line takes along what Timings has collected, unless it is a host command, which may come in the middle of what is timed.
// A full disk leaves the file as it was: Append fails when no more is left there than what AppendOrLog may need.
func (r *Record) Append(e Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	line, err := r.encode(&e)
	if err == nil && r.file != nil {
		err = r.write(e, line, reserve)
	}
	if err == nil {
		r.take(e)
	}
	return err
}

// AppendOrLog is Append where a failure must not stop what is being done: how a deployment failed, a rollback, completing
// the lifecycle action. It uses the reserve. What cannot be written even so is part of the State all the same, and is
// written before the next line; the first such error goes to log.
func (r *Record) AppendOrLog(e Entry, log func(error)) {
	r.mu.Lock()
	line, err := r.encode(&e)
	unsaid := len(r.pending) == 0
	if err == nil && r.file != nil {
		if err = r.write(e, line, 0); err != nil {
			r.pending = append(r.pending, line...)
		}
	}
	r.take(e)
	r.mu.Unlock()
	if err != nil && unsaid {
		log(err)
	}
}

// State is the replay of all lines so far.
func (r *Record) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// Close releases the lock and the file, and tries to write what could not be written.
func (r *Record) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	if len(r.pending) > 0 {
		_ = r.write(Entry{}, nil, 0) // that it cannot be was said
	}
	return r.file.Close()
}

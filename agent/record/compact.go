package record

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"strings"
)

// What is kept when a record has grown beyond what is looked at. Ten deployments a day for a year are 47 MB, which took
// two seconds and 250 MB of memory to read; 250 deployments are 3 MB.
const (
	keepDeployments = 200      // the newest
	mostDeployments = 250      // there are before it is worth doing
	keepRefused     = 200      // host commands that were refused: they need no deployment, and one may come every minute
	mostBytes       = 16 << 20 // of a record with fewer deployments
)

// compacting is Entry.What at the steps of a compaction, for CrashHook.
const compacting = "compacting"

// Compact drops the oldest lines of a record with more deployments than are kept. The state is the same afterwards, and
// so is what history tells of a deployment that is kept. It may be called at any time between two deployments.
func (r *Record) Compact() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	info, err := r.file.Stat()
	if err != nil {
		return fmt.Errorf("cannot look at the record: %w", err)
	}
	if r.begun <= mostDeployments && info.Size() <= max(mostBytes, r.doubled) {
		return nil
	}
	var lines [][]byte
	var entries []Entry
	if _, damaged, err := scan(r.file, func(line []byte, e Entry) {
		lines, entries = append(lines, bytes.Clone(line)), append(entries, e)
	}); err != nil || damaged != nil {
		return fmt.Errorf("cannot read the record %s to compact it: %w", r.path, cmp.Or(err, damaged))
	}
	var text bytes.Buffer
	var rest []Entry
	begun := 0
	for i, keep := range kept(entries, keepDeployments, keepRefused) {
		if keep {
			rest = append(rest, entries[i])
			text.Write(lines[i]) // as it is: a later version may have written more than this one knows
			if entries[i].What == Begun {
				begun++
			}
		}
	}
	if !reflect.DeepEqual(Replay(rest), Replay(entries)) {
		return fmt.Errorf("cannot compact the record %s: without its oldest lines it would tell something else; it stays as it is", r.path)
	}
	size := int64(text.Len())
	if err := r.replace("", &text); err != nil {
		return fmt.Errorf("cannot compact the record %s: %w", r.path, err)
	}
	r.begun, r.doubled = begun, 2*size
	return nil
}

// kept says which lines stay: all of the newest deployments, of the one that is good, of the one that was good before
// it, of the one that was given up last, and of the launch; and of the newest command and the newest verdict, wherever they are.
func kept(entries []Entry, newest, refusals int) []bool {
	var s State
	var begins []int // of each deployment
	var refused []string
	at := map[*Deployment]int{} // its place in begins
	decided, commanded := len(entries), len(entries)
	for i, e := range entries {
		decision, command := s.Decision, s.Command
		s.apply(e)
		if e.What == Begun {
			at[s.Last] = len(begins)
			begins = append(begins, i)
		}
		if s.Decision != decision {
			decided = i
		}
		if s.Command != command {
			commanded = i
			if s.Last == nil || !strings.HasSuffix(e.Execution, "/"+s.Last.ID) {
				refused = append(refused, e.Command)
			}
		}
	}
	keep := map[int]bool{}
	for n := max(len(begins)-newest, 0); n < len(begins); n++ {
		keep[n] = true
	}
	needed := []*Deployment{s.Good}
	for _, d := range []*Deployment{s.Good, s.Last} {
		if d != nil {
			needed = append(needed, d.before)
		}
	}
	for d, n := range at {
		if s.Decision != nil && d.Sequence == s.Decision.Sequence || s.GivenUp != "" && d.ID == s.GivenUp {
			keep[n] = true
		}
	}
	for _, d := range needed {
		if d != nil {
			keep[at[d]] = true
		}
	}
	drop := map[string]bool{}
	for _, command := range refused[:max(len(refused)-refusals, 0)] {
		drop[command] = true
	}
	all := make([]bool, len(entries))
	n := -1 // the deployment of a line; what is before the first is of none
	for i, e := range entries {
		if n+1 < len(begins) && begins[n+1] == i {
			n++
		}
		switch e.What {
		case Commanded, Reporting, Reported:
			all[i] = keep[n] && !drop[e.Command] || i >= commanded && e.Command == s.Command.ID
		case Completing, Completed:
			all[i] = keep[n] || i >= decided
		default:
			all[i] = keep[n]
		}
	}
	return all
}

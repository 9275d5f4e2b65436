package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"usher/agent/cli"
	"usher/agent/format"
)

// Blame is what `usher blame --json` prints: one object. The seconds of its parts add up to those of the whole.
type Blame struct {
	Deployment DeploymentStatus `json:"deployment"`
	Began      time.Time        `json:"began"`   // of a launch: when the instance was launched, where the record says
	Seconds    float64          `json:"seconds"` // until the verdict, or the last that was done
	Spent      []Share          `json:"spent"`   // the longest first
}

// Share is what took some of the time: a script, a part of a step, a step without parts, or what is no step.
type Share struct {
	Seconds float64   `json:"seconds"`
	Step    string    `json:"step"`            // lifecycle event, Flip, Rollback; else instance, boot, metadata, wait, verdict, ...
	Part    string    `json:"part,omitempty"`  // a script, or a part of the step
	Began   time.Time `json:"began,omitzero"`  // not of what was spent in several places
	State   string    `json:"state,omitempty"` // failed, cut off or under way
}

// The rest of a step with parts, and of the whole.
const (
	TheRest   = "other"
	BetweenIt = "idle"
)

// BlameCommand is `usher blame`: where a deployment's time went.
func BlameCommand() cli.Command {
	var file string
	var n int
	var asJSON bool
	c := cli.Command{Name: "blame", Args: []string{"[d-ID]"}, Group: cli.Server, About: "where a deployment's time went, the slowest first: the last one's, or that of d-ID",
		More: "A launch counts from the launch of the instance to the verdict.",
		Flags: func(f *flag.FlagSet) {
			cli.ConfigFlag(f, &file)
			f.IntVar(&n, "n", 0, "show the slowest `N`; 0 for all")
			f.BoolVar(&asJSON, "json", false, "print a JSON object")
		}}
	c.Run = func(_ context.Context, in cli.Call) int {
		if n < 0 {
			return in.Fail(cli.ExitUsage, fmt.Errorf("-n is %d: it must not be less than 0", n))
		}
		t, code, err := readTimeline(file, "blame", in.Arg(0), in.Stderr)
		if err != nil {
			return in.Fail(code, err)
		}
		b := Blame{t.deployment, t.began, t.ended.Sub(t.began).Seconds(), t.shares()}
		if n > 0 && len(b.Spent) > n {
			b.Spent = b.Spent[:n]
		}
		if asJSON {
			out := json.NewEncoder(in.Stdout)
			out.SetIndent("", "  ")
			out.SetEscapeHTML(false)
			err = out.Encode(b)
		} else {
			err = b.print(in.Stdout, t.title())
		}
		if err != nil {
			return in.Fail(cli.ExitFailed, err)
		}
		return cli.ExitDone
	}
	return c
}

// readTimeline is the timeline of a deployment of this server, "" for the last. An error comes with the exit
// code of the command that wants it.
func readTimeline(file, command, id string, stderr io.Writer) (timeline, int, error) {
	_, h, err := readRecord(file, command)
	if err != nil {
		return timeline{}, cli.ExitUsage, err
	}
	if h.Damaged != nil {
		fmt.Fprintf(stderr, "usher %s: %v; what is before that counts\n", command, h.Damaged)
	}
	if len(h.Deployments) == 0 {
		return timeline{}, cli.ExitNothing, fmt.Errorf("nothing was deployed yet")
	}
	for _, p := range slices.Backward(h.Deployments) {
		if id == "" || p.ID == id {
			return timelineOf(p, h.Owner, time.Now().UTC()), cli.ExitDone, nil
		}
	}
	return timeline{}, cli.ExitUsage, fmt.Errorf("there was no deployment %s here: usher history lists them", id)
}

// shares divides the time: each moment of it belongs to one share.
func (t timeline) shares() []Share {
	all, rest := []Share{}, t.ended.Sub(t.began)
	for i := 0; i < len(t.spans); {
		s := t.spans[i]
		parts := t.partsAt(i)
		i += 1 + len(parts)
		rest -= s.took()
		left, what := s.took(), s.part
		for _, p := range parts {
			left -= p.took()
			all = append(all, Share{p.took().Seconds(), p.step, p.part, p.began, p.state})
		}
		if len(parts) > 0 {
			if what = TheRest; left < time.Millisecond && s.state != stateCutOff {
				rest += max(left, 0)
				continue
			}
		}
		all = append(all, Share{max(left, 0).Seconds(), s.step, what, s.began, s.state})
	}
	if rest >= time.Millisecond {
		all = append(all, Share{Seconds: rest.Seconds(), Step: BetweenIt})
	}
	slices.SortStableFunc(all, func(a, b Share) int { return cmp.Compare(b.Seconds, a.Seconds) })
	return all
}

// partsAt are the parts of the step that is at an index; they stand behind it.
func (t timeline) partsAt(i int) []span {
	n := i + 1
	for n < len(t.spans) && t.spans[n].inside {
		n++
	}
	return t.spans[i+1 : n]
}

// print writes it for a person.
func (b Blame) print(w io.Writer, title string) error {
	wide := 0
	for _, s := range b.Spent {
		wide = max(wide, len(s.Step))
	}
	text := title + "\n"
	for _, s := range b.Spent {
		line := fmt.Sprintf("%9s  %-*s  %s", format.Duration(time.Duration(s.Seconds*1e9)), wide, s.Step, format.JoinNonEmpty(" ", s.Part, Marked(s.State)))
		text += strings.TrimRight(line, " ") + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// Marked is how what did not end well stands behind a name.
func Marked(state string) string {
	if state == "" {
		return ""
	}
	return "[" + state + "]"
}

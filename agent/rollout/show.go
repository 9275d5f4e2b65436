package rollout

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8/cwriter"

	"usher/agent/format"
)

// Three views of the same events: JSON for programs, plain lines for logs and pipes, and live bars for a
// person at a terminal. What is printed where:
//
//   - A view prints to one place only. With --json that is standard output, and nothing else is printed there.
//   - Lines never move, are never coloured, and begin with the local time of what they tell. A lifecycle event that nobody saw begin
//     has none, unless it failed: a server is two lines, and what took long of it is in the second.
//   - Bars have only what is going on now. What has ended is printed above them and stays, without colours too.
//   - What a failed script said last is printed in full, in every view: it is what the reader needs next.

// View shows events to whoever watches.
type View struct {
	out      io.Writer
	json     *json.Encoder // of --json, or nil
	bars     *bars         // on a terminal, or nil
	rollback string        // the rollback whose heading was printed
	began    time.Time     // of a transfer
	moved    int           // tenths of it that were told
	of       string        // the environment, where there are several

	seen    map[string]bool  // lifecycle events that were told to have begun, by server and name
	longest map[string]Event // the one that took longest, by server
}

// JSONView prints each event as one line of JSON.
func JSONView(out io.Writer) *View { return &View{json: json.NewEncoder(out)} }

// TerminalView shows live bars when out is a terminal that can have them, and prints lines otherwise.
func TerminalView(out io.Writer) *View {
	v := &View{out: out, seen: map[string]bool{}, longest: map[string]Event{}}
	if IsTerminal(out) && os.Getenv("TERM") != "dumb" && os.Getenv("TERM") != "" && os.Getenv("CI") == "" {
		v.bars = newBars(out)
	}
	return v
}

// IsTerminal tells whether w is a terminal.
func IsTerminal(w any) bool {
	if filtered, ok := w.(*format.Filtered); ok {
		w = format.Unfiltered(filtered)
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	return cwriter.IsTerminal(int(f.Fd()))
}

// Of makes every event one of an environment: several are shown in one place.
func (v *View) Of(environment string) { v.of = environment }

// Columns is how wide the terminal w is now, 0 for what is none.
func Columns(w any) int {
	if !IsTerminal(w) {
		return 0
	}
	if filtered, ok := w.(*format.Filtered); ok {
		w = format.Unfiltered(filtered)
	}
	width, _, err := cwriter.GetSize(int(w.(*os.File).Fd()))
	if err != nil {
		return 0
	}
	return width
}

// Show shows an event. It is called by one goroutine at a time.
func (v *View) Show(e Event) {
	e.Environment = cmp.Or(e.Environment, v.of)
	switch {
	case v.json != nil:
		_ = v.json.Encode(e) // a reader that has gone is told by the exit code
	case v.bars != nil:
		v.bars.show(e)
	default:
		v.line(e)
	}
}

// Close leaves on the terminal what is to stay there. Nothing is shown after it but the end.
func (v *View) Close() {
	if v.bars != nil {
		v.bars.close()
	}
}

// line prints an event as a line, or more when a script failed.
func (v *View) line(e Event) {
	text := ""
	switch e.Type {
	case FetchProgress, UploadProgress:
		text = v.transfer(e)
	case DeploymentChanged:
		if e.RollbackOf != "" && e.Deployment != v.rollback {
			v.rollback = e.Deployment
			fmt.Fprint(v.out, rollbackHeading(e))
		}
		if text = deploymentText(e); text != "" {
			text = e.Deployment + " " + text
		}
	case InstanceChanged:
		if e.Status != Pending {
			text = e.Instance + " " + instanceText(e) + v.mostOf(e)
		}
	case LifecycleEvent:
		text = v.event(e)
	case Notice:
		text = e.Message
	case Finished:
		fmt.Fprintln(v.out, format.Printable(e.Message))
	}
	if text != "" {
		fmt.Fprintf(v.out, "%s %s\n%s", e.Time.Local().Format(time.TimeOnly), format.Printable(text), lastOutput(e))
	}
}

// event is a line for a lifecycle event that was seen while it lasted, or failed; the others are in the server's own.
func (v *View) event(e Event) string {
	key := e.Deployment + e.Instance
	if e.Seconds > v.longest[key].Seconds {
		v.longest[key] = e
	}
	switch e.Status {
	case InProgress:
		v.seen[key+e.Event] = true
	case Succeeded:
		if !v.seen[key+e.Event] {
			return ""
		}
	}
	return e.Instance + " " + eventText(e)
}

// longEvent is how long a lifecycle event takes that a server's line names.
const longEvent = 1.0

// mostOf names the lifecycle event that took longest, in the line of a server that has ended.
func (v *View) mostOf(e Event) string {
	if most := v.longest[e.Deployment+e.Instance]; most.Seconds >= longEvent && (e.Status == Succeeded || e.Status == Failed) {
		return ", " + format.Seconds(most.Seconds) + " of it " + most.Event
	}
	return ""
}

// longTransfer is how long a transfer must take for lines about its progress.
const longTransfer = 2 * time.Second

// transfer is a line for every tenth of an upload, or a fetch, that takes a while. What a fetch is for stands first: the plan, which
// comes after it, does not say.
func (v *View) transfer(e Event) string {
	switch {
	case e.Status != InProgress:
		v.began, v.moved = time.Time{}, 0
		return transferText(e)
	case e.Total == 0:
		return ""
	case v.began.IsZero():
		v.began = e.Time
		if e.Type == FetchProgress {
			return "fetching " + format.Bytes(e.Total) + " in Git LFS from " + e.Message
		}
	}
	tenth := int(10 * e.Done / e.Total)
	if tenth <= v.moved || tenth == 10 || e.Time.Sub(v.began) < longTransfer {
		return ""
	}
	v.moved = tenth
	return fmt.Sprintf("%s: %d%% of %s", transferring(e), 10*tenth, format.Bytes(e.Total))
}

// transferring is what goes on.
func transferring(e Event) string {
	if e.Type == FetchProgress {
		return "fetching"
	}
	return "uploading"
}

func transferText(e Event) string {
	switch {
	case e.Type == FetchProgress:
		return fmt.Sprintf("fetched %s in Git LFS in %s from %s", format.Bytes(e.Total), format.Seconds(e.Seconds), e.Message)
	case e.Status == Skipped:
		return "nothing to upload: " + e.Message + " is there already"
	}
	return fmt.Sprintf("uploaded %s in %s to %s", format.Bytes(e.Total), format.Seconds(e.Seconds), e.Message)
}

// rollbackHeading stands above what is told of a rollback.
func rollbackHeading(e Event) string {
	return fmt.Sprintf("\nRollback: CodeDeploy rolls %s back with %s\n\n", e.RollbackOf, e.Deployment)
}

// deploymentText says what became of a deployment; "" when only its progress changed.
func deploymentText(e Event) string {
	text := ""
	switch e.Status {
	case Created, Queued:
		text = InWords(e.Status)
	case InProgress:
		if e.Done > 0 {
			return ""
		}
		text = "in progress"
		if e.Total > 0 {
			text += ": " + format.Plural(int(e.Total), "instance")
		}
	case Succeeded, Failed, Stopped:
		text = InWords(e.Status)
		if e.Code != "" { // the sentence to it is how the command ends
			text += " (" + e.Code + ")"
		}
	default:
		text = "is " + InWords(e.Status)
	}
	return text
}

func instanceText(e Event) string {
	switch e.Status {
	case InProgress:
		return "begins"
	case Succeeded:
		return "succeeded in " + format.Seconds(e.Seconds)
	case Failed:
		return "failed after " + format.Seconds(e.Seconds)
	}
	return InWords(e.Status)
}

func eventText(e Event) string {
	switch e.Status {
	case InProgress:
		return e.Event + " began"
	case Failed:
		return e.Event + " failed after " + format.Seconds(e.Seconds) + ": " + failure(e)
	}
	return e.Event + " " + InWords(e.Status) + " in " + format.Seconds(e.Seconds)
}

// failure is why an event failed. usher's agent says it in a whole sentence, others in words to put together.
func failure(e Event) string {
	text, _, _ := strings.Cut(e.Message, "\n") // what the server did about it is printed below
	text = strings.TrimPrefix(strings.TrimPrefix(text, e.Event+" "), e.Event+": ")
	if e.Log != "" { // it is printed below
		text, _, _ = strings.Cut(text, "; its last line: ")
	}
	if e.Script != "" && !strings.Contains(text, e.Script) {
		text = strings.TrimSuffix(e.Script+": "+text, ": ")
	}
	return cmp.Or(format.Printable(text), e.Code, "CodeDeploy does not say why")
}

// reason is why an event failed, in a line that can stand alone: with the last that its script said.
func reason(e Event) string {
	e.Message, _, _ = strings.Cut(e.Message, "\n")
	text := e.Event + ": " + failure(e)
	if !strings.Contains(e.Message, "; its last line: ") {
		if lines := strings.Split(strings.TrimSpace(e.Log), "\n"); lines[len(lines)-1] != "" {
			text += "; its last line: " + format.Printable(strings.TrimSpace(lines[len(lines)-1]))
		}
		return text
	}
	if e.Log != "" { // failure has left it out
		_, last, _ := strings.Cut(e.Message, "; its last line: ")
		text += "; its last line: " + format.Printable(last)
	}
	return text
}

// lastOutput is the end of a failed script's output, a line each, and what the server did about the failure: whether what was live
// is live again.
func lastOutput(e Event) string {
	var b strings.Builder
	add := func(before, text string) {
		for line := range strings.Lines(strings.TrimRight(text, "\n")) {
			b.WriteString(before + format.Printable(strings.TrimRight(line, "\r\n")) + "\n")
		}
	}
	add("    | ", e.Log)
	if _, more, _ := strings.Cut(e.Message, "\n"); e.Type == LifecycleEvent && e.Status == Failed {
		add("    ", more)
	}
	return b.String()
}

// InWords is one of CodeDeploy's statuses in the middle of a sentence: InProgress is in progress.
func InWords(status string) string {
	if status == InProgress {
		return "in progress"
	}
	return strings.ToLower(status)
}

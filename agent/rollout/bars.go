package rollout

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"usher/agent/format"
)

const (
	// redrawEvery is calm for the eye, and fast enough for seconds that count.
	redrawEvery = 250 * time.Millisecond

	// barWidth leaves room for names and words on a terminal of 80 columns. A narrower one has shorter bars, and none where they
	// would be shorter than leastBar: the words say more.
	barWidth, leastBar = 24, 4

	// besideBar is what the name of an instance takes, with the blanks around it, and the longest words.
	besideBar = 27 + 28

	// mostBars is how many instances have a line of their own at a time, so that all fits on a small terminal. The
	// others are in the deployment's count, and are printed like all others when they have ended.
	mostBars = 8
)

// bars is the live view: a bar for the upload, one for the deployment, and one for each instance that is being
// deployed to, which is full when all its lifecycle events have ended.
type bars struct {
	out             io.Writer
	style           mpb.BarFillerBuilder
	good, bad, idle string // marks of what has ended

	progress   *mpb.Progress // nil until there is something to watch, and at the end
	transfer   *row
	deployment *row
	instances  map[string]*row
	ended      map[string]bool // instances of the deployment
	total      int64           // of them all
	rollback   string          // the rollback whose heading was printed
}

// row is a bar with words behind it that change.
type row struct {
	bar   *mpb.Bar
	began time.Time

	mu    sync.Mutex
	words string
	since time.Time // what the words tell began; its seconds are counted
}

func newBars(out io.Writer) *bars {
	b := &bars{out: out, good: "ok", bad: "!!", idle: "--", style: mpb.BarStyle().Lbound("[").Filler("=").Tip("=").Padding(" ").Rbound("]"),
		instances: map[string]*row{}, ended: map[string]bool{}}
	if locale := cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_CTYPE"), os.Getenv("LANG")); strings.Contains(strings.ReplaceAll(strings.ToLower(locale), "-", ""), "utf8") {
		b.good, b.bad, b.idle = "✓", "✗", "·"
		b.style = mpb.BarStyle().Lbound("").Filler("━").Tip("━").Padding("─").Rbound("")
	}
	return b
}

// add starts a bar. Its words are what say returns, each time it is drawn.
func (b *bars) add(name string, total int64, priority int) *row {
	if b.progress == nil {
		b.progress = mpb.New(mpb.WithOutput(format.Unfiltered(b.out)), mpb.WithAutoRefresh(), mpb.WithRefreshRate(redrawEvery))
	}
	l := &row{began: time.Now(), since: time.Now()}
	style, width, lead := b.style, min(barWidth, cmp.Or(Columns(b.out), barWidth+besideBar)-besideBar), "  "
	options := []mpb.BarOption{mpb.BarPriority(priority)}
	if width < leastBar {
		style, width, lead = mpb.NopStyle(), 1, ""
		options = append(options, mpb.BarFillerTrim())
	}
	// Of total 0 it never ends by itself: an instance may have all its events done and still not be told of.
	l.bar = b.progress.New(0, style, append(options, mpb.BarWidth(width),
		mpb.PrependDecorators(decor.Name("  "+format.Printable(name)+"  ", decor.WCSyncWidthR)),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return lead + l.text() })))...)
	l.bar.SetTotal(max(total, 1), false)
	return l
}

func (l *row) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.words
	if s := time.Since(l.since); s >= time.Second && !l.since.IsZero() {
		text += fmt.Sprintf("  %s", s.Truncate(time.Second))
	}
	return text
}

func (l *row) set(words string, since time.Time, done, total int64) {
	l.mu.Lock()
	l.words, l.since = format.Printable(words), since
	l.mu.Unlock()
	if total > 0 {
		l.bar.SetTotal(total, false)
		l.bar.SetCurrent(min(done, total))
	}
}

// end takes a bar away.
func (l *row) end() {
	if l != nil {
		l.bar.Abort(true)
		l.bar.Wait()
	}
}

// print prints above the bars what stays.
func (b *bars) print(form string, args ...any) {
	text := format.Printable(fmt.Sprintf(form, args...))
	if b.progress != nil {
		if _, err := io.WriteString(b.progress, text); err == nil {
			return
		}
	}
	_, _ = io.WriteString(b.out, text)
}

func (b *bars) show(e Event) {
	switch e.Type {
	case FetchProgress, UploadProgress:
		b.transferring(e)
	case DeploymentChanged:
		b.deploying(e)
	case InstanceChanged:
		b.instance(e)
	case LifecycleEvent:
		b.event(e)
	case Notice:
		b.print("  %s\n", e.Message)
	case Finished:
		b.close()
		b.print("%s\n", e.Message)
	}
}

func (b *bars) transferring(e Event) {
	if e.Status != InProgress {
		b.transfer.end()
		b.transfer = nil
		if e.Type == FetchProgress { // the plan comes next, and perhaps a question
			b.close()
		}
		b.print("  %s %s\n", b.good, transferText(e))
		return
	}
	if b.transfer == nil {
		b.transfer = b.add(transferring(e), e.Total, 0)
	}
	speed := ""
	if s := time.Since(b.transfer.began).Seconds(); s > 1 {
		speed = fmt.Sprintf("  %s/s", format.Bytes(int64(float64(e.Done)/s)))
	}
	b.transfer.set(fmt.Sprintf("%s of %s%s", format.Bytes(e.Done), format.Bytes(e.Total), speed), time.Time{}, e.Done, e.Total)
}

func (b *bars) deploying(e Event) {
	if e.RollbackOf != "" && e.Deployment != b.rollback {
		b.rollback = e.Deployment
		b.print("%s", rollbackHeading(e))
	}
	if HasEnded(e.Status) {
		for id, l := range b.instances {
			l.end()
			delete(b.instances, id)
		}
		b.deployment.end()
		b.deployment = nil
		mark := b.good
		if e.Status != Succeeded {
			mark = b.bad
		}
		b.print("  %s %s %s\n", mark, e.Deployment, deploymentText(e))
		return
	}
	if b.deployment == nil {
		b.ended = map[string]bool{}
		b.deployment = b.add(e.Deployment, e.Total, 0)
		b.deployment.began = e.Time
	}
	b.total = e.Total
	b.count(InWords(e.Status), e.Done)
}

// count shows how far the deployment is: CodeDeploy's own count may be a look behind.
func (b *bars) count(words string, done int64) {
	if b.deployment == nil {
		return
	}
	done = max(done, int64(len(b.ended)))
	if b.total > 0 {
		words = fmt.Sprintf("%d of %s", done, format.Plural(int(b.total), "instance"))
	}
	b.deployment.set(words, b.deployment.began, done, b.total)
}

func (b *bars) instance(e Event) {
	l := b.instances[e.Instance]
	switch e.Status {
	case Pending:
	case Succeeded, Failed, Skipped:
		l.end()
		delete(b.instances, e.Instance)
		b.ended[e.Instance] = true
		b.count(InWords(InProgress), 0)
		mark := map[string]string{Succeeded: b.good, Failed: b.bad, Skipped: b.idle}[e.Status]
		b.print("  %s %s %s\n", mark, e.Instance, instanceText(e))
	default:
		if l == nil && len(b.instances) < mostBars {
			b.instances[e.Instance] = b.add(e.Instance, 0, 1)
			b.instances[e.Instance].set("begins", e.Time, 0, 0)
		}
	}
}

func (b *bars) event(e Event) {
	if e.Status == Failed {
		b.print("  %s %s %s\n%s", b.bad, e.Instance, eventText(e), lastOutput(e))
	}
	l := b.instances[e.Instance]
	if l == nil && e.Status == InProgress && len(b.instances) < mostBars { // there is room now
		l = b.add(e.Instance, e.Total, 1)
		b.instances[e.Instance] = l
	}
	if l != nil {
		words := e.Event
		if e.Status == Failed {
			words += " failed"
		}
		l.set(words, e.Time, e.Done, e.Total)
	}
}

// close takes all bars away; what was printed above them stays.
func (b *bars) close() {
	if b.progress == nil {
		return
	}
	b.transfer.end()
	b.deployment.end()
	for _, l := range b.instances {
		l.end()
	}
	b.transfer, b.deployment, b.instances = nil, nil, map[string]*row{}
	b.progress.Wait()
	b.progress = nil
}

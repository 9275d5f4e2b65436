package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"usher/agent/standin"
)

// maxCalls is how many API calls a launch may make besides metadata and heartbeats: all calls of an
// account share one request budget, and a scale-out launches many servers at once.
const maxCalls = 7

// completedLine is what usher says last at a launch.
const completedLine = "completed the lifecycle action"

// launch is one instance from its launch to the end of its lifecycle action.
type launch struct {
	instance *standin.Instance
	server   *server
	process  *process
	calls    []standin.Call // of this launch
	before   answer         // through the link, before usher ran
	seen     tally          // through the link, while it ran
	reason   string         // of a failure
}

// launch publishes a revision, launches an instance and runs usher on it, until the instance has reached
// the state that must come. The caller closes the launch's server.
func (d *demo) launch(ctx context.Context, version string, revision files, want standin.State) (l *launch, err error) {
	ctx, cancel := context.WithTimeout(ctx, launchLimit)
	defer cancel()

	s, err := newServer(filepath.Join(d.scratch, "server-"+version))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	deployment, err := d.publish("shop-"+version+".zip", revision.on(s))
	if err != nil {
		return nil, err
	}
	before, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	known := len(d.cloud.Calls())
	l = &launch{server: s, before: before, instance: d.cloud.Launch(scalingGroup, standin.LaunchOptions{})}
	d.item("revision", fmt.Sprintf("s3://%s/shop-%s.zip", d.cloud.Bucket, version))
	d.item("deployment", fmt.Sprintf("%s, the latest of deployment group %s of application %s", deployment, deploymentGroup, application))
	d.item("instance", fmt.Sprintf("%s is launched in group %s: %s", l.instance.ID, scalingGroup, l.instance.State()))
	d.say("", "Before: the link points to the base that was baked into the image.", "")
	d.answer(s, before)
	d.say("", fmt.Sprintf("`usher run`, as its systemd unit starts it. Meanwhile the page is asked for every %s.", visitEvery), "")

	users := s.watch(ctx)
	if l.process, err = startUsher(ctx, d.usher, s, d.cloud.Environ(l.instance), func(line string) { d.journal(s, line) }); err != nil {
		users.stop()
		return nil, err
	}
	if _, err = l.process.says(ctx, completedLine); err == nil {
		err = l.instance.WaitFor(ctx, want)
	}
	err = cmp.Or(err, l.process.stop())
	l.seen = users.stop()
	l.calls = d.cloud.Calls()[known:]
	return l, err
}

// publish uploads a revision and makes it what the deployment group runs.
func (d *demo) publish(key string, revision files) (deployment string, err error) {
	bundle, err := revision.zip()
	if err != nil {
		return "", err
	}
	etag, version, err := d.cloud.Upload(d.cloud.Bucket, key, bundle)
	if err != nil {
		return "", err
	}
	return d.cloud.PublishRevision(application, deploymentGroup, standin.S3Revision(d.cloud.Bucket, key, "zip", version, etag)), nil
}

// verdicts are the answers to the lifecycle action: one, when all is well.
func (l *launch) verdicts() string {
	var all []string
	for _, a := range l.instance.Answers() {
		text := a.Result
		if a.TimedOut {
			text += " by timeout"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// waited is how long the instance was held in Pending:Wait: what usher adds to a launch.
func (l *launch) waited() time.Duration {
	history := l.instance.History()
	for n, t := range history[:len(history)-1] {
		if t.State == standin.PendingWait {
			return history[n+1].At.Sub(t.At)
		}
	}
	return 0
}

// budget is how many API calls the launch made, besides heartbeats.
func (l *launch) budget() (n int) {
	for _, c := range l.calls {
		if c.Op != "RecordLifecycleActionHeartbeat" {
			n++
		}
	}
	return n
}

// lifecycle prints the states of the instance as Auto Scaling has them.
func (d *demo) lifecycle(l *launch) {
	why := map[standin.State]string{
		standin.Pending:        "it boots",
		standin.PendingWait:    "the hook holds it; usher deploys",
		standin.PendingProceed: "usher completed the action with CONTINUE",
		standin.InService:      "only now do users get to it",
	}
	d.say("", "The instance, as Auto Scaling saw it:", "")
	history := l.instance.History()
	for _, t := range history {
		d.row([]int{9, 17}, "+"+seconds(t.At.Sub(history[0].At)), string(t.State), why[t.State])
	}
}

// calls prints the API calls of a launch.
func (d *demo) calls(l *launch) {
	type op struct{ service, name string }
	count := map[op]int{}
	var order []op
	for _, c := range l.calls {
		o := op{c.Service, c.Op}
		if count[o]++; count[o] == 1 {
			order = append(order, o)
		}
	}
	d.say("", "The API calls it made, in order:", "")
	for _, o := range order {
		d.row([]int{9, 17}, fmt.Sprintf("%dx", count[o]), o.service, o.name)
	}
	d.say("", fmt.Sprintf("%d calls, %d heartbeats, and %d requests to the instance's own metadata.",
		l.budget(), len(l.calls)-l.budget(), len(l.instance.MetadataCalls())))
}

// summary prints what came of both launches.
func (d *demo) summary(good, bad *launch) {
	d.section("Summary", "what became of the two")
	columns := []int{10, 13, 11, 12}
	d.row(columns, "", "state", "verdict", "held for", "who answered through the link")
	for n, l := range []*launch{good, bad} {
		d.row(columns, fmt.Sprintf("launch %d", n+1), string(l.instance.State()), l.verdicts(), seconds(l.waited()), l.seen.String())
	}
	d.say("", "No request failed. Launch 2 was never in service; a real group launches another. Why, in usher's words:", "")
	for _, line := range wrap(bad.reason, 90) {
		d.say("  " + line)
	}
}

// tally is who answered through the link, in order.
type tally struct {
	answers []string
	counts  []int
	failed  int
	failure error // the first
}

// add notes one answer.
func (t *tally) add(a answer, err error) {
	switch {
	case err != nil:
		if t.failed++; t.failure == nil {
			t.failure = err
		}
	case len(t.answers) == 0 || t.answers[len(t.answers)-1] != a.title:
		t.answers, t.counts = append(t.answers, a.title), append(t.counts, 1)
	default:
		t.counts[len(t.counts)-1]++
	}
}

// String is the tally as a person reads it.
func (t tally) String() string {
	var parts []string
	for n, a := range t.answers {
		parts = append(parts, fmt.Sprintf("%s %dx", a, t.counts[n]))
	}
	if t.failed > 0 {
		parts = append(parts, fmt.Sprintf("%d requests failed: %v", t.failed, t.failure))
	}
	return strings.Join(parts, ", then ")
}

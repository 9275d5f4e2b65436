package operator

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"usher/agent/record"
)

// What blame and plot make of a record. Most records here are written by hand: what a real agent writes is the
// matter of TestBlameOfALaunch.

// told is a record being written: each line comes a while after the one before.
type told struct {
	now   time.Time
	boot  string
	id    string
	lines []record.Entry
}

func newTold() *told {
	return &told{now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), boot: "boot-1", id: "d-1AB2CD3EF"}
}

// line adds a line, d after the one before.
func (r *told) line(d time.Duration, e record.Entry) *told {
	r.now = r.now.Add(d)
	e.Time, e.Boot, e.Instance, e.Image, e.Sequence, e.Deployment = r.now, r.boot, "i-0123456789abcdef0", "ami-0fedcba987654321f", 1, r.id
	r.lines = append(r.lines, e)
	return r
}

// up is an agent that comes up and begins: EC2's launch, the kernel, the agent, its questions.
func (r *told) up(by string) *told {
	at := func(d time.Duration) time.Time { return r.now.Add(d) }
	parts := []record.Part{
		{Name: record.PartBoot, Began: at(9 * time.Second), Seconds: 11.2},
		{Name: record.PartMetadata, Began: at(20200 * time.Millisecond), Seconds: 0.031},
		{Name: record.PartLaunched, Began: at(0)},
		{Name: record.PartLifecycle, Began: at(20240 * time.Millisecond), Seconds: 0.062},
		{Name: "Pending:Wait", Began: at(20305 * time.Millisecond)},
		{Name: record.PartRevision, Began: at(20310 * time.Millisecond), Seconds: 0.12},
	}
	return r.line(20450*time.Millisecond, record.Entry{What: record.Begun, By: by, Release: "shop-1.4.0-90abcdef", Revision: "s3://revisions/shop-1.4.0.zip", Parts: parts})
}

// step is a step that takes d, of which its parts take theirs.
func (r *told) step(name string, d time.Duration, parts ...record.Part) *told {
	r.line(2*time.Millisecond, record.Entry{What: record.Started, Step: name})
	at := r.now
	for i := range parts {
		parts[i].Step, parts[i].Began = name, at
		at = at.Add(time.Duration(parts[i].Seconds * 1e9))
	}
	return r.line(d, record.Entry{What: record.Finished, Step: name, Seconds: d.Seconds(), Parts: parts})
}

// scripts are parts of these names, each of which takes d.
func scripts(d time.Duration, names ...string) (parts []record.Part) {
	for _, name := range names {
		parts = append(parts, record.Part{Name: name, Seconds: d.Seconds()})
	}
	return parts
}

// verdict ends the launch.
func (r *told) verdict(what, verdict string, d time.Duration) *told {
	return r.line(d, record.Entry{What: what, Error: "AfterInstall script scripts/render.sh failed", Detail: record.RolledBack}).
		line(time.Millisecond, record.Entry{What: record.Completing, Verdict: verdict, LifecycleState: "Pending:Wait"}).
		line(80*time.Millisecond, record.Entry{What: record.Completed, Verdict: verdict, LifecycleState: "Pending:Wait", Detail: "completed"})
}

// good is a launch as most are.
func (r *told) good() *told {
	return r.up("").step("ApplicationStop", 0).
		step("DownloadBundle", 3200*time.Millisecond, append(scripts(2100*time.Millisecond, record.PartDownload), append(scripts(time.Second, record.PartUnpack), scripts(90*time.Millisecond, record.PartCheck)...)...)...).
		step("BeforeInstall", 410*time.Millisecond, scripts(400*time.Millisecond, "scripts/prepare.sh")...).
		step("Install", 300*time.Millisecond).
		step("AfterInstall", 6100*time.Millisecond, append(scripts(4*time.Second, "scripts/migrate.sh"), scripts(2*time.Second, "/etc/usher/hooks.d/AfterInstall/50-certificates.sh")...)...).
		step("Flip", 300*time.Microsecond).
		step("ApplicationStart", 1300*time.Millisecond, scripts(1250*time.Millisecond, "scripts/start.sh")...).
		step("ValidateService", 2400*time.Millisecond, scripts(2390*time.Millisecond, "scripts/validate.sh")...).
		verdict(record.Succeeded, "CONTINUE", time.Millisecond)
}

// timeline is what is made of it, by way of the file.
func (r *told) timeline(t *testing.T) timeline {
	t.Helper()
	h := r.read(t)
	return timelineOf(h.Deployments[len(h.Deployments)-1], h.Owner, r.now.Add(time.Minute))
}

// read reads the record as a command does.
func (r *told) read(t *testing.T) record.History {
	t.Helper()
	dir := t.TempDir()
	var text []byte
	for _, e := range r.lines {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		text = append(append(text, line...), '\n')
	}
	if err := os.WriteFile(filepath.Join(dir, record.FileName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := record.ReadAll(dir)
	if err != nil || h.Damaged != nil {
		t.Fatal(err, h.Damaged)
	}
	return h
}

// blamed is blame's words, in columns.
func blamed(t timeline) string {
	var b strings.Builder
	_ = Blame{t.deployment, t.began, 0, t.shares()}.print(&b, t.title())
	return b.String()
}

// fails ends a step, and its last part, in a failure.
func (r *told) fails(name, why string, d time.Duration, parts ...record.Part) *told {
	r.step(name, d, parts...)
	e := &r.lines[len(r.lines)-1]
	e.What, e.Error = record.Failed, why
	return r
}

// rebooted is the server going down and coming up again after d; the next line is the new agent's first.
func (r *told) rebooted(d time.Duration, e record.Entry) *told {
	r.now, r.boot = r.now.Add(d), "boot-2"
	e.Parts = []record.Part{
		{Name: record.PartBoot, Began: r.now, Seconds: 8.5},
		{Name: record.PartMetadata, Began: r.now.Add(8500 * time.Millisecond), Seconds: 0.02},
		{Name: record.PartLaunched, Began: r.now.Add(-time.Hour)},
	}
	return r.line(8600*time.Millisecond, e)
}

// restarted is the agent alone.
func (r *told) restarted(d time.Duration, e record.Entry) *told {
	r.now = r.now.Add(d)
	e.Parts = []record.Part{
		{Name: record.PartBoot, Began: r.now.Add(-time.Minute), Seconds: 60},
		{Name: record.PartMetadata, Began: r.now, Seconds: 0.02},
	}
	return r.line(50*time.Millisecond, e)
}

// command is a host command of CodeDeploy's, given d after the last.
func (r *told) command(d time.Duration, deployment, event string) *told {
	return r.line(d, record.Entry{What: record.Commanded, Command: deployment + event, Execution: "a/b/" + deployment, Step: event})
}

func (r *told) answered(deployment, event string) *told {
	return r.line(5*time.Millisecond, record.Entry{What: record.Reporting, Command: deployment + event}).
		line(45*time.Millisecond, record.Entry{What: record.Reported, Command: deployment + event})
}

// failed is a launch whose script fails, and is rolled back.
func failed() *told {
	return newTold().up("").
		step("DownloadBundle", 2*time.Second, scripts(time.Second, record.PartDownload, record.PartUnpack)...).
		fails("AfterInstall", "script scripts/render.sh failed with exit code 1", 3*time.Second, scripts(1500*time.Millisecond, "scripts/migrate.sh", "scripts/render.sh")...).
		step("Rollback", 700*time.Millisecond, scripts(650*time.Millisecond, "scripts/start.sh")...).
		line(time.Millisecond, record.Entry{What: record.Abandoned, Error: "x", Detail: record.RolledBack}).
		line(40*time.Second, record.Entry{What: record.Completing, Verdict: "ABANDON", Parts: []record.Part{
			{Name: record.PartHold, Began: newTold().now.Add(26200 * time.Millisecond), Seconds: 39.9}}}).
		line(80*time.Millisecond, record.Entry{What: record.Completed, Verdict: "ABANDON", Detail: "completed"})
}

// rebooted is a launch in the middle of which the server was restarted.
func rebooted() *told {
	return newTold().up("").step("DownloadBundle", 2*time.Second, scripts(time.Second, record.PartDownload, record.PartUnpack)...).
		line(time.Millisecond, record.Entry{What: record.Started, Step: "AfterInstall"}).
		rebooted(4*time.Second, record.Entry{What: record.Started, Step: "AfterInstall"}).
		line(5*time.Second, record.Entry{What: record.Finished, Step: "AfterInstall", Seconds: 5}).
		step("Flip", time.Millisecond).verdict(record.Succeeded, "CONTINUE", time.Millisecond)
}

func TestBlame(t *testing.T) {
	begun := record.Entry{What: record.Begun, Release: "shop-1", By: record.ByCommand}
	for _, c := range []struct {
		name string
		of   *told
		want string
	}{
		{"a good launch", newTold().good(), `launch d-1AB2CD3EF: succeeded, CONTINUE after 34.3s
    11.2s  boot              from there to usher's start
     9.0s  instance          from EC2's launch to the kernel's start
     4.0s  AfterInstall      scripts/migrate.sh
     2.4s  ValidateService   scripts/validate.sh
     2.1s  DownloadBundle    download
     2.0s  AfterInstall      /etc/usher/hooks.d/AfterInstall/50-certificates.sh
     1.2s  ApplicationStart  scripts/start.sh
     1.0s  DownloadBundle    unpack
    400ms  BeforeInstall     scripts/prepare.sh
    300ms  Install
    120ms  revision          asking CodeDeploy
    100ms  AfterInstall      other
     90ms  DownloadBundle    check, accept
     80ms  verdict           telling Auto Scaling
     62ms  lifecycle         finding the launch
     55ms  idle
     50ms  ApplicationStart  other
     31ms  metadata          who am I?
     10ms  DownloadBundle    other
     10ms  BeforeInstall     other
     10ms  ValidateService   other
      0ms  Flip
      0ms  ApplicationStop
`},
		{"failed, rolled back and held", failed(), `launch d-1AB2CD3EF: failed in AfterInstall, rolled back, ABANDON after 1m6s
    39.9s  hold            for inspection
    11.2s  boot            from there to usher's start
     9.0s  instance        from EC2's launch to the kernel's start
     1.5s  AfterInstall    scripts/migrate.sh
     1.5s  AfterInstall    scripts/render.sh [failed]
     1.0s  DownloadBundle  download
     1.0s  DownloadBundle  unpack
    650ms  Rollback        scripts/start.sh
    144ms  idle
    120ms  revision        asking CodeDeploy
     80ms  verdict         telling Auto Scaling
     62ms  lifecycle       finding the launch
     50ms  Rollback        other
     31ms  metadata        who am I?
`},
		{"cut off by a reboot", rebooted(), `launch d-1AB2CD3EF: succeeded, CONTINUE after 40.1s
    11.2s  boot            from there to usher's start
     9.0s  instance        from EC2's launch to the kernel's start
     8.5s  boot            from there to usher's start
     5.0s  AfterInstall
     4.0s  AfterInstall    [cut off]
     1.0s  DownloadBundle  download
     1.0s  DownloadBundle  unpack
    124ms  idle
    120ms  revision        asking CodeDeploy
     80ms  verdict         telling Auto Scaling
     62ms  lifecycle       finding the launch
     31ms  metadata        who am I?
     20ms  metadata        who am I?
      1ms  Flip
`},
		{"the agent was restarted between two steps", newTold().up("").step("Flip", 0).restarted(3*time.Second, record.Entry{What: record.Started, Step: "ValidateService"}),
			`launch d-1AB2CD3EF: under way in ValidateService after 1m24s
     1m0s  ValidateService  [under way]
    11.2s  boot             from there to usher's start
     9.0s  instance         from EC2's launch to the kernel's start
     3.0s  restart          nobody was at work
    120ms  revision         asking CodeDeploy
     69ms  idle
     62ms  lifecycle        finding the launch
     31ms  metadata         who am I?
     20ms  metadata         who am I?
      0ms  Flip
`},
		{"the deployment was sooner than Auto Scaling", newTold().line(0, record.Entry{What: record.Begun}).step("Flip", 0).
			line(time.Millisecond, record.Entry{What: record.Succeeded}).line(0, record.Entry{What: record.Completing, Verdict: "CONTINUE"}).
			line(3*time.Second, record.Entry{What: record.Completed, Verdict: "CONTINUE", Detail: "completed",
				Parts: []record.Part{{Name: "Pending:Wait", Began: newTold().now.Add(2900 * time.Millisecond)}}}),
			`launch d-1AB2CD3EF: succeeded, CONTINUE after 3.0s
     2.9s  wait     for Pending:Wait
    103ms  verdict  telling Auto Scaling
      3ms  idle
      0ms  Flip
`},
		{"of an agent that wrote no parts", newTold().line(0, record.Entry{What: record.Begun}).line(0, record.Entry{What: record.Started, Step: "AfterInstall"}).
			line(2*time.Second, record.Entry{What: record.ScriptDone, Step: "AfterInstall", Script: "d-1AB2CD3EF-1-AfterInstall-0"}).
			line(time.Second, record.Entry{What: record.ScriptDone, Step: "AfterInstall", Script: "d-1AB2CD3EF-1-AfterInstall-1"}).
			line(0, record.Entry{What: record.Finished, Step: "AfterInstall", Seconds: 3}).line(0, record.Entry{What: record.Succeeded}),
			`launch d-1AB2CD3EF: succeeded after 3.0s
     2.0s  AfterInstall  script 1
     1.0s  AfterInstall  script 2
`},
		{"of CodeDeploy's commands, and one that was not for it", newTold().line(0, begun).
			command(0, "d-1AB2CD3EF", "AfterInstall").step("AfterInstall", time.Second).step("Flip", 0).answered("d-1AB2CD3EF", "AfterInstall").
			command(2*time.Second, "d-1AB2CD3EF", "ValidateService").step("ValidateService", 3*time.Second).
			line(0, record.Entry{What: record.Succeeded}).answered("d-1AB2CD3EF", "ValidateService").
			command(time.Hour, "d-OTHER", "Install").answered("d-OTHER", "Install"),
			`command d-1AB2CD3EF: succeeded after 6.1s
     3.0s  ValidateService
     2.0s  wait             for CodeDeploy's next command
     1.0s  AfterInstall
    106ms  idle
      0ms  Flip
`},
	} {
		got := c.of.timeline(t)
		if text := blamed(got); text != c.want {
			t.Errorf("%s:\n got:\n%s\nwant:\n%s", c.name, text, c.want)
		}
		sum := 0.0
		for _, s := range got.shares() {
			sum += s.Seconds
		}
		if all := got.ended.Sub(got.began).Seconds(); sum > all+0.001 || sum < all-0.002 {
			t.Errorf("%s: the shares add up to %gs of %gs", c.name, sum, all)
		}
	}
}

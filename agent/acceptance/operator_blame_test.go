package acceptance

import (
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"usher/agent/format"
	"usher/agent/operator"
	"usher/agent/record"
	"usher/agent/standin"
)

// `usher blame` and `usher plot` beside real agents.

// blames is what blame says of a deployment, "" for the last.
func (s *stage) blames(id string) operator.Blame {
	s.Helper()
	got := s.types("blame -json " + id)
	if got.code != 0 || got.stderr != "" {
		s.Fatalf("usher blame: exit %d, %s", got.code, got.stderr)
	}
	var b operator.Blame
	in := json.NewDecoder(strings.NewReader(got.stdout))
	in.DisallowUnknownFields()
	s.must(in.Decode(&b))
	sum := 0.0
	for _, share := range b.Spent {
		sum += share.Seconds
	}
	if math.Abs(sum-b.Seconds) > 0.005 {
		s.Errorf("the shares of %s add up to %gs of %gs:\n%s", b.Deployment.Deployment, sum, b.Seconds, got.stdout)
	}
	return b
}

// namesOf is what time was spent on, in the order it began.
func namesOf(b operator.Blame) string {
	slices.SortStableFunc(b.Spent, func(a, b operator.Share) int { return a.Began.Compare(b.Began) })
	var names []string
	for _, s := range b.Spent {
		if s.Step != operator.BetweenIt && s.Part != operator.TheRest {
			names = append(names, strings.TrimRight(s.Step+" "+format.JoinNonEmpty(" ", s.Part, operator.Marked(s.State)), " "))
		}
	}
	return strings.Join(names, "\n")
}

const launchNames = `metadata who am I?
lifecycle finding the launch
revision asking CodeDeploy
ApplicationStop
DownloadBundle download
DownloadBundle unpack
DownloadBundle check, accept
BeforeInstall scripts/before.sh
Install
AfterInstall scripts/after.sh
Flip to the disk
ApplicationStart scripts/start.sh
ValidateService scripts/validate.sh
to the disk what all scripts wrote`

func TestBlameOfALaunch(t *testing.T) {
	s := newStage(t)
	s.write("agent.yml", "state_dir: "+s.path("state")+"\n")
	s.answered("blame", 3, "", "usher blame: nothing was deployed yet\n")
	s.answered("plot", 3, "", "usher plot: nothing was deployed yet\n")
	id := s.publish("shop-1", s.app("1"))
	// Longer than anything here takes, and shorter than this machine is up: the kernel's start is not the instance's.
	age := min(10*time.Minute, time.Since(record.BootTime())/2)
	server := s.cloud.Launch("web", standin.LaunchOptions{HoldPending: true, Age: age})
	r := s.start(server, "-once")
	r.says("is live and good")
	server.Release()
	s.expect("exit code", itoa(r.wait()), "0")

	b := s.blames(id)
	s.expect("where the time went", namesOf(b), "instance from EC2's launch to usher's start\n"+launchNames+"\nwait for Pending:Wait\nverdict telling Auto Scaling")
	if b.Seconds < age.Seconds() || b.Seconds > (age+patience).Seconds() {
		t.Errorf("a launch %s ago took %gs", age, b.Seconds)
	}
	s.expect("the slowest", strings.Join(strings.Fields(s.plain(s.types("blame -n 1").stdout)), " "),
		"launch d-N: succeeded, CONTINUE after SPAN SPAN instance from EC2's launch to usher's start")
	s.answered("blame -n -1", 2, "", "usher blame: -n is -1: it must not be less than 0\n")
	s.answered("blame d-OTHER", 2, "", "usher blame: there was no deployment d-OTHER here: usher history lists them\n")
	for _, line := range []string{"plot", "plot " + id} {
		got := s.types(line)
		s.expect("exit code of "+line, itoa(got.code), "0")
		for _, want := range []string{">launched<", ">Pending:Wait ", ">live ", ">CONTINUE ", ">scripts/validate.sh<", ">download<"} {
			if !strings.Contains(got.stdout, want) {
				t.Errorf("usher %s has no %s:\n%s", line, want, got.stdout)
			}
		}
		wellFormed(t, got.stdout)
	}
	if without := s.types("plot -no-boot").stdout; strings.Contains(without, "launched") {
		t.Errorf("it shows the launch:\n%s", without)
	}
}

// A script that fails is named as that, and a rollback and a hold have their share.
func TestBlameOfAFailure(t *testing.T) {
	s := newStage(t)
	s.config["on_failure"], s.config["hold_timeout"] = "hold", "1s"
	s.publish("shop-1", s.app("1").with(files{"scripts/after.sh": failing}))
	_, _, code := s.launch()
	s.expect("exit code", itoa(code), "1")
	names := namesOf(s.blames(""))
	if _, end, _ := strings.Cut(names, "BeforeInstall scripts/before.sh\n"); end != "Install\nAfterInstall scripts/after.sh [failed]\nRollback\nhold for inspection\nverdict telling Auto Scaling" {
		t.Errorf("where the time went:\n%s", names)
	}
}

// An agent that is killed in a script, and the server that is restarted then: each has a share.
func TestBlameOfARestart(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	s.readsAlways()
	s.expect("it died", s.killed(server, "10+"), "after finished Install")
	s.expect("exit code", itoa(s.start(server, "-once").wait()), "0")
	names := namesOf(s.blames(""))
	for _, want := range []string{"restart nobody was at work\nmetadata who am I?\nlifecycle finding the launch\nrevision asking CodeDeploy\nAfterInstall scripts/after.sh\nFlip"} {
		if !strings.Contains(names, want) {
			t.Errorf("where the time went:\n%s\nwithout\n%s", names, want)
		}
	}
}

// A deployment that CodeDeploy commands has its waits for the commands, and nothing of the launch before.
func TestBlameOfADeployment(t *testing.T) {
	h := newShop(t, 1, production())
	h.commit("2", edition("2"))
	h.ended(h.usher("deploy production -yes"), 0)
	s := h.servers[0]
	b := s.blames("")
	s.expect("what", b.Deployment.What, "command")
	names := namesOf(b)
	for _, want := range []string{"DownloadBundle download\n", "wait for CodeDeploy's next command\n", "AfterInstall scripts/render.sh\n", "ValidateService scripts/validate.sh"} {
		if !strings.Contains(names, want) {
			t.Errorf("where the time went:\n%s\nwithout %s", names, want)
		}
	}
	for _, other := range []string{"metadata", "verdict", "instance"} {
		if strings.Contains(names, other) {
			t.Errorf("where the time went:\n%s\nwith %s, which is of the launch", names, other)
		}
	}
	wellFormed(t, s.types("plot").stdout)
}

var pictureTo = flag.String("picture", "", "write the picture of a launch that takes its time to `FILE`, for the README")

// A launch whose event has two scripts. Asked to, it takes some seconds, and leaves the picture in the README:
//
//	go test ./agent/acceptance -run TestPlotOfALaunch -picture $PWD/agent/launch.svg
func TestPlotOfALaunch(t *testing.T) {
	assets, pace, options, launch := 1<<10, 0.0, standin.Options{}, standin.LaunchOptions{}
	if *pictureTo != "" {
		assets, pace, options.Latency, launch.PendingFor = 120<<20, 1, 40*time.Millisecond, 1500*time.Millisecond
	}
	s := newStage(t, options)
	bulk := make([]byte, assets)
	_, _ = rand.Read(bulk) // never fails
	takes := func(seconds float64) string { return fmt.Sprintf("#!/bin/sh\nset -e\nsleep %g\n", seconds*pace) }
	app := s.app("1").with(files{"assets.bin": string(bulk), "scripts/migrate.sh": takes(0.7), "scripts/before.sh": takes(0.1),
		"scripts/after.sh": takes(0.4), "scripts/start.sh": takes(0.3), "scripts/validate.sh": takes(0.5)})
	app["appspec.yml"] = strings.Replace(app["appspec.yml"], "[{location: scripts/after.sh}]", "[{location: scripts/migrate.sh}, {location: scripts/after.sh}]", 1)
	s.publish("shop-1.4.0", app)
	server := s.cloud.Launch("web", launch)
	s.expect("exit code", itoa(s.start(server, "-once").wait()), "0")
	plot := s.types("plot")
	if before, after, _ := strings.Cut(plot.stdout, ">scripts/migrate.sh<"); strings.Contains(before, ">scripts/after.sh<") || !strings.Contains(after, ">scripts/after.sh<") {
		t.Errorf("the scripts of AfterInstall are not in their order:\n%s", plot.stdout)
	}
	if *pictureTo != "" {
		s.must(os.WriteFile(*pictureTo, []byte(plot.stdout), 0o644))
		t.Log("\n" + s.types("blame").stdout)
	}
}

// wellFormed says that a picture is XML to its end. Package operator's tests look at what is drawn.
func wellFormed(t *testing.T, picture string) {
	t.Helper()
	for in := xml.NewDecoder(strings.NewReader(picture)); ; {
		if _, err := in.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, picture)
		}
	}
}

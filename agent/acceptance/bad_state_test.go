package acceptance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"usher/agent/standin"
	"usher/agent/standin/disk"
)

// The record, as it may be found.

const (
	aLine  = `{"time":"2026-01-02T03:04:05Z","boot":"b","instance":"INSTANCE","image":"AMI","run":1,"deployment":"d-OLD","what":"begun","revision":"x","release":"old-1"}` + "\n"
	anEnd  = `{"time":"2026-01-02T03:04:06Z","boot":"b","instance":"INSTANCE","image":"AMI","run":1,"deployment":"d-OLD","what":"gave-up","error":"x"}` + "\n"
	rubble = "\x00\x00\x00\x00 not a line of the record\n"
)

// A record that is not ours, or not whole, is set aside or mended, and the launch goes on.
func TestOddRecord(t *testing.T) {
	for _, c := range []struct {
		name, record string
		aside        string // what is beside the record afterwards
		says         string
	}{
		{"of another instance", strings.ReplaceAll(aLine, "INSTANCE", "i-0baked"), "record.jsonl.of-i-0baked-AMI",
			"warning: the record found here is of instance i-0baked, image AMI, not of this one (INSTANCE, AMI): set aside as DIR/state/record.jsonl.of-i-0baked-AMI"},
		{"of the same instance before its root volume was replaced", strings.ReplaceAll(aLine, "AMI", "ami-0old"), "record.jsonl.of-INSTANCE-ami-0old",
			"warning: the record found here is of instance INSTANCE, image ami-0old, not of this one (INSTANCE, AMI): set aside as "},
		{"damaged in the middle", aLine + rubble + anEnd, "record.jsonl.damaged-*",
			"warning: the record DIR/state/record.jsonl is damaged (line 2: invalid character '\\x00' looking for beginning of value): set aside as "},
		{"cut off in its last line", aLine + anEnd[:70], "", "usher "},
		{"empty", "", "", "usher "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1"))
			server := s.cloud.Launch("web", standin.LaunchOptions{ImageID: "ami-0123"})
			own := strings.NewReplacer("INSTANCE", server.ID, "AMI", "ami-0123", "DIR", s.dir)
			s.write("state/record.jsonl", own.Replace(c.record))
			r := s.start(server, "-once")
			s.expect("exit code", itoa(r.wait()), "0")
			s.waitFor(server, standin.InService)
			s.expect("verdict", answers(server), "usher-launch CONTINUE")
			s.expect("live", s.live(), "1")
			s.said(r, own.Replace(c.says))
			var beside []string
			entries, err := os.ReadDir(s.path("state"))
			s.must(err)
			for _, e := range entries {
				if e.Name() != "record.jsonl" {
					beside = append(beside, e.Name())
				}
			}
			if ok, _ := filepath.Match(own.Replace(c.aside), strings.Join(beside, " ")); !ok {
				t.Errorf("beside the record is %q, want %q", beside, own.Replace(c.aside))
			}
		})
	}
}

// A record that has grown is compacted after the next deployment, and tells what it told before.
func TestTheRecordOfALongLife(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{ImageID: "ami-0123"})
	s.write("state/record.jsonl", "")
	var lines strings.Builder
	for n := range 300 {
		own := strings.NewReplacer("INSTANCE", server.ID, "AMI", "ami-0123", `"run":1`, `"run":`+itoa(n+1), "d-OLD", "d-OLD"+itoa(n+1), `"begun"`, `"begun","by":"command"`)
		lines.WriteString(own.Replace(aLine + anEnd))
	}
	s.write("state/record.jsonl", lines.String())
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "0")
	s.waitFor(server, standin.InService)
	history, err := exec.Command(binaries.usher, "history", "-config", s.path("agent.yml"), "-n", "0").Output()
	s.must(err)
	told := strings.Split(strings.TrimSpace(string(history)), "\n")
	s.expect("deployments told, and the line above them", itoa(len(told)), "201")
	if !strings.Contains(told[1], "d-OLD102 ") || !strings.Contains(told[199], "d-OLD300 ") || !strings.Contains(told[200], "launch   succeeded") {
		t.Errorf("history is\n%s", history)
	}
	again := s.start(server, "-once")
	s.expect("exit code of one start more", itoa(again.wait()), "3")
	s.completed("completions", server, "CONTINUE accepted")
}

// Without a record nothing is done, because what cannot be remembered could be done twice; and nobody is
// left waiting for the hook's timeout.
func TestNoRecord(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(s *stage)
		says    string
	}{
		{"the state directory is a file", func(s *stage) { s.write("state", "") }, "error: cannot make the state directory: mkdir DIR/state: not a directory"},
		{"the state directory cannot be written", func(s *stage) { s.disk("state", "size=64k,ro") }, "error: cannot open the record: open DIR/state/record.jsonl: read-only file system"},
		{"its disk is full", func(s *stage) { s.almostFull("state", 0) }, "cannot append to the record DIR/state/record.jsonl: no space left on device: make room on its file system"},
		{"its disk has no room for last words", func(s *stage) { s.almostFull("state", 15) }, "cannot append to the record DIR/state/record.jsonl: no space left on device: make room on its file system"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1"))
			c.prepare(s)
			s.abandoned(strings.ReplaceAll(c.says, "DIR", s.dir))
			s.expect("live", s.live(), "base")
		})
	}
}

// A script that fills the disk of the record, and fails: that is remembered, with nothing left to write it with. What was
// live is put back once, and neither a restart nor the next deployment does it again.
func TestAScriptFillsTheDiskOfTheRecord(t *testing.T) {
	fills := func(s *stage) string {
		fill := "dd if=/dev/zero of=" + s.path("state/ballast") + " oflag=append conv=notrunc bs="
		return "#!/bin/sh\n" + fill + "1M ||\n" + fill + "512 ||\nexit 3\n" // with large writes to begin with, which leave a page or two
	}
	history := func(s *stage) string {
		text, err := exec.Command(binaries.usher, "history", "-config", s.path("agent.yml"), "-n", "1").Output()
		s.must(err)
		return string(text)
	}
	t.Run("a deployment", func(t *testing.T) {
		s := newStage(t)
		d := disk.New(t, "ext4", 16<<20, s.path("state"))
		_, r := s.serving()
		_, status := s.deploy(s.revision("shop-2", s.app("2").with(files{"scripts/start.sh": fills(s)})))
		s.expect("deployment", status, "Failed")
		s.expect("live", s.live(), "1")
		if told := history(s); !strings.Contains(told, "failed in ApplicationStart, rolled back") {
			t.Errorf("history is\n%s", told)
		}
		s.expect("exit code", itoa(r.stop()), "0")
		again := s.start(s.cloud.Instances()[0])
		again.says("nothing to deploy")
		d.Empty()
		_, status = s.deploy(s.revision("shop-3", s.app("3")))
		s.expect("the next deployment", status, "Succeeded")
		s.expect("live", s.live(), "3")
		s.expect("starts of what was live", itoa(strings.Count(s.trace(), "ApplicationStart 1")), "1")
		for _, r := range []*agentRun{r, again} {
			if strings.Contains(r.text(), "cannot append to the record") {
				t.Errorf("it was not remembered:\n%s", r.text())
			}
		}
	})
	t.Run("a launch", func(t *testing.T) {
		s := newStage(t)
		disk.New(t, "ext4", 16<<20, s.path("state"))
		s.publish("shop-1", s.app("1").with(files{"scripts/start.sh": fills(s)}))
		server, _, code := s.launch()
		s.expect("exit code", itoa(code), "1")
		s.waitFor(server, standin.Terminated)
		if told := history(s); !strings.Contains(told, "failed in ApplicationStart, rolled back") {
			t.Errorf("history is\n%s", told)
		}
		again := s.start(server, "-once")
		s.expect("exit code of one start more", itoa(again.wait()), "3")
		s.completed("completions", server, "ABANDON accepted")
		s.expect("live", s.live(), "base")
	})
}

// almostFull mounts a disk on a folder on which a number of pages are free.
func (s *stage) almostFull(name string, pages int) {
	s.Helper()
	s.disk(name, "size=256k")
	f, err := os.Create(s.path(name + "/ballast"))
	s.must(err)
	defer f.Close()
	page := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(page)
	}
	info, err := f.Stat()
	s.must(err)
	s.must(f.Truncate(info.Size() - int64(pages*len(page))))
}

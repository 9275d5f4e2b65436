package main

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usher/agent/record"
)

// spent is where time went that no line of the record tells: before the first line, inside a step, and in
// what Auto Scaling does meanwhile. It has no lines of its own, each of which would cost an fsync: it goes
// into the record with the next line. A nil one keeps nothing.
type spent struct {
	mu    sync.Mutex // the wait state is seen in the background
	parts []record.Part
}

// Names of parts. Others are scripts, in a step, and the wait state that was seen, a moment.
const (
	partLaunched  = "launched"      // EC2 says that the instance was launched; a moment
	partBoot      = "boot"          // from the kernel's start to the agent's
	partMetadata  = "metadata"      // until the agent knew who it is
	partLifecycle = "lifecycle"     // finding the lifecycle action
	partRevision  = "revision"      // asking CodeDeploy for the group's revision
	partHold      = "hold"          // a failed instance was kept for a person
	partDownload  = "download"      // of DownloadBundle
	partUnpack    = "unpack"        // of DownloadBundle: what was left of it when the download was complete
	partCheck     = "check, accept" // of DownloadBundle
	partSettle    = "to the disk"   // of Flip: what was left of it when the scripts had ended
)

// since adds a part that ends now.
func (s *spent) since(began time.Time, step, name string) {
	s.add(record.Part{Step: step, Name: name, Began: began.UTC(), Seconds: max(time.Since(began).Seconds(), 0)})
}

// moment adds a part that took no time.
func (s *spent) moment(at time.Time, name string) {
	s.add(record.Part{Name: name, Began: at.UTC()})
}

func (s *spent) add(p record.Part) {
	if s == nil || p.Began.IsZero() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts = append(s.parts, p)
}

// take is what was added since the last time.
func (s *spent) take() (parts []record.Part) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	parts, s.parts = s.parts, nil
	return parts
}

// bootTime is when the kernel was started, zero when it does not say. It is counted back from now, because
// what the kernel tells in /proc/stat is of whole seconds.
func bootTime() time.Time {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(up.Nano()))
}

package record

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Timings collects durations between the lines of the record: before the first line, inside a step, and of what Auto
// Scaling does meanwhile. They are written with the next line, since a line of their own would cost an fsync. A nil one
// discards them. It is safe for concurrent use.
type Timings struct {
	mu    sync.Mutex // the wait state is seen in the background
	parts []Part
}

// Steps of a deployment that are none of CodeDeploy's lifecycle events, as Entry.Step has them.
const (
	StepFlip     = "Flip"     // the application's link leads to the new release
	StepRollback = "Rollback" // what was live before is live again
)

// Names of parts. Others are scripts, in a step, and the wait state that was seen, a moment.
const (
	PartLaunched  = "launched"      // EC2 says that the instance was launched; a moment
	PartBoot      = "boot"          // from the kernel's start to the agent's
	PartMetadata  = "metadata"      // until the agent knew who it is
	PartLifecycle = "lifecycle"     // finding the lifecycle action
	PartRevision  = "revision"      // asking CodeDeploy for the group's revision
	PartHold      = "hold"          // a failed instance was kept for a person
	PartDownload  = "download"      // of DownloadBundle
	PartUnpack    = "unpack"        // of DownloadBundle: what was left of it when the download was complete
	PartCheck     = "check, accept" // of DownloadBundle
	PartSync      = "to the disk"   // of Flip: what was left of the sync when the scripts had ended; of no step: of what all of them wrote
)

// Since adds a part that ends now.
func (s *Timings) Since(began time.Time, step, name string) {
	s.Add(Part{Step: step, Name: name, Began: began.UTC(), Seconds: max(time.Since(began).Seconds(), 0)})
}

// Mark adds a part that took no time.
func (s *Timings) Mark(at time.Time, name string) {
	s.Add(Part{Name: name, Began: at.UTC()})
}

// Add adds a part; one without a beginning is left out.
func (s *Timings) Add(p Part) {
	if s == nil || p.Began.IsZero() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts = append(s.parts, p)
}

// Drain is what was added since the last time.
func (s *Timings) Drain() (parts []Part) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	parts, s.parts = s.parts, nil
	return parts
}

// BootTime is when the kernel was started, zero when it does not say. It is counted back from now, because
// what the kernel tells in /proc/stat is of whole seconds.
func BootTime() time.Time {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(up.Nano()))
}

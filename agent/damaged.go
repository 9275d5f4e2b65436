package main

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"usher/agent/record"
	"usher/agent/release"
	"usher/agent/runner"
	"usher/systemd"
)

// goOnWithLive makes up for the lines that a damaged record has lost. They may have said that a deployment succeeded, and
// without them a server in service would take it for unfinished, stop its application and deploy it again. What is live
// and good, by the facts beside the release, is what the record begins with anew; what a deployment that was under way
// had replaced outside the link is put back. A server with nothing good on it launches as ever.
func (a *agent) goOnWithLive(ctx context.Context) error {
	live, ok := a.liveAndGood()
	if !ok {
		return nil
	}
	past := a.rec.State()
	if past.Open() == nil && past.Good != nil && past.Good.Release == live.ID && past.Last.Sequence == past.Good.Sequence {
		return nil // that is what it says
	}
	lost := &record.Deployment{ID: "record-damaged", Sequence: past.Sequence + 1}
	if past.Good != nil && past.Good.Release == live.ID {
		lost.ID = past.Good.ID
	} else if past.Last != nil && past.Last.Release == live.ID {
		lost.ID = past.Last.ID
	}
	all, err := a.layout.All()
	if err != nil {
		return err
	}
	for _, r := range all {
		if r.ID == live.ID || !a.layout.RestoreReaches(r.ID) {
			continue
		}
		of := *lost
		of.Release, of.Revision = r.ID, r.Revision
		_, done, err := a.runUnsandboxed(ctx, &of, runner.FileRequest{Step: runner.Restore, Release: r.ID}, func() bool { return a.layout.RestoreReaches(r.ID) })
		if !done {
			err = a.layout.Restore(r.ID)
		}
		if err != nil { // the next deployment of it tries again
			a.log.Warn(fmt.Sprintf("what release %s replaced outside the link could not be put back: %v", r.ID, err))
		}
	}
	err = errors.Join(
		a.rec.Append(record.Entry{What: record.Begun, Sequence: lost.Sequence, Deployment: lost.ID, By: record.ByRepair, Revision: live.Revision,
			Release: live.ID, Live: live.Tree, Fallback: live.Tree}),
		a.rec.Append(record.Entry{What: record.Succeeded, Sequence: lost.Sequence, Revision: live.Revision, Release: live.ID, Detail: "the record was damaged: gone on with what is live"}))
	if err != nil {
		return err
	}
	a.log.Warn(fmt.Sprintf("the record lacks lines, and release %s is live and was good here: going on with it, nothing is deployed again", live.ID),
		systemd.ID(systemd.MessageRecordForeign), zap.String("release", live.ID))
	return nil
}

// liveAndGood is the release that is live, if a deployment of it succeeded on this instance.
func (a *agent) liveAndGood() (release.Release, bool) {
	target, _, err := a.layout.Live()
	if err != nil {
		return release.Release{}, false
	}
	r, ok := a.releaseAt(target)
	return r, ok && r.Status == release.Good && r.Instance == a.me.InstanceID
}

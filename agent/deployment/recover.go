package deployment

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"usher/agent/record"
	"usher/agent/release"
	"usher/systemd"
)

// Recover makes up for the lines that a damaged record has lost. They may have said that a deployment succeeded, and
// without them a server in service would take it for unfinished, stop its application and deploy it again. What is live
// and good, by the facts beside the release, is what the record begins with anew; what a deployment that was under way
// had replaced outside the link is put back. A server with nothing good on it launches as ever.
func (s *Deployer) Recover(ctx context.Context) error {
	live, ok := s.liveAndGood()
	if !ok {
		return nil
	}
	past := s.Record.State()
	if past.Open() == nil && past.Good != nil && past.Good.Release == live.ID && past.Last.Sequence == past.Good.Sequence {
		return nil // that is what it says
	}
	lost := &record.Deployment{ID: "record-damaged", Sequence: past.Sequence + 1}
	if past.Good != nil && past.Good.Release == live.ID {
		lost.ID = past.Good.ID
	} else if past.Last != nil && past.Last.Release == live.ID {
		lost.ID = past.Last.ID
	}
	all, err := s.Layout.All()
	if err != nil {
		return err
	}
	for _, r := range all {
		if r.ID == live.ID || !s.Layout.RestoreReaches(r.ID) {
			continue
		}
		of := *lost
		of.Release, of.Revision = r.ID, r.Revision
		if err := s.restoreFiles(ctx, &of); err != nil { // the next deployment of it tries again
			s.Log.Warn(fmt.Sprintf("what release %s replaced outside the link could not be put back: %v", r.ID, err))
		}
	}
	if _, err = s.Record.Begin(record.Entry{Deployment: lost.ID, By: record.ByRepair, Revision: live.Revision, Release: live.ID, Live: live.Dir, Fallback: live.Dir}); err != nil {
		return err
	}
	err = s.Record.Append(record.Entry{What: record.Succeeded, Revision: live.Revision, Release: live.ID, Detail: "the record was damaged: gone on with what is live"})
	if err != nil {
		return err
	}
	s.Log.Warn(fmt.Sprintf("the record lacks lines, and release %s is live and was good here: going on with it, nothing is deployed again", live.ID),
		systemd.ID(systemd.MessageRecordForeign), zap.String("release", live.ID))
	return nil
}

// liveAndGood is the release that is live, if a deployment of it succeeded on this instance.
func (s *Deployer) liveAndGood() (release.Release, bool) {
	target, _, err := s.Layout.Live()
	if err != nil {
		return release.Release{}, false
	}
	r, ok := s.Layout.ByPath(target)
	return r, ok && r.Status == release.Good && r.Instance == s.Identity.InstanceID
}

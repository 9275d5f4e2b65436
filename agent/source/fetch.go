package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"usher/agent/bundle"
	"usher/agent/deployment"
	"usher/agent/format"
	"usher/agent/record"
	"usher/hooks"
)

// Fetch downloads the revision's bundle, verified, and unpacks it into dir.
func (s source) Fetch(ctx context.Context, dir string) (deployment.Fetched, error) {
	archive, err := os.OpenFile(dir+".archive", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return deployment.Fetched{}, fmt.Errorf("cannot make a file for the bundle: %w", err)
	}
	defer archive.Close()
	if err := os.Remove(archive.Name()); err != nil { // a crash leaves nothing behind
		return deployment.Fetched{}, fmt.Errorf("cannot unlink the file for the bundle: %w", err)
	}
	return s.download(ctx, archive, dir)
}

// download is Fetch with a file for the archive. A bundle of S3 is unpacked while it arrives.
func (s source) download(ctx context.Context, archive *os.File, dir string) (deployment.Fetched, error) {
	f := s.finder
	var got bundle.Fetched
	var stats bundle.Stats
	began := time.Now()
	progress := func(int64, int64) { f.Limits.Alive() }
	retryable := func(err error) bool { return f.Retries.Retryable(err) && !errors.As(err, new(bundle.UnpackError)) }
	err := f.Retries.DoIf(ctx, retryable, func() (err error) {
		if s.S3 != nil {
			got, stats, err = bundle.FetchAndUnpackS3(ctx, f.asked(ctx, s.Revision), archive, s.S3.BundleType, dir, f.Limits, progress)
			return err
		}
		g := bundle.GitHub{API: f.GitHubAPI, Repository: s.GitHub.Repository, CommitID: s.GitHub.CommitID}
		got, err = bundle.FetchGitHub(ctx, f.HTTP, g, archive, f.Limits.MaxBytes, progress)
		return err
	})
	if err != nil {
		f.Timings.Since(began, hooks.DownloadBundle, record.PartDownload)
		return deployment.Fetched{}, err
	}
	download := got.Arrived.Sub(began)
	f.Timings.Add(record.Part{Step: hooks.DownloadBundle, Name: record.PartDownload, Began: began.UTC(), Seconds: download.Seconds()})
	if s.GitHub != nil {
		stats, err = bundle.Unpack(ctx, archive, bundle.Tgz, dir, f.Limits)
	}
	f.Timings.Since(got.Arrived, hooks.DownloadBundle, record.PartUnpack)
	if err != nil {
		return deployment.Fetched{}, err
	}
	return deployment.Fetched{Files: stats.Files, ETag: got.ETag, Detail: fmt.Sprintf("%s in %s, verified by %s; %s, %s unpacked",
		format.Bytes(got.Size), format.Duration(download), got.Checksum, format.Plural(stats.Files, "file"), format.Bytes(stats.Bytes))}, nil
}

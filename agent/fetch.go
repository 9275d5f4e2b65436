package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"usher/agent/bundle"
	"usher/agent/record"
	"usher/agent/revision"
	"usher/hooks"
)

// fetch brings a revision's bundle to disk, verified, and unpacks it into dir.
func (a *agent) fetch(ctx context.Context, rev revision.Revision, dir string) (fetched, error) {
	archive, err := os.OpenFile(dir+".archive", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fetched{}, fmt.Errorf("cannot make a file for the bundle: %w", err)
	}
	defer archive.Close()
	if err := os.Remove(archive.Name()); err != nil { // a crash leaves nothing behind
		return fetched{}, fmt.Errorf("cannot unlink the file for the bundle: %w", err)
	}
	return a.bring(ctx, rev, archive, dir)
}

// bring is fetch with a file for the archive. A bundle of S3 is unpacked while it arrives.
func (a *agent) bring(ctx context.Context, rev revision.Revision, archive *os.File, dir string) (fetched, error) {
	var got bundle.Fetched
	var stats bundle.Stats
	began := time.Now()
	progress := func(int64, int64) { a.notify.Alive() }
	retryable := func(err error) bool { return a.retryable(err) && !errors.As(err, new(bundle.Unfit)) }
	err := a.retries().DoIf(ctx, retryable, func() (err error) {
		if rev.S3 != nil {
			o := bundle.S3Object{Bucket: rev.S3.Bucket, Key: rev.S3.Key, Version: rev.S3.Version, ETag: rev.S3.ETag}
			got, stats, err = bundle.UnpackS3(ctx, a.clients.S3, o, archive, rev.S3.BundleType, dir, a.limits(), progress)
			return err
		}
		g := bundle.GitHub{API: a.cfg.GitHubAPI, Repository: rev.GitHub.Repository, CommitID: rev.GitHub.CommitID}
		got, err = bundle.FetchGitHub(ctx, a.clients.HTTP, g, archive, a.cfg.MaxBytes, progress)
		return err
	})
	if err != nil {
		a.timings.Since(began, hooks.DownloadBundle, record.PartDownload)
		return fetched{}, err
	}
	download := got.Arrived.Sub(began)
	a.timings.Add(record.Part{Step: hooks.DownloadBundle, Name: record.PartDownload, Began: began.UTC(), Seconds: download.Seconds()})
	if rev.GitHub != nil {
		stats, err = bundle.Unpack(ctx, archive, bundle.Tgz, dir, a.limits())
	}
	a.timings.Since(got.Arrived, hooks.DownloadBundle, record.PartUnpack)
	if err != nil {
		return fetched{}, err
	}
	return fetched{stats: stats, etag: got.ETag, detail: fmt.Sprintf("%s in %s, verified by %s; %s, %s unpacked",
		size(got.Size), took(download), got.Checksum, count(stats.Files, "file"), size(stats.Bytes))}, nil
}

package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"usher/agent/safepath"
)

// FetchAndUnpackS3 is FetchS3 and Unpack at the same time, of an object that was asked for: what has arrived of it in archive is unpacked into dir while the rest
// is on its way. Of a zip the end comes first, where its list of files is. kind is Unpack's, everything else is
// promised as FetchS3 and Unpack promise it; and nothing counts before FetchAndUnpackS3 has returned without an error, since
// the checksum is known last. An archive that cannot be unpacked is fetched to its end all the same, to tell one
// that is damaged from one that arrived damaged, which is fetched once more.
//
// dir exists and is empty, and on an error it is empty again; archive then holds nothing of use. An error of unpacking is an
// [UnpackError].
func FetchAndUnpackS3(ctx context.Context, asked *Asked, archive *os.File, kind, dir string, l Limits, progress func(done, total int64)) (Fetched, Stats, error) {
	return unpackS3(ctx, asked, archive, kind, dir, l.withDefaults(), progress, backoffPolicy{})
}

func unpackS3(ctx context.Context, asked *Asked, archive *os.File, kind, dir string, l Limits, progress func(done, total int64), p backoffPolicy) (Fetched, Stats, error) {
	defer asked.Close()
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 { // it is emptied when something goes wrong
		return Fetched{}, Stats{}, cmp.Or(err, fmt.Errorf("the directory to unpack into, %s, is not empty", dir))
	}
	d, err := prepareS3(ctx, asked, archive, progress, p)
	if err != nil {
		return Fetched{}, Stats{}, err
	}
	d.endFirst = kind == Zip
	stats, failed, err := d.unpack(ctx, kind, dir, l)
	if errors.As(err, new(mismatch)) {
		if err := clearDir(dir); err != nil {
			return Fetched{}, Stats{}, err
		}
		d.again()
		stats, failed, err = d.unpack(ctx, kind, dir, l)
	}
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) // of what was unpacked, if that failed first
	switch {
	case failed != nil && (err == nil || full):
		err = UnpackError{fmt.Errorf("cannot unpack the bundle: %w", failed)}
	case err != nil:
		err = explain(asked.api, asked.object, err)
	default:
		return d.fetched(), stats, nil
	}
	if e := clearDir(dir); e != nil {
		err = errors.Join(err, e)
	}
	return Fetched{}, Stats{}, err
}

// UnpackError is a bundle that arrived and cannot be unpacked: to fetch it again does not help.
type UnpackError struct{ error }

func (u UnpackError) Unwrap() error { return u.error }

// unpack fetches and unpacks once: failed is why it cannot be unpacked, err why it cannot be fetched.
func (d *download) unpack(ctx context.Context, kind, dir string, l Limits) (stats Stats, failed, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	group.Go(func() {
		if err = d.run(ctx); err != nil {
			cancel(err)
		}
	})
	stats, failed = unpack(ctx, input{partialFile{ctx, d}, d.size, d.remaining}, kind, dir, l)
	group.Wait()
	return stats, failed, err
}

// remaining is how much of the object is still to be written to the disk, in bytes.
func (d *download) remaining() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(0, d.size-d.done)
}

// partialFile is a download as a file: what is read is waited for.
type partialFile struct {
	ctx context.Context
	*download
}

func (a partialFile) ReadAt(p []byte, at int64) (int, error) {
	for part := at / PartSize; part*PartSize < min(at+int64(len(p)), a.size); part++ {
		select {
		case <-a.complete[part]:
		case <-a.ctx.Done():
			return 0, context.Cause(a.ctx)
		}
	}
	return a.dst.ReadAt(p, at)
}

// input is an archive to unpack.
type input struct {
	io.ReaderAt
	size      int64
	remaining func() int64 // what others will write to the same disk meanwhile, in bytes
}

// completeArchive is an archive that is on the disk.
func completeArchive(archive *os.File) (input, error) {
	info, err := archive.Stat()
	if err != nil {
		return input{}, err
	}
	return input{archive, info.Size(), func() int64 { return 0 }}, nil
}

// clearDir removes everything in dir.
func clearDir(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, safepath.RemoveAll(filepath.Join(dir, e.Name())))
	}
	if err != nil {
		return fmt.Errorf("cannot remove what was unpacked of a damaged download: %w", err)
	}
	return nil
}

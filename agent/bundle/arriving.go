package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// UnpackS3 is FetchS3 and Unpack at the same time: what has arrived of o in archive is unpacked into dir while the rest
// is on its way. Of a zip the end comes first, where its list of files is. kind is Unpack's, everything else is
// promised as FetchS3 and Unpack promise it; and nothing counts before UnpackS3 has returned without an error, since
// the checksum is known last. An archive that cannot be unpacked is fetched to its end all the same, to tell one
// that is damaged from one that arrived damaged, which is fetched once more.
//
// On an error dir is empty again, and archive holds nothing of use.
func UnpackS3(ctx context.Context, api S3API, o S3Object, archive *os.File, kind, dir string, l Limits, progress func(done, total int64)) (Fetched, Stats, error) {
	return unpackS3(ctx, api, o, archive, kind, dir, l.withDefaults(), progress, patience{})
}

func unpackS3(ctx context.Context, api S3API, o S3Object, archive *os.File, kind, dir string, l Limits, progress func(done, total int64), p patience) (Fetched, Stats, error) {
	d, err := prepareS3(ctx, api, o, archive, progress, p)
	if err != nil {
		return Fetched{}, Stats{}, err
	}
	d.endFirst = kind == Zip
	stats, failed, err := d.unpack(ctx, kind, dir, l)
	if errors.As(err, new(mismatch)) {
		if err := empty(dir); err != nil {
			return Fetched{}, Stats{}, err
		}
		d.again()
		stats, failed, err = d.unpack(ctx, kind, dir, l)
	}
	switch {
	case err != nil:
		err = explain(o, err)
	case failed != nil:
		err = fmt.Errorf("cannot unpack the bundle: %w", failed)
	default:
		return d.fetched(), stats, nil
	}
	return Fetched{}, Stats{}, errors.Join(err, empty(dir))
}

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
	stats, failed = unpack(ctx, input{arriving{ctx, d}, d.size, d.coming}, kind, dir, l)
	group.Wait()
	return stats, failed, err
}

// coming is how much of the object is still to be written to the disk, in bytes.
func (d *download) coming() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(0, d.size-d.done)
}

// arriving is a download as a file: what is read is waited for.
type arriving struct {
	ctx context.Context
	*download
}

func (a arriving) ReadAt(p []byte, at int64) (int, error) {
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
	size   int64
	coming func() int64 // what others will write to the same disk meanwhile, in bytes
}

// whole is an archive that is on the disk.
func whole(archive *os.File) (input, error) {
	info, err := archive.Stat()
	if err != nil {
		return input{}, err
	}
	return input{archive, info.Size(), func() int64 { return 0 }}, nil
}

// empty removes everything in dir.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	if err != nil {
		return fmt.Errorf("cannot remove what was unpacked of a damaged download: %w", err)
	}
	return nil
}

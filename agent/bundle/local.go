package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// UnpackLocal brings a revision on this machine, a directory or a zip, tar or tgz, into dir, which is empty. Its limits are
// those of a server. warn is Limits.Warn; a directory, whose modes are of the person's umask, has no warning of modes.
func UnpackLocal(ctx context.Context, path, dir string, warn func(string)) (Stats, error) {
	f, err := os.Open(path)
	if err != nil {
		return Stats{}, fmt.Errorf("cannot open the revision: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return Stats{}, fmt.Errorf("cannot look at the revision: %w", err)
	} else if info.IsDir() {
		return Directory(ctx, path, dir, Limits{Narrow: true})
	}
	head := make([]byte, 512)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Stats{}, fmt.Errorf("cannot read the revision: %w", err)
	}
	kind, err := Kind(path, head[:n])
	if err != nil {
		return Stats{}, err
	}
	return Unpack(ctx, f, kind, dir, Limits{Narrow: true, Warn: warn})
}

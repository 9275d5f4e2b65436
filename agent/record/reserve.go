package record

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// reserve is what is kept for last words: a failed step and its rollback with a script's last lines, the verdict and the
// result for CodeDeploy are some ten lines of a few KiB at most.
const reserve = 64 << 10

// isFull says that an error is of a disk, or a user's part of it, with no room.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// allocate makes sure that the file has room on the disk up to an offset, beyond its end, and for some time to come where
// it can. It fails for want of room only: not every file system allocates ahead.
func (r *Record) allocate(to int64) error {
	if to <= r.allocated {
		return nil
	}
	for _, more := range []int64{reserve, 0} {
		switch err := allocate(r.file, to+more); {
		case err == nil:
			r.allocated = to + more
			return nil
		case !isFull(err):
			return nil
		case more == 0:
			return err
		}
	}
	return nil
}

func allocate(f *os.File, to int64) (err error) {
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, to)
	}
	return err
}

//go:build linux && !developer

package safepath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OpenFile opens a regular file to read it, where another user may change the path at any time: it waits for no FIFO, and
// by a link that another user could have made root comes to no file but that user's own.
func OpenFile(path string) (*os.File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	f, err := openFile(path)
	unsafe := (*UnsafeError)(nil)
	if !errors.As(err, &unsafe) {
		return f, err
	}
	if f, err = os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil && (st.Uid != unsafe.UID || !(Info{st}).IsRegular()) {
		err = unsafe
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func openFile(path string) (*os.File, error) {
	for followed := 0; followed <= maxFollow; followed++ {
		d, name, err := Parent(path)
		if err != nil {
			return nil, err
		}
		defer d.Close()
		target, linked, err := d.follow(name, path)
		if err != nil {
			return nil, d.fail("open", name, err)
		}
		if !linked {
			f, _, err := d.OpenOwn(name)
			return f, err
		}
		if path = target; !filepath.IsAbs(path) {
			path = filepath.Join(d.path, path)
		}
	}
	return nil, &os.PathError{Op: "open", Path: path, Err: unix.ELOOP}
}

// OpenOwn is Open, but in a directory that another user may write to it opens no hard link to a third one's file.
func (d *Dir) OpenOwn(name string) (*os.File, Info, error) {
	f, info, err := d.Open(name)
	if err == nil && !d.Ours() && info.Links() > 1 && info.UID() != d.UID() {
		f.Close()
		return nil, info, fmt.Errorf("%s is a hard link to a file of user %d, in a directory of user %d", f.Name(), info.UID(), d.UID())
	}
	return f, info, err
}

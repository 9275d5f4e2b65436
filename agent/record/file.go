package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The file of a record: how it is opened and read.

func (r *Record) open(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the record: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("cannot lock %s: %w: stop it first (systemctl stop usher)", path, ErrLocked)
		}
		return fmt.Errorf("cannot lock the record %s: %w", path, err)
	}
	r.file = f
	return syncDir(filepath.Dir(path))
}

// read returns the entries of f, the offset after the last whole one, and what is wrong with the first
// bad line that is not merely the torn last one.
func read(f *os.File) (entries []Entry, good int64, damaged, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, 0, nil, err
	}
	in := bufio.NewReaderSize(f, 64<<10)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return entries, good, nil, nil // whatever is in line has no newline: torn
		}
		if err != nil {
			return nil, 0, nil, err
		}
		var e Entry
		if len(line) > maxLine {
			return entries, good, fmt.Errorf("line %d is %d bytes long", n, len(line)), nil
		}
		if err := json.Unmarshal(line, &e); err != nil {
			if _, peek := in.Peek(1); peek == io.EOF { // a torn write may also end in a newline of the next try
				return entries, good, nil, nil
			}
			return entries, good, fmt.Errorf("line %d: %v", n, err), nil
		}
		entries = append(entries, e)
		good += int64(len(line))
	}
}

// syncDir makes a new or renamed entry of dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

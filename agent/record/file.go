package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The file of a record: how it is opened, read and replaced.

// openLocked opens or creates a record's file and locks it.
func openLocked(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("cannot open the record: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("cannot lock %s: %w: stop it first (systemctl stop usher)", path, ErrLocked)
			}
			return nil, fmt.Errorf("cannot lock the record %s: %w", path, err)
		}
		locked, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("cannot look at the record: %w", err)
		}
		if named, err := os.Stat(path); err == nil && os.SameFile(locked, named) {
			return f, nil
		}
		f.Close() // who held the lock has put another file in its place meanwhile
	}
}

// replace puts a new file in the place of the record, with what content has. The old one keeps the name aside, "" for
// none. The new one is complete and on disk before it gets its name, so a crash in between leaves the old one, and a
// reader has one of them. When that fails, the old one is in use still.
func (r *Record) replace(aside string, content io.Reader) (err error) {
	next := r.path + newSuffix
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := openLocked(next)
	if err != nil {
		return err
	}
	defer func() {
		if r.file != f {
			f.Close()
			os.Remove(next)
		}
	}()
	crashPoint("made")
	if content != nil {
		if err := like(f, r.file); err != nil {
			return err
		}
		if _, err := io.Copy(f, content); err != nil {
			return err
		}
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if err := allocate(f, size+reserve); isFull(err) && aside == "" { // the old one has its reserve
		return err
	}
	crashPoint("written")
	if err := f.Sync(); err != nil {
		return err
	}
	crashPoint("synced")
	if aside != "" {
		if err := os.Link(r.path, aside); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if err := os.Rename(next, r.path); err != nil {
		return err
	}
	crashPoint("renamed")
	r.file.Close()
	r.file, r.allocated = f, 0
	err = syncDir(filepath.Dir(r.path))
	crashPoint("done")
	return err
}

// dropAfter cuts the file. Where there is nothing to cut off it is left alone: its reserve would go.
func (r *Record) dropAfter(good int64) error {
	info, err := r.file.Stat()
	if err != nil || info.Size() == good {
		return err
	}
	return r.file.Truncate(good)
}

// newSuffix ends the name of a record that is not complete yet. One that a crash has left is removed by Open.
const newSuffix = ".new"

func crashPoint(step string) {
	if CrashHook != nil {
		CrashHook(Entry{What: compacting, Step: step}, true)
	}
}

// like gives a file the mode and the owner of another.
func like(f, old *os.File) error {
	was, err := old.Stat()
	if err != nil {
		return err
	}
	is, err := f.Stat()
	if err != nil {
		return err
	}
	before, now := was.Sys().(*syscall.Stat_t), is.Sys().(*syscall.Stat_t)
	if before.Uid != now.Uid || before.Gid != now.Gid {
		if err := f.Chown(int(before.Uid), int(before.Gid)); err != nil {
			return err
		}
	}
	return f.Chmod(was.Mode().Perm())
}

// scan hands each entry of f on, with its line, which is valid until the next. It returns the offset after the last
// whole one, and what is wrong with the first bad line that is not merely the torn last one.
func scan(f *os.File, each func(line []byte, e Entry)) (good int64, damaged, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, nil, err
	}
	in := bufio.NewReaderSize(f, 64<<10)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return good, nil, nil // whatever is in line has no newline: torn
		}
		if err != nil {
			return 0, nil, err
		}
		var e Entry
		if len(line) > maxLine {
			return good, fmt.Errorf("line %d is %d bytes long", n, len(line)), nil
		}
		if err := json.Unmarshal(line, &e); err != nil {
			if _, peek := in.Peek(1); peek == io.EOF { // a torn write may also end in a newline of the next try
				return good, nil, nil
			}
			return good, fmt.Errorf("line %d: %v", n, err), nil
		}
		each(line, e)
		good += int64(len(line))
	}
}

// read returns all entries of f: see scan.
func read(f *os.File) (entries []Entry, good int64, damaged, err error) {
	good, damaged, err = scan(f, func(_ []byte, e Entry) { entries = append(entries, e) })
	return entries, good, damaged, err
}

// safeName keeps a foreign value from naming a path.
func safeName(s string) string {
	b := []byte(s)
	for i, c := range b {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
			b[i] = '_'
		}
	}
	return string(b[:min(len(b), 64)])
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

// encode fills in what a line has of the record, and returns it as the file has it.
func (r *Record) encode(e *Entry) ([]byte, error) {
	if e.Sequence == 0 && e.What != Completing && e.What != Completed {
		e.Sequence = r.state.Sequence
	}
	if e.What != Commanded { // one that is picked up in a launch
		e.Parts = append(e.Parts, r.Timings.Drain()...)
	}
	now := time.Now()
	e.Time, e.Boot, e.Instance, e.Image = now.UTC(), r.owner.Boot, r.owner.Instance, r.owner.Image
	line, err := json.Marshal(e)
	e.Time = now // what passes from it on is counted by the monotonic clock, also when the time is set meanwhile
	if err != nil {
		return nil, fmt.Errorf("cannot encode a line of the record: %w", err)
	}
	return append(line, '\n'), nil
}

// write puts a line on the disk, behind those that could not be written before. There must be room for so much more.
func (r *Record) write(e Entry, line []byte, more int64) error {
	if CrashHook != nil {
		CrashHook(e, false)
	}
	end, err := r.file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("cannot append to the record: %w", err)
	}
	line = append(r.pending[:len(r.pending):len(r.pending)], line...)
	if err = r.allocate(end + int64(len(line)) + more); more == 0 {
		err = nil // the write itself says whether there is room
	}
	if err == nil {
		if _, err = r.file.Write(line); err == nil {
			err = r.file.Sync()
		}
		if err != nil {
			_ = r.file.Truncate(end) // the write's own error is the one to report
			r.allocated = 0          // it may have gone with that
		}
	}
	if isFull(err) {
		return fmt.Errorf("cannot append to the record %s: %w: make room on its file system (journalctl --vacuum-size=200M is often enough)", r.path, err)
	}
	if err != nil {
		return fmt.Errorf("cannot append to the record %s: %w", r.path, err)
	}
	r.pending = nil
	if CrashHook != nil {
		CrashHook(e, true)
	}
	return nil
}

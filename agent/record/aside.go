package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
)

// replace moves the record at path aside and starts a new one with the given entries. The new file is
// complete before it gets its name, so a crash in between leaves the old one.
func (r *Record) replace(path, aside string, entries []Entry) error {
	var b bytes.Buffer
	for _, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	old := r.file
	if err := r.open(next); err != nil {
		r.file = old
		return err
	}
	defer old.Close()
	if _, err := r.file.Write(b.Bytes()); err != nil {
		return err
	}
	if err := r.file.Sync(); err != nil {
		return err
	}
	if err := os.Link(path, aside); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
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

package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// failingScript fails at line 4, where a file was forgotten in the bundle. Its last command succeeds, so
// without errexit it would pass.
const failingScript = `#!/bin/bash
set -euo pipefail
echo "migrating the database to version $(cat VERSION)"
cat migrations/0042-add-orders.sql >orders.sql
echo "migrated"
`

// files is a revision: name -> content.
type files map[string]string

// readRevision reads the revision in a directory.
func readRevision(dir string) (files, error) {
	f := files{}
	err := filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, at)
		f[filepath.ToSlash(name)] = string(content)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the sample revision: %w", err)
	}
	return f, nil
}

// with is the revision with some files changed.
func (f files) with(changed files) files {
	all := maps.Clone(f)
	maps.Copy(all, changed)
	return all
}

// on is the revision for a server whose root directory is not /: the appspec's destination /opt/app is
// the server's own.
func (f files) on(s *server) files {
	spec := strings.ReplaceAll(f["appspec.yml"], "destination: /opt/app", "destination: "+s.path("opt/app"))
	return f.with(files{"appspec.yml": spec})
}

// zip packs the revision; scripts are executable.
func (f files) zip() ([]byte, error) {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		header := &zip.FileHeader{Name: name, Method: zip.Deflate}
		header.SetMode(0o644)
		if strings.HasPrefix(f[name], "#!") {
			header.SetMode(0o755)
		}
		entry, err := w.CreateHeader(header)
		if err == nil {
			_, err = entry.Write([]byte(f[name]))
		}
		if err != nil {
			return nil, fmt.Errorf("cannot pack %s: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("cannot pack the revision: %w", err)
	}
	return out.Bytes(), nil
}

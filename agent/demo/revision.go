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

// edited is the revision with a piece of one of its files replaced.
func (f files) edited(name, piece, by string) (files, error) {
	if strings.Count(f[name], piece) != 1 {
		return nil, fmt.Errorf("cannot change %s of the sample revision: it should have once %q", name, piece)
	}
	return f.with(files{name: strings.Replace(f[name], piece, by, 1)}), nil
}

// shared is the revision for servers that get the same bundle, and whose root directories are not /: without the
// files section of its appspec, the whole bundle is the release. Its page is replaced in one step, because a
// rollback runs the scripts of a release that is live.
func (f files) shared() (files, error) {
	_, rest, _ := strings.Cut(f["appspec.yml"], "\nfiles:\n")
	section, _, _ := strings.Cut(rest, "\n\n")
	f, err := f.edited("appspec.yml", "\nfiles:\n"+section+"\n", "")
	if err == nil {
		f, err = f.edited("scripts/render.sh", "www/index.html\" <<HTML\n", "www/.index.html\" <<HTML\n")
	}
	if err == nil {
		f, err = f.edited("scripts/render.sh", "\nHTML\n", "\nHTML\nmv \"$USHER_RELEASE_DIR/www/.index.html\" \"$USHER_RELEASE_DIR/www/index.html\"\n")
	}
	return f, err
}

// on is the revision for a server whose root directory is not /: the appspec's destination /opt/app is
// the server's own.
func (f files) on(s *server) files {
	spec := strings.ReplaceAll(f["appspec.yml"], "destination: /opt/app", "destination: "+s.path("opt/app"))
	return f.with(files{"appspec.yml": spec})
}

// mode is a file's: scripts are executable.
func (f files) mode(name string) fs.FileMode {
	if strings.HasPrefix(f[name], "#!") {
		return 0o755
	}
	return 0o644
}

// zip packs the revision.
func (f files) zip() ([]byte, error) {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		header := &zip.FileHeader{Name: name, Method: zip.Deflate}
		header.SetMode(f.mode(name))
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

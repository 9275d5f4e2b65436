package rollout

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// Build runs the environment's build command at the top of the repository, with the developer's environment and COMMIT, the full
// hash of what is deployed. What it prints goes to out.
func (r *Repository) Build(ctx context.Context, command string, c Commit, out io.Writer) error {
	cmd := exec.CommandContext(ctx, "sh", "-ec", command)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = r.Dir, append(os.Environ(), "COMMIT="+c.SHA), out, out
	cmd.WaitDelay = gitGrace
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("cannot build: `%s` failed: %w", command, err)
	}
	return nil
}

// Built packs what was built of a commit, the files in the directory from, as a tgz in the directory dir. The same files give
// the same bytes: in the order of their names, of the commit's time, owned by root, and with no mode but 0644 or 0755.
// Neither sockets nor .git directories are packed.
func Built(ctx context.Context, from string, c Commit, dir string) (Bundle, error) {
	b := Bundle{Path: filepath.Join(dir, c.SHA+".tgz"), Commit: c, built: true}
	f, err := os.OpenFile(b.Path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		err = errors.Join(b.compress(f, func(w io.Writer) error { return writeTree(ctx, w, from, dir, c) }), f.Close())
	}
	if err != nil {
		return Bundle{}, fmt.Errorf("cannot pack what was built: %w", err)
	}
	return b, nil
}

// writeTree writes a directory as a tar, but for the directory without, which may be in it.
func writeTree(ctx context.Context, out io.Writer, from, without string, c Commit) error {
	root, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer root.Close()
	scratch, err := os.Stat(without)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h := &tar.Header{Name: filepath.ToSlash(name), ModTime: c.Time, Mode: 0o644}
		switch d.Type() {
		case fs.ModeDir:
			if d.Name() == ".git" || os.SameFile(info, scratch) {
				return fs.SkipDir
			}
			h.Typeflag, h.Name, h.Mode = tar.TypeDir, h.Name+"/", 0o755
			return w.WriteHeader(h)
		case fs.ModeSymlink:
			h.Typeflag = tar.TypeSymlink
			if h.Linkname, err = root.Readlink(name); err != nil {
				return err
			}
			return w.WriteHeader(h)
		case 0:
			h.Typeflag, h.Size = tar.TypeReg, info.Size()
			if info.Mode()&0o111 != 0 {
				h.Mode = 0o755
			}
		default:
			return nil
		}
		content, err := root.Open(name)
		if err != nil {
			return err
		}
		defer content.Close()
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if n, err := io.Copy(w, content); errors.Is(err, tar.ErrWriteTooLong) || err == nil && n != h.Size {
			return fmt.Errorf("%s has changed meanwhile: build it to its end first", name)
		}
		return err
	})
	return errors.Join(err, w.Close())
}

// otherConsoles begin the Regions whose console is somewhere else: China's, the government's, the isolated ones, Europe's own.
var otherConsoles = form(`^(cn|us-gov|us-iso[a-z]*|eu-isoe|eusc)-`)

// ConsoleURL is the page of a deployment in AWS's console, "" without one, and where the console is not the usual one.
func ConsoleURL(e Environment, deployment string) string {
	if deployment == "" || e.Region == "" || otherConsoles().MatchString(e.Region) {
		return ""
	}
	return fmt.Sprintf("https://%s.console.aws.amazon.com/codesuite/codedeploy/deployments/%s?region=%s", e.Region, deployment, e.Region)
}

package rollout

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/gzip"
)

// Bundle is a commit, packed; or what was built of it.
type Bundle struct {
	Path     string // of a tgz
	Size     int64  // bytes
	Unpacked int64  // bytes of the tar in it
	SHA256   string // hexadecimal
	Commit   Commit

	built     bool   // and not the commit's own files
	tarSHA256 string // hexadecimal, of the tar in it
	crc64     uint64 // CRC-64/NVMe
}

// Name is what the bundle is called in S3: the commit's id; of a built one, with the beginning of its content's SHA-256.
func (b Bundle) Name() string {
	if b.built {
		return b.Commit.SHA + "-" + b.tarSHA256[:12]
	}
	return b.Commit.SHA
}

// archived are the settings of git that make a commit's archive the same on every machine: nobody but the
// owner writes, and text is as it was committed.
var archived = []string{
	"-c", "tar.umask=0022",
	"-c", "core.autocrlf=false",
	"-c", "core.eol=lf",
	"-c", "core.attributesFile=" + os.DevNull,
	"-c", "filter.lfs.process=", "-c", "filter.lfs.smudge=", "-c", "filter.lfs.required=false", // pointers, with and without git-lfs
}

// Archive packs a commit, by git archive, as a tgz in the directory dir: all files of the commit, but for those
// that .gitattributes marks export-ignore; or of Path. Submodules, each at the commit that this one names, and files in Git LFS are
// packed where they are asked for. The same commit gives the same bytes. The archive is compressed here,
// not by git: which gzip that runs differs from machine to machine.
func (r *Repository) Archive(ctx context.Context, c Commit, dir string) (Bundle, error) {
	b := Bundle{Path: filepath.Join(dir, c.SHA+".tgz"), Commit: c}
	f, err := os.OpenFile(b.Path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return Bundle{}, fmt.Errorf("cannot pack commit %s: %w", c.Short(), err)
	}
	if err := errors.Join(r.pack(ctx, &b, f), f.Close()); err != nil {
		os.Remove(b.Path)
		return Bundle{}, fmt.Errorf("cannot pack commit %s: %w", c.Short(), err)
	}
	return b, nil
}

// pack writes the tgz and fills in what is to be known of it.
func (r *Repository) pack(ctx context.Context, b *Bundle, f io.Writer) error {
	b.built = r.Path != "" // the commit has other parts, of which other bundles are made
	if r.Path == "" && !r.Submodules && !r.LFS {
		return b.compress(f, func(out io.Writer) error { return r.archive(ctx, b.Commit, out) })
	}
	return b.compress(f, func(out io.Writer) error {
		to := tar.NewWriter(out)
		if err := r.packInto(ctx, to, "", b.Commit); err != nil {
			return err
		}
		return to.Close()
	})
}

// archive writes the tar that git makes of a commit, or of Path in it.
func (r *Repository) archive(ctx context.Context, c Commit, out io.Writer) error {
	args := slices.Concat(archived, []string{"archive", "--format=tar", c.SHA})
	if r.Path != "" {
		args = append(args, r.limit()...)
	}
	_, err := r.run(ctx, command{args: args, stdout: out})
	return err
}

// packInto writes the files of a commit, below the directory at, and those of its submodules after them.
func (r *Repository) packInto(ctx context.Context, to *tar.Writer, at string, c Commit) error {
	files := large{repo: r}
	if r.LFS {
		var err error
		if files, err = r.large(ctx, c); err != nil {
			return err
		}
	}
	from, git := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- git.CloseWithError(r.archive(ctx, c, git)) }()
	err := r.copyTar(to, from, at, files)
	from.CloseWithError(err)
	<-ended
	if err != nil || !r.Submodules {
		return err
	}
	own, err := r.own(ctx, c)
	if err != nil {
		return err
	}
	modules, err := r.modules(ctx, c, own)
	if err != nil {
		return err
	}
	for _, m := range modules {
		if err := m.repo.packInto(ctx, to, at+m.path+"/", m.commit); err != nil {
			return fmt.Errorf("submodule %s: %w", m.path, err)
		}
	}
	return nil
}

// copyTar copies a tar of git's with what is below Path, as if the directory at were its top.
func (r *Repository) copyTar(to *tar.Writer, in io.Reader, at string, files large) error {
	from := tar.NewReader(in)
	for {
		h, err := from.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		name, ok := r.within(h.Name)
		if !ok || name == "" || h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		mine := &tar.Header{Typeflag: h.Typeflag, Name: at + name, Linkname: h.Linkname, Mode: h.Mode, Size: h.Size, ModTime: h.ModTime}
		if h.Typeflag == tar.TypeReg && files.paths[h.Name] {
			if err := files.write(to, mine, from, at+name); err != nil {
				return err
			}
			continue
		}
		if err := to.WriteHeader(mine); err != nil {
			return err
		}
		if _, err := io.Copy(to, from); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, in) // how git ended
	return err
}

// compress writes to f, as a tgz, the tar that is written by write.
func (b *Bundle) compress(f io.Writer, write func(out io.Writer) error) error {
	sum, inner, crc := sha256.New(), sha256.New(), crc64.New(crc64NVMe)
	var packed, unpacked counter
	gz := gzip.NewWriter(io.MultiWriter(f, sum, crc, &packed))
	if err := write(io.MultiWriter(gz, inner, &unpacked)); err != nil {
		return err
	}
	if err := gz.Close(); err != nil {
		return err
	}
	b.Size, b.Unpacked, b.SHA256, b.crc64 = int64(packed), int64(unpacked), hex.EncodeToString(sum.Sum(nil)), crc.Sum64()
	b.tarSHA256 = hex.EncodeToString(inner.Sum(nil))
	return nil
}

// crc64NVMe is S3's checksum of an object that is uploaded in parts: the polynomial of the NVMe specification,
// reversed as hash/crc64 wants it.
var crc64NVMe = crc64.MakeTable(0x9a6c9329ac4bc9b5)

// counter counts what is written to it.
type counter int64

func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}

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
}

// Archive packs a commit, by git archive, as a tgz in the directory dir: all files of the commit, but for those
// that .gitattributes marks export-ignore; or of Path. The same commit gives the same bytes. The archive is compressed here,
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
	args := slices.Concat(archived, []string{"archive", "--format=tar", b.Commit.SHA})
	if r.Path == "" {
		return b.compress(f, func(out io.Writer) error {
			_, err := r.run(ctx, command{args: args, stdout: out})
			return err
		})
	}
	b.built = true // the commit has other parts, of which other bundles are made
	return b.compress(f, func(out io.Writer) error {
		from, to := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			_, err := r.run(ctx, command{args: append(args, "--", ":(literal)"+r.Path), stdout: to})
			ended <- to.CloseWithError(err)
		}()
		err := r.part(out, from)
		from.CloseWithError(err)
		<-ended
		return err
	})
}

// part copies a tar with what is below Path, as if Path were its top.
func (r *Repository) part(out io.Writer, in io.Reader) error {
	from, to := tar.NewReader(in), tar.NewWriter(out)
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
		if err := to.WriteHeader(&tar.Header{Typeflag: h.Typeflag, Name: name, Linkname: h.Linkname, Mode: h.Mode, Size: h.Size, ModTime: h.ModTime}); err != nil {
			return err
		}
		if _, err := io.Copy(to, from); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil { // how git ended
		return err
	}
	return to.Close()
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

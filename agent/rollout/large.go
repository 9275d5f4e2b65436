package rollout

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"usher/agent/retry"
)

// pointer is what stands in a commit for a file in Git LFS.
type pointer struct {
	oid  string // SHA-256 of the file, hexadecimal
	size int64
}

// pointerForm is what matters of a pointer, as its specification has it: lines of a key and a value, the version first.
var pointerForm = form(`^version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*oid sha256:([0-9a-f]{64})\n(?:.*\n)*size ([0-9]+)\n`)

// pointerOf reads a pointer.
func pointerOf(text string) (p pointer, err error) {
	m := pointerForm().FindStringSubmatch(text)
	if m == nil {
		return p, errors.New("its pointer of Git LFS cannot be read: it has no oid, or no size")
	}
	size, err := strconv.ParseInt(m[2], 10, 64)
	return pointer{m[1], size}, err
}

// large are the files of a commit that are packed from Git LFS in place of their pointers.
type large struct {
	repo  *Repository
	store string          // the directory of the objects
	paths map[string]bool // of the pointers, as git archive names them
	why   error           // of what is not there after all
}

// large finds them; what is not in this clone is fetched, all at once.
func (r *Repository) large(ctx context.Context, c Commit) (l large, err error) {
	l = large{repo: r, paths: map[string]bool{}}
	own, err := r.own(ctx, c)
	if err != nil {
		return l, err
	}
	if err := r.pointers(ctx, own); err != nil {
		return l, err
	}
	if l.store, err = r.lfsStore(ctx); err != nil {
		return l, err
	}
	var missing []pointer
	for _, e := range own {
		if e.pointer == "" {
			continue
		}
		name := e.path
		if r.Path != "" {
			name = r.Path + "/" + name
		}
		l.paths[name] = true
		p, err := pointerOf(e.pointer)
		if err != nil {
			return l, fmt.Errorf("%s: %w", e.path, err)
		}
		if _, err := os.Stat(l.object(p)); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 { // what is still not there is told file by file
		l.why = l.fetch(ctx, c, missing)
	}
	return l, ctx.Err()
}

// lookOften is between two looks at how much was fetched.
const lookOften = 250 * time.Millisecond

// fetch fetches what a commit has in Git LFS. The error is why something may not be there.
func (l large) fetch(ctx context.Context, c Commit, missing []pointer) error {
	if _, err := exec.LookPath("git-lfs"); err != nil {
		return errors.New("git-lfs, which fetches it, is not installed")
	}
	remote, err := l.repo.anyRemote(ctx)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, p := range missing {
		total += p.size
	}
	watched, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	if show := l.repo.Fetching; show != nil {
		show(remote, 0, total)
		watching.Go(func() {
			for retry.Pause(watched, lookOften) {
				show(remote, min(l.fetched(missing), total-1), total)
			}
		})
		defer func() {
			if err == nil {
				show(remote, total, total)
			}
		}()
	}
	_, err = l.repo.git(ctx, nil, "lfs", "fetch", remote, c.SHA)
	stop()
	watching.Wait()
	if err != nil {
		return fmt.Errorf("`git lfs fetch %s %s` failed: %w", remote, c.Short(), err)
	}
	return nil
}

// fetched is how much of it is there: git-lfs moves a file to its place when it has all of it.
func (l large) fetched(missing []pointer) (n int64) {
	for _, p := range missing {
		for _, at := range []string{l.object(p), filepath.Join(filepath.Dir(l.store), "incomplete", p.oid+".part")} {
			if info, err := os.Stat(at); err == nil {
				n += info.Size()
				break
			}
		}
	}
	return n
}

// lfsStore is where this clone has the objects of Git LFS.
func (r *Repository) lfsStore(ctx context.Context) (string, error) {
	dir, err := r.line(ctx, "rev-parse", "--git-common-dir")
	if err != nil {
		return "", err
	}
	dir = r.absolute(dir)
	storage, _ := r.line(ctx, "config", "--get", "lfs.storage")
	switch storage = filepath.FromSlash(storage); {
	case storage == "":
		storage = filepath.Join(dir, "lfs")
	case !filepath.IsAbs(storage):
		storage = filepath.Join(dir, storage)
	}
	return filepath.Join(storage, "objects"), nil
}

// object is the path of a file's content.
func (l large) object(p pointer) string {
	return filepath.Join(l.store, p.oid[:2], p.oid[2:4], p.oid)
}

// write writes a file of the archive: its content in place of the pointer that is read from in. The content is what the pointer says,
// or it is an error: a commit has one bundle.
func (l large) write(out *tar.Writer, h *tar.Header, in io.Reader, name string) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	p, err := pointerOf(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	f, err := os.Open(l.object(p))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the content of %s, a file in Git LFS, is not in this clone: %w", name, cmp.Or(l.why, errors.New("no remote has it")))
	} else if err != nil {
		return err
	}
	defer f.Close()
	h.Size = p.size
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(f, p.size+1))
	if n == p.size && err == nil && hex.EncodeToString(sum.Sum(nil)) == p.oid {
		return nil
	}
	if err != nil && !errors.Is(err, tar.ErrWriteTooLong) {
		return err
	}
	return fmt.Errorf("the content of %s in Git LFS is not what its pointer says: `git lfs fsck` looks: %s", name, f.Name())
}

// pointers puts into the files with the filter of Git LFS the pointer that stands for each. One may also have been committed as it is.
func (r *Repository) pointers(ctx context.Context, content []entry) error {
	var filtered, small []int
	var shas []string
	for at, e := range content {
		if e.filter == "lfs" {
			filtered, shas = append(filtered, at), append(shas, e.sha)
		}
	}
	if len(shas) == 0 {
		return nil
	}
	out, err := r.git(ctx, strings.NewReader(strings.Join(shas, "\n")+"\n"), "cat-file", "--batch-check=%(objectsize)")
	if err != nil {
		return err
	}
	sizes := strings.Fields(string(out))
	if len(sizes) != len(shas) {
		return errors.New("git does not have all of its files: `git fetch` again")
	}
	shas = shas[:0]
	for i, at := range filtered {
		if size, err := strconv.Atoi(sizes[i]); err == nil && size < pointerLimit {
			small, shas = append(small, at), append(shas, content[at].sha)
		}
	}
	texts, err := r.blobs(ctx, shas)
	if err != nil {
		return err
	}
	for i, at := range small {
		if strings.HasPrefix(texts[i], "version https://git-lfs.github.com/spec/") {
			content[at].pointer = texts[i]
		}
	}
	return nil
}

// blobs are the contents of small blobs, by one git for all.
func (r *Repository) blobs(ctx context.Context, shas []string) (texts []string, err error) {
	if len(shas) == 0 {
		return nil, nil
	}
	out, err := r.git(ctx, strings.NewReader(strings.Join(shas, "\n")+"\n"), "cat-file", "--batch=%(objectsize)")
	if err != nil {
		return nil, err
	}
	for rest := string(out); len(texts) < len(shas); {
		size, after, _ := strings.Cut(rest, "\n")
		n, err := strconv.Atoi(size)
		if err != nil || len(after) < n+1 {
			return nil, fmt.Errorf("cannot read git's answer %q", size)
		}
		texts, rest = append(texts, after[:n]), after[n+1:]
	}
	return texts, nil
}

// pointerLimit is more than the size of any pointer of Git LFS, which its specification bounds.
const pointerLimit = 1024

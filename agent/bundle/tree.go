package bundle

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"usher/agent/format"
)

// maxNames limits the names and link targets of one archive together, in bytes, because they
// are kept in memory: 200,000 entries with names of 330 bytes each.
const maxNames = 64_000_000

// A kind is what a name in the tree stands for.
type kind string

const (
	isFile kind = "file"
	isDir  kind = "directory"
	isLink kind = "link"
)

// A tree is a directory being filled. It judges names before anything is written, and makes links
// last, so that nothing is ever written through a link. One without a root only judges.
type tree struct {
	root   *os.Root
	top    *os.File // the root, open
	fd     int      // of top
	at     *cursor  // of the one goroutine that reads the archive's names
	umask  uint32
	limits Limits

	// What the archive named so far. Names are clean, relative and slash-separated.
	entries int             // entries read, a name that comes twice counted twice
	names   int             // length of all names and targets, in bytes
	kinds   map[string]kind // every name, implied parent directories too
	tops    []string        // the names without a slash
	dirs    map[string]dirEntry
	links   map[string]link
	hard    map[string][]string // the hard links to a file, by its name; some may be something else by now

	unwrite func(name string) error // takes back a file that was written, or is about to be

	remaining func() int64 // what others will write to the same disk meanwhile, in bytes; nil for nothing

	strip string       // the leading directory that hoist removed, with its slash, or ""
	bytes atomic.Int64 // contents written, by all workers

	narrowed atomic.Int64 // entries that lost write permission for group or others
}

type dirEntry struct {
	mode  fs.FileMode
	mtime time.Time
	made  fs.FileMode // what it was made with
}

func newTree(dir string, l Limits) (*tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the directory to unpack into: %w", err)
	}
	top, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("cannot open the directory to unpack into: %w", err)
	}
	t := &tree{root: root, top: top, fd: int(top.Fd()), umask: umask(top), limits: l, kinds: map[string]kind{}, dirs: map[string]dirEntry{},
		links: map[string]link{}, hard: map[string][]string{}}
	t.at = t.cursor()
	t.unwrite = t.removeFile
	if names, _ := top.Readdirnames(1); len(names) > 0 {
		t.close()
		return nil, fmt.Errorf("the directory to unpack into, %s, is not empty: it holds %q", dir, names[0])
	}
	return t, nil
}

func (t *tree) close() {
	t.at.close()
	t.top.Close()
	t.root.Close()
}

// reserve judges the name of an entry of kind k and notes it with its parent directories, which are
// made at once, and returns the clean name. An earlier file or link of that name is taken back: tar appends what has changed, and
// names on its command line may overlap, so that the last entry counts, as for tar itself. The root of
// the archive itself ("./") comes back as ".", for the caller to pass over.
func (t *tree) reserve(name string, k kind) (clean string, err error) {
	t.entries++
	t.names += len(name)
	if t.entries%roomEveryFile == 0 {
		if err := t.room(0); err != nil {
			return "", err
		}
	}
	if err := checkName(name); err != nil {
		return "", err
	}
	clean = path.Clean(name)
	if clean == "." {
		if k != isDir {
			return "", fmt.Errorf("entry %q is a %s where the archive's root should be", name, k)
		}
		return clean, t.withinLimits()
	}
	if err := t.parents(clean); err != nil {
		return "", err
	}
	if err := t.makeWay(name, clean, k); err != nil {
		return "", err
	}
	return clean, t.withinLimits()
}

// parents makes the directories above name that the archive has not named yet.
func (t *tree) parents(name string) error {
	dir := path.Dir(name)
	if dir == "." || t.kinds[dir] == isDir {
		return nil
	}
	if k, ok := t.kinds[dir]; ok {
		return fmt.Errorf("entry %q lies below %q, which is a %s", name, dir, k)
	}
	if err := t.parents(dir); err != nil {
		return err
	}
	return t.mkdir(dir, dirEntry{mode: 0o755})
}

func (t *tree) note(name string, k kind) {
	t.kinds[name] = k
	if !strings.Contains(name, "/") {
		t.tops = append(t.tops, name)
	}
}

// mkdir makes a directory. Its time is set by finish, since writing into it changes that; so is its mode if others
// may write into it, or if it is named after it was made.
func (t *tree) mkdir(name string, d dirEntry) error {
	d.mode = t.narrow(d.mode)
	before, again := t.dirs[name]
	if d.made = before.made; !again {
		if t.kinds[name] == "" {
			t.note(name, isDir)
		}
		if d.made = d.mode.Perm() | 0o700; uint32(d.made)&(t.umask|0o022) != 0 {
			d.made = 0o700
		}
	}
	narrower := d.made &^ (d.mode.Perm() | 0o700) // it was made before it was named
	if narrower != 0 {
		d.made = 0o700
	}
	t.dirs[name] = d
	switch err := t.withinLimits(); {
	case err != nil:
		return err
	case narrower != 0 && t.root != nil:
		return t.at.chmod(name, d.made)
	case again || t.root == nil:
		return nil
	}
	return t.at.mkdir(name, d.made)
}

// narrow takes write permission from group and others, if the limits say so: what an archive has for it is the umask, or
// the file system, of whoever made it, and who may write to a script of root's is root.
func (t *tree) narrow(mode fs.FileMode) fs.FileMode {
	if !t.limits.Narrow || mode&0o022 == 0 {
		return mode
	}
	t.narrowed.Add(1)
	return mode &^ 0o022
}

// dir takes a directory of the archive.
func (t *tree) dir(name string, d dirEntry) error {
	clean, err := t.reserve(name, isDir)
	if err != nil || clean == "." {
		return err
	}
	return t.mkdir(clean, d)
}

func (t *tree) withinLimits() error {
	if max(t.entries, len(t.kinds)) > t.limits.MaxFiles {
		return fmt.Errorf("it holds more than %d files, directories and links: raise max_files if that is meant", t.limits.MaxFiles)
	}
	if t.names > maxNames {
		return fmt.Errorf("the names in the archive are longer than %s together", format.Bytes(maxNames))
	}
	return nil
}

// addBytes counts n more bytes of contents.
func (t *tree) addBytes(n int) error {
	if t.limits.Alive != nil {
		t.limits.Alive()
	}
	all := t.bytes.Add(int64(n))
	if all > t.limits.MaxBytes {
		return t.tooLarge()
	}
	if all/roomEvery != (all-int64(n))/roomEvery {
		return t.room(0)
	}
	return nil
}

// roomEvery is after how many bytes, and roomEveryFile after how many entries, it is looked again whether there is room: an
// archive that does not say how much it holds must not fill the disk.
const roomEvery, roomEveryFile = 16_000_000, 4096

// room looks whether there is room for so many more bytes, and for what is still to come.
func (t *tree) room(need int64) error {
	if t.root == nil {
		return nil
	}
	if t.remaining != nil {
		need += t.remaining()
	}
	return CheckSpace(t.root.Name(), need, 0)
}

func (t *tree) tooLarge() error {
	return fmt.Errorf("it holds more than %s unpacked: raise max_bytes if that is meant", format.Bytes(t.limits.MaxBytes))
}

// stripTopDir moves the contents of the leading directory one level up, if the appspec is in there:
// archives made by GitHub, and by `tar` of a whole directory, look like that. What lies beside it is removed.
func (t *tree) stripTopDir() error {
	top := t.leading()
	if top == "" {
		return nil
	}
	if err := t.removeBeside(top); err != nil {
		return err
	}
	t.at.close()        // what it has open is about to move
	aside := ".leading" // not a name that is about to be moved up
	for t.kinds[top+"/"+aside] != "" {
		aside += "_"
	}
	err := t.root.Rename(top, aside)
	var children []fs.DirEntry
	if err == nil {
		children, err = fs.ReadDir(t.root.FS(), aside)
	}
	for _, c := range children {
		if err == nil {
			err = t.root.Rename(aside+"/"+c.Name(), c.Name())
		}
	}
	if err == nil {
		err = t.root.Remove(aside)
	}
	if err != nil {
		return fmt.Errorf("cannot strip the leading directory %q: %w", top, err)
	}
	t.strip = top + "/"
	return nil
}

// placed is where an entry lies in the tree, now that a leading directory may be gone.
func (t *tree) placed(name string) string { return strings.TrimPrefix(name, t.strip) }

// finish makes the links, then gives the directories their modes and times.
func (t *tree) finish(ctx context.Context) (Stats, error) {
	if err := t.makeLinks(ctx); err != nil {
		return Stats{}, err
	}
	// Siblings one after the other, so that each parent is opened once.
	names := slices.SortedFunc(maps.Keys(t.dirs), func(a, b string) int {
		return cmp.Or(cmp.Compare(path.Dir(a), path.Dir(b)), cmp.Compare(a, b))
	})
	for _, name := range names {
		if ctx.Err() != nil {
			return Stats{}, context.Cause(ctx)
		}
		if name+"/" == t.strip {
			continue
		}
		if err := t.at.setDir(t.placed(name), t.dirs[name]); err != nil {
			return Stats{}, fmt.Errorf("cannot set the mode and time of directory %q: %w", name, err)
		}
	}
	if n := t.narrowed.Load(); n > 0 {
		t.limits.Warn(fmt.Sprintf("the bundle lets others than the owner write to %d of its files and directories (modes like 0777 or 0664): "+
			"that is taken away; give those modes in the appspec's permissions where they are meant", n))
	}
	return t.stats(), nil
}

// stats are what the archive named so far.
func (t *tree) stats() Stats {
	s := Stats{Links: len(t.links), Bytes: t.bytes.Load()}
	for name, k := range t.kinds {
		switch {
		case k == isFile:
			s.Files++
		case k == isDir && name+"/" != t.strip:
			s.Dirs++
		}
	}
	return s
}

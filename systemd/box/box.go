package box

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"usher/agent/safepath"
)

// Options are what one box is given; the zero value is enough to boot.
type Options struct {
	// Name is the box's host name; the test's name if it is empty. Names are made unique by a number.
	Name string

	// Metadata answers at 169.254.169.254:80. Nil: nobody listens there, until the test does.
	Metadata http.Handler

	// Args are more arguments for systemd-nspawn: "--bind=/outside:/inside", "--tmpfs=/opt:size=64k",
	// "--setenv=NAME=value" for PID 1.
	Args []string
}

// Box is a machine that can be booted. Made by [Image.Launch] or [Image.New]; it belongs to its test, which it
// ends (t.Fatal) when it cannot do what it was asked for.
type Box struct {
	t       testing.TB
	name    string
	dir     string // upper, work, merged, console
	cgroup  string
	args    []string
	network *network
	mounts  *thread

	supervisors sync.WaitGroup
	mu          sync.Mutex
	boots       []*boot
}

// unfit are the characters a host name may not have.
var unfit = regexp.MustCompile(`[^a-z0-9]+`)

// newBox makes a box over these layers, the lowest last, and leaves it off.
func (s *session) newBox(t testing.TB, o Options, lower []string) (*Box, error) {
	name := unfit.ReplaceAllString(strings.ToLower(cmp.Or(o.Name, t.Name())), "-")
	name = strings.Trim(name[:min(len(name), 50)], "-") // a host name has 64 characters at most
	dir, err := makeFolder(filepath.Join(s.dir, name))
	if err != nil {
		return nil, fmt.Errorf("cannot make a box: %w", err)
	}
	b := &Box{t: t, name: filepath.Base(dir), dir: dir, args: o.Args}
	b.cgroup = filepath.Join(s.cgroup, b.name)
	if err := b.populate(o, lower); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make box %s: %w", b.name, err), b.close())
	}
	return b, nil
}

// makeFolder makes a folder of this name, or with a number after it.
func makeFolder(name string) (string, error) {
	dir := name
	for n := 2; ; n++ {
		if err := os.Mkdir(dir, 0o700); !errors.Is(err, os.ErrExist) {
			return dir, err
		}
		dir = fmt.Sprintf("%s-%d", name, n)
	}
}

func (b *Box) populate(o Options, lower []string) (err error) {
	for _, dir := range []string{"upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(b.dir, dir), 0o755); err != nil {
			return err
		}
	}
	if b.network, err = newNetwork(); err != nil {
		return err
	}
	if o.Metadata != nil {
		if err := b.network.serve(net.JoinHostPort(MetadataIP, "80"), o.Metadata); err != nil {
			return err
		}
	}
	if b.mounts, err = newThread(unix.CLONE_NEWNS); err != nil {
		return err
	}
	return b.mounts.do(func() error { return b.mount(lower) })
}

// mount makes the box's root, and a machine fit for nspawn around it, in a mount namespace that ends with its
// thread.
func (b *Box) mount(lower []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	// On a machine with control groups of version 1 as well, nspawn would give them to the box.
	tree, err := cgroupTree()
	if err != nil {
		return err
	}
	if tree != "/sys/fs/cgroup" {
		if err := unix.Mount(tree, "/sys/fs/cgroup", "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot mount control groups: %w", err)
		}
	}
	work := filepath.Join(b.dir, "work")
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(lower, ":"), b.layer(), work)
	if err := unix.Mount(b.name, b.merged(), "overlay", 0, layers); err != nil {
		return fmt.Errorf("cannot mount the root (%s); the cache folder must not be on an overlay: %w", layers, err)
	}
	return nil
}

// merged is where the root is mounted, for threads of its mount namespace.
func (b *Box) merged() string { return filepath.Join(b.dir, "merged") }

// layer is what of the root is the box's own.
func (b *Box) layer() string { return filepath.Join(b.dir, "upper") }

// Close cuts the power and removes the box, for a test that makes many; otherwise that comes with the test's end.
func (b *Box) Close() {
	b.t.Helper()
	if err := b.close(); err != nil {
		b.t.Errorf("%s: %v", b.name, err)
	}
}

func (b *Box) close() error {
	return errors.Join(b.remove(), safepath.RemoveAll(b.dir))
}

// remove cuts the power and removes all of the box but its files.
func (b *Box) remove() error {
	err := errors.Join(b.cutPower(), removeCgroup(b.cgroup))
	b.supervisors.Wait()
	if b.network != nil {
		b.network.close()
		b.network = nil
	}
	if b.mounts != nil {
		err = errors.Join(err, b.mounts.do(func() error {
			if err := unix.Unmount(b.merged(), 0); err != nil && err != unix.EINVAL { // it was never mounted
				return fmt.Errorf("cannot unmount %s: %w", b.merged(), err)
			}
			return nil
		}))
		b.mounts.end()
		b.mounts = nil
	}
	return err
}

// finish is the end of a box's test.
func (b *Box) finish() {
	if b.t.Failed() && b.mounts != nil {
		b.explain()
	}
	b.Close()
}

// explained is how many lines of a journal or a console a failed test shows: a launch with its hooks.
const explained = 60

// explain logs what the box said last, for a test that failed.
func (b *Box) explain() {
	b.t.Logf("%s: its console:\n%s", b.name, tail(b.Console(), explained))
	entries, err := b.journal(context.Background())
	if err != nil {
		b.t.Log(err)
		return
	}
	var lines strings.Builder
	for _, e := range entries[max(0, len(entries)-explained):] {
		fmt.Fprintln(&lines, e)
	}
	b.t.Logf("%s: its journal:\n%s", b.name, lines.String())
}

// check ends the test when something could not be done.
func (b *Box) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("%s: %v", b.name, err)
	}
}

// Name is the box's host name.
func (b *Box) Name() string { return b.name }

// Root is a path at which the machine that runs the test finds the box's disk, whether the box is on or off. What
// is mounted in the box (/run) is not there, and an absolute link leads out of it: what may be behind one is to be
// read with Run("cat", …).
func (b *Box) Root() string { return b.mounts.proc("root") + b.merged() }

// Write puts a file into the box, whether it is on or off, and makes the folders above it.
func (b *Box) Write(name, content string, mode os.FileMode) {
	b.t.Helper()
	path := filepath.Join(b.Root(), name)
	b.check(os.MkdirAll(filepath.Dir(path), 0o755))
	b.check(os.WriteFile(path, []byte(content), mode))
	b.check(os.Chmod(path, mode)) // whatever the umask is, and if it was there
}

// Copy puts a file of the machine that runs the test into the box.
func (b *Box) Copy(from, name string) {
	b.t.Helper()
	content, err := os.ReadFile(from)
	b.check(err)
	info, err := os.Stat(from)
	b.check(err)
	b.Write(name, string(content), info.Mode().Perm())
}

// Console is what was written to the box's console since its first boot.
func (b *Box) Console() string {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "console"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.check(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// Listen listens on the test's side of the box's network, at [ServiceIP] or [MetadataIP] and a port
// ("198.51.100.1:443"). The caller closes the listener.
func (b *Box) Listen(addr string) net.Listener {
	b.t.Helper()
	l, err := b.network.listen(addr)
	b.check(err)
	return l
}

// Serve answers at an address of the test's side, see [Box.Listen], until the box is removed.
func (b *Box) Serve(addr string, h http.Handler) {
	b.t.Helper()
	b.check(b.network.serve(addr, h))
}

// Forward passes connections to an address of the box's network on to an address of the machine that runs the
// test ("127.0.0.1:8080"), where the stand-in's services are. When nobody is there the box sees its
// connection reset, perhaps before it knows that it has one.
func (b *Box) Forward(addr, to string) {
	b.t.Helper()
	b.check(b.network.forward(addr, to))
}

// NetworkDown takes the network away: nobody answers at any address, and connections hang.
func (b *Box) NetworkDown() {
	b.t.Helper()
	b.check(ip(b.network.test, withoutMetadata+withoutServices))
}

// NetworkUp ends NetworkDown and MetadataDown.
func (b *Box) NetworkUp() {
	b.t.Helper()
	b.check(ip(b.network.test, withMetadata+withServices))
}

// MetadataDown takes the metadata service alone away: nobody answers at its address, and connections hang.
func (b *Box) MetadataDown() {
	b.t.Helper()
	b.check(ip(b.network.test, withoutMetadata))
}

// MetadataUp ends MetadataDown.
func (b *Box) MetadataUp() {
	b.t.Helper()
	b.check(ip(b.network.test, withMetadata))
}

package box

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usher/agent/safepath"
)

// prefix begins every name this package gives to something on the machine.
const prefix = "usher-box-"

// patience bounds everything that is waited for. A boot takes a second; a loaded machine takes ten.
const patience = 6 * time.Minute

// grace is how long the kernel may take to forget what has ended.
const grace = 5 * time.Second

// tools are the programs a box needs, and the packages they are in.
var tools = map[string]string{
	"systemd-nspawn": "systemd-container",
	"mmdebstrap":     "mmdebstrap",
	"ip":             "iproute2",
	"nsenter":        "util-linux",
}

// session is what one process of tests has on the machine: a folder in the cache and a control group of the
// same name, in which everything else is.
type session struct {
	name   string
	dir    string
	cgroup string
	locks  []*os.File
	guard  *guard

	cache string
	mu    sync.Mutex
	bases map[string]string // the roots of images, by their packages
}

// here is the session of this process.
var here struct {
	sync.Mutex
	main   bool // Main runs: it will close the session
	opened *session
}

// Main runs the tests of a package, removes every image, and fails when something is left behind. To be
// called from TestMain: os.Exit(box.Main(m)).
func Main(m *testing.M) (code int) {
	here.Lock()
	here.main = true
	here.Unlock()
	code = m.Run()
	if err := closeSession(); err != nil {
		fmt.Fprintln(os.Stderr, "box:", err)
		code = max(code, 1)
	}
	return code
}

// need skips a test on a machine that cannot run a box, or fails it when CI is set, and opens the session.
func need(t testing.TB) *session {
	t.Helper()
	var missing []string
	if os.Getuid() != 0 {
		missing = append(missing, "root")
	}
	for program, pkg := range tools {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, fmt.Sprintf("%s (apt-get install --no-install-recommends %s)", program, pkg))
		}
	}
	if len(missing) > 0 && os.Getenv("CI") == "" {
		t.Skipf("booting a box needs %s; CI has it", strings.Join(missing, ", "))
	}
	if len(missing) > 0 {
		t.Fatalf("booting a box needs %s", strings.Join(missing, ", "))
	}
	s, err := openSession()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openSession() (*session, error) {
	here.Lock()
	defer here.Unlock()
	if !here.main {
		return nil, errors.New("nobody would remove the boxes: call box.Main from TestMain")
	}
	if here.opened != nil {
		return here.opened, nil
	}
	cache, err := cacheFolder()
	if err != nil {
		return nil, err
	}
	runs := filepath.Join(cache, "run")
	if err := os.MkdirAll(runs, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the cache folder: %w", err)
	}
	s, err := newSession(runs)
	if err != nil {
		return nil, err
	}
	s.cache, s.bases = cache, map[string]string{}
	here.opened = s // and Main removes it, whatever follows
	return s, nil
}

// base is the root of images with these packages besides the usual.
func (s *session) base(more []string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.Join(more, ",")
	if dir, ok := s.bases[key]; ok {
		return dir, nil
	}
	dir, lock, err := cachedBase(s.cache, more)
	if err != nil {
		return "", err
	}
	s.bases[key], s.locks = dir, append(s.locks, lock)
	return dir, nil
}

// newSession removes dead sessions and makes a folder and a control group for one.
func newSession(runs string) (*session, error) {
	lock, err := lockFolder(runs, unix.LOCK_EX) // one process at a time
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	tree, err := cgroupTree()
	if err != nil {
		return nil, err
	}
	if err := sweep(runs, tree); err != nil {
		return nil, err
	}
	s := &session{}
	if s.dir, err = os.MkdirTemp(runs, prefix); err != nil {
		return nil, fmt.Errorf("cannot make the folder of this run: %w", err)
	}
	s.name = filepath.Base(s.dir)
	s.cgroup = filepath.Join(tree, s.name)
	own, err := lockFolder(s.dir, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	s.locks = append(s.locks, own)
	if err := os.Mkdir(s.cgroup, 0o755); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make a control group (root of the machine is needed): %w", err), s.remove())
	}
	if s.guard, err = newGuard(s.cgroup); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// remove removes everything of the session and lets go of its locks.
func (s *session) remove() error {
	if s.guard != nil {
		s.guard.end()
	}
	err := errors.Join(removeCgroup(s.cgroup), safepath.RemoveAll(s.dir))
	for _, l := range s.locks {
		l.Close()
	}
	return err
}

// closeSession removes everything this process made but the base, and says what is left all the same.
func closeSession() error {
	here.Lock()
	defer here.Unlock()
	s := here.opened
	if s == nil {
		return nil
	}
	here.opened = nil
	err := s.remove()
	// A thread that has ended is listed for a moment more.
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	var left []string
	if until(ctx, func() bool { left = s.leftovers(); return len(left) == 0 }) != nil {
		err = errors.Join(err, fmt.Errorf("left behind:\n%s", strings.Join(left, "\n")))
	}
	return err
}

// sweep removes what processes left that were killed: their folder is no longer locked.
func sweep(runs, tree string) error {
	dead, _ := filepath.Glob(filepath.Join(runs, prefix+"*"))
	for _, dir := range dead {
		lock, err := lockFolder(dir, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue // alive
		}
		err = errors.Join(removeCgroup(filepath.Join(tree, filepath.Base(dir))), safepath.RemoveAll(dir))
		lock.Close()
		if err != nil {
			return fmt.Errorf("cannot remove what an earlier run left: %w", err)
		}
	}
	return nil
}

// until asks again and again whether something came true, for patience.
func until(ctx context.Context, came func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond) // what is waited for takes about as long
	defer tick.Stop()
	for !came() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not within %s", patience)
		}
	}
	return nil
}

package box

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"usher/agent/safepath"
)

// customize is what makes a root a base.
//
//go:embed base.sh
var customize string

// packages are in every base, besides what the distribution calls essential and apt: a systemd that
// boots, what a person debugging a box or a hook script would miss, and rpm, to install what other
// distributions have.
const packages = "systemd,systemd-sysv,dbus,bash,ca-certificates,unzip,curl,iproute2,rpm"

// unusedFor is how long a base is kept that nobody used: one with packages that only some tests need is not made
// anew each time the others have run.
const unusedFor = 14 * 24 * time.Hour

// unread are files that are most of a root and that no test reads.
var unread = []string{"/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*"}

// cacheFolder is where bases are kept, and what is made for a run while it lasts.
func cacheFolder() (string, error) {
	if dir := os.Getenv("USHER_BOX_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cannot find the cache folder; set USHER_BOX_CACHE: %w", err)
	}
	return filepath.Join(dir, "usher-box"), nil
}

// cachedBase returns the root that images with these packages besides the usual are baked on, made if it is not in the
// cache, and a lock that keeps other processes from removing it.
func cachedBase(cache string, more []string) (dir string, lock *os.File, err error) {
	making, err := lockFolder(cache, unix.LOCK_EX) // made once, however many processes ask
	if err != nil {
		return "", nil, err
	}
	defer making.Close()
	suite, sources, err := aptSources()
	if err != nil {
		return "", nil, err
	}
	year, week := time.Now().ISOWeek() // a new one every week: security updates come in
	include := strings.Join(append([]string{packages}, more...), ",")
	set := sha256.Sum256([]byte(suite + include)) // each release keeps its own
	key := sha256.Sum256(fmt.Append(nil, customize, include, unread, suite, sources, year, week))
	kind := filepath.Join(cache, fmt.Sprintf("base-%x-", set[:3]))
	dir = kind + fmt.Sprintf("%x", key[:6])
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err := makeBase(dir, include, suite, sources); err != nil {
			return "", nil, err
		}
	}
	if err := os.Chtimes(dir, time.Time{}, time.Now()); err != nil {
		return "", nil, fmt.Errorf("cannot note that a base is used: %w", err)
	}
	if lock, err = lockFolder(dir, unix.LOCK_SH); err != nil {
		return "", nil, err
	}
	pruneBases(cache, kind, dir)
	return dir, lock, nil
}

// makeBase makes a base beside its place, and moves it there when it is complete.
func makeBase(dir, include, suite, sources string) error {
	half, err := os.MkdirTemp(filepath.Dir(dir), "half-made-")
	if err != nil {
		return fmt.Errorf("cannot make a base: %w", err)
	}
	defer safepath.RemoveAll(half) // by then empty, or not worth keeping
	root := filepath.Join(half, "root")
	args := []string{"--mode=root", "--variant=apt", "--include=" + include, "--aptopt=Acquire::Retries \"3\"",
		"--customize-hook=" + customize}
	for _, path := range unread {
		args = append(args, "--dpkgopt=path-exclude="+path)
	}
	cmd := exec.Command("mmdebstrap", append(args, suite, root, "-")...)
	cmd.Stdin = strings.NewReader(sources)
	out, err := cmd.CombinedOutput()
	if err != nil {
		said := tail(string(out), explained)
		return fmt.Errorf("cannot make a base root of %s: mmdebstrap: %w; it said:\n%s", suite, err, said)
	}
	if err := os.Rename(root, dir); err != nil {
		return fmt.Errorf("cannot put the base in its place: %w", err)
	}
	return nil
}

// pruneBases removes the bases of a kind that nobody uses, but for one; those of any kind that nobody has used for
// long; and what a killed process was making. The caller has locked the cache.
func pruneBases(cache, kind, keep string) {
	old, _ := filepath.Glob(filepath.Join(cache, "base-*"))
	half, _ := filepath.Glob(filepath.Join(cache, "half-made-*"))
	old = slices.DeleteFunc(old, func(dir string) bool {
		info, err := os.Stat(dir)
		return dir == keep || !strings.HasPrefix(dir, kind) && err == nil && time.Since(info.ModTime()) < unusedFor
	})
	for _, dir := range slices.Concat(old, half) {
		if lock, err := lockFolder(dir, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			_ = safepath.RemoveAll(dir) // the next run tries again
			lock.Close()
		}
	}
}

// lockFolder takes a lock on a folder, which ends with the file or the process.
func lockFolder(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot lock: %w", err)
	}
	for {
		if err = unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	return f, nil
}

// aptSources returns the release this machine runs ("bookworm") and where its own packages come from, as lines of
// sources.list. Packages of others, and of other releases, have no place in a base.
func aptSources() (suite, sources string, err error) {
	suite, err = codename()
	if err != nil {
		return "", "", err
	}
	// An unknown origin is written as it was asked for: the lists were never fetched.
	format := "$(ORIGIN) $(RELEASE) $(COMPONENT) $(REPO_URI)"
	out, err := exec.Command("apt-get", "indextargets", "--format", format, "Created-By: Packages").Output()
	if err != nil {
		return "", "", fmt.Errorf("cannot read where this machine's packages come from: apt-get indextargets: %w", err)
	}
	keyrings := map[string]string{
		"Debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
		"Ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) != 4 || f[1] != suite && !strings.HasPrefix(f[1], suite+"-") {
			continue
		}
		keyring, ours := keyrings[f[0]]
		if !ours && f[0] != "$(ORIGIN)" {
			continue
		}
		option := ""
		if _, err := os.Stat(keyring); err == nil {
			option = "[signed-by=" + keyring + "] "
		}
		lines = append(lines, "deb "+option+f[3]+" "+f[1]+" "+f[2]+"\n")
	}
	slices.Sort(lines)
	if lines = slices.Compact(lines); len(lines) == 0 {
		return "", "", fmt.Errorf("this machine has no source of packages for %s (apt-get indextargets)", suite)
	}
	sources = strings.Join(lines, "")
	if other := os.Getenv("USHER_BOX_SUITE"); other != "" { // of the same distribution, from the same places
		suite, sources = other, strings.ReplaceAll(sources, " "+suite, " "+other)
	}
	return suite, sources, nil
}

// codename is the name of this machine's release.
func codename() (string, error) {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", fmt.Errorf("cannot find out this machine's release: %w", err)
	}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if name, ok := strings.CutPrefix(s.Text(), "VERSION_CODENAME="); ok && name != "" {
			return strings.Trim(name, `"`), nil
		}
	}
	return "", errors.New("no VERSION_CODENAME in /etc/os-release: boxes are made on Debian and Ubuntu")
}

// tail is the last n lines of a text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

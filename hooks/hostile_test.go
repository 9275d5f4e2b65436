//go:build linux && !developer

package hooks_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"usher/hooks"
)

// What a script's user may try who owns the directory that the script is run from: root reads the script there, before and
// after it is run.

// ofNobody is a script of that user's, in a directory of that user's, beside a file that root alone can read.
func ofNobody(t *testing.T, text string, mode os.FileMode) (s hooks.Script, secret string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root has something to lose")
	}
	dir, err := os.MkdirTemp("/tmp", "hooks")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	nobody := account(t, "nobody")
	uid, gid := int(number(t, nobody.uid)), int(number(t, nobody.gid))
	s = hooks.Script{ID: "id-" + t.Name(), Event: "ApplicationStop", Location: "a.sh", File: dir + "/theirs/a.sh", Dir: dir + "/theirs",
		RunAs: "nobody", Env: []string{"PATH=" + hooks.DefaultPath}}
	secret = dir + "/secret"
	write(t, secret, "secret\nsecret\nsecret\nsecret\nsecret\nsecret\n", 0o600)
	if err := os.Mkdir(s.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, s.File, text, mode)
	for path, mode := range map[string]os.FileMode{dir: 0o755, s.Dir: 0o755, s.File: mode} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{s.Dir, s.File} {
		if err := os.Chown(path, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	return s, secret
}

// What errexit ended is quoted from a file: not from one that the user could not read.
func TestNoLineOfAnotherFileIsQuoted(t *testing.T) {
	needs(t, "bash")
	for name, text := range map[string]string{
		"the script becomes a link": "#!/bin/bash\nset -e\nln -sf ../secret \"$0\"\nfalse\n",
		"the trace names a link": "#!/bin/bash\nset -e\nln -s ../secret lib.sh\n[[ $(trap -p) =~ (/[^\\']*/report) ]]\n" +
			"printf '%s\\0' 1 e 0 lib.sh 2 false 0 >> \"${BASH_REMATCH[1]}\"\nexit 1\n",
		"the script becomes a FIFO": "#!/bin/bash\nset -e\nrm \"$0\"\nmkfifo \"$0\"\nfalse\n",
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := ofNobody(t, text, 0o755)
			r, err := hooks.Run(t.Context(), groups(t), s, hooks.Enforce, nil)
			if err == nil || r.Errexit == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("%+v, %v", r.Errexit, err)
			}
		})
	}
}

// A file that root makes executable is the script's user's, whatever that user puts in its place, and whenever.
func TestAnotherFileIsNotMadeExecutable(t *testing.T) {
	s, secret := ofNobody(t, "\x7fELF", 0o644)
	nobody := account(t, "nobody")
	uid, gid := uintptr(number(t, nobody.uid)), uintptr(number(t, nobody.gid))
	var end atomic.Bool
	var swapped atomic.Int64
	ready, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread, which alone is that user, ends with this
		for _, call := range [][4]uintptr{{unix.SYS_SETGROUPS}, {unix.SYS_SETRESGID, gid, gid, gid}, {unix.SYS_SETRESUID, uid, uid, uid}} {
			if _, _, no := unix.RawSyscall(call[0], call[1], call[2], call[3]); no != 0 {
				ready <- no
				return
			}
		}
		link := filepath.Join(s.Dir, "link")
		ready <- unix.Symlink(secret, link)
		for !end.Load() {
			_, _ = unix.Chmod(s.File, 0o666), unix.Chmod(link, 0o666) // one of them is this user's
			if unix.Renameat2(unix.AT_FDCWD, s.File, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE) == nil {
				swapped.Add(1)
			}
			runtime.Gosched()
		}
	}()
	defer func() { end.Store(true); <-done }()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	ran := 0
	for round := 0; round < 20000 || swapped.Load() < 1000; round++ {
		_, _ = hooks.Run(t.Context(), runnerFunc(func(hooks.Script, []string) (hooks.Result, error) { ran++; return hooks.Result{}, context.Canceled }), s, hooks.Enforce, nil)
		if info, err := os.Stat(secret); err != nil || info.Mode() != 0o600 {
			t.Fatalf("after %d rounds root's file has mode %v: %v", round, info.Mode(), err)
		}
	}
	if ran == 0 {
		t.Error("the script was never run")
	}
}
